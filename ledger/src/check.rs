//! `colophon log check`: re-hashes a whole log from its entries up, and asks of every statement whether it follows.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use colophon_receipt::Hash;
use colophon_receipt::checkpoint::Checkpoint;
use colophon_receipt::merkle::leaf_hash;
use colophon_receipt::statement::{Bypass, Counters, RuleCount, Rules};
use colophon_receipt::subtrees::Subtrees;
use colophon_signer::drand::Chain;
use colophon_signer::note::VerifierKey;
use colophon_signer::rfc3161::Roots;
use object_store::ObjectStore;

use self::anchors::Anchors;
pub use self::anchors::NewestTimestamp;
use self::batches::Batches;
pub use self::draws::Drawn;
pub use self::finding::Finding;
use self::policies::Policies;
use self::sequence::Sequence;
use self::statements::{Statements, Subject};
use crate::generation::{Link, check_link};
use crate::head::{self, SignedHead};
use crate::store::{Store, StoreError};
use crate::tiles::{self, Edge, MAX_BUNDLE, MAX_TILE, TileId, WIDTH, Write};

mod anchors;
mod batches;
mod draws;
mod finding;
mod ids;
mod policies;
mod sequence;
pub(crate) mod statements;

/// Findings kept; more are counted.
const MAX_FINDINGS: usize = 10_000;

/// What to check, and how to tell of it.
pub struct CheckOptions {
    /// The log's generation, from 1.
    pub generation: u32,
    /// The verifier key that the checkpoint has to be signed by. Without one, those of the genesis leaf are believed.
    pub vkey: Option<String>,
    /// Whether to read the batch files and the policies' texts too: they are not public, so a copy of the log may lack
    /// them.
    pub batches: bool,
    /// Roots of TSAs to judge timestamps by; without them only that each is good, and about the log.
    pub tsa_roots: Roots,
    /// Only what a published log shows: no sequence entries, and no files of earlier checkpoints.
    pub published: bool,
    /// The chain whose rounds draw records; those in the store are believed only if it signed them.
    pub chain: Chain,
    /// Called with (leaves checked, leaves in all), also after each batch.
    pub progress: Option<Box<dyn Fn(u64, u64) + Send + Sync>>,
}

impl Default for CheckOptions {
    fn default() -> CheckOptions {
        CheckOptions {
            generation: 1,
            vkey: None,
            batches: true,
            published: false,
            chain: Chain::quicknet(),
            tsa_roots: Roots::default(),
            progress: None,
        }
    }
}

impl fmt::Debug for CheckOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckOptions").field("generation", &self.generation).finish_non_exhaustive()
    }
}

/// What a check found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The signed head, if it could be read and its signature is good.
    pub checkpoint: Option<Checkpoint>,
    /// The key that signed it.
    pub vkey: Option<String>,
    /// Leaves hashed.
    pub leaves: u64,
    /// Files of hashes compared.
    pub tiles: u64,
    /// Files of entries read.
    pub bundles: u64,
    /// Sequence entries compared.
    pub sequence_entries: u64,
    /// Key announcements.
    pub announcements: u64,
    /// Statements, heartbeats included.
    pub statements: u64,
    /// Shard closes.
    pub closes: u64,
    /// Erasures of openings.
    pub erasures: u64,
    /// Openings that they say were deleted.
    pub erased: u64,
    /// Changes of a policy while a shard was running.
    pub policy_changes: u64,
    /// Policies that were in force whose texts are in the store as they were.
    pub policies: u64,
    /// Break-glass bypasses, each as the newest statement tells of it.
    pub bypasses: Vec<Bypass>,
    /// Revocations of keys.
    pub revocations: u64,
    /// How this generation is tied to the one before it; absent for the first.
    pub link: Option<Link>,
    /// Batch files read.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// Records that may be drawn for a higher level, and what came of it.
    pub drawn: Drawn,
    /// Evidence leaves about shards' own keys.
    pub key_evidence: u64,
    /// Checkpoints with timestamps, each compared with the tree of its size.
    pub dated_checkpoints: u64,
    /// Good timestamps over them.
    pub timestamps: u64,
    /// Those by TSAs of the given roots.
    pub trusted_timestamps: u64,
    /// The newest of these.
    pub newest_timestamp: Option<NewestTimestamp>,
    /// Statements that name a beacon.
    pub beacons: u64,
    /// Every shard of the log, by name.
    pub shards: Vec<ShardSummary>,
    /// Records in batch files that wait for the log, by shard: a running sidecar logs them within seconds.
    pub not_logged: Vec<NotLogged>,
    /// What is wrong, in the order it was found.
    pub findings: Vec<Finding>,
    /// Findings beyond those kept.
    pub omitted: u64,
}

