//! The segment that is written, and the frames that wait for it. All of it is under one lock, which nobody holds while
//! the disk takes a frame (`turn.rs`).

use super::carry::Carried;
use super::durable::Segment;
use super::frame::{self, FolderId, Place};
use super::gather::Leader;
use super::{Holds, Queued, WalError};
use crate::id_hash::ByRecordId;
use colophon_receipt::record::RecordId;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::File;
use std::sync::Arc;

/// What the thread that has the turn took.
pub(super) struct Writing {
    pub(super) frames: u64,
    pub(super) bytes: u64,
    /// It begins the next segment, and frames that are queued now are for that.
    pub(super) next: bool,
}

/// Frames for one copy.
pub(super) struct Uncopied {
    pub(super) frames: Vec<u8>,
    /// All frames up to this one are copied then.
    pub(super) upto: u64,
    /// The last segment that has some of them.
    pub(super) segment: u64,
}

/// What the lock guards:
/// - While `writing` is there, `file`, `number`, `good`, `start` and `settled` are the business of the thread that has the
///   turn: others only read them. `settled` counts no frame of its turn until it has put it back.
/// - Frames have numbers in the order in which they were queued, and are written in it: first those of `writing`, then those of
///   `queue`. All of `queue` is for one segment: the current one, or the next if that is being begun.
/// - Whoever finds `writing` there and waits for its end sets `awaited` in the same hold of the lock; whoever ends it takes
///   both away in one, and wakes all. So nobody who waits is forgotten.
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
    /// Room for the next queue.
    pub(super) spare: (Vec<u8>, Vec<usize>),
    /// Somebody has the turn.
    pub(super) writing: Option<Writing>,
    /// Others wait for its end.
    pub(super) awaited: bool,
    /// The frames of this life that left the queue, written or failed.
    pub(super) settled: u64,
    /// Why frames could not be written, until whoever queued them asks.
    pub(super) failed: HashMap<u64, WalError>,
    /// Where the OPEN frame of each open exchange is, its copy where it was copied forward.
    pub(super) open: HashMap<RecordId, u64, ByRecordId>,
    /// How many open exchanges and unlogged records each segment holds. An exchange of `carried` counts in two.
    pub(super) held: BTreeMap<u64, u64>,
    /// The open exchanges whose copy is not safe yet; in an order, to be gone through in pieces.
    pub(super) carried: BTreeMap<RecordId, Carried>,
    /// Somebody syncs.
    pub(super) gathers: bool,
    /// Frames that are written and have no copy in the store yet, with durability `node`.
    pub(super) uncopied: Vec<u8>,
    /// Those before them. The last of each are of a segment that was retired: no copy has frames of such a one and of a later
    /// one, for it goes only once both may go.
    pub(super) retired_uncopied: VecDeque<Uncopied>,
    pub(super) copies: bool,
    /// A copy is due even if no exchange has a frame in it.
    pub(super) copy_due: bool,
    /// How many copies were begun.
    pub(super) copies_begun: u64,
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
                debug_assert!(*count > 0, "segment {number} is let go of twice");
                *count = count.saturating_sub(1);
            }
        }
    }

    /// The frame of the next segment's header.
    pub(super) fn next_header(&self) -> Result<Vec<u8>, WalError> {
        let (place, (shard, announced)) =
            (Place { segment: self.number + 1, folder: self.folder }, &self.shard);
        let payload = frame::placed_header(shard, *announced, place);
        let mut header = Vec::new();
        frame::frame(&mut header, frame::HEADER, |out| out.extend_from_slice(&payload))?;
        Ok(header)
    }

    /// How many frames ever came into the queue.
    pub(super) fn queued(&self) -> u64 {
        self.settled + self.writing.as_ref().map_or(0, |writing| writing.frames) + self.ends.len() as u64
    }

    /// What was appended to `queue` is a frame.
    pub(super) fn appended(&mut self) -> Queued {
        self.ends.push(self.queue.len());
        let next = self.writing.as_ref().is_some_and(|writing| writing.next);
        Queued { number: self.queued(), segment: self.number + u64::from(next) }
    }

    /// Whether `queued` can only be written once another thread has written.
    pub(super) fn waits(&self, queued: Queued) -> bool {
        self.settled < queued.number && self.writing.is_some()
    }
}
