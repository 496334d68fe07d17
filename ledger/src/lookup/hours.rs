//! The names of index files, as they were listed: for one more record of an hour, its folder is not listed again.
//!
//! Only names are remembered; a file is read each time. So what is remembered may be too little, never wrong: what is
//! found is there, and nothing is called unknown before its hour was listed anew.

use super::damage;
use crate::index::{Span, hour};
use crate::ledger::LedgerError;
use crate::ledger::keeper::beside;
use crate::ledger::objects::{Objects, last_part};
use arc_swap::ArcSwap;
use colophon_receipt::record::RecordId;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::broadcast::error::TryRecvError;
use tokio::sync::{Semaphore, broadcast};

/// So many names are remembered, each of some 90 bytes: 12 MiB. An hour with a batch each 60 ms has 60,000; one with more
/// than this is listed each time.
pub(super) const MAX_NAMES: usize = 1 << 17;
/// An hour takes the place of so many names at least.
const MIN_HOUR: usize = 256;
/// What a bucket lists with one request: where no more is known, the whole hour is listed at once.
const PAGE: usize = 1000;
/// An index file that is new has ids that were given out at most so long before the one that is looked for, ms. Those of
/// exchanges that take longer are found by the whole listing.
const NEW_MS: u64 = 10 * 60 * 1000;

/// The hours that were looked into, the last one at the end.
#[derive(Debug, Default)]
pub(super) struct Hours(Mutex<VecDeque<Arc<Hour>>>);

#[derive(Debug)]
pub(super) struct Hour {
    pub(super) folder: String,
    known: ArcSwap<Known>,
    /// Whoever lists holds it; those who waited for it take what was listed meanwhile.
    listing: tokio::sync::Mutex<()>,
    /// Gives them what is too large to be remembered.
    unkept: broadcast::Sender<Arc<Known>>,
}

/// What is known of an hour.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// Sorted by name.
    files: Vec<(Box<str>, Span)>,
    /// When the newest whole listing began.
    listed: Option<Instant>,
    /// When the whole listing before that one began, if it had the same names.
    confirms: Option<Instant>,
}

impl Hours {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Hour>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The hour of a time, ms since the epoch.
    pub(super) fn of(&self, ms: u64) -> Arc<Hour> {
        let folder = format!("index/{}", hour(ms));
        let mut hours = self.lock();
        let at = hours.iter().rposition(|hour| hour.folder == folder);
        let hour = at.and_then(|at| hours.remove(at)).unwrap_or_else(|| {
            let (listing, unkept) = (tokio::sync::Mutex::default(), broadcast::Sender::new(1));
            Arc::new(Hour { folder, known: ArcSwap::default(), listing, unkept })
        });
        hours.push_back(hour.clone());
        trim(&mut hours);
        hour
    }

    /// What is in an hour's folder, listed after `since`. As each file that is read, a listing takes one of `readers`.
    pub(super) async fn list(
        self: &Arc<Self>,
        (objects, readers): (&Objects, &Semaphore),
        hour: &Arc<Hour>,
        since: Instant,
    ) -> Result<Arc<Known>, LedgerError> {
        let mut unkept = hour.unkept.subscribe();
        let _turn = hour.listing.lock().await;
        let known = hour.known();
        if known.is_of(since) {
            return Ok(known);
        }
        if let Some(known) = newest(&mut unkept)
            && known.is_of(since)
        {
            return Ok(known);
        }
        let _permit = readers.acquire().await.map_err(|e| damage("the index", e))?;
        let listed = Some(Instant::now());
        let paths = objects.paths(&hour.folder).await?;
        let (hours, hour) = (self.clone(), hour.clone());
        let kept = beside(move || {
            let files = sorted(paths);
            let confirms = known.listed.filter(|_| known.files == files);
            hours.keep(&hour, Known { files, listed, confirms })
        });
        kept.await
    }

