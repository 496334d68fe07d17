//! The queue of this process as a worker's source: artefacts lie beside it, one file each.

use crate::job::{Artefact, Failure, Job, JobId, Progress, State};
use crate::queue::{Leased, Queue, QueueError};
use crate::worker::{Source, SourceError};
use async_trait::async_trait;
use colophon_receipt::merkle::sha256;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// The queue's file within the folder.
const QUEUE: &str = "jobs.redb";
/// The folder of artefacts within it.
const ARTEFACTS: &str = "artefacts";

/// A folder with a queue and its artefacts. Calls block on the file system, as the queue's do.
pub struct Store {
    /// The queue.
    pub queue: Queue,
    artefacts: PathBuf,
    /// Held while an artefact is there whose job does not know it yet.
    writing: Mutex<()>,
}

/// What cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The queue.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// A file beside it.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: std::io::Error,
    },
    /// An artefact is not the one that was proven.
    #[error("the artefact of job {0} is not what was proven: it was changed on the disk")]
    Changed(JobId),
    /// What was to be done was not done to its end: the process stops, or it panicked.
    #[error("cut short: {0}")]
    CutShort(#[from] tokio::task::JoinError),
}

impl StoreError {
    /// Whether the artefact is gone for good: it is not there, or is another. All else may pass.
    pub fn is_for_good(&self) -> bool {
        match self {
            StoreError::Queue(_) | StoreError::CutShort(_) => false,
            StoreError::File { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
            StoreError::Changed(_) => true,
        }
    }
}

impl Store {
    /// Opens or makes it, and sweeps.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(folder: &Path, config: crate::QueueConfig) -> Result<Store, StoreError> {
        let artefacts = folder.join(ARTEFACTS);
        // Statements say things of records that only their owner may know.
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&artefacts);
        made.map_err(|source| file(&artefacts, source))?;
        let queue = Queue::open(&folder.join(QUEUE), config)?;
        let store = Store { queue, artefacts, writing: Mutex::default() };
        store.sweep()?;
        Ok(store)
    }

    /// Does something with it beside the runtime's workers.
    ///
    /// # Errors
    /// As of what is done, and [`StoreError::CutShort`].
    pub async fn beside<T: Send + 'static>(
        self: &Arc<Store>,
        work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = self.clone();
        tokio::task::spawn_blocking(move || work(&store)).await?
    }

    /// Deletes artefacts that are no remembered job's, and what a crash left half written.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn sweep(&self) -> Result<(), StoreError> {
        let _held = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let names = fs::read_dir(&self.artefacts).map_err(|source| file(&self.artefacts, source))?;
        for name in names {
            let path = name.map_err(|source| file(&self.artefacts, source))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let id = name.split('.').next().and_then(|id| id.parse::<JobId>().ok());
            let job = id.map_or(Ok(None), |id| self.queue.get(id))?;
            let is =
                |job: &Job| matches!(&job.state, State::Proven(proven) if name == file_name(job.id, proven));
            if !job.as_ref().is_some_and(is) {
                fs::remove_file(&path).map_err(|source| file(&path, source))?;
            }
        }
        Ok(())
    }

    /// The artefact of a job that was proven.
    ///
    /// # Errors
    /// [`StoreError`]: it cannot be read, or is another.
    pub fn artefact(&self, id: JobId, proven: &Artefact) -> Result<Vec<u8>, StoreError> {
        let path = self.artefacts.join(file_name(id, proven));
        let mut bytes = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(proven.bytes + 1).read_to_end(&mut bytes));
        read.map_err(|source| file(&path, source))?;
        match hex::encode(sha256(&bytes)) == proven.digest {
            true => Ok(bytes),
            false => Err(StoreError::Changed(id)),
        }
    }

    /// Takes in what a worker proved: the artefact first, so that a job that is proven has one. Returns the CPU seconds that count.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn proven(
        &self,
        id: JobId,
        worker: &str,
        artefact: Artefact,
        bytes: &[u8],
        now: u64,
    ) -> Result<f64, StoreError> {
        // Named by its digest too: a worker whose lease is over must not write over another's.
        let path = self.artefacts.join(file_name(id, &artefact));
        let part = path.with_extension("part");
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&part)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&part, &path)?;
            File::open(&self.artefacts)?.sync_all()
        };
        let _held = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        write().map_err(|source| file(&path, source))?;
        let job = self.queue.proven(id, worker, artefact, now)?;
        Ok(if let State::Proven(kept) = job.state { kept.cpu_seconds } else { 0.0 })
    }

    /// Forgets a job and its artefact: its record was erased.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn forget(&self, id: JobId) -> Result<(), StoreError> {
        self.queue.forget(id)?;
        self.sweep()
    }
}

fn file_name(id: JobId, artefact: &Artefact) -> String {
    format!("{id}.{}.artefact", artefact.digest)
}

fn file(path: &Path, source: std::io::Error) -> StoreError {
    StoreError::File { path: path.to_owned(), source }
}

/// Now, µs since the epoch.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// A worker of this process.
pub struct Local {
    /// Where its jobs come from.
    pub store: Arc<Store>,
    /// Its name; no other worker's.
    pub worker: String,
}

impl Local {
    /// Does something with the store in this worker's name.
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store, &str) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, SourceError> {
        let worker = self.worker.clone();
        self.store.beside(move |store| work(store, &worker)).await.map_err(|error| match error {
            StoreError::Queue(QueueError::NotLeased(_) | QueueError::Unknown(_)) => SourceError::Gone,
            error => SourceError::Away(error.to_string()),
        })
    }
}

#[async_trait]
impl Source for Local {
    async fn lease(&self, backends: &[&str]) -> Result<Option<Leased>, SourceError> {
        let backends: Vec<String> = backends.iter().map(|name| (*name).to_owned()).collect();
        self.with(move |store, worker| {
            let backends: Vec<&str> = backends.iter().map(String::as_str).collect();
            Ok(store.queue.lease(worker, &backends, now())?)
        })
        .await
    }

    async fn renew(&self, id: JobId, progress: Progress) -> Result<(), SourceError> {
        self.with(move |store, worker| Ok(store.queue.renew(id, worker, progress, now()).map(drop)?)).await
    }

    async fn proven(&self, id: JobId, artefact: &Artefact, bytes: Vec<u8>) -> Result<(), SourceError> {
        let artefact = artefact.clone();
        self.with(move |store, worker| store.proven(id, worker, artefact, &bytes, now()).map(drop)).await
    }

    async fn failed(
        &self,
        id: JobId,
        failure: Failure,
        again: bool,
        cpu_seconds: f64,
    ) -> Result<(), SourceError> {
        self.with(move |store, worker| {
            Ok(store.queue.failed(id, worker, failure, again, cpu_seconds, now()).map(drop)?)
        })
        .await
    }
}

#[cfg(test)]
mod tests;
