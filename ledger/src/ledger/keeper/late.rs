//! A log that did not answer at the start, and does now.

use super::{Chain, Counters, FIRST_PAUSE, LONGEST_PAUSE, Ledger, LedgerError, Worker, beside};
use crate::generation;
use crate::ledger::book::Pending;
use crate::ledger::late::{Found, Late};
use crate::recover::Past;
use crate::shard::{Shard, UNANNOUNCED};
use crate::wal::WalError;
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
        let (mut pause, mut found) = (FIRST_PAUSE, None);
        loop {
            if let Err(error @ WalError::TakenOver) = self.ledger.0.wal.copying() {
                return Err(error.into());
            }
            match self.take_up(&mut late, &mut found).await {
                Ok(taken) => return self.taken_up(late, taken).await.map(|()| true),
                Err(error) => {
                    let waiting = self.ledger.book().unlogged();
                    match found.is_none() {
                        true => tracing::warn!(
                            %error, waiting, "the log did not answer yet since the start; it is asked again"
                        ),
                        false => tracing::error!(
                            %error, waiting,
                            "the log has answered, but what waits for it cannot be taken up: see to the data folder; it \
                             is tried again and nothing is lost"
                        ),
                    }
                }
            }
            tokio::select! {
                () = sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
                _ = &mut *stop => return Ok(false),
            }
        }
    }

    /// What the log says, and whether its shard is the one that has signed answers meanwhile.
    async fn announce_late(&mut self, late: &mut Late) -> Result<(bool, Found), LedgerError> {
        self.log.refresh().await?;
        let ledger = self.ledger.clone();
        let inner = &ledger.0;
        let generation = self.log.generation();
        let files = self.log.files().unwrap_or_else(|| inner.objects.0.clone());
        let older = Arc::new(generation::older(&files, &inner.objects.0, generation).await);
        inner.older.store(older.clone());
        late.earlier().leave_generations(&self.log, &inner.objects, &older).await?;
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

    /// Writes down what `found`, or else the log now, says. Tried again, it goes on where it failed.
    async fn take_up(
        &mut self,
        late: &mut Late,
        found: &mut Option<(bool, Found)>,
    ) -> Result<Taken, LedgerError> {
        let (ours, answer) = match found {
            Some(found) => found,
            None => found.insert(self.announce_late(late).await?),
        };
        let (inner, since) = (&self.ledger.0, late.since());
        // As at a start with the log: from here on nothing ends before its last statement.
        inner.clock.raise(answer.told_to().unwrap_or(0));
        let now = inner.clock.now();
        let (shard, from, recovered) =
            answer.taken_up(late.earlier(), &inner.folder, &inner.wal, now, since)?;
        Ok(Taken { ours: *ours, shard, from, recovered })
    }

    /// From here on all is as after a start with the log.
    async fn taken_up(&mut self, late: Late, taken: Taken) -> Result<(), LedgerError> {
        let Taken { ours, shard, from, recovered } = taken;
        let inner = self.ledger.0.clone();
        if from > late.since() {
            tracing::error!(
                "the clock was behind the log's last statement of this folder; records are logged late"
            );
        }
        let (holds, ids) = late.end();
        let _ = inner.late_announced.set(ours.then_some(shard.announced));
        if !ours {
            tracing::error!(
                "the key that signed answers since the start has all but expired before the log answered: it is not \
                 announced, and their records are logged without its signatures"
            );
        }
        {
            let mut book = self.ledger.book();
            book.go_on_from(from);
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

/// What a late start goes on with.
struct Taken {
    /// The shard is the one that has signed answers meanwhile.
    ours: bool,
    shard: Shard,
    from: u64,
    recovered: Vec<Pending>,
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
