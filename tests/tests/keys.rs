//! The log's key from everywhere it may come from: the environment, a PKCS#11 token; what is wrong with it is said, and a
//! token that is pulled out costs nothing but time.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use colophon_receipt::level::Outcome;
use colophon_signer::{Ed25519Key, KeySource};
use colophon_tests::client::post;
use colophon_tests::colophon::{self, Colophon};
use colophon_tests::receipts::Fetched;
use colophon_tests::softhsm::SoftHsm;
use colophon_tests::upstream::Upstream;
use colophon_tests::wire::Message;
use colophon_tests::{PATIENCE, process, wait_for};

const OK: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{\"id\":\"x\"}";

fn chat(colophon: &Colophon) -> Message {
    let response = post(colophon.listen(), "/v1/chat/completions", "{}");
    assert_eq!(response.status(), 200, "{}", response.text());
    response
}

fn assert_sound(colophon: &Colophon) {
    let (code, said) = colophon::run(&["log", "check", &colophon.data().display().to_string()]);
    assert_eq!(code, 0, "{said}");
}

#[test]
fn a_log_key_from_the_environment() {
    let upstream = Upstream::answering(OK);
    let key = Ed25519Key::generate().unwrap();
    let pem = key.to_pkcs8_pem().unwrap().to_string();
    let secret = &pem.lines().nth(1).unwrap()[24..];
    let mut colophon = Colophon::start(&upstream.url(), |options| {
        options.sign_all().arg(&["--log-key", "env:THE_LOG_KEY"]);
        options.env.push(("THE_LOG_KEY".into(), pem.clone()));
    });
    let first = chat(&colophon);
    Fetched::of(&first, colophon.listen()).assert_verifies(colophon.listen(), b"{}", b"{\"id\":\"x\"}");
    assert!(!colophon.data().join("keys/log.pem").exists(), "a second key lies in the data folder");
    assert!(colophon.stop().success());

    // Gone, garbled, or another one: no start, and no other log.
    for (value, why) in [
        (None, "there is no such environment variable"),
        (Some("rubbish".to_owned()), "not an Ed25519 private key"),
        (Some(pem[..100].to_owned()), "was it cut off?"),
        (Some(Ed25519Key::generate().unwrap().to_pkcs8_pem().unwrap().to_string()), "the key given is"),
    ] {
        colophon.options().env = value.map(|value| ("THE_LOG_KEY".into(), value)).into_iter().collect();
        let (status, said) = colophon.try_start();
        assert!(status.is_some_and(|status| !status.success()), "{why}: it serves");
        assert!(said.contains(why) && !said.contains("panicked") && !said.contains(secret), "{why}: {said}");
    }
    colophon.options().env = vec![("THE_LOG_KEY".into(), pem)];
    colophon.restart();
    assert_eq!(Fetched::of(&first, colophon.listen()).outcome(), Outcome::Complete);
}

#[test]
fn key_commands_take_every_source() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.pem");
    let file = path.display().to_string();
    let (code, said) = colophon::run(&["key", "generate", &format!("file:{file}")]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let public = Ed25519Key::load(&path).unwrap().public_key();
    let key_id = public.key_id_hex();
    for source in [file.clone(), format!("file:{file}")] {
        let (code, said) = colophon::run(&["key", "show", &source, "--origin", "log.example/1"]);
        assert!(code == 0 && said.contains(&key_id) && said.contains("log.example/1+"), "{said}");
    }
    let shown = process::run(
        colophon::command(&["key", "show", "env:A_KEY", "--json"])
            .env("A_KEY", fs::read_to_string(&path).unwrap()),
        PATIENCE,
    );
    assert!(String::from_utf8(shown.stdout).unwrap().contains(&key_id));

    let (code, said) = colophon::run(&["key", "generate", &file]);
    assert!(code == 1 && said.contains("is there already; nothing is overwritten"), "{said}");
    for mode in [0o640, 0o604, 0o644] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let (code, said) = colophon::run(&["key", "show", &file]);
        assert!(code == 1 && said.contains("chmod 600"), "{said}");
    }
    for (source, why) in [
        ("env:", "name of a variable"),
        ("kms:alias/log", "no key source"),
        ("pkcs11:object=a", "module-path"),
        ("pkcs11:object=a?module-path=/m&pin-value=1234", "pin-source"),
    ] {
        let (code, said) = colophon::run(&["key", "show", source]);
        assert!(code == 2 && said.contains(why), "{source}: {said}");
    }
}

