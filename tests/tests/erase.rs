//! `colophon erase` on a running proxy and on a stopped one, killed at any moment too: what opened the record is in no
//! byte of the data folder any more, the log says so once, and everything else stays.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use colophon_receipt::merkle::sha256;
use colophon_tests::client::{get, post, send};
use colophon_tests::colophon::{self, Colophon};
use colophon_tests::receipts::Fetched;
use colophon_tests::upstream::Upstream;
use colophon_tests::wire::Message;
use colophon_tests::{log, pause, process};

const CHAT: &str = "/v1/chat/completions";
const OK: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{\"id\":\"x\"}";

fn prompt(n: u32) -> String {
    format!("{{\"prompt\":\"patient number {n}\"}}")
}

fn id(response: &Message) -> String {
    let record = response.header("colophon-record").expect("a record");
    record.split('"').nth(1).expect("an id").to_owned()
}

fn receipt_of(response: &Message, colophon: &Colophon) -> Message {
    get(colophon.listen(), response.header("colophon-receipt").expect("a receipt").trim_matches('"'))
}

/// Exchanges numbered from `first`, all logged.
fn exchanges(colophon: &Colophon, first: u32, count: u32) -> Vec<Message> {
    let answers: Vec<Message> =
        (first..first + count).map(|n| post(colophon.listen(), CHAT, &prompt(n))).collect();
    for answer in &answers {
        Fetched::of(answer, colophon.listen());
    }
    answers
}

/// The files below `folder` that hold a digest of prompt `n`, which its record does.
fn holders(folder: &Path, n: u32) -> Vec<String> {
    let digest = sha256(prompt(n).as_bytes());
    let files = log::files(folder);
    let holds = |path: &&std::path::PathBuf| {
        fs::read(path).is_ok_and(|bytes| bytes.windows(32).any(|part| part == digest))
    };
    files.iter().filter(holds).map(|path| path.display().to_string()).collect()
}

fn erase_command(colophon: &Colophon, what: &[&str]) -> Command {
    let mut command = colophon::command(&["erase", "--json"]);
    command.args(what).arg("--data").arg(colophon.data()).arg("--state").arg(colophon.state());
    command
}

/// Runs `colophon erase`: its exit code, its report if it gave one, and all it said.
fn erase(colophon: &Colophon, what: &[&str]) -> (i32, serde_json::Value, String) {
    let output = process::run(&mut erase_command(colophon, what), Duration::from_secs(60));
    let report = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    (output.status.code().unwrap_or(-1), report, said)
}

fn check(colophon: &Colophon) -> serde_json::Value {
    let data = colophon.data().display().to_string();
    let (code, said) = colophon::run(&["log", "check", "--json", &data]);
    assert_eq!(code, 0, "{said}");
    serde_json::from_str(&said).expect("a report")
}

#[test]
fn one_record_is_erased_while_the_proxy_runs_and_one_while_it_does_not() {
    let upstream = Upstream::answering(OK);
    let mut colophon = Colophon::signing(&upstream.url());
    let answers = exchanges(&colophon, 1, 4);
    let handed_out = Fetched::of(&answers[1], colophon.listen());
    assert!(!holders(&colophon.data(), 2).is_empty(), "the WAL has it as it came");

    let (code, report, said) = erase(&colophon, &["--record", &id(&answers[1])]);
    assert_eq!((code, &report["openings"]), (0, &1.into()), "{said}");
    let index = report["log_index"].as_u64().expect("an index");
    assert_eq!(holders(colophon.folder(), 2), [""; 0]);
    let gone = receipt_of(&answers[1], &colophon);
    let body: serde_json::Value = serde_json::from_slice(&gone.body).unwrap();
    assert_eq!((gone.status(), &body["error"]["code"]), (410, &"erased".into()), "{body}");
    assert_eq!(body["erasure"]["log_index"], index);
    handed_out.assert_verifies(colophon.listen(), prompt(2).as_bytes(), b"{\"id\":\"x\"}");
    let (_, again, _) = erase(&colophon, &["--record", &id(&answers[1])]);
    assert_eq!((&again["earlier"], &again["log_index"]), (&true.into(), &index.into()));

    // On the data folder alone, and what the next start makes of it.
    assert!(colophon.stop().success());
    let (code, second, said) = erase(&colophon, &["--record", &id(&answers[2])]);
    assert_eq!((code, &second["openings"]), (0, &1.into()), "{said}");
    assert_eq!(holders(colophon.folder(), 3), [""; 0]);
    let checked = check(&colophon);
    assert_eq!((&checked["erasures"], &checked["erased"]), (&2.into(), &2.into()), "{checked}");
    let (_, shown) = colophon::run(&["log", "show", &colophon.data().display().to_string()]);
    let said = format!("record={}", id(&answers[1]).replace('-', ""));
    assert!(shown.contains(&format!("{index}  erasure")) && shown.contains(&said), "{shown}");
    colophon.restart();
    for (n, expected) in [(0, 200), (1, 410), (2, 410), (3, 200)] {
        assert_eq!(receipt_of(&answers[n], &colophon).status(), expected, "answer {n}");
    }

    // What cannot be done is said, and by its exit code.
    let unknown = "01a20707-1db5-7000-8c5f-6c1b5cd28982";
    for (what, expected) in [
        (&["--record", unknown][..], "no record has this id"),
        (&["--record", "x"], "UUID"),
        (&["--before", "2100-01-01T00:00:00Z"], "future"),
        (&["--tenant", ""], "1 to 1024 bytes"),
        (&[], "--record"),
        (&["--tenant", "a", "--before", "now"], "cannot be used with"),
    ] {
        let (code, _, said) = erase(&colophon, what);
        assert!(code != 0 && said.contains(expected), "{what:?}: {code} {said}");
    }
    let (code, none, said) = erase(&colophon, &["--before", "2020-01-01T00:00:00Z"]);
    assert_eq!((code, &none["openings"], &none["log_index"]), (0, &0.into(), &().into()), "{said}");
    let (code, all, said) = erase(&colophon, &["--tenant", "-"]);
    assert_eq!((code, &all["openings"]), (0, &2.into()), "{said}");
    assert_eq!(receipt_of(&answers[0], &colophon).status(), 410);
    let fresh = exchanges(&colophon, 5, 1);
    assert_eq!(receipt_of(&fresh[0], &colophon).status(), 200);
}

/// Whoever can only connect to the admin side cannot erase.
#[test]
fn the_admin_side_asks_for_the_token() {
    let upstream = Upstream::answering(OK);
    let colophon = Colophon::signing(&upstream.url());
    let answers = exchanges(&colophon, 1, 1);
    let body = format!("{{\"record\":\"{}\"}}", id(&answers[0]));
    let ask = |authorization: &str, body: &str| {
        let head = format!(
            "POST /erase HTTP/1.1\r\nHost: x\r\n{authorization}Content-Length: {}\r\n\r\n",
            body.len()
        );
        send(colophon.admin(), format!("{head}{body}").as_bytes()).status()
    };
    for bad in
        ["", "Authorization: Bearer \r\n", "Authorization: Bearer 00\r\n", "Authorization: Basic eDp4\r\n"]
    {
        assert_eq!(ask(bad, &body), 401, "{bad:?}");
    }
    let access: serde_json::Value =
        serde_json::from_slice(&fs::read(colophon.data().join("keys/admin")).unwrap()).unwrap();
    let good = format!("Authorization: Bearer {}\r\n", access["token"].as_str().unwrap());
    for bad in ["", "{}", "{\"record\":\"x\"}", "{\"all\":true}", &"x".repeat(20_000)] {
        assert_eq!(ask(&good, bad), 400, "{bad:.40}");
    }
    assert_eq!(receipt_of(&answers[0], &colophon).status(), 200);
    assert_eq!(ask(&good, &body), 200);
    assert_eq!(receipt_of(&answers[0], &colophon).status(), 410);
}

#[test]
fn killed_at_any_moment_an_erasure_ends_erased_and_is_logged_once() {
    let upstream = Upstream::answering(OK);
    let mut colophon = Colophon::start(&upstream.url(), |options| {
        options.sign_all().batch_every = "60ms".to_owned();
    });
    let answers = exchanges(&colophon, 0, 24);
    // The moments are spread over what one erasure takes here and now.
    let begun = std::time::Instant::now();
    let (code, _, said) = erase(&colophon, &["--record", &id(&answers[2])]);
    assert_eq!(code, 0, "{said}");
    let whole = begun.elapsed();
    let mut interrupted = 0;
    for (n, answer) in answers.iter().enumerate().skip(3) {
        let (record, life) = (id(answer), whole * (n as u32 - 3) / 20);
        // The proxy dies while it erases; or a command on the folder does.
        let online = n % 2 == 0;
        if !online {
            assert!(colophon.stop().success());
        }
        let mut command = erase_command(&colophon, &["--record", &record]);
        let child = command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let mut child = child.spawn().expect("colophon erase");
        pause(life);
        if online {
            colophon.kill();
        } else {
            child.kill().expect("a child");
        }
        let ended = child.wait().expect("an end");
        interrupted += u32::from(!ended.success());
        // It is repeated, as whoever got no answer would do.
        colophon.restart();
        let (code, _, said) = erase(&colophon, &["--record", &record]);
        assert_eq!(code, 0, "{n}: {said}");
        assert_eq!(receipt_of(answer, &colophon).status(), 410, "{n}");
        assert_eq!(holders(colophon.folder(), n as u32), [""; 0]);
    }
    assert!(interrupted > 3, "only {interrupted} were interrupted");
    for kept in &answers[..2] {
        assert_eq!(receipt_of(kept, &colophon).status(), 200);
    }
    assert!(colophon.stop().success());
    let checked = check(&colophon);
    assert_eq!((&checked["erasures"], &checked["erased"]), (&22.into(), &22.into()), "{checked}");
}
