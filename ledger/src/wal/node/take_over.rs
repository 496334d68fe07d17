//! What earlier lives of a sidecar left in the store, and how a new one takes it over.
//!
//! First a fence is put at each earlier life's next number, so that a process that is not dead after all can write no
//! more, and knows it; then its copies are read. What is logged already, the log itself says, as for the WAL on disk.

use super::{Copy, Shelf, path};
use crate::ledger::LedgerError;
use crate::private::{MAX_COPY, Shelved, fence};
use crate::wal::{COPIED, Replay, WalError, io, segment_path, segments};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Copies read at once.
const READS: usize = 8;
/// A life that was fenced off this long ago, µs, cannot come back: its shard's key has expired long since.
const FENCE_AGE: u64 = 2 * 86_400 * 1_000_000;

/// What there is of earlier lives.
pub(crate) struct Left {
    /// Numbers of each life's objects.
    lives: BTreeMap<String, BTreeSet<u64>>,
    /// Lives that end with a fence: who put it, and when.
    fenced: BTreeMap<String, (String, u64)>,
}

impl Left {
    /// Whether a life of the folder, which knows its `own`, was taken over by one of another folder.
    pub(crate) fn is_lost(&self, own: &[String]) -> bool {
        self.fenced.iter().any(|(life, (by, _))| own.contains(life) && !own.contains(by))
    }
}

impl Shelf {
    /// Looks at what other lives left.
    pub(crate) async fn look(&self) -> Result<Left, LedgerError> {
        let mut left = Left { lives: BTreeMap::new(), fenced: BTreeMap::new() };
        for object in self.vault.store.paths(&format!("wal/{}", self.name)).await? {
            let mut parts = object.rsplit('/');
            let number = parts.next().and_then(|number| number.parse().ok());
            let Some((number, life)) = number.zip(parts.next()) else { continue };
            // In their one spelling only.
            if life != self.life && path(&self.name, life, number) == object {
                left.lives.entry(life.to_owned()).or_default().insert(number);
            }
        }
        for (life, numbers) in &left.lives {
            let Some(last) = numbers.last() else { continue };
            // What cannot be read is no fence; it is told when it is taken over.
            if let Ok(Some(Shelved::Fence { by, at })) = self.read(life, *last).await {
                left.fenced.insert(life.clone(), (by, at));
            }
        }
        Ok(left)
    }

    async fn read(&self, life: &str, number: u64) -> Result<Option<Shelved>, LedgerError> {
        let bytes = self.vault.store.get(&path(&self.name, life, number), MAX_COPY).await?;
        let Some(bytes) = bytes else { return Ok(None) };
        self.vault.shelved(&format!("{}/{life}", self.name), number, &bytes).await.map(Some)
    }

    /// Takes over what `left` says and adds it to `replay`. Returns the copies to delete once all of it is logged.
    pub(crate) async fn take_over(
        &self,
        left: Left,
        replay: &mut Replay,
        now: u64,
    ) -> Result<Vec<Copy>, LedgerError> {
        let mut taken = Vec::new();
        for (life, mut numbers) in left.lives {
            match left.fenced.get(&life) {
                Some((_, at)) => {
                    let fence = numbers.pop_last();
                    let old = numbers.is_empty() && at.saturating_add(FENCE_AGE) < now;
                    if let Some(fence) = fence.filter(|_| old) {
                        self.vault.store.delete_in_order(&[path(&self.name, &life, fence)]).await?;
                    }
                }
                None => self.fence_off(&life, &mut numbers, now).await?,
            }
            if !numbers.is_empty() {
                tracing::warn!(life, copies = numbers.len(), "an earlier life's copies are taken over");
            }
            let reads = stream::iter(numbers).map(async |number| match self.read(&life, number).await {
                // Damage is told, and costs no more than itself.
                Err(error @ (LedgerError::Damaged { .. } | LedgerError::PrivateKey { .. })) => {
                    tracing::error!(%error, "DAMAGED COPY of the write-ahead log; records in it may be lost");
                    Ok((number, None))
                }
                read => Ok::<_, LedgerError>((number, read?)),
            });
            let mut reads = std::pin::pin!(reads.buffered(READS));
            while let Some((number, shelved)) = reads.try_next().await? {
                let Some(Shelved::Frames(frames)) = shelved else { continue };
                let object = path(&self.name, &life, number);
                match replay.take_copy(&object, &frames) {
                    true => taken.push(Copy(object, COPIED)),
                    false => tracing::error!(object, "DAMAGED COPY of the write-ahead log; it is kept"),
                }
            }
        }
        if !taken.is_empty() {
            replay.hold_copies();
        }
        Ok(taken)
    }

    /// Takes a life its next number; what it has written meanwhile is among `numbers` then.
    async fn fence_off(&self, life: &str, numbers: &mut BTreeSet<u64>, now: u64) -> Result<(), LedgerError> {
        let store = &self.vault.store;
        loop {
            let next = numbers.last().map_or(0, |last| last + 1);
            let object = path(&self.name, life, next);
            let ours = fence(&self.life, now);
            if store.create(&object, ours.clone()).await? {
                return Ok(());
            }
            // Ours, of a try whose answer was lost, or another start's.
            if let Ok(Some(Shelved::Fence { .. })) = self.read(life, next).await {
                return Ok(());
            }
            numbers.insert(next);
        }
    }
}

/// Puts the segments in `dir` aside: another process goes on with what they hold.
pub(crate) fn put_aside(dir: &Path) -> Result<(), WalError> {
    for number in segments(dir)? {
        let from = segment_path(dir, number);
        let to = from.with_extension("wal.damaged.taken-over");
        std::fs::rename(&from, &to).map_err(|e| io(&from, e))?;
        tracing::error!(
            kept = %to.display(),
            "another process with this sidecar's --name has taken its records over; this WAL segment is put aside"
        );
    }
    Ok(())
}
