//! Generations of a log: with a new key, a log goes on as its next generation, which names where the old one ended.
//!
//! Generation `g` lies in `log/<g>/` and begins when its `seq/0` is created: before that, `g - 1` is the log; from then on
//! `g` is, whatever else is still to be written. The link is twofold. The new genesis holds the old one's last checkpoint,
//! and the old log's last leaf, signed by its key, names the new key (unless that key is lost).

use std::path::PathBuf;
use std::sync::Arc;

use colophon_receipt::checkpoint::Checkpoint;
use colophon_receipt::revocation::{REVOCATION_TYPE, Reason, Revocation};
use colophon_receipt::statement::Genesis;
use colophon_signer::Signer;
use colophon_signer::cose::sign_statement;
use colophon_signer::note::{NoteAlgorithm, VerifierKey};
use object_store::ObjectStore;

use crate::head::SignedHead;
use crate::leaf::Leaf;
use crate::ledger::folder::Folder;
use crate::ledger::{LedgerError, Stores};
use crate::log::{Log, LogConfig, LogError, LogReader, is_begun};
use crate::signing;
use crate::wal;

pub use self::link::{Link, check_link};
pub(crate) use self::older::{Older, is_statement, older};

mod link;
mod older;

/// More generations than a log ever has: a key a day for 27 years.
const MOST: u32 = 10_000;

/// The generation that an origin, or the name of a log's key, ends in; 1 if it ends in none.
pub(crate) fn of_origin(origin: &str) -> u32 {
    origin.rsplit('/').next().and_then(|last| last.parse().ok()).unwrap_or(1)
}

/// The newest generation that has begun; 1 if none has.
///
/// # Errors
/// When the store cannot be read.
pub async fn newest(store: &Arc<dyn ObjectStore>) -> Result<u32, LogError> {
    let mut generation = 1;
    while generation < MOST && is_begun(store.clone(), generation + 1).await? {
        generation += 1;
    }
    Ok(generation)
}

/// Whether nothing but its genesis is in a generation: it was begun and not used yet.
///
/// # Errors
/// When the store cannot be read.
pub async fn is_unused(store: &Arc<dyn ObjectStore>, generation: u32) -> Result<bool, LogError> {
    let log = crate::store::Store::new(store.clone(), format!("log/{generation}"));
    Ok(!log.exists(&crate::sequencer::SeqEntry::name(1)).await?)
}

/// What a rotation of the log's key needs.
pub struct Rotate {
    /// The data folder, of which no process may make use.
    pub data: PathBuf,
    /// Where log and batches are, if elsewhere.
    pub stores: Stores,
    /// The folder that remembers the newest signed head.
    pub state: Option<PathBuf>,
    /// The key of the log so far; absent if it is lost.
    pub old_key: Option<Arc<dyn Signer>>,
    /// The key of the next generation.
    pub new_key: Arc<dyn Signer>,
    /// Why the old key goes: superseded, or somebody else has it.
    pub reason: Reason,
    /// µs since the epoch.
    pub now: u64,
}

/// A rotation that is done.
#[derive(Clone, Debug)]
pub struct Rotated {
    /// The generation that is now the newest.
    pub generation: u32,
    /// Its verifier key.
    pub vkey: String,
    /// Where the one before ended.
    pub predecessor: Option<Checkpoint>,
    /// The newest generation had this key already, from an earlier rotation that was perhaps interrupted.
    pub already: bool,
}

/// Begins the next generation under a new key. Interrupted at any point, it can be called again with the same keys.
///
/// # Errors
/// When the folder is in use, holds records that are not logged, or the old key is not the log's.
pub async fn rotate(rotate: Rotate) -> Result<Rotated, LedgerError> {
    let folder = Folder::open(&rotate.data)?;
    let store = rotate.stores.open_public(folder.root())?;
    rotate_in(&folder, store, rotate).await
}

