//! `seq/<n>`: the create-only entries that put leaves in order.
//!
//! Whoever creates entry `n` decides which leaves follow; everyone else reads it, replays it and tries `n + 1`. The
//! tiles and the checkpoint only spell out what the entries say. An entry is deterministic CBOR followed by its
//! CRC-32C, little-endian. Entries are numbered from 0 without gaps; `seq/000000012/345` is number 12345, so that
//! listings sort and no folder holds more than a thousand.

use colophon_receipt::Hash;
use colophon_receipt::cbor::{CborError, MapReader, Value};
use crc_fast::CrcAlgorithm;

use crate::store::{Store, StoreError};
use crate::tiles::MAX_ENTRY;

/// Leaves in one entry.
pub const MAX_LEAVES: usize = 4096;
/// Bytes of leaves in one entry.
pub const MAX_LEAF_BYTES: usize = 16 << 20;
/// Bytes of an entry's file.
const MAX_FILE: u64 = (MAX_LEAF_BYTES + 8 * MAX_LEAVES + 1024) as u64;

const TYPE: &str = "colophon-seq-v1";

/// One step of the log: these leaves follow that tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeqEntry {
    /// The entry's own number.
    pub n: u64,
    /// Leaves in the tree before it.
    pub previous_size: u64,
    /// Root of the tree before it.
    pub previous_root: Hash,
    /// Random, one per writer, so that a writer knows its own entries.
    pub writer: [u8; 16],
    /// The new leaves, at least one.
    pub leaves: Vec<Vec<u8>>,
}

/// Why bytes are not a sequence entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SeqError {
    /// Bits flipped, or the file was cut.
    #[error("its checksum is wrong")]
    Checksum,
    /// Not of the one allowed form.
    #[error("{0}")]
    Cbor(#[from] CborError),
    /// It says that it is another entry.
    #[error("it says that it is entry {0}")]
    Number(u64),
    /// No leaves, or more or longer ones than allowed.
    #[error("it has no leaves, or too many or too long ones")]
    Leaves,
}

/// Whether `leaves` fit one entry.
pub fn leaves_fit(leaves: &[Vec<u8>]) -> bool {
    !leaves.is_empty()
        && leaves.len() <= MAX_LEAVES
        && leaves.iter().all(|leaf| !leaf.is_empty() && leaf.len() <= MAX_ENTRY)
        && leaves.iter().map(Vec::len).sum::<usize>() <= MAX_LEAF_BYTES
}

impl SeqEntry {
    /// The name of entry `n`, relative to the log's folder.
    pub fn name(n: u64) -> String {
        format!("seq/{:09}/{:03}", n / 1000, n % 1000)
    }

    /// The file's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Value::Map(vec![
            (1, Value::text(TYPE)),
            (2, Value::Uint(self.n)),
            (3, Value::Uint(self.previous_size)),
            (4, Value::bytes(self.previous_root)),
            (5, Value::bytes(self.writer)),
            (6, Value::Array(self.leaves.iter().map(Value::bytes).collect())),
        ])
        .encode();
        let crc = crc(&bytes);
        bytes.extend_from_slice(&crc);
        bytes
    }

    /// Reads the bytes of entry `n`.
    ///
    /// # Errors
    /// [`SeqError`] for anything that [`SeqEntry::encode`] would not have written for this number.
    pub fn decode(bytes: &[u8], n: u64) -> Result<SeqEntry, SeqError> {
        let (cbor, sum) = bytes.split_last_chunk::<4>().ok_or(SeqError::Checksum)?;
        if *sum != crc(cbor) {
            return Err(SeqError::Checksum);
        }
        let mut map = MapReader::decode(cbor)?;
        if map.required(1)?.as_text("type")? != TYPE {
            return Err(CborError::Value("type").into());
        }
        let number = map.required(2)?.as_uint("number")?;
        if number != n {
            return Err(SeqError::Number(number));
        }
        let entry = SeqEntry {
            n,
            previous_size: map.required(3)?.as_uint("previous size")?,
            previous_root: map.required(4)?.as_array("previous root")?,
            writer: map.required(5)?.as_array("writer")?,
            leaves: map
                .required(6)?
                .as_items("leaves")?
                .iter()
                .map(|leaf| leaf.as_bytes("leaf").map(<[u8]>::to_vec))
                .collect::<Result<_, _>>()?,
        };
        map.finish()?;
        let size = entry.previous_size.checked_add(entry.leaves.len() as u64);
        if size.is_some() && leaves_fit(&entry.leaves) { Ok(entry) } else { Err(SeqError::Leaves) }
    }
}

/// CRC-32C (Castagnoli), little-endian.
fn crc(bytes: &[u8]) -> [u8; 4] {
    (crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32).to_le_bytes()
}

/// Reads entry `n` as bytes; `None` when there is none yet.
pub(crate) async fn read(store: &Store, n: u64) -> Result<Option<Result<SeqEntry, SeqError>>, StoreError> {
    let bytes = store.get(&SeqEntry::name(n), MAX_FILE).await?;
    Ok(bytes.map(|bytes| SeqEntry::decode(&bytes, n)))
}

/// The newest entry's number, found by existence checks from `hint` upwards: a few for each doubling of the distance,
/// never a listing. `None` when there is no entry at all.
pub(crate) async fn newest(store: &Store, hint: u64) -> Result<Option<u64>, StoreError> {
    let exists = async |n: u64| store.exists(&SeqEntry::name(n)).await;
    let mut low = hint;
    if !exists(low).await? {
        low = 0;
        if hint == 0 || !exists(0).await? {
            return Ok(None);
        }
    }
    let mut step = 1;
    while exists(low.saturating_add(step)).await? {
        low = low.saturating_add(step);
        step = step.saturating_mul(2);
    }
    // `low` exists, `high` does not.
    let mut high = low.saturating_add(step);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if exists(middle).await? { low = middle } else { high = middle }
    }
    Ok(Some(low))
}

#[cfg(test)]
mod tests;
