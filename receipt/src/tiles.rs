//! C2SP tlog-tiles: names of tiles and bundles, their bytes, and where a tree keeps the root of each of its subtrees.

use crate::merkle::Hash;
use crate::subtrees::cover;
use std::collections::BTreeSet;
use std::ops::Range;

/// Hashes in a full tile, entries in a full bundle.
pub const WIDTH: usize = 256;
/// The longest entry: its length is a u16.
pub const MAX_ENTRY: usize = u16::MAX as usize;
/// Bytes of a full tile.
pub const MAX_TILE: u64 = 32 * WIDTH as u64;
/// Bytes of a full bundle of the longest entries.
pub const MAX_BUNDLE: u64 = (WIDTH * (2 + MAX_ENTRY)) as u64;
/// Tile levels of a tree of 2^64 leaves.
pub const LEVELS: u32 = 8;

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
pub fn shift(n: u64, levels: u32) -> u64 {
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
pub fn parse_tile(bytes: &[u8], width: usize) -> Option<Vec<Hash>> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    let fits = rest.is_empty() && (hashes.len() == width || hashes.len() == WIDTH);
    fits.then(|| hashes.get(..width).map(<[Hash]>::to_vec))?
}

/// Reads the entries of a bundle, exactly `width` of them or, from a full bundle, its first `width`.
pub fn parse_bundle(mut bytes: &[u8], width: usize) -> Option<Vec<Vec<u8>>> {
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

/// Where the hash of the complete subtree over the `2^height` leaves from `position` on can be had: a tile and the hashes
/// of it whose root it is. `position` is a multiple of `2^height`.
pub fn subtree(position: u64, height: u32) -> (TileId, Range<usize>) {
    let level = height / 8;
    let first = (shift(position, level) % WIDTH as u64) as usize;
    (TileId::covering(level, position), first..first + (1 << (height % 8)))
}

/// The files, each with its width, that show leaves `shown` of a tree of `size` leaves: their bundles, then the tiles with
/// the subtrees before and after them. `shown` begins at a multiple of 256, and ends at one or at `size`.
pub fn part(shown: &Range<u64>, size: u64) -> Vec<(TileId, usize)> {
    let width = WIDTH as u64;
    let bundles = (shown.start / width..shown.end.div_ceil(width)).map(|index| TileId { level: None, index });
    let around = [cover(0, shown.start), cover(shown.end, size)].concat();
    let tiles = around.into_iter().map(|(position, height)| subtree(position, height).0);
    let files: BTreeSet<TileId> = bundles.chain(tiles).collect();
    files.into_iter().map(|tile| (tile, tile.width(size))).collect()
}

#[cfg(test)]
mod tests;
