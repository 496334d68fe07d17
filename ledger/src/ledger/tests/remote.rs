//! A ledger whose log is kept by the log role: away, expired, forked, lying.

use super::support::*;
use super::*;
use crate::log::tests::support as log_support;
use crate::log::tests::support::{Fault, FaultStore, memory};
use crate::log::{Log, LogConfig};
use crate::private::Kek;
use crate::remote::{Accepted, Call, Refused, Remote, Reply, Transport};
use crate::service::{LogService, Refusal, ServiceTask};
use colophon_receipt::statement::{Counters as StatementCounters, STATEMENT_TYPE, Statement};
use colophon_signer::cose::sign_statement;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use object_store::ObjectStore;
use tempfile::TempDir;

/// The way to a service in this process.
pub(super) struct Direct {
    service: Mutex<LogService>,
    pub(super) away: AtomicBool,
    /// Says that it has what it has not.
    lies: AtomicBool,
}

impl Direct {
    pub(super) fn to(service: LogService) -> Arc<Direct> {
        let (away, lies) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Direct { service: Mutex::new(service), away, lies })
    }
}

impl Transport for Direct {
    fn call(&self, call: Call) -> BoxFuture<'_, std::result::Result<Reply, String>> {
        let service = self.service.lock().unwrap().clone();
        let lies = self.lies.load(Ordering::Relaxed);
        async move {
            if self.away.load(Ordering::Relaxed) {
                return Err("connection refused".into());
            }
            let reply = |status: u16, body: Vec<u8>| Ok(Reply { status, body: body.into() });
            let Some(body) = call.body else {
                let file = match call.path.strip_prefix("log/") {
                    Some(file) => service.public_file(file).await.unwrap(),
                    None => Some(format!(r#"{{"logs": [{{"vkey": "{}"}}]}}"#, service.vkey()).into()),
                };
                return file.map_or_else(|| reply(404, Vec::new()), |bytes| reply(200, bytes.to_vec()));
            };
            if lies {
                let head = service.head();
                let accepted = Accepted { index: head.size() - 1, checkpoint: head.note.clone() };
                return reply(200, serde_json::to_vec(&accepted).unwrap());
            }
            let done = match call.path.split_once("?announced=") {
                Some((_, announced)) => service.append(&body, announced.parse().unwrap()).await,
                None => service.announce(&body, None).await,
            };
            match done {
                Ok(logged) => reply(200, serde_json::to_vec(&Accepted::from(&logged)).unwrap()),
                Err(refusal) => {
                    reply(refusal.status(), serde_json::to_vec(&Refused::from(&refusal)).unwrap())
                }
            }
        }
        .boxed()
    }
}

pub(super) async fn log_role(store: &Arc<dyn ObjectStore>) -> (LogService, ServiceTask) {
    let config = LogConfig { several_writers: true, ..log_support::config(None) };
    let log = Log::open(store.clone(), config).await.unwrap();
    LogService::start(log, log_support::key(), None, None).await.unwrap()
}

pub(super) fn sidecar(data: &Path, transport: &Arc<Direct>) -> Config {
    let transport: Arc<dyn Transport> = transport.clone();
    Config { log: LogAt::Elsewhere(Remote { transport, key: None }), ..config(data) }
}

#[tokio::test]
async fn records_go_to_the_log_role_and_receipts_verify() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let (service, _task) = log_role(&store).await;
    let way = Direct::to(service);
    let (ledger, keeper) = open(sidecar(dir.path(), &way), store.clone()).await.unwrap();
    let mut ids: Vec<_> = (0..20).map(|n| exchange(&ledger, n)).collect();
    settle(&ledger).await;
    // Away, and back.
    way.away.store(true, Ordering::Relaxed);
    ids.extend((20..40).map(|n| exchange(&ledger, n)));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(ledger.counters().backlog, 20);
    way.away.store(false, Ordering::Relaxed);
    settle(&ledger).await;
    for id in &ids {
        verify(&ledger, &receipt(&ledger, id).await);
    }
    keeper.close().await.unwrap();
    let found = audit(&ledger).await;
    assert_eq!((found.records.len(), found.closed.len()), (40, 1));
}

