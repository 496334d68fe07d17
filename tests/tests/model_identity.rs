//! `serve --model-cert`: which records name a model certificate, what they say when it stops to hold, and what a reader
//! makes of it; and a model authority that publishes in a log of its own.

use std::fs;
use std::path::{Path, PathBuf};

use colophon_receipt::fields::{self, Failure, Model, Operation};
use colophon_tests::client::{get, post};
use colophon_tests::colophon::{Colophon, Options};
use colophon_tests::models::Bench;
use colophon_tests::proving::takes_simulated;
use colophon_tests::receipts::Fetched;
use colophon_tests::upstream::Upstream;
use colophon_tests::wire::Message;
use colophon_tests::{PATIENCE, colophon, pause, wait_for};
use serde_json::{Value, json};

/// A model server that answers everything, as the model asked for.
fn server() -> Upstream {
    Upstream::serve(|conn| {
        while let Some(request) = conn.request() {
            let name = if request.text().contains("other") { "other" } else { "tiny" };
            let body = format!("{{\"object\":\"chat.completion\",\"model\":\"{name}\",\"choices\":[]}}");
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length";
            conn.send(format!("{head}: {}\r\n\r\n{body}", body.len()).as_bytes());
        }
    })
}

fn serve(bench: &Bench, options: &mut Options, more: &[&str]) {
    let path = |name: &str| bench.path(name).to_str().unwrap().to_owned();
    options.arg(&["--model-cert", &path("cert.json"), "--model-dir", &path("model")]);
    options.arg(&["--model-authority", &path("authority.json"), "--model-check-every", "100ms"]).arg(more);
}

fn ask(colophon: &Colophon, model: &str) -> (Message, Fetched) {
    let answer = post(colophon.listen(), "/v1/chat/completions", &format!("{{\"model\":\"{model}\"}}"));
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let fetched = Fetched::of(&answer, colophon.listen());
    (answer, fetched)
}

fn model(fetched: &Fetched) -> Model<'static> {
    Model::read(fetched.field(fields::MODEL).expect("the model's field")).expect("a model")
}

/// The certificate that new records name, by the proxy's own words.
fn named(colophon: &Colophon) -> Option<String> {
    let about = get(colophon.listen(), "/.well-known/colophon/about");
    let about: Value = serde_json::from_slice(&about.body).expect("JSON");
    about["model"]["certificate"].as_str().map(str::to_owned)
}

fn until_named(colophon: &mut Colophon, wanted: Option<&str>) {
    if wait_for(PATIENCE, || (named(colophon).as_deref() == wanted).then_some(())).is_none() {
        panic!("records do not name {wanted:?}:\n{}", colophon.process().log());
    }
}

/// A trust file of the proxy's own, with more in it.
fn trust(colophon: &Colophon, folder: &Path, authority: Option<&Path>, require: bool) -> PathBuf {
    let keys = get(colophon.listen(), "/.well-known/colophon/keys");
    let mut file: Value = serde_json::from_slice(&keys.body).expect("a trust file");
    if let Some(authority) = authority {
        file["model_authorities"] =
            json!([serde_json::from_slice::<Value>(&fs::read(authority).unwrap()).unwrap()]);
    }
    file["require"]["model"] = require.into();
    let path = folder.join("trust.json");
    fs::write(&path, file.to_string()).unwrap();
    path
}

/// `colophon verify --json`: its exit code and the report.
fn verify(fetched: &Fetched, trust: &Path, more: &[&str]) -> (i32, Value) {
    fetched.report_by(colophon::command(&["verify"]), &fs::read(trust).unwrap(), more)
}

fn check<'a>(report: &'a Value, name: &str) -> &'a Value {
    report["checks"].as_array().unwrap().iter().find(|check| check["name"] == name).unwrap_or(&Value::Null)
}

