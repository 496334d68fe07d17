//! Data folders that are full, read-only, tampered with or missing parts: a clear error or an honest record, and never
//! another history.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use colophon_receipt::fields::{self, DecisionField};
use colophon_receipt::level::Outcome;
use colophon_tests::client::{get, post};
use colophon_tests::colophon::{self, Colophon, SIGN_ALL};
use colophon_tests::log::{self, Head};
use colophon_tests::receipts::Fetched;
use colophon_tests::upstream::Upstream;
use colophon_tests::wire::Message;
use colophon_tests::{process, wait_for};

const CHAT: &str = "/v1/chat/completions";
const OK: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{\"id\":\"x\"}";

fn chat(colophon: &Colophon) -> Message {
    post(colophon.listen(), CHAT, "{}")
}

fn logged(colophon: &Colophon) -> Message {
    let response = chat(colophon);
    assert_eq!(response.status(), 200, "{}", response.text());
    assert_eq!(Fetched::of(&response, colophon.listen()).outcome(), Outcome::Complete);
    response
}

fn assert_sound(colophon: &Colophon) {
    let (code, said) = colophon::run(&["log", "check", &colophon.data().display().to_string()]);
    assert_eq!(code, 0, "{said}");
}

/// A file system of its own, where the test may mount one.
struct Mount(PathBuf);

impl Mount {
    fn tmpfs(at: &Path, size: &str) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(at);
        let done = process::run(&mut mount, Duration::from_secs(10));
        if !done.status.success() {
            let why = String::from_utf8_lossy(&done.stderr).trim().to_owned();
            eprintln!("skipped: no file system can be mounted here: {why}");
            return None;
        }
        Some(Self(at.to_owned()))
    }

    fn remount(&self, how: &str) {
        let mut mount = Command::new("mount");
        mount.args(["-o", &format!("remount,{how}")]).arg(&self.0);
        let done = process::run(&mut mount, Duration::from_secs(10));
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    fn fill(&self) {
        fs::write(self.0.join("ballast"), vec![0; 64 << 20]).expect_err("it fits");
    }

    fn make_room(&self) {
        fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: the proxy may still be ending.
        process::run(Command::new("umount").arg("-l").arg(&self.0), Duration::from_secs(10));
    }
}

/// What is let through while no record can be written is counted and marked, and recorded when there is room again.
#[test]
fn with_ignore_a_full_disk_stops_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mount) = Mount::tmpfs(&folder.path().join("data"), "2m") else { return };
    let upstream = Upstream::answering(OK);
    let mut colophon = Colophon::start(&upstream.url(), |options| {
        options.sign_all().data = Some(mount.0.clone());
    });
    let before = logged(&colophon);
    mount.fill();
    let during: Vec<Message> = (0..200).map(|_| chat(&colophon)).collect();
    assert!(during.iter().all(|response| response.status() == 200 && response.text() == "{\"id\":\"x\"}"));
    let degraded = colophon.metric("colophon_degraded_total").unwrap_or_default();
    assert!(degraded > 0.0, "nothing is counted as degraded");
    mount.make_room();
    // Each answer promised a receipt.
    let mut marked = 0;
    for response in during.iter().chain([&before]) {
        let receipt = Fetched::of(response, colophon.listen());
        assert_eq!(receipt.outcome(), Outcome::Complete);
        let decision = DecisionField::read(receipt.field(fields::DECISION).unwrap()).unwrap();
        marked += usize::from(decision.degraded == Some(true));
    }
    assert!(marked > 0, "no record says that it was kept while the ledger was in trouble");
    logged(&colophon);
    assert_eq!(colophon.metric("colophon_ledger_lost_total"), Some(0.0));
    assert!(colophon.stop().success());
    assert_sound(&colophon);
    assert_eq!(log::recorded_ids(&colophon.data()).len(), 202);
}

