//! The durable queue: one file, transactional and checksummed (redb), owned by one process.
//!
//! Every call is one transaction that is on the disk when it returns, so a job that was accepted is there after any
//! crash, and one that was leased comes back when its lease has run out. Calls block on the file system; asynchronous
//! callers make them elsewhere. Times are µs since the epoch and the caller's, so that tests need no clock.

mod after;
mod tables;
#[cfg(test)]
pub(crate) mod tests;

use crate::budget::{self, Budget, Spent};
use crate::job::{Artefact, Failure, Job, JobId, Progress, Request, State, TRIES, Told};
pub use after::{Mark, Waiting};
use colophon_receipt::proof::StatementError;
use redb::{Database, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tables::{Changes, DEADLINES, DELAYED, Definition, ENDED, JOBS, LEASED, READY, SPENT};

/// Jobs that wait or run; with more, submissions are refused.
const MAX_LIVE: u64 = 100_000;
/// How long an ended job is remembered, µs: seven days.
const KEEP: u64 = 7 * 86_400 * 1_000_000;
/// Pause before the second try, µs; each further one is four times as long.
const BACKOFF: u64 = 10_000_000;
/// How long a lease lasts without a renewal, µs.
const LEASE: u64 = 60_000_000;
/// Memory for the file's pages.
const CACHE: usize = 8 << 20;
/// Expired jobs and leases that one call takes care of.
const PIECE: usize = 1024;

/// How a queue behaves.
#[derive(Clone, Debug)]
pub struct QueueConfig {
    /// Jobs that may wait or run.
    pub max_live: u64,
    /// How long an ended job is remembered, µs.
    pub keep: u64,
    /// How long a lease lasts without a renewal, µs.
    pub lease: u64,
    /// Pause before the second try, µs.
    pub backoff: u64,
    /// What rules may spend, by name; the one named `*` is for those without their own.
    pub budgets: BTreeMap<String, Budget>,
}

impl Default for QueueConfig {
    fn default() -> QueueConfig {
        QueueConfig {
            max_live: MAX_LIVE,
            keep: KEEP,
            lease: LEASE,
            backoff: BACKOFF,
            budgets: BTreeMap::new(),
        }
    }
}

/// Why the queue did not do it. Whose fault it is decides whether a retry is safe: all calls may be repeated.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The file cannot be opened or written; the jobs in it are as they were.
    #[error("the queue {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong, such as damage or another process.
        source: Box<redb::Error>,
    },
    /// A job in the file is none.
    #[error("job {0} in the queue cannot be read: {1}")]
    Damaged(String, serde_json::Error),
    /// What was submitted cannot stand: the submitter's fault.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// A text that is too long: the submitter's fault.
    #[error("`{0}` is too long")]
    TooLong(&'static str),
    /// The deadline has passed: the submitter's fault.
    #[error("the deadline has passed already")]
    Late,
    /// Too many jobs wait.
    #[error("{0} jobs wait or run, as many as may; try again later")]
    Full(u64),
    /// The rule has spent what it may.
    #[error("the rule `{rule}` has spent its {what}; try again in the next hour")]
    Budget {
        /// Which.
        rule: String,
        /// Of what.
        what: String,
    },
    /// There is no such job.
    #[error("there is no job {0}")]
    Unknown(JobId),
    /// The worker's lease ran out, or the job has ended: what the worker did counts no more.
    #[error("job {0} is not leased to this worker any more")]
    NotLeased(JobId),
}

/// What became of a submission.
#[derive(Clone, Debug, PartialEq)]
pub struct Submitted {
    /// The job.
    pub job: Job,
    /// Whether it was there already: the same statement for the same backend is one job.
    pub existed: bool,
}

/// A job with the time until which a worker has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Leased {
    /// The job.
    pub job: Job,
    /// µs; renew before.
    pub until: u64,
}

/// How many jobs are where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Ready to be leased.
    pub ready: u64,
    /// Waiting for their next try.
    pub delayed: u64,
    /// With a worker.
    pub leased: u64,
    /// Ended, and remembered.
    pub ended: u64,
}

