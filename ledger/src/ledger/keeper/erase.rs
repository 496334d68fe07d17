//! Erasures, done by the ledger's task between two batches: nothing else writes openings meanwhile.
//!
//! In this order, each step repeatable: the note in the data folder; the WAL's segments; keys and pages; half-written
//! files; the log; the private store's own note. After a crash the next start goes through all of them again, and finds
//! by the erasure's id what it has done already.

use super::{Worker, beside};
use crate::batch;
use crate::erase::{Erase, EraseError, ErasureReport, Intent, MAX_TENANT, Subject};
use crate::generation::{self, Older};
use crate::head::SignedHead;
use crate::ledger::LedgerError;
use crate::ledger::keeper::batch_name;
use crate::log::LogReader;
use crate::private::{Batched, Done, Found, Tenant};
use crate::store;
use colophon_receipt::erasure::{ERASURE_TYPE, Erasure, ErasureId};
use colophon_receipt::evidence::BatchLeaf;
use colophon_receipt::merkle::leaf_hash;
use colophon_receipt::record::{RecordId, id_text};
use colophon_receipt::statement::{STATEMENT_TYPE, Statement};
use colophon_signer::cose::{Sign1, sign_statement};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

/// Exchanges under way may keep the WAL's old segments for this long: they are copied forward.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(10);
/// Log entries read at once: a full bundle.
const STRIDE: u64 = 256;

/// An erasure that somebody waits for.
pub(crate) struct Erasing {
    pub(crate) what: Erase,
    pub(crate) reply: oneshot::Sender<Result<ErasureReport, EraseError>>,
}

/// The leaf of an erasure, while it is not known whether the log has it.
pub(super) struct Unlogged {
    id: ErasureId,
    at: u64,
    shard: String,
    bytes: Vec<u8>,
}

impl Worker {
    pub(super) async fn erase(&mut self, erasing: Erasing) {
        let result = self.erase_now(erasing.what).await;
        if let Err(error) = &result {
            tracing::error!(%error, "an erasure was not done, or not to its end");
        }
        // Whoever asked may have gone; it is done all the same.
        let _ = erasing.reply.send(result);
    }

    /// Finishes what an earlier life, or a failed attempt, has begun.
    pub(super) async fn finish_erasures(&mut self) -> Result<(), EraseError> {
        let folder = self.ledger.0.folder.wal();
        for intent in Intent::load_all(&folder)? {
            tracing::warn!(erasure = hex::encode(intent.id), "an erasure was interrupted; it goes on");
            self.carry_out(&intent).await?;
        }
        Ok(())
    }

    async fn erase_now(&mut self, what: Erase) -> Result<ErasureReport, EraseError> {
        self.finish_erasures().await?;
        let damaged = crate::wal::damaged_copies(&self.ledger.0.folder.wal()).map_err(LedgerError::from)?;
        if !damaged.is_empty() {
            return Err(EraseError::DamagedWal(damaged));
        }
        let subject = match what {
            Erase::Record(id) => match self.record(id).await? {
                Ok(subject) => subject,
                Err(earlier) => return Ok(earlier),
            },
            Erase::Tenant(name) => {
                if name.is_empty() || name.len() > MAX_TENANT {
                    return Err(EraseError::Tenant);
                }
                let mut salt = [0; 32];
                getrandom::fill(&mut salt).map_err(LedgerError::from)?;
                Subject::Tenant { name, salt }
            }
            Erase::Before(time) if time > self.ledger.now() => return Err(EraseError::Future),
            Erase::Before(time) => Subject::Before(time),
        };
        if !matches!(subject, Subject::Record { .. }) {
            // Before it is begun: then it is not left half done for ever.
            self.older().await?;
        }
        let intent = Intent::new(subject, self.log.head().size())?;
        let (folder, saved) = (self.ledger.0.folder.wal(), intent.clone());
        beside(move || saved.save(&folder)).await??;
        self.carry_out(&intent).await
    }

