//! Why a ledger cannot be opened or read.

use crate::log::LogError;
use crate::private::{CryptError, KekError};
use crate::store;
use crate::wal::WalError;
use colophon_signer::{KeyError, SignError};
use std::path::PathBuf;

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
    pub(super) fn refused(&self) -> Option<&str> {
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
