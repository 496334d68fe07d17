use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use colophon_signer::Ed25519Key;
use colophon_signer::note::{Note, NoteAlgorithm, VerifierKey, cosignature_line};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tempfile::TempDir;

use super::protocol::{ADD_CHECKPOINT, AddCheckpoint, SIZE_TYPE};
use super::*;
use crate::cosigner::{Cosigner, CosignerConfig};
use crate::ledger::tests::support::{config, exchange, open, receipt, settle, verify};
use crate::ledger::{Config, Keeper, Ledger, LedgerError};
use crate::log::tests::support::memory;
use crate::post::Answer;

/// What a peer does instead of witnessing.
#[derive(Clone, Debug)]
enum Bent {
    No,
    Hangs,
    Refuses,
    /// Cosigns, and the answer is lost on the way, as if it were killed in between.
    Loses,
    Says(u16, &'static str, Vec<u8>),
    /// Cosigns whatever comes, at this much later a time, by the key of this number, over a text made of the real one.
    Signs(i64, u8, fn(&str) -> String),
}

/// Witnesses in this process, by name; `http://NAME` is the prefix of NAME.
struct Peers {
    folder: TempDir,
    open: Mutex<HashMap<String, Arc<Cosigner>>>,
    bent: Mutex<HashMap<String, Bent>>,
    calls: AtomicUsize,
}

fn key(name: &str) -> Ed25519Key {
    Ed25519Key::from_seed(&[name.as_bytes()[0]; 32]).unwrap()
}

fn vkey(name: &str) -> VerifierKey {
    VerifierKey::new(&format!("witness.example/{name}"), NoteAlgorithm::CosignatureV1, key(name).public_key())
        .unwrap()
}

impl Peers {
    fn new(names: &[&str], log: &VerifierKey) -> Arc<Peers> {
        let folder = TempDir::new().unwrap();
        let open = |name: &&str| {
            let witness = Cosigner::open(CosignerConfig {
                name: format!("witness.example/{name}"),
                key: Arc::new(key(name)),
                logs: vec![log.clone()],
                folder: folder.path().join(name),
            });
            ((*name).to_owned(), Arc::new(witness.unwrap()))
        };
        let open = Mutex::new(names.iter().map(open).collect());
        Arc::new(Peers { folder, open, bent: Mutex::default(), calls: AtomicUsize::new(0) })
    }

    fn bend(&self, name: &str, bent: Bent) {
        self.bent.lock().unwrap().insert(name.to_owned(), bent);
    }

