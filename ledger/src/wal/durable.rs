//! Durability `power`: what the WAL has is put on the disk by fdatasync, in groups. One thread does nothing else; while
//! it waits for the disk, the frames of all other exchanges gather behind it and share the next sync. Who waits for
//! durability `node` (`node.rs`) waits here too.

use super::{Wal, WalError};
use std::collections::VecDeque;
use std::fs::File;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// What an answer waits for before its end is released (DESIGN section 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// write(2): survives the death of the process, not of the machine.
    #[default]
    Process,
    /// fdatasync: survives the loss of power.
    Power,
    /// A copy in the object store: survives the loss of the node, its disk included.
    Node,
}

impl Durability {
    /// As `Colophon-Record` says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Durability::Process => "process",
            Durability::Power => "power",
            Durability::Node => "node",
        }
    }
}

/// After a sync that failed the next one waits this long, or a broken disk would get a segment, and the operator a line, for
/// each answer that asks. Those that come meanwhile share the next.
const PAUSE: Duration = Duration::from_millis(100);

/// So many ranges of frames that the disk did not take are remembered one by one.
const MAX_FAILED: usize = 64;

/// What is known of the frames of this life: which are on the disk, or in the store.
///
/// A frame of `failed` never becomes safe: the kernel tells a failed fdatasync once, and a later one that succeeds says nothing
/// of the pages that the first may have dropped. So `failed` only grows.
#[derive(Debug, Default)]
struct Reached {
    /// All frames up to this one are, but for those of `failed`.
    synced: u64,
    /// Those of syncs that failed, ascending, with frames between any two.
    failed: VecDeque<RangeInclusive<u64>>,
    /// How many copies are in the store.
    copies: u64,
    /// The store of copies does not answer now.
    away: bool,
    /// Another process has taken this life's frames over: nothing more of it is kept.
    taken_over: bool,
}

impl Reached {
    /// A sync of all frames after `synced` up to this one has ended.
    fn ended(&mut self, upto: u64, safe: bool) {
        let first = self.synced + 1;
        self.synced = upto;
        if safe || upto < first {
            return;
        }
        match self.failed.back_mut() {
            Some(last) if *last.end() + 1 == first => *last = *last.start()..=upto,
            _ => self.failed.push_back(first..=upto),
        }
        if self.failed.len() > MAX_FAILED
            && let Some(oldest) = self.failed.pop_front()
            && let Some(next) = self.failed.front_mut()
        {
            // Frames between the two count as failed from now on: nobody is told yes for no.
            *next = *oldest.start()..=*next.end();
        }
    }

    fn has_failed(&self, number: u64) -> bool {
        self.failed.iter().any(|range| range.contains(&number))
    }
}

/// What the store of copies is to an exchange now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copying {
    Works,
    Away,
    TakenOver,
}

impl Copying {
    pub(super) fn into_result(self) -> Result<(), WalError> {
        match self {
            Copying::Works => Ok(()),
            Copying::Away => Err(WalError::Away),
            Copying::TakenOver => Err(WalError::TakenOver),
        }
    }
}

/// Between those who wait and the thread that syncs.
pub(super) struct Syncing {
    work: Condvar,
    /// The same for the task that copies.
    pub(super) copy: Notify,
    /// Segments are gone: their copies may go, too.
    pub(super) freed: Notify,
    reached: watch::Sender<Reached>,
    #[cfg(test)]
    pub(super) double: std::sync::Mutex<Double>,
}

/// A segment that frames were written to.
pub(super) struct Segment {
    pub(super) file: Arc<File>,
    pub(super) number: u64,
    /// Bytes of it that hold whole frames.
    pub(super) len: u64,
}

/// What a disk would have left after a loss of power: the segments that were synced, as far as they were.
#[cfg(test)]
#[derive(Default)]
pub(super) struct Double {
    pub(super) kept: std::collections::BTreeMap<u64, u64>,
    /// So many syncs fail.
    pub(super) broken: usize,
}

impl Syncing {
    pub(super) fn new() -> Syncing {
        Syncing {
            work: Condvar::new(),
            copy: Notify::new(),
            freed: Notify::new(),
            reached: watch::Sender::new(Reached::default()),
            #[cfg(test)]
            double: Default::default(),
        }
    }

    fn sync(&self, segments: &[Segment], folder: Option<&PathBuf>) -> std::io::Result<()> {
        #[cfg(test)]
        {
            let mut double = self.double.lock().unwrap_or_else(PoisonError::into_inner);
            if double.broken > 0 {
                double.broken -= 1;
                return Err(std::io::Error::other("a broken disk"));
            }
        }
        for segment in segments {
            segment.file.sync_data().map_err(|error| {
                let Segment { number, len, .. } = segment;
                std::io::Error::new(error.kind(), format!("segment {number}, {len} bytes: {error}"))
            })?;
        }
        if let Some(folder) = folder {
            // A segment whose name is not on the disk is none.
            File::open(folder)?.sync_all()?;
        }
        #[cfg(test)]
        for Segment { number, len, .. } in segments {
            self.double.lock().unwrap_or_else(PoisonError::into_inner).kept.insert(*number, *len);
        }
        Ok(())
    }

