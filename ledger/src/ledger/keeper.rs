//! The task beside the hot path: closes batches, signs statements, logs them, indexes them, lets go of the WAL.
//!
//! One batch at a time, its steps in this order, each repeatable: batch file and openings, the statement's place in the
//! log (the point of no return), index, memory and WAL. What fails is tried again; until then everything waits.

mod erase;
mod evidence;
mod policy;

pub(crate) use erase::Erasing;
pub(crate) use evidence::{AboutKey, Evidence, Settled, about_key_folder, about_key_name};
pub(crate) use policy::Change;

use super::book::{Pending, Taken};
use super::late::Late;
use super::{Ledger, LedgerError};
use crate::batch::{self, Made};
use crate::destination::Destination;
use crate::draws::Due;
use crate::index::{self, Target};
use crate::log::LogError;
use crate::shard::Shard;
use crate::wal::WalError;
use colophon_receipt::Hash;
use colophon_receipt::record::{RecordId, may_be_drawn};
use colophon_receipt::statement::{
    CLOSE_TYPE, Counters, Predecessor, Rules, STATEMENT_TYPE, ShardClose, Statement, payload_hash,
};
use colophon_signer::cose::sign_statement;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

mod late;
mod start_over;

/// What the keeper is asked to do between two batches.
pub(crate) enum Command {
    Erase(Erasing),
    Policy(Change),
    Evidence(Evidence),
}

/// How long a close goes on trying to log what is left.
const LAST_TRY: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The handle of the ledger's task. Dropping it stops the task at once, as a crash would; the WAL keeps what is needed.
#[must_use = "dropping the keeper stops logging; close it"]
#[derive(Debug)]
pub struct Keeper {
    ledger: Ledger,
    stop: oneshot::Sender<()>,
    task: JoinSet<Result<(), LedgerError>>,
    /// What goes on beside it and may be stopped at any moment.
    beside: JoinSet<()>,
}

impl Keeper {
    pub(super) fn start(
        ledger: Ledger,
        log: Destination,
        shard: Arc<Shard>,
        from: u64,
        commands: mpsc::Receiver<Command>,
        late: Option<Late>,
    ) -> Keeper {
        let (stop, stopped) = oneshot::channel();
        let worker = Worker {
            policy: ledger.0.config.policy.digest(),
            changing: None,
            next_change: None,
            ledger: ledger.clone(),
            log,
            chain: Chain::new(shard, from, Counters::default()),
            held: Vec::new(),
            unrecorded: Rules::default(),
            evidence: VecDeque::new(),
            inflight: None,
            next: None,
            closing: Closing::No,
            last: Instant::now(),
            commands,
            unlogged: None,
            late,
        };
        let ended = Ended { ledger: ledger.clone(), asked: false };
        let mut task = JoinSet::new();
        task.spawn(async move {
            let result = worker.run(stopped).await;
            ended.ended_as_asked();
            result
        });
        Keeper { ledger, stop, task, beside: JoinSet::new() }
    }

    /// Runs something beside the keeper until that is closed or dropped; it may be stopped at any moment.
    pub(super) fn beside(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        self.beside.spawn(work);
    }

    /// Refuses new exchanges, logs what is finished, ends the shard with a close leaf and empties the WAL. Exchanges still
    /// open stay in the WAL.
    ///
    /// # Errors
    /// When something could not be logged; it is in the WAL and will be at the next start.
    pub async fn close(mut self) -> Result<(), LedgerError> {
        self.ledger.book().close();
        let _ = self.stop.send(());
        let ended = match self.task.join_next().await {
            Some(Ok(result)) => result,
            // It panicked; the WAL has everything.
            Some(Err(_)) | None => Err(LedgerError::Unlogged(self.ledger.book().unlogged())),
        };
        self.beside.shutdown().await;
        ended
    }
}

/// Notices when the task ends otherwise than by `close`: by a panic, above all.
struct Ended {
    ledger: Ledger,
    asked: bool,
}

impl Ended {
    fn ended_as_asked(mut self) {
        self.asked = true;
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        if !self.asked {
            self.ledger.0.keeper_ended.store(true, Ordering::Relaxed);
            let waiting = self.ledger.book().unlogged();
            tracing::error!(
                waiting,
                "the ledger's task has ended: nothing more is logged before a restart; the WAL keeps what waits"
            );
        }
    }
}

