//! The log role: puts the statements of many sidecars in order, together with other replicas on the same store.
//!
//! One task owns the log's writer. It takes what has been sent meanwhile, reads what other replicas appended, judges each
//! submission against the whole of it (`admission.rs`), and appends what is fit as one entry. Where another replica was
//! faster, it reads that entry and judges again: a place in a shard's chain is given once, whoever asks whom.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use colophon_receipt::revocation::Reason;
use colophon_receipt::statement::Announcement;
use colophon_signer::Signer;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use self::admission::{Admission, Submission};
use self::passes::Sequencer;
use crate::anchor::{AnchorStatus, Anchoring, Anchors, DatedNow, Demand, Timestamping, dated_now};
use crate::generation::{self, Older};
use crate::head::SignedHead;
use crate::leaf::Leaf;
use crate::ledger::{LedgerError, is_public};
use crate::log::{Log, LogError};
use crate::store::Store;
use crate::tiles::{MAX_BUNDLE, MAX_ENTRY};
use crate::trust::trust_json;
use crate::witness::{Kept, WitnessStatus, Witnesses, Witnessing};

mod admission;
mod fork;
mod passes;
mod refusal;

pub(crate) use refusal::PREDECESSOR_CODE;
pub use refusal::Refusal;

/// Submissions that wait at most; more are told to come again.
const QUEUE: usize = 4096;

/// Where a leaf is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its index in the log.
    pub index: u64,
}

/// A leaf that is logged, and a signed head that covers it.
#[derive(Clone, Debug)]
pub struct Logged {
    /// Its index.
    pub index: u64,
    /// The head.
    pub head: Arc<SignedHead>,
}

/// The log as a service. Clones are the same one.
#[derive(Clone, Debug)]
pub struct LogService {
    origin: String,
    vkey: String,
    trust: Arc<str>,
    queue: mpsc::Sender<Post>,
    head: watch::Receiver<Arc<SignedHead>>,
    files: Store,
    counts: Arc<Counters>,
    witnesses: Option<WitnessStatus>,
    dating: Option<Dating>,
}

/// What has the log's heads dated.
#[derive(Clone, Debug)]
struct Dating {
    anchors: Anchors,
    status: AnchorStatus,
    demands: mpsc::Sender<Demand>,
}

/// What the service counted since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServiceCounts {
    /// Posts that are in the log.
    pub accepted: u64,
    /// Posts that it does not take.
    pub refused: u64,
    /// Posts that have to be sent again.
    pub busy: u64,
    /// Second statements for one place of a chain.
    pub forks: u64,
}

#[derive(Debug, Default)]
struct Counters {
    accepted: AtomicU64,
    refused: AtomicU64,
    busy: AtomicU64,
    forks: AtomicU64,
}

