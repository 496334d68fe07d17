//! No spelling of a generating route reaches `pass`.

use super::{Request, policy};
use crate::Policy;
use colophon_receipt::Level;
use proptest::prelude::*;
use std::collections::BTreeSet;

const ROUTES: [&str; 8] = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/messages",
    "/generate",
    "/completion",
    "/v1/embeddings",
    "/invocations",
];

/// Ways to write `path` that some server, gateway or framework takes for it.
fn spellings(path: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let escape = |from: char, to: &str| path.replace(from, to);
    for (at, c) in path.char_indices() {
        for escaped in [
            format!("%{:02x}", c as u32),
            format!("%{:02X}", c as u32),
            format!("%25{:02x}", c as u32),
            format!("%u{:04x}", c as u32),
            format!("%25u{:04X}", c as u32),
        ] {
            all.insert(format!("{}{escaped}{}", &path[..at], &path[at + 1..]));
        }
        if c.is_ascii_alphabetic() {
            all.insert(format!("{}{}{}", &path[..at], c.to_ascii_uppercase(), &path[at + 1..]));
        }
        if c == '/' {
            for between in [
                "//",
                "///",
                "/./",
                "/x/../",
                "/;/",
                "/;a=b/",
                "/.;/",
                "/%2e/",
                "/x/%2e%2e/",
                "/x/..;/",
                "\\",
                "/\\",
                "/%2f",
                "%2f",
                "%2F",
                "%5c",
                "%252f",
                "/..//",
                "/../",
                "/health/../",
                "/health/..%2f",
                "/health/%2e%2e%2f",
                "/%2e%2e/",
                "/v1/models/../..//",
                "/health;/../",
            ] {
                all.insert(format!("{}{between}{}", &path[..at], &path[at + 1..]));
            }
        }
    }
    for end in [
        "/",
        "//",
        "/.",
        "/./",
        ";",
        ";a=b",
        ";jsessionid=1",
        "%20",
        "%00",
        "%09",
        "%0a",
        "%0D%0A",
        "%3f",
        "%23",
        "/x/..",
        "/%2e",
        "\\",
        "%2f",
        "%5c",
        "?",
        "#",
        "/..;/../",
        "%c0%af",
        "\u{2025}",
        "%",
    ] {
        all.insert(format!("{path}{end}"));
    }
    all.insert(path.to_ascii_uppercase());
    all.insert(escape('/', "%2f"));
    all.insert(escape('/', "\\"));
    all.insert(path.trim_start_matches('/').to_owned());
    all.remove(path);
    all
}

#[test]
fn no_spelling_of_a_generating_route_passes() {
    let builtin = Policy::builtin();
    // The most careless policies: everything passes, and everything near health passes.
    let careless = policy("defaults: {level: pass}\nrules:\n- {name: all, level: pass}");
    let prefix = policy(
        "rules:\n- {name: h, matches: [{path: {type: PathPrefix, value: /health}}, {path: {type: PathPrefix, value: /v1/models}}], level: pass}",
    );
    let (mut tried, mut known) = (0, 0);
    for path in ROUTES {
        for spelling in spellings(path) {
            for method in ["POST", "GET"] {
                let request = Request::new(method, &spelling);
                for policy in [&builtin, &prefix] {
                    assert_ne!(request.decide(policy).level, Level::Pass, "{method} {spelling}");
                }
                assert!(request.route.normalised_differs, "{spelling} counts as plain");
                assert_ne!(request.decide(&careless).level, Level::Pass, "{method} {spelling}");
                tried += 1;
                known += usize::from(request.route.generating);
                if request.route.generating {
                    assert_eq!(request.decide(&builtin).level, Level::Sign, "{method} {spelling}");
                }
            }
        }
    }
    assert!(tried > 1_000, "{tried} spellings");
    assert!(known * 10 > tried * 8, "only {known} of {tried} spellings are recognised as what they are");
}

/// What real servers were seen to take for a route: it is the route to rules about APIs and paths, too.
#[test]
fn a_rule_about_a_route_is_about_its_spellings() {
    let by_api = policy("rules:\n- {name: no, matches: [{apis: [chat, model-change]}], deny: {reason: no}}");
    let by_path = policy(
        "rules:\n- {name: no, matches: [{path: {type: Exact, value: /v1/chat/completions}}, {path: {type: Exact, value: /v1/load_lora_adapter}}], deny: {reason: no}}",
    );
    for path in ["/v1/chat/completions", "/v1/load_lora_adapter"] {
        let (start, end) = path.split_at(4);
        // Starlette (vLLM, SGLang); cpp-httplib (llama.cpp); and both at once.
        for spelling in [
            format!("{path}%0A"),
            format!("{path}%0a%0a"),
            format!("{path}%250A"),
            format!("{start}%u{:04x}{}", end.as_bytes()[0], &end[1..]),
            format!("{start}%u{:04X}{}%u000a", end.as_bytes()[0], &end[1..]),
        ] {
            for policy in [&by_api, &by_path] {
                let decision = Request::new("POST", &spelling).decide(policy);
                assert!(decision.refusal.is_some(), "{spelling}: {decision:?}");
            }
        }
    }
}

proptest! {
    #[test]
    fn only_the_plain_spelling_passes(path in "/[hH%68eEaAlLtTHvV1mModels./;\\\\]{1,12}") {
        let builtin = Policy::builtin();
        let request = Request::new("GET", &path);
        if request.decide(&builtin).level == Level::Pass {
            prop_assert!(["/health", "/v1/health", "/ping", "/metrics", "/version", "/v1/models"].contains(&path.as_str()));
        }
    }
}

/// As committed: some servers serve some of these (llama.cpp those with escapes, `%2f` between segments among them).
#[test]
fn no_spelling_of_the_corpus_passes() {
    let builtin = Policy::builtin();
    let examples = [
        include_str!("../../../examples/policies/sign-answers.yaml"),
        include_str!("../../../examples/policies/by-model.yaml"),
    ]
    .map(|text| Policy::parse(text, "example.yaml").unwrap());
    let careless = policy("rules:\n- {name: all, level: pass}");
    let (mut tried, mut known) = (0, 0);
    for line in include_str!("../../profiles/spellings.txt").lines().filter(|line| !line.starts_with('#')) {
        let (method, target) = line.split_once(' ').unwrap();
        // As a proxy takes a target in absolute form apart; the query is none of the path.
        let local = target.split_once("://").map_or(target, |(_, rest)| &rest[rest.find('/').unwrap()..]);
        let path = local.split('?').next().unwrap();
        let request = Request::new(method, path);
        for policy in examples.iter().chain([&builtin]) {
            assert_ne!(request.decide(policy).level, Level::Pass, "{line}");
        }
        if request.route.normalised_differs {
            assert_ne!(request.decide(&careless).level, Level::Pass, "{line}");
        } else {
            assert!(request.route.generating, "{line} is written plainly, and nobody knows what it is");
        }
        tried += 1;
        known += usize::from(request.route.generating);
    }
    assert!(tried >= 300 && known * 10 > tried * 8, "{known} of {tried} are known for what they are");
}
