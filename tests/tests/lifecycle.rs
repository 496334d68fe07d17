//! Stops, kills and restarts: nothing that was released is lost, and the same log goes on.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use colophon_receipt::level::Outcome;
use colophon_tests::client::{Client, get, post, post_bytes};
use colophon_tests::colophon::{self, Colophon};
use colophon_tests::receipts::Fetched;
use colophon_tests::upstream::Upstream;
use colophon_tests::wire::{End, Message};
use colophon_tests::{PATIENCE, pause, process};

const OK: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{\"id\":\"x\"}";
const STREAM_HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

/// A stream of 20 events in a second.
fn slow_stream() -> Upstream {
    Upstream::serve(|conn| {
        while conn.request().is_some() {
            conn.send(STREAM_HEAD);
            for _ in 0..20 {
                conn.send(b"b\r\ndata: one\n\n\r\n");
                pause(Duration::from_millis(50));
            }
            conn.send(b"0\r\n\r\n");
        }
    })
}

fn chat(colophon: &Colophon) -> Message {
    let response = post(colophon.listen(), "/v1/chat/completions", "{}");
    assert_eq!((response.status(), &response.end), (200, &End::Complete), "{}", response.text());
    response
}

fn assert_log_is_sound(data: &Path) {
    let (code, said) = colophon::run(&["log", "check", &data.display().to_string()]);
    assert_eq!(code, 0, "colophon log check:\n{said}");
}

#[test]
fn sigterm_finishes_what_has_begun_and_logs_it() {
    let upstream = slow_stream();
    let mut colophon = Colophon::start(&upstream.url(), |options| {
        options.sign_all().batch_every = "1h".to_owned();
    });
    let finished = chat(&colophon);
    let mut client = Client::connect(colophon.listen());
    client.send(&post_bytes("/v1/chat/completions", "", "{}"));
    let mut streamed = client.wire().response_head();
    client.wire().response_prefix(&mut streamed, 22);
    colophon.process().terminate();
    pause(Duration::from_millis(200));
    client.wire().response_prefix(&mut streamed, 220);
    assert_eq!((streamed.end.clone(), streamed.text()), (End::Complete, "data: one\n\n".repeat(20)));
    assert!(colophon.process().wait(PATIENCE).success());
    assert_log_is_sound(&colophon.data());

    colophon.restart();
    for response in [&finished, &streamed] {
        let receipt = Fetched::of(response, colophon.listen());
        assert_eq!(receipt.outcome(), Outcome::Complete);
        receipt.assert_verifies(colophon.listen(), b"{}", &response.body);
    }
    assert!(colophon.stop().success());
}

#[test]
fn an_idle_proxy_stops_at_once() {
    let upstream = Upstream::answering(OK);
    let mut colophon = Colophon::signing(&upstream.url());
    let mut kept_alive = Client::connect(colophon.listen());
    kept_alive.send(&post_bytes("/v1/chat/completions", "", "{}"));
    assert_eq!(kept_alive.response("POST").status(), 200);
    let start = Instant::now();
    assert!(colophon.stop().success());
    assert!(start.elapsed() < Duration::from_secs(10), "after {:?}", start.elapsed());
}

/// Nothing has been batched yet when the process is killed: the records come from the WAL.
#[test]
fn a_kill_loses_no_record_of_a_released_answer() {
    let upstream = Upstream::answering(OK);
    let mut colophon = Colophon::start(&upstream.url(), |options| {
        options.sign_all().batch_every = "1h".to_owned();
    });
    let keys = get(colophon.listen(), "/.well-known/colophon/keys").body;
    let responses: Vec<Message> = (0..20).map(|_| chat(&colophon)).collect();
    colophon.kill();
    colophon.options().batch_every = "200ms".to_owned();
    colophon.restart();
    assert_eq!(get(colophon.listen(), "/.well-known/colophon/keys").body, keys, "it is another log");
    for response in &responses {
        let receipt = Fetched::of(response, colophon.listen());
        assert_eq!(receipt.outcome(), Outcome::Complete);
        assert_eq!(receipt.verify(colophon.listen(), Some(b"{}"), Some(&response.body)).0, 0);
    }
    assert!(colophon.stop().success());
    assert_log_is_sound(&colophon.data());
}

/// An exchange that the kill cut short is on record as recovered: it began, and no one knows its end.
#[test]
fn a_kill_in_the_middle_of_an_answer_is_on_record() {
    let upstream = slow_stream();
    let mut colophon = Colophon::signing(&upstream.url());
    let mut client = Client::connect(colophon.listen());
    client.send(&post_bytes("/v1/chat/completions", "", "{}"));
    let mut streamed = client.wire().response_head();
    client.wire().response_prefix(&mut streamed, 22);
    colophon.kill();
    colophon.restart();
    let receipt = Fetched::of(&streamed, colophon.listen());
    assert_eq!(receipt.outcome(), Outcome::Recovered);
    assert_eq!(receipt.verify(colophon.listen(), None, None).0, 0);
}

/// Killed at many moments under load: every whole answer has its record, and the log is sound each time.
#[test]
fn kills_under_load_leave_a_sound_log() {
    let upstream = Upstream::answering(OK);
    let mut colophon = Colophon::start(&upstream.url(), |options| {
        options.sign_all().batch_every = "50ms".to_owned();
    });
    let mut released: Vec<Message> = Vec::new();
    for round in 0..6u64 {
        let listen = colophon.listen();
        let (got, first) = std::sync::mpsc::channel();
        let load = std::thread::spawn(move || {
            let mut whole = Vec::new();
            let mut client = Client::connect(listen);
            loop {
                client.send(&post_bytes("/v1/chat/completions", "", "{}"));
                let response = client.response("POST");
                if response.end != End::Complete {
                    return whole;
                }
                assert_eq!(response.status(), 200);
                whole.push(response);
                if whole.len() == 5 {
                    got.send(()).ok();
                }
            }
        });
        first.recv_timeout(PATIENCE).expect("answers");
        pause(Duration::from_millis(120 + round * 37));
        colophon.kill();
        released.extend(load.join().unwrap());
        colophon.restart();
    }
    assert!(released.len() > 20, "only {} answers", released.len());
    let step = (released.len() / 60).max(1);
    for response in released.iter().step_by(step).chain(released.last()) {
        assert_eq!(Fetched::of(response, colophon.listen()).outcome(), Outcome::Complete);
    }
    assert!(colophon.stop().success());
    assert_log_is_sound(&colophon.data());
}

#[test]
fn a_second_process_on_the_same_data_is_refused() {
    let upstream = Upstream::answering(OK);
    let first = Colophon::signing(&upstream.url());
    let data = first.data();
    let (status, said) = Colophon::refused(&upstream.url(), |options| options.data = Some(data));
    assert!(!status.success() && !said.is_empty(), "{status} {said}");
    assert!(!said.contains("panicked"), "{said}");
    let receipt = Fetched::of(&chat(&first), first.listen());
    assert_eq!(receipt.outcome(), Outcome::Complete);
}

#[test]
fn a_data_folder_that_cannot_be_written_is_refused() {
    let upstream = Upstream::answering(OK);
    let (status, said) =
        Colophon::refused(&upstream.url(), |options| options.data = Some("/proc/colophon".into()));
    assert!(!status.success(), "{status}");
    assert!(said.contains("/proc/colophon") && !said.contains("panicked"), "{said}");
}

fn copy(from: &Path, to: &Path) {
    let mut command = Command::new("cp");
    let output = process::run(command.arg("-a").arg(from).arg(to), Duration::from_secs(30));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Yesterday's copy would sign a second history: what the log signed since is remembered outside the data folder.
#[test]
fn a_restored_copy_is_refused() {
    let upstream = Upstream::answering(OK);
    let mut colophon = Colophon::signing(&upstream.url());
    Fetched::of(&chat(&colophon), colophon.listen());
    assert!(colophon.stop().success());
    let (data, kept) = (colophon.data(), colophon.folder().join("yesterday"));
    copy(&data, &kept);
    colophon.restart();
    Fetched::of(&chat(&colophon), colophon.listen());
    assert!(colophon.stop().success());
    std::fs::remove_dir_all(&data).unwrap();
    copy(&kept, &data);
    let refused = Colophon::refused_on(&upstream.url(), &data, &colophon.state());
    assert!(!refused.0.success(), "a rolled back log was taken up again: {}", refused.1);
    assert!(!refused.1.contains("panicked"), "{}", refused.1);
}

/// A clone on another machine has no memory of what was signed.
#[test]
fn a_cloned_data_folder_is_refused_until_adopted() {
    let upstream = Upstream::answering(OK);
    let mut colophon = Colophon::signing(&upstream.url());
    let before = chat(&colophon);
    Fetched::of(&before, colophon.listen());
    assert!(colophon.stop().success());
    let clone = colophon.folder().join("clone");
    copy(&colophon.data(), &clone);
    let (status, said) = Colophon::refused(&upstream.url(), |options| options.data = Some(clone.clone()));
    assert!(!status.success() && said.contains("adopt"), "{status} {said}");
    let adopted = Colophon::start(&upstream.url(), |options| {
        options.sign_all().arg(&["--adopt"]).data = Some(clone);
    });
    assert_eq!(Fetched::of(&before, adopted.listen()).outcome(), Outcome::Complete);
    assert_eq!(Fetched::of(&chat(&adopted), adopted.listen()).outcome(), Outcome::Complete);
}

fn files_named(folder: &Path, matches: &dyn Fn(&Path) -> bool) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_named(&path, matches));
        } else if matches(&path) {
            found.push(path);
        }
    }
    found
}