#[tokio::test]
async fn each_of_two_sidecars_finds_what_the_other_has_just_logged() {
    let (dirs, store) = ([TempDir::new().unwrap(), TempDir::new().unwrap()], memory());
    let store = FaultStore::new(store, Fault::HiccupBefore, usize::MAX);
    let (service, _task) = log_role(&(store.clone() as Arc<dyn ObjectStore>)).await;
    let way = Direct::to(service);
    let kek = Arc::new(Kek::new(&[5; 32]).unwrap());
    let config = |at: usize| Config { private_key: Some(kek.clone()), ..sidecar(dirs[at].path(), &way) };
    let (one, one_keeper) = open(config(0), store.clone()).await.unwrap();
    let (other, other_keeper) = open(config(1), store.clone()).await.unwrap();
    for n in 0..5 {
        let id = exchange(&one, n);
        settle(&one).await;
        let [before, _] = store.index_listings();
        verify(&other, &receipt(&other, &id).await);
        verify(&other, &receipt(&other, &id).await);
        let [listed, _] = store.index_listings();
        assert_eq!(listed, before + 1, "{n}");
    }
    one_keeper.close().await.unwrap();
    other_keeper.close().await.unwrap();
}

#[tokio::test]
async fn a_key_that_expired_while_the_log_was_away_loses_nothing() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let (service, _task) = log_role(&store).await;
    let way = Direct::to(service);
    let config = Config { shard_key_life: Duration::from_millis(1000), ..sidecar(dir.path(), &way) };
    let (ledger, keeper) = open(config, store.clone()).await.unwrap();
    let mut ids = vec![exchange(&ledger, 0)];
    settle(&ledger).await;
    let first = ledger.shard().name.clone();
    way.away.store(true, Ordering::Relaxed);
    // In a statement that cannot be logged before its key has expired.
    ids.extend((1..5).map(|n| exchange(&ledger, n)));
    ledger.passed("health");
    tokio::time::sleep(Duration::from_millis(1200)).await;
    way.away.store(false, Ordering::Relaxed);
    settle(&ledger).await;
    assert_ne!(ledger.shard().name, first);
    ids.push(exchange(&ledger, 5));
    settle(&ledger).await;
    keeper.close().await.unwrap();
    let found = audit(&ledger).await;
    assert_eq!(found.records.len(), ids.len());
    assert!(ids.iter().all(|id| found.records.contains_key(id)));
    let earlier = found.announced[1].predecessor.as_ref().expect("the expired shard");
    assert_eq!(earlier.shard, first);
    let ends = found.shards.values().filter_map(|statements| statements.last());
    assert_eq!(ends.map(|last| last.rules.get(b"health").passed).sum::<u64>(), 1);
}

#[tokio::test]
async fn a_cloned_sidecar_begins_another_shard() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let (service, _task) = log_role(&store).await;
    let way = Direct::to(service.clone());
    let (ledger, keeper) = open(sidecar(dir.path(), &way), store.clone()).await.unwrap();
    let shard = ledger.shard();
    // The other copy of this process was faster.
    let theirs = Statement {
        shard: shard.name.clone(),
        seq: 0,
        count: 0,
        root: colophon_receipt::merkle::empty_root(),
        previous: shard.announcement_hash,
        from: ledger.now(),
        to: ledger.now(),
        beacon: None,
        cumulative_exchanges: 0,
        cumulative_evidence: 0,
        bypasses: Vec::new(),
        rules: Default::default(),
        policy: [9; 32],
        counters: StatementCounters::default(),
    };
    let leaf =
        sign_statement(&theirs.encode(), STATEMENT_TYPE, service.origin(), &shard.name, &*shard.signer)
            .unwrap();
    service.append(&leaf, shard.announced).await.unwrap();
    let ids: Vec<_> = (0..5).map(|n| exchange(&ledger, n)).collect();
    settle(&ledger).await;
    assert_ne!(ledger.shard().name, shard.name);
    assert!(service.counts().forks >= 1);
    for id in &ids {
        verify(&ledger, &receipt(&ledger, id).await);
    }
    keeper.close().await.unwrap();
}

#[tokio::test]
async fn a_log_that_lies_is_not_believed() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let (service, _task) = log_role(&store).await;
    let way = Direct::to(service);
    let (ledger, keeper) = open(sidecar(dir.path(), &way), store.clone()).await.unwrap();
    way.lies.store(true, Ordering::Relaxed);
    let id = exchange(&ledger, 0);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(ledger.counters().backlog, 1, "the WAL keeps it");
    way.lies.store(false, Ordering::Relaxed);
    settle(&ledger).await;
    verify(&ledger, &receipt(&ledger, &id).await);
    keeper.close().await.unwrap();
    drop(ledger);

    // Another history under the same key, in the place of the one that this folder knows.
    let other = memory();
    let (forked, _task) = log_role(&other).await;
    *way.service.lock().unwrap() = forked;
    let refused = open(sidecar(dir.path(), &way), store).await.err().unwrap();
    assert!(refused.to_string().contains("rolled back"), "{refused}");
}

