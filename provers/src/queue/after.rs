//! What follows a job's end: the log says what came of it, and a webhook is told.

use super::tables::{AWAITED, Definition, UNLOGGED, UNTOLD, awaited_as, marked, until};
use super::{Queue, QueueError};
use crate::job::{Job, JobId, Told, WEBHOOK_BACKOFF, WEBHOOK_TRIES};
use redb::ReadableDatabase as _;
use std::ops::Bound;

/// A place in an order of jobs by a time: µs and the job. The first is before all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(pub u64, pub JobId);

impl Default for Mark {
    fn default() -> Mark {
        Mark(0, JobId([0; 16]))
    }
}

/// A job of whose end somebody is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Since when it may be told, and which it is.
    pub mark: Mark,
    /// Where it is told.
    pub webhook: String,
}

impl Queue {
    /// Jobs that have ended, and of which the log is still to say what came: the oldest end first, `most` of those behind `after`, so
    /// that one of which it cannot be said holds up no other. A job is read when its turn comes: by [`Queue::get`].
    ///
    /// # Errors
    /// [`QueueError::File`].
    pub fn unlogged(&self, after: Mark, most: usize) -> Result<Vec<Mark>, QueueError> {
        Ok(self.behind(UNLOGGED, after, u64::MAX, most)?.into_iter().map(|(mark, _)| mark).collect())
    }

    /// Whether a job may still become the evidence of this id: it has not ended, or was proven and is not logged yet.
    ///
    /// # Errors
    /// [`QueueError::File`].
    pub fn is_awaited(&self, evidence: &str) -> Result<bool, QueueError> {
        let read = || -> Result<bool, redb::Error> {
            let table = self.database.begin_read()?.open_table(AWAITED)?;
            let start = awaited_as(evidence);
            let found = table.range(&start[..]..)?.next().transpose()?;
            Ok(found.is_some_and(|(key, _)| key.value().starts_with(&start)))
        };
        read().map_err(|e| self.file(e))
    }

    /// Jobs of whose end a webhook is to be told now: who waits longest first, `most` of those behind `after`, so that a receiver
    /// that cannot be told holds up no other.
    ///
    /// # Errors
    /// [`QueueError::File`].
    pub fn untold(&self, now: u64, after: Mark, most: usize) -> Result<Vec<Waiting>, QueueError> {
        let behind = self.behind(UNTOLD, after, now, most)?.into_iter();
        Ok(behind.map(|(mark, webhook)| Waiting { mark, webhook }).collect())
    }

    /// What a table has behind a place, up to a time. To look writes nothing.
    fn behind(
        &self,
        table: Definition,
        after: Mark,
        last: u64,
        most: usize,
    ) -> Result<Vec<(Mark, String)>, QueueError> {
        let read = || -> Result<Vec<(Mark, String)>, redb::Error> {
            let table = self.database.begin_read()?.open_table(table)?;
            let (after, last) = (marked(after), until(last));
            let range = (Bound::Excluded(&after[..]), Bound::Excluded(&last[..]));
            let mut found = Vec::new();
            // A range that ends before it begins is none.
            if after >= last {
                return Ok(found);
            }
            for entry in table.range::<&[u8]>(range)?.take(most) {
                let (key, value) = entry?;
                let text = String::from_utf8_lossy(value.value()).into_owned();
                found.extend(mark_of(key.value()).map(|mark| (mark, text)));
            }
            Ok(found)
        };
        read().map_err(|e| self.file(e))
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
        self.each(|job| evidence.extend(job.request.evidence.filter(|_| !job.logged)))?;
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

/// The place that a key of a table by time is.
fn mark_of(key: &[u8]) -> Option<Mark> {
    let (at, id) = key.split_first_chunk()?;
    Some(Mark(u64::from_be_bytes(*at), JobId(id.try_into().ok()?)))
}
