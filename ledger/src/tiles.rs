//! The files of a C2SP tlog-tiles tree as it grows: the right edge from which it does. Names and bytes are
//! `colophon_receipt::tiles`'.

use colophon_receipt::Hash;
use colophon_receipt::merkle::{empty_root, leaf_hash, node_hash, root};
pub use colophon_receipt::tiles::*;

/// Appends one entry to a bundle. Entries are bounded by [`MAX_ENTRY`] where they come in.
fn push_entry(bundle: &mut Vec<u8>, entry: &[u8]) {
    bundle.extend_from_slice(&(entry.len() as u16).to_be_bytes());
    bundle.extend_from_slice(entry);
}

/// One file to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Write {
    pub(crate) tile: TileId,
    pub(crate) width: usize,
    pub(crate) bytes: Vec<u8>,
}

/// The right edge of a tree: its partial tile at every level, and its partial bundle. All that growing needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Edge {
    size: u64,
    levels: Vec<Vec<Hash>>,
    bundle: Vec<u8>,
}

impl Edge {
    /// An edge from the partial tiles of a tree of `size` leaves, level 0 first, and the encoded partial bundle.
    pub(crate) fn new(size: u64, levels: Vec<Vec<Hash>>, entries: &[Vec<u8>]) -> Edge {
        let mut bundle = Vec::new();
        entries.iter().for_each(|entry| push_entry(&mut bundle, entry));
        Edge { size, levels, bundle }
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn levels(&self) -> &[Vec<Hash>] {
        &self.levels
    }

    /// The root of the tree: complete subtrees, from the smallest and rightmost to the largest.
    pub(crate) fn root(&self) -> Hash {
        let mut acc: Option<Hash> = None;
        for hashes in &self.levels {
            let mut rest = hashes.as_slice();
            while !rest.is_empty() {
                let chunk = 1 << rest.len().trailing_zeros();
                let (left, subtree) = rest.split_at(rest.len() - chunk);
                let subtree = root(subtree);
                acc = Some(acc.map_or(subtree, |right| node_hash(&subtree, &right)));
                rest = left;
            }
        }
        acc.unwrap_or_else(empty_root)
    }

    /// The tree with `leaves` added, and the files that are new or changed.
    pub(crate) fn extend(&self, leaves: &[Vec<u8>]) -> (Edge, Vec<Write>) {
        let mut edge = self.clone();
        let mut writes = Vec::new();
        let mut touched = 0;
        for leaf in leaves {
            push_entry(&mut edge.bundle, leaf);
            touched = touched.max(edge.push(leaf_hash(leaf), &mut writes));
            if edge.size.is_multiple_of(WIDTH as u64) {
                let bytes = std::mem::take(&mut edge.bundle);
                writes.push(Write { tile: TileId::bundle(edge.size - 1), width: WIDTH, bytes });
            }
        }
        writes.extend(edge.partial_tiles().take(touched).flatten());
        if touched > 0 && !edge.bundle.is_empty() {
            let tile = TileId::bundle(edge.size);
            writes.push(Write { tile, width: tile.width(edge.size), bytes: edge.bundle.clone() });
        }
        (edge, writes)
    }

    /// Adds one leaf by its hash; tiles that it fills go to `full`. Returns how many levels it touched.
    pub(crate) fn push(&mut self, leaf: Hash, full: &mut Vec<Write>) -> usize {
        let mut carry = leaf;
        let mut level = 0;
        loop {
            if self.levels.len() <= level {
                self.levels.push(Vec::with_capacity(WIDTH));
            }
            let hashes = &mut self.levels[level];
            hashes.push(carry);
            if hashes.len() < WIDTH {
                break;
            }
            let tile = TileId::covering(level as u32, self.size);
            full.push(Write { tile, width: WIDTH, bytes: hashes.concat() });
            carry = root(hashes);
            hashes.clear();
            level += 1;
        }
        self.size += 1;
        level + 1
    }

    /// The partial tile of each level, level 0 first; none where the level's last tile is full.
    pub(crate) fn partial_tiles(&self) -> impl Iterator<Item = Option<Write>> + '_ {
        (0..).zip(&self.levels).map(|(level, hashes)| {
            let tile = TileId::covering(level, self.size);
            (!hashes.is_empty()).then(|| Write { tile, width: hashes.len(), bytes: hashes.concat() })
        })
    }
}

#[cfg(test)]
mod tests;
