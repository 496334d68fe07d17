//! Leaves of batches and their paths, read from the beginning of a batch file and one page of it. What was read lately is
//! kept, since whoever gets an answer often asks for its receipt at once, and for its neighbours'.

use super::{damage, missing};
use crate::batch::paged::{Head, MAX_HEAD};
use crate::batch::{self, Batch};
use crate::ledger::LedgerError;
use crate::ledger::objects::Objects;
use bytes::Bytes;
use colophon_receipt::Hash;
use colophon_receipt::merkle;
use colophon_receipt::record::RecordId;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What is kept takes this many bytes at most: some 600 pages of usual records.
const MAX_KEPT: usize = 16 << 20;
/// Files that are read at the same time. One takes up to 4 MiB.
const READERS: usize = 8;

/// Bytes of a file, from `start` on.
struct Part {
    name: String,
    start: u64,
    bytes: Bytes,
}

/// A part as it was read, or kept.
struct Read {
    start: u64,
    bytes: Bytes,
    fresh: bool,
}

/// Parts of batch files that were read lately and are known to be good.
pub(crate) struct Batches {
    /// The last used one at the end.
    kept: Mutex<VecDeque<Part>>,
    /// Whoever reads what is not kept holds one.
    readers: Arc<Semaphore>,
}

impl Default for Batches {
    fn default() -> Batches {
        Batches { kept: Mutex::default(), readers: Arc::new(Semaphore::new(READERS)) }
    }
}

impl Batches {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Part>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept(&self, name: &str, range: &Range<u64>) -> Option<Bytes> {
        let mut kept = self.lock();
        let at = kept.iter().rposition(|part| part.name == name && part.slice(range).is_some())?;
        let part = kept.remove(at)?;
        let bytes = part.slice(range);
        kept.push_back(part);
        bytes
    }

    fn keep_part(&self, part: Part) {
        let mut kept = self.lock();
        kept.retain(|known| known.name != part.name || known.start != part.start);
        kept.push_back(part);
        let mut bytes: usize = kept.iter().map(Part::memory).sum();
        while bytes > MAX_KEPT {
            let Some(oldest) = kept.pop_front() else { return };
            bytes -= oldest.memory();
        }
    }

    /// Keeps a whole file, just written.
    pub(crate) fn keep(&self, name: String, file: Bytes) {
        // A large one would leave no room for others, and its pages are read quickly.
        if file.len() <= MAX_KEPT / 4 {
            self.keep_part(Part { name, start: 0, bytes: file });
        }
    }

    async fn permit(&self, name: &str) -> Result<OwnedSemaphorePermit, LedgerError> {
        self.readers.clone().acquire_owned().await.map_err(|e| damage(name, e))
    }

    /// Reads a part; one that was not kept is to be kept once it is known to be good.
    async fn part(&self, objects: &Objects, name: &str, range: Range<u64>) -> Result<Read, LedgerError> {
        if let Some(bytes) = self.kept(name, &range) {
            return Ok(Read { start: range.start, bytes, fresh: false });
        }
        let _permit = self.permit(name).await?;
        // Others waited for the same part.
        if let Some(bytes) = self.kept(name, &range) {
            return Ok(Read { start: range.start, bytes, fresh: false });
        }
        let start = range.start;
        let bytes = objects.get_range(name, range).await?.ok_or_else(|| missing(name))?;
        Ok(Read { start, bytes, fresh: true })
    }

