//! A log and its witnesses as processes: `colophon serve` with `--witness-policy`, and `colophon witness`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use colophon_receipt::checkpoint::Checkpoint;
use colophon_signer::note::{Note, VerifierKey};
use colophon_tests::colophon::Colophon;
use colophon_tests::receipts::Fetched;
use colophon_tests::upstream::Upstream;
use colophon_tests::witness::{Witness, make_key, vkey};
use colophon_tests::{PATIENCE, client, wait_for};

const ORIGIN: &str = "log.example/w/1";

fn hello() -> Upstream {
    Upstream::answering("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello")
}

/// A log's key in a folder, and its verifier key.
fn log_key(folder: &Path) -> (PathBuf, String) {
    let path = folder.join("log.pem");
    make_key(&path);
    let vkey = vkey(&path, "--origin", ORIGIN);
    (path, vkey)
}

/// A proxy whose log has this key and these witnesses.
fn witnessed(upstream: &Upstream, folder: &Path, key: &Path, policy: &str) -> Colophon {
    let file = folder.join("witness-policy");
    fs::write(&file, policy).unwrap();
    Colophon::start(&upstream.url(), |options| {
        options.sign_all().arg(&["--origin", "log.example/w", "--witness-every", "50ms"]);
        options.arg(&["--log-key", &key.display().to_string()]);
        options.arg(&["--witness-policy", &file.display().to_string()]);
    })
}

/// The published checkpoint: its size, and who of `keys` cosigned it.
fn published(colophon: &Colophon, file: &str, keys: &[&str]) -> (u64, usize) {
    let answer = client::get(colophon.listen(), &format!("/v1/colophon/log/1/{file}"));
    if answer.status() != 200 {
        return (0, 0);
    }
    let note = Note::parse(&answer.text()).unwrap();
    assert_eq!(note.signatures()[0].name, ORIGIN, "the log's own line stands first");
    let keys: Vec<VerifierKey> = keys.iter().map(|key| key.parse().unwrap()).collect();
    let count = note.verify(&keys).map_or(0, |verified| verified.signed.len());
    (Checkpoint::parse(note.text()).unwrap().size, count)
}

/// Waits until `count` of these have cosigned the newest checkpoint.
fn until_cosigned(colophon: &Colophon, keys: &[&str], count: usize) {
    let done = wait_for(PATIENCE, || (published(colophon, "checkpoint", keys).1 == count).then_some(()));
    assert!(done.is_some(), "{:?}", published(colophon, "checkpoint", keys));
}

/// `colophon-verify --json` against a trust file: exit code and report.
fn verify(receipt: &Fetched, trust: &str) -> (i32, serde_json::Value) {
    receipt.report(trust.as_bytes(), &["--at", "now"])
}

fn trust(log: &str, policy: &str, witnesses: &[&str], count: usize) -> String {
    serde_json::json!({
        "format": "colophon-trust-v1",
        "logs": [{"origin": ORIGIN, "vkey": log}],
        "witnesses": witnesses,
        "witness_policy": policy,
        "require": {"witnesses": count},
    })
    .to_string()
}

