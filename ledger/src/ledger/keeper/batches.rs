//! From what waits to what is logged: one batch at a time.

use super::{Sealed, Worker, about_key_name, batch_name, beside, evidence, late, start_over};
use crate::batch;
use crate::draws::Due;
use crate::give_way::give_way;
use crate::index::{self, Target};
use crate::ledger::book::{Pending, Taken};
use crate::ledger::{LedgerError, PIECE};
use crate::wal::WalError;
use colophon_receipt::Hash;
use colophon_receipt::record::{RecordId, may_be_drawn};
use colophon_receipt::statement::{Counters, STATEMENT_TYPE, Statement, payload_hash};
use colophon_signer::cose::sign_statement;
use std::sync::Arc;
use tokio::time::Instant;

impl Worker {
    /// Logs all that is due: what was in flight, one batch, and more only where they are full.
    pub(super) async fn round(&mut self) -> Result<(), LedgerError> {
        if let Err(error @ WalError::TakenOver) = self.ledger.0.wal.copying() {
            return Err(error.into());
        }
        match self.publish().await {
            Err(error) if start_over::is_called_for(&error) => self.start_over(&error).await?,
            published => published?,
        }
        self.change_policy().await?;
        if self.next.is_some() || self.ledger.now() >= self.chain.shard.rotate_at {
            self.rotate().await?;
        }
        while self.seal(self.last.elapsed() >= self.ledger.0.config.heartbeat).await? {
            self.publish().await?;
            if self.held.len() + self.ledger.book().waiting() < self.ledger.0.config.max_batch {
                break;
            }
        }
        self.log_evidence().await
    }

    /// Closes a batch, if there is something in it or `always`.
    pub(super) async fn seal(&mut self, always: bool) -> Result<bool, LedgerError> {
        let taken = {
            let mut book = self.ledger.book();
            if !always && self.held.is_empty() && book.waiting() == 0 {
                return Ok(false);
            }
            book.take(self.ledger.now())
        };
        let Taken { pending, mut to, total, rules } = taken;
        self.unrecorded.add_all(&rules);
        let mut held = std::mem::take(&mut self.held);
        held.extend(pending);
        let (max, from) = (self.ledger.0.config.max_batch, self.chain.to);
        // A large batch takes milliseconds to sort.
        let cut = beside(move || {
            held.sort_unstable_by_key(|pending| (pending.completed_at, pending.id));
            let mut count = held.partition_point(|pending| pending.completed_at <= to);
            if count > max {
                count = max;
                to = held.get(count - 1).map_or(to, |last| last.completed_at);
            }
            let rest = held.split_off(count);
            // Records that are logged late are older than the statement before.
            (held, rest, to.max(from))
        });
        let (records, rest, to) = cut.await?;
        self.held = rest;
        let count = records.len();
        if count == 0 && !always {
            return Ok(false);
        }
        self.chain.recorded += count as u64;
        self.chain.refused += records.iter().filter(|pending| pending.refused).count() as u64;
        self.chain.degraded += records.iter().filter(|pending| pending.degraded).count() as u64;
        records.iter().for_each(|pending| pending.count_into(&mut self.chain.rules));
        self.chain.unrecorded = std::mem::take(&mut self.unrecorded);
        self.chain.rules.add_all(&self.chain.unrecorded);
        self.inflight = Some(self.sealed(records, None, to, total).await?);
        Ok(true)
    }

