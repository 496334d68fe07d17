//! C2SP tlog-policy (c2sp.org/tlog-policy): which logs and witnesses are known, and which witnesses are enough.
//!
//! One line a fact: `log <vkey> [<url>]`, `witness <name> <vkey> [<url>]`, `group <name> all|any|<k> <name>…`,
//! `quorum <name>|none`. Names are opaque bytes; a group or quorum names what stands on earlier lines.

use std::collections::HashMap;

use crate::note::{NoteAlgorithm, VerifierKey};

/// A policy file is at most this long.
pub const MAX_BYTES: usize = 256 << 10;
/// Logs, witnesses and groups, each at most this many.
pub const MAX_NAMES: usize = 1024;

/// A policy file, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlogPolicy {
    /// The logs, in the file's order, no public key twice.
    pub logs: Vec<PolicyLog>,
    /// The witnesses, in the file's order, no public key twice.
    pub witnesses: Vec<PolicyWitness>,
    quorum: Rule,
}

/// A `log` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyLog {
    /// Its Ed25519 key, named after its origin.
    pub key: VerifierKey,
    /// Where it is; what that means depends on who reads the file.
    pub url: Option<String>,
}

/// A `witness` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyWitness {
    /// Its cosignature key, of Ed25519 or ML-DSA-44. Its own name plays no part in groups and quorum.
    pub key: VerifierKey,
    /// Its submission prefix (c2sp.org/tlog-witness).
    pub url: Option<String>,
}

/// When a witness, a group or the quorum counts as having cosigned.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    /// Always: `quorum none`.
    Nothing,
    /// The witness of this place in the list.
    Witness(usize),
    /// At least so many of these.
    Group(usize, Vec<Rule>),
}

/// Why a file is not a policy, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct PolicyError {
    /// The line, from 1; the last one for what is missing.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
}

impl TlogPolicy {
    /// Reads a policy file strictly.
    ///
    /// # Errors
    /// [`PolicyError`] with the line, for anything that the specification does not allow. Each line has to end in a
    /// newline: a file that was cut could ask for less than was written.
    pub fn parse(file: &[u8]) -> Result<TlogPolicy, PolicyError> {
        let mut reader = Reader::default();
        let mut number = 0;
        let mut rest = file;
        if file.len() > MAX_BYTES {
            return Err(PolicyError { line: 1, what: format!("the file is longer than {MAX_BYTES} bytes") });
        }
        while !rest.is_empty() {
            number += 1;
            let failed = |what: String| PolicyError { line: number, what };
            let end = rest.iter().position(|byte| *byte == b'\n');
            let end = end.ok_or_else(|| failed("it does not end in a newline: was the file cut?".into()))?;
            let (line, after) = rest.split_at(end);
            rest = after.strip_prefix(b"\n").unwrap_or(after);
            reader.line(line).map_err(failed)?;
        }
        let missing = || PolicyError {
            line: number.max(1),
            what: "there is no `quorum` line; for a policy that needs no witness, write `quorum none`".into(),
        };
        let quorum = reader.quorum.ok_or_else(missing)?;
        Ok(TlogPolicy { logs: reader.logs, witnesses: reader.witnesses, quorum })
    }

    /// Whether the quorum asks for any cosignature at all.
    pub fn needs_witnesses(&self) -> bool {
        self.quorum != Rule::Nothing
    }

    /// Whether the witnesses for whose keys `cosigned` says yes are enough.
    pub fn is_met(&self, cosigned: impl Fn(&VerifierKey) -> bool) -> bool {
        let cosigned: Vec<bool> = self.witnesses.iter().map(|witness| cosigned(&witness.key)).collect();
        self.quorum.is_met(&cosigned)
    }
}

impl Rule {
    fn is_met(&self, cosigned: &[bool]) -> bool {
        match self {
            Rule::Nothing => true,
            Rule::Witness(place) => cosigned.get(*place).copied().unwrap_or(false),
            Rule::Group(threshold, members) => {
                members.iter().filter(|member| member.is_met(cosigned)).count() >= *threshold
            }
        }
    }
}

/// What was read so far.
#[derive(Default)]
struct Reader {
    logs: Vec<PolicyLog>,
    witnesses: Vec<PolicyWitness>,
    groups: usize,
    /// Witnesses and groups that no group has taken yet. A name can be a member once, so it is moved.
    free: HashMap<Vec<u8>, Rule>,
    /// Names that a group has taken.
    taken: HashMap<Vec<u8>, Rule>,
    quorum: Option<Rule>,
}

impl Reader {
    fn line(&mut self, line: &[u8]) -> Result<(), String> {
        if let Some(bad) = line.iter().find(|byte| (**byte < 0x20 && **byte != b'\t') || **byte == 0x7f) {
            return Err(format!("the control character 0x{bad:02x} is not allowed"));
        }
        let mut words = line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
        let Some(keyword) = words.next().filter(|word| !word.starts_with(b"#")) else { return Ok(()) };
        let words: Vec<&[u8]> = words.collect();
        match (keyword, words.as_slice()) {
            (b"log", [key]) => self.log(key, None),
            (b"log", [key, url]) => self.log(key, Some(url)),
            (b"log", _) => Err("a log is `log <vkey> [<url>]`".into()),
            (b"witness", [name, key]) => self.witness(name, key, None),
            (b"witness", [name, key, url]) => self.witness(name, key, Some(url)),
            (b"witness", _) => Err("a witness is `witness <name> <vkey> [<url>]`".into()),
            (b"group", [name, threshold, members @ ..]) => self.group(name, threshold, members),
            (b"group", _) => Err("a group is `group <name> all|any|<k> <name>…`".into()),
            (b"quorum", [name]) => self.quorum(name),
            (b"quorum", _) => Err("a quorum is `quorum <name>` or `quorum none`".into()),
            (other, _) => Err(format!("`{}` is none of log, witness, group, quorum", shown(other))),
        }
    }

