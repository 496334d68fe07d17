//! A shard that the log takes no more statements of: its key expired while the log was away, or was revoked, or another
//! process goes on with its chain. What waits becomes the next shard's, with nothing lost: the refused statement is in no log.

use super::{Counters, LedgerError, Predecessor, Worker};
use crate::service::Refusal;
use crate::shard::Shard;
use crate::wal::{Durability, WalError};
use colophon_receipt::statement::Statement;
use colophon_signer::cose::Sign1;
use std::sync::Arc;

/// Reasons of the log after which a shard has no future, by name.
const FINAL: [&str; 6] = ["expired", "revoked", "closed", "superseded", "chain", "fork"];

/// Whether the log said that it takes no more statements of this shard.
pub(super) fn is_called_for(error: &LedgerError) -> bool {
    error.refused().is_some_and(|code| FINAL.contains(&code))
}

impl Worker {
    /// Announces another shard and gives it what the refused statement described.
    pub(super) async fn start_over(&mut self, why: &LedgerError) -> Result<(), LedgerError> {
        let wal = self.ledger.0.wal.clone();
        if self.next.is_none()
            && wal.durability() == Durability::Node
            && why.refused() == Some(Refusal::Superseded.code())
        {
            // Who goes on after this shard has read its copies, and logs what they hold.
            wal.is_taken_over();
            return Err(WalError::TakenOver.into());
        }
        wal.prove_life().await?;
        let Some(sealed) = &self.inflight else { return Ok(()) };
        tracing::error!(shard = sealed.shard.name, error = %why, "this shard is over; its records go to a new one");
        let damaged = |e: &dyn std::fmt::Display| LedgerError::Damaged {
            what: "a statement of our own".into(),
            why: e.to_string(),
        };
        let signed = Sign1::parse(&sealed.statement).map_err(|e| damaged(&e))?;
        let refused = Statement::decode(signed.payload()).map_err(|e| damaged(&e))?;
        let shard = match &self.next {
            Some(shard) => shard.clone(),
            None => {
                // Only of an expired shard is it certain that its chain ends where we think.
                let ours = why.refused() == Some("expired");
                let predecessor = refused.seq.checked_sub(1).filter(|_| ours).map(|seq| Predecessor {
                    shard: refused.shard.clone(),
                    seq,
                    payload_hash: refused.previous,
                });
                let (config, now) = (&self.ledger.0.config, self.ledger.0.clock.now());
                let life = config.shard_key_life;
                let shard = Shard::announce(
                    &mut self.log,
                    &config.name,
                    now,
                    life,
                    predecessor,
                    &self.ledger.0.birth(),
                )
                .await?;
                self.next.insert(Arc::new(shard)).clone()
            }
        };
        // No statement has told it after all.
        self.unrecorded.add_all(&std::mem::take(&mut self.chain.unrecorded));
        let (total, open) = self.chain.before;
        let base = Counters {
            received: total.received - open,
            passed: total.passed,
            lost: total.lost,
            bypass: total.bypass,
            ..Counters::default()
        };
        self.take_over(shard, refused.from, base)?;
        if let Some(sealed) = self.inflight.take() {
            self.held.splice(0..0, Arc::unwrap_or_clone(sealed.records));
            if let Some(evidence) = sealed.evidence {
                self.evidence.push_front(evidence.again());
            }
        }
        Ok(())
    }
}
