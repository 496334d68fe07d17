//! One batch: its tree, and its file `shard/<shard>/batch/<seq>`.
//!
//! ```text
//! "colophon batch 2" | u32le count | (pages + 1) × u32le offset | pages × hash (32)
//!   | count × (u16le length | leaf) | count × (id, 16 bytes | u32le slot)
//! ```
//! Leaves stand in the order of the tree; slot `n` is leaf `n`. A page is [`PAGE`] leaves, the last one what is left: page
//! `n` lies from offset `n` to offset `n + 1`, counted from the start of the file, and its hash is the root over it. So one
//! leaf and its path are found from the beginning of the file and one page (`paged.rs`). The footer is sorted by id, each id
//! once. A leaf is a record, or evidence for an earlier one. Nothing follows. Version 1 had neither offsets nor hashes, and is read as well.

use crate::give_way::give_way;
use bytes::Bytes;
use colophon_receipt::Hash;
use colophon_receipt::evidence::{BatchLeaf, EvidenceLeaf};
use colophon_receipt::level::Level;
use colophon_receipt::merkle;
use colophon_receipt::record::RecordId;
use rs_merkle::MerkleTree;

pub(crate) mod paged;

const MAGIC: &[u8; 16] = b"colophon batch 2";
/// Of files without pages.
const MAGIC_1: &[u8; 16] = b"colophon batch 1";
/// Magic and count.
const HEAD: usize = 20;
/// Leaves of a page.
pub const PAGE: usize = 256;
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

/// A batch ready to be stored.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    /// The root over its leaves.
    pub(crate) root: Hash,
    pub(crate) file: Bytes,
}

/// Makes the file of a batch, whose leaves have these hashes.
pub(crate) fn make<'a>(
    leaves: impl ExactSizeIterator<Item = (&'a RecordId, &'a [u8])>,
    hashes: &[Hash],
) -> Made {
    let pages = page_roots(hashes);
    // The subtrees over whole pages are those of the tree, so the tree above them is too.
    Made { root: root(&pages), file: file(leaves, &pages).into() }
}

fn page_roots(hashes: &[Hash]) -> Vec<Hash> {
    hashes.chunks(PAGE).inspect(|_| give_way()).map(root).collect()
}

/// The file of a batch, whose leaves have these hashes.
pub fn write<'a>(
    leaves: impl ExactSizeIterator<Item = (&'a RecordId, &'a [u8])>,
    hashes: &[Hash],
) -> Vec<u8> {
    file(leaves, &page_roots(hashes))
}

fn file<'a>(leaves: impl ExactSizeIterator<Item = (&'a RecordId, &'a [u8])>, pages: &[Hash]) -> Vec<u8> {
    let count = leaves.len();
    let table = HEAD + paged::table_len(count);
    let mut out = Vec::with_capacity(table + count * 128);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&(count as u32).to_le_bytes());
    out.resize(HEAD + (pages.len() + 1) * 4, 0);
    pages.iter().for_each(|root| out.extend_from_slice(root));
    let mut offsets = Vec::with_capacity(pages.len() + 1);
    let mut footer = Vec::with_capacity(count);
    for (slot, (id, leaf)) in leaves.enumerate() {
        if slot.is_multiple_of(PAGE) {
            offsets.push(out.len() as u32);
        }
        out.extend_from_slice(&(leaf.len() as u16).to_le_bytes());
        out.extend_from_slice(leaf);
        footer.push((*id, slot as u32));
    }
    offsets.push(out.len() as u32);
    for (place, offset) in out.get_mut(HEAD..).unwrap_or_default().chunks_exact_mut(4).zip(offsets) {
        place.copy_from_slice(&offset.to_le_bytes());
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
    #[error("not a batch file of version 1 or 2")]
    Magic,
    /// Fewer or more bytes than the format asks for.
    #[error("the batch file is too short, or bytes follow it")]
    Length,
    /// Offsets that are not those of the pages, or a hash that is not that of its page.
    #[error("the table of pages does not belong to the leaves")]
    Pages,
    /// A leaf that is neither a record nor evidence.
    #[error("leaf {0} is neither a record nor evidence")]
    Leaf(u32),
    /// A footer that is not sorted, or not that of these leaves.
    #[error("the footer does not belong to the leaves")]
    Footer,
}

