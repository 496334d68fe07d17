//! The sequence entries against the leaves, side by side: each entry's size and root, then its leaves.

use colophon_receipt::Hash;
use colophon_receipt::merkle::leaf_hash;
use colophon_receipt::subtrees::Subtrees;

use super::{Finding, Report};
use crate::sequencer::{self, SeqEntry};
use crate::store::Store;

/// Where the sequence stands.
pub(super) struct Sequence {
    store: Store,
    next: u64,
    /// Leaf hashes that the current entry says come next, last first.
    expected: Vec<Hash>,
    /// After a missing or damaged entry nothing can be compared any more.
    lost: bool,
}

impl Sequence {
    pub(super) fn new(store: Store) -> Sequence {
        Sequence { store, next: 0, expected: Vec::new(), lost: false }
    }

    /// Compares the leaf that follows the tree so far.
    pub(super) async fn leaf(&mut self, hash: &Hash, before: &Subtrees, report: &mut Report) {
        if self.expected.is_empty() && !self.lost {
            match self.read(before).await {
                Ok(entry) => self.expected = entry.leaves.iter().rev().map(|leaf| leaf_hash(leaf)).collect(),
                Err(what) => {
                    report.find(Finding::Sequence { n: self.next, what });
                    self.lost = true;
                }
            }
            report.sequence_entries += u64::from(!self.lost);
            self.next += 1;
        }
        if self.expected.pop().is_some_and(|expected| expected != *hash) {
            let what = format!("leaf {} is not the one it put there", before.size());
            report.find(Finding::Sequence { n: self.next - 1, what });
            self.lost = true;
            self.expected.clear();
        }
    }

    async fn read(&self, before: &Subtrees) -> Result<SeqEntry, String> {
        let entry = match sequencer::read(&self.store, self.next).await {
            Ok(Some(Ok(entry))) => entry,
            Ok(Some(Err(e))) => return Err(e.to_string()),
            Ok(None) => return Err("it is missing".into()),
            Err(e) => return Err(e.to_string()),
        };
        if entry.previous_size != before.size() {
            return Err(format!("it follows {} leaves, not {}", entry.previous_size, before.size()));
        }
        if entry.previous_root != before.root() {
            return Err(format!("it follows another tree of {} leaves", before.size()));
        }
        Ok(entry)
    }

    /// After the last leaf of the checkpoint.
    pub(super) fn finish(&self, report: &mut Report) {
        if !self.expected.is_empty() {
            let n = self.next.saturating_sub(1);
            let what = "the checkpoint ends in the middle of its leaves".into();
            report.find(Finding::Sequence { n, what });
        }
    }
}
