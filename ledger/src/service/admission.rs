//! What a log admits: which keys speak for which shards, and where each shard's chain of statements stands.
//!
//! All of it is told from the log's own leaves, so that every replica that has read as far decides the same. A replica
//! that has just started knows nothing; it reads backwards from the newest leaf, as far as the shards that call ask for.

use std::collections::HashMap;

use colophon_receipt::Hash;
use colophon_receipt::erasure::{Erasure, ErasureId};
use colophon_receipt::policy_change::PolicyChange;
use colophon_receipt::revocation::Reason;
use colophon_receipt::statement::{Announcement, ShardClose, Statement, payload_hash};
use colophon_signer::PublicKey;
use colophon_signer::cose::Sign1;

use super::{Placed, Refusal};
use crate::leaf::Leaf;

/// A sidecar's clock and the log's may differ by this much, µs.
const SKEW: u64 = 10 * 60 * 1_000_000;
/// A shard's key counts for a day at most, µs.
const LONGEST_LIFE: u64 = 86_400 * 1_000_000;
/// Shards remembered before those whose keys have expired are forgotten.
const MANY: usize = 65_536;

/// What is sent to be logged, parsed and not yet believed.
#[derive(Clone, Debug)]
pub(super) enum Submission {
    /// A key that wants to speak for a shard.
    Announcement { payload: Vec<u8>, announcement: Announcement },
    /// A statement, and where its shard says that it was announced.
    Statement { leaf: Vec<u8>, signed: Sign1, statement: Box<Statement>, announced: u64 },
    /// The end of a shard.
    Close { leaf: Vec<u8>, signed: Sign1, close: ShardClose, announced: u64 },
    /// A shard's word that another policy is in force.
    PolicyChange { leaf: Vec<u8>, signed: Sign1, change: PolicyChange, announced: u64 },
    /// A shard's word that openings were deleted.
    Erasure { leaf: Vec<u8>, signed: Sign1, erasure: Erasure, announced: u64 },
    /// The operator's word that a shard's key counts no longer; the log's key signs it.
    Revocation { shard: String, reason: Reason, at: u64, invalid_from: Option<u64> },
}

impl Submission {
    pub(super) fn shard(&self) -> &str {
        match self {
            Submission::Announcement { announcement, .. } => &announcement.shard,
            Submission::Statement { statement, .. } => &statement.shard,
            Submission::Close { close, .. } => &close.shard,
            Submission::PolicyChange { change, .. } => &change.shard,
            Submission::Erasure { erasure, .. } => &erasure.shard,
            Submission::Revocation { shard, .. } => shard,
        }
    }
}

/// What becomes of a submission.
#[derive(Clone, Debug)]
pub(super) enum Verdict {
    /// It is to be logged.
    Append,
    /// It is logged already, here.
    Logged(Placed),
    /// Its place in the chain is taken; whether by the same statement is for the log to say.
    Past,
    /// It is not for this log.
    Refused(Refusal),
}

/// The key of a shard.
#[derive(Clone, Debug)]
struct Announced {
    index: u64,
    key: PublicKey,
    not_after: u64,
    hash: Hash,
}

/// Where a chain of statements stands.
#[derive(Clone, Copy, Debug)]
struct Last {
    seq: u64,
    hash: Hash,
    index: u64,
}

#[derive(Clone, Debug, Default)]
struct Known {
    announced: Option<Announced>,
    last: Option<Last>,
    /// Index and payload hash of the close leaf.
    closed: Option<(u64, Hash)>,
    /// A later shard says that it goes on where this one ended.
    superseded: bool,
    /// Index and time of the revocation of its key.
    revoked: Option<(u64, u64)>,
    /// Its newest policy change: the statement that it comes before, index and payload hash.
    change: Option<(u64, u64, Hash)>,
    /// Its erasures, with index and payload hash.
    erasures: HashMap<ErasureId, (u64, Hash)>,
}

/// What the log says about shards, from leaf `from` to its end.
#[derive(Debug, Default)]
pub(super) struct Admission {
    origin: String,
    shards: HashMap<String, Known>,
    /// The first leaf that was read; nothing before it is known.
    pub(super) from: u64,
    /// The earliest time that a leaf from `from` on names, µs.
    pub(super) earliest: u64,
}

impl Admission {
    /// Of a log of `size` leaves, none of them read.
    pub(super) fn new(origin: String, size: u64) -> Admission {
        Admission { origin, shards: HashMap::new(), from: size, earliest: u64::MAX }
    }

    /// Takes in what was appended.
    pub(super) fn applied(&mut self, first_index: u64, leaves: &[Vec<u8>]) {
        for (leaf, index) in leaves.iter().zip(first_index..) {
            self.take_in(index, leaf, true);
        }
    }

