//! What follows a job's end: the log says what came of it, and a webhook is told.

use super::tables::{UNLOGGED, UNTOLD};
use super::{Queue, QueueError};
use crate::job::{Job, JobId, Told, WEBHOOK_BACKOFF, WEBHOOK_TRIES};

/// A place in the order of jobs' ends: µs and the job. The first is before all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(pub u64, pub JobId);

impl Default for Mark {
    fn default() -> Mark {
        Mark(0, JobId([0; 16]))
    }
}

impl Mark {
    /// Where a job is that has ended.
    pub fn of(job: &Job) -> Mark {
        Mark(job.ended_at.unwrap_or(job.made_at), job.id)
    }
}

impl Queue {
    /// Jobs that have ended, and of which the log is still to say what came: the oldest end first, `most` of those behind `after`, so
    /// that one of which it cannot be said holds up no other.
    ///
    /// # Errors
    /// [`QueueError::File`], [`QueueError::Damaged`].
    pub fn unlogged(&self, after: Mark, most: usize) -> Result<Vec<Job>, QueueError> {
        if self.is_empty(UNLOGGED)? {
            return Ok(Vec::new());
        }
        self.change(|tables| tables.unlogged(after, most))
    }

    /// Jobs of whose end a webhook is to be told now, `most` of them.
    ///
    /// # Errors
    /// [`QueueError::File`], [`QueueError::Damaged`].
    pub fn untold(&self, now: u64, most: usize) -> Result<Vec<Job>, QueueError> {
        if self.is_empty(UNTOLD)? {
            return Ok(Vec::new());
        }
        self.change(|tables| tables.untold(now, most))
    }

    /// Takes in whether a job's webhook could be told. Returns the job where that was the last try.
    ///
    /// # Errors
    /// [`QueueError::File`], [`QueueError::Damaged`].
    pub fn told(&self, id: JobId, success: bool, now: u64) -> Result<Option<Job>, QueueError> {
        self.change(|tables| {
            let Some(mut job) = tables.job(id)?.filter(Job::is_untold) else { return Ok(None) };
            tables.take(&job)?;
            let tries = job.told.tries + 1;
            let given_up = !success && tries >= WEBHOOK_TRIES;
            let pause = WEBHOOK_BACKOFF.saturating_mul(1 << (2 * job.told.tries.min(WEBHOOK_TRIES)));
            job.told = Told { tries, next: now.saturating_add(pause), done: success || given_up };
            tables.put(&job)?;
            Ok(given_up.then_some(job))
        })
    }

    /// The ids of the evidence leaves that the log is still to have of jobs here, whether these have ended or not.
    ///
    /// # Errors
    /// [`QueueError::File`], [`QueueError::Damaged`].
    pub fn unsettled(&self) -> Result<Vec<String>, QueueError> {
        let mut evidence = Vec::new();
        for (id, _) in self.records()? {
            let job = self.get(id)?.filter(|job| !job.logged);
            evidence.extend(job.and_then(|job| job.request.evidence));
        }
        Ok(evidence)
    }

    /// Takes in that the log says what came of these jobs.
    ///
    /// # Errors
    /// [`QueueError::File`], [`QueueError::Damaged`].
    pub fn logged(&self, ids: &[JobId]) -> Result<(), QueueError> {
        if ids.is_empty() {
            return Ok(());
        }
        self.change(|tables| {
            for id in ids {
                let Some(job) = tables.job(*id)?.filter(Job::is_unlogged) else { continue };
                tables.take(&job)?;
                tables.put(&Job { logged: true, ..job })?;
            }
            Ok(())
        })
    }
}
