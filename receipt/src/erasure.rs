//! The log's word that openings were deleted on purpose (type 8).
//!
//! An erasure takes away what opens records, never the records: their leaves, batches and the log stay as they are.

use crate::cbor::{CborError, MapReader, Value};
use crate::merkle::{Hash, sha256};
use crate::record::RecordId;

/// COSE content type of an erasure.
pub const ERASURE_TYPE: &str = "application/colophon-erasure+cbor";

/// 16 random bytes that tell an erasure from all others.
pub type ErasureId = [u8; 16];

/// What was to be erased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Erased {
    /// One record.
    Record {
        /// Its id.
        id: RecordId,
        /// The hash of its leaf, as a receipt has it.
        leaf_hash: Hash,
    },
    /// All of one tenant's records. The log does not name the tenant: see [`tenant_commitment`].
    Tenant(Hash),
    /// All records completed before this time, µs.
    Before(u64),
}

/// What the log says about a tenant that was erased: nothing, to whoever has not the 32 random bytes of `salt`.
pub fn tenant_commitment(salt: &[u8; 32], tenant: &[u8]) -> Hash {
    sha256(&[b"colophon/erased-tenant/v1".as_slice(), salt, tenant].concat())
}

/// The payload, signed by the key of the shard that did it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erasure {
    /// The shard that did it.
    pub shard: String,
    /// The same id twice is misbehaviour.
    pub id: ErasureId,
    /// When it was done, µs.
    pub at: u64,
    /// How many records' openings were deleted.
    pub openings: u64,
    /// Which.
    pub what: Erased,
}

impl Erasure {
    const TYPE: u64 = 8;

    /// The deterministic encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut entries = vec![
            (1, Value::Uint(Self::TYPE)),
            (2, Value::text(&self.shard)),
            (3, Value::bytes(self.id)),
            (4, Value::Uint(self.at)),
            (5, Value::Uint(self.openings)),
        ];
        match &self.what {
            Erased::Record { id, leaf_hash } => {
                entries.extend([(6, Value::bytes(id)), (7, Value::bytes(leaf_hash))]);
            }
            Erased::Tenant(commitment) => entries.push((8, Value::bytes(commitment))),
            Erased::Before(time) => entries.push((9, Value::Uint(*time))),
        }
        Value::Map(entries).encode()
    }

    /// Reads a canonical erasure payload.
    ///
    /// # Errors
    /// [`CborError`]; also for one that names no subject, or two.
    pub fn decode(bytes: &[u8]) -> Result<Erasure, CborError> {
        let mut map = MapReader::decode(bytes)?;
        map.expect_type(Self::TYPE, "erasure type")?;
        let shard = map.required(2)?.as_text("shard")?.to_owned();
        let id = map.required(3)?.as_array("erasure id")?;
        let at = map.required(4)?.as_uint("at")?;
        let openings = map.required(5)?.as_uint("openings")?;
        let what = if let Some(id) = map.optional(6) {
            Erased::Record {
                id: id.as_array("record id")?,
                leaf_hash: map.required(7)?.as_array("record leaf")?,
            }
        } else if let Some(commitment) = map.optional(8) {
            Erased::Tenant(commitment.as_array("tenant")?)
        } else {
            Erased::Before(map.required(9)?.as_uint("before")?)
        };
        map.finish()?;
        Ok(Erasure { shard, id, at, openings, what })
    }
}

#[cfg(test)]
mod tests;