/// What a shard's statements say, and how it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardSummary {
    /// `name/<incarnation>`.
    pub shard: String,
    /// Its statements in the log.
    pub statements: u64,
    /// Records that they count.
    pub records: u64,
    /// The counters of the last one.
    pub counters: Counters,
    /// The same by rule, where it tells that.
    pub rules: Rules,
    /// It has a close.
    pub closed: bool,
    /// A later shard names it as its predecessor.
    pub succeeded: bool,
}

/// Records of one shard that are in batch files, but under no statement yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotLogged {
    /// The shard.
    pub shard: String,
    /// Records.
    pub records: u64,
    /// Files.
    pub batches: u64,
}

impl Report {
    /// The counters of all shards together: what the last statement of each says.
    pub fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        for one in self.shards.iter().map(|shard| &shard.counters) {
            for (sum, more) in [
                (&mut sum.received, one.received),
                (&mut sum.recorded, one.recorded),
                (&mut sum.passed, one.passed),
                (&mut sum.lost, one.lost),
                (&mut sum.open, one.open),
                (&mut sum.refused, one.refused),
                (&mut sum.degraded, one.degraded),
            ] {
                *sum = sum.saturating_add(more);
            }
            sum.bypass = match (sum.bypass, one.bypass) {
                (None, None) => None,
                (sum, more) => Some(sum.unwrap_or(0).saturating_add(more.unwrap_or(0))),
            };
        }
        sum
    }

    /// The same by rule, of shards that tell it.
    pub fn by_rule(&self) -> BTreeMap<Vec<u8>, RuleCount> {
        let mut sum: BTreeMap<Vec<u8>, RuleCount> = BTreeMap::new();
        for (rule, count) in self.shards.iter().flat_map(|shard| shard.rules.iter()) {
            let known = sum.entry(rule.to_vec()).or_default();
            *known = known.saturating_add(count);
        }
        sum
    }

    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty() && self.omitted == 0
    }

    fn find(&mut self, finding: Finding) {
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(finding);
        } else {
            self.omitted += 1;
        }
    }

    fn bypassed(&mut self, told: &[Bypass]) {
        for new in told {
            match self.bypasses.iter().position(|known| known.id == new.id) {
                // A statement of an earlier shard may come late.
                Some(at) if self.bypasses[at].count > new.count || self.bypasses[at].ended.is_some() => {}
                Some(at) => self.bypasses[at] = new.clone(),
                None if self.bypasses.len() < MAX_FINDINGS => self.bypasses.push(new.clone()),
                None => self.omitted += 1,
            }
        }
    }

    fn unreadable(&mut self, error: &StoreError) {
        self.find(Finding::Unreadable(error.to_string()));
    }
}

