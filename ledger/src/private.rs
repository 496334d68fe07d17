//! What opens the records of a batch: `<shard>/<seq>` in the private store, whose folder or bucket is its own.
//!
//! ```text
//! "colophon open  1" | u32le count | (count + 1) × u64le offset | count × record
//! ```
//! The record of slot `n` lies from offset `n` to offset `n + 1`, counted from the start of the file. It is the CBOR
//! array `[seed, fields, [[base, signature], …], log index of the announcement of the key that signed]`.

use crate::wal::read_signatures;
use colophon_receipt::cbor::{CborError, Value};
use colophon_receipt::receipt::HttpSignature;
use colophon_receipt::record::{FieldSet, Record, Seed};
use std::ops::Range;

const MAGIC: &[u8; 16] = b"colophon open  1";
const HEAD: u64 = 20;
/// The openings of one record have at most this many bytes.
const MAX_RECORD: u64 = 8 << 20;

/// What opens one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Gives every salt.
    pub seed: Seed,
    /// The fields.
    pub fields: FieldSet,
    /// Signatures that left with the answer.
    pub signatures: Vec<HttpSignature>,
    /// Log index of the announcement of the key that made `signatures`.
    pub announced: u64,
}

/// The file of a batch.
pub(crate) fn write<'a>(
    records: impl ExactSizeIterator<Item = (&'a Record, &'a [HttpSignature], u64)>,
) -> Vec<u8> {
    let count = records.len();
    let mut out = Vec::with_capacity(HEAD as usize + count * 2048);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&(count as u32).to_le_bytes());
    let table = out.len();
    out.resize(table + (count + 1) * 8, 0);
    let mut ends = vec![out.len() as u64];
    for (record, signatures, announced) in records {
        let mut e = minicbor::Encoder::new(&mut out);
        // Writing into a Vec cannot fail.
        drop((|| {
            e.array(4)?.bytes(&record.seed)?.bytes(record.fields.as_bytes())?;
            e.array(signatures.len() as u64)?;
            for signature in signatures {
                e.array(2)?.bytes(signature.base.as_bytes())?.bytes(&signature.signature.0)?;
            }
            e.u64(announced)?;
            Ok::<_, minicbor::encode::Error<std::convert::Infallible>>(())
        })());
        ends.push(out.len() as u64);
    }
    for (row, end) in out[table..].chunks_exact_mut(8).zip(ends) {
        row.copy_from_slice(&end.to_le_bytes());
    }
    out
}

/// Where the offsets of the record of `slot` are.
pub(crate) fn row(slot: u32) -> Range<u64> {
    let start = HEAD + u64::from(slot) * 8;
    start..start + 16
}

/// Where the record is, from the bytes at `row`.
pub(crate) fn range(row: &[u8]) -> Result<Range<u64>, CborError> {
    let at = |bytes: Option<&[u8]>| {
        bytes
            .and_then(|b| b.try_into().ok())
            .map(u64::from_le_bytes)
            .ok_or(CborError::Value("opening offset"))
    };
    let (start, end) = (at(row.get(..8))?, at(row.get(8..16))?);
    match end.checked_sub(start) {
        Some(1..=MAX_RECORD) => Ok(start..end),
        _ => Err(CborError::Value("opening offset")),
    }
}

/// Reads the record of one slot.
pub(crate) fn read(bytes: &[u8]) -> Result<Opening, CborError> {
    match Value::decode(bytes)?.as_items("opening")? {
        [seed, fields, signatures, announced] => Ok(Opening {
            seed: seed.as_array("seed")?,
            fields: FieldSet::from_bytes(fields.as_bytes("fields")?.to_vec())?,
            signatures: read_signatures(signatures)?,
            announced: announced.as_uint("announcement")?,
        }),
        _ => Err(CborError::Value("opening")),
    }
}

#[cfg(test)]
mod tests;
