use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use colophon_receipt::Hash;
use colophon_receipt::merkle::sha256;
use colophon_receipt::receipt::{Anchor, Receipt};
use colophon_receipt::statement::Statement;
use colophon_signer::cose::Sign1;
use colophon_signer::note::Note;
use colophon_signer::rfc3161::testing::{Template, Tsa, response};
use colophon_signer::rfc3161::{QUERY_TYPE, Request, Token};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use object_store::ObjectStore;
use object_store::memory::InMemory;

use super::*;
use crate::check::{CheckOptions, check};
use crate::ledger::tests::support::{self, config, exchange, open, settle};
use crate::ledger::{Config, Keeper, Ledger};
use crate::post::Answer;

/// What a TSA of the tests does instead of answering.
#[derive(Clone, Debug)]
enum Bent {
    No,
    /// Its clock is so many µs off.
    Off(i64),
    /// It dates something else.
    Other,
    /// It repeats another nonce.
    Nonce,
    Says(u16, Vec<u8>),
    Refuses,
    Hangs,
}

/// TSAs by URL.
struct Tsas {
    tsas: HashMap<String, Tsa>,
    bent: Mutex<HashMap<String, Bent>>,
    calls: AtomicU64,
}

impl Tsas {
    fn new(urls: &[&str]) -> Arc<Tsas> {
        let tsa = |(seed, url): (u8, &&str)| ((*url).to_owned(), Tsa::new(seed * 10 + 1, now()));
        let tsas = (0..).zip(urls).map(tsa).collect();
        Arc::new(Tsas { tsas, bent: Mutex::default(), calls: AtomicU64::new(0) })
    }

    fn bend(&self, url: &str, bent: Bent) {
        self.bent.lock().unwrap().insert(url.to_owned(), bent);
    }

    fn roots(&self) -> Roots {
        let mut roots = Roots::default();
        self.tsas.values().for_each(|tsa| roots.extend(tsa.roots()).unwrap());
        roots
    }
}

