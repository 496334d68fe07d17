//! What earlier lives left in the WAL.
//!
//! A frame that does not check ends what is believed of a segment, unless its length leads to a good frame: then only
//! that one is left out. Nothing else is searched for: field values come from outside and could hold a frame's bytes.

use super::folder_id;
use super::frame::{self, DoneFrame, FolderId, OpenFrame, Parsed, Place};
use super::{MAX_SEGMENT, WalError, io, segment_path, segments};
use crate::shard::UNANNOUNCED;
use colophon_receipt::record::RecordId;
use std::collections::{BTreeMap, HashSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Missing segments that are told one by one.
const MAX_MISSING: usize = 100;

/// Everything that the WAL says.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    /// The segments, ascending.
    pub(crate) segments: Vec<u64>,
    /// The shards that wrote them, with the log index of their announcements.
    pub(crate) shards: BTreeMap<String, u64>,
    /// Accepted, not finished.
    pub(crate) open: BTreeMap<RecordId, OpenFrame>,
    /// Finished, in the order written; perhaps logged already.
    pub(crate) done: Vec<DoneFrame>,
    /// What could not be read.
    pub(crate) damage: Vec<Damage>,
    /// Whose WAL it is.
    pub(super) folder: FolderId,
    /// The ids in `done`.
    finished: HashSet<RecordId>,
    /// The shard of the last header.
    shard: Option<Arc<str>>,
}

/// Bytes of a segment that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The segment.
    pub segment: PathBuf,
    /// Where the bytes begin.
    pub offset: u64,
    /// How many were left out.
    pub dropped: u64,
    /// The end of the segment, as a crash leaves it; otherwise good frames follow, or it cannot be known.
    pub torn_tail: bool,
}

/// Reads all segments in `dir`.
///
/// # Errors
/// [`WalError::Foreign`] for one that another folder's WAL wrote: its records are another sidecar's, which may log them too.
pub(crate) fn replay(dir: &Path) -> Result<Replay, WalError> {
    let segments = segments(dir)?;
    let folder = folder_id::of(dir, &segments)?;
    let mut replay = Replay { segments, folder, ..Replay::default() };
    let mut next = replay.segments.first().copied();
    for number in replay.segments.clone() {
        if let Some(missing) = next.filter(|next| *next < number) {
            replay.missing(dir, missing, number);
        }
        next = Some(number + 1);
        let path = segment_path(dir, number);
        let mut bytes = Vec::new();
        let file = std::fs::File::open(&path).map_err(|e| io(&path, e))?;
        file.take(MAX_SEGMENT + frame::MAX_FRAME as u64 + 1024)
            .read_to_end(&mut bytes)
            .map_err(|e| io(&path, e))?;
        let before = replay.damage.len();
        read_segment(&path, &bytes, Some(Place { segment: number, folder }), &mut replay)?;
        report(&path, &replay.damage[before..])?;
    }
    Ok(replay)
}

impl Replay {
    /// Segments go in their order, so that one which is not there was not deleted by a ledger.
    fn missing(&mut self, dir: &Path, from: u64, to: u64) {
        for number in (from..to).take(MAX_MISSING) {
            let segment = segment_path(dir, number);
            tracing::error!(
                segment = %segment.display(),
                "MISSING WAL segment, though there are earlier and later ones; records in it may be lost"
            );
            self.damage.push(Damage { segment, offset: 0, dropped: 0, torn_tail: false });
        }
    }

    /// Takes in a copy of frames from the store. Returns whether all of it could be read.
    pub(super) fn take_copy(&mut self, name: &str, frames: &[u8]) -> bool {
        let before = self.damage.len();
        // Sealed under the name of its life and its number, and perhaps of another machine's folder.
        let read = read_segment(Path::new(name), frames, None, self);
        read.is_ok() && self.damage.len() == before
    }

    /// Every exchange that it tells of.
    pub(crate) fn ids(&self) -> impl Iterator<Item = RecordId> {
        self.finished.iter().chain(self.open.keys()).copied()
    }

    /// There are copies in the store that stay until all recovered records are logged.
    pub(super) fn hold_copies(&mut self) {
        self.segments.insert(0, super::COPIED);
    }
}

