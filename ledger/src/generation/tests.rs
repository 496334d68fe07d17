use std::path::Path;

use colophon_receipt::receipt::Receipt;
use colophon_receipt::record::RecordId;
use colophon_signer::Ed25519Key;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;

use super::*;
use crate::check::{CheckOptions, Finding, Report, check};
use crate::destination::LogAt;
use crate::erase::{Erase, EraseError};
use crate::ledger::tests::support::{self, exchange, receipt, settle};
use crate::ledger::{Config, Ledger};
use crate::log::tests::support::{Fault, FaultStore};

fn key(n: u8) -> Arc<dyn Signer> {
    Arc::new(Ed25519Key::from_seed(&[n; 32]).unwrap())
}

fn with_key(data: &Path, n: u8) -> Config {
    Config { log: LogAt::Here(key(n)), ..support::config(data) }
}

/// One life: an exchange, then a clean end.
async fn life(data: &Path, store: &Arc<dyn ObjectStore>, n: u8) -> RecordId {
    let (ledger, keeper) = support::open(with_key(data, n), store.clone()).await.unwrap();
    let id = exchange(&ledger, u64::from(n));
    settle(&ledger).await;
    keeper.close().await.unwrap();
    id
}

async fn turn(
    data: &Path,
    store: &Arc<dyn ObjectStore>,
    old: Option<u8>,
    new: u8,
) -> Result<Rotated, LedgerError> {
    let folder = Folder::open(&support::config(data).data)?;
    let rotate = Rotate {
        data: folder.root().to_owned(),
        stores: Stores::default(),
        state: Some(data.join("state")),
        old_key: old.map(key),
        new_key: key(new),
        reason: Reason::Superseded,
        now: 2_000_000_000_000_000,
    };
    rotate_in(&folder, store.clone(), rotate).await
}

fn memory() -> Arc<dyn ObjectStore> {
    Arc::new(InMemory::new())
}

async fn checked(store: &Arc<dyn ObjectStore>, generation: u32) -> Report {
    check(store.clone(), CheckOptions { generation, ..CheckOptions::default() }).await
}

/// The receipt's log, by its checkpoint, verified with the trust file's key of that log.
fn origin_of(ledger: &Ledger, receipt: &Receipt) -> String {
    let trust: serde_json::Value = serde_json::from_str(&ledger.trust_json()).unwrap();
    let note = receipt.log_proof.split_once("\n\n").unwrap().1;
    let origin = note.lines().next().unwrap().to_owned();
    let logs = trust["logs"].as_array().unwrap();
    let log = logs.iter().find(|log| log["origin"] == *origin).expect("the trust file names the log");
    let key: VerifierKey = log["vkey"].as_str().unwrap().parse().unwrap();
    assert_eq!(SignedHead::parse(note, &key).unwrap().checkpoint.origin, origin);
    origin
}

#[tokio::test]
async fn a_log_goes_on_under_new_keys_and_old_receipts_are_still_found() {
    let dir = tempfile::tempdir().unwrap();
    let store = memory();
    let first = life(dir.path(), &store, 7).await;
    let rotated = turn(dir.path(), &store, Some(7), 8).await.unwrap();
    assert_eq!((rotated.generation, rotated.already), (2, false));
    assert!(rotated.vkey.starts_with("log.example/test/2+"));
    // Asked again, nothing changes.
    let again = turn(dir.path(), &store, Some(7), 8).await.unwrap();
    assert!(again.already && again.generation == 2 && again.predecessor == rotated.predecessor);

    let second = life(dir.path(), &store, 8).await;
    assert_eq!(turn(dir.path(), &store, Some(8), 9).await.unwrap().generation, 3);
    let (ledger, keeper) = support::open(with_key(dir.path(), 9), store.clone()).await.unwrap();
    let third = exchange(&ledger, 9);
    settle(&ledger).await;
    for (id, origin) in
        [(first, "log.example/test/1"), (second, "log.example/test/2"), (third, "log.example/test/3")]
    {
        assert_eq!(origin_of(&ledger, &receipt(&ledger, &id).await), origin);
    }
    keeper.close().await.unwrap();
    drop(ledger);

    for generation in 1..=3 {
        let report = checked(&store, generation).await;
        assert!(report.is_sound(), "{generation}: {:?}", report.findings);
        assert_eq!(report.link.map(|link| link.handed_over), (generation > 1).then_some(true));
        assert_eq!(report.revocations, u64::from(generation < 3));
    }
    // Neither old key begins or continues anything.
    for old in [7, 8] {
        let refused = support::open(with_key(dir.path(), old), store.clone()).await.err().unwrap();
        assert!(matches!(refused, LedgerError::Log(LogError::Key { .. })), "{refused}");
    }
}

