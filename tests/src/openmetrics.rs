//! A strict reader of OpenMetrics 1.0 text, for the types that the proxy has: counters, gauges and histograms.

use std::collections::{BTreeMap, BTreeSet};

/// What one name stands for.
#[derive(Debug, Default, PartialEq)]
pub struct Family {
    /// `counter`, `gauge` or `histogram`.
    pub kind: String,
    /// The text after `# HELP`.
    pub help: String,
    /// Value by sample name and labels, as they stand in the text: `name{a="b"}`.
    pub samples: BTreeMap<String, f64>,
}

/// Reads a whole exposition.
///
/// # Errors
/// What breaks the specification, with its line.
pub fn parse(text: &str) -> Result<BTreeMap<String, Family>, String> {
    let body = text.strip_suffix("# EOF\n").ok_or("no `# EOF` line at the end")?;
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let (mut seen, mut current) = (BTreeSet::new(), String::new());
    for line in body.split_terminator('\n') {
        let wrong = |why: &str| Err(format!("{why}: {line:?}"));
        if let Some(metadata) = line.strip_prefix("# ") {
            let mut words = metadata.splitn(3, ' ');
            let [Some(keyword), Some(name), Some(value)] = [words.next(), words.next(), words.next()] else {
                return wrong("metadata of less than three words");
            };
            if !is_name(name) {
                return wrong("not a metric name");
            }
            if !seen.insert((keyword.to_owned(), name.to_owned())) {
                return wrong("announced twice");
            }
            if name != current {
                if families.insert(name.to_owned(), Family::default()).is_some() {
                    return wrong("a family in two places");
                }
                name.clone_into(&mut current);
            }
            let family = families.get_mut(name).expect("inserted at its first line");
            if !family.samples.is_empty() {
                return wrong("metadata after a sample");
            }
            match keyword {
                "HELP" => value.clone_into(&mut family.help),
                "TYPE" if ["counter", "gauge", "histogram"].contains(&value) => {
                    value.clone_into(&mut family.kind)
                }
                "UNIT" if name.ends_with(&format!("_{value}")) => {}
                _ => return wrong("neither HELP nor a known TYPE nor the name's UNIT"),
            }
            continue;
        }
        let Some((series, value)) = line.rsplit_once(' ') else { return wrong("not a sample") };
        let (name, labels) = series.split_once('{').map_or((series, None), |(name, rest)| (name, Some(rest)));
        let Some(family) = families.get_mut(&current) else { return wrong("a sample without a family") };
        let suffixes: &[&str] = match family.kind.as_str() {
            "counter" => &["_total"],
            "histogram" => &["_bucket", "_sum", "_count"],
            "gauge" => &[""],
            _ => &[],
        };
        if !suffixes.iter().any(|suffix| name.strip_suffix(suffix) == Some(&current)) {
            return wrong("a sample that is not of the family above");
        }
        if labels.is_some_and(|labels| !are_labels(labels)) {
            return wrong("labels");
        }
        let Ok(value) = value.parse::<f64>() else { return wrong("not a number") };
        if family.kind != "gauge" && !(value.is_finite() && value >= 0.0) {
            return wrong("a counter below zero");
        }
        if family.samples.insert(series.to_owned(), value).is_some() {
            return wrong("the same series twice");
        }
    }
    match families.iter().find(|(_, family)| family.kind.is_empty() || family.help.is_empty()) {
        Some((name, _)) => Err(format!("{name} has no type or no help")),
        None => Ok(families),
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// What follows a `{`: `name="value",…}`, each name once.
fn are_labels(mut rest: &str) -> bool {
    let mut names = BTreeSet::new();
    loop {
        let Some((name, value)) = rest.split_once("=\"") else { return false };
        if !is_name(name) || !names.insert(name) {
            return false;
        }
        let Some(end) = end_of_value(value) else { return false };
        match value[end + 1..].strip_prefix(',') {
            Some(more) => rest = more,
            None => return &value[end + 1..] == "}",
        }
    }
}

/// Where the closing quote is; `None` without one, or with another escape than `\\`, `\"` and `\n`.
fn end_of_value(value: &str) -> Option<usize> {
    let mut bytes = value.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => return Some(at),
            b'\\' if !matches!(bytes.next()?.1, b'\\' | b'"' | b'n') => return None,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests;
