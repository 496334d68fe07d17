//! The batch files against their statements, and every record id once.

use std::sync::Arc;

use colophon_receipt::Hash;
use colophon_receipt::record::{RecordId, RecordLeaf};
use colophon_receipt::statement::Statement;
use object_store::ObjectStore;

use super::{Finding, Report};
use crate::batch;
use crate::ledger::keeper::batch_name;
use crate::store::Store;

pub(super) struct Batches {
    store: Store,
    /// Every id with the log index of its statement.
    ids: Vec<(RecordId, u64)>,
    /// The batch files by the log index of their statements, ascending.
    files: Vec<(u64, String)>,
    /// Records that an erasure, by its log index, is about.
    erased: Vec<(u64, RecordId, Hash)>,
}

impl Batches {
    pub(super) fn new(inner: Arc<dyn ObjectStore>) -> Batches {
        Batches {
            store: Store::new(inner, String::new()),
            ids: Vec::new(),
            files: Vec::new(),
            erased: Vec::new(),
        }
    }

    /// Compares the batch of the statement that is leaf `index`.
    pub(super) async fn check(&mut self, index: u64, statement: &Statement, report: &mut Report) {
        if statement.count == 0 {
            return;
        }
        let file = batch_name(&statement.shard, statement.seq);
        let mut wrong = |what: String| report.find(Finding::Batch { file: file.clone(), what });
        let bytes = match self.store.get(&file, batch::MAX_BYTES).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return wrong("it is missing".into()),
            Err(e) => return wrong(e.to_string()),
        };
        let batch = match batch::read(&bytes) {
            Ok(batch) => batch,
            Err(e) => return wrong(e.to_string()),
        };
        let count = batch.leaves.len() as u64;
        if count != statement.count {
            wrong(format!("it holds {count} records, the statement says {}", statement.count));
        }
        if batch::root(&batch.hashes()) != statement.root {
            wrong("its records lead to another root than the statement's".into());
        }
        let interval = statement.from..=statement.to;
        let inside = |leaf: &Vec<u8>| {
            RecordLeaf::decode(leaf).is_ok_and(|record| interval.contains(&record.completed_at))
        };
        let outside = batch.leaves.iter().filter(|leaf| !inside(leaf)).count();
        if outside > 0 {
            wrong(format!("{outside} records completed outside the statement's interval"));
        }
        report.batches += 1;
        report.records += count;
        self.ids.extend(batch.ids.iter().map(|(id, _)| (*id, index)));
        self.files.push((index, file));
    }

    /// Notes a record that the erasure at `index` is about.
    pub(super) fn erased(&mut self, index: u64, id: RecordId, leaf_hash: Hash) {
        self.erased.push((index, id, leaf_hash));
    }

    /// Reports the ids that came twice, and erasures of records that are not there.
    pub(super) async fn finish(&mut self, report: &mut Report) {
        self.ids.sort_unstable();
        for (index, id, leaf_hash) in std::mem::take(&mut self.erased) {
            if !self.holds(&id, &leaf_hash, index).await {
                report.find(Finding::Erasure { index, what: "its record is in no batch before it" });
            }
        }
        for pair in self.ids.windows(2) {
            if let [(id, first), (again, second)] = pair
                && id == again
            {
                report.find(Finding::DuplicateRecord { id: *id, first: *first, second: *second });
            }
        }
    }

    /// Whether the batch that holds `id`, logged before leaf `before`, has a leaf of this hash.
    async fn holds(&self, id: &RecordId, leaf_hash: &Hash, before: u64) -> bool {
        let at = self.ids.partition_point(|(known, _)| known < id);
        let Some((_, index)) = self.ids.get(at).filter(|(known, index)| known == id && *index < before)
        else {
            return false;
        };
        let file = self.files.binary_search_by_key(index, |(index, _)| *index);
        let Some((_, file)) = file.ok().and_then(|at| self.files.get(at)) else { return false };
        let bytes = self.store.get(file, batch::MAX_BYTES).await.ok().flatten();
        let batch = bytes.and_then(|bytes| batch::read(&bytes).ok());
        batch.is_some_and(|batch| batch.hashes().contains(leaf_hash))
    }
}
