//! The append-only log of one generation: `log/<generation>/` in a store, as C2SP tlog-tiles.
//!
//! An append goes through four steps, in this order: create `seq/<n>`, which decides; write tiles and bundles, which
//! spell it out; record (size, root) outside the store; sign and write `checkpoint`. Whatever stops it in between is
//! completed by the next append or the next open: every step can be repeated.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use colophon_receipt::checkpoint::Checkpoint;
use colophon_signer::Signer;
use colophon_signer::note::VerifierKey;
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStore;
use tokio::sync::{Mutex, watch};
use tracing::debug;

pub use self::error::LogError;
use crate::head::{self, SignedHead, Written};
pub use crate::prove::LogReader;
use crate::sequencer::{self, SeqEntry};
use crate::signing;
use crate::state::{Last, StateFile};
use crate::store::{Store, StoreError, clean_staging};
use crate::tiles::{Edge, LEVELS, TileId, WIDTH, Write};

mod error;
mod identity;
mod open;

/// Files written at once.
const CONCURRENT_WRITES: usize = 8;

/// How to open a log.
#[derive(Clone)]
pub struct LogConfig {
    /// The generation, from 1: the folder `log/<generation>`, and the last part of the origin.
    pub generation: u32,
    /// The origin without the generation. Without one, a new log takes `colophon.local/<16 hex digits>` and an old one
    /// keeps what it has.
    pub origin: Option<String>,
    /// The log's key, which signs checkpoints.
    pub key: Arc<dyn Signer>,
    /// The folder, outside the store, for the last signed size and root.
    pub state: Option<PathBuf>,
    /// Continue a log that this machine's state does not know.
    pub adopt: bool,
    /// Others write this log too: the store has to have conditional create.
    pub several_writers: bool,
    /// The last checkpoint of the generation before, for the genesis of a new one; the first has none.
    pub predecessor: Option<Vec<u8>>,
    /// The time for a new log's genesis, µs since the epoch.
    pub now: u64,
}

/// Whether there is a log of `generation` in `store`, whoever's.
///
/// # Errors
/// When the store cannot be asked.
pub async fn is_begun(store: Arc<dyn ObjectStore>, generation: u32) -> Result<bool, LogError> {
    Ok(Store::new(store, format!("log/{generation}")).exists(&SeqEntry::name(0)).await?)
}

/// The text of `checkpoint`, its signature unseen; `None` when there is none, or it is no text.
///
/// # Errors
/// When the store cannot be read.
pub async fn checkpoint_note(
    store: Arc<dyn ObjectStore>,
    generation: u32,
) -> Result<Option<String>, LogError> {
    let bytes = Store::new(store, format!("log/{generation}")).get(head::NAME, head::MAX_FILE).await?;
    Ok(bytes.and_then(|bytes| String::from_utf8(bytes.into()).ok()))
}

/// Where appended leaves are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Index of the first of them; the others follow it.
    pub first_index: u64,
    /// A signed head that covers them.
    pub head: Arc<SignedHead>,
}

/// Decides what a writer appends, told all that is appended before.
pub(crate) trait Source {
    /// What is to be appended now; nothing ends the append.
    fn leaves(&mut self) -> Vec<Vec<u8>>;

    /// These leaves are in the log, ours or others'.
    fn applied(&mut self, first_index: u64, leaves: &[Vec<u8>]);
}

/// The writer of a log.
pub struct Log {
    store: Store,
    publisher: Publisher,
    /// Random, so that this writer knows its own entries.
    writer: [u8; 16],
    /// The number of the next sequence entry.
    next: u64,
    /// The tree of all entries before `next`, whose tiles are written.
    edge: Edge,
    /// The entry of an append that did not end well: it may or may not be in the log.
    pending: Option<SeqEntry>,
    /// Tiles that became full: their partial files are to be removed, at leisure.
    obsolete: Vec<TileId>,
    head: watch::Sender<Arc<SignedHead>>,
    reader: LogReader,
    veto: Veto,
}

