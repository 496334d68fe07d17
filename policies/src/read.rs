//! From YAML as typed to rules; every error names its place.

use crate::api::Api;
use crate::error::{Fault, shown, suggestion};
use crate::matching::{
    ApiSet, Glob, HeaderMatch, HeaderValueMatch, MAX_PATTERN_BYTES, Match, PathMatch, Pattern,
};
use crate::policy::{FailurePolicy, Rule};
use crate::routes::identify;
use crate::yaml::{Map, Node};
use colophon_receipt::Level;
use http::{HeaderName, HeaderValue, Method};
use std::collections::HashSet;
use std::sync::Arc;

const API_VERSION: &str = "colophon.dev/v1alpha1";
const KIND: &str = "ProvenancePolicy";
/// A policy may have this many rules,
const MAX_RULES: usize = 1024;
/// and this many compiled expressions and globs.
const MAX_PATTERNS: usize = 4096;
const MAX_NAME_BYTES: usize = 128;

const LEVELS: [(&str, Level); 3] = [("pass", Level::Pass), ("commit", Level::Commit), ("sign", Level::Sign)];
/// Keys of the language that this version does not have: an error of their own, since they are no typing mistakes.
const PLANNED_RULE_KEYS: [&str; 6] = ["sample", "deadline", "onMiss", "prover", "upstream", "deny"];
const PLANNED_MATCH_KEYS: [&str; 5] = ["query", "tenants", "callers", "stream", "body"];

/// A policy file, read.
pub(crate) struct Spec {
    pub(crate) name: String,
    pub(crate) default_level: Level,
    pub(crate) default_failure_policy: FailurePolicy,
    pub(crate) ceiling: Level,
    pub(crate) rules: Vec<Rule>,
}

pub(crate) fn spec(root: &Node) -> Result<Spec, Fault> {
    let root = root.map("policy", &["apiVersion", "kind", "metadata", "spec"], &[])?;
    constant(&root, "apiVersion", API_VERSION)?;
    constant(&root, "kind", KIND)?;
    let metadata = root.required("metadata")?.map("metadata", &["name"], &[])?;
    let name = name(metadata.required("name")?, "name")?.to_owned();
    let spec = root.required("spec")?.map("spec", &["defaults", "clientMayRaiseTo", "rules"], &[])?;
    let (default_level, default_failure_policy) = match spec.get("defaults") {
        Some(node) => defaults(node)?,
        None => (Level::Commit, FailurePolicy::Ignore),
    };
    let ceiling =
        spec.get("clientMayRaiseTo").map_or(Ok(Level::Pass), |node| level(node, "clientMayRaiseTo"))?;
    let rules = spec.get("rules").map_or(Ok(Vec::new()), |node| rules(node, default_failure_policy))?;
    Ok(Spec { name, default_level, default_failure_policy, ceiling, rules })
}

fn defaults(node: &Node) -> Result<(Level, FailurePolicy), Fault> {
    let map = node.map("defaults", &["level", "failurePolicy"], &[])?;
    let level = map.get("level").map_or(Ok(Level::Commit), |node| level(node, "level"))?;
    let failure_policy = map.get("failurePolicy").map_or(Ok(FailurePolicy::Ignore), failure_policy)?;
    Ok((level, failure_policy))
}

fn rules(node: &Node, default_failure_policy: FailurePolicy) -> Result<Vec<Rule>, Fault> {
    let items = node.items("rules")?;
    if items.len() > MAX_RULES {
        return Err(node.fault(format!("more than {MAX_RULES} rules")));
    }
    let mut names = HashSet::new();
    let mut patterns_left = MAX_PATTERNS;
    let mut rules = Vec::with_capacity(items.len());
    for item in items {
        let map = item.map("rule", &["name", "matches", "level", "failurePolicy"], &PLANNED_RULE_KEYS)?;
        let name_node = map.required("name")?;
        let name = name(name_node, "name")?;
        if !names.insert(name) {
            return Err(name_node.fault(format!("a second rule named `{name}`")));
        }
        let level = level(map.required("level")?, "level")?;
        let failure_policy = map.get("failurePolicy").map_or(Ok(default_failure_policy), failure_policy)?;
        let mut matches = Vec::new();
        if let Some(entries) = map.get("matches") {
            for entry in entries.items("matches")? {
                matches.push(match_entry(entry, &mut patterns_left)?);
            }
        }
        rules.push(Rule { name: Arc::from(name), level, failure_policy, matches });
    }
    Ok(rules)
}

fn match_entry(node: &Node, patterns_left: &mut usize) -> Result<Match, Fault> {
    let map = node.map("matches", &["method", "path", "headers", "apis", "models"], &PLANNED_MATCH_KEYS)?;
    if map.is_empty() {
        return Err(node.fault("an empty entry in `matches` matches everything; leave `matches` out instead"));
    }
    let mut entry = Match {
        method: map.get("method").map(method).transpose()?,
        path: map.get("path").map(|node| path(node, patterns_left)).transpose()?,
        ..Match::default()
    };
    if let Some(headers) = map.get("headers") {
        for node in headers.items("headers")? {
            entry.headers.push(header(node, patterns_left)?);
        }
    }
    if let Some(apis) = map.get("apis") {
        let mut set = ApiSet::default();
        for node in apis.items("apis")? {
            set.insert(word(node, "apis", "API", Api::ALL.map(|api| (api.as_str(), api)))?);
        }
        entry.apis = Some(set);
    }
    if let Some(models) = map.get("models") {
        for node in models.items("models")? {
            let text = pattern_text(node, "models", patterns_left)?;
            entry.models.push(Glob::new(text).map_err(|message| node.fault(message))?);
        }
    }
    Ok(entry)
}

