//! The batch files against their statements, every record id once, and what lies beside the log.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use colophon_receipt::Hash;
use colophon_receipt::record::RecordId;
use colophon_receipt::statement::Statement;
use colophon_signer::drand::Chain;
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStore;
use object_store::path::Path;
use tokio::task;

use super::draws::Draws;
use super::ids::Ids;
use super::statements::Statements;
use super::{Finding, MAX_FINDINGS, NotLogged, Report};
use crate::batch::{self, Batch};
use crate::ledger::keeper::batch_name;
use crate::store::Store;

pub(super) struct Batches {
    inner: Arc<dyn ObjectStore>,
    store: Store,
    /// Batches read and hashed at the same time.
    at_once: usize,
    /// Every record, with its batch as its number in `files`.
    ids: Ids,
    /// The batch files by the log index of their statements, ascending.
    files: Vec<(u64, String)>,
    /// Records that an erasure, by its log index, is about.
    erased: Vec<(u64, RecordId, Hash)>,
    draws: Draws,
}

/// Batch files that are read and hashed at once, at most: each is a few megabytes in memory, and four cores check more
/// than a million records a second.
const AT_ONCE: usize = 4;

/// A batch file, read.
type Found = (u64, Arc<Statement>, Result<Batch, String>);

impl Batches {
    pub(super) fn new(inner: Arc<dyn ObjectStore>, chain: Chain) -> Batches {
        let store = Store::new(inner.clone(), String::new());
        let draws = Draws::new(store.clone(), chain);
        let at_once = std::thread::available_parallelism().map_or(1, usize::from).min(AT_ONCE);
        let (ids, files, erased) = (Ids::new(), Vec::new(), Vec::new());
        Batches { inner, store, at_once, ids, files, erased, draws }
    }

    /// Compares the batches of these statements, each with its log index, and calls `done` after each.
    pub(super) async fn check(
        &mut self,
        statements: Vec<(u64, Statement)>,
        report: &mut Report,
        done: &dyn Fn(u64),
    ) {
        for (_, statement) in &statements {
            self.draws.seen(statement);
        }
        let with_records = statements.into_iter().filter(|(_, statement)| statement.count > 0);
        let mut found = stream::iter(with_records)
            .map(|(index, statement)| read(self.store.clone(), index, Arc::new(statement)))
            .buffered(self.at_once);
        while let Some((index, statement, batch)) = found.next().await {
            let file = batch_name(&statement.shard, statement.seq);
            match batch {
                Ok(batch) => {
                    compare(&file, &statement, &batch, report);
                    let number = u32::try_from(self.files.len()).unwrap_or(u32::MAX);
                    batch.ids.iter().for_each(|(id, _)| self.ids.add(id, number));
                    self.draws.batch(index, &statement, &batch, report).await;
                }
                Err(what) => report.find(Finding::Batch { file: file.clone(), what }),
            }
            self.files.push((index, file));
            done(index);
        }
    }

    /// Notes a record that the erasure at `index` is about.
    pub(super) fn erased(&mut self, index: u64, id: RecordId, leaf_hash: Hash) {
        self.erased.push((index, id, leaf_hash));
    }

    /// Reports the ids that came twice, erasures of records that are not there, and the batch files that no statement is
    /// about.
    pub(super) async fn finish(&mut self, statements: &Statements, report: &mut Report) {
        self.ids.sort();
        for (index, id, leaf_hash) in std::mem::take(&mut self.erased) {
            if !self.holds(&id, &leaf_hash, index).await {
                report.find(Finding::Erasure { index, what: "its record is in no batch before it" });
            }
        }
        for (first, second) in self.ids.pairs(MAX_FINDINGS) {
            self.twice(first, second, report).await;
        }
        self.draws.finish(statements, report);
        if let Err(why) = self.beside(statements, report).await {
            report.find(Finding::Unreadable(why));
        }
    }

