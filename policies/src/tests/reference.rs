//! `decide` against an evaluator that is too simple to be wrong.

use super::{Request, policy};
use crate::{Api, DEFAULT_RULE, FailurePolicy, Policy};
use colophon_receipt::Level;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

const LEVELS: [Level; 3] = [Level::Pass, Level::Commit, Level::Sign];
const MODELS: [&str; 4] = ["med-7b", "toy", "x/med-7b", ""];

/// Matchers as YAML, each beside what it means.
#[derive(Clone, Debug)]
struct Entry {
    method: Option<&'static str>,
    path: Option<(&'static str, &'static str)>,
    header: Option<(&'static str, &'static str)>,
    apis: Vec<Api>,
    models: Vec<&'static str>,
}

#[derive(Clone, Debug)]
struct RuleText {
    entries: Vec<Entry>,
    level: Level,
    failure_policy: Option<FailurePolicy>,
}

#[derive(Clone, Debug)]
struct PolicyText {
    default: (Level, FailurePolicy),
    ceiling: Option<Level>,
    rules: Vec<RuleText>,
}

fn path_fits(kind: &str, value: &str, path: &str) -> bool {
    match (kind, value) {
        ("Exact", value) => path == value,
        ("PathPrefix", value) => {
            let value = value.trim_end_matches('/');
            path == value || path.starts_with(&format!("{value}/"))
        }
        (_, "/(health|ping)") => path == "/health" || path == "/ping",
        (_, "/v1/.+") => path.len() > 4 && path.starts_with("/v1/"),
        (_, ".*") => true,
        other => panic!("{other:?}"),
    }
}

fn glob_fits(glob: &str, model: &str) -> bool {
    match glob {
        "*" => true,
        "med-*" => model.starts_with("med-"),
        "*med*" => model.contains("med"),
        "t?y" => model.chars().count() == 3 && model.starts_with('t') && model.ends_with('y'),
        literal => literal == model,
    }
}

impl Entry {
    fn yaml(&self) -> String {
        let mut parts = Vec::new();
        parts.extend(self.method.map(|m| format!("method: {m}")));
        parts.extend(self.path.map(|(kind, value)| format!("path: {{type: {kind}, value: \"{value}\"}}")));
        parts.extend(self.header.map(|(name, value)| format!("headers: [{{name: {name}, value: {value}}}]")));
        if !self.apis.is_empty() {
            let apis: Vec<&str> = self.apis.iter().map(|api| api.as_str()).collect();
            parts.push(format!("apis: [{}]", apis.join(", ")));
        }
        if !self.models.is_empty() {
            parts.push(format!("models: [\"{}\"]", self.models.join("\", \"")));
        }
        format!("{{{}}}", parts.join(", "))
    }

    fn is_empty(&self) -> bool {
        self.yaml() == "{}"
    }

    /// With the model known.
    fn fits(&self, request: &Request, path: &str, model: &str) -> bool {
        self.method.is_none_or(|m| m == request.method.as_str())
            && self.path.is_none_or(|(kind, value)| path_fits(kind, value, path))
            && self.header.is_none_or(|(n, v)| request.headers.get_all(n).iter().any(|h| h == v))
            && (self.apis.is_empty() || self.apis.contains(&request.route.api))
            && (self.models.is_empty() || self.models.iter().any(|glob| glob_fits(glob, model)))
    }
}

impl PolicyText {
    fn yaml(&self) -> String {
        let mut text =
            format!("defaults: {{level: {}, failurePolicy: {}}}\n", self.default.0, self.default.1);
        if let Some(ceiling) = self.ceiling {
            text.push_str(&format!("clientMayRaiseTo: {ceiling}\n"));
        }
        if !self.rules.is_empty() {
            text.push_str("rules:\n");
        }
        for (n, rule) in self.rules.iter().enumerate() {
            text.push_str(&format!("- name: r{n}\n  level: {}\n", rule.level));
            if let Some(failure_policy) = rule.failure_policy {
                text.push_str(&format!("  failurePolicy: {failure_policy}\n"));
            }
            if !rule.entries.is_empty() {
                text.push_str("  matches:\n");
            }
            for entry in &rule.entries {
                text.push_str(&format!("  - {}\n", entry.yaml()));
            }
        }
        text
    }

    /// Rule, level before the client's wish, failure policy; with the model known.
    fn decide(&self, request: &Request, path: &str, model: &str) -> (String, Level, FailurePolicy) {
        for (n, rule) in self.rules.iter().enumerate() {
            if rule.entries.is_empty() || rule.entries.iter().any(|entry| entry.fits(request, path, model)) {
                let failure_policy = rule.failure_policy.unwrap_or(self.default.1);
                if rule.level == Level::Pass && path != request.path {
                    let level = if self.default.0 == Level::Sign { Level::Sign } else { Level::Commit };
                    return (format!("r{n}"), level, failure_policy.max(self.default.1));
                }
                return (format!("r{n}"), rule.level, failure_policy);
            }
        }
        let level = if path != request.path { self.default.0.max(Level::Commit) } else { self.default.0 };
        (DEFAULT_RULE.to_owned(), level, self.default.1)
    }
}

