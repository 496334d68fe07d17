//! Where statements are appended: this process's own log, or one that another process keeps.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use colophon_receipt::statement::{ANNOUNCEMENT_TYPE, Announcement};
use colophon_signer::Signer;
use colophon_signer::cose::sign_statement;
use object_store::ObjectStore;
use tokio::sync::watch;

use crate::generation;
use crate::head::SignedHead;
use crate::log::{Log, LogConfig, LogError, LogReader};
use crate::remote::{Remote, RemoteLog};
use crate::signing;

/// Who keeps the log.
#[derive(Clone)]
pub enum LogAt {
    /// This process, with this key.
    Here(Arc<dyn Signer>),
    /// The log role, somewhere.
    Elsewhere(Remote),
}

/// Takes statements in order.
pub(crate) enum Destination {
    Own(Box<Log>, Arc<dyn Signer>),
    Remote(Box<RemoteLog>),
}

/// What opening an own log needs besides its key.
pub(crate) struct Own {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) origin: Option<String>,
    pub(crate) state: Option<PathBuf>,
    pub(crate) adopt: bool,
    pub(crate) now: u64,
}

impl Destination {
    /// Opens the log in `own`, or finds the one elsewhere, whose newest head is remembered in the file `memory`.
    pub(crate) async fn open(at: &LogAt, own: Own, memory: PathBuf) -> Result<Destination, LogError> {
        let key = match at {
            LogAt::Here(key) => key.clone(),
            LogAt::Elsewhere(remote) => {
                let origin = own.origin.as_deref();
                let log = match RemoteLog::open(remote, origin, memory.clone()).await {
                    Err(error) if error.is_away() => {
                        RemoteLog::unanswered(remote, origin, memory).await?.ok_or(error)?
                    }
                    opened => opened?,
                };
                return Ok(Destination::Remote(Box::new(log)));
            }
        };
        let config = LogConfig {
            generation: generation::newest(&own.store).await?,
            predecessor: None,
            origin: own.origin,
            key: key.clone(),
            state: own.state,
            adopt: own.adopt,
            several_writers: false,
            now: own.now,
        };
        Ok(Destination::Own(Box::new(Log::open(own.store, config).await?), key))
    }

    /// Whether the log is elsewhere and did not answer.
    pub(crate) fn is_away(&self) -> bool {
        matches!(self, Destination::Remote(log) if log.is_away())
    }

    /// The own log.
    pub(crate) fn own(&self) -> Option<&Log> {
        match self {
            Destination::Own(log, _) => Some(log),
            Destination::Remote(_) => None,
        }
    }

    pub(crate) fn origin(&self) -> &str {
        match self {
            Destination::Own(log, _) => log.origin(),
            Destination::Remote(log) => log.origin(),
        }
    }

    /// Which generation of the log it is: the last part of its origin.
    pub(crate) fn generation(&self) -> u32 {
        generation::of_origin(self.origin())
    }

    pub(crate) fn vkey(&self) -> String {
        match self {
            Destination::Own(log, _) => log.vkey(),
            Destination::Remote(log) => log.vkey(),
        }
    }

    pub(crate) fn head(&self) -> Arc<SignedHead> {
        match self {
            Destination::Own(log, _) => log.head(),
            Destination::Remote(log) => log.head(),
        }
    }

    pub(crate) fn heads(&self) -> watch::Receiver<Arc<SignedHead>> {
        match self {
            Destination::Own(log, _) => log.heads(),
            Destination::Remote(log) => log.heads(),
        }
    }

    pub(crate) fn reader(&self) -> LogReader {
        match self {
            Destination::Own(log, _) => log.reader(),
            Destination::Remote(log) => log.reader(),
        }
    }

    /// Where the log's public files are read, if not in the store of the batches.
    pub(crate) fn files(&self) -> Option<Arc<dyn ObjectStore>> {
        match self {
            Destination::Own(..) => None,
            Destination::Remote(log) => Some(log.files()),
        }
    }

    /// Learns of the newest head. An own log knows it.
    pub(crate) async fn refresh(&mut self) -> Result<(), LogError> {
        match self {
            Destination::Own(..) => Ok(()),
            Destination::Remote(log) => log.refresh().await,
        }
    }

    /// As [`Log::clean_staging`].
    pub(crate) fn clean_staging(&self, root: &Path) -> usize {
        self.own().map_or(0, |log| log.clean_staging(root))
    }

    /// Has the log's key announce a shard's. Returns the announcement's index.
    pub(crate) async fn announce(&mut self, announcement: &Announcement) -> Result<u64, LogError> {
        let payload = announcement.encode();
        let (log, key) = match self {
            Destination::Own(log, key) => (log, key),
            Destination::Remote(log) => return log.announce(payload).await,
        };
        let (origin, shard) = (announcement.origin.clone(), announcement.shard.clone());
        let sign = move |key: &dyn Signer| sign_statement(&payload, ANNOUNCEMENT_TYPE, &origin, &shard, key);
        let leaf = signing::with(key, sign).await?;
        Ok(log.append(vec![leaf]).await?.first_index)
    }

    /// Appends a leaf of the shard that was announced at `announced`. Returns its index, once a signed head covers it.
    /// The same leaf again is appended once.
    pub(crate) async fn append(&mut self, leaf: Vec<u8>, announced: u64) -> Result<u64, LogError> {
        match self {
            Destination::Own(log, _) => Ok(log.append(vec![leaf]).await?.first_index),
            Destination::Remote(log) => log.append(leaf, announced).await,
        }
    }
}
