//! The canonical text of a policy; its form is described at `Policy::canonical`.

use crate::actions::OnMiss;
use crate::api::Api;
use crate::ast::{Backend, Scalar};
use crate::compile::Compiled;
use crate::matching::body::BodyOp;
use crate::matching::pattern::{Globs, TextMatch};
use crate::matching::{Match, PathMatch, Test};
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
    #[serde(skip_serializing_if = "Vec::is_empty")]
    upstreams: Vec<CanonicalUpstream<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    provers: Vec<CanonicalProver<'a>>,
    rules: Vec<CanonicalRule<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CanonicalDefaults<'a> {
    level: &'a str,
    failure_policy: &'a str,
}

#[derive(Serialize)]
struct CanonicalUpstream<'a> {
    name: &'a str,
    url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    attestation: Option<&'a serde_json::Value>,
}

/// One is written as before there could be several.
#[derive(Serialize)]
#[serde(untagged)]
enum CanonicalNames<'a> {
    One(&'a str),
    Several(Vec<&'a str>),
}

#[derive(Serialize)]
struct CanonicalProver<'a> {
    name: &'a str,
    backend: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CanonicalRule<'a> {
    name: &'a str,
    level: &'a str,
    failure_policy: &'a str,
    matches: Option<BTreeSet<CanonicalMatch<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sample: Option<CanonicalSample<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_miss: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prover: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<CanonicalNames<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deny: Option<&'a str>,
}

#[derive(Serialize)]
struct CanonicalSample<'a> {
    /// Text: JSON numbers of 64 bits are not read alike everywhere.
    threshold: String,
    to: &'a str,
    draw: &'a str,
}

#[derive(Serialize, Default, PartialEq, Eq, PartialOrd, Ord)]
struct CanonicalMatch<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<CanonicalValue<'a>>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    headers: BTreeSet<CanonicalNamed<'a>>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    query: BTreeSet<CanonicalNamed<'a>>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    apis: BTreeSet<&'a str>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    models: BTreeSet<&'a str>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    tenants: BTreeSet<&'a str>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    callers: BTreeSet<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<bool>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    body: BTreeSet<CanonicalBody<'a>>,
}

#[derive(Serialize, PartialEq, Eq, PartialOrd, Ord)]
struct CanonicalNamed<'a> {
    name: &'a str,
    #[serde(flatten)]
    value: CanonicalValue<'a>,
}

#[derive(Serialize, PartialEq, Eq, PartialOrd, Ord)]
struct CanonicalValue<'a> {
    r#type: &'a str,
    value: &'a str,
}

#[derive(Serialize, PartialEq, Eq, PartialOrd, Ord)]
struct CanonicalBody<'a> {
    pointer: &'a str,
    op: &'a str,
    /// Type and text.
    values: BTreeSet<(&'a str, &'a str)>,
}

pub(crate) fn text(compiled: &Compiled, default: &Rule) -> String {
    let upstreams = compiled.upstreams.iter().map(|upstream| CanonicalUpstream {
        name: &upstream.name,
        url: &upstream.url,
        attestation: upstream.attestation.as_ref(),
    });
    let provers =
        compiled.provers.iter().map(|(name, backend)| CanonicalProver { name, backend: backend.as_str() });
    let policy = CanonicalPolicy {
        api_version: "colophon.dev/v1alpha1",
        kind: "ProvenancePolicy",
        name: &compiled.name,
        defaults: CanonicalDefaults {
            level: default.level.as_str(),
            failure_policy: default.failure_policy.as_str(),
        },
        client_may_raise_to: (compiled.ceiling > Level::Pass).then(|| compiled.ceiling.as_str()),
        routes: hex(&Sha256::digest(routes::table_text().as_bytes())),
        upstreams: upstreams.collect(),
        provers: provers.collect(),
        rules: compiled.rules.iter().map(|rule| canonical_rule(rule, compiled)).collect(),
    };
    // Strings, lists and maps with string keys: serialising them to memory does not fail.
    serde_json::to_string(&policy).unwrap_or_default()
}

