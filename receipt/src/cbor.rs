//! The deterministic CBOR of every committed byte (RFC 8949 section 4.2.1), and no more of CBOR than that.
//!
//! No floats, null, undefined, tags, indefinite lengths, duplicate or unordered keys; map keys are unsigned integers.
//! A verifier hashes the bytes it was given and refuses bytes that do not re-encode to themselves.

use minicbor::data::Type;
use minicbor::{Decoder, Encoder};

/// Containers may nest this deep: the deepest format here uses four.
const MAX_DEPTH: usize = 8;

/// One value of the subset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// An unsigned integer.
    Uint(u64),
    /// A negative integer `-1 - n`, used by COSE algorithm numbers only.
    Nint(u64),
    /// A byte string; whatever came from outside is one.
    Bytes(Vec<u8>),
    /// A text string of our own.
    Text(String),
    /// An array.
    Array(Vec<Value>),
    /// A map with strictly ascending unsigned keys.
    Map(Vec<(u64, Value)>),
    /// A boolean.
    Bool(bool),
}

/// Why bytes are not a value, or not the value that was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CborError {
    /// Not CBOR, or CBOR outside the subset.
    #[error("not in the deterministic CBOR subset: {0}")]
    Malformed(&'static str),
    /// Bytes after the value.
    #[error("bytes follow the CBOR value")]
    Trailing,
    /// The bytes are not the shortest encoding of what they say.
    #[error("the CBOR bytes do not re-encode to themselves")]
    NotCanonical,
    /// A key that the format does not have.
    #[error("unknown key {0}")]
    UnknownKey(u64),
    /// A key that the format needs.
    #[error("key {0} is missing")]
    MissingKey(u64),
    /// A value of the wrong type, length or range.
    #[error("wrong type, length or range of {0}")]
    Value(&'static str),
}

impl Value {
    /// A byte string.
    pub fn bytes(bytes: impl AsRef<[u8]>) -> Value {
        Value::Bytes(bytes.as_ref().to_vec())
    }

    /// A text string.
    pub fn text(text: impl Into<String>) -> Value {
        Value::Text(text.into())
    }

    /// The deterministic encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        self.encode_into(&mut out);
        out
    }

    /// Appends the deterministic encoding to `out`.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        write(&mut Encoder::new(out), self);
    }

    /// Reads exactly one value from `bytes` and checks that it re-encodes to the same bytes.
    pub fn decode(bytes: &[u8]) -> Result<Value, CborError> {
        let mut decoder = Decoder::new(bytes);
        let value = read(&mut decoder, MAX_DEPTH)?;
        if decoder.position() != bytes.len() {
            return Err(CborError::Trailing);
        }
        if value.encode() != bytes {
            return Err(CborError::NotCanonical);
        }
        Ok(value)
    }

    /// The unsigned integer, or an error naming `what`.
    pub fn as_uint(&self, what: &'static str) -> Result<u64, CborError> {
        match self {
            Value::Uint(n) => Ok(*n),
            _ => Err(CborError::Value(what)),
        }
    }

    /// The byte string, or an error naming `what`.
    pub fn as_bytes(&self, what: &'static str) -> Result<&[u8], CborError> {
        match self {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(CborError::Value(what)),
        }
    }

    /// The byte string of exactly `N` bytes, or an error naming `what`.
    pub fn as_array<const N: usize>(&self, what: &'static str) -> Result<[u8; N], CborError> {
        self.as_bytes(what)?.try_into().map_err(|_| CborError::Value(what))
    }

    /// The text, or an error naming `what`.
    pub fn as_text(&self, what: &'static str) -> Result<&str, CborError> {
        match self {
            Value::Text(text) => Ok(text),
            _ => Err(CborError::Value(what)),
        }
    }

    /// The items of an array, or an error naming `what`.
    pub fn as_items(&self, what: &'static str) -> Result<&[Value], CborError> {
        match self {
            Value::Array(items) => Ok(items),
            _ => Err(CborError::Value(what)),
        }
    }
}

