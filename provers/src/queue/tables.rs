//! Where each job stands in the file. A live job is in `JOBS` and in exactly one of `READY`, `DELAYED` and `LEASED`, an
//! ended one in `JOBS` and `ENDED`, and in `UNLOGGED` as long as the log is to say what came of it; while it lives, one with a deadline is in `DEADLINES`, and
//! one that may become evidence in `AWAITED`. Keys sort as they are needed.

use super::{Mark, QueueError};
use crate::budget::{self, Spent};
use crate::job::{Job, JobId, State, Told};
use colophon_receipt::merkle::sha256;
use redb::{ReadableTable as _, ReadableTableMetadata as _, Table, TableDefinition, WriteTransaction};
use std::path::{Path, PathBuf};

type Bytes = &'static [u8];
pub(super) type Definition = TableDefinition<'static, Bytes, Bytes>;

/// id → the job's JSON.
pub(super) const JOBS: Definition = TableDefinition::new("jobs");
/// backend's hash (8), 255 − priority (1), made at (8), id → nothing.
pub(super) const READY: Definition = TableDefinition::new("ready");
/// not before (8), id.
pub(super) const DELAYED: Definition = TableDefinition::new("delayed");
/// until (8), id → how far the worker is, percent (1).
pub(super) const LEASED: Definition = TableDefinition::new("leased");
/// deadline (8), id.
pub(super) const DEADLINES: Definition = TableDefinition::new("deadlines");
/// hash of the evidence's id (16), id: of jobs that have not ended, or were proven and the log does not say so yet.
pub(super) const AWAITED: Definition = TableDefinition::new("awaited");
/// ended at (8), id.
pub(super) const ENDED: Definition = TableDefinition::new("ended");
/// ended at (8), id: of what the log is still to say.
pub(super) const UNLOGGED: Definition = TableDefinition::new("unlogged");
/// not before (8), id → the URL of the webhook that is still to be told of its end.
pub(super) const UNTOLD: Definition = TableDefinition::new("untold");
/// hour (8), rule → what was spent.
pub(super) const SPENT: Definition = TableDefinition::new("spent");

/// All tables within one transaction.
pub(super) struct Changes<'t> {
    path: PathBuf,
    jobs: Table<'t, Bytes, Bytes>,
    ready: Table<'t, Bytes, Bytes>,
    delayed: Table<'t, Bytes, Bytes>,
    leased: Table<'t, Bytes, Bytes>,
    deadlines: Table<'t, Bytes, Bytes>,
    awaited: Table<'t, Bytes, Bytes>,
    ended: Table<'t, Bytes, Bytes>,
    unlogged: Table<'t, Bytes, Bytes>,
    untold: Table<'t, Bytes, Bytes>,
    spent: Table<'t, Bytes, Bytes>,
}

/// The time tables, whose keys are a time and an id.
#[derive(Clone, Copy)]
enum By {
    Due,
    Lease,
    Deadline,
    End,
}

