use std::path::Path;

use colophon_receipt::Hash;
use colophon_receipt::merkle::empty_root;
use colophon_receipt::statement::{
    ANNOUNCEMENT_TYPE, Announcement, CLOSE_TYPE, Counters, Predecessor, STATEMENT_TYPE, ShardClose,
    Statement, payload_hash,
};
use colophon_signer::Ed25519Key;
use colophon_signer::cose::sign_statement;
use colophon_signer::note::{NoteAlgorithm, cosignature_line};
use object_store::ObjectStoreExt as _;
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;

use super::*;
use crate::log::Log;
use crate::log::tests::support::{config, key};

const ORIGIN: &str = "log.example/test/1";
const MINUTE: u64 = 60_000_000;
/// When the statements begin, µs.
const START: u64 = 1_000_000_000;

/// A log with one shard, to which good and bad leaves are added.
struct Scene {
    store: Arc<InMemory>,
    log: Log,
    key: Ed25519Key,
    shard: String,
    seq: u64,
    previous: Hash,
    to: u64,
}

impl Scene {
    async fn new() -> Scene {
        let store = Arc::new(InMemory::new());
        let log = Log::open(store.clone(), config(None)).await.unwrap();
        let key = Ed25519Key::from_seed(&[3; 32]).unwrap();
        let (shard, previous) = (String::new(), [0; 32]);
        let mut scene = Scene { store, log, key, shard, seq: 0, previous, to: START };
        scene.announce("here/0000000000000001", None).await;
        scene
    }

    /// The same log, in a store of its own, that goes its own way.
    async fn fork(&self) -> Scene {
        let store = Arc::new(self.store.fork());
        let log = Log::open(store.clone(), config(None)).await.unwrap();
        let key = Ed25519Key::from_seed(&[3; 32]).unwrap();
        Scene { store, log, key, shard: self.shard.clone(), ..*self }
    }

    async fn announce(&mut self, shard: &str, predecessor: Option<Predecessor>) {
        let mut announcement = Announcement {
            shard: shard.into(),
            public_key: self.key.public_key().0,
            not_before: self.to,
            not_after: START + 24 * 60 * MINUTE,
            origin: ORIGIN.into(),
            predecessor,
            proof: [0; 64],
            attestation: None,
        };
        announcement.proof = self.key.sign(&announcement.proof_message());
        let payload = announcement.encode();
        let leaf = sign_statement(&payload, ANNOUNCEMENT_TYPE, ORIGIN, shard, &*key()).unwrap();
        self.log.append(vec![leaf]).await.unwrap();
        (self.shard, self.seq, self.previous) = (shard.into(), 0, payload_hash(&payload));
    }

    fn next(&self) -> Statement {
        Statement {
            shard: self.shard.clone(),
            seq: self.seq,
            count: 0,
            root: empty_root(),
            previous: self.previous,
            from: self.to,
            to: self.to + MINUTE,
            beacon: None,
            cumulative_exchanges: 0,
            cumulative_evidence: 0,
            bypasses: Vec::new(),
            rules: Default::default(),
            policy: [1; 32],
            counters: Counters::default(),
        }
    }

    async fn state(&mut self, statement: &Statement) {
        let payload = statement.encode();
        let leaf = sign_statement(&payload, STATEMENT_TYPE, ORIGIN, &statement.shard, &self.key).unwrap();
        self.log.append(vec![leaf]).await.unwrap();
        if statement.seq == self.seq {
            (self.seq, self.previous, self.to) = (self.seq + 1, payload_hash(&payload), statement.to);
        }
    }

    /// `n` heartbeats.
    async fn beat(&mut self, n: u64) {
        for _ in 0..n {
            let next = self.next();
            self.state(&next).await;
        }
    }

    async fn close(&mut self) {
        let close = ShardClose {
            shard: self.shard.clone(),
            seq: self.seq - 1,
            payload_hash: self.previous,
            at: self.to,
        };
        let leaf = sign_statement(&close.encode(), CLOSE_TYPE, ORIGIN, &self.shard, &self.key).unwrap();
        self.log.append(vec![leaf]).await.unwrap();
    }

    fn last(&self) -> Predecessor {
        Predecessor { shard: self.shard.clone(), seq: self.seq - 1, payload_hash: self.previous }
    }

    fn monitor(&self, folder: &Path) -> LogMonitor {
        self.monitor_with(folder, "quorum none\n")
    }

