use std::sync::Arc;

use colophon_receipt::checkpoint::TlogProof;
use colophon_receipt::merkle::{self, leaf_hash};
use colophon_receipt::statement::Genesis;
use colophon_signer::note::VerifierKey;
use object_store::ObjectStore;

use super::*;
use crate::head::SignedHead;
use support::{config, contents, leaves, memory, open};

mod faults;
mod race;
mod refuse;
mod stores;
pub(crate) mod support;
mod tlog;

#[tokio::test]
async fn a_new_log_begins_with_its_genesis_and_goes_on_after_a_restart() {
    let (store, state) = (memory(), tempfile::tempdir().unwrap());
    let mut log = open(&store, Some(state.path())).await;
    assert_eq!(log.origin(), "log.example/test/1");
    assert_eq!(log.head().size(), 1);
    let head = log.head();
    let genesis = Genesis::decode(&log.reader().entry(0, &head.checkpoint).await.unwrap()).unwrap();
    assert_eq!(genesis.origin, log.origin());
    assert_eq!(genesis.vkeys, [log.vkey()]);
    assert_eq!(genesis.inception, 1_700_000_000_000_000);

    let appended = log.append(leaves(0, 3)).await.unwrap();
    assert_eq!((appended.first_index, appended.head.size()), (1, 4));
    drop(log);
    let mut log = open(&store, Some(state.path())).await;
    assert_eq!(log.head(), appended.head);
    assert_eq!(log.append(leaves(3, 2)).await.unwrap().first_index, 4);
    assert_eq!(contents(&log).await, leaves(0, 5));
}

#[tokio::test]
async fn without_an_origin_a_random_one_is_made_once_and_kept() {
    let store = memory();
    let anonymous = LogConfig { origin: None, ..config(None) };
    let log = Log::open(store.clone(), anonymous.clone()).await.unwrap();
    let hex = log.origin().strip_prefix("colophon.local/").and_then(|o| o.strip_suffix("/1")).unwrap();
    assert!(hex.len() == 16 && hex.bytes().all(|b| b.is_ascii_hexdigit()), "{hex}");
    assert_eq!(Log::open(store, anonymous.clone()).await.unwrap().origin(), log.origin());
    assert_ne!(Log::open(memory(), anonymous).await.unwrap().origin(), log.origin());
}

#[tokio::test]
async fn every_proof_verifies_and_every_checkpoint_is_consistent_with_the_ones_before() {
    let store = memory();
    let mut log = open(&store, None).await;
    let vkey: VerifierKey = log.vkey().parse().unwrap();
    let mut heads = vec![log.head()];
    let mut all = vec![log.reader().entry(0, &log.head().checkpoint).await.unwrap()];
    for count in [1, 1, 3, 250, 1, 1, 254, 257, 600] {
        let new = leaves(all.len(), count);
        all.extend(new.clone());
        heads.push(log.append(new).await.unwrap().head);
    }
    let hashes: Vec<_> = all.iter().map(|leaf| leaf_hash(leaf)).collect();
    let reader = log.reader();
    for head in &heads {
        let size = head.size() as usize;
        assert_eq!(head.checkpoint.root, merkle::root(&hashes[..size]), "size {size}");
        assert_eq!(SignedHead::parse(&head.note, &vkey).unwrap(), **head);
        vkey.public_key().unwrap().verify(head.checkpoint.to_text().as_bytes(), &head.signature).unwrap();
        for index in (0..size).step_by(37).chain([size - 1]) {
            let path = reader.inclusion(index as u64, &head.checkpoint).await.unwrap();
            assert_eq!(path, merkle::inclusion_proof(&hashes[..size], index).unwrap());
            assert_eq!(reader.entry(index as u64, &head.checkpoint).await.unwrap(), all[index]);
        }
        for old in heads.iter().filter(|old| old.size() <= head.size()) {
            let path = reader.consistency(&old.checkpoint, &head.checkpoint).await.unwrap();
            assert_eq!(path, merkle::consistency_proof(&hashes[..size], old.size() as usize).unwrap());
        }
    }
    let text = reader.tlog_proof(300, heads.last().unwrap()).await.unwrap();
    let proof = TlogProof::parse(&text).unwrap();
    assert_eq!((proof.index, &proof.checkpoint), (300, &heads.last().unwrap().note));
}

