//! The ledger as the proxy sees it: accept an exchange, finish it, look its receipt up.
//!
//! `begin` and `finish` are for the hot path, poll functions and `Drop`: they neither await nor hold a lock across an
//! await, and their only I/O is one write(2) each. The keeper's task does the rest: batch, statement, log, index.

mod book;
pub(crate) mod folder;
mod ids;
pub(crate) mod keeper;
mod late;
pub(crate) mod objects;
mod public;
mod settle;
mod ticket;

pub use keeper::Keeper;
pub use settle::{CameOf, Prepared, SettleError, ToLog};
pub use ticket::{Done, Finishing, Open, Ticket, Unfinished};

pub(crate) use book::Pending;
pub(crate) use folder::replace;
pub(crate) use public::is_public;

use crate::anchor::{AnchorStatus, Anchoring, Anchors, Demand, Timestamping};
use crate::attest::{self, Birth, Counting, KeyAttesting, KeyEvidenceCounts};
use crate::bypass::{BypassError, Bypasses, Bypassing};
use crate::destination::{Destination, LogAt, Own};
use crate::draws::{self, DrawCounts, Drawing, Draws};
use crate::erase::{Erase, EraseError, ErasureReport};
use crate::generation::{self, Older};
use crate::head::SignedHead;
use crate::index::merge::{self, Whose};
use crate::log::{LogError, LogReader};
use crate::lookup::{self, Batches, Cache, Lookup};
use crate::policy::{self, PolicyText};
use crate::private::{CryptError, Kek, KekError, Vault};
use crate::shard::{Shard, UNANNOUNCED};
use crate::store::{Access, Location, Store};
use crate::wal::{self, Copier, Copies, Copy, Durability, Replay, Shelf, Wal, WalError};
use crate::witness::{Kept, WitnessStatus, Witnesses, Witnessing};
use crate::{recover, store};
use arc_swap::ArcSwap;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use book::Book;
use colophon_receipt::receipt::MAX_ANCHORS;
use colophon_receipt::record::{Record, RecordId, RecordLeaf, Seed};
use colophon_receipt::statement::Counters;
use colophon_signer::{KeyError, SignError};
use folder::Folder;
use ids::{Clock, Ids, Tokens};
use late::{Earlier, Late};
use object_store::ObjectStore;
use objects::Objects;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot, watch};

/// Logged records that are let go of under one lock.
pub(crate) const PIECE: usize = 1024;

/// Erasures and the like that wait for the one under way; more wait outside.
const WAITING_COMMANDS: usize = 16;

/// How a ledger is set up.
#[derive(Clone)]
pub struct Config {
    /// The data folder: WAL and keys; log, batches, index and openings too where they have no store of their own.
    pub data: PathBuf,
    /// Where log, batches, index and openings are, if not in the data folder.
    pub stores: Stores,
    /// Where the last signed tree head is remembered outside the data folder.
    pub state: Option<PathBuf>,
    /// The shard's name, such as the host's: letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// The log's origin; absent: the one it has, or a new one.
    pub origin: Option<String>,
    /// Who keeps the log.
    pub log: LogAt,
    /// How often a batch is closed.
    pub batch_every: Duration,
    /// How often a shard without exchanges signs a statement.
    pub heartbeat: Duration,
    /// Records per batch, at most [`crate::batch::MAX_RECORDS`].
    pub max_batch: usize,
    /// Records that may wait for the log before `begin` refuses.
    pub max_backlog: usize,
    /// Bytes of the WAL that may wait for the log before `begin` refuses.
    pub max_backlog_bytes: u64,
    /// How long a record may wait for the log before `begin` refuses.
    pub max_backlog_age: Duration,
    /// What the end of an answer waits for.
    pub durability: Durability,
    /// Accept a log whose last signed head is not remembered.
    pub adopt: bool,
    /// Wraps the keys of the private openings; absent: one kept in the data folder, made at first.
    pub private_key: Option<Arc<Kek>>,
    /// The policy in force at the start.
    pub policy: PolicyText,
    /// How long a shard's key counts.
    pub shard_key_life: Duration,
    /// By whose randomness records are drawn for a higher level.
    pub drawing: Drawing,
    /// Who cosigns the log's checkpoints.
    pub witnesses: Option<Witnessing>,
    /// Who dates the log's checkpoints.
    pub timestamps: Option<Timestamping>,
    /// Who makes evidence about shards' keys.
    pub evidence: Option<KeyAttesting>,
}

