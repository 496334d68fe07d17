use super::*;
use crate::merkle::{leaf_hash, root};
use proptest::prelude::*;

fn leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|n| leaf_hash(&n.to_be_bytes())).collect()
}

#[test]
fn the_root_is_that_of_rfc_6962_at_every_size() {
    let leaves = leaves(300);
    let mut tree = Subtrees::default();
    for size in 0..=300 {
        assert_eq!((tree.root(), tree.size()), (root(&leaves[..size]), size as u64));
        if let Some(leaf) = leaves.get(size) {
            tree.push(*leaf);
        }
    }
}

#[test]
fn a_subtree_goes_only_where_one_can_begin() {
    let mut tree = Subtrees::default();
    tree.push([1; 32]);
    assert_eq!((tree.push_subtree(1, [2; 32]), tree.size()), (None, 1));
    assert_eq!(tree.push_subtree(64, [2; 32]), None);
    let mut tree = Subtrees { size: 1 << 63, stack: vec![[1; 32]] };
    assert_eq!(tree.push_subtree(63, [2; 32]), None);
}

proptest! {
    #[test]
    fn a_stretch_between_covers_leads_to_the_root(size in 1u64..600, a in 0u64..600, b in 0u64..600) {
        let (low, high) = (a.min(b).min(size), a.max(b).min(size));
        let leaves = leaves(size);
        let mut tree = Subtrees::default();
        let whole = |(position, height): (u64, u32)| {
            (height, root(&leaves[position as usize..(position + (1 << height)) as usize]))
        };
        for (height, hash) in cover(0, low).into_iter().map(whole) {
            prop_assert!(tree.push_subtree(height, hash).is_some());
        }
        leaves[low as usize..high as usize].iter().for_each(|leaf| tree.push(*leaf));
        for (height, hash) in cover(high, size).into_iter().map(whole) {
            prop_assert!(tree.push_subtree(height, hash).is_some());
        }
        prop_assert_eq!((tree.size(), tree.root()), (size, root(&leaves)));
    }
}
