//! The write-ahead log (DESIGN section 3, durability `process`, `power` and `node`).
//!
//! `data/wal/<n>.wal` are segments of frames (`frame.rs`). An exchange writes OPEN before anything of it is forwarded and
//! DONE before its end is released, each with a write(2): after that the kernel has it, whatever becomes of the
//! process. Frames of exchanges that are busy at the same moment share one: each queues its frame, and one of them writes for
//! all (`gather.rs`), without the lock (`turn.rs`). A segment is deleted once all it speaks of is
//! logged, and never before an earlier one, so that an OPEN outlives no DONE of its own (but for a copy of one that is
//! made while its exchange ends: the index knows that exchange by then). The few exchanges that stay
//! open for long are copied forward (`carry.rs`).

mod carry;
mod durable;
mod error;
mod folder_id;
mod frame;
mod gather;
mod node;
mod replay;
#[cfg(feature = "testing")]
pub(crate) mod testing;
mod turn;
mod writer;

pub use durable::Durability;
pub use error::WalError;
pub(crate) use frame::{DoneFrame, read_signatures};
pub(crate) use node::{Copier, Copies, Copy, Shelf, put_aside};
pub use replay::Damage;
pub(crate) use replay::{Replay, replay};

use crate::ledger::PIECE;
use colophon_receipt::Level;
use colophon_receipt::record::{FieldSet, Record, RecordId};
use colophon_signer::httpsig::KeptSignature;
use durable::{Copying, Syncing};
use frame::OpenFrame;
use gather::Sleepers;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use writer::Writer;

/// A segment takes no more frames after this many bytes, but for those that come while a thread writes to it: up to one of the
/// longest more.
pub(crate) const MAX_SEGMENT: u64 = 16 << 20;
/// With more segments than this, the exchanges still open in the oldest are copied forward.
const MAX_LIVE: usize = 4;
/// An answer's end waits for a copy of its record in the store this long; then the store is away, and the rule's failure
/// policy decides.
const COPY_PATIENCE: Duration = Duration::from_secs(10);
/// The number that stands for copies that earlier lives left in the store: segments begin with 1.
const COPIED: u64 = 0;

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
    /// A thread that wrote has put back what became of it.
    turned: Condvar,
    /// Those that wait for the one of their thread who leads.
    sleepers: Sleepers,
    syncing: Syncing,
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
            spare: Default::default(),
            writing: None,
            awaited: false,
            settled: 0,
            failed: HashMap::new(),
            open: HashMap::default(),
            held,
            carried: BTreeMap::new(),
            gathers: limits.durability == Durability::Power,
            uncopied: Vec::new(),
            retired_uncopied: VecDeque::new(),
            copies: limits.durability == Durability::Node,
            copy_due: false,
            copies_begun: 0,
            unsynced: Vec::new(),
            new_segment: false,
            stopping: false,
            retired: 0,
            leaders: Vec::new(),
            #[cfg(test)]
            fail_after: None,
            #[cfg(test)]
            flushes: 0,
        };
        let Limits { durability, max_bytes } = limits;
        Arc::new(Wal {
            dir,
            max_segment,
            max_bytes,
            durability,
            writer: Mutex::new(writer),
            turned: Condvar::new(),
            sleepers: Sleepers::new(),
            syncing: Syncing::new(),
        })
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

    /// Writes `queued` if it still waits and, where the durability asks for it, waits until it is on the disk, or in the store.
    /// What became of the write itself, `written_open` and `written_done` say.
    ///
    /// # Errors
    /// The disk or the store did not take it. Of a DONE, the hold is let go of.
    pub(crate) async fn durable(&self, queued: Queued) -> Result<(), WalError> {
        if self.durability == Durability::Process {
            return Ok(());
        }
        drop(self.written(self.lock(), queued));
        self.wake();
        let safe = self.safe(queued).await;
        if safe.is_err() {
            let mut writer = self.lock();
            // Nobody asks any more whether it was written at all.
            writer.failed.remove(&queued.number);
            writer.unhold([Holds(vec![queued.segment])]);
        }
        safe
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
        let mut writer = self.idle(self.lock());
        if writer.header == header {
            return;
        }
        (writer.header, writer.shard) = (header, (shard.to_owned(), announced));
        if let Err(error) = self.next_segment(writer) {
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
        let writer = self.lock();
        let bytes = writer.bytes(self.max_segment);
        if bytes >= self.max_bytes {
            return Err(WalError::Full(bytes));
        }
        let (mut writer, queued) =
            self.queue(writer, |out| OpenFrame::frame(out, id, received_at, level, fields, tenant))?;
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
        let (mut writer, queued) = self.queue(self.lock(), |out| {
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
        let (mut writer, written) = self.settle(self.lock(), queued);
        if written.is_err() {
            let held = Holds(writer.end(id).collect());
            writer.unhold([held]);
        }
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
        self.settle_done(self.lock(), id, queued)
    }

    /// The same, but `None` where that would wait for a write of another thread.
    pub(crate) fn written_done_now(&self, id: &RecordId, queued: Queued) -> Option<Result<Holds, WalError>> {
        let writer = self.lock();
        (!writer.waits(queued)).then(|| self.settle_done(writer, id, queued))
    }

    fn settle_done(
        &self,
        writer: MutexGuard<'_, Writer>,
        id: &RecordId,
        queued: Queued,
    ) -> Result<Holds, WalError> {
        let (mut writer, written) = self.settle(writer, queued);
        written.inspect_err(|_| writer.unhold([Holds(vec![queued.segment])]))?;
        let opened = writer.end(id);
        drop(writer);
        self.wake();
        Ok(Holds(opened.chain([queued.segment]).collect()))
    }

    /// The exchange goes on without DONE: its record is kept in memory only, or lost.
    pub(crate) fn undone(&self, id: &RecordId) -> Holds {
        Holds(self.lock().end(id).collect())
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
        let mut writer = self.flush(self.lock());
        // What came meanwhile is for this segment: it ends another time.
        if writer.ends.is_empty() && writer.good > writer.start {
            writer.end_segment();
        }
    }

    fn delete_unheld(&self) {
        loop {
            let mut writer = self.lock();
            let current = writer.file.as_ref().map(|_| writer.number);
            let first = writer.held.iter().next().map(|(number, count)| (*number, *count));
            // One beyond the last is being begun.
            let goes = |n: u64, count: u64| count == 0 && Some(n) != current && n <= writer.number;
            let Some(number) = first.filter(|(n, count)| goes(*n, *count)).map(|(n, _)| n) else {
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

    /// Begins another segment, so that all before it go as soon as what they hold is logged or copied forward. Returns
    /// the number of the last of those.
    pub(crate) fn retire(&self) -> Result<u64, WalError> {
        let mut writer = self.idle(self.lock());
        let last = writer.number;
        writer.retired = last;
        let mut writer = self.next_segment(writer)?;
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
            let mut writer = self.flush(self.lock());
            while !writer.ends.is_empty() {
                writer = self.flush(writer);
            }
            writer.end_segment();
        }
        self.delete_unheld();
    }

    #[cfg(test)]
    pub(crate) fn fail_after(&self, bytes: Option<u64>) {
        self.lock().fail_after = bytes;
    }
}

#[cfg(test)]
pub(crate) mod tests;
