use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use super::*;
use crate::anchor::tests::Scene;
use crate::attest::note::Note;
use crate::check::{CheckOptions, check};
use crate::ledger::tests::support::{exchange, receipt, settle};
use crate::ledger::{Config, Ledger};
use colophon_receipt::Level;
use colophon_receipt::evidence::{EvidenceLeaf, Verdict};
use colophon_receipt::merkle::sha256;
use colophon_receipt::receipt::Receipt;
use colophon_receipt::statement::{Announcement, payload_hash};
use colophon_signer::cose::Sign1;
use serde_json::json;

/// Makes a document that says what it was asked for, of at least `long` bytes.
#[derive(Default)]
struct Machine {
    long: usize,
    fails: Mutex<Option<&'static str>>,
    made: AtomicUsize,
    checked: AtomicUsize,
}

impl KeyEvidence for Machine {
    fn of_key(&self, key: &[u8; 32], token: Option<Vec<u8>>) -> Result<Vec<u8>, String> {
        let number = self.made.fetch_add(1, Ordering::SeqCst);
        let token = token.map(|token| hex::encode(sha256(&token)));
        let said =
            json!({"key": hex::encode(key), "token": token, "number": number, "and": "x".repeat(self.long)});
        Ok(said.to_string().into_bytes())
    }

    fn check(&self, document: &[u8]) -> Result<(), String> {
        self.checked.fetch_add(1, Ordering::SeqCst);
        assert!(serde_json::from_slice::<serde_json::Value>(document).is_ok());
        self.fails.lock().unwrap().map_or(Ok(()), |why| Err(why.to_owned()))
    }
}

fn config(scene: &Scene, machine: &Arc<Machine>, every: Duration) -> Config {
    Config { evidence: Some(KeyAttesting { by: machine.clone(), every }), ..scene.config() }
}

