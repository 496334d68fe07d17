//! Reads the OpenMetrics text that this process writes, so that what is sent is what is scraped: no other list of metrics can
//! fall behind it.

use std::borrow::Cow;

/// What a family's numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// One name with all its samples, in the order of the text.
#[derive(Debug, PartialEq)]
pub(super) struct Scraped<'a> {
    pub(super) name: &'a str,
    pub(super) help: &'a str,
    pub(super) kind: Kind,
    pub(super) samples: Vec<Sample<'a>>,
}

/// One line.
#[derive(Debug, PartialEq)]
pub(super) struct Sample<'a> {
    /// What follows the family's name: `_total`, `_bucket`, nothing.
    pub(super) suffix: &'a str,
    pub(super) labels: Vec<(&'a str, Cow<'a, str>)>,
    pub(super) value: &'a str,
}

/// Reads a whole exposition. Families without a sample are left out.
///
/// # Errors
/// The line that is none of what the encoder writes.
pub(super) fn read(text: &str) -> Result<Vec<Scraped<'_>>, &str> {
    let mut families: Vec<Scraped<'_>> = Vec::new();
    let mut help = "";
    for line in text.lines() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        if let Some(named) = line.strip_prefix("# HELP ") {
            help = named.split_once(' ').ok_or(line)?.1;
            continue;
        }
        if let Some(named) = line.strip_prefix("# TYPE ") {
            let (name, kind) = named.split_once(' ').ok_or(line)?;
            let kind = match kind {
                "counter" => Kind::Counter,
                "gauge" => Kind::Gauge,
                "histogram" => Kind::Histogram,
                _ => return Err(line),
            };
            families.push(Scraped { name, help, kind, samples: Vec::new() });
            continue;
        }
        let family = families.last_mut().ok_or(line)?;
        family.samples.push(sample(line, family.name).ok_or(line)?);
    }
    families.retain(|family| !family.samples.is_empty());
    Ok(families)
}

/// `name_suffix{key="value",…} number`.
fn sample<'a>(line: &'a str, family: &str) -> Option<Sample<'a>> {
    let rest = line.strip_prefix(family)?;
    let (suffix, mut rest) = rest.split_at(rest.find(['{', ' '])?);
    let mut labels = Vec::new();
    if let Some(within) = rest.strip_prefix('{') {
        rest = within;
        while !rest.starts_with('}') {
            let (key, value) = rest.split_once("=\"")?;
            let end = end_of_value(value)?;
            labels.push((key, unescaped(value.get(..end)?)));
            rest = value.get(end + 1..)?;
            rest = rest.strip_prefix(',').unwrap_or(rest);
        }
        rest = rest.strip_prefix('}')?;
    }
    Some(Sample { suffix, labels, value: rest.strip_prefix(' ')? })
}

/// Where the closing quote is.
fn end_of_value(value: &str) -> Option<usize> {
    let mut escaped = false;
    value.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })
}

fn unescaped(value: &str) -> Cow<'_, str> {
    if !value.contains('\\') {
        return value.into();
    }
    let mut plain = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(one) = chars.next() {
        match (one, one == '\\') {
            (_, true) => plain.extend(chars.next().map(|next| if next == 'n' { '\n' } else { next })),
            (one, false) => plain.push(one),
        }
    }
    plain.into()
}

#[cfg(test)]
mod tests;
