use super::*;
use crate::destination::LogAt;
use crate::log::tests::support::{Fault, FaultStore, memory};
use crate::store::Location;
use crate::wal::{self, WalError};
use colophon_receipt::record::RecordLeaf;
use colophon_receipt::statement::{Announcement, Statement};
use colophon_receipt::{Level, Outcome};
use colophon_signer::cose::Sign1;
use std::collections::HashSet;
use support::*;
use tempfile::TempDir;

mod crash;
mod erase;
mod late;
mod node;
mod policy;
mod private;
mod remote;
mod rules;
pub(crate) mod support;
mod task;
mod warn;

#[tokio::test]
async fn a_finished_exchange_has_a_receipt_that_verifies() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let (ledger, keeper) = open(config(dir.path()), store.clone()).await.unwrap();
    let ticket = accept(&ledger, 1).unwrap();
    let id = *ticket.id();
    assert!(matches!(ledger.lookup(&id).await.unwrap(), Lookup::Pending));
    complete(&ledger, ticket, 1).unwrap();
    settle(&ledger).await;
    let leaf = verify(&ledger, &receipt(&ledger, &id).await);
    assert_eq!((leaf.id, leaf.outcome), (id, Outcome::Complete));
    assert!(matches!(ledger.lookup(&[7; 16]).await.unwrap(), Lookup::Unknown));

    // Without the caches, then in a later life: from the index.
    ledger.0.places.forget();
    ledger.0.batches.forget();
    let cold = receipt(&ledger, &id).await;
    assert_eq!(cold.announcements.len(), 1);
    verify(&ledger, &cold);
    let token = ledger.token(&id);
    keeper.close().await.unwrap();
    drop(ledger);
    let (ledger, _keeper) = open(config(dir.path()), store).await.unwrap();
    verify(&ledger, &receipt(&ledger, &id).await);
    assert!(ledger.token_ok(&id, &token));
}

#[tokio::test]
async fn batches_hold_what_was_counted_and_a_clean_end_leaves_no_wal() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let (ledger, keeper) = open(config(dir.path()), store.clone()).await.unwrap();
    let ids: HashSet<RecordId> = (0..100).map(|n| exchange(&ledger, n)).collect();
    ledger.passed("health");
    ledger.malformed();
    keeper.close().await.unwrap();
    let counts = ledger.counters();
    assert_eq!((counts.counters.received, counts.counters.recorded), (101, 100));
    assert_eq!((counts.counters.passed, counts.malformed, counts.backlog), (1, 1, 0));
    let audit = audit(&ledger).await;
    assert_eq!(audit.records.keys().copied().collect::<HashSet<_>>(), ids);
    assert_eq!(audit.closed, [ledger.shard().name.clone()]);
    let last = audit.shards[&ledger.shard().name].last().unwrap();
    assert_eq!((last.counters.received, last.counters.passed, last.counters.open), (101, 1, 0));
    let wal = std::fs::read_dir(dir.path().join("data/wal")).unwrap();
    let segments: Vec<_> =
        wal.map(|e| e.unwrap().file_name()).filter(|n| n.to_str().unwrap().ends_with(".wal")).collect();
    assert!(segments.is_empty(), "{segments:?}");
    assert!(matches!(accept(&ledger, 1), Err(WalError::Closed)));
}

#[tokio::test]
async fn one_process_at_a_time() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let (ledger, keeper) = open(config(dir.path()), store.clone()).await.unwrap();
    let error = open(config(dir.path()), store.clone()).await.unwrap_err();
    assert!(matches!(error, LedgerError::Locked(_)));
    assert!(error.to_string().contains(dir.path().to_str().unwrap()), "{error}");
    keeper.close().await.unwrap();
    drop(ledger);
    assert!(open(config(dir.path()), store).await.is_ok());
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_named() {
    let mut config = config(TempDir::new().unwrap().path());
    config.data = "/proc/colophon".into();
    let error = Ledger::open(config).await.unwrap_err();
    assert!(matches!(error, LedgerError::Folder { .. }));
    assert!(error.to_string().contains("/proc/colophon"), "{error}");
}

