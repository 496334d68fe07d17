use super::*;
use colophon_receipt::record::seal;
use colophon_receipt::{Level, Outcome};

fn batch(count: u8) -> (Vec<RecordId>, Vec<Vec<u8>>) {
    // Ids descend, so that slot order and id order differ.
    let ids: Vec<RecordId> = (0..count).map(|n| [255 - n; 16]).collect();
    let leaf =
        |id: &RecordId| seal(*id, 7, Level::Commit, Outcome::Complete, [1; 32], Default::default()).leaf;
    let leaves = ids.iter().map(leaf).collect();
    (ids, leaves)
}

fn file(count: u8) -> Vec<u8> {
    let (ids, leaves) = batch(count);
    write(ids.iter().zip(leaves.iter().map(Vec::as_slice)))
}

#[test]
fn rs_merkle_builds_the_tree_of_rfc_6962() {
    let hashes: Vec<Hash> = (0u32..300).map(|n| merkle::leaf_hash(&n.to_be_bytes())).collect();
    for count in 0..=hashes.len() {
        assert_eq!(root(&hashes[..count]), merkle::root(&hashes[..count]), "{count} leaves");
    }
}

#[test]
fn a_batch_file_says_what_was_written() {
    for count in [0, 1, 2, 17, 200] {
        let (ids, leaves) = batch(count);
        let read = read(&file(count)).unwrap();
        assert_eq!(read.leaves, leaves);
        let mut sorted: Vec<_> = ids.into_iter().zip(0..).collect();
        sorted.sort_unstable();
        assert_eq!(read.ids, sorted);
    }
}

#[test]
fn every_byte_of_a_batch_file_counts() {
    let good = file(3);
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

#[test]
fn one_id_twice_is_refused() {
    let (ids, leaves) = batch(1);
    let twice = [(&ids[0], leaves[0].as_slice()), (&ids[0], leaves[0].as_slice())];
    assert_eq!(read(&write(twice.into_iter())), Err(BatchError::Footer));
}