    fn size(&self, name: &str) -> u64 {
        self.open.lock().unwrap()[name].logs()[0].1
    }
}

impl Post for Peers {
    fn post(&self, url: String, _: &'static str, body: Vec<u8>) -> BoxFuture<'_, Result<Answer, String>> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let name = url.strip_prefix("http://").and_then(|url| url.strip_suffix("/add-checkpoint")).unwrap();
        let bent = self.bent.lock().unwrap().get(name).cloned().unwrap_or(Bent::No);
        let witness = self.open.lock().unwrap()[name].clone();
        let now = seconds();
        async move {
            let answer = |status, kind: &str, body: Vec<u8>| {
                Ok(Answer { status, content_type: Some(kind.to_owned()), body: body.into() })
            };
            match bent {
                Bent::No => {
                    let reply = witness.add_checkpoint(&body, now);
                    answer(reply.status, reply.content_type, reply.body.into_bytes())
                }
                Bent::Hangs => std::future::pending().await,
                Bent::Refuses => Err("connection refused".to_owned()),
                Bent::Loses => {
                    assert!(matches!(witness.add_checkpoint(&body, now).status, 200 | 409));
                    Err("the connection was closed".to_owned())
                }
                Bent::Says(status, kind, body) => answer(status, kind, body),
                Bent::Signs(later, signer, text) => {
                    let request = AddCheckpoint::parse(&body).unwrap();
                    let text = text(Note::parse(&request.note).unwrap().text());
                    let key = Ed25519Key::from_seed(&[signer; 32]).unwrap();
                    let name = witness.vkey().name();
                    let line = cosignature_line(&text, name, now.saturating_add_signed(later), &key);
                    answer(200, "text/plain", line.unwrap().into_bytes())
                }
            }
        }
        .boxed()
    }
}

fn seconds() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

/// A ledger's settings with these witnesses.
fn witnessed(dir: &Path, peers: &Arc<Peers>, names: &[&str], quorum: &str) -> Config {
    let lines = names.iter().map(|name| format!("witness {name} {} http://{name}\n", vkey(name)));
    let policy = format!("{}{quorum}", lines.collect::<String>());
    let policy = Arc::new(TlogPolicy::parse(policy.as_bytes()).unwrap());
    let post: Arc<dyn Post> = peers.clone();
    let every = Duration::from_millis(20);
    Config { witnesses: Some(Witnessing { policy, every, post }), ..config(dir) }
}

fn log_vkey() -> VerifierKey {
    let key = Ed25519Key::from_seed(&[7; 32]).unwrap();
    VerifierKey::new("log.example/test/1", NoteAlgorithm::Ed25519, key.public_key()).unwrap()
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within thirty seconds: {what}");
}

/// Waits until the quorum has cosigned all there is.
async fn cosigned(ledger: &Ledger) {
    settle(ledger).await;
    until("cosigned", || ledger.cosigned().is_some_and(|head| head.size() == ledger.head().size())).await;
}

async fn stored(store: &Arc<dyn object_store::ObjectStore>, name: &str) -> Option<String> {
    use object_store::ObjectStoreExt as _;
    let found = store.get(&object_store::path::Path::from(format!("log/1/{name}"))).await.ok()?;
    Some(String::from_utf8(found.bytes().await.unwrap().to_vec()).unwrap())
}

/// Who of `names` cosigned a note, or the note in a tlog-proof.
fn signers(note: &str, names: &[&str]) -> Vec<String> {
    let note =
        note.strip_prefix("c2sp.org/tlog-proof").map_or(note, |rest| rest.split_once("\n\n").unwrap().1);
    let keys: Vec<VerifierKey> = names.iter().map(|name| vkey(name)).collect();
    let note = Note::parse(note).unwrap();
    let verified = note.verify(&keys).map(|verified| {
        verified
            .signed
            .iter()
            .map(|signed| signed.key.name().rsplit('/').next().unwrap().to_owned())
            .collect()
    });
    verified.unwrap_or_default()
}

#[tokio::test]
async fn cosignatures_reach_checkpoint_receipts_and_the_next_life() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let peers = Peers::new(&["a", "b"], &log_vkey());
    let settings = || witnessed(dir.path(), &peers, &["a", "b"], "group both all a b\nquorum both\n");
    let (ledger, keeper) = open(settings(), store.clone()).await.unwrap();
    let id = exchange(&ledger, 1);
    cosigned(&ledger).await;
    let size = ledger.head().size();
    for name in ["checkpoint".to_owned(), "cosigned".to_owned(), format!("anchor/{size}/checkpoint")] {
        let note = stored(&store, &name).await.unwrap();
        assert_eq!(signers(&note, &["a", "b"]).len(), 2, "{name}: {note}");
        // The log's own line stands first.
        assert_eq!(Note::parse(&note).unwrap().signatures()[0].name, "log.example/test/1");
    }
    let found = receipt(&ledger, &id).await;
    assert_eq!(signers(&found.log_proof, &["a", "b"]).len(), 2);
    verify(&ledger, &found);
    let status = ledger.witnesses().unwrap().clone();
    assert_eq!(status.quorum_size(), size);
    assert!(status.witnesses().iter().all(|w| w.cosigned > 0 && w.size == size && !w.contradicts));
    keeper.close().await.unwrap();
    drop(ledger);