/// Where the shard's chain of statements stands.
struct Chain {
    shard: Arc<Shard>,
    next_seq: u64,
    previous: Hash,
    to: u64,
    recorded: u64,
    /// Evidence leaves.
    evidence: u64,
    refused: u64,
    degraded: u64,
    /// What each rule counted.
    rules: Rules,
    /// Of that, what was passed and lost by the last statement alone.
    unrecorded: Rules,
    /// What earlier shards of this process counted.
    base: Counters,
    /// The process's counters, and how many exchanges were open, at the last statement.
    total: Counters,
    open: u64,
    /// The same, at the statement before.
    before: (Counters, u64),
}

impl Chain {
    fn new(shard: Arc<Shard>, from: u64, base: Counters) -> Chain {
        Chain {
            previous: shard.announcement_hash,
            shard,
            next_seq: 0,
            to: from,
            recorded: 0,
            evidence: 0,
            refused: 0,
            degraded: 0,
            rules: Rules::default(),
            unrecorded: Rules::default(),
            total: base,
            base,
            open: 0,
            before: (base, 0),
        }
    }
}

/// A closed batch on its way into the log.
struct Sealed {
    seq: u64,
    shard: Arc<Shard>,
    statement: Vec<u8>,
    /// Shared with whoever seals what opens them, until that is stored.
    records: Arc<Vec<Pending>>,
    /// Of a batch of evidence; it has no records then.
    evidence: Option<evidence::Leaves>,
    batch: Made,
    /// What is to be drawn.
    due: Option<Due>,
    stored: bool,
    log_index: Option<u64>,
    /// Bypasses whose end the statement tells.
    told: Vec<[u8; 16]>,
}

/// How far the end of a shard has come.
enum Closing {
    No,
    /// Its last statement is signed; this is its close leaf.
    Due(Vec<u8>),
    /// The close leaf is logged.
    Logged,
}

struct Worker {
    ledger: Ledger,
    log: Destination,
    chain: Chain,
    /// Finished records that the next statement takes.
    held: Vec<Pending>,
    /// What rules passed and lost that no statement has told.
    unrecorded: Rules,
    /// What waits to be logged.
    evidence: VecDeque<Evidence>,
    inflight: Option<Sealed>,
    /// Announced, takes over once the current shard is closed.
    next: Option<Arc<Shard>>,
    closing: Closing,
    last: Instant,
    commands: mpsc::Receiver<Command>,
    unlogged: Option<erase::Unlogged>,
    /// The log did not answer at the start.
    late: Option<Late>,
    /// Digest of the policy in force.
    policy: Hash,
    changing: Option<policy::Changing>,
    /// Waits for that one.
    next_change: Option<Change>,
}

