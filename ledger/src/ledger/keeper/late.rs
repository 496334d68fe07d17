//! A log that did not answer at the start, and does now.

use super::{Chain, Counters, FIRST_PAUSE, LONGEST_PAUSE, Ledger, LedgerError, Worker, beside};
use crate::generation;
use crate::ledger::book::Pending;
use crate::ledger::late::Late;
use crate::recover::{self, Past};
use crate::shard::{Shard, UNANNOUNCED};
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::time::sleep;

impl Worker {
    /// Takes up what was put off, as soon as the log answers. False if the ledger is to end before.
    pub(super) async fn wait_for_log(
        &mut self,
        mut late: Late,
        stop: &mut oneshot::Receiver<()>,
    ) -> Result<bool, LedgerError> {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.announce_late(&mut late).await {
                Ok((shard, found)) => {
                    return self.take_up(late, shard, found).await.map(|()| true);
                }
                Err(error) => {
                    let waiting = self.ledger.book().unlogged();
                    tracing::warn!(%error, waiting, "the log did not answer yet since the start; it is asked again");
                }
            }
            tokio::select! {
                () = sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
                _ = &mut *stop => return Ok(false),
            }
        }
    }

    /// What the log says, and whether its shard is the one that has signed answers meanwhile.
    async fn announce_late(
        &mut self,
        late: &mut Late,
    ) -> Result<(bool, crate::ledger::late::Found), LedgerError> {
        self.log.refresh().await?;
        let ledger = self.ledger.clone();
        let inner = &ledger.0;
        let generation = self.log.generation();
        let files = self.log.files().unwrap_or_else(|| inner.objects.0.clone());
        inner.older.store(Arc::new(generation::older(&files, generation).await));
        if let Some(last) = late.earlier().last_shard.clone()
            && generation > 1
            && !recover::is_announced(&self.log, &last).await
        {
            // After a rotation its entries are in the generation before, which has ended and is all logged.
            late.earlier().last_shard = None;
        }
        let (given, now) = (late.shard().clone(), inner.clock.now());
        let ours = now < given.rotate_at;
        let shard = |_: &Past| match ours {
            true => Ok((given.clone(), ())),
            false => Ok((Shard::generate(&inner.config.name, now, inner.config.shard_key_life)?, ())),
        };
        let own = Some(given.name.as_str());
        let found = late
            .earlier()
            .find(&mut self.log, &inner.objects, &inner.folder, own, &inner.birth(), shard)
            .await?;
        Ok((ours, found.0))
    }

    async fn take_up(
        &mut self,
        late: Late,
        ours: bool,
        found: crate::ledger::late::Found,
    ) -> Result<(), LedgerError> {
        let inner = self.ledger.0.clone();
        let since = late.since();
        let (earlier, holds, ids) = late.end();
        let (shard, from, recovered) =
            found.taken_up(earlier, &inner.folder, &inner.wal, inner.clock.now(), since)?;
        if from > since {
            tracing::error!(
                "the clock was behind the log's last statement of this folder; records are logged late"
            );
        }
        let _ = inner.late_announced.set(ours.then_some(shard.announced));
        if !ours {
            tracing::error!(
                "the key that signed answers since the start has all but expired before the log answered: it is not \\
                 announced, and their records are logged without its signatures"
            );
        }
        {
            let mut book = self.ledger.book();
            book.expect_no_more(ids.into_iter());
            recovered.into_iter().for_each(|pending| book.recover(pending));
        }
        let shard = Arc::new(shard);
        inner.shard.store(shard.clone());
        self.chain = Chain::new(shard, from, Counters::default());
        beside(move || {
            inner.wal.let_go(holds);
            inner.wal.release([]);
        })
        .await
    }
}

/// Records that were finished before their shard was announced get to know where it was.
pub(super) fn name_announcement(ledger: &Ledger, shard: &Shard, records: &mut [Pending]) {
    for pending in records.iter_mut().filter(|pending| pending.announced == UNANNOUNCED) {
        match ledger.announced(UNANNOUNCED) {
            UNANNOUNCED => {
                pending.signatures.clear();
                pending.announced = shard.announced;
            }
            known => pending.announced = known,
        }
    }
}
