use colophon_receipt::merkle::{empty_root, sha256};
use colophon_receipt::policy_change::{POLICY_CHANGE_TYPE, PolicyChange, policy_file};
use colophon_receipt::record::RecordLeaf;
use colophon_receipt::statement::{
    ANNOUNCEMENT_TYPE, Announcement, CLOSE_TYPE, Counters, RuleCount, STATEMENT_TYPE, ShardClose, Statement,
    payload_hash,
};
use colophon_receipt::{Level, Outcome};
use colophon_signer::cose::sign_statement;
use colophon_signer::{Ed25519Key, Signer};
use object_store::ObjectStore;

use super::*;
use crate::batch;
use crate::leaf::Leaf;
use crate::ledger::keeper::batch_name;
use crate::log::Log;
use crate::log::tests::support::{config, key};
use crate::show::Show;

const SHARD: &str = "here/0123456789abcdef";
const ORIGIN: &str = "log.example/test/1";
/// The text of the policy in force.
const POLICY: &[u8] = b"{}";

/// A log with one shard, and everything needed to add good and bad leaves to it.
struct Scene {
    folder: tempfile::TempDir,
    log: Log,
    shard: Ed25519Key,
    seq: u64,
    previous: Hash,
    to: u64,
    records: u64,
}

impl Scene {
    async fn new() -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let store = crate::store::local(folder.path()).unwrap();
        let log = Log::open(store, config(None)).await.unwrap();
        let shard = Ed25519Key::from_seed(&[3; 32]).unwrap();
        let (previous, to) = ([0; 32], 1_000_000);
        let mut scene = Scene { folder, log, shard, seq: 0, previous, to, records: 0 };
        scene.write_policy(&sha256(POLICY), POLICY);
        let announcement = scene.announcement(SHARD);
        scene.announce(announcement, key().as_ref()).await;
        scene
    }

    fn store(&self) -> Arc<dyn ObjectStore> {
        crate::store::local(self.folder.path()).unwrap()
    }

    fn announcement(&self, shard: &str) -> Announcement {
        let mut announcement = Announcement {
            shard: shard.into(),
            public_key: self.shard.public_key().0,
            not_before: 1_000_000,
            not_after: 900_000_000,
            origin: ORIGIN.into(),
            predecessor: None,
            proof: [0; 64],
            attestation: None,
        };
        announcement.proof = self.shard.sign(&announcement.proof_message());
        announcement
    }

    async fn announce(&mut self, announcement: Announcement, by: &dyn Signer) {
        let payload = announcement.encode();
        self.previous = payload_hash(&payload);
        let leaf = sign_statement(&payload, ANNOUNCEMENT_TYPE, ORIGIN, &announcement.shard, by).unwrap();
        self.append(leaf).await;
    }

    async fn append(&mut self, leaf: Vec<u8>) {
        self.log.append(vec![leaf]).await.unwrap();
    }

    /// The next statement over `count` new records, its batch file written.
    fn batch(&mut self, count: u64) -> Statement {
        let (from, to) = (self.to, self.to + 10);
        let record = |n: u64| RecordLeaf {
            id: sha256(&(self.records + n).to_be_bytes())[..16].try_into().unwrap(),
            completed_at: from + n % 10,
            field_root: [1; 32],
            present: 1,
            level: Level::Sign,
            outcome: Outcome::Complete,
            draw: None,
        };
        let records: Vec<_> = (0..count).map(record).collect();
        let root = self.write_batch(self.seq, &records);
        self.records += count;
        let recorded = self.records;
        Statement {
            shard: SHARD.into(),
            seq: self.seq,
            count,
            root,
            previous: self.previous,
            from,
            to,
            beacon: None,
            cumulative_exchanges: recorded,
            cumulative_evidence: 0,
            bypasses: Vec::new(),
            rules: Default::default(),
            policy: sha256(POLICY),
            counters: Counters { received: recorded + 1, recorded, open: 1, ..Counters::default() },
        }
    }

    fn write_policy(&self, digest: &Hash, text: &[u8]) {
        let file = self.folder.path().join(policy_file(digest));
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }

    fn change(&self, change: &PolicyChange) -> Vec<u8> {
        sign_statement(&change.encode(), POLICY_CHANGE_TYPE, ORIGIN, SHARD, &self.shard).unwrap()
    }

    fn write_batch(&self, seq: u64, records: &[RecordLeaf]) -> Hash {
        let leaves: Vec<_> = records.iter().map(|record| (record.id, record.encode())).collect();
        let hashes: Vec<_> = leaves.iter().map(|(_, leaf)| leaf_hash(leaf)).collect();
        if records.is_empty() {
            return empty_root();
        }
        let file = self.folder.path().join(batch_name(SHARD, seq));
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, batch::write(leaves.iter().map(|(id, leaf)| (id, leaf.as_slice())), &hashes))
            .unwrap();
        batch::root(&hashes)
    }

    fn sign(&self, statement: &Statement) -> Vec<u8> {
        sign_statement(&statement.encode(), STATEMENT_TYPE, ORIGIN, &statement.shard, &self.shard).unwrap()
    }

    async fn add(&mut self, statement: Statement) {
        let leaf = self.sign(&statement);
        self.append(leaf).await;
        self.previous = payload_hash(&statement.encode());
        (self.seq, self.to) = (statement.seq + 1, statement.to);
    }

    async fn good(&mut self, count: u64) {
        let statement = self.batch(count);
        self.add(statement).await;
    }

    fn close(&self) -> ShardClose {
        let (seq, payload_hash) = (self.seq.saturating_sub(1), self.previous);
        ShardClose { shard: SHARD.into(), seq, payload_hash, at: self.to + 1 }
    }

    async fn append_close(&mut self, close: ShardClose) {
        let leaf = sign_statement(&close.encode(), CLOSE_TYPE, ORIGIN, SHARD, &self.shard).unwrap();
        self.append(leaf).await;
    }

    async fn check(&self) -> Report {
        check(self.store(), CheckOptions { vkey: Some(self.log.vkey()), ..CheckOptions::default() }).await
    }

    /// The names of the findings.
    async fn found(&self) -> Vec<&'static str> {
        self.check().await.findings.iter().map(Finding::name).collect()
    }
}

