//! How many exchanges a stretch of log accounts for, from signed statements alone.
//!
//! [`Counting`] is given the entries of a log in order, each already proven to be in the signed tree, and follows every
//! shard's chain through them. What it counts are whole batches: those whose interval touches the window asked for. It
//! cannot see what no shard recorded; it does see a missing, repeated or contradicting statement.

mod by_rule;
mod chain;
mod sidecar;
mod standing;

use std::collections::{BTreeMap, BTreeSet};

use colophon_receipt::Hash;
use colophon_receipt::merkle::leaf_hash;
use colophon_receipt::policy_change::{POLICY_CHANGE_TYPE, PolicyChange};
use colophon_receipt::statement::{
    ANNOUNCEMENT_TYPE, Announcement, CLOSE_TYPE, Genesis, STATEMENT_TYPE, ShardClose, Statement,
};
use colophon_signer::PublicKey;
use colophon_signer::cose::Sign1;
use colophon_signer::note::VerifierKey;
use serde::Serialize;

pub use self::by_rule::ByRule;
use self::chain::Shard;
pub use self::sidecar::Sidecar;
pub use self::standing::Standing;
use crate::text::{line, quoted};

/// Faults told; more are counted.
const MAX_FAULTS: usize = 1000;

/// What is asked: an interval by the operator's clock, and whose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Start, µs since the epoch.
    pub from: u64,
    /// End, µs since the epoch.
    pub to: u64,
    /// Only this shard (`name/incarnation`), or all shards of this name.
    pub shard: Option<String>,
}

impl Window {
    /// Whether a statement's interval touches the window.
    pub fn touches(&self, statement: &Statement) -> bool {
        statement.to >= self.from && statement.from <= self.to
    }

    /// Whether a shard is asked about.
    pub fn is_about(&self, shard: &str) -> bool {
        let name = shard.rsplit_once('/').map_or(shard, |(name, _)| name);
        self.shard.as_deref().is_none_or(|asked| asked == shard || asked == name)
    }
}

/// A statement whose batch is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Its index in the log.
    pub index: u64,
    /// The hash of its log entry.
    pub leaf: Hash,
    /// The log index of its shard's announcement.
    pub announced: u64,
    /// Exchanges in its batch: its leaves without evidence.
    pub records: u64,
    /// The statement.
    pub statement: Statement,
}

/// Sums over the counted batches, and of the counters between the first of them and the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Exchanges with a record.
    pub recorded: u64,
    /// Evidence records.
    pub evidence: u64,
    /// Batches with records.
    pub batches: u64,
    /// Statements, heartbeats included.
    pub statements: u64,
    /// Exchanges whose rule said `pass`: counted, not recorded.
    pub passed: u64,
    /// Exchanges whose record could not be kept.
    pub lost: u64,
    /// Of the recorded ones, those let through while the ledger was in trouble.
    pub degraded: u64,
    /// Of the recorded ones, those that the proxy refused itself.
    pub refused: u64,
    /// Exchanges let through by a break-glass bypass.
    pub bypass: u64,
}

impl Totals {
    fn add(&mut self, other: &Totals) {
        let Totals { recorded, evidence, batches, statements, passed, lost, degraded, refused, bypass } =
            other;
        for (sum, more) in [
            (&mut self.recorded, recorded),
            (&mut self.evidence, evidence),
            (&mut self.batches, batches),
            (&mut self.statements, statements),
            (&mut self.passed, passed),
            (&mut self.lost, lost),
            (&mut self.degraded, degraded),
            (&mut self.refused, refused),
            (&mut self.bypass, bypass),
        ] {
            *sum = sum.saturating_add(*more);
        }
    }
}

/// What was counted.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Count {
    /// Everything together.
    pub totals: Totals,
    /// The same by rule, in ascending order of the names; the rest is told by no statement.
    pub by_rule: Vec<ByRule>,
    /// Each sidecar: the lives of one data folder, one after another.
    pub sidecars: Vec<Sidecar>,
    /// What contradicts an unbroken account, with its place. Of entries that matter for the window.
    pub faults: Vec<String>,
    /// Faults beyond those told.
    pub more_faults: u64,
    /// Index after the last entry that was read.
    pub end: u64,
    /// Index of the first entry that was read.
    pub first: u64,
    /// The counted statements, in the order of the log.
    #[serde(skip)]
    pub counted: Vec<Counted>,
    /// Digests of the policies that the entries name.
    #[serde(skip)]
    pub policies: BTreeSet<Hash>,
    /// The entries that show all this: from the first announcement of a shard that may have signed in the window to the
    /// last leaf of those shards.
    #[serde(skip)]
    pub needed: Option<(u64, u64)>,
    /// The interval that was asked for, µs.
    #[serde(skip)]
    asked: (u64, u64),
}