#[test]
fn two_witnesses_and_a_quorum() {
    let (upstream, folder) = (hello(), tempfile::tempdir().unwrap());
    let (key, log) = log_key(folder.path());
    let mut a = Witness::start(folder.path(), "a", &[&log]);
    let mut b = Witness::start(folder.path(), "b", &[&log]);
    let policy = format!("{}{}group both all a b\nquorum both\n", a.line(), b.line());
    let mut colophon = witnessed(&upstream, folder.path(), &key, &policy);
    let keys = [a.vkey().to_owned(), b.vkey().to_owned()];
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();

    let answer = client::post(colophon.listen(), "/v1/completions", "{}");
    Fetched::of(&answer, colophon.listen());
    until_cosigned(&colophon, &keys, 2);
    assert_eq!(published(&colophon, "cosigned", &keys), published(&colophon, "checkpoint", &keys));
    let receipt = Fetched::of(&answer, colophon.listen());
    let (code, report) = verify(&receipt, &trust(&log, &policy, &[], 2));
    assert_eq!(code, 0, "{report:#}");
    assert!(report["uniqueness"].as_str().unwrap().contains("witness.example/a"), "{report:#}");
    assert_eq!(report["witnesses"].as_array().unwrap().len(), 2);
    // A reader who knows neither of them is told no more than before.
    let (code, report) = verify(&receipt, &trust(&log, "quorum none\n", &[], 0));
    assert_eq!((code, report["uniqueness"].as_str().unwrap().starts_with("none")), (0, true));
    let (code, _) = verify(&receipt, &trust(&log, "quorum none\n", &keys[..1], 2));
    assert_eq!(code, 3);
    assert_eq!(colophon.metric("colophon_witness_contradicts{witness=\"witness.example/a\"}"), Some(0.0));
    assert!(colophon.metric("colophon_witness_quorum_size").unwrap() > 0.0);

    // A second process on a witness's state is refused.
    let (code, said) = a.second();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("in use by another process"), "{said}");

    // One killed again and again meanwhile loses nothing and contradicts nobody.
    for _ in 0..5 {
        b.process().kill();
        b.restart();
        client::post(colophon.listen(), "/v1/completions", "{}");
    }
    // One that is gone leaves the log going on, without a quorum.
    a.process().terminate();
    assert!(a.process().wait(PATIENCE).success());
    let late = client::post(colophon.listen(), "/v1/completions", "{}");
    let receipt = Fetched::of(&late, colophon.listen());
    let (code, report) = verify(&receipt, &trust(&log, &policy, &[], 0));
    assert_eq!(code, 3, "{report:#}");
    a.restart();
    until_cosigned(&colophon, &keys, 2);
    let receipt = Fetched::of(&late, colophon.listen());
    assert_eq!(verify(&receipt, &trust(&log, &policy, &[], 0)).0, 0);

    // What was cosigned is there after a restart without any witness.
    a.process().kill();
    b.process().kill();
    assert!(colophon.stop().success());
    colophon.restart();
    let old = Fetched::of(&answer, colophon.listen());
    assert_eq!(verify(&old, &trust(&log, &policy, &[], 2)).0, 0);
}

#[test]
fn witnesses_that_lie_hang_or_flood_hold_nobody_up() {
    let (upstream, folder) = (hello(), tempfile::tempdir().unwrap());
    let (key, log) = log_key(folder.path());
    let good = Witness::start(folder.path(), "good", &[&log]);
    let answer = |body: &str| {
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
    };
    let flood = Upstream::answering(answer(&"\u{2014} x AAAA\n".repeat(400_000)));
    let garbage = Upstream::answering(answer("garbage\n"));
    let silent = Upstream::serve(|conn| {
        conn.request();
        conn.wait_until_gone();
    });
    let bent = [("flood", &flood), ("garbage", &garbage), ("silent", &silent)];
    let keys = folder.path().join("keys");
    fs::create_dir(&keys).unwrap();
    let mut policy = good.line();
    for (name, server) in bent {
        let file = keys.join(name);
        make_key(&file);
        policy += &format!("witness {name} {} {}\n", vkey(&file, "--witness", name), server.url());
    }
    policy += "group one any good flood garbage silent\nquorum one\n";
    let mut colophon = witnessed(&upstream, folder.path(), &key, &policy);
    let answer = client::post(colophon.listen(), "/v1/completions", "{}");
    Fetched::of(&answer, colophon.listen());
    until_cosigned(&colophon, &[good.vkey()], 1);
    let receipt = Fetched::of(&answer, colophon.listen());
    assert_eq!(verify(&receipt, &trust(&log, &policy, &[], 1)).0, 0);
    for (name, _) in bent {
        let failed = wait_for(PATIENCE, || {
            let failed = colophon.metric(&format!("colophon_witness_failed_total{{witness=\"{name}\"}}"))?;
            (failed > 0.0).then_some(())
        });
        assert!(failed.is_some(), "{name}");
    }
    assert!(colophon.stop().success());
}

