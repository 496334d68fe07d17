//! The process dies at each step: what was finished is logged once, by this life or the next.

use super::*;
use crate::log::tests::support::{Fault, FaultStore, memory};
use object_store::ObjectStore;

/// One life: exchanges until the store dies or all are logged, one left open; then the runtime goes, as at a kill.
fn live(dir: &TempDir, store: Arc<dyn ObjectStore>, dead: impl Fn() -> bool, first: u64) -> Vec<RecordId> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ids = runtime.block_on(async {
        // Small batches: many writes to die at, however slow the machine.
        let config = Config { max_batch: 4, ..config(dir.path()) };
        let Ok((ledger, keeper)) = open(config, store).await else { return Vec::new() };
        std::mem::forget(accept(&ledger, first).unwrap());
        let mut ids = Vec::new();
        for n in 1..=24 {
            ids.push(exchange(&ledger, first + n));
            if n % 8 == 0 {
                tokio::time::sleep(Duration::from_millis(6)).await;
            }
        }
        while !dead() && ledger.counters().backlog > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop(keeper);
        ids
    });
    drop(runtime);
    ids
}

/// A forgotten ticket keeps the lock, which a killed process would not.
fn unlock(dir: &TempDir) {
    std::fs::remove_file(dir.path().join("data/lock")).unwrap();
}

fn survive(fault: Fault, at: usize) -> bool {
    let (dir, inner) = (TempDir::new().unwrap(), memory());
    let mut finished = live(&dir, inner.clone(), || false, 0);
    unlock(&dir);
    let faulty = FaultStore::new(inner.clone(), fault, at);
    finished.extend(live(&dir, faulty.clone(), || faulty.tripped(), 100));
    unlock(&dir);
    let tripped = faulty.tripped();
    // And once more, in the middle of the recovery.
    let again = FaultStore::new(inner.clone(), fault, at / 2);
    finished.extend(live(&dir, again.clone(), || again.tripped(), 200));
    unlock(&dir);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (ledger, keeper) = open(config(dir.path()), inner).await.unwrap();
        settle(&ledger).await;
        keeper.close().await.unwrap();
        let found = audit(&ledger).await;
        for id in &finished {
            assert!(found.records.contains_key(id), "{fault:?} at {at}: {} is missing", hex::encode(id));
            verify(&ledger, &receipt(&ledger, id).await);
        }
        let recovered = found.records.values().filter(|leaf| leaf.outcome == Outcome::Recovered).count();
        // One exchange was left open in each life that got as far.
        assert_eq!(recovered, finished.len() / 24, "{fault:?} at {at}");
        assert_eq!(found.records.len(), finished.len() + recovered, "{fault:?} at {at}");
    });
    tripped
}

#[test]
fn killed_before_any_write() {
    let tripped = (0..40).filter(|at| survive(Fault::DeadBefore, *at)).count();
    assert!(tripped > 35, "{tripped}");
}

#[test]
fn killed_after_any_write() {
    let tripped = (0..40).filter(|at| survive(Fault::DeadAfter, *at)).count();
    assert!(tripped > 35, "{tripped}");
}

#[test]
fn any_write_that_fails_once_is_made_up_for() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for fault in [Fault::HiccupBefore, Fault::HiccupAfter] {
        for at in 0..30 {
            let dir = TempDir::new().unwrap();
            let store = FaultStore::new(memory(), fault, at);
            runtime.block_on(async {
                let (ledger, keeper) = match open(config(dir.path()), store.clone()).await {
                    Ok(opened) => opened,
                    // While opening, the failure is the caller's to see; the next try succeeds.
                    Err(_) => open(config(dir.path()), store.clone()).await.unwrap(),
                };
                let ids: Vec<_> = (0..20).map(|n| exchange(&ledger, n)).collect();
                settle(&ledger).await;
                keeper.close().await.unwrap();
                let found = audit(&ledger).await;
                assert_eq!(found.records.len(), ids.len(), "{fault:?} at {at}");
                for id in &ids {
                    verify(&ledger, &receipt(&ledger, id).await);
                }
            });
            assert!(store.tripped());
        }
    }
}

/// The machine's clock is an hour ahead for a while, in the middle of a life that then dies; the next lives have the right
/// time again.
#[test]
fn a_clock_that_jumps_ahead_and_back_leaves_one_unbroken_account() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut ids = Vec::new();
    for life in 0..3 {
        let one = runtime();
        one.block_on(async {
            let (ledger, keeper) = open(config(dir.path()), store.clone()).await.unwrap();
            ids.push(exchange(&ledger, life * 10));
            settle(&ledger).await;
            if life == 1 {
                let under_way = accept(&ledger, 11).unwrap();
                ledger.0.clock.jump(3_600_000_000);
                ids.push(complete(&ledger, under_way, 11).unwrap());
                ids.push(exchange(&ledger, 12));
                settle(&ledger).await;
                // These two are in the WAL only.
                ids.push(exchange(&ledger, 13));
                std::mem::forget(accept(&ledger, 14).unwrap());
            }
            drop(keeper);
        });
        drop(one);
        let _ = std::fs::remove_file(dir.path().join("data/lock"));
    }
    runtime().block_on(async {
        let (ledger, keeper) = open(config(dir.path()), store.clone()).await.unwrap();
        settle(&ledger).await;
        keeper.close().await.unwrap();
        // That intervals touch and hold their records, the audit sees.
        let found = audit(&ledger).await;
        assert_eq!(found.records.len(), ids.len() + 1);
        for id in &ids {
            verify(&ledger, &receipt(&ledger, id).await);
        }
        let report = crate::check::check(store, crate::check::CheckOptions::default()).await;
        assert!(report.is_sound(), "{:?}", report.findings);
    });
}

/// Segments whose names were exchanged, as a careless copy may: a DONE is read before its OPEN.
#[test]
fn segments_in_another_order_are_logged_once_all_the_same() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let ids = first.block_on(async {
        let slow = Config { batch_every: Duration::from_secs(3600), ..config(dir.path()) };
        let (ledger, keeper) = open(slow, store.clone()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        let under_way: Vec<_> = (0..3).map(|n| accept(&ledger, n).unwrap()).collect();
        ledger.0.wal.retire().unwrap();
        let ids: Vec<_> =
            under_way.into_iter().zip(0..).map(|(ticket, n)| complete(&ledger, ticket, n).unwrap()).collect();
        drop(keeper);
        ids
    });
    drop(first);
    let wal = dir.path().join("data/wal");
    let mut segments: Vec<_> = std::fs::read_dir(&wal)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "wal"))
        .collect();
    segments.sort();
    let [.., one, two] = segments.as_slice() else { panic!("{segments:?}") };
    let aside = wal.join("aside");
    std::fs::rename(one, &aside).unwrap();
    std::fs::rename(two, one).unwrap();
    std::fs::rename(&aside, two).unwrap();
    runtime().block_on(async {
        let (ledger, keeper) = open(config(dir.path()), store).await.unwrap();
        settle(&ledger).await;
        keeper.close().await.unwrap();
        let found = audit(&ledger).await;
        assert_eq!(found.records.len(), 3);
        assert!(ids.iter().all(|id| found.records[id].outcome == Outcome::Complete));
    });
}
