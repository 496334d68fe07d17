//! Structured Fields (RFC 9651), as far as RFC 9421 and Colophon's own headers need them.
//!
//! Items, inner lists and dictionaries of integers, strings, tokens, byte sequences and booleans. Parsing is stricter
//! than the RFC where that costs nothing: base64 has to be canonical, and a repeated key is an error instead of an
//! overwrite, because two readers must never see two things. Decimals, dates and display strings are refused.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub use self::parse::{parse_dictionary, parse_item};

mod parse;

/// A field value has at most this many bytes.
pub const MAX_FIELD: usize = 64 * 1024;
/// A dictionary, an inner list or a set of parameters has at most this many members.
pub const MAX_MEMBERS: usize = 128;

/// Integers have at most fifteen digits.
const MAX_INTEGER: i64 = 999_999_999_999_999;

/// Why a field value is not a structured field of this subset, or cannot be written as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SfError {
    /// Longer than [`MAX_FIELD`] or with more members than [`MAX_MEMBERS`].
    #[error("structured field: too long")]
    TooLong,
    /// Ill-formed at this byte.
    #[error("structured field: {what} at byte {at}")]
    Syntax {
        /// What is wrong.
        what: &'static str,
        /// Where, counted in bytes from 0.
        at: usize,
    },
    /// A value that has no serialisation.
    #[error("structured field: {0} cannot be written")]
    Unwritable(&'static str),
}

/// A bare item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BareItem {
    /// An integer of at most fifteen digits.
    Integer(i64),
    /// A string of printable ASCII.
    String(String),
    /// A token.
    Token(String),
    /// A byte sequence.
    Bytes(Vec<u8>),
    /// A boolean.
    Boolean(bool),
}

/// Parameters in order; keys are unique.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters(Vec<(String, BareItem)>);

/// A bare item with parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The value.
    pub value: BareItem,
    /// Its parameters.
    pub params: Parameters,
}

/// A list of items in parentheses, with parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InnerList {
    /// The items.
    pub items: Vec<Item>,
    /// The list's own parameters.
    pub params: Parameters,
}

/// The value of a dictionary's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Member {
    /// An item.
    Item(Item),
    /// An inner list.
    List(InnerList),
}

impl BareItem {
    /// The integer, if it is one.
    pub fn as_integer(&self) -> Option<i64> {
        match self {
            BareItem::Integer(n) => Some(*n),
            _ => None,
        }
    }

    /// The string, if it is one (a token is not).
    pub fn as_string(&self) -> Option<&str> {
        match self {
            BareItem::String(s) => Some(s),
            _ => None,
        }
    }

    /// The token, if it is one.
    pub fn as_token(&self) -> Option<&str> {
        match self {
            BareItem::Token(s) => Some(s),
            _ => None,
        }
    }

    /// The byte sequence, if it is one.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            BareItem::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Appends the serialisation to `out`.
    pub fn write(&self, out: &mut String) -> Result<(), SfError> {
        match self {
            BareItem::Integer(n) => push_integer(out, *n),
            BareItem::String(s) => push_string(out, s),
            BareItem::Token(s) => push_token(out, s),
            BareItem::Bytes(bytes) => {
                push_bytes(out, bytes);
                Ok(())
            }
            BareItem::Boolean(b) => {
                out.push_str(if *b { "?1" } else { "?0" });
                Ok(())
            }
        }
    }
}

impl Parameters {
    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&BareItem> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, value)| value)
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &BareItem)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Appends the serialisation to `out`.
    pub fn write(&self, out: &mut String) -> Result<(), SfError> {
        for (key, value) in &self.0 {
            out.push(';');
            out.push_str(key);
            if *value != BareItem::Boolean(true) {
                out.push('=');
                value.write(out)?;
            }
        }
        Ok(())
    }
}

impl Item {
    /// Appends the serialisation to `out`.
    pub fn write(&self, out: &mut String) -> Result<(), SfError> {
        self.value.write(out)?;
        self.params.write(out)
    }
}

impl InnerList {
    /// Appends the serialisation to `out`.
    pub fn write(&self, out: &mut String) -> Result<(), SfError> {
        out.push('(');
        for (i, item) in self.items.iter().enumerate() {
            if i > 0 {
                out.push(' ');
            }
            item.write(out)?;
        }
        out.push(')');
        self.params.write(out)
    }
}

/// Appends `value` as a string: quoted, with `"` and `\` escaped. Only printable ASCII can be written.
pub fn push_string(out: &mut String, value: &str) -> Result<(), SfError> {
    if !value.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        return Err(SfError::Unwritable("a string outside printable ASCII"));
    }
    out.push('"');
    for c in value.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    Ok(())
}

/// Appends `value` as a token.
pub fn push_token(out: &mut String, value: &str) -> Result<(), SfError> {
    let mut bytes = value.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'*');
    if !first || !bytes.all(parse::is_token_byte) {
        return Err(SfError::Unwritable("a token"));
    }
    out.push_str(value);
    Ok(())
}

/// Appends `value` as an integer.
pub fn push_integer(out: &mut String, value: i64) -> Result<(), SfError> {
    use std::fmt::Write as _;
    if value.unsigned_abs() > MAX_INTEGER.unsigned_abs() {
        return Err(SfError::Unwritable("an integer of more than fifteen digits"));
    }
    write!(out, "{value}").map_err(|_| SfError::Unwritable("an integer"))
}

/// Appends `value` as a byte sequence, `:base64:`.
pub fn push_bytes(out: &mut String, value: &[u8]) {
    out.push(':');
    push_base64(out, value);
    out.push(':');
}

/// Appends `value` in base64.
pub(crate) fn push_base64(out: &mut String, value: &[u8]) {
    // Digests and signatures stand in every answer, and writing into a string goes the long way round.
    let mut short = [0; 88];
    match STANDARD.encode_slice(value, &mut short) {
        Ok(len) => {
            out.push_str(short.get(..len).and_then(|text| str::from_utf8(text).ok()).unwrap_or_default())
        }
        Err(_) => STANDARD.encode_string(value, out),
    }
}

#[cfg(test)]
mod tests;