#[tokio::test]
async fn what_is_erased_goes_from_every_generation() {
    let dir = tempfile::tempdir().unwrap();
    let store = memory();
    let first = life(dir.path(), &store, 7).await;
    turn(dir.path(), &store, Some(7), 8).await.unwrap();
    let second = life(dir.path(), &store, 8).await;
    turn(dir.path(), &store, Some(8), 9).await.unwrap();
    // While one cannot be read, nothing is said to be done.
    let checkpoint = object_store::path::Path::from("log/1/checkpoint");
    let bytes = store.get(&checkpoint).await.unwrap().bytes().await.unwrap();
    store.delete(&checkpoint).await.unwrap();
    let (ledger, keeper) = support::open(with_key(dir.path(), 9), store.clone()).await.unwrap();
    let third = exchange(&ledger, 9);
    settle(&ledger).await;
    let time = ledger.now();
    let fourth = exchange(&ledger, 10);
    settle(&ledger).await;
    let is_erased =
        async |id: &RecordId| matches!(ledger.lookup(id).await.unwrap(), crate::Lookup::Erased(_));
    for what in [Erase::Before(time), Erase::Tenant(b"-".to_vec())] {
        let refused = ledger.erase(what).await.unwrap_err();
        assert!(matches!(refused, EraseError::Generation), "{refused}");
    }
    assert!(!is_erased(&third).await);
    store.put(&checkpoint, bytes.into()).await.unwrap();

    let report = ledger.erase(Erase::Before(time)).await.unwrap();
    assert_eq!(report.openings, 3);
    for id in [&first, &second, &third] {
        assert!(is_erased(id).await);
    }
    assert!(!is_erased(&fourth).await);
    // Records that name no tenant are of this one; three of them are gone.
    let report = ledger.erase(Erase::Tenant(b"-".to_vec())).await.unwrap();
    assert_eq!(report.openings, 1);
    keeper.close().await.unwrap();
    assert!(checked(&store, 3).await.is_sound());
}

/// The WAL of a process that was killed, and the log's key was rotated before its next start, as a log role's may be.
#[tokio::test]
async fn a_wal_from_before_a_rotation_is_logged_once_and_its_receipts_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let store = memory();
    let config = |n| Config { batch_every: std::time::Duration::from_secs(3600), ..with_key(dir.path(), n) };
    let (ledger, keeper) = support::open(config(7), store.clone()).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    let logged = [exchange(&ledger, 1), exchange(&ledger, 2)];
    ledger.change_policy(crate::PolicyText::new("{\"closes\":1}"), || ()).await.unwrap();
    assert_eq!(ledger.counters().backlog, 0);
    let waiting = exchange(&ledger, 3);
    drop((keeper, ledger));
    let (wal, aside) = (dir.path().join("data/wal"), dir.path().join("aside"));
    std::fs::create_dir(&aside).unwrap();
    let segments = |folder: &Path| {
        let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_str().unwrap().ends_with(".wal")).collect::<Vec<_>>()
    };
    let names = segments(&wal);
    assert!(!names.is_empty());
    names.iter().for_each(|name| std::fs::rename(wal.join(name), aside.join(name)).unwrap());
    while matches!(
        turn(dir.path(), &store, Some(7), 8).await,
        Err(LedgerError::Locked(_) | LedgerError::Log(_))
    ) {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    names.iter().for_each(|name| std::fs::rename(aside.join(name), wal.join(name)).unwrap());

    let (ledger, keeper) = support::open(with_key(dir.path(), 8), store.clone()).await.unwrap();
    settle(&ledger).await;
    assert_eq!(ledger.counters().counters.received, 1, "the others are in the old generation");
    let last = exchange(&ledger, 4);
    settle(&ledger).await;
    for (id, signatures, generation) in [(logged[0], 1, 1), (logged[1], 1, 1), (waiting, 0, 2), (last, 1, 2)]
    {
        let receipt = receipt(&ledger, &id).await;
        assert_eq!(receipt.http_signatures.len(), signatures);
        assert_eq!(origin_of(&ledger, &receipt), format!("log.example/test/{generation}"));
    }
    keeper.close().await.unwrap();
    for generation in [1, 2] {
        let report = checked(&store, generation).await;
        assert!(report.is_sound(), "{generation}: {:?}", report.findings);
    }
}

