//! Break glass: while the ledger cannot keep records, traffic goes on for a while, counted and signed; never silently,
//! never for longer than was said, and a kill neither ends nor forgets it.

use std::time::Duration;

use colophon_receipt::level::Outcome;
use colophon_tests::client::{get, post, send};
use colophon_tests::colophon::{self, Colophon, SIGN_ALL};
use colophon_tests::receipts::Fetched;
use colophon_tests::upstream::Upstream;
use colophon_tests::wire::Message;
use colophon_tests::{PATIENCE, pause, wait_for};

const OK: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{\"id\":\"x\"}";

fn chat(colophon: &Colophon) -> Message {
    post(colophon.listen(), "/v1/chat/completions", "{}")
}

/// A proxy whose ledger takes no more than three records, and the answers that it gave until then.
fn full(upstream: &Upstream) -> (Colophon, Vec<Message>) {
    let colophon = Colophon::start(&upstream.url(), |options| {
        options.policy = Some(SIGN_ALL.replace("Ignore", "Fail"));
        options.batch_every = "1h".into();
        options.arg(&["--max-backlog", "3"]);
    });
    let answers: Vec<Message> = (0..3).map(|_| chat(&colophon)).collect();
    assert!(answers.iter().all(|answer| answer.status() == 200));
    let refused = chat(&colophon);
    assert_eq!(refused.status(), 503, "{}", refused.text());
    (colophon, answers)
}

/// `colophon bypass --json`: its exit code and what it said.
fn bypass(colophon: &Colophon, args: &[&str]) -> (i32, serde_json::Value) {
    let data = colophon.data().display().to_string();
    let (code, said) = colophon::run(&[&["bypass", "--json", "--data", &data], args].concat());
    (code, serde_json::from_str(&said).unwrap_or(serde_json::Value::String(said)))
}

/// Goes on without a record.
fn assert_passes(colophon: &Colophon, times: usize) {
    for _ in 0..times {
        let answer = chat(colophon);
        assert_eq!((answer.status(), answer.text().as_str()), (200, "{\"id\":\"x\"}"));
        assert_eq!(answer.header("colophon-record"), None, "there is no record");
    }
}

fn checked(colophon: &Colophon) -> serde_json::Value {
    let (code, said) = colophon::run(&["log", "check", "--json", &colophon.data().display().to_string()]);
    assert_eq!(code, 0, "{said}");
    serde_json::from_str(&said).expect("a report")
}

#[test]
fn what_cannot_be_recorded_goes_on_counted_and_signed_across_a_kill() {
    let upstream = Upstream::answering(OK);
    let (mut colophon, answers) = full(&upstream);
    assert_ne!(get(colophon.admin(), "/readyz").status(), 200);
    assert_eq!(bypass(&colophon, &[]).1["bypass"], serde_json::Value::Null);
    let (code, said) = bypass(&colophon, &["--for", "1h", "--reason", "disk full", "--by", "night shift"]);
    assert_eq!((code, &said["bypass"]["remembered"]), (0, &true.into()), "{said}");
    assert_eq!(get(colophon.admin(), "/readyz").status(), 200, "or nobody would be sent here");
    assert_passes(&colophon, 5);
    assert_eq!(colophon.metric("colophon_bypassed_total"), Some(5.0));
    assert_eq!(colophon.metric("colophon_bypass"), Some(1.0));
    assert_eq!(bypass(&colophon, &["--for", "1h", "--reason", "again", "--by", "x"]).0, 1, "there is one");

    colophon.kill();
    colophon.restart();
    assert_eq!(bypass(&colophon, &[]).1["bypass"]["exchanges"], 5);
    // What the first life left is logged at the start, and makes room. What can be recorded is.
    let logged = || (colophon.metric("colophon_ledger_backlog") == Some(0.0)).then_some(());
    assert!(wait_for(PATIENCE, logged).is_some(), "recovered records are not logged");
    let mut kept = Vec::new();
    while let answer = chat(&colophon)
        && answer.header("colophon-record").is_some()
    {
        kept.push(answer);
        assert!(kept.len() < 10, "the ledger is not full");
    }
    assert_passes(&colophon, 1);
    let (code, said) = bypass(&colophon, &["--end"]);
    assert_eq!((code, &said["bypass"]["exchanges"]), (0, &7.into()), "{said}");
    assert_eq!(chat(&colophon).status(), 503, "it has ended");
    assert!(colophon.stop().success());

    let report = checked(&colophon);
    let told = &report["bypasses"];
    assert_eq!(told.as_array().map(Vec::len), Some(1), "{report}");
    let told = &told[0];
    assert_eq!(
        (&told["who"], &told["why"], &told["exchanges"]),
        (&"night shift".into(), &"disk full".into(), &7.into())
    );
    assert!(told["ended"].as_u64().is_some());
    let data = colophon.data().display().to_string();
    let (_, said) = colophon::run(&["log", "check", &data]);
    assert!(said.contains("7 exchanges unrecorded") && said.contains("night shift: disk full"), "{said}");
    let (_, said) = colophon::run(&["log", "count", &data]);
    assert!(said.contains("let through by a bypass"), "{said}");
    let left = std::fs::read_dir(colophon.data().join("bypass")).expect("a folder").count();
    assert_eq!(left, 0, "what is told is forgotten");

    // The receipts around it say so; the next life is no longer around it.
    colophon.options().batch_every = "200ms".into();
    colophon.restart();
    for answer in answers.iter().chain(&kept) {
        let receipt = Fetched::of(answer, colophon.listen());
        assert_eq!(receipt.outcome(), Outcome::Complete);
        let (code, said) = receipt.verify(colophon.listen(), None, None);
        assert!(code == 0 && said.contains("break-glass") && said.contains("\"night shift\""), "{said}");
    }
    let (code, said) = Fetched::of(&chat(&colophon), colophon.listen()).verify(colophon.listen(), None, None);
    assert!(code == 0 && !said.contains("break-glass"), "{said}");
    assert!(colophon.stop().success());
    checked(&colophon);
}

#[test]
fn it_ends_by_itself_and_needs_the_token_and_a_reason() {
    let upstream = Upstream::answering(OK);
    let (colophon, _) = full(&upstream);
    let body = r#"{"who":"x","reason":"x","for_ms":60000}"#;
    for token in ["", "Authorization: Bearer 00\r\n"] {
        let request = format!(
            "POST /bypass HTTP/1.1\r\nHost: x\r\n{token}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        assert_eq!(send(colophon.admin(), request.as_bytes()).status(), 401);
    }
    assert_eq!(chat(&colophon).status(), 503);
    for args in [
        &["--for", "1h"][..],
        &["--reason", "x"],
        &["--for", "25h", "--reason", "x", "--by", "x"],
        &["--for", "1h", "--reason", " ", "--by", "x"],
    ] {
        assert_ne!(bypass(&colophon, args).0, 0, "{args:?}");
    }
    assert_eq!(chat(&colophon).status(), 503);
    assert_eq!(bypass(&colophon, &["--for", "2s", "--reason", "x", "--by", "x"]).0, 0);
    assert_passes(&colophon, 2);
    pause(Duration::from_secs(2));
    assert!(wait_for(PATIENCE, || (chat(&colophon).status() == 503).then_some(())).is_some(), "it goes on");
    assert_eq!(bypass(&colophon, &[]).1["bypass"], serde_json::Value::Null);
    assert_eq!(colophon.metric("colophon_bypass"), Some(0.0));
}
