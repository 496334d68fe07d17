//! What the shard knows about exchanges that no statement describes yet. Everything here is short and under one lock.

use crate::id_hash::ByRecordId;
use crate::private::{Entry, NO_TENANT, Openings};
use crate::wal::{Holds, WalError};
use colophon_receipt::record::{Record, RecordId};
use colophon_receipt::statement::{Counters, OTHER, RuleCount, Rules};
use colophon_signer::httpsig::KeptSignature;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// A finished record on its way to the log.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    pub(crate) id: RecordId,
    pub(crate) tenant: Option<Arc<[u8]>>,
    /// Name of the rule that decided, if known.
    pub(crate) rule: Option<Arc<str>>,
    pub(crate) completed_at: u64,
    pub(crate) record: Record,
    pub(crate) signatures: Vec<KeptSignature>,
    pub(crate) announced: u64,
    pub(crate) refused: bool,
    pub(crate) degraded: bool,
    pub(crate) holds: Holds,
}

impl Pending {
    /// What opens it later.
    pub(crate) fn opening(&self) -> Entry<'_> {
        Entry {
            record: &self.record,
            id: &self.id,
            completed_at: self.completed_at,
            tenant: self.tenant.as_deref().unwrap_or(NO_TENANT),
            signatures: &self.signatures,
            announced: self.announced,
        }
    }

    /// Its part of what its rule counted.
    pub(crate) fn count_into(&self, rules: &mut Rules) {
        let (refused, degraded) = (u64::from(self.refused), u64::from(self.degraded));
        let count = RuleCount { recorded: 1, refused, degraded, ..RuleCount::default() };
        rules.add(named(self.rule.as_deref()), &count);
    }
}

impl Openings for Vec<Pending> {
    fn entries(&self) -> impl ExactSizeIterator<Item = Entry<'_>> {
        self.iter().map(Pending::opening)
    }
}

/// A rule as statements name it.
fn named(rule: Option<&str>) -> &[u8] {
    rule.map_or(OTHER, str::as_bytes)
}

#[derive(Debug, Default)]
pub(crate) struct Book {
    /// Since the start of the process; `recorded` counts finished records, logged or not.
    pub(crate) total: Counters,
    /// What rules passed and lost since the last `take`.
    rules: Rules,
    /// Ids that are open or wait for the log.
    live: HashSet<RecordId, ByRecordId>,
    pending: Vec<Pending>,
    /// Completion of the oldest record that is not logged, about.
    waiting_since: Option<u64>,
    /// Finished, not logged: pending, or in the keeper's hands.
    unlogged: usize,
    /// Completion times given out whose records have not come in: no statement may end after the first.
    stamps: BTreeMap<u64, u32>,
    /// Statements up to here are closed.
    from: u64,
    closed: bool,
}

/// What goes into the next statement.
pub(crate) struct Taken {
    pub(crate) pending: Vec<Pending>,
    /// No record that completed up to here is missing.
    pub(crate) to: u64,
    /// Counters at this moment.
    pub(crate) total: Counters,
    /// What rules passed and lost since the last time.
    pub(crate) rules: Rules,
}

impl Book {
    pub(crate) fn new(from: u64) -> Book {
        Book { from, ..Book::default() }
    }

    /// Statements up to `from` are in the log already: none to come ends before.
    pub(crate) fn go_on_from(&mut self, from: u64) {
        self.from = self.from.max(from);
    }

    /// Ids that the WAL holds while the log cannot say whether it has them: to whoever asks they are on their way.
    pub(crate) fn expect(&mut self, ids: impl Iterator<Item = RecordId>) {
        self.live.extend(ids);
    }

    /// The log has said it.
    pub(crate) fn expect_no_more(&mut self, ids: impl Iterator<Item = RecordId>) {
        for id in ids {
            self.live.remove(&id);
        }
    }

    /// Takes in a record of an earlier life.
    pub(crate) fn recover(&mut self, pending: Pending) {
        self.accept(&pending.id);
        self.finish(pending);
    }

    /// Counts an exchange as received.
    pub(crate) fn accept(&mut self, id: &RecordId) {
        self.live.insert(*id);
        self.total.received += 1;
        self.total.open += 1;
    }