/// The queue.
pub struct Queue {
    path: PathBuf,
    database: Database,
    config: QueueConfig,
}

impl Queue {
    /// Opens or makes the file. A file that a crash left in the middle of a write is repaired to its last commit.
    ///
    /// # Errors
    /// [`QueueError::File`]: it is damaged, or another process has it.
    pub fn open(path: &Path, config: QueueConfig) -> Result<Queue, QueueError> {
        let opened = Database::builder().set_cache_size(CACHE).create(path);
        let database =
            opened.map_err(|e| QueueError::File { path: path.to_owned(), source: Box::new(e.into()) })?;
        let queue = Queue { path: path.to_owned(), database, config };
        // So that readers find every table, those that an earlier version did not have too.
        queue.change(|tables| tables.fill_awaited())?;
        Ok(queue)
    }

    /// Accepts a job, or finds the one that asks the same.
    ///
    /// # Errors
    /// What was submitted cannot stand, the queue is full, or the rule's budget is spent.
    pub fn submit(&self, request: Request, now: u64) -> Result<Submitted, QueueError> {
        request.check()?;
        if let Some(name) = request.too_long() {
            return Err(QueueError::TooLong(name));
        }
        let id = JobId::for_request(&request)?;
        // A flood is refused by reading: it takes neither the disk nor the turn of those who write.
        if self.get(id)?.is_none() {
            let counts = self.counts()?;
            let live = counts.ready + counts.delayed + counts.leased;
            if live >= self.config.max_live {
                return Err(QueueError::Full(live));
            }
        }
        self.change(|tables| {
            if let Some(job) = tables.job(id)? {
                // Who asks again after a failure wants another try.
                let again = matches!(job.state, State::Failed(_) | State::Missed | State::Cancelled);
                if !again {
                    return Ok(Submitted { job, existed: true });
                }
                tables.forget(&job)?;
            }
            if request.deadline.is_some_and(|deadline| deadline <= now) {
                return Err(QueueError::Late);
            }
            let live = tables.live()?;
            if live >= self.config.max_live {
                return Err(QueueError::Full(live));
            }
            self.charge(tables, request.rule.as_deref(), now)?;
            let state = State::Queued { not_before: now };
            let job = Job {
                id,
                request,
                made_at: now,
                ended_at: None,
                tries: 0,
                last_failure: None,
                state,
                logged: false,
                told: Told::default(),
            };
            tables.put(&job)?;
            Ok(Submitted { job, existed: false })
        })
    }

    /// As [`Queue::submit`], for what the log waits for: a job that is there stays, whatever came of it, as long as the log is to
    /// say that; and the log says it by this request's id of evidence, whatever id the job had.
    ///
    /// # Errors
    /// As of [`Queue::submit`].
    pub fn take_on(&self, request: Request, now: u64) -> Result<Submitted, QueueError> {
        let id = JobId::for_request(&request)?;
        let evidence = request.evidence.clone();
        let known = self.get(id)?.filter(|job| {
            matches!(job.state, State::Queued { .. } | State::Leased { .. } | State::Proven(_))
                || job.is_unlogged()
        });
        let Some(job) = known else { return self.submit(request, now) };
        if job.request.evidence == evidence && !job.logged {
            return Ok(Submitted { job, existed: true });
        }
        self.change(|tables| {
            let mut job = tables.job(id)?.ok_or(QueueError::Unknown(id))?;
            tables.take(&job)?;
            job.request.evidence = evidence;
            job.logged = false;
            tables.put(&job)?;
            Ok(Submitted { job, existed: true })
        })
    }

