//! Durability `node`: copies of the frames in the private store, so that the loss of the node, its disk included, loses no
//! record whose answer was released.
//!
//! A life of a sidecar writes `wal/<sidecar>/<life>/<n>`, n from 0, each by create-if-absent; while one is under way the
//! frames of all other exchanges gather for the next. The first is empty: it claims the life. Copies go once the segments
//! that they were made of have gone; the newest, which names the shard, when the life ends cleanly.
//!
//! Whoever starts under the same name takes over what the lives before left (`node/take_over.rs`).

mod take_over;

use super::writer::Uncopied;
use super::{COPIED, COPY_PATIENCE, Copying, Durability, Wal, WalError, frame};
use crate::ledger::LedgerError;
use crate::private::{MAX_COPY, Vault};
use crate::store::StoreError;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{sleep, timeout};

pub(crate) use take_over::put_aside;

/// One try of one object takes no longer; it is tried again with the same bytes.
const TRY: Duration = Duration::from_secs(20);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// No exchange waits this long; whoever sweeps has time.
const NO_HURRY: Duration = Duration::from_secs(365 * 86_400);

/// The place of one sidecar's copies.
pub(crate) struct Shelf {
    vault: Arc<Vault>,
    name: String,
    life: String,
}

/// A copy in the store: its name, and the last segment that it has frames of.
#[derive(Clone, Debug)]
pub(crate) struct Copy(String, u64);

/// The copies that there are, oldest first.
pub(crate) struct Copies {
    vault: Arc<Vault>,
    kept: Mutex<VecDeque<Copy>>,
}

/// Writes the copies of a running life.
pub(crate) struct Copier {
    shelf: Shelf,
    next: u64,
    copies: Arc<Copies>,
}

fn path(name: &str, life: &str, number: u64) -> String {
    format!("wal/{name}/{life}/{number:012}")
}

impl Shelf {
    /// Claims a life of its own in the store, which shows too that the store has conditional create.
    pub(crate) async fn claim(vault: Arc<Vault>, name: &str, now: u64) -> Result<Shelf, LedgerError> {
        let mut random = [0; 8];
        getrandom::fill(&mut random)?;
        let shelf = Shelf { vault, name: name.to_owned(), life: hex::encode(random) };
        let claim = path(name, &shelf.life, 0);
        let sealed = shelf.vault.seal_frames(&shelf.owner(), 0, b"", now).await?;
        // What the first answers does not matter: sent twice, it refuses itself.
        shelf.vault.store.create(&claim, sealed.clone()).await?;
        match shelf.vault.store.create(&claim, sealed).await? {
            true => Err(StoreError::NoConditionalCreate.into()),
            false => Ok(shelf),
        }
    }

    pub(crate) fn life(&self) -> &str {
        &self.life
    }

    fn owner(&self) -> String {
        format!("{}/{}", self.name, self.life)
    }
}

impl Copies {
    /// Deletes all, oldest first: the life has ended and everything is logged.
    pub(crate) async fn clear(&self) -> Result<(), LedgerError> {
        let names: Vec<String> = self.lock().iter().map(|Copy(name, _)| name.clone()).collect();
        self.vault.store.delete_in_order(&names).await?;
        self.lock().clear();
        Ok(())
    }

    /// Whether there is no copy of frames of segments up to `number`, which is retired, and none is still to come. Copies are
    /// made in the order of their segments and go in it, and the newest stays: so the oldest is of a later segment only once
    /// all copies up to `number` were made, and are deleted.
    pub(crate) fn are_gone(&self, number: u64) -> bool {
        self.lock().front().is_none_or(|Copy(_, segment)| *segment > number)
    }

