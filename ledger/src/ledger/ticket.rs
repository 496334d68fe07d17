//! The ledger's claim on one accepted exchange.

use super::Ledger;
use crate::shard::Shard;
use crate::wal::WalError;
use colophon_receipt::Level;
use colophon_receipt::receipt::HttpSignature;
use colophon_receipt::record::{FieldSet, Record, RecordId};
use std::sync::Arc;

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
}

/// An accepted exchange. Give it to `Ledger::finish`: one that is dropped instead counts as lost.
#[must_use = "an exchange whose ticket is dropped counts as lost"]
pub struct Ticket {
    pub(super) ledger: Ledger,
    pub(super) shard: Arc<Shard>,
    pub(super) id: RecordId,
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
            self.ledger.lose(&self.id, self.stamp);
            tracing::error!(
                id = hex::encode(self.id),
                "LOST RECORD: an accepted exchange was dropped without a record; it counts as lost"
            );
        }
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
    pub record: Record,
    /// As they were given.
    pub signatures: Vec<HttpSignature>,
    /// As it was given.
    pub refused: bool,
}
