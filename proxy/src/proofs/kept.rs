//! Bodies of exchanges whose rule asks for a language model's proof: in memory alone, from the answer's end until their token ids are
//! a job's, and within bounds. Of what is kept no longer nothing is proven.

use bytes::Bytes;
use colophon_receipt::record::RecordId;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// No body is kept for longer: the log may be away, or the record be one that is not drawn.
const LONGEST: Duration = Duration::from_secs(3600);
/// How often it is looked for bodies that have been here for too long: whatever else waits, and for whom.
const EVERY: Duration = Duration::from_secs(5);
/// What an exchange costs beside its bodies, about: two keys, their places in both collections, and the heads of two buffers.
const ENTRY: usize = 200;

/// Request and response as they were recorded, their content encoding undone.
#[derive(Clone)]
pub(super) struct Said {
    pub(super) request: Bytes,
    pub(super) response: Bytes,
}

impl Said {
    /// What it costs to keep, bytes.
    fn cost(&self) -> usize {
        self.request.len().saturating_add(self.response.len()).saturating_add(ENTRY)
    }

    /// In memory of its own size: what came may be a part of a buffer that is many times as large.
    fn exactly(&self) -> Said {
        Said {
            request: Bytes::copy_from_slice(&self.request),
            response: Bytes::copy_from_slice(&self.response),
        }
    }
}

/// Those that are kept.
pub(super) struct Kept {
    /// Bytes of all of them, at most.
    most: usize,
    /// How long each, at most.
    longest: Duration,
    all: Mutex<All>,
}

#[derive(Default)]
struct All {
    bodies: HashMap<RecordId, (Instant, Said)>,
    /// The same exchanges by when they came.
    order: BTreeSet<(Instant, RecordId)>,
    bytes: usize,
}

impl All {
    fn forget(&mut self, record: &RecordId) {
        if let Some((since, said)) = self.bodies.remove(record) {
            self.order.remove(&(since, *record));
            self.bytes -= said.cost();
        }
    }

    /// Forgets what has been here for `longest`.
    fn forget_old(&mut self, longest: Duration) {
        while let Some((since, record)) = self.order.first().copied()
            && since.elapsed() >= longest
        {
            self.forget(&record);
        }
    }
}

impl Kept {
    /// Nothing yet, and `most` bytes at most.
    pub(super) fn new(most: usize) -> Kept {
        Kept { most, longest: LONGEST, all: Mutex::default() }
    }

    /// Keeps what was said in an exchange. What finds no place pushes the oldest out.
    pub(super) fn keep(&self, record: RecordId, said: Said) {
        let said = said.exactly();
        let mut all = self.all();
        all.forget(&record);
        if said.cost() > self.most {
            return;
        }
        let since = Instant::now();
        all.bytes += said.cost();
        all.order.insert((since, record));
        all.bodies.insert(record, (since, said));
        while all.bytes > self.most {
            let Some((_, oldest)) = all.order.first().copied() else { return };
            all.forget(&oldest);
        }
    }

    /// What was said, if it is still here.
    pub(super) fn get(&self, record: &RecordId) -> Option<Said> {
        self.all().bodies.get(record).map(|(_, said)| said.clone())
    }

    /// Forgets an exchange.
    pub(super) fn forget(&self, record: &RecordId) {
        self.all().forget(record);
    }

    /// The records of all that is kept.
    pub(super) fn records(&self) -> Vec<RecordId> {
        self.all().bodies.keys().copied().collect()
    }

    /// Until `stop`: forgets what has been here for too long, whether or not anybody asks for it.
    pub(super) async fn forget_in_time(&self, stop: &CancellationToken) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(EVERY.min(self.longest)) => drop(self.all()),
                () = stop.cancelled() => return,
            }
        }
    }

    /// All that is kept, without what has been here for too long.
    fn all(&self) -> MutexGuard<'_, All> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.forget_old(self.longest);
        all
    }
}

#[cfg(test)]
mod tests;