/// A scene after a few good batches and one statement changed by `change`.
async fn with(change: impl FnOnce(&mut Statement)) -> Vec<&'static str> {
    let mut scene = Scene::new().await;
    scene.good(2).await;
    let mut statement = scene.batch(3);
    change(&mut statement);
    scene.add(statement).await;
    scene.found().await
}

#[tokio::test]
async fn a_sound_log_has_no_findings_and_everything_is_counted() {
    let mut scene = Scene::new().await;
    for n in 0..300 {
        scene.good(n % 3).await;
    }
    scene.append_close(scene.close()).await;
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let progress = seen.clone();
    let options = CheckOptions {
        progress: Some(Box::new(move |done, total| progress.lock().unwrap().push((done, total)))),
        ..CheckOptions::default()
    };
    let report = check(scene.store(), options).await;
    assert!(report.is_sound(), "{:#?}", report.findings);
    assert_eq!(report.checkpoint.as_ref(), Some(&scene.log.head().checkpoint));
    assert_eq!(report.vkey, Some(scene.log.vkey()));
    let counts = (report.leaves, report.announcements, report.statements, report.closes);
    assert_eq!(counts, (303, 1, 300, 1));
    assert_eq!((report.batches, report.records, report.sequence_entries), (200, 300, 303));
    assert_eq!((report.bundles, report.tiles), (2, 3));
    // After each batch and each bundle.
    let seen = seen.lock().unwrap();
    assert!(seen.is_sorted() && seen.contains(&(256, 303)) && seen.len() > 200, "{seen:?}");
    assert_eq!(seen.last(), Some(&(303, 303)));
}

#[tokio::test]
async fn a_flipped_byte_in_any_file_of_the_log_is_found() {
    let mut scene = Scene::new().await;
    for _ in 0..280 {
        scene.good(0).await;
    }
    scene.good(2).await;
    let files = [
        ("checkpoint", "checkpoint"),
        ("tile/0/000", "tile"),
        ("tile/0/001.p/27", "tile"),
        ("tile/1/000.p/1", "tile"),
        ("tile/entries/000", "root"),
        ("tile/entries/001.p/27", "root"),
        ("seq/000000000/000", "sequence"),
        ("seq/000000000/282", "sequence"),
    ];
    for (file, name) in files {
        let path = scene.folder.path().join("log/1").join(file);
        let good = std::fs::read(&path).unwrap();
        let mut bad = good.clone();
        let last = bad.len() - 2;
        bad[last] ^= 1;
        std::fs::write(&path, &bad).unwrap();
        let found = scene.found().await;
        assert!(found.contains(&name), "{file}: {found:?}");
        std::fs::remove_file(&path).unwrap();
        let found = scene.found().await;
        let name = if name == "root" { "bundle" } else { name };
        assert!(found.contains(&name), "{file} removed: {found:?}");
        std::fs::write(&path, &good).unwrap();
    }
    assert!(scene.check().await.is_sound());
}

