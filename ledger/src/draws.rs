//! Draws of records for a higher level, by a round of public randomness that comes after the commitment (DESIGN section 7).
//!
//! A batch with records that may be drawn leaves a note, `draw/due/<shard>/<seq>`, before its statement is logged. A task
//! beside the keeper looks for the round that the statement's `to` names, verifies it, keeps it as
//! `draw/round/<chain>/<number>`, decides, and has the keeper log an evidence leaf for each record that is drawn, or has
//! somebody make evidence. The note goes once every such leaf is logged: whoever makes evidence may be lost with its machine. The leaf's id follows from the record, so that a later life that finds the note again logs none twice.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use colophon_receipt::record::RecordId;
use colophon_receipt::{Hash, Level};
use colophon_signer::drand::Chain;
use futures_util::future::BoxFuture;

pub(crate) mod due;
mod files;
pub(crate) mod rounds;
pub(crate) mod task;

pub(crate) use due::Due;
pub use files::RoundFiles;
pub use rounds::CHAIN_FILE;

/// How often it is looked for rounds that are due.
const EVERY: Duration = Duration::from_secs(5);

/// By whose randomness is drawn.
#[derive(Clone)]
pub struct Drawing {
    /// The chain whose rounds are believed.
    pub chain: Chain,
    /// Where its rounds come from. Without one only those in the store are known, and all else waits.
    pub source: Option<Arc<dyn RoundSource>>,
    /// How often it is looked for rounds that are due.
    pub every: Duration,
    /// Who makes evidence for what is drawn. Without, the log says that nothing was done.
    pub escalation: Option<Arc<dyn Escalation>>,
}

impl Default for Drawing {
    /// Quicknet, and no source.
    fn default() -> Drawing {
        Drawing { chain: Chain::quicknet(), source: None, every: EVERY, escalation: None }
    }
}

/// A record that was drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrawnRecord {
    /// Its id.
    pub record: RecordId,
    /// The hash of its leaf.
    pub subject: Hash,
    /// The level it was drawn for.
    pub kind: Level,
    /// The id that its evidence leaf has to have.
    pub evidence: RecordId,
}

/// Makes evidence for records that are drawn, beside the ledger.
pub trait Escalation: Send + Sync {
    /// Takes a record on, durably: from then on it sees to it that [`Ledger::settle`](crate::Ledger::settle) is told what came of it.
    /// False: it does not, and the log says now that nothing was done. The same record may be given again, after a crash. After an error
    /// it is asked again later.
    fn take(&self, drawn: DrawnRecord) -> BoxFuture<'_, Result<bool, String>>;
}

/// Settles nothing: for tools that open a ledger of which somebody else makes evidence.
pub struct LeaveDrawn;

impl Escalation for LeaveDrawn {
    fn take(&self, _: DrawnRecord) -> BoxFuture<'_, Result<bool, String>> {
        Box::pin(std::future::ready(Ok(true)))
    }
}

/// Where rounds come from. Nothing that it says is believed before its signature was verified.
pub trait RoundSource: Send + Sync {
    /// The round of this number as a drand server answers it, `None` where it is not there yet. The implementation bounds
    /// the wait and the answer; an error says what happened.
    fn fetch(&self, number: u64) -> BoxFuture<'_, Result<Option<Vec<u8>>, String>>;
}

/// What is known about draws.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DrawCounts {
    /// Statements whose records wait for their round, or for its evidence to be logged.
    pub waiting: u64,
    /// Seconds since the oldest round that is waited for was made, by this machine's clock; 0 before that.
    pub lag: u64,
    /// Evidence leaves logged.
    pub evidence: u64,
    /// Rounds that a source did not give when they were due, or that were not good.
    pub failed: u64,
}

/// What waits to be drawn.
pub(crate) struct Draws {
    pub(crate) chain: Chain,
    /// By the end of their intervals, then by name: the oldest first.
    due: Mutex<BTreeMap<(u64, String), Due>>,
    evidence: AtomicU64,
    failed: AtomicU64,
}

impl Draws {
    pub(crate) fn new(chain: Chain) -> Draws {
        Draws { chain, due: Mutex::default(), evidence: AtomicU64::new(0), failed: AtomicU64::new(0) }
    }

    fn due(&self) -> MutexGuard<'_, BTreeMap<(u64, String), Due>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a statement in whose records may be drawn; one that is known stays as it is.
    pub(crate) fn add(&self, due: Due) {
        self.due().entry((due.to, due.name())).or_insert(due);
    }

    fn waiting(&self) -> Vec<Due> {
        self.due().values().cloned().collect()
    }

    fn set(&self, due: Due) {
        self.due().insert((due.to, due.name()), due);
    }

    fn remove(&self, due: &Due) {
        self.due().remove(&(due.to, due.name()));
    }

    pub(crate) fn logged(&self, leaves: u64) {
        self.evidence.fetch_add(leaves, Ordering::Relaxed);
    }

    fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn counts(&self, now: u64) -> DrawCounts {
        let due = self.due();
        // What has `again` has its round.
        let made = due.values().find(|due| due.again.is_none()).map(|due| {
            let schedule = self.chain.schedule;
            schedule.time(schedule.round(due.to))
        });
        DrawCounts {
            waiting: due.len() as u64,
            lag: made.map_or(0, |made| now.saturating_sub(made) / 1_000_000),
            evidence: self.evidence.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests;
