//! Proofs beside the traffic: what a rule wants proven becomes a job once its record is logged, a worker proves it, and the
//! log says what came of it (DESIGN section 9). Nothing here is on the way of an exchange but one look at a flag.

pub mod api;
mod asker;
mod build;
mod circuit;
mod config;
mod http;
mod kept;
mod nats;
pub mod remote;
mod settle;
mod webhook;
mod word;

pub use circuit::{Certificate, Circuit};
pub use config::{ProofOptions, Prover, Provers, SANDBOX, sandbox};
pub use nats::FromNats;

use crate::app::App;
use crate::facts::Facts;
use build::NoJob;
use bytes::Bytes;
use colophon_ledger::{DrawnRecord, Escalation, Ledger, Lookup};
use colophon_policies::{Actions, Decision, OnMiss, Policy, Refusal};
use colophon_provers::local::{Local, Store, StoreError};
use colophon_provers::worker::{Ended, Worker};
use colophon_provers::{Backend, Counts, Failure, Job, JobId, Progress, QueueConfig, QueueError};
use colophon_receipt::record::{RecordId, id_text};
use colophon_receipt::{Hash, Level};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use kept::{Kept, Said};
use prometheus_client::metrics::counter::Counter;
use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The folder within the data folder.
const FOLDER: &str = "proofs";
/// How long a proof may take where its rule has no deadline.
const DEADLINE: Duration = Duration::from_secs(86_400);
/// How often an idle worker looks for a job.
const IDLE: Duration = Duration::from_secs(1);

/// A reason in the log is never longer, bytes.
const MAX_WHY: usize = 256;

/// Jobs whose progress is read for metrics, at most.
const WATCHED: usize = 64;

/// What is counted, for metrics.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    /// Evidence leaves by which a proof was logged.
    pub logged: Counter,
    /// Jobs of rules that came to nothing: deadlines that passed, and tries that failed.
    pub missed: Counter,
    /// Records of rules that became no job: over budget, late, or with nothing to prove.
    pub declined: Counter,
    /// Jobs of whose end a webhook was told in vain, to the last try.
    pub untold: Counter,
    /// CPU seconds of tries that were proven.
    pub cpu_seconds: Counter<f64, AtomicU64>,
}

/// The proofs of one process.
pub struct Proving {
    store: Arc<Store>,
    provers: Provers,
    folder: PathBuf,
    app: OnceLock<Weak<App>>,
    /// Evidence that jobs of an earlier life are about, and that the log does not have yet.
    left: HashSet<RecordId>,
    /// Wakes whoever logs what came of jobs.
    ended: Notify,
    /// Wakes a worker.
    work: Notify,
    /// Rules with `onMiss: Fail` of which a proof was missed.
    failing: Mutex<BTreeSet<String>>,
    any_failing: AtomicBool,
    /// Bodies that wait to become token ids, where they may be kept for that.
    kept: Option<Kept>,
    /// What is counted.
    pub counted: Counted,
}

impl Proving {
    /// Opens the queue in the data folder.
    ///
    /// # Errors
    /// It is damaged, or the folder cannot be written.
    pub fn open(provers: Provers, data: &Path) -> anyhow::Result<Arc<Proving>> {
        let folder = data.join(FOLDER);
        let config = QueueConfig { budgets: provers.budgets.clone(), ..QueueConfig::default() };
        let store = Arc::new(Store::open(&folder, config)?);
        // Their workers were of this program's life before.
        let released = store.queue.release(WORKER, colophon_provers::local::now())?;
        if released > 0 {
            tracing::warn!(jobs = released, "proofs that the life before had begun are begun again");
        }
        let kept = provers.keep_bodies.map(Kept::new);
        let left = store.queue.unsettled()?.iter().filter_map(|id| settle::evidence_id(id)).collect();
        Ok(Arc::new(Proving {
            store,
            provers,
            folder,
            app: OnceLock::new(),
            left,
            ended: Notify::new(),
            work: Notify::new(),
            failing: Mutex::default(),
            any_failing: AtomicBool::new(false),
            kept,
            counted: Counted::default(),
        }))
    }