/// Checks everything and reports all that is wrong; nothing is written and nothing stops it early.
pub async fn check(store: Arc<dyn ObjectStore>, options: CheckOptions) -> Report {
    let log = Store::new(store.clone(), format!("log/{}", options.generation));
    let mut check = Check {
        sequence: (!options.published).then(|| Sequence::new(log.clone())),
        batches: options.batches.then(|| Batches::new(store.clone(), options.chain.clone())),
        policies: Policies::default(),
        anchors: Anchors::new(log.clone(), options.tsa_roots.clone(), options.batches),
        store: log,
        report: Report::default(),
        edge: Edge::default(),
        subtrees: Subtrees::default(),
        statements: Statements::default(),
    };
    check.run(&options).await;
    if options.batches {
        check.policies.check(&Store::new(store.clone(), String::new()), &mut check.report).await;
    }
    if options.generation > 1 {
        check.link(&store, options.generation).await;
    }
    check.report
}

struct Check {
    store: Store,
    report: Report,
    edge: Edge,
    subtrees: Subtrees,
    sequence: Option<Sequence>,
    anchors: Anchors,
    statements: Statements,
    batches: Option<Batches>,
    policies: Policies,
}

impl Check {
    /// Compares the end of the generation before with what this one says of it.
    async fn link(&mut self, store: &Arc<dyn ObjectStore>, generation: u32) {
        match check_link(store, generation).await {
            Ok(link) => self.report.link = Some(link),
            Err(what) => self.report.find(Finding::Generation { generation, what }),
        }
    }

    async fn run(&mut self, options: &CheckOptions) {
        // Before the checkpoint: on a log that grows meanwhile, what is dated later is none of ours.
        if !options.published {
            // HTTP gives no listing.
            self.anchors.list(&mut self.report).await;
        }
        self.anchors.read_cosigned(&mut self.report).await;
        let Some(note) = self.checkpoint_text().await else { return };
        // Needed before the signature can be judged: which keys there are is said by leaf 0.
        let claimed = head::claimed_size(&note);
        let Some(size) = claimed.filter(|size| *size > 0) else {
            self.report.find(Finding::Checkpoint("not a signed checkpoint of at least one leaf".into()));
            return;
        };
        if self.tree(size, options, &note).await {
            self.finish(size).await;
        }
        if let Some(batches) = &mut self.batches {
            batches.finish(&self.statements, &mut self.report).await;
        }
        self.report.shards = self.statements.summaries();
    }

    /// Goes through the leaves, bundle by bundle. False when the tree could not be followed to its end.
    async fn tree(&mut self, size: u64, options: &CheckOptions, note: &str) -> bool {
        let mut next = 0;
        while next < size {
            let bundle = TileId::bundle(next);
            let hashes = self.bundle(bundle, bundle.width(size), next, options, note).await;
            let Some(hashes) = hashes else { return false };
            next += hashes.len() as u64;
            let mut full = Vec::new();
            for hash in hashes {
                if let Some(sequence) = &mut self.sequence {
                    sequence.leaf(&hash, &self.subtrees, &mut self.report).await;
                }
                self.subtrees.push(hash);
                self.edge.push(hash, &mut full);
                if self.anchors.is_due(self.subtrees.size()) {
                    let (size, root) = (self.subtrees.size(), self.subtrees.root());
                    self.anchors.check(size, &root, &mut self.report).await;
                }
            }
            for write in full {
                self.tile(write).await;
            }
            if let Some(progress) = &options.progress {
                progress(next, size);
            }
        }
        true
    }

    /// Compares what only the whole tree decides: its right edge and its root.
    async fn finish(&mut self, size: u64) {
        let partial: Vec<Write> = self.edge.partial_tiles().flatten().collect();
        for write in partial {
            if self.sequence.is_some() {
                let whole = |bytes: &[u8], width| bytes.len() == 32 * width;
                self.superseded(write.tile, write.width, &write.bytes, &whole).await;
            }
            self.tile(write).await;
        }
        if let Some(sequence) = &self.sequence {
            sequence.finish(&mut self.report);
            self.superseded_bundles(size).await;
        }
        self.anchors.finish(&mut self.report);
        let computed = self.subtrees.root();
        let signed = self.report.checkpoint.as_ref().map(|checkpoint| checkpoint.root);
        if let Some(signed) = signed.filter(|signed| *signed != computed) {
            let (computed, signed) = (hex::encode(computed), hex::encode(signed));
            self.report.find(Finding::Root { size, computed, signed });
        }
    }