    /// There are frames to sync, or it is time to end.
    pub(super) fn wake(&self) {
        self.work.notify_one();
        self.copy.notify_one();
    }

    /// All frames up to this one are in the store, by `copies` copies.
    pub(super) fn copied(&self, upto: u64, copies: u64) {
        self.reached.send_modify(|reached| {
            (reached.synced, reached.copies, reached.away) = (upto, copies, false);
        });
    }

    /// The store does not answer. True if that is news.
    pub(super) fn away(&self) -> bool {
        self.reached.send_if_modified(|reached| !std::mem::replace(&mut reached.away, true))
    }

    /// Another process goes on with this life's frames.
    pub(super) fn taken_over(&self) {
        self.reached.send_modify(|reached| reached.taken_over = true);
    }

    pub(super) fn copying(&self) -> Copying {
        let reached = self.reached.borrow();
        match (reached.taken_over, reached.away) {
            (true, _) => Copying::TakenOver,
            (_, true) => Copying::Away,
            _ => Copying::Works,
        }
    }

    /// Waits until frame `number` is in the store, for `patience` at most.
    pub(super) async fn wait_for_copy(&self, number: u64, patience: Duration) -> Copying {
        self.wait_until(patience, |reached| reached.synced >= number).await
    }

    /// Waits until so many copies are in the store, for `patience` at most.
    pub(super) async fn wait_for_copies(&self, copies: u64, patience: Duration) -> Copying {
        self.wait_until(patience, |reached| reached.copies >= copies).await
    }

    async fn wait_until(&self, patience: Duration, there: impl Fn(&Reached) -> bool) -> Copying {
        let mut reached = self.reached.subscribe();
        let over = |reached: &Reached| there(reached) || reached.away || reached.taken_over;
        let waited = tokio::time::timeout(patience, reached.wait_for(over)).await;
        match waited {
            Ok(Ok(reached)) if there(&reached) => Copying::Works,
            Ok(Ok(reached)) if reached.taken_over => Copying::TakenOver,
            _ => Copying::Away,
        }
    }

    /// Whether frame `number` is on the disk; `None` while nobody knows.
    pub(super) fn became_of(&self, number: u64) -> Option<bool> {
        let reached = self.reached.borrow();
        (reached.synced >= number).then(|| !reached.has_failed(number))
    }

    /// Waits until frame `number` is on the disk. False if the disk could not, whenever that was.
    pub(super) async fn wait(&self, number: u64) -> bool {
        let mut reached = self.reached.subscribe();
        // The sender is ours, so it cannot be gone.
        let ended = reached.wait_for(|reached| reached.synced >= number).await;
        ended.is_ok_and(|reached| !reached.has_failed(number))
    }
}

/// The body of the thread. It ends when the WAL is dropped.
pub(super) fn run(wal: &Wal) {
    let mut done = 0;
    loop {
        let (files, folder, upto) = {
            let mut writer = wal.lock();
            while !writer.stopping && writer.settled == done && writer.unsynced.is_empty() {
                writer = wal.syncing.work.wait(writer).unwrap_or_else(PoisonError::into_inner);
            }
            if writer.settled == done && writer.unsynced.is_empty() {
                return;
            }
            let mut files = std::mem::take(&mut writer.unsynced);
            files.extend(writer.segment());
            (files, std::mem::take(&mut writer.new_segment), writer.settled)
        };
        let result = wal.syncing.sync(&files, folder.then_some(&wal.dir));
        let mut upto = upto;
        if let Err(error) = &result {
            tracing::error!(%error, wal = %wal.dir.display(), "the WAL could not be put on the disk");
            // After a failed fdatasync the kernel may have dropped the pages and say nothing the next time. What was written
            // to the same file meanwhile nobody will sync: it has failed, too.
            let mut writer = wal.idle(wal.lock());
            (writer.file, upto) = (None, writer.settled);
        }
        wal.syncing.reached.send_modify(|reached| reached.ended(upto, result.is_ok()));
        done = upto;
        if result.is_err() {
            let paused = wal.syncing.work.wait_timeout_while(wal.lock(), PAUSE, |writer| !writer.stopping);
            drop(paused.unwrap_or_else(PoisonError::into_inner));
        }
    }
}

#[cfg(test)]
mod tests;