    fn monitor_with(&self, folder: &Path, policy: &str) -> LogMonitor {
        let config = MonitorConfig {
            folder: folder.to_owned(),
            silence: Duration::from_secs(300),
            stale: Duration::from_secs(900),
            policy: Arc::new(TlogPolicy::parse(policy.as_bytes()).unwrap()),
            tsa_roots: Roots::default(),
        };
        LogMonitor::open(self.log.vkey().parse().unwrap(), self.store.clone(), "log/1", config).unwrap()
    }
}

fn kinds(round: &Round) -> Vec<&'static str> {
    assert_eq!(round.unreachable, None);
    round.found.iter().map(|found| found.kind).collect()
}

#[tokio::test]
async fn a_sound_log_gives_nothing_to_say_across_restarts() {
    let (dir, mut scene) = (tempfile::tempdir().unwrap(), Scene::new().await);
    for n in [1, 3, 300] {
        scene.beat(n).await;
        let mut monitor = scene.monitor(dir.path());
        let round = monitor.round(scene.to + MINUTE).await.unwrap();
        assert_eq!((kinds(&round), round.size, round.silent.len()), (vec![], scene.log.head().size(), 0));
        // At once again: nothing is new.
        assert_eq!(monitor.round(scene.to + MINUTE).await.unwrap().read, 0);
    }
    scene.close().await;
    let last = scene.last();
    scene.announce("here/0000000000000002", Some(last)).await;
    scene.beat(2).await;
    let round = scene.monitor(dir.path()).round(scene.to).await.unwrap();
    assert_eq!((kinds(&round), round.read), (vec![], 4));
}

#[tokio::test]
async fn a_log_rolled_back_is_found_and_both_checkpoints_are_kept() {
    let (dir, mut scene) = (tempfile::tempdir().unwrap(), Scene::new().await);
    scene.beat(2).await;
    let yesterday = scene.fork().await;
    scene.beat(3).await;
    scene.monitor(dir.path()).round(scene.to).await.unwrap();
    let mut monitor = yesterday.monitor(dir.path());
    let round = monitor.round(scene.to).await.unwrap();
    assert_eq!(kinds(&round), ["rollback"]);
    assert!(round.found[0].new && round.size == scene.log.head().size());
    // It stands, and is counted once, also after a restart.
    let round = yesterday.monitor(dir.path()).round(scene.to).await.unwrap();
    assert_eq!((kinds(&round), round.found[0].new), (vec!["rollback"], false));
    let proof = std::fs::read(round.found[0].proof.as_ref().unwrap()).unwrap();
    let proof: serde_json::Value = serde_json::from_slice(&proof).unwrap();
    let size = |which: &str| {
        SignedHead::parse(proof[which].as_str().unwrap(), &scene.log.vkey().parse().unwrap()).unwrap().size()
    };
    assert_eq!((size("first"), size("second")), (scene.log.head().size(), yesterday.log.head().size()));
    // Back where it was, it is followed on.
    scene.beat(1).await;
    assert_eq!(kinds(&scene.monitor(dir.path()).round(scene.to).await.unwrap()), Vec::<&str>::new());
}

#[tokio::test]
async fn a_log_that_forked_is_found_at_the_same_and_at_a_larger_size() {
    for more in [0, 5] {
        let (dir, mut scene) = (tempfile::tempdir().unwrap(), Scene::new().await);
        scene.beat(2).await;
        let mut other = scene.fork().await;
        scene.beat(1).await;
        let mut bent = other.next();
        bent.to += 1;
        other.state(&bent).await;
        other.beat(more).await;
        scene.monitor(dir.path()).round(scene.to).await.unwrap();
        let round = other.monitor(dir.path()).round(other.to).await.unwrap();
        assert_eq!(kinds(&round)[0], "equivocation", "{more}");
        assert!(round.found[0].proof.as_ref().unwrap().exists());
        // What was seen first stays what is compared with.
        assert_eq!(round.size, scene.log.head().size());
    }
}