    /// Where a record is, or the erasure that it fell to.
    async fn record(&mut self, id: RecordId) -> Result<Result<Subject, ErasureReport>, EraseError> {
        // What is finished is logged first: then it is not only in the WAL.
        self.round().await?;
        let inner = self.ledger.0.clone();
        if self.ledger.book().is_live(&id) {
            return Err(EraseError::NotLogged);
        }
        let Some((target, slot)) = self.ledger.place(&id).await? else { return Err(EraseError::Unknown) };
        // A page that cannot be opened is there all the same.
        if let Ok(Found::Erased(by)) = inner.vault.opening(&target.shard, target.seq, slot, &id).await {
            let done = inner.vault.done(&by).await?;
            return Ok(Err(ErasureReport {
                id: Some(by),
                openings: done.as_ref().map_or(0, |done| done.openings),
                logged: done.map(|done| (done.at, done.log_index)),
                salt: None,
                earlier: true,
            }));
        }
        let name = batch_name(&target.shard, target.seq);
        let leaves = self.leaves(&target.shard, target.seq).await?;
        let leaf = leaves.get(slot as usize).filter(|(_, leaf)| leaf.id() == id);
        if leaf.is_some_and(|(_, leaf)| matches!(leaf, BatchLeaf::Evidence(_))) {
            // It opens nothing.
            return Err(EraseError::Unknown);
        }
        let (bytes, _) =
            leaf.ok_or_else(|| damage(&name, "another record is in the slot that the index names"))?;
        let leaf_hash = leaf_hash(bytes);
        Ok(Ok(Subject::Record { id, leaf_hash, shard: target.shard, seq: target.seq, slot }))
    }

    /// The leaves of a batch.
    async fn leaves(&self, shard: &str, seq: u64) -> Result<Vec<(Vec<u8>, BatchLeaf)>, LedgerError> {
        let name = batch_name(shard, seq);
        let bytes = self.ledger.0.objects.get(&name, batch::MAX_BYTES).await?;
        let bytes = bytes.ok_or_else(|| damage(&name, "it is missing"))?;
        let batch = batch::read(&bytes).map_err(|e| damage(&name, e))?;
        let read = |leaf: Vec<u8>| {
            let decoded = BatchLeaf::decode(&leaf).map_err(|e| damage(&name, e))?;
            Ok((leaf, decoded))
        };
        batch.leaves.into_iter().map(read).collect()
    }

    async fn carry_out(&mut self, intent: &Intent) -> Result<ErasureReport, EraseError> {
        self.empty_wal().await?;
        let openings = self.delete(intent).await?;
        if let Some(private) = self.ledger.0.private_folder() {
            let swept = private.clone();
            let swept = beside(move || store::sweep_staging(&swept)).await?;
            swept.map_err(|source| LedgerError::Folder { path: private, source })?;
        }
        let mut report = ErasureReport { openings, salt: intent.subject.salt(), ..ErasureReport::default() };
        if openings > 0 {
            let (at, log_index) = self.log_erasure(intent, openings).await?;
            let salt = report.salt.map(hex::encode);
            let done = Done::new(intent.id, at, log_index, openings, salt);
            self.ledger.0.vault.set_done(&done).await?;
            (report.id, report.logged) = (Some(intent.id), Some((at, log_index)));
            let erasure = hex::encode(intent.id);
            tracing::warn!(erasure, openings, log_index, "erased: these records cannot be opened any more");
        }
        let (intent, wal) = (intent.clone(), self.ledger.0.folder.wal());
        beside(move || intent.remove(&wal)).await??;
        Ok(report)
    }

    /// Sees to it that no segment of the WAL is left that was written before now.
    async fn empty_wal(&mut self) -> Result<(), EraseError> {
        let inner = self.ledger.0.clone();
        let begun = Instant::now();
        let wal = inner.clone();
        let number = beside(move || wal.wal.retire()).await?.map_err(LedgerError::from)?;
        loop {
            self.round().await?;
            let wal = inner.clone();
            let gone = beside(move || {
                wal.wal.release([]);
                wal.wal.is_gone(number)
            });
            let copied = inner.copies.as_ref().is_some_and(|copies| !copies.are_gone(number));
            if gone.await?.map_err(LedgerError::from)? && !copied {
                return Ok(());
            }
            self.wait(begun).await?;
        }
    }

    /// Deletes openings, keys and proofs. Returns how many openings this erasure has taken.
    async fn delete(&mut self, intent: &Intent) -> Result<u64, EraseError> {
        let openings = self.delete_openings(intent).await?;
        let inner = self.ledger.0.clone();
        if let Subject::Record { id, .. } = &intent.subject {
            inner.vault.erase_proofs(id).await?;
            return Ok(openings);
        }
        // What says something of a record goes with what opens it.
        let mut last = Instant::now();
        for record in inner.vault.proven().await? {
            match self.is_erased(&record).await {
                Ok(true) => inner.vault.erase_proofs(&record).await?,
                Ok(false) => {}
                // One record that is damaged must not keep all others from being erased.
                Err(error) => {
                    let record = id_text(&record);
                    tracing::error!(record, %error, "whether this record was erased cannot be read: its proof stays");
                }
            }
            self.log_meanwhile(&mut last).await?;
        }
        Ok(openings)
    }

