//! Erasing: what may be asked for, what came of it, and what has to be finished after a crash.
//!
//! An erasure deletes what opens records, and keeps the records: leaves, batches and log stay as they are, and so does
//! every receipt handed out. It is noted in the data folder before anything is deleted, so that a crash leaves it to
//! the next start; it is logged once it is done.

use crate::ledger::LedgerError;
use colophon_receipt::Hash;
use colophon_receipt::erasure::{Erased, ErasureId, tenant_commitment};
use colophon_receipt::record::RecordId;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

const FORMAT: &str = "colophon-erasing-v1";
/// The file of an erasure under way is never longer: a tenant's name is bounded by [`MAX_TENANT`].
const MAX_FILE: u64 = 16 << 10;
/// A tenant's name has at most this many bytes.
pub const MAX_TENANT: usize = 1024;

/// What to erase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Erase {
    /// One record.
    Record(RecordId),
    /// All records of a tenant so far. Records that name none are of the tenant `-`.
    Tenant(Vec<u8>),
    /// All records completed before this time, µs.
    Before(u64),
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErasureReport {
    /// Names the erasure in the log; absent where there was nothing to erase.
    pub id: Option<ErasureId>,
    /// Records whose openings are deleted by it.
    pub openings: u64,
    /// When it was done (µs), and the index of its log entry.
    pub logged: Option<(u64, u64)>,
    /// Of a tenant: whoever has these bytes and the tenant's name can see that the log entry is about it.
    pub salt: Option<[u8; 32]>,
    /// It was done before, and not again.
    pub earlier: bool,
}

/// Why nothing was erased, or not all.
#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    /// No record has this id.
    #[error("no record has this id")]
    Unknown,
    /// The record waits for the log, or its exchange is under way.
    #[error("the record is not logged yet; try again when it is")]
    NotLogged,
    /// A time to come: records that complete until then could not be told from later ones.
    #[error("the time lies in the future")]
    Future,
    /// A tenant's name that no record has.
    #[error("a tenant's name has 1 to {MAX_TENANT} bytes")]
    Tenant,
    /// Copies of damaged WAL segments, which may hold what is to be erased.
    #[error(
        "{} may hold what is to be erased and cannot be read; delete it, or move it out of the data folder, and erase \
         again", files(.0)
    )]
    DamagedWal(Vec<PathBuf>),
    /// Exchanges under way keep parts of the WAL.
    #[error("the WAL could not be emptied of what is to be erased within {0:?}; try again")]
    WalHeld(std::time::Duration),
    /// What is to be erased may be in a generation of the log that cannot be read.
    #[error(
        "an earlier generation of the log, which may hold what is to be erased, cannot be used (the ledger's log says which, \
         and why); put its files back, and erase again"
    )]
    Generation,
    /// The ledger ends; a started erasure is finished at the next start.
    #[error("the ledger is closed")]
    Closed,
    /// Reading or writing failed. What was begun is finished at the next start, or by the next erasure.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

fn files(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// An erasure under way, as the data folder holds it: `wal/erase-<id>.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Intent {
    format: String,
    #[serde(with = "hex::serde")]
    pub(crate) id: ErasureId,
    /// Leaves in the log when it began: its entry comes after them.
    pub(crate) log_size: u64,
    pub(crate) subject: Subject,
}

/// What it is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
pub(crate) enum Subject {
    Record {
        #[serde(with = "hex::serde")]
        id: RecordId,
        #[serde(with = "hex::serde")]
        leaf_hash: Hash,
        shard: String,
        seq: u64,
        slot: u32,
    },
    Tenant {
        #[serde(with = "hex::serde")]
        name: Vec<u8>,
        #[serde(with = "hex::serde")]
        salt: [u8; 32],
    },
    Before(u64),
}

impl Subject {
    /// What the log says of it.
    pub(crate) fn logged(&self) -> Erased {
        match self {
            Subject::Record { id, leaf_hash, .. } => Erased::Record { id: *id, leaf_hash: *leaf_hash },
            Subject::Tenant { name, salt } => Erased::Tenant(tenant_commitment(salt, name)),
            Subject::Before(time) => Erased::Before(*time),
        }
    }

    pub(crate) fn salt(&self) -> Option<[u8; 32]> {
        match self {
            Subject::Tenant { salt, .. } => Some(*salt),
            Subject::Record { .. } | Subject::Before(_) => None,
        }
    }
}

impl Intent {
    pub(crate) fn new(subject: Subject, log_size: u64) -> Result<Intent, LedgerError> {
        let mut id = [0; 16];
        getrandom::fill(&mut id)?;
        Ok(Intent { format: FORMAT.into(), id, log_size, subject })
    }

    fn path(&self, folder: &Path) -> PathBuf {
        folder.join(format!("erase-{}.json", hex::encode(self.id)))
    }

    /// Writes it whole and syncs it, or not at all.
    pub(crate) fn save(&self, folder: &Path) -> Result<(), LedgerError> {
        let path = self.path(folder);
        let json = serde_json::to_vec_pretty(self).map_err(|e| io(&path, e.into()))?;
        crate::ledger::replace(&path, &json)
    }

    pub(crate) fn remove(&self, folder: &Path) -> Result<(), LedgerError> {
        let path = self.path(folder);
        std::fs::remove_file(&path).map_err(|e| io(&path, e))
    }

    /// All that are under way.
    pub(crate) fn load_all(folder: &Path) -> Result<Vec<Intent>, LedgerError> {
        let mut intents = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(|e| io(folder, e))? {
            let entry = entry.map_err(|e| io(folder, e))?;
            let name = entry.file_name();
            let name = name.to_str().unwrap_or_default();
            if !name.starts_with("erase-") || !name.ends_with(".json") {
                continue;
            }
            let path = entry.path();
            let size = entry.metadata().map_err(|e| io(&path, e))?.len();
            let damaged = |why: String| LedgerError::Damaged { what: path.display().to_string(), why };
            if size > MAX_FILE {
                return Err(damaged("too long".into()));
            }
            let bytes = std::fs::read(&path).map_err(|e| io(&path, e))?;
            let intent: Intent = serde_json::from_slice(&bytes).map_err(|e| damaged(e.to_string()))?;
            if intent.format != FORMAT || intent.path(folder) != path {
                return Err(damaged("it is no erasure under way".into()));
            }
            intents.push(intent);
        }
        Ok(intents)
    }
}

fn io(path: &Path, source: std::io::Error) -> LedgerError {
    LedgerError::Folder { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
