//! C2SP tlog-tiles: names of tiles and bundles, their bytes, and the right edge from which a tree grows.

use colophon_receipt::Hash;
use colophon_receipt::merkle::{empty_root, leaf_hash, node_hash, root};

/// Hashes in a full tile, entries in a full bundle.
pub const WIDTH: usize = 256;
/// The longest entry: its length is a u16.
pub const MAX_ENTRY: usize = u16::MAX as usize;
/// Bytes of a full tile.
pub(crate) const MAX_TILE: u64 = 32 * WIDTH as u64;
/// Bytes of a full bundle of the longest entries.
pub(crate) const MAX_BUNDLE: u64 = (WIDTH * (2 + MAX_ENTRY)) as u64;
/// Tile levels of a tree of 2^64 leaves.
pub(crate) const LEVELS: u32 = 8;

/// A tile of hashes, or a bundle of entries, by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TileId {
    /// The tile level, or none for an entry bundle.
    pub level: Option<u32>,
    /// The index within the level.
    pub index: u64,
}

impl TileId {
    /// The tile at `level` that covers leaf `leaf`.
    pub fn covering(level: u32, leaf: u64) -> TileId {
        TileId { level: Some(level), index: shift(leaf, level + 1) }
    }

    /// The bundle that holds leaf `leaf`.
    pub fn bundle(leaf: u64) -> TileId {
        TileId { level: None, index: leaf / WIDTH as u64 }
    }

    /// The name of the full tile or bundle, relative to the log's folder.
    pub fn name(&self) -> String {
        let level = self.level.map_or("entries".to_owned(), |level| level.to_string());
        format!("tile/{level}/{}", index_path(self.index))
    }

    /// The name at `width`: the full one for 256, otherwise the partial one.
    pub fn name_at(&self, width: usize) -> String {
        if width == WIDTH { self.name() } else { format!("{}.p/{width}", self.name()) }
    }

    /// How many hashes or entries this tile or bundle has in a tree of `size` leaves.
    pub fn width(&self, size: u64) -> usize {
        let nodes = shift(size, self.level.unwrap_or(0));
        let before = self.index.saturating_mul(WIDTH as u64);
        nodes.saturating_sub(before).min(WIDTH as u64) as usize
    }
}

/// `n / 256^levels`.
pub(crate) fn shift(n: u64, levels: u32) -> u64 {
    n.checked_shr(8 * levels).unwrap_or(0)
}

/// `1234067` as `x001/x234/067`.
fn index_path(index: u64) -> String {
    let mut path = format!("{:03}", index % 1000);
    let mut rest = index / 1000;
    while rest > 0 {
        path = format!("x{:03}/{path}", rest % 1000);
        rest /= 1000;
    }
    path
}

/// Reads the hashes of a tile, exactly `width` of them or, from a full tile, its first `width`.
pub(crate) fn parse_tile(bytes: &[u8], width: usize) -> Option<Vec<Hash>> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    let fits = rest.is_empty() && (hashes.len() == width || hashes.len() == WIDTH);
    fits.then(|| hashes.get(..width).map(<[Hash]>::to_vec))?
}

/// Reads the entries of a bundle, exactly `width` of them or, from a full bundle, its first `width`.
pub(crate) fn parse_bundle(mut bytes: &[u8], width: usize) -> Option<Vec<Vec<u8>>> {
    let mut entries = Vec::with_capacity(width);
    while !bytes.is_empty() {
        let (len, rest) = bytes.split_first_chunk::<2>()?;
        let (entry, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
        entries.push(entry.to_vec());
        bytes = rest;
    }
    let fits = entries.len() == width || entries.len() == WIDTH;
    entries.truncate(width);
    (fits && entries.len() == width).then_some(entries)
}

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