    /// Takes in leaves before all that were read so far.
    pub(super) fn earlier(&mut self, first_index: u64, leaves: &[Vec<u8>]) {
        let end = first_index.saturating_add(leaves.len() as u64);
        for (leaf, index) in leaves.iter().rev().zip((first_index..end).rev()) {
            self.take_in(index, leaf, false);
        }
        self.from = first_index;
    }

    /// Takes in one leaf; what is `newer` replaces, what is earlier only fills in.
    fn take_in(&mut self, index: u64, bytes: &[u8], newer: bool) {
        // A leaf of a later version says nothing about chains.
        let Ok(leaf) = Leaf::parse(bytes) else { return };
        let hash = leaf.signed().map(|signed| payload_hash(signed.payload())).unwrap_or_default();
        let Some(shard) = leaf.shard().map(str::to_owned) else { return };
        match leaf {
            Leaf::Announcement(_, new) => {
                self.earliest = self.earliest.min(new.not_before);
                if let Some(predecessor) = new.predecessor {
                    self.shards.entry(predecessor.shard).or_default().superseded = true;
                }
                self.make_room(new.not_before);
                let announced =
                    Announced { index, key: PublicKey(new.public_key), not_after: new.not_after, hash };
                self.shards.entry(shard).or_default().announced.get_or_insert(announced);
            }
            Leaf::Statement(_, statement) => {
                self.earliest = self.earliest.min(statement.to);
                let last = &mut self.shards.entry(shard).or_default().last;
                if newer || last.is_none() {
                    *last = Some(Last { seq: statement.seq, hash, index });
                }
            }
            Leaf::Close(_, close) => {
                self.earliest = self.earliest.min(close.at);
                self.shards.entry(shard).or_default().closed.get_or_insert((index, hash));
            }
            Leaf::PolicyChange(_, new) => {
                self.earliest = self.earliest.min(new.at);
                let change = &mut self.shards.entry(shard).or_default().change;
                if newer || change.is_none() {
                    *change = Some((new.seq, index, hash));
                }
            }
            Leaf::Erasure(_, erasure) => {
                self.earliest = self.earliest.min(erasure.at);
                self.shards.entry(shard).or_default().erasures.insert(erasure.id, (index, hash));
            }
            Leaf::Revocation(_, revocation) if revocation.shard.is_some() => {
                self.earliest = self.earliest.min(revocation.at);
                self.shards.entry(shard).or_default().revoked.get_or_insert((index, revocation.at));
            }
            _ => {}
        }
    }

    /// Forgets shards whose key has expired: nothing of theirs is admitted any more.
    fn make_room(&mut self, now: u64) {
        if self.shards.len() >= MANY {
            let expired = |known: &Announced| known.not_after.saturating_add(SKEW) < now;
            self.shards.retain(|_, known| !known.announced.as_ref().is_some_and(expired));
        }
    }

    /// Whether `submission` cannot be judged before more of the log's past was read. A chain is known once its newest
    /// statement, or its announcement, was met; an announcement could have been logged only after it was made.
    pub(super) fn wants_more(&self, submission: &Submission) -> bool {
        if self.from == 0 {
            return false;
        }
        let known = self.shards.get(submission.shard());
        match submission {
            // Whatever it takes: an operator asks, and seldom.
            Submission::Revocation { .. } => known.is_none_or(|known| known.announced.is_none()),
            Submission::Announcement { announcement, .. } => {
                known.is_none_or(|known| known.announced.is_none())
                    && self.earliest >= announcement.not_before.saturating_sub(SKEW)
            }
            Submission::Statement { announced, .. }
            | Submission::Close { announced, .. }
            | Submission::PolicyChange { announced, .. }
            | Submission::Erasure { announced, .. } => {
                known.is_none_or(|known| known.last.is_none()) && self.from > *announced
            }
        }
    }

    /// Whether the key of the submission's shard is not known, and so its announcement has to be read: at this index.
    pub(super) fn wants_key(&self, submission: &Submission) -> Option<u64> {
        let known = self.shards.get(submission.shard());
        match submission {
            Submission::Announcement { .. } | Submission::Revocation { .. } => None,
            Submission::Statement { announced, .. }
            | Submission::Close { announced, .. }
            | Submission::PolicyChange { announced, .. }
            | Submission::Erasure { announced, .. } => {
                known.is_none_or(|known| known.announced.is_none()).then_some(*announced)
            }
        }
    }