#[tokio::test]
async fn gaps_and_two_statements_of_one_number_are_found_also_after_a_restart() {
    for restart in [false, true] {
        let (dir, mut scene) = (tempfile::tempdir().unwrap(), Scene::new().await);
        scene.beat(3).await;
        let mut monitor = scene.monitor(dir.path());
        monitor.round(scene.to).await.unwrap();
        let mut second = scene.next();
        (second.seq, second.from, second.to) = (1, second.from - 2 * MINUTE, second.from - MINUTE);
        scene.state(&second).await;
        let mut later = scene.next();
        later.seq += 4;
        scene.state(&later).await;
        if restart {
            monitor = scene.monitor(dir.path());
        }
        let round = monitor.round(scene.to).await.unwrap();
        let kinds = kinds(&round);
        assert!(kinds.contains(&"two-statements") && kinds.contains(&"gap"), "{restart}: {:?}", round.found);
        let found = round.found.iter().find(|found| found.kind == "two-statements").unwrap();
        let proof = std::fs::read_to_string(found.proof.as_ref().unwrap()).unwrap();
        let proof: serde_json::Value = serde_json::from_str(&proof).unwrap();
        assert_ne!(proof["first"]["statement"], proof["second"]["statement"]);
        assert!(
            proof["second"]["log_proof"].as_str().unwrap().starts_with("c2sp.org/tlog-proof@v1\nindex 5\n")
        );
        assert_eq!(monitor.counts().find(|(kind, _)| *kind == "two-statements"), Some(("two-statements", 1)));
    }
}

/// Once while it lasts, and again when it comes again.
#[tokio::test]
async fn what_stands_is_new_each_time_that_it_begins() {
    let (dir, mut scene) = (tempfile::tempdir().unwrap(), Scene::new().await);
    scene.beat(2).await;
    let mut monitor = scene.monitor(dir.path());
    let mut told = Vec::new();
    for minutes in [6, 7, 0, 6, 7] {
        let round = monitor.round(scene.to + minutes * MINUTE).await.unwrap();
        told.push(round.found.iter().map(|found| found.new).collect::<Vec<_>>());
    }
    assert_eq!(told, [vec![true], vec![false], vec![], vec![true], vec![false]]);
    assert_eq!(monitor.counts().find(|(kind, _)| *kind == "silent"), Some(("silent", 2)));
}

#[tokio::test]
async fn silence_and_missing_closes_are_told() {
    let (dir, mut scene) = (tempfile::tempdir().unwrap(), Scene::new().await);
    scene.beat(2).await;
    let mut monitor = scene.monitor(dir.path());
    assert_eq!(kinds(&monitor.round(scene.to + 4 * MINUTE).await.unwrap()), Vec::<&str>::new());
    let round = monitor.round(scene.to + 6 * MINUTE).await.unwrap();
    assert_eq!((kinds(&round), round.silent.as_slice()), (vec!["silent"], &[scene.shard.clone()][..]));
    // It crashed, and came again without a close.
    let last = scene.last();
    scene.to += 6 * MINUTE;
    scene.announce("here/0000000000000002", Some(last)).await;
    assert_eq!(kinds(&scene.monitor(dir.path()).round(scene.to).await.unwrap()), ["silent"]);
    scene.beat(1).await;
    let round = scene.monitor(dir.path()).round(scene.to).await.unwrap();
    assert_eq!((kinds(&round), round.silent.len()), (vec!["unclosed"], 0));
    assert_eq!(kinds(&scene.monitor(dir.path()).round(scene.to).await.unwrap()), Vec::<&str>::new());
    // One whose key's time is over will never speak again.
    let round = scene.monitor(dir.path()).round(START + 25 * 60 * MINUTE).await.unwrap();
    assert_eq!((kinds(&round), round.silent.len()), (vec!["unclosed"], 0));
    // A clock in the future is no excuse for silence.
    let (dir, mut scene) = (tempfile::tempdir().unwrap(), Scene::new().await);
    scene.to += 600 * MINUTE;
    scene.beat(1).await;
    let mut monitor = scene.monitor(dir.path());
    monitor.round(START).await.unwrap();
    assert_eq!(kinds(&monitor.round(START + 6 * MINUTE).await.unwrap()), ["silent"]);
}

