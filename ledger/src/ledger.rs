//! The ledger as the proxy sees it: accept an exchange, finish it, look its receipt up.
//!
//! `begin` and `finish` are for the hot path, poll functions and `Drop`: they neither await nor hold a lock across an
//! await, and their only I/O is one write(2) each. The keeper's task does the rest: batch, statement, log, index.

mod book;
mod config;
mod error;
mod exchange;
pub(crate) mod folder;
mod ids;
pub(crate) mod keeper;
mod late;
pub(crate) mod objects;
mod open;
mod public;
mod rotated;
mod settle;
mod ticket;

pub use config::{Config, Stores};
pub use error::{LedgerError, PolicyNotChanged};
pub use keeper::Keeper;
pub use settle::{CameOf, Prepared, SettleError, ToLog};
pub use ticket::{Done, Finishing, Open, Ticket, Unfinished};

pub(crate) use book::Pending;
pub(crate) use folder::replace;
pub(crate) use public::is_public;

use crate::anchor::{AnchorStatus, Anchors, Demand};
use crate::attest::{Birth, Counting, KeyEvidenceCounts};
use crate::bypass::{BypassError, Bypasses, Bypassing};
use crate::draws::{DrawCounts, Draws};
use crate::erase::{Erase, EraseError, ErasureReport};
use crate::generation::Older;
use crate::give_way::give_way;
use crate::head::SignedHead;
use crate::index::Target;
use crate::log::LogReader;
use crate::lookup::{self, Batches, Lookup, Places};
use crate::policy::PolicyText;
use crate::private::Vault;
use crate::shard::Shard;
use crate::trust::trust_json;
use crate::wal::{Copies, Durability, Wal};
use crate::witness::{Kept, WitnessStatus};
use arc_swap::ArcSwap;
use book::Book;
use colophon_receipt::record::{RecordId, Seed};
use colophon_receipt::statement::Counters;
use folder::Folder;
use ids::{Clock, Ids, Tokens};
use objects::Objects;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio_util::task::TaskTracker;

/// Logged records that are let go of under one lock.
pub(crate) const PIECE: usize = 1024;

/// What the ledger counted since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// As in statements, but over all shards since the start; `recorded` includes records not logged yet.
    pub counters: Counters,
    /// Bytes that never became a request.
    pub malformed: u64,
    /// Records that wait for the log.
    pub backlog: u64,
    /// Seconds that the oldest of them has waited, about.
    pub backlog_age: u64,
    /// Bytes of the WAL that are still needed.
    pub wal_bytes: u64,
}

/// A running ledger; clones are the same one.
#[derive(Clone)]
pub struct Ledger(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) config: Config,
    folder: Folder,
    origin: String,
    vkey: String,
    head: watch::Receiver<Arc<SignedHead>>,
    reader: LogReader,
    /// Where the log's public files are.
    log_files: Objects,
    /// Generations before this one, newest first.
    older: ArcSwap<Vec<Older>>,
    /// Where the shard was announced that began before the log could be asked, if it was.
    late_announced: OnceLock<Option<u64>>,
    pub(crate) objects: Objects,
    pub(crate) draws: Draws,
    pub(crate) attested: Counting,
    vault: Arc<Vault>,
    /// Copies of the WAL in the private store, with durability `node`.
    copies: Option<Arc<Copies>>,
    shard: ArcSwap<Shard>,
    wal: Arc<Wal>,
    /// Ends of exchanges that nobody waits for any more, while another thread writes.
    left: TaskTracker,
    bypasses: Bypasses,
    book: Mutex<Book>,
    clock: Clock,
    ids: Ids,
    tokens: Tokens,
    malformed: AtomicU64,
    /// The newest WAL write failed.
    wal_failed: AtomicBool,
    /// The keeper ended without being asked to: nothing is logged any more.
    keeper_ended: AtomicBool,
    pub(crate) places: Places,
    batches: Batches,
    /// Wakes the keeper before its time.
    full: Notify,
    /// Checkpoints that witnesses have cosigned.
    kept: Kept,
    witnesses: Option<WitnessStatus>,
    /// Checkpoints that others have dated.
    pub(crate) anchors: Anchors,
    timestamps: Option<(AnchorStatus, mpsc::Sender<Demand>)>,
    pub(crate) commands: mpsc::Sender<keeper::Command>,
}

