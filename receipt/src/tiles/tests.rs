use super::*;
use crate::merkle::{leaf_hash, root};
use crate::subtrees::cover;

/// Every subtree that covers a range is the root of those hashes that the tiles have for it.
#[test]
fn subtrees_are_found_in_the_tiles() {
    let size = 66_000u64;
    let leaves: Vec<Hash> = (0..size).map(|n| leaf_hash(&n.to_be_bytes())).collect();
    let tile = |id: TileId| -> Vec<Hash> {
        let level = id.level.unwrap();
        let span = 1usize << (8 * level);
        let first = id.index as usize * WIDTH;
        (first..first + id.width(size)).map(|n| root(&leaves[n * span..(n + 1) * span])).collect()
    };
    for (low, high) in [(0, size), (0, 256), (256, 65_536), (65_280, size), (65_536, size), (512, 1024)] {
        for (position, height) in cover(low, high) {
            let (id, slots) = subtree(position, height);
            let (start, end) = (position as usize, (position + (1 << height)) as usize);
            assert_eq!(root(&tile(id)[slots]), root(&leaves[start..end]), "{position} {height}");
        }
    }
}

#[test]
fn a_part_of_a_tree_is_few_files() {
    let names = |shown: Range<u64>, size| -> Vec<String> {
        part(&shown, size).into_iter().map(|(tile, width)| tile.name_at(width)).collect()
    };
    assert_eq!(names(0..3, 3), ["tile/entries/000.p/3"]);
    assert_eq!(names(256..600, 600), ["tile/entries/001", "tile/entries/002.p/88", "tile/1/000.p/2"]);
    assert_eq!(names(0..256, 600), ["tile/entries/000", "tile/0/002.p/88", "tile/1/000.p/2"]);
    assert_eq!(part(&(0..0), 0), []);
}
