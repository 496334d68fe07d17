//! What the keeper's task owes to those beside it.

use super::*;
use crate::batch;
use crate::ledger::keeper::Settled;
use futures_util::future::join_all;

const NEVER: usize = usize::MAX;

#[tokio::test]
async fn more_evidence_than_one_batch_takes_is_told_by_two_statements() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let (ledger, keeper) = open(config(dir.path()), store).await.unwrap();
    let time = ledger.now() / 1000;
    let leaf = |n: u32| {
        let mut id = ledger.new_id(time);
        id[12..].copy_from_slice(&n.to_be_bytes());
        Settled::not_done(id, [1; 32], Level::Zk)
    };
    let leaves: Vec<Settled> = (0..=batch::MAX_RECORDS as u32).map(leaf).collect();
    let ends = [leaves[0].id, leaves[batch::MAX_RECORDS].id];
    assert!(ledger.log_evidence(leaves).await);
    let mut counts = Vec::new();
    for id in &ends {
        ledger.0.places.forget();
        let (target, _) = ledger.place(id).await.unwrap().unwrap();
        let name = keeper::batch_name(&target.shard, target.seq);
        let file = ledger.0.objects.get(&name, batch::MAX_BYTES).await.unwrap().unwrap();
        counts.push(batch::read(&file).unwrap().leaves.len());
    }
    assert_eq!(counts, [batch::MAX_RECORDS, 1]);
    keeper.close().await.unwrap();
}

#[tokio::test]
async fn a_keeper_that_panicked_is_noticed_at_once() {
    let (dir, inner) = (TempDir::new().unwrap(), memory());
    let store = FaultStore::new(inner.clone(), Fault::Panic, 40);
    let (ledger, keeper) = open(config(dir.path()), store).await.unwrap();
    assert!(ledger.healthy());
    let mut ids = Vec::new();
    while ledger.healthy() {
        ids.push(exchange(&ledger, 1));
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert!(ids.len() < 500, "nobody noticed; {:?}", ledger.counters());
    }
    assert!(ledger.counters().backlog < 100);
    assert!(matches!(keeper.close().await, Err(LedgerError::Unlogged(1..))));
    drop(ledger);
    let (ledger, keeper) = open(config(dir.path()), inner).await.unwrap();
    assert!(ledger.healthy());
    keeper.close().await.unwrap();
    assert!(!ledger.healthy(), "closed");
    let found = audit(&ledger).await;
    assert!(ids.iter().all(|id| found.records.contains_key(id)));
}

/// On one thread, which the disk would stop.
#[cfg(unix)]
#[tokio::test]
async fn what_ends_while_another_thread_writes_is_kept_and_stops_nobody() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let (ledger, keeper) = open(config(dir.path()), store).await.unwrap();
    let mut waits = accept(&ledger, 1).unwrap();
    let mut leaves = accept(&ledger, 2).unwrap();
    let mut pipe = ledger.0.wal.hang();
    let hog = std::thread::spawn({
        let ledger = ledger.clone();
        move || {
            let fields = crate::wal::tests::large_field_set();
            let queued = ledger.0.wal.queue_open(&[9; 16], 900, Level::Sign, &fields, None).unwrap();
            ledger.0.wal.written_open(&[9; 16], queued)
        }
    });
    ledger.0.wal.until_somebody_writes();
    let mut early = begin(&ledger, 3).unwrap();
    let ids = [*waits.id(), *leaves.id(), *early.id()];
    let (told, seen) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        // A thread that stops is seen here, and let go.
        let went_on = seen.recv_timeout(Duration::from_secs(10)).is_ok();
        std::io::copy(&mut pipe, &mut std::io::sink()).unwrap();
        went_on
    });
    // One whose client waits for the end, one whose client has left, and one whose client did not wait for its OPEN.
    let done = seal_for(&ledger, &mut waits, 1);
    let waits = ledger.finishing(waits, done.into()).unwrap().now_or_later().unwrap().expect("not yet");
    let mut waiting = Box::pin(waits.written());
    assert!(futures_util::poll!(waiting.as_mut()).is_pending());
    let done = seal_for(&ledger, &mut leaves, 2);
    drop(ledger.finishing(leaves, done.into()).unwrap());
    assert!(futures_util::poll!(Box::pin(ledger.opened(&mut early))).is_pending());
    let done = seal_for(&ledger, &mut early, 3);
    drop(ledger.finishing(early, done.into()).unwrap());
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(futures_util::poll!(waiting.as_mut()).is_pending(), "it is not written");
    assert_eq!(ledger.counters().backlog, 0);
    told.send(()).unwrap();
    waiting.await.unwrap();
    hog.join().unwrap().unwrap();
    for _ in 0..5000 {
        if ledger.counters().counters.received == 3 && ledger.counters().backlog == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    for id in ids {
        verify(&ledger, &receipt(&ledger, &id).await);
    }
    ledger.0.wal.let_go(ledger.0.wal.undone(&[9; 16]));
    keeper.close().await.unwrap();
    assert!(reader.join().unwrap(), "this thread was stopped");
}

