//! The hot path: one exchange from its OPEN to the record that waits for the next batch.

use super::{Done, Finishing, Ledger, Open, Pending, Ticket, Unfinished};
use crate::shard::{Shard, UNANNOUNCED};
use crate::wal::{self, WalError};
use colophon_receipt::record::{Record, RecordId, RecordLeaf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Ledger {
    /// Accepts an exchange: queues its OPEN and counts it as received. Nothing of it may be forwarded before
    /// [`opened`](Ledger::opened) has said that OPEN is written.
    ///
    /// # Errors
    /// When the WAL can take no frame, too many records wait for the log, or the ledger is closed. Then the exchange is
    /// not counted: refuse it, or let it through, with `begin_degraded` in either case.
    pub fn begin(&self, open: &Open<'_>) -> Result<Ticket, WalError> {
        let (shard, now) = (self.shard(), self.now());
        if now >= shard.not_after {
            return Err(WalError::Expired);
        }
        {
            let mut book = self.book();
            book.admit(self.0.config.max_backlog)?;
            book.admit_age(self.0.config.max_backlog_age, now)?;
            book.accept(&open.id);
        }
        match self.0.wal.queue_open(&open.id, open.received_at, open.level, open.fields, open.tenant) {
            Ok(queued) => {
                let mut ticket = self.ticket(open, shard, false);
                ticket.opening = Some(queued);
                Ok(ticket)
            }
            Err(error) => {
                self.book().forget(&open.id);
                self.0.wal_failed.store(true, Ordering::Relaxed);
                Err(error)
            }
        }
    }

    /// Waits until OPEN is written, together with those of other exchanges that are ready now. May be dropped: then
    /// `finish` does what is left.
    ///
    /// # Errors
    /// OPEN could not be written. The exchange is counted, and degraded from now on: refuse it, or let it through.
    pub async fn opened(&self, ticket: &mut Ticket) -> Result<(), WalError> {
        if let Some(queued) = ticket.opening {
            self.0.wal.gathered(queued).await;
        }
        self.open_now(ticket)
    }

    pub(super) fn open_now(&self, ticket: &mut Ticket) -> Result<(), WalError> {
        let Some(queued) = ticket.opening.take() else { return Ok(()) };
        ticket.opened = Some(queued);
        self.0.wal.written_open(&ticket.id, queued).inspect_err(|_| {
            ticket.degraded = true;
            self.0.wal_failed.store(true, Ordering::Relaxed);
        })
    }

    /// Waits until OPEN is on the disk (durability `power`) or a copy of it in the store (`node`), which it most often is by
    /// the time that an answer is there. Nothing of the answer may be released before: an answer that is cut has no other
    /// trace. With `process` there is nothing to wait for.
    ///
    /// # Errors
    /// The disk or the store did not take it. The exchange is degraded from now on: refuse it, or let it through.
    pub async fn opened_safely(&self, ticket: &mut Ticket) -> Result<(), WalError> {
        let Some(queued) = ticket.opened.filter(|_| !ticket.degraded) else { return Ok(()) };
        self.0.wal.safe(queued).await.inspect_err(|_| ticket.degraded = true)
    }

    /// Accepts an exchange that the WAL cannot hold. Its record counts as degraded; a crash loses it.
    pub fn begin_degraded(&self, open: &Open<'_>) -> Ticket {
        self.book().accept(&open.id);
        self.ticket(open, self.shard(), true)
    }

    fn ticket(&self, open: &Open<'_>, shard: Arc<Shard>, degraded: bool) -> Ticket {
        Ticket {
            ledger: self.clone(),
            shard,
            id: open.id,
            tenant: open.tenant.map(Arc::from),
            rule: open.rule.cloned(),
            opening: None,
            opened: None,
            stamp: None,
            degraded,
            settled: false,
        }
    }

    /// The time to seal the record with, as its `completed_at`. No statement ends between it and `finish`, so that the
    /// record lies in its statement's interval; call `finish` without waiting for anything in between.
    pub fn stamp(&self, ticket: &mut Ticket) -> u64 {
        let mut book = self.book();
        if let Some(earlier) = ticket.stamp.take() {
            book.unstamp(earlier);
        }
        // Under the lock, as the end of an interval is.
        let now = self.now();
        book.stamp(now);
        ticket.stamp = Some(now);
        now
    }

    /// Writes DONE and hands the record to the batcher. The end of the response may be released after this, not before.
    ///
    /// # Errors
    /// Gives everything back; nothing is lost until the ticket is dropped.
    pub fn finish(&self, ticket: Ticket, done: Done) -> Result<(), Box<Unfinished>> {
        self.finishing(ticket, done)?.now()
    }

    /// Queues DONE. The end of the response may be released once [`Finishing::written`] has said so, not before.
    ///
    /// # Errors
    /// Gives everything back; nothing is lost until the ticket is dropped.
    pub fn finishing(&self, mut ticket: Ticket, done: Done) -> Result<Finishing, Box<Unfinished>> {
        // While another thread writes, nobody waits for it here: then DONE comes right behind OPEN.
        if ticket.opening.is_some_and(|queued| self.0.wal.settled_now(queued)) {
            // Its failure makes the ticket a degraded one.
            let _ = self.open_now(&mut ticket);
        }
        if ticket.degraded {
            // Without an OPEN there is no DONE; and what is only in memory has to stay bounded.
            return self.finish_degraded(ticket, done).map(|()| Finishing::default());
        }
        let queued = self.reserve(&mut ticket, &done.record).and_then(|completed_at| {
            let announced = self.announced(ticket.shard.announced);
            let tenant = ticket.tenant.as_deref();
            let queued =
                self.0.wal.queue_done(&done.record, &done.signatures, announced, done.refused, tenant);
            self.0.wal_failed.fetch_or(queued.is_err(), Ordering::Relaxed);
            Ok((completed_at, queued?))
        });
        match queued {
            Ok((completed_at, queued)) => Ok(Finishing::new(ticket, done, completed_at, queued)),
            Err(error) => Err(Box::new(Unfinished { error, ticket, done })),
        }
    }

    /// Where a shard was announced, as far as that is known by now.
    pub(super) fn announced(&self, index: u64) -> u64 {
        match index {
            UNANNOUNCED => self.0.late_announced.get().copied().flatten().unwrap_or(UNANNOUNCED),
            known => known,
        }
    }

    /// Keeps statements from ending before the record is taken in.
    fn reserve(&self, ticket: &mut Ticket, record: &Record) -> Result<u64, WalError> {
        let (id, completed_at) = identified(&record.leaf).ok_or(WalError::Record)?;
        debug_assert!(RecordLeaf::decode(&record.leaf).is_ok(), "a leaf of `seal`'s");
        if id != ticket.id {
            return Err(WalError::Record);
        }
        if ticket.stamp == Some(completed_at) {
            // Reserved by `stamp`, and no statement has ended since.
            return Ok(completed_at);
        }
        let mut book = self.book();
        if !book.in_time(completed_at, self.now()) {
            return Err(WalError::Stale);
        }
        book.stamp(completed_at);
        if let Some(earlier) = ticket.stamp.replace(completed_at) {
            book.unstamp(earlier);
        }
        Ok(completed_at)
    }

    /// Keeps a record in memory that the WAL cannot hold, for rules that let exchanges through then
    /// (`failurePolicy: Ignore`). A crash loses it. Where too many wait already, it counts as lost.
    ///
    /// # Errors
    /// Only [`WalError::Stale`] and [`WalError::Record`]: the record cannot stand in any statement to come.
    pub fn finish_degraded(&self, mut ticket: Ticket, done: Done) -> Result<(), Box<Unfinished>> {
        if self.book().unlogged() >= self.0.config.max_backlog.saturating_mul(2) {
            // The ticket says so when it is dropped.
            return Ok(());
        }
        match self.reserve(&mut ticket, &done.record) {
            Ok(completed_at) => {
                ticket.degraded = true;
                let holds = self.0.wal.undone(&ticket.id);
                self.take_in(ticket, done, completed_at, holds);
                Ok(())
            }
            Err(error) => Err(Box::new(Unfinished { error, ticket, done })),
        }
    }

    pub(super) fn take_in(&self, mut ticket: Ticket, done: Done, completed_at: u64, holds: wal::Holds) {
        ticket.settled = true;
        let pending = Pending {
            id: ticket.id,
            tenant: ticket.tenant.take(),
            rule: ticket.rule.take(),
            completed_at,
            record: done.record,
            signatures: done.signatures,
            announced: self.announced(ticket.shard.announced),
            refused: done.refused,
            degraded: ticket.degraded,
            holds,
        };
        let waiting = {
            let mut book = self.book();
            if let Some(stamp) = ticket.stamp {
                book.unstamp(stamp);
            }
            book.finish(pending);
            book.waiting()
        };
        if waiting == self.0.config.max_batch {
            self.0.full.notify_one();
        }
    }

    pub(super) fn lose(&self, id: &RecordId, stamp: Option<u64>, rule: Option<&str>) {
        let holds = self.0.wal.undone(id);
        self.0.wal.let_go(holds);
        let mut book = self.book();
        if let Some(stamp) = stamp {
            book.unstamp(stamp);
        }
        book.lose(id, rule);
    }
}

/// A record leaf's id and completion time. Only that much, since this is on the hot path and `seal` made the leaf.
fn identified(leaf: &[u8]) -> Option<(RecordId, u64)> {
    let mut map = minicbor::Decoder::new(leaf);
    map.map().ok()?;
    let kind = (map.u64().ok()?, map.u64().ok()?);
    let id = map.u64().ok().filter(|key| *key == 2).and_then(|_| map.bytes().ok())?.try_into().ok()?;
    let completed_at = map.u64().ok().filter(|key| *key == 3).and_then(|_| map.u64().ok())?;
    (kind == (1, 1)).then_some((id, completed_at))
}
