//! The log role: puts the statements of many sidecars in order, together with other replicas on the same store.
//!
//! One task owns the log's writer. It takes what has been sent meanwhile, reads what other replicas appended, judges each
//! submission against the whole of it (`admission.rs`), and appends what is fit as one entry. Where another replica was
//! faster, it reads that entry and judges again: a place in a shard's chain is given once, whoever asks whom.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use colophon_receipt::revocation::{REVOCATION_TYPE, Reason, Revocation};
use colophon_receipt::statement::{ANNOUNCEMENT_TYPE, Announcement, Statement, payload_hash};
use colophon_signer::Signer;
use colophon_signer::cose::{Sign1, sign_statement};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use self::admission::{Admission, Submission, Verdict};
use crate::anchor::{Anchoring, Anchors, Timestamping};
use crate::generation::{self, Older};
use crate::head::SignedHead;
use crate::leaf::Leaf;
use crate::ledger::{LedgerError, is_public};
use crate::log::{Log, LogError, Source};
use crate::sequencer::{MAX_LEAF_BYTES, MAX_LEAVES};
use crate::signing;
use crate::store::Store;
use crate::tiles::{MAX_BUNDLE, MAX_ENTRY, WIDTH};
use crate::witness::{Kept, Witnesses, Witnessing};

mod admission;
mod fork;

/// Submissions that wait at most; more are told to come again.
const QUEUE: usize = 4096;
/// How far back the statement that holds a place is looked for, in bundles of 256 leaves.
const LOOK_BACK: u64 = 256;
/// An idle log looks this often for what other replicas appended.
const IDLE: Duration = Duration::from_secs(10);

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

/// Why the log does not take a leaf.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is not of the form that the log takes.
    #[error("it is not for this log: {0}")]
    Unfit(String),
    /// No announcement of the shard is known.
    #[error("the log knows no announcement of this shard where it says that it was announced")]
    Unknown,
    /// The shard's key has expired.
    #[error("the shard's key has expired: announce a new shard")]
    Expired,
    /// The shard has ended.
    #[error("the shard is closed")]
    Closed,
    /// The operator has revoked the shard's key.
    #[error("the shard's key is revoked, by leaf {index}: announce a new shard")]
    Revoked {
        /// Where the revocation is.
        index: u64,
    },
    /// A later shard of the same sidecar goes on from where this one was.
    #[error("another life of this sidecar goes on where this shard ended")]
    Superseded,
    /// Another key speaks for a shard of this name.
    #[error("a shard of this name is announced with another key")]
    Taken,
    /// Statements come in order, without gaps.
    #[error("the shard's next statement is number {next}")]
    Gap {
        /// The number that the log waits for.
        next: u64,
    },
    /// The statement names another one before it than the log holds.
    #[error("the statement before it is another one in the log: this shard's chain has forked")]
    Chain,
    /// The place is taken by another statement that the same key signed.
    #[error(
        "FORK: the log holds another statement for this place, at leaf {index}, signed by the same key. Both are kept \
         as proof. Was this sidecar's memory copied, as with a snapshot of a virtual machine?"
    )]
    Fork {
        /// Where the logged one is.
        index: u64,
    },
    /// The predecessor that an announcement names is not where its chain ends.
    #[error("the predecessor's last statement is number {seq}, at leaf {index}")]
    Predecessor {
        /// Its number.
        seq: u64,
        /// Where it is.
        index: u64,
    },
    /// The log cannot take anything at the moment; trying again helps.
    #[error("the log cannot take it at the moment: {0}")]
    Busy(String),
}

/// The wire's name of [`Refusal::Predecessor`].
pub(crate) const PREDECESSOR_CODE: &str = "predecessor";

