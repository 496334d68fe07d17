//! Whose WAL it is: a random number in `wal/folder` that each segment's header repeats.

use super::frame::{self, FolderId, Parsed};
use super::{WalError, io, segment_path};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The file's name in the WAL's folder.
const NAME: &str = "folder";

/// The folder's number, made at first. Where the file is gone, the newest segment that has one says it.
pub(super) fn of(dir: &Path, segments: &[u64]) -> Result<FolderId, WalError> {
    let path = dir.join(NAME);
    let mut text = String::new();
    match File::open(&path) {
        Ok(file) => {
            file.take(64).read_to_string(&mut text).map_err(|e| io(&path, e))?;
            let id = hex::decode(text.trim_end()).ok().and_then(|bytes| bytes.try_into().ok());
            return id.ok_or_else(|| io(&path, std::io::Error::other("not 32 hexadecimal digits")));
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(io(&path, e)),
    }
    let mut id = FolderId::default();
    match segments.iter().rev().find_map(|number| said(&segment_path(dir, *number))) {
        Some(said) => id = said,
        None => getrandom::fill(&mut id).map_err(|e| io(&path, std::io::Error::other(e)))?,
    }
    crate::state::replace(&path, format!("{}\n", hex::encode(id)).as_bytes()).map_err(|e| io(&path, e))?;
    Ok(id)
}

/// The number that a segment's header has.
fn said(segment: &Path) -> Option<FolderId> {
    let mut start = [0; frame::MAX_HEADER];
    let mut file = File::open(segment).ok()?;
    let mut read = 0;
    while let Some(room) = start.get_mut(read..).filter(|room| !room.is_empty()) {
        match file.read(room).ok()? {
            0 => break,
            more => read += more,
        }
    }
    match frame::parse(start.get(..read).filter(|start| !start.is_empty())?) {
        Parsed::Good(frame::HEADER, payload, _) => Some(frame::read_header(payload).ok()?.place?.folder),
        _ => None,
    }
}