    /// Takes in the announcement that a sidecar points to; one of another shard changes nothing for it.
    pub(super) fn announcement(&mut self, index: u64, leaf: &[u8]) {
        // Its time says nothing about how far back all was read.
        let earliest = self.earliest;
        if matches!(Leaf::parse(leaf), Ok(Leaf::Announcement(..))) {
            self.take_in(index, leaf, false);
        }
        self.earliest = earliest;
    }

    /// Where the newest statement of a shard is.
    pub(super) fn last_index(&self, shard: &str) -> Option<u64> {
        self.shards.get(shard)?.last.map(|last| last.index)
    }

    /// The key that a shard was announced with.
    pub(super) fn key(&self, shard: &str) -> Option<&PublicKey> {
        self.shards.get(shard)?.announced.as_ref().map(|announced| &announced.key)
    }

    /// Where the announcement of a shard is.
    pub(super) fn announced_index(&self, shard: &str) -> Option<u64> {
        self.shards.get(shard)?.announced.as_ref().map(|announced| announced.index)
    }

    /// Judges a submission at `now`, µs, against all that is known.
    pub(super) fn judge(&self, submission: &Submission, now: u64) -> Verdict {
        match submission {
            Submission::Announcement { payload, announcement } => self.judge_key(payload, announcement, now),
            Submission::Statement { signed, statement, .. } => {
                self.judge_word(&statement.shard, signed, now, |known| {
                    judge_statement(known, signed, statement)
                })
            }
            Submission::Close { signed, close, .. } => {
                self.judge_word(&close.shard, signed, now, |known| judge_close(known, signed, close))
            }
            Submission::PolicyChange { signed, change, .. } => {
                self.judge_word(&change.shard, signed, now, |known| judge_change(known, signed, change))
            }
            Submission::Erasure { signed, erasure, .. } => {
                self.judge_word(&erasure.shard, signed, now, |known| judge_erasure(known, signed, erasure))
            }
            Submission::Revocation { shard, at: asked, .. } => match self.shards.get(shard) {
                Some(Known { revoked: Some((index, at)), .. }) if at == asked => {
                    Verdict::Logged(Placed { index: *index })
                }
                Some(Known { revoked: Some((index, _)), .. }) => {
                    Verdict::Refused(Refusal::Revoked { index: *index })
                }
                Some(Known { announced: Some(_), .. }) => Verdict::Append,
                _ => Verdict::Refused(Refusal::Unknown),
            },
        }
    }

    fn judge_key(&self, payload: &[u8], new: &Announcement, now: u64) -> Verdict {
        let refuse = |why: String| Verdict::Refused(Refusal::Unfit(why));
        if new.origin != self.origin {
            return refuse(format!("it is for the log {}, this is {}", new.origin, self.origin));
        }
        if PublicKey(new.public_key).verify(&new.proof_message(), &new.proof).is_err() {
            return refuse("its proof of possession does not hold".into());
        }
        if let Some(known) = self.shards.get(&new.shard).and_then(|known| known.announced.as_ref()) {
            return match known.hash == payload_hash(payload) {
                true => Verdict::Logged(Placed { index: known.index }),
                false => Verdict::Refused(Refusal::Taken),
            };
        }
        // An earlier one has waited for the log, with answers signed by it; it counts while its key does.
        if new.not_before.saturating_sub(now) > SKEW {
            return refuse(format!(
                "its clock is {} s ahead of the log's",
                new.not_before.saturating_sub(now) / 1_000_000
            ));
        }
        if new.not_after.checked_sub(new.not_before).is_none_or(|life| life > LONGEST_LIFE || life == 0) {
            return refuse("a shard's key counts for 24 hours at most".into());
        }
        if new.not_after <= now {
            return Verdict::Refused(Refusal::Expired);
        }
        let Some(earlier) = &new.predecessor else { return Verdict::Append };
        match self.shards.get(&earlier.shard).and_then(|known| known.last) {
            Some(last) if (last.seq, last.hash) != (earlier.seq, earlier.payload_hash) => {
                Verdict::Refused(Refusal::Predecessor { seq: last.seq, index: last.index })
            }
            // Not met lately: the check of the whole log will tell.
            _ => Verdict::Append,
        }
    }

    /// Judges what a shard has signed by its place, `judge`. What is logged already is so whatever became of the key since: an
    /// answer may have been lost, and whoever asks again has to learn it.
    fn judge_word(
        &self,
        shard: &str,
        signed: &Sign1,
        now: u64,
        judge: impl FnOnce(&Known) -> Verdict,
    ) -> Verdict {
        let known = match self.signer(shard, signed) {
            Ok(known) => known,
            Err(refusal) => return Verdict::Refused(refusal),
        };
        match (judge(known), known.silenced(now)) {
            (Verdict::Append | Verdict::Refused(_), Some(refusal)) => Verdict::Refused(refusal),
            (verdict, _) => verdict,
        }
    }

