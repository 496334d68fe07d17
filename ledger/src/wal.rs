//! The write-ahead log (DESIGN section 3, durability `process`, `power` and `node`).
//!
//! `data/wal/<n>.wal` are segments of frames (`frame.rs`). An exchange writes OPEN before anything of it is forwarded and
//! DONE before its end is released, each with a write(2): after that the kernel has it, whatever becomes of the
//! process. Frames of exchanges that are busy at the same moment share one: each queues its frame, lets the others that
//! are ready do the same, while more come, and whoever comes back first writes for all. A segment is deleted once all it speaks of is
//! logged, and never before an earlier one, so that an OPEN outlives no DONE of its own. The few exchanges that stay open for long are copied forward.

mod durable;
mod folder_id;
mod frame;
mod node;
mod replay;
#[cfg(feature = "testing")]
pub(crate) mod testing;

pub use durable::Durability;
pub(crate) use frame::{DoneFrame, read_signatures};
pub(crate) use node::{Copier, Copies, Copy, Shelf, put_aside};
pub use replay::Damage;
pub(crate) use replay::{Replay, replay};

use crate::id_hash::ByRecordId;
use crate::ledger::PIECE;
use colophon_receipt::Level;
use colophon_receipt::record::{FieldSet, Record, RecordId};
use colophon_signer::httpsig::KeptSignature;
use durable::{Copying, Segment, Syncing};
use frame::{FolderId, OpenFrame, Place};
use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A segment takes no more frames after this many bytes.
pub(crate) const MAX_SEGMENT: u64 = 16 << 20;
/// With more segments than this, the exchanges still open in the oldest are copied forward.
const MAX_LIVE: usize = 4;
/// An answer's end waits for a copy of its record in the store this long; then the store is away, and the rule's failure
/// policy decides.
const COPY_PATIENCE: Duration = Duration::from_secs(10);
/// The number that stands for copies that earlier lives left in the store: segments begin with 1.
const COPIED: u64 = 0;

/// Why the ledger cannot take an exchange.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// The disk is full, or the folder is gone.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A segment that this WAL did not write.
    #[error(
        "{path} is of the write-ahead log of another data folder: its header names the shard {shard}. Nothing was taken from \
         it; move it back to where it belongs, or out of this folder"
    )]
    Foreign {
        /// The segment.
        path: PathBuf,
        /// The shard that wrote it.
        shard: String,
    },
    /// Fields and signatures of one exchange that no exchange has.
    #[error("a WAL frame of {0} bytes is too large")]
    TooLarge(usize),
    /// As many bytes of the WAL wait for the log as may wait.
    #[error("{0} bytes of the write-ahead log wait for the log; it may take no more")]
    Full(u64),
    /// The oldest record has waited for the log as long as one may.
    #[error("a record has waited for the log for {0:?}; no more are taken")]
    Old(Duration),
    /// As many records wait for the log as may wait.
    #[error("{0} records wait for the log; it may take no more")]
    Backlog(usize),
    /// With durability `node`: the store of copies does not answer.
    #[error("the store that keeps copies of the write-ahead log does not answer; no more records are taken")]
    Away,
    /// With durability `node`: another process of the same name has taken this one's records over.
    #[error(
        "another process with this sidecar's --name has taken its records over from the store; this one takes no more. \
         Give each sidecar a name of its own"
    )]
    TakenOver,
    /// The record was completed before the current statement's interval; stamp it again (`Ledger::stamp`).
    #[error("the record's completion time lies before the current statement's interval")]
    Stale,
    /// The record is not of the ticket's exchange, or its leaf is not a record.
    #[error("the record does not belong to this exchange")]
    Record,
    /// The shard's key has expired and no new one could be announced.
    #[error("the shard's key has expired and no new one could be announced")]
    Expired,
    /// The ledger was closed.
    #[error("the ledger is closed")]
    Closed,
}

fn io(path: &Path, source: std::io::Error) -> WalError {
    WalError::Io { path: path.to_owned(), source }
}

fn segment_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number}.wal"))
}

