//! HTTP/2 on the clients' side: the conformance suite h2spec, with and without TLS.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use colophon_tests::colophon::Colophon;
use colophon_tests::upstream::Upstream;
use colophon_tests::{client, paths, process};

/// What h2spec finds fault with on a listener that speaks HTTP/1.1 and HTTP/2 without TLS, each with its reason.
const KNOWN_WITHOUT_TLS: &[(&str, &str)] = &[(
    "http2/3.5: Sends invalid connection preface",
    "bytes that do not begin as the preface does are HTTP/1.1, and are answered 400 in HTTP/1.1",
)];

/// Runs the whole suite; returns the cases that failed.
fn h2spec(program: &Path, colophon: &Colophon, args: &[&str]) -> (BTreeSet<String>, String) {
    let report = colophon.folder().join("h2spec.xml");
    let mut command = Command::new(program);
    command.args(["-h", "127.0.0.1", "-p", &colophon.listen().port().to_string(), "-o", "5"]).args(args);
    let output = process::run(command.arg("-j").arg(&report), Duration::from_secs(300));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let cases = cases(&std::fs::read_to_string(&report).unwrap_or_else(|error| panic!("{error}: {said}")));
    assert!(cases.len() > 140, "only {} cases were run: {said}", cases.len());
    (cases.into_iter().filter(|(_, passed)| !passed).map(|(name, _)| name).collect(), said)
}

fn installed() -> Option<PathBuf> {
    let program = paths::installed("h2spec/h2spec");
    if program.is_none() {
        assert!(
            std::env::var_os("COLOPHON_TEST_FULL").is_none(),
            "h2spec is not installed: cargo xtask setup --full"
        );
        eprintln!("skipped: h2spec is not installed (it needs Go): cargo xtask setup --full");
    }
    program
}

fn hello() -> Upstream {
    Upstream::answering("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello")
}

#[test]
fn h2spec_without_tls() {
    let Some(program) = installed() else { return };
    let upstream = hello();
    let colophon = Colophon::signing(&upstream.url());
    let (failed, said) = h2spec(&program, &colophon, &[]);
    let known: BTreeSet<String> = KNOWN_WITHOUT_TLS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(failed, known, "\n{said}");
    // It is still there, and still serves the other protocol.
    assert_eq!(client::get(colophon.listen(), "/v1/models").status(), 200);
}

#[test]
fn h2spec_with_tls() {
    let Some(program) = installed() else { return };
    let upstream = hello();
    let folder = tempfile::tempdir().unwrap();
    let made =
        rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let colophon = Colophon::start(&upstream.url(), |options| {
        options.sign_all().arg(&[
            "--tls-cert",
            &cert.display().to_string(),
            "--tls-key",
            &key.display().to_string(),
        ]);
    });
    let (failed, said) = h2spec(&program, &colophon, &["-t", "-k"]);
    assert_eq!(failed, BTreeSet::new(), "\n{said}");
}

/// The test cases of a JUnit report: `package: what it does`, and whether it passed.
fn cases(junit: &str) -> Vec<(String, bool)> {
    let attribute = |tag: &str, name: &str| {
        let value = tag.split(&format!("{name}=\"")).nth(1).and_then(|rest| rest.split('"').next());
        value.unwrap_or_default().to_owned()
    };
    let mut found = Vec::new();
    for case in junit.split("<testcase ").skip(1) {
        let (tag, rest) = case.split_once('>').unwrap_or((case, ""));
        let inside = rest.split("</testcase>").next().unwrap_or_default();
        let failed = inside.contains("<failure") || inside.contains("<error");
        found.push((format!("{}: {}", attribute(tag, "package"), attribute(tag, "classname")), !failed));
    }
    found
}