#[tokio::test]
async fn on_local_disk_private_things_are_private() {
    let dir = TempDir::new().unwrap();
    let (ledger, keeper) = Ledger::open(config(dir.path())).await.unwrap();
    let id = exchange(&ledger, 1);
    settle(&ledger).await;
    verify(&ledger, &receipt(&ledger, &id).await);
    #[cfg(unix)]
    for (path, mode) in [("wal", 0o700), ("private", 0o700), ("keys/token", 0o600), ("wal/1.wal", 0o600)] {
        use std::os::unix::fs::PermissionsExt;
        let found = std::fs::metadata(dir.path().join("data").join(path)).unwrap().permissions().mode();
        assert_eq!(found & 0o777, mode, "{path}");
    }
    keeper.close().await.unwrap();
}

#[tokio::test]
async fn a_quiet_shard_says_so() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let config = Config { heartbeat: Duration::from_millis(10), ..config(dir.path()) };
    let (ledger, keeper) = open(config, store).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    keeper.close().await.unwrap();
    let audit = audit(&ledger).await;
    let statements = &audit.shards[&ledger.shard().name];
    assert!((3..30).contains(&statements.len()), "{}", statements.len());
    assert!(statements.iter().all(|s| s.count == 0 && s.root == colophon_receipt::merkle::empty_root()));
}

#[tokio::test]
async fn a_dropped_ticket_counts_as_lost() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let (ledger, keeper) = open(config(dir.path()), store).await.unwrap();
    let mut ticket = accept(&ledger, 1).unwrap();
    let id = *ticket.id();
    ledger.stamp(&mut ticket);
    drop(ticket);
    assert!(matches!(ledger.lookup(&id).await.unwrap(), Lookup::Unknown));
    exchange(&ledger, 2);
    keeper.close().await.unwrap();
    let audit = audit(&ledger).await;
    let last = audit.shards[&ledger.shard().name].last().unwrap();
    assert_eq!((last.counters.received, last.counters.lost, last.counters.recorded), (2, 1, 1));
}

#[tokio::test]
async fn no_statement_ends_before_a_stamped_record_comes_in() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let (ledger, keeper) = open(config(dir.path()), store).await.unwrap();
    let mut ticket = accept(&ledger, 1).unwrap();
    let late = seal_for(&ledger, &mut ticket, 1);
    let others: Vec<_> = (2..40).map(|n| exchange(&ledger, n)).collect();
    tokio::time::sleep(Duration::from_millis(50)).await;
    // The others completed later, so they wait for it.
    assert!(matches!(ledger.lookup(&others[0]).await.unwrap(), Lookup::Pending));
    let id = *ticket.id();
    ledger.finish(ticket, late.into()).unwrap();
    settle(&ledger).await;

    // A record with a time of its own making is not taken once its interval is closed.
    let mut ticket = accept(&ledger, 50).unwrap();
    let early = seal_for(&ledger, &mut ticket, 50);
    ledger.stamp(&mut ticket);
    exchange(&ledger, 51);
    let mut other = accept(&ledger, 52).unwrap();
    let wrong = seal_for(&ledger, &mut other, 52);
    let refused = ledger.finish(ticket, wrong.into()).unwrap_err();
    assert!(matches!(refused.error, WalError::Record));
    ledger.finish(refused.ticket, early.into()).unwrap();
    complete(&ledger, other, 52).unwrap();
    settle(&ledger).await;
    let mut ticket = accept(&ledger, 53).unwrap();
    let mut record = seal_for(&ledger, &mut ticket, 53);
    let mut leaf = RecordLeaf::decode(&record.leaf).unwrap();
    leaf.completed_at = 1;
    record.leaf = leaf.encode();
    let stale = ledger.finish(ticket, record.into()).unwrap_err();
    assert!(matches!(stale.error, WalError::Stale));
    complete(&ledger, stale.ticket, 53).unwrap();
    keeper.close().await.unwrap();
    let audit = audit(&ledger).await;
    assert!(audit.records.contains_key(&id));
    assert_eq!(audit.records.len(), 38 + 5);
}