    async fn checkpoint_text(&mut self) -> Option<String> {
        let what = match self.store.get(head::NAME, head::MAX_FILE).await {
            Ok(Some(bytes)) => match String::from_utf8(bytes.into()) {
                Ok(text) => return Some(text),
                Err(_) => "not UTF-8".to_owned(),
            },
            Ok(None) => format!("{} is missing", self.store.full(head::NAME)),
            Err(e) => e.to_string(),
        };
        self.report.find(Finding::Checkpoint(what));
        None
    }

    /// Reads one bundle and takes its leaves in. Returns the leaf hashes: where the bundle is no good those of its tile,
    /// so that the rest can still be judged. `None` when neither can be read.
    async fn bundle(
        &mut self,
        bundle: TileId,
        width: usize,
        first: u64,
        options: &CheckOptions,
        note: &str,
    ) -> Option<Vec<Hash>> {
        let name = self.present(bundle, width).await;
        let file = self.store.full(&name);
        let what = match self.store.get(&name, MAX_BUNDLE).await {
            Ok(Some(bytes)) => match tiles::parse_bundle(&bytes, width) {
                Some(entries) => {
                    self.report.bundles += 1;
                    self.leaves(&entries, first, options, note).await;
                    return Some(entries.iter().map(|entry| leaf_hash(entry)).collect());
                }
                None => "it does not hold the entries that the tree has there",
            },
            Ok(None) => "it is missing",
            Err(e) => {
                self.report.unreadable(&e);
                "it cannot be read"
            }
        };
        self.report.find(Finding::Bundle { file, what });
        if first == 0 {
            self.signature(Vec::new(), options, note);
        }
        let tile = TileId { level: Some(0), index: bundle.index };
        let name = self.present(tile, width).await;
        let bytes = self.store.get(&name, MAX_TILE).await.ok().flatten();
        let hashes = bytes.and_then(|bytes| tiles::parse_tile(&bytes, width));
        if hashes.is_none() {
            let what = "it cannot be read either: what follows is not checked";
            self.report.find(Finding::Tile { file: self.store.full(&name), what });
        }
        hashes
    }

    /// The partial file, or the full one that took its place.
    async fn present(&self, tile: TileId, width: usize) -> String {
        let partial = tile.name_at(width);
        match self.store.exists(&partial).await {
            Ok(false) if matches!(self.store.exists(&tile.name()).await, Ok(true)) => tile.name(),
            _ => partial,
        }
    }

    async fn leaves(&mut self, entries: &[Vec<u8>], first: u64, options: &CheckOptions, note: &str) {
        let mut stated = Vec::new();
        for (index, entry) in (first..).zip(entries) {
            self.report.leaves += 1;
            if index == 0 {
                let keys = self.statements.genesis(entry, &mut self.report);
                self.signature(keys, options, note);
                continue;
            }
            let subject = self.statements.leaf(index, entry, &mut self.report);
            if let Some(Subject::Batch(statement)) = &subject
                && let Some(beacon) = &statement.beacon
            {
                self.anchors.beacon(index, beacon, &mut self.report).await;
            }
            match subject {
                Some(Subject::Batch(statement)) => {
                    self.policies.named([statement.policy]);
                    self.report.bypassed(&statement.bypasses);
                    stated.push((index, *statement));
                }
                Some(Subject::Policies(digests)) => self.policies.named(digests),
                Some(Subject::Record(id, leaf_hash)) => {
                    if let Some(batches) = &mut self.batches {
                        batches.erased(index, id, leaf_hash);
                    }
                }
                None => {}
            }
        }
        if let Some(batches) = &mut self.batches {
            let size = head::claimed_size(note).unwrap_or_default();
            let done = |index| {
                if let Some(progress) = &options.progress {
                    progress(index, size);
                }
            };
            batches.check(stated, &mut self.report, &done).await;
        }
    }

