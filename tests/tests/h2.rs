//! HTTP/2 on the clients' side: the conformance suite h2spec on the plain-text listener.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use colophon_tests::colophon::Colophon;
use colophon_tests::upstream::Upstream;
use colophon_tests::{client, paths, process};

/// What h2spec 2.6.0 finds fault with and we leave as it is, each with its reason.
const KNOWN: &[(&str, &str)] = &[];

#[test]
fn h2spec_finds_no_fault() {
    let Some(h2spec) = paths::installed("h2spec/h2spec") else {
        assert!(
            std::env::var_os("COLOPHON_TEST_FULL").is_none(),
            "h2spec is not installed: cargo xtask setup --full"
        );
        eprintln!("skipped: h2spec is not installed (it needs Go): cargo xtask setup --full");
        return;
    };
    let upstream =
        Upstream::answering("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello");
    let colophon = Colophon::signing(&upstream.url());
    let report = colophon.folder().join("h2spec.xml");
    let mut command = Command::new(h2spec);
    command
        .args(["-h", "127.0.0.1", "-p", &colophon.listen().port().to_string(), "-o", "5", "-j"])
        .arg(&report);
    let output = process::run(&mut command, Duration::from_secs(300));
    let said = String::from_utf8_lossy(&output.stdout);
    let cases = cases(&std::fs::read_to_string(&report).unwrap_or_else(|error| panic!("{error}: {said}")));
    assert!(cases.len() > 140, "only {} cases were run: {said}", cases.len());
    let failed: BTreeSet<&str> =
        cases.iter().filter(|(_, passed)| !passed).map(|(name, _)| name.as_str()).collect();
    let known: BTreeSet<&str> = KNOWN.iter().map(|(name, _)| *name).collect();
    assert_eq!(failed, known, "\n{said}");
    // It is still there, and still serves the other protocol.
    assert_eq!(client::get(colophon.listen(), "/v1/models").status(), 200);
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
