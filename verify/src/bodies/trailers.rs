//! What a saved message has after its body. Nothing of it is left out unseen: each line is Colophon's own and compared with the
//! record, or under the trailer digest that the record has.

use std::collections::BTreeSet;

use colophon_receipt::Hash;
use colophon_receipt::merkle::sha256;

/// The trailers that Colophon writes at the end of a stream (FORMATS section 10).
const OWN: [&str; 4] = [CONTENT_DIGEST, "colophon-record", "signature-input", "signature"];
const CONTENT_DIGEST: &str = "content-digest";

/// Other names that are looked for after a body. Each of them costs a look at each byte of its end.
const MAX_NAMES: usize = 64;

/// Trailer lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trailers {
    lines: Vec<(String, String)>,
    /// Those that are not Colophon's, by their names.
    foreign: Vec<String>,
    /// What a record has of these lines, if it has it: without a `Content-Digest`, which may be the upstream's, and with it.
    digests: Vec<Hash>,
}

impl Trailers {
    /// Reads lines and an empty one at most at their end. `None` if anything else is in it.
    pub(super) fn parse(block: &[u8]) -> Option<Trailers> {
        let mut lines: Vec<(String, &[u8])> = Vec::new();
        let mut rest = block;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = (&rest[..end], &rest[end + 1..]);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            rest = after;
            if line.is_empty() {
                break;
            }
            lines.push(field(line)?);
        }
        if !rest.is_empty() || lines.is_empty() {
            return None;
        }
        let own: Vec<bool> = (0..lines.len()).map(|at| is_own(&lines, at)).collect();
        let of_others = |with_digest: bool| {
            let listed = lines.iter().zip(&own);
            let kept = listed.filter(|((name, _), own)| !**own || (with_digest && name == CONTENT_DIGEST));
            digest(kept.map(|(line, _)| line).collect())
        };
        let digests = vec![of_others(false), of_others(true)];
        let foreign = lines.iter().zip(&own).filter(|(_, own)| !**own).map(|((name, _), _)| name.clone());
        let foreign = foreign.collect();
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let lines = lines.into_iter().map(|(name, value)| (name, text(value))).collect();
        Some(Trailers { lines, foreign, digests })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Names, in their order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(|(name, _)| name.as_str())
    }

    /// The lines of a name.
    pub(crate) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.lines.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Names of lines that Colophon does not write.
    pub(crate) fn foreign(&self) -> &[String] {
        &self.foreign
    }

    /// Whether the record's trailer digest is over those.
    pub(crate) fn are_committed(&self, recorded: Option<Hash>) -> bool {
        recorded.is_some_and(|recorded| self.digests.contains(&recorded))
    }

    /// Whether the record has the `Content-Digest` among them as the upstream's.
    pub(crate) fn digest_is_committed(&self, recorded: Option<Hash>) -> bool {
        recorded.is_some_and(|recorded| self.digests.get(1) == Some(&recorded))
    }
}

/// The first line of a name that Colophon writes, with the label that it uses.
fn is_own(lines: &[(String, &[u8])], at: usize) -> bool {
    let Some((name, value)) = lines.get(at) else { return false };
    let first = lines.iter().position(|(other, _)| other == name) == Some(at);
    let signs = name.starts_with("signature");
    first && OWN.contains(&name.as_str()) && (!signs || value.starts_with(b"colophon-close="))
}

/// As FORMATS section 3.2 has it of field 6, key 5.
fn digest(mut lines: Vec<&(String, &[u8])>) -> Hash {
    lines.sort_by_key(|(name, _)| name);
    let mut text = Vec::new();
    for (name, value) in lines {
        for part in [name.as_bytes(), b": ", value, b"\n"] {
            text.extend_from_slice(part);
        }
    }
    sha256(&text)
}

fn field(line: &[u8]) -> Option<(String, &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let name = std::str::from_utf8(&line[..colon]).ok().filter(|name| is_token(name))?;
    Some((name.to_ascii_lowercase(), line[colon + 1..].trim_ascii()))
}

/// A field name (RFC 9110 section 5.6.2).
fn is_token(name: &str) -> bool {
    const MARKS: &[u8] = b"!#$%&'*+-.^_`|~";
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || MARKS.contains(&byte))
}

/// Where trailers begin: lines of these names up to the very end, as `curl -i` writes them. The first may follow the body's last
/// byte without a line break.
pub(super) fn begin(window: &[u8], names: &BTreeSet<String>) -> Option<usize> {
    let (own, others): (Vec<_>, Vec<_>) = names.iter().partition(|name| OWN.contains(&name.as_str()));
    let names: Vec<&String> = own.into_iter().chain(others.into_iter().take(MAX_NAMES)).collect();
    let is_trailer = |line: &[u8]| {
        names.iter().any(|name| {
            line.split_at_checked(name.len()).is_some_and(|(start, rest)| {
                start.eq_ignore_ascii_case(name.as_bytes()) && rest.starts_with(b":")
            })
        })
    };
    let mut at = window.len();
    let mut found = None;
    while let Some(line_end) = window[..at].strip_suffix(b"\n").map(<[u8]>::len) {
        let start =
            window[..line_end].iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        let line = &window[start..line_end];
        if let Some(inside) = (0..line.len()).find(|inside| is_trailer(&line[*inside..])) {
            found = Some(start + inside);
            if inside > 0 {
                break;
            }
        } else if !matches!(line, b"" | b"\r") || at != window.len() {
            // An empty line ends them.
            break;
        }
        at = start;
    }
    found
}