    fn log(&mut self, key: &[u8], url: Option<&&[u8]>) -> Result<(), String> {
        let key = parse_key(key)?;
        if key.algorithm() != NoteAlgorithm::Ed25519 {
            return Err("a log's key is plain Ed25519 (type 0x01)".into());
        }
        if self.logs.iter().any(|log| log.key.same_key(&key)) {
            return Err(format!("the key of {} stands here twice", key.name()));
        }
        if self.logs.len() == MAX_NAMES {
            return Err(format!("more than {MAX_NAMES} logs"));
        }
        self.logs.push(PolicyLog { key, url: parse_url(url)? });
        Ok(())
    }

    fn witness(&mut self, name: &[u8], key: &[u8], url: Option<&&[u8]>) -> Result<(), String> {
        let key = parse_key(key)?;
        if !key.is_cosigner() {
            return Err(
                "a witness's key is a cosignature key, of Ed25519 (type 0x04) or ML-DSA-44 (type 0x06)"
                    .into(),
            );
        }
        if self.witnesses.iter().any(|witness| witness.key.same_key(&key)) {
            return Err(format!("the key of {} stands here twice", key.name()));
        }
        if self.witnesses.len() == MAX_NAMES {
            return Err(format!("more than {MAX_NAMES} witnesses"));
        }
        self.define(name, Rule::Witness(self.witnesses.len()))?;
        self.witnesses.push(PolicyWitness { key, url: parse_url(url)? });
        Ok(())
    }

    fn group(&mut self, name: &[u8], threshold: &[u8], members: &[&[u8]]) -> Result<(), String> {
        let n = members.len();
        if n == 0 {
            return Err("a group has at least one member".into());
        }
        let threshold = match threshold {
            b"all" => n,
            b"any" => 1,
            // Decimal, so no sign and no leading zero.
            digits => std::str::from_utf8(digits)
                .ok()
                .filter(|k| k.bytes().all(|b| b.is_ascii_digit()) && !k.starts_with('0'))
                .and_then(|k| k.parse().ok())
                .filter(|k| (1..=n).contains(k))
                .ok_or_else(|| {
                    format!("`{}` is neither `all`, `any` nor a number from 1 to {n}", shown(digits))
                })?,
        };
        self.groups += 1;
        if self.groups > MAX_NAMES {
            return Err(format!("more than {MAX_NAMES} groups"));
        }
        let mut rules = Vec::with_capacity(n);
        for member in members {
            let Some(rule) = self.free.remove(*member) else {
                return Err(self.not_free(member));
            };
            self.taken.insert(member.to_vec(), rule.clone());
            rules.push(rule);
        }
        self.define(name, Rule::Group(threshold, rules))
    }

    fn not_free(&self, member: &[u8]) -> String {
        let name = shown(member);
        match member {
            b"none" => "`none` cannot be a member".into(),
            _ if self.taken.contains_key(member) => format!("`{name}` is a member already; once is all"),
            _ => format!("no witness or group `{name}` stands on an earlier line"),
        }
    }

    fn define(&mut self, name: &[u8], rule: Rule) -> Result<(), String> {
        if name == b"none" {
            return Err("the name `none` is taken: it means no witness".into());
        }
        if self.free.contains_key(name) || self.taken.contains_key(name) {
            return Err(format!("the name `{}` stands on an earlier line", shown(name)));
        }
        self.free.insert(name.to_vec(), rule);
        Ok(())
    }

    fn quorum(&mut self, name: &[u8]) -> Result<(), String> {
        if self.quorum.is_some() {
            return Err("a second quorum line".into());
        }
        let known = self.free.get(name).or_else(|| self.taken.get(name)).cloned();
        self.quorum = match known {
            _ if name == b"none" => Some(Rule::Nothing),
            Some(rule) => Some(rule),
            None => return Err(self.not_free(name)),
        };
        Ok(())
    }
}

fn parse_key(text: &[u8]) -> Result<VerifierKey, String> {
    let text = std::str::from_utf8(text).map_err(|_| "the key is not UTF-8".to_owned())?;
    text.parse().map_err(|error| format!("{error}"))
}

fn parse_url(url: Option<&&[u8]>) -> Result<Option<String>, String> {
    let Some(url) = url else { return Ok(None) };
    let url = std::str::from_utf8(url).map_err(|_| "the URL is not UTF-8".to_owned())?;
    Ok(Some(url.to_owned()))
}

fn shown(word: &[u8]) -> String {
    String::from_utf8_lossy(word).chars().take(100).collect()
}

#[cfg(test)]
mod tests;
