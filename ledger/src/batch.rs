//! One batch: its tree, and its file `shard/<shard>/batch/<seq>`.
//!
//! ```text
//! "colophon batch 1" | u32le count | count × (u16le length | leaf) | count × (id, 16 bytes | u32le slot)
//! ```
//! Leaves stand in the order of the tree; slot `n` is leaf `n`. The footer is sorted by id, each id once. Nothing
//! follows.

use colophon_receipt::Hash;
use colophon_receipt::merkle;
use colophon_receipt::record::{RecordId, RecordLeaf};

const MAGIC: &[u8; 16] = b"colophon batch 1";
/// A batch holds at most this many records.
pub const MAX_RECORDS: usize = 65_536;
/// A batch file has at most this many bytes.
pub const MAX_BYTES: u64 = 64 << 20;

/// RFC 6962 for `rs_merkle`, whose trees over an incomplete last level have the shape of RFC 6962. It only builds:
/// its verifier accepts what it should not.
#[derive(Clone)]
struct Rfc6962;

impl rs_merkle::Hasher for Rfc6962 {
    type Hash = Hash;

    fn hash(data: &[u8]) -> Hash {
        merkle::leaf_hash(data)
    }

    fn concat_and_hash(left: &Hash, right: Option<&Hash>) -> Hash {
        right.map_or(*left, |right| merkle::node_hash(left, right))
    }
}

/// The root over leaf hashes.
pub fn root(leaf_hashes: &[Hash]) -> Hash {
    rs_merkle::MerkleTree::<Rfc6962>::from_leaves(leaf_hashes).root().unwrap_or_else(merkle::empty_root)
}

/// The file of a batch.
pub fn write<'a>(leaves: impl ExactSizeIterator<Item = (&'a RecordId, &'a [u8])>) -> Vec<u8> {
    let count = leaves.len();
    let mut out = Vec::with_capacity(20 + count * 128);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&(count as u32).to_le_bytes());
    let mut footer = Vec::with_capacity(count);
    for (slot, (id, leaf)) in leaves.enumerate() {
        out.extend_from_slice(&(leaf.len() as u16).to_le_bytes());
        out.extend_from_slice(leaf);
        footer.push((*id, slot as u32));
    }
    footer.sort_unstable();
    for (id, slot) in footer {
        out.extend_from_slice(&id);
        out.extend_from_slice(&slot.to_le_bytes());
    }
    out
}

/// Why bytes are not a batch file.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BatchError {
    /// Another format, or another version of it.
    #[error("not a version 1 batch file")]
    Magic,
    /// Fewer or more bytes than the format asks for.
    #[error("the batch file is too short, or bytes follow it")]
    Length,
    /// A leaf that is no record.
    #[error("leaf {0} is not a record")]
    Leaf(u32),
    /// A footer that is not sorted, or not that of these leaves.
    #[error("the footer does not belong to the leaves")]
    Footer,
}

/// A batch file, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The records' leaf bytes, in the order of the tree.
    pub leaves: Vec<Vec<u8>>,
    /// (id, slot), sorted by id.
    pub ids: Vec<(RecordId, u32)>,
}

impl Batch {
    /// The leaf hashes, in the order of the tree.
    pub fn hashes(&self) -> Vec<Hash> {
        self.leaves.iter().map(|leaf| merkle::leaf_hash(leaf)).collect()
    }
}

/// Reads a batch file, every byte of it.
pub fn read(bytes: &[u8]) -> Result<Batch, BatchError> {
    let rest = bytes.strip_prefix(MAGIC).ok_or(BatchError::Magic)?;
    let (count, mut rest) = rest.split_first_chunk().ok_or(BatchError::Length)?;
    let count = u32::from_le_bytes(*count);
    if count as usize > MAX_RECORDS {
        return Err(BatchError::Length);
    }
    let mut leaves = Vec::new();
    let mut ids = Vec::new();
    for slot in 0..count {
        let (len, after) = rest.split_first_chunk().ok_or(BatchError::Length)?;
        let (leaf, after) =
            after.split_at_checked(u16::from_le_bytes(*len).into()).ok_or(BatchError::Length)?;
        let decoded = RecordLeaf::decode(leaf).map_err(|_| BatchError::Leaf(slot))?;
        ids.push((decoded.id, slot));
        leaves.push(leaf.to_vec());
        rest = after;
    }
    ids.sort_unstable();
    if ids.windows(2).any(|pair| pair[0].0 == pair[1].0) {
        return Err(BatchError::Footer);
    }
    for (id, slot) in &ids {
        let (row, after) = rest.split_first_chunk::<20>().ok_or(BatchError::Length)?;
        if row[..16] != id[..] || row[16..] != slot.to_le_bytes() {
            return Err(BatchError::Footer);
        }
        rest = after;
    }
    if rest.is_empty() { Ok(Batch { leaves, ids }) } else { Err(BatchError::Length) }
}

#[cfg(test)]
mod tests;