/// Files of earlier checkpoints are served too, until a full tile takes their place.
#[tokio::test]
async fn damage_in_a_superseded_file_is_found() {
    let mut scene = Scene::new().await;
    for _ in 0..5 {
        scene.good(0).await;
    }
    for file in ["tile/0/000.p/3", "tile/entries/000.p/3"] {
        let path = scene.folder.path().join("log/1").join(file);
        let good = std::fs::read(&path).unwrap();
        let mut flipped = good.clone();
        flipped[10] ^= 1;
        for bad in [&flipped[..], &good[..good.len() - 1]] {
            std::fs::write(&path, bad).unwrap();
            let report = scene.check().await;
            let named = report.findings.iter().any(|finding| finding.to_string().contains(file));
            assert!(named, "{file}: {:?}", report.findings);
        }
        std::fs::write(&path, &good).unwrap();
    }
    assert!(scene.check().await.is_sound());
}

#[tokio::test]
async fn files_of_another_log_in_another_order_or_cut_are_found() {
    let (mut scene, mut other) = (Scene::new().await, Scene::new().await);
    other.records = 1000;
    for _ in 0..280 {
        scene.good(0).await;
        other.good(0).await;
    }
    for scene in [&mut scene, &mut other] {
        scene.good(2).await;
        scene.good(2).await;
    }
    let (batch_1, batch_2) = (batch_name(SHARD, 280), batch_name(SHARD, 281));
    let read = |scene: &Scene, file: &str| std::fs::read(scene.folder.path().join(file)).unwrap();
    let cut = |file: &str| {
        let mut bytes = read(&scene, file);
        bytes.truncate(bytes.len() / 2);
        bytes
    };
    let cases = [
        // Of another log.
        ("log/1/tile/entries/001.p/28", read(&other, "log/1/tile/entries/001.p/28")),
        ("log/1/tile/0/001.p/28", read(&other, "log/1/tile/0/001.p/28")),
        ("log/1/seq/000000000/282", read(&other, "log/1/seq/000000000/282")),
        (batch_1.as_str(), read(&other, &batch_1)),
        // Another's of this one.
        ("log/1/tile/entries/001.p/28", read(&scene, "log/1/tile/entries/001.p/27")),
        ("log/1/seq/000000000/282", read(&scene, "log/1/seq/000000000/281")),
        (batch_1.as_str(), read(&scene, &batch_2)),
        // Cut.
        ("log/1/tile/entries/000", cut("log/1/tile/entries/000")),
        ("log/1/tile/0/000", cut("log/1/tile/0/000")),
        ("log/1/seq/000000000/282", cut("log/1/seq/000000000/282")),
        (batch_1.as_str(), cut(&batch_1)),
    ];
    for (file, bad) in cases {
        let good = read(&scene, file);
        assert_ne!(good, bad, "{file}");
        std::fs::write(scene.folder.path().join(file), &bad).unwrap();
        let report = scene.check().await;
        assert!(!report.is_sound(), "{file}, {} bytes", bad.len());
        std::fs::write(scene.folder.path().join(file), &good).unwrap();
    }
    assert!(scene.check().await.is_sound(), "{:?}", scene.check().await.findings);
}