#[tokio::test]
async fn cosignatures_and_beacons_that_are_old_are_told() {
    let witness = Ed25519Key::from_seed(&[9; 32]).unwrap();
    let vkey = VerifierKey::new("w.example", NoteAlgorithm::CosignatureV1, witness.public_key()).unwrap();
    let policy = format!("witness w {vkey}\nquorum w\n");
    let (dir, mut scene) = (tempfile::tempdir().unwrap(), Scene::new().await);
    let mut dated = scene.next();
    dated.beacon = Some([5; 32]);
    scene.state(&dated).await;
    let mut monitor = scene.monitor_with(dir.path(), &policy);
    assert_eq!(kinds(&monitor.round(scene.to).await.unwrap()), ["stale-cosignatures"]);
    let head = scene.log.head();
    let line =
        cosignature_line(&head.checkpoint.to_text(), "w.example", scene.to / 1_000_000, &witness).unwrap();
    let cosigned = format!("{}{line}", head.note);
    scene.store.put(&ObjectPath::from("log/1/cosigned"), cosigned.into()).await.unwrap();
    assert_eq!(kinds(&monitor.round(scene.to).await.unwrap()), Vec::<&str>::new());
    for _ in 0..16 {
        scene.beat(1).await;
    }
    assert_eq!(kinds(&monitor.round(scene.to).await.unwrap()), ["stale-cosignatures", "stale-beacon"]);
    // A cosigned head of another history, or of a larger tree than is shown.
    let other = scene.fork().await.log.head();
    let bent = SignedHead::sign(ORIGIN, other.size(), [7; 32], &*key()).unwrap();
    scene.store.put(&ObjectPath::from("log/1/cosigned"), bent.note.into()).await.unwrap();
    assert_eq!(kinds(&monitor.round(scene.to).await.unwrap())[0], "equivocation");
    let larger = SignedHead::sign(ORIGIN, other.size() + 9, [7; 32], &*key()).unwrap();
    scene.store.put(&ObjectPath::from("log/1/cosigned"), larger.note.into()).await.unwrap();
    assert_eq!(kinds(&monitor.round(scene.to).await.unwrap())[0], "rollback");
}

/// Two trees of one size under one witness's signature: the log is at fault, and so is the witness.
#[tokio::test]
async fn a_witness_that_cosigns_a_fork_is_named_and_both_its_lines_are_kept() {
    let witness = Ed25519Key::from_seed(&[9; 32]).unwrap();
    let vkey = VerifierKey::new("w.example", NoteAlgorithm::CosignatureV1, witness.public_key()).unwrap();
    let policy = format!("witness w {vkey}\nquorum w\n");
    let cosign = async |scene: &Scene| {
        let head = scene.log.head();
        let (text, time) = (head.checkpoint.to_text(), scene.to / 1_000_000);
        let line = cosignature_line(&text, "w.example", time, &witness).unwrap();
        let cosigned = format!("{}{line}", head.note);
        scene.store.put(&ObjectPath::from("log/1/cosigned"), cosigned.into()).await.unwrap();
    };
    // Whether the witness cosigned the second tree, and whether the first log has grown since.
    for (both, grown) in [(true, false), (true, true), (false, false)] {
        let (dir, mut scene) = (tempfile::tempdir().unwrap(), Scene::new().await);
        scene.beat(2).await;
        let mut other = scene.fork().await;
        scene.beat(1).await;
        cosign(&scene).await;
        if grown {
            scene.beat(3).await;
        }
        let first = scene.monitor_with(dir.path(), &policy).round(scene.to).await.unwrap();
        assert_eq!(kinds(&first), Vec::<&str>::new());
        let mut bent = other.next();
        bent.to += 1;
        other.state(&bent).await;
        if both {
            cosign(&other).await;
        }
        // Also by a monitor that was started anew.
        let round = other.monitor_with(dir.path(), &policy).round(other.to).await.unwrap();
        let named: Vec<&Found> = round.found.iter().filter(|found| found.kind == "witness-fork").collect();
        assert_eq!((kinds(&round)[0], named.len()), ("equivocation", usize::from(both)), "{:?}", round.found);
        let Some(found) = named.first() else { continue };
        assert!(found.what.contains("w.example"), "{}", found.what);
        let proof = std::fs::read(found.proof.as_ref().unwrap()).unwrap();
        let proof: serde_json::Value = serde_json::from_slice(&proof).unwrap();
        let heads = ["first", "second"].map(|which| {
            let note = Note::parse(proof[which].as_str().unwrap()).unwrap();
            assert!(note.verify(std::slice::from_ref(&vkey)).unwrap().signed_by(&vkey));
            SignedHead::parse(proof[which].as_str().unwrap(), &scene.log.vkey().parse().unwrap()).unwrap()
        });
        assert_eq!(heads[0].size(), heads[1].size());
        assert_ne!(heads[0].checkpoint.root, heads[1].checkpoint.root);
    }
}