impl Inner {
    /// What a new shard's key gets.
    fn birth(&self) -> Birth<'_> {
        let Inner { config, anchors, attested, .. } = self;
        Birth { attesting: config.evidence.as_ref(), anchors, counting: attested }
    }

    /// Where the private openings are, if that is a folder.
    fn private_folder(&self) -> Option<PathBuf> {
        match &self.config.stores.private {
            Some(location) => location.folder().map(Path::to_owned),
            None => Some(self.folder.private()),
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.wal.stop();
    }
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").field("data", &self.0.folder.root()).finish_non_exhaustive()
    }
}

impl Ledger {
    /// The shard that new exchanges belong to. One exchange stays with its [`Ticket::shard`].
    pub fn shard(&self) -> Arc<Shard> {
        self.0.shard.load_full()
    }

    /// A new id for an exchange accepted at `now_ms` (ms since the epoch).
    pub fn new_id(&self, now_ms: u64) -> RecordId {
        self.0.ids.next(now_ms, self.0.shard.load().tag)
    }

    /// The seed of a new record.
    ///
    /// # Errors
    /// The operating system gave no randomness: salts that are not random would hide nothing.
    pub fn new_seed(&self) -> Result<Seed, getrandom::Error> {
        self.0.ids.random.take()
    }

    /// The shard's clock: µs since the epoch, never going back.
    pub fn now(&self) -> u64 {
        self.0.clock.now()
    }

    /// What the end of an answer waits for.
    pub fn durability(&self) -> Durability {
        self.0.wal.durability()
    }

    /// Keeps the attestation document of an upstream, for the receipts of records whose field 17 has its SHA-256.
    ///
    /// # Errors
    /// The store does not take it.
    pub async fn keep_attested(&self, document: bytes::Bytes) -> Result<(), LedgerError> {
        lookup::upstream::keep(&self.0.objects, document).await
    }

    /// Counts an exchange whose rule, of this name, says `pass`.
    pub fn passed(&self, rule: &str) {
        self.book().pass(rule);
    }

    /// Breaks the glass: for `time`, exchanges whose record cannot be kept go on without one, if whoever asks
    /// [`Ticket::bypass`] lets them. It ends by itself, also in a later life of the data folder.
    ///
    /// # Errors
    /// [`BypassError`]: one is in force already, or what was said is too long.
    pub fn begin_bypass(&self, who: &str, why: &str, time: Duration) -> Result<Bypassing, BypassError> {
        self.0.bypasses.begin(who, why, self.now(), time)
    }

    /// Ends the bypass in force; `None` where there is none.
    pub fn end_bypass(&self) -> Option<Bypassing> {
        self.0.bypasses.end(self.now())
    }

    /// The bypass in force.
    pub fn bypassing(&self) -> Option<Bypassing> {
        self.0.bypasses.in_force(self.now())
    }

    /// Counts bytes that never became a request.
    pub fn malformed(&self) {
        self.0.malformed.fetch_add(1, Ordering::Relaxed);
    }

    /// What was counted since the ledger was opened.
    pub fn counters(&self) -> Counts {
        let book = self.book();
        Counts {
            counters: book.total,
            malformed: self.0.malformed.load(Ordering::Relaxed),
            backlog: book.unlogged() as u64,
            backlog_age: book.waiting_since().map_or(0, |since| self.now().saturating_sub(since) / 1_000_000),
            wal_bytes: self.0.wal.bytes(),
        }
    }

    /// The newest checkpoint.
    pub fn head(&self) -> Arc<SignedHead> {
        self.0.head.borrow().clone()
    }

    /// What is known about the witnesses, where there are some.
    pub fn witnesses(&self) -> Option<&WitnessStatus> {
        self.0.witnesses.as_ref()
    }

    /// The newest checkpoint that the witness policy's quorum has cosigned.
    pub fn cosigned(&self) -> Option<Arc<SignedHead>> {
        self.0.kept.newest()
    }

    /// What is known about draws.
    pub fn draws(&self) -> DrawCounts {
        self.0.draws.counts(self.now())
    }