/// What witnesses cosigned has to be a tree of this log: with a second one, the log and they vouch for two histories.
#[tokio::test]
async fn a_cosigned_checkpoint_of_another_tree_is_found() {
    let mut scene = Scene::new().await;
    for _ in 0..3 {
        scene.good(1).await;
    }
    let earlier = scene.log.head();
    scene.good(1).await;
    let sign = |size, root| SignedHead::sign(ORIGIN, size, root, &*key()).unwrap().note;
    let write = |note: &str| std::fs::write(scene.folder.path().join("log/1/cosigned"), note).unwrap();
    for good in [&earlier.note, &scene.log.head().note] {
        write(good);
        assert!(scene.check().await.is_sound(), "{:?}", scene.check().await.findings);
    }
    let size = earlier.size();
    for (bad, says) in [
        (sign(size, [7; 32]), "two histories"),
        (sign(size + 50, [7; 32]), "more leaves than the log has"),
        (earlier.note.replace("\u{2014} ", "\u{2014} x"), ""),
        ("rubbish\n".to_owned(), "no checkpoint"),
    ] {
        write(&bad);
        let report = scene.check().await;
        let said: Vec<String> = report.findings.iter().map(Finding::to_string).collect();
        assert!(said.len() == 1 && said[0].contains("cosigned") && said[0].contains(says), "{said:?}");
        let published = CheckOptions { published: true, batches: false, ..CheckOptions::default() };
        assert_eq!(check(scene.store(), published).await.findings.len(), 1);
    }
}

#[tokio::test]
async fn all_that_is_wrong_is_reported_not_only_the_first() {
    let mut scene = Scene::new().await;
    for _ in 0..3 {
        scene.good(2).await;
    }
    let root = scene.folder.path();
    std::fs::write(root.join("log/1/checkpoint"), b"garbage\n").unwrap();
    assert_eq!(scene.found().await, ["checkpoint"]);
    std::fs::write(root.join("log/1/checkpoint"), &scene.log.head().note).unwrap();
    std::fs::remove_file(root.join(batch_name(SHARD, 1))).unwrap();
    std::fs::write(root.join(batch_name(SHARD, 2)), b"garbage").unwrap();
    std::fs::write(root.join("log/1/tile/0/000.p/5"), [0; 160]).unwrap();
    assert_eq!(scene.found().await, ["batch", "batch", "tile"]);
    let options = CheckOptions { batches: false, ..CheckOptions::default() };
    assert_eq!(check(scene.store(), options).await.findings.len(), 1);
}

#[tokio::test]
async fn another_key_than_the_one_given_is_not_believed() {
    let scene = Scene::new().await;
    let other = Ed25519Key::from_seed(&[9; 32]).unwrap();
    let vkey = VerifierKey::new(ORIGIN, colophon_signer::note::NoteAlgorithm::Ed25519, other.public_key());
    let options = CheckOptions { vkey: Some(vkey.unwrap().to_string()), ..CheckOptions::default() };
    let report = check(scene.store(), options).await;
    let names: Vec<_> = report.findings.iter().map(Finding::name).collect();
    assert_eq!(names, ["genesis", "checkpoint"]);
    assert_eq!(report.checkpoint, None);
}

#[tokio::test]
async fn statements_that_do_not_follow() {
    assert_eq!(with(|_| {}).await, Vec::<&str>::new());
    assert_eq!(with(|s| s.previous[0] ^= 1).await, ["chain"]);
    // Records of the batch then lie outside the interval.
    assert_eq!(with(|s| s.from += 1).await, ["chain", "batch"]);
    assert_eq!(with(|s| s.from -= 1).await, ["chain"]);
    assert_eq!(with(|s| s.to = s.from - 1).await, ["chain", "batch"]);
    assert_eq!(with(|s| s.to = 900_000_001).await, ["chain"]);
    assert_eq!(with(|s| s.cumulative_exchanges -= 1).await, ["chain", "counters"]);
    assert_eq!(
        with(|s| (s.counters.recorded, s.counters.open) = (s.counters.recorded + 1, 0)).await,
        ["counters"]
    );
    assert_eq!(with(|s| s.cumulative_evidence += 1).await, ["chain"]);
    assert_eq!(with(|s| s.counters.open += 1).await, ["counters"]);
    assert_eq!(with(|s| s.counters = Counters::default()).await, ["counters", "counters"]);
    // The two batches hold 2 and 3 records.
    let by_rule = |s: &mut Statement, rule: &str, recorded| {
        s.rules.add(rule.as_bytes(), &RuleCount { recorded, ..RuleCount::default() });
    };
    assert_eq!(with(|s| by_rule(s, "chat", 5)).await, Vec::<&str>::new());
    assert_eq!(with(|s| by_rule(s, "chat", 4)).await, ["counters"]);
    assert_eq!(with(|s| s.root[0] ^= 1).await, ["batch"]);
    assert_eq!(with(|s| s.count += 1).await, ["chain", "batch"]);
    assert_eq!(with(|s| s.seq += 1).await, ["gap", "batch"]);
    assert_eq!(with(|s| s.shard = "other/0".into()).await, ["unannounced"]);
}