    /// A job.
    ///
    /// # Errors
    /// [`QueueError::File`], [`QueueError::Damaged`].
    pub fn get(&self, id: JobId) -> Result<Option<Job>, QueueError> {
        let read = || -> Result<Option<Vec<u8>>, redb::Error> {
            let table = self.database.begin_read()?.open_table(JOBS)?;
            Ok(table.get(&id.0[..])?.map(|value| value.value().to_vec()))
        };
        let bytes = read().map_err(|e| self.file(e))?;
        bytes.map(|bytes| tables::read(id, &bytes)).transpose()
    }

    /// Every job that is remembered, with its record's id.
    ///
    /// # Errors
    /// [`QueueError::File`], [`QueueError::Damaged`].
    pub fn records(&self) -> Result<Vec<(JobId, String)>, QueueError> {
        let mut records = Vec::new();
        self.each(|job| records.push((job.id, job.request.record)))?;
        Ok(records)
    }

    /// Reads every job that is remembered, one after the other: with their statements they are large.
    fn each(&self, mut job: impl FnMut(Job)) -> Result<(), QueueError> {
        let read = || -> Result<Vec<JobId>, redb::Error> {
            let table = self.database.begin_read()?.open_table(JOBS)?;
            let mut ids = Vec::new();
            for entry in table.iter()? {
                ids.extend(tables::id_at_end(entry?.0.value()));
            }
            Ok(ids)
        };
        for id in read().map_err(|e| self.file(e))? {
            self.get(id)?.map(&mut job);
        }
        Ok(())
    }

    /// How many jobs are where.
    ///
    /// # Errors
    /// [`QueueError::File`].
    pub fn counts(&self) -> Result<Counts, QueueError> {
        let read = || -> Result<Counts, redb::Error> {
            let reading = self.database.begin_read()?;
            Ok(Counts {
                ready: reading.open_table(READY)?.len()?,
                delayed: reading.open_table(DELAYED)?.len()?,
                leased: reading.open_table(LEASED)?.len()?,
                ended: reading.open_table(ENDED)?.len()?,
            })
        };
        read().map_err(|e| self.file(e))
    }

    /// How far the jobs are that workers have, percent, as they last said: of the `most` whose leases run out first. No job is
    /// read for it, as metrics ask often and jobs are large.
    ///
    /// # Errors
    /// [`QueueError::File`].
    pub fn progress(&self, most: usize) -> Result<Vec<u8>, QueueError> {
        let read = || -> Result<Vec<u8>, redb::Error> {
            let table = self.database.begin_read()?.open_table(LEASED)?;
            let mut percents = Vec::new();
            for entry in table.iter()?.take(most) {
                // An earlier version wrote none: nothing is known until the worker says it again.
                percents.extend(entry?.1.value().first());
            }
            Ok(percents)
        };
        read().map_err(|e| self.file(e))
    }

    /// Gives the next job for one of `backends` to a worker: the highest priority first, then the oldest.
    ///
    /// # Errors
    /// [`QueueError::File`], [`QueueError::Damaged`].
    pub fn lease(&self, worker: &str, backends: &[&str], now: u64) -> Result<Option<Leased>, QueueError> {
        if self.counts()?.ready == 0 && !self.has_due(now)? {
            return Ok(None);
        }
        self.change(|tables| {
            self.tidied(tables, now)?;
            let Some(mut job) = tables.next(backends)? else { return Ok(None) };
            let until = now.saturating_add(self.config.lease);
            tables.take(&job)?;
            job.tries += 1;
            job.state = State::Leased { worker: worker.to_owned(), until, progress: Progress::default() };
            tables.put(&job)?;
            Ok(Some(Leased { job, until }))
        })
    }

    /// Says how far a worker is, and renews its lease. Returns until when.
    ///
    /// # Errors
    /// [`QueueError::NotLeased`]: give it up.
    pub fn renew(&self, id: JobId, worker: &str, progress: Progress, now: u64) -> Result<u64, QueueError> {
        self.change(|tables| {
            let mut job = tables.leased(id, worker)?;
            let until = now.saturating_add(self.config.lease);
            tables.take(&job)?;
            job.state = State::Leased { worker: worker.to_owned(), until, progress: progress.clipped() };
            tables.put(&job)?;
            Ok(until)
        })
    }