impl Log {
    /// Opens the log in `store`, or begins it. The newest entry is redone: tiles, state, checkpoint.
    ///
    /// # Errors
    /// [`LogError`]; nothing is signed when the store contradicts the state outside it, its own checkpoint, or the key.
    pub async fn open(store: Arc<dyn ObjectStore>, config: LogConfig) -> Result<Log, LogError> {
        open::open(store, config).await
    }

    /// The origin, generation included: the name of the log and of its key.
    pub fn origin(&self) -> &str {
        self.publisher.vkey.name()
    }

    /// The verifier key (C2SP signed-note) for checkpoints.
    pub fn vkey(&self) -> String {
        self.publisher.vkey.to_string()
    }

    /// The newest signed head.
    pub fn head(&self) -> Arc<SignedHead> {
        self.head.borrow().clone()
    }

    /// The newest signed heads, as they come.
    pub fn heads(&self) -> watch::Receiver<Arc<SignedHead>> {
        self.head.subscribe()
    }

    /// The tree of all that is appended so far, unsigned.
    pub(crate) fn tree(&self) -> Checkpoint {
        Checkpoint { origin: self.origin().to_owned(), size: self.edge.size(), root: self.edge.root() }
    }

    /// The log's folder.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// A reader of this log.
    pub fn reader(&self) -> LogReader {
        self.reader.clone()
    }

    /// What can stop this log from signing.
    pub(crate) fn veto(&self) -> Veto {
        self.veto.clone()
    }

    /// The log's folder, its key, and the lock under which `checkpoint` is written.
    pub(crate) fn publication(&self) -> Publication {
        Publication {
            store: self.store.clone(),
            key: self.publisher.vkey.clone(),
            lock: self.publisher.lock.clone(),
        }
    }

    /// Appends leaves and returns once a signed checkpoint covers them.
    ///
    /// After an error the leaves may or may not be in the log. Calling again with the same leaves settles that: it
    /// neither loses nor doubles them. Other leaves may be appended instead; the earlier ones then stay in the log if
    /// they had got there.
    ///
    /// # Errors
    /// [`LogError::Leaves`] for leaves that do not fit; [`LogError::Store`] and [`LogError::State`] when storage fails;
    /// [`LogError::Contradiction`] when another writer's entry does not continue this tree.
    pub async fn append(&mut self, leaves: Vec<Vec<u8>>) -> Result<Appended, LogError> {
        if !sequencer::leaves_fit(&leaves) {
            return Err(LogError::Leaves);
        }
        self.veto.check()?;
        let first_index = match self.settle(&leaves).await? {
            Some(first_index) => first_index,
            None => self.sequence(leaves).await?,
        };
        let head = self.publish().await?;
        self.pending = None;
        self.clean().await;
        Ok(Appended { first_index, head })
    }