/// A token that is pulled out while answers go on: nothing is signed and nothing is lost, and once it is back everything
/// is logged. The worker threads stay free meanwhile: answers do not wait.
#[test]
fn a_token_pulled_out_and_put_back_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let Some(hsm) = SoftHsm::new(folder.path()) else { return };
    let uri = hsm.uri("log");
    let made = process::run(colophon::command(&["key", "generate", &uri]).envs([hsm.env()]), PATIENCE);
    assert!(made.status.success(), "{made:?}");
    let shown = hsm.tool(&["--list-objects", "--type", "pubkey"]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("EC_EDWARDS"), "{shown:?}");

    let upstream = Upstream::answering(OK);
    let mut colophon = Colophon::start(&upstream.url(), |options| {
        options.sign_all().arg(&["--log-key", &uri]);
        options.env.push(hsm.env());
    });
    let mut answers = vec![chat(&colophon)];
    Fetched::of(&answers[0], colophon.listen()).assert_verifies(colophon.listen(), b"{}", b"{\"id\":\"x\"}");
    assert!(!colophon.data().join("keys/log.pem").exists());

    let away = folder.path().join("away");
    fs::rename(hsm.tokens(), &away).unwrap();
    fs::create_dir(hsm.tokens()).unwrap();
    for _ in 0..5 {
        answers.push(chat(&colophon));
    }
    let told = wait_for(PATIENCE, || {
        let log = colophon.process().log();
        (log.contains("no signature by pkcs11:") && log.contains("it is tried again")).then_some(())
    });
    told.unwrap_or_else(|| panic!("nobody is told:\n{}", colophon.process().log()));
    // Still served while the token is away.
    answers.push(chat(&colophon));
    fs::remove_dir(hsm.tokens()).unwrap();
    fs::rename(&away, hsm.tokens()).unwrap();
    for answer in &answers {
        assert_eq!(Fetched::of(answer, colophon.listen()).outcome(), Outcome::Complete);
    }
    let last = answers.last().unwrap();
    Fetched::of(last, colophon.listen()).assert_verifies(colophon.listen(), b"{}", b"{\"id\":\"x\"}");

    // Ended while the token is away: not logged, but in the WAL.
    fs::rename(hsm.tokens(), &away).unwrap();
    fs::create_dir(hsm.tokens()).unwrap();
    let in_wal = chat(&colophon);
    colophon.process().terminate();
    assert!(!colophon.process().wait(Duration::from_secs(60)).success());
    let (status, said) = colophon.try_start();
    assert!(status.is_some_and(|status| !status.success()) && said.contains("there is no token"), "{said}");
    fs::remove_dir(hsm.tokens()).unwrap();
    fs::rename(&away, hsm.tokens()).unwrap();
    colophon.restart();
    assert_eq!(Fetched::of(&in_wal, colophon.listen()).outcome(), Outcome::Complete);
    assert_eq!(colophon.metric("colophon_ledger_lost_total"), Some(0.0));
    assert!(colophon.stop().success());
    assert_sound(&colophon);
    assert!(matches!(uri.parse::<KeySource>(), Ok(KeySource::Token(_))));
}

