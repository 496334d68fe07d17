use super::*;
use colophon_receipt::record::seal;
use colophon_receipt::{Level, Outcome};

fn ids(count: usize) -> Vec<RecordId> {
    // Ids descend, so that slot order and id order differ.
    let id = |n: usize| {
        let mut id = [7; 16];
        id[..8].copy_from_slice(&(u64::MAX - n as u64).to_be_bytes());
        id
    };
    (0..count).map(id).collect()
}

pub(super) fn leaves_of(count: usize) -> Vec<Vec<u8>> {
    let leaf = |id: RecordId| seal(id, 7, Level::Commit, Outcome::Complete, [1; 32], Default::default()).leaf;
    ids(count).into_iter().map(leaf).collect()
}

fn hashes(leaves: &[Vec<u8>]) -> Vec<Hash> {
    leaves.iter().map(|leaf| merkle::leaf_hash(leaf)).collect()
}

pub(super) fn file(count: usize) -> Vec<u8> {
    let leaves = leaves_of(count);
    write(ids(count).iter().zip(leaves.iter().map(Vec::as_slice)), &hashes(&leaves))
}

/// As builds before version 2 wrote it.
pub(crate) fn version_1(ids: &[RecordId], leaves: &[Vec<u8>]) -> Vec<u8> {
    let mut out = [MAGIC_1.as_slice(), &(leaves.len() as u32).to_le_bytes()].concat();
    for leaf in leaves {
        out.extend_from_slice(&(leaf.len() as u16).to_le_bytes());
        out.extend_from_slice(leaf);
    }
    let mut footer: Vec<_> = ids.iter().zip(0u32..).collect();
    footer.sort_unstable();
    footer.iter().for_each(|(id, slot)| out.extend([id.as_slice(), &slot.to_le_bytes()].concat()));
    out
}

#[test]
fn rs_merkle_builds_the_tree_of_rfc_6962() {
    let hashes: Vec<Hash> = (0u32..300).map(|n| merkle::leaf_hash(&n.to_be_bytes())).collect();
    for count in 0..=hashes.len() {
        assert_eq!(root(&hashes[..count]), merkle::root(&hashes[..count]), "{count} leaves");
    }
}

#[test]
fn the_tree_over_pages_is_the_tree_over_leaves() {
    for count in [0, 1, 255, 256, 257, 511, 512, 513, 1000, 1025] {
        let (ids, leaves) = (ids(count), leaves_of(count));
        let hashes = hashes(&leaves);
        let made = make(ids.iter().zip(leaves.iter().map(Vec::as_slice)), &hashes);
        assert_eq!(made.root, merkle::root(&hashes), "{count} leaves");
        assert_eq!(read(&made.file).unwrap().root(), made.root);
    }
}

#[test]
fn a_batch_file_says_what_was_written_in_either_version() {
    for count in [0, 1, 2, 17, 200, 256, 300] {
        let (ids, leaves) = (ids(count), leaves_of(count));
        for file in [file(count), version_1(&ids, &leaves)] {
            let read = read(&file).unwrap();
            assert_eq!(read.leaves, leaves);
            assert_eq!(read.hashes(), hashes(&leaves));
            assert_eq!(read.root(), merkle::root(&hashes(&leaves)));
            let mut sorted: Vec<_> = ids.iter().copied().zip(0..).collect();
            sorted.sort_unstable();
            assert_eq!(read.ids, sorted);
        }
    }
}

#[test]
fn every_byte_of_a_batch_file_counts() {
    for good in [file(3), version_1(&ids(3), &leaves_of(3))] {
        let whole = read(&good).unwrap();
        for at in 0..good.len() {
            assert!(read(&good[..at]).is_err(), "truncated at {at}");
            let mut bad = good.clone();
            bad[at] ^= 1;
            // A leaf stays a leaf when a hash or a time in it changes; its root does not stay the same.
            assert!(
                read(&bad).is_ok_and(|bad| bad.hashes() != whole.hashes()) || read(&bad).is_err(),
                "byte {at}"
            );
        }
        let mut long = good.clone();
        long.push(0);
        assert_eq!(read(&long), Err(BatchError::Length));
    }
}

#[test]
fn one_id_twice_is_refused() {
    let (ids, leaves) = (ids(1), leaves_of(1));
    let twice = [(&ids[0], leaves[0].as_slice()), (&ids[0], leaves[0].as_slice())];
    let hash = merkle::leaf_hash(&leaves[0]);
    assert_eq!(read(&write(twice.into_iter(), &[hash; 2])), Err(BatchError::Footer));
}