#[tokio::test]
async fn counts_by_rule_only_grow_and_are_summed_up() {
    let mut scene = Scene::new().await;
    let mut state = async |rules: &[(&str, u64)], next: u64| {
        let mut statement = scene.batch(next);
        for (rule, recorded) in rules {
            statement.rules.add(rule.as_bytes(), &RuleCount { recorded: *recorded, ..RuleCount::default() });
        }
        scene.add(statement).await;
        scene.check().await
    };
    state(&[("chat", 2)], 2).await;
    let report = state(&[("chat", 3), ("mail", 2)], 3).await;
    assert!(report.is_sound(), "{:?}", report.findings);
    let sums: Vec<_> = report.by_rule().into_iter().map(|(rule, count)| (rule, count.recorded)).collect();
    assert_eq!(sums, [(b"chat".to_vec(), 3), (b"mail".to_vec(), 2)]);
    // The sum is right, but one rule has lost what another has won.
    let report = state(&[("chat", 2), ("mail", 4)], 1).await;
    assert!(report.findings[0].to_string().contains("by rule went backwards"), "{:?}", report.findings);
}

#[tokio::test]
async fn a_hole_is_one_finding() {
    let mut scene = Scene::new().await;
    scene.good(1).await;
    // Statement 1 was never logged.
    let lost = scene.batch(1);
    scene.previous = payload_hash(&lost.encode());
    (scene.seq, scene.to) = (2, lost.to);
    scene.good(1).await;
    scene.good(1).await;
    assert_eq!(scene.found().await, ["gap"]);
    // It does not heal: the number comes too late.
    let late = scene.sign(&lost);
    scene.append(late).await;
    assert_eq!(scene.found().await.first(), Some(&"gap"));
    assert_eq!(scene.found().await.get(1), Some(&"gap"));
}

#[tokio::test]
async fn two_payloads_for_one_number_convict_the_key() {
    let mut scene = Scene::new().await;
    scene.good(1).await;
    let statement = scene.batch(1);
    scene.add(statement.clone()).await;
    let again = scene.sign(&statement);
    scene.append(again).await;
    assert_eq!(scene.found().await, ["repeated"]);
    let other = scene.sign(&Statement { policy: [6; 32], ..statement });
    scene.append(other).await;
    assert_eq!(scene.found().await, ["repeated", "equivocation"]);
}

#[tokio::test]
async fn the_same_record_twice_is_found_across_batches() {
    let mut scene = Scene::new().await;
    scene.good(2).await;
    scene.records = 1;
    let mut statement = scene.batch(2);
    (statement.cumulative_exchanges, statement.counters.recorded) = (4, 4);
    statement.counters.received = 5;
    scene.add(statement).await;
    let report = scene.check().await;
    assert!(
        matches!(report.findings[..], [Finding::DuplicateRecord { first: 2, second: 3, .. }]),
        "{report:?}"
    );
}

#[tokio::test]
async fn keys_and_signatures_of_others() {
    let thief = Ed25519Key::from_seed(&[9; 32]).unwrap();
    let mut scene = Scene::new().await;
    scene.good(1).await;
    let statement = scene.batch(1);
    let stolen = sign_statement(&statement.encode(), STATEMENT_TYPE, ORIGIN, SHARD, &thief).unwrap();
    scene.append(stolen).await;
    assert_eq!(scene.found().await, ["signature"]);
    let foreign =
        sign_statement(&statement.encode(), STATEMENT_TYPE, "other.example/1", SHARD, &scene.shard).unwrap();
    scene.append(foreign).await;
    assert_eq!(scene.found().await, ["signature", "signature"]);

    let mut scene = Scene::new().await;
    let announcement = scene.announcement("by/thief");
    scene.announce(announcement, &thief).await;
    let mut announcement = scene.announcement("without/proof");
    announcement.proof[0] ^= 1;
    scene.announce(announcement, key().as_ref()).await;
    let announcement = scene.announcement(SHARD);
    scene.announce(announcement, key().as_ref()).await;
    assert_eq!(scene.found().await, ["signature", "announcement", "announcement"]);
}

