//! SIGKILL at many moments under load of every kind, and a restart on the same folder each time: one log, which only
//! grew; nothing that was released is lost; nothing is there twice.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use colophon_receipt::level::Outcome;
use colophon_receipt::merkle::sha256;
use colophon_tests::client::{Client, get, post, post_bytes};
use colophon_tests::colophon::{self, Colophon};
use colophon_tests::elsewhere::{Elsewhere, lose_the_machine};
use colophon_tests::log::{self, Head};
use colophon_tests::receipts::Fetched;
use colophon_tests::upstream::Upstream;
use colophon_tests::wire::{End, Message};
use colophon_tests::{PATIENCE, pause, wait_for};

const CHAT: &str = "/v1/chat/completions";
const STREAM_HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Kills of one run; at moments that are spread over what a batch takes. `cargo xtask soak` asks for more, or for a time.
const KILLS: u64 = 12;
/// Kills after which the whole log is read again.
const CHECK_EVERY: u64 = 10;

fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

/// Whether to go on after so many kills.
fn goes_on(kills: u64, begun: std::time::Instant) -> bool {
    let minutes = asked("COLOPHON_SOAK_MINUTES").map(|minutes| Duration::from_secs(minutes * 60));
    kills < asked("COLOPHON_SOAK_KILLS").unwrap_or(KILLS)
        || minutes.is_some_and(|time| begun.elapsed() < time)
}

/// Small answers at once, a stream of three events, or an endless one.
fn upstream() -> Upstream {
    Upstream::serve(|conn| {
        while let Some(request) = conn.request() {
            let text = request.text();
            if text.contains("broken") {
                conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n");
                conn.send(&[b'x'; 9000]);
                return;
            } else if text.contains("endless") {
                conn.send(STREAM_HEAD);
                while conn.send(b"b\r\ndata: one\n\n\r\n") {
                    pause(Duration::from_millis(20));
                }
            } else if text.contains("stream") {
                conn.send(STREAM_HEAD);
                let event = b"b\r\ndata: one\n\n\r\n";
                conn.send_slowly(&[event, event, event, b"0\r\n\r\n"], Duration::from_millis(5));
            } else {
                conn.send(
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()).as_bytes(),
                );
            }
        }
    })
}

/// What a client got: the request's body, the response, whole or cut.
type Got = (String, Message);

/// Asks again and again until the proxy is gone, counting the answers that are whole.
fn load(colophon: &Colophon, kind: &'static str, stop: &AtomicBool, answers: &AtomicUsize) -> Vec<Got> {
    let mut got = Vec::new();
    let mut client = Client::connect(colophon.listen()).timeout(Duration::from_secs(10));
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let body = format!("{{\"{kind}\":{number}}}");
        client.send(&post_bytes(CHAT, "", &body));
        let response = client.response("POST");
        if response.start.is_empty() {
            break;
        }
        assert_eq!(response.status(), 200, "{}", response.text());
        let whole = response.end == End::Complete;
        got.push((body, response));
        if !whole && kind == "broken" {
            // The upstream's fault, not the end of the proxy.
            pause(Duration::from_millis(20));
            let Some(again) = Client::try_connect(colophon.listen()) else { break };
            client = again.timeout(Duration::from_secs(10));
            continue;
        }
        if !whole {
            break;
        }
        answers.fetch_add(1, Ordering::Relaxed);
    }
    got
}

#[test]
fn killed_at_any_moment_it_goes_on_with_the_same_log() {
    let durability = std::env::var("COLOPHON_SOAK_DURABILITY").unwrap_or_else(|_| "process".to_owned());
    kill_again_and_again(&durability);
}

/// With `--durability node` each time the data folder and the state folder are gone as well.
#[test]
fn killed_with_its_disk_it_goes_on_with_the_same_log() {
    kill_again_and_again("node");
}

