//! The passes of the log role's sequencer: what waits is judged and appended as one entry with one signed head.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use colophon_receipt::revocation::{REVOCATION_TYPE, Revocation};
use colophon_receipt::statement::{ANNOUNCEMENT_TYPE, Statement, payload_hash};
use colophon_signer::Signer;
use colophon_signer::cose::{Sign1, sign_statement};
use tokio::sync::mpsc;

use super::admission::{Admission, Submission, Verdict};
use super::{Answer, Logged, Placed, Post, QUEUE, Refusal, fork, now};
use crate::head::SignedHead;
use crate::leaf::Leaf;
use crate::log::{Log, LogError, Source};
use crate::sequencer::{MAX_LEAF_BYTES, MAX_LEAVES};
use crate::signing;
use crate::tiles::WIDTH;

/// How far back the statement that holds a place is looked for, in bundles of 256 leaves.
const LOOK_BACK: u64 = 256;
/// An idle log looks this often for what other replicas appended.
const IDLE: Duration = Duration::from_secs(10);

/// Owns the log's writer.
pub(super) struct Sequencer {
    pub(super) log: Log,
    pub(super) key: Arc<dyn Signer>,
    pub(super) admission: Admission,
}

impl Sequencer {
    pub(super) async fn run(mut self, mut posts: mpsc::Receiver<Post>) {
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

    pub(super) async fn round(&mut self, posts: Vec<Post>) {
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
    let silenced = admission.silenced(&statement.shard, now());
    let Some((index, logged)) = found else {
        let long_past = || Refusal::Unfit("its place in the chain is long past".into());
        return Ok(Some(Err(silenced.unwrap_or_else(long_past))));
    };
    let same = Sign1::parse(&logged)
        .is_ok_and(|logged| payload_hash(logged.payload()) == payload_hash(signed.payload()));
    if same {
        return Ok(Some(Ok(Placed { index })));
    }
    if let Some(refusal) = silenced {
        return Ok(Some(Err(refusal)));
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