    /// What is known with what is new and may hold the id of a time, ms since the epoch; `None` where a whole listing
    /// costs no more, or was made after `since`.
    pub(super) async fn list_new(
        self: &Arc<Self>,
        (objects, readers): (&Objects, &Semaphore),
        hour: &Arc<Hour>,
        since: Instant,
        ms: u64,
    ) -> Result<Option<Arc<Known>>, LedgerError> {
        let _turn = hour.listing.lock().await;
        let known = hour.known();
        if known.is_of(since) || known.files.len() <= PAGE {
            return Ok(None);
        }
        let _permit = readers.acquire().await.map_err(|e| damage("the index", e))?;
        let from = format!("{:013}", ms.saturating_sub(NEW_MS));
        let paths = objects.paths_from(&hour.folder, &from).await?;
        let (hours, hour) = (self.clone(), hour.clone());
        let merged = beside(move || match known.with(sorted(paths)) {
            Some(merged) => hours.keep(&hour, merged),
            None => known,
        });
        merged.await.map(Some)
    }

    /// Takes milliseconds for a large hour, as what it replaces is freed.
    fn keep(&self, hour: &Hour, known: Known) -> Arc<Known> {
        let known = Arc::new(known);
        // An hour with more would push all others out, and itself.
        if known.files.len() <= MAX_NAMES {
            hour.known.store(known.clone());
            trim(&mut self.lock());
        } else {
            // An error says that nobody waits for it.
            let _ = hour.unkept.send(known.clone());
        }
        known
    }

    /// How many names are remembered.
    #[cfg(test)]
    pub(super) fn names(&self) -> usize {
        self.lock().iter().map(|hour| hour.known().files.len()).sum()
    }
}

/// Forgets what was not looked into for the longest time.
fn trim(hours: &mut VecDeque<Arc<Hour>>) {
    let mut names: usize = hours.iter().map(|hour| hour.size()).sum();
    while names > MAX_NAMES
        && let Some(oldest) = hours.pop_front()
    {
        names -= oldest.size();
    }
}

impl Hour {
    pub(super) fn known(&self) -> Arc<Known> {
        self.known.load_full()
    }

    fn size(&self) -> usize {
        self.known.load().files.len().max(MIN_HOUR)
    }
}

impl Known {
    fn is_of(&self, since: Instant) -> bool {
        self.listed.is_some_and(|listed| listed > since)
    }

    /// Whether two listings that began after `since`, one after the other, had all these names.
    pub(super) fn is_settled(&self, since: Instant) -> bool {
        self.confirms.is_some_and(|first| first > since)
    }

    /// The same with these, sorted; `None` where all of them are known.
    fn with(&self, mut new: Vec<(Box<str>, Span)>) -> Option<Known> {
        new.retain(|file| self.files.binary_search(file).is_err());
        if new.is_empty() {
            return None;
        }
        let mut files = self.files.clone();
        files.extend(new);
        files.sort_unstable();
        Some(Known { files, listed: self.listed, confirms: None })
    }

    /// The names of the files that can hold `id`.
    pub(super) fn that_may_hold(&self, id: &RecordId) -> impl Iterator<Item = &str> {
        self.files.iter().filter(|(_, span)| span.may_hold(id)).map(|(name, _)| &**name)
    }
}

/// The last of what was handed on while this one waited.
fn newest(unkept: &mut broadcast::Receiver<Arc<Known>>) -> Option<Arc<Known>> {
    let mut newest = None;
    loop {
        match unkept.try_recv() {
            Ok(known) => newest = Some(known),
            Err(TryRecvError::Lagged(_)) => {}
            Err(TryRecvError::Empty | TryRecvError::Closed) => return newest,
        }
    }
}

/// The names of index files among these.
fn sorted(paths: Vec<String>) -> Vec<(Box<str>, Span)> {
    let named = |path: String| {
        let name = last_part(&path);
        Span::of(name).map(|span| (name.into(), span))
    };
    let mut files: Vec<_> = paths.into_iter().filter_map(named).collect();
    files.sort_unstable();
    files
}

#[cfg(test)]
mod tests;