#[tokio::test]
async fn closes_and_what_follows_them() {
    let mut scene = Scene::new().await;
    scene.good(1).await;
    let close = scene.close();
    scene.append_close(ShardClose { seq: 7, ..close.clone() }).await;
    assert_eq!(scene.found().await, ["close"]);
    scene.append_close(close).await;
    scene.good(1).await;
    assert_eq!(scene.found().await, ["close", "close", "chain"]);
}

#[tokio::test]
async fn leaves_of_no_known_kind() {
    let mut scene = Scene::new().await;
    let head = scene.log.head();
    let genesis = scene.log.reader().entry(0, &head.checkpoint).await.unwrap();
    let odd = sign_statement(b"\xa0", "application/odd", ORIGIN, SHARD, &scene.shard).unwrap();
    for leaf in [b"junk".to_vec(), genesis, odd] {
        scene.append(leaf).await;
    }
    assert_eq!(scene.found().await, ["leaf", "leaf", "leaf"]);
}

#[tokio::test]
async fn a_log_is_shown_leaf_by_leaf() {
    let mut scene = Scene::new().await;
    for _ in 0..300 {
        scene.good(0).await;
    }
    scene.append(b"junk".to_vec()).await;
    let mut show = Show::open(scene.store(), 1, 0..u64::MAX).await.unwrap();
    assert_eq!(*show.head(), *scene.log.head());
    let mut lines = Vec::new();
    while let Some(shown) = show.next().await.unwrap() {
        assert_eq!(shown.index, lines.len() as u64);
        lines.push(shown);
    }
    assert_eq!(lines.len(), 303);
    assert!(matches!(&lines[0].leaf, Ok(Leaf::Genesis(genesis)) if genesis.origin == ORIGIN));
    assert!(matches!(&lines[1].leaf, Ok(Leaf::Announcement(..))));
    assert!(matches!(&lines[301].leaf, Ok(Leaf::Statement(_, s)) if s.seq == 299));
    assert!(lines[302].leaf.is_err());
    assert!(lines[301].to_string().contains(&format!("{SHARD}#299 count=0")), "{}", lines[301]);
    let mut show = Show::open(scene.store(), 1, 255..257).await.unwrap();
    assert_eq!(show.next().await.unwrap().unwrap().index, 255);
    assert_eq!(show.next().await.unwrap().unwrap().index, 256);
    assert!(show.next().await.unwrap().is_none());
    assert!(Show::open(scene.store(), 2, 0..1).await.is_err());
}

/// A batch file that no statement is about: it waits while its shard may run, is left over when its records are elsewhere,
/// and is a loss otherwise.
#[tokio::test]
async fn records_that_were_never_logged() {
    let mut scene = Scene::new().await;
    scene.good(2).await;
    let lost = scene.batch(3);
    let report = scene.check().await;
    assert!(report.is_sound(), "{:?}", report.findings);
    let waiting = NotLogged { shard: SHARD.into(), records: 3, batches: 1 };
    assert_eq!(report.not_logged, [waiting]);

    scene.append_close(scene.close()).await;
    let report = scene.check().await;
    let [Finding::Unlogged { records: 3, .. }] = report.findings[..] else { panic!("{:?}", report.findings) };
    assert!(report.not_logged.is_empty());

    // The same file, with records that another batch holds.
    scene.records = 0;
    scene.write_batch(lost.seq, &[]);
    let again = scene.batch(2);
    assert_eq!(again.seq, lost.seq);
    assert!(scene.check().await.is_sound());
}

#[tokio::test]
async fn shards_are_summed_up_and_holes_counted() {
    let mut scene = Scene::new().await;
    scene.good(2).await;
    let lost = scene.batch(5);
    (scene.seq, scene.to) = (1, lost.to);
    let report = scene.check().await;
    let [shard] = &report.shards[..] else { panic!("{:?}", report.shards) };
    assert_eq!((shard.records, shard.statements, shard.closed, shard.succeeded), (2, 1, false, false));
    assert_eq!((report.counters().received, report.counters().recorded, report.counters().open), (3, 2, 1));
    // Statement 1 with its five records is never logged, the next one counts them.
    (scene.previous, scene.seq) = (payload_hash(&lost.encode()), 2);
    scene.good(1).await;
    let report = scene.check().await;
    assert!(
        report.findings.iter().any(|found| matches!(found, Finding::Gap { records: 5, .. })),
        "{report:?}"
    );
}