/// The numbers of the segments in `dir`, ascending.
fn segments(dir: &Path) -> Result<Vec<u64>, WalError> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|e| io(dir, e))? {
        let name = entry.map_err(|e| io(dir, e))?.file_name();
        let number =
            name.to_str().and_then(|name| name.strip_suffix(".wal")).and_then(|n| n.parse::<u64>().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Copies of damaged segments, kept aside by earlier starts.
pub(crate) fn damaged_copies(dir: &Path) -> Result<Vec<PathBuf>, WalError> {
    let mut copies = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|e| io(dir, e))? {
        let path = entry.map_err(|e| io(dir, e))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.contains(".wal.damaged") {
            copies.push(path);
        }
    }
    copies.sort();
    Ok(copies)
}

/// A frame waits for others of its moment for this many rounds of the runtime at most. Measured with 32 connections on one
/// core: 43.1 µs of CPU a request at `sign` with one round, 42.0 with two, 40.2 with three, no less with more.
const GATHER: u32 = 3;
/// The buffer of the queue is kept from write to write up to this size.
const KEPT_QUEUE: usize = 1 << 20;

/// A frame's place in the queue, and the segment that it is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Queued {
    number: u64,
    segment: u64,
}

/// How much the WAL may hold, and how safe it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) durability: Durability,
    pub(crate) max_bytes: u64,
}

/// The segments that a finished record keeps alive until it is logged.
#[derive(Clone, Debug, Default)]
pub(crate) struct Holds(Vec<u64>);

impl Holds {
    /// Both.
    pub(crate) fn and(mut self, other: Holds) -> Holds {
        self.0.extend(other.0);
        self
    }
}

/// The WAL of a running shard.
pub(crate) struct Wal {
    dir: PathBuf,
    max_segment: u64,
    /// With more bytes of live segments than this, no exchange is accepted.
    max_bytes: u64,
    durability: Durability,
    writer: Mutex<Writer>,
    syncing: Syncing,
}

struct Writer {
    /// The payload of a copy's header.
    header: Vec<u8>,
    /// The shard that the next segment's header names, and the log index of its announcement.
    shard: (String, u64),
    folder: FolderId,
    /// Absent before the first frame and after a failure that could not be undone.
    file: Option<Arc<File>>,
    number: u64,
    /// Bytes of `file` that hold whole frames.
    good: u64,
    /// Those of its header.
    start: u64,
    /// Whole frames for `file` that are not written yet.
    queue: Vec<u8>,
    /// Where each of them ends in `queue`.
    ends: Vec<usize>,
    /// The frames of this life that left the queue, written or failed.
    settled: u64,
    /// Why frames could not be written, until whoever queued them asks.
    failed: HashMap<u64, WalError>,
    /// Where the OPEN frame of each open exchange is.
    open: HashMap<RecordId, u64, ByRecordId>,
    /// How many open exchanges and unlogged records each segment holds.
    held: BTreeMap<u64, u64>,
    /// Somebody syncs.
    gathers: bool,
    /// Frames that are written and have no copy in the store yet, with durability `node`.
    uncopied: Vec<u8>,
    copies: bool,
    /// A copy is due even if no exchange has a frame in it.
    copy_due: bool,
    /// Ended segments that nobody has synced yet.
    unsynced: Vec<Segment>,
    /// A segment was begun whose name may not be on the disk yet.
    new_segment: bool,
    /// The WAL is dropped: the thread that syncs ends.
    stopping: bool,
    /// Segments up to this one are to go: what is only open in them is copied forward.
    retired: u64,
    #[cfg(test)]
    fail_after: Option<u64>,
}

impl Wal {
    /// Goes on after `replay`, whose segments stay until what `hold_recovered` gives is released.
    pub(crate) fn new(dir: PathBuf, replay: &Replay, max_segment: u64, limits: Limits) -> Arc<Wal> {
        let held = replay.segments.iter().map(|number| (*number, 0)).collect();
        let writer = Writer {
            header: Vec::new(),
            shard: (String::new(), 0),
            folder: replay.folder,
            file: None,
            number: replay.segments.last().copied().unwrap_or(0),
            good: 0,
            start: 0,
            queue: Vec::new(),
            ends: Vec::new(),
            settled: 0,
            failed: HashMap::new(),
            open: HashMap::default(),
            held,
            gathers: limits.durability == Durability::Power,
            uncopied: Vec::new(),
            copies: limits.durability == Durability::Node,
            copy_due: false,
            unsynced: Vec::new(),
            new_segment: false,
            stopping: false,
            retired: 0,
            #[cfg(test)]
            fail_after: None,
        };
        let Limits { durability, max_bytes } = limits;
        let (writer, syncing) = (Mutex::new(writer), Syncing::new());
        Arc::new(Wal { dir, max_segment, max_bytes, durability, writer, syncing })
    }