    // Nobody answers any more; what was cosigned still is.
    peers.bend("a", Bent::Refuses);
    peers.bend("b", Bent::Refuses);
    let (ledger, keeper) = open(settings(), store.clone()).await.unwrap();
    let found = receipt(&ledger, &id).await;
    assert_eq!(signers(&found.log_proof, &["a", "b"]).len(), 2);
    verify(&ledger, &found);
    // A record that no cosigned checkpoint covers has a receipt all the same.
    let late = exchange(&ledger, 2);
    settle(&ledger).await;
    let found = receipt(&ledger, &late).await;
    assert!(signers(&found.log_proof, &["a", "b"]).is_empty());
    verify(&ledger, &found);
    // Back again, they are told the way from what they had.
    peers.bend("a", Bent::No);
    peers.bend("b", Bent::No);
    cosigned(&ledger).await;
    assert_eq!(signers(&receipt(&ledger, &late).await.log_proof, &["a", "b"]).len(), 2);
    keeper.close().await.unwrap();
}

#[tokio::test]
async fn one_of_two_is_enough_where_the_policy_says_so() {
    for bent in
        [Bent::Hangs, Bent::Refuses, Bent::Says(404, "text/plain", vec![]), Bent::Says(500, "", vec![])]
    {
        let (dir, store) = (TempDir::new().unwrap(), memory());
        let peers = Peers::new(&["a", "b"], &log_vkey());
        peers.bend("b", bent.clone());
        let settings = witnessed(dir.path(), &peers, &["a", "b"], "group one any a b\nquorum one\n");
        let opened = tokio::time::timeout(Duration::from_secs(20), open(settings, store.clone()));
        let (ledger, keeper) = opened.await.expect("a silent witness is not waited for").unwrap();
        let id = exchange(&ledger, 1);
        cosigned(&ledger).await;
        assert_eq!(signers(&receipt(&ledger, &id).await.log_proof, &["a", "b"]), ["a"], "{bent:?}");
        keeper.close().await.unwrap();
    }
}

#[tokio::test]
async fn what_is_no_cosignature_of_this_head_is_never_stored() {
    let flipped = |text: &str| text.replace("log.example", "fork.example");
    for bent in [
        Bent::Signs(0, b'a', flipped),
        Bent::Signs(0, b'x', str::to_owned),
        Bent::Signs(3600, b'a', str::to_owned),
        Bent::Signs(-3600, b'a', str::to_owned),
        Bent::Says(200, "text/plain", vec![b'x'; 5 << 20]),
        Bent::Says(200, "text/plain", b"garbage\n".to_vec()),
        Bent::Says(200, "text/plain", vec![]),
        Bent::Says(200, "text/plain", b"\xff\n".to_vec()),
        Bent::Says(409, SIZE_TYPE, b"one\n".to_vec()),
        Bent::Says(409, SIZE_TYPE, b"1".to_vec()),
        Bent::Says(302, "text/plain", vec![]),
    ] {
        let (dir, store) = (TempDir::new().unwrap(), memory());
        let peers = Peers::new(&["a"], &log_vkey());
        peers.bend("a", bent.clone());
        let (ledger, keeper) =
            open(witnessed(dir.path(), &peers, &["a"], "quorum a\n"), store.clone()).await.unwrap();
        let id = exchange(&ledger, 1);
        settle(&ledger).await;
        until("asked twice", || peers.calls.load(Ordering::Relaxed) > 1).await;
        assert!(ledger.cosigned().is_none(), "{bent:?}");
        assert!(stored(&store, "cosigned").await.is_none());
        assert!(signers(&stored(&store, "checkpoint").await.unwrap(), &["a"]).is_empty());
        verify(&ledger, &receipt(&ledger, &id).await);
        // Nothing of that keeps the log from going on.
        exchange(&ledger, 2);
        settle(&ledger).await;
        assert!(ledger.witnesses().unwrap().witnesses()[0].failed > 0);
        keeper.close().await.unwrap();
    }
}

