//! Bodies of exchanges whose rule asks for a language model's proof: in memory alone, from the answer's end until their token ids are
//! a job's, and within bounds. Of what is kept no longer nothing is proven.

use bytes::Bytes;
use colophon_receipt::record::RecordId;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// No body is kept for longer: the log may be away, or the record be one that is not drawn.
const LONGEST: Duration = Duration::from_secs(3600);

/// Request and response as they were recorded, their content encoding undone.
#[derive(Clone)]
pub(super) struct Said {
    pub(super) request: Bytes,
    pub(super) response: Bytes,
}

impl Said {
    fn bytes(&self) -> usize {
        self.request.len().saturating_add(self.response.len())
    }
}

/// Those that are kept.
pub(super) struct Kept {
    /// Bytes of all of them, at most.
    most: usize,
    all: Mutex<All>,
}

#[derive(Default)]
struct All {
    /// Ids begin with a time: the first is the oldest.
    bodies: BTreeMap<RecordId, (Instant, Said)>,
    bytes: usize,
}

impl All {
    fn forget(&mut self, record: &RecordId) {
        if let Some((_, said)) = self.bodies.remove(record) {
            self.bytes -= said.bytes();
        }
    }

    /// Forgets what has been here for too long.
    fn forget_old(&mut self) {
        let old = self.bodies.iter().filter(|(_, (since, _))| since.elapsed() > LONGEST);
        let old: Vec<RecordId> = old.map(|(record, _)| *record).collect();
        old.iter().for_each(|record| self.forget(record));
    }
}

impl Kept {
    /// Nothing yet, and `most` bytes at most.
    pub(super) fn new(most: usize) -> Kept {
        Kept { most, all: Mutex::default() }
    }

    /// Keeps what was said in an exchange. What finds no place pushes the oldest out.
    pub(super) fn keep(&self, record: RecordId, said: Said) {
        let mut all = self.all();
        all.forget(&record);
        if said.bytes() > self.most {
            return;
        }
        all.bytes += said.bytes();
        all.bodies.insert(record, (Instant::now(), said));
        while all.bytes > self.most {
            let Some(oldest) = all.bodies.keys().next().copied() else { return };
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

    /// Forgets what has been here for too long, and gives the records of the rest.
    pub(super) fn records(&self) -> Vec<RecordId> {
        let mut all = self.all();
        all.forget_old();
        all.bodies.keys().copied().collect()
    }

    fn all(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
