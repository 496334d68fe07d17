//! What counted batches hold, by level and outcome: from their record leaves, which the statements sign.

use std::collections::BTreeMap;
use std::sync::Arc;

use colophon_receipt::evidence::is_evidence;
use colophon_receipt::record::RecordLeaf;
use colophon_receipt::statement::Statement;
use object_store::ObjectStore;

use crate::batch;
use crate::ledger::keeper::batch_name;
use crate::store::Store;

/// Counts over batches, one after another.
#[derive(Debug)]
pub struct Tally {
    store: Store,
    from: u64,
    to: u64,
    /// Records by level.
    pub levels: BTreeMap<&'static str, u64>,
    /// Records by outcome.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// Records completed within the interval to the microsecond.
    pub exact: u64,
    /// Records in the batches that were read.
    pub records: u64,
    /// Batch files that are missing or not those of their statements, and why.
    pub unread: Vec<String>,
}

impl Tally {
    /// A count in the batches of `store` of what was completed from `from` to `to`, µs.
    pub fn new(store: Arc<dyn ObjectStore>, from: u64, to: u64) -> Tally {
        Tally {
            store: Store::new(store, String::new()),
            from,
            to,
            levels: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            exact: 0,
            records: 0,
            unread: Vec::new(),
        }
    }

    /// Adds the batch of a verified statement.
    pub async fn add(&mut self, statement: &Statement) {
        if statement.count == 0 {
            return;
        }
        let file = batch_name(&statement.shard, statement.seq);
        match self.leaves(&file, statement).await {
            Ok(leaves) => leaves.iter().for_each(|leaf| self.leaf(leaf)),
            Err(why) => self.unread.push(format!("{file}: {why}")),
        }
    }

    async fn leaves(&self, file: &str, statement: &Statement) -> Result<Vec<RecordLeaf>, String> {
        let bytes = self.store.get(file, batch::MAX_BYTES).await.map_err(|error| error.to_string())?;
        let batch = batch::read(&bytes.ok_or("it is missing")?).map_err(|error| error.to_string())?;
        let signed = batch.leaves.len() as u64 == statement.count && batch.root() == statement.root;
        if !signed {
            return Err("its records are not those that the statement signs".into());
        }
        let records = batch.leaves.iter().filter(|leaf| !is_evidence(leaf));
        let leaves = records.map(|leaf| RecordLeaf::decode(leaf));
        leaves.collect::<Result<_, _>>().map_err(|error| error.to_string())
    }

    fn leaf(&mut self, leaf: &RecordLeaf) {
        self.records += 1;
        self.exact += u64::from((self.from..=self.to).contains(&leaf.completed_at));
        *self.levels.entry(leaf.level.as_str()).or_default() += 1;
        *self.outcomes.entry(leaf.outcome.as_str()).or_default() += 1;
    }
}