    /// Why the shard's key may say nothing new, if that is so.
    pub(super) fn silenced(&self, shard: &str, now: u64) -> Option<Refusal> {
        self.shards.get(shard)?.silenced(now)
    }

    /// The shard that signed.
    fn signer(&self, shard: &str, signed: &Sign1) -> Result<&Known, Refusal> {
        let known = self.shards.get(shard).ok_or(Refusal::Unknown)?;
        let announced = known.announced.as_ref().ok_or(Refusal::Unknown)?;
        if signed.iss() != self.origin {
            return Err(Refusal::Unfit(format!(
                "it is for the log {}, this is {}",
                signed.iss(),
                self.origin
            )));
        }
        signed.verify(&announced.key).map_err(|e| Refusal::Unfit(e.to_string()))?;
        Ok(known)
    }
}

impl Known {
    /// Why its key may say nothing new, if that is so.
    fn silenced(&self, now: u64) -> Option<Refusal> {
        if let Some((index, _)) = self.revoked {
            return Some(Refusal::Revoked { index });
        }
        self.announced.as_ref().filter(|announced| now >= announced.not_after).map(|_| Refusal::Expired)
    }
}

fn judge_statement(known: &Known, signed: &Sign1, statement: &Statement) -> Verdict {
    let hash = payload_hash(signed.payload());
    let announced = known.announced.as_ref().map(|announced| announced.hash);
    let (next, previous) = match known.last {
        Some(last) if last.seq == statement.seq && last.hash == hash => {
            return Verdict::Logged(Placed { index: last.index });
        }
        Some(last) if statement.seq <= last.seq => return Verdict::Past,
        Some(last) => (last.seq.saturating_add(1), Some(last.hash)),
        None => (0, announced),
    };
    if known.superseded {
        return Verdict::Refused(Refusal::Superseded);
    }
    if known.closed.is_some() {
        return Verdict::Refused(Refusal::Closed);
    }
    if statement.seq != next {
        return Verdict::Refused(Refusal::Gap { next });
    }
    match previous == Some(statement.previous) {
        true => Verdict::Append,
        // Another statement was signed in the place of the one before.
        false => Verdict::Refused(Refusal::Chain),
    }
}

fn judge_close(known: &Known, signed: &Sign1, close: &ShardClose) -> Verdict {
    if let Some((index, hash)) = known.closed {
        return match hash == payload_hash(signed.payload()) {
            true => Verdict::Logged(Placed { index }),
            false => Verdict::Refused(Refusal::Closed),
        };
    }
    // Also where a successor has named its end already, which a rotation announces first: it says the same.
    match known.last {
        Some(last) if (last.seq, last.hash) == (close.seq, close.payload_hash) => Verdict::Append,
        Some(last) => Verdict::Refused(Refusal::Gap { next: last.seq.saturating_add(1) }),
        None => Verdict::Refused(Refusal::Gap { next: 0 }),
    }
}

/// A policy change comes right after the statement that closed the last batch under the old policy, and once.
fn judge_change(known: &Known, signed: &Sign1, change: &PolicyChange) -> Verdict {
    let hash = payload_hash(signed.payload());
    let next = known.last.map_or(0, |last| last.seq.saturating_add(1));
    match known.change {
        Some((_, index, known)) if known == hash => Verdict::Logged(Placed { index }),
        Some((seq, ..)) if seq == change.seq => {
            Verdict::Refused(Refusal::Unfit("the policy changed at this statement already".into()))
        }
        _ if known.superseded => Verdict::Refused(Refusal::Superseded),
        _ if known.closed.is_some() => Verdict::Refused(Refusal::Closed),
        _ if change.seq != next => Verdict::Refused(Refusal::Gap { next }),
        _ => Verdict::Append,
    }
}

/// An erasure has no place in the chain; it comes before the shard's end, and once.
fn judge_erasure(known: &Known, signed: &Sign1, erasure: &Erasure) -> Verdict {
    match known.erasures.get(&erasure.id) {
        Some((index, hash)) if *hash == payload_hash(signed.payload()) => {
            Verdict::Logged(Placed { index: *index })
        }
        Some(_) => Verdict::Refused(Refusal::Unfit("another erasure has this id".into())),
        None if known.superseded => Verdict::Refused(Refusal::Superseded),
        None if known.closed.is_some() => Verdict::Refused(Refusal::Closed),
        None => Verdict::Append,
    }
}
