//! `colophon log index`: the index made again from the log and the batch files, which say all that it says.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use colophon_receipt::record::RecordId;
use colophon_receipt::statement::Statement;
use object_store::ObjectStore;

use crate::batch;
use crate::index::{self, Index, Target};
use crate::leaf::Leaf;
use crate::ledger::LedgerError;
use crate::ledger::keeper::batch_name;
use crate::ledger::objects::Objects;
use crate::log::LogReader;
use crate::tiles::WIDTH;

/// What was looked at and done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reindexed {
    /// Batches with records.
    pub batches: u64,
    /// Index files that they have.
    pub files: u64,
    /// Those that were missing, or other than they should be, and were written.
    pub written: u64,
    /// Batches that could not be indexed, and why.
    pub failed: Vec<String>,
}

/// Goes through the log in `store` and writes each index file that is missing or damaged. What is right is left alone,
/// so it may run beside the ledger. `progress` is called with (leaves, leaves in all).
///
/// # Errors
/// When the log cannot be read or a file cannot be written.
pub async fn reindex(
    store: Arc<dyn ObjectStore>,
    generation: u32,
    progress: &dyn Fn(u64, u64),
) -> Result<Reindexed, LedgerError> {
    let (reader, head) = LogReader::open(store.clone(), generation).await?;
    let objects = Objects(store);
    let (mut done, mut hour) = (Reindexed::default(), Hour::default());
    let mut announced: HashMap<String, u64> = HashMap::new();
    let mut next = 0;
    while next < head.size() {
        let end = (next + WIDTH as u64).min(head.size());
        for (index, entry) in (next..).zip(reader.entries(next..end, &head.checkpoint).await?) {
            match Leaf::parse(&entry) {
                Ok(Leaf::Announcement(_, new)) => {
                    announced.entry(new.shard).or_insert(index);
                }
                Ok(Leaf::Statement(_, statement)) if statement.count > 0 => {
                    let known = announced.get(&statement.shard).copied();
                    done.batch(&objects, &mut hour, index, known, &statement).await?;
                }
                _ => {}
            }
            progress(index + 1, head.size());
        }
        next = end;
    }
    Ok(done)
}

impl Reindexed {
    async fn batch(
        &mut self,
        objects: &Objects,
        hour: &mut Hour,
        log_index: u64,
        announced: Option<u64>,
        statement: &Statement,
    ) -> Result<(), LedgerError> {
        self.batches += 1;
        let name = batch_name(&statement.shard, statement.seq);
        let Some(announced) = announced else {
            self.failed.push(format!("{name}: its shard was never announced"));
            return Ok(());
        };
        let Some(bytes) = objects.get(&name, batch::MAX_BYTES).await? else {
            self.failed.push(format!("{name}: it is missing"));
            return Ok(());
        };
        let batch = match batch::read(&bytes) {
            Ok(batch) if batch.root() == statement.root => batch,
            Ok(_) => {
                self.failed.push(format!("{name}: its records are not those that its statement signs"));
                return Ok(());
            }
            Err(error) => {
                self.failed.push(format!("{name}: {error}"));
                return Ok(());
            }
        };
        let target = Target { shard: statement.shard.clone(), seq: statement.seq, log_index, announced };
        for (file, bytes) in index::write(&target, batch.ids.iter().copied()) {
            self.files += 1;
            // One that is too long is damaged as well.
            let right = match objects.get(&file, index::MAX_BYTES).await {
                Ok(Some(present)) => *present == bytes[..],
                Ok(None) => hour.holds(objects, &file, bytes.clone().into()).await?,
                Err(_) => false,
            };
            if !right {
                objects.put(&file, bytes.into()).await?;
                self.written += 1;
            }
        }
        Ok(())
    }
}

/// The merged files of the hour that was looked at last.
#[derive(Default)]
struct Hour {
    folder: String,
    files: Vec<(String, Index)>,
}

impl Hour {
    /// Whether the merged files of its hour have all rows of an index file that is not there.
    async fn holds(&mut self, objects: &Objects, file: &str, bytes: Bytes) -> Result<bool, LedgerError> {
        let folder = file.rsplit_once('/').map(|(folder, _)| folder).unwrap_or_default();
        if self.folder != folder {
            self.load(objects, folder).await?;
        }
        let Ok(wanted) = Index::read(&bytes) else { return Ok(false) };
        let held = |id: RecordId| {
            let place = wanted.find(&id).ok().flatten();
            let mut files = self.files.iter().filter(|(name, _)| index::may_hold(name, &id));
            place.is_some() && files.any(|(_, file)| file.find(&id).ok().flatten() == place)
        };
        Ok(wanted.ids().all(held))
    }

    /// Reads the merged files of an hour. Those that are damaged go: what was in them is written again.
    async fn load(&mut self, objects: &Objects, folder: &str) -> Result<(), LedgerError> {
        *self = Hour { folder: folder.to_owned(), files: Vec::new() };
        for name in objects.list(folder).await? {
            if !index::is_merged(&name) {
                continue;
            }
            let path = format!("{folder}/{name}");
            let bytes = objects.get(&path, index::MAX_BYTES).await;
            // One that is too long is damaged as well.
            if matches!(bytes, Err(LedgerError::Objects { .. })) {
                bytes?;
                continue;
            }
            let bytes = bytes.ok().flatten().unwrap_or_default();
            match Index::read(&bytes) {
                Ok(file) if index::is_named(&name, &bytes) => self.files.push((name, file)),
                _ => objects.delete_all(&[path]).await?,
            }
        }
        Ok(())
    }
}