    async fn is_erased(&self, record: &RecordId) -> Result<bool, LedgerError> {
        let inner = &self.ledger.0;
        let Some((target, slot)) = self.ledger.place(record).await? else { return Ok(false) };
        let opening = inner.vault.opening(&target.shard, target.seq, slot, record).await?;
        Ok(matches!(opening, Found::Erased(_)))
    }

    /// An erasure may take long: what comes in meanwhile is logged as ever.
    async fn log_meanwhile(&mut self, last: &mut Instant) -> Result<(), EraseError> {
        if last.elapsed() < self.ledger.0.config.batch_every {
            return Ok(());
        }
        if self.ledger.book().is_closed() {
            return Err(EraseError::Closed);
        }
        self.round().await?;
        *last = Instant::now();
        Ok(())
    }

    async fn delete_openings(&mut self, intent: &Intent) -> Result<u64, EraseError> {
        let inner = self.ledger.0.clone();
        match &intent.subject {
            Subject::Record { shard, seq, slot, .. } => {
                let slots = self.slots(shard, *seq).await?;
                let batch = Batched { shard, seq: *seq, slots: Some(&slots) };
                Ok(inner.vault.erase(batch, &intent.id, &|candidate, _| candidate == *slot).await?)
            }
            Subject::Tenant { name, .. } => {
                let tenant = Tenant::new(name);
                // First: from here on nothing of the tenant can be opened.
                inner.vault.destroy_keys(&intent.id, |key| key.tenant == tenant).await?;
                self.walk(intent, |_| Part::Of(tenant)).await
            }
            Subject::Before(time) => {
                self.pass(*time).await?;
                let (time, month) = (*time, crate::index::civil_month(*time / 1000));
                inner.vault.destroy_keys(&intent.id, |key| key.month < month).await?;
                let part = |statement: &Statement| match () {
                    () if statement.from >= time => Part::Nothing,
                    () if statement.to < time => Part::All,
                    () => Part::Before(time),
                };
                self.walk(intent, part).await
            }
        }
    }

    /// A pause, unless patience or the ledger is at its end.
    async fn wait(&self, begun: Instant) -> Result<(), EraseError> {
        if self.ledger.book().is_closed() {
            return Err(EraseError::Closed);
        }
        if begun.elapsed() > PATIENCE {
            return Err(EraseError::WalHeld(PATIENCE));
        }
        sleep(PAUSE).await;
        Ok(())
    }

    /// Waits until no statement to come can hold a record completed before `time`.
    async fn pass(&mut self, time: u64) -> Result<(), EraseError> {
        let begun = Instant::now();
        while self.chain.to < time {
            self.round().await?;
            self.seal(true).await?;
            self.publish().await?;
            self.wait(begun).await?;
        }
        Ok(())
    }

    /// All generations before this one: what is to be erased may be in any.
    async fn older(&self) -> Result<Arc<Vec<Older>>, EraseError> {
        let inner = &self.ledger.0;
        let generation = self.log.generation();
        let complete = |older: &Vec<Older>| older.len() + 1 == generation as usize;
        let known = inner.older.load_full();
        if complete(&known) {
            return Ok(known);
        }
        // At the start one could not be read.
        let now = Arc::new(generation::older(&inner.log_files.0, &inner.objects.0, generation).await);
        match complete(&now) {
            true => {
                inner.older.store(now.clone());
                Ok(now)
            }
            false => Err(EraseError::Generation),
        }
    }

    /// Goes through all batches that the log names, in every generation, and on with the ledger's work in between.
    async fn walk(&mut self, intent: &Intent, part: impl Fn(&Statement) -> Part) -> Result<u64, EraseError> {
        let older = self.older().await?;
        let mut openings = 0;
        for Older { reader, head, .. } in older.iter().rev() {
            openings += self.walk_one(intent, &part, reader, head).await?;
        }
        let (reader, head) = (self.ledger.0.reader.clone(), self.log.head());
        Ok(openings + self.walk_one(intent, &part, &reader, &head).await?)
    }