#[test]
fn records_name_the_certificate_while_its_files_are_there() {
    let bench = Bench::new();
    bench.certify(&[]);
    let digest = bench.digest();
    let upstream = server();
    let mut colophon = Colophon::start(&upstream.url(), |options| serve(&bench, options.sign_all(), &[]));
    assert_eq!(named(&colophon).as_deref(), Some(digest.as_str()));
    assert_eq!(colophon.metric("colophon_model_certified"), Some(1.0));
    let (_, first) = ask(&colophon, "tiny");
    let field = model(&first);
    assert_eq!(field.certificate.map(hex::encode).as_deref(), Some(digest.as_str()));
    assert_eq!(
        (field.known_by.as_deref(), field.source.as_deref()),
        (Some("configured"), Some("operator_asserted"))
    );
    let file = get(colophon.listen(), &format!("/.well-known/colophon/models/{digest}"));
    assert_eq!(file.body, fs::read(bench.path("cert.json")).unwrap());
    assert_eq!(get(colophon.listen(), "/.well-known/colophon/models/00").status(), 404);
    // What is not a model's answer names none.
    let health = Fetched::of(&get(colophon.listen(), "/v1/models"), colophon.listen());
    assert!(
        health.field(fields::MODEL).is_none_or(|value| Model::read(value).unwrap().certificate.is_none())
    );

    // A file changes, and is put back.
    let weights = bench.path("model/model-1.safetensors");
    let whole = fs::read(&weights).unwrap();
    fs::write(&weights, &whole[1..]).unwrap();
    until_named(&mut colophon, None);
    let lapsed = || colophon.metric("colophon_model_certified") == Some(0.0);
    assert!(wait_for(PATIENCE, || lapsed().then_some(())).is_some());
    let (_, fetched) = ask(&colophon, "tiny");
    assert_eq!((model(&fetched).certificate, model(&fetched).known_by.as_deref()), (None, Some("observed")));
    fs::write(&weights, &whole).unwrap();
    until_named(&mut colophon, Some(&digest));
    // An API call changes what the server runs: only the operator can say that it is as before.
    let loaded = post(colophon.listen(), "/v1/load_lora_adapter", "{\"lora_name\":\"x\"}");
    assert_eq!(loaded.status(), 200);
    until_named(&mut colophon, None);
    pause(std::time::Duration::from_millis(500));
    assert_eq!(named(&colophon), None);
    colophon.signal("HUP");
    until_named(&mut colophon, Some(&digest));
    // Taken back by its authority.
    bench.revoke("superseded");
    until_named(&mut colophon, None);

    // Every change has a record of its own.
    let path = trust(&colophon, colophon.folder(), None, false);
    assert!(colophon.stop().success());
    let (data, export) = (colophon.data(), colophon.folder().join("export"));
    let (data, export) = (data.to_str().unwrap(), export.to_str().unwrap());
    let (code, said) =
        colophon::run(&["receipt", "export", data, "-o", export, "--trust", path.to_str().unwrap()]);
    assert_eq!(code, 0, "{said}");
    let mut changes = Vec::new();
    for file in files(Path::new(export).join("receipts").as_path()) {
        let fetched = Fetched::parse(fs::read(&file).unwrap());
        let Some(operation) = fetched.field(fields::OPERATION) else { continue };
        let operation = Operation::read(operation).unwrap();
        if !operation.operation.as_deref().unwrap_or_default().starts_with("model.") {
            continue;
        }
        assert_eq!(operation.api.as_deref(), Some("model-change"));
        assert_eq!(model(&fetched).certificate.map(hex::encode).as_deref(), Some(digest.as_str()));
        let why = fetched.field(fields::FAILURE).and_then(|value| Failure::read(value).unwrap().reason);
        let completed = fetched.leaf.completed_at;
        changes.push((
            completed,
            operation.operation.unwrap().into_owned(),
            why.unwrap_or_default().into_owned(),
        ));
    }
    changes.sort();
    let changes: Vec<(&str, &str)> =
        changes.iter().map(|(_, what, why)| (what.as_str(), why.as_str())).collect();
    let operations: Vec<&str> = changes.iter().map(|(what, _)| *what).collect();
    let (certified, lapsed) = ("model.certified", "model.lapsed");
    assert_eq!(operations, [certified, lapsed, certified, lapsed, certified, lapsed], "{changes:?}");
    assert!(changes[1].1.contains("\"model-1.safetensors\" has other content"), "{changes:?}");
    assert!(changes[3].1.contains("the API call lora.load"), "{changes:?}");
    assert!(changes[5].1.contains("revoked (superseded)"), "{changes:?}");
}

