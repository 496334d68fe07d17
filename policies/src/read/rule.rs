//! Rules as typed.

use super::matches::entry;
use super::words::{deadline, failure_policy, level, list, name, placed, word};
use crate::actions::{Draw, OnMiss};
use crate::ast::{Placed, Rule, Sample};
use crate::error::{Fault, shown};
use crate::yaml::{Node, Value};
use colophon_receipt::Level;

pub(crate) const KEYS: [&str; 10] = [
    "name",
    "matches",
    "level",
    "failurePolicy",
    "sample",
    "deadline",
    "onMiss",
    "prover",
    "upstream",
    "deny",
];
/// A reason may be this long: it goes into the answer and the record.
const MAX_REASON_BYTES: usize = 256;
/// A rule may name this many upstreams.
const MAX_UPSTREAMS: usize = 8;
/// A percent, in millionths.
const PERCENT: u64 = 1_000_000;

pub(crate) fn rule(node: &Node) -> Result<Rule, Fault> {
    let map = node.map("rule", &KEYS)?;
    let rule = Rule {
        name: name(map.required("name")?, "name")?,
        matches: list(&map, "matches", entry)?,
        level: map.get("level").map(|node| level(node, "level")).transpose()?,
        failure_policy: map.get("failurePolicy").map(failure_policy).transpose()?,
        sample: map.get("sample").map(sample).transpose()?,
        deadline: map.get("deadline").map(deadline).transpose()?,
        on_miss: map.get("onMiss").map(on_miss).transpose()?,
        prover: map.get("prover").map(|node| name(node, "prover")).transpose()?,
        upstreams: map.get("upstream").map_or(Ok(Vec::new()), upstreams)?,
        deny: map.get("deny").map(deny).transpose()?,
    };
    if rule.level.is_none() && rule.deny.is_none() {
        map.required("level")?;
    }
    Ok(rule)
}

/// A name, or a list of them: the first that proves itself answers.
fn upstreams(node: &Node) -> Result<Vec<Placed<String>>, Fault> {
    let Value::List(_) = node.value else { return Ok(vec![name(node, "upstream")?]) };
    let items = node.items("upstream")?;
    if items.len() > MAX_UPSTREAMS {
        return Err(node.fault(format!("a rule names at most {MAX_UPSTREAMS} upstreams")));
    }
    let mut names: Vec<Placed<String>> = Vec::with_capacity(items.len());
    for item in items {
        let name = name(item, "upstream")?;
        if names.iter().any(|known| known.value == name.value) {
            return Err(item.fault(format!("the upstream `{}` is named twice", shown(&name.value))));
        }
        names.push(name);
    }
    Ok(names)
}

fn sample(node: &Node) -> Result<Placed<Sample>, Fault> {
    let map = node.map("sample", &["percent", "to", "draw"])?;
    let draws = [Draw::Local, Draw::PostCommit].map(|draw| (draw.as_str(), draw));
    let to_node = map.required("to")?;
    let to = level(to_node, "to")?.value;
    if to <= Level::Commit {
        return Err(to_node.fault(format!("nothing is drawn for `{to}`; `to` is a level above the rule's")));
    }
    let value = Sample {
        share: share(map.required("percent")?)?,
        to,
        draw: word(map.required("draw")?, "draw", "draw", draws)?,
    };
    Ok(placed(node, value))
}

/// A percentage in millionths of a percent.
fn share(node: &Node) -> Result<u64, Fault> {
    let wrong = || node.fault("`percent` is a number above 0, 100 at most, with 6 decimals at most");
    let Value::Number(text) = &node.value else { return Err(wrong()) };
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    if whole.is_empty() || !text.bytes().all(|b| b.is_ascii_digit() || b == b'.') || decimals.len() > 6 {
        return Err(wrong());
    }
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    let decimals: u64 = format!("{decimals:0<6}").parse().map_err(|_| wrong())?;
    let share = whole.checked_mul(PERCENT).and_then(|share| share.checked_add(decimals));
    share.filter(|share| (1..=100 * PERCENT).contains(share)).ok_or_else(wrong)
}

fn on_miss(node: &Node) -> Result<Placed<OnMiss>, Fault> {
    let words = [OnMiss::Downgrade, OnMiss::Alert, OnMiss::Fail].map(|miss| (miss.as_str(), miss));
    Ok(placed(node, word(node, "onMiss", "onMiss", words)?))
}

fn deny(node: &Node) -> Result<Placed<String>, Fault> {
    let map = node.map("deny", &["reason"])?;
    let reason_node = map.required("reason")?;
    let reason = reason_node.text("reason")?.trim();
    if reason.is_empty() || reason.len() > MAX_REASON_BYTES || reason.chars().any(char::is_control) {
        return Err(reason_node.fault(format!("a reason is a line of 1 to {MAX_REASON_BYTES} bytes")));
    }
    Ok(placed(node, reason.to_owned()))
}
