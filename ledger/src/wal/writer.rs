//! The segment that is written, and the frames that wait for it. All of it is under one lock.

use super::durable::Segment;
use super::frame::{self, FolderId, Place};
use super::gather::Leader;
use super::{Holds, KEPT_QUEUE, Queued, WalError, io, segment_path};
use crate::id_hash::ByRecordId;
use colophon_receipt::record::RecordId;
use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

pub(super) struct Writer {
    /// The payload of a copy's header.
    pub(super) header: Vec<u8>,
    /// The shard that the next segment's header names, and the log index of its announcement.
    pub(super) shard: (String, u64),
    pub(super) folder: FolderId,
    /// Absent before the first frame and after a failure that could not be undone.
    pub(super) file: Option<Arc<File>>,
    pub(super) number: u64,
    /// Bytes of `file` that hold whole frames.
    pub(super) good: u64,
    /// Those of its header.
    pub(super) start: u64,
    /// Whole frames for `file` that are not written yet.
    pub(super) queue: Vec<u8>,
    /// Where each of them ends in `queue`.
    pub(super) ends: Vec<usize>,
    /// The frames of this life that left the queue, written or failed.
    pub(super) settled: u64,
    /// Why frames could not be written, until whoever queued them asks.
    pub(super) failed: HashMap<u64, WalError>,
    /// Where the OPEN frame of each open exchange is.
    pub(super) open: HashMap<RecordId, u64, ByRecordId>,
    /// How many open exchanges and unlogged records each segment holds.
    pub(super) held: BTreeMap<u64, u64>,
    /// Somebody syncs.
    pub(super) gathers: bool,
    /// Frames that are written and have no copy in the store yet, with durability `node`.
    pub(super) uncopied: Vec<u8>,
    pub(super) copies: bool,
    /// A copy is due even if no exchange has a frame in it.
    pub(super) copy_due: bool,
    /// Ended segments that nobody has synced yet.
    pub(super) unsynced: Vec<Segment>,
    /// A segment was begun whose name may not be on the disk yet.
    pub(super) new_segment: bool,
    /// The WAL is dropped: the thread that syncs ends.
    pub(super) stopping: bool,
    /// Segments up to this one are to go: what is only open in them is copied forward.
    pub(super) retired: u64,
    /// One a thread at most.
    pub(super) leaders: Vec<Leader>,
    #[cfg(test)]
    pub(super) fail_after: Option<u64>,
    /// How often frames were written.
    #[cfg(test)]
    pub(super) flushes: u64,
}

impl Writer {
    pub(super) fn bytes(&self, max_segment: u64) -> u64 {
        (self.held.len() as u64).saturating_sub(1) * max_segment + self.good
    }

    /// The current segment, as far as it is written.
    pub(super) fn segment(&self) -> Option<Segment> {
        Some(Segment { file: self.file.clone()?, number: self.number, len: self.good })
    }

    /// The next frame begins another segment.
    pub(super) fn end_segment(&mut self) {
        // Without a thread that takes them away they are not gathered.
        let ended = self.segment().filter(|_| self.gathers);
        self.file = None;
        self.unsynced.extend(ended);
    }

    pub(super) fn hold(&mut self, number: u64) {
        *self.held.entry(number).or_insert(0) += 1;
    }

    pub(super) fn unhold(&mut self, holds: impl IntoIterator<Item = Holds>) {
        for number in holds.into_iter().flat_map(|holds| holds.0) {
            if let Some(count) = self.held.get_mut(&number) {
                *count = count.saturating_sub(1);
            }
        }
    }

    /// Puts one frame behind those that wait, in a segment that has room for all of them.
    pub(super) fn queue(
        &mut self,
        dir: &Path,
        max_segment: u64,
        frame: impl FnOnce(&mut Vec<u8>) -> Result<(), WalError>,
    ) -> Result<Queued, WalError> {
        let start = self.queue.len();
        if let Err(error) = frame(&mut self.queue) {
            self.queue.truncate(start);
            return Err(error);
        }
        if self.file.is_none() || self.good + self.queue.len() as u64 > max_segment {
            let frame = self.queue.split_off(start);
            self.flush(dir);
            // An empty segment takes a frame of any size.
            if self.good > self.start {
                self.end_segment();
            }
            if self.file.is_none() {
                self.start_segment(dir)?;
            }
            self.queue.extend_from_slice(&frame);
        }
        self.ends.push(self.queue.len());
        Ok(Queued { number: self.settled + self.ends.len() as u64, segment: self.number })
    }