#[tokio::test]
async fn a_late_statement_of_an_earlier_life_is_not_logged_twice() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let (service, _task) = log_role(&store).await;
    let way = Direct::to(service.clone());
    let (ledger, keeper) = open(sidecar(dir.path(), &way), store.clone()).await.unwrap();
    let first = exchange(&ledger, 0);
    settle(&ledger).await;
    let shard = ledger.shard();
    way.away.store(true, Ordering::Relaxed);
    let second = exchange(&ledger, 1);
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(keeper);
    drop(ledger);
    // Its task ends by and by.
    tokio::time::sleep(Duration::from_millis(100)).await;
    way.away.store(false, Ordering::Relaxed);
    let (ledger, keeper) = open(sidecar(dir.path(), &way), store.clone()).await.unwrap();
    settle(&ledger).await;
    // What the earlier life had sent comes now.
    let late = Statement {
        shard: shard.name.clone(),
        seq: 1,
        count: 0,
        root: colophon_receipt::merkle::empty_root(),
        previous: [0; 32],
        from: ledger.now(),
        to: ledger.now(),
        beacon: None,
        cumulative_exchanges: 1,
        cumulative_evidence: 0,
        bypasses: Vec::new(),
        rules: Default::default(),
        policy: [9; 32],
        counters: StatementCounters::default(),
    };
    let leaf = sign_statement(&late.encode(), STATEMENT_TYPE, service.origin(), &shard.name, &*shard.signer)
        .unwrap();
    assert_eq!(service.append(&leaf, shard.announced).await.unwrap_err(), Refusal::Superseded);
    keeper.close().await.unwrap();
    let found = audit(&ledger).await;
    assert_eq!(found.records.len(), 2);
    assert!(found.records.contains_key(&first) && found.records.contains_key(&second));
}

/// The change waits for a log that is away, and is logged once.
#[tokio::test]
async fn a_policy_change_waits_for_the_log_role() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let (service, _task) = log_role(&store).await;
    let way = Direct::to(service);
    let (ledger, keeper) = open(sidecar(dir.path(), &way), store.clone()).await.unwrap();
    way.away.store(true, Ordering::Relaxed);
    let text = crate::PolicyText::new("{\"policy\":1}");
    let in_force = Arc::new(AtomicBool::new(false));
    let swap = in_force.clone();
    let change = ledger.change_policy(text.clone(), move || swap.store(true, Ordering::SeqCst));
    let mut change = Box::pin(change);
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut change).await.is_err());
    assert!(!in_force.load(Ordering::SeqCst), "in force without the log");
    way.away.store(false, Ordering::Relaxed);
    change.await.unwrap();
    assert!(in_force.load(Ordering::SeqCst));
    exchange(&ledger, 1);
    keeper.close().await.unwrap();
    let found = audit(&ledger).await;
    assert_eq!(found.changes.len(), 1);
    let report = crate::check::check(store, crate::check::CheckOptions::default()).await;
    assert!(report.is_sound(), "{:?}", report.findings);
}

/// A sidecar that knows the log's key from elsewhere.
fn knowing(data: &Path, transport: &Arc<Direct>, service: &LogService) -> Config {
    let key = Some(service.vkey().parse().unwrap());
    let transport: Arc<dyn Transport> = transport.clone();
    Config { log: LogAt::Elsewhere(Remote { transport, key }), ..config(data) }
}