fn kill_again_and_again(durability: &str) {
    let (upstream, elsewhere) = (upstream(), Elsewhere::new());
    let node = durability == "node";
    let mut colophon = Colophon::start(&upstream.url(), |options| {
        options.sign_all().batch_every = "60ms".to_owned();
        match node {
            true => elsewhere.set(options),
            false => drop(options.arg(&["--durability", durability])),
        }
    });
    let log_folder = if node { elsewhere.store() } else { colophon.data() };
    let trust = get(colophon.listen(), "/.well-known/colophon/keys").body;
    let (mut ids, mut heads, mut sizes) = (BTreeSet::new(), Vec::new(), Vec::new());
    let (mut whole, mut cut, mut kills) = (0, 0, 0);
    let begun = std::time::Instant::now();
    while goes_on(kills, begun) {
        let (stop, answers) = (AtomicBool::new(false), AtomicUsize::new(0));
        let got: Vec<Got> = thread::scope(|scope| {
            let of = |kind: &'static str| {
                let (colophon, stop, answers) = (&colophon, &stop, &answers);
                scope.spawn(move || load(colophon, kind, stop, answers))
            };
            let clients = [of("plain"), of("plain"), of("stream"), of("endless"), of("broken")];
            // A busy machine takes longer to get going.
            wait_for(PATIENCE, || (answers.load(Ordering::Relaxed) > 10).then_some(()));
            pause(Duration::from_millis(40 + (kills * 37) % 130));
            // SIGKILL, while the clients are at it.
            sizes.extend(resident(colophon.process_id()));
            colophon.signal("KILL");
            stop.store(true, Ordering::Relaxed);
            clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
        });
        kills += 1;
        colophon.process().wait(PATIENCE);
        heads.extend(got.iter().map(|(_, response)| Head::of_response(response)));
        heads.push(Head::of_folder(&log_folder));
        heads.sort();
        heads.dedup();
        if node {
            lose_the_machine(&colophon);
        }
        colophon.restart();
        let (ended, broken) = on_record(&colophon, &trust, &got, &mut ids);
        (whole, cut) = (whole + ended, cut + broken);
        log::assert_one_log(&log_folder, &heads);
        if kills % CHECK_EVERY == 0 {
            let recorded: BTreeSet<[u8; 16]> = log::recorded_ids(&log_folder).into_iter().collect();
            assert!(ids.is_subset(&recorded), "after {kills} kills a record is missing");
            assert_sound(&log_folder);
            eprintln!(
                "{kills} kills, {whole} whole answers, {cut} cut ones, {} tree heads: all there",
                heads.len()
            );
        }
    }
    assert_eq!(get(colophon.listen(), "/.well-known/colophon/keys").body, trust, "it is another log");
    assert!(whole > 100 && cut >= 6, "{whole} whole answers and {cut} cut ones");
    assert_flat(&sizes);
    assert!(colophon.stop().success());
    let recorded = log::recorded_ids(&log_folder);
    let distinct: BTreeSet<[u8; 16]> = recorded.iter().copied().collect();
    assert_eq!(recorded.len(), distinct.len(), "a record is there twice");
    assert!(ids.is_subset(&distinct));
    log::assert_one_log(&log_folder, &heads);
    assert_sound(&log_folder);
}

/// Every answer, whole or cut, is on record once, as it was. Gives how many of each there were.
fn on_record(colophon: &Colophon, trust: &[u8], got: &[Got], ids: &mut BTreeSet<[u8; 16]>) -> (usize, usize) {
    let before = ids.len();
    // What was cut in the middle has no end, and is on record all the same.
    let (whole, cut): (Vec<&Got>, Vec<&Got>) =
        got.iter().partition(|(_, response)| response.end == End::Complete);
    // The verifier is a process each time: a sample.
    let sample = (whole.len() / 3).max(1);
    for (number, (body, response)) in whole.iter().enumerate() {
        let receipt = Fetched::of(response, colophon.listen());
        assert_eq!(receipt.outcome(), Outcome::Complete);
        assert_eq!(receipt.request_body().map(|b| b.digest), Some(sha256(body.as_bytes())));
        assert_eq!(receipt.response_body().map(|b| b.digest), Some(sha256(&response.body)));
        ids.insert(receipt.leaf.id);
        if number % sample == 0 {
            let (code, said) = receipt.verify_by(trust, Some(body.as_bytes()), Some(&response.body));
            assert_eq!(code, 0, "{said}");
        }
    }
    for (number, (body, response)) in cut.iter().enumerate() {
        let receipt = Fetched::of(response, colophon.listen());
        // A stream's end may have been recorded and not have come out any more.
        let endless = !response.body.starts_with(b"{") && response.body.len() > 33;
        match receipt.outcome() {
            Outcome::Recovered => {}
            Outcome::UpstreamFailed => assert!(body.contains("broken"), "{body}"),
            Outcome::Complete => assert!(!endless),
            other => panic!("{other:?}"),
        }
        ids.insert(receipt.leaf.id);
        if number % 4 == 0 {
            let (code, said) = receipt.verify_by(trust, None, None);
            assert_eq!(code, 0, "{said}");
        }
    }
    assert_eq!(ids.len() - before, got.len(), "two answers have one record");
    (whole.len(), cut.len())
}