    /// Writes what waits, if `queued` is among it, and says what became of it.
    pub(super) fn settle(&mut self, dir: &Path, queued: Queued) -> Result<(), WalError> {
        if self.settled < queued.number {
            self.flush(dir);
        }
        // Most often there are none at all.
        match self.failed.is_empty() {
            true => Ok(()),
            false => self.failed.remove(&queued.number).map_or(Ok(()), Err),
        }
    }

    /// Writes all frames that wait with one write(2). Where that fails, each on its own: some may find room.
    pub(super) fn flush(&mut self, dir: &Path) {
        if self.ends.is_empty() {
            return;
        }
        let (mut queue, mut ends) = (std::mem::take(&mut self.queue), std::mem::take(&mut self.ends));
        let written = self.write(dir, &queue);
        match written {
            Ok(()) => {}
            Err(error) if ends.len() == 1 => drop(self.failed.insert(self.settled + 1, error)),
            Err(_) => {
                let mut start = 0;
                for (number, end) in (self.settled + 1..).zip(&ends) {
                    if let Err(error) = self.write(dir, &queue[start..*end]) {
                        self.failed.insert(number, error);
                    }
                    start = *end;
                }
            }
        }
        self.settled += ends.len() as u64;
        #[cfg(test)]
        {
            self.flushes += 1;
        }
        // The room is used again; a rare large frame's is not kept.
        queue.clear();
        ends.clear();
        if queue.capacity() <= KEPT_QUEUE {
            (self.queue, self.ends) = (queue, ends);
        }
    }

    pub(super) fn start_segment(&mut self, dir: &Path) -> Result<(), WalError> {
        let number = self.number + 1;
        let path = segment_path(dir, number);
        let mut options = OpenOptions::new();
        options.append(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&path).map_err(|e| io(&path, e))?;
        // Even where the header cannot be written, this number is used up.
        (self.number, self.good, self.file) = (number, 0, Some(Arc::new(file)));
        self.new_segment = true;
        self.held.entry(number).or_insert(0);
        let (place, (shard, announced)) = (Place { segment: number, folder: self.folder }, &self.shard);
        let payload = frame::placed_header(shard, *announced, place);
        let mut header = Vec::new();
        frame::frame(&mut header, frame::HEADER, |out| out.extend_from_slice(&payload))?;
        self.write(dir, &header).inspect_err(|_| self.file = None)?;
        self.start = self.good;
        Ok(())
    }

    pub(super) fn write(&mut self, dir: &Path, frame: &[u8]) -> Result<(), WalError> {
        // Only errors need it, and every exchange comes here twice.
        let number = self.number;
        let path = || segment_path(dir, number);
        let Some(mut file) = self.file.as_deref() else {
            return Err(io(&path(), std::io::Error::other("no segment is open")));
        };
        #[cfg(test)]
        let result = match self.fail_after.as_mut() {
            Some(left) if *left < frame.len() as u64 => {
                // What is written of it is cut off again, and leaves room.
                let written = file.write_all(&frame[..*left as usize]);
                written.and(Err(std::io::Error::from(std::io::ErrorKind::StorageFull)))
            }
            Some(left) => {
                *left -= frame.len() as u64;
                file.write_all(frame)
            }
            None => file.write_all(frame),
        };
        #[cfg(not(test))]
        let result = file.write_all(frame);
        match result {
            Ok(()) => {
                self.good += frame.len() as u64;
                if self.copies {
                    self.uncopied.extend_from_slice(frame);
                }
                Ok(())
            }
            Err(error) => {
                // What part of the frame was written must not hide the frames after it.
                if file.set_len(self.good).is_err() {
                    self.file = None;
                }
                Err(io(&path(), error))
            }
        }
    }
}