    /// The queue that an earlier life has left in the data folder, where there are no provers now: what its jobs came to is logged,
    /// and the others wait for a worker elsewhere, a start with provers, or their deadline. `None` where nothing waits.
    ///
    /// # Errors
    /// As of [`Proving::open`].
    pub fn open_left(data: &Path) -> anyhow::Result<Option<Arc<Proving>>> {
        if !data.join(FOLDER).try_exists()? {
            return Ok(None);
        }
        let proving = Proving::open(Provers::none(), data)?;
        let counts = proving.counts()?;
        let waiting = counts.ready + counts.delayed + counts.leased;
        if waiting == 0 && proving.left.is_empty() {
            return Ok(None);
        }
        tracing::warn!(
            waiting,
            unlogged = proving.left.len(),
            "an earlier life has left proofs to be made, and there is no --provers: each waits for a start with --provers or a \
             `colophon prover` until its deadline; then the log says that nothing was done"
        );
        Ok(Some(proving))
    }

    /// Whether every rule of the policy that asks for a proof has a prover here.
    pub fn serves(&self, policy: &Policy) -> bool {
        let mut serves = true;
        for named in policy.provers() {
            let found = self.provers.named(named);
            if found.is_some_and(|prover| prover.model.is_some()) && !self.keeps_bodies() {
                serves = false;
                tracing::warn!(
                    prover = named,
                    "a rule cannot ask for a language model's proof where bodies are not kept for it: --provers has no `keepBodies`; \
                     `colophon proof submit` can, with them"
                );
            }
            if found.is_none() {
                serves = false;
                let prover = named.unwrap_or("(none named, and there are several)");
                tracing::warn!(prover, "the policy asks for a prover that --provers does not define");
            }
        }
        serves
    }

    /// Begins to work for an ledger's records: until `stop`.
    pub fn begin(self: &Arc<Self>, app: &Arc<App>, stop: &CancellationToken) {
        let _ = self.app.set(Arc::downgrade(app));
        app.tasks.spawn(self.clone().log_what_came(app.ledger.clone(), stop.clone()));
        app.tasks.spawn(self.clone().tell_webhooks(Arc::downgrade(app), stop.clone()));
        app.tasks.spawn(self.clone().forget_erased_before(app.ledger.clone(), stop.clone()));
        app.tasks.spawn(self.clone().forget_old_bodies(stop.clone()));
        if let Some(nats) = self.provers.nats.clone() {
            app.tasks.spawn(self.clone().bridge(nats, stop.clone()));
        }
        for number in 0..self.provers.workers {
            app.tasks.spawn(self.clone().work(number, stop.clone()));
        }
    }

    /// Refuses what a rule matches of which a proof was missed, where the policy in force says so.
    pub fn hold(&self, decision: &mut Decision) {
        if decision.refusal.is_none()
            && self.any_failing.load(Ordering::Relaxed)
            && decision.actions.on_miss == OnMiss::Fail
            && self.failing().contains(&*decision.rule)
        {
            decision.refusal = Some(Refusal::Unavailable(Level::Zk));
        }
    }

    /// Whether bodies may be kept until their token ids are a job's.
    pub fn keeps_bodies(&self) -> bool {
        self.kept.is_some()
    }

    /// Whether the bodies of an exchange are needed for the proof that its rule asks for.
    pub fn needs_bodies(&self, facts: &Facts) -> bool {
        let asks = facts.sampled.leaf.is_some_and(|(_, level)| level == Level::Zk);
        let prover = || self.prover(&facts.decision.actions);
        self.keeps_bodies() && asks && prover().is_some_and(|prover| prover.model.is_some())
    }

    /// Keeps what was said in an exchange until its record is logged and a job is made of it.
    pub fn keep_bodies(&self, record: RecordId, request: Bytes, response: Bytes) {
        if let Some(kept) = &self.kept {
            kept.keep(record, Said { request, response });
        }
    }

    /// Forgets what was said in an exchange of which there is no record.
    pub fn forget_bodies(&self, record: &RecordId) {
        if let Some(kept) = &self.kept {
            kept.forget(record);
        }
    }

    /// Until `stop`: forgets bodies that have been kept for too long.
    async fn forget_old_bodies(self: Arc<Self>, stop: CancellationToken) {
        if let Some(kept) = &self.kept {
            kept.forget_in_time(&stop).await;
        }
    }