/// What is published has no sequence, no batches, and not always the files of earlier checkpoints.
#[tokio::test]
async fn a_published_log_is_checked_without_what_is_private() {
    let mut scene = Scene::new().await;
    for _ in 0..5 {
        scene.good(1).await;
    }
    std::fs::remove_dir_all(scene.folder.path().join("log/1/seq")).unwrap();
    std::fs::remove_dir_all(scene.folder.path().join("shard")).unwrap();
    std::fs::write(scene.folder.path().join("log/1/tile/0/000.p/2"), b"old").unwrap();
    let options = || CheckOptions { published: true, batches: false, ..CheckOptions::default() };
    let report = check(scene.store(), options()).await;
    assert!(report.is_sound(), "{:?}", report.findings);
    assert_eq!((report.statements, report.sequence_entries), (5, 0));
    let entries = scene.folder.path().join("log/1/tile/entries/000.p/7");
    let mut bad = std::fs::read(&entries).unwrap();
    *bad.last_mut().unwrap() ^= 1;
    std::fs::write(&entries, bad).unwrap();
    assert!(!check(scene.store(), options()).await.is_sound());
}

const NEXT_POLICY: &[u8] = b"{\"next\":1}";

/// A shard with one batch under the first policy, and the change to the next one.
async fn changing() -> (Scene, PolicyChange) {
    let mut scene = Scene::new().await;
    scene.good(1).await;
    let (before, after) = (sha256(POLICY), sha256(NEXT_POLICY));
    let change = PolicyChange { shard: SHARD.into(), seq: scene.seq, at: scene.to, before, after };
    (scene, change)
}

#[tokio::test]
async fn a_policy_changes_only_by_a_logged_change_whose_text_is_kept() {
    let (mut scene, change) = changing().await;
    let leaf = scene.change(&change);
    scene.append(leaf).await;
    let statement = Statement { policy: change.after, ..scene.batch(1) };
    scene.add(statement).await;
    assert_eq!(scene.found().await, ["policy"], "the text of the next policy is missing");
    scene.write_policy(&change.after, b"{\"next\":2}");
    assert_eq!(scene.found().await, ["policy"], "it is another");
    scene.write_policy(&change.after, NEXT_POLICY);
    let report = scene.check().await;
    assert!(report.is_sound(), "{:?}", report.findings);
    assert_eq!((report.policy_changes, report.policies), (1, 2));
}

#[tokio::test]
async fn a_policy_that_changes_unsaid_or_otherwise_than_said_is_found() {
    // No change at all.
    let (mut scene, change) = changing().await;
    scene.write_policy(&change.after, NEXT_POLICY);
    let statement = Statement { policy: change.after, ..scene.batch(1) };
    scene.add(statement).await;
    assert_eq!(scene.found().await, ["chain"]);
    // A change, and a statement under the old policy.
    let (mut scene, change) = changing().await;
    scene.write_policy(&change.after, NEXT_POLICY);
    let leaf = scene.change(&change);
    scene.append(leaf).await;
    let statement = scene.batch(1);
    scene.add(statement).await;
    assert_eq!(scene.found().await, ["chain"]);
    // A change of another policy, at another place, by another key.
    for wrong in [
        PolicyChange { before: sha256(NEXT_POLICY), after: sha256(POLICY), ..change.clone() },
        PolicyChange { seq: change.seq + 1, ..change.clone() },
    ] {
        let (mut scene, _) = changing().await;
        scene.write_policy(&sha256(NEXT_POLICY), NEXT_POLICY);
        let leaf = scene.change(&wrong);
        scene.append(leaf).await;
        assert_eq!(scene.found().await, ["policy-change"]);
    }
    let (mut scene, change) = changing().await;
    scene.shard = Ed25519Key::from_seed(&[4; 32]).unwrap();
    let leaf = scene.change(&change);
    scene.append(leaf).await;
    assert_eq!(scene.found().await, ["signature"]);
}
