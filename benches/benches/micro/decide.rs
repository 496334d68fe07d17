//! The policy's part in the hot path: what the request is, and which rule applies.

use std::hint::black_box;

use colophon_policies::{Body, Head, Policy, identify};
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
}