fn method(node: &Node) -> Result<Method, Fault> {
    let text = node.text("method")?;
    let upper = text.to_ascii_uppercase();
    match Method::from_bytes(text.as_bytes()) {
        Ok(_) if upper != text => {
            Err(node.fault(format!("methods are case-sensitive, did you mean `{upper}`?")))
        }
        Ok(method) => Ok(method),
        Err(_) => Err(node.fault("not an HTTP method")),
    }
}

fn path(node: &Node, patterns_left: &mut usize) -> Result<PathMatch, Fault> {
    let map = node.map("path", &["type", "value"], &[])?;
    let kind =
        word(map.required("type")?, "type", "type", ["Exact", "PathPrefix", "RegularExpression"].map(same))?;
    let value_node = map.required("value")?;
    let value = pattern_text(value_node, "value", patterns_left)?;
    if kind == "RegularExpression" {
        return Pattern::new(value).map(PathMatch::Regex).map_err(|message| value_node.fault(message));
    }
    // A trailing slash means nothing in a prefix, as in HTTPRoute.
    let wanted = if kind == "PathPrefix" { value.strip_suffix('/').unwrap_or(value) } else { value };
    let route = identify(&Method::GET, value);
    let normalised = route.matched_path(value);
    let can_match = value == "/" || normalised == wanted && wanted != "/";
    if !can_match {
        return Err(value_node.fault(format!(
            "`{}` never matches: paths are normalised first, did you mean `{}`?",
            shown(value),
            shown(normalised)
        )));
    }
    Ok(match kind {
        "Exact" => PathMatch::Exact(value.to_owned()),
        _ => PathMatch::Prefix(wanted.to_owned()),
    })
}

fn header(node: &Node, patterns_left: &mut usize) -> Result<HeaderMatch, Fault> {
    let map = node.map("headers", &["name", "value", "type"], &[])?;
    let name_node = map.required("name")?;
    let name = HeaderName::from_bytes(name_node.text("name")?.as_bytes())
        .map_err(|_| name_node.fault("not a header name"))?;
    let kind = map
        .get("type")
        .map_or(Ok("Exact"), |node| word(node, "type", "type", ["Exact", "RegularExpression"].map(same)))?;
    let value_node = map.required("value")?;
    let value = pattern_text(value_node, "value", patterns_left)?;
    let value = if kind == "RegularExpression" {
        HeaderValueMatch::Regex(Pattern::new(value).map_err(|message| value_node.fault(message))?)
    } else if HeaderValue::from_str(value).is_err() || value.trim() != value {
        return Err(value_node.fault("no header has this value"));
    } else {
        HeaderValueMatch::Exact(value.to_owned())
    };
    Ok(HeaderMatch { name, value })
}

fn constant(map: &Map<'_>, key: &str, expected: &str) -> Result<(), Fault> {
    let node = map.required(key)?;
    if node.text(key)? == expected { Ok(()) } else { Err(node.fault(format!("`{key}` is `{expected}`"))) }
}

fn level(node: &Node, key: &str) -> Result<Level, Fault> {
    match node.text(key)?.parse() {
        Ok(level @ (Level::Tee | Level::Zk)) => {
            Err(node.fault(format!("level `{level}` is not supported yet by this version")))
        }
        _ => word(node, key, "level", LEVELS),
    }
}

fn failure_policy(node: &Node) -> Result<FailurePolicy, Fault> {
    let words = [FailurePolicy::Fail, FailurePolicy::Ignore].map(|policy| (policy.as_str(), policy));
    word(node, "failurePolicy", "failurePolicy", words)
}

/// One of `words`, or an error that lists them.
fn word<T: Copy, const N: usize>(
    node: &Node,
    key: &str,
    what: &str,
    words: [(&'static str, T); N],
) -> Result<T, Fault> {
    let text = node.text(key)?;
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let names = words.map(|(word, _)| word);
    let mut hint = suggestion(text, names);
    if hint.is_empty() {
        hint = format!("; it is one of {}", names.join(", "));
    }
    Err(node.fault(format!("unknown {what} `{}`{hint}", shown(text))))
}

fn same(word: &'static str) -> (&'static str, &'static str) {
    (word, word)
}

/// A text to match with, counted against the policy's allowance.
fn pattern_text<'a>(node: &'a Node, key: &str, patterns_left: &mut usize) -> Result<&'a str, Fault> {
    let text = node.text(key)?;
    if text.is_empty() {
        return Err(node.fault(format!("`{key}` is empty")));
    }
    if text.len() > MAX_PATTERN_BYTES {
        return Err(node.fault(format!("`{key}` is longer than {MAX_PATTERN_BYTES} bytes")));
    }
    *patterns_left = patterns_left.checked_sub(1).ok_or_else(|| {
        node.fault(format!("more than {MAX_PATTERNS} paths, header values and models in one policy"))
    })?;
    Ok(text)
}

/// Names end up in records and logs: printable, short, and not the one that stands for no rule.
fn name<'a>(node: &'a Node, key: &str) -> Result<&'a str, Fault> {
    let text = node.text(key)?;
    let fine = |c: char| c.is_alphanumeric() || "-_. /:".contains(c);
    if text.is_empty() || text.len() > MAX_NAME_BYTES || text.trim() != text || !text.chars().all(fine) {
        return Err(node.fault(format!(
            "a name has 1 to {MAX_NAME_BYTES} bytes of letters, digits, spaces and `-_./:`, not `{}`",
            shown(text)
        )));
    }
    Ok(text)
}
