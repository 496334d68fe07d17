//! Authenticated tiles of one tree, and the proofs that can be computed from them.

use std::collections::HashMap;

use colophon_receipt::Hash;
use colophon_receipt::merkle::{node_hash, root};

use crate::tiles::{TileId, WIDTH, shift};

/// Tiles of the tree of `size` leaves whose hashes lead to its root.
pub(super) struct Nodes {
    size: u64,
    tiles: HashMap<TileId, Vec<Hash>>,
}

impl Nodes {
    /// Starts from the right edge, whose root the caller has compared.
    pub(super) fn new(size: u64, levels: &[Vec<Hash>]) -> Nodes {
        let tiles = (0..).zip(levels).map(|(level, hashes)| (TileId::covering(level, size), hashes.clone()));
        Nodes { size, tiles: tiles.collect() }
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn has(&self, tile: TileId) -> bool {
        self.tiles.contains_key(&tile)
    }

    /// Adds a full tile if it is the one that its parent, added before, names.
    pub(super) fn add(&mut self, tile: TileId, hashes: Vec<Hash>) -> bool {
        let Some(level) = tile.level else { return false };
        let parent = TileId { level: Some(level + 1), index: tile.index / WIDTH as u64 };
        let slot = (tile.index % WIDTH as u64) as usize;
        let known = self.tiles.get(&parent).and_then(|hashes| hashes.get(slot));
        let good = known == Some(&root(&hashes));
        if good {
            self.tiles.insert(tile, hashes);
        }
        good
    }

    /// Drops the full tiles at level 0: the next ones come when needed.
    pub(super) fn forget_leaves(&mut self) {
        let edge = TileId::covering(0, self.size);
        self.tiles.retain(|tile, _| tile.level != Some(0) || *tile == edge);
    }

    /// The leaf hash of leaf `index`.
    pub(super) fn leaf(&self, index: u64) -> Option<Hash> {
        self.range(index, index.checked_add(1)?)
    }

    /// The root over leaves `low..high`: of a complete subtree from one tile, otherwise split as RFC 6962 does.
    pub(super) fn range(&self, low: u64, high: u64) -> Option<Hash> {
        let len = high.checked_sub(low).filter(|len| *len > 0)?;
        if len.is_power_of_two() && low.is_multiple_of(len) {
            let height = len.trailing_zeros();
            let (level, count) = (height / 8, 1 << (height % 8));
            let first = (shift(low, level) % WIDTH as u64) as usize;
            let hashes = self.tiles.get(&TileId::covering(level, low))?;
            return hashes.get(first..first + count).map(root);
        }
        let middle = low + split(len);
        Some(node_hash(&self.range(low, middle)?, &self.range(middle, high)?))
    }

    /// The inclusion proof of leaf `index`, sibling of the leaf first.
    pub(super) fn inclusion(&self, index: u64) -> Option<Vec<Hash>> {
        let (mut low, mut high) = (0, self.size);
        let mut path = Vec::new();
        while high - low > 1 {
            let middle = low + split(high - low);
            if index < middle {
                path.push(self.range(middle, high)?);
                high = middle;
            } else {
                path.push(self.range(low, middle)?);
                low = middle;
            }
        }
        path.reverse();
        Some(path)
    }

    /// The consistency proof from the first `old` leaves to all (RFC 9162 section 2.1.4.1).
    pub(super) fn consistency(&self, old: u64) -> Option<Vec<Hash>> {
        let (mut low, mut high) = (0, self.size);
        let mut path = Vec::new();
        while old != high {
            let middle = low + split(high - low);
            if old <= middle {
                path.push(self.range(middle, high)?);
                high = middle;
            } else {
                path.push(self.range(low, middle)?);
                low = middle;
            }
        }
        if low > 0 {
            path.push(self.range(low, high)?);
        }
        path.reverse();
        Some(path)
    }
}

/// The largest power of two below `n`, for `n` of at least two.
fn split(n: u64) -> u64 {
    1 << (n - 1).ilog2()
}
