use colophon_receipt::merkle;
use proptest::prelude::*;

use super::*;

fn leaf(n: u64) -> Vec<u8> {
    n.to_be_bytes().to_vec()
}

#[test]
fn names_are_those_of_the_specification() {
    let name = |level, index| TileId { level, index }.name();
    assert_eq!(name(Some(0), 0), "tile/0/000");
    assert_eq!(name(Some(3), 1_234_067), "tile/3/x001/x234/067");
    assert_eq!(name(None, 1000), "tile/entries/x001/000");
    let tile = TileId { level: Some(1), index: 7 };
    assert_eq!((tile.name_at(256), tile.name_at(5)), ("tile/1/007".into(), "tile/1/007.p/5".into()));
}

#[test]
fn widths_follow_from_the_size() {
    let size = 256 * 256 + 256 + 3;
    let width = |level, index| TileId { level, index }.width(size);
    assert_eq!((width(Some(0), 257), width(Some(0), 256), width(Some(0), 258)), (3, 256, 0));
    assert_eq!((width(Some(1), 0), width(Some(1), 1), width(Some(2), 0)), (256, 1, 1));
    assert_eq!((width(None, 257), width(None, 0), width(Some(7), 0)), (3, 256, 0));
    assert_eq!(TileId { level: Some(0), index: u64::MAX }.width(u64::MAX), 0);
}

#[test]
fn the_root_is_that_of_rfc_6962_at_every_size() {
    let mut edge = Edge::default();
    let mut hashes = Vec::new();
    for n in 0..66_000u64 {
        if n < 1100 || (65_530..65_800).contains(&n) {
            assert_eq!(edge.root(), merkle::root(&hashes), "size {n}");
        }
        (edge, _) = edge.extend(&[leaf(n)]);
        hashes.push(leaf_hash(&leaf(n)));
    }
    assert_eq!(edge.size(), 66_000);
}

#[test]
fn bundles_are_read_strictly() {
    let (_, writes) = Edge::default().extend(&[leaf(1), vec![], leaf(3)]);
    let bundle = &writes.iter().find(|write| write.tile.level.is_none()).unwrap().bytes;
    assert_eq!(parse_bundle(bundle, 3).unwrap(), [leaf(1), vec![], leaf(3)]);
    for width in [0, 1, 2, 4, 256] {
        assert_eq!(parse_bundle(bundle, width), None, "{width}");
    }
    for cut in 0..bundle.len() {
        assert_eq!(parse_bundle(&bundle[..cut], 3), None, "cut at {cut}");
    }
    assert_eq!(parse_bundle(&[bundle, &[0][..]].concat(), 3), None);
    assert_eq!(parse_bundle(&[], 0), Some(vec![]));
}

#[test]
fn tiles_are_read_strictly() {
    let full: Vec<u8> = (0..WIDTH as u8 as usize + WIDTH).flat_map(|n| [n as u8; 32]).collect();
    assert_eq!(parse_tile(&full, 3).unwrap(), [[0; 32], [1; 32], [2; 32]]);
    assert_eq!(parse_tile(&full[..96], 3).unwrap().len(), 3);
    assert_eq!(parse_tile(&full[..96], 2), None);
    assert_eq!(parse_tile(&full[..95], 3), None);
    assert_eq!(parse_tile(&full[1..], 256), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// The files do not depend on how the leaves were cut into appends.
    #[test]
    fn growing_in_steps_is_growing_at_once(steps in prop::collection::vec(0usize..300, 1..6)) {
        let total: usize = steps.iter().sum();
        let all: Vec<_> = (0..total as u64).map(leaf).collect();
        let (whole, files) = Edge::default().extend(&all);
        let mut edge = Edge::default();
        let mut written = std::collections::HashMap::new();
        let mut from = 0;
        for step in steps {
            let (next, writes) = edge.extend(&all[from..from + step]);
            from += step;
            edge = next;
            written.extend(writes.into_iter().map(|w| (w.tile.name_at(w.width), w.bytes)));
        }
        prop_assert_eq!(&edge, &whole);
        for file in files {
            prop_assert_eq!(written.get(&file.tile.name_at(file.width)), Some(&file.bytes));
        }
    }
}
