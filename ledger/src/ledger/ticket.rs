//! The ledger's claim on one accepted exchange.

use super::Ledger;
use crate::shard::Shard;
use crate::wal::{Holds, Queued, WalError};
use colophon_receipt::Level;
use colophon_receipt::record::{FieldSet, Record, RecordId, id_text};
use colophon_signer::httpsig::KeptSignature;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What is known of an exchange when it is accepted.
#[derive(Clone, Copy, Debug)]
pub struct Open<'a> {
    /// From `Ledger::new_id`.
    pub id: RecordId,
    /// µs, by `Ledger::now`.
    pub received_at: u64,
    /// The level that the policy asks for.
    pub level: Level,
    /// The fields known by now; they are all that a record made after a crash says.
    pub fields: &'a FieldSet,
    /// Whose keys seal what opens the record, so that it can be erased with all else of the tenant; absent: those of the
    /// tenant `-`. At most [`MAX_TENANT`](crate::erase::MAX_TENANT) bytes.
    pub tenant: Option<&'a [u8]>,
    /// Name of the rule that decided, for the counts by rule; absent: counted together with others.
    pub rule: Option<&'a Arc<str>>,
}

/// An accepted exchange. Give it to `Ledger::finish`: one that is dropped instead counts as lost.
#[must_use = "an exchange whose ticket is dropped counts as lost"]
pub struct Ticket {
    pub(super) ledger: Ledger,
    pub(super) shard: Arc<Shard>,
    pub(super) id: RecordId,
    pub(super) tenant: Option<Arc<[u8]>>,
    pub(super) rule: Option<Arc<str>>,
    /// Its OPEN, while nobody has seen it written.
    pub(super) opening: Option<Queued>,
    /// Its OPEN, once somebody has.
    pub(super) opened: Option<Queued>,
    pub(super) stamp: Option<u64>,
    pub(super) degraded: bool,
    /// Set when the record was taken in.
    pub(super) settled: bool,
}

impl Ticket {
    /// The exchange's id.
    pub fn id(&self) -> &RecordId {
        &self.id
    }

    /// The shard that accepted the exchange and signs its answer, though another may have taken over since.
    pub fn shard(&self) -> &Arc<Shard> {
        &self.shard
    }

    /// Lets the exchange go on without a record, if a bypass is in force: it is counted as passed, by the bypass, and nothing
    /// is left for the ticket to do. False where none is.
    pub fn bypass(&mut self) -> bool {
        if !self.ledger.0.bypasses.count(self.ledger.now()) {
            return false;
        }
        self.settled = true;
        let inner = &self.ledger.0;
        inner.wal.let_go(inner.wal.undone(&self.id));
        let mut book = self.ledger.book();
        if let Some(stamp) = self.stamp.take() {
            book.unstamp(stamp);
        }
        book.bypass(&self.id, self.rule.as_deref());
        true
    }

    /// Its record is kept in memory only from now on: the WAL does not take its DONE.
    pub fn degrade(&mut self) {
        self.degraded = true;
    }

    /// Whether the exchange was let through without a WAL entry.
    pub fn degraded(&self) -> bool {
        self.degraded
    }
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ticket").field("id", &hex::encode(self.id)).field("shard", &self.shard.name).finish()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.settled {
            self.ledger.lose(&self.id, self.stamp, self.rule.as_deref());
            tracing::error!(
                record = id_text(&self.id),
                "LOST RECORD: an accepted exchange was dropped without a record; it counts as lost"
            );
        }
    }
}

/// What an exchange ends with.
#[derive(Debug)]
pub struct Done {
    /// The record, sealed at the time that `Ledger::stamp` gave.
    pub record: Record,
    /// Signatures over the answer, for the receipt.
    pub signatures: Vec<KeptSignature>,
    /// Whether the proxy refused the exchange.
    pub refused: bool,
}

impl From<Record> for Done {
    /// A record without signatures, of an exchange that was not refused.
    fn from(record: Record) -> Done {
        Done { record, signatures: Vec::new(), refused: false }
    }
}

/// An exchange whose DONE is queued. Dropping it finishes the exchange all the same.
#[derive(Default)]
#[must_use = "the end of a response may not be released before DONE is written"]
pub struct Finishing {
    /// With the completion time that is reserved. Absent: nothing is left to do.
    rest: Option<(Ticket, Done, u64, Queued)>,
    /// Nobody waits for it but a task of its own.
    left: bool,
}

impl Finishing {
    pub(super) fn new(ticket: Ticket, done: Done, completed_at: u64, queued: Queued) -> Finishing {
        Finishing { rest: Some((ticket, done, completed_at, queued)), left: false }
    }