    /// Deletes copies whose segments have gone, but never the newest, which names the shard. May be stopped at any moment.
    pub(crate) async fn sweep(self: Arc<Self>, wal: Arc<Wal>) {
        loop {
            wal.syncing.freed.notified().await;
            let (first, settled) = wal.first_held();
            // Frames that were copied forward have to be in the store before the old ones go.
            wal.wake();
            if wal.syncing.wait_for_copy(settled, NO_HURRY).await != Copying::Works {
                continue;
            }
            let names: Vec<String> = {
                let kept = self.lock();
                let old = kept.iter().take(kept.len().saturating_sub(1));
                old.take_while(|Copy(_, segment)| *segment < first)
                    .map(|Copy(name, _)| name.clone())
                    .collect()
            };
            match self.vault.store.delete_in_order(&names).await {
                Ok(()) => drop(self.lock().drain(..names.len())),
                Err(error) => tracing::warn!(%error, "copies of logged records could not be deleted yet"),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Copy>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Copier {
    /// Goes on after what was `taken` over, and has the store know the shard before anything of it is logged.
    ///
    /// # Errors
    /// [`WalError::TakenOver`]: another process started meanwhile. Otherwise the store.
    pub(crate) async fn begin(
        shelf: Shelf,
        taken: Vec<Copy>,
        wal: &Wal,
        now: u64,
    ) -> Result<Copier, LedgerError> {
        let claim = Copy(path(&shelf.name, &shelf.life, 0), COPIED);
        let kept = Mutex::new(taken.into_iter().chain([claim]).collect());
        let copies = Arc::new(Copies { vault: shelf.vault.clone(), kept });
        let mut copier = Copier { shelf, next: 1, copies };
        let header = wal.header_frame()?;
        let sealed = copier.shelf.vault.seal_frames(&copier.shelf.owner(), 1, &header, now).await?;
        if !copier.put(&sealed).await? {
            return Err(WalError::TakenOver.into());
        }
        copier.written(COPIED);
        Ok(copier)
    }

    pub(crate) fn copies(&self) -> Arc<Copies> {
        self.copies.clone()
    }

    fn written(&mut self, segment: u64) {
        let name = path(&self.shelf.name, &self.shelf.life, self.next);
        self.copies.lock().push_back(Copy(name, segment));
        self.next += 1;
    }

    /// Creates the next object. False if another process has fenced this life off.
    async fn put(&self, sealed: &Bytes) -> Result<bool, LedgerError> {
        let name = path(&self.shelf.name, &self.shelf.life, self.next);
        let store = &self.shelf.vault.store;
        if store.create(&name, sealed.clone()).await? {
            return Ok(true);
        }
        // A try whose answer was lost has made it.
        Ok(store.get(&name, MAX_COPY).await?.is_some_and(|bytes| bytes == *sealed))
    }

    /// Copies what is written, until another process takes over. May be stopped at any moment.
    pub(crate) async fn run(mut self, wal: Arc<Wal>, now: impl Fn() -> u64 + Send + Sync) {
        let mut done = 0;
        loop {
            let Some((Uncopied { frames, upto, segment }, copies)) = wal.take_uncopied(done) else {
                wal.syncing.copy.notified().await;
                continue;
            };
            if !frames.is_empty() {
                if !self.copy(&wal, &frames, &now).await {
                    wal.syncing.taken_over();
                    tracing::error!(error = %WalError::TakenOver, "no more records are kept");
                    return;
                }
                self.written(segment);
            }
            wal.syncing.copied(upto, copies);
            done = upto;
        }
    }

    /// Copies these frames, however long it takes. False if another process has taken over.
    async fn copy(&self, wal: &Wal, frames: &[u8], now: &(impl Fn() -> u64 + Send + Sync)) -> bool {
        let (owner, vault) = (self.shelf.owner(), &self.shelf.vault);
        let (mut pause, mut sealed) = (FIRST_PAUSE, None);
        loop {
            let tried = timeout(TRY, async {
                let bytes = match &sealed {
                    Some(bytes) => bytes,
                    None => sealed.insert(vault.seal_frames(&owner, self.next, frames, now()).await?),
                };
                self.put(bytes).await
            });
            let error = match tried.await {
                Ok(Ok(ours)) => return ours,
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no answer within {TRY:?}"),
            };
            wal.syncing.away();
            tracing::error!(%error, "the store takes no copy of the write-ahead log; it is tried again");
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

impl Wal {
    /// Frames that are written and not copied, if any were settled after `done` or a copy is due, and how many copies were begun
    /// with this one.
    fn take_uncopied(&self, done: u64) -> Option<(Uncopied, u64)> {
        let mut writer = self.lock();
        let retired = !writer.retired_uncopied.is_empty();
        // What is due is a copy of the segment that is written.
        let due = !retired && std::mem::take(&mut writer.copy_due);
        if !retired && !due && writer.settled == done {
            return None;
        }
        // Each copy names its shard.
        let mut named = Vec::new();
        frame::frame(&mut named, frame::HEADER, |out| out.extend_from_slice(&writer.header)).ok()?;
        let mut next = writer.retired_uncopied.pop_front().unwrap_or_else(|| Uncopied {
            frames: std::mem::take(&mut writer.uncopied),
            upto: writer.settled,
            segment: writer.number,
        });
        if due || !next.frames.is_empty() {
            named.append(&mut next.frames);
            next.frames = named;
            writer.copies_begun += 1;
        }
        Some((next, writer.copies_begun))
    }

    /// With durability `node`: sees to it that the store takes a copy that is begun after this was called, which it does only
    /// while no other process has taken this life over. What waits to be copied goes with it.
    ///
    /// # Errors
    /// [`WalError::TakenOver`], and [`WalError::Away`].
    pub(crate) async fn prove_life(&self) -> Result<(), WalError> {
        if self.durability != Durability::Node {
            return Ok(());
        }
        let next = {
            let mut writer = self.lock();
            writer.copy_due = true;
            writer.copies_begun + 1
        };
        self.wake();
        self.syncing.wait_for_copies(next, COPY_PATIENCE).await.into_result()
    }

    /// The log knows of another life that goes on after this one.
    pub(crate) fn is_taken_over(&self) {
        self.syncing.taken_over();
    }

    fn header_frame(&self) -> Result<Vec<u8>, WalError> {
        let writer = self.lock();
        let mut out = Vec::new();
        frame::frame(&mut out, frame::HEADER, |out| out.extend_from_slice(&writer.header))?;
        Ok(out)
    }

    /// The first segment that is still needed, and how many frames are written.
    fn first_held(&self) -> (u64, u64) {
        let writer = self.lock();
        (writer.held.keys().next().copied().unwrap_or(u64::MAX), writer.settled)
    }
}

#[cfg(test)]
mod tests;
