//! Entries of `matches` as typed.

use super::words::{flag, list, pattern, placed, scalar, word};
use crate::api::Api;
use crate::ast::{Body, Match, Named, Op, PathKind, Placed, TextKind};
use crate::error::Fault;
use crate::yaml::{Map, Node};

pub(crate) const KEYS: [&str; 10] =
    ["method", "path", "headers", "query", "apis", "models", "tenants", "callers", "stream", "body"];

pub(crate) fn entry(node: &Node) -> Result<Match, Fault> {
    let map = node.map("matches", &KEYS)?;
    if map.is_empty() {
        return Err(node.fault("an empty entry in `matches` matches everything; leave `matches` out instead"));
    }
    let text = |node: &Node, key| Ok(placed(node, node.text(key)?.to_owned()));
    Ok(Match {
        method: map.get("method").map(|node| text(node, "method")).transpose()?,
        path: map.get("path").map(path).transpose()?,
        headers: list(&map, "headers", |node| named(node, "headers"))?,
        query: list(&map, "query", |node| named(node, "query"))?,
        apis: map.get("apis").map(|node| node.items("apis")?.iter().map(api).collect()).transpose()?,
        models: globs(&map, "models")?,
        tenants: globs(&map, "tenants")?,
        callers: globs(&map, "callers")?,
        stream: map.get("stream").map(|node| flag(node, "stream")).transpose()?,
        body: list(&map, "body", body)?,
    })
}

fn api(node: &Node) -> Result<Api, Fault> {
    word(node, "apis", "API", Api::ALL.map(|api| (api.as_str(), api)))
}

fn globs(map: &Map<'_>, key: &str) -> Result<Vec<Placed<String>>, Fault> {
    list(map, key, |node| pattern(node, key))
}

fn path(node: &Node) -> Result<(PathKind, Placed<String>), Fault> {
    let map = node.map("path", &["type", "value"])?;
    let kinds = [
        ("Exact", PathKind::Exact),
        ("PathPrefix", PathKind::PathPrefix),
        ("RegularExpression", PathKind::RegularExpression),
    ];
    let kind = word(map.required("type")?, "type", "type", kinds)?;
    Ok((kind, pattern(map.required("value")?, "value")?))
}

/// A header or a parameter of the query.
fn named(node: &Node, what: &str) -> Result<Named, Fault> {
    let map = node.map(what, &["name", "value", "type"])?;
    let kinds = [("Exact", TextKind::Exact), ("RegularExpression", TextKind::RegularExpression)];
    Ok(Named {
        name: pattern(map.required("name")?, "name")?,
        kind: map.get("type").map_or(Ok(TextKind::Exact), |node| word(node, "type", "type", kinds))?,
        value: pattern(map.required("value")?, "value")?,
    })
}

fn body(node: &Node) -> Result<Body, Fault> {
    let map = node.map("body", &["pointer", "op", "value", "values"])?;
    let pointer_node = map.required("pointer")?;
    let pointer = placed(pointer_node, pointer_node.text("pointer")?.to_owned());
    let ops = ["Exists", "Equals", "In", "Matches"].map(|word| (word, word));
    let op = word(map.required("op")?, "op", "op", ops)?;
    let (wanted, unwanted) = match op {
        "Exists" => ("", ["value", "values"].as_slice()),
        "In" => ("values", ["value"].as_slice()),
        _ => ("value", ["values"].as_slice()),
    };
    if let Some(extra) = unwanted.iter().find_map(|key| map.get(key)) {
        let hint = if wanted.is_empty() { "nothing".to_owned() } else { format!("`{wanted}`") };
        return Err(extra.fault(format!("`{op}` compares with {hint}")));
    }
    let op = match op {
        "Exists" => Op::Exists,
        "Equals" => Op::Equals(scalar(map.required("value")?)?),
        "In" => {
            Op::In(map.required("values")?.items("values")?.iter().map(scalar).collect::<Result<_, _>>()?)
        }
        _ => Op::Matches(pattern(map.required("value")?, "value")?),
    };
    Ok(Body { pointer, op })
}