    /// Begins to sync, where the durability asks for it.
    pub(crate) fn start(self: &Arc<Wal>) -> Result<(), WalError> {
        if self.durability != Durability::Power {
            return Ok(());
        }
        let wal = self.clone();
        let thread = std::thread::Builder::new().name("wal-sync".into());
        thread.spawn(move || durable::run(&wal)).map(drop).map_err(|error| io(&self.dir, error))
    }

    /// Lets the thread that syncs end, when all is synced.
    pub(crate) fn stop(&self) {
        self.lock().stopping = true;
        self.syncing.wake();
    }

    /// What an answer waits for.
    pub(crate) fn durability(&self) -> Durability {
        self.durability
    }

    /// Writes what waits and, where the durability asks for it, waits until `queued` is on the disk, or in the store. What
    /// became of the write itself, `written_open` and `written_done` say.
    ///
    /// # Errors
    /// The disk or the store did not take it. Of a DONE, the hold is let go of.
    pub(crate) async fn durable(&self, queued: Queued) -> Result<(), WalError> {
        if self.durability == Durability::Process {
            return Ok(());
        }
        self.lock().flush(&self.dir);
        self.wake();
        let safe = self.safe(queued).await;
        if safe.is_err() {
            self.lock().unhold([Holds(vec![queued.segment])]);
        }
        safe
    }

    /// Lets other exchanges queue their frames too, while more come with each round of the runtime: one write, and one burst
    /// of what is sent after it, then serves them all. Alone, a frame waits for one round.
    pub(crate) async fn gathered(&self, queued: Queued) {
        let mut known = queued.number;
        for _ in 0..GATHER {
            tokio::task::yield_now().await;
            let (settled, all) = self.lock().counted();
            if settled >= queued.number || all == known {
                return;
            }
            known = all;
        }
    }

    /// Waits until `queued`, which is written, is as safe as the durability promises: on the disk, or in the store.
    ///
    /// # Errors
    /// The disk or the store did not take it.
    pub(crate) async fn safe(&self, queued: Queued) -> Result<(), WalError> {
        match self.durability {
            Durability::Process => Ok(()),
            Durability::Node => self.copied(queued).await,
            Durability::Power if self.syncing.wait(queued.number).await => Ok(()),
            Durability::Power => {
                Err(io(&self.dir, std::io::Error::other("the disk did not take it (fdatasync failed)")))
            }
        }
    }

    /// Waits until the store has a copy of `queued`, which is written.
    ///
    /// # Errors
    /// [`WalError::Away`] and [`WalError::TakenOver`].
    async fn copied(&self, queued: Queued) -> Result<(), WalError> {
        let copying = self.syncing.wait_for_copy(queued.number, COPY_PATIENCE).await;
        if copying == Copying::Away && self.syncing.away() {
            tracing::error!("the store took no copy of the write-ahead log within {COPY_PATIENCE:?}");
        }
        copying.into_result()
    }

    /// Whether the store takes copies, as far as is known.
    pub(crate) fn copying(&self) -> Result<(), WalError> {
        self.syncing.copying().into_result()
    }

    /// Bytes of segments that are still needed; the last one counts as far as it is written.
    pub(crate) fn bytes(&self) -> u64 {
        self.lock().bytes(self.max_segment)
    }