#[tokio::test]
async fn questions_outside_the_tree_are_errors() {
    let log = open(&memory(), None).await;
    let (reader, head) = (log.reader(), log.head());
    let head = &head.checkpoint;
    assert!(matches!(reader.entry(1, head).await, Err(LogError::Range { index: 2, size: 1 })));
    assert!(matches!(reader.entry(u64::MAX, head).await, Err(LogError::Range { .. })));
    assert!(matches!(reader.inclusion(1, head).await, Err(LogError::Range { .. })));
    let mut later = head.clone();
    later.size = 2;
    assert!(matches!(reader.consistency(&later, head).await, Err(LogError::Range { .. })));
    later.size = 1;
    later.root[0] ^= 1;
    assert!(matches!(reader.consistency(&later, head).await, Err(LogError::Contradiction(_))));
    assert!(matches!(reader.inclusion(0, &later).await, Err(LogError::Corrupt { .. })));
}

#[tokio::test]
async fn leaves_that_do_not_fit_are_refused_before_anything_is_written() {
    let mut log = open(&memory(), None).await;
    let head = log.head();
    for bad in [vec![], vec![vec![]], vec![vec![0; 65_536]], vec![vec![1]; 4097], vec![vec![0; 65_535]; 257]]
    {
        assert!(matches!(log.append(bad).await, Err(LogError::Leaves)));
    }
    assert_eq!(log.head(), head);
    assert_eq!(log.append(vec![vec![0; 65_535]; 256]).await.unwrap().first_index, 1);
}

#[tokio::test]
async fn partial_files_go_once_their_tile_is_full() {
    let folder = tempfile::tempdir().unwrap();
    let store = crate::store::local(folder.path()).unwrap();
    let mut log = open(&store, None).await;
    for n in 0..4 {
        log.append(leaves(n * 60, 60)).await.unwrap();
    }
    let old = log.head();
    let tile = folder.path().join("log/1/tile");
    assert!(tile.join("0/000.p/241").is_file() && tile.join("entries/000.p/241").is_file());
    log.append(leaves(240, 20)).await.unwrap();
    assert!(tile.join("0/000").is_file() && tile.join("entries/000").is_file());
    assert!(!tile.join("0/000.p").exists() && !tile.join("entries/000.p").exists());
    assert!(tile.join("0/001.p/5").is_file() && tile.join("1/000.p/1").is_file());
    // Old heads are then served from the full tile.
    log.reader().inclusion(17, &old.checkpoint).await.unwrap();
    assert_eq!(log.reader().entries(1..241, &old.checkpoint).await.unwrap(), leaves(0, 240));
}

#[tokio::test]
async fn staging_files_of_a_killed_process_are_ignored_and_cleaned_once_old() {
    let folder = tempfile::tempdir().unwrap();
    let store = crate::store::local(folder.path()).unwrap();
    let mut log = open(&store, None).await;
    log.append(leaves(0, 3)).await.unwrap();
    drop(log);
    let root = folder.path().join("log/1");
    let litter = ["checkpoint#1", "seq/000000000/002#1", "tile/0/000.p/5#1", "tile/entries/000.p/5#1"];
    for name in litter {
        std::fs::write(root.join(name), b"half").unwrap();
    }
    let mut log = open(&store, None).await;
    assert_eq!(log.append(leaves(3, 1)).await.unwrap().first_index, 4);
    assert_eq!(log.clean_staging(folder.path()), 0, "a living writer may still own them");
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    for name in litter {
        std::fs::File::options().write(true).open(root.join(name)).unwrap().set_modified(old).unwrap();
    }
    assert_eq!(log.clean_staging(folder.path()), litter.len());
    assert_eq!(contents(&log).await, leaves(0, 4));
    let store: Arc<dyn ObjectStore> = store;
    assert_eq!(open(&store, None).await.head(), log.head());
}