impl Count {
    /// Adds the account of the log's next generation, of the same interval: no shard goes on from one into the next, so the sums add up. Indexes
    /// are of each one's own tree, and faults say of which.
    pub fn join(&mut self, generation: u32, next: Count) {
        self.totals.add(&next.totals);
        by_rule::join(&mut self.by_rule, next.by_rule);
        self.sidecars.extend(next.sidecars);
        self.faults.extend(next.faults.into_iter().map(|fault| format!("generation {generation}: {fault}")));
        self.more_faults += next.more_faults;
        (self.first, self.end) = (next.first, next.end);
        self.counted.extend(next.counted);
        self.policies.extend(next.policies);
        // What shows it is in more than one tree.
        self.needed = None;
    }

    /// Exchanges in `totals` that no statement tells the rule of.
    pub fn without_rule(&self) -> u64 {
        let sum = |parts: [u64; 3]| parts.into_iter().fold(0, u64::saturating_add);
        let told = self.by_rule.iter().map(|rule| sum([rule.recorded, rule.passed, rule.lost]));
        let Totals { recorded, passed, lost, .. } = self.totals;
        sum([recorded, passed, lost]).saturating_sub(told.fold(0, u64::saturating_add))
    }
}

/// Follows the shards through the entries of a log.
pub struct Counting {
    origin: String,
    keys: Vec<PublicKey>,
    window: Window,
    first: u64,
    next: u64,
    shards: BTreeMap<String, Shard>,
    counted: Vec<Counted>,
    policies: BTreeSet<Hash>,
    needed: Option<(u64, u64)>,
    faults: Vec<String>,
    more_faults: u64,
}

impl Counting {
    /// Starts at entry `first` of the log `origin`, whose keys are `keys`. Where none is known, what the log itself signed
    /// is believed: that it is in the tree is all that is known of it.
    pub fn new(origin: &str, keys: &[VerifierKey], window: Window, first: u64) -> Counting {
        Counting {
            origin: origin.to_owned(),
            keys: keys.iter().filter_map(|key| key.public_key().copied()).collect(),
            window,
            first,
            next: first,
            shards: BTreeMap::new(),
            counted: Vec::new(),
            policies: BTreeSet::new(),
            needed: None,
            faults: Vec::new(),
            more_faults: 0,
        }
    }

    /// Takes the next entry in.
    pub fn entry(&mut self, bytes: &[u8]) {
        let index = self.next;
        self.next += 1;
        let taken = if index == 0 { self.genesis(bytes) } else { self.leaf(index, bytes) };
        if let Err(fault) = taken {
            self.fault(index, &fault);
        }
    }

    /// What the entries account for.
    pub fn finish(mut self) -> Count {
        let sidecars = sidecar::of(&self.shards, &self.window);
        let mut totals = Totals::default();
        sidecars.iter().for_each(|one| totals.add(&one.totals));
        self.counted.sort_by_key(|counted| counted.index);
        Count {
            totals,
            by_rule: by_rule::of(self.shards.values()),
            sidecars,
            faults: self.faults,
            more_faults: self.more_faults,
            first: self.first,
            end: self.next,
            counted: self.counted,
            policies: self.policies,
            needed: self.needed,
            asked: (self.window.from, self.window.to),
        }
    }