impl Refusal {
    /// The reason's name on the wire.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::Unfit(_) => "unfit",
            Refusal::Unknown => "unknown-shard",
            Refusal::Expired => "expired",
            Refusal::Closed => "closed",
            Refusal::Revoked { .. } => "revoked",
            Refusal::Superseded => "superseded",
            Refusal::Taken => "taken",
            Refusal::Gap { .. } => "gap",
            Refusal::Chain => "chain",
            Refusal::Fork { .. } => "fork",
            Refusal::Predecessor { .. } => PREDECESSOR_CODE,
            Refusal::Busy(_) => "busy",
        }
    }

    /// The HTTP status that says the same.
    pub fn status(&self) -> u16 {
        match self {
            Refusal::Unfit(_) => 400,
            Refusal::Unknown => 404,
            Refusal::Expired | Refusal::Revoked { .. } => 403,
            Refusal::Busy(_) => 503,
            _ => 409,
        }
    }
}

/// The log as a service. Clones are the same one.
#[derive(Clone, Debug)]
pub struct LogService {
    origin: String,
    vkey: String,
    queue: mpsc::Sender<Post>,
    head: watch::Receiver<Arc<SignedHead>>,
    files: Store,
    counts: Arc<Counters>,
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
        let mut cosigned = Kept::default();
        if let Some(witnessing) = witnessing {
            let mut witnesses = Witnesses::new(witnessing, &log).await?;
            witnesses.first_round(&log.head()).await.map_err(LedgerError::Witness)?;
            cosigned = witnesses.kept();
            beside.spawn(witnesses.run(log.heads()));
        }
        if let Some(timestamping) = timestamping {
            let publication = log.publication();
            let tsas = timestamping.urls.len();
            let anchors = Anchors::open(publication.store, vec![publication.key], tsas).await?;
            let (anchoring, _) = Anchoring::new(timestamping, anchors, cosigned).await?;
            let generation = log.origin().rsplit('/').next().and_then(|last| last.parse().ok()).unwrap_or(1);
            let older = generation::older(&log.store().objects(), generation).await;
            beside.spawn(anchoring.run(log.heads(), older.iter().map(Older::end).collect()));
        }
        let (queue, posts) = mpsc::channel(QUEUE);
        let service = LogService {
            origin: log.origin().to_owned(),
            vkey: log.vkey(),
            queue,
            head: log.heads(),
            files: log.store().clone(),
            counts: Arc::default(),
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

/// Owns the log's writer.
struct Sequencer {
    log: Log,
    key: Arc<dyn Signer>,
    admission: Admission,
}

impl Sequencer {
    async fn run(mut self, mut posts: mpsc::Receiver<Post>) {
        let mut waiting: Vec<Post> = Vec::new();
        loop {
            if waiting.is_empty() {
                match tokio::time::timeout(IDLE, posts.recv()).await {
                    Ok(Some(post)) => waiting.push(post),
                    Ok(None) => return,
                    Err(_) => {}
                }
            }
            while waiting.len() < QUEUE
                && let Ok(post) = posts.try_recv()
            {
                waiting.push(post);
            }
            let (round, later) = one_for_each_shard(std::mem::take(&mut waiting));
            waiting = later;
            self.round(round).await;
        }
    }

    async fn round(&mut self, posts: Vec<Post>) {
        let mut round =
            Round { admission: &mut self.admission, posts, answers: Vec::new(), appended: Vec::new() };
        if let Err(error) = self.log.catch_up(&mut round).await {
            return round.fail(&error);
        }
        let mut kept = Vec::new();
        for post in std::mem::take(&mut round.posts) {
            match prepare(&self.log, round.admission, &post.submission).await {
                Ok(Some(answer)) => round.answers.push((post.answer, answer)),
                Ok(None) => kept.push(post),
                Err(error) => drop(post.answer.send(Err(busy(&error)))),
            }
        }
        round.posts = kept;
        if let Err(error) = round.sign(&self.key, self.log.origin()).await {
            return round.fail(&error);
        }
        match self.log.append_from(&mut round).await {
            Ok(head) => round.answer(&head),
            Err(error) => round.fail(&error),
        }
    }
}

/// One submission a shard; the others wait for what becomes of it.
fn one_for_each_shard(posts: Vec<Post>) -> (Vec<Post>, Vec<Post>) {
    let mut shards = HashSet::new();
    posts.into_iter().partition(|post| shards.insert(post.submission.shard().to_owned()))
}

/// Reads of the log's past what the submission needs. Answers those whose place in the chain is taken.
async fn prepare(
    log: &Log,
    admission: &mut Admission,
    submission: &Submission,
) -> Result<Option<Result<Placed, Refusal>>, LogError> {
    let (reader, tree) = (log.reader(), log.tree());
    if let Some(index) = admission.wants_key(submission) {
        match reader.entry(index, &tree).await {
            Ok(leaf) => admission.announcement(index, &leaf),
            Err(LogError::Range { .. }) => return Ok(Some(Err(Refusal::Unknown))),
            Err(error) => return Err(error),
        }
    }
    while admission.wants_more(submission) {
        let start = (admission.from - 1) / WIDTH as u64 * WIDTH as u64;
        let leaves = reader.entries(start..admission.from, &tree).await?;
        admission.earlier(start, &leaves);
    }
    let Submission::Statement { leaf, signed, statement, .. } = submission else { return Ok(None) };
    if !matches!(admission.judge(submission, now()), Verdict::Past) {
        return Ok(None);
    }
    let found = logged_statement(log, admission, statement).await?;
    let Some((index, logged)) = found else {
        let refusal = Refusal::Unfit("its place in the chain is long past".into());
        return Ok(Some(Err(refusal)));
    };
    let same = Sign1::parse(&logged)
        .is_ok_and(|logged| payload_hash(logged.payload()) == payload_hash(signed.payload()));
    if same {
        return Ok(Some(Ok(Placed { index })));
    }
    tracing::error!(
        shard = statement.shard,
        seq = statement.seq,
        index,
        "FORK: a shard's key has signed two statements for one place; the second is refused and both are kept"
    );
    fork::keep(log.store(), &statement.shard, statement.seq, &logged, leaf).await?;
    Ok(Some(Err(Refusal::Fork { index })))
}

/// The logged statement that holds the place of `statement`, and where it is.
async fn logged_statement(
    log: &Log,
    admission: &Admission,
    statement: &Statement,
) -> Result<Option<(u64, Vec<u8>)>, LogError> {
    let Some(last) = admission.last_index(&statement.shard) else { return Ok(None) };
    let announced = admission.announced_index(&statement.shard).unwrap_or(0);
    let mut end = last.saturating_add(1);
    for _ in 0..LOOK_BACK {
        if end <= announced {
            break;
        }
        let start = (end - 1) / WIDTH as u64 * WIDTH as u64;
        let leaves = log.reader().entries(start..end, &log.tree()).await?;
        for (index, leaf) in (start..end).zip(leaves).collect::<Vec<_>>().into_iter().rev() {
            let place = |leaf: &Leaf| match leaf {
                Leaf::Statement(_, logged) => logged.shard == statement.shard && logged.seq == statement.seq,
                _ => false,
            };
            if Leaf::parse(&leaf).is_ok_and(|parsed| place(&parsed)) {
                return Ok(Some((index, leaf)));
            }
        }
        end = start;
    }
    Ok(None)
}

/// What one pass of the sequencer has in hand.
struct Round<'a> {
    admission: &'a mut Admission,
    /// Not judged for good yet.
    posts: Vec<Post>,
    /// Judged: to be answered once a signed head covers it.
    answers: Vec<(Answer, Result<Placed, Refusal>)>,
    /// The leaves of each of `posts`, as they would be appended.
    appended: Vec<Vec<u8>>,
}

impl Round<'_> {
    /// Makes the leaves: the log's key signs announcements that are fit at this moment.
    async fn sign(&mut self, key: &Arc<dyn Signer>, origin: &str) -> Result<(), LogError> {
        for post in &self.posts {
            let leaf = match &post.submission {
                Submission::Statement { leaf, .. }
                | Submission::Close { leaf, .. }
                | Submission::PolicyChange { leaf, .. }
                | Submission::Erasure { leaf, .. } => leaf.clone(),
                Submission::Revocation { shard, reason, at, invalid_from } => {
                    // Without a key it is refused below.
                    match self.admission.key(shard) {
                        None => Vec::new(),
                        Some(revoked) => {
                            let revocation = Revocation {
                                key_id: revoked.key_id(),
                                reason: *reason,
                                at: *at,
                                shard: Some(shard.clone()),
                                invalid_from: *invalid_from,
                                successor: None,
                            };
                            let (payload, origin) = (revocation.encode(), origin.to_owned());
                            let shard = shard.clone();
                            let sign = move |key: &dyn Signer| {
                                sign_statement(&payload, REVOCATION_TYPE, &origin, &shard, key)
                            };
                            signing::with(key, sign).await?
                        }
                    }
                }
                Submission::Announcement { payload, announcement } => {
                    let fit = matches!(self.admission.judge(&post.submission, now()), Verdict::Append);
                    if !fit {
                        // Judged again below; it is not appended.
                        Vec::new()
                    } else {
                        let (payload, origin) = (payload.clone(), origin.to_owned());
                        let shard = announcement.shard.clone();
                        let sign = move |key: &dyn Signer| {
                            sign_statement(&payload, ANNOUNCEMENT_TYPE, &origin, &shard, key)
                        };
                        signing::with(key, sign).await?
                    }
                }
            };
            self.appended.push(leaf);
        }
        Ok(())
    }