// `Encoder` writes into a `Vec`, which cannot fail; the results are dropped once, here.
fn write(e: &mut Encoder<&mut Vec<u8>>, value: &Value) {
    match value {
        Value::Uint(n) => drop(e.u64(*n)),
        Value::Nint(n) => drop(e.int(negative(*n))),
        Value::Bytes(bytes) => drop(e.bytes(bytes)),
        Value::Text(text) => drop(e.str(text)),
        Value::Bool(b) => drop(e.bool(*b)),
        Value::Array(items) => {
            drop(e.array(items.len() as u64));
            items.iter().for_each(|item| write(e, item));
        }
        Value::Map(entries) => {
            drop(e.map(entries.len() as u64));
            for (key, item) in entries {
                drop(e.u64(*key));
                write(e, item);
            }
        }
    }
}

fn negative(n: u64) -> minicbor::data::Int {
    minicbor::data::Int::try_from(-1 - i128::from(n)).unwrap_or(minicbor::data::Int::from(-1i8))
}

fn read(d: &mut Decoder<'_>, depth: usize) -> Result<Value, CborError> {
    let bad = |_: minicbor::decode::Error| CborError::Malformed("truncated or ill-formed");
    let depth = depth.checked_sub(1).ok_or(CborError::Malformed("nested too deep"))?;
    Ok(match d.datatype().map_err(bad)? {
        Type::U8 | Type::U16 | Type::U32 | Type::U64 => Value::Uint(d.u64().map_err(bad)?),
        Type::I8 | Type::I16 | Type::I32 | Type::I64 | Type::Int => {
            let n = i128::from(d.int().map_err(bad)?);
            Value::Nint(u64::try_from(-1 - n).map_err(|_| CborError::Malformed("integer"))?)
        }
        Type::Bytes => Value::Bytes(d.bytes().map_err(bad)?.to_vec()),
        Type::String => Value::Text(d.str().map_err(bad)?.to_owned()),
        Type::Bool => Value::Bool(d.bool().map_err(bad)?),
        Type::Array => {
            let len = d.array().map_err(bad)?.ok_or(CborError::Malformed("indefinite length"))?;
            // No `with_capacity(len)`: `len` is not yet to be believed.
            let mut items = Vec::new();
            for _ in 0..len {
                items.push(read(d, depth)?);
            }
            Value::Array(items)
        }
        Type::Map => {
            let len = d.map().map_err(bad)?.ok_or(CborError::Malformed("indefinite length"))?;
            let mut entries: Vec<(u64, Value)> = Vec::new();
            for _ in 0..len {
                let key = d.u64().map_err(bad)?;
                if entries.last().is_some_and(|(last, _)| *last >= key) {
                    return Err(CborError::Malformed("map keys not strictly ascending"));
                }
                entries.push((key, read(d, depth)?));
            }
            Value::Map(entries)
        }
        _ => return Err(CborError::Malformed("float, null, tag or indefinite length")),
    })
}

/// Takes the keys of a map in ascending order, as every format here writes them; `finish` refuses what is left.
pub struct MapReader {
    entries: std::iter::Peekable<std::vec::IntoIter<(u64, Value)>>,
}

impl MapReader {
    /// Decodes `bytes` as one canonical map.
    pub fn decode(bytes: &[u8]) -> Result<MapReader, CborError> {
        MapReader::new(Value::decode(bytes)?)
    }

    /// A reader over a map value.
    pub fn new(value: Value) -> Result<MapReader, CborError> {
        match value {
            Value::Map(entries) => Ok(MapReader { entries: entries.into_iter().peekable() }),
            _ => Err(CborError::Malformed("not a map")),
        }
    }

    /// The value of `key`, if it is the next one.
    pub fn optional(&mut self, key: u64) -> Option<Value> {
        self.entries.next_if(|(k, _)| *k == key).map(|(_, value)| value)
    }

    /// The value of `key`, which has to be the next one.
    pub fn required(&mut self, key: u64) -> Result<Value, CborError> {
        self.optional(key).ok_or(CborError::MissingKey(key))
    }

    /// Refuses keys that were not taken.
    pub fn finish(mut self) -> Result<(), CborError> {
        match self.entries.next() {
            Some((key, _)) => Err(CborError::UnknownKey(key)),
            None => Ok(()),
        }
    }

    /// Checks key 1, the type, against `expected`.
    pub fn expect_type(&mut self, expected: u64, what: &'static str) -> Result<(), CborError> {
        if self.required(1)?.as_uint(what)? == expected { Ok(()) } else { Err(CborError::Value(what)) }
    }
}

#[cfg(test)]
mod tests;
