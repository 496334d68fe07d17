//! `colophon monitor` against a living log, a crashed one, one that was rolled back, and one that broke its word.

use std::fs;
use std::path::Path;
use std::process::Command;

use colophon_tests::colophon::{Colophon, command};
use colophon_tests::process::{self, Process};
use colophon_tests::receipts::Fetched;
use colophon_tests::upstream::Upstream;
use colophon_tests::wire::Message;
use colophon_tests::witness::{make_key, vkey};
use colophon_tests::{PATIENCE, client, wait_for};

const ORIGIN: &str = "log.example/m/1";

fn hello() -> Upstream {
    Upstream::answering("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello")
}

/// A proxy whose log has a known key, and that key.
fn proxy(upstream: &Upstream, folder: &Path) -> (Colophon, String) {
    let key = folder.join("log.pem");
    make_key(&key);
    let colophon = Colophon::start(&upstream.url(), |options| {
        options.sign_all().arg(&["--origin", "log.example/m", "--log-key", &key.display().to_string()]);
        options.arg(&["--heartbeat", "1s"]);
    });
    (colophon, vkey(&key, "--origin", ORIGIN))
}

/// One look: exit code, and what it found of the one log.
fn once(state: &Path, log: &str, place: &str, more: &[&str]) -> (Option<i32>, serde_json::Value) {
    let mut command = command(&["monitor", "--once", "--json", "--log", &format!("{log}={place}")]);
    command.arg("--state").arg(state).args(more);
    let output = process::run(&mut command, PATIENCE);
    let said: serde_json::Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), said[0].clone())
}

fn kinds(round: &serde_json::Value) -> Vec<&str> {
    let found = round["found"].as_array().unwrap();
    found.iter().map(|found| found["kind"].as_str().unwrap()).collect()
}

fn url(colophon: &Colophon) -> String {
    format!("http://{}/.well-known/colophon/log/1", colophon.listen())
}

fn save(folder: &Path, name: &str, answer: &Message) {
    let lines: String = answer.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    fs::write(folder.join(name), format!("HTTP/1.1 200 OK\r\n{lines}\r\n")).unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::remove_dir_all(to).ok();
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(status.is_ok_and(|status| status.success()));
}

#[test]
fn a_log_is_followed_through_a_crash_and_a_rollback() {
    let (upstream, folder) = (hello(), tempfile::tempdir().unwrap());
    let (mut colophon, log) = proxy(&upstream, folder.path());
    let (state, promises) = (folder.path().join("monitor"), folder.path().join("promises"));
    fs::create_dir(&promises).unwrap();
    let watch = ["--promises", promises.to_str().unwrap()];

    let first = client::post(colophon.listen(), "/v1/completions", "{}");
    Fetched::of(&first, colophon.listen());
    save(&promises, "first", &first);
    let (code, round) = once(&state, &log, &url(&colophon), &watch);
    assert_eq!((code, kinds(&round)), (Some(0), vec![]), "{round:#}");
    assert!(round["size"].as_u64().unwrap() >= 3);
    // The receipt was fetched and is kept beside the promise.
    assert_eq!(fs::read_dir(&promises).unwrap().count(), 2);
    // From its folder it is the same log.
    let (code, round) = once(&state, &log, &colophon.data().display().to_string(), &watch);
    assert_eq!((code, kinds(&round)), (Some(0), vec![]), "{round:#}");

    // A crash leaves a shard without a close. It is told once.
    colophon.kill();
    let (data, kept) = (folder.path().join("data.copy"), folder.path().join("state.copy"));
    copy(&colophon.data(), &data);
    copy(&colophon.state(), &kept);
    let (code, round) = once(&state, &log, &url(&colophon), &[]);
    let why = round["unreachable"].as_str().unwrap_or_default();
    let said = why.contains(&url(&colophon)) && why.contains("Connection refused");
    assert_eq!((code, said), (Some(3), true), "{round:#}");
    colophon.restart();
    let second = client::post(colophon.listen(), "/v1/completions", "{}");
    Fetched::of(&second, colophon.listen());
    save(&promises, "second", &second);
    let (code, round) = once(&state, &log, &url(&colophon), &watch);
    assert_eq!((code, kinds(&round)), (Some(1), vec!["unclosed"]), "{round:#}");
    assert_eq!(once(&state, &log, &url(&colophon), &watch).0, Some(0));

    // Data and state restored from yesterday: the log goes on as if nothing had been since.
    colophon.kill();
    copy(&data, &colophon.data());
    copy(&kept, &colophon.state());
    colophon.restart();
    let (code, round) = once(&state, &log, &url(&colophon), &[]);
    assert_eq!(code, Some(1));
    assert!(matches!(kinds(&round)[0], "rollback" | "equivocation"), "{round:#}");
    let proof = fs::read_to_string(round["found"][0]["proof"].as_str().unwrap()).unwrap();
    let proof: serde_json::Value = serde_json::from_str(&proof).unwrap();
    for which in ["first", "second"] {
        let note = colophon_signer::note::Note::parse(proof[which].as_str().unwrap()).unwrap();
        assert!(note.verify(&[log.parse().unwrap()]).is_ok());
    }
    // It grows past what was seen, and is still another history.
    let size = round["size"].as_u64().unwrap();
    for _ in 0..20 {
        client::post(colophon.listen(), "/v1/completions", "{}");
        colophon_tests::pause(std::time::Duration::from_millis(250));
    }
    let grown = wait_for(PATIENCE, || (colophon.metric("colophon_log_size")? > size as f64).then_some(()));
    assert!(grown.is_some());
    let (code, round) = once(&state, &log, &url(&colophon), &watch);
    assert_eq!((code, kinds(&round)[0]), (Some(1), "equivocation"), "{round:#}");
}

