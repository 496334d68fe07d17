//! A policy file: read or refused, never a crash; and what was read decides about requests, the same way as it explains.
#![no_main]

use colophon_policies::{Body, Cases, Content, Head, Policy, Value, identify};
use http::{HeaderMap, Method};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // A file of cases is read by the same YAML reader.
    let _ = Cases::parse(text, "fuzz.test.yaml");
    let policy = match Policy::parse(text, "fuzz.yaml") {
        Ok(policy) => policy,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let again = Policy::parse(text, "fuzz.yaml").expect("the same text again");
    assert_eq!(policy.digest(), again.digest());
    serde_json::from_str::<serde_json::Value>(&policy.canonical()).expect("canonical text is JSON");
    let _ = policy.warnings();
    let headers = HeaderMap::new();
    let values = vec![Value::Absent; policy.pointers().len()];
    let read = Content { model: Some("m"), stream: Some(true), values: &values };
    for (method, path) in [
        (Method::POST, "/v1/chat/completions"),
        (Method::GET, "/health"),
        (Method::POST, "/health/..;/v1//%63hat/completions"),
    ] {
        let route = identify(&method, path);
        for body in [Body::Empty, Body::Unread, Body::Read(read)] {
            let (tenant, caller) = (Some("tenant"), None);
            let head = Head {
                method: &method,
                path,
                query: Some("a=b"),
                headers: &headers,
                route: &route,
                tenant,
                caller,
                body,
            };
            assert_eq!(policy.decide(&head), policy.explain(&head).decision);
            assert_eq!(policy.decide(&head), again.decide(&head));
        }
    }
});
