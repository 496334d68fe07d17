//! The policy's part in the hot path: what the request is, and which rule applies.

use std::hint::black_box;

use colophon_policies::{Body, Content, DEFAULT_RULE, Head, Policy, Value, identify};
use colophon_receipt::Level;
use criterion::Criterion;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

pub(crate) fn decide(c: &mut Criterion) {
    let policy = Policy::builtin();
    let headers: HeaderMap = [
        ("host", "127.0.0.1:8000"),
        ("content-type", "application/json"),
        ("content-length", "1536"),
        ("authorization", "Bearer key"),
        ("user-agent", "client/1.0"),
    ]
    .into_iter()
    .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
    .collect();
    let mut group = c.benchmark_group("decide");
    let cases = [
        ("chat", Method::POST, "/v1/chat/completions", Level::Sign),
        ("health", Method::GET, "/health", Level::Pass),
        ("unknown", Method::POST, "/no/such/route", Level::Commit),
    ];
    for (name, method, path, level) in cases {
        let decide = |path: &str| {
            let route = identify(&method, path);
            let head = Head {
                method: &method,
                path,
                query: None,
                headers: &headers,
                route: &route,
                tenant: None,
                caller: None,
                body: Body::Unread,
            };
            policy.decide(&head)
        };
        assert_eq!(decide(path).level, level, "the built-in policy on {path}");
        group.bench_function(name, |b| b.iter(|| decide(black_box(path))));
    }
    group.finish();
    long_policy(c, &headers);
}

/// 64 rules of all kinds, none of which matches: all of them are looked at. With rules about the body, and its values at hand
/// as the one scan of it leaves them.
fn long_policy(c: &mut Criterion, headers: &HeaderMap) {
    let mut group = c.benchmark_group("decide-64-rules");
    for (name, of_body) in [("head-only", false), ("with-body", true)] {
        let policy = Policy::parse(&rules(of_body), "bench.yaml").expect("a policy");
        assert_eq!(policy.pointers().len(), if of_body { 3 } else { 0 });
        let values = [Value::Text("routine".into()), Value::Absent, Value::Bool(false)];
        let method = Method::POST;
        let decide = |path: &str| {
            let route = identify(&method, path);
            let body = match of_body {
                true => Body::Read(Content { model: Some("bench-7b"), stream: Some(false), values: &values }),
                false => Body::Unread,
            };
            let (route, tenant, caller) = (&route, Some("clinic"), Some("alice"));
            policy.decide(&Head { method: &method, path, query: None, headers, route, tenant, caller, body })
        };
        assert_eq!(&*decide("/v1/chat/completions").rule, DEFAULT_RULE, "none matches");
        group.bench_function(name, |b| b.iter(|| decide(black_box("/v1/chat/completions"))));
    }
    group.finish();
}

fn rules(of_body: bool) -> String {
    let mut text = String::from(
        "apiVersion: colophon.dev/v1alpha1\nkind: ProvenancePolicy\nmetadata: {name: bench}\nspec:\n  rules:\n",
    );
    for n in 0..64 {
        let entry = match n % 6 {
            0 => format!(
                "{{method: POST, path: {{type: RegularExpression, value: \"/v{n}/(chat|text)/.*\"}}}}"
            ),
            1 => format!(
                "{{path: {{type: PathPrefix, value: /team{n}}}, headers: [{{name: x-team, value: t{n}}}]}}"
            ),
            2 => format!(
                "{{headers: [{{name: user-agent, type: RegularExpression, value: \"sdk-{n}/[0-9.]+\"}}]}}"
            ),
            3 => format!("{{apis: [chat, completions], tenants: [\"team-{n}-*\", ward-{n}]}}"),
            4 if of_body => format!("{{apis: [chat], models: [\"model-{n}-*\", exact-{n}]}}"),
            5 if of_body => {
                let pointer = ["/metadata/decision", "/metadata/list/1", "/store"][n / 6 % 3];
                format!("{{body: [{{pointer: {pointer}, op: In, values: [triage-{n}, dosage]}}]}}")
            }
            _ => format!("{{apis: [embeddings, rerank], callers: [\"job-{n}\"]}}"),
        };
        text.push_str(&format!("  - {{name: r{n}, matches: [{entry}], level: sign}}\n"));
    }
    text
}
