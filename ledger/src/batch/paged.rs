//! One leaf of a batch file and its path to the root, from the beginning of the file and one page of it.
//!
//! Nothing here is believed: whoever asks compares the root with the statement's, and verifies the path against it.

use super::{BatchError, HEAD, MAGIC, MAGIC_1, MAX_RECORDS, PAGE, Rfc6962, root};
use colophon_receipt::Hash;
use rs_merkle::MerkleTree;
use std::ops::Range;

/// The beginning of a file with all its offsets and hashes has at most this many bytes.
pub(crate) const MAX_HEAD: u64 = (HEAD + (MAX_RECORDS / PAGE + 1) * 4 + MAX_RECORDS / PAGE * 32) as u64;

/// The bytes of offsets and hashes, for so many leaves.
pub(super) fn table_len(count: usize) -> usize {
    let pages = count.div_ceil(PAGE);
    (pages + 1) * 4 + pages * 32
}

/// Whether offsets and hashes are exactly these.
pub(super) fn is_table(table: &[u8], offsets: &[usize], pages: &[Hash]) -> bool {
    let (stored, hashes) = table.split_at_checked(offsets.len() * 4).unwrap_or_default();
    let offsets = offsets.iter().map(|offset| *offset as u32);
    stored.chunks_exact(4).eq(offsets.map(u32::to_le_bytes)) && hashes.chunks_exact(32).eq(pages)
}

/// The beginning of a version 2 file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    count: u32,
    offsets: Vec<u32>,
    pages: Vec<Hash>,
}

impl Head {
    /// Reads it from the first [`MAX_HEAD`] bytes of a file, or all where there are fewer. `None` for a version 1 file,
    /// which has to be read whole.
    pub(crate) fn read(bytes: &[u8]) -> Result<Option<Head>, BatchError> {
        let (magic, rest) = bytes.split_first_chunk::<16>().ok_or(BatchError::Magic)?;
        match magic {
            MAGIC => {}
            MAGIC_1 => return Ok(None),
            _ => return Err(BatchError::Magic),
        }
        let (count, rest) = rest.split_first_chunk().ok_or(BatchError::Length)?;
        let count = u32::from_le_bytes(*count);
        if count as usize > MAX_RECORDS {
            return Err(BatchError::Length);
        }
        let table = rest.get(..table_len(count as usize)).ok_or(BatchError::Length)?;
        let (offsets, pages) =
            table.split_at_checked((count as usize).div_ceil(PAGE) * 4 + 4).ok_or(BatchError::Length)?;
        let offsets = offsets.as_chunks().0.iter().map(|offset| u32::from_le_bytes(*offset)).collect();
        Ok(Some(Head { count, offsets, pages: pages.as_chunks().0.to_vec() }))
    }

    /// How many leaves there are.
    pub(crate) fn count(&self) -> u64 {
        self.count.into()
    }

    /// The root that the pages' hashes lead to.
    pub(crate) fn root(&self) -> Hash {
        root(&self.pages)
    }

    /// Where the page with a slot is.
    pub(crate) fn page(&self, slot: u32) -> Option<Range<u64>> {
        let page = slot as usize / PAGE;
        let (start, end) = self.offsets.get(page).zip(self.offsets.get(page + 1))?;
        // No leaf is longer than its length can say.
        let longest = (PAGE * (2 + usize::from(u16::MAX))) as u32;
        (slot < self.count && start < end && end - start <= longest)
            .then(|| u64::from(*start)..u64::from(*end))
    }

    /// The bytes of one leaf in its page, and its path to the root, its sibling first.
    pub(crate) fn leaf<'a>(&self, slot: u32, page: &'a [u8]) -> Option<(&'a [u8], Vec<Hash>)> {
        let (number, within) = (slot as usize / PAGE, slot as usize % PAGE);
        let leaves = leaves(page)?;
        if leaves.len() != PAGE.min((self.count as usize).checked_sub(number * PAGE)?) {
            return None;
        }
        let hashes: Vec<Hash> = leaves.iter().map(|leaf| colophon_receipt::merkle::leaf_hash(leaf)).collect();
        let mut path = path(&hashes, within);
        path.extend(self::path(&self.pages, number));
        Some((leaves.get(within).copied()?, path))
    }
}

/// The path of one of these to the root over them.
fn path(hashes: &[Hash], at: usize) -> Vec<Hash> {
    MerkleTree::<Rfc6962>::from_leaves(hashes).proof(&[at]).proof_hashes().to_vec()
}

fn leaves(mut page: &[u8]) -> Option<Vec<&[u8]>> {
    let mut leaves = Vec::with_capacity(PAGE);
    while !page.is_empty() {
        let (len, rest) = page.split_first_chunk()?;
        let (leaf, rest) = rest.split_at_checked(u16::from_le_bytes(*len).into())?;
        leaves.push(leaf);
        page = rest;
    }
    Some(leaves)
}

#[cfg(test)]
mod tests;
