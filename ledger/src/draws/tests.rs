//! From a record that may be drawn to its evidence leaf, over restarts, bad rounds and a source that is away.

use super::*;
use crate::check::{CheckOptions, check};
use crate::ledger::Ledger;
use crate::ledger::keeper::batch_name;
use crate::ledger::tests::support::{accept, config, exchange, open, receipt, request, settle, verify};
use crate::ledger::{Config, Done, Keeper};
use crate::log::tests::support::memory;
use colophon_receipt::draw::{DELAY, Schedule, drawn};
use colophon_receipt::evidence::{BatchLeaf, EvidenceLeaf, Verdict};
use colophon_receipt::level::Level;
use colophon_receipt::merkle::{leaf_hash, sha256};
use colophon_receipt::receipt::Receipt;
use colophon_receipt::record::{RecordId, seal_sampled};
use colophon_receipt::{Hash, Outcome};
use colophon_signer::drand::Round;
use futures_util::FutureExt as _;
use object_store::{ObjectStore, ObjectStoreExt};
use std::collections::HashSet;
use tempfile::TempDir;

/// Round 123 of quicknet.
const ROUND: &str = r#"{"round":123,"signature":"b75c69d0b72a5d906e854e808ba7e2accb1542ac355ae486d591aa9d43765482e26cd02df835d3546d23c4b13e0dfc92"}"#;

/// Half of all.
const HALF: u64 = u64::MAX / 2;

/// Quicknet's key, and a schedule by which its round 123 draws for months: it is made at `NOW`'s end.
fn chain() -> Chain {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let period = 1_000_000;
    // Due in 20 minutes: in the middle between round 122 and 123.
    let schedule = Schedule { genesis: now + DELAY + period / 2 - 122 * period, period };
    Chain { schedule, ..Chain::quicknet() }
}

fn randomness() -> Hash {
    sha256(&Round::parse(ROUND.as_bytes()).unwrap().signature)
}

/// A source that says this of every round.
struct Says(Mutex<Result<Option<Vec<u8>>, String>>);

impl Says {
    fn new(round: &str) -> Arc<Says> {
        Arc::new(Says(Mutex::new(Ok(Some(round.as_bytes().to_vec())))))
    }

    fn say(&self, what: Result<Option<Vec<u8>>, String>) {
        *self.0.lock().unwrap() = what;
    }
}

impl RoundSource for Says {
    fn fetch(&self, _: u64) -> BoxFuture<'_, Result<Option<Vec<u8>>, String>> {
        let said = self.0.lock().unwrap().clone();
        async { said }.boxed()
    }
}

struct Scene {
    dir: TempDir,
    store: Arc<dyn ObjectStore>,
    chain: Chain,
}

impl Scene {
    fn new() -> Scene {
        Scene { dir: TempDir::new().unwrap(), store: memory(), chain: chain() }
    }

    async fn open(&self, source: Option<Arc<Says>>) -> (Ledger, Keeper) {
        self.open_with(source, None).await
    }

    async fn open_with(
        &self,
        source: Option<Arc<Says>>,
        escalation: Option<Arc<dyn Escalation>>,
    ) -> (Ledger, Keeper) {
        let source = source.map(|source| -> Arc<dyn RoundSource> { source });
        let drawing =
            Drawing { chain: self.chain.clone(), source, every: Duration::from_millis(5), escalation };
        let config = Config { drawing, ..config(self.dir.path()) };
        for _ in 0..1000 {
            match open(config.clone(), self.store.clone()).await {
                // What was dropped goes with the runtime's next turn.
                Err(crate::ledger::LedgerError::Locked(_)) => a_while().await,
                opened => return opened.unwrap(),
            }
        }
        panic!("the folder stays locked")
    }

    async fn check(&self) -> crate::check::Report {
        check(self.store.clone(), CheckOptions { chain: self.chain.clone(), ..CheckOptions::default() }).await
    }
}

/// A finished exchange whose rule samples.
fn sampled(ledger: &Ledger, n: u64, draw: (u64, Level)) -> RecordId {
    let mut ticket = accept(ledger, n).unwrap();
    let (id, at) = (*ticket.id(), ledger.stamp(&mut ticket));
    let record = seal_sampled(id, at, Level::Sign, Outcome::Complete, [n as u8; 32], request(n), Some(draw));
    ledger.finish(ticket, Done { record, signatures: vec![], refused: false }).unwrap();
    id
}

