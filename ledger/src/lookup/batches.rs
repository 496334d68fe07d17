//! The batches that receipts were made from lately: to read one whole, decode and hash it for each receipt would let a
//! few clients keep all cores busy.

use super::{damage, missing};
use crate::batch::{self, Tree};
use crate::ledger::LedgerError;
use crate::ledger::objects::Objects;
use colophon_receipt::Hash;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Semaphore;

/// Batches kept together take about this many bytes at most; two full ones of usual records do.
const MAX_BYTES: usize = 48 << 20;
/// And there are at most this many of them.
const MAX_KEPT: usize = 256;
/// Batches that are read, or looked for in the index, at the same time.
const READERS: usize = 2;

/// Batches by name, with their trees.
#[derive(Debug)]
pub(crate) struct Batches {
    /// The last used one at the end.
    kept: Mutex<VecDeque<(String, Arc<Tree>)>>,
    /// Whoever reads what is not kept holds one.
    pub(super) readers: Arc<Semaphore>,
}

impl Default for Batches {
    fn default() -> Batches {
        Batches { kept: Mutex::default(), readers: Arc::new(Semaphore::new(READERS)) }
    }
}

impl Batches {
    fn lock(&self) -> MutexGuard<'_, VecDeque<(String, Arc<Tree>)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept(&self, name: &str) -> Option<Arc<Tree>> {
        let mut kept = self.lock();
        let at = kept.iter().rposition(|(known, _)| known == name)?;
        let entry = kept.remove(at)?;
        let tree = entry.1.clone();
        kept.push_back(entry);
        Some(tree)
    }

    /// Keeps a batch whose root is signed.
    pub(crate) fn keep(&self, name: String, tree: Arc<Tree>) {
        let mut kept = self.lock();
        kept.retain(|(known, _)| *known != name);
        kept.push_back((name, tree));
        let mut bytes: usize = kept.iter().map(|(_, tree)| tree.memory()).sum();
        while kept.len() > MAX_KEPT || bytes > MAX_BYTES {
            let Some((_, oldest)) = kept.pop_front() else { return };
            bytes -= oldest.memory();
        }
    }

    /// The batch `name`, whose statement signs `root` over `count` leaves.
    pub(super) async fn get(
        &self,
        objects: &Objects,
        name: &str,
        count: u64,
        root: &Hash,
    ) -> Result<Arc<Tree>, LedgerError> {
        if let Some(tree) = self.kept(name) {
            return Ok(tree);
        }
        let permit = self.readers.clone().acquire_owned().await.map_err(|e| damage(name, e))?;
        // Others waited for the same batch.
        if let Some(tree) = self.kept(name) {
            return Ok(tree);
        }
        let bytes = objects.get(name, batch::MAX_BYTES).await?.ok_or_else(|| missing(name))?;
        // The permit goes along: a client that leaves does not end this.
        let read = tokio::task::spawn_blocking(move || (Tree::read(bytes), permit));
        let (tree, _permit) = read.await.map_err(|e| damage(name, e))?;
        let tree = tree.map_err(|e| damage(name, e))?;
        if tree.root() != *root || tree.len() as u64 != count {
            return Err(damage(name, "it has another root than its logged statement"));
        }
        let tree = Arc::new(tree);
        self.keep(name.to_owned(), tree.clone());
        Ok(tree)
    }

    #[cfg(test)]
    pub(crate) fn forget(&self) {
        self.lock().clear();
    }
}

#[cfg(test)]
mod tests;