fn canonical_rule<'a>(rule: &'a Rule, compiled: &'a Compiled) -> CanonicalRule<'a> {
    let actions = &rule.actions;
    let entries = || rule.matches.iter().map(|entry| canonical_match(entry, compiled)).collect();
    CanonicalRule {
        name: &rule.name,
        level: rule.level.as_str(),
        failure_policy: rule.failure_policy.as_str(),
        matches: (!rule.matches.is_empty()).then(entries),
        sample: actions.sample.map(|sample| CanonicalSample {
            threshold: sample.threshold.to_string(),
            to: sample.to.as_str(),
            draw: sample.draw.as_str(),
        }),
        deadline: actions.deadline.map(|deadline| deadline.as_secs()),
        on_miss: (actions.on_miss != OnMiss::default()).then(|| actions.on_miss.as_str()),
        prover: actions.prover.as_deref(),
        upstream: match actions.upstreams.as_slice() {
            [] => None,
            [one] => Some(CanonicalNames::One(one)),
            several => Some(CanonicalNames::Several(several.iter().map(|name| &**name).collect())),
        },
        deny: rule.deny.as_deref(),
    }
}

fn canonical_match<'a>(entry: &'a Match, compiled: &'a Compiled) -> CanonicalMatch<'a> {
    let texts = |globs: &'a Globs| globs.texts.iter().map(String::as_str).collect();
    let mut canonical = CanonicalMatch::default();
    for test in &entry.tests {
        match test {
            Test::Method(method) => canonical.method = Some(method.as_str()),
            Test::Apis(apis) => canonical.apis = apis.iter().map(Api::as_str).collect(),
            Test::Stream(stream) => canonical.stream = Some(*stream),
            Test::Tenants(globs) => canonical.tenants = texts(globs),
            Test::Callers(globs) => canonical.callers = texts(globs),
            Test::Models(globs) => canonical.models = texts(globs),
            Test::Path(path) => canonical.path = Some(path.into()),
            Test::Header(header) => {
                let named = CanonicalNamed { name: header.name.as_str(), value: (&header.value).into() };
                canonical.headers.insert(named);
            }
            Test::Query(query) => {
                canonical.query.insert(CanonicalNamed { name: &query.name, value: (&query.value).into() });
            }
            Test::Body(body) => {
                let pointer = compiled.pointers.get(body.pointer).map_or("", |pointer| pointer.as_str());
                let (op, values) = match &body.op {
                    BodyOp::Exists => ("Exists", BTreeSet::new()),
                    BodyOp::In(scalars) => ("In", scalars.iter().map(typed).collect()),
                    BodyOp::Matches(pattern) => ("Matches", BTreeSet::from([("string", &*pattern.text)])),
                };
                canonical.body.insert(CanonicalBody { pointer, op, values });
            }
        }
    }
    canonical
}

fn typed(scalar: &Scalar) -> (&str, &str) {
    match scalar {
        Scalar::Null => ("null", ""),
        Scalar::Bool(flag) => ("boolean", if *flag { "true" } else { "false" }),
        Scalar::Number(number) => ("number", number),
        Scalar::Text(text) => ("string", text),
    }
}

impl Backend {
    /// The word used in policies.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Backend::Exec => "exec",
            Backend::Http => "http",
            Backend::Native => "native",
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

impl<'a> From<&'a TextMatch> for CanonicalValue<'a> {
    fn from(text: &'a TextMatch) -> CanonicalValue<'a> {
        let (r#type, value) = match text {
            TextMatch::Exact(value) => ("Exact", value.as_str()),
            TextMatch::Regex(pattern) => ("RegularExpression", pattern.text.as_str()),
        };
        CanonicalValue { r#type, value }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
