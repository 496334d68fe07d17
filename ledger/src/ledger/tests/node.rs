//! Durability `node`: the node dies with its disk, and what was released is logged by the next, once.

use super::remote::{Direct, log_role, sidecar};
use super::*;
use crate::log::tests::support::{Gate, memory};
use crate::private::Kek;
use colophon_receipt::statement::{Predecessor, payload_hash};
use object_store::ObjectStore;

fn node(dir: &TempDir) -> Config {
    Config {
        durability: Durability::Node,
        private_key: Some(Arc::new(Kek::new(&[5; 32]).unwrap())),
        // The state folder goes with the node.
        adopt: true,
        ..config(dir.path())
    }
}

/// An exchange whose answer is released at the end.
async fn released(ledger: &Ledger, n: u64) -> Result<RecordId, WalError> {
    let mut ticket = begin(ledger, n)?;
    ledger.opened(&mut ticket).await?;
    let unsafe_head = ledger.opened_safely(&mut ticket).await.err();
    let id = ended(ledger, ticket, n).await?;
    unsafe_head.map_or(Ok(id), Err)
}

async fn ended(ledger: &Ledger, mut ticket: Ticket, n: u64) -> Result<RecordId, WalError> {
    let id = *ticket.id();
    let record = seal_for(ledger, &mut ticket, n);
    let signatures = sign(&ticket, &record, n);
    let finishing = ledger.finishing(ticket, Done { record, signatures, refused: false }).unwrap();
    match finishing.written().await {
        Ok(()) => Ok(id),
        Err(unfinished) => {
            let Unfinished { error, ticket, done } = *unfinished;
            ledger.finish_degraded(ticket, done).unwrap();
            Err(error)
        }
    }
}

async fn copies(store: &Arc<dyn ObjectStore>) -> Vec<String> {
    Objects(store.clone()).paths("wal").await.unwrap()
}

/// Fences stay for a time.
async fn frames(store: &Arc<dyn ObjectStore>) -> usize {
    let mut count = 0;
    for path in copies(store).await {
        let bytes = Objects(store.clone()).get(&path, 1 << 20).await.unwrap().unwrap();
        count += usize::from(bytes.starts_with(b"colophon frame 1"));
    }
    count
}

/// One life on a machine of its own: exchanges until it is killed, one of them open. Gives what was released, and the one
/// that was begun.
fn live(store: Arc<dyn ObjectStore>, life: u64, batch: Duration) -> (Vec<RecordId>, RecordId) {
    let dir = TempDir::new().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let config = Config { max_batch: 4, batch_every: batch, ..node(&dir) };
        let (ledger, keeper) = open(config, store).await.unwrap();
        let mut open = begin(&ledger, life * 1000).unwrap();
        ledger.opened(&mut open).await.unwrap();
        ledger.opened_safely(&mut open).await.unwrap();
        let begun = *open.id();
        let mut ids = Vec::new();
        for n in 0..4 + life * 3 {
            ids.push(released(&ledger, life * 1000 + n + 1).await.unwrap());
        }
        std::mem::forget(open);
        drop(keeper);
        (ids, begun)
    })
}

#[test]
fn nodes_lost_with_their_disks_lose_nothing_that_was_released() {
    for batch in [1, 3, 3_600_000].map(Duration::from_millis) {
        let store = memory();
        let (mut all, mut begun) = (Vec::new(), Vec::new());
        for life in 0..8 {
            let (ids, open) = live(store.clone(), life, batch);
            all.extend(ids);
            begun.push(open);
        }
        let dir = TempDir::new().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (ledger, keeper) = open(node(&dir), store.clone()).await.unwrap();
            settle(&ledger).await;
            // Recovered and logged: the next start needs none of it.
            while frames(&store).await > 1 {
                tokio::time::sleep(Duration::from_millis(2)).await;
                released(&ledger, 1).await.map(|id| all.push(id)).unwrap();
                settle(&ledger).await;
            }
            keeper.close().await.unwrap();
            let found = audit(&ledger).await;
            for id in &all {
                assert_eq!(found.records[id].outcome, Outcome::Complete);
                verify(&ledger, &receipt(&ledger, id).await);
            }
            for id in &begun {
                assert_eq!(found.records[id].outcome, Outcome::Recovered, "its head was released");
            }
            assert_eq!(found.records.len(), all.len() + begun.len(), "{batch:?}");
            assert_eq!(frames(&store).await, 0);
        });
    }
}