    /// Takes in what a worker proved and verified. The first one counts: there is one artefact in the end.
    ///
    /// # Errors
    /// [`QueueError::NotLeased`].
    pub fn proven(&self, id: JobId, worker: &str, artefact: Artefact, now: u64) -> Result<Job, QueueError> {
        self.change(|tables| {
            let job = tables.leased(id, worker)?;
            let mut artefact = artefact.clipped();
            artefact.cpu_seconds = job.request.limits.cpu_of(artefact.cpu_seconds);
            tables.spend(job.request.rule.as_deref(), now, artefact.cpu_seconds)?;
            tables.end(job, State::Proven(artefact), now)
        })
    }

    /// Takes in that a try failed. It is tried again later where `again` says that this may help and tries are left.
    ///
    /// # Errors
    /// [`QueueError::NotLeased`].
    pub fn failed(
        &self,
        id: JobId,
        worker: &str,
        failure: Failure,
        again: bool,
        cpu_seconds: f64,
        now: u64,
    ) -> Result<Job, QueueError> {
        self.change(|tables| {
            let job = tables.leased(id, worker)?;
            let cpu_seconds = job.request.limits.cpu_of(cpu_seconds);
            tables.spend(job.request.rule.as_deref(), now, cpu_seconds)?;
            self.retry(tables, job, failure, again, now)
        })
    }

    /// Withdraws a job. One that has ended stays as it is.
    ///
    /// # Errors
    /// [`QueueError::Unknown`].
    pub fn cancel(&self, id: JobId, now: u64) -> Result<Job, QueueError> {
        self.change(|tables| {
            let job = tables.job(id)?.ok_or(QueueError::Unknown(id))?;
            if job.state.has_ended() { Ok(job) } else { tables.end(job, State::Cancelled, now) }
        })
    }

    /// Ends what is past its deadline, takes back leases that ran out, lets due jobs be leased, forgets old ones. Every
    /// call of `lease` does it; where nobody leases, call it now and then. Returns the jobs that it ended.
    ///
    /// # Errors
    /// [`QueueError::File`], [`QueueError::Damaged`].
    pub fn tidy(&self, now: u64) -> Result<Vec<Job>, QueueError> {
        if !self.has_due(now)? {
            return Ok(Vec::new());
        }
        self.change(|tables| self.tidied(tables, now))
    }

    /// Takes back what workers with names of this beginning have leased: they are gone. Their tries count. Returns how many.
    ///
    /// # Errors
    /// [`QueueError::File`], [`QueueError::Damaged`].
    pub fn release(&self, workers: &str, now: u64) -> Result<usize, QueueError> {
        self.change(|tables| {
            let mut released = 0;
            for job in tables.expired(u64::MAX, usize::MAX)? {
                if matches!(&job.state, State::Leased { worker, .. } if worker.starts_with(workers)) {
                    let message = "its worker ended in the middle of it".to_owned();
                    self.retry(tables, job, Failure { code: "ended".into(), message }, true, now)?;
                    released += 1;
                }
            }
            Ok(released)
        })
    }

    /// Forgets a job, whatever became of it: its record was erased.
    ///
    /// # Errors
    /// [`QueueError::File`], [`QueueError::Damaged`].
    pub fn forget(&self, id: JobId) -> Result<(), QueueError> {
        self.change(|tables| tables.job(id)?.map_or(Ok(()), |job| tables.forget(&job)))
    }

    /// What a rule has spent in this hour.
    ///
    /// # Errors
    /// [`QueueError::File`].
    pub fn spent(&self, rule: &str, now: u64) -> Result<Spent, QueueError> {
        self.change(|tables| tables.spent(rule, budget::hour(now)))
    }

