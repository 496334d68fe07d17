use super::*;
use colophon_receipt::merkle;
use colophon_receipt::record::seal;
use colophon_receipt::{Level, Outcome};
use object_store::memory::InMemory;

fn made(count: usize) -> (Vec<RecordId>, Vec<Vec<u8>>, batch::Made) {
    let ids: Vec<RecordId> = (0..count as u128).map(u128::to_be_bytes).collect();
    let leaf = |id: &RecordId| seal(*id, 5, Level::Sign, Outcome::Complete, [1; 32], Default::default()).leaf;
    let leaves: Vec<_> = ids.iter().map(leaf).collect();
    let hashes: Vec<_> = leaves.iter().map(|leaf| merkle::leaf_hash(leaf)).collect();
    let made = batch::make(ids.iter().zip(leaves.iter().map(Vec::as_slice)), &hashes);
    (ids, leaves, made)
}

async fn stored(file: Bytes) -> Objects {
    let objects = Objects(Arc::new(InMemory::new()));
    objects.put("b", file).await.unwrap();
    objects
}

#[tokio::test]
async fn a_leaf_is_found_cold_and_warm_and_in_a_file_without_pages() {
    for count in [1, 200, 256, 700] {
        let (ids, leaves, made) = made(count);
        let old = Bytes::from(batch::tests::version_1(&ids, &leaves));
        for file in [made.file.clone(), old] {
            let (objects, batches) = (stored(file).await, Batches::default());
            for slot in (0..count).chain(0..count) {
                let found = batches.leaf(&objects, "b", slot as u32, count as u64, &made.root).await;
                let (leaf, path) = found.unwrap().unwrap();
                assert_eq!(leaf, leaves[slot]);
                let hash = merkle::leaf_hash(&leaf);
                merkle::verify_inclusion(&hash, slot as u64, count as u64, &path, &made.root).unwrap();
            }
            let beyond = batches.leaf(&objects, "b", count as u32, count as u64, &made.root).await;
            assert_eq!(beyond.unwrap(), None);
            let other = batches.leaf(&objects, "b", 0, count as u64, &[0; 32]).await;
            assert!(matches!(other, Err(LedgerError::Damaged { .. })), "another root");
            let whole = batches.whole(&objects, "b", count as u64, &made.root).await.unwrap();
            assert_eq!(whole.leaves, leaves);
        }
    }
}

#[tokio::test]
async fn a_cold_look_up_reads_a_small_part_of_a_large_batch() {
    let (_, _, made) = made(20_000);
    let (objects, batches) = (stored(made.file.clone()).await, Batches::default());
    batches.leaf(&objects, "b", 12_345, 20_000, &made.root).await.unwrap().unwrap();
    let read: usize = batches.lock().iter().map(|part| part.bytes.len()).sum();
    assert!(read < made.file.len() / 40, "{read} of {} bytes", made.file.len());
}

#[test]
fn what_is_kept_is_bounded_and_the_last_used_stays() {
    let batches = Batches::default();
    let page = Bytes::from(vec![7; 30_000]);
    for n in 0..2000u64 {
        batches.keep_part(Part { name: format!("s/{n}"), start: 9000, bytes: page.clone() });
        assert!(batches.kept("s/0", &(9000..39_000)).is_some(), "used all the time");
        let kept: usize = batches.lock().iter().map(Part::memory).sum();
        assert!(kept <= MAX_KEPT, "{kept}");
    }
    assert!(
        batches.kept("s/1", &(9000..39_000)).is_none() && batches.kept("s/1999", &(9000..39_000)).is_some()
    );
    // A file that would push all others out is not kept.
    batches.keep("large".into(), vec![0; MAX_KEPT / 2].into());
    assert!(batches.kept("large", &(0..10)).is_none() && batches.kept("s/0", &(9000..39_000)).is_some());
}