/// Refusals are in the API's own shape, say that a retry is useless, and end when there is room again.
#[test]
fn with_fail_a_full_disk_is_503() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mount) = Mount::tmpfs(&folder.path().join("data"), "2m") else { return };
    let upstream = Upstream::answering(OK);
    let mut colophon = Colophon::start(&upstream.url(), |options| {
        options.policy = Some(SIGN_ALL.replace("Ignore", "Fail"));
        options.data = Some(mount.0.clone());
    });
    let mut kept = vec![logged(&colophon)];
    mount.fill();
    let refused = (0..500).find_map(|_| {
        let response = chat(&colophon);
        if response.status() == 200 {
            kept.push(response);
            return None;
        }
        Some(response)
    });
    let refused = refused.expect("a full disk is never noticed");
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.header("x-should-retry"), Some("false"));
    for (target, key) in
        [(CHAT, "/error/message"), ("/v1/messages", "/error/type"), ("/generate", "/error_type")]
    {
        let response = post(colophon.listen(), target, "{}");
        assert_eq!(response.status(), 503, "{target}");
        let error: serde_json::Value = serde_json::from_slice(&response.body).expect("JSON");
        assert!(error.pointer(key).is_some_and(serde_json::Value::is_string), "{target}: {error}");
    }
    mount.make_room();
    let again = wait_for(Duration::from_secs(20), || {
        let response = chat(&colophon);
        (response.status() == 200).then_some(response)
    });
    kept.push(again.expect("it does not recover"));
    for response in &kept {
        assert_eq!(Fetched::of(response, colophon.listen()).outcome(), Outcome::Complete);
    }
    assert!(colophon.stop().success());
    assert_sound(&colophon);
}

#[test]
fn a_read_only_folder_is_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mount) = Mount::tmpfs(&folder.path().join("data"), "8m") else { return };
    mount.remount("ro");
    let upstream = Upstream::answering(OK);
    let data = mount.0.clone();
    let (status, said) = Colophon::refused(&upstream.url(), |options| options.data = Some(data));
    let named = mount.0.display().to_string();
    assert!(!status.success() && said.contains(&named) && !said.contains("panicked"), "{status} {said}");
    assert!(said.to_lowercase().contains("read-only"), "{said}");
}

/// There is room, but no more files can be made.
#[test]
fn a_folder_without_inodes_is_survived() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mount) = Mount::tmpfs(&folder.path().join("data"), "8m,nr_inodes=300") else { return };
    let upstream = Upstream::answering(OK);
    let mut colophon = Colophon::start(&upstream.url(), |options| {
        options.sign_all().data = Some(mount.0.clone());
    });
    logged(&colophon);
    let filler = mount.0.join("filler");
    fs::create_dir(&filler).unwrap();
    let made = (0..1000).take_while(|n| fs::write(filler.join(n.to_string()), "").is_ok()).count();
    assert!(made < 300);
    let during: Vec<Message> = (0..20).map(|_| chat(&colophon)).collect();
    assert!(during.iter().all(|response| response.status() == 200));
    fs::remove_dir_all(&filler).unwrap();
    for response in &during {
        assert_eq!(Fetched::of(response, colophon.listen()).outcome(), Outcome::Complete);
    }
    assert!(colophon.stop().success());
    assert_sound(&colophon);
}