/// Waits, at most ten seconds, for evidence to be renewed so often.
async fn renewed(ledger: &Ledger, times: u64) {
    for _ in 0..2000 {
        if ledger.key_evidence().unwrap().renewed >= times {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{:?}", ledger.key_evidence());
}

fn announced(receipt: &Receipt) -> (Announcement, Hash) {
    let signed = Sign1::parse(&receipt.announcements[0].statement.0).unwrap();
    (Announcement::decode(signed.payload()).unwrap(), payload_hash(signed.payload()))
}

/// What the receipt's later evidence says, whose leaf is looked at.
fn later(receipt: &Receipt) -> serde_json::Value {
    let part = receipt.key_evidence.as_ref().expect("evidence about the key");
    let leaf = EvidenceLeaf::decode(&part.logged.leaf.0).unwrap();
    let (announcement, hash) = announced(receipt);
    assert_eq!((leaf.subject, leaf.kind, leaf.verdict), (hash, Level::Tee, Verdict::Holds));
    assert_eq!(leaf.commitment, sha256(&[&part.salt.0[..], &sha256(&part.document.0)].concat()));
    assert!(part.logged.announcement.is_none(), "the record's own key logged it");
    let said: serde_json::Value = serde_json::from_slice(&part.document.0).unwrap();
    assert_eq!(said["key"], hex::encode(announcement.public_key));
    said
}

async fn checked(scene: &Scene) -> crate::check::Report {
    let report = check(scene.store.clone(), CheckOptions::default()).await;
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    report
}

#[tokio::test]
async fn evidence_is_renewed_with_each_newer_token_and_receipts_carry_the_newest() {
    let scene = Scene::new(&["http://tsa"]);
    let machine = Arc::new(Machine::default());
    let (ledger, keeper) = scene.open_with(config(&scene, &machine, Duration::from_millis(20))).await;
    let first = exchange(&ledger, 1);
    settle(&ledger).await;
    // What was announced answers no token: the first one is reason enough.
    ledger.timestamp_now().await.unwrap();
    renewed(&ledger, 1).await;
    let one = receipt(&ledger, &first).await;
    assert!(announced(&one).0.attestation.is_some());
    let said = later(&one);
    assert!(
        said["token"].is_string() && said["number"] == 1,
        "the first after it, since none was before: {said}"
    );
    // No newer token, no newer evidence: it would show nothing new.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(ledger.key_evidence().unwrap().renewed, 1);
    let second = exchange(&ledger, 2);
    settle(&ledger).await;
    assert_eq!(later(&receipt(&ledger, &second).await)["number"], 1);
    ledger.timestamp_now().await.unwrap();
    renewed(&ledger, 2).await;
    let third = exchange(&ledger, 3);
    settle(&ledger).await;
    let (old, new) = (later(&receipt(&ledger, &second).await), later(&receipt(&ledger, &third).await));
    assert_eq!((&old["number"], &new["number"]), (&json!(1), &json!(2)), "the newest before each record");
    assert_ne!(old["token"], new["token"]);
    assert_eq!(machine.checked.load(Ordering::SeqCst), 2, "only what is logged as good is looked at");
    assert_eq!(ledger.draws().evidence, 0, "no draw");
    let counts = ledger.key_evidence().unwrap();
    assert!(counts.age < 60 && counts.failed == 0, "{counts:?}");
    keeper.close().await.unwrap();
    drop(ledger);
    let report = checked(&scene).await;
    assert_eq!((report.key_evidence, report.records), (2, 3));
}

#[tokio::test]
async fn evidence_that_is_too_long_to_be_announced_is_logged_at_once_by_its_digest() {
    let scene = Scene::new(&["http://tsa"]);
    let machine = Arc::new(Machine { long: MAX_ANNOUNCED, ..Machine::default() });
    let (ledger, keeper) = scene.open_with(config(&scene, &machine, Duration::from_secs(3600))).await;
    renewed(&ledger, 1).await;
    let id = exchange(&ledger, 1);
    settle(&ledger).await;
    // Its record claims no more than sign, and nothing was announced: nobody looks for more.
    let found = receipt(&ledger, &id).await;
    assert!(announced(&found).0.attestation.is_none());
    assert!(found.key_evidence.is_none());
    let tee = crate::ledger::tests::support::exchange_at(&ledger, 2, Level::Tee);
    settle(&ledger).await;
    let found = receipt(&ledger, &tee).await;
    assert!(found.key_evidence.as_ref().unwrap().document.0.len() > MAX_ANNOUNCED);
    assert!(later(&found)["token"].is_null());
    keeper.close().await.unwrap();
    drop(ledger);
    assert_eq!(checked(&scene).await.key_evidence, 1);
}

#[tokio::test]
async fn evidence_that_is_not_good_is_not_logged_and_nothing_waits_for_it() {
    let scene = Scene::new(&["http://tsa"]);
    let machine = Arc::new(Machine::default());
    *machine.fails.lock().unwrap() = Some("its collateral is out of date");
    let (ledger, keeper) = scene.open_with(config(&scene, &machine, Duration::from_millis(20))).await;
    ledger.timestamp_now().await.unwrap();
    for _ in 0..2000 {
        if ledger.key_evidence().unwrap().failed > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let counts = ledger.key_evidence().unwrap();
    assert!(counts.failed > 0 && counts.renewed == 0, "{counts:?}");
    let id = exchange(&ledger, 1);
    settle(&ledger).await;
    assert!(receipt(&ledger, &id).await.key_evidence.is_none());
    keeper.close().await.unwrap();
    drop(ledger);
    assert_eq!(checked(&scene).await.key_evidence, 0);
}

#[tokio::test]
async fn each_key_has_evidence_of_its_own() {
    let scene = Scene::new(&["http://tsa"]);
    let machine = Arc::new(Machine::default());
    let every = Duration::from_millis(5);
    // A key lives for ten seconds and signs for nine of them: a busy machine has one to make the next.
    let lived = Config { shard_key_life: Duration::from_secs(10), ..config(&scene, &machine, every) };
    let (ledger, keeper) = scene.open_with(lived).await;
    let (mut keys, mut number) = (std::collections::BTreeSet::new(), 0);
    // Keys come and go meanwhile: each receipt that carries evidence is about its own.
    while keys.len() < 2 {
        number += 1;
        assert!(number < 2000, "no second key with evidence: {keys:?}, {:?}", ledger.key_evidence());
        ledger.timestamp_now().await.unwrap();
        let id = exchange(&ledger, number);
        settle(&ledger).await;
        let found = receipt(&ledger, &id).await;
        if found.key_evidence.is_some() {
            keys.insert(later(&found)["key"].to_string());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    keeper.close().await.unwrap();
    drop(ledger);
    checked(&scene).await;
}

#[test]
fn a_note_is_read_back_and_nothing_else_is() {
    let note = Note { id: [1; 16], salt: [2; 16], digest: [3; 32] };
    let encoded = note.encode();
    assert!(encoded.len() as u64 <= note::MAX_BYTES);
    assert_eq!(Note::read(&encoded).unwrap(), note);
    for cut in 0..encoded.len() {
        assert!(Note::read(&encoded[..cut]).is_err());
    }
    assert!(Note::read(&[encoded.clone(), vec![0]].concat()).is_err());
}