/// Waits until nothing waits to be drawn.
async fn all_drawn(ledger: &Ledger) {
    settle(ledger).await;
    for _ in 0..4000 {
        if ledger.draws().waiting == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("still to be drawn: {:?}", ledger.draws());
}

/// Lets the task go round a few times.
async fn a_while() {
    tokio::time::sleep(Duration::from_millis(150)).await;
}

/// Until no batch waits for its round, or a time that is long enough for it.
async fn until_none_waits(ledger: &Ledger) {
    for _ in 0..100 {
        a_while().await;
        if ledger.draws().waiting == 0 {
            break;
        }
    }
}

/// Each of these two records has one evidence leaf, that nothing was done, and so says a check of the closed log.
async fn each_has_one_leaf(scene: &Scene, ledger: &Ledger, keeper: Keeper, ids: &[RecordId]) {
    for id in ids {
        assert_eq!(evidence(&receipt(ledger, id).await).len(), 1);
    }
    keeper.close().await.unwrap();
    let report = scene.check().await;
    assert!(report.is_sound() && report.drawn.not_done == 2, "{:?}", report.findings);
}

fn evidence(receipt: &Receipt) -> Vec<EvidenceLeaf> {
    receipt.evidence.iter().map(|part| EvidenceLeaf::decode(&part.leaf.0).unwrap()).collect()
}

/// Every record's receipt tells of its draw, and evidence is there exactly for those that are drawn.
async fn as_the_round_says(ledger: &Ledger, ids: &[RecordId]) -> usize {
    let mut count = 0;
    for id in ids {
        let receipt = receipt(ledger, id).await;
        let leaf = verify(ledger, &receipt);
        let (threshold, target) = leaf.draw.unwrap();
        let hash = leaf_hash(&receipt.record.leaf.0);
        let found = evidence(&receipt);
        let is = drawn(&randomness(), &hash, threshold);
        assert_eq!(found.len(), usize::from(is));
        for leaf in found {
            assert_eq!((leaf.subject, leaf.kind, leaf.verdict), (hash, target, Verdict::NotDone));
            count += 1;
        }
        assert_eq!(receipt.round.as_ref().unwrap().number, 123);
    }
    count
}

#[tokio::test]
async fn what_is_drawn_gets_an_evidence_leaf_and_nothing_else() {
    let scene = Scene::new();
    let (ledger, keeper) = scene.open(Some(Says::new(ROUND))).await;
    let plain = exchange(&ledger, 1000);
    let ids: Vec<RecordId> = (0..60).map(|n| sampled(&ledger, n, (HALF, Level::Zk))).collect();
    let never = sampled(&ledger, 61, (0, Level::Tee));
    let always = sampled(&ledger, 62, (u64::MAX, Level::Tee));
    all_drawn(&ledger).await;
    let count = as_the_round_says(&ledger, &ids).await;
    assert!((15..45).contains(&count), "{count}");
    assert!(receipt(&ledger, &plain).await.round.is_none());
    assert!(receipt(&ledger, &never).await.evidence.is_empty());
    let leaf = evidence(&receipt(&ledger, &always).await).swap_remove(0);
    // Evidence has no receipt of its own.
    assert!(matches!(ledger.lookup(&leaf.id).await.unwrap(), crate::Lookup::Unknown));
    assert_eq!(ledger.draws().evidence, count as u64 + 1);
    keeper.close().await.unwrap();
    let report = scene.check().await;
    assert!(report.is_sound(), "{:?}", report.findings);
    let found = report.drawn;
    assert_eq!((report.records, found.records), (63, 62));
    assert_eq!(
        (found.drawn, found.with_evidence, found.not_done),
        (count as u64 + 1, found.drawn, found.drawn)
    );
    assert_eq!((found.unknown, found.waiting), (0, 0));
    let statement = report.shards.iter().map(|shard| shard.counters.recorded).sum::<u64>();
    assert_eq!(statement, 63, "evidence is no exchange");
}

#[tokio::test]
async fn without_a_source_only_what_is_certain_is_settled() {
    let scene = Scene::new();
    let (ledger, keeper) = scene.open(None).await;
    let open = sampled(&ledger, 1, (HALF, Level::Zk));
    let certain = sampled(&ledger, 2, (u64::MAX, Level::Zk));
    settle(&ledger).await;
    for _ in 0..1000 {
        if ledger.draws().evidence == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    a_while().await;
    assert_eq!((ledger.draws().evidence, ledger.draws().waiting > 0), (1, true));
    assert_eq!(evidence(&receipt(&ledger, &certain).await).len(), 1);
    assert!(receipt(&ledger, &open).await.round.is_none());
    keeper.close().await.unwrap();
    let report = scene.check().await;
    assert!(report.is_sound() && report.drawn.unknown == 1, "{:?}", report.findings);
    drop(ledger);
    // A later life with a source draws what waited, and nothing twice.
    let (ledger, keeper) = scene.open(Some(Says::new(ROUND))).await;
    for _ in 0..1000 {
        a_while().await;
        if ledger.draws().waiting == 0 {
            break;
        }
    }
    let late = as_the_round_says(&ledger, &[open, certain]).await;
    keeper.close().await.unwrap();
    let report = scene.check().await;
    assert!(report.is_sound(), "{:?}", report.findings);
    assert_eq!((report.drawn.with_evidence, report.drawn.unknown), (late as u64, 0));
}

#[tokio::test]
async fn a_source_that_is_away_or_lies_makes_draws_wait_and_shows() {
    let scene = Scene::new();
    let other = ROUND.replace("123", "124");
    let tampered = ROUND.replace("b75c", "b75d");
    for lie in
        [Err("connection refused".to_owned()), Ok(Some(other)), Ok(Some(tampered)), Ok(Some("<html>".into()))]
    {
        let source = Says::new(ROUND);
        source.say(lie.clone().map(|text| text.map(String::into_bytes)));
        let scene = Scene { dir: TempDir::new().unwrap(), store: memory(), chain: scene.chain.clone() };
        let (ledger, keeper) = scene.open(Some(source.clone())).await;
        let id = sampled(&ledger, 1, (u64::MAX - 1, Level::Zk));
        settle(&ledger).await;
        a_while().await;
        let counts = ledger.draws();
        assert!(counts.waiting == 1 && counts.failed > 0 && counts.evidence == 0, "{lie:?}: {counts:?}");
        assert!(receipt(&ledger, &id).await.round.is_none());
        drop(keeper);
    }
}

#[tokio::test]
async fn the_lag_is_the_age_of_the_oldest_round_that_is_waited_for() {
    let chain = chain();
    let draws = Draws::new(chain.clone());
    let to = ledger_now();
    let made = chain.schedule.time(chain.schedule.round(to));
    assert_eq!(draws.counts(made), DrawCounts::default());
    draws.add(Due::new("host/1", 7, to, [1; 32]));
    assert_eq!((draws.counts(made - 1).waiting, draws.counts(made - 1).lag), (1, 0));
    assert_eq!(draws.counts(made + 90_000_000).lag, 90);
}

fn ledger_now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros() as u64
}

#[tokio::test]
async fn a_kill_at_any_moment_neither_loses_nor_repeats_evidence() {
    let scene = Scene::new();
    let mut ids = Vec::new();
    for life in 0..12 {
        let (ledger, keeper) = scene.open(Some(Says::new(ROUND))).await;
        for n in 0..5 {
            ids.push(sampled(&ledger, life * 10 + n, (HALF, Level::Zk)));
        }
        tokio::time::sleep(Duration::from_millis(life * 3)).await;
        // As a crash would.
        drop(keeper);
        drop(ledger);
    }
    let (ledger, keeper) = scene.open(Some(Says::new(ROUND))).await;
    settle(&ledger).await;
    until_none_waits(&ledger).await;
    let count = as_the_round_says(&ledger, &ids).await;
    keeper.close().await.unwrap();
    let report = scene.check().await;
    assert!(report.is_sound(), "{:?}", report.findings);
    assert_eq!((report.records, report.drawn.with_evidence), (60, count as u64));
}

#[tokio::test]
async fn check_recomputes_every_draw() {
    let scene = Scene::new();
    let (ledger, keeper) = scene.open(Some(Says::new(ROUND))).await;
    let ids: Vec<RecordId> = (0..30).map(|n| sampled(&ledger, n, (HALF, Level::Zk))).collect();
    all_drawn(&ledger).await;
    assert!(as_the_round_says(&ledger, &ids).await > 0);
    keeper.close().await.unwrap();
    let found = async |options: CheckOptions| -> HashSet<&'static str> {
        let report = check(scene.store.clone(), options).await;
        report.findings.iter().map(crate::check::Finding::name).collect()
    };
    let options = || CheckOptions { chain: scene.chain.clone(), ..CheckOptions::default() };
    assert!(found(options()).await.is_empty());
    // By another chain none of its rounds are there, and by the same key with other randomness it would be no evidence.
    let other = check(scene.store.clone(), CheckOptions::default()).await;
    assert_eq!((other.drawn.unknown, other.drawn.records), (30, 30));
    // A round that was altered in the store.
    let name = rounds::round_file(&scene.chain, 123);
    let path = object_store::path::Path::from(name.as_str());
    let bad = ROUND.replace("b75c", "b75d").into_bytes();
    scene.store.put(&path, bad.into()).await.unwrap();
    assert_eq!(found(options()).await, HashSet::from(["draw"]));
}