/// Whatever is done to the checkpoint file, the entries say how long the log is: it is the same log, or no start.
#[test]
fn a_checkpoint_that_is_older_rubbish_or_gone() {
    let upstream = Upstream::answering(OK);
    let mut colophon = Colophon::signing(&upstream.url());
    let first = logged(&colophon);
    let checkpoint = colophon.data().join("log/1/checkpoint");
    let older = fs::read(&checkpoint).unwrap();
    logged(&colophon);
    assert!(colophon.stop().success());
    let newest = fs::read(&checkpoint).unwrap();
    let head = Head::of_folder(&colophon.data());
    assert_ne!(older, newest);
    let unsigned: Vec<u8> = String::from_utf8(newest.clone()).unwrap().replace("\u{2014}", "-").into();
    let cases: [(&str, Option<Vec<u8>>); 5] = [
        ("older", Some(older)),
        ("rubbish", Some(b"rubbish\n".to_vec())),
        ("empty", Some(Vec::new())),
        ("unsigned", Some(unsigned)),
        ("gone", None),
    ];
    for (what, bytes) in cases {
        match bytes {
            Some(bytes) => fs::write(&checkpoint, bytes).unwrap(),
            None => fs::remove_file(&checkpoint).unwrap(),
        }
        let (status, said) = colophon.try_start();
        match status {
            Some(status) => {
                assert!(!status.success() && said.contains("checkpoint"), "{what}: {status} {said}");
                assert!(!said.contains("panicked"), "{what}: {said}");
                fs::write(&checkpoint, &newest).unwrap();
                colophon.restart();
            }
            None => assert_eq!(
                Fetched::of(&first, colophon.listen()).outcome(),
                Outcome::Complete,
                "{what}: the log is not whole"
            ),
        }
        logged(&colophon);
        assert!(colophon.stop().success());
        log::assert_one_log(&colophon.data(), std::slice::from_ref(&head));
        assert_sound(&colophon);
        fs::write(colophon.folder().join("newest"), fs::read(&checkpoint).unwrap()).unwrap();
    }
}

/// `colophon log check` names the file; the proxy never hands out what does not lead to the root.
#[test]
fn a_corrupt_file_of_the_log_is_named() {
    let upstream = Upstream::answering(OK);
    let mut colophon = Colophon::signing(&upstream.url());
    let first = logged(&colophon);
    assert!(colophon.stop().success());
    let data = colophon.data();
    let size = Head::of_folder(&data).size;
    let mut files = vec![
        data.join(format!("log/1/tile/0/000.p/{size}")),
        data.join(format!("log/1/tile/entries/000.p/{size}")),
    ];
    files.extend(log::files(&data.join("shard")));
    files.extend(log::files(&data.join("log/1/seq")));
    assert!(files.len() > 4, "{files:?}");
    for file in &files {
        let whole = fs::read(file).unwrap();
        for (how, at) in [("its last byte", whole.len() - 1), ("a byte in its middle", whole.len() / 2)] {
            let mut spoilt = whole.clone();
            spoilt[at] ^= 1;
            fs::write(file, spoilt).unwrap();
            let (code, said) = colophon::run(&["log", "check", &data.display().to_string()]);
            let name = file.strip_prefix(&data).unwrap().display().to_string();
            // Of an entry its number is given.
            let named = said.contains(&name)
                || (name.contains("/entries/") && said.contains("leaf "))
                || (name.contains("/seq/") && said.contains("sequence entry "));
            assert!(code == 1 && named && !said.contains("panicked"), "{name}, {how}: {code} {said}");
        }
        fs::remove_file(file).unwrap();
        let (code, said) = colophon::run(&["log", "check", &data.display().to_string()]);
        assert!(code == 1 && !said.contains("panicked"), "{} gone: {code} {said}", file.display());
        fs::write(file, whole).unwrap();
    }
    assert_sound(&colophon);
    colophon.restart();
    for file in log::files(&data.join("shard")) {
        let whole = fs::read(&file).unwrap();
        let mut spoilt = whole.clone();
        spoilt[22] ^= 1;
        fs::write(&file, spoilt).unwrap();
        let header = first.header("colophon-receipt").unwrap();
        let answer = get(colophon.listen(), header.trim_matches('"'));
        assert!(matches!(answer.status(), 500 | 503), "{}: {}", file.display(), answer.status());
        fs::write(&file, whole).unwrap();
    }
    assert_eq!(Fetched::of(&first, colophon.listen()).outcome(), Outcome::Complete);
}

