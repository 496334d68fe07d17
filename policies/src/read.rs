//! From YAML to a policy as typed; every error names its place.

pub(crate) mod matches;
pub(crate) mod rule;
pub(crate) mod words;

use crate::ast::{Backend, Defaults, Document, Placed, Prover, Spec, Upstream};
use crate::error::Fault;
use crate::yaml::{Map, Node, Value};
use words::{failure_policy, level, list, name, placed, word};

const API_VERSION: &str = "colophon.dev/v1alpha1";
const KIND: &str = "ProvenancePolicy";
pub(crate) const SPEC_KEYS: [&str; 5] = ["defaults", "clientMayRaiseTo", "upstreams", "provers", "rules"];

/// Reads one file.
pub(crate) fn document(root: &Node) -> Result<Document, Fault> {
    let root = root.map("policy", &["apiVersion", "kind", "metadata", "spec"])?;
    constant(&root, "apiVersion", API_VERSION)?;
    constant(&root, "kind", KIND)?;
    let metadata = root.required("metadata")?.map("metadata", &["name"])?;
    let name = name(metadata.required("name")?, "name")?;
    Ok(Document { name, spec: spec(root.required("spec")?)? })
}

fn spec(node: &Node) -> Result<Spec, Fault> {
    let map = node.map("spec", &SPEC_KEYS)?;
    Ok(Spec {
        defaults: map.get("defaults").map(defaults).transpose()?,
        ceiling: map.get("clientMayRaiseTo").map(|node| level(node, "clientMayRaiseTo")).transpose()?,
        upstreams: list(&map, "upstreams", upstream)?,
        provers: list(&map, "provers", prover)?,
        rules: list(&map, "rules", rule::rule)?,
    })
}

fn defaults(node: &Node) -> Result<Placed<Defaults>, Fault> {
    let map = node.map("defaults", &["level", "failurePolicy"])?;
    let value = Defaults {
        level: map.get("level").map(|node| level(node, "level")).transpose()?.map(|level| level.value),
        failure_policy: map.get("failurePolicy").map(failure_policy).transpose()?,
    };
    Ok(Placed { at: node.at, value })
}

fn upstream(node: &Node) -> Result<Upstream, Fault> {
    let map = node.map("upstream", &["name", "url", "attestation"])?;
    let url_node = map.required("url")?;
    let url = url_node.text("url")?;
    let uri: Result<http::Uri, _> = url.parse();
    let https = uri.is_ok_and(|uri| uri.scheme_str() == Some("https") && uri.authority().is_some());
    if !https {
        return Err(url_node.fault("an upstream with evidence has an address like https://host:port"));
    }
    let attestation = map.get("attestation").map(attestation).transpose()?;
    Ok(Upstream { name: name(map.required("name")?, "name")?, url: url.to_owned(), attestation })
}

/// What it says is for whoever verifies evidence to understand.
fn attestation(node: &Node) -> Result<Placed<serde_json::Value>, Fault> {
    match &node.value {
        Value::Map(entries) if !entries.is_empty() => Ok(placed(node, node.json()?)),
        _ => Err(node.fault("`attestation` is a mapping: the `spec` of an attestation policy")),
    }
}

fn prover(node: &Node) -> Result<Prover, Fault> {
    let map = node.map("prover", &["name", "backend"])?;
    let backends = [("exec", Backend::Exec), ("http", Backend::Http), ("native", Backend::Native)];
    Ok(Prover {
        name: name(map.required("name")?, "name")?,
        backend: word(map.required("backend")?, "backend", "backend", backends)?,
    })
}

fn constant(map: &Map<'_>, key: &str, expected: &str) -> Result<(), Fault> {
    let node = map.required(key)?;
    if node.text(key)? == expected { Ok(()) } else { Err(node.fault(format!("`{key}` is `{expected}`"))) }
}
