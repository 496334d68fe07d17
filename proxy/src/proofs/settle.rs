//! What came of jobs goes into the log, once each, whatever crashes between.

use super::kept::Kept;
use super::{Proving, is_language, why_failed};
use crate::app::App;
use crate::facts::parse_id;
use colophon_ledger::{CameOf, Ledger, Lookup, Prepared, SettleError, ToLog};
use colophon_policies::OnMiss;
use colophon_provers::local::Store;
use colophon_provers::{Artefact, Job, JobId, Mark, State};
use colophon_receipt::proof::Proof;
use colophon_receipt::receipt::Bytes;
use colophon_receipt::record::RecordId;
use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How often it is looked for jobs that have ended by themselves: deadlines, leases.
const EVERY: Duration = Duration::from_secs(2);
/// How often artefacts are deleted whose jobs are remembered no more.
const SWEEP: Duration = Duration::from_secs(3600);
/// How often what could not be settled is looked at again.
const AGAIN: Duration = Duration::from_secs(10);
/// Jobs looked at together, and leaves of one statement at most.
const AT_ONCE: usize = 256;

/// What a prover's failure says that says it cannot prove this (`BackendError::Refused`).
const REFUSED: &str = "refused";

/// What of a job is to be done about the log now.
enum Next {
    /// This leaf is to be logged; with whether something was proven.
    Log(Prepared, bool),
    /// Nothing more: the log says it, or is to say nothing. With whether something was proven, where the log says it.
    Settled(Option<bool>),
    /// It cannot be done now.
    Later,
}

/// How far the walk along the ended jobs is. What cannot be settled now is looked at in the next turn, and holds up nothing behind
/// it.
struct Walk {
    begun: Instant,
    after: Mark,
    /// Whether more may lie behind: a turn ends at the end, however slow the store is.
    more: bool,
}

impl Walk {
    fn begin() -> Walk {
        Walk { begun: Instant::now(), after: Mark::default(), more: false }
    }

    /// Behind which place is to be looked now.
    fn place(&mut self) -> Mark {
        if !self.more && self.begun.elapsed() >= AGAIN {
            *self = Walk::begin();
        }
        self.after
    }

    /// Takes in what was there. True where more may lie behind.
    fn saw(&mut self, marks: &[Mark]) -> bool {
        self.after = marks.last().copied().unwrap_or(self.after);
        self.more = marks.len() == AT_ONCE;
        self.more
    }
}