#[tokio::test]
async fn a_tenant_whose_records_are_all_in_an_old_generation_is_erased_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let store = memory();
    let first = life(dir.path(), &store, 7).await;
    turn(dir.path(), &store, Some(7), 8).await.unwrap();
    let (ledger, keeper) = support::open(with_key(dir.path(), 8), store.clone()).await.unwrap();
    let report = ledger.erase(Erase::Tenant(b"-".to_vec())).await.unwrap();
    assert_eq!((report.openings, report.logged.is_some()), (1, true));
    assert!(matches!(ledger.lookup(&first).await.unwrap(), crate::Lookup::Erased(_)));
    keeper.close().await.unwrap();
}

#[tokio::test]
async fn an_old_receipt_beyond_the_size_of_the_newest_log_does_not_need_that_log() {
    let dir = tempfile::tempdir().unwrap();
    let store = memory();
    let (ledger, keeper) = support::open(with_key(dir.path(), 7), store.clone()).await.unwrap();
    let mut last = exchange(&ledger, 0);
    for n in 1..6 {
        settle(&ledger).await;
        last = exchange(&ledger, n);
    }
    settle(&ledger).await;
    keeper.close().await.unwrap();
    drop(ledger);
    turn(dir.path(), &store, Some(7), 8).await.unwrap();
    let (ledger, _keeper) = support::open(with_key(dir.path(), 8), store.clone()).await.unwrap();
    let place = ledger.place(&last).await.unwrap().unwrap().0;
    assert!(place.log_index >= ledger.head().size(), "{place:?}");
    // Nothing of the newest log can be read.
    let objects = crate::ledger::objects::Objects(store.clone());
    let names = objects.paths("log/2").await.unwrap();
    assert!(!names.is_empty());
    objects.delete_in_order(&names).await.unwrap();
    assert_eq!(origin_of(&ledger, &receipt(&ledger, &last).await), "log.example/test/1");
}

#[tokio::test]
async fn what_would_be_half_a_rotation_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = memory();
    let none = turn(dir.path(), &store, Some(7), 8).await.unwrap_err().to_string();
    assert!(none.contains("there is no log"), "{none}");
    let (ledger, keeper) = support::open(with_key(dir.path(), 7), store.clone()).await.unwrap();
    let in_use = turn(dir.path(), &store, Some(7), 8).await.unwrap_err();
    assert!(matches!(in_use, LedgerError::Locked(_)), "{in_use}");
    // An exchange that is open when the process dies: a copy of the folder is what it leaves.
    let open = support::accept(&ledger, 5).unwrap();
    let copy = tempfile::tempdir().unwrap();
    copy_dir(dir.path(), copy.path());
    let waiting = turn(copy.path(), &store, Some(7), 8).await.unwrap_err().to_string();
    drop((open, keeper));
    assert!(waiting.contains("start the proxy once"), "{waiting}");

    let other = tempfile::tempdir().unwrap();
    let store = memory();
    life(other.path(), &store, 7).await;
    let same = turn(other.path(), &store, Some(7), 7).await.unwrap_err().to_string();
    assert!(same.contains("already"), "{same}");
    let wrong = turn(other.path(), &store, Some(9), 8).await.unwrap_err();
    assert!(matches!(wrong, LedgerError::Log(LogError::Key { .. })), "{wrong}");
    assert_eq!(newest(&store).await.unwrap(), 1);
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => copy_dir(&entry.path(), &to.join(entry.file_name())),
            false => drop(std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

/// The process dies before or after each write of the rotation: what is there is one whole generation or the other, and
/// the same command completes it.
#[tokio::test]
async fn a_rotation_that_dies_anywhere_leaves_one_generation_or_the_other() {
    let mut outcomes = [0, 0];
    for fault in [Fault::DeadBefore, Fault::DeadAfter] {
        for at in 0.. {
            assert!(at < 100, "the rotation never ends");
            let dir = tempfile::tempdir().unwrap();
            let store = memory();
            let first = life(dir.path(), &store, 7).await;
            let faulty = FaultStore::new(store.clone(), fault, at);
            let dying: Arc<dyn ObjectStore> = faulty.clone();
            let died = turn(dir.path(), &dying, Some(7), 8).await.is_err();
            let generation = newest(&store).await.unwrap();
            outcomes[generation as usize - 1] += 1;
            let (mine, other) = if generation == 1 { (7, 8) } else { (8, 7) };
            let refused = support::open(with_key(dir.path(), other), store.clone()).await.err();
            assert!(refused.is_some(), "{fault:?} {at}: both keys open it");
            // With its key the log goes on as if nothing had happened.
            if at % 2 == 0 {
                let between = life(dir.path(), &store, mine).await;
                let (ledger, keeper) =
                    support::open(with_key(dir.path(), mine), store.clone()).await.unwrap();
                receipt(&ledger, &first).await;
                receipt(&ledger, &between).await;
                keeper.close().await.unwrap();
            }
            let rotated = turn(dir.path(), &store, Some(7), 8).await.unwrap();
            assert_eq!((rotated.generation, rotated.already), (2, generation == 2), "{fault:?} {at}");
            let second = life(dir.path(), &store, 8).await;
            let (ledger, keeper) = support::open(with_key(dir.path(), 8), store.clone()).await.unwrap();
            assert_eq!(origin_of(&ledger, &receipt(&ledger, &first).await), "log.example/test/1");
            assert_eq!(origin_of(&ledger, &receipt(&ledger, &second).await), "log.example/test/2");
            keeper.close().await.unwrap();
            for generation in [1, 2] {
                let report = checked(&store, generation).await;
                assert!(report.is_sound(), "{fault:?} {at}: {:?}", report.findings);
            }
            assert!(check_link(&store, 2).await.unwrap().handed_over);
            if !died && !faulty.tripped() {
                break;
            }
        }
    }
    assert!(outcomes.iter().all(|count| *count > 3), "{outcomes:?}");
}

#[tokio::test]
async fn without_the_old_key_the_link_is_one_way_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let store = memory();
    let first = life(dir.path(), &store, 7).await;
    assert_eq!(turn(dir.path(), &store, None, 8).await.unwrap().generation, 2);
    assert!(!check_link(&store, 2).await.unwrap().handed_over);
    let (ledger, keeper) = support::open(with_key(dir.path(), 8), store.clone()).await.unwrap();
    assert_eq!(origin_of(&ledger, &receipt(&ledger, &first).await), "log.example/test/1");
    keeper.close().await.unwrap();
    assert!(checked(&store, 2).await.is_sound());
}

