//! How a ledger is set up, and where it keeps what it makes.

use super::folder::Folder;
use crate::anchor::Timestamping;
use crate::attest::KeyAttesting;
use crate::destination::LogAt;
use crate::draws::Drawing;
use crate::policy::PolicyText;
use crate::private::Kek;
use crate::store::{self, Access, Location};
use crate::wal::Durability;
use crate::witness::Witnessing;
use object_store::ObjectStore;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

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
