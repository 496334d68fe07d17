//! The ledger's claim on one accepted exchange.

use super::Ledger;
use crate::shard::Shard;
use crate::wal::{Queued, WalError};
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
#[must_use = "the end of a response may not be released before DONE is written"]
pub struct Finishing(pub(super) Option<(Ticket, Done, u64, Queued)>);

impl Finishing {
    /// Waits until DONE is written, together with those of other exchanges that are ready now, and is as durable as was
    /// promised.
    ///
    /// # Errors
    /// As [`now`](Finishing::now).
    pub async fn written(mut self) -> Result<(), Box<Unfinished>> {
        if let Some((ticket, _, _, queued)) = &self.0 {
            let (ledger, queued) = (ticket.ledger.clone(), *queued);
            ledger.0.wal.gathered(queued).await;
            if let Err(error) = ledger.0.wal.durable(queued).await {
                ledger.0.wal_failed.store(true, Ordering::Relaxed);
                if let Some((ticket, done, ..)) = self.0.take() {
                    return Err(Box::new(Unfinished { error, ticket, done }));
                }
            }
        }
        self.now()
    }

    /// Writes DONE now, with all frames queued before it. Waits for no disk.
    ///
    /// # Errors
    /// Gives everything back; nothing is lost until the ticket is dropped.
    pub fn now(mut self) -> Result<(), Box<Unfinished>> {
        self.settle()
    }

    fn settle(&mut self) -> Result<(), Box<Unfinished>> {
        let Some((ticket, done, completed_at, queued)) = self.0.take() else { return Ok(()) };
        let ledger = ticket.ledger.clone();
        match ledger.0.wal.written_done(&ticket.id, queued) {
            Ok(holds) => {
                ledger.take_in(ticket, done, completed_at, holds);
                Ok(())
            }
            Err(error) => {
                ledger.0.wal_failed.store(true, Ordering::Relaxed);
                Err(Box::new(Unfinished { error, ticket, done }))
            }
        }
    }
}

impl Drop for Finishing {
    fn drop(&mut self) {
        // Nobody is left to be told, so the record stays in memory at least.
        if let Err(unfinished) = self.settle() {
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
        f.debug_tuple("Finishing").field(&self.0.as_ref().map(|(ticket, ..)| ticket)).finish()
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