#[test]
fn a_promise_that_is_not_kept_is_told_when_its_time_is_over() {
    let (upstream, folder) = (hello(), tempfile::tempdir().unwrap());
    let (colophon, log) = proxy(&upstream, folder.path());
    let (state, promises) = (folder.path().join("monitor"), folder.path().join("promises"));
    fs::create_dir(&promises).unwrap();
    let watch = ["--promises", promises.to_str().unwrap()];
    let answer = client::post(colophon.listen(), "/v1/completions", "{}");
    let receipt = Fetched::of(&answer, colophon.listen());
    let record = answer.header("colophon-record").unwrap().to_owned();
    let bent = |name: &str, change: &dyn Fn(&str) -> String| {
        let mut answer = client::post(colophon.listen(), "/v1/completions", "{}");
        for (header, value) in &mut answer.headers {
            if header.eq_ignore_ascii_case("colophon-record") {
                *value = change(&record);
            }
            if header.eq_ignore_ascii_case("colophon-receipt") {
                *value = "\"/v1/colophon/receipts/none\"".to_owned();
            }
        }
        save(&promises, name, &answer);
    };
    // Long ago, to be there within a second; and the same, due tomorrow.
    let old = |record: &str| format!("\"00000{}", &record[6..]).replace("mmd=86400", "mmd=1");
    bent("broken", &old);
    bent("pending", &|record| record.replacen(&record[20..25], "7abc-", 1));
    // One that is kept, but with another record than was promised.
    fs::write(promises.join("kept.json"), &receipt.json).unwrap();
    bent("other", &|record| {
        let at = record.find("leaf=:").unwrap() + 6;
        format!("{}AAAA{}", &record[..at], &record[at + 4..])
    });
    // A head that another log gave, and rubbish, are nothing to it.
    fs::write(promises.join("rubbish"), b"\xff\x00 colophon-record: nothing").unwrap();
    let (code, round) = once(&state, &log, &url(&colophon), &watch);
    let found: Vec<&str> =
        round["found"].as_array().unwrap().iter().map(|found| found["what"].as_str().unwrap()).collect();
    assert_eq!((code, kinds(&round)), (Some(1), vec!["promise", "promise"]), "{round:#}");
    assert!(found[0].starts_with("broken: the record") && found[0].contains("is signed"), "{found:?}");
    assert!(found[1].starts_with("other: the record in the log is not the one"), "{found:?}");
    // A receipt that was bent is no receipt.
    let text = String::from_utf8(receipt.json.clone()).unwrap();
    let index = text.find("index\": ").unwrap();
    fs::write(promises.join("kept.json"), format!("{}9{}", &text[..index + 8], &text[index + 9..])).unwrap();
    let (_, round) = once(&state, &log, &url(&colophon), &watch);
    assert!(kinds(&round).contains(&"receipt"), "{round:#}");
}

