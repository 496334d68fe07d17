//! Digests of what JSON says rather than of how it was written: canonical JSON (RFC 8785, JCS) of requests, and of answers
//! in their message form.
//!
//! What has no canonical form (I-JSON, RFC 7493) has no digest, and the reason why is said instead.

use crate::merkle::{Hash, sha256};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::fmt;

pub use self::left_out::{LeftOut, left_out};

mod left_out;
#[cfg(test)]
mod tests;

/// The longest text that gets a canonical digest, in bytes: a request's body, an answer, or the events that it came in.
/// Its tree takes some ten times that while it is made.
pub const MAX_TEXT: usize = 1 << 20;

/// The largest number up to which all integers are different doubles, 2^53 - 1 (RFC 7493 section 2.2).
const MAX_INTEGER: u64 = (1 << 53) - 1;

/// Members that libraries add to an answer and that its sender never said, and those that only number its pieces.
const ADDED: [&str; 3] = ["parsed", "parsed_arguments", "obfuscation"];

/// Why a text has no canonical digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Uncanonical {
    /// Not one JSON value.
    #[error("not json")]
    NotJson,
    /// A member came twice.
    #[error("duplicate key")]
    DuplicateKey,
    /// An integer that a double does not hold exactly.
    #[error("integer beyond 2^53")]
    BigInteger,
    /// Half of a surrogate pair.
    #[error("lone surrogate")]
    LoneSurrogate,
    /// Nested too deep.
    #[error("nested too deep")]
    TooDeep,
    /// Longer than [`MAX_TEXT`].
    #[error("too long")]
    TooLong,
    /// The parts of a streamed answer do not make up a message.
    #[error("no whole message")]
    NotWhole,
}

impl Uncanonical {
    /// The reason as a record has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Uncanonical::NotJson => "not json",
            Uncanonical::DuplicateKey => "duplicate key",
            Uncanonical::BigInteger => "integer beyond 2^53",
            Uncanonical::LoneSurrogate => "lone surrogate",
            Uncanonical::TooDeep => "nested too deep",
            Uncanonical::TooLong => "too long",
            Uncanonical::NotWhole => "no whole message",
        }
    }
}

/// SHA-256 of the text's canonical form.
pub fn digest(text: &[u8]) -> Result<Hash, Uncanonical> {
    canonical(&parse(text)?).map(|text| sha256(&text))
}

/// SHA-256 of the canonical form of an answer's [`message_form`].
pub fn message_digest(text: &[u8]) -> Result<Hash, Uncanonical> {
    digest_of_message(parse(text)?)
}

/// The same for an answer that is parsed already.
pub fn digest_of_message(message: Value) -> Result<Hash, Uncanonical> {
    canonical(&message_form(message)).map(|text| sha256(&text))
}

/// The canonical form.
pub fn canonical(value: &Value) -> Result<Vec<u8>, Uncanonical> {
    serde_json_canonicalizer::to_vec(value).map_err(|_| Uncanonical::NotJson)
}

/// An answer without what differs between its JSON, the same answer out of a stream, and a library's object: members that
/// are `null`, members that libraries add, and the `index` of each of `tool_calls`.
pub fn message_form(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let kept =
                members.into_iter().filter(|(key, value)| !value.is_null() && !ADDED.contains(&key.as_str()));
            Value::Object(
                kept.map(|(key, value)| {
                    let value = if key == "tool_calls" { without_index(value) } else { value };
                    (key, message_form(value))
                })
                .collect(),
            )
        }
        Value::Array(items) => Value::Array(items.into_iter().map(message_form).collect()),
        other => other,
    }
}

fn without_index(mut calls: Value) -> Value {
    for call in calls.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        call.remove("index");
    }
    calls
}

/// Reads one JSON value of which a canonical form exists.
pub fn parse(text: &[u8]) -> Result<Value, Uncanonical> {
    if text.len() > MAX_TEXT {
        return Err(Uncanonical::TooLong);
    }
    if has_big_integer(text) {
        return Err(Uncanonical::BigInteger);
    }
    match serde_json::from_slice::<Strict>(text) {
        Ok(Strict(value)) => Ok(value),
        Err(error) if error.is_data() => Err(Uncanonical::DuplicateKey),
        Err(error) => {
            // `serde_json` tells its errors apart by their text only.
            let said = error.to_string();
            Err(match said {
                _ if said.starts_with("recursion limit") => Uncanonical::TooDeep,
                _ if said.contains("surrogate") || said.starts_with("unexpected end of hex") => {
                    Uncanonical::LoneSurrogate
                }
                _ => Uncanonical::NotJson,
            })
        }
    }
}

/// Whether an integer stands in the text, without fraction or exponent, that two doubles claim.
fn has_big_integer(text: &[u8]) -> bool {
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte == b'"' {
            rest = after_string(after);
        } else if byte.is_ascii_digit() {
            let length = after
                .iter()
                .take_while(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'))
                .count();
            let (more, behind) = after.split_at(length);
            let digits = more.iter().try_fold(u64::from(byte - b'0'), |number, digit| match digit {
                b'0'..=b'9' => Some(number.saturating_mul(10).saturating_add(u64::from(digit - b'0'))),
                _ => None,
            });
            if digits.is_some_and(|number| number > MAX_INTEGER) {
                return true;
            }
            rest = behind;
        }
    }
    false
}

/// What follows the string whose inside begins here.
fn after_string(mut rest: &[u8]) -> &[u8] {
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'"' => break,
            b'\\' => rest = rest.get(1..).unwrap_or_default(),
            _ => {}
        }
    }
    rest
}

/// A value without duplicate members.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        // Of finite numbers, and JSON has no others.
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            all.push(item);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            let Strict(value) = members.next_value()?;
            if all.insert(key, value).is_some() {
                return Err(A::Error::custom("duplicate key"));
            }
        }
        Ok(Value::Object(all))
    }
}