#[tokio::test]
async fn a_log_that_cannot_be_written_loses_nothing_and_pushes_back() {
    let (dir, inner) = (TempDir::new().unwrap(), memory());
    // Enough writes to open; then the disk is full for good.
    let store = FaultStore::new(inner.clone(), Fault::DeadBefore, 40);
    let config = Config { max_backlog: 50, ..config(dir.path()) };
    let (ledger, keeper) = open(config.clone(), store).await.unwrap();
    let mut ids = HashSet::new();
    let refused = loop {
        match accept(&ledger, ids.len() as u64) {
            Ok(ticket) => ids.insert(complete(&ledger, ticket, 1).unwrap()),
            Err(error) => break error,
        };
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(ids.len() < 5000);
    };
    assert!(matches!(refused, WalError::Backlog(50)));
    // Rules that let exchanges through go on for a while, degraded, then lose records and say so.
    let lost = (0..60)
        .map(|n| {
            let (id, fields) = (ledger.new_id(1), request(n));
            let open =
                Open { id, received_at: 1, level: Level::Commit, fields: &fields, tenant: None, rule: None };
            let mut ticket = ledger.begin_degraded(&open);
            let record = seal_for(&ledger, &mut ticket, n);
            // However the ticket is given back, what waits in memory is bounded.
            match n % 2 {
                0 => ledger.finish_degraded(ticket, record.into()).unwrap(),
                _ => ledger.finish(ticket, record.into()).unwrap(),
            }
        })
        .count() as u64
        - ledger.counters().counters.degraded;
    assert_eq!((ledger.counters().counters.lost, lost), (10, 10));
    drop(keeper);
    drop(ledger);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let (ledger, keeper) = open(config, inner).await.unwrap();
    settle(&ledger).await;
    keeper.close().await.unwrap();
    let found = audit(&ledger).await;
    assert_eq!(found.records.keys().copied().collect::<HashSet<_>>(), ids);
}

#[tokio::test]
async fn a_full_disk_under_the_wal_gives_the_record_back() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let (ledger, keeper) = open(config(dir.path()), store).await.unwrap();
    let ticket = accept(&ledger, 1).unwrap();
    ledger.0.wal.fail_after(Some(0));
    let mut refused = begin(&ledger, 2).unwrap();
    assert!(matches!(ledger.open_now(&mut refused), Err(WalError::Io { .. })));
    complete(&ledger, refused, 2).unwrap();
    let Unfinished { error, ticket, done } = *complete(&ledger, ticket, 1).unwrap_err();
    assert!(matches!(error, WalError::Io { .. }));
    let id = *ticket.id();
    ledger.finish_degraded(ticket, done).unwrap();
    ledger.0.wal.fail_after(None);
    let after = exchange(&ledger, 3);
    settle(&ledger).await;
    verify(&ledger, &receipt(&ledger, &id).await);
    verify(&ledger, &receipt(&ledger, &after).await);
    keeper.close().await.unwrap();
    let found = audit(&ledger).await;
    let last = found.shards[&ledger.shard().name].last().unwrap().counters;
    assert_eq!((last.received, last.recorded, last.degraded, last.lost), (3, 3, 2, 0));
}

#[tokio::test]
async fn a_degraded_record_is_not_made_again_from_its_open() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let (ledger, keeper) = open(config(dir.path()), store.clone()).await.unwrap();
    let ticket = accept(&ledger, 1).unwrap();
    ledger.0.wal.fail_after(Some(0));
    let back = *complete(&ledger, ticket, 1).unwrap_err();
    let id = *back.ticket.id();
    ledger.finish_degraded(back.ticket, back.done).unwrap();
    settle(&ledger).await;
    // Killed: the WAL has its OPEN and no DONE.
    drop(keeper);
    drop(ledger);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(wal::replay(&dir.path().join("data/wal")).unwrap().open.len(), 1);
    let (ledger, keeper) = open(config(dir.path()), store).await.unwrap();
    keeper.close().await.unwrap();
    let found = audit(&ledger).await;
    assert_eq!(found.records.len(), 1);
    assert_eq!(found.records[&id].outcome, Outcome::Complete);
}