    fn lock(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Frames from now on are `shard`'s. Its first segment is there at once, so that a shard without one has lost it.
    pub(crate) fn set_shard(&self, shard: &str, announced: u64) {
        let header = frame::header(shard, announced);
        let mut writer = self.lock();
        if writer.header == header {
            return;
        }
        writer.flush(&self.dir);
        (writer.header, writer.shard) = (header, (shard.to_owned(), announced));
        writer.end_segment();
        if let Err(error) = writer.start_segment(&self.dir) {
            // The next frame tries again, and says so to whoever writes it.
            tracing::warn!(%error, "the shard's first WAL segment could not be begun");
        }
    }

    /// Queues OPEN.
    pub(crate) fn queue_open(
        &self,
        id: &RecordId,
        received_at: u64,
        level: Level,
        fields: &FieldSet,
        tenant: Option<&[u8]>,
    ) -> Result<Queued, WalError> {
        if self.durability == Durability::Node {
            self.copying()?;
        }
        let mut writer = self.lock();
        let bytes = writer.bytes(self.max_segment);
        if bytes >= self.max_bytes {
            return Err(WalError::Full(bytes));
        }
        let queued = writer.queue(&self.dir, self.max_segment, |out| {
            OpenFrame::frame(out, id, received_at, level, fields, tenant)
        })?;
        writer.open.insert(*id, queued.segment);
        writer.hold(queued.segment);
        Ok(queued)
    }

    /// Queues DONE. The OPEN's hold stays the exchange's until `written` says that DONE is in the file.
    pub(crate) fn queue_done(
        &self,
        record: &Record,
        signatures: &[KeptSignature],
        announced: u64,
        refused: bool,
        tenant: Option<&[u8]>,
    ) -> Result<Queued, WalError> {
        let mut writer = self.lock();
        let queued = writer.queue(&self.dir, self.max_segment, |out| {
            DoneFrame::frame(out, record, signatures, announced, refused, tenant)
        })?;
        writer.hold(queued.segment);
        Ok(queued)
    }

    /// Writes OPEN if it still waits.
    ///
    /// # Errors
    /// It could not be written, and is undone.
    pub(crate) fn written_open(&self, id: &RecordId, queued: Queued) -> Result<(), WalError> {
        let mut writer = self.lock();
        let written = writer.settle(&self.dir, queued).inspect_err(|_| {
            writer.open.remove(id);
            writer.unhold([Holds(vec![queued.segment])]);
        });
        drop(writer);
        // Synced, or copied, while the model works.
        self.wake();
        written
    }

    fn wake(&self) {
        if self.durability != Durability::Process {
            self.syncing.wake();
        }
    }

    /// Writes DONE if it still waits; the OPEN's hold becomes the record's.
    ///
    /// # Errors
    /// It could not be written. The exchange is as open as before.
    pub(crate) fn written_done(&self, id: &RecordId, queued: Queued) -> Result<Holds, WalError> {
        let mut writer = self.lock();
        writer.settle(&self.dir, queued).inspect_err(|_| writer.unhold([Holds(vec![queued.segment])]))?;
        let opened = writer.open.remove(id);
        drop(writer);
        self.wake();
        Ok(Holds(opened.into_iter().chain([queued.segment]).collect()))
    }

    /// The exchange goes on without DONE: its record is kept in memory only, or lost.
    pub(crate) fn undone(&self, id: &RecordId) -> Holds {
        Holds(self.lock().open.remove(id).into_iter().collect())
    }

    /// Keeps all earlier segments for one recovered record: none goes before the first.
    pub(crate) fn hold_recovered(&self) -> Holds {
        let mut writer = self.lock();
        let first = writer.held.keys().next().copied();
        first.into_iter().for_each(|number| writer.hold(number));
        Holds(first.into_iter().collect())
    }

    /// Lets go of what nobody will log. Deletes nothing.
    pub(crate) fn let_go(&self, holds: Holds) {
        self.lock().unhold([holds]);
    }

    /// Lets go of what is logged and deletes the segments that nobody holds. Blocks on the file system; not for the
    /// hot path.
    pub(crate) fn release(&self, logged: impl IntoIterator<Item = Holds>) {
        // In pieces: exchanges wait for the writer meanwhile.
        let mut logged = logged.into_iter().peekable();
        while logged.peek().is_some() {
            let piece: Vec<Holds> = logged.by_ref().take(PIECE).collect();
            self.lock().unhold(piece);
        }
        if let Err(error) = self.carry_forward() {
            tracing::warn!(%error, "long open exchanges could not be copied forward in the WAL");
        }
        if self.durability == Durability::Node {
            // Copies go with their segments, and objects in a store cost: so they are short.
            self.end_used_segment();
        }
        self.delete_unheld();
        self.syncing.freed.notify_one();
    }

    fn end_used_segment(&self) {
        let mut writer = self.lock();
        writer.flush(&self.dir);
        if writer.good > writer.start {
            writer.end_segment();
        }
    }

    fn delete_unheld(&self) {
        loop {
            let mut writer = self.lock();
            let current = writer.file.as_ref().map(|_| writer.number);
            let first = writer.held.iter().next().map(|(number, count)| (*number, *count));
            let Some(number) = first.filter(|(n, count)| *count == 0 && Some(*n) != current).map(|(n, _)| n)
            else {
                return;
            };
            writer.held.remove(&number);
            drop(writer);
            if number == COPIED {
                continue;
            }
            let path = segment_path(&self.dir, number);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::warn!(segment = %path.display(), %error, "a logged WAL segment could not be deleted");
                    // It is tried again, and none after it goes before.
                    self.lock().held.insert(number, 0);
                    return;
                }
                _ => {}
            }
        }
    }

    /// Copies the OPEN frames of the oldest segment, when they are all that holds it.
    fn carry_forward(&self) -> Result<(), WalError> {
        let oldest = {
            let writer = self.lock();
            match writer.held.iter().next() {
                Some((number, count))
                    if *count > 0 && (writer.held.len() > MAX_LIVE || *number <= writer.retired) =>
                {
                    let open = writer.open.values().filter(|segment| **segment == *number).count() as u64;
                    (open == *count).then_some(*number)
                }
                _ => None,
            }
        };
        let Some(oldest) = oldest else { return Ok(()) };
        let path = segment_path(&self.dir, oldest);
        let bytes = std::fs::read(&path).map_err(|e| io(&path, e))?;
        let mut rest = bytes.as_slice();
        while let frame::Parsed::Good(kind, payload, step) = frame::parse(rest) {
            let id =
                (kind == frame::OPEN).then(|| OpenFrame::read(payload).ok()).flatten().map(|open| open.id);
            if let Some(id) = id {
                let mut writer = self.lock();
                if writer.open.get(&id) == Some(&oldest) {
                    let queued = writer.queue(&self.dir, self.max_segment, |out| {
                        out.extend_from_slice(&rest[..step]);
                        Ok(())
                    })?;
                    writer.settle(&self.dir, queued)?;
                    writer.open.insert(id, queued.segment);
                    writer.hold(queued.segment);
                    if let Some(count) = writer.held.get_mut(&oldest) {
                        *count = count.saturating_sub(1);
                    }
                }
            }
            rest = &rest[step..];
            if rest.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// Begins another segment, so that all before it go as soon as what they hold is logged or copied forward. Returns
    /// the number of the last of those.
    pub(crate) fn retire(&self) -> Result<u64, WalError> {
        let mut writer = self.lock();
        let last = writer.number;
        writer.retired = last;
        writer.flush(&self.dir);
        writer.end_segment();
        writer.start_segment(&self.dir)?;
        // The newest copy stays, so it has to be one of the new segment.
        writer.copy_due = true;
        drop(writer);
        self.wake();
        Ok(last)
    }

    /// Whether no segment up to `number` is left.
    pub(crate) fn is_gone(&self, number: u64) -> Result<bool, WalError> {
        Ok(segments(&self.dir)?.first().is_none_or(|first| *first > number))
    }

    /// Ends the current segment, so that nothing unheld stays.
    pub(crate) fn finish(&self) {
        {
            let mut writer = self.lock();
            writer.flush(&self.dir);
            writer.end_segment();
        }
        self.delete_unheld();
    }

    #[cfg(test)]
    pub(crate) fn fail_after(&self, bytes: Option<u64>) {
        self.lock().fail_after = bytes;
    }
}

impl Writer {
    /// How many frames left the queue so far, and how many ever came into it.
    fn counted(&self) -> (u64, u64) {
        (self.settled, self.settled + self.ends.len() as u64)
    }

    fn bytes(&self, max_segment: u64) -> u64 {
        (self.held.len() as u64).saturating_sub(1) * max_segment + self.good
    }

    /// The current segment, as far as it is written.
    fn segment(&self) -> Option<Segment> {
        Some(Segment { file: self.file.clone()?, number: self.number, len: self.good })
    }

    /// The next frame begins another segment.
    fn end_segment(&mut self) {
        // Without a thread that takes them away they are not gathered.
        let ended = self.segment().filter(|_| self.gathers);
        self.file = None;
        self.unsynced.extend(ended);
    }

    fn hold(&mut self, number: u64) {
        *self.held.entry(number).or_insert(0) += 1;
    }

    fn unhold(&mut self, holds: impl IntoIterator<Item = Holds>) {
        for number in holds.into_iter().flat_map(|holds| holds.0) {
            if let Some(count) = self.held.get_mut(&number) {
                *count = count.saturating_sub(1);
            }
        }
    }

    /// Puts one frame behind those that wait, in a segment that has room for all of them.
    fn queue(
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
    fn settle(&mut self, dir: &Path, queued: Queued) -> Result<(), WalError> {
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
    fn flush(&mut self, dir: &Path) {
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
        // The room is used again; a rare large frame's is not kept.
        queue.clear();
        ends.clear();
        if queue.capacity() <= KEPT_QUEUE {
            (self.queue, self.ends) = (queue, ends);
        }
    }

    fn start_segment(&mut self, dir: &Path) -> Result<(), WalError> {
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

    fn write(&mut self, dir: &Path, frame: &[u8]) -> Result<(), WalError> {
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

#[cfg(test)]
mod tests;