impl Worker {
    async fn run(mut self, mut stop: oneshot::Receiver<()>) -> Result<(), LedgerError> {
        if let Some(late) = self.late.take()
            && !self.wait_for_log(late, &mut stop).await?
        {
            return match self.ledger.book().unlogged() {
                0 => Ok(()),
                waiting => Err(LedgerError::Unlogged(waiting)),
            };
        }
        let mut ticks = interval(self.ledger.0.config.batch_every.max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut pause = FIRST_PAUSE;
        let inner = self.ledger.0.clone();
        if let Err(error) = self.finish_erasures().await {
            tracing::error!(%error, "an erasure that was begun is not finished; the next start or erasure goes on");
        }
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = inner.full.notified() => {}
                Some(command) = self.commands.recv() => match command {
                    Command::Erase(erasing) => self.erase(erasing).await,
                    Command::Policy(change) => self.begin_change(change),
                    Command::Evidence(evidence) => self.evidence.push_back(evidence),
                },
                _ = &mut stop => break,
            }
            match self.round().await {
                Ok(()) => pause = FIRST_PAUSE,
                // Another process logs what waits here.
                Err(LedgerError::Wal(error @ WalError::TakenOver)) => return Err(error.into()),
                Err(error) => {
                    let waiting = self.ledger.book().unlogged();
                    tracing::error!(%error, waiting, "logging failed; it is tried again and nothing is lost");
                    tokio::select! {
                        () = sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
                        _ = &mut stop => break,
                    }
                }
            }
        }
        self.finish().await
    }

    /// Logs all that is due: what was in flight, one batch, and more only where they are full.
    async fn round(&mut self) -> Result<(), LedgerError> {
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
    async fn seal(&mut self, always: bool) -> Result<bool, LedgerError> {
        let taken = {
            let mut book = self.ledger.book();
            if !always && self.held.is_empty() && book.waiting() == 0 {
                return Ok(false);
            }
            book.take(self.ledger.now())
        };
        let Taken { pending, mut to, total, rules } = taken;
        self.unrecorded.add_all(&rules);
        self.held.extend(pending);
        self.held.sort_unstable_by_key(|pending| (pending.completed_at, pending.id));
        let mut count = self.held.partition_point(|pending| pending.completed_at <= to);
        let max = self.ledger.0.config.max_batch;
        if count > max {
            count = max;
            to = self.held.get(count - 1).map_or(to, |last| last.completed_at);
        }
        if count == 0 && !always {
            return Ok(false);
        }
        let rest = self.held.split_off(count);
        let records = std::mem::replace(&mut self.held, rest);
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
    async fn sealed(
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
    async fn publish(&mut self) -> Result<(), LedgerError> {
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
            None => self.log.append(sealed.statement.clone(), sealed.shard.announced).await?,
        };
        sealed.log_index = Some(log_index);
        inner.bypasses.told(&sealed.told);
        let target =
            Target { shard: name.clone(), seq: sealed.seq, log_index, announced: sealed.shard.announced };
        let ids: Vec<RecordId> = match &sealed.evidence {
            Some(evidence) => evidence.ids().collect(),
            None => sealed.records.iter().map(|pending| pending.id).collect(),
        };
        let rows = || ids.iter().copied().zip(0..);
        for (file, bytes) in index::write(&target, rows()) {
            inner.objects.put(&file, bytes.into()).await?;
        }
        if !empty {
            inner.batches.keep(batch_name(name, sealed.seq), sealed.batch.file.clone());
        }
        self.ledger.cache().insert(target, rows());
        self.ledger.logged(sealed.records.iter().map(|pending| &pending.id));
        let records = Arc::unwrap_or_clone(std::mem::take(&mut sealed.records));
        let holds: Vec<_> = records.into_iter().map(|pending| pending.holds).collect();
        if let Some(due) = sealed.due.take() {
            inner.draws.add(due);
        }
        if let Some(evidence) = sealed.evidence.take() {
            inner.draws.logged(evidence.about_records());
            evidence.tell();
        }
        let inner = inner.clone();
        self.inflight = None;
        beside(move || inner.wal.release(holds)).await
    }

    /// A new shard takes over: announced, then the old one closed, each once.
    async fn rotate(&mut self) -> Result<(), LedgerError> {
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
    fn take_over(&mut self, shard: Arc<Shard>, from: u64, base: Counters) -> Result<(), LedgerError> {
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
    async fn end_chain(&mut self) -> Result<(), LedgerError> {
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
    fn expired(&self) -> bool {
        self.ledger.now() >= self.chain.shard.not_after
    }

    async fn append_close(&mut self) -> Result<(), LedgerError> {
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
    async fn finish(mut self) -> Result<(), LedgerError> {
        let ledger = self.ledger.clone();
        let ended = timeout(LAST_TRY, async {
            let mut pause = FIRST_PAUSE;
            loop {
                match self.wind_up().await {
                    Ok(()) => return,
                    Err(error) => tracing::error!(%error, "logging the last batch failed; it is tried again"),
                }
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        });
        let ended = ended.await;
        let left = ledger.book().unlogged();
        if ended.is_err() || left > 0 {
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

    async fn wind_up(&mut self) -> Result<(), LedgerError> {
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

/// Does what takes long beside the runtime's workers; a panic there goes on here.
async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, LedgerError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(error) => LedgerError::Damaged { what: "the runtime".into(), why: error.to_string() },
    })
}

/// The name of a batch file.
pub(crate) fn batch_name(shard: &str, seq: u64) -> String {
    format!("shard/{shard}/batch/{seq}")
}

/// The name of a file of openings, in the private store.
pub(crate) fn private_name(shard: &str, seq: u64) -> String {
    format!("{shard}/{seq}")
}
