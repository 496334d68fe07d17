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
