//! Walking DER value by value, with the raw bytes of each at hand: what is signed or hashed is never re-encoded.

use ::der::asn1::ObjectIdentifier;
use ::der::{AnyRef, Decode, Reader, SliceReader};

use super::TokenError;

pub(crate) const BOOLEAN: u8 = 0x01;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const NULL: u8 = 0x05;
pub(crate) const OID: u8 = 0x06;
pub(crate) const UTC_TIME: u8 = 0x17;
pub(crate) const GENERALIZED_TIME: u8 = 0x18;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;
/// `[n]`, constructed.
pub(crate) const fn context(n: u8) -> u8 {
    0xa0 + n
}
/// `[n]`, primitive.
pub(crate) const fn context_primitive(n: u8) -> u8 {
    0x80 + n
}

/// One value: its identifier octet, its contents, and both with the length between them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value<'a> {
    pub(crate) tag: u8,
    pub(crate) contents: &'a [u8],
    pub(crate) raw: &'a [u8],
}

impl<'a> Value<'a> {
    /// The only value in `bytes`.
    pub(crate) fn only(bytes: &'a [u8], tag: u8, what: &'static str) -> Result<Value<'a>, TokenError> {
        let mut walk = Walk::new(bytes, what)?;
        let value = walk.next(tag)?;
        walk.end()?;
        Ok(value)
    }

    /// The values inside.
    pub(crate) fn inside(&self, what: &'static str) -> Result<Walk<'a>, TokenError> {
        Walk::new(self.contents, what)
    }
}

/// Values one after another.
#[derive(Clone)]
pub(crate) struct Walk<'a> {
    reader: SliceReader<'a>,
    what: &'static str,
}

impl<'a> Walk<'a> {
    /// Reads `bytes`; `what` they are is named where they are not.
    pub(crate) fn new(bytes: &'a [u8], what: &'static str) -> Result<Walk<'a>, TokenError> {
        let reader = SliceReader::new(bytes).map_err(|_| TokenError::Malformed(what))?;
        Ok(Walk { reader, what })
    }

    /// The next value, whatever it is.
    pub(crate) fn any(&mut self) -> Result<Value<'a>, TokenError> {
        let malformed = || TokenError::Malformed(self.what);
        let raw = self.reader.tlv_bytes().map_err(|_| malformed())?;
        let contents = AnyRef::from_der(raw).map_err(|_| malformed())?.value();
        let tag = *raw.first().ok_or_else(malformed)?;
        Ok(Value { tag, contents, raw })
    }

    /// The next value, which has to be of this kind.
    pub(crate) fn next(&mut self, tag: u8) -> Result<Value<'a>, TokenError> {
        let value = self.any()?;
        if value.tag == tag { Ok(value) } else { Err(TokenError::Malformed(self.what)) }
    }

    /// The next value if it is of this kind.
    pub(crate) fn optional(&mut self, tag: u8) -> Result<Option<Value<'a>>, TokenError> {
        let mut ahead = self.clone();
        if ahead.is_at_end() {
            return Ok(None);
        }
        let value = ahead.any()?;
        if value.tag != tag {
            return Ok(None);
        }
        *self = ahead;
        Ok(Some(value))
    }

    /// All that is left, at most `max` values.
    pub(crate) fn rest(mut self, max: usize) -> Result<Vec<Value<'a>>, TokenError> {
        let mut values = Vec::new();
        while !self.is_at_end() {
            if values.len() == max {
                return Err(TokenError::Malformed(self.what));
            }
            values.push(self.any()?);
        }
        Ok(values)
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.reader.is_finished()
    }

    /// Refuses whatever is left.
    pub(crate) fn end(self) -> Result<(), TokenError> {
        if self.is_at_end() { Ok(()) } else { Err(TokenError::Malformed(self.what)) }
    }

    pub(crate) fn oid(&mut self) -> Result<ObjectIdentifier, TokenError> {
        let what = self.what;
        let value = self.next(OID)?;
        ObjectIdentifier::from_der(value.raw).map_err(|_| TokenError::Malformed(what))
    }

    /// A non-negative integer of at most eight bytes.
    pub(crate) fn uint(&mut self) -> Result<u64, TokenError> {
        let value = self.next(INTEGER)?;
        uint(value.contents).ok_or(TokenError::Malformed(self.what))
    }

    /// A bit string of whole bytes.
    pub(crate) fn bits(&mut self) -> Result<&'a [u8], TokenError> {
        match self.next(BIT_STRING)?.contents.split_first() {
            Some((0, bytes)) => Ok(bytes),
            _ => Err(TokenError::Malformed(self.what)),
        }
    }
}

/// The value of an INTEGER's contents, if it is a non-negative one in its shortest form.
pub(crate) fn uint(contents: &[u8]) -> Option<u64> {
    let bytes = magnitude(contents)?;
    if bytes.len() > 8 {
        return None;
    }
    Some(bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

/// The big-endian bytes of a non-negative INTEGER, without the zero that only keeps it positive.
pub(crate) fn magnitude(contents: &[u8]) -> Option<&[u8]> {
    match contents {
        [] => None,
        [0, rest @ ..] if rest.first().is_some_and(|byte| *byte >= 0x80) => Some(rest),
        [0] => Some(contents),
        [first, ..] if *first == 0 || *first >= 0x80 => None,
        _ => Some(contents),
    }
}