    /// A file without a statement may be on its way, or was when its process died: then its records are in another batch.
    /// What is in no batch was never logged.
    async fn beside(&self, statements: &Statements, report: &mut Report) -> Result<(), String> {
        let logged: HashSet<&str> = self.files.iter().map(|(_, file)| file.as_str()).collect();
        let mut listing = self.inner.list(Some(&Path::from("shard")));
        let mut waiting: HashMap<String, NotLogged> = HashMap::new();
        while let Some(meta) = listing.try_next().await.map_err(|error| error.to_string())? {
            let file = meta.location.to_string();
            if logged.contains(file.as_str()) {
                continue;
            }
            let shard = file.strip_prefix("shard/").and_then(|rest| Some(rest.split_once("/batch/")?.0));
            let Some(shard) = shard.map(str::to_owned) else { continue };
            let bytes = self.store.get(&file, batch::MAX_BYTES).await.map_err(|error| error.to_string())?;
            // Gone meanwhile, or being written.
            let Some(batch) = bytes.and_then(|bytes| batch::read(&bytes).ok()) else { continue };
            // Another's hash would have to be the same, of 64 bits.
            let known = |id: &RecordId| self.ids.batches(id).next().is_some();
            let records = batch.ids.iter().filter(|(id, _)| !known(id)).count() as u64;
            if records == 0 {
                continue;
            }
            if !statements.knows(&shard) {
                // Of another generation of the log, or of nobody.
                continue;
            }
            if statements.is_live(&shard) {
                let one = waiting.entry(shard.clone()).or_insert(NotLogged { shard, records: 0, batches: 0 });
                (one.records, one.batches) = (one.records + records, one.batches + 1);
            } else {
                report.find(Finding::Unlogged { file, shard, records });
            }
        }
        report.not_logged.extend(waiting.into_values());
        report.not_logged.sort_by(|a, b| a.shard.cmp(&b.shard));
        Ok(())
    }

    /// Whether a batch that was logged before leaf `before` holds `id`, with a leaf of this hash.
    async fn holds(&self, id: &RecordId, leaf_hash: &Hash, before: u64) -> bool {
        for number in self.ids.batches(id) {
            let Some((index, batch)) = self.batch(number).await else { continue };
            let slot = batch.ids.binary_search_by_key(id, |(id, _)| *id).ok();
            let slot = slot.and_then(|at| batch.ids.get(at)).map(|(_, slot)| *slot as usize);
            if index < before && slot.and_then(|slot| batch.hashes().get(slot)) == Some(leaf_hash) {
                return true;
            }
        }
        false
    }

    /// Reports the records that are in both of two batches.
    async fn twice(&self, first: u32, second: u32, report: &mut Report) {
        let (Some((first, one)), Some((second, other))) = (self.batch(first).await, self.batch(second).await)
        else {
            return;
        };
        let ids: HashSet<&RecordId> = one.ids.iter().map(|(id, _)| id).collect();
        for (id, _) in other.ids.iter().filter(|(id, _)| ids.contains(id)) {
            let (first, second) = (first.min(second), first.max(second));
            report.find(Finding::DuplicateRecord { id: *id, first, second });
        }
    }

    /// Reads a batch again, by its number, with the log index of its statement.
    async fn batch(&self, number: u32) -> Option<(u64, Batch)> {
        let (index, file) = self.files.get(number as usize)?;
        let bytes = self.store.get(file, batch::MAX_BYTES).await.ok().flatten()?;
        Some((*index, batch::read(&bytes).ok()?))
    }
}

/// Reads a batch and does the hashing beside the runtime's workers.
async fn read(store: Store, index: u64, statement: Arc<Statement>) -> Found {
    let file = batch_name(&statement.shard, statement.seq);
    let bytes = match store.get(&file, batch::MAX_BYTES).await {
        Ok(Some(bytes)) => bytes,
        Ok(None) => {
            let what =
                format!("it is missing, and with it {} records of {}", statement.count, statement.shard);
            return (index, statement, Err(what));
        }
        Err(error) => return (index, statement, Err(error.to_string())),
    };
    let signed = statement.clone();
    let done = task::spawn_blocking(move || hashed(&bytes, &signed)).await;
    (index, statement, done.unwrap_or_else(|error| Err(error.to_string())))
}

/// The batch, if it is the one that the statement signs. Every byte is looked at.
fn hashed(bytes: &Bytes, statement: &Statement) -> Result<Batch, String> {
    let mut batch = batch::read(bytes).map_err(|error| error.to_string())?;
    if batch.root() != statement.root {
        let count = batch.leaves.len() as u64;
        return Err(if count == statement.count {
            "its records lead to another root than the statement's".into()
        } else {
            format!("it holds {count} records, the statement says {}", statement.count)
        });
    }
    if batch.leaves.len() as u64 != statement.count {
        return Err(format!(
            "it holds {} records, the statement says {}",
            batch.leaves.len(),
            statement.count
        ));
    }
    // What follows needs only ids, draws and evidence.
    batch.leaves = Vec::new();
    Ok(batch)
}

fn compare(file: &str, statement: &Statement, batch: &Batch, report: &mut Report) {
    let (from, to) = (statement.from, statement.to);
    if batch.completed.is_some_and(|(first, last)| first < from || last > to) {
        let what = "records in it were completed outside the statement's interval".into();
        report.find(Finding::Batch { file: file.to_owned(), what });
    }
    report.batches += 1;
    report.records += statement.count.saturating_sub(batch.evidence.len() as u64);
}
