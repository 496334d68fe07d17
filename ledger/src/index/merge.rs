//! The index files of hours that are over, merged: a log with little to do writes one each second, and each takes a block
//! of the disk, or a request.
//!
//! Rows are always in some file: those of a merged file are deleted only after it is written, and only those that it was
//! made from. So it may stop at any moment, be done again, and be done by several at once; whoever listed a file that is
//! gone lists again. Batch files, sequence entries and openings are not merged: they are never rewritten.

use super::file::Merged;
use super::{HOUR_MS, Index, MAX_BYTES, hour};
use crate::ledger::LedgerError;
use crate::ledger::objects::Objects;
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

/// A merged file has about this many bytes at most, so that a look-up reads little: some 21,000 records.
const MOST: u64 = 512 << 10;
/// How long after its end an hour is merged: what takes longer is in a file of its own, until the hour is merged again.
const SETTLED: Duration = Duration::from_secs(10 * 60);
/// A start looks this far back for hours that an earlier life did not merge.
const LOOK_BACK: Duration = Duration::from_secs(7 * 86_400);
/// A merge that failed is tried again after this.
const AGAIN: Duration = Duration::from_secs(60);
/// Between two looks, however the clock is set.
const SHORTEST: Duration = Duration::from_secs(1);

/// What a merge did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Done {
    /// Files that are gone.
    pub(crate) merged: usize,
    /// Files that took their place.
    pub(crate) into: usize,
}

/// Whose files are merged: those of all shards in a folder, which has one process; in a bucket that others share, those of
/// this process's shards and of the one before.
pub(crate) enum Whose {
    All,
    Tags(HashSet<[u8; 2]>),
}

impl Whose {
    fn has(&self, tag: &str) -> bool {
        match self {
            Whose::All => true,
            Whose::Tags(tags) => tags.iter().any(|own| hex::encode(own) == tag),
        }
    }
}

/// Merges each hour once it is over. May be stopped at any moment. `now` gives ms since the epoch, and `tag` that of the
/// shard in force; once there is none, this ends.
pub(crate) async fn run(
    objects: Objects,
    mut whose: Whose,
    now: impl Fn() -> u64 + Send + 'static,
    tag: impl Fn() -> Option<[u8; 2]> + Send + 'static,
) {
    let mut from = now().saturating_sub(ms(LOOK_BACK));
    while let Some(tag) = tag() {
        if let Whose::Tags(tags) = &mut whose {
            tags.insert(tag);
        }
        let end = now().saturating_sub(ms(SETTLED)) / HOUR_MS * HOUR_MS;
        let pause = match past(&objects, &whose, from..end).await {
            Ok(Done { merged, into }) => {
                if merged > 0 {
                    tracing::info!(merged, into, "index files of hours that are over are merged");
                }
                // The hour before once more: exchanges that took long.
                from = end.saturating_sub(HOUR_MS);
                Duration::from_millis((end + HOUR_MS + ms(SETTLED)).saturating_sub(now())).max(SHORTEST)
            }
            Err(error) => {
                tracing::warn!(%error, "index files of past hours could not be merged; it is tried again");
                AGAIN
            }
        };
        tokio::time::sleep(pause).await;
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Merges the hours that begin in `range`, ms since the epoch.
pub(crate) async fn past(
    objects: &Objects,
    whose: &Whose,
    range: std::ops::Range<u64>,
) -> Result<Done, LedgerError> {
    let (first, end) = (hour(range.start), hour(range.end));
    let mut done = Done::default();
    for name in objects.folders("index").await? {
        if name >= first && name < end {
            let one = merge_hour(objects, whose, &format!("index/{name}")).await?;
            (done.merged, done.into) = (done.merged + one.merged, done.into + one.into);
        }
    }
    Ok(done)
}

async fn merge_hour(objects: &Objects, whose: &Whose, folder: &str) -> Result<Done, LedgerError> {
    // By tag, since an id says which tag its file's name has; then by time.
    let mut groups: BTreeMap<String, Vec<(String, u64)>> = BTreeMap::new();
    for (name, size) in objects.sizes(folder).await? {
        let Some(tag) = name.split('-').nth(2).filter(|tag| whose.has(tag)) else { continue };
        // What is large already would only be copied.
        if size < MOST / 2 {
            groups.entry(tag.to_owned()).or_default().push((name, size));
        }
    }
    let mut done = Done::default();
    for mut files in groups.into_values() {
        files.sort();
        let (mut names, mut bytes) = (Vec::new(), 0);
        for (name, size) in files {
            if bytes + size > MOST {
                done.add(merge(objects, folder, std::mem::take(&mut names)).await?);
                bytes = 0;
            }
            names.push(name);
            bytes += size;
        }
        done.add(merge(objects, folder, names).await?);
    }
    Ok(done)
}

/// Makes one file of these.
async fn merge(objects: &Objects, folder: &str, names: Vec<String>) -> Result<Done, LedgerError> {
    if names.len() < 2 {
        return Ok(Done::default());
    }
    let (mut rows, mut taken) = (Merged::default(), Vec::new());
    for name in names {
        let path = format!("{folder}/{name}");
        // Gone: somebody else has merged it.
        let Some(bytes) = objects.get(&path, MAX_BYTES).await? else { continue };
        match Index::read(&bytes).and_then(|file| rows.add(&file)) {
            Ok(()) => taken.push(path),
            Err(error) => tracing::warn!(file = path, %error, "an index file is left as it is"),
        }
    }
    let Some((name, bytes)) = rows.file().filter(|_| taken.len() > 1) else { return Ok(Done::default()) };
    let merged = format!("{folder}/{name}");
    objects.put(&merged, bytes.into()).await?;
    taken.retain(|path| *path != merged);
    objects.delete_all(&taken).await?;
    Ok(Done { merged: taken.len(), into: 1 })
}

impl Done {
    fn add(&mut self, more: Done) {
        (self.merged, self.into) = (self.merged + more.merged, self.into + more.into);
    }
}

#[cfg(test)]
mod tests;