impl Post for Tsas {
    fn post(&self, url: String, kind: &'static str, body: Vec<u8>) -> BoxFuture<'_, Result<Answer, String>> {
        assert_eq!(kind, QUERY_TYPE);
        self.calls.fetch_add(1, Ordering::Relaxed);
        let bent = self.bent.lock().unwrap().get(&url).cloned().unwrap_or(Bent::No);
        let tsa = self.tsas[&url].clone();
        // 30 len 02 01 01 30 31 30 0d … 04 20 imprint 02 len nonce 01 01 ff
        let imprint: Hash = body[24..56].try_into().unwrap();
        let nonce = body[58..58 + usize::from(body[57])].to_vec();
        async move {
            let answer = |status, body: Vec<u8>| Ok(Answer { status, content_type: None, body: body.into() });
            let token = |imprint: &Hash, time, nonce: &[u8]| {
                answer(200, response(&tsa.token(imprint, time, Some(nonce))))
            };
            match bent {
                Bent::No => token(&imprint, now(), &nonce),
                Bent::Off(by) => token(&imprint, now().saturating_add_signed(by), &nonce),
                Bent::Other => token(&[3; 32], now(), &nonce),
                Bent::Nonce => token(&imprint, now(), &[7]),
                Bent::Says(status, body) => answer(status, body),
                Bent::Refuses => Err("connection refused".to_owned()),
                Bent::Hangs => std::future::pending().await,
            }
        }
        .boxed()
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64
}

pub(crate) struct Scene {
    dir: tempfile::TempDir,
    pub(crate) store: Arc<dyn ObjectStore>,
    tsas: Arc<Tsas>,
}

impl Scene {
    pub(crate) fn new(urls: &[&str]) -> Scene {
        let dir = tempfile::tempdir().unwrap();
        Scene { dir, store: Arc::new(InMemory::new()), tsas: Tsas::new(urls) }
    }

    pub(crate) fn config(&self) -> Config {
        let mut urls: Vec<String> = self.tsas.tsas.keys().cloned().collect();
        urls.sort();
        let every = Duration::from_secs(3600);
        let timestamps = Timestamping { urls, roots: self.tsas.roots(), every, post: self.tsas.clone() };
        Config { timestamps: Some(timestamps), ..config(self.dir.path()) }
    }

    async fn open(&self) -> (Ledger, Keeper) {
        self.open_with(self.config()).await
    }

    pub(crate) async fn open_with(&self, config: Config) -> (Ledger, Keeper) {
        // A dropped keeper's tasks end a moment later.
        for _ in 0..100 {
            match open(config.clone(), self.store.clone()).await {
                Err(crate::LedgerError::Locked(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
                opened => return opened.unwrap(),
            }
        }
        panic!("still locked");
    }

    async fn check(&self) -> crate::check::Report {
        let options =
            CheckOptions { tsa_roots: self.tsas.roots(), batches: false, ..CheckOptions::default() };
        check(self.store.clone(), options).await
    }
}

/// The receipt, once it is logged.
async fn receipt(ledger: &Ledger, id: &colophon_receipt::record::RecordId) -> Receipt {
    settle(ledger).await;
    support::receipt(ledger, id).await
}

/// Waits, at most ten seconds, until `done`.
async fn until(mut done: impl AsyncFnMut() -> bool) {
    for _ in 0..1000 {
        if done().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it does not happen");
}

fn statement(receipt: &Receipt) -> Statement {
    Statement::decode(Sign1::parse(&receipt.statement.0).unwrap().payload()).unwrap()
}

fn tokens(receipt: &Receipt) -> Vec<Token> {
    let parse = |anchor: &Anchor| {
        let Anchor::Rfc3161(token) = anchor;
        Token::parse(&token.0).unwrap()
    };
    receipt.anchors.iter().map(parse).collect()
}

#[tokio::test]
async fn receipts_carry_what_dates_them_and_what_they_are_younger_than() {
    let scene = Scene::new(&["http://a/tsr", "http://b/tsr"]);
    let (ledger, keeper) = scene.open().await;
    let first = exchange(&ledger, 1);
    let before = receipt(&ledger, &first).await;
    assert!(before.anchors.is_empty() && before.beacon.is_none());
    assert_eq!(statement(&before).beacon, None);

    let dated = ledger.timestamp_now().await.unwrap();
    assert_eq!((dated.dated.len(), dated.failed.len()), (2, 0), "{dated:?}");
    let upgraded = receipt(&ledger, &first).await;
    assert_eq!(upgraded.anchors.len(), 2);
    let note = upgraded.log_proof.split_once("\n\n").unwrap().1;
    let own = Note::parse(note).unwrap().with_only("log.example/test/1").unwrap();
    for token in tokens(&upgraded) {
        token.check_imprint(&sha256(own.as_bytes())).unwrap();
        token.chain(&scene.tsas.roots()).unwrap();
        assert!(token.info().gen_time.abs_diff(now()) < 60_000_000);
    }
    assert_eq!((upgraded.record, upgraded.statement), (before.record, before.statement));

    // What is logged from now on names the token.
    let second = exchange(&ledger, 2);
    let young = receipt(&ledger, &second).await;
    let beacon = young.beacon.clone().unwrap().0;
    assert_eq!(statement(&young).beacon, Some(sha256(&beacon)));
    Token::parse(&beacon).unwrap().chain(&scene.tsas.roots()).unwrap();
    assert!(young.anchors.is_empty());
    let counts = ledger.timestamps().unwrap().tsas();
    assert_eq!(
        counts.iter().map(|tsa| (tsa.tokens, tsa.failed, tsa.size)).collect::<Vec<_>>(),
        [(1, 0, dated.size); 2]
    );
    assert_eq!(ledger.beacon_time(), Some(Token::parse(&beacon).unwrap().info().gen_time));

    // The earliest checkpoint that covers it, for each.
    ledger.timestamp_now().await.unwrap();
    assert_eq!(receipt(&ledger, &first).await.log_proof, upgraded.log_proof);
    assert_eq!(receipt(&ledger, &second).await.anchors.len(), 2);
    keeper.close().await.unwrap();
    drop(ledger);
    let report = scene.check().await;
    assert!(report.is_sound(), "{:?}", report.findings);
    assert_eq!((report.timestamps, report.trusted_timestamps, report.dated_checkpoints), (4, 4, 2));
    assert!(report.beacons > 0 && report.newest_timestamp.is_some());
}

#[tokio::test]
async fn after_a_restart_the_newest_token_is_the_beacon_again() {
    let scene = Scene::new(&["http://a/tsr"]);
    let (ledger, keeper) = scene.open().await;
    let first = exchange(&ledger, 1);
    ledger.timestamp_now().await.unwrap();
    receipt(&ledger, &first).await;
    ledger.timestamp_now().await.unwrap();
    let time = ledger.beacon_time().unwrap();
    drop(keeper);
    drop(ledger);

    scene.tsas.bend("http://a/tsr", Bent::Refuses);
    let (ledger, keeper) = scene.open().await;
    assert_eq!(ledger.beacon_time(), Some(time));
    let second = exchange(&ledger, 2);
    let young = receipt(&ledger, &second).await;
    let beacon = Token::parse(&young.beacon.unwrap().0).unwrap();
    assert_eq!(beacon.info().gen_time, time);
    assert_eq!(receipt(&ledger, &first).await.anchors.len(), 1);
    keeper.close().await.unwrap();
    drop(ledger);

    // A TSA that is no longer believed lights nothing; a folder without settings still serves what it has.
    let stranger = Timestamping { roots: Tsa::new(90, now()).roots(), ..scene.config().timestamps.unwrap() };
    for timestamps in [Some(stranger), None] {
        let config = Config { timestamps, ..scene.config() };
        let (ledger, keeper) = open(config, scene.store.clone()).await.unwrap();
        assert_eq!(ledger.beacon_time(), None);
        assert_eq!(receipt(&ledger, &first).await.anchors.len(), 1);
        keeper.close().await.unwrap();
        drop(ledger);
    }
}

#[tokio::test]
async fn what_is_no_timestamp_of_this_checkpoint_is_not_stored() {
    let scene = Scene::new(&["http://a/tsr"]);
    let stranger = Tsa::new(77, now());
    let seconds = now() / 1_000_000;
    let mut expired = scene.tsas.tsas["http://a/tsr"].clone();
    expired = Tsa::under(expired.root, 2, &Template::tsa("Old", (seconds - 1000, seconds - 500)));
    let other = Request { imprint: [0; 32], nonce: [1; 16] };
    let (ledger, keeper) = scene.open().await;
    let id = exchange(&ledger, 1);
    receipt(&ledger, &id).await;
    for (bent, why) in [
        (Bent::Other, "something else"),
        (Bent::Nonce, "nonce"),
        (Bent::Says(200, stranger.answer(&other, now())), "something else"),
        (Bent::Says(200, expired.answer(&other, now())), "something else"),
        (Bent::Says(200, b"<html>".to_vec()), "no RFC 3161 response"),
        (Bent::Says(200, vec![]), "no RFC 3161 response"),
        (Bent::Says(200, vec![0x30; 5 << 20]), "longer than"),
        (Bent::Says(500, vec![]), "answered 500"),
        (Bent::Says(200, vec![0x30, 5, 0x30, 3, 2, 1, 2]), "refuses: status 2"),
        (Bent::Refuses, "connection refused"),
    ] {
        scene.tsas.bend("http://a/tsr", bent);
        let dated = ledger.timestamp_now().await.unwrap();
        assert!(dated.dated.is_empty(), "{dated:?}");
        assert!(dated.failed[0].1.contains(why), "{dated:?}");
        assert!(receipt(&ledger, &id).await.anchors.is_empty());
    }
    assert!(ledger.timestamps().unwrap().tsas()[0].failed >= 10);
    // It works again, without a restart.
    scene.tsas.bend("http://a/tsr", Bent::No);
    ledger.timestamp_now().await.unwrap();
    assert_eq!(receipt(&ledger, &id).await.anchors.len(), 1);
    keeper.close().await.unwrap();
    drop(ledger);
}

#[tokio::test]
async fn a_clock_that_is_far_off_dates_and_is_no_beacon() {
    for (off, far) in [(-3_600_000_000, true), (3_600_000_000, true), (-200_000_000, false)] {
        let scene = Scene::new(&["http://a/tsr"]);
        scene.tsas.bend("http://a/tsr", Bent::Off(off));
        let (ledger, keeper) = scene.open().await;
        let id = exchange(&ledger, 1);
        receipt(&ledger, &id).await;
        assert_eq!(ledger.timestamp_now().await.unwrap().dated.len(), 1);
        assert_eq!(receipt(&ledger, &id).await.anchors.len(), 1);
        assert_eq!(
            (ledger.beacon_time().is_none(), ledger.timestamps().unwrap().tsas()[0].far_off),
            (far, far)
        );
        keeper.close().await.unwrap();
        drop(ledger);
    }
}

#[tokio::test]
async fn a_slow_tsa_keeps_nobody_waiting() {
    let scene = Scene::new(&["http://a/tsr", "http://b/tsr"]);
    scene.tsas.bend("http://b/tsr", Bent::Hangs);
    let (ledger, keeper) = scene.open().await;
    let id = exchange(&ledger, 1);
    receipt(&ledger, &id).await;
    tokio::select! {
        _ = ledger.timestamp_now() => panic!("it never answers"),
        () = async {
            // The quick one's token counts at once, and records go on being logged.
            until(async || receipt(&ledger, &id).await.anchors.len() == 1).await;
            let next = exchange(&ledger, 2);
            assert!(receipt(&ledger, &next).await.beacon.is_some());
        } => {}
    }
    keeper.close().await.unwrap();
    drop(ledger);
}

#[tokio::test]
async fn what_is_stored_and_bent_is_found_and_not_handed_out() {
    let scene = Scene::new(&["http://a/tsr"]);
    let (ledger, keeper) = scene.open().await;
    let id = exchange(&ledger, 1);
    receipt(&ledger, &id).await;
    let size = ledger.timestamp_now().await.unwrap().size;
    let next = exchange(&ledger, 2);
    receipt(&ledger, &next).await;
    keeper.close().await.unwrap();
    drop(ledger);
    let log = crate::store::Store::new(scene.store.clone(), "log/1".into());
    let token =
        log.list(&kept::folder(size)).await.unwrap().into_iter().find(|name| name.ends_with(".tst")).unwrap();
    let beacon = log.list("beacon").await.unwrap().pop().unwrap();
    for (file, what) in [
        (format!("anchor/{size}/{token}"), "of something else"),
        (format!("anchor/{size}/{token}"), ""),
        (format!("anchor/{size}/checkpoint"), "another tree"),
        (format!("anchor/{size}/checkpoint"), ""),
        (format!("beacon/{beacon}"), "is not the token"),
    ] {
        let good = log.get(&file, 1 << 20).await.unwrap().unwrap();
        let bad = match what {
            "of something else" => scene.tsas.tsas["http://a/tsr"].token(&[4; 32], now(), None),
            "another tree" => {
                let key = colophon_signer::Ed25519Key::from_seed(&[7; 32]).unwrap();
                crate::head::SignedHead::sign("log.example/test/1", size, [5; 32], &key)
                    .unwrap()
                    .note
                    .into_bytes()
            }
            _ => b"garbage".to_vec(),
        };
        log.put(&file, bad).await.unwrap();
        let report = scene.check().await;
        assert!(
            report.findings.iter().any(|f| f.name() == "anchor" && f.to_string().contains(what)),
            "{file}: {:?}",
            report.findings
        );
        let (ledger, keeper) =
            open(Config { timestamps: None, ..scene.config() }, scene.store.clone()).await.unwrap();
        let (dated, young) = (receipt(&ledger, &id).await, receipt(&ledger, &next).await);
        match file.starts_with("beacon") {
            true => assert!(young.beacon.is_none() && dated.anchors.len() == 1),
            false => assert!(dated.anchors.is_empty() && young.beacon.is_some()),
        }
        keeper.close().await.unwrap();
        drop(ledger);
        log.put(&file, good.to_vec()).await.unwrap();
    }
    // A log that was cut after it was dated.
    log.create("timestamped/99999", b"x".to_vec()).await.unwrap();
    let report = scene.check().await;
    assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
    assert!(report.findings[0].to_string().contains("more leaves than the log has"));
}

#[tokio::test(start_paused = true)]
async fn checkpoints_are_dated_by_themselves_and_failures_back_off() {
    let scene = Scene::new(&["http://a/tsr"]);
    scene.tsas.bend("http://a/tsr", Bent::Refuses);
    let config = Config { batch_every: Duration::from_secs(60), ..scene.config() };
    let (ledger, keeper) = open(config, scene.store.clone()).await.unwrap();
    // 2, 4, 8 … 300 s apart: no more than this in an hour.
    tokio::time::sleep(Duration::from_secs(3590)).await;
    let calls = scene.tsas.calls.load(Ordering::Relaxed);
    assert!((10..30).contains(&calls), "{calls}");
    scene.tsas.bend("http://a/tsr", Bent::No);
    tokio::time::sleep(Duration::from_secs(310)).await;
    assert!(ledger.beacon_time().is_some());
    let tokens = ledger.timestamps().unwrap().tsas()[0].tokens;
    tokio::time::sleep(Duration::from_secs(3600 * 3)).await;
    assert_eq!(ledger.timestamps().unwrap().tsas()[0].tokens, tokens + 3);
    keeper.close().await.unwrap();
    drop(ledger);
}