#[tokio::test]
async fn without_the_log_at_its_start_it_serves_and_catches_up_in_order() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let (service, _task) = log_role(&store).await;
    let way = Direct::to(service.clone());
    way.away.store(true, Ordering::Relaxed);
    // A folder that knows nothing of the log, and is told nothing, cannot begin.
    let refused = open(sidecar(dir.path(), &way), store.clone()).await.err().unwrap();
    assert!(refused.is_away(), "{refused}");

    let small = || Config { max_batch: 4, ..knowing(dir.path(), &way, &service) };
    let (ledger, keeper) = open(small(), store.clone()).await.unwrap();
    assert!(!ledger.head().is_known() && ledger.healthy());
    let shard = ledger.shard().name.clone();
    let ids: Vec<_> = (0..10).map(|n| exchange(&ledger, n)).collect();
    let under_way = accept(&ledger, 10).unwrap();
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert_eq!(ledger.counters().backlog, 10);
    assert!(matches!(ledger.lookup(&ids[0]).await.unwrap(), Lookup::Pending));
    way.away.store(false, Ordering::Relaxed);
    settle(&ledger).await;
    // The shard that signed is the one announced; what was begun before that ends after it.
    assert_eq!(ledger.shard().name, shard);
    let last = complete(&ledger, under_way, 10).unwrap();
    settle(&ledger).await;
    for id in ids.iter().chain([&last]) {
        verify(&ledger, &receipt(&ledger, id).await);
    }
    // It dies in the middle as well.
    way.away.store(true, Ordering::Relaxed);
    let waiting = exchange(&ledger, 11);
    tokio::time::sleep(Duration::from_millis(20)).await;
    way.away.store(false, Ordering::Relaxed);
    settle(&ledger).await;
    keeper.close().await.unwrap();
    let found = audit(&ledger).await;
    assert_eq!((found.records.len(), found.announced.len(), found.closed.len()), (12, 1, 1));
    assert!(found.records.contains_key(&waiting));
    let statements = &found.shards[&shard];
    let last = statements.last().unwrap();
    assert_eq!((last.counters.received, last.counters.recorded, last.counters.lost), (12, 12, 0));
    // In the order of their ends.
    let times: Vec<_> = ids.iter().map(|id| found.records[id].completed_at).collect();
    assert!(times.is_sorted() && statements.len() > 3);
}

#[tokio::test]
async fn lives_that_began_and_died_without_the_log_are_logged_once_with_their_signatures() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let (service, _task) = log_role(&store).await;
    let way = Direct::to(service.clone());
    // A life with the log first: its last records are in the WAL only.
    let slow = Config { batch_every: Duration::from_secs(3600), ..sidecar(dir.path(), &way) };
    let (ledger, keeper) = open(slow, store.clone()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let mut ids: Vec<_> = (0..3).map(|n| exchange(&ledger, n)).collect();
    drop((keeper, ledger));
    way.away.store(true, Ordering::Relaxed);
    for life in 1..4 {
        // Its key is remembered now.
        let (ledger, keeper) = unlocked(|| open(sidecar(dir.path(), &way), store.clone())).await;
        assert!(matches!(ledger.lookup(&ids[0]).await.unwrap(), Lookup::Pending), "it is on its way");
        ids.extend((0..3).map(|n| exchange(&ledger, life * 10 + n)));
        tokio::time::sleep(Duration::from_millis(20)).await;
        drop((keeper, ledger));
    }
    way.away.store(false, Ordering::Relaxed);
    let (ledger, keeper) = unlocked(|| open(sidecar(dir.path(), &way), store.clone())).await;
    settle(&ledger).await;
    for id in &ids {
        let receipt = receipt(&ledger, id).await;
        assert_eq!(receipt.http_signatures.len(), 1, "its signature is by an announced key");
        verify(&ledger, &receipt);
    }
    keeper.close().await.unwrap();
    let found = audit(&ledger).await;
    assert_eq!(found.records.len(), ids.len());
    // One with the log, three that died without it, the last.
    assert_eq!(found.announced.len(), 5);
}

/// The tasks of a dropped ledger, and with them its lock, go by and by.
pub(super) async fn unlocked<F>(open: impl Fn() -> F) -> (Ledger, Keeper)
where
    F: Future<Output = Result<(Ledger, Keeper), LedgerError>>,
{
    for _ in 0..1000 {
        match open().await {
            Err(LedgerError::Locked(_)) => tokio::time::sleep(Duration::from_millis(5)).await,
            opened => return opened.unwrap(),
        }
    }
    panic!("the folder stays locked");
}

#[tokio::test]
async fn a_key_that_expired_before_the_log_ever_answered_loses_no_record() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let (service, _task) = log_role(&store).await;
    let way = Direct::to(service.clone());
    way.away.store(true, Ordering::Relaxed);
    let short = Config { shard_key_life: Duration::from_millis(300), ..knowing(dir.path(), &way, &service) };
    let (ledger, keeper) = open(short, store.clone()).await.unwrap();
    let id = exchange(&ledger, 1);
    let first = ledger.shard().name.clone();
    tokio::time::sleep(Duration::from_millis(400)).await;
    way.away.store(false, Ordering::Relaxed);
    settle(&ledger).await;
    assert_ne!(ledger.shard().name, first);
    let receipt = receipt(&ledger, &id).await;
    assert!(receipt.http_signatures.is_empty());
    drop(keeper);
}
