//! Crate `tlog_tiles`, a port of Go's `sumdb/tlog`, reads the folder that we wrote.

use std::cell::Cell;
use std::path::PathBuf;

use tlog_tiles::{Tile, TileHashReader, TileReader};

use super::support::{leaves, open};

struct Folder {
    root: PathBuf,
    tiles_read: Cell<usize>,
}

impl TileReader for Folder {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        let read = |tile: &Tile| {
            // Go's paths name the height; those of C2SP do not.
            let path = tile.path().replacen("tile/8/", "tile/", 1);
            let full = path.split_once(".p/").map(|(full, _)| full.to_owned());
            let bytes = std::fs::read(self.root.join(&path)).unwrap_or_else(|_| {
                let mut bytes = std::fs::read(self.root.join(full.as_ref().unwrap())).unwrap();
                bytes.truncate(32 * tile.width() as usize);
                bytes
            });
            self.tiles_read.set(self.tiles_read.get() + 1);
            bytes
        };
        Ok(tiles.iter().map(read).collect())
    }

    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

fn hashes(proof: Vec<tlog_tiles::Hash>) -> Vec<colophon_receipt::Hash> {
    proof.into_iter().map(|hash| hash.0).collect()
}

#[tokio::test]
async fn an_independent_reader_agrees_on_roots_and_proofs() {
    let folder = tempfile::tempdir().unwrap();
    let store = crate::store::local(folder.path()).unwrap();
    let mut log = open(&store, None).await;
    let mut heads = vec![log.head()];
    // Tree sizes 255, 256, 257, 511 to 513, then just below, at and above 65536.
    for upto in [2, 3, 255, 256, 257, 511, 512, 513, 4096, 65_535, 65_536, 65_537, 66_000] {
        while log.head().size() < upto {
            let size = log.head().size();
            let count = (upto - size).min(4096);
            log.append(leaves(size as usize - 1, count as usize)).await.unwrap();
        }
        heads.push(log.head());
    }
    let reader = Folder { root: folder.path().join("log/1"), tiles_read: Cell::new(0) };
    let ours = log.reader();
    for head in &heads {
        let note = tlog_tiles::Checkpoint::from_bytes(head.checkpoint.to_text().as_bytes()).unwrap();
        assert_eq!((note.origin(), note.size()), (log.origin(), head.size()));
        let root = *note.hash();
        let tiles = TileHashReader::new(head.size(), root, &reader);
        assert_eq!(tlog_tiles::tree_hash(head.size(), &tiles).unwrap(), root);
        for index in [0, 1, 254, 255, 256, 511, 512, 65_535, 65_536].into_iter().chain([head.size() - 1]) {
            if index >= head.size() {
                continue;
            }
            let theirs = tlog_tiles::prove_record(head.size(), index, &tiles).unwrap();
            let leaf = ours.entry(index, &head.checkpoint).await.unwrap();
            let leaf = tlog_tiles::record_hash(&leaf);
            tlog_tiles::check_record(&theirs, head.size(), root, index, leaf).unwrap();
            assert_eq!(hashes(theirs), ours.inclusion(index, &head.checkpoint).await.unwrap());
        }
        for old in heads.iter().filter(|old| old.size() < head.size()) {
            let theirs = tlog_tiles::prove_tree(head.size(), old.size(), &tiles).unwrap();
            assert_eq!(hashes(theirs), ours.consistency(&old.checkpoint, &head.checkpoint).await.unwrap());
        }
    }
    assert!(reader.tiles_read.get() > 100);
}