fn entries() -> impl Strategy<Value = Entry> {
    let paths = vec![
        ("Exact", "/health"),
        ("Exact", "/v1/chat/completions"),
        ("PathPrefix", "/v1"),
        ("PathPrefix", "/v1/chat/"),
        ("PathPrefix", "/"),
        ("RegularExpression", "/(health|ping)"),
        ("RegularExpression", "/v1/.+"),
        ("RegularExpression", ".*"),
    ];
    (
        proptest::option::of(select(vec!["GET", "POST"])),
        proptest::option::of(select(paths)),
        proptest::option::of(select(vec![("x-team", "med"), ("x-env", "prod")])),
        subsequence(vec![Api::Chat, Api::Health, Api::Embeddings, Api::Unknown, Api::ModelChange], 0..3),
        subsequence(vec!["*", "med-*", "*med*", "t?y", "toy"], 0..3),
    )
        .prop_map(|(method, path, header, apis, models)| Entry { method, path, header, apis, models })
        .prop_filter("an entry names something", |entry| !entry.is_empty())
}

fn policies() -> impl Strategy<Value = PolicyText> {
    let failure = || select(vec![FailurePolicy::Ignore, FailurePolicy::Fail]);
    let rule =
        (proptest::collection::vec(entries(), 0..3), select(&LEVELS[..]), proptest::option::of(failure()))
            .prop_map(|(entries, level, failure_policy)| RuleText { entries, level, failure_policy });
    (
        (select(&LEVELS[..]), failure()),
        proptest::option::of(select(&LEVELS[..])),
        proptest::collection::vec(rule, 0..6),
    )
        .prop_map(|(default, ceiling, rules)| PolicyText { default, ceiling, rules })
}

/// A request and its path as matched.
fn requests() -> impl Strategy<Value = (Request, &'static str)> {
    let paths = vec![
        ("/health", "/health"),
        ("/ping", "/ping"),
        ("/v1/chat/completions", "/v1/chat/completions"),
        ("/v1", "/v1"),
        ("/v1/embeddings", "/v1/embeddings"),
        ("/sleep", "/sleep"),
        ("/other", "/other"),
        ("/v1x", "/v1x"),
        ("/", "/"),
        ("/v1/%63hat/completions", "/v1/chat/completions"),
        ("//health", "/health"),
        ("/v1/Chat/completions", "/v1/chat/completions"),
        ("/other/", "/other"),
    ];
    let level = proptest::option::of(select(vec!["pass", "commit", "sign", "zk", "loud"]));
    (select(vec!["GET", "POST", "PUT"]), select(paths), any::<bool>(), any::<bool>(), level).prop_map(
        |(method, (raw, path), team, env, level)| {
            let mut request = Request::new(method, raw);
            if team {
                request = request.header("x-team", "other").header("x-team", "med");
            }
            if env {
                request = request.header("x-env", "prod");
            }
            if let Some(level) = level {
                request = request.header("colophon-level", level);
            }
            (request, path)
        },
    )
}

/// What the client's wish makes of a level.
fn raised(text: &PolicyText, request: &Request, level: Level) -> Level {
    let wanted = request.headers.get("colophon-level").and_then(|v| v.to_str().ok()?.parse::<Level>().ok());
    level.max(wanted.unwrap_or(Level::Pass).min(text.ceiling.unwrap_or(Level::Pass)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn decide_agrees_with_the_naive_evaluator(
        text in policies(), (request, path) in requests(), model in select(&MODELS[..])
    ) {
        let policy: Policy = policy(&text.yaml());
        let request = request.model(model);
        let decision = request.decide(&policy);
        let (rule, level, failure_policy) = text.decide(&request, path, model);
        prop_assert_eq!(&*decision.rule, rule);
        prop_assert_eq!(decision.level, raised(&text, &request, level));
        prop_assert_eq!(decision.failure_policy, failure_policy);
        prop_assert!(decision.asked >= decision.level || decision.why_lowered.is_some());
        prop_assert!(decision.asked == decision.level || decision.why_lowered.is_some());
        prop_assert!(!policy.needs_body(&request.head()));
    }

    #[test]
    fn an_unknown_model_is_never_less_strict_than_a_known_one(
        text in policies(), (mut request, _) in requests(), model in select(&MODELS[..])
    ) {
        let policy: Policy = policy(&text.yaml());
        let unknown = request.decide(&policy);
        let needs_model = policy.needs_body(&request.head());
        request.model = Some(model.to_owned());
        let known = request.decide(&policy);
        let names_none = matches!(request.route.api, Api::Health | Api::ModelChange)
            || request.method == "GET" && !request.route.generating;
        if !names_none {
            prop_assert!(unknown.level >= known.level, "{unknown:?} {known:?}");
            prop_assert!(unknown.failure_policy >= known.failure_policy, "{unknown:?} {known:?}");
            if !needs_model {
                prop_assert_eq!(unknown, known);
            }
        }
    }
}
