//! A worker: takes a job, has it proven, has what came out verified, and says how it ended.

use crate::backend::{Backend, BackendError, Poll, Task};
use crate::job::{Artefact, Failure, Job, JobId, Progress};
use crate::queue::Leased;
use async_trait::async_trait;
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A lease is renewed at least this often while a job runs.
const RENEW: Duration = Duration::from_secs(5);
/// What a job is at now is told at most so often.
const NEWS: Duration = Duration::from_secs(1);
/// A backend that does not say sooner what a task costs is not waited for: the job goes on without an estimate.
const ESTIMATE: Duration = Duration::from_secs(3);

/// Where jobs come from and go to: the queue in this process, or one elsewhere.
#[async_trait]
pub trait Source: Send + Sync {
    /// The next job for one of `backends`.
    ///
    /// # Errors
    /// It does not answer; ask again later.
    async fn lease(&self, backends: &[&str]) -> Result<Option<Leased>, SourceError>;

    /// Says how far it is.
    ///
    /// # Errors
    /// [`SourceError::Gone`]: stop.
    async fn renew(&self, id: JobId, progress: Progress) -> Result<(), SourceError>;

    /// Hands in an artefact that the backend's verifier has accepted.
    ///
    /// # Errors
    /// It does not answer, or the job is not this worker's any more.
    async fn proven(&self, id: JobId, artefact: &Artefact, bytes: Vec<u8>) -> Result<(), SourceError>;

    /// Says that it came to nothing.
    ///
    /// # Errors
    /// As `proven`.
    async fn failed(
        &self,
        id: JobId,
        failure: Failure,
        again: bool,
        cpu_seconds: f64,
    ) -> Result<(), SourceError>;
}

/// Why a source did not take it.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Somebody else has the job, or it has ended.
    #[error("the job is not this worker's any more")]
    Gone,
    /// It does not answer.
    #[error("the queue does not answer: {0}")]
    Away(String),
}

/// How a job went, for whoever watches the worker.
#[derive(Clone, Debug, PartialEq)]
pub enum Ended {
    /// Proven and handed in.
    Proven(Artefact),
    /// It came to nothing.
    Failed(Failure),
    /// It was withdrawn, or its lease was lost.
    Gone,
}

/// Runs jobs one after another.
pub struct Worker {
    source: Arc<dyn Source>,
    backends: Vec<Arc<dyn Backend>>,
    /// Folders of jobs are made here.
    folder: PathBuf,
}

impl Worker {
    /// A worker whose jobs' folders are made in `folder`.
    pub fn new(source: Arc<dyn Source>, backends: Vec<Arc<dyn Backend>>, folder: PathBuf) -> Worker {
        Worker { source, backends, folder }
    }

    /// Takes one job, if there is one, and runs it to its end. `watch` is told how far it is.
    ///
    /// # Errors
    /// The source does not answer.
    pub async fn once(
        &self,
        watch: &mut (dyn FnMut(&Job, &Progress) + Send),
    ) -> Result<Option<(Job, Ended)>, SourceError> {
        let names: Vec<&str> = self.backends.iter().map(|backend| backend.name()).collect();
        let Some(Leased { job, .. }) = self.source.lease(&names).await? else { return Ok(None) };
        let Some(backend) = self.backends.iter().find(|backend| backend.name() == job.request.backend) else {
            return Ok(None);
        };
        let folder = self.folder.join(job.id.to_string());
        let ran = self.run(backend.as_ref(), &job, &folder, watch).await;
        // What a killed worker left is deleted when its job comes again.
        drop(tokio::fs::remove_dir_all(&folder).await);
        let ended = match ran {
            Ok(Some((artefact, bytes))) => match self.source.proven(job.id, &artefact, bytes).await {
                Ok(()) => Ended::Proven(artefact),
                Err(SourceError::Gone) => Ended::Gone,
                Err(away) => return Err(away),
            },
            Ok(None) => Ended::Gone,
            Err((error, cpu_seconds)) => {
                let failure = Failure { code: error.code().into(), message: error.to_string() };
                let told =
                    self.source.failed(job.id, failure.clone(), error.may_help_again(), cpu_seconds).await;
                match told {
                    Ok(()) => Ended::Failed(failure),
                    Err(SourceError::Gone) => Ended::Gone,
                    Err(away) => return Err(away),
                }
            }
        };
        Ok(Some((job, ended)))
    }