#[test]
fn it_follows_with_metrics_survives_a_kill_and_runs_once() {
    let (upstream, folder) = (hello(), tempfile::tempdir().unwrap());
    let (mut colophon, log) = proxy(&upstream, folder.path());
    let (state, ready) = (folder.path().join("monitor"), folder.path().join("monitor.ready"));
    let logs = folder.path().join("logs");
    fs::write(&logs, format!("log {log} {}\nquorum none\n", url(&colophon))).unwrap();
    let start = || {
        fs::remove_file(&ready).ok();
        let mut command =
            command(&["monitor", "--every", "100ms", "--silence", "10s", "--listen", "127.0.0.1:0"]);
        command.arg("--logs").arg(&logs).arg("--state").arg(&state).arg("--ready-file").arg(&ready);
        let process = Process::start(&mut command, &folder.path().join("monitor.log"));
        let listen = wait_for(PATIENCE, || {
            let ready: serde_json::Value = serde_json::from_slice(&fs::read(&ready).ok()?).unwrap();
            ready["listen"].as_str()?.parse().ok()
        });
        (process, listen.expect("it is not ready"))
    };
    let metric = |listen, name: &str| {
        let text = client::get(listen, "/metrics").text();
        let line = text.lines().find(|line| line.starts_with(&format!("{name}{{log=\"{ORIGIN}\"}}")));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
    };
    let (mut monitor, listen) = start();
    client::post(colophon.listen(), "/v1/completions", "{}");
    let grown = wait_for(PATIENCE, || (metric(listen, "colophon_monitor_size")? >= 3).then_some(()));
    assert!(grown.is_some(), "{}", monitor.log());
    assert_eq!(metric(listen, "colophon_monitor_standing"), Some(0));
    // A second one on the same folder is refused.
    let mut second = command(&["monitor", "--once"]);
    second.arg("--logs").arg(&logs).arg("--state").arg(&state);
    let output = process::run(&mut second, PATIENCE);
    assert_eq!(output.status.code(), Some(2));
    for _ in 0..3 {
        monitor.kill();
        (monitor, _) = start();
    }
    monitor.terminate();
    assert!(monitor.wait(PATIENCE).success());
    assert_eq!(once(&state, &log, &url(&colophon), &[]).0, Some(0));

    // What it finds is counted by kind, and stays counted.
    colophon.kill();
    colophon.restart();
    client::post(colophon.listen(), "/v1/completions", "{}");
    fs::write(&logs, format!("log {log} {}\nquorum none\n", url(&colophon))).unwrap();
    for _ in 0..2 {
        let (mut monitor, listen) = start();
        let counted = wait_for(PATIENCE, || {
            let line = format!("colophon_monitor_found_total{{log=\"{ORIGIN}\",kind=\"unclosed\"}} 1");
            client::get(listen, "/metrics").text().contains(&line).then_some(())
        });
        assert!(counted.is_some(), "{}\n{}", client::get(listen, "/metrics").text(), monitor.log());
        monitor.kill();
    }
}

#[test]
fn wrong_settings_say_what() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key.pem");
    make_key(&key);
    let (log, witness) = (vkey(&key, "--origin", ORIGIN), vkey(&key, "--witness", "w.example"));
    let (state, nowhere) = (folder.path().join("state"), folder.path().join("nothing").display().to_string());
    for (given, what) in [
        (format!("{log}={nowhere}"), "holds no log"),
        (format!("{witness}=http://127.0.0.1:1"), "not a log's key"),
        (log.clone(), "VKEY=URL"),
        (format!("{log}=http://127.0.0.1:1?x"), "no URL of a log"),
    ] {
        let mut command = command(&["monitor", "--once", "--log", &given]);
        command.arg("--state").arg(&state);
        let output = process::run(&mut command, PATIENCE);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{given}: {said}");
        assert!(said.contains(what), "{given}: {said}");
    }
}
