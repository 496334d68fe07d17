//! The words of the language.

use crate::actions::FailurePolicy;
use crate::ast::{Placed, Scalar};
use crate::error::{Fault, shown, suggestion};
use crate::matching::MAX_PATTERN_BYTES;
use crate::yaml::{Map, Node, Value};
use colophon_receipt::Level;
use std::time::Duration;

/// The name of a policy, a rule, an upstream or a prover may be this long.
const MAX_NAME_BYTES: usize = 128;

const LEVELS: [Level; 5] = [Level::Pass, Level::Commit, Level::Sign, Level::Tee, Level::Zk];
const UNITS: [(&str, u64); 4] = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)];
/// The longest deadline.
const MAX_DEADLINE: Duration = Duration::from_secs(366 * 86_400);

pub(crate) fn placed<T>(node: &Node, value: T) -> Placed<T> {
    Placed { at: node.at, value }
}

/// The items of an optional list.
pub(crate) fn list<T>(
    map: &Map<'_>,
    key: &str,
    item: impl Fn(&Node) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    map.get(key).map_or(Ok(Vec::new()), |node| node.items(key)?.iter().map(item).collect())
}

/// One of `words`, or an error that lists them.
pub(crate) fn word<T: Copy, const N: usize>(
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

pub(crate) fn level(node: &Node, key: &str) -> Result<Placed<Level>, Fault> {
    let words = LEVELS.map(|level| (level.as_str(), level));
    Ok(placed(node, word(node, key, "level", words)?))
}

pub(crate) fn failure_policy(node: &Node) -> Result<FailurePolicy, Fault> {
    let words = [FailurePolicy::Fail, FailurePolicy::Ignore].map(|policy| (policy.as_str(), policy));
    word(node, "failurePolicy", "failurePolicy", words)
}

/// Names end up in records and logs: printable and short.
pub(crate) fn name(node: &Node, key: &str) -> Result<Placed<String>, Fault> {
    let text = node.text(key)?;
    let fine = |c: char| c.is_alphanumeric() || "-_. /:".contains(c);
    if text.is_empty() || text.len() > MAX_NAME_BYTES || text.trim() != text || !text.chars().all(fine) {
        return Err(node.fault(format!(
            "a name has 1 to {MAX_NAME_BYTES} bytes of letters, digits, spaces and `-_./:`, not `{}`",
            shown(text)
        )));
    }
    Ok(placed(node, text.to_owned()))
}

/// A text to match with.
pub(crate) fn pattern(node: &Node, key: &str) -> Result<Placed<String>, Fault> {
    let text = node.text(key)?;
    if text.is_empty() {
        return Err(node.fault(format!("`{key}` is empty")));
    }
    if text.len() > MAX_PATTERN_BYTES {
        return Err(node.fault(format!("`{key}` is longer than {MAX_PATTERN_BYTES} bytes")));
    }
    Ok(placed(node, text.to_owned()))
}

/// A time like `30s`, `10m`, `24h` or `7d`.
pub(crate) fn deadline(node: &Node) -> Result<Placed<Duration>, Fault> {
    let text = node.text("deadline")?;
    let parsed = UNITS.iter().find_map(|(unit, seconds)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        Some(Duration::from_secs(number.checked_mul(*seconds)?))
    });
    match parsed {
        Some(time) if !time.is_zero() && time <= MAX_DEADLINE => Ok(placed(node, time)),
        _ => Err(node.fault("a deadline is a time like `30s`, `10m`, `24h` or `7d`, a year at most")),
    }
}

pub(crate) fn flag(node: &Node, key: &str) -> Result<bool, Fault> {
    match node.value {
        Value::Bool(flag) => Ok(flag),
        _ => Err(node.fault(format!("`{key}` is true or false"))),
    }
}

/// A value that a body's may be compared with.
pub(crate) fn scalar(node: &Node) -> Result<Scalar, Fault> {
    match &node.value {
        Value::Null => Ok(Scalar::Null),
        Value::Bool(flag) => Ok(Scalar::Bool(*flag)),
        Value::Number(number) if number.parse::<f64>().is_ok_and(f64::is_finite) => {
            Ok(Scalar::Number(number.clone()))
        }
        Value::Number(_) => Err(node.fault("JSON has no such number")),
        Value::Text(text) if text.len() > MAX_PATTERN_BYTES => {
            Err(node.fault(format!("the value is longer than {MAX_PATTERN_BYTES} bytes")))
        }
        Value::Text(text) => Ok(Scalar::Text(text.clone())),
        Value::List(_) | Value::Map(_) => {
            Err(node.fault("a body's value is compared with a string, a number, true, false or null"))
        }
    }
}