#[tokio::test]
async fn a_key_near_its_end_is_replaced_while_exchanges_run() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let config = Config { shard_key_life: Duration::from_millis(300), ..config(dir.path()) };
    let (ledger, keeper) = open(config, store).await.unwrap();
    let first = ledger.shard();
    let long = accept(&ledger, 1000).unwrap();
    let mut ids = Vec::new();
    for n in 0..120 {
        // On a slow machine a key may expire before the keeper gets its turn.
        let ticket = loop {
            match accept(&ledger, n) {
                Ok(ticket) => break ticket,
                Err(WalError::Expired) => tokio::time::sleep(Duration::from_millis(2)).await,
                Err(error) => panic!("{error}"),
            }
        };
        ids.push(complete(&ledger, ticket, n).unwrap());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_ne!(ledger.shard().name, first.name);
    assert_eq!(long.shard().name, first.name);
    let long = complete(&ledger, long, 1000).unwrap();
    settle(&ledger).await;
    // Signed by the first shard, logged by a later one: both announcements are there.
    let late = receipt(&ledger, &long).await;
    assert_eq!(late.announcements.len(), 2);
    verify(&ledger, &late);
    for id in &ids {
        verify(&ledger, &receipt(&ledger, id).await);
    }
    keeper.close().await.unwrap();
    let found = audit(&ledger).await;
    assert_eq!(found.records.len(), 121);
    assert!(found.announced.len() >= 3, "{}", found.announced.len());
    assert_eq!(found.closed.len(), found.announced.len());
    for shard in found.announced.iter().skip(1) {
        assert!(shard.predecessor.is_some());
    }
    let last = found.shards[&ledger.shard().name].last().unwrap().counters;
    assert_eq!((last.open, last.lost), (0, 0));
}

#[tokio::test]
async fn a_key_that_expired_while_the_log_was_away_signs_no_more_statements() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    // The keeper's second turn comes when the key has long expired, as after an outage.
    let life = Duration::from_millis(400);
    let config =
        Config { shard_key_life: life, batch_every: Duration::from_millis(1200), ..config(dir.path()) };
    let (ledger, keeper) = open(config, store).await.unwrap();
    exchange(&ledger, 0);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let first = ledger.shard();
    let id = exchange(&ledger, 1);
    settle(&ledger).await;
    let late = receipt(&ledger, &id).await;
    verify(&ledger, &late);
    let statement = Sign1::parse(&late.statement.0).unwrap();
    let statement = Statement::decode(statement.payload()).unwrap();
    assert_ne!(statement.shard, first.name);
    let announced = Sign1::parse(&late.announcements[0].statement.0).unwrap();
    let announced = Announcement::decode(announced.payload()).unwrap();
    assert!((announced.not_before..=announced.not_after).contains(&statement.to));
    // The answer itself was signed while the first key counted.
    assert_eq!(late.announcements.len(), 2);
    keeper.close().await.unwrap();
    audit(&ledger).await;
}

#[tokio::test]
async fn what_is_open_at_a_clean_end_is_recovered() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let (ledger, keeper) = open(config(dir.path()), store.clone()).await.unwrap();
    let ticket = accept(&ledger, 1).unwrap();
    let late = accept(&ledger, 2).unwrap();
    let (open_id, late_id) = (*ticket.id(), *late.id());
    keeper.close().await.unwrap();
    // Finished after the end: the WAL has it.
    complete(&ledger, late, 2).unwrap();
    // As a killed process would leave it.
    std::mem::forget(ticket);
    let ledger_folder = dir.path().join("data");
    let copy = dir.path().join("copy/data");
    copy_folder(&ledger_folder, &copy);
    let (ledger, keeper) = open(Config { data: copy, ..config(dir.path()) }, store).await.unwrap();
    settle(&ledger).await;
    let recovered = verify(&ledger, &receipt(&ledger, &open_id).await);
    assert_eq!(recovered.outcome, Outcome::Recovered);
    let late = receipt(&ledger, &late_id).await;
    assert_eq!(late.announcements.len(), 2);
    assert_eq!(verify(&ledger, &late).outcome, Outcome::Complete);
    keeper.close().await.unwrap();
    let found = audit(&ledger).await;
    let first = &found.shards[&found.announced[0].shard];
    assert_eq!(first.last().unwrap().counters.open, 2);
    let second = found.shards[&found.announced[1].shard].last().unwrap().counters;
    assert_eq!((second.received, second.recorded), (2, 2));
}

