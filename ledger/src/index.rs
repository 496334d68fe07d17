//! From a record's id to its batch and slot, without a database.
//!
//! `index/<yyyymmddhh>/<min ms>-<max ms>-<tag>-<log index>`: the hour, the milliseconds and the tag are those of the ids
//! in it, so that one listing of one hour finds the few files that can hold an id. The file:
//!
//! ```text
//! "colophon index 1" | u64le log index of the statement | u64le log index of its shard's announcement
//!   | u16le length | shard | rows of 24 bytes: id (16) | u32le seq | u32le slot
//! ```
//! Rows are sorted by id. Files of an hour that is over are merged (`index/merge.rs`) into files whose name ends in
//! `m<16 hex digits of H(file)>` (`index/file.rs`). An index is a convenience: it can be rebuilt from the log and the batch
//! files.

mod file;
pub(crate) mod merge;

pub use file::Index;

use colophon_receipt::record::RecordId;
use std::collections::BTreeMap;

const MAGIC: &[u8; 16] = b"colophon index 1";
const ROW: usize = 24;
/// An index file has at most this many bytes.
pub const MAX_BYTES: u64 = 4 << 20;

/// The batch that the rows of an index file point into.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// The statement's shard.
    pub shard: String,
    /// The statement's number within it.
    pub seq: u64,
    /// The statement's index in the log.
    pub log_index: u64,
    /// The log index of the shard's announcement.
    pub announced: u64,
}

/// Milliseconds since the epoch in an id.
pub fn id_ms(id: &RecordId) -> u64 {
    id[..6].iter().fold(0, |ms, byte| ms << 8 | u64::from(*byte))
}

/// The shard tag in an id: 16 bits after the variant.
pub fn id_tag(id: &RecordId) -> [u8; 2] {
    [id[8] << 2 | id[9] >> 6, id[9] << 2 | id[10] >> 6]
}

/// An hour, in which ids have their files.
pub(crate) const HOUR_MS: u64 = 3_600_000;

/// The folder of an hour, `yyyymmddhh` in UTC.
pub fn hour(ms: u64) -> String {
    let (days, hour) = (ms / 86_400_000, ms / HOUR_MS % 24);
    let (year, month, day) = civil(days);
    format!("{year:04}{month:02}{day:02}{hour:02}")
}

/// The month of a time in ms since the epoch, `yyyymm` in UTC as a number.
pub(crate) fn civil_month(ms: u64) -> u32 {
    let (year, month, _) = civil(ms / 86_400_000);
    u32::try_from(year * 100 + month).unwrap_or(u32::MAX)
}

/// Year, month and day of the proleptic Gregorian calendar, `days` after 1970-01-01.
fn civil(days: u64) -> (u64, u64, u64) {
    // Years that begin in March put the leap day last.
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// Hour and tag of ids.
type Group = (u64, [u8; 2]);
/// Ids with their slots.
type Rows = Vec<(RecordId, u32)>;

/// The files, name and content, of a batch whose ids are given with their slots.
pub fn write(target: &Target, ids: impl IntoIterator<Item = (RecordId, u32)>) -> Vec<(String, Vec<u8>)> {
    let mut groups: BTreeMap<Group, Rows> = BTreeMap::new();
    for (id, slot) in ids {
        groups.entry((id_ms(&id) / HOUR_MS, id_tag(&id))).or_default().push((id, slot));
    }
    let file = |((_, tag), mut rows): (Group, Rows)| {
        rows.sort_unstable();
        let (min, max) = (id_ms(&rows.first()?.0), id_ms(&rows.last()?.0));
        let name =
            format!("index/{}/{min:013}-{max:013}-{}-{}", hour(min), hex::encode(tag), target.log_index);
        let mut out = Vec::with_capacity(64 + target.shard.len() + rows.len() * ROW);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&target.log_index.to_le_bytes());
        out.extend_from_slice(&target.announced.to_le_bytes());
        out.extend_from_slice(&(target.shard.len() as u16).to_le_bytes());
        out.extend_from_slice(target.shard.as_bytes());
        for (id, slot) in rows {
            out.extend_from_slice(&id);
            out.extend_from_slice(&(target.seq as u32).to_le_bytes());
            out.extend_from_slice(&slot.to_le_bytes());
        }
        Some((name, out))
    };
    groups.into_iter().filter_map(file).collect()
}

/// What the name of an index file says of the ids in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span {
    /// Milliseconds of the first and of the last.
    min: u64,
    max: u64,
    tag: [u8; 2],
}

impl Span {
    /// `None` where it is not the name of an index file.
    pub(crate) fn of(name: &str) -> Option<Span> {
        let mut parts = name.split('-');
        let (min, max) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let mut tag = [0; 2];
        hex::decode_to_slice(parts.next()?, &mut tag).ok()?;
        Some(Span { min, max, tag })
    }

    pub(crate) fn may_hold(&self, id: &RecordId) -> bool {
        self.tag == id_tag(id) && (self.min..=self.max).contains(&id_ms(id))
    }
}

/// Whether the file of this name can hold `id`.
pub fn may_hold(name: &str, id: &RecordId) -> bool {
    Span::of(name).is_some_and(|span| span.may_hold(id))
}

/// Whether the file of this name was made of several.
pub(crate) fn is_merged(name: &str) -> bool {
    name.rsplit('-').next().is_some_and(|last| last.starts_with('m'))
}

/// Whether the merged file of this name has these bytes.
pub(crate) fn is_named(name: &str, bytes: &[u8]) -> bool {
    name.rsplit("-m").next() == Some(file::hash(bytes).as_str())
}

/// Whether the rows of an index file are those that its name promises, as far as that can be told: ascending, of one
/// tag, from the first millisecond to the last. An id that is not found elsewhere may have been lost here.
pub fn keeps_name(name: &str, file: &Index) -> bool {
    let ids: Vec<RecordId> = file.ids().collect();
    ids.first().zip(ids.last()).is_some_and(|(first, last)| {
        let name_of = |id| format!("{:013}-{:013}-{}-", id_ms(first), id_ms(last), hex::encode(id_tag(id)));
        name.starts_with(&name_of(first))
            && ids.iter().all(|id| id_tag(id) == id_tag(first))
            && ids.is_sorted_by(|a, b| a < b)
    })
}

/// Bytes that are not an index file.
#[derive(Debug, thiserror::Error)]
#[error("not an index file of version 1 or 2, or a damaged one")]
pub struct IndexError;

#[cfg(test)]
pub(crate) mod tests;
