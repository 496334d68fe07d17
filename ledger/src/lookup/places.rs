//! Where records are: the newest are remembered, others are looked for in the index.

use super::damage;
use super::hours::{Hours, Known};
use crate::id_hash::ByRecordId;
use crate::index::{self, HOUR_MS, Index, Target};
use crate::ledger::LedgerError;
use crate::ledger::objects::Objects;
use colophon_receipt::record::RecordId;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::Semaphore;

/// Where newly logged records are is remembered for this many.
const CACHED: usize = 100_000;
/// How often an hour of the index is listed when files vanish meanwhile: each is merged once.
const LISTINGS: usize = 4;
/// Index files that are read, and hours that are listed, at the same time. A file takes up to [`index::MAX_BYTES`].
const READERS: usize = 8;

/// What is known of records' places, and what leads to the others.
#[derive(Debug)]
pub(crate) struct Places {
    newest: Mutex<Newest>,
    hours: Arc<Hours>,
    readers: Semaphore,
}

impl Default for Places {
    fn default() -> Places {
        Places { newest: Mutex::default(), hours: Arc::default(), readers: Semaphore::new(READERS) }
    }
}

/// Where the newest records are.
#[derive(Debug, Default)]
pub(crate) struct Newest {
    places: HashMap<RecordId, (Arc<Target>, u32), ByRecordId>,
    order: VecDeque<RecordId>,
}

impl Newest {
    pub(crate) fn get(&self, id: &RecordId) -> Option<(Target, u32)> {
        self.places.get(id).map(|(target, slot)| (Target::clone(target), *slot))
    }

    pub(crate) fn insert(&mut self, target: Target, rows: impl Iterator<Item = (RecordId, u32)>) {
        let target = Arc::new(target);
        for (id, slot) in rows {
            // Before the new one: beyond a limit just above, the table would double.
            if self.order.len() >= CACHED
                && let Some(oldest) = self.order.pop_front()
            {
                self.places.remove(&oldest);
            }
            self.places.insert(id, (target.clone(), slot));
            self.order.push_back(id);
        }
    }
}

impl Places {
    /// Those of the newest records.
    pub(crate) fn newest(&self) -> MutexGuard<'_, Newest> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Only the index knows.
    #[cfg(test)]
    pub(crate) fn forget(&self) {
        *self.newest() = Newest::default();
    }

    /// The batch and slot of `id`; `None` only if it was in no index file when this was called. For an id that is there, most likely:
    /// what is new is listed first, which for one that is not is a listing too many.
    pub(crate) async fn find(
        &self,
        objects: &Objects,
        id: &RecordId,
    ) -> Result<Option<(Target, u32)>, LedgerError> {
        self.look_for(objects, id, Instant::now(), true).await
    }

    /// The same; `None` only if it was in no index file at `since`. For an id that is not there, most likely, as those of evidence
    /// that is to be logged: its hour is listed whole at once. Whoever looks for many ids lists their hours once.
    pub(crate) async fn find_since(
        &self,
        objects: &Objects,
        id: &RecordId,
        since: Instant,
    ) -> Result<Option<(Target, u32)>, LedgerError> {
        self.look_for(objects, id, since, false).await
    }

    async fn look_for(
        &self,
        objects: &Objects,
        id: &RecordId,
        since: Instant,
        new_first: bool,
    ) -> Result<Option<(Target, u32)>, LedgerError> {
        if let Some(place) = self.newest().get(id) {
            return Ok(Some(place));
        }
        let ms = index::id_ms(id);
        let hour = self.hours.of(ms);
        let by = (objects, &self.readers);
        let mut search = Search {
            readers: &self.readers,
            objects,
            folder: &hour.folder,
            id,
            without: HashSet::new(),
            gone: false,
            damaged: None,
        };
        if let Some(found) = search.read(&hour.known()).await? {
            return Ok(Some(found));
        }
        if new_first
            && !search.gone
            && let Some(known) = self.hours.list_new(by, &hour, since, ms).await?
            && let Some(found) = search.read(&known).await?
        {
            return Ok(Some(found));
        }
        // A listing is not of one moment: while files are merged it may have passed the new one's name before that was written,
        // and come to the old ones' after they were deleted. Another one that has the same names finds what it missed.
        let (over, mut before): (_, Option<Arc<Known>>) = (is_over(ms), None);
        for _ in 0..LISTINGS {
            // What was merged since it was listed is in another file by now.
            let from = if search.gone || before.is_some() { Instant::now() } else { since };
            let known = self.hours.list(by, &hour, from).await?;
            if let Some(found) = search.read(&known).await? {
                return Ok(Some(found));
            }
            let same = |before: Arc<Known>| before.that_may_hold(id).eq(known.that_may_hold(id));
            if !search.gone && (!over || known.is_settled(since) || before.take().is_some_and(same)) {
                return search.damaged.map_or(Ok(None), Err);
            }
            before = Some(known).filter(|_| !search.gone);
        }
        // It may be in what took the place of the vanished.
        Err(search.damaged.unwrap_or_else(|| damage(&hour.folder, "files vanish whenever they are listed")))
    }
}

/// Whether the hour of this time, ms since the epoch, is over: before that none of its files is merged.
fn is_over(ms: u64) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    now >= u128::from(ms / HOUR_MS + 1) * u128::from(HOUR_MS)
}

/// A look for one id in the index files of its hour.
struct Search<'a> {
    readers: &'a Semaphore,
    objects: &'a Objects,
    folder: &'a str,
    id: &'a RecordId,
    /// Files that are as they should be and do not hold it: they never will.
    without: HashSet<String>,
    /// The last files that were read: whether one had vanished, and what was wrong with one.
    gone: bool,
    damaged: Option<LedgerError>,
}

impl Search<'_> {
    /// Reads the files of these that can hold the id and were not read before.
    async fn read(&mut self, known: &Known) -> Result<Option<(Target, u32)>, LedgerError> {
        (self.gone, self.damaged) = (false, None);
        for name in known.that_may_hold(self.id) {
            if self.without.contains(name) {
                continue;
            }
            let path = format!("{}/{name}", self.folder);
            let permit = self.readers.acquire().await.map_err(|e| damage("the index", e))?;
            let Some(bytes) = self.objects.get(&path, index::MAX_BYTES).await? else {
                self.gone = true;
                continue;
            };
            let read = Index::read(&bytes).and_then(|file| Ok((file.find(self.id)?, file)));
            drop(permit);
            match read {
                Ok((Some(found), _)) => return Ok(Some(found)),
                Ok((None, file)) if index::keeps_name(name, &file) => {
                    self.without.insert(name.to_owned());
                }
                Ok((None, _)) => {
                    self.damaged = Some(damage(&path, "its rows are not those that its name promises"))
                }
                // Another file may hold it.
                Err(error) => self.damaged = Some(damage(&path, error)),
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