    /// Signs the statement of a batch; the chain moves on.
    pub(super) async fn sealed(
        &mut self,
        records: Vec<Pending>,
        evidence: Option<evidence::Leaves>,
        to: u64,
        total: Counters,
    ) -> Result<Sealed, LedgerError> {
        let mut records = records;
        late::name_announcement(&self.ledger, &self.chain.shard, &mut records);
        // A large batch takes milliseconds of hashing.
        let built = beside(move || {
            if let Some(evidence) = evidence {
                return (evidence.batch(), records, Some(evidence));
            }
            let hashes: Vec<Hash> = records.iter().map(|pending| pending.record.leaf_hash).collect();
            let leaves = records.iter().map(|pending| (&pending.id, pending.record.leaf.as_slice()));
            (batch::make(leaves, &hashes), records, None)
        });
        let (batch, records, evidence) = built.await?;
        let leaves = evidence.as_ref().map_or(0, evidence::Leaves::len);
        let chain = &mut self.chain;
        let received = total.received - chain.base.received;
        let (passed, lost) = (total.passed - chain.base.passed, total.lost - chain.base.lost);
        let open = received.saturating_sub(chain.recorded + passed + lost);
        // What was counted before the totals were taken is in the notes, at least.
        let (bypasses, told) = self.ledger.0.bypasses.notes(self.ledger.now());
        let bypass = total.bypass.map(|now| now - chain.base.bypass.unwrap_or(0));
        let statement = Statement {
            shard: chain.shard.name.clone(),
            seq: chain.next_seq,
            count: records.len() as u64 + leaves,
            root: batch.root,
            previous: chain.previous,
            from: chain.to,
            to,
            beacon: self.ledger.0.anchors.beacon(),
            cumulative_exchanges: chain.recorded,
            cumulative_evidence: chain.evidence + leaves,
            policy: self.policy,
            counters: Counters {
                received,
                recorded: chain.recorded,
                passed,
                lost,
                open,
                refused: chain.refused,
                degraded: chain.degraded,
                bypass: bypass.filter(|count| *count > 0),
            },
            bypasses,
            rules: chain.rules.clone(),
        };
        let payload = statement.encode();
        let origin = self.ledger.0.origin.clone();
        let sealed = Sealed {
            seq: chain.next_seq,
            shard: chain.shard.clone(),
            statement: sign_statement(
                &payload,
                STATEMENT_TYPE,
                &origin,
                &chain.shard.name,
                &*chain.shard.signer,
            )?,
            due: records
                .iter()
                .any(|pending| may_be_drawn(&pending.record.leaf))
                .then(|| Due::new(&chain.shard.name, chain.next_seq, to, batch.root)),
            records: Arc::new(records),
            evidence,
            batch,
            stored: false,
            log_index: None,
            told,
        };
        chain.previous = payload_hash(&payload);
        chain.evidence += leaves;
        chain.before = (chain.total, chain.open);
        (chain.next_seq, chain.to, chain.total, chain.open) = (chain.next_seq + 1, to, total, open);
        self.last = Instant::now();
        Ok(sealed)
    }

    /// Takes the batch in flight, if any, through the steps it has not passed.
    pub(super) async fn publish(&mut self) -> Result<(), LedgerError> {
        let Some(sealed) = &mut self.inflight else { return Ok(()) };
        let inner = &self.ledger.0;
        let name = &sealed.shard.name;
        let empty = sealed.records.is_empty() && sealed.evidence.is_none();
        if !sealed.stored && !empty {
            inner.objects.put(&batch_name(name, sealed.seq), sealed.batch.file.clone()).await?;
            if !sealed.records.is_empty() {
                inner.vault.put(name, sealed.seq, &sealed.records).await?;
            }
            if let Some(about) = sealed.evidence.as_ref().and_then(evidence::Leaves::about_key) {
                inner.objects.put(&about_key_name(name, sealed.seq), about.note.clone()).await?;
            }
            if let Some(due) = &sealed.due {
                // Before the statement: once that is logged, its records are to be drawn whatever happens.
                inner.objects.put(&due.name(), due.encode().into()).await?;
            }
            sealed.stored = true;
        }
        let log_index = match sealed.log_index {
            Some(index) => index,
            // Tried again with the same leaf, the log takes it once.
            None => {
                if !sealed.records.is_empty() {
                    // A process that was taken over and has nothing to copy would not know, and they would be logged twice.
                    inner.wal.prove_life().await?;
                }
                self.log.append(sealed.statement.clone(), sealed.shard.announced).await?
            }
        };
        sealed.log_index = Some(log_index);
        inner.bypasses.told(&sealed.told);
        let target =
            Target { shard: name.clone(), seq: sealed.seq, log_index, announced: sealed.shard.announced };
        let (place, evidence_ids) = (target.clone(), sealed.evidence.as_ref().map(|own| own.ids().collect()));
        let records = sealed.records.clone();
        // Here too, a large batch is milliseconds of work in all.
        let indexed = beside(move || {
            let of_records = || records.iter().map(|pending| pending.id).collect();
            let ids: Vec<RecordId> = evidence_ids.unwrap_or_else(of_records);
            (index::write(&place, ids.iter().copied().zip(0..)), ids)
        });
        let (files, ids) = indexed.await?;
        for (file, bytes) in files {
            inner.objects.put(&file, bytes.into()).await?;
        }
        if !empty {
            inner.batches.keep(batch_name(name, sealed.seq), sealed.batch.file.clone());
        }
        let (ledger, of_records) = (self.ledger.clone(), sealed.evidence.is_none());
        let known = beside(move || {
            // In pieces, as what follows: look-ups wait meanwhile.
            for (piece, from) in ids.chunks(PIECE).zip((0..).step_by(PIECE)) {
                ledger.0.places.newest().insert(target.clone(), piece.iter().copied().zip(from..));
                give_way();
            }
            if of_records {
                ledger.logged(ids.iter());
            }
        });
        known.await?;
        let records = std::mem::take(&mut sealed.records);
        if let Some(due) = sealed.due.take() {
            inner.draws.add(due);
        }
        if let Some(evidence) = sealed.evidence.take() {
            inner.draws.logged(evidence.about_records());
            evidence.tell();
        }
        let inner = inner.clone();
        self.inflight = None;
        beside(move || {
            inner.wal.release(Arc::unwrap_or_clone(records).into_iter().map(|pending| pending.holds))
        })
        .await
    }
}