    /// Reads what other writers appended, and what became of an append of ours that failed.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub(crate) async fn catch_up(&mut self, source: &mut impl Source) -> Result<(), LogError> {
        while let Some(found) = self.read(self.next).await? {
            self.apply(&found).await?;
            source.applied(found.previous_size, &found.leaves);
        }
        Ok(())
    }

    /// Appends what `source` decides, which it decides again whenever another writer was faster. Returns a signed head
    /// that covers all it was told of.
    ///
    /// # Errors
    /// As [`Log::append`]. What was appended all the same is told to `source` by the next [`Log::catch_up`].
    pub(crate) async fn append_from(
        &mut self,
        source: &mut impl Source,
    ) -> Result<Arc<SignedHead>, LogError> {
        self.veto.check()?;
        loop {
            let leaves = source.leaves();
            if leaves.is_empty() {
                break;
            }
            if !sequencer::leaves_fit(&leaves) {
                return Err(LogError::Leaves);
            }
            let entry = self.entry(leaves);
            let found = self.create(&entry).await?;
            self.apply(&found).await?;
            source.applied(found.previous_size, &found.leaves);
        }
        self.pending = None;
        if self.head().size() < self.edge.size() {
            self.publish().await?;
            self.clean().await;
        }
        Ok(self.head())
    }

    /// The next entry, with these leaves.
    fn entry(&self, leaves: Vec<Vec<u8>>) -> SeqEntry {
        SeqEntry {
            n: self.next,
            previous_size: self.edge.size(),
            previous_root: self.edge.root(),
            writer: self.writer,
            leaves,
        }
    }

    /// Creates `entry`, or reads the one of another writer that was faster.
    async fn create(&mut self, entry: &SeqEntry) -> Result<SeqEntry, LogError> {
        self.pending = Some(entry.clone());
        let created = self.store.create(&SeqEntry::name(entry.n), entry.encode()).await?;
        let found = if created { Some(entry.clone()) } else { self.read(entry.n).await? };
        found.ok_or_else(|| LogError::corrupt(self.store.full(&SeqEntry::name(entry.n)), "it came and went"))
    }

    /// Finds out what became of the append before, if it failed. Returns where the leaves are, if they were these.
    async fn settle(&mut self, leaves: &[Vec<u8>]) -> Result<Option<u64>, LogError> {
        let Some(pending) = self.pending.clone() else { return Ok(None) };
        let mut logged = pending.n < self.next;
        if !logged && let Some(found) = self.read(pending.n).await? {
            logged = found == pending;
            self.apply(&found).await?;
        }
        let same = logged && pending.leaves == leaves;
        Ok(same.then_some(pending.previous_size))
    }

    /// Creates the next entry, however many other writers come first. Returns the index of its first leaf.
    async fn sequence(&mut self, leaves: Vec<Vec<u8>>) -> Result<u64, LogError> {
        let mut entry = self.entry(leaves);
        loop {
            let found = self.create(&entry).await?;
            self.apply(&found).await?;
            if found == entry {
                return Ok(entry.previous_size);
            }
            debug!(n = entry.n, "another writer was faster");
            entry = self.entry(entry.leaves);
        }
    }

    async fn read(&self, n: u64) -> Result<Option<SeqEntry>, LogError> {
        let entry = sequencer::read(&self.store, n).await?.transpose();
        entry.map_err(|e| LogError::corrupt(self.store.full(&SeqEntry::name(n)), e.to_string()))
    }

    /// Writes out an entry that exists. Until this is done, nobody creates the next one.
    async fn apply(&mut self, entry: &SeqEntry) -> Result<(), LogError> {
        if (entry.previous_size, entry.previous_root) != (self.edge.size(), self.edge.root()) {
            let name = self.store.full(&SeqEntry::name(entry.n));
            return Err(LogError::Contradiction(format!("{name} does not continue the tree before it")));
        }
        let (edge, writes) = self.edge.extend(&entry.leaves);
        let full: Vec<TileId> = writes.iter().filter(|w| w.width == WIDTH).map(|w| w.tile).collect();
        write_tiles(&self.store, writes).await?;
        self.obsolete.extend(full);
        self.edge = edge;
        self.next = entry.n.saturating_add(1);
        Ok(())
    }

    async fn publish(&mut self) -> Result<Arc<SignedHead>, LogError> {
        self.veto.check()?;
        let head = self.publisher.publish(&self.store, &self.edge, self.next.saturating_sub(1)).await?;
        self.head.send_replace(head.clone());
        Ok(head)
    }

    /// Removes the partial files of full tiles. They do no harm, so failure is no error.
    async fn clean(&mut self) {
        for tile in std::mem::take(&mut self.obsolete) {
            let names: Vec<String> = (1..WIDTH).map(|width| tile.name_at(width)).collect();
            if let Err(e) = self.store.delete_all(&names).await {
                debug!("partial files of {} stay: {e}", tile.name());
            }
        }
    }

    /// Removes what a killed process left half-written in a local store at `root`: the staging files in the folders
    /// that the last writes went to. Does blocking file I/O. Returns how many files it removed.
    pub fn clean_staging(&self, root: &Path) -> usize {
        let size = self.edge.size();
        let mut folders = vec![self.store.full("")];
        for n in [self.next, self.next.saturating_sub(1)] {
            folders.extend(parent(&self.store.full(&SeqEntry::name(n))));
        }
        let levels = (0..LEVELS).map(|level| TileId::covering(level, size));
        for tile in levels.chain([TileId::bundle(size)]) {
            folders.extend(parent(&self.store.full(&tile.name())));
            folders.extend(parent(&self.store.full(&tile.name_at(1))));
        }
        folders.sort();
        folders.dedup();
        folders.iter().map(|folder| clean_staging(&root.join(folder))).sum()
    }
}