    /// The leaf in a slot of the batch `name`, whose statement signs `root` over `count` leaves, and the leaf's path to
    /// that root, its sibling first and verified. `None` if there is no such slot.
    pub(super) async fn leaf(
        &self,
        objects: &Objects,
        name: &str,
        slot: u32,
        count: u64,
        signed: &Hash,
    ) -> Result<Option<(Vec<u8>, Vec<Hash>)>, LedgerError> {
        if u64::from(slot) >= count {
            return Ok(None);
        }
        let mut read = vec![self.part(objects, name, 0..MAX_HEAD).await?];
        let head = Head::read(&read[0].bytes).map_err(|e| damage(name, e))?;
        let (head, file) = match head {
            Some(head) => (head, None),
            None => {
                read.clear();
                self.version_1(objects, name, signed).await?
            }
        };
        if head.root() != *signed || head.count() != count {
            return Err(damage(name, "it has another root than its logged statement"));
        }
        let range = head.page(slot).ok_or_else(|| damage(name, "its table of pages makes no sense"))?;
        let page = match &file {
            Some(file) => part_of(file, &range).map(Bytes::copy_from_slice).unwrap_or_default(),
            None => {
                read.push(self.part(objects, name, range).await?);
                read[1].bytes.clone()
            }
        };
        let found = head.leaf(slot, &page);
        let (leaf, path) = found.ok_or_else(|| damage(name, "its table of pages makes no sense"))?;
        merkle::verify_inclusion(&merkle::leaf_hash(leaf), slot.into(), count, &path, signed)
            .map_err(|e| damage(name, e))?;
        for Read { start, bytes, fresh } in read {
            if fresh {
                self.keep_part(Part { name: name.to_owned(), start, bytes });
            }
        }
        Ok(Some((leaf.to_vec(), path)))
    }

    /// Of a file without pages, the same as it would be with them.
    async fn version_1(
        &self,
        objects: &Objects,
        name: &str,
        signed: &Hash,
    ) -> Result<(Head, Option<Bytes>), LedgerError> {
        let paged = format!("{name} with pages");
        let known = self.kept(&paged, &(0..u64::MAX));
        let file = match known {
            Some(file) => file,
            None => {
                let permit = self.permit(name).await?;
                let bytes = objects.get(name, batch::MAX_BYTES).await?.ok_or_else(|| missing(name))?;
                // The permit goes along: a client that leaves does not end this.
                let read = tokio::task::spawn_blocking(move || {
                    let _permit = permit;
                    batch::read(&bytes).map(|batch| (batch.root(), with_pages(&batch)))
                });
                let (root, file) = read.await.map_err(|e| damage(name, e))?.map_err(|e| damage(name, e))?;
                let file = Bytes::from(file);
                if root == *signed {
                    self.keep(paged, file.clone());
                }
                file
            }
        };
        let head = Head::read(&file).map_err(|e| damage(name, e))?;
        Ok((head.ok_or_else(|| damage(name, "it has no pages"))?, Some(file)))
    }

    /// The whole batch `name`, whose statement signs `root` over `count` leaves.
    pub(super) async fn whole(
        &self,
        objects: &Objects,
        name: &str,
        count: u64,
        root: &Hash,
    ) -> Result<Batch, LedgerError> {
        let permit = self.permit(name).await?;
        let bytes = objects.get(name, batch::MAX_BYTES).await?.ok_or_else(|| missing(name))?;
        let read = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            batch::read(&bytes)
        });
        let batch = read.await.map_err(|e| damage(name, e))?.map_err(|e| damage(name, e))?;
        if batch.root() != *root || batch.leaves.len() as u64 != count {
            return Err(damage(name, "it has another root than its logged statement"));
        }
        Ok(batch)
    }

    #[cfg(test)]
    pub(crate) fn forget(&self) {
        self.lock().clear();
    }
}

impl Part {
    /// A range of the file, as far as the file goes; `None` where that is not known from here.
    fn slice(&self, range: &Range<u64>) -> Option<Bytes> {
        if self.start == range.start && range.end >= self.start + self.bytes.len() as u64 {
            // It was asked for this way: the file ends here, or the range does.
            return Some(self.bytes.clone());
        }
        let (start, end) = (range.start.checked_sub(self.start)?, range.end.checked_sub(self.start)?);
        let part = part_of(&self.bytes, &(start..end))?;
        Some(self.bytes.slice_ref(part))
    }

    fn memory(&self) -> usize {
        size_of::<Part>() + self.name.len() + self.bytes.len()
    }
}

fn part_of<'a>(bytes: &'a [u8], range: &Range<u64>) -> Option<&'a [u8]> {
    bytes.get(range.start as usize..range.end as usize)
}

fn with_pages(batch: &Batch) -> Vec<u8> {
    let mut ids: Vec<(u32, RecordId)> = batch.ids.iter().map(|(id, slot)| (*slot, *id)).collect();
    ids.sort_unstable();
    batch::write(ids.iter().map(|(_, id)| id).zip(batch.leaves.iter().map(Vec::as_slice)), batch.hashes())
}

#[cfg(test)]
mod tests;