/// Where a ledger keeps what it makes.
#[derive(Clone, Debug, Default)]
pub struct Stores {
    /// Log, batches and index; absent: the data folder.
    pub public: Option<Location>,
    /// Openings; absent: `private/` in the data folder.
    pub private: Option<Location>,
    /// The secret behind receipts' links, 32 bytes, where several processes answer from one store; absent: one kept in
    /// the data folder, made at first.
    pub token_key: Option<PathBuf>,
    /// How buckets are reached.
    pub access: Access,
}

impl Stores {
    /// Opens the store of log, batches and index.
    ///
    /// # Errors
    /// [`store::StoreError`] for a folder or settings that cannot be used.
    pub fn open_public(&self, data: &Path) -> Result<Arc<dyn ObjectStore>, store::StoreError> {
        self.public.as_ref().map_or_else(|| store::local(data), |location| location.open(&self.access))
    }

    pub(crate) fn open_private(&self, folder: &Folder) -> Result<Arc<dyn ObjectStore>, store::StoreError> {
        let open = |location: &Location| location.open(&self.access);
        self.private.as_ref().map_or_else(|| store::local(&folder.private()), open)
    }
}

/// Why the ledger cannot be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// There is no evidence about a new key, which is to be announced with some.
    #[error("no evidence about the new shard's key: {0}")]
    Unattested(String),
    /// Another process uses the data folder.
    #[error("{0} is in use by another process (its `lock` file is held)")]
    Locked(PathBuf),
    /// The data folder cannot be used, for example because it is read-only.
    #[error("the data folder cannot be used: {path}: {source}")]
    Folder {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A shard name that would not stand in a path.
    #[error("`{0}` is no shard name: up to 128 letters, digits, `.`, `_` and `-`")]
    Name(String),
    /// The WAL cannot be read or written.
    #[error("write-ahead log: {0}")]
    Wal(#[from] WalError),
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] store::StoreError),
    /// A read or write failed; trying again may help.
    #[error("{action} {name}: {error}{}", store::advice(error))]
    Objects {
        /// What was attempted.
        action: &'static str,
        /// The object.
        name: String,
        /// The backend's own error, whose text is in this one's.
        error: Box<object_store::Error>,
    },
    /// Something stored is not what was written.
    #[error("{what} is damaged: {why}")]
    Damaged {
        /// The object.
        what: String,
        /// In which way.
        why: String,
    },
    /// A key of the private openings cannot be used.
    #[error("{what}, a key of the private openings: {source}")]
    PrivateKey {
        /// The key's object in the private store, or its file.
        what: String,
        /// Why.
        source: CryptError,
    },
    /// The key that wraps them cannot be read.
    #[error("the key of the private openings: {0}")]
    Kek(#[from] KekError),
    /// There are sealed openings, and the key that wraps their keys is gone.
    #[error(
        "the private openings are sealed, but the key {0} that opens them is gone; put it back, or name it with \
         --private-key"
    )]
    PrivateKeyGone(PathBuf),
    /// A witness has seen another history of the log; nothing was signed.
    #[error("{0}")]
    Witness(String),
    /// The operating system gave no randomness.
    #[error("no randomness from the operating system: {0}")]
    Random(#[from] getrandom::Error),
    /// A shard's key could not be made.
    #[error("shard key: {0}")]
    Key(#[from] KeyError),
    /// The log's key did not sign; trying again may help.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The log's key cannot be rotated.
    #[error("the log's key is not rotated: {0}")]
    Rotation(String),
    /// A key cannot be revoked.
    #[error("nothing is revoked: {0}")]
    Revocation(String),
    /// Records wait in the WAL and will be logged at the next start.
    #[error("closed with {0} records not logged; they are in the WAL and will be logged at the next start")]
    Unlogged(usize),
}

impl LedgerError {
    /// Whether the log is kept elsewhere and does not answer.
    pub fn is_away(&self) -> bool {
        matches!(self, LedgerError::Log(error) if error.is_away())
    }

    /// Why the log role does not take what was sent, by name.
    fn refused(&self) -> Option<&str> {
        match self {
            LedgerError::Log(LogError::Refused { code, .. }) => Some(code),
            _ => None,
        }
    }
}

/// The old policy stays: the ledger was closed, or another took the place of the one that waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the policy was not changed: the ledger was closed, or another policy took its place")]
pub struct PolicyNotChanged;

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
    cache: Mutex<Cache>,
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
    /// Opens the data folder: locks it, takes up the log, announces a new shard, and has what earlier lives left in the
    /// WAL logged. The [`Keeper`] runs on the current tokio runtime until it is closed or dropped.
    pub async fn open(config: Config) -> Result<(Ledger, Keeper), LedgerError> {
        let folder = Folder::open(&config.data)?;
        let store = config.stores.open_public(folder.root())?;
        let private = config.stores.open_private(&folder)?;
        Ledger::open_stores(config, folder, Objects(store), Objects(private)).await
    }

    async fn open_stores(
        mut config: Config,
        folder: Folder,
        objects: Objects,
        private: Objects,
    ) -> Result<(Ledger, Keeper), LedgerError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if config.name.is_empty() || config.name.len() > 128 || !config.name.chars().all(plain) {
            return Err(LedgerError::Name(config.name));
        }
        config.max_batch = config.max_batch.clamp(1, crate::batch::MAX_RECORDS);
        let (token_key, token_made) = match &config.stores.token_key {
            Some(shared) => (folder::shared_token_key(shared)?, false),
            None => folder.token_key()?,
        };
        let tokens = Tokens::new(&token_key);
        let vault = Arc::new(open_vault(&config, &folder, private).await?);
        policy::keep(&objects, &config.policy).await?;
        // First of all: from here on no process that this one takes over from can keep records.
        let (replay, shelf) = replayed(&config, &folder, &vault).await?;
        let own = Own {
            store: objects.0.clone(),
            origin: config.origin.clone(),
            state: config.state.clone(),
            adopt: config.adopt,
            now: Clock::new(0).now(),
        };
        let mut log = Destination::open(&config.log, own, folder.log_head()).await?;
        let witnesses = match config.witnesses.as_ref().zip(log.own()) {
            Some((witnessing, log)) => {
                let mut witnesses = Witnesses::new(witnessing, log).await?;
                witnesses.first_round(&log.head()).await.map_err(LedgerError::Witness)?;
                Some(witnesses)
            }
            None => None,
        };
        let cosigned = witnesses.as_ref().map(Witnesses::kept).unwrap_or_default();
        let tsas = config.timestamps.as_ref().map_or(MAX_ANCHORS, |timestamps| timestamps.urls.len());
        // Of a log elsewhere as well: whoever dates its heads may keep the tokens here.
        let dated_in = format!("log/{}", log.origin().rsplit('/').next().unwrap_or_default());
        let keys = log.vkey().parse().ok().into_iter().collect();
        let anchors = Anchors::open(Store::new(objects.0.clone(), dated_in), keys, tsas).await?;
        let anchoring = match &config.timestamps {
            Some(timestamps) => Some(Anchoring::new(timestamps, anchors.clone(), cosigned.clone()).await?),
            None => None,
        };
        if token_made && log.head().size() > 1 {
            let file = folder.token_path();
            tracing::error!(
                file = %file.display(),
                "the key of the receipt links was missing though the log has records; it was made anew, so every link \
                 handed out before is refused (403) until the old file is put back"
            );
        }
        let root = config.stores.public.as_ref().map_or(Some(folder.root()), Location::folder);
        let removed = root.map_or(0, |root| log.clean_staging(root));
        if removed > 0 {
            tracing::info!(removed, "half-written files of a process that died are gone");
        }
        // After the log is open: a rotation that was interrupted is completed by that.
        let generation = log.generation();
        let older = match log.is_away() {
            false => generation::older(&log.files().unwrap_or(objects.0.clone()), generation).await,
            true => Vec::new(),
        };
        let last_shard = folder.last_shard()?;
        let last_tag = last_shard.as_ref().map(|(name, _)| crate::shard::tag(name));
        // After a rotation the last shard's entries are in the generation before, which has ended and is all logged.
        let last_shard = match last_shard {
            Some(shard) if !log.is_away() && generation > 1 && !recover::is_announced(&log, &shard).await => {
                None
            }
            shard => shard,
        };
        let newest = replay.done.iter().map(|done| done.completed_at).max().unwrap_or(0);
        let limits = wal::Limits { durability: config.durability, max_bytes: config.max_backlog_bytes };
        let wal = Wal::new(folder.wal(), &replay, wal::MAX_SEGMENT, limits);
        let earlier = Earlier { replay, last_shard };
        let evidence = config.evidence.clone();
        let counting = Counting::default();
        let birth = Birth { attesting: evidence.as_ref(), anchors: &anchors, counting: &counting };
        let (clock, shard, from, book, late) = match log.is_away() {
            false => {
                let found = earlier.find(&mut log, &objects, &folder, None, &birth, |past| {
                    let clock = Clock::new(past.to.unwrap_or(0).max(newest));
                    let shard = Shard::generate(&config.name, clock.now(), config.shard_key_life)?;
                    Ok((shard, clock))
                });
                let (found, clock) = found.await?;
                let now = clock.now();
                let (shard, from, recovered) = found.taken_up(earlier, &folder, &wal, now, now)?;
                let mut book = Book::new(from);
                recovered.into_iter().for_each(|pending| book.recover(pending));
                wal.release([]);
                (clock, shard, from, book, None)
            }
            true => {
                let clock = Clock::new(newest);
                let now = clock.now();
                let late = Late::begin(earlier, &log, &config, &folder, &wal, now, &birth).await?;
                let mut book = Book::new(now);
                book.expect(late.ids());
                (clock, late.shard().clone(), now, book, Some(late))
            }
        };
        // Before anything of the shard is logged: a machine that takes over has to know it.
        let copier = match shelf {
            Some((shelf, taken)) => Some(Copier::begin(shelf, taken, &wal, clock.now()).await?),
            None => None,
        };
        wal.start()?;
        let bypasses = Bypasses::open(folder.root(), clock.now())?;
        let shard = Arc::new(shard);
        let (commands, asked) = mpsc::channel(WAITING_COMMANDS);
        let drawing = config.drawing.clone();
        let ledger = Ledger(Arc::new(Inner {
            config,
            folder,
            origin: log.origin().to_owned(),
            vkey: log.vkey(),
            head: log.heads(),
            reader: log.reader(),
            log_files: log.files().map_or_else(|| objects.clone(), Objects),
            older: ArcSwap::from_pointee(older),
            late_announced: OnceLock::new(),
            objects,
            draws: Draws::new(drawing.chain.clone()),
            attested: counting,
            vault,
            copies: copier.as_ref().map(Copier::copies),
            shard: ArcSwap::new(shard.clone()),
            wal,
            bypasses,
            book: Mutex::new(book),
            clock,
            ids: Ids::default(),
            tokens,
            malformed: AtomicU64::new(0),
            wal_failed: AtomicBool::new(false),
            keeper_ended: AtomicBool::new(false),
            cache: Mutex::new(Cache::default()),
            batches: Batches::default(),
            full: Notify::new(),
            kept: cosigned,
            witnesses: witnesses.as_ref().map(Witnesses::status),
            anchors,
            timestamps: anchoring.as_ref().map(|(anchoring, demands)| (anchoring.status(), demands.clone())),
            commands,
        }));
        let mut keeper = Keeper::start(ledger.clone(), log, shard, from, asked, late);
        if let Some(copier) = copier {
            let (wal, inner) = (ledger.0.wal.clone(), Arc::downgrade(&ledger.0));
            keeper.beside(copier.copies().sweep(wal.clone()));
            keeper.beside(copier.run(wal, move || inner.upgrade().map_or(0, |inner| inner.clock.now())));
        }
        if let Some(witnesses) = witnesses {
            keeper.beside(witnesses.run(ledger.0.head.clone()));
        }
        if let Some((anchoring, _)) = anchoring {
            let ended = ledger.0.older.load().iter().map(Older::end).collect();
            keeper.beside(anchoring.run(ledger.0.head.clone(), ended));
        }
        keeper.beside(ledger.merging(last_tag));
        keeper.beside(draws::task::run(Arc::downgrade(&ledger.0), drawing));
        if let Some(attesting) = evidence {
            keeper.beside(attest::renew::run(Arc::downgrade(&ledger.0), attesting));
        }
        Ok((ledger, keeper))
    }

    /// Merges index files of past hours. Keeps the ledger from nothing, its end included.
    fn merging(&self, last_tag: Option<[u8; 2]>) -> impl Future<Output = ()> + use<> {
        let own_folder = self.0.config.stores.public.as_ref().is_none_or(|store| store.folder().is_some());
        let whose = match own_folder {
            true => Whose::All,
            false => Whose::Tags(last_tag.into_iter().collect()),
        };
        let (now, ledger) = (Clock::new(0), Arc::downgrade(&self.0));
        let tag = move || ledger.upgrade().map(|inner| inner.shard.load().tag);
        merge::run(self.0.objects.clone(), whose, move || now.now() / 1000, tag)
    }

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

    /// Accepts an exchange: queues its OPEN and counts it as received. Nothing of it may be forwarded before
    /// [`opened`](Ledger::opened) has said that OPEN is written.
    ///
    /// # Errors
    /// When the WAL can take no frame, too many records wait for the log, or the ledger is closed. Then the exchange is
    /// not counted: refuse it, or let it through, with `begin_degraded` in either case.
    pub fn begin(&self, open: &Open<'_>) -> Result<Ticket, WalError> {
        let (shard, now) = (self.shard(), self.now());
        if now >= shard.not_after {
            return Err(WalError::Expired);
        }
        {
            let mut book = self.book();
            book.admit(self.0.config.max_backlog)?;
            book.admit_age(self.0.config.max_backlog_age, now)?;
            book.accept(&open.id);
        }
        match self.0.wal.queue_open(&open.id, open.received_at, open.level, open.fields, open.tenant) {
            Ok(queued) => {
                let mut ticket = self.ticket(open, shard, false);
                ticket.opening = Some(queued);
                Ok(ticket)
            }
            Err(error) => {
                self.book().forget(&open.id);
                self.0.wal_failed.store(true, Ordering::Relaxed);
                Err(error)
            }
        }
    }

    /// Waits until OPEN is written, together with those of other exchanges that are ready now. May be dropped: then
    /// `finish` does what is left.
    ///
    /// # Errors
    /// OPEN could not be written. The exchange is counted, and degraded from now on: refuse it, or let it through.
    pub async fn opened(&self, ticket: &mut Ticket) -> Result<(), WalError> {
        if let Some(queued) = ticket.opening {
            self.0.wal.gathered(queued).await;
        }
        self.open_now(ticket)
    }

    fn open_now(&self, ticket: &mut Ticket) -> Result<(), WalError> {
        let Some(queued) = ticket.opening.take() else { return Ok(()) };
        ticket.opened = Some(queued);
        self.0.wal.written_open(&ticket.id, queued).inspect_err(|_| {
            ticket.degraded = true;
            self.0.wal_failed.store(true, Ordering::Relaxed);
        })
    }

    /// Waits until OPEN is on the disk (durability `power`) or a copy of it in the store (`node`), which it most often is by
    /// the time that an answer is there. Nothing of the answer may be released before: an answer that is cut has no other
    /// trace. With `process` there is nothing to wait for.
    ///
    /// # Errors
    /// The disk or the store did not take it. The exchange is degraded from now on: refuse it, or let it through.
    pub async fn opened_safely(&self, ticket: &mut Ticket) -> Result<(), WalError> {
        let Some(queued) = ticket.opened.filter(|_| !ticket.degraded) else { return Ok(()) };
        self.0.wal.safe(queued).await.inspect_err(|_| ticket.degraded = true)
    }

    /// Accepts an exchange that the WAL cannot hold. Its record counts as degraded; a crash loses it.
    pub fn begin_degraded(&self, open: &Open<'_>) -> Ticket {
        self.book().accept(&open.id);
        self.ticket(open, self.shard(), true)
    }

    fn ticket(&self, open: &Open<'_>, shard: Arc<Shard>, degraded: bool) -> Ticket {
        Ticket {
            ledger: self.clone(),
            shard,
            id: open.id,
            tenant: open.tenant.map(Arc::from),
            rule: open.rule.cloned(),
            opening: None,
            opened: None,
            stamp: None,
            degraded,
            settled: false,
        }
    }

    /// The time to seal the record with, as its `completed_at`. No statement ends between it and `finish`, so that the
    /// record lies in its statement's interval; call `finish` without waiting for anything in between.
    pub fn stamp(&self, ticket: &mut Ticket) -> u64 {
        let mut book = self.book();
        if let Some(earlier) = ticket.stamp.take() {
            book.unstamp(earlier);
        }
        // Under the lock, as the end of an interval is.
        let now = self.now();
        book.stamp(now);
        ticket.stamp = Some(now);
        now
    }

    /// Writes DONE and hands the record to the batcher. The end of the response may be released after this, not before.
    ///
    /// # Errors
    /// Gives everything back; nothing is lost until the ticket is dropped.
    pub fn finish(&self, ticket: Ticket, done: Done) -> Result<(), Box<Unfinished>> {
        self.finishing(ticket, done)?.now()
    }

    /// Queues DONE. The end of the response may be released once [`Finishing::written`] has said so, not before.
    ///
    /// # Errors
    /// Gives everything back; nothing is lost until the ticket is dropped.
    pub fn finishing(&self, mut ticket: Ticket, done: Done) -> Result<Finishing, Box<Unfinished>> {
        // Its failure makes the ticket a degraded one.
        let _ = self.open_now(&mut ticket);
        if ticket.degraded {
            // Without an OPEN there is no DONE; and what is only in memory has to stay bounded.
            return self.finish_degraded(ticket, done).map(|()| Finishing(None));
        }
        let queued = self.reserve(&mut ticket, &done.record).and_then(|completed_at| {
            let announced = self.announced(ticket.shard.announced);
            let tenant = ticket.tenant.as_deref();
            let queued =
                self.0.wal.queue_done(&done.record, &done.signatures, announced, done.refused, tenant);
            self.0.wal_failed.fetch_or(queued.is_err(), Ordering::Relaxed);
            Ok((completed_at, queued?))
        });
        match queued {
            Ok((completed_at, queued)) => Ok(Finishing(Some((ticket, done, completed_at, queued)))),
            Err(error) => Err(Box::new(Unfinished { error, ticket, done })),
        }
    }

    /// Where a shard was announced, as far as that is known by now.
    fn announced(&self, index: u64) -> u64 {
        match index {
            UNANNOUNCED => self.0.late_announced.get().copied().flatten().unwrap_or(UNANNOUNCED),
            known => known,
        }
    }

    /// Keeps statements from ending before the record is taken in.
    fn reserve(&self, ticket: &mut Ticket, record: &Record) -> Result<u64, WalError> {
        let (id, completed_at) = identified(&record.leaf).ok_or(WalError::Record)?;
        debug_assert!(RecordLeaf::decode(&record.leaf).is_ok(), "a leaf of `seal`'s");
        if id != ticket.id {
            return Err(WalError::Record);
        }
        if ticket.stamp == Some(completed_at) {
            // Reserved by `stamp`, and no statement has ended since.
            return Ok(completed_at);
        }
        let mut book = self.book();
        if !book.in_time(completed_at, self.now()) {
            return Err(WalError::Stale);
        }
        book.stamp(completed_at);
        if let Some(earlier) = ticket.stamp.replace(completed_at) {
            book.unstamp(earlier);
        }
        Ok(completed_at)
    }

    /// Keeps a record in memory that the WAL cannot hold, for rules that let exchanges through then
    /// (`failurePolicy: Ignore`). A crash loses it. Where too many wait already, it counts as lost.
    ///
    /// # Errors
    /// Only [`WalError::Stale`] and [`WalError::Record`]: the record cannot stand in any statement to come.
    pub fn finish_degraded(&self, mut ticket: Ticket, done: Done) -> Result<(), Box<Unfinished>> {
        if self.book().unlogged() >= self.0.config.max_backlog.saturating_mul(2) {
            // The ticket says so when it is dropped.
            return Ok(());
        }
        match self.reserve(&mut ticket, &done.record) {
            Ok(completed_at) => {
                ticket.degraded = true;
                let holds = self.0.wal.undone(&ticket.id);
                self.take_in(ticket, done, completed_at, holds);
                Ok(())
            }
            Err(error) => Err(Box::new(Unfinished { error, ticket, done })),
        }
    }

    fn take_in(&self, mut ticket: Ticket, done: Done, completed_at: u64, holds: wal::Holds) {
        ticket.settled = true;
        let pending = Pending {
            id: ticket.id,
            tenant: ticket.tenant.take(),
            rule: ticket.rule.take(),
            completed_at,
            record: done.record,
            signatures: done.signatures,
            announced: self.announced(ticket.shard.announced),
            refused: done.refused,
            degraded: ticket.degraded,
            holds,
        };
        let waiting = {
            let mut book = self.book();
            if let Some(stamp) = ticket.stamp {
                book.unstamp(stamp);
            }
            book.finish(pending);
            book.waiting()
        };
        if waiting == self.0.config.max_batch {
            self.0.full.notify_one();
        }
    }

    fn lose(&self, id: &RecordId, stamp: Option<u64>, rule: Option<&str>) {
        let holds = self.0.wal.undone(id);
        self.0.wal.let_go(holds);
        let mut book = self.book();
        if let Some(stamp) = stamp {
            book.unstamp(stamp);
        }
        book.lose(id, rule);
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
        let cached = self.cache().get(id);
        let Inner { reader, older, objects, vault, batches, kept, anchors, draws, .. } = &*self.0;
        let (head, older) = (self.head(), older.load_full());
        let parts = lookup::Parts {
            reader,
            head: &head,
            kept,
            anchors,
            older: &older,
            objects,
            vault,
            batches,
            chain: &draws.chain,
        };
        lookup::find(&parts, id, cached).await
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
        }
    }

    /// The trust file: what a reader has to believe to trust this log and its earlier generations, and nothing outside it.
    pub fn trust_json(&self) -> String {
        let log = |vkey: &str, origin: &str| serde_json::json!({"origin": origin, "vkey": vkey});
        let mut logs = vec![log(&self.0.vkey, &self.0.origin)];
        logs.extend(self.0.older.load().iter().map(|older| log(&older.vkey, &older.head.checkpoint.origin)));
        let roots = self.0.config.timestamps.iter().flat_map(|timestamps| timestamps.roots.certificates());
        let tsa_roots: Vec<String> = roots.map(|root| BASE64_STANDARD.encode(root)).collect();
        let trust = serde_json::json!({
            "format": "colophon-trust-v1",
            "logs": logs,
            "witnesses": [],
            "tsa_roots": tsa_roots,
            "require": {"request": false, "response": false, "timestamps": 0, "witnesses": 0},
        });
        format!("{trust:#}\n")
    }

    /// Reads the log.
    pub fn reader(&self) -> LogReader {
        self.0.reader.clone()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn cache(&self) -> MutexGuard<'_, Cache> {
        self.0.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What earlier lives left in the WAL and, with durability `node`, in the store.
async fn replayed(
    config: &Config,
    folder: &Folder,
    vault: &Arc<Vault>,
) -> Result<(Replay, Option<(Shelf, Vec<Copy>)>), LedgerError> {
    if config.durability != Durability::Node {
        return Ok((wal::replay(&folder.wal())?, None));
    }
    let now = Clock::new(0).now();
    let shelf = Shelf::claim(vault.clone(), &config.name, now).await?;
    let own = folder.add_life(shelf.life())?;
    let left = shelf.look().await?;
    if left.is_lost(&own) {
        wal::put_aside(&folder.wal())?;
    }
    let mut replay = wal::replay(&folder.wal())?;
    let taken = shelf.take_over(left, &mut replay, now).await?;
    Ok((replay, Some((shelf, taken))))
}

/// The private store, opened by the key given or by the data folder's own.
async fn open_vault(config: &Config, folder: &Folder, store: Objects) -> Result<Vault, LedgerError> {
    let kek = match &config.private_key {
        Some(kek) => kek.clone(),
        None => Arc::new(folder.private_key(Vault::is_sealed(&store).await?)?),
    };
    Vault::open(store, kek).await
}

/// A record leaf's id and completion time. Only that much, since this is on the hot path and `seal` made the leaf.
fn identified(leaf: &[u8]) -> Option<(RecordId, u64)> {
    let mut map = minicbor::Decoder::new(leaf);
    map.map().ok()?;
    let kind = (map.u64().ok()?, map.u64().ok()?);
    let id = map.u64().ok().filter(|key| *key == 2).and_then(|_| map.bytes().ok())?.try_into().ok()?;
    let completed_at = map.u64().ok().filter(|key| *key == 3).and_then(|_| map.u64().ok())?;
    (kind == (1, 1)).then_some((id, completed_at))
}

#[cfg(test)]
pub(crate) mod tests;
