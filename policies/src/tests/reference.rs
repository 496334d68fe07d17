//! `decide` against an evaluator that is too simple to be wrong.

use super::{Request, policy};
use crate::{Api, DEFAULT_RULE, FailurePolicy, Fit, Honours, Policy, Refusal, Value};
use colophon_receipt::Level;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use std::borrow::Cow;

const LEVELS: [Level; 5] = [Level::Pass, Level::Commit, Level::Sign, Level::Tee, Level::Zk];
const MODELS: [&str; 3] = ["med-7b", "toy", "x/med-7b"];

/// Matchers as YAML, each beside what it means.
#[derive(Clone, Debug)]
struct Entry {
    method: Option<&'static str>,
    path: Option<(&'static str, &'static str)>,
    header: Option<(&'static str, &'static str)>,
    apis: Vec<Api>,
    models: Vec<&'static str>,
    query: bool,
    tenant: Option<&'static str>,
    stream: Option<bool>,
    body: Option<Body>,
}

/// A test of the value at /a.
#[derive(Clone, Copy, Debug)]
enum Body {
    Exists,
    IsX,
    IsOneOrX,
    StartsWithX,
}

/// What a request has at /a, beside what it means.
const VALUES: [Value<'static>; 6] = [
    Value::Absent,
    Value::Null,
    Value::Text(Cow::Borrowed("x")),
    Value::Text(Cow::Borrowed("xyz")),
    Value::Number(Cow::Borrowed("1.0")),
    Value::Container,
];

impl Body {
    fn yaml(self) -> &'static str {
        match self {
            Body::Exists => "{pointer: /a, op: Exists}",
            Body::IsX => "{pointer: /a, op: Equals, value: x}",
            Body::IsOneOrX => "{pointer: /a, op: In, values: [1, x]}",
            Body::StartsWithX => "{pointer: /a, op: Matches, value: x.*}",
        }
    }

    fn fits(self, value: &Value<'_>) -> bool {
        let text = if let Value::Text(text) = value { &**text } else { "" };
        match self {
            Body::Exists => *value != Value::Absent,
            Body::IsX => text == "x",
            Body::IsOneOrX => text == "x" || matches!(value, Value::Number(_)),
            Body::StartsWithX => text.starts_with('x'),
        }
    }
}

#[derive(Clone, Debug)]
struct RuleText {
    entries: Vec<Entry>,
    level: Level,
    failure_policy: Option<FailurePolicy>,
    deny: bool,
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
        if self.query {
            parts.push("query: [{name: q, value: \"a b\"}]".to_owned());
        }
        parts.extend(self.tenant.map(|tenant| format!("tenants: [\"{tenant}\"]")));
        parts.extend(self.stream.map(|stream| format!("stream: {stream}")));
        parts.extend(self.body.map(|body| format!("body: [{}]", body.yaml())));
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
            && (!self.query || request.query.as_deref().is_some_and(|query| query.contains("q=a")))
            && self.tenant.is_none_or(|glob| request.tenant.is_some_and(|tenant| glob_fits(glob, tenant)))
            && self.stream.is_none_or(|stream| stream == request.stream)
            && self.body.is_none_or(|body| body.fits(request.values.first().unwrap()))
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
            let level = if rule.deny { rule.level.clamp(Level::Commit, Level::Sign) } else { rule.level };
            text.push_str(&format!("- name: r{n}\n  level: {level}\n"));
            if rule.deny {
                text.push_str("  deny: {reason: no}\n");
            }
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

    fn denies(&self, rule: &str) -> bool {
        let number = rule.strip_prefix('r').and_then(|number| number.parse::<usize>().ok());
        number.is_some_and(|number| self.rules[number].deny)
    }