/// Whoever has the old key can still sign with it: that is found, and its generation is not used any more.
#[tokio::test]
async fn an_old_generation_that_grows_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let store = memory();
    let first = life(dir.path(), &store, 7).await;
    turn(dir.path(), &store, Some(7), 8).await.unwrap();
    let thief = LogConfig {
        generation: 1,
        origin: None,
        key: key(7),
        state: None,
        adopt: false,
        several_writers: false,
        predecessor: None,
        now: 1,
    };
    let mut log = Log::open(store.clone(), thief).await.unwrap();
    log.append(vec![b"forged".to_vec()]).await.unwrap();
    let report = checked(&store, 2).await;
    let grew =
        |finding: &Finding| finding.name() == "generation" && finding.to_string().contains("grew from");
    assert!(report.findings.iter().any(grew), "{:?}", report.findings);
    let (ledger, keeper) = support::open(with_key(dir.path(), 8), store.clone()).await.unwrap();
    assert!(!ledger.trust_json().contains("log.example/test/1"));
    assert!(
        ledger.lookup(&first).await.is_err(),
        "no receipt from a log that contradicts what was handed over"
    );
    keeper.close().await.unwrap();
}

#[tokio::test]
async fn a_generation_that_names_another_end_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let store = memory();
    life(dir.path(), &store, 7).await;
    let (_, head) = LogReader::open(store.clone(), 1).await.unwrap();
    // A checkpoint of the same log and size by a stranger's key.
    let strange =
        SignedHead::sign(&head.checkpoint.origin, head.size(), head.checkpoint.root, key(9).as_ref());
    let folder = tempfile::tempdir().unwrap();
    let forged = Rotate {
        data: folder.path().into(),
        stores: Stores::default(),
        state: None,
        old_key: None,
        new_key: key(8),
        reason: Reason::Superseded,
        now: 1,
    };
    let begun = config(&forged, 2, &key(8), Some(("log.example/test", &strange.unwrap())));
    drop(Log::open(store.clone(), begun).await.unwrap());
    let why = check_link(&store, 2).await.unwrap_err();
    assert!(why.contains("was not signed by a key of generation 1"), "{why}");
    assert!(!checked(&store, 2).await.is_sound());
    // And a later generation does not begin of itself.
    let alone = LogConfig { predecessor: None, ..config(&forged, 3, &key(8), None) };
    assert!(Log::open(store, alone).await.is_err());
}
