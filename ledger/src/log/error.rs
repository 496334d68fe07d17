//! Why the log refuses.

use std::path::PathBuf;

use colophon_signer::SignError;
use colophon_signer::note::NoteError;

use crate::state::StateError;
use crate::store::StoreError;

/// Why the log could not be opened, read or appended to.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Storage failed: a full disk, a read-only folder, a lost network. The log stays usable; try again.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The state outside the store could not be read or written. Nothing was signed.
    #[error("the log's state outside the store: {0}")]
    State(#[from] StateError),
    /// A file of the log is not what the tree says it is.
    #[error("corrupt log file {file}: {what}")]
    Corrupt {
        /// The file, from the root of the store.
        file: String,
        /// What is wrong with it.
        what: String,
    },
    /// Two things that this log's key stands for cannot both be true. Nothing more is signed.
    #[error("the log contradicts itself: {0}")]
    Contradiction(String),
    /// The store is older than what was last signed, or another history.
    #[error(
        "the log in the store was rolled back: {what}. This machine last signed size {signed} (recorded in {}). \
         Was the data folder restored from a backup? Signing on would fork the log, so this is refused. Put back the \
         newer copy of {folder}; if it is lost, keep this copy as evidence and start a new log in an empty data folder \
         with a new log key",
        state.display()
    )]
    RolledBack {
        /// The log's folder in the store.
        folder: String,
        /// The state file.
        state: PathBuf,
        /// The size last signed.
        signed: u64,
        /// How it was noticed.
        what: String,
    },
    /// The store was written with another machine's state, or this machine's state is lost.
    #[error(
        "the log in {folder} is not known to this machine: {what} (looked in {}). A copied data folder must not be \
         continued in two places: both would sign, and the log would fork. If this is now the only place where it \
         runs, start once with --adopt",
        state.display()
    )]
    Foreign {
        /// The log's folder in the store.
        folder: String,
        /// The state file.
        state: PathBuf,
        /// How it was noticed.
        what: String,
    },
    /// The log belongs to another key.
    #[error(
        "the log's genesis names the key {genesis}, but the key given is {given}. With another key it would be another \
         log: give the log its own key. To go on with a new one, see `colophon key rotate`"
    )]
    Key {
        /// The verifier keys of the genesis leaf.
        genesis: String,
        /// The verifier key of the key given.
        given: String,
    },
    /// The log has another origin than the one asked for.
    #[error("the log's origin is {stored}, but {given} was asked for; an origin cannot change")]
    Origin {
        /// The origin the store has.
        stored: String,
        /// The origin asked for.
        given: String,
    },
    /// The origin cannot be the name of a key.
    #[error("unusable log origin: {0}")]
    Name(#[from] NoteError),
    /// The log's key did not sign. What was appended is in the log all the same, and the next checkpoint covers it.
    #[error("{0}")]
    Sign(#[from] SignError),
    /// The log role does not answer, or cannot at the moment. Nothing is lost; try again.
    #[error("the log is away: {0}")]
    Away(String),
    /// The log role does not take it; trying again does not help.
    #[error("the log refuses it ({code}): {message}")]
    Refused {
        /// The name of the reason, as in FORMATS.md.
        code: String,
        /// The log's own words.
        message: String,
    },
    /// No leaves, or too many or too long ones: see [`crate::sequencer`].
    #[error("an append takes 1 to 4096 leaves of 1 to 65535 bytes each, 16 MiB in all")]
    Leaves,
    /// There is no such leaf, or no such range, in a tree of this size.
    #[error("leaf {index} is not in a tree of {size} leaves")]
    Range {
        /// The leaf, or the end of the range, or the older tree's size.
        index: u64,
        /// The tree's size.
        size: u64,
    },
}

impl LogError {
    /// Whether the log is kept elsewhere and does not answer.
    pub(crate) fn is_away(&self) -> bool {
        match self {
            LogError::Away(_) => true,
            // The log role is the only store that is read before there is a ledger to read from it.
            LogError::Store(StoreError::Backend { error, .. }) => {
                matches!(**error, object_store::Error::Generic { store: crate::remote::STORE, .. })
            }
            _ => false,
        }
    }

    pub(crate) fn corrupt(file: String, what: impl Into<String>) -> LogError {
        LogError::Corrupt { file, what: what.into() }
    }

    /// A signature that failed is one thing, a name that no key can have another.
    pub(crate) fn from_signing(error: NoteError) -> LogError {
        match error {
            NoteError::Sign(error) => LogError::Sign(error),
            error => LogError::Name(error),
        }
    }

    /// Whether trying again later may help.
    pub fn is_transient(&self) -> bool {
        match self {
            LogError::Store(StoreError::Backend { .. }) => true,
            LogError::State(StateError::Io { .. }) | LogError::Sign(_) | LogError::Away(_) => true,
            LogError::Store(_) | LogError::State(_) => false,
            LogError::Corrupt { .. }
            | LogError::Contradiction(_)
            | LogError::RolledBack { .. }
            | LogError::Foreign { .. }
            | LogError::Key { .. }
            | LogError::Origin { .. }
            | LogError::Name(_)
            | LogError::Leaves
            | LogError::Refused { .. }
            | LogError::Range { .. } => false,
        }
    }
}