#[tokio::test]
async fn drawn_without_evidence_and_evidence_without_a_draw_are_found() {
    let scene = Scene::new();
    let (ledger, keeper) = scene.open(None).await;
    let id = sampled(&ledger, 1, (u64::MAX, Level::Zk));
    all_drawn(&ledger).await;
    let place = ledger.place(&id).await.unwrap().unwrap().0;
    keeper.close().await.unwrap();
    let report = scene.check().await;
    assert!(report.is_sound(), "{:?}", report.findings);
    // The evidence's batch is lost: what it was for has none, and long ago. (Its own finding is the missing file.)
    let mut listed = Vec::new();
    for seq in 0..20 {
        let name = batch_name(&place.shard, seq);
        let path = object_store::path::Path::from(name.as_str());
        let Ok(found) = scene.store.get(&path).await else { continue };
        let batch = crate::batch::read(&found.bytes().await.unwrap()).unwrap();
        let leaf = BatchLeaf::decode(&batch.leaves[0]).unwrap();
        if matches!(leaf, BatchLeaf::Evidence(_)) {
            listed.push(path);
        }
    }
    assert_eq!(listed.len(), 1);
    scene.store.delete(&listed[0]).await.unwrap();
    let report = scene.check().await;
    let names: Vec<_> = report.findings.iter().map(crate::check::Finding::name).collect();
    assert_eq!((names, report.drawn.waiting), (vec!["batch"], 1), "not yet overdue: {:?}", report.findings);
}

