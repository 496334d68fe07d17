//! Why the WAL takes no frame.

use std::path::PathBuf;
use std::time::Duration;

/// Why the ledger cannot take an exchange.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// The disk is full, or the folder is gone.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A segment that this WAL did not write.
    #[error(
        "{path} is of the write-ahead log of another data folder: its header names the shard {shard}. Nothing was taken from \
         it; move it back to where it belongs, or out of this folder"
    )]
    Foreign {
        /// The segment.
        path: PathBuf,
        /// The shard that wrote it.
        shard: String,
    },
    /// Fields and signatures of one exchange that no exchange has.
    #[error("a WAL frame of {0} bytes is too large")]
    TooLarge(usize),
    /// As many bytes of the WAL wait for the log as may wait.
    #[error("{0} bytes of the write-ahead log wait for the log; it may take no more")]
    Full(u64),
    /// The oldest record has waited for the log as long as one may.
    #[error("a record has waited for the log for {0:?}; no more are taken")]
    Old(Duration),
    /// As many records wait for the log as may wait.
    #[error("{0} records wait for the log; it may take no more")]
    Backlog(usize),
    /// With durability `node`: the store of copies does not answer.
    #[error("the store that keeps copies of the write-ahead log does not answer; no more records are taken")]
    Away,
    /// With durability `node`: another process of the same name has taken this one's records over.
    #[error(
        "another process with this sidecar's --name has taken its records over from the store; this one takes no more. \
         Give each sidecar a name of its own"
    )]
    TakenOver,
    /// The record was completed before the current statement's interval; stamp it again (`Ledger::stamp`).
    #[error("the record's completion time lies before the current statement's interval")]
    Stale,
    /// The record is not of the ticket's exchange, or its leaf is not a record.
    #[error("the record does not belong to this exchange")]
    Record,
    /// The shard's key has expired and no new one could be announced.
    #[error("the shard's key has expired and no new one could be announced")]
    Expired,
    /// The ledger was closed.
    #[error("the ledger is closed")]
    Closed,
}
