//! A log whose key was lost: what was recorded under it still has receipts, dated ones, and is exported and counted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use colophon_tests::colophon::{self, Colophon};
use colophon_tests::receipts::Fetched;
use colophon_tests::tsa::{Mood, P256, Tsa};
use colophon_tests::upstream::Upstream;
use colophon_tests::wire::Message;
use colophon_tests::{PATIENCE, client, paths, process, wait_for};

const OK: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{\"id\":\"x\"}";

fn ask(colophon: &Colophon) -> Message {
    let answer = client::post(colophon.listen(), "/v1/completions", "{}");
    Fetched::of(&answer, colophon.listen());
    answer
}

/// Has the newest checkpoint dated.
fn date_now(colophon: &Colophon) {
    let answer = client::post(colophon.admin(), "/timestamp", "");
    assert_eq!(answer.status(), 200, "{}", answer.text());
}

/// How a trust file that asks for one timestamp sees the receipt of this answer, and whether it has one.
fn dated(colophon: &Colophon, answer: &Message, trust: &Path) -> (i32, usize) {
    let receipt = Fetched::of(answer, colophon.listen());
    let (code, said) = receipt.verify_by(&fs::read(trust).unwrap(), None, None);
    assert!(code != 1, "{said}");
    (code, receipt.receipt().anchors.len())
}

fn verify(export: &Path, trust: &Path) -> (i32, serde_json::Value) {
    let mut command = Command::new(paths::program("colophon-verify"));
    let output = process::run(command.arg(export).arg("--json").arg("--trust").arg(trust), PATIENCE);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = serde_json::from_slice(&output.stdout).unwrap_or(serde_json::Value::String(said));
    (output.status.code().unwrap_or(-1), report)
}

#[test]
fn records_of_a_generation_whose_key_was_lost_keep_their_receipts_and_times() {
    let upstream = Upstream::answering(OK);
    let tsa = Tsa::new(P256).serve();
    let root = tsa.tsa().path("root.pem").display().to_string();
    let mut colophon = Colophon::start(&upstream.url(), |options| {
        options.sign_all().arg(&["--tsa-every", "1h", "--tsa", &tsa.url(), "--tsa-root", &root]);
    });
    let mut old = vec![ask(&colophon), ask(&colophon)];
    date_now(&colophon);
    // Nobody dates what comes after, and the key is lost.
    tsa.mood(Mood::Down);
    let last = ask(&colophon);
    assert!(colophon.stop().success());
    let (data, state) = (colophon.data().display().to_string(), colophon.state().display().to_string());
    let key = colophon.data().join("keys/log.pem");
    fs::remove_file(&key).unwrap();
    let new = key.with_file_name("log.new.pem").display().to_string();
    assert_eq!(colophon::run(&["key", "generate", &new]).0, 0);
    let lost = ["key", "rotate", "--data", &data, "--state", &state, "--old-key-lost", "--new-key", &new];
    let (code, said) = colophon::run(&lost);
    assert_eq!(code, 0, "{said}");
    colophon.options().arg(&["--log-key", &new]);
    colophon.restart();
    let trust: PathBuf = colophon.folder().join("trust.json");
    let keys = client::get(colophon.listen(), "/.well-known/colophon/keys").text();
    assert!(keys.contains("/1\"") && keys.contains("/2\""), "{keys}");
    fs::write(&trust, keys.replace("\"timestamps\": 0", "\"timestamps\": 1")).unwrap();
    // A count has no receipts, and only they could show timestamps.
    let keys_only = colophon.folder().join("keys.json");
    fs::write(&keys_only, &keys).unwrap();
    let newer = ask(&colophon);
    // The old generation's own timestamp dates what it covers, whatever the new one has; what came later has no time.
    for answer in &old {
        assert_eq!(dated(&colophon, answer, &trust), (0, 1));
    }
    assert_eq!(dated(&colophon, &last, &trust), (3, 0));
    assert_eq!(dated(&colophon, &newer, &trust), (3, 0));
    // Until somebody answers: then the end of the old generation is dated too.
    tsa.mood(Mood::Good);
    date_now(&colophon);
    let ended = wait_for(PATIENCE, || (dated(&colophon, &last, &trust) == (0, 1)).then_some(()));
    assert!(ended.is_some(), "the end of the old generation is never dated");
    assert_eq!(dated(&colophon, &newer, &trust), (0, 1));
    old.push(last);

    // By file, as a reader keeps them.
    let token = old[0].header("colophon-receipt").unwrap().trim_matches('"').to_owned();
    let (file, url) = (colophon.folder().join("old.receipt"), format!("http://{}{token}", colophon.listen()));
    let (code, said) = colophon::run(&["receipt", "get", &url, "-o", &file.display().to_string()]);
    assert_eq!(code, 0, "{said}");
    let trusted = trust.display().to_string();
    let (code, said) = colophon::run(&["verify", &file.display().to_string(), "--trust", &trusted]);
    assert!(code == 0 && said.contains("timestamp by"), "{code} {said}");
    assert!(colophon.stop().success());

    // An export shows one tree.
    let to = |name: &str| colophon.folder().join(name);
    let export = |name: &str, more: &[&str]| {
        let path = to(name).display().to_string();
        colophon::run(&[&["receipt", "export", &data, "-o", &path, "--trust", &trusted], more].concat())
    };
    let (code, said) = export("none", &[]);
    assert!(code == 2 && said.contains("2 generations") && said.contains("--generation"), "{code} {said}");
    let (code, said) = export("none", &["--generation", "3"]);
    assert!(code == 2 && said.contains("no generation 3"), "{code} {said}");
    for (generation, records) in [("1", 3), ("2", 1)] {
        let (code, said) = export(generation, &["--generation", generation]);
        assert_eq!(code, 0, "{said}");
        let (code, report) = verify(&to(generation), &trust);
        assert_eq!(
            (code, &report["receipts"]["trusted"], &report["receipts"]["dated"]),
            (0, &records.into(), &records.into()),
            "{report:#}"
        );
        let name = format!("proof {generation}");
        let path = to(&name).display().to_string();
        let proof =
            ["log", "count", &data, "--generation", generation, "--proof", &path, "--trust", &trusted];
        let (code, said) = colophon::run(&proof);
        assert!(code == 0 && said.contains(&format!("recorded    {records} in")), "{code} {said}");
        let (code, report) = verify(&to(&name), &keys_only);
        let told = (&report["count"]["totals"]["recorded"], &report["count"]["by_rule"][0]["recorded"]);
        assert_eq!((code, told), (0, (&records.into(), &records.into())), "{report:#}");
    }
    // All together, since the trust file has both keys.
    let (code, said) = colophon::run(&["log", "count", &data, "--trust", &trusted]);
    assert!(
        code == 0 && said.contains("recorded    4 in") && said.contains("(default): 4 recorded"),
        "{said}"
    );
    let (code, said) = colophon::run(&["log", "check", &data, "--trust", &trusted]);
    assert_eq!(code, 0, "{said}");
}