async fn rotate_in(
    folder: &Folder,
    store: Arc<dyn ObjectStore>,
    rotate: Rotate,
) -> Result<Rotated, LedgerError> {
    let generation = newest(&store).await?;
    if !is_begun(store.clone(), generation).await? {
        return Err(LedgerError::Rotation("there is no log in it".into()));
    }
    let genesis = genesis(&store, generation).await?;
    let holds = |key: &Arc<dyn Signer>| {
        let vkey = VerifierKey::new(&genesis.origin, NoteAlgorithm::Ed25519, key.public_key());
        vkey.is_ok_and(|vkey| genesis.vkeys.contains(&vkey.to_string()))
    };
    if holds(&rotate.new_key) {
        if generation == 1 || rotate.old_key.as_ref().is_some_and(holds) {
            return Err(LedgerError::Rotation("the new key is the log's key already".into()));
        }
        // Its tiles and checkpoint may be missing: opening it writes them.
        let log = Log::open(store, config(&rotate, generation, &rotate.new_key, None)).await?;
        let (vkey, predecessor) = (log.vkey(), predecessor_of(&genesis)?);
        return Ok(Rotated { generation, vkey, predecessor, already: true });
    }
    let replay = wal::replay(&folder.wal())?;
    let waiting = replay.done.len() + replay.open.len();
    if waiting > 0 || !replay.damage.is_empty() {
        return Err(LedgerError::Rotation(format!(
            "the WAL holds {waiting} records that may not be logged yet; start the proxy once with the old key and stop it"
        )));
    }
    let base = genesis.origin.strip_suffix(&format!("/{generation}")).ok_or_else(|| {
        LedgerError::Rotation(format!("the origin {} does not end in the generation", genesis.origin))
    })?;
    let next = generation + 1;
    let origin = format!("{base}/{next}");
    let successor = VerifierKey::new(&origin, NoteAlgorithm::Ed25519, rotate.new_key.public_key());
    let successor = successor.map_err(LogError::from)?.to_string();
    let end = match &rotate.old_key {
        Some(old_key) => {
            let config = config(&rotate, generation, old_key, None);
            hand_over(Log::open(store.clone(), config).await?, old_key, &rotate, &successor).await?
        }
        None => LogReader::open(store.clone(), generation).await?.1,
    };
    let begun = config(&rotate, next, &rotate.new_key, Some((base, &end)));
    let log = Log::open(store, begun).await?;
    tracing::info!(generation = next, origin = log.origin(), "the log goes on as its next generation");
    Ok(Rotated {
        generation: next,
        vkey: log.vkey(),
        predecessor: Some(end.checkpoint.clone()),
        already: false,
    })
}

fn config(
    rotate: &Rotate,
    generation: u32,
    key: &Arc<dyn Signer>,
    begin: Option<(&str, &SignedHead)>,
) -> LogConfig {
    LogConfig {
        generation,
        origin: begin.map(|(base, _)| base.to_owned()),
        key: key.clone(),
        state: rotate.state.clone(),
        adopt: false,
        several_writers: false,
        predecessor: begin.map(|(_, end)| end.note.clone().into_bytes()),
        now: rotate.now,
    }
}

/// Has the old key name its successor in the old log's last leaf. Returns the head that covers it.
async fn hand_over(
    mut log: Log,
    key: &Arc<dyn Signer>,
    rotate: &Rotate,
    successor: &str,
) -> Result<SignedHead, LedgerError> {
    let head = log.head();
    let last = log.reader().entry(head.size().saturating_sub(1), &head.checkpoint).await?;
    // An earlier try got this far.
    if names_successor(&last, successor) {
        return Ok(SignedHead::clone(&head));
    }
    let revocation = Revocation {
        key_id: key.public_key().key_id(),
        reason: rotate.reason,
        at: rotate.now,
        shard: None,
        invalid_from: None,
        successor: Some(successor.to_owned()),
    };
    let (payload, origin) = (revocation.encode(), log.origin().to_owned());
    let leaf =
        signing::with(key, move |key| sign_statement(&payload, REVOCATION_TYPE, &origin, &origin, key));
    let leaf = leaf.await?;
    Ok(SignedHead::clone(&log.append(vec![leaf]).await?.head))
}

/// Whether a leaf says that a log's key gives way to this one.
fn names_successor(leaf: &[u8], successor: &str) -> bool {
    matches!(Leaf::parse(leaf), Ok(Leaf::Revocation(_, said)) if said.successor.as_deref() == Some(successor))
}

/// Leaf 0 as the first sequence entry has it: there even when nothing else of a generation is.
async fn genesis(store: &Arc<dyn ObjectStore>, generation: u32) -> Result<Genesis, LogError> {
    use crate::sequencer::{self, SeqEntry};
    let log = crate::store::Store::new(store.clone(), format!("log/{generation}"));
    let file = log.full(&SeqEntry::name(0));
    let entry = match sequencer::read(&log, 0).await? {
        Some(Ok(entry)) => entry,
        Some(Err(e)) => return Err(LogError::corrupt(file, e.to_string())),
        None => return Err(LogError::corrupt(file, "it is missing")),
    };
    let genesis = entry.leaves.first().and_then(|leaf| Genesis::decode(leaf).ok());
    genesis.ok_or_else(|| LogError::corrupt(file, "its first leaf is no genesis"))
}

fn predecessor_of(genesis: &Genesis) -> Result<Option<Checkpoint>, LedgerError> {
    let Some(note) = &genesis.predecessor else { return Ok(None) };
    let parsed = link::unverified(note);
    parsed.map(Some).map_err(LedgerError::Rotation)
}

#[cfg(test)]
mod tests;
