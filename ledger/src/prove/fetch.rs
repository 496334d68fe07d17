//! Reading tiles and bundles: bounded, strict, and naming the file that is wrong.

use colophon_receipt::Hash;
use colophon_receipt::merkle::{leaf_hash, root};

use crate::log::LogError;
use crate::store::Store;
use crate::tiles::{self, Edge, LEVELS, MAX_BUNDLE, MAX_TILE, TileId, WIDTH};

/// The hashes of a tile at `width`. Where the partial file is gone, the full one begins with the same hashes.
pub(crate) async fn hashes(store: &Store, tile: TileId, width: usize) -> Result<Vec<Hash>, LogError> {
    fetch(store, tile, width, MAX_TILE, tiles::parse_tile).await
}

/// The entries of a bundle at `width`, partial or full as for [`hashes`].
pub(crate) async fn entries(store: &Store, bundle: TileId, width: usize) -> Result<Vec<Vec<u8>>, LogError> {
    fetch(store, bundle, width, MAX_BUNDLE, tiles::parse_bundle).await
}

async fn fetch<T>(
    store: &Store,
    tile: TileId,
    width: usize,
    limit: u64,
    parse: impl Fn(&[u8], usize) -> Option<T>,
) -> Result<T, LogError> {
    let mut name = tile.name_at(width);
    let mut bytes = store.get(&name, limit).await?;
    if bytes.is_none()
        && width < WIDTH
        && let Some(full) = store.get(&tile.name(), limit).await?
    {
        name = tile.name();
        bytes = Some(full);
    }
    let Some(bytes) = bytes else {
        return Err(LogError::corrupt(store.full(&name), "it is missing"));
    };
    parse(&bytes, width).ok_or_else(|| {
        let what = format!("it does not hold {width} well-formed items");
        LogError::corrupt(store.full(&name), what)
    })
}

/// The partial tiles on the right edge of a tree of `size` leaves, level 0 first.
pub(crate) async fn levels(store: &Store, size: u64) -> Result<Vec<Vec<Hash>>, LogError> {
    let mut levels = Vec::new();
    for level in (0..LEVELS).take_while(|level| tiles::shift(size, *level) > 0) {
        let tile = TileId::covering(level, size);
        levels.push(match tile.width(size) {
            0 => Vec::new(),
            width => hashes(store, tile, width).await?,
        });
    }
    Ok(levels)
}

/// The right edge of the tree `(size, expected root)`, from which it can grow.
pub(crate) async fn edge(store: &Store, size: u64, expected: &Hash) -> Result<Edge, LogError> {
    let edge = Edge::new(size, levels(store, size).await?, &[]);
    if edge.root() != *expected {
        return Err(diagnose(store, &edge).await);
    }
    let tile = TileId::covering(0, size);
    let bundle = TileId::bundle(size);
    let width = tile.width(size);
    let partial = if width == 0 { Vec::new() } else { entries(store, bundle, width).await? };
    let same = edge.levels().first().is_none_or(|hashes| same_leaves(hashes, &partial));
    if !same {
        let what = format!("its entries are not those of {}", tile.name_at(width));
        return Err(LogError::corrupt(store.full(&bundle.name_at(width)), what));
    }
    Ok(Edge::new(size, edge.levels().to_vec(), &partial))
}

pub(crate) fn same_leaves(hashes: &[Hash], entries: &[Vec<u8>]) -> bool {
    hashes.len() == entries.len() && hashes.iter().zip(entries).all(|(hash, entry)| *hash == leaf_hash(entry))
}

/// The right edge does not lead to the signed root: finds the tile that disagrees with what it stands for.
pub(crate) async fn diagnose(store: &Store, edge: &Edge) -> LogError {
    match find_bad(store, edge).await {
        Ok(e) | Err(e) => e,
    }
}

async fn find_bad(store: &Store, edge: &Edge) -> Result<LogError, LogError> {
    let size = edge.size();
    for (level, hashes) in (0..).zip(edge.levels()) {
        let tile = TileId::covering(level, size);
        let file = store.full(&tile.name_at(hashes.len()));
        if level == 0 && !hashes.is_empty() {
            let bundle = TileId::bundle(size);
            if !same_leaves(hashes, &entries(store, bundle, hashes.len()).await?) {
                let what =
                    format!("its hashes are not those of {}", store.full(&bundle.name_at(hashes.len())));
                return Ok(LogError::corrupt(file, what));
            }
        }
        for (n, hash) in (0..).zip(hashes).filter(|_| level > 0) {
            let below = TileId { level: Some(level - 1), index: tile.index * WIDTH as u64 + n };
            if root(&self::hashes(store, below, WIDTH).await?) != *hash {
                let what = format!("its hash {n} is not that of {}", store.full(&below.name()));
                return Ok(LogError::corrupt(file, what));
            }
        }
    }
    let what =
        format!("the tiles at size {size} agree with each other, but lead to another root than recorded");
    Ok(LogError::corrupt(store.full("tile"), what))
}