/// Resident memory of a process, KiB.
fn resident(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

/// The last lives take no more memory than the first ones, though the log has grown.
fn assert_flat(sizes: &[u64]) {
    let quarter = (sizes.len() / 4).max(1);
    let most = |part: &[u64]| part.iter().copied().max().unwrap_or(0);
    let (first, last) = (most(&sizes[..quarter]), most(&sizes[sizes.len() - quarter..]));
    assert!(last < first + first / 2 + 16 * 1024, "memory grew from {first} to {last} KiB: {sizes:?}");
}

fn assert_sound(folder: &Path) {
    let (code, said) = colophon::run(&["log", "check", &folder.display().to_string()]);
    assert_eq!(code, 0, "{said}");
}

/// Killed again before it is ready, several times over: starting is as safe as serving.
#[test]
fn killed_while_it_recovers() {
    let upstream = upstream();
    let mut colophon = Colophon::start(&upstream.url(), |options| {
        options.sign_all().batch_every = "1h".to_owned();
    });
    let released: Vec<Message> = (0..50).map(|_| post(colophon.listen(), CHAT, "{}")).collect();
    colophon.kill();
    let wal = log::files(&colophon.data().join("wal"));
    assert!(wal.iter().any(|file| file.metadata().unwrap().len() > 1000), "{wal:?}");
    colophon.options().batch_every = "100ms".to_owned();
    for round in 0..8 {
        colophon.start_and_kill(Duration::from_millis(5 + round * 9));
    }
    colophon.restart();
    for response in &released {
        assert_eq!(Fetched::of(response, colophon.listen()).outcome(), Outcome::Complete);
    }
    assert!(colophon.stop().success());
    let recorded = log::recorded_ids(&colophon.data());
    let distinct: BTreeSet<&[u8; 16]> = recorded.iter().collect();
    assert_eq!((recorded.len(), distinct.len()), (50, 50));
    let (code, said) = colophon::run(&["log", "check", &colophon.data().display().to_string()]);
    assert_eq!(code, 0, "{said}");
}

/// The tail of the WAL in every state a crash of the machine may leave: cut at any byte, zeros, rubbish, flipped bits.
#[test]
fn a_torn_wal_is_read_up_to_the_tear() {
    let upstream = upstream();
    let mut colophon = Colophon::start(&upstream.url(), |options| {
        options.sign_all().batch_every = "1h".to_owned();
    });
    let released: Vec<Message> = (0..4).map(|_| post(colophon.listen(), CHAT, "{}")).collect();
    colophon.kill();
    let files = log::files(&colophon.data().join("wal"));
    let wal = files.iter().max_by_key(|file| file.metadata().unwrap().len()).expect("a WAL").clone();
    let whole = std::fs::read(&wal).unwrap();
    let saved = colophon.folder().join("saved");
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        std::fs::remove_dir_all(to).ok();
        let status = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status();
        assert!(status.is_ok_and(|status| status.success()));
    };
    copy(&colophon.data(), &saved);
    colophon.options().batch_every = "100ms".to_owned();
    let mut torn: Vec<(String, Vec<u8>)> =
        [1, 4, 9, 60].map(|cut| (format!("{cut} bytes short"), whole[..whole.len() - cut].to_vec())).into();
    for (name, tail) in
        [("zeros", vec![0u8; 4096]), ("rubbish", (0..999u32).map(|n| ((n * 7919) >> 3) as u8).collect())]
    {
        torn.push((format!("{name} after it"), [whole.as_slice(), &tail].concat()));
    }
    for at in [2, 40] {
        let mut flipped = whole.clone();
        let byte = flipped.len() - at;
        flipped[byte] ^= 0x81;
        torn.push((format!("a flipped byte {at} before its end"), flipped));
    }
    let state = colophon.state();
    let saved_state = colophon.folder().join("saved-state");
    copy(&state, &saved_state);
    for (what, bytes) in torn {
        copy(&saved, &colophon.data());
        copy(&saved_state, &state);
        std::fs::write(&wal, &bytes).unwrap();
        let before = colophon.process().log().len();
        colophon.restart();
        let said = colophon.process().log()[before..].to_owned();
        let lost = !what.contains("after");
        for (number, response) in released.iter().enumerate() {
            let receipt = Fetched::of(response, colophon.listen());
            let expected = if lost && number == 3 { Outcome::Recovered } else { Outcome::Complete };
            assert_eq!(receipt.outcome(), expected, "{what}: answer {number}");
        }
        assert!(said.to_lowercase().contains("wal"), "{what}: nothing is said of it:\n{said}");
        assert!(colophon.stop().success());
        let (code, said) = colophon::run(&["log", "check", &colophon.data().display().to_string()]);
        assert_eq!(code, 0, "{what}: {said}");
    }
}

/// Killed in the middle of everything, it is ready again at once.
#[test]
fn a_restart_is_quick() {
    let upstream = upstream();
    let mut colophon = Colophon::start(&upstream.url(), |options| {
        options.sign_all().batch_every = "1h".to_owned();
    });
    for _ in 0..200 {
        assert_eq!(post(colophon.listen(), CHAT, "{}").status(), 200);
    }
    colophon.kill();
    let begun = std::time::Instant::now();
    colophon.restart();
    assert!(begun.elapsed() < Duration::from_secs(10), "it took {:?}", begun.elapsed());
    let logged = wait_for(PATIENCE, || (log::recorded_ids(&colophon.data()).len() == 200).then_some(()));
    assert!(logged.is_some(), "{} records", log::recorded_ids(&colophon.data()).len());
}
