use std::sync::Arc;

use object_store::memory::InMemory;

use super::*;

fn entry() -> SeqEntry {
    SeqEntry {
        n: 12_345,
        previous_size: 77,
        previous_root: [3; 32],
        writer: [4; 16],
        leaves: vec![b"one".to_vec(), vec![0; 300]],
    }
}

#[test]
fn an_entry_reads_back_and_its_name_sorts() {
    let entry = entry();
    assert_eq!(SeqEntry::decode(&entry.encode(), 12_345).unwrap(), entry);
    assert_eq!(SeqEntry::name(12_345), "seq/000000012/345");
    assert_eq!(SeqEntry::decode(&entry.encode(), 12_346), Err(SeqError::Number(12_345)));
}

#[test]
fn every_flipped_bit_and_every_cut_is_noticed() {
    let bytes = entry().encode();
    for bit in 0..bytes.len() * 8 {
        let mut bad = bytes.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(SeqEntry::decode(&bad, 12_345), Err(SeqError::Checksum), "bit {bit}");
    }
    for cut in 0..bytes.len() {
        assert_eq!(SeqEntry::decode(&bytes[..cut], 12_345), Err(SeqError::Checksum), "cut at {cut}");
    }
}

#[test]
fn entries_without_or_with_oversized_leaves_are_refused() {
    for leaves in [vec![], vec![vec![]], vec![vec![0; MAX_ENTRY + 1]], vec![vec![1]; MAX_LEAVES + 1]] {
        let bytes = SeqEntry { leaves, ..entry() }.encode();
        assert_eq!(SeqEntry::decode(&bytes, 12_345), Err(SeqError::Leaves));
    }
    let bytes = SeqEntry { previous_size: u64::MAX, ..entry() }.encode();
    assert_eq!(SeqEntry::decode(&bytes, 12_345), Err(SeqError::Leaves));
}

#[tokio::test]
async fn the_newest_entry_is_found_from_any_hint() {
    let store = Store::new(Arc::new(InMemory::new()), "log/1".into());
    assert_eq!(newest(&store, 0).await.unwrap(), None);
    assert_eq!(newest(&store, 50).await.unwrap(), None);
    for n in 0..150 {
        store.put(&SeqEntry::name(n), vec![1]).await.unwrap();
        for hint in [0, n / 2, n.saturating_sub(1), n, n + 1, n + 1000] {
            assert_eq!(newest(&store, hint).await.unwrap(), Some(n), "{n} from {hint}");
        }
    }
}
