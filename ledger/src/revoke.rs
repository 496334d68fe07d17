//! Revocations: the log's word that a shard's key counts no longer.
//!
//! From its leaf on a log role takes nothing more of the shard (`service.rs`, which also revokes while it runs). A receipt
//! made before stays as it is, and cannot tell what came later: a reader can put the same into the trust file.

use std::path::PathBuf;
use std::sync::Arc;

use colophon_receipt::checkpoint::Checkpoint;
use colophon_receipt::revocation::{REVOCATION_TYPE, Reason, Revocation};
use colophon_receipt::statement::Announcement;
use colophon_signer::cose::sign_statement;
use colophon_signer::note::VerifierKey;
use colophon_signer::{PublicKey, Signer};
use object_store::ObjectStore;

use crate::generation::newest;
use crate::leaf::Leaf;
use crate::ledger::folder::Folder;
use crate::ledger::{LedgerError, Stores};
use crate::log::{Log, LogConfig, LogError, LogReader};
use crate::signing;

/// Leaves read at once: a full bundle.
const STRIDE: u64 = 256;
/// Shards that an error names.
const NAMED: usize = 5;

/// What a revocation needs.
pub struct Revoke {
    /// The data folder, of which no process may make use.
    pub data: PathBuf,
    /// Where log and batches are, if elsewhere.
    pub stores: Stores,
    /// The folder that remembers the newest signed head.
    pub state: Option<PathBuf>,
    /// The log's key.
    pub log_key: Arc<dyn Signer>,
    /// The shard, whole: `name/<16 hex digits>`.
    pub shard: String,
    /// Why.
    pub reason: Reason,
    /// What the key signed from then on does not count, µs; absent: from now on.
    pub invalid_from: Option<u64>,
    /// µs since the epoch.
    pub now: u64,
}

/// A revocation in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// Its index.
    pub index: u64,
    /// What it says.
    pub revocation: Revocation,
}

/// Appends a revocation of a shard's key to the newest generation.
///
/// # Errors
/// When the folder is in use, the shard is not of this generation, or its key is revoked already.
pub async fn revoke(revoke: Revoke) -> Result<Revoked, LedgerError> {
    let folder = Folder::open(&revoke.data)?;
    let store = revoke.stores.open_public(folder.root())?;
    let generation = newest(&store).await?;
    let config = LogConfig {
        generation,
        origin: None,
        key: revoke.log_key.clone(),
        state: revoke.state,
        adopt: false,
        several_writers: false,
        predecessor: None,
        now: revoke.now,
    };
    if !crate::log::is_begun(store.clone(), generation).await? {
        return Err(LedgerError::Revocation("there is no log in this folder".into()));
    }
    let mut log = Log::open(store, config).await?;
    let found = search(&log.reader(), &log.head().checkpoint, &revoke.shard).await?;
    let announcement = match found {
        Search::Announced(announcement) => announcement,
        Search::Revoked(index) => {
            return Err(LedgerError::Revocation(format!("its key is revoked already, by leaf {index}")));
        }
        Search::Unknown(others) => {
            let newest = match others.is_empty() {
                true => String::new(),
                false => format!("; the newest are {}", others.join(", ")),
            };
            return Err(LedgerError::Revocation(format!(
                "generation {generation} of the log announced no shard {}{newest}",
                revoke.shard
            )));
        }
    };
    let revocation = Revocation {
        key_id: PublicKey(announcement.public_key).key_id(),
        reason: revoke.reason,
        at: revoke.now,
        shard: Some(revoke.shard.clone()),
        invalid_from: revoke.invalid_from,
        successor: None,
    };
    if revoke.invalid_from.is_some_and(|from| from > revoke.now) {
        return Err(LedgerError::Revocation("a key is revoked from now on or from an earlier time".into()));
    }
    let (payload, origin, shard) = (revocation.encode(), log.origin().to_owned(), revoke.shard);
    let sign = move |key: &dyn Signer| sign_statement(&payload, REVOCATION_TYPE, &origin, &shard, key);
    let leaf = signing::with(&revoke.log_key, sign).await?;
    let index = log.append(vec![leaf]).await?.first_index;
    Ok(Revoked { index, revocation })
}

/// What the log says of a shard.
enum Search {
    Announced(Box<Announcement>),
    /// By this leaf.
    Revoked(u64),
    /// Others there are, newest first.
    Unknown(Vec<String>),
}

/// Walks the log backwards to the shard's announcement, a revocation of it being later.
async fn search(reader: &LogReader, head: &Checkpoint, shard: &str) -> Result<Search, LogError> {
    let mut others = Vec::new();
    let mut end = head.size;
    while end > 0 {
        let start = (end - 1) / STRIDE * STRIDE;
        let entries = reader.entries(start..end, head).await?;
        for (entry, index) in entries.into_iter().rev().zip((start..end).rev()) {
            match Leaf::parse(&entry) {
                Ok(Leaf::Announcement(_, found)) if found.shard == shard => {
                    return Ok(Search::Announced(Box::new(found)));
                }
                Ok(Leaf::Announcement(_, other)) if others.len() < NAMED => others.push(other.shard),
                Ok(Leaf::Revocation(_, found)) if found.shard.as_deref() == Some(shard) => {
                    return Ok(Search::Revoked(index));
                }
                _ => {}
            }
        }
        end = start;
    }
    Ok(Search::Unknown(others))
}

/// All revocations of a generation that its key signed, in their order. For whoever follows the log: `from` is the leaf to
/// begin with.
///
/// # Errors
/// [`LogError`] when the log cannot be read.
pub async fn revocations(
    store: Arc<dyn ObjectStore>,
    generation: u32,
    from: u64,
) -> Result<Vec<Revoked>, LogError> {
    let (reader, head) = LogReader::open(store, generation).await?;
    let genesis = reader.entry(0, &head.checkpoint).await?;
    let keys: Vec<PublicKey> = match Leaf::parse(&genesis) {
        Ok(Leaf::Genesis(genesis)) => {
            let keys = genesis.vkeys.iter().filter_map(|vkey| vkey.parse::<VerifierKey>().ok());
            keys.filter_map(|key| key.public_key().copied()).collect()
        }
        _ => return Err(LogError::corrupt("leaf 0".into(), "it is no genesis")),
    };
    let mut all = Vec::new();
    let mut start = from;
    while start < head.size() {
        let end = (start / STRIDE + 1).saturating_mul(STRIDE).min(head.size());
        for (index, entry) in (start..end).zip(reader.entries(start..end, &head.checkpoint).await?) {
            if let Ok(Leaf::Revocation(signed, revocation)) = Leaf::parse(&entry)
                && keys.iter().any(|key| signed.verify(key).is_ok())
            {
                all.push(Revoked { index, revocation });
            }
        }
        start = end;
    }
    Ok(all)
}

#[cfg(test)]
mod tests;