    fn fault(&mut self, index: u64, what: &str) {
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(format!("log entry {index}: {}", line(what)));
        } else {
            self.more_faults += 1;
        }
    }

    fn genesis(&mut self, bytes: &[u8]) -> Result<(), String> {
        let genesis = Genesis::decode(bytes).map_err(|error| format!("no genesis: {error}"))?;
        if genesis.origin != self.origin {
            return Err(format!("the genesis of another log, {}", quoted(&genesis.origin)));
        }
        Ok(())
    }

    fn leaf(&mut self, index: u64, bytes: &[u8]) -> Result<(), String> {
        let signed = Sign1::parse(bytes).map_err(|error| format!("no entry of a Colophon log: {error}"))?;
        match signed.content_type() {
            ANNOUNCEMENT_TYPE => self.announcement(index, &signed),
            STATEMENT_TYPE => self.statement(index, bytes, &signed),
            CLOSE_TYPE => self.close(index, &signed),
            POLICY_CHANGE_TYPE => self.policy_change(&signed),
            // Other kinds of leaves do not account for records.
            _ => Ok(()),
        }
    }

    fn announcement(&mut self, index: u64, signed: &Sign1) -> Result<(), String> {
        let new = Announcement::decode(signed.payload()).map_err(|error| error.to_string())?;
        if new.not_after < self.window.from || !self.window.is_about(&new.shard) {
            return Ok(());
        }
        if !self.keys.is_empty() && !self.keys.iter().any(|key| signed.verify(key).is_ok()) {
            return Err(format!("an announcement of {} that no key of the log signed", quoted(&new.shard)));
        }
        if signed.sub() != new.shard || signed.iss() != self.origin || new.origin != self.origin {
            return Err(format!(
                "the announcement of {} is made for another log or shard",
                quoted(&new.shard)
            ));
        }
        if PublicKey(new.public_key).verify(&new.proof_message(), &new.proof).is_err() {
            return Err(format!("the holder of the key of {} did not ask for it", quoted(&new.shard)));
        }
        if self.shards.contains_key(&new.shard) {
            return Err(format!("{} is announced twice", quoted(&new.shard)));
        }
        if let Some(earlier) = &new.predecessor
            && let Some(shard) = self.shards.get_mut(&earlier.shard)
        {
            shard.succeed(earlier)?;
        }
        self.need(index);
        self.shards.insert(new.shard.clone(), Shard::announced(index, signed, new));
        Ok(())
    }

    fn statement(&mut self, index: u64, bytes: &[u8], signed: &Sign1) -> Result<(), String> {
        let new = Statement::decode(signed.payload()).map_err(|error| error.to_string())?;
        let Some(shard) = self.shards.get_mut(&new.shard) else { return self.stranger(&new) };
        self.policies.insert(new.policy);
        let touches = self.window.touches(&new);
        let announced = shard.announced;
        let evidence = shard.last.as_ref().map_or(0, |last| last.cumulative_evidence);
        let records = new.count.saturating_sub(new.cumulative_evidence.saturating_sub(evidence));
        let fault = shard.statement(signed, &new, &self.origin, touches)?;
        if touches {
            self.need(index);
            self.counted.push(Counted { index, leaf: leaf_hash(bytes), announced, records, statement: new });
        }
        fault.map_or(Ok(()), Err)
    }

    /// A statement of a shard whose announcement was not taken in: it counts as missing where it would matter.
    fn stranger(&self, statement: &Statement) -> Result<(), String> {
        if !self.window.touches(statement) || !self.window.is_about(&statement.shard) {
            return Ok(());
        }
        Err(format!(
            "a statement of {}, which was not announced in the entries shown",
            quoted(&statement.shard)
        ))
    }

    fn policy_change(&mut self, signed: &Sign1) -> Result<(), String> {
        let change = PolicyChange::decode(signed.payload()).map_err(|error| error.to_string())?;
        if self.shards.contains_key(&change.shard) {
            self.policies.extend([change.before, change.after]);
        }
        Ok(())
    }

    fn close(&mut self, index: u64, signed: &Sign1) -> Result<(), String> {
        let close = ShardClose::decode(signed.payload()).map_err(|error| error.to_string())?;
        let Some(shard) = self.shards.get_mut(&close.shard) else { return Ok(()) };
        let closed = shard.close(signed, &close);
        if close.at >= self.window.from && self.window.is_about(&close.shard) {
            self.need(index);
        }
        closed
    }

    fn need(&mut self, index: u64) {
        let (first, _) = self.needed.unwrap_or((index, index));
        self.needed = Some((first, index + 1));
    }
}

#[cfg(test)]
pub(crate) mod tests;