    /// `None` where the job is not ours any more.
    async fn run(
        &self,
        backend: &dyn Backend,
        job: &Job,
        folder: &Path,
        watch: &mut (dyn FnMut(&Job, &Progress) + Send),
    ) -> Result<Option<(Artefact, Vec<u8>)>, (BackendError, f64)> {
        let free = |error| (error, 0.0);
        let expected = self.expected(backend, job, folder).await;
        let begun = Instant::now();
        let task = Task::of(job, fresh(folder, "prove").await.map_err(free)?);
        let mut running = backend.submit(&task).await.map_err(free)?;
        let (mut told, mut stage) = (Instant::now(), String::new());
        loop {
            match running.poll().await.map_err(|error| (error, running.cpu_seconds()))? {
                Poll::Done => break,
                Poll::Running(mut progress) => {
                    let left = || expected?.checked_sub(begun.elapsed());
                    progress.seconds_left = progress.seconds_left.or_else(|| Some(left()?.as_secs()));
                    watch(job, &progress);
                    let news = told.elapsed() >= NEWS && progress.stage != stage;
                    if news || told.elapsed() >= RENEW {
                        told = Instant::now();
                        stage.clone_from(&progress.stage);
                        if let Err(SourceError::Gone) = self.source.renew(job.id, progress).await {
                            running.cancel().await;
                            return Ok(None);
                        }
                    }
                }
            }
        }
        let proving = running.cpu_seconds();
        let bytes = running.fetch().await.map_err(|error| (error, proving))?;
        drop(running);
        let verifying = Progress { stage: "verifying".into(), percent: 99, seconds_left: None };
        watch(job, &verifying);
        if let Err(SourceError::Gone) = self.source.renew(job.id, verifying.clone()).await {
            return Ok(None);
        }
        let paid = |error| (error, proving);
        let task = Task::of(job, fresh(folder, "verify").await.map_err(paid)?);
        let verifies = backend.verify(&task, &bytes);
        let Some(verified) = self.holding(job.id, &verifying, verifies).await else { return Ok(None) };
        let verified = verified.map_err(paid)?;
        let asked = backend.capabilities(fresh(folder, "capabilities").await.map_err(paid)?);
        let Some(said) = self.holding(job.id, &verifying, asked).await else { return Ok(None) };
        let said = said.map_err(paid)?;
        let artefact = Artefact {
            digest: hex::encode(Sha256::digest(&bytes)),
            bytes: bytes.len() as u64,
            cpu_seconds: proving + verified.cpu_seconds,
            prover: said.prover,
            hides: said.hides,
            setup: verified.setup.or(said.setup),
        };
        Ok(Some((artefact, bytes)))
    }

    /// How long the backend thinks that it takes, if it says so.
    async fn expected(&self, backend: &dyn Backend, job: &Job, folder: &Path) -> Option<Duration> {
        let task = Task::of(job, fresh(folder, "estimate").await.ok()?);
        let said = tokio::time::timeout(ESTIMATE, backend.estimate(&task)).await.ok()?.ok()?;
        Duration::try_from_secs_f64(said.cpu_seconds).ok()
    }

    /// Waits for what may take as long as a lease, and renews that meanwhile. `None` where the job is not ours any more.
    async fn holding<T>(&self, id: JobId, at: &Progress, work: impl Future<Output = T>) -> Option<T> {
        let mut work = std::pin::pin!(work);
        loop {
            if let Ok(done) = tokio::time::timeout(RENEW, &mut work).await {
                return Some(done);
            }
            if let Err(SourceError::Gone) = self.source.renew(id, at.clone()).await {
                return None;
            }
        }
    }
}

/// An empty folder of that name, whatever was there.
async fn fresh(folder: &Path, name: &str) -> Result<PathBuf, BackendError> {
    let path = folder.join(name);
    drop(tokio::fs::remove_dir_all(&path).await);
    let made = tokio::fs::create_dir_all(&path).await;
    made.map_err(|error| BackendError::Unusable(format!("{}: {error}", path.display())))?;
    Ok(path)
}