#[tokio::test]
async fn a_recent_receipt_reads_no_batch_and_many_old_ones_read_it_once_or_twice() {
    let (dir, store) = (TempDir::new().unwrap(), FaultStore::new(memory(), Fault::HiccupBefore, NEVER));
    let config = Config { max_batch: 100, batch_every: Duration::from_millis(50), ..config(dir.path()) };
    let (ledger, keeper) = open(config, store.clone()).await.unwrap();
    let ids: Vec<_> = (0..64).map(|n| exchange(&ledger, n)).collect();
    settle(&ledger).await;
    for id in &ids {
        verify(&ledger, &receipt(&ledger, id).await);
    }
    assert_eq!(store.batch_reads(), 0);
    ledger.0.batches.forget();
    ledger.0.places.forget();
    let batches = ledger.0.objects.list("shard").await.unwrap().len();
    join_all(ids.iter().map(|id| async { verify(&ledger, &receipt(&ledger, id).await) })).await;
    assert!((1..=2 * batches).contains(&store.batch_reads()), "{} of {batches}", store.batch_reads());
    keeper.close().await.unwrap();
}

#[tokio::test]
async fn a_shard_is_closed_once_however_often_its_end_is_tried() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let config = Config { shard_key_life: Duration::from_millis(1500), ..config(dir.path()) };
    let (ledger, keeper) = open(config, store).await.unwrap();
    let first = ledger.shard().name.clone();
    // Where the next shard's name is to be written.
    let blocked = dir.path().join("data/wal/shard-now.new");
    std::fs::create_dir(&blocked).unwrap();
    let size = |ledger: &Ledger| ledger.head().size();
    tokio::time::sleep(Duration::from_millis(1350)).await;
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        if size(&ledger) >= 5 {
            break;
        }
    }
    // Genesis, announcement, last statement, announcement, close; then tried again for a while.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(ledger.shard().name, first);
    std::fs::remove_dir(&blocked).unwrap();
    keeper.close().await.unwrap();
    let found = audit(&ledger).await;
    let mut closed = found.closed.clone();
    closed.dedup();
    assert_eq!(found.closed, closed);
    assert!(found.closed.len() >= 2, "the one that was announced too");
    assert_eq!(found.announced.len(), found.closed.len());
}

#[tokio::test]
async fn what_is_logged_is_let_go_of_in_pieces() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let (ledger, keeper) = open(config(dir.path()), store).await.unwrap();
    let ids: Vec<RecordId> = (0..3000).map(|n| ledger.new_id(n)).collect();
    ids.iter().for_each(|id| ledger.book().accept(id));
    ledger.logged(ids.iter().inspect(|_| assert!(ledger.0.book.try_lock().is_ok(), "locked meanwhile")));
    assert!(ids.iter().all(|id| !ledger.book().is_live(id)));
    keeper.close().await.unwrap();
}