#[test]
fn a_log_restored_with_its_state_is_refused_by_its_witness() {
    let (upstream, folder) = (hello(), tempfile::tempdir().unwrap());
    let (key, log) = log_key(folder.path());
    let a = Witness::start(folder.path(), "a", &[&log]);
    let policy = format!("{}quorum a\n", a.line());
    let mut colophon = witnessed(&upstream, folder.path(), &key, &policy);
    client::post(colophon.listen(), "/v1/completions", "{}");
    assert!(colophon.stop().success());
    let copy = folder.path().join("copy");
    fs::create_dir_all(&copy).unwrap();
    let cp = |from: &Path, to: &Path| {
        let status = Command::new("cp").arg("-a").arg(from).arg(to).status();
        assert!(status.is_ok_and(|status| status.success()));
    };
    cp(&colophon.data(), &copy.join("data"));
    cp(&colophon.state(), &copy.join("state"));

    colophon.restart();
    client::post(colophon.listen(), "/v1/completions", "{}");
    until_cosigned(&colophon, &[a.vkey()], 1);
    colophon.kill();
    for (from, to) in [("data", colophon.data()), ("state", colophon.state())] {
        fs::remove_dir_all(&to).unwrap();
        cp(&copy.join(from), &to);
    }
    let (ended, said) = colophon.try_start();
    assert_eq!(ended.and_then(|status| status.code()), Some(1), "{said}");
    assert!(said.contains("witness.example/a") && said.contains("has cosigned"), "{said}");
}

#[test]
fn wrong_policies_and_wrong_settings_say_where() {
    let folder = tempfile::tempdir().unwrap();
    let (key, log) = log_key(folder.path());
    let policy = folder.path().join("policy");
    let witness = vkey(&key, "--witness", "w.example");
    for (text, what) in [
        ("quorum none\nnonsense\n".to_owned(), "line 2"),
        (format!("witness a {witness} ftp://x\nquorum a\n"), "submission prefix"),
        (format!("witness a {witness}"), "newline"),
    ] {
        fs::write(&policy, text).unwrap();
        let (status, said) = Colophon::refused("http://127.0.0.1:1", |options| {
            options.arg(&["--witness-policy", &policy.display().to_string()]);
        });
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(said.contains(what), "{said}");
    }
    let (key, state) = (key.display().to_string(), folder.path().join("state").display().to_string());
    let run = |more: &[&str]| {
        let args =
            ["witness", "--listen", "127.0.0.1:0", "--name", "w.example", "--key", &key, "--state", &state];
        colophon_tests::colophon::run(&[&args, more].concat())
    };
    let (code, said) = run(&[]);
    assert!(code == 1 && said.contains("no log"), "{said}");
    let (code, said) = run(&["--log", &log]);
    assert!(code == 1 && said.contains("its own witness"), "{said}");
}

#[test]
fn a_witness_answers_rubbish_in_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let (_, log) = log_key(folder.path());
    let mut witness = Witness::start(folder.path(), "a", &[&log]);
    let to = witness.listen();
    assert_eq!(client::get(to, "/").status(), 404);
    assert_eq!(client::get(to, "/add-checkpoint").status(), 405);
    assert_eq!(client::post(to, "/any/prefix/add-checkpoint", "rubbish").status(), 400);
    assert_eq!(client::post(to, "/add-checkpoint", &"x".repeat(70_000)).status(), 413);
    let unknown = "old 0\n\nother.example\n1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n\u{2014} other.example AAAAAAAA\n";
    assert_eq!(client::post(to, "/add-checkpoint", unknown).status(), 404);
    let known = unknown.replace("other.example", ORIGIN);
    assert_eq!(client::post(to, "/add-checkpoint", &known).status(), 403);
    // One that sends half a request holds nobody up.
    let mut half = client::Client::connect(to);
    half.send(b"POST /add-checkpoint HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nold 0");
    assert_eq!(client::post(to, "/add-checkpoint", "rubbish").status(), 400);
    witness.process().terminate();
    assert!(witness.process().wait(Duration::from_secs(25)).success());
}