impl Proving {
    /// Until `stop`: has the ledger log what came of each job.
    pub(super) async fn log_what_came(self: Arc<Self>, ledger: Ledger, stop: CancellationToken) {
        let (mut swept, mut walk) = (Instant::now(), Walk::begin());
        loop {
            if swept.elapsed() >= SWEEP {
                self.sweep().await;
                swept = Instant::now();
            }
            let (now, after) = (ledger.now(), walk.place());
            let ended = self.store.beside(move |store| {
                store.queue.tidy(now)?;
                Ok(store.queue.unlogged(after, AT_ONCE)?)
            });
            let jobs = ended.await.unwrap_or_else(|error| {
                tracing::error!(%error, "the queue of proofs cannot be read");
                Vec::new()
            });
            let full = walk.saw(&jobs);
            // It waits for the log, which may be away for longer than a stop may take. The next life asks again.
            tokio::select! {
                () = self.settle(&ledger, jobs) => {}
                () = stop.cancelled() => return,
            }
            if full {
                continue;
            }
            tokio::select! {
                () = self.ended.notified() => {}
                () = tokio::time::sleep(EVERY) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Has the log say what came of these jobs, in one statement.
    async fn settle(&self, ledger: &Ledger, jobs: Vec<Mark>) {
        let (mut leaves, mut said, mut done) = (Vec::new(), Vec::new(), Vec::new());
        let mut ids = BTreeSet::new();
        for Mark(_, id) in jobs {
            // Read now, one by one: with their statements they are large.
            let job = match self.store.beside(move |store| Ok(store.queue.get(id)?)).await {
                Ok(Some(job)) if job.is_unlogged() => job,
                Ok(_) => continue,
                Err(error) => {
                    tracing::error!(job = %id, %error, "a job cannot be read; it is tried again");
                    continue;
                }
            };
            match self.prepare(ledger, &job).await {
                // Two jobs may be about one draw, where its circuit became another: the log says it once.
                Next::Log(leaf, proven) if ids.insert(leaf.evidence()) => {
                    leaves.push(leaf);
                    said.push((job, proven));
                }
                Next::Log(..) | Next::Later => {}
                Next::Settled(said_so) => {
                    said_so.into_iter().for_each(|proven| self.said(&job, proven));
                    done.push(job.id);
                }
            }
        }
        match ledger.log_prepared(leaves).await {
            Ok(()) => {
                for (job, proven) in said {
                    self.said(&job, proven);
                    done.push(job.id);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "what came of proofs is not logged yet; it is tried again");
            }
        }
        self.note(done).await;
    }

    /// Forgets what is of records that were erased while this process did not run.
    pub(super) async fn forget_erased_before(self: Arc<Self>, ledger: Ledger, stop: CancellationToken) {
        let forgotten = tokio::select! {
            forgotten = self.forget_erased(&ledger) => forgotten,
            () = stop.cancelled() => return,
        };
        if let Err(error) = forgotten {
            tracing::warn!(%error, "not all jobs about erased records are forgotten; the next start tries again");
        }
    }

    /// Forgets bodies, jobs and artefacts of records that were erased: statements say things of them. After an error it goes on with
    /// the others.
    ///
    /// # Errors
    /// What of them is still there; the last of several.
    pub async fn forget_erased(&self, ledger: &Ledger) -> anyhow::Result<()> {
        let mut forgotten = Ok(());
        // They need nothing of the disk, whose errors are not theirs.
        for record in self.kept.iter().flat_map(Kept::records) {
            match ledger.lookup(&record).await {
                Ok(Lookup::Erased(_)) => self.forget_bodies(&record),
                Ok(_) => {}
                Err(error) => forgotten = Err(error.into()),
            }
        }
        let records = self.store.beside(|store| Ok(store.queue.records()?)).await?;
        for (job, record) in records {
            let Some(record) = parse_id(&record) else { continue };
            if let Err(error) = self.was_erased(ledger, &record, job).await {
                forgotten = Err(anyhow::Error::msg(error));
            }
        }
        forgotten
    }

    /// Forgets a job and its artefact. False where something of them is still there.
    async fn forget(&self, id: JobId) -> bool {
        match self.store.beside(move |store| store.forget(id)).await {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(job = %id, %error, "a job about an erased record cannot be forgotten yet");
                false
            }
        }
    }

    /// Deletes artefacts of jobs that are remembered no more.
    async fn sweep(&self) {
        if let Err(error) = self.store.beside(Store::sweep).await {
            tracing::error!(%error, "old artefacts cannot be deleted; it is tried again");
        }
    }

    async fn note(&self, logged: Vec<JobId>) {
        if let Err(error) = self.store.beside(move |store| Ok(store.queue.logged(&logged)?)).await {
            // They are looked at again, which changes nothing.
            tracing::error!(%error, "the queue of proofs cannot be written");
        }
    }

    async fn prepare(&self, ledger: &Ledger, job: &Job) -> Next {
        let (Some(record), Some(evidence)) = (parse_id(&job.request.record), evidence(job)) else {
            return Next::Settled(None);
        };
        let Ok(subject) = job.request.statement.record() else { return Next::Settled(None) };
        let proof = match &job.state {
            State::Proven(artefact) => match self.proof(job, artefact).await {
                Ok(proof) => proof,
                Err(error) => {
                    tracing::error!(job = %job.id, error, "an artefact cannot be read now; it is tried again");
                    return Next::Later;
                }
            },
            _ if self.is_held_back(job).await => return Next::Later,
            _ => None,
        };
        let proven = proof.is_some();
        match ledger.prepare(CameOf { record, subject, evidence, proof }).await {
            Ok(ToLog::Leaf(leaf)) => Next::Log(leaf, proven),
            // Of two jobs about one draw the log says what came first, whatever became of this one.
            Ok(ToLog::Settled { holds }) => Next::Settled(Some(holds)),
            Ok(ToLog::Elsewhere) => Next::Settled(None),
            Err(SettleError::NoRecord) => {
                tracing::info!(job = %job.id, "its record was erased: the log says nothing of it");
                match self.forget(job.id).await {
                    true => Next::Settled(None),
                    false => Next::Later,
                }
            }
            Err(error) => {
                tracing::warn!(job = %job.id, %error, "what came of a proof is not logged yet; it is tried again");
                Next::Later
            }
        }
    }

    /// Whether another job may still prove, before this one's deadline, what nothing came of here.
    async fn is_held_back(&self, job: &Job) -> bool {
        let (Some(evidence), Some(deadline)) = (job.request.evidence.clone(), job.request.deadline) else {
            return false;
        };
        if deadline <= colophon_provers::local::now() {
            return false;
        }
        self.store.beside(move |store| Ok(store.queue.is_awaited(&evidence)?)).await.unwrap_or(false)
    }

    fn said(&self, job: &Job, proven: bool) {
        let rule = job.request.rule.as_deref();
        if proven {
            self.counted.logged.inc();
            rule.iter().for_each(|rule| self.set_failing(rule, false));
            return;
        }
        let Some(app) = self.app.get().and_then(Weak::upgrade) else { return };
        let why = match &job.state {
            State::Cancelled => return,
            // What its proof is asked of is the client's to choose, and to make one that no prover proves.
            State::Failed(failure) if failure.code == REFUSED && is_language(job) => {
                return self.declined(&job.request.record, rule, why_failed(job, failure));
            }
            State::Failed(failure) => why_failed(job, failure).to_owned(),
            State::Missed => "its deadline passed".to_owned(),
            State::Proven(_) => {
                "the log said before that nothing was done, or its artefact cannot be read".to_owned()
            }
            _ => "nothing came of it".to_owned(),
        };
        self.missed(&app, rule, &job.request.record, &why);
    }

    /// A proof did not come: what its rule says then.
    pub(super) fn missed(&self, app: &App, rule: Option<&str>, record: &str, why: &str) {
        self.counted.missed.inc();
        let policy = app.policy.load();
        let on_miss = rule.and_then(|rule| policy.policy.actions(rule)).map(|actions| actions.on_miss);
        match on_miss.unwrap_or_default() {
            OnMiss::Downgrade => tracing::info!(record, rule, why, "no proof: the record stays at `sign`"),
            OnMiss::Alert => {
                tracing::error!(record, rule, why, "ALERT: a proof that a rule asks for did not come")
            }
            OnMiss::Fail => {
                tracing::error!(record, rule, why, "ALERT: a proof that a rule asks for did not come");
                rule.iter().for_each(|rule| self.set_failing(rule, true));
            }
        }
    }

    /// What the receipt will carry. `None` where the artefact is gone for good, or no receipt can carry it.
    ///
    /// # Errors
    /// It cannot be read now: what is wrong may pass.
    async fn proof(&self, job: &Job, artefact: &Artefact) -> Result<Option<Proof>, String> {
        let (id, proven) = (job.id, artefact.clone());
        let bytes = match self.store.beside(move |store| store.artefact(id, &proven)).await {
            Ok(bytes) => bytes,
            Err(error) if error.is_for_good() => {
                tracing::error!(%error, "an artefact is lost: the log says that nothing was done");
                return Ok(None);
            }
            Err(error) => return Err(error.to_string()),
        };
        let artefact = artefact.clone();
        let proof = Proof {
            format: Proof::FORMAT.into(),
            statement: job.request.statement.clone(),
            prover: artefact.prover,
            hides: artefact.hides,
            setup: artefact.setup,
            artefact: Bytes(bytes),
        };
        match proof.check() {
            Ok(()) => Ok(Some(proof)),
            Err(error) => {
                tracing::error!(job = %job.id, %error, "no receipt can carry this proof");
                Ok(None)
            }
        }
    }
}

fn evidence(job: &Job) -> Option<RecordId> {
    evidence_id(job.request.evidence.as_deref()?)
}

/// An evidence leaf's id, as jobs have it.
pub(super) fn evidence_id(text: &str) -> Option<RecordId> {
    let mut id = RecordId::default();
    hex::decode_to_slice(text, &mut id).ok().map(|()| id)
}

#[cfg(test)]
mod tests;
