use super::*;
use colophon_receipt::record::seal;
use colophon_receipt::{Level, Outcome, merkle};

fn tree(from: u32, count: u32) -> Arc<Tree> {
    let records: Vec<_> = (from..from + count)
        .map(|n| {
            let mut id = [0; 16];
            id[..4].copy_from_slice(&n.to_be_bytes());
            seal(id, 5, Level::Sign, Outcome::Complete, [1; 32], Default::default())
        })
        .map(|record| {
            let id = colophon_receipt::record::RecordLeaf::decode(&record.leaf).unwrap().id;
            (id, record)
        })
        .collect();
    let hashes: Vec<_> = records.iter().map(|(_, record)| record.leaf_hash).collect();
    Arc::new(Tree::write(records.iter().map(|(id, record)| (id, record.leaf.as_slice())), &hashes))
}

#[test]
fn what_is_kept_is_bounded_and_the_last_used_stays() {
    let batches = Batches::default();
    let small = tree(0, 3);
    for n in 0..MAX_KEPT * 2 {
        batches.keep(format!("s/{n}"), small.clone());
        assert!(n < 2 || batches.kept("s/0").is_some(), "used all the time");
        assert!(batches.lock().len() <= MAX_KEPT);
    }
    assert!(batches.kept("s/1").is_none());
    let large = tree(0, batch::MAX_RECORDS as u32);
    for n in 0..10 {
        batches.keep(format!("l/{n}"), large.clone());
        let kept: usize = batches.lock().iter().map(|(_, tree)| tree.memory()).sum();
        assert!((1..=MAX_BYTES).contains(&kept), "{kept}");
    }
    assert!(batches.kept("l/9").is_some() && batches.kept("l/8").is_some() && batches.kept("l/1").is_none());
}

#[test]
fn a_tree_gives_the_same_leaves_and_paths_written_and_read() {
    for count in [1, 2, 3, 5, 64, 65, 100] {
        let written = tree(7, count);
        let read = Tree::read(written.file().clone()).unwrap();
        assert_eq!((read.len(), read.root()), (count as usize, written.root()));
        for slot in 0..count {
            let leaf = written.leaf(slot).unwrap();
            assert_eq!(read.leaf(slot).unwrap(), leaf);
            let path = written.path(slot).unwrap();
            assert_eq!(read.path(slot).unwrap(), path);
            let hash = merkle::leaf_hash(leaf);
            merkle::verify_inclusion(&hash, slot.into(), count.into(), &path, &written.root()).unwrap();
        }
        assert!(read.leaf(count).is_none() && read.path(count).is_none());
    }
}
