//! The end of a shard's chain: another takes over, or the ledger closes.

use super::{Chain, Closing, FIRST_PAUSE, LAST_TRY, LONGEST_PAUSE, Worker};
use crate::ledger::LedgerError;
use crate::log::LogError;
use crate::shard::Shard;
use crate::wal::WalError;
use colophon_receipt::statement::{CLOSE_TYPE, Counters, Predecessor, ShardClose};
use colophon_signer::cose::sign_statement;
use std::sync::Arc;
use tokio::time::{sleep, timeout};

impl Worker {
    /// A new shard takes over: announced, then the old one closed, each once.
    pub(super) async fn rotate(&mut self) -> Result<(), LedgerError> {
        self.end_chain().await?;
        let ledger = self.ledger.clone();
        let inner = &ledger.0;
        let shard = match &self.next {
            Some(shard) => shard.clone(),
            None => {
                let chain = &self.chain;
                let predecessor = chain.next_seq.checked_sub(1).map(|seq| Predecessor {
                    shard: chain.shard.name.clone(),
                    seq,
                    payload_hash: chain.previous,
                });
                let (config, now) = (&inner.config, inner.clock.now());
                let life = config.shard_key_life;
                let shard =
                    Shard::announce(&mut self.log, &config.name, now, life, predecessor, &inner.birth())
                        .await?;
                self.next.insert(Arc::new(shard)).clone()
            }
        };
        self.append_close().await?;
        let base = Counters {
            // What was open or unlogged then is the new shard's from the start.
            received: self.chain.total.received - self.chain.open,
            passed: self.chain.total.passed,
            lost: self.chain.total.lost,
            bypass: self.chain.total.bypass,
            ..Counters::default()
        };
        self.take_over(shard, self.chain.to, base)
    }

    /// The next shard is in force, for records that completed after `from`.
    pub(super) fn take_over(
        &mut self,
        shard: Arc<Shard>,
        from: u64,
        base: Counters,
    ) -> Result<(), LedgerError> {
        let inner = &self.ledger.0;
        // WAL first, as at the start.
        inner.wal.set_shard(&shard.name, shard.announced);
        inner.folder.set_shard(&shard.name, shard.announced)?;
        inner.shard.store(shard.clone());
        self.chain = Chain::new(shard, from, base);
        (self.next, self.closing) = (None, Closing::No);
        Ok(())
    }

    /// Logs the current shard's last statement and prepares its close leaf.
    pub(super) async fn end_chain(&mut self) -> Result<(), LedgerError> {
        self.publish().await?;
        if !matches!(self.closing, Closing::No) {
            return Ok(());
        }
        // After an outage of hours the key may have expired: what a statement says after that does not count, so the
        // next shard describes what is left. (One statement there has to be, for that shard to name.)
        if !self.expired() || self.chain.next_seq == 0 {
            self.seal(true).await?;
        }
        let close = ShardClose {
            shard: self.chain.shard.name.clone(),
            seq: self.chain.next_seq.saturating_sub(1),
            payload_hash: self.chain.previous,
            at: self.ledger.now(),
        };
        let origin = self.ledger.0.origin.clone();
        let bytes = sign_statement(
            &close.encode(),
            CLOSE_TYPE,
            &origin,
            &self.chain.shard.name,
            &*self.chain.shard.signer,
        )?;
        self.closing = Closing::Due(bytes);
        self.publish().await
    }

    /// Whether the current shard's key has stopped counting.
    pub(super) fn expired(&self) -> bool {
        self.ledger.now() >= self.chain.shard.not_after
    }

    pub(super) async fn append_close(&mut self) -> Result<(), LedgerError> {
        if let Closing::Due(leaf) = &self.closing {
            match self.log.append(leaf.clone(), self.chain.shard.announced).await {
                // The shard is at its end all the same.
                Err(error @ LogError::Refused { .. }) => {
                    tracing::warn!(%error, "the log takes no close leaf")
                }
                appended => drop(appended?),
            }
            self.closing = Closing::Logged;
        }
        Ok(())
    }

    /// The clean end.
    pub(super) async fn finish(mut self) -> Result<(), LedgerError> {
        // Another process logs what waits here.
        let taken_over = |error: &LedgerError| matches!(error, LedgerError::Wal(WalError::TakenOver));
        let ledger = self.ledger.clone();
        let ended = timeout(LAST_TRY, async {
            let mut pause = FIRST_PAUSE;
            loop {
                match self.wind_up().await {
                    Ok(()) => return Ok(()),
                    Err(error) if taken_over(&error) => return Err(error),
                    Err(error) => tracing::error!(%error, "logging the last batch failed; it is tried again"),
                }
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        });
        let ended = ended.await;
        let left = ledger.book().unlogged();
        match ended {
            Ok(ended) => ended?,
            Err(_) => return Err(LedgerError::Unlogged(left)),
        }
        if left > 0 {
            return Err(LedgerError::Unlogged(left));
        }
        ledger.0.wal.finish();
        if let Some(copies) = &ledger.0.copies {
            // What stays is taken over by the next start, which sees that it is logged.
            match timeout(LAST_TRY, copies.clear()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "copies of logged records stay in the store"),
                Err(_) => tracing::warn!("copies of logged records stay in the store, which does not answer"),
            }
        }
        Ok(())
    }

    pub(super) async fn wind_up(&mut self) -> Result<(), LedgerError> {
        self.publish().await?;
        self.end_change().await?;
        // What was begun is ended: the next shard is announced, and the records since are its own.
        if self.expired() || self.next.is_some() {
            self.rotate().await?;
        }
        while matches!(self.closing, Closing::No) && self.seal(false).await? {
            self.publish().await?;
        }
        self.end_chain().await?;
        self.append_close().await
    }
}