/// A record that may be drawn for a higher level, by its leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrawnBy {
    /// Its slot.
    pub slot: u32,
    /// Its id.
    pub id: RecordId,
    /// It is drawn if its part of the draw is below this.
    pub threshold: u64,
    /// The level it is drawn for.
    pub target: Level,
}

/// A batch file, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The leaves' bytes, in the order of the tree.
    pub leaves: Vec<Vec<u8>>,
    /// Records that may be drawn.
    pub draws: Vec<DrawnBy>,
    /// The evidence leaves, with their slots.
    pub evidence: Vec<(u32, EvidenceLeaf)>,
    /// (id, slot), sorted by id.
    pub ids: Vec<(RecordId, u32)>,
    /// The earliest and the latest time of a leaf, µs; of no leaves none.
    pub completed: Option<(u64, u64)>,
    hashes: Vec<Hash>,
    root: Hash,
}

impl Batch {
    /// The leaf hashes, in the order of the tree.
    pub fn hashes(&self) -> &[Hash] {
        &self.hashes
    }

    /// The root over them.
    pub fn root(&self) -> Hash {
        self.root
    }
}

/// Reads a batch file, every byte of it, and hashes its leaves.
pub fn read(bytes: &[u8]) -> Result<Batch, BatchError> {
    let (magic, rest) = bytes.split_first_chunk::<16>().ok_or(BatchError::Magic)?;
    let (count, mut rest) = rest.split_first_chunk().ok_or(BatchError::Length)?;
    let count = u32::from_le_bytes(*count);
    if count as usize > MAX_RECORDS {
        return Err(BatchError::Length);
    }
    let table = match magic {
        MAGIC_1 => None,
        MAGIC => {
            let (table, after) =
                rest.split_at_checked(paged::table_len(count as usize)).ok_or(BatchError::Length)?;
            rest = after;
            Some(table)
        }
        _ => return Err(BatchError::Magic),
    };
    let mut leaves = Vec::with_capacity(count as usize);
    let mut ids = Vec::with_capacity(count as usize);
    let mut hashes = Vec::with_capacity(count as usize);
    let mut offsets = Vec::new();
    let (mut draws, mut evidence) = (Vec::new(), Vec::new());
    let mut completed: Option<(u64, u64)> = None;
    for slot in 0..count {
        if (slot as usize).is_multiple_of(PAGE) {
            offsets.push(bytes.len() - rest.len());
        }
        let (len, after) = rest.split_first_chunk().ok_or(BatchError::Length)?;
        let (leaf, after) =
            after.split_at_checked(u16::from_le_bytes(*len).into()).ok_or(BatchError::Length)?;
        let decoded = BatchLeaf::decode(leaf).map_err(|_| BatchError::Leaf(slot))?;
        let (id, at) = (decoded.id(), decoded.at());
        ids.push((id, slot));
        match decoded {
            BatchLeaf::Record(record) => {
                draws.extend(record.draw.map(|(threshold, target)| DrawnBy { slot, id, threshold, target }))
            }
            BatchLeaf::Evidence(leaf) => evidence.push((slot, leaf)),
        }
        completed = Some(completed.map_or((at, at), |(first, last)| (first.min(at), last.max(at))));
        hashes.push(merkle::leaf_hash(leaf));
        leaves.push(leaf.to_vec());
        rest = after;
    }
    offsets.push(bytes.len() - rest.len());
    let pages = page_roots(&hashes);
    if table.is_some_and(|table| !paged::is_table(table, &offsets, &pages)) {
        return Err(BatchError::Pages);
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
    if !rest.is_empty() {
        return Err(BatchError::Length);
    }
    Ok(Batch { leaves, draws, evidence, ids, completed, hashes, root: root(&pages) })
}

#[cfg(test)]
pub(crate) mod tests;