    fn answer(self, head: &Arc<SignedHead>) {
        for (answer, verdict) in self.answers {
            let logged = verdict.map(|placed| Logged { index: placed.index, head: head.clone() });
            // Whoever asked may have gone; asking again gives the same answer.
            drop(answer.send(logged));
        }
    }

    fn fail(self, error: &LogError) {
        tracing::error!(%error, "the log cannot append; sidecars try again");
        let posts = self.posts.into_iter().map(|post| post.answer);
        for answer in posts.chain(self.answers.into_iter().map(|(answer, _)| answer)) {
            drop(answer.send(Err(busy(error))));
        }
    }
}

impl Source for Round<'_> {
    /// Judges what is left, with all that is in the log by now. What is fit goes in.
    fn leaves(&mut self) -> Vec<Vec<u8>> {
        let (mut posts, mut leaves) = (Vec::new(), Vec::new());
        let mut bytes = 0;
        let now = now();
        for (post, leaf) in
            std::mem::take(&mut self.posts).into_iter().zip(std::mem::take(&mut self.appended))
        {
            let fits = leaves.len() < MAX_LEAVES && bytes + leaf.len() <= MAX_LEAF_BYTES && !leaf.is_empty();
            match self.admission.judge(&post.submission, now) {
                Verdict::Append if fits => {
                    bytes += leaf.len();
                    leaves.push(leaf);
                    posts.push(post);
                }
                Verdict::Append | Verdict::Past => {
                    let refusal = Refusal::Busy("too much at once, or another was faster: try again".into());
                    self.answers.push((post.answer, Err(refusal)));
                }
                Verdict::Logged(placed) => self.answers.push((post.answer, Ok(placed))),
                Verdict::Refused(refusal) => self.answers.push((post.answer, Err(refusal))),
            }
        }
        (self.posts, self.appended) = (posts, leaves.clone());
        leaves
    }

    fn applied(&mut self, first_index: u64, leaves: &[Vec<u8>]) {
        self.admission.applied(first_index, leaves);
    }
}

fn busy(error: &LogError) -> Refusal {
    Refusal::Busy(error.to_string())
}

/// µs since the epoch.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