impl<'t> Changes<'t> {
    pub(super) fn open(writing: &'t WriteTransaction, path: &Path) -> Result<Changes<'t>, redb::Error> {
        Ok(Changes {
            path: path.to_owned(),
            jobs: writing.open_table(JOBS)?,
            ready: writing.open_table(READY)?,
            delayed: writing.open_table(DELAYED)?,
            leased: writing.open_table(LEASED)?,
            deadlines: writing.open_table(DEADLINES)?,
            awaited: writing.open_table(AWAITED)?,
            ended: writing.open_table(ENDED)?,
            unlogged: writing.open_table(UNLOGGED)?,
            untold: writing.open_table(UNTOLD)?,
            spent: writing.open_table(SPENT)?,
        })
    }

    fn storage(&self, error: redb::StorageError) -> QueueError {
        QueueError::File { path: self.path.clone(), source: Box::new(error.into()) }
    }

    pub(super) fn job(&self, id: JobId) -> Result<Option<Job>, QueueError> {
        let bytes = self.jobs.get(&id.0[..]).map_err(|e| self.storage(e))?;
        bytes.map(|bytes| read(id, bytes.value())).transpose()
    }

    /// Jobs that have not ended.
    pub(super) fn live(&self) -> Result<u64, QueueError> {
        let count = |table: &Table<'_, Bytes, Bytes>| table.len().map_err(|e| self.storage(e));
        Ok(count(&self.ready)? + count(&self.delayed)? + count(&self.leased)?)
    }

    /// The job, if this worker has it.
    pub(super) fn leased(&self, id: JobId, worker: &str) -> Result<Job, QueueError> {
        let job = self.job(id)?.ok_or(QueueError::Unknown(id))?;
        match &job.state {
            State::Leased { worker: holder, .. } if holder == worker => Ok(job),
            _ => Err(QueueError::NotLeased(id)),
        }
    }

    /// The next job for one of `backends`.
    pub(super) fn next(&self, backends: &[&str]) -> Result<Option<Job>, QueueError> {
        let mut best: Option<Vec<u8>> = None;
        for backend in backends {
            let prefix = backend_hash(backend);
            let mut end = prefix.to_vec();
            end.extend([0xff; 26]);
            let mut range = self.ready.range(&prefix[..]..&end[..]).map_err(|e| self.storage(e))?;
            let Some(first) = range.next() else { continue };
            let (key, _) = first.map_err(|e| self.storage(e))?;
            let order = key.value()[8..].to_vec();
            if best.as_ref().is_none_or(|best| order < *best) {
                best = Some(order);
            }
        }
        best.and_then(|order| id_at_end(&order)).map_or(Ok(None), |id| self.job(id))
    }

    /// Writes the job, and where it stands.
    pub(super) fn put(&mut self, job: &Job) -> Result<(), QueueError> {
        let bytes = serde_json::to_vec(job).map_err(|e| QueueError::Damaged(job.id.to_string(), e))?;
        let place = Place::of(job);
        let deadline = job.request.deadline.filter(|_| !job.state.has_ended()).map(|at| timed(at, job.id));
        let awaited = awaited_key(job).filter(|_| is_awaited(job));
        let unlogged = job.is_unlogged().then(|| timed(ended_at(job), job.id));
        let untold = job.is_untold().then(|| timed(job.told.next, job.id));
        let mut write = || -> Result<(), redb::StorageError> {
            self.jobs.insert(&job.id.0[..], &bytes[..])?;
            match &place {
                Place::Ready(key) => self.ready.insert(&key[..], &[][..])?,
                Place::Delayed(key) => self.delayed.insert(&key[..], &[][..])?,
                Place::Leased(key, percent) => self.leased.insert(&key[..], &[*percent][..])?,
                Place::Ended(key) => self.ended.insert(&key[..], &[][..])?,
            };
            if let Some(key) = &unlogged {
                self.unlogged.insert(&key[..], &[][..])?;
            }
            if let Some(key) = &untold {
                let webhook = job.request.webhook.as_deref().unwrap_or_default();
                self.untold.insert(&key[..], webhook.as_bytes())?;
            }
            if let Some(key) = &deadline {
                self.deadlines.insert(&key[..], &[][..])?;
            }
            if let Some(key) = &awaited {
                self.awaited.insert(&key[..], &[][..])?;
            }
            Ok(())
        };
        write().map_err(|e| self.storage(e))
    }

    /// Takes the job from where it stands; `put` follows.
    pub(super) fn take(&mut self, job: &Job) -> Result<(), QueueError> {
        let place = Place::of(job);
        let deadline = job.request.deadline.map(|at| timed(at, job.id));
        let awaited = awaited_key(job);
        let mut write = || -> Result<(), redb::StorageError> {
            match &place {
                Place::Ready(key) => drop(self.ready.remove(&key[..])?),
                Place::Delayed(key) => drop(self.delayed.remove(&key[..])?),
                Place::Leased(key, _) => drop(self.leased.remove(&key[..])?),
                Place::Ended(key) => {
                    self.ended.remove(&key[..])?;
                    self.unlogged.remove(&key[..])?;
                    self.untold.remove(&timed(job.told.next, job.id)[..])?;
                }
            }
            if let Some(key) = &deadline {
                self.deadlines.remove(&key[..])?;
            }
            if let Some(key) = &awaited {
                self.awaited.remove(&key[..])?;
            }
            Ok(())
        };
        write().map_err(|e| self.storage(e))
    }

    /// Fills `AWAITED` where it is empty: a file of a version before it has jobs and not this table. Jobs are read one by one.
    pub(super) fn fill_awaited(&mut self) -> Result<(), QueueError> {
        if !self.awaited.is_empty().map_err(|e| self.storage(e))? {
            return Ok(());
        }
        let mut fill = || -> Result<Result<(), QueueError>, redb::StorageError> {
            for entry in self.jobs.iter()? {
                let (id, bytes) = entry?;
                let Some(id) = id_at_end(id.value()) else { continue };
                let job = match read(id, bytes.value()) {
                    Ok(job) => job,
                    Err(error) => return Ok(Err(error)),
                };
                if let Some(key) = awaited_key(&job).filter(|_| is_awaited(&job)) {
                    self.awaited.insert(&key[..], &[][..])?;
                }
            }
            Ok(Ok(()))
        };
        fill().map_err(|e| self.storage(e))?
    }

    pub(super) fn end(&mut self, mut job: Job, state: State, now: u64) -> Result<Job, QueueError> {
        self.take(&job)?;
        job.state = state;
        job.ended_at = Some(now);
        job.told = Told { next: now, ..Told::default() };
        self.put(&job)?;
        Ok(job)
    }

    pub(super) fn forget(&mut self, job: &Job) -> Result<(), QueueError> {
        self.take(job)?;
        let removed = self.jobs.remove(&job.id.0[..]).map(drop);
        removed.map_err(|e| self.storage(e))
    }

    pub(super) fn late(&self, now: u64, most: usize) -> Result<Vec<Job>, QueueError> {
        self.before(By::Deadline, now, most)
    }

    pub(super) fn expired(&self, now: u64, most: usize) -> Result<Vec<Job>, QueueError> {
        self.before(By::Lease, now, most)
    }

    pub(super) fn due(&self, now: u64, most: usize) -> Result<Vec<Job>, QueueError> {
        self.before(By::Due, now, most)
    }

    pub(super) fn old(&self, before: u64, most: usize) -> Result<Vec<Job>, QueueError> {
        self.before(By::End, before, most)
    }

    /// Jobs whose time in a table is not after `now`.
    fn before(&self, by: By, now: u64, most: usize) -> Result<Vec<Job>, QueueError> {
        let table = match by {
            By::Due => &self.delayed,
            By::Lease => &self.leased,
            By::Deadline => &self.deadlines,
            By::End => &self.ended,
        };
        let end = until(now);
        let range = table.range(..&end[..]);
        let mut jobs = Vec::new();
        for entry in range.map_err(|e| self.storage(e))?.take(most) {
            let (key, _) = entry.map_err(|e| self.storage(e))?;
            let id = id_at_end(key.value());
            jobs.extend(id.map(|id| self.job(id)).transpose()?.flatten());
        }
        Ok(jobs)
    }

    pub(super) fn spent(&self, rule: &str, hour: u64) -> Result<Spent, QueueError> {
        let found = self.spent.get(&spent_key(rule, hour)[..]).map_err(|e| self.storage(e))?;
        let Some(found) = found else { return Ok(Spent::default()) };
        serde_json::from_slice(found.value()).map_err(|e| QueueError::Damaged(rule.to_owned(), e))
    }

    pub(super) fn set_spent(&mut self, rule: &str, hour: u64, spent: Spent) -> Result<(), QueueError> {
        let bytes = serde_json::to_vec(&spent).map_err(|e| QueueError::Damaged(rule.to_owned(), e))?;
        let inserted = self.spent.insert(&spent_key(rule, hour)[..], &bytes[..]).map(drop);
        inserted.map_err(|e| self.storage(e))
    }

    /// Adds to what a rule has spent.
    pub(super) fn spend(&mut self, rule: Option<&str>, now: u64, cpu_seconds: f64) -> Result<(), QueueError> {
        let Some(rule) = rule else { return Ok(()) };
        let hour = budget::hour(now);
        let mut spent = self.spent(rule, hour)?;
        spent.cpu_seconds += cpu_seconds.max(0.0);
        self.set_spent(rule, hour, spent)
    }

    /// Forgets what was spent before `hour`.
    pub(super) fn forget_spent(&mut self, hour: u64) -> Result<(), QueueError> {
        let end = hour.to_be_bytes();
        let kept = self.spent.retain_in(..&end[..], |_, _| false);
        kept.map_err(|e| self.storage(e))
    }
}

enum Place {
    Ready(Vec<u8>),
    Delayed(Vec<u8>),
    /// With how far the worker is, percent.
    Leased(Vec<u8>, u8),
    Ended(Vec<u8>),
}

impl Place {
    fn of(job: &Job) -> Place {
        match &job.state {
            State::Queued { not_before } if *not_before > job.made_at => {
                Place::Delayed(timed(*not_before, job.id))
            }
            State::Queued { .. } => Place::Ready(ready_key(job)),
            State::Leased { until, progress, .. } => Place::Leased(timed(*until, job.id), progress.percent),
            _ => Place::Ended(timed(ended_at(job), job.id)),
        }
    }
}

fn ended_at(job: &Job) -> u64 {
    job.ended_at.unwrap_or(job.made_at)
}

fn backend_hash(backend: &str) -> [u8; 8] {
    let mut start = [0; 8];
    start.copy_from_slice(&sha256(backend.as_bytes())[..8]);
    start
}

fn ready_key(job: &Job) -> Vec<u8> {
    let mut key = backend_hash(&job.request.backend).to_vec();
    key.push(255 - job.request.priority);
    key.extend(job.made_at.to_be_bytes());
    key.extend(job.id.0);
    key
}

fn timed(at: u64, id: JobId) -> Vec<u8> {
    let mut key = at.to_be_bytes().to_vec();
    key.extend(id.0);
    key
}

/// Whether a job may still become its evidence.
fn is_awaited(job: &Job) -> bool {
    !job.state.has_ended() || (job.is_unlogged() && matches!(job.state, State::Proven(_)))
}

fn awaited_key(job: &Job) -> Option<Vec<u8>> {
    Some([awaited_as(job.request.evidence.as_deref()?), job.id.0].concat())
}

/// What the keys begin with of jobs that may become this evidence.
pub(super) fn awaited_as(evidence: &str) -> [u8; 16] {
    let mut start = [0; 16];
    start.copy_from_slice(&sha256(evidence.as_bytes())[..16]);
    start
}

/// The key of a place.
pub(super) fn marked(mark: Mark) -> Vec<u8> {
    timed(mark.0, mark.1)
}

/// A key behind all of this time.
pub(super) fn until(time: u64) -> Vec<u8> {
    let mut end = time.to_be_bytes().to_vec();
    end.extend([0xff; 17]);
    end
}

fn spent_key(rule: &str, hour: u64) -> Vec<u8> {
    let mut key = hour.to_be_bytes().to_vec();
    key.extend(rule.as_bytes());
    key
}

pub(super) fn id_at_end(key: &[u8]) -> Option<JobId> {
    key.last_chunk().copied().map(JobId)
}

pub(super) fn read(id: JobId, bytes: &[u8]) -> Result<Job, QueueError> {
    serde_json::from_slice(bytes).map_err(|e| QueueError::Damaged(id.to_string(), e))
}