    /// Rule, level before the client's wish, failure policy; with the body known.
    fn decide(&self, request: &Request, path: &str, model: &str) -> (String, Level, FailurePolicy) {
        for (n, rule) in self.rules.iter().enumerate() {
            if rule.entries.is_empty() || rule.entries.iter().any(|entry| entry.fits(request, path, model)) {
                let failure_policy = rule.failure_policy.unwrap_or(self.default.1);
                if rule.deny {
                    return (format!("r{n}"), rule.level.clamp(Level::Commit, Level::Sign), failure_policy);
                }
                if rule.level == Level::Pass && path != request.path {
                    let level = self.default.0.max(Level::Commit);
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
        proptest::bool::weighted(0.2),
        proptest::option::weighted(0.2, select(vec!["*", "toy", "t?y"])),
        proptest::option::weighted(0.2, any::<bool>()),
        proptest::option::weighted(
            0.3,
            select(vec![Body::Exists, Body::IsX, Body::IsOneOrX, Body::StartsWithX]),
        ),
    )
        .prop_map(|(method, path, header, apis, models, query, tenant, stream, body)| Entry {
            method,
            path,
            header,
            apis,
            models,
            query,
            tenant,
            stream,
            body,
        })
        .prop_filter("an entry names something", |entry| !entry.is_empty())
}

fn policies() -> impl Strategy<Value = PolicyText> {
    let failure = || select(vec![FailurePolicy::Ignore, FailurePolicy::Fail]);
    let rule = (
        proptest::collection::vec(entries(), 0..3),
        select(&LEVELS[..]),
        proptest::option::of(failure()),
        proptest::bool::weighted(0.1),
    )
        .prop_map(|(entries, level, failure_policy, deny)| RuleText {
            entries,
            level,
            failure_policy,
            deny,
        });
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
    let other = (
        select(vec![None, Some("q=a+b"), Some("x=1&q=a%20b"), Some("q=b")]),
        select(vec![None, Some("toy"), Some("other")]),
        any::<bool>(),
        select(&VALUES[..]),
    );
    (select(vec!["GET", "POST", "PUT"]), select(paths), any::<bool>(), any::<bool>(), level, other).prop_map(
        |(method, (raw, path), team, env, level, (query, tenant, stream, value))| {
            let mut request = Request::new(method, raw);
            request.query = query.map(str::to_owned);
            request.tenant = tenant;
            request.stream = stream;
            request.values = vec![value];
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

/// What a level comes to in a program with these abilities, and whether the request is refused for it.
fn given(honours: Honours, level: Level, failure_policy: FailurePolicy, denied: bool) -> (Level, bool) {
    let able = match level {
        Level::Tee => honours.tee,
        Level::Zk => honours.zk,
        _ => true,
    };
    if able { (level, false) } else { (Level::Sign, failure_policy == FailurePolicy::Fail && !denied) }
}

fn honours() -> impl Strategy<Value = Honours> {
    (any::<bool>(), any::<bool>()).prop_map(|(tee, zk)| Honours { tee, zk })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn decide_and_explain_agree_with_the_naive_evaluator(
        text in policies(), (request, path) in requests(), model in select(&MODELS[..]), honours in honours()
    ) {
        let policy: Policy = policy(&text.yaml()).honouring(honours);
        let request = request.model(model);
        let decision = request.decide(&policy);
        let (rule, level, failure_policy) = text.decide(&request, path, model);
        let denied = text.denies(&rule);
        let (level, unavailable) = given(honours, raised(&text, &request, level), failure_policy, denied);
        prop_assert_eq!(&*decision.rule, &*rule);
        prop_assert_eq!(decision.level, level);
        prop_assert_eq!(decision.failure_policy, failure_policy);
        let refusal = decision.refusal.as_ref();
        prop_assert_eq!(matches!(refusal, Some(Refusal::Denied(_))), denied);
        prop_assert_eq!(matches!(refusal, Some(Refusal::Unavailable(_))), unavailable);
        prop_assert!(decision.asked >= decision.level || decision.why_lowered.is_some());
        prop_assert!(decision.asked == decision.level || decision.why_lowered.is_some() || denied);
        prop_assert!(!policy.needs_body(&request.head()));

        let explanation = policy.explain(&request.head());
        prop_assert_eq!(&explanation.decision, &decision);
        let matching = explanation.steps.iter().position(|step| step.fit != Fit::No);
        let explained = matching.map_or(DEFAULT_RULE, |at| &*explanation.steps[at].rule);
        prop_assert_eq!(explained, &*rule);
        prop_assert!(matching.is_none_or(|at| at + 1 == explanation.steps.len()));
        prop_assert_eq!(explanation.steps.len() + explanation.not_reached, text.rules.len());
    }

    #[test]
    fn an_unknown_body_is_never_less_strict_than_a_known_one(
        text in policies(), (mut request, _) in requests(), model in select(&MODELS[..]), honours in honours()
    ) {
        let policy: Policy = policy(&text.yaml()).honouring(honours);
        let unknown = request.decide(&policy);
        let explanation = policy.explain(&request.head());
        let needs_body = policy.needs_body(&request.head());
        let candidates = explanation.steps.iter().filter(|step| step.fit != Fit::No);
        let candidates: Vec<&str> = candidates.map(|step| &*step.rule).collect();
        prop_assert!(candidates.contains(&&*unknown.rule) || &*unknown.rule == DEFAULT_RULE);
        request.model = Some(model.to_owned());
        let known = request.decide(&policy);
        let names_none = matches!(request.route.api, Api::Health | Api::ModelChange)
            || request.method == "GET";
        if !names_none {
            prop_assert!(unknown.failure_policy >= known.failure_policy, "{unknown:?} {known:?}");
            let denied = |refusal: &Option<Refusal>| matches!(refusal, Some(Refusal::Denied(_)));
            prop_assert!(denied(&unknown.refusal) >= denied(&known.refusal), "{unknown:?} {known:?}");
            if unknown.refusal.is_none() {
                prop_assert!(unknown.asked.max(unknown.level) >= known.level, "{unknown:?} {known:?}");
            }
            if honours.tee && honours.zk && unknown.refusal.is_none() {
                prop_assert!(unknown.level >= known.level, "{unknown:?} {known:?}");
            }
            if !needs_body {
                prop_assert_eq!(unknown, known);
            }
        }
    }
}
