//! Segments of the WAL, without files.

use super::Damage;
use super::frame::{self, Parsed};
use super::replay::{Replay, read_segment as read_frames};
use colophon_receipt::record::RecordId;
use std::path::Path;

/// What was read of a segment, or of a copy of one.
pub struct Segment {
    /// What could not be read, in order.
    pub damage: Vec<Damage>,
    /// Finished records.
    pub done: Vec<RecordId>,
    /// Those that were accepted, and are not finished.
    pub open: Vec<RecordId>,
}

/// Reads a segment as a start does, but for whose it is.
pub fn read_segment(bytes: &[u8]) -> Segment {
    let mut replay = Replay::default();
    // Only a place could be refused.
    let _ = read_frames(Path::new("segment"), bytes, None, &mut replay);
    let done = replay.done.iter().map(|done| done.id).collect();
    Segment { damage: replay.damage, done, open: replay.open.keys().copied().collect() }
}

/// The same bytes with checksums that are good, wherever a frame seems to stand.
pub fn framed(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut at = 0;
    while let Some(prefix) = bytes.get(at..at + 8) {
        let len = u32::from_le_bytes([prefix[0], prefix[1], prefix[2], prefix[3]]) as usize;
        let body = at + 8..at.saturating_add(8).saturating_add(len);
        let Some(crc) = bytes.get(body.clone()).map(crc_fast::crc32_iscsi) else { break };
        bytes[at + 4..at + 8].copy_from_slice(&crc.to_le_bytes());
        debug_assert!(
            len == 0 || len > frame::MAX_FRAME || matches!(frame::parse(&bytes[at..]), Parsed::Good(..))
        );
        at = body.end;
    }
    bytes
}