    /// What is known about evidence of the shard's key, where there is to be some.
    pub fn key_evidence(&self) -> Option<KeyEvidenceCounts> {
        self.0.config.evidence.as_ref().map(|_| self.0.attested.counts(self.now()))
    }

    pub(crate) fn anchors(&self) -> &Anchors {
        &self.0.anchors
    }

    pub(crate) fn timestamping(&self) -> Option<&(AnchorStatus, mpsc::Sender<Demand>)> {
        self.0.timestamps.as_ref()
    }

    /// The token that permits reading the receipt of `id`.
    pub fn token(&self, id: &RecordId) -> String {
        self.0.tokens.token(id)
    }

    /// Whether `token` permits reading the receipt of `id`; takes the same time either way.
    pub fn token_ok(&self, id: &RecordId, token: &str) -> bool {
        self.0.tokens.ok(id, token)
    }

    /// The receipt of a record, also of earlier shards in this folder.
    pub async fn lookup(&self, id: &RecordId) -> Result<Lookup, LedgerError> {
        if self.book().is_live(id) {
            return Ok(Lookup::Pending);
        }
        let Inner { reader, older, objects, places, vault, batches, kept, anchors, draws, .. } = &*self.0;
        let (head, older) = (self.head(), older.load_full());
        let parts = lookup::Parts {
            reader,
            head: &head,
            kept,
            anchors,
            older: &older,
            objects,
            places,
            vault,
            batches,
            chain: &draws.chain,
        };
        lookup::find(&parts, id, None).await
    }

    /// Deletes what opens records, for good, and logs that it did. Returns once both are done.
    ///
    /// # Errors
    /// [`EraseError`]. After an error of storage it may be done in part: the next start, or the next erasure, finishes it.
    pub async fn erase(&self, what: Erase) -> Result<ErasureReport, EraseError> {
        let (reply, done) = oneshot::channel();
        let command = keeper::Command::Erase(keeper::Erasing { what, reply });
        let sent = self.0.commands.send(command).await;
        sent.map_err(|_| EraseError::Closed)?;
        done.await.map_err(|_| EraseError::Closed)?
    }

    /// Brings another policy into force: its text is stored, the batch under the old one is closed, the change is logged,
    /// then `in_force` is called, which has to be quick. Waits for as long as the log cannot be written; a later call takes
    /// the place of one that waits. The policy in force again changes nothing, but `in_force` is called.
    ///
    /// # Errors
    /// The ledger was closed, or a later call took this one's place: `in_force` was not called.
    pub async fn change_policy(
        &self,
        policy: PolicyText,
        in_force: impl FnOnce() + Send + Sync + 'static,
    ) -> Result<(), PolicyNotChanged> {
        let (done, changed) = oneshot::channel();
        let change = keeper::Change { policy, in_force: Box::new(in_force), done };
        let sent = self.0.commands.send(keeper::Command::Policy(change)).await;
        sent.map_err(|_| PolicyNotChanged)?;
        changed.await.map_err(|_| PolicyNotChanged)
    }

    /// Forgets the ids of what is logged, in pieces: exchanges wait for the book meanwhile.
    fn logged<'a>(&self, ids: impl Iterator<Item = &'a RecordId>) {
        let mut ids = ids.peekable();
        while ids.peek().is_some() {
            let piece: Vec<_> = ids.by_ref().take(PIECE).collect();
            self.book().logged(&piece);
            give_way();
        }
    }

    /// The trust file: what a reader has to believe to trust this log and its earlier generations, and nothing outside it.
    pub fn trust_json(&self) -> String {
        let Inner { vkey, origin, older, config, .. } = &*self.0;
        trust_json(vkey, origin, &older.load(), config.timestamps.as_ref())
    }

    /// Reads the log.
    pub fn reader(&self) -> LogReader {
        self.0.reader.clone()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The batch and slot of a logged record or evidence leaf, `None` where it is in no index file.
    pub(crate) async fn place(&self, id: &RecordId) -> Result<Option<(Target, u32)>, LedgerError> {
        self.0.places.find(&self.0.objects, id).await
    }
}

#[cfg(test)]
pub(crate) mod tests;