/// What another sidecar wrote ahead is that one's to log: no start, and both are whole once it is back in its place.
#[test]
fn a_wal_segment_of_another_data_folder_is_refused_by_name() {
    let upstream = Upstream::answering(OK);
    // Batches that never close: what was answered is in the WAL only.
    let slow = || {
        Colophon::start(&upstream.url(), |options| {
            options.sign_all().batch_every = "1h".to_owned();
        })
    };
    let (mut ours, mut theirs) = (slow(), slow());
    let segments = |colophon: &Colophon| -> Vec<PathBuf> {
        let files = log::files(&colophon.data().join("wal")).into_iter();
        files.filter(|path| path.extension().is_some_and(|extension| extension == "wal")).collect()
    };
    for colophon in [&mut ours, &mut theirs] {
        (0..3).for_each(|_| drop(chat(colophon)));
        colophon.kill();
    }
    let (segment, mut places) = (segments(&theirs).pop().unwrap(), segments(&ours));
    let own = fs::read(&places[0]).unwrap();
    places.push(ours.data().join("wal/99.wal"));
    for place in &places {
        fs::copy(&segment, place).unwrap();
        let (status, said) = ours.try_start();
        assert!(status.is_some_and(|status| !status.success()), "{said}");
        let named = place.display().to_string();
        assert!(said.contains(&named) && said.contains("another data folder"), "{said}");
        assert!(!said.contains("panicked"), "{said}");
        match place.ends_with("99.wal") {
            true => fs::remove_file(place).unwrap(),
            false => fs::write(place, &own).unwrap(),
        }
    }
    for colophon in [&mut ours, &mut theirs] {
        colophon.options().batch_every = "200ms".to_owned();
        colophon.restart();
        assert!(colophon.stop().success());
        assert_sound(colophon);
        assert_eq!(log::recorded_ids(&colophon.data()).len(), 3);
    }
}

/// Without its key a log cannot go on; making another one silently would be another log.
#[test]
fn a_lost_log_key_is_an_error() {
    let upstream = Upstream::answering(OK);
    let mut colophon = Colophon::signing(&upstream.url());
    let first = logged(&colophon);
    assert!(colophon.stop().success());
    let (key, saved) = (colophon.data().join("keys/log.pem"), colophon.folder().join("saved.pem"));
    fs::rename(&key, &saved).unwrap();
    let (status, said) = colophon.try_start();
    assert!(status.is_some_and(|status| !status.success()), "it goes on with another key");
    assert!(said.contains("log.pem") && !said.contains("adopt") && !said.contains("panicked"), "{said}");
    fs::write(&key, b"rubbish").unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let (status, said) = colophon.try_start();
    assert!(status.is_some_and(|status| !status.success()) && said.contains("log.pem"), "{said}");
    // Another log's key is no help.
    colophon_signer::Ed25519Key::generate().unwrap().save(&colophon.folder().join("other.pem")).unwrap();
    fs::rename(colophon.folder().join("other.pem"), &key).unwrap();
    let (status, said) = colophon.try_start();
    assert!(status.is_some_and(|status| !status.success()) && !said.contains("panicked"), "{said}");
    fs::rename(&saved, &key).unwrap();
    colophon.restart();
    assert_eq!(Fetched::of(&first, colophon.listen()).outcome(), Outcome::Complete);
}

/// The private openings are gone, as when they are deleted on purpose: the log is whole, the receipt is not to be had.
#[test]
fn without_its_openings_a_record_has_no_receipt() {
    let upstream = Upstream::answering(OK);
    let mut colophon = Colophon::signing(&upstream.url());
    let first = logged(&colophon);
    assert!(colophon.stop().success());
    fs::remove_dir_all(colophon.data().join("private")).unwrap();
    assert_sound(&colophon);
    colophon.restart();
    let answer = get(colophon.listen(), first.header("colophon-receipt").unwrap().trim_matches('"'));
    assert!(matches!(answer.status(), 404 | 410 | 503), "{} {}", answer.status(), answer.text());
    logged(&colophon);
}