/// A rotation that is killed at any moment leaves the old generation or the new one, never half of one; done again, it is
/// complete, and receipts of both generations verify with the one trust file.
#[test]
fn a_rotation_killed_anywhere_can_be_done_again() {
    let upstream = Upstream::answering(OK);
    let mut colophon = Colophon::signing(&upstream.url());
    let mut answers = vec![chat(&colophon)];
    Fetched::of(&answers[0], colophon.listen());
    for round in 1..=4_u32 {
        assert!(colophon.stop().success());
        let data = colophon.data().display().to_string();
        let state = colophon.state().display().to_string();
        let rotate = ["key", "rotate", "--data", &data, "--state", &state, "--json"];
        for pause in [2, 5, 9, 14, 20, 30] {
            let mut killed = colophon::command(&rotate).stdout(std::process::Stdio::null()).spawn().unwrap();
            colophon_tests::pause(Duration::from_millis(pause * u64::from(round)));
            killed.kill().ok();
            killed.wait().unwrap();
        }
        let (code, said) = colophon::run(&rotate);
        assert_eq!(code, 0, "{said}");
        let rotated: serde_json::Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
        assert_eq!(rotated["generation"], round + 1, "{said}");
        colophon.restart();
        answers.push(chat(&colophon));
        for answer in &answers {
            let receipt = Fetched::of(answer, colophon.listen());
            receipt.assert_verifies(colophon.listen(), b"{}", b"{\"id\":\"x\"}");
        }
    }
    assert!(colophon.stop().success());
    assert_sound(&colophon);
    // The store loses its newest generation, and somebody has kept the key of the one before.
    let (newest, away) = (colophon.data().join("log/5"), colophon.folder().join("log-5"));
    fs::rename(&newest, &away).unwrap();
    let (status, said) = Colophon::refused(&upstream.url(), |options| {
        options.sign_all().arg(&["--log-key", &colophon.data().join("keys/log-4.pem").display().to_string()]);
        (options.data, options.state) = (Some(colophon.data()), Some(colophon.state()));
    });
    assert!(!status.success() && said.contains("/5, of which the store has nothing"), "{status} {said}");
    // Adopted once, it goes on, from then on without that.
    let adopted = |adopt: bool| {
        Colophon::start(&upstream.url(), |options| {
            options
                .sign_all()
                .arg(&["--log-key", &colophon.data().join("keys/log-4.pem").display().to_string()]);
            options.arg(if adopt { &["--adopt"] } else { &[] });
            (options.data, options.state) = (Some(colophon.folder().join("adopted")), Some(colophon.state()));
        })
    };
    let copied =
        Command::new("cp").arg("-a").arg(colophon.data()).arg(colophon.folder().join("adopted")).status();
    assert!(copied.unwrap().success());
    for adopt in [true, false] {
        assert!(adopted(adopt).stop().success(), "adopt {adopt}");
    }
    fs::rename(&away, &newest).unwrap();

    // All generations are counted together; what shows a count lies in one tree.
    let folder = colophon.data().display().to_string();
    let (code, said) = colophon::run(&["log", "count", &folder, "--json"]);
    let count: serde_json::Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert_eq!((code, &count["unbroken"]), (3, &true.into()), "{said}");
    assert_eq!(count["count"]["totals"]["recorded"], answers.len(), "{said}");
    let proof = colophon.folder().join("proof").display().to_string();
    let (code, said) = colophon::run(&["log", "count", &folder, "--proof", &proof]);
    assert!(code != 0 && said.contains("generations"), "{said}");
    // The index of all of them is made again.
    let (code, said) = colophon::run(&["log", "index", &folder]);
    assert!(code == 0 && said.starts_with("0 of"), "{said}");
    fs::remove_dir_all(colophon.data().join("index")).unwrap();
    let (code, said) = colophon::run(&["log", "index", &folder]);
    assert!(code == 0 && said.contains(&format!("for {} batches", answers.len())), "{said}");
    colophon.restart();
    for answer in &answers {
        Fetched::of(answer, colophon.listen()).assert_verifies(colophon.listen(), b"{}", b"{\"id\":\"x\"}");
    }
    assert!(colophon.stop().success());
    // An old generation that lost its end does not pass for the whole.
    let seen = fs::read(colophon.data().join("log/3/checkpoint")).unwrap();
    let before = fs::read(colophon.data().join("log/2/checkpoint")).unwrap();
    fs::write(colophon.data().join("log/3/checkpoint"), before).unwrap();
    let (code, said) = colophon::run(&["log", "count", &folder]);
    assert!(code != 0 && said.contains("log/3/checkpoint"), "{said}");
    fs::write(colophon.data().join("log/3/checkpoint"), seen).unwrap();

    // The first key is gone for good, and the log does not need it.
    fs::remove_file(colophon.data().join("keys/log.pem")).unwrap();
    colophon.restart();
    assert!(colophon.stop().success());
    let data = colophon.data().display().to_string();
    let state = colophon.state().display().to_string();
    let (code, said) = colophon::run(&[
        "key",
        "revoke",
        "--data",
        &data,
        "--state",
        &state,
        "--shard",
        "nobody/0000000000000000",
        "--reason",
        "key-compromise",
    ]);
    assert!(code == 1 && said.contains("announced no shard"), "{said}");
    let (_, shown) = colophon::run(&["log", "show", &data]);
    let name =
        shown.lines().find(|line| line.contains("announce")).unwrap().split_whitespace().nth(2).unwrap();
    let (code, said) = colophon::run(&[
        "key",
        "revoke",
        "--data",
        &data,
        "--state",
        &state,
        "--shard",
        name,
        "--reason",
        "key-compromise",
    ]);
    assert!(code == 0 && said.contains("key_id"), "{said}");
    assert_sound(&colophon);
}

#[test]
fn the_private_openings_get_another_key_by_rewrap_only() {
    let upstream = Upstream::answering(OK);
    let mut colophon = Colophon::signing(&upstream.url());
    let answer = chat(&colophon);
    Fetched::of(&answer, colophon.listen());
    let new = colophon.folder().join("new.key");
    fs::write(&new, "2a".repeat(32)).unwrap();
    fs::set_permissions(&new, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let (data, new) = (colophon.data().display().to_string(), format!("file:{}", new.display()));
    let rewrap = ["key", "rewrap", "--data", &data, "--new-private-key", &new, "--json"];
    let (code, said) = colophon::run(&rewrap);
    assert!(code == 1 && said.contains("in use"), "it still runs: {said}");
    assert!(colophon.stop().success());
    for (keys, before) in [(1, 0), (0, 1)] {
        let (code, said) = colophon::run(&rewrap);
        assert_eq!(code, 0, "{said}");
        let done: serde_json::Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
        assert_eq!((&done["keys"], &done["before"]), (&keys.into(), &before.into()), "{said}");
    }
    let (status, said) = colophon.try_start();
    assert!(status.is_some_and(|status| !status.success()) && said.contains("--private-key"), "{said}");
    colophon.options().arg(&["--private-key", &new]);
    colophon.restart();
    Fetched::of(&answer, colophon.listen()).assert_verifies(colophon.listen(), b"{}", b"{\"id\":\"x\"}");
}