fn parent(path: &str) -> Option<String> {
    path.rsplit_once('/').map(|(folder, _)| folder.to_owned())
}

/// Writes tiles and bundles; each may be written again with the same bytes.
async fn write_tiles(store: &Store, writes: Vec<Write>) -> Result<(), LogError> {
    let puts = writes.into_iter().map(|w| async move { store.put(&w.tile.name_at(w.width), w.bytes).await });
    Ok(stream::iter(puts).buffer_unordered(CONCURRENT_WRITES).try_collect().await?)
}

/// Where the log is published, for those who add to what stands there. The lock keeps the writers of `checkpoint` in this
/// process apart, since a local folder has no compare-and-swap.
#[derive(Clone, Debug)]
pub(crate) struct Publication {
    pub(crate) store: Store,
    pub(crate) key: VerifierKey,
    lock: Arc<Mutex<()>>,
}

impl Publication {
    /// Adds the lines of `cosigned` to `checkpoint`, if that still is this head.
    pub(crate) async fn cosign(&self, cosigned: &SignedHead) -> Result<(), StoreError> {
        let _lock = self.lock.lock().await;
        head::cosign(&self.store, cosigned, &self.key).await
    }

    /// The size that `checkpoint` is signed for now; other writers of the same store may be ahead.
    pub(crate) async fn published_size(&self) -> Result<u64, StoreError> {
        Ok(match head::read(&self.store, &self.key).await? {
            head::Stored::Head(head) => head.size(),
            head::Stored::Missing | head::Stored::Garbled(_) => 0,
        })
    }
}

/// Set once it is known that this log's key stands for another history too: then nothing more is signed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Veto(Arc<OnceLock<String>>);

impl Veto {
    /// Nothing more is signed, because of `why`; the first reason stays.
    pub(crate) fn set(&self, why: String) {
        let _ = self.0.set(why);
    }

    /// The reason, if there is one.
    pub(crate) fn reason(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }

    fn check(&self) -> Result<(), LogError> {
        self.reason().map_or(Ok(()), |why| Err(LogError::Contradiction(why.to_owned())))
    }
}

/// What signs heads: the only place where the log's key is used.
struct Publisher {
    vkey: VerifierKey,
    lock: Arc<Mutex<()>>,
    key: Arc<dyn Signer>,
    state: Option<StateFile>,
    last: Last,
}

impl Publisher {
    /// Signs the tree of entries up to `seq` and writes the checkpoint, after the state outside has it.
    async fn publish(&mut self, store: &Store, edge: &Edge, seq: u64) -> Result<Arc<SignedHead>, LogError> {
        let (size, root) = (edge.size(), edge.root());
        if size < self.last.size || (size == self.last.size && root != self.last.root) {
            return Err(LogError::Contradiction(format!(
                "asked to sign {size} leaves after {} with a root that does not follow",
                self.last.size
            )));
        }
        let last = Last { size, root, seq, ..self.last.clone() };
        if let Some(state) = self.state.as_ref().filter(|_| last != self.last) {
            state.save(&last).await?;
        }
        self.last = last;
        let name = self.vkey.name().to_owned();
        let signed = signing::with(&self.key, move |key| SignedHead::sign(&name, size, root, key)).await;
        let head = Arc::new(signed.map_err(LogError::from_signing)?);
        let _lock = self.lock.lock().await;
        match head::write(store, &head, &self.vkey).await? {
            Written::Current => Ok(head),
            Written::Fork => Err(LogError::Contradiction(format!(
                "{} is signed for {size} leaves with another root: someone else uses the log's key",
                store.full(head::NAME),
            ))),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
