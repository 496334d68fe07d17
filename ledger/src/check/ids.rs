//! Which batch each record of a log is in, small enough for many millions: 12 bytes a record, instead of its id a keyed
//! hash of it. Two ids with one hash are not told apart here: whoever finds some reads their batches.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::hash::{BuildHasher, RandomState};

use colophon_receipt::record::RecordId;

/// Rows that are sorted together: 12 MiB.
const RUN: usize = 1 << 20;

/// The hash in two halves, so that a row has 12 bytes, and the batch's number.
type Row = (u32, u32, u32);

/// Records and the numbers of their batches.
pub(super) struct Ids {
    /// With a key of this process, so that nobody can make ids that collide.
    key: RandomState,
    /// Each sorted.
    runs: Vec<Vec<Row>>,
    /// Not sorted yet.
    last: Vec<Row>,
}

impl Ids {
    pub(super) fn new() -> Ids {
        Ids { key: RandomState::new(), runs: Vec::new(), last: Vec::new() }
    }

    fn hash(&self, id: &RecordId) -> (u32, u32) {
        let hash = self.key.hash_one(id);
        ((hash >> 32) as u32, hash as u32)
    }

    pub(super) fn add(&mut self, id: &RecordId, batch: u32) {
        let (high, low) = self.hash(id);
        self.last.push((high, low, batch));
        if self.last.len() == RUN {
            self.sort();
        }
    }

    /// Has to come between `add` and what follows.
    pub(super) fn sort(&mut self) {
        let mut run = std::mem::take(&mut self.last);
        run.sort_unstable();
        run.shrink_to_fit();
        self.runs.push(run);
    }

    /// The batches that may hold a record; one that does is among them.
    pub(super) fn batches(&self, id: &RecordId) -> impl Iterator<Item = u32> {
        let hash = self.hash(id);
        self.runs.iter().flat_map(move |run| {
            let from = run.partition_point(|(high, low, _)| (*high, *low) < hash);
            let equal = run.get(from..).unwrap_or_default().iter();
            equal.take_while(move |(high, low, _)| (*high, *low) == hash).map(|(_, _, batch)| *batch)
        })
    }

    /// Pairs of different batches that may hold the same record, at most `most`.
    pub(super) fn pairs(&self, most: usize) -> BTreeSet<(u32, u32)> {
        let mut next: BinaryHeap<Reverse<(Row, usize)>> = BinaryHeap::new();
        let mut rest: Vec<_> = self.runs.iter().map(|run| run.iter().copied()).collect();
        for (at, run) in rest.iter_mut().enumerate() {
            next.extend(run.next().map(|row| Reverse((row, at))));
        }
        let (mut pairs, mut last) = (BTreeSet::new(), None::<Row>);
        while let Some(Reverse((row, at))) = next.pop() {
            next.extend(rest.get_mut(at).and_then(Iterator::next).map(|row| Reverse((row, at))));
            if let Some(last) = last.filter(|last| (last.0, last.1) == (row.0, row.1) && last.2 != row.2) {
                pairs.insert((last.2, row.2));
                if pairs.len() >= most {
                    break;
                }
            }
            last = Some(row);
        }
        pairs
    }
}

#[cfg(test)]
mod tests;
