use super::Inspected;
use colophon_policies::{Head, Policy, identify};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use std::io::Write as _;

const POLICY: &str = r#"
apiVersion: colophon.dev/v1alpha1
kind: ProvenancePolicy
metadata: {name: t}
spec:
  rules:
  - {name: diagnosis, matches: [{body: [{pointer: /metadata/decision, op: In, values: [triage]}]}], level: sign}
  - {name: med, matches: [{models: ["med-*"]}], level: sign}
  - {name: stream, matches: [{stream: true}], level: sign}
"#;

fn rule(path: &str, headers: &[(&'static str, &'static str)], body: &[u8]) -> String {
    let policy = Policy::parse(POLICY, "t.yaml").unwrap();
    let (method, route) = (Method::POST, identify(&Method::POST, path));
    let headers: HeaderMap = headers
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect();
    let inspected = Inspected::of_body(&policy, route.api, &headers, body);
    let body = inspected.body();
    let (query, tenant, caller) = (None, None, None);
    let head = Head { method: &method, path, query, headers: &headers, route: &route, tenant, caller, body };
    policy.decide(&head).rule.to_string()
}

#[test]
fn bodies_of_every_route_are_told_to_the_policy() {
    for path in ["/v1/chat/completions", "/no/such/route", "/v1/load_lora_adapter", "/v1/models"] {
        assert_eq!(rule(path, &[], br#"{"metadata":{"decision":"triage"}}"#), "diagnosis", "{path}");
        assert_eq!(
            rule(path, &[], br#"{"metadata":{"decision":"other"},"model":"m"}"#),
            "(default)",
            "{path}"
        );
        assert_eq!(rule(path, &[], br#"{"model":"med-7b"}"#), "med", "{path}");
        assert_eq!(rule(path, &[], br#"{"stream":true,"model":"m"}"#), "stream", "{path}");
        for doubtful in [&b"{"[..], b"\xff", br#"{"metadata":{"decision":"a","decision":"b"}}"#] {
            assert_eq!(rule(path, &[], doubtful), "diagnosis", "{path} {doubtful:?}");
        }
    }
    // Who generates without naming a model may get any.
    for unnamed in [&b""[..], b"{}", br#"{"model":""}"#] {
        assert_eq!(rule("/v1/chat/completions", &[], unnamed), "med");
        assert_eq!(rule("/no/such/route", &[], unnamed), "(default)");
    }
}

#[test]
fn encodings_are_undone_first() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(br#"{"metadata":{"decision":"other"},"model":"m"}"#).unwrap();
    let gzip = gzip.finish().unwrap();
    let headers = [("content-encoding", "gzip")];
    assert_eq!(rule("/v1/chat/completions", &headers, &gzip), "(default)");
    assert_eq!(rule("/no/such/route", &headers, &gzip), "(default)");
    for broken in [&b"not gzip"[..], b"x", &gzip[..12], br#"{"metadata":{"decision":"other"}}"#] {
        assert_eq!(rule("/v1/chat/completions", &headers, broken), "diagnosis");
        assert_eq!(rule("/no/such/route", &headers, broken), "diagnosis");
    }
    assert_eq!(rule("/v1/chat/completions", &[("content-encoding", "br")], b"{}"), "diagnosis");
    assert_eq!(rule("/v1/chat/completions", &[("content-encoding", "x-own")], b"{}"), "diagnosis");
}
