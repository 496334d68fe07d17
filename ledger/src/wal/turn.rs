//! Writing without the lock. One thread at a time has the turn: it takes what waits out of the writer, writes it, and puts
//! back what became of it; others queue their frames behind it meanwhile. So a disk that hangs stops one thread.

use super::frame::MAX_FRAME;
use super::writer::{Uncopied, Writer, Writing};
use super::{KEPT_QUEUE, Queued, Wal, WalError, io, segment_path};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, MutexGuard, PoisonError};

type Guard<'a> = MutexGuard<'a, Writer>;

/// What a turn takes out of the writer.
pub(super) struct Turn {
    /// Absent after a failure that could not be undone: then no frame can be written.
    file: Option<Arc<File>>,
    number: u64,
    good: u64,
    queue: Vec<u8>,
    ends: Vec<usize>,
    /// Which of `ends` could not be written.
    failed: Vec<(usize, WalError)>,
    /// A segment to begin after those frames.
    next: Option<Next>,
    room: Room,
}

/// A segment that is begun.
struct Next {
    header: Vec<u8>,
    /// There once it is created, even where its header could not be written: then its number is used up.
    file: Option<Arc<File>>,
    error: Option<WalError>,
}

/// In tests, how much a disk takes.
struct Room(#[cfg(test)] Option<u64>);

impl Room {
    fn write(&mut self, mut file: &File, bytes: &[u8]) -> std::io::Result<()> {
        #[cfg(test)]
        if let Some(left) = &mut self.0 {
            if *left < bytes.len() as u64 {
                // What is written of it is cut off again, and leaves room.
                file.write_all(&bytes[..*left as usize])?;
                return Err(std::io::ErrorKind::StorageFull.into());
            }
            *left -= bytes.len() as u64;
        }
        file.write_all(bytes)
    }
}

impl Turn {
    /// Writes all frames with one write(2). Where that fails, each on its own: some may find room.
    pub(super) fn write(&mut self, dir: &Path) {
        match self.append(dir, 0..self.queue.len()) {
            Ok(()) => {}
            Err(error) if self.ends.len() == 1 => self.failed.push((0, error)),
            Err(_) => {
                let mut start = 0;
                for at in 0..self.ends.len() {
                    let end = self.ends[at];
                    if let Err(error) = self.append(dir, start..end) {
                        self.failed.push((at, error));
                    }
                    start = end;
                }
            }
        }
        if let Some(next) = &mut self.next {
            next.begin(&segment_path(dir, self.number + 1), &mut self.room);
        }
    }

    fn append(&mut self, dir: &Path, range: Range<usize>) -> Result<(), WalError> {
        let frames = &self.queue[range];
        if frames.is_empty() {
            return Ok(());
        }
        let failed = |error| io(&segment_path(dir, self.number), error);
        let Some(file) = &self.file else {
            return Err(failed(std::io::Error::other("no segment is open")));
        };
        if let Err(error) = self.room.write(file, frames) {
            // What part of a frame was written must not hide the frames after it.
            if file.set_len(self.good).is_err() {
                self.file = None;
            }
            return Err(failed(error));
        }
        self.good += frames.len() as u64;
        Ok(())
    }
}

impl Next {
    fn begin(&mut self, path: &Path, room: &mut Room) {
        let mut options = OpenOptions::new();
        options.append(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let written = options.open(path).and_then(|file| {
            let file = self.file.insert(Arc::new(file));
            room.write(file, &self.header).inspect_err(|_| drop(file.set_len(0)))
        });
        self.error = written.err().map(|error| io(path, error));
    }
}

impl Writer {
    /// Whether the segment that frames are for now has room for `more` bytes after those that wait.
    fn has_room(&self, more: usize, max_segment: u64) -> bool {
        let waiting = self.queue.len() as u64 + more as u64;
        // Another cannot be begun now, and nobody is to wait: so it takes more, as far as a start reads.
        let beyond = max_segment + MAX_FRAME as u64;
        match &self.writing {
            Some(Writing { next: true, .. }) => waiting <= beyond,
            _ if self.file.is_none() => false,
            Some(writing) => self.good + writing.bytes + waiting <= beyond,
            // An empty segment takes a frame of any size.
            None => self.good + waiting <= max_segment || (self.good == self.start && self.ends.is_empty()),
        }
    }

    /// Nobody else may have the turn.
    pub(super) fn take(&mut self, next: Option<Vec<u8>>) -> Turn {
        let queue = std::mem::replace(&mut self.queue, std::mem::take(&mut self.spare.0));
        let ends = std::mem::replace(&mut self.ends, std::mem::take(&mut self.spare.1));
        let (frames, bytes) = (ends.len() as u64, queue.len() as u64);
        self.writing = Some(Writing { frames, bytes, next: next.is_some() });
        Turn {
            file: self.file.clone(),
            number: self.number,
            good: self.good,
            queue,
            ends,
            failed: Vec::new(),
            next: next.map(|header| Next { header, file: None, error: None }),
            room: Room(
                #[cfg(test)]
                self.fail_after.take(),
            ),
        }
    }

    /// Notes what became of a turn's frames, and of the segment that it was to begin.
    pub(super) fn put(&mut self, turn: Turn) -> Result<(), WalError> {
        let Turn { file, good, mut queue, mut ends, failed, next, .. } = turn;
        (self.writing, self.good) = (None, good);
        if file.is_none() {
            // What it has was not undone, and is synced with the others: or nobody would, and it would be called safe.
            self.end_segment();
        }
        #[cfg(test)]
        {
            self.fail_after = turn.room.0.or(self.fail_after);
            self.flushes += u64::from(!ends.is_empty());
        }
        if self.copies {
            let mut start = 0;
            for (at, end) in ends.iter().enumerate() {
                if !failed.iter().any(|(failed, _)| *failed == at) {
                    self.uncopied.extend_from_slice(&queue[start..*end]);
                }
                start = *end;
            }
        }
        let first = self.settled + 1;
        self.settled += ends.len() as u64;
        self.failed.extend(failed.into_iter().map(|(at, error)| (first + at as u64, error)));
        // The room is used again; a rare large frame's is not kept.
        queue.clear();
        ends.clear();
        if queue.capacity() <= KEPT_QUEUE {
            self.spare = (queue, ends);
        }
        match next {
            Some(next) => self.begun(next),
            None => Ok(()),
        }
    }

    fn begun(&mut self, next: Next) -> Result<(), WalError> {
        self.end_segment();
        if self.number <= self.retired && !self.uncopied.is_empty() {
            let frames = std::mem::take(&mut self.uncopied);
            self.retired_uncopied.push_back(Uncopied { frames, upto: self.settled, segment: self.number });
        }
        if let Some(file) = next.file {
            (self.number, self.good, self.start) = (self.number + 1, 0, 0);
            self.held.entry(self.number).or_insert(0);
            self.new_segment = true;
            if next.error.is_none() {
                self.file = Some(file);
                self.good = next.header.len() as u64;
                self.start = self.good;
                if self.copies {
                    self.uncopied.extend_from_slice(&next.header);
                }
            }
        }
        next.error.map_or(Ok(()), Err)
    }
}

impl Wal {
    /// Waits until no other thread writes, for as long as the disk takes.
    pub(super) fn idle<'a>(&self, mut writer: Guard<'a>) -> Guard<'a> {
        while writer.writing.is_some() {
            writer.awaited = true;
            writer = self.turned.wait(writer).unwrap_or_else(PoisonError::into_inner);
        }
        writer
    }

    /// Writes all frames that wait, once no other thread writes. Those that come meanwhile wait again.
    pub(super) fn flush<'a>(&'a self, writer: Guard<'a>) -> Guard<'a> {
        let writer = self.idle(writer);
        match writer.ends.is_empty() {
            true => writer,
            // It begins no segment, so nothing else can fail.
            false => self.turn(writer, None).0,
        }
    }

    /// Writes what waits, if `queued` is among it.
    pub(super) fn written<'a>(&'a self, writer: Guard<'a>, queued: Queued) -> Guard<'a> {
        match writer.settled < queued.number {
            true => self.flush(writer),
            false => writer,
        }
    }

    /// Writes what waits, and begins another segment. Nobody else may have the turn.
    pub(super) fn next_segment<'a>(&'a self, writer: Guard<'a>) -> Result<Guard<'a>, WalError> {
        let header = writer.next_header()?;
        let (writer, begun) = self.turn(writer, Some(header));
        begun.map(|()| writer)
    }

    fn turn<'a>(&'a self, mut writer: Guard<'a>, next: Option<Vec<u8>>) -> (Guard<'a>, Result<(), WalError>) {
        let mut turn = writer.take(next);
        drop(writer);
        turn.write(&self.dir);
        let mut writer = self.lock();
        let begun = writer.put(turn);
        if std::mem::take(&mut writer.awaited) {
            self.turned.notify_all();
            self.sleepers.turned.notify_waiters();
        }
        (writer, begun)
    }

    /// Puts one frame behind those that wait, in a segment that has room for all of them.
    pub(super) fn queue<'a>(
        &'a self,
        mut writer: Guard<'a>,
        frame: impl FnOnce(&mut Vec<u8>) -> Result<(), WalError>,
    ) -> Result<(Guard<'a>, Queued), WalError> {
        let start = writer.queue.len();
        if let Err(error) = frame(&mut writer.queue) {
            writer.queue.truncate(start);
            return Err(error);
        }
        if !writer.has_room(0, self.max_segment) {
            let frame = writer.queue.split_off(start);
            writer = self.room_for(writer, frame.len())?;
            writer.queue.extend_from_slice(&frame);
        }
        let queued = writer.appended();
        Ok((writer, queued))
    }

    /// Sees to it that `bytes` more have room in the segment that frames are for. Writes where another has to be begun, and
    /// waits for another thread that writes only where too much is behind that.
    pub(super) fn room_for<'a>(&'a self, mut writer: Guard<'a>, bytes: usize) -> Result<Guard<'a>, WalError> {
        while !writer.has_room(bytes, self.max_segment) {
            writer = match writer.writing {
                Some(_) => self.idle(writer),
                None => self.next_segment(writer)?,
            };
        }
        Ok(writer)
    }

    /// Writes what waits, if `queued` is among it, and says what became of it.
    pub(super) fn settle<'a>(
        &'a self,
        writer: Guard<'a>,
        queued: Queued,
    ) -> (Guard<'a>, Result<(), WalError>) {
        let mut writer = self.written(writer, queued);
        // Most often there are none at all.
        let written = match writer.failed.is_empty() {
            true => Ok(()),
            false => writer.failed.remove(&queued.number).map_or(Ok(()), Err),
        };
        (writer, written)
    }
}

#[cfg(test)]
mod tests;