/// The last frame of the WAL is half written, or has flipped bits: it was never released, all before it is kept.
#[test]
fn a_torn_last_wal_frame_costs_nothing_else() {
    for flip in [false, true] {
        let upstream = Upstream::answering(OK);
        let mut colophon = Colophon::start(&upstream.url(), |options| {
            options.sign_all().batch_every = "1h".to_owned();
        });
        let responses: Vec<Message> = (0..5).map(|_| chat(&colophon)).collect();
        colophon.kill();
        let wals = files_named(&colophon.data(), &|path| path.extension().is_some_and(|e| e == "wal"));
        let wal = wals.iter().max_by_key(|path| path.metadata().unwrap().len()).expect("a WAL");
        let mut bytes = std::fs::read(wal).unwrap();
        if flip {
            *bytes.last_mut().unwrap() ^= 0x10;
        } else {
            bytes.truncate(bytes.len() - 3);
        }
        std::fs::write(wal, bytes).unwrap();
        colophon.options().batch_every = "200ms".to_owned();
        colophon.restart();
        for response in &responses[..4] {
            assert_eq!(Fetched::of(response, colophon.listen()).outcome(), Outcome::Complete, "flip {flip}");
        }
        // Its OPEN is whole, so the exchange itself is not forgotten.
        assert_eq!(
            Fetched::of(&responses[4], colophon.listen()).outcome(),
            Outcome::Recovered,
            "flip {flip}"
        );
        assert!(colophon.stop().success());
        assert_log_is_sound(&colophon.data());
    }
}