#[tokio::test]
async fn timestamps_that_statements_name_are_judged_by_their_own_time() {
    use colophon_signer::rfc3161::testing::Tsa;
    let (dir, mut scene) = (tempfile::tempdir().unwrap(), Scene::new().await);
    let (tsa, other) = (Tsa::new(1, START), Tsa::new(11, START));
    let monitor = |scene: &Scene| {
        let mut monitor = scene.monitor(dir.path());
        monitor.config.tsa_roots = tsa.roots();
        monitor
    };
    let look = async |scene: &Scene, now: u64| kinds(&monitor(scene).round(now).await.unwrap());
    scene.beat(1).await;
    assert_eq!(look(&scene, scene.to).await, ["stale-timestamp"], "none is named");
    let name = async |scene: &mut Scene, der: &[u8], stored: Option<&[u8]>| {
        let mut dated = scene.next();
        dated.beacon = Some(sha256(der));
        scene.state(&dated).await;
        if let Some(stored) = stored {
            let path = format!("log/1/{}", beacon_name(&sha256(der)));
            scene.store.put(&ObjectPath::from(path), stored.to_vec().into()).await.unwrap();
        }
    };
    let good = tsa.token(&[1; 32], scene.to, None);
    name(&mut scene, &good, Some(&good)).await;
    assert_eq!(look(&scene, scene.to).await, Vec::<&str>::new());
    // Known from then on, also if the file goes; and old by its own time, whatever statements say since.
    let path = ObjectPath::from(format!("log/1/{}", beacon_name(&sha256(&good))));
    scene.store.delete(&path).await.unwrap();
    scene.beat(14).await;
    assert_eq!(look(&scene, scene.to - MINUTE).await, Vec::<&str>::new());
    scene.beat(2).await;
    assert!(look(&scene, scene.to).await.contains(&"stale-timestamp"));
    // A new name every time does not make a timestamp: missing, another file, rubbish, another root's, an old one.
    let old = tsa.token(&[2; 32], START, None);
    let strange = other.token(&[3; 32], scene.to, None);
    let swapped = tsa.token(&[4; 32], scene.to, None);
    for (der, stored, found) in [
        (&b"nothing"[..], None, "timestamp"),
        (&swapped, Some(&good[..]), "timestamp"),
        (&b"rubbish"[..], Some(&b"rubbish"[..]), "timestamp"),
        (&strange, Some(&strange), "timestamp"),
        (&old, Some(&old), "stale-timestamp"),
    ] {
        name(&mut scene, der, stored).await;
        assert_eq!(look(&scene, scene.to).await, [found]);
    }
    let fresh = tsa.token(&[5; 32], scene.to, None);
    name(&mut scene, &fresh, Some(&fresh)).await;
    assert_eq!(look(&scene, scene.to).await, Vec::<&str>::new());
}

#[tokio::test]
async fn rubbish_is_told_and_what_cannot_be_read_is_no_misbehaviour() {
    let (dir, mut scene) = (tempfile::tempdir().unwrap(), Scene::new().await);
    scene.beat(3).await;
    let (checkpoint, bundle) =
        (ObjectPath::from("log/1/checkpoint"), ObjectPath::from("log/1/tile/entries/000.p/5"));
    let good = scene.store.get(&checkpoint).await.unwrap().bytes().await.unwrap();
    for bad in [&b""[..], b"\xff", b"nonsense\n", &[b'x'; 100_000]] {
        scene.store.put(&checkpoint, bad.to_vec().into()).await.unwrap();
        assert_eq!(kinds(&scene.monitor(dir.path()).round(scene.to).await.unwrap())[0], "checkpoint");
    }
    scene.store.put(&checkpoint, good.into()).await.unwrap();
    let entries = scene.store.get(&bundle).await.unwrap().bytes().await.unwrap();
    let mut bent = entries.to_vec();
    *bent.last_mut().unwrap() ^= 1;
    scene.store.put(&bundle, bent.into()).await.unwrap();
    assert_eq!(kinds(&scene.monitor(dir.path()).round(scene.to).await.unwrap())[0], "corrupt");
    scene.store.put(&bundle, entries.into()).await.unwrap();
    assert_eq!(kinds(&scene.monitor(dir.path()).round(scene.to).await.unwrap()), Vec::<&str>::new());
    scene.store.delete(&checkpoint).await.unwrap();
    let round = scene.monitor(dir.path()).round(scene.to).await.unwrap();
    assert!(round.found.is_empty() && round.unreachable.is_some());
    // What was remembered is not forgotten quietly.
    let state =
        std::fs::read_dir(dir.path()).unwrap().flatten().find(|entry| entry.path().is_file()).unwrap();
    let text = std::fs::read_to_string(state.path()).unwrap();
    for bad in [&text[..text.len() / 2], "", "{}", &text.replace("\"size\":5", "\"size\":6")] {
        std::fs::write(state.path(), bad).unwrap();
        let key: VerifierKey = scene.log.vkey().parse().unwrap();
        assert!(matches!(State::load(dir.path(), &key), Err(StateError::Damaged { .. })), "{bad}");
    }
}