fn copy_folder(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_folder(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

#[tokio::test]
async fn ids_are_uuid_v7_and_ascend() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let (ledger, _keeper) = open(config(dir.path()), store).await.unwrap();
    let mut last = [0; 16];
    let mut seen = HashSet::new();
    for n in 0..10_000u64 {
        let id = ledger.new_id(1_700_000_000_000 + n / 5000);
        assert!(id > last, "{n}");
        assert_eq!((id[6] >> 4, id[8] >> 6), (7, 2));
        let (ms, tag) = id_parts(&id);
        assert!((1_700_000_000_000..1_700_000_000_004).contains(&ms));
        assert_eq!(tag, ledger.shard().tag);
        assert!(seen.insert(id));
        last = id;
    }
    // The clock going back does not bring ids back.
    assert!(ledger.new_id(5) > last);
}

#[tokio::test]
async fn a_token_opens_one_receipt() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let (ledger, _keeper) = open(config(dir.path()), store).await.unwrap();
    let (id, other) = (ledger.new_id(1), ledger.new_id(2));
    let token = ledger.token(&id);
    assert_eq!(token.len(), 22);
    assert!(ledger.token_ok(&id, &token));
    assert!(!ledger.token_ok(&other, &token));
    for bad in ["", "AAAAAAAAAAAAAAAAAAAAAA", &token[1..], &format!("{token}=")] {
        assert!(!ledger.token_ok(&id, bad), "{bad}");
    }
}

#[tokio::test]
async fn names_that_would_not_stand_in_a_path_are_refused() {
    let dir = TempDir::new().unwrap();
    for name in ["", "a/b", "a b", "é", &"x".repeat(129)] {
        let config = Config { name: name.to_owned(), ..config(dir.path()) };
        assert!(matches!(open(config, memory()).await, Err(LedgerError::Name(_))), "{name}");
    }
}

#[tokio::test]
async fn a_record_lost_from_the_index_is_not_called_unknown() {
    use object_store::{ObjectStoreExt, path::Path};
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let (ledger, _keeper) = open(config(dir.path()), store.clone()).await.unwrap();
    let id = exchange(&ledger, 1);
    settle(&ledger).await;
    let folder = format!("index/{}", crate::index::hour(crate::index::id_ms(&id)));
    let names = ledger.0.objects.list(&folder).await.unwrap();
    let path = Path::from(format!("{folder}/{}", names[0]));
    let good = store.get(&path).await.unwrap().bytes().await.unwrap();
    // One row: time or tag of the id, or the row itself, or the file's head.
    let row = good.len() - 24;
    let flipped = [0, row, row + 5, row + 8, row + 9].map(|at| {
        let mut bad = good.to_vec();
        bad[at] ^= 1;
        bad
    });
    for bad in flipped.into_iter().chain([good[..row].to_vec(), good[..7].to_vec(), Vec::new()]) {
        store.put(&path, bad.into()).await.unwrap();
        ledger.0.places.forget();
        match ledger.lookup(&id).await {
            Err(LedgerError::Damaged { what, .. }) => assert_eq!(what, path.as_ref()),
            other => panic!("{other:?}"),
        }
    }
    store.put(&path, good.into()).await.unwrap();
    verify(&ledger, &receipt(&ledger, &id).await);
}

#[tokio::test]
async fn damage_is_named_and_never_handed_out() {
    use object_store::ObjectStoreExt;
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let (ledger, _keeper) = open(config(dir.path()), store.clone()).await.unwrap();
    let id = exchange(&ledger, 1);
    settle(&ledger).await;
    let (target, _) = ledger.0.places.newest().get(&id).unwrap();
    for name in
        [keeper::batch_name(&target.shard, target.seq), keeper::private_name(&target.shard, target.seq)]
    {
        let path = object_store::path::Path::from(name.clone());
        let good = store.get(&path).await.unwrap().bytes().await.unwrap();
        for at in 0..good.len() {
            let mut bad = good.to_vec();
            bad[at] ^= 1;
            store.put(&path, bad.into()).await.unwrap();
            ledger.0.batches.forget();
            match ledger.lookup(&id).await {
                Err(LedgerError::Damaged { what, .. }) => assert_eq!(what, name),
                // Signatures and the private file's count are not under the leaf.
                Ok(Lookup::Found(receipt)) => {
                    let mut receipt = *receipt;
                    receipt.http_signatures.clear();
                    verify(&ledger, &receipt);
                    assert_eq!(receipt.record.fields.len(), 2, "{name} byte {at}");
                }
                other => panic!("{name} byte {at}: {other:?}"),
            }
        }
        store.put(&path, good.into()).await.unwrap();
    }
    verify(&ledger, &receipt(&ledger, &id).await);
}