/// A ledger that lived with a witness, in `store`, and is gone.
async fn lived(dir: &Path, peers: &Arc<Peers>, store: Arc<dyn object_store::ObjectStore>, exchanges: u64) {
    let (ledger, keeper) = open(witnessed(dir, peers, &["a"], "quorum a\n"), store).await.unwrap();
    for n in 0..exchanges {
        exchange(&ledger, n);
        cosigned(&ledger).await;
    }
    keeper.close().await.unwrap();
}

#[tokio::test]
async fn a_log_that_a_witness_saw_larger_or_otherwise_does_not_start() {
    let (dir, peers) = (TempDir::new().unwrap(), Peers::new(&["a"], &log_vkey()));
    lived(dir.path(), &peers, memory(), 3).await;
    // Data and state are of an earlier day, or of somebody else with the same key: the same origin begun anew.
    let other = TempDir::new().unwrap();
    let refused = open(witnessed(other.path(), &peers, &["a"], "quorum a\n"), memory()).await.unwrap_err();
    assert!(matches!(&refused, LedgerError::Witness(why) if why.contains("witness.example/a")), "{refused}");
    assert!(refused.to_string().contains("--witness-policy"), "{refused}");
    // Where the witness cannot be reached at first, signing stops as soon as it can.
    peers.bend("a", Bent::Refuses);
    let again = TempDir::new().unwrap();
    let (ledger, keeper) =
        open(witnessed(again.path(), &peers, &["a"], "quorum a\n"), memory()).await.unwrap();
    for n in 0..20 {
        exchange(&ledger, n);
        settle(&ledger).await;
    }
    assert!(ledger.head().size() > peers.size("a"));
    peers.bend("a", Bent::No);
    let status = ledger.witnesses().unwrap().clone();
    until("the contradiction is believed", || status.witnesses()[0].contradicts).await;
    let size = ledger.head().size();
    exchange(&ledger, 99);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(ledger.head().size(), size, "something more was signed");
    assert!(ledger.counters().backlog > 0);
    drop(keeper);
}

#[tokio::test]
async fn a_witness_that_lost_its_memory_is_shown_everything_again() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let peers = Peers::new(&["a"], &log_vkey());
    let (ledger, keeper): (Ledger, Keeper) =
        open(witnessed(dir.path(), &peers, &["a"], "quorum a\n"), store).await.unwrap();
    exchange(&ledger, 1);
    cosigned(&ledger).await;
    let fresh = Cosigner::open(CosignerConfig {
        name: "witness.example/a".into(),
        key: Arc::new(key("a")),
        logs: vec![log_vkey()],
        folder: peers.folder.path().join("fresh"),
    });
    peers.open.lock().unwrap().insert("a".into(), Arc::new(fresh.unwrap()));
    exchange(&ledger, 2);
    cosigned(&ledger).await;
    assert_eq!(peers.size("a"), ledger.head().size());
    keeper.close().await.unwrap();
}

#[tokio::test]
async fn an_answer_that_is_lost_is_asked_for_again() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let peers = Peers::new(&["a"], &log_vkey());
    let (ledger, keeper) =
        open(witnessed(dir.path(), &peers, &["a"], "quorum a\n"), store.clone()).await.unwrap();
    cosigned(&ledger).await;
    for n in 0..3 {
        let before = peers.size("a");
        peers.bend("a", Bent::Loses);
        exchange(&ledger, n);
        settle(&ledger).await;
        // Perhaps not the newest: where the log grew in between, the log does not know from where to go on.
        until("something was persisted", || peers.size("a") > before).await;
        peers.bend("a", Bent::No);
        cosigned(&ledger).await;
    }
    assert!(!ledger.witnesses().unwrap().witnesses()[0].contradicts);
    keeper.close().await.unwrap();
}

#[test]
fn the_path_is_below_the_prefix() {
    assert_eq!(ADD_CHECKPOINT, "add-checkpoint");
}