/// Takes on what is drawn, but for one record that nobody can say anything of.
#[derive(Default)]
struct Takes {
    taken: Mutex<Vec<DrawnRecord>>,
    damaged: Mutex<Option<RecordId>>,
    refuses: bool,
}

impl Takes {
    async fn first(&self) -> DrawnRecord {
        for _ in 0..1000 {
            if let Some(drawn) = self.taken.lock().unwrap().first() {
                return *drawn;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("nothing is taken on")
    }
}

impl Escalation for Takes {
    fn take(&self, drawn: DrawnRecord) -> BoxFuture<'_, Result<bool, String>> {
        self.taken.lock().unwrap().push(drawn);
        let damaged = *self.damaged.lock().unwrap() == Some(drawn.record);
        let said = if damaged { Err("it is damaged".to_owned()) } else { Ok(!self.refuses) };
        async { said }.boxed()
    }
}

#[tokio::test]
async fn what_was_taken_on_is_remembered_in_the_store_until_its_leaf_is_logged() {
    let scene = Scene::new();
    let takes = Arc::new(Takes::default());
    let (ledger, keeper) = scene.open_with(None, Some(takes.clone())).await;
    let ids: Vec<RecordId> = (0..2).map(|n| sampled(&ledger, n, (u64::MAX, Level::Zk))).collect();
    settle(&ledger).await;
    takes.first().await;
    a_while().await;
    assert_eq!((ledger.draws().evidence, ledger.draws().waiting, ledger.draws().lag), (0, 1, 0));
    drop((ledger, keeper));
    // Whoever made its evidence is lost: the next life is asked again. A tool in between leaves it alone.
    let (ledger, keeper) = scene.open_with(None, Some(Arc::new(LeaveDrawn))).await;
    a_while().await;
    assert_eq!((ledger.draws().evidence, ledger.draws().waiting), (0, 1));
    drop((ledger, keeper));
    let takes = Arc::new(Takes::default());
    let (ledger, keeper) = scene.open_with(None, Some(takes.clone())).await;
    let DrawnRecord { record, subject, evidence: id, .. } = takes.first().await;
    assert!(ids.contains(&record));
    ledger.settle(crate::CameOf { record, subject, evidence: id, proof: None }).await.unwrap();
    drop((ledger, keeper));
    // Nobody makes evidence any more: the log says so of the other one, and no more of the first.
    let (ledger, keeper) = scene.open(None).await;
    for _ in 0..100 {
        a_while().await;
        if ledger.draws().evidence == 1 && ledger.draws().waiting == 0 {
            break;
        }
    }
    assert_eq!((ledger.draws().evidence, ledger.draws().waiting), (1, 0));
    each_has_one_leaf(&scene, &ledger, keeper, &ids).await;
}

#[tokio::test]
async fn a_record_that_nobody_can_say_anything_of_holds_up_no_other() {
    let scene = Scene::new();
    let takes = Arc::new(Takes { refuses: true, ..Takes::default() });
    let (ledger, keeper) = scene.open_with(None, Some(takes.clone())).await;
    let ids: Vec<RecordId> = (0..5).map(|n| sampled(&ledger, n, (u64::MAX, Level::Zk))).collect();
    *takes.damaged.lock().unwrap() = Some(ids[2]);
    settle(&ledger).await;
    for _ in 0..1000 {
        if ledger.draws().evidence == 4 {
            break;
        }
        a_while().await;
    }
    a_while().await;
    assert_eq!(takes.taken.lock().unwrap().len(), 5, "each is asked about once, for now");
    for id in &ids {
        assert_eq!(evidence(&receipt(&ledger, id).await).len(), usize::from(*id != ids[2]));
    }
    drop(keeper);
}

/// Has it logged what came of its job, and has no job any more when it answers: of what it was told meanwhile, the process remembers
/// nothing.
#[derive(Default)]
struct LogsMeanwhile(Mutex<Option<Ledger>>);

impl Escalation for LogsMeanwhile {
    fn take(&self, drawn: DrawnRecord) -> BoxFuture<'_, Result<bool, String>> {
        let DrawnRecord { record, subject, evidence, .. } = drawn;
        async move {
            // As before it is begun.
            let Some(ledger) = self.0.lock().unwrap().clone() else { return Err("not yet begun".into()) };
            ledger.settle(crate::CameOf { record, subject, evidence, proof: None }).await.unwrap();
            ledger.0.places.forget();
            Ok(false)
        }
        .boxed()
    }
}

