use super::*;
use crate::testing::{Plan, key};

fn file(origin: &str, vkey: &str, more: &str) -> String {
    format!(r#"{{"format":"{FORMAT}","logs":[{{"origin":"{origin}","vkey":"{vkey}"}}]{more}}}"#)
}

#[test]
fn a_trust_file_is_read() {
    let made = Plan::default().make();
    let trust = Trust::from_json(made.trust_file(r#"{"request":true,"timestamps":2}"#).as_bytes()).unwrap();
    assert_eq!(trust.require, Require { request: true, timestamps: 2, ..Require::default() });
    assert_eq!(trust.keys_of("log.example/2026"), std::slice::from_ref(&made.vkey));
    assert!(trust.keys_of("log.example").is_empty());
    let short = file("log.example/2026", &made.vkey.to_string(), "");
    assert_eq!(Trust::from_json(short.as_bytes()).unwrap(), made.trust());
}

#[test]
fn a_wrong_trust_file_is_an_error() {
    let vkey = Plan::default().make().vkey.to_string();
    let witness = VerifierKey::new("log.example/2026", NoteAlgorithm::CosignatureV1, key(1).public_key());
    let origin = "log.example/2026";
    for wrong in [
        String::new(),
        "{}".into(),
        file(origin, &vkey, r#","extra":1"#),
        file(origin, &vkey, r#","require":{"everything":true}"#),
        file(origin, &vkey, r#","require":{"timestamps":-1}"#),
        file("log.example/2025", &vkey, ""),
        file(origin, &vkey.replace("2026+", "2026+0"), ""),
        file(origin, &witness.unwrap().to_string(), ""),
        file(origin, "", ""),
        file(origin, &vkey, "").replace("trust-v1", "trust-v2"),
        format!(r#"{{"format":"{FORMAT}","logs":[]}}"#),
        " ".repeat(MAX_BYTES + 1),
    ] {
        let error = Trust::from_json(wrong.as_bytes()).unwrap_err();
        assert!(!error.to_string().is_empty(), "{wrong}");
    }
}