#[test]
fn log_check_finds_a_corrupt_tile() {
    let upstream = Upstream::answering(OK);
    let mut colophon = Colophon::signing(&upstream.url());
    Fetched::of(&chat(&colophon), colophon.listen());
    assert!(colophon.stop().success());
    assert_log_is_sound(&colophon.data());
    let tiles =
        files_named(&colophon.data(), &|path| path.components().any(|part| part.as_os_str() == "tile"));
    assert!(!tiles.is_empty());
    for tile in tiles {
        let whole = std::fs::read(&tile).unwrap();
        let mut bytes = whole.clone();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&tile, bytes).unwrap();
        let (code, said) = colophon::run(&["log", "check", &colophon.data().display().to_string()]);
        assert!(code == 1 && !said.contains("panicked"), "{}: {code} {said}", tile.display());
        std::fs::write(&tile, whole).unwrap();
    }
}

/// A folder of a megabyte, where the test may mount one.
#[test]
fn a_full_disk_is_said_and_survived() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(&data);
    let mounted = process::run(&mut mount, Duration::from_secs(10));
    if !mounted.status.success() {
        eprintln!(
            "skipped: no small file system can be mounted: {}",
            String::from_utf8_lossy(&mounted.stderr).trim()
        );
        return;
    }
    let _unmount = Unmount(&data);
    let upstream = Upstream::answering(OK);
    let policy = colophon::SIGN_ALL.replace("Ignore", "Fail");
    let mut colophon = Colophon::start(&upstream.url(), |options| {
        options.policy = Some(policy);
        options.data = Some(data.clone());
    });
    let kept = chat(&colophon);
    Fetched::of(&kept, colophon.listen());
    std::fs::write(data.join("ballast"), vec![0; 2 << 20]).expect_err("it fits");
    let refused =
        (0..2000).map(|_| post(colophon.listen(), "/v1/chat/completions", "{}")).find(|r| r.status() != 200);
    let refused = refused.expect("a full disk is never noticed");
    assert_eq!(refused.status(), 503, "{}", refused.text());
    assert_ne!(get(colophon.admin(), "/readyz").status(), 200);
    assert_eq!(get(colophon.admin(), "/livez").status(), 200);

    std::fs::remove_file(data.join("ballast")).unwrap();
    let again = colophon_tests::wait_for(Duration::from_secs(20), || {
        let response = post(colophon.listen(), "/v1/chat/completions", "{}");
        (response.status() == 200).then_some(response)
    });
    let again = again.expect("it does not recover when there is room again");
    assert_eq!(Fetched::of(&again, colophon.listen()).outcome(), Outcome::Complete);
    assert_eq!(Fetched::of(&kept, colophon.listen()).outcome(), Outcome::Complete);
    assert!(colophon.stop().success());
    assert_log_is_sound(&data);
}

struct Unmount<'a>(&'a Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        // Lazily: the proxy may still be ending.
        process::run(Command::new("umount").arg("-l").arg(self.0), Duration::from_secs(10));
    }
}