    /// Judges the checkpoint by the genesis' keys and, if one was given, by that.
    fn signature(&mut self, keys: Vec<VerifierKey>, options: &CheckOptions, note: &str) {
        let mut keys = keys;
        if let Some(given) = &options.vkey {
            match given.parse::<VerifierKey>() {
                Ok(given) => {
                    if !keys.is_empty() && !keys.contains(&given) {
                        self.report.find(Finding::Genesis(format!("it does not name the key {given}")));
                    }
                    keys = vec![given];
                }
                Err(e) => self.report.find(Finding::Checkpoint(format!("the key to check with: {e}"))),
            }
        }
        let mut why = "there is no genesis that names its key".to_owned();
        for key in keys {
            match SignedHead::parse(note, &key) {
                Ok(head) => {
                    self.report.checkpoint = Some(head.checkpoint);
                    self.report.vkey = Some(key.to_string());
                    return;
                }
                Err(e) => why = e.to_string(),
            }
        }
        self.report.find(Finding::Checkpoint(why));
    }

    /// Compares the bundles of earlier checkpoints, which are still served, with the newest one.
    async fn superseded_bundles(&mut self, size: u64) {
        let bundle = TileId::bundle(size);
        let width = bundle.width(size);
        if width == 0 || width == WIDTH {
            return;
        }
        // A damaged newest bundle is found already.
        let Ok(Some(newest)) = self.store.get(&bundle.name_at(width), MAX_BUNDLE).await else { return };
        let mut ends = Vec::with_capacity(width);
        let mut end = 0usize;
        for entry in tiles::parse_bundle(&newest, width).unwrap_or_default() {
            end += 2 + entry.len();
            ends.push(end);
        }
        let whole = |bytes: &[u8], width: usize| ends.get(width - 1) == Some(&bytes.len());
        self.superseded(bundle, width, &newest, &whole).await;
    }

    /// Looks at the other partial files beside the newest. A narrower one has to be a beginning of it, of the length
    /// that `whole` knows for its width; a wider one is of a checkpoint that was never signed and has to begin with it.
    async fn superseded(
        &mut self,
        tile: TileId,
        newest_width: usize,
        newest: &[u8],
        whole: &dyn Fn(&[u8], usize) -> bool,
    ) {
        for width in (1..WIDTH).filter(|width| *width != newest_width) {
            let name = tile.name_at(width);
            let good = match self.store.get(&name, MAX_BUNDLE).await {
                Ok(None) => continue,
                Ok(Some(bytes)) if width > newest_width => bytes.starts_with(newest),
                Ok(Some(bytes)) => whole(&bytes, width) && newest.starts_with(&bytes),
                Err(_) => false,
            };
            if !good {
                let what = "it is not a beginning of the newest one, though earlier checkpoints need it";
                self.report.find(Finding::Tile { file: self.store.full(&name), what });
            }
        }
    }

    /// Compares a tile with what the leaves make of it.
    async fn tile(&mut self, expected: Write) {
        self.report.tiles += 1;
        let name = self.present(expected.tile, expected.width).await;
        let file = self.store.full(&name);
        let what = match self.store.get(&name, MAX_TILE).await {
            Ok(Some(bytes)) => {
                let length = bytes.len() == expected.bytes.len() || bytes.len() == 32 * WIDTH;
                if length && bytes.starts_with(&expected.bytes) {
                    return;
                }
                "its hashes are not those of the leaves below it"
            }
            Ok(None) => "it is missing",
            Err(e) => {
                self.report.unreadable(&e);
                "it cannot be read"
            }
        };
        self.report.find(Finding::Tile { file, what });
    }
}

#[cfg(test)]
mod tests;