/// A proxy inside of a (simulated) trusted machine, and a certificate that speaks of such machines, or of others.
#[test]
fn records_say_attested_where_the_certificate_speaks_of_this_machine_and_readers_see_what_shows_it() {
    let upstream = server();
    let known = takes_simulated();
    let other = "{gpu: off, platforms: {tdx: {referenceValues: {mr_td: [\"00\"]}}}}".to_owned();
    for (machines, known_by) in [(known, "attested"), (other, "configured")] {
        let bench = Bench::new();
        let digest = bench.certify_for(&machines);
        let checked = bench.check(&["--json"], 0);
        let checked: Value = serde_json::from_str(&checked).unwrap();
        assert!(checked["terms"]["attestation"]["platforms"]["tdx"].is_object(), "{checked}");
        assert!(bench.check(&[], 0).contains("mr_td"));
        let colophon = Colophon::start(&upstream.url(), |options| {
            serve(&bench, options.sign_all(), &["--attest", "simulated:colophon"]);
        });
        let (_, fetched) = ask(&colophon, "tiny");
        let field = model(&fetched);
        assert_eq!(field.certificate.map(hex::encode).as_deref(), Some(digest.as_str()));
        // Simulated evidence is the operator's word, whatever it says.
        assert_eq!(
            (field.known_by.as_deref(), field.source.as_deref()),
            (Some(known_by), Some("operator_asserted")),
        );
        let (cert, authority) = (bench.path("cert.json"), bench.path("authority.json"));
        let trust = trust(&colophon, colophon.folder(), Some(&authority), true);
        let given = ["--model-cert", cert.to_str().unwrap(), "--at", "now", "--allow-simulated"];
        let (code, report) = verify(&fetched, &trust, &given);
        assert_eq!(code, 0, "{report:#}");
        let said = &report["model"];
        let matches = known_by == "attested";
        assert_eq!(
            (&said["known_by"], &said["shown_by"], &said["evidence"]["matches"], &said["evidence"]["counts"]),
            (&known_by.into(), &"configured".into(), &matches.into(), &false.into()),
            "{report:#}"
        );
        assert!(!report["proven"].to_string().contains("one of those that this certificate speaks of"));
        // Not looked at without leave, and so nothing is said of it.
        let (_, report) = verify(&fetched, &trust, &given[..2]);
        assert_eq!(report["model"]["evidence"], Value::Null, "{report:#}");
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

#[test]
fn a_reader_sees_who_certified_the_model_and_whether_that_counts() {
    let bench = Bench::new();
    bench.certify(&[]);
    let upstream = server();
    let colophon = Colophon::start(&upstream.url(), |options| {
        serve(&bench, options.sign_all(), &["--model-served-as", "tiny"]);
    });
    let (_, fetched) = ask(&colophon, "tiny");
    let cert = bench.path("cert.json");
    let given = ["--model-cert", cert.to_str().unwrap()];
    let authority = bench.path("authority.json");
    let with = |authority: Option<&Path>, require, more: &[&str]| {
        verify(&fetched, &trust(&colophon, colophon.folder(), authority, require), more)
    };
    let (code, report) = with(Some(&authority), true, &given);
    assert_eq!((code, &report["model"]["standing"]), (0, &"good".into()), "{report}");
    assert_eq!((&report["model"]["name"], &report["model"]["issuer"]), (&"tiny".into(), &"Model Lab".into()));
    assert_eq!(check(&report, "model")["status"], "passed");
    assert!(report["proven"].to_string().contains("certified the files of a model"), "{report}");
    assert!(report["not_proven"].to_string().contains("the server ran the certified files"), "{report}");
    // Not asked for, it is not missed; asked for, it is.
    let (code, report) = with(Some(&authority), false, &[]);
    assert_eq!((code, &check(&report, "model")["status"]), (0, &"not-checked".into()), "{report}");
    assert_eq!(with(Some(&authority), true, &[]).0, 3);
    let (code, report) = with(None, true, &given);
    assert_eq!((code, &report["model"]["standing"]), (3, &"unknown-authority".into()), "{report}");
    // Another certificate than the record's.
    let other = bench.path("other.json");
    let (path, out) = (bench.path("model"), other.to_str().unwrap());
    bench.does(
        &["certify", path.to_str().unwrap(), "--name", "x", "--version", "2", "--key", "key.pem", "-o", out],
        0,
    );
    let (code, report) = with(Some(&authority), false, &["--model-cert", out]);
    assert_eq!((code, &check(&report, "model")["status"]), (1, &"failed".into()), "{report}");
    // Of a person.
    let path = trust(&colophon, colophon.folder(), Some(&authority), true);
    let receipt = path.with_file_name("receipt.json");
    fs::write(&receipt, &fetched.json).unwrap();
    let (receipt, path) = (receipt.to_str().unwrap(), path.to_str().unwrap());
    let (_, said) = colophon::run(&["verify", receipt, "--trust", path, given[0], given[1]]);
    assert!(
        said.contains("\"tiny\" requested, \"tiny\" answered; known by: configured, operator_asserted"),
        "{said}"
    );
    assert!(said.contains("\"tiny 1.0\" by \"Model Lab\": good"), "{said}");
    // Revoked: no timestamp says that the record was before.
    bench.revoke("key-compromise");
    let (code, report) = with(Some(&authority), true, &given);
    assert_eq!((code, &report["model"]["standing"]), (3, &"revoked".into()), "{report}");
    assert!(
        report["not_proven"].to_string().contains("revoked this certificate (key-compromise)"),
        "{report}"
    );
    let (code, _) = with(Some(&authority), false, &given);
    assert_eq!(code, 0, "the record is what it was");
    // Another model of the same server.
    let (_, fetched) = ask(&colophon, "other");
    assert_eq!((model(&fetched).certificate, model(&fetched).known_by.as_deref()), (None, Some("observed")));
}

#[test]
fn it_does_not_start_with_a_model_that_is_not_the_certified_one() {
    let bench = Bench::new();
    bench.certify(&[]);
    let upstream = server();
    let refused = |bench: &Bench| {
        let (status, said) = Colophon::refused(&upstream.url(), |options| serve(bench, options, &[]));
        assert_eq!(status.code(), Some(1), "{said}");
        said
    };
    fs::write(bench.path("model/config.json"), "{ }").unwrap();
    assert!(refused(&bench).contains("\"config.json\" has other content"));
    fs::write(bench.path("model/config.json"), "{}").unwrap();
    fs::write(bench.path("model/more"), "").unwrap();
    assert!(refused(&bench).contains("\"more\" is not in the certificate"));
    fs::remove_file(bench.path("model/more")).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", bench.path("model/more")).unwrap();
    assert!(refused(&bench).contains("symbolic link"));
    fs::remove_file(bench.path("model/more")).unwrap();
    let whole = fs::read(bench.path("cert.json")).unwrap();
    fs::write(bench.path("cert.json"), "").unwrap();
    assert!(refused(&bench).contains("the file is empty"));
    fs::write(bench.path("cert.json"), &whole).unwrap();
    bench.does(&["authority", "other.json", "--name", "Model Lab", "--key", "other.pem"], 0);
    let ours = fs::read(bench.path("authority.json")).unwrap();
    fs::copy(bench.path("other.json"), bench.path("authority.json")).unwrap();
    assert!(refused(&bench).contains("no key of"));
    fs::write(bench.path("authority.json"), &ours).unwrap();
    bench.certify(&["--from", "2020-01-01", "--days", "1"]);
    assert!(refused(&bench).contains("expired at 2020-01-02"));
    fs::write(bench.path("cert.json"), &whole).unwrap();
    bench.does(
        &[
            "revoke",
            "cert.json",
            "--authority",
            "authority.json",
            "--key",
            "key.pem",
            "--reason",
            "unspecified",
        ],
        0,
    );
    assert!(refused(&bench).contains("revoked (unspecified)"));
}

#[test]
fn digests_of_an_earlier_start_are_believed_unless_told_otherwise() {
    let bench = Bench::new();
    bench.certify(&[]);
    let upstream = server();
    // What was written just now is not kept.
    pause(std::time::Duration::from_millis(2_500));
    let mut colophon = Colophon::start(&upstream.url(), |options| serve(&bench, options, &[]));
    assert!(colophon.stop().success());
    let cache = colophon.data().join("model-digests");
    let text = fs::read_to_string(&cache).unwrap();
    assert_eq!(text.lines().count(), 8, "seven files: {text}");
    colophon.restart();
    assert!(colophon.stop().success());
    // Were the files read again, this would not matter.
    let lines: Vec<String> = text
        .lines()
        .map(|line| match line.rsplit_once(' ') {
            Some((stamp, digest)) if digest.len() == 64 => format!("{stamp} {}", "00".repeat(32)),
            _ => line.to_owned(),
        })
        .collect();
    fs::write(&cache, lines.join("\n") + "\n").unwrap();
    let (status, said) = colophon.try_start();
    assert!(status.is_some_and(|status| !status.success()) && said.contains("has other content"), "{said}");
    colophon.options().arg(&["--model-no-cache"]);
    colophon.restart();
    assert!(named(&colophon).is_some());
}

/// An outside body keeps its files behind a proxy of its own: whatever it hands out has a receipt in its own log.
#[test]
fn an_authority_publishes_in_a_log_of_its_own() {
    let bench = Bench::new();
    bench.certify(&[]);
    let published = bench.path("published");
    fs::create_dir(&published).unwrap();
    let publish = |name: &str| fs::copy(bench.path(name), published.join(name)).unwrap();
    publish("cert.json");
    publish("authority.json");
    let folder = published.clone();
    let files = Upstream::serve(move |conn| {
        while let Some(request) = conn.request() {
            let body = fs::read(folder.join(request.target().trim_start_matches('/'))).unwrap_or_default();
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length";
            conn.send(&[format!("{head}: {}\r\n\r\n", body.len()).as_bytes(), &body].concat());
        }
    });
    let authority = Colophon::signing(&files.url());
    let server = server();
    let operator = Colophon::start(&server.url(), |options| serve(&bench, options.sign_all(), &[]));
    let (_, exchange) = ask(&operator, "tiny");

    // The reader: fetches, and checks that the authority's log holds exactly these bytes.
    let reader = tempfile::tempdir().unwrap();
    let fetch = |name: &str| {
        let answer = get(authority.listen(), &format!("/{name}"));
        let receipt = Fetched::of(&answer, authority.listen());
        receipt.assert_verifies(authority.listen(), b"", &answer.body);
        let path = reader.path().join(name);
        fs::write(&path, &answer.body).unwrap();
        (path, receipt)
    };
    let (certificate, _) = fetch("cert.json");
    let (file, _) = fetch("authority.json");
    let given = ["--model-cert", certificate.to_str().unwrap()];
    let (code, report) = verify(&exchange, &trust(&operator, reader.path(), Some(&file), true), &given);
    assert_eq!((code, &report["model"]["standing"]), (0, &"good".into()), "{report}");

    // The authority takes it back and publishes that: the next reader knows, and has the receipt to show for it.
    bench.revoke("superseded");
    publish("authority.json");
    let (file, receipt) = fetch("authority.json");
    let (code, report) = verify(&exchange, &trust(&operator, reader.path(), Some(&file), true), &given);
    assert_eq!((code, &report["model"]["standing"]), (3, &"revoked".into()), "{report}");
    // It cannot deny that it said so: another file has not this receipt.
    let (code, _) = receipt.verify(authority.listen(), None, Some(&fs::read(&certificate).unwrap()));
    assert_eq!(code, 1);
}
