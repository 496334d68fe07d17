//! The canonical text of a policy; its form is described at `Policy::canonical`.

use crate::api::Api;
use crate::matching::{HeaderMatch, HeaderValueMatch, Match, PathMatch};
use crate::policy::Rule;
use crate::routes;
use colophon_receipt::Level;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fmt::Write as _;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CanonicalPolicy<'a> {
    api_version: &'a str,
    kind: &'a str,
    name: &'a str,
    defaults: CanonicalDefaults<'a>,
    client_may_raise_to: Option<&'a str>,
    routes: String,
    rules: Vec<CanonicalRule<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CanonicalDefaults<'a> {
    level: &'a str,
    failure_policy: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CanonicalRule<'a> {
    name: &'a str,
    level: &'a str,
    failure_policy: &'a str,
    matches: Option<BTreeSet<CanonicalMatch<'a>>>,
}

#[derive(Serialize, PartialEq, Eq, PartialOrd, Ord)]
struct CanonicalMatch<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<CanonicalValue<'a>>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    headers: BTreeSet<CanonicalHeader<'a>>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    apis: BTreeSet<&'a str>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    models: BTreeSet<&'a str>,
}

#[derive(Serialize, PartialEq, Eq, PartialOrd, Ord)]
struct CanonicalHeader<'a> {
    name: &'a str,
    #[serde(flatten)]
    value: CanonicalValue<'a>,
}

#[derive(Serialize, PartialEq, Eq, PartialOrd, Ord)]
struct CanonicalValue<'a> {
    r#type: &'a str,
    value: &'a str,
}

pub(crate) fn text(name: &str, default: &Rule, ceiling: Level, rules: &[Rule]) -> String {
    let policy = CanonicalPolicy {
        api_version: "colophon.dev/v1alpha1",
        kind: "ProvenancePolicy",
        name,
        defaults: CanonicalDefaults {
            level: default.level.as_str(),
            failure_policy: default.failure_policy.as_str(),
        },
        client_may_raise_to: (ceiling > Level::Pass).then(|| ceiling.as_str()),
        routes: hex(&Sha256::digest(routes::table_text().as_bytes())),
        rules: rules.iter().map(CanonicalRule::from).collect(),
    };
    // Strings, lists and maps with string keys: serialising them to memory does not fail.
    serde_json::to_string(&policy).unwrap_or_default()
}

impl<'a> From<&'a Rule> for CanonicalRule<'a> {
    fn from(rule: &'a Rule) -> CanonicalRule<'a> {
        CanonicalRule {
            name: &rule.name,
            level: rule.level.as_str(),
            failure_policy: rule.failure_policy.as_str(),
            matches: (!rule.matches.is_empty())
                .then(|| rule.matches.iter().map(CanonicalMatch::from).collect()),
        }
    }
}

impl<'a> From<&'a Match> for CanonicalMatch<'a> {
    fn from(entry: &'a Match) -> CanonicalMatch<'a> {
        let apis = |set: crate::matching::ApiSet| Api::ALL.into_iter().filter(move |api| set.contains(*api));
        CanonicalMatch {
            method: entry.method.as_ref().map(|method| method.as_str()),
            path: entry.path.as_ref().map(CanonicalValue::from),
            headers: entry.headers.iter().map(CanonicalHeader::from).collect(),
            apis: entry.apis.into_iter().flat_map(apis).map(Api::as_str).collect(),
            models: entry.models.iter().map(|glob| glob.text.as_str()).collect(),
        }
    }
}

impl<'a> From<&'a PathMatch> for CanonicalValue<'a> {
    fn from(path: &'a PathMatch) -> CanonicalValue<'a> {
        let (r#type, value) = match path {
            PathMatch::Exact(path) => ("Exact", path.as_str()),
            PathMatch::Prefix(prefix) => ("PathPrefix", prefix.as_str()),
            PathMatch::Regex(pattern) => ("RegularExpression", pattern.text.as_str()),
        };
        CanonicalValue { r#type, value }
    }
}

impl<'a> From<&'a HeaderMatch> for CanonicalHeader<'a> {
    fn from(header: &'a HeaderMatch) -> CanonicalHeader<'a> {
        let (r#type, value) = match &header.value {
            HeaderValueMatch::Exact(value) => ("Exact", value.as_str()),
            HeaderValueMatch::Regex(pattern) => ("RegularExpression", pattern.text.as_str()),
        };
        CanonicalHeader { name: header.name.as_str(), value: CanonicalValue { r#type, value } }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
