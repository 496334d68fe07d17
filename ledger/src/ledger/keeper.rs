//! The task beside the hot path: closes batches, signs statements, logs them, indexes them, lets go of the WAL.
//!
//! One batch at a time, its steps in this order, each repeatable: batch file and openings, the statement's place in the
//! log (the point of no return), index, memory and WAL. What fails is tried again; until then everything waits.

mod batches;
mod chains;
mod erase;
mod evidence;
mod policy;

pub(crate) use erase::Erasing;
pub(crate) use evidence::{AboutKey, Evidence, Settled, about_key_folder, about_key_name};
pub(crate) use policy::Change;

use super::book::{Pending, Taken};
use super::late::Late;
use super::{Ledger, LedgerError};
use crate::batch::Made;
use crate::destination::Destination;
use crate::draws::Due;
use crate::shard::Shard;
use crate::wal::WalError;
use colophon_receipt::Hash;
use colophon_receipt::statement::{Counters, Predecessor, Rules};
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
            // Of a take-over the WAL itself says that nothing more is kept.
            let asked = matches!(
                result,
                Ok(()) | Err(LedgerError::Unlogged(_) | LedgerError::Wal(WalError::TakenOver))
            );
            if asked {
                ended.ended_as_asked();
            }
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
        // Their records are logged, too; but a disk that does not answer is not waited for longer.
        let left = &self.ledger.0.left;
        left.close();
        if timeout(LAST_TRY, left.wait()).await.is_err() {
            tracing::error!(
                exchanges = left.len(),
                "the disk does not take the ends of exchanges that were left"
            );
        }
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
}

/// Does what takes long beside the runtime's workers; a panic there goes on here.
pub(crate) async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, LedgerError> {
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