    async fn walk_one(
        &mut self,
        intent: &Intent,
        part: &impl Fn(&Statement) -> Part,
        reader: &LogReader,
        head: &SignedHead,
    ) -> Result<u64, EraseError> {
        let inner = self.ledger.0.clone();
        let (mut openings, mut last) = (0u64, Instant::now());
        for start in (0..head.size()).step_by(STRIDE as usize) {
            let end = head.size().min(start + STRIDE);
            let entries = reader.entries(start..end, &head.checkpoint).await.map_err(LedgerError::from)?;
            for statement in entries.iter().filter_map(|entry| statement(entry)) {
                let (shard, seq) = (statement.shard.as_str(), statement.seq);
                let part = if statement.count == 0 { Part::Nothing } else { part(&statement) };
                let whole = Batched { shard, seq, slots: None };
                openings += match part {
                    Part::Nothing => 0,
                    Part::All => inner.vault.erase(whole, &intent.id, &|_, _| true).await?,
                    Part::Of(tenant) => {
                        inner.vault.erase(whole, &intent.id, &|_, owner| owner == tenant).await?
                    }
                    Part::Before(time) => {
                        let slots = self.slots(shard, seq).await?;
                        let early = |slot: u32, _| slots.get(slot as usize).is_some_and(|(_, at)| *at < time);
                        let batch = Batched { slots: Some(&slots), ..whole };
                        inner.vault.erase(batch, &intent.id, &early).await?
                    }
                };
                self.log_meanwhile(&mut last).await?;
            }
        }
        Ok(openings)
    }

    async fn slots(&self, shard: &str, seq: u64) -> Result<Vec<(RecordId, u64)>, LedgerError> {
        let leaves = self.leaves(shard, seq).await?;
        Ok(leaves.into_iter().map(|(_, leaf)| (leaf.id(), leaf.at())).collect())
    }

    /// Logs that it was done, once. Returns when that was, and the log entry's index.
    async fn log_erasure(&mut self, intent: &Intent, openings: u64) -> Result<(u64, u64), LedgerError> {
        if let Some(found) = self.logged_erasure(intent).await? {
            return Ok(found);
        }
        let shard = self.chain.shard.clone();
        let unlogged = self.unlogged.take().filter(|leaf| leaf.id == intent.id && leaf.shard == shard.name);
        let leaf = match unlogged {
            // Tried again with the same leaf, the log takes it once.
            Some(leaf) => leaf,
            None => {
                let (id, at, what) = (intent.id, self.ledger.now(), intent.subject.logged());
                let payload = Erasure { shard: shard.name.clone(), id, at, openings, what }.encode();
                let origin = &self.ledger.0.origin;
                let bytes = sign_statement(&payload, ERASURE_TYPE, origin, &shard.name, &*shard.signer)?;
                Unlogged { id, at, shard: shard.name.clone(), bytes }
            }
        };
        let (at, bytes) = (leaf.at, leaf.bytes.clone());
        self.unlogged = Some(leaf);
        let index = self.log.append(bytes, shard.announced).await?;
        self.unlogged = None;
        Ok((at, index))
    }

    /// The entry of an erasure that was logged before a crash.
    async fn logged_erasure(&mut self, intent: &Intent) -> Result<Option<(u64, u64)>, LedgerError> {
        self.log.refresh().await?;
        let (reader, head) = (self.ledger.0.reader.clone(), self.log.head());
        let mut start = intent.log_size.min(head.size());
        while start < head.size() {
            let end = head.size().min(start + STRIDE);
            let entries = reader.entries(start..end, &head.checkpoint).await?;
            for (entry, index) in entries.iter().zip(start..) {
                let erasure = Sign1::parse(entry).ok().filter(|signed| signed.content_type() == ERASURE_TYPE);
                let erasure = erasure.and_then(|signed| Erasure::decode(signed.payload()).ok());
                if let Some(erasure) = erasure.filter(|erasure| erasure.id == intent.id) {
                    return Ok(Some((erasure.at, index)));
                }
            }
            start = end;
        }
        Ok(None)
    }
}

/// Which openings of a batch go.
enum Part {
    Nothing,
    All,
    Of(Tenant),
    Before(u64),
}

fn statement(entry: &[u8]) -> Option<Statement> {
    let signed = Sign1::parse(entry).ok().filter(|signed| signed.content_type() == STATEMENT_TYPE)?;
    Statement::decode(signed.payload()).ok()
}

fn damage(what: &str, why: impl std::fmt::Display) -> LedgerError {
    LedgerError::Damaged { what: what.to_owned(), why: why.to_string() }
}
