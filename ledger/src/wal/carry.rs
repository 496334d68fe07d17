//! Exchanges that stay open for long: their OPEN is copied to the segment that is written, so that old ones can go. With
//! `power`, an OPEN that was said to be safe stays so: the old segment is held until the copy is on the disk, too.

use super::durable::Durability;
use super::frame::{self, OpenFrame};
use super::writer::Writer;
use super::{Holds, MAX_LIVE, Queued, Wal, WalError, io, segment_path};
use crate::ledger::PIECE;
use colophon_receipt::record::RecordId;
use std::ops::Bound;

/// An OPEN frame whose copy is not safe yet. Its exchange is open, and holds both segments.
pub(super) struct Carried {
    /// The segment of the old frame.
    from: u64,
    copy: Queued,
}

impl Wal {
    /// Copies the OPEN frames of the oldest segment, when they are all that holds it, and lets go of segments whose frames
    /// were copied before, as far as the copies are safe by now.
    pub(super) fn carry_forward(&self) -> Result<(), WalError> {
        if self.settle_carried() {
            // Or the next one would be copied a release later.
            self.delete_unheld();
        }
        let Some(oldest) = self.to_carry() else { return Ok(()) };
        let path = segment_path(&self.dir, oldest);
        let bytes = std::fs::read(&path).map_err(|e| io(&path, e))?;
        let carried = self.carry_all(&bytes, oldest);
        // Without traffic nobody else has the copies put on the disk.
        self.wake();
        carried
    }

    /// The oldest segment, if it is to go and only open exchanges are in its way.
    fn to_carry(&self) -> Option<u64> {
        let writer = self.lock();
        let (number, count) = writer.held.iter().next()?;
        let due = *count > 0 && (writer.held.len() > MAX_LIVE || *number <= writer.retired);
        let open = || writer.open.values().filter(|segment| *segment == number).count() as u64;
        (due && open() == *count).then_some(*number)
    }

    fn carry_all(&self, mut bytes: &[u8], oldest: u64) -> Result<(), WalError> {
        while let frame::Parsed::Good(kind, payload, step) = frame::parse(bytes) {
            let id =
                (kind == frame::OPEN).then(|| OpenFrame::read(payload).ok()).flatten().map(|open| open.id);
            if let Some(id) = id {
                self.carry(id, &bytes[..step], oldest)?;
            }
            bytes = &bytes[step..];
            if bytes.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// Copies one OPEN frame of segment `oldest`, if its exchange is still open there.
    fn carry(&self, id: RecordId, frame: &[u8], oldest: u64) -> Result<(), WalError> {
        let mut writer = self.room_for(self.lock(), frame.len())?;
        if writer.open.get(&id) != Some(&oldest) {
            return Ok(());
        }
        writer.queue.extend_from_slice(frame);
        let copy = writer.appended();
        writer.open.insert(id, copy.segment);
        writer.hold(copy.segment);
        writer.carried.insert(id, Carried { from: oldest, copy });
        let (mut writer, written) = self.settle(writer, copy);
        match &written {
            Err(_) => writer.stay(&id),
            Ok(()) if self.durability == Durability::Power => {}
            // Written is all that is promised; in the store the old frame stays until this one is there, too (`node.rs`).
            Ok(()) => writer.moved(&id),
        }
        written
    }

    /// Lets go of the old frames whose copies are safe. Where the disk did not take one, the old frame is the exchange's again.
    /// False where nothing is known that was not before.
    fn settle_carried(&self) -> bool {
        let (mut news, mut after) = (false, Bound::Unbounded);
        loop {
            // In pieces: exchanges wait for the writer meanwhile.
            let mut writer = self.lock();
            let copy = |(id, carried): (&RecordId, &Carried)| (*id, carried.copy.number);
            let piece: Vec<_> =
                writer.carried.range((after, Bound::Unbounded)).take(PIECE).map(copy).collect();
            let Some((last, _)) = piece.last() else { return news };
            after = Bound::Excluded(*last);
            for (id, number) in piece {
                // Whoever queued a copy that was not even written sees to it himself.
                if writer.failed.contains_key(&number) {
                    continue;
                }
                match self.syncing.became_of(number) {
                    Some(true) => writer.moved(&id),
                    Some(false) => writer.stay(&id),
                    None => continue,
                }
                news = true;
            }
        }
    }
}

impl Writer {
    /// The copy is the exchange's OPEN now. Nothing is done where the exchange has ended meanwhile: both segments are its
    /// record's.
    fn moved(&mut self, id: &RecordId) {
        if let Some(Carried { from, .. }) = self.carried.remove(id) {
            self.unhold([Holds(vec![from])]);
        }
    }

    /// The old frame is the exchange's OPEN again. Nothing is done where the exchange has ended meanwhile.
    fn stay(&mut self, id: &RecordId) {
        if let Some(Carried { from, copy }) = self.carried.remove(id) {
            self.open.insert(*id, from);
            self.unhold([Holds(vec![copy.segment])]);
        }
    }

    /// The exchange ends. The segments that its OPEN held are the caller's to let go of.
    pub(super) fn end(&mut self, id: &RecordId) -> impl Iterator<Item = u64> + use<> {
        let carried = self.carried.remove(id).map(|carried| carried.from);
        self.open.remove(id).into_iter().chain(carried)
    }
}

#[cfg(test)]
mod tests;