    /// Whether `tidied` would change anything. To look writes nothing: an idle queue leaves the disk alone.
    fn has_due(&self, now: u64) -> Result<bool, QueueError> {
        let read = || -> Result<bool, redb::Error> {
            let reading = self.database.begin_read()?;
            let until = |definition: Definition, time: u64| -> Result<bool, redb::Error> {
                let table = reading.open_table(definition)?;
                let first = table.first()?;
                let at = first.and_then(|(key, _)| key.value().first_chunk().copied());
                Ok(at.is_some_and(|at| u64::from_be_bytes(at) <= time))
            };
            Ok(until(DEADLINES, now)?
                || until(LEASED, now)?
                || until(DELAYED, now)?
                || until(ENDED, now.saturating_sub(self.config.keep))?
                || until(SPENT, budget::hour(now).saturating_sub(1))?)
        };
        read().map_err(|e| self.file(e))
    }

    fn tidied(&self, tables: &mut Changes<'_>, now: u64) -> Result<Vec<Job>, QueueError> {
        let mut ended = Vec::new();
        for job in tables.late(now, PIECE)? {
            ended.push(tables.end(job, State::Missed, now)?);
        }
        for job in tables.expired(now, PIECE)? {
            let message = "its worker let the lease run out".to_owned();
            let job = self.retry(tables, job, Failure { code: "lease".into(), message }, true, now)?;
            ended.extend(Some(job).filter(|job| job.state.has_ended()));
        }
        for job in tables.due(now, PIECE)? {
            tables.take(&job)?;
            tables.put(&Job { state: State::Queued { not_before: 0 }, ..job })?;
        }
        for job in tables.old(now.saturating_sub(self.config.keep), PIECE)? {
            if !job.is_unlogged() {
                tables.forget(&job)?;
            }
        }
        tables.forget_spent(budget::hour(now))?;
        Ok(ended)
    }

    fn retry(
        &self,
        tables: &mut Changes<'_>,
        mut job: Job,
        failure: Failure,
        again: bool,
        now: u64,
    ) -> Result<Job, QueueError> {
        let failure = failure.clipped();
        job.last_failure = Some(failure.clone());
        let pause = self.config.backoff.saturating_mul(1 << (2 * (job.tries.clamp(1, TRIES) - 1)));
        let next = now.saturating_add(pause);
        if !again || job.tries >= TRIES {
            return tables.end(job, State::Failed(failure), now);
        }
        if job.request.deadline.is_some_and(|deadline| next >= deadline) {
            return tables.end(job, State::Missed, now);
        }
        tables.take(&job)?;
        job.state = State::Queued { not_before: next };
        tables.put(&job)?;
        Ok(job)
    }

    fn charge(&self, tables: &mut Changes<'_>, rule: Option<&str>, now: u64) -> Result<(), QueueError> {
        let Some(rule) = rule else { return Ok(()) };
        let mut spent = tables.spent(rule, budget::hour(now))?;
        let budget = self.config.budgets.get(rule).or_else(|| self.config.budgets.get("*"));
        if let Some(what) = budget.and_then(|budget| budget.exhausted(&spent)) {
            return Err(QueueError::Budget { rule: rule.to_owned(), what });
        }
        spent.jobs += 1;
        tables.set_spent(rule, budget::hour(now), spent)
    }

    /// One transaction; nothing of it is left where `make` fails.
    fn change<T>(
        &self,
        make: impl FnOnce(&mut Changes<'_>) -> Result<T, QueueError>,
    ) -> Result<T, QueueError> {
        let writing = self.database.begin_write().map_err(|e| self.file(e.into()))?;
        let made = {
            let mut tables = Changes::open(&writing, &self.path).map_err(|e| self.file(e))?;
            make(&mut tables)
        };
        match made {
            Ok(made) => {
                writing.commit().map_err(|e| self.file(e.into()))?;
                Ok(made)
            }
            Err(error) => {
                writing.abort().map_err(|e| self.file(e.into()))?;
                Err(error)
            }
        }
    }

    fn file(&self, error: redb::Error) -> QueueError {
        QueueError::File { path: self.path.clone(), source: Box::new(error) }
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("path", &self.path).finish_non_exhaustive()
    }
}
