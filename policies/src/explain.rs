//! Why a policy decides as it does.

use crate::ast::Scalar;
use crate::decide::Decision;
use crate::error::Place;
use crate::head::{Head, Model, Value, View};
use crate::matching::body::{BodyOp, Pointer};
use crate::matching::pattern::{Globs, TextMatch};
use crate::matching::{Fit, PathMatch, Test};
use crate::policy::{Policy, Rule};
use serde::Serialize;

/// Values that an explanation quotes are cut to this many characters.
const MAX_SHOWN: usize = 80;

/// Why a policy decides as it does about one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What [`Policy::decide`] says.
    pub decision: Decision,
    /// The rules in order, to the first that matches for certain.
    pub steps: Vec<Step>,
    /// How many rules come after it: they were not looked at.
    pub not_reached: usize,
}

/// What one rule says of the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The rule's name.
    pub rule: String,
    /// Where it stands.
    pub place: Place,
    /// Whether it matches.
    pub fit: Fit,
    /// The entries of its `matches`, any of which may fit. None: it matches everything.
    pub entries: Vec<Entry>,
}

/// What one entry of `matches` says of the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Whether everything in it fits.
    pub fit: Fit,
    /// What it names.
    pub checks: Vec<Check>,
}

/// One thing that an entry names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What is asked, as in `path Exact /health`.
    pub asks: String,
    /// What the request has there.
    pub saw: String,
    /// Whether it fits.
    pub fit: Fit,
}

impl Policy {
    /// Why [`decide`](Policy::decide) says what it says: every test of every rule up to the one that matches for certain.
    pub fn explain(&self, head: &Head<'_>) -> Explanation {
        let view = View::new(head);
        let mut steps = Vec::new();
        for rule in &self.rules {
            let step = self.step(rule, &view);
            let fit = step.fit;
            steps.push(step);
            if fit == Fit::Yes {
                break;
            }
        }
        Explanation { decision: self.decide(head), not_reached: self.rules.len() - steps.len(), steps }
    }

    fn step(&self, rule: &Rule, view: &View<'_>) -> Step {
        let entries: Vec<Entry> = rule
            .matches
            .iter()
            .map(|entry| {
                let checks: Vec<Check> = entry.tests.iter().map(|test| self.check(test, view)).collect();
                Entry { fit: checks.iter().map(|check| check.fit).min().unwrap_or(Fit::Yes), checks }
            })
            .collect();
        let fit = entries.iter().map(|entry| entry.fit).max().unwrap_or(Fit::Yes);
        Step { rule: rule.name.to_string(), place: rule.place.clone(), fit, entries }
    }

    fn check(&self, test: &Test, view: &View<'_>) -> Check {
        let head = view.head;
        let (asks, saw) = match test {
            Test::Method(method) => (format!("method {method}"), head.method.to_string()),
            Test::Apis(apis) => {
                let names: Vec<&str> = apis.iter().map(|api| api.as_str()).collect();
                (format!("apis {}", names.join(", ")), head.route.api.to_string())
            }
            Test::Stream(stream) => {
                (format!("stream {stream}"), view.stream.map_or("not known".into(), |s| s.to_string()))
            }
            Test::Tenants(globs) => (listed("tenants", globs), or_none(head.tenant)),
            Test::Callers(globs) => (listed("callers", globs), or_none(head.caller)),
            Test::Path(path) => (path_asked(path), shown(view.path)),
            Test::Header(header) => {
                let values = head.headers.get_all(&header.name).iter();
                let values: Vec<String> =
                    values.map(|value| shown(&String::from_utf8_lossy(value.as_bytes()))).collect();
                let saw = if values.is_empty() { "none".to_owned() } else { values.join(", ") };
                (format!("header {} {}", header.name, text_asked(&header.value)), saw)
            }
            Test::Query(query) => {
                (format!("query {} {}", shown(&query.name), text_asked(&query.value)), or_none(head.query))
            }
            Test::Models(globs) => {
                let saw = match view.model {
                    Model::Impossible => "none can be named".to_owned(),
                    Model::Unknown => "not known".to_owned(),
                    Model::Known("") => "none named".to_owned(),
                    Model::Known(model) => shown(model),
                };
                (listed("models", globs), saw)
            }
            Test::Body(body) => {
                let pointer = self.pointers().get(body.pointer).map_or("", Pointer::as_str);
                let asks = match &body.op {
                    BodyOp::Exists => format!("body {pointer} Exists"),
                    BodyOp::In(scalars) => {
                        let values: Vec<String> = scalars.iter().map(scalar_shown).collect();
                        format!("body {pointer} In {}", values.join(", "))
                    }
                    BodyOp::Matches(pattern) => format!("body {pointer} Matches {}", shown(&pattern.text)),
                };
                (asks, value_shown(view.value(body.pointer)))
            }
        };
        Check { asks, saw, fit: test.fit(view) }
    }
}

fn listed(what: &str, globs: &Globs) -> String {
    format!("{what} {}", globs.texts.join(", "))
}

fn or_none(text: Option<&str>) -> String {
    text.map_or("none".into(), shown)
}

fn path_asked(path: &PathMatch) -> String {
    match path {
        PathMatch::Exact(path) => format!("path Exact {path}"),
        PathMatch::Prefix(prefix) if prefix.is_empty() => "path PathPrefix /".to_owned(),
        PathMatch::Prefix(prefix) => format!("path PathPrefix {prefix}"),
        PathMatch::Regex(pattern) => format!("path RegularExpression {}", pattern.text),
    }
}

fn text_asked(text: &TextMatch) -> String {
    match text {
        TextMatch::Exact(value) => format!("Exact {}", shown(value)),
        TextMatch::Regex(pattern) => format!("RegularExpression {}", pattern.text),
    }
}

fn value_shown(value: &Value<'_>) -> String {
    match value {
        Value::Unknown => "not known".to_owned(),
        Value::Absent => "absent".to_owned(),
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => shown(number),
        Value::Text(text) => format!("\"{}\"", shown(text)),
        Value::Container => "an object or an array".to_owned(),
    }
}

fn scalar_shown(scalar: &Scalar) -> String {
    match scalar {
        Scalar::Null => "null".to_owned(),
        Scalar::Bool(flag) => flag.to_string(),
        Scalar::Number(number) => number.clone(),
        Scalar::Text(text) => format!("\"{}\"", shown(text)),
    }
}

/// Without control characters, and bounded.
fn shown(text: &str) -> String {
    let mut shown = text.chars().take(MAX_SHOWN).collect::<String>().escape_debug().to_string();
    if text.chars().nth(MAX_SHOWN).is_some() {
        shown.push('…');
    }
    shown
}