impl Counters {
    fn count(&self, answer: &Result<Logged, Refusal>) {
        let counter = match answer {
            Ok(_) => &self.accepted,
            Err(Refusal::Busy(_)) => &self.busy,
            Err(Refusal::Fork { .. }) => &self.forks,
            Err(_) => &self.refused,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// The task behind a [`LogService`]. It ends once every clone of the service is dropped and what waited is answered.
#[must_use = "dropping it stops the log"]
#[derive(Debug)]
pub struct ServiceTask {
    task: JoinSet<()>,
    /// May be stopped at any moment.
    beside: JoinSet<()>,
}

impl ServiceTask {
    /// Waits for the end.
    pub async fn ended(mut self) {
        while self.task.join_next().await.is_some() {}
        self.beside.shutdown().await;
    }
}

type Answer = oneshot::Sender<Result<Logged, Refusal>>;

#[derive(Debug)]
struct Post {
    submission: Submission,
    answer: Answer,
}

impl LogService {
    /// Starts the service on the current runtime. `key` is the log's, which signs announcements; checkpoints are
    /// submitted to the witnesses of `witnessing` and dated by the TSAs of `timestamping`.
    ///
    /// # Errors
    /// When a witness has cosigned what this log does not hold, or the store cannot be read.
    pub async fn start(
        log: Log,
        key: Arc<dyn Signer>,
        witnessing: Option<&Witnessing>,
        timestamping: Option<&Timestamping>,
    ) -> Result<(LogService, ServiceTask), LedgerError> {
        let mut beside = JoinSet::new();
        let (mut cosigned, mut status) = (Kept::default(), None);
        if let Some(witnessing) = witnessing {
            let mut witnesses = Witnesses::new(witnessing, &log).await?;
            witnesses.first_round(&log.head()).await.map_err(LedgerError::Witness)?;
            (cosigned, status) = (witnesses.kept(), Some(witnesses.status()));
            beside.spawn(witnesses.run(log.heads()));
        }
        let objects = log.store().objects();
        let older = generation::older(&objects, &objects, generation::of_origin(log.origin())).await;
        let trust = trust_json(&log.vkey(), log.origin(), &older, timestamping).into();
        let mut dating = None;
        if let Some(timestamping) = timestamping {
            let publication = log.publication();
            let tsas = timestamping.urls.len();
            let anchors = Anchors::open(publication.store, vec![publication.key], tsas).await?;
            let (anchoring, demands) = Anchoring::new(timestamping, anchors.clone(), cosigned).await?;
            dating = Some(Dating { anchors, status: anchoring.status(), demands });
            beside.spawn(anchoring.run(log.heads(), older.iter().map(Older::end).collect()));
        }
        let (queue, posts) = mpsc::channel(QUEUE);
        let service = LogService {
            origin: log.origin().to_owned(),
            vkey: log.vkey(),
            trust,
            queue,
            head: log.heads(),
            files: log.store().clone(),
            counts: Arc::default(),
            witnesses: status,
            dating,
        };
        let admission = Admission::new(log.origin().to_owned(), log.tree().size);
        let mut task = JoinSet::new();
        task.spawn(Sequencer { log, key, admission }.run(posts));
        Ok((service, ServiceTask { task, beside }))
    }

    /// Whether leaves can be appended: the task behind this runs.
    pub fn is_running(&self) -> bool {
        !self.queue.is_closed()
    }

    /// What was counted since the start.
    pub fn counts(&self) -> ServiceCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counts = &self.counts;
        ServiceCounts {
            accepted: read(&counts.accepted),
            refused: read(&counts.refused),
            busy: read(&counts.busy),
            forks: read(&counts.forks),
        }
    }

    /// A file of the public log, `<generation>/checkpoint` or `<generation>/tile/…`; nothing else of the store.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn public_file(&self, file: &str) -> Result<Option<Bytes>, LogError> {
        // Earlier generations too: their receipts are still made from them.
        match file.split_once('/').filter(|_| is_public(file)) {
            Some((generation, name)) => {
                Ok(self.files.beside(format!("log/{generation}")).get(name, MAX_BUNDLE).await?)
            }
            None => Ok(None),
        }
    }

    /// The log's origin, generation included.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The log's verifier key (C2SP signed-note).
    pub fn vkey(&self) -> &str {
        &self.vkey
    }

    /// The trust file: what a reader has to believe to trust this log and its earlier generations, and nothing outside it.
    pub fn trust_json(&self) -> &str {
        &self.trust
    }

    /// What is known about the witnesses, where there are some.
    pub fn witnesses(&self) -> Option<&WitnessStatus> {
        self.witnesses.as_ref()
    }

    /// What is known about the TSAs, where there are some.
    pub fn timestamps(&self) -> Option<&AnchorStatus> {
        self.dating.as_ref().map(|dating| &dating.status)
    }

    /// The time of the newest token, µs since the epoch.
    pub fn beacon_time(&self) -> Option<u64> {
        self.dating.as_ref()?.anchors.beacon_time()
    }

    /// Has the newest checkpoint dated now, and says by whom. `None` where no TSA is configured, or the log has ended.
    pub async fn timestamp_now(&self) -> Option<DatedNow> {
        dated_now(&self.dating.as_ref()?.demands).await
    }

    /// The newest head that this replica signed.
    pub fn head(&self) -> Arc<SignedHead> {
        self.head.borrow().clone()
    }

    /// Admits a key: `payload` is an announcement that the log has not signed yet. `name`, if the caller has proved one,
    /// is the only name that its shard may have.
    ///
    /// # Errors
    /// [`Refusal`]; the same payload again is no error and gives the same index.
    pub async fn announce(&self, payload: &[u8], name: Option<&str>) -> Result<Logged, Refusal> {
        let unfit = |e: &dyn std::fmt::Display| Refusal::Unfit(format!("no announcement: {e}"));
        let announcement = Announcement::decode(payload).map_err(|e| unfit(&e))?;
        if !is_shard(&announcement.shard) {
            return Err(unfit(&"its shard is not of the form name/16 hex digits"));
        }
        let own = |name: &str| announcement.shard.rsplit_once('/').is_some_and(|(shard, _)| shard == name);
        if name.is_some_and(|name| !own(name)) {
            return Err(unfit(&"the caller may not speak for a shard of this name"));
        }
        self.submit(Submission::Announcement { payload: payload.to_vec(), announcement }).await
    }

    /// Logs a statement or a close leaf of a shard that was announced at leaf `announced`.
    ///
    /// # Errors
    /// [`Refusal`]; the same leaf again is no error and gives the same index.
    pub async fn append(&self, leaf: &[u8], announced: u64) -> Result<Logged, Refusal> {
        let unfit = |e: &dyn std::fmt::Display| Refusal::Unfit(format!("no statement: {e}"));
        if leaf.len() > MAX_ENTRY {
            return Err(unfit(&"it is too long"));
        }
        let leaf = leaf.to_vec();
        let submission = match Leaf::parse(&leaf).map_err(|e| unfit(&e))? {
            Leaf::Statement(signed, statement) => {
                Submission::Statement { leaf, signed, statement: Box::new(statement), announced }
            }
            Leaf::Close(signed, close) => Submission::Close { leaf, signed, close, announced },
            Leaf::Erasure(signed, erasure) => Submission::Erasure { leaf, signed, erasure, announced },
            Leaf::PolicyChange(signed, change) => {
                Submission::PolicyChange { leaf, signed, change, announced }
            }
            _ => {
                let what = "only statements, policy changes, close leaves and erasures are taken here";
                return Err(unfit(&what));
            }
        };
        self.submit(submission).await
    }

    /// Revokes the key of a shard: from the revocation's leaf on the log takes nothing more of it. `invalid_from`, µs, is
    /// when the key may have been stolen; what it signed from then on does not count. The caller has to have shown that it
    /// may: this is the log's own word.
    ///
    /// # Errors
    /// [`Refusal::Unknown`] for a shard that this generation did not announce, [`Refusal::Revoked`] for one that is revoked
    /// already.
    pub async fn revoke(
        &self,
        shard: &str,
        reason: Reason,
        invalid_from: Option<u64>,
    ) -> Result<Logged, Refusal> {
        let at = now();
        if invalid_from.is_some_and(|from| from > at) {
            return Err(Refusal::Unfit("a key is revoked from now on or from an earlier time".into()));
        }
        self.submit(Submission::Revocation { shard: shard.to_owned(), reason, at, invalid_from }).await
    }

    async fn submit(&self, submission: Submission) -> Result<Logged, Refusal> {
        let (answer, answered) = oneshot::channel();
        let busy = || Refusal::Busy("too much waits, or the log ends".into());
        let answer = match self.queue.try_send(Post { submission, answer }) {
            Ok(()) => answered.await.unwrap_or_else(|_| Err(busy())),
            Err(_) => Err(busy()),
        };
        self.counts.count(&answer);
        answer
    }
}

/// `name/<16 hex digits>`.
fn is_shard(shard: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    shard.split_once('/').is_some_and(|(name, incarnation)| {
        (1..=128).contains(&name.len())
            && name.chars().all(plain)
            && incarnation.len() == 16
            && incarnation.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

/// µs since the epoch.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