#[tokio::test]
async fn an_exchange_that_is_dropped_while_its_frames_wait_is_finished_all_the_same() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let (ledger, keeper) = open(config(dir.path()), store.clone()).await.unwrap();
    let mut ticket = begin(&ledger, 1).unwrap();
    // Polled once: OPEN waits for whoever else is ready.
    let waiting = futures_util::poll!(Box::pin(ledger.opened(&mut ticket)));
    assert!(waiting.is_pending());
    let id = *ticket.id();
    let record = seal_for(&ledger, &mut ticket, 1);
    let finishing = ledger.finishing(ticket, record.into()).unwrap();
    assert!(futures_util::poll!(Box::pin(finishing.written())).is_pending(), "and then it is dropped");
    let counts = ledger.counters().counters;
    assert_eq!((counts.recorded, counts.lost, counts.degraded, counts.open), (1, 0, 0, 0));
    settle(&ledger).await;
    verify(&ledger, &receipt(&ledger, &id).await);
    keeper.close().await.unwrap();
}

#[tokio::test]
async fn an_open_that_cannot_be_written_is_told_and_counts_as_degraded() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let (ledger, keeper) = open(config(dir.path()), store.clone()).await.unwrap();
    let mut ticket = begin(&ledger, 1).unwrap();
    ledger.0.wal.fail_after(Some(0));
    assert!(matches!(ledger.opened(&mut ticket).await, Err(WalError::Io { .. })));
    assert!(ticket.degraded());
    ledger.0.wal.fail_after(None);
    complete(&ledger, ticket, 1).unwrap();
    let counts = ledger.counters().counters;
    assert_eq!((counts.received, counts.recorded, counts.degraded), (1, 1, 1));
    keeper.close().await.unwrap();
}

#[tokio::test]
async fn with_too_much_or_too_old_a_backlog_nothing_more_is_accepted() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let bytes = Config { max_backlog_bytes: 1, batch_every: Duration::from_secs(60), ..config(dir.path()) };
    let (ledger, keeper) = open(bytes, store.clone()).await.unwrap();
    assert!(matches!(begin(&ledger, 1), Err(WalError::Full(_))));
    assert!(!ledger.healthy());
    assert_eq!(ledger.counters().counters.received, 0);
    keeper.close().await.unwrap();
    drop(ledger);

    let age = Duration::from_millis(20);
    let old = Config { max_backlog_age: age, batch_every: Duration::from_secs(60), ..config(dir.path()) };
    let (ledger, keeper) = open(old, store).await.unwrap();
    // The keeper's first round comes at once; the next one in a minute.
    let refused = async {
        loop {
            match begin(&ledger, 1) {
                Ok(ticket) => drop(complete(&ledger, ticket, 1).unwrap()),
                Err(error) => break error,
            }
            tokio::time::sleep(age).await;
        }
    };
    let refused = tokio::time::timeout(Duration::from_secs(10), refused).await.unwrap();
    assert!(matches!(refused, WalError::Old(_)));
    assert!(!ledger.healthy() && ledger.counters().wal_bytes > 0);
    keeper.close().await.unwrap();
    assert_eq!(ledger.counters().backlog, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_power_an_answer_waits_for_the_disk() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let config = Config { durability: Durability::Power, ..config(dir.path()) };
    let (ledger, keeper) = open(config, store).await.unwrap();
    let mut ids = Vec::new();
    for n in 0..20 {
        let mut ticket = begin(&ledger, n).unwrap();
        ledger.opened(&mut ticket).await.unwrap();
        ids.push(*ticket.id());
        let record = seal_for(&ledger, &mut ticket, n);
        ledger.finishing(ticket, record.into()).unwrap().written().await.unwrap();
    }
    settle(&ledger).await;
    for id in &ids {
        verify(&ledger, &receipt(&ledger, id).await);
    }
    let counts = ledger.counters().counters;
    assert_eq!((counts.recorded, counts.degraded, counts.lost), (20, 0, 0));
    keeper.close().await.unwrap();
}
