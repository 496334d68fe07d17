//! A process killed, or a disk full, at every single write.

use std::collections::HashMap;
use std::sync::Arc;

use object_store::ObjectStore;

use super::support::{Fault, FaultStore, config, contents, leaves, memory, open};
use super::*;

/// Sizes that end within a tile, on its border and beyond.
const APPENDS: [usize; 6] = [1, 250, 4, 1, 300, 2];

/// What the log told its user before it failed.
#[derive(Default)]
struct Told {
    heads: Vec<Arc<SignedHead>>,
    leaves: Vec<(u64, Vec<Vec<u8>>)>,
}

async fn holds_all(log: &Log, told: &Told) {
    let (reader, head) = (log.reader(), log.head());
    for old in &told.heads {
        reader.consistency(&old.checkpoint, &head.checkpoint).await.unwrap();
    }
    for (first, leaves) in &told.leaves {
        let range = *first..*first + leaves.len() as u64;
        assert_eq!(reader.entries(range, &head.checkpoint).await.unwrap(), *leaves);
    }
    let mut seen = HashMap::new();
    for leaf in contents(log).await {
        *seen.entry(leaf).or_insert(0) += 1;
    }
    assert!(seen.values().all(|times| *times == 1), "a leaf was doubled");
}

/// The checkpoint file itself, which others may have read at that moment.
async fn published(store: &Arc<dyn ObjectStore>) -> Option<Arc<SignedHead>> {
    let vkey = VerifierKey::new(
        "log.example/test/1",
        colophon_signer::note::NoteAlgorithm::Ed25519,
        colophon_signer::Signer::public_key(support::key().as_ref()),
    );
    let store = crate::store::Store::new(store.clone(), "log/1".into());
    match crate::head::read(&store, &vkey.unwrap()).await.unwrap() {
        crate::head::Stored::Head(head) => Some(Arc::new(head)),
        crate::head::Stored::Missing => None,
        crate::head::Stored::Garbled(why) => panic!("{why}"),
    }
}

/// Appends until the fault; returns false when the fault never came.
async fn killed(fault: Fault, at: usize) -> bool {
    let (inner, state) = (memory(), tempfile::tempdir().unwrap());
    let faulty = FaultStore::new(inner.clone(), fault, at);
    let mut told = Told::default();
    let mut from = 0;
    if let Ok(mut log) = Log::open(faulty.clone(), config(Some(state.path()))).await {
        told.heads.push(log.head());
        for count in APPENDS {
            let new = leaves(from, count);
            from += count;
            let Ok(appended) = log.append(new.clone()).await else { break };
            told.heads.push(appended.head);
            told.leaves.push((appended.first_index, new));
        }
    }
    told.heads.extend(published(&inner).await);

    let mut log = open(&inner, Some(state.path())).await;
    holds_all(&log, &told).await;
    let new = leaves(10_000, 7);
    let appended = log.append(new.clone()).await.unwrap();
    told.heads.push(appended.head);
    told.leaves.push((appended.first_index, new));
    holds_all(&log, &told).await;
    drop(log);
    holds_all(&open(&inner, Some(state.path())).await, &told).await;
    faulty.tripped()
}

/// One write fails; the same log is asked again.
async fn hiccup(fault: Fault, at: usize) -> bool {
    let (inner, state) = (memory(), tempfile::tempdir().unwrap());
    let faulty = FaultStore::new(inner.clone(), fault, at);
    let mut told = Told::default();
    let mut log = match Log::open(faulty.clone(), config(Some(state.path()))).await {
        Ok(log) => log,
        Err(_) => Log::open(faulty.clone(), config(Some(state.path()))).await.unwrap(),
    };
    let mut from = 0;
    for count in APPENDS {
        let new = leaves(from, count);
        from += count;
        let appended = match log.append(new.clone()).await {
            Ok(appended) => appended,
            Err(e) => {
                assert!(e.is_transient(), "{e}");
                log.append(new.clone()).await.unwrap()
            }
        };
        told.heads.push(appended.head);
        told.leaves.push((appended.first_index, new));
    }
    holds_all(&log, &told).await;
    assert_eq!(contents(&log).await, leaves(0, from));
    drop(log);
    holds_all(&open(&inner, Some(state.path())).await, &told).await;
    faulty.tripped()
}

#[tokio::test]
async fn killed_before_any_write() {
    let mut at = 0;
    while killed(Fault::DeadBefore, at).await {
        at += 1;
    }
    assert!(at > 30, "only {at} writes were tried");
}

#[tokio::test]
async fn killed_after_any_write() {
    let mut at = 0;
    while killed(Fault::DeadAfter, at).await {
        at += 1;
    }
    assert!(at > 30, "only {at} writes were tried");
}

#[tokio::test]
async fn a_disk_full_for_one_write() {
    let mut at = 0;
    while hiccup(Fault::HiccupBefore, at).await {
        at += 1;
    }
    assert!(at > 30, "only {at} writes were tried");
}

#[tokio::test]
async fn a_write_that_happened_but_was_reported_as_failed() {
    let mut at = 0;
    while hiccup(Fault::HiccupAfter, at).await {
        at += 1;
    }
    assert!(at > 30, "only {at} writes were tried");
}

#[tokio::test]
async fn other_leaves_after_a_failed_append_leave_the_earlier_ones_at_most_once() {
    for fault in [Fault::HiccupBefore, Fault::HiccupAfter] {
        for at in 0..40 {
            let inner = memory();
            let faulty = FaultStore::new(inner.clone(), fault, at);
            let Ok(mut log) = Log::open(faulty.clone(), config(None)).await else { continue };
            for n in 0..4 {
                let appended = match log.append(leaves(n * 100, 2)).await {
                    Ok(appended) => appended,
                    Err(_) => log.append(leaves(n * 100 + 50, 2)).await.unwrap(),
                };
                assert_eq!(appended.head, log.head());
            }
            holds_all(&open(&inner, None).await, &Told::default()).await;
        }
    }
}

#[tokio::test]
async fn nothing_is_signed_while_the_state_cannot_be_written() {
    let (store, state) = (memory(), tempfile::tempdir().unwrap());
    let mut log = open(&store, Some(state.path())).await;
    let before = log.head();
    let file = std::fs::read_dir(state.path()).unwrap().next().unwrap().unwrap().path();
    let blocked = file.with_extension("json.new");
    std::fs::create_dir(&blocked).unwrap();
    let error = log.append(leaves(0, 1)).await.unwrap_err();
    assert!(matches!(error, LogError::State(_)) && error.is_transient(), "{error}");
    assert_eq!(published(&store).await.unwrap(), before);
    assert_eq!(log.head(), before);
    std::fs::remove_dir(&blocked).unwrap();
    assert_eq!(log.append(leaves(0, 1)).await.unwrap().first_index, 1);
    assert_eq!(contents(&log).await, leaves(0, 1));
}