/// Without the copies the test above would have found records missing: with `process` they are.
#[test]
fn with_process_a_lost_node_loses_them() {
    let store = memory();
    let dir = TempDir::new().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config =
        Config { durability: Durability::Process, batch_every: Duration::from_secs(60), ..node(&dir) };
    runtime.block_on(async {
        let (ledger, keeper) = open(config.clone(), store.clone()).await.unwrap();
        settle(&ledger).await;
        released(&ledger, 1).await.unwrap();
        drop(keeper);
    });
    drop(runtime);
    let other = TempDir::new().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (ledger, keeper) = open(node(&other), store).await.unwrap();
        keeper.close().await.unwrap();
        assert!(audit(&ledger).await.records.is_empty());
    });
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_is_as_a_full_backlog() {
    let (dir, public) = (TempDir::new().unwrap(), memory());
    let gate = Gate::new(memory());
    let folder = Folder::open(&node(&dir).data).unwrap();
    let (ledger, keeper) =
        Ledger::open_stores(node(&dir), folder, Objects(public), Objects(gate.clone())).await.unwrap();
    let before = released(&ledger, 1).await.unwrap();
    settle(&ledger).await;
    let mut under_way = begin(&ledger, 20).unwrap();
    ledger.opened(&mut under_way).await.unwrap();
    ledger.opened_safely(&mut under_way).await.unwrap();
    gate.shut(true);
    // Under way when it happens: told, and kept in memory.
    assert!(matches!(released(&ledger, 2).await, Err(WalError::Away)));
    assert!(matches!(ended(&ledger, under_way, 20).await, Err(WalError::Away)));
    // After that: refused at once, before anything is forwarded.
    assert!(matches!(begin(&ledger, 3), Err(WalError::Away)));
    assert!(!ledger.healthy());
    let received_at = ledger.now();
    let id = ledger.new_id(received_at / 1000);
    let mut ticket = ledger.begin_degraded(&Open {
        id,
        received_at,
        level: Level::Sign,
        fields: &request(3),
        tenant: None,
        rule: None,
    });
    let record = seal_for(&ledger, &mut ticket, 3);
    ledger.finish(ticket, record.into()).unwrap();
    gate.shut(false);
    settle(&ledger).await;
    let after = loop {
        match released(&ledger, 4).await {
            Ok(id) => break id,
            Err(error) => assert!(matches!(error, WalError::Away), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert!(ledger.healthy());
    settle(&ledger).await;
    keeper.close().await.unwrap();
    let found = audit(&ledger).await;
    assert!([before, id, after].iter().all(|id| found.records.contains_key(id)));
    let last = found.shards.values().last().unwrap().last().unwrap();
    assert!(last.counters.degraded >= 3, "{:?}", last.counters);
    assert_eq!(last.counters.lost, 0);
}

#[tokio::test]
async fn a_process_that_was_not_dead_stops_once_it_was_taken_over() {
    let (old_dir, new_dir, store) = (TempDir::new().unwrap(), TempDir::new().unwrap(), memory());
    // Nothing of it is logged before the other comes.
    let slow = Config { batch_every: Duration::from_secs(3600), ..node(&old_dir) };
    let (old, old_keeper) = open(slow.clone(), store.clone()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let mut ids = vec![released(&old, 1).await.unwrap(), released(&old, 2).await.unwrap()];
    let (new, new_keeper) = open(node(&new_dir), store.clone()).await.unwrap();
    assert!(matches!(released(&old, 3).await, Err(WalError::TakenOver)));
    assert!(matches!(begin(&old, 4), Err(WalError::TakenOver)));
    // It logs nothing more, not even what it has in memory.
    old.0.full.notify_one();
    while old.healthy() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    ids.push(released(&new, 5).await.unwrap());
    settle(&new).await;
    drop((old_keeper, old));
    // Should its machine come back, it does not log them again.
    let (again, again_keeper) = open(Config { name: "host".into(), ..slow }, store.clone()).await.unwrap();
    assert!(matches!(released(&new, 6).await, Err(WalError::TakenOver)), "now the other is fenced off");
    let aside = crate::wal::damaged_copies(&old_dir.path().join("data/wal")).unwrap();
    assert!(!aside.is_empty() && aside.iter().all(|path| path.to_string_lossy().ends_with("taken-over")));
    drop(new_keeper);
    ids.push(released(&again, 7).await.unwrap());
    again_keeper.close().await.unwrap();
    let found = audit(&again).await;
    for id in &ids {
        assert!(found.records.contains_key(id));
    }
    // What was only opened, or refused, may be there as well; nothing is there twice, which the audit has seen.
    assert!(found.records.len() <= ids.len() + 2);
}

/// A sidecar of the log role behind `way`.
fn by_role(dir: &TempDir, way: &Arc<Direct>) -> Config {
    Config { log: sidecar(dir.path(), way).log, ..node(dir) }
}

/// One that logs when it is told to, and has begun.
async fn slow(dir: &TempDir, way: &Arc<Direct>, store: &Arc<dyn ObjectStore>) -> (Ledger, Keeper) {
    let config = Config { batch_every: Duration::from_secs(3600), ..by_role(dir, way) };
    let opened = open(config, store.clone()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    opened
}

/// It has nothing to copy since: that another process has taken over, it can only learn by asking.
#[tokio::test]
async fn a_process_that_was_taken_over_and_has_written_nothing_since_logs_nothing_again() {
    for with_a_statement in [false, true] {
        let (old_dir, new_dir, store) = (TempDir::new().unwrap(), TempDir::new().unwrap(), memory());
        let (service, _task) = log_role(&store).await;
        let way = Direct::to(service);
        let (old, old_keeper) = slow(&old_dir, &way, &store).await;
        if with_a_statement {
            released(&old, 1).await.unwrap();
            old.0.full.notify_one();
            settle(&old).await;
        }
        let ids = [released(&old, 2).await.unwrap(), released(&old, 3).await.unwrap()];
        let (new, new_keeper) = open(by_role(&new_dir, &way), store.clone()).await.unwrap();
        settle(&new).await;
        old.0.full.notify_one();
        for _ in 0..200 {
            if !old.healthy() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(!old.healthy());
        assert!(matches!(old_keeper.close().await, Err(LedgerError::Wal(WalError::TakenOver))));
        new_keeper.close().await.unwrap();
        // Nothing is there twice, which the audit sees.
        let found = audit(&new).await;
        assert!(ids.iter().all(|id| found.records.contains_key(id)));
        assert_eq!(found.records.len(), 2 + usize::from(with_a_statement));
    }
}

/// The store still takes its copies: the log alone knows, as where it was taken over a moment ago.
#[tokio::test]
async fn a_process_whose_shard_is_superseded_keeps_nothing_more() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let (service, _task) = log_role(&store).await;
    let way = Direct::to(service.clone());
    let (ledger, keeper) = slow(&dir, &way, &store).await;
    released(&ledger, 1).await.unwrap();
    ledger.0.full.notify_one();
    settle(&ledger).await;
    let head = ledger.head();
    let last = ledger.reader().entry(head.size() - 1, &head.checkpoint).await.unwrap();
    let cose = Sign1::parse(&last).unwrap();
    let Statement { shard, seq, .. } = Statement::decode(cose.payload()).unwrap();
    let predecessor = Predecessor { shard, seq, payload_hash: payload_hash(cose.payload()) };
    let next = Shard::generate("host", ledger.now(), Duration::from_secs(3600)).unwrap();
    service.announce(&next.announcement(service.origin(), Some(predecessor)).encode(), None).await.unwrap();
    released(&ledger, 2).await.unwrap();
    for _ in 0..200 {
        ledger.0.full.notify_one();
        if !ledger.healthy() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(matches!(begin(&ledger, 3), Err(WalError::TakenOver)));
    assert!(matches!(keeper.close().await, Err(LedgerError::Wal(WalError::TakenOver))));
    assert_eq!(audit(&ledger).await.records.len(), 1);
}

/// The same, at its end.
#[tokio::test]
async fn a_process_that_was_taken_over_logs_nothing_when_it_is_closed() {
    let (old_dir, new_dir, store) = (TempDir::new().unwrap(), TempDir::new().unwrap(), memory());
    let (service, _task) = log_role(&store).await;
    let way = Direct::to(service);
    let (old, old_keeper) = slow(&old_dir, &way, &store).await;
    released(&old, 1).await.unwrap();
    let (new, new_keeper) = open(by_role(&new_dir, &way), store.clone()).await.unwrap();
    settle(&new).await;
    assert!(matches!(old_keeper.close().await, Err(LedgerError::Wal(WalError::TakenOver))));
    new_keeper.close().await.unwrap();
    assert_eq!(audit(&new).await.records.len(), 1);
}

#[tokio::test]
async fn a_copy_that_is_damaged_costs_itself_alone_and_is_kept() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let slow = Config { batch_every: Duration::from_secs(3600), ..node(&dir) };
    let (ledger, keeper) = open(slow, store.clone()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let mut released_ids = Vec::new();
    for n in 1..=3 {
        released_ids.push(released(&ledger, n).await.unwrap());
    }
    drop((keeper, ledger));
    let objects = Objects(store.clone());
    let last = copies(&store).await.into_iter().max().unwrap();
    let mut bytes = objects.get(&last, 1 << 20).await.unwrap().unwrap().to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    objects.put(&last, bytes.into()).await.unwrap();
    let other = TempDir::new().unwrap();
    let (ledger, keeper) = open(node(&other), store.clone()).await.unwrap();
    settle(&ledger).await;
    keeper.close().await.unwrap();
    let found = audit(&ledger).await;
    assert_eq!(found.records[&released_ids[0]].outcome, Outcome::Complete);
    assert_eq!(found.records[&released_ids[1]].outcome, Outcome::Complete);
    // Its OPEN is in an earlier copy.
    assert_eq!(found.records[&released_ids[2]].outcome, Outcome::Recovered);
    assert!(copies(&store).await.contains(&last), "it is kept");
}

#[tokio::test]
async fn erasing_leaves_no_copy_of_what_was_erased() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let (ledger, keeper) = open(node(&dir), store.clone()).await.unwrap();
    let id = released(&ledger, 1).await.unwrap();
    settle(&ledger).await;
    let before = copies(&store).await;
    let report = ledger.erase(Erase::Record(id)).await.unwrap();
    assert_eq!(report.openings, 1);
    let after = copies(&store).await;
    assert!(after.iter().all(|copy| !before.contains(copy)), "{before:?} {after:?}");
    keeper.close().await.unwrap();
    assert!(copies(&store).await.is_empty());
}
