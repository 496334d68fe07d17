//! The names of index files, as they were listed: for one more record of an hour, its folder is not listed again.
//!
//! Only names are remembered; a file is read each time. So what is remembered may be too little, never wrong: what is
//! found is there, and nothing is called unknown before its hour was listed anew.

use crate::index::{Span, hour};
use crate::ledger::LedgerError;
use crate::ledger::objects::Objects;
use arc_swap::ArcSwap;
use colophon_receipt::record::RecordId;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

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
}

/// What is known of an hour.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// Sorted by name.
    files: Vec<(Box<str>, Span)>,
    /// When the newest whole listing began.
    listed: Option<Instant>,
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
            Arc::new(Hour { folder, known: ArcSwap::default(), listing: tokio::sync::Mutex::default() })
        });
        hours.push_back(hour.clone());
        trim(&mut hours);
        hour
    }

    /// What is in an hour's folder, listed after `since`.
    pub(super) async fn list(
        &self,
        objects: &Objects,
        hour: &Hour,
        since: Instant,
    ) -> Result<Arc<Known>, LedgerError> {
        let _turn = hour.listing.lock().await;
        let known = hour.known();
        if known.is_of(since) {
            return Ok(known);
        }
        let listed = Some(Instant::now());
        let names = objects.list(&hour.folder).await?;
        Ok(self.keep(hour, Known { files: sorted(names), listed }))
    }

    /// What is known with what is new and may hold the id of a time, ms since the epoch; `None` where a whole listing
    /// costs no more, or was made after `since`.
    pub(super) async fn list_new(
        &self,
        objects: &Objects,
        hour: &Hour,
        since: Instant,
        ms: u64,
    ) -> Result<Option<Arc<Known>>, LedgerError> {
        let _turn = hour.listing.lock().await;
        let known = hour.known();
        if known.is_of(since) || known.files.len() <= PAGE {
            return Ok(None);
        }
        let from = format!("{:013}", ms.saturating_sub(NEW_MS));
        let new = sorted(objects.list_from(&hour.folder, &from).await?);
        let mut files = known.files.clone();
        files.extend(new);
        files.sort_unstable();
        files.dedup();
        Ok(Some(self.keep(hour, Known { files, listed: known.listed })))
    }

    fn keep(&self, hour: &Hour, known: Known) -> Arc<Known> {
        let known = Arc::new(known);
        // An hour with more would push all others out, and itself.
        if known.files.len() <= MAX_NAMES {
            hour.known.store(known.clone());
            trim(&mut self.lock());
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

    /// The names of the files that can hold `id`.
    pub(super) fn that_may_hold(&self, id: &RecordId) -> impl Iterator<Item = &str> {
        self.files.iter().filter(|(_, span)| span.may_hold(id)).map(|(name, _)| &**name)
    }
}

/// The names of index files among these.
fn sorted(names: Vec<String>) -> Vec<(Box<str>, Span)> {
    let named = |name: String| Span::of(&name).map(|span| (name.into_boxed_str(), span));
    let mut files: Vec<_> = names.into_iter().filter_map(named).collect();
    files.sort_unstable();
    files
}

#[cfg(test)]
mod tests;