    /// Waits until DONE is written, together with those of other exchanges that are ready now, and is as durable as was
    /// promised.
    ///
    /// # Errors
    /// As [`now`](Finishing::now).
    pub async fn written(mut self) -> Result<(), Box<Unfinished>> {
        if let Some((ticket, _, _, queued)) = &self.rest {
            let (ledger, queued) = (ticket.ledger.clone(), *queued);
            ledger.0.wal.gathered(queued).await;
            self.opened();
            if let Err(error) = ledger.0.wal.durable(queued).await {
                ledger.0.wal_failed.store(true, Ordering::Relaxed);
                if let Some((ticket, done, ..)) = self.rest.take() {
                    return Err(Box::new(Unfinished { error, ticket, done }));
                }
            }
        }
        self.now()
    }

    /// Writes DONE now, with all frames queued before it. Waits for no sync, but for a write of another thread.
    ///
    /// # Errors
    /// Gives everything back; nothing is lost until the ticket is dropped.
    pub fn now(mut self) -> Result<(), Box<Unfinished>> {
        self.settle()
    }

    /// The same, unless another thread writes at this moment: then it gives back what is to be waited for with
    /// [`written`](Finishing::written). So a disk that hangs does not stop whoever asks.
    ///
    /// # Errors
    /// As [`now`](Finishing::now).
    pub fn now_or_later(mut self) -> Result<Option<Finishing>, Box<Unfinished>> {
        match self.try_settle() {
            Some(settled) => settled.map(|()| None),
            None => Ok(Some(self)),
        }
    }

    /// Gives it to a task of its own.
    fn leave(&mut self, runtime: &tokio::runtime::Handle) {
        let Some(rest) = self.rest.take() else { return };
        let ledger = rest.0.ledger.clone();
        ledger.0.left.spawn_on(Finishing { rest: Some(rest), left: true }.kept(), runtime);
    }

    /// For the task that has it when nobody else does.
    async fn kept(self) {
        if let Some((ticket, _, _, queued)) = &self.rest {
            ticket.ledger.0.wal.gathered(*queued).await;
        }
    }

    /// Sees what became of OPEN, where that was still queued when the exchange ended. Its failure makes the ticket a degraded
    /// one.
    fn opened(&mut self) {
        if let Some((ticket, ..)) = &mut self.rest {
            let ledger = ticket.ledger.clone();
            let _ = ledger.open_now(ticket);
        }
    }

    fn settle(&mut self) -> Result<(), Box<Unfinished>> {
        self.opened();
        let Some((ticket, _, _, queued)) = &self.rest else { return Ok(()) };
        let written = ticket.ledger.0.wal.written_done(&ticket.id, *queued);
        self.settled(written)
    }

    /// `None`, and nothing is done, where another thread writes.
    fn try_settle(&mut self) -> Option<Result<(), Box<Unfinished>>> {
        let Some((ticket, _, _, queued)) = &self.rest else { return Some(Ok(())) };
        let wal = &ticket.ledger.0.wal;
        if ticket.opening.is_some() {
            if !wal.settled_now(*queued) {
                return None;
            }
            self.opened();
        }
        let (ticket, _, _, queued) = self.rest.as_ref()?;
        let written = ticket.ledger.0.wal.written_done_now(&ticket.id, *queued)?;
        Some(self.settled(written))
    }

    fn settled(&mut self, written: Result<Holds, WalError>) -> Result<(), Box<Unfinished>> {
        let Some((ticket, done, completed_at, _)) = self.rest.take() else { return Ok(()) };
        let ledger = ticket.ledger.clone();
        match written {
            Ok(holds) => {
                ledger.take_in(ticket, done, completed_at, holds);
                Ok(())
            }
            // As where OPEN had failed before: without it there is no DONE.
            Err(_) if ticket.degraded => ledger.finish_degraded(ticket, done),
            Err(error) => {
                ledger.0.wal_failed.store(true, Ordering::Relaxed);
                Err(Box::new(Unfinished { error, ticket, done }))
            }
        }
    }
}

impl Drop for Finishing {
    fn drop(&mut self) {
        let settled = match self.try_settle() {
            Some(settled) => settled,
            None => match tokio::runtime::Handle::try_current() {
                // A runtime that ends drops the task, here, and then it is waited for.
                Ok(runtime) if !self.left => return self.leave(&runtime),
                _ => self.settle(),
            },
        };
        // Nobody is left to be told, so the record stays in memory at least.
        if let Err(unfinished) = settled {
            let Unfinished { error, ticket, done } = *unfinished;
            let ledger = ticket.ledger.clone();
            let record = id_text(&ticket.id);
            tracing::warn!(%error, record, "no WAL frame for this record: it counts as degraded");
            if let Err(unfinished) = ledger.finish_degraded(ticket, done) {
                tracing::error!(error = %unfinished.error, record, "the record is lost");
            }
        }
    }
}

impl std::fmt::Debug for Finishing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Finishing").field(&self.rest.as_ref().map(|(ticket, ..)| ticket)).finish()
    }
}

/// A record that could not be written. Nothing is lost yet: try again, or give it to `Ledger::finish_degraded`.
#[derive(Debug, thiserror::Error)]
#[error("the record could not be written: {error}")]
pub struct Unfinished {
    /// Why.
    #[source]
    pub error: WalError,
    /// As it was given.
    pub ticket: Ticket,
    /// As it was given.
    pub done: Done,
}
