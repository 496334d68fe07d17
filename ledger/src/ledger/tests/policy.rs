//! Another policy comes into force: stored, logged, then met, whatever fails meanwhile.

use super::*;
use crate::check::{CheckOptions, check};
use colophon_receipt::merkle::sha256;
use object_store::ObjectStore;
use std::sync::atomic::AtomicUsize;

fn text(n: usize) -> PolicyText {
    PolicyText::new(&format!("{{\"policy\":{n}}}"))
}

async fn sound(store: &Arc<dyn ObjectStore>) -> (u64, u64) {
    let report = check(store.clone(), CheckOptions::default()).await;
    assert!(report.is_sound(), "{:?}", report.findings);
    (report.policy_changes, report.policies)
}

#[tokio::test]
async fn a_change_closes_the_batch_and_is_logged_before_it_is_in_force() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let slow = Config { batch_every: Duration::from_secs(3600), ..config(dir.path()) };
    let (ledger, keeper) = open(slow, store.clone()).await.unwrap();
    let id = exchange(&ledger, 1);
    let seen = Arc::new(Mutex::new(0));
    let (noted, at) = (seen.clone(), ledger.clone());
    let size = ledger.head().size();
    let in_force = move || *noted.lock().unwrap() = at.head().size();
    ledger.change_policy(text(1), in_force).await.unwrap();
    // The statement and the change.
    assert_eq!(*seen.lock().unwrap(), size + 2, "what is in force is in the log");
    assert!(matches!(ledger.lookup(&id).await.unwrap(), Lookup::Found(_)), "the batch was closed");
    // The same again is in force already.
    ledger.change_policy(text(1), || ()).await.unwrap();
    exchange(&ledger, 2);
    keeper.close().await.unwrap();
    let found = audit(&ledger).await;
    let change = &found.changes[..];
    assert_eq!(change.len(), 1);
    assert_eq!((change[0].before, change[0].after), (sha256(b"{}"), text(1).digest()));
    for statement in &found.shards[&change[0].shard] {
        let expected = if statement.seq < change[0].seq { change[0].before } else { change[0].after };
        assert_eq!(statement.policy, expected, "statement {}", statement.seq);
    }
    assert_eq!(sound(&store).await, (1, 2));
    assert_eq!(ledger.change_policy(text(2), || panic!("closed")).await, Err(PolicyNotChanged));
}

/// Each write fails once, before or after it is done: the change comes into force once, and the log is sound.
#[tokio::test]
async fn a_change_outlives_any_failing_write() {
    for fault in [Fault::HiccupBefore, Fault::HiccupAfter] {
        let mut at = 0;
        loop {
            let (dir, store) = (TempDir::new().unwrap(), memory());
            let faults = FaultStore::new(store.clone(), fault, at);
            at += 1;
            // A failing start is tested elsewhere.
            let Ok((ledger, keeper)) = open(config(dir.path()), faults.clone()).await else { continue };
            if faults.tripped() {
                keeper.close().await.unwrap();
                continue;
            }
            exchange(&ledger, 1);
            let times = Arc::new(AtomicUsize::new(0));
            let counted = times.clone();
            let in_force = move || _ = counted.fetch_add(1, Ordering::SeqCst);
            ledger.change_policy(text(1), in_force).await.unwrap();
            assert_eq!(times.load(Ordering::SeqCst), 1);
            exchange(&ledger, 2);
            settle(&ledger).await;
            let tripped = faults.tripped();
            keeper.close().await.unwrap();
            assert_eq!(sound(&store).await, (1, 2), "{at}");
            if !tripped {
                break;
            }
        }
        assert!(at > 8, "the faults have to reach the change: {at}");
    }
}

/// The process dies at each write: the next life is sound, whichever policy it has.
#[tokio::test]
async fn a_death_at_any_write_leaves_a_sound_log() {
    for (after, fault) in [(false, Fault::DeadBefore), (true, Fault::DeadAfter)] {
        for at in 0..30 {
            let (dir, store) = (TempDir::new().unwrap(), memory());
            let faults = FaultStore::new(store.clone(), fault, at);
            if let Ok((ledger, keeper)) = open(config(dir.path()), faults.clone()).await {
                exchange(&ledger, 1);
                let change = ledger.change_policy(text(1), || ());
                let _ = tokio::time::timeout(Duration::from_millis(50), change).await;
                drop(keeper);
            }
            let policy = if after { text(1) } else { PolicyText::new("{}") };
            let (ledger, keeper) = reopen(Config { policy, ..config(dir.path()) }, &store).await;
            exchange(&ledger, 2);
            keeper.close().await.unwrap();
            sound(&store).await;
        }
    }
}

/// A write fails while one shard takes over from another, and a change comes before that is tried again: no statement follows
/// the one that the close leaf names.
#[tokio::test(start_paused = true)]
async fn a_change_in_the_middle_of_a_rotation_waits_for_its_end() {
    let mut at = 0;
    loop {
        let (dir, store) = (TempDir::new().unwrap(), memory());
        let faults = FaultStore::new(store.clone(), Fault::HiccupBefore, at);
        at += 1;
        let Ok((ledger, keeper)) = open(config(dir.path()), faults.clone()).await else { continue };
        exchange(&ledger, 1);
        settle(&ledger).await;
        let early = faults.tripped();
        let first = ledger.shard().name.clone();
        ledger.0.clock.jump(80_000_000_000);
        tokio::time::sleep(Duration::from_millis(20)).await;
        let done = early || !faults.tripped();
        ledger.change_policy(text(1), || ()).await.unwrap();
        while ledger.shard().name == first {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        exchange(&ledger, 2);
        keeper.close().await.unwrap();
        let found = audit(&ledger).await;
        assert_eq!((found.changes.len(), found.closed.len()), (1, 2), "{at}");
        assert_eq!(sound(&store).await, (1, 2), "{at}");
        if done && !early {
            break;
        }
    }
    assert!(at > 12, "the faults have to reach the rotation: {at}");
}

#[tokio::test]
async fn an_altered_text_is_written_again() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let (ledger, keeper) = open(config(dir.path()), store.clone()).await.unwrap();
    exchange(&ledger, 1);
    keeper.close().await.unwrap();
    let name = colophon_receipt::policy_change::policy_file(&sha256(b"{}"));
    Objects(store.clone()).put(&name, bytes::Bytes::from_static(b"{ }")).await.unwrap();
    let report = check(store.clone(), CheckOptions::default()).await;
    assert_eq!(report.findings.iter().map(|found| found.name()).collect::<Vec<_>>(), ["policy"]);
    drop(ledger);
    let (_ledger, keeper) = reopen(config(dir.path()), &store).await;
    keeper.close().await.unwrap();
    sound(&store).await;
}