    /// Refuses what cannot be kept.
    pub(crate) fn admit(&self, max_backlog: usize) -> Result<(), WalError> {
        if self.closed {
            Err(WalError::Closed)
        } else if self.unlogged >= max_backlog {
            Err(WalError::Backlog(self.unlogged))
        } else {
            Ok(())
        }
    }

    /// Refuses more while a record has waited for the log for too long.
    pub(crate) fn admit_age(&self, max: Duration, now: u64) -> Result<(), WalError> {
        match self.waiting_since.map(|since| Duration::from_micros(now.saturating_sub(since))) {
            Some(age) if age >= max => Err(WalError::Old(age)),
            _ => Ok(()),
        }
    }

    /// Since when the record that has waited longest for the log has waited, µs.
    pub(crate) fn waiting_since(&self) -> Option<u64> {
        self.waiting_since
    }

    /// Undoes `accept`.
    pub(crate) fn forget(&mut self, id: &RecordId) {
        self.live.remove(id);
        self.total.received = self.total.received.saturating_sub(1);
        self.total.open = self.total.open.saturating_sub(1);
    }

    /// Reserves `time` for a record to come.
    pub(crate) fn stamp(&mut self, time: u64) {
        *self.stamps.entry(time).or_insert(0) += 1;
    }

    pub(crate) fn unstamp(&mut self, time: u64) {
        if let Some(count) = self.stamps.get_mut(&time) {
            *count -= 1;
            if *count == 0 {
                self.stamps.remove(&time);
            }
        }
    }

    /// Whether a statement to come can contain `time`.
    pub(crate) fn in_time(&self, time: u64, now: u64) -> bool {
        (self.from..=now).contains(&time)
    }

    /// Takes a finished record in.
    pub(crate) fn finish(&mut self, pending: Pending) {
        self.total.open = self.total.open.saturating_sub(1);
        self.total.recorded += 1;
        self.total.refused += u64::from(pending.refused);
        self.total.degraded += u64::from(pending.degraded);
        self.unlogged += 1;
        self.waiting_since.get_or_insert(pending.completed_at);
        self.pending.push(pending);
    }

    /// Counts an accepted exchange as lost.
    pub(crate) fn lose(&mut self, id: &RecordId, rule: Option<&str>) {
        self.live.remove(id);
        self.total.open = self.total.open.saturating_sub(1);
        self.total.lost += 1;
        self.rules.add(named(rule), &RuleCount { lost: 1, ..RuleCount::default() });
    }

    pub(crate) fn pass(&mut self, rule: &str) {
        self.total.received += 1;
        self.passed(Some(rule));
    }

    /// An exchange that was accepted goes on without a record.
    pub(crate) fn bypass(&mut self, id: &RecordId, rule: Option<&str>) {
        self.live.remove(id);
        self.total.open = self.total.open.saturating_sub(1);
        self.passed(rule);
        *self.total.bypass.get_or_insert(0) += 1;
    }

    fn passed(&mut self, rule: Option<&str>) {
        self.total.passed += 1;
        self.rules.add(named(rule), &RuleCount { passed: 1, ..RuleCount::default() });
    }

    pub(crate) fn is_live(&self, id: &RecordId) -> bool {
        self.live.contains(id)
    }

    pub(crate) fn unlogged(&self) -> usize {
        self.unlogged
    }

    pub(crate) fn waiting(&self) -> usize {
        self.pending.len()
    }

    /// Takes all finished records and fixes the end of the interval they lie in.
    pub(crate) fn take(&mut self, now: u64) -> Taken {
        let first_stamp = self.stamps.first_key_value().map(|(time, _)| *time);
        let to = first_stamp.unwrap_or(now).min(now).max(self.from);
        self.from = to;
        let (pending, rules) = (std::mem::take(&mut self.pending), std::mem::take(&mut self.rules));
        Taken { pending, to, total: self.total, rules }
    }

    /// Forgets what is logged.
    pub(crate) fn logged(&mut self, ids: &[&RecordId]) {
        self.unlogged = self.unlogged.saturating_sub(ids.len());
        // Those that came in since are the oldest now; those in the keeper's hands are logged in a moment.
        let next = self.pending.first().map(|pending| pending.completed_at);
        self.waiting_since = next.filter(|_| self.unlogged > 0);
        for id in ids {
            self.live.remove(*id);
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(crate) fn close(&mut self) {
        self.closed = true;
    }
}
