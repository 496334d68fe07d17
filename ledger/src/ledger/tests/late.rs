//! What a start without the log takes up once that answers, and what was put off meanwhile.

use super::remote::{Direct, log_role, sidecar, unlocked};
use super::*;
use std::time::Instant;

/// Waits until the log has a record that an earlier life left.
async fn found(ledger: &Ledger, id: &RecordId) {
    let begun = Instant::now();
    while !matches!(ledger.lookup(id).await.unwrap(), Lookup::Found(_)) {
        assert!(begun.elapsed() < Duration::from_secs(20), "it is never logged");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_disk_that_is_full_when_the_log_answers_holds_up_what_waits_and_no_longer() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let (service, _task) = log_role(&store).await;
    let way = Direct::to(service);
    let (ledger, keeper) = open(sidecar(dir.path(), &way), store.clone()).await.unwrap();
    let open_ticket = accept(&ledger, 1).unwrap();
    let begun = *open_ticket.id();
    std::mem::forget(open_ticket);
    drop((keeper, ledger));
    // A forgotten ticket keeps the lock, which a killed process would not.
    std::fs::remove_file(dir.path().join("data/lock")).unwrap();
    way.away.store(true, Ordering::Relaxed);
    let (ledger, keeper) = unlocked(|| open(sidecar(dir.path(), &way), store.clone())).await;
    ledger.0.wal.fail_after(Some(0));
    way.away.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert!(!ledger.0.keeper_ended.load(Ordering::Relaxed));
    ledger.0.wal.fail_after(None);
    found(&ledger, &begun).await;
    let id = exchange(&ledger, 2);
    settle(&ledger).await;
    verify(&ledger, &receipt(&ledger, &id).await);
    keeper.close().await.unwrap();
    let found = audit(&ledger).await;
    assert_eq!((found.records.len(), found.records[&begun].outcome), (2, Outcome::Recovered));
}

#[tokio::test]
async fn a_late_start_with_its_clock_behind_goes_on_after_the_last_statement() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let (service, _task) = log_role(&store).await;
    let way = Direct::to(service);
    let (ledger, keeper) = open(sidecar(dir.path(), &way), store.clone()).await.unwrap();
    // The clock of this life is an hour ahead.
    ledger.0.clock.jump(3_600_000_000);
    exchange(&ledger, 1);
    keeper.close().await.unwrap();
    let last = ledger.now();
    drop(ledger);
    way.away.store(true, Ordering::Relaxed);
    let few = || Config { max_batch: 2, ..sidecar(dir.path(), &way) };
    let (ledger, keeper) = unlocked(|| open(few(), store.clone())).await;
    assert!(ledger.now() < last);
    let late: Vec<_> = (2..7).map(|n| exchange(&ledger, n)).collect();
    let under_way = accept(&ledger, 7).unwrap();
    way.away.store(false, Ordering::Relaxed);
    settle(&ledger).await;
    let after = complete(&ledger, under_way, 7).unwrap();
    keeper.close().await.unwrap();
    // In its statement's interval.
    verify(&ledger, &receipt(&ledger, &after).await);
    let mut records = 0;
    let mut ends = std::collections::HashMap::new();
    let head = ledger.head();
    for entry in ledger.reader().entries(1..head.size(), &head.checkpoint).await.unwrap() {
        let Some(statement) =
            Sign1::parse(&entry).ok().and_then(|cose| Statement::decode(cose.payload()).ok())
        else {
            continue;
        };
        assert!(statement.from <= statement.to, "{statement:?}");
        let end = ends.insert(statement.shard.clone(), statement.to);
        assert!(end.is_none_or(|end| end == statement.from), "{statement:?}");
        records += statement.count;
    }
    assert_eq!(records, 2 + late.len() as u64);
}
