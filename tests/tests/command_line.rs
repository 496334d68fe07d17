//! What is typed: fetching receipts, looking at a log folder, and where `serve` takes its settings from. Exit codes are
//! part of it, scripts depend on them.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use colophon_tests::client::{get, post};
use colophon_tests::colophon::{self, Colophon};
use colophon_tests::log::{self, Head};
use colophon_tests::process::{self, Process};
use colophon_tests::receipts::Fetched;
use colophon_tests::upstream::Upstream;
use colophon_tests::wire::Message;
use colophon_tests::{PATIENCE, wait_for};

const CHAT: &str = "/v1/chat/completions";

fn saying(body: &str) -> Upstream {
    Upstream::answering(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
}

fn chat(colophon: &Colophon) -> Message {
    let response = post(colophon.listen(), CHAT, "{}");
    assert_eq!(response.status(), 200, "{}", response.text());
    response
}

fn receipt_header(response: &Message) -> &str {
    response.header("colophon-receipt").expect("a Colophon-Receipt")
}

/// Runs `colophon receipt get` against this proxy.
fn receipt_get(colophon: &Colophon, receipt: &str, more: &[&str]) -> Output {
    let server = format!("http://{}", colophon.listen());
    let args = [&["receipt", "get", receipt, "--server", &server], more].concat();
    process::run(&mut colophon::command(&args), PATIENCE)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_receipt_is_fetched_in_every_spelling_of_its_place() {
    let upstream = saying("{}");
    let colophon = Colophon::signing(&upstream.url());
    let response = chat(&colophon);
    let header = receipt_header(&response);
    let path = header.trim_matches('"');
    // The value as it stands in the header, without its quotes, the whole line, and a URL.
    let line = format!("Colophon-Receipt: {header}");
    let url = format!("http://{}{path}", colophon.listen());
    let mut fetched = Vec::new();
    for receipt in [header, path, &line, &url] {
        let output = receipt_get(&colophon, receipt, &[]);
        assert!(output.status.success(), "{receipt}: {}", said(&output));
        Fetched::parse(output.stdout.clone()).assert_verifies(colophon.listen(), b"{}", &response.body);
        fetched.push(Fetched::parse(output.stdout).leaf.id);
    }
    assert!(fetched.iter().all(|id| *id == fetched[0]));

    let file = colophon.folder().join("receipt.json");
    let output = receipt_get(&colophon, header, &["--output", &file.display().to_string()]);
    assert!(output.status.success() && output.stdout.is_empty(), "{}", said(&output));
    let trust = colophon.folder().join("trust.json");
    fs::write(&trust, get(colophon.listen(), "/.well-known/colophon/keys").body).unwrap();
    let (file, trust) = (file.display().to_string(), trust.display().to_string());
    let (code, said) = colophon::run(&["verify", &file, "--trust", &trust]);
    assert_eq!(code, 0, "{said}");
}

/// The token is the permission: with another one there is nothing, not even a hint that the record exists.
#[test]
fn a_receipt_needs_its_token() {
    let upstream = saying("{}");
    let colophon = Colophon::signing(&upstream.url());
    let (first, second) = (chat(&colophon), chat(&colophon));
    let place = |response: &Message| {
        let (path, token) = receipt_header(response).trim_matches('"').split_once("?token=").unwrap();
        (path.to_owned(), token.to_owned())
    };
    let ((path, _), (_, token)) = (place(&first), place(&second));
    for receipt in [format!("{path}?token={token}"), format!("{path}?token=x"), path.clone()] {
        let output = receipt_get(&colophon, &receipt, &[]);
        assert_eq!(output.status.code(), Some(1), "{receipt}");
        assert!(output.stdout.is_empty(), "{receipt}");
        assert!(said(&output).contains("403"), "{}", said(&output));
        assert!(!said(&output).contains(&token), "the token is repeated: {}", said(&output));
    }
    let output = receipt_get(&colophon, "/nothing/here", &[]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let nobody = ["receipt", "get", path.as_str(), "--server", "http://127.0.0.1:1"];
    let output = process::run(&mut colophon::command(&nobody), PATIENCE);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{}", said(&output));
    assert_eq!(colophon::run(&["receipt", "get"]).0, 2);
}

#[test]
fn a_receipt_that_is_not_logged_yet_is_waited_for() {
    let upstream = saying("{}");
    let mut colophon = Colophon::start(&upstream.url(), |options| {
        options.sign_all().batch_every = "3s".to_owned();
    });
    let response = chat(&colophon);
    assert_eq!(get(colophon.listen(), receipt_header(&response).trim_matches('"')).status(), 202);
    let output = receipt_get(&colophon, receipt_header(&response), &[]);
    assert!(output.status.success(), "{}", said(&output));
    Fetched::parse(output.stdout).assert_verifies(colophon.listen(), b"{}", &response.body);
    assert!(colophon.stop().success());

    colophon.options().batch_every = "1h".to_owned();
    colophon.restart();
    let response = chat(&colophon);
    let begun = Instant::now();
    let output = receipt_get(&colophon, receipt_header(&response), &["--wait", "1s"]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    assert!(said(&output).contains("not logged") && said(&output).contains("--wait"), "{}", said(&output));
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

/// 0 sound, 1 something found, 2 nothing to check or not asked rightly.
#[test]
fn a_log_folder_is_checked_and_shown() {
    let upstream = saying("{}");
    let mut colophon = Colophon::signing(&upstream.url());
    let answers: Vec<Message> = (0..3).map(|_| chat(&colophon)).collect();
    for answer in &answers {
        Fetched::of(answer, colophon.listen());
    }
    let trust = colophon.folder().join("trust.json");
    fs::write(&trust, get(colophon.listen(), "/.well-known/colophon/keys").body).unwrap();
    assert!(colophon.stop().success());
    let data = colophon.data().display().to_string();
    let trust = trust.display().to_string();

    let (code, said) = colophon::run(&["log", "check", &data]);
    assert!(code == 0 && said.contains("sound") && said.contains("nothing outside this folder"), "{said}");
    let (code, said) = colophon::run(&["log", "check", &data, "--trust", &trust]);
    assert!(code == 0 && said.contains("your trust file"), "{code} {said}");
    let (code, said) = colophon::run(&["log", "check", &data, "--json"]);
    let report: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    let size = Head::of_folder(&colophon.data()).size;
    assert_eq!((code, &report["sound"], &report["records"]), (0, &true.into(), &3.into()), "{said}");
    assert_eq!((&report["size"], &report["findings"]), (&size.into(), &serde_json::json!([])));

    // What was not read is not said to be sound.
    let (code, said) = colophon::run(&["log", "check", &data, "--public-only"]);
    assert!(code == 0 && said.contains("records     not read"), "{code} {said}");
    assert!(said.contains("sound, as far as it was read") && !said.contains("log and batches"), "{said}");

    let (code, shown) = colophon::run(&["log", "show", &data]);
    assert_eq!((code, shown.lines().count() as u64), (0, size + 1), "{shown}");
    let leaves: Vec<&str> = shown.lines().skip(1).collect();
    assert!(leaves[0].contains("genesis") && leaves[1].contains("announce"), "{shown}");
    assert!(leaves.last().unwrap().contains("close"), "{shown}");
    let (code, part) = colophon::run(&["log", "show", &data, "--from", "1", "--limit", "2"]);
    assert_eq!((code, part.lines().skip(1).collect::<Vec<_>>()), (0, leaves[1..3].to_vec()), "{part}");

    let elsewhere = Colophon::signing(&upstream.url());
    let strange = colophon.folder().join("strange.json");
    fs::write(&strange, get(elsewhere.listen(), "/.well-known/colophon/keys").body).unwrap();
    let strange = strange.display().to_string();
    let nothing = colophon.folder().join("nothing").display().to_string();
    for wrong in [
        &["log", "check", nothing.as_str()][..],
        &["log", "show", nothing.as_str()],
        &["log", "check", data.as_str(), "--trust", nothing.as_str()],
        &["log", "check", data.as_str(), "--trust", strange.as_str()],
        &["log", "check", data.as_str(), "--no-such-flag"],
        &["log", "show", data.as_str(), "--from", "x"],
        &["log", "show", data.as_str(), "--generation", "7"],
        &["log"],
    ] {
        let (code, said) = colophon::run(wrong);
        assert!(
            code == 2 && !said.trim().is_empty() && !said.contains("panicked"),
            "{wrong:?}: {code} {said}"
        );
    }

    let entries = colophon.data().join(format!("log/1/tile/entries/000.p/{size}"));
    let mut spoilt = fs::read(&entries).unwrap();
    *spoilt.last_mut().unwrap() ^= 1;
    fs::write(&entries, spoilt).unwrap();
    let (code, said) = colophon::run(&["log", "check", &data]);
    assert!(code == 1 && said.contains('✗') && !said.contains("sound:"), "{code} {said}");
    let (code, said) = colophon::run(&["log", "check", &data, "--json"]);
    let report: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((code, &report["sound"]), (1, &false.into()), "{said}");
    assert!(report["findings"][0]["name"].is_string(), "{said}");

    // Openings and index are not read; that they are not there is said.
    for folder in ["private", "index"] {
        fs::rename(colophon.data().join(folder), colophon.folder().join(folder)).unwrap();
    }
    let (_, said) = colophon::run(&["log", "check", &data]);
    assert!(said.contains("no openings here") && said.contains("no index/ here"), "{said}");

    // A checkpoint that names no log is a finding, whatever the trust file says.
    fs::write(colophon.data().join("log/1/checkpoint"), "").unwrap();
    let (code, said) = colophon::run(&["log", "check", &data, "--trust", &trust]);
    assert!(code == 1 && said.contains("not a signed checkpoint"), "{code} {said}");
    assert!(!log::files(&colophon.data()).is_empty());
}

/// What a command does is done to its end where nobody reads what it says; a full disk is a fault of its own.
#[test]
fn a_command_outlives_its_standard_output() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key.pem").display().to_string();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = colophon::command(&["key", "generate", &key]).stdout(full).output().unwrap();
    let said = said(&output);
    assert!(output.status.code() == Some(1) && Path::new(&key).exists(), "{said}");
    assert!(said.contains("No space left on device") && said.contains("done all the same"), "{said}");

    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = colophon::command(&["policy", "check"]).stdout(writer).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

/// Log lines that nobody can take end nothing: the answers, and the drain, are the same.
#[test]
fn a_proxy_outlives_its_standard_error() {
    let (upstream, folder) = (saying("{}"), tempfile::tempdir().unwrap());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let mut command =
        colophon::command(&["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log", "debug"]);
    command.args(["--upstream", &upstream.url(), "--data", &path("data"), "--state", &path("state")]);
    command.args(["--ready-file", &path("ready")]);
    let mut process = Process::start(&mut command, Path::new("/dev/full"));
    let ready = || serde_json::from_slice::<serde_json::Value>(&fs::read(path("ready")).ok()?).ok();
    let ready = wait_for(PATIENCE, ready).expect("it is ready");
    let listen = ready["listen"].as_str().unwrap().parse().unwrap();
    assert_eq!(post(listen, CHAT, "{}").status(), 200);
    process.terminate();
    // Its log cannot be read here.
    let ended = wait_for(PATIENCE, || process.ended());
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
}

/// 1 is a judgement: what cannot be read has not been judged.
#[test]
fn a_file_that_cannot_be_read_is_wrong_usage() {
    let folder = tempfile::tempdir().unwrap();
    let nope = folder.path().join("nope").display().to_string();
    let file = folder.path().join("file").display().to_string();
    fs::write(&file, "{}").unwrap();
    for unread in [
        &["attest", "verify", nope.as_str()][..],
        &["attest", "verify", file.as_str(), "--policy", nope.as_str()],
        &["model", "check", nope.as_str(), "--cert", nope.as_str()],
        &["policy", "check", nope.as_str()],
        &["policy", "test", nope.as_str()],
    ] {
        let (code, said) = colophon::run(unread);
        assert!(code == 2 && said.contains("nope"), "{unread:?}: {code} {said}");
    }
    assert_eq!(colophon::run(&["attest", "verify", &file]).0, 1);
}

/// 0 unbroken by the reader's key, 3 by the log's own word only, 1 broken.
#[test]
fn an_interval_is_counted_from_signed_statements() {
    let upstream = saying("{}");
    let mut colophon = Colophon::signing(&upstream.url());
    for answer in [chat(&colophon), chat(&colophon)] {
        Fetched::of(&answer, colophon.listen());
    }
    let trust = colophon.folder().join("trust.json");
    fs::write(&trust, get(colophon.listen(), "/.well-known/colophon/keys").body).unwrap();
    assert!(colophon.stop().success());
    colophon.restart();
    Fetched::of(&chat(&colophon), colophon.listen());
    // SIGKILL: this life has no close.
    colophon.kill();
    let (data, trust) = (colophon.data().display().to_string(), trust.display().to_string());
    let count = |more: &[&str]| {
        let (code, said) = colophon::run(&[&["log", "count", data.as_str(), "--json"], more].concat());
        (code, serde_json::from_str::<serde_json::Value>(&said).expect("JSON"))
    };
    let (code, all) = count(&["--trust", &trust]);
    assert_eq!((code, &all["unbroken"], &all["count"]["totals"]["recorded"]), (0, &true.into(), &3.into()));
    assert_eq!(
        (&all["records"]["by_level"]["sign"], &all["records"]["completed_within"]),
        (&3.into(), &3.into())
    );
    let rules = serde_json::json!([{"rule": "(default)", "recorded": 3, "passed": 0, "lost": 0, "refused": 0, "degraded": 0}]);
    assert_eq!(all["count"]["by_rule"], rules, "{all}");
    assert_eq!(all["count"]["sidecars"].as_array().map(Vec::len), Some(1), "{all}");
    assert_eq!(all["count"]["sidecars"][0]["unclosed"].as_array().map(Vec::len), Some(1), "{all}");
    let (code, all) = count(&[]);
    assert_eq!((code, &all["trusted"]), (3, &false.into()));
    // Seconds from the start of the first life: no statement is about what was before it.
    let (code, none) = count(&["--trust", &trust, "--to", "1000"]);
    assert_eq!((code, &none["count"]["totals"]["recorded"]), (3, &0.into()), "{none}");
    assert_eq!((&none["unbroken"], none["not_covered"].as_array().map(Vec::len)), (&false.into(), Some(1)));
    let (code, said) = colophon::run(&["log", "count", &data, "--trust", &trust, "--from", "2020-01-01"]);
    assert!(code == 3 && said.contains("not covered: no statement is about"), "{code} {said}");
    let (code, said) = colophon::run(&["log", "count", &data, "--trust", &trust, "--shard", "nosuch"]);
    let shard = all["count"]["sidecars"][0]["shards"][0].as_str().unwrap();
    assert!(code == 2 && said.contains(shard), "{code} {said}");
    let (code, said) = colophon::run(&["log", "count", &data, "--trust", &trust]);
    assert!(code == 0 && said.contains("recorded    3") && said.contains("without a close"), "{said}");
    assert!(said.contains("by rule     (default): 3 recorded\n"), "{said}");
    let (code, said) = colophon::run(&["log", "check", &data]);
    assert!(code == 0 && said.contains("(default): 3 recorded"), "{said}");
    assert_eq!(colophon::run(&["log", "count", &data, "--from", "20", "--to", "10"]).0, 2);

    let batch = log::files(&colophon.data().join("shard")).remove(0);
    fs::write(&batch, b"garbage").unwrap();
    assert_eq!(count(&["--trust", &trust]).0, 1);
    assert_eq!(count(&["--trust", &trust, "--public-only"]).0, 0);
}

/// A `serve` that is told where to serve by a settings file alone.
struct Configured {
    folder: tempfile::TempDir,
    settings: BTreeMap<String, String>,
}

impl Configured {
    fn new(upstream: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = |name: &str| folder.path().join(name).display().to_string();
        let settings = [
            ("listen", "127.0.0.1:0".to_owned()),
            ("admin", "127.0.0.1:0".to_owned()),
            ("upstream", upstream.to_owned()),
            ("data", path("data")),
            ("state", path("state")),
            ("ready-file", path("ready")),
            ("batch-every", "200ms".to_owned()),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value)).into();
        Self { folder, settings }
    }

    /// Writes the settings; `change` names one that is to be another.
    fn file(&self, name: &str, change: Option<(&str, &str)>) -> PathBuf {
        let mut settings = self.settings.clone();
        settings.extend(change.map(|(name, value)| (name.to_owned(), value.to_owned())));
        // JSON's strings are YAML's.
        let lines: String = settings.iter().map(|(name, value)| format!("{name}: {value:?}\n")).collect();
        let path = self.folder.path().join(name);
        fs::write(&path, lines).unwrap();
        path
    }

    /// Starts it, asks once, and stops it: what the answer was.
    fn ask(&self, args: &[&str], environment: &[(&str, &str)]) -> String {
        let ready = self.folder.path().join("ready");
        fs::remove_file(&ready).ok();
        let mut command = colophon::command(&[&["serve"], args].concat());
        command.envs(environment.iter().copied()).current_dir(&self.folder);
        let mut process = Process::start(&mut command, &self.folder.path().join("log"));
        let listen = wait_for(PATIENCE, || listening(&ready));
        let listen = listen.unwrap_or_else(|| panic!("{args:?} {environment:?}: {}", process.log()));
        let answer = post(listen, CHAT, "{}").text();
        process.terminate();
        assert!(process.wait(PATIENCE).success(), "{}", process.log());
        answer
    }

    /// Starts it where it must refuse to: the exit code, and what it said.
    fn refused(&self, args: &[&str]) -> (i32, String) {
        let mut command = colophon::command(&[&["serve"], args].concat());
        let output = process::run(command.current_dir(&self.folder), PATIENCE);
        (output.status.code().unwrap_or(-1), said(&output))
    }
}

fn listening(ready: &Path) -> Option<SocketAddr> {
    let ready: serde_json::Value = serde_json::from_slice(&fs::read(ready).ok()?).expect("JSON, and whole");
    ready["listen"].as_str().expect("listen").parse().ok()
}

/// Flags win over the environment, the environment over the file, the file over what is built in.
#[test]
fn settings_come_from_flags_then_environment_then_file() {
    let [by_file, by_environment, by_flag] = ["file", "environment", "flag"].map(saying);
    let configured = Configured::new(&by_file.url());
    let file = configured.file("colophon.yaml", None).display().to_string();
    let config = format!("--config={file}");
    let environment = [("COLOPHON_UPSTREAM", by_environment.url())];
    let environment: Vec<(&str, &str)> =
        environment.iter().map(|(name, url)| (*name, url.as_str())).collect();
    assert_eq!(configured.ask(&["--config", &file], &[]), "file");
    assert_eq!(configured.ask(&[&config], &environment), "environment");
    assert_eq!(configured.ask(&[&config, "--upstream", &by_flag.url()], &environment), "flag");
    assert_eq!(configured.ask(&["--upstream", &by_flag.url(), &config], &[]), "flag");
    // Which file it is follows the same order.
    let other = configured.file("other.yaml", Some(("upstream", &by_environment.url())));
    let other = other.display().to_string();
    let environment = [("COLOPHON_CONFIG", other.as_str())];
    assert_eq!(configured.ask(&[], &environment), "environment");
    assert_eq!(configured.ask(&[&config], &environment), "file");
}

#[test]
fn settings_that_cannot_be_used_are_named() {
    let configured = Configured::new("http://127.0.0.1:9");
    for (name, value, named) in [
        ("upstreem", "http://127.0.0.1:9", "upstreem"),
        ("batch-every", "3 parsecs", "parsecs"),
        ("listen", "everywhere", "listen"),
        ("adopt", "perhaps", "adopt"),
        ("config", "other.yaml", "config"),
    ] {
        let file = configured.file("colophon.yaml", Some((name, value))).display().to_string();
        let (code, said) = configured.refused(&["--config", &file]);
        assert!(code == 2 && said.contains(named) && !said.contains("panicked"), "{name}: {code} {said}");
    }
    let (code, said) = configured.refused(&["--config", "missing.yaml"]);
    assert!(code == 2 && said.contains("missing.yaml"), "{code} {said}");
    let file = configured.folder.path().join("no.yaml");
    fs::write(&file, "- a\n- list\n").unwrap();
    let (code, said) = configured.refused(&["--config", "no.yaml"]);
    assert!(code == 2 && said.contains("no.yaml"), "{code} {said}");
    // Nothing was begun.
    assert!(!configured.folder.path().join("data").exists());
}