    /// The file of a model certificate that names a circuit of a prover here.
    pub fn certificate(&self, digest: &Hash) -> Option<Bytes> {
        self.provers.certificate(digest)
    }

    /// Once the workers here have ended: waits until provers elsewhere know that, a few seconds at most.
    pub async fn told(&self) {
        self.provers.told().await;
    }

    /// How many jobs are where.
    ///
    /// # Errors
    /// The queue cannot be read.
    pub fn counts(&self) -> Result<Counts, QueueError> {
        self.store.queue.counts()
    }

    /// How far the jobs are that workers have, in the mean: percent.
    ///
    /// # Errors
    /// The queue cannot be read.
    pub fn progress(&self) -> Result<f64, QueueError> {
        let percents = self.store.queue.progress(WATCHED)?;
        let sum: u32 = percents.iter().copied().map(u32::from).sum();
        Ok(f64::from(sum) / percents.len().max(1) as f64)
    }

    fn failing(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_failing(&self, rule: &str, fails: bool) {
        let mut failing = self.failing();
        let changed = if fails { failing.insert(rule.to_owned()) } else { failing.remove(rule) };
        self.any_failing.store(!failing.is_empty(), Ordering::Relaxed);
        match (changed, fails) {
            (true, true) => tracing::error!(
                rule,
                "a proof was missed: what the rule matches is refused until one is made"
            ),
            (true, false) => tracing::warn!(rule, "a proof was made: what the rule matches is served again"),
            (false, _) => {}
        }
    }

    /// One worker of this process. What it is at when the process ends, the next life begins again.
    async fn work(self: Arc<Self>, number: usize, stop: CancellationToken) {
        let source = Arc::new(Local { store: self.store.clone(), worker: format!("{WORKER}{number}") });
        let backends: Vec<Arc<dyn Backend>> = self.provers.backends().collect();
        let worker = Worker::new(source, backends, self.folder.join("work"));
        loop {
            let mut watch = goes_on;
            let ran = tokio::select! {
                ran = worker.once(&mut watch) => ran,
                () = stop.cancelled() => return,
            };
            match ran {
                Ok(Some((job, ended))) => {
                    if let Ended::Proven(artefact) = &ended {
                        self.counted.cpu_seconds.inc_by(artefact.cpu_seconds);
                    }
                    tell(&job, &ended);
                    self.ended.notify_one();
                    continue;
                }
                Ok(None) => {}
                Err(error) => tracing::error!(%error, "no job can be taken"),
            }
            tokio::select! {
                () = self.work.notified() => {}
                () = tokio::time::sleep(IDLE) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// The prover of a rule.
    fn prover(&self, actions: &Actions) -> Option<&Prover> {
        self.provers.named(actions.prover.as_deref())
    }

    /// Takes a record on, or says why not; then nobody needs its bodies any more.
    async fn take_on(&self, drawn: DrawnRecord) -> Result<bool, String> {
        let record = drawn.record;
        let taken = self.make_job(drawn).await;
        if taken.is_ok() {
            self.forget_bodies(&record);
        }
        taken
    }

    async fn make_job(&self, drawn: DrawnRecord) -> Result<bool, String> {
        if drawn.kind != Level::Zk {
            return Ok(false);
        }
        let app = self.app.get().and_then(Weak::upgrade).ok_or("not yet begun")?;
        let receipt = match app.ledger.lookup(&drawn.record).await.map_err(|error| error.to_string())? {
            Lookup::Found(receipt) => receipt,
            Lookup::Erased(_) => return Ok(false),
            Lookup::Pending | Lookup::Unknown => return Err("its record is not found yet".into()),
        };
        let policy = app.policy.load_full();
        let said = self.kept.as_ref().and_then(|kept| kept.get(&drawn.record));
        let job = self.job(&policy.policy, &receipt, &drawn.record, drawn.evidence, None, said);
        let request = match job.await {
            Ok(request) => request,
            Err(NoJob::CutShort(error)) => return Err(error.to_string()),
            // A job of an earlier life is about it: what comes of that is logged, or that its deadline passed.
            Err(_) if self.left.contains(&drawn.evidence) => return Ok(true),
            // It is asked about again until the log has what came of it, and bodies are gone once there is a job.
            Err(_) if self.has_job(&drawn.evidence).await => return Ok(true),
            Err(why) => {
                self.declined(&id_text(&drawn.record), None, &why.to_string());
                return Ok(false);
            }
        };
        let rule = request.rule.clone();
        let now = app.ledger.now();
        let error = match self.store.beside(move |store| Ok(store.queue.take_on(request, now)?)).await {
            Ok(taken) => {
                // Its token ids may have taken a while, in which it was erased.
                if self.was_erased(&app.ledger, &drawn.record, taken.job.id).await? {
                    return Ok(false);
                }
                self.work.notify_one();
                return Ok(true);
            }
            Err(StoreError::Queue(error)) => error,
            Err(error) => return Err(error.to_string()),
        };
        match error {
            QueueError::File { .. } | QueueError::Damaged(..) | QueueError::Full(_) => Err(error.to_string()),
            QueueError::Late => {
                self.missed(&app, rule.as_deref(), &id_text(&drawn.record), &error.to_string());
                Ok(false)
            }
            _ => {
                self.declined(&id_text(&drawn.record), rule.as_deref(), &error.to_string());
                Ok(false)
            }
        }
    }

    /// Whether a record was erased before its job was in the queue: then the job is forgotten. Whoever erases later finds it there.
    ///
    /// # Errors
    /// It is not known, or the job cannot be forgotten now.
    async fn was_erased(&self, ledger: &Ledger, record: &RecordId, job: JobId) -> Result<bool, String> {
        let found = ledger.lookup(record).await.map_err(|error| error.to_string())?;
        if !matches!(found, Lookup::Erased(_)) {
            return Ok(false);
        }
        self.store.beside(move |store| store.forget(job)).await.map_err(|error| error.to_string())?;
        tracing::info!(%job, record = id_text(record), "its record was erased: the job is forgotten");
        Ok(true)
    }

    /// Whether a job is there that may still become this evidence.
    async fn has_job(&self, evidence: &RecordId) -> bool {
        let evidence = hex::encode(evidence);
        self.store.beside(move |store| Ok(store.queue.is_awaited(&evidence)?)).await.unwrap_or(false)
    }

    /// The log says that nothing was done, and no rule is the worse for it.
    fn declined(&self, record: &str, rule: Option<&str>, why: &str) {
        self.counted.declined.inc();
        let why = why.split_at(why.floor_char_boundary(MAX_WHY)).0;
        tracing::warn!(record, rule, why, "nothing is proven of this record, and the log says so");
    }
}

/// A worker's log of a job that it is at.
pub fn goes_on(job: &Job, progress: &Progress) {
    tracing::debug!(job = %job.id, stage = progress.stage, percent = progress.percent, "a proof goes on");
}

/// A worker's log of what came of a job.
pub fn tell(job: &Job, ended: &Ended) {
    let record = &job.request.record;
    match ended {
        Ended::Proven(artefact) => {
            let (bytes, cpu) = (artefact.bytes, artefact.cpu_seconds);
            tracing::info!(job = %job.id, record, bytes, cpu_seconds = cpu, "proven");
        }
        Ended::Failed(failure) => {
            let why = why_failed(job, failure);
            tracing::warn!(job = %job.id, record, why, "a try to prove came to nothing");
        }
        Ended::Gone => tracing::warn!(job = %job.id, record, "a job was withdrawn, or is another worker's"),
    }
}

/// Why a job failed, for a log. What a prover says of token ids may be of the text, and stays in the job.
fn why_failed<'a>(job: &'a Job, failure: &'a Failure) -> &'a str {
    if is_language(job) { &failure.code } else { &failure.message }
}

/// Whether a job is about the token ids of a language model's answer.
fn is_language(job: &Job) -> bool {
    job.request.statement.prompt.is_some()
}

/// What the names of this process's workers begin with.
const WORKER: &str = "serve/";

impl Escalation for Proving {
    fn take(&self, drawn: DrawnRecord) -> BoxFuture<'_, Result<bool, String>> {
        self.take_on(drawn).boxed()
    }
}

#[cfg(test)]
mod tests;
