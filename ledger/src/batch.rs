//! One batch: its tree, and its file `shard/<shard>/batch/<seq>`.
//!
//! ```text
//! "colophon batch 1" | u32le count | count × (u16le length | leaf) | count × (id, 16 bytes | u32le slot)
//! ```
//! Leaves stand in the order of the tree; slot `n` is leaf `n`. The footer is sorted by id, each id once. Nothing
//! follows.

use bytes::Bytes;
use colophon_receipt::Hash;
use colophon_receipt::merkle;
use colophon_receipt::record::{RecordId, RecordLeaf};
use rs_merkle::MerkleTree;
use std::ops::Range;

const MAGIC: &[u8; 16] = b"colophon batch 1";
/// Magic and count.
const HEAD: u32 = 20;
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
    MerkleTree::<Rfc6962>::from_leaves(leaf_hashes).root().unwrap_or_else(merkle::empty_root)
}

/// A batch file with the whole tree over it, for many paths.
pub(crate) struct Tree {
    file: Bytes,
    /// Where the leaves are in `file`.
    leaves: Vec<Range<u32>>,
    tree: MerkleTree<Rfc6962>,
}

impl Tree {
    /// The file of a batch, and its tree over the leaves' hashes.
    pub(crate) fn write<'a>(
        leaves: impl ExactSizeIterator<Item = (&'a RecordId, &'a [u8])> + Clone,
        hashes: &[Hash],
    ) -> Tree {
        let ranges = ranges(leaves.clone().map(|(_, leaf)| leaf));
        Tree { file: write(leaves).into(), leaves: ranges, tree: MerkleTree::from_leaves(hashes) }
    }

    /// Reads a batch file, every byte of it, and hashes its leaves.
    pub(crate) fn read(file: Bytes) -> Result<Tree, BatchError> {
        let batch = read(&file)?;
        let leaves = ranges(batch.leaves.iter().map(Vec::as_slice));
        Ok(Tree { file, leaves, tree: MerkleTree::from_leaves(&batch.hashes()) })
    }

    pub(crate) fn file(&self) -> &Bytes {
        &self.file
    }

    pub(crate) fn len(&self) -> usize {
        self.leaves.len()
    }

    pub(crate) fn root(&self) -> Hash {
        self.tree.root().unwrap_or_else(merkle::empty_root)
    }

    /// The bytes of one leaf.
    pub(crate) fn leaf(&self, slot: u32) -> Option<&[u8]> {
        let range = self.leaves.get(slot as usize)?;
        self.file.get(range.start as usize..range.end as usize)
    }

    /// The path of one leaf to the root, its sibling first. Not verified.
    pub(crate) fn path(&self, slot: u32) -> Option<Vec<Hash>> {
        let slot = slot as usize;
        (slot < self.len()).then(|| self.tree.proof(&[slot]).proof_hashes().to_vec())
    }

    /// Bytes of memory, about: `rs_merkle` keeps each of the nodes twice, with its index.
    pub(crate) fn memory(&self) -> usize {
        self.file.len() + self.len() * (size_of::<Range<u32>>() + 4 * size_of::<(usize, Hash)>())
    }
}

impl std::fmt::Debug for Tree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tree").field("leaves", &self.len()).finish_non_exhaustive()
    }
}

/// Where leaves are in a batch file, each after its length.
fn ranges<'a>(leaves: impl Iterator<Item = &'a [u8]>) -> Vec<Range<u32>> {
    let mut end = HEAD;
    leaves
        .map(|leaf| {
            let start = end + 2;
            end = start + leaf.len() as u32;
            start..end
        })
        .collect()
}

/// The file of a batch.
pub fn write<'a>(leaves: impl ExactSizeIterator<Item = (&'a RecordId, &'a [u8])>) -> Vec<u8> {
    let count = leaves.len();
    let mut out = Vec::with_capacity(HEAD as usize + count * 128);
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
    /// The earliest and the latest completion, µs; of no records none.
    pub completed: Option<(u64, u64)>,
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
    let mut completed: Option<(u64, u64)> = None;
    for slot in 0..count {
        let (len, after) = rest.split_first_chunk().ok_or(BatchError::Length)?;
        let (leaf, after) =
            after.split_at_checked(u16::from_le_bytes(*len).into()).ok_or(BatchError::Length)?;
        let decoded = RecordLeaf::decode(leaf).map_err(|_| BatchError::Leaf(slot))?;
        ids.push((decoded.id, slot));
        let at = decoded.completed_at;
        completed = Some(completed.map_or((at, at), |(first, last)| (first.min(at), last.max(at))));
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
    if rest.is_empty() { Ok(Batch { leaves, ids, completed }) } else { Err(BatchError::Length) }
}

#[cfg(test)]
mod tests;