#[tokio::test]
async fn what_is_logged_while_somebody_is_asked_is_not_logged_again() {
    let scene = Scene::new();
    let (ledger, keeper) = scene.open_with(None, Some(Arc::new(LeaveDrawn))).await;
    let ids: Vec<RecordId> = (0..2).map(|n| sampled(&ledger, n, (u64::MAX, Level::Zk))).collect();
    settle(&ledger).await;
    a_while().await;
    drop((ledger, keeper));
    // This life does not know what the one before has logged.
    let logs = Arc::new(LogsMeanwhile::default());
    let (ledger, keeper) = scene.open_with(None, Some(logs.clone())).await;
    *logs.0.lock().unwrap() = Some(ledger.clone());
    until_none_waits(&ledger).await;
    assert_eq!((ledger.draws().evidence, ledger.draws().waiting), (2, 0));
    *logs.0.lock().unwrap() = None;
    each_has_one_leaf(&scene, &ledger, keeper, &ids).await;
}

/// Answers about two records once it was asked about both; one of them it takes on.
struct InPairs(tokio::sync::Barrier, std::sync::atomic::AtomicUsize);

impl Escalation for InPairs {
    fn take(&self, _: DrawnRecord) -> BoxFuture<'_, Result<bool, String>> {
        let asked = self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        async move { Ok(asked >= 2 || self.0.wait().await.is_leader()) }.boxed()
    }
}

#[tokio::test]
async fn one_that_takes_long_to_take_on_holds_up_no_other() {
    let scene = Scene::new();
    let pairs = Arc::new(InPairs(tokio::sync::Barrier::new(2), Default::default()));
    let (ledger, keeper) = scene.open_with(None, Some(pairs)).await;
    for n in 0..2 {
        sampled(&ledger, n, (u64::MAX, Level::Zk));
    }
    settle(&ledger).await;
    // Of the other one the log says that nothing is done.
    for _ in 0..400 {
        if ledger.draws().evidence == 1 {
            break;
        }
        a_while().await;
    }
    assert_eq!(ledger.draws().evidence, 1);
    drop(ledger);
    keeper.close().await.unwrap();
}