/// Takes a segment in, or a copy, which has no `place`.
pub(super) fn read_segment(
    path: &Path,
    bytes: &[u8],
    place: Option<Place>,
    replay: &mut Replay,
) -> Result<(), WalError> {
    let mut at = 0;
    while at < bytes.len() {
        let step = match frame::parse(&bytes[at..]) {
            Parsed::Good(kind, payload, step) => {
                if let (frame::HEADER, Some(place)) = (kind, place) {
                    is_ours(path, payload, place)?;
                }
                if apply(kind, payload, replay) {
                    at += step;
                    continue;
                }
                Some(step)
            }
            Parsed::Bad(step) => step,
        };
        let next = step.map(|step| at + step);
        let resync = next.filter(|next| {
            bytes.get(*next..).is_some_and(|rest| matches!(frame::parse(rest), Parsed::Good(..)))
        });
        // A crash leaves nothing after a bad frame: what is longer than a header was not torn while that was written.
        let torn_tail = resync.is_none()
            && (at > 0 || bytes.len() <= frame::MAX_HEADER)
            && !(at + 1..bytes.len()).any(|i| frame::looks_good(&bytes[i..]));
        let end = resync.unwrap_or(bytes.len());
        replay.damage.push(Damage {
            segment: path.to_owned(),
            offset: at as u64,
            dropped: (end - at) as u64,
            torn_tail,
        });
        at = end;
    }
    Ok(())
}

/// Refuses a header of another folder's. One that does not read is damage, told as such.
fn is_ours(path: &Path, header: &[u8], place: Place) -> Result<(), WalError> {
    let Ok(frame::Header { shard, place: Some(found), .. }) = frame::read_header(header) else {
        return Ok(());
    };
    if found.folder != place.folder {
        return Err(WalError::Foreign { path: path.to_owned(), shard });
    }
    if found.segment != place.segment {
        // Whatever the order, each record is taken once.
        tracing::error!(
            segment = %path.display(),
            written_as = found.segment,
            "a WAL segment under another's name, or joined to another: it is read all the same"
        );
    }
    Ok(())
}

/// Takes one frame in; `false` if its content is not what its type says.
fn apply(kind: u8, payload: &[u8], replay: &mut Replay) -> bool {
    match kind {
        frame::HEADER => match frame::read_header(payload) {
            Ok(frame::Header { shard, announced, .. }) => {
                replay.shard = Some(shard.as_str().into());
                // Once the log has answered, a second header says where.
                let known = replay.shards.entry(shard).or_insert(announced);
                if announced != UNANNOUNCED {
                    *known = announced;
                }
                true
            }
            Err(_) => false,
        },
        frame::OPEN => match OpenFrame::read(payload) {
            Ok(open) => {
                if !replay.finished.contains(&open.id) {
                    replay.open.insert(open.id, open);
                }
                true
            }
            Err(_) => false,
        },
        frame::DONE => match DoneFrame::read(payload) {
            Ok(mut done) => {
                done.shard = replay.shard.clone();
                replay.open.remove(&done.id);
                if replay.finished.insert(done.id) {
                    replay.done.push(done);
                }
                true
            }
            Err(_) => false,
        },
        _ => false,
    }
}

/// Says what was left out, and keeps a segment that is damaged otherwise than by a torn last write.
fn report(path: &Path, damage: &[Damage]) -> Result<(), WalError> {
    for found in damage {
        let Damage { offset, dropped, torn_tail, .. } = found;
        let segment = path.display();
        match torn_tail {
            true => {
                tracing::warn!(%segment, offset, dropped, "torn last frame in the WAL; everything before it is kept")
            }
            false => tracing::error!(
                %segment, offset, dropped,
                "DAMAGED WAL: a frame before the end does not check; records in it may be lost"
            ),
        }
    }
    if damage.iter().any(|found| !found.torn_tail) {
        let aside = keep(path)?;
        tracing::error!(kept = %aside.display(), "the damaged WAL segment is kept");
    }
    Ok(())
}

/// Copies a segment to `<n>.wal.damaged`, or a numbered name after it; a copy that is there already will do.
fn keep(path: &Path) -> Result<PathBuf, WalError> {
    let bytes = std::fs::read(path).map_err(|e| io(path, e))?;
    let mut aside = path.with_extension("wal.damaged");
    for number in 1.. {
        match std::fs::read(&aside) {
            Ok(kept) if kept == bytes => break,
            Ok(_) => aside = path.with_extension(format!("wal.damaged.{number}")),
            Err(_) => {
                std::fs::copy(path, &aside).map_err(|e| io(&aside, e))?;
                break;
            }
        }
    }
    Ok(aside)
}
