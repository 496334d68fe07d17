//! What the leaves say, taken together: keys, chains, counters.

use std::collections::{HashMap, HashSet};

use colophon_receipt::erasure::{Erased, Erasure, ErasureId};
use colophon_receipt::merkle::empty_root;
use colophon_receipt::policy_change::PolicyChange;
use colophon_receipt::record::RecordId;
use colophon_receipt::revocation::Revocation;
use colophon_receipt::statement::{Announcement, Counters, Genesis, ShardClose, Statement, payload_hash};
use colophon_receipt::{Hash, statement::Predecessor};
use colophon_signer::PublicKey;
use colophon_signer::cose::Sign1;
use colophon_signer::note::VerifierKey;

use super::{Finding, Report, ShardSummary};
use crate::leaf::Leaf;

pub(crate) mod saved;

/// One shard as the log has shown it so far.
struct Shard {
    key: PublicKey,
    not_after: u64,
    /// `H` of the payload that the next statement has to name.
    previous: Hash,
    /// `H` of each statement's payload, by number.
    payloads: HashMap<u64, Hash>,
    /// The number that comes next.
    next: u64,
    last: Option<Statement>,
    /// The policy that its next statement has to name; unknown before the first.
    policy: Option<Hash>,
    closed: bool,
    /// The leaf that revoked its key.
    revoked: Option<u64>,
    /// A later shard took over.
    succeeded: bool,
    statements: u64,
    records: u64,
}

/// Follows every shard through the log.
#[derive(Default)]
pub(crate) struct Statements {
    origin: String,
    log_keys: Vec<PublicKey>,
    shards: HashMap<String, Shard>,
    erasures: HashSet<ErasureId>,
    /// `H` of the payloads that announced keys.
    announcements: HashSet<Hash>,
}

/// What a leaf points at outside the log.
pub(crate) enum Subject {
    /// The batch of this statement.
    Batch(Box<Statement>),
    /// An erased record, and the hash of its leaf.
    Record(RecordId, Hash),
    /// Digests of policies that were in force.
    Policies(Vec<Hash>),
}

impl Statements {
    /// Takes leaf 0 in. Returns the log's verifier keys.
    pub(crate) fn genesis(&mut self, leaf: &[u8], report: &mut Report) -> Vec<VerifierKey> {
        let genesis = match Genesis::decode(leaf) {
            Ok(genesis) => genesis,
            Err(e) => {
                report.find(Finding::Genesis(format!("leaf 0 is none: {e}")));
                return Vec::new();
            }
        };
        let mut keys = Vec::new();
        for vkey in &genesis.vkeys {
            match vkey.parse::<VerifierKey>() {
                Ok(key) if key.name() == genesis.origin => keys.push(key),
                Ok(key) => report.find(Finding::Genesis(format!("its key is named {}", key.name()))),
                Err(e) => report.find(Finding::Genesis(e.to_string())),
            }
        }
        if genesis.vkeys.is_empty() {
            report.find(Finding::Genesis("it names no key".into()));
        }
        self.log_keys = keys.iter().filter_map(|key| key.public_key().copied()).collect();
        self.origin = genesis.origin;
        keys
    }

    /// Takes leaf `index` in, for `index` above 0. Returns what has to be looked at besides.
    pub(crate) fn leaf(&mut self, index: u64, bytes: &[u8], report: &mut Report) -> Option<Subject> {
        let leaf = match Leaf::parse(bytes) {
            Ok(leaf) => leaf,
            Err(e) => {
                report.find(Finding::Leaf { index, what: e.to_string() });
                return None;
            }
        };
        // Without a genesis there is nothing to compare with.
        let known = !self.origin.is_empty();
        if let Some(signed) = leaf.signed().filter(|signed| known && signed.iss() != self.origin) {
            let what = format!("the issuer is {}, not this log", signed.iss());
            report.find(Finding::Signature { index, what });
        }
        match leaf {
            Leaf::Genesis(_) => {
                report.find(Finding::Leaf { index, what: "a second genesis".into() });
                None
            }
            Leaf::Announcement(signed, announcement) => {
                report.announcements += 1;
                self.announcement(index, &signed, announcement, report);
                None
            }
            Leaf::Statement(signed, statement) => {
                report.statements += 1;
                self.statement(index, &signed, &statement, report)
                    .then(|| Subject::Batch(Box::new(statement)))
            }
            Leaf::Revocation(signed, revocation) => {
                report.revocations += 1;
                self.revocation(index, &signed, &revocation, report);
                None
            }
            Leaf::Close(signed, close) => {
                report.closes += 1;
                self.close(index, &signed, &close, report);
                None
            }
            Leaf::PolicyChange(signed, change) => {
                report.policy_changes += 1;
                self.policy_change(index, &signed, &change, report)
                    .then_some(Subject::Policies(vec![change.before, change.after]))
            }
            Leaf::Erasure(signed, erasure) => self.erasure(index, &signed, &erasure, report),
        }
    }

    fn announcement(&mut self, index: u64, signed: &Sign1, new: Announcement, report: &mut Report) {
        if !self.log_keys.iter().any(|key| signed.verify(key).is_ok()) {
            let what = "not signed by a key of the log".into();
            report.find(Finding::Signature { index, what });
            return;
        }
        let wrong = |what| Finding::Announcement { index, shard: new.shard.clone(), what };
        if new.origin != self.origin {
            report.find(wrong("made for another log"));
        }
        let key = PublicKey(new.public_key);
        if key.verify(&new.proof_message(), &new.proof).is_err() {
            report.find(wrong("the proof of possession is bad"));
        }
        if new.not_before >= new.not_after {
            report.find(wrong("its key never counts"));
        }
        if self.log_keys.contains(&key) {
            report.find(wrong("a log key as a shard key"));
        }
        if new.predecessor.as_ref().is_some_and(|earlier| !self.is_last(earlier)) {
            report.find(wrong("its predecessor's last statement is not in the log"));
        }
        if self.shards.contains_key(&new.shard) {
            report.find(wrong("the shard already has a key"));
            return;
        }
        self.announcements.insert(payload_hash(signed.payload()));
        if let Some(earlier) =
            new.predecessor.as_ref().and_then(|earlier| self.shards.get_mut(&earlier.shard))
        {
            earlier.succeeded = true;
        }
        let shard = Shard {
            key,
            not_after: new.not_after,
            previous: payload_hash(signed.payload()),
            payloads: HashMap::new(),
            next: 0,
            last: None,
            policy: None,
            closed: false,
            revoked: None,
            succeeded: false,
            statements: 0,
            records: 0,
        };
        self.shards.insert(new.shard, shard);
    }

    fn revocation(&mut self, index: u64, signed: &Sign1, revocation: &Revocation, report: &mut Report) {
        if !self.log_keys.iter().any(|key| signed.verify(key).is_ok()) {
            let what = "not signed by a key of the log".into();
            report.find(Finding::Signature { index, what });
            return;
        }
        let wrong = |what| Finding::Revocation { index, what };
        let Some(name) = &revocation.shard else {
            if !self.log_keys.iter().any(|key| key.key_id() == revocation.key_id) {
                report.find(wrong("it revokes a key that is neither the log's nor a shard's"));
            }
            return;
        };
        match self.shards.get_mut(name) {
            Some(shard) if shard.key.key_id() == revocation.key_id => {
                shard.revoked.get_or_insert(index);
            }
            Some(_) => report.find(wrong("it revokes another key than its shard's")),
            None => report.find(wrong("it revokes the key of a shard that was never announced")),
        }
    }

    /// Whether a key was announced by a payload of this hash.
    pub(super) fn announced(&self, payload: &Hash) -> bool {
        self.announcements.contains(payload)
    }

    /// Whether this log announced the shard.
    pub(super) fn knows(&self, shard: &str) -> bool {
        self.shards.contains_key(shard)
    }

    /// Whether the shard may still be running: it was neither closed nor followed by another.
    pub(super) fn is_live(&self, shard: &str) -> bool {
        self.shards.get(shard).is_some_and(|shard| !shard.closed && !shard.succeeded)
    }

    /// What each shard says of itself, by name.
    pub(super) fn summaries(&self) -> Vec<ShardSummary> {
        let summary = |(name, shard): (&String, &Shard)| ShardSummary {
            shard: name.clone(),
            statements: shard.statements,
            records: shard.records,
            counters: shard.last.as_ref().map(|last| last.counters).unwrap_or_default(),
            rules: shard.last.as_ref().map(|last| last.rules.clone()).unwrap_or_default(),
            closed: shard.closed,
            succeeded: shard.succeeded,
        };
        let mut shards: Vec<_> = self.shards.iter().map(summary).collect();
        shards.sort_by(|a, b| a.shard.cmp(&b.shard));
        shards
    }

    fn is_last(&self, earlier: &Predecessor) -> bool {
        let shard = self.shards.get(&earlier.shard);
        let last = shard.and_then(|shard| shard.last.as_ref().map(|last| (last.seq, shard.previous)));
        last == Some((earlier.seq, earlier.payload_hash))
    }

    /// Whether the statement is the next of its shard's, by its key.
    fn statement(&mut self, index: u64, signed: &Sign1, new: &Statement, report: &mut Report) -> bool {
        let (name, seq) = (new.shard.clone(), new.seq);
        let Some(shard) = self.shards.get_mut(&name) else {
            report.find(Finding::Unannounced { index, shard: name });
            return false;
        };
        if let Err(e) = signed.verify(&shard.key) {
            report.find(Finding::Signature { index, what: e.to_string() });
            return false;
        }
        if shard.revoked.is_some() {
            report.find(Finding::Revoked { index, shard: name.clone() });
        }
        let hash = payload_hash(signed.payload());
        if let Some(known) = shard.payloads.get(&seq) {
            report.find(match *known == hash {
                true => Finding::Repeated { index, shard: name, seq },
                false => Finding::Equivocation { index, shard: name, seq },
            });
            return false;
        }
        let expected = shard.next;
        if seq != expected {
            let known = shard.last.as_ref().and_then(total).unwrap_or(0);
            let records = total(new).unwrap_or(0).saturating_sub(known).saturating_sub(new.count);
            report.find(Finding::Gap { index, shard: name.clone(), expected, found: seq, records });
        }
        let chain = |what| Finding::Chain { index, shard: name.clone(), seq, what };
        if seq == expected && new.previous != shard.previous {
            report.find(chain("it names another previous payload"));
        }
        if new.to < new.from {
            report.find(chain("its interval ends before it begins"));
        }
        if new.to > shard.not_after {
            report.find(chain("it is dated after its key's end"));
        }
        if shard.closed {
            report.find(chain("it comes after the shard's close"));
        }
        if new.count == 0 && new.root != empty_root() {
            report.find(chain("an empty batch with a root"));
        }
        if seq == expected && shard.policy.is_some_and(|policy| policy != new.policy) {
            report.find(chain("it names another policy than was in force, and no change of it is logged"));
        }
        let last = shard.last.as_ref().filter(|last| last.seq.checked_add(1) == Some(seq));
        if last.is_some_and(|last| last.to != new.from) {
            report.find(chain("its interval does not begin where the last one ended"));
        }
        if last.is_some() || seq == 0 {
            let before = last.map_or(Some(0), total);
            let grown = before.and_then(|before| before.checked_add(new.count));
            let each = last.is_none_or(|last| {
                last.cumulative_exchanges <= new.cumulative_exchanges
                    && last.cumulative_evidence <= new.cumulative_evidence
            });
            if total(new).is_none() || total(new) != grown || !each {
                report.find(chain("its cumulative counts do not add up"));
            }
        }
        let counters = |what| Finding::Counters { index, shard: name.clone(), seq, what };
        if !new.counters.balanced() {
            report.find(counters("received is not recorded + passed + lost + open"));
        }
        if new.counters.recorded != new.cumulative_exchanges {
            report.find(counters("recorded is not what the batches hold"));
        }
        if last.is_some_and(|last| decreased(&last.counters, &new.counters)) {
            report.find(counters("one of them went backwards"));
        }
        if !new.rules.add_up_to(&new.counters) {
            report.find(counters("those by rule do not add up to them"));
        }
        if last.is_some_and(|last| new.rules.decreased_since(&last.rules)) {
            report.find(counters("one of those by rule went backwards"));
        }
        shard.payloads.insert(seq, hash);
        (shard.statements, shard.records) = (shard.statements + 1, shard.records + new.count);
        // After a gap the chain goes on from what there is, so that one hole is one finding.
        if seq >= expected {
            shard.next = seq.saturating_add(1);
            shard.previous = hash;
            shard.last = Some(new.clone());
            shard.policy = Some(new.policy);
        }
        true
    }

    /// Whether it is a change of the shard's, by its key.
    fn policy_change(
        &mut self,
        index: u64,
        signed: &Sign1,
        change: &PolicyChange,
        report: &mut Report,
    ) -> bool {
        let Some(shard) = self.shards.get_mut(&change.shard) else {
            report.find(Finding::Unannounced { index, shard: change.shard.clone() });
            return false;
        };
        if let Err(e) = signed.verify(&shard.key) {
            report.find(Finding::Signature { index, what: e.to_string() });
            return false;
        }
        let mut wrong = |what| report.find(Finding::PolicyChange { index, what });
        if shard.closed {
            wrong("it comes after its shard's close");
        }
        if change.at > shard.not_after {
            wrong("it is dated after its key's end");
        }
        if change.seq != shard.next {
            wrong("it is not logged right before the statement that it names");
        }
        if shard.policy.is_some_and(|policy| policy != change.before) {
            wrong("it changes another policy than was in force");
        }
        shard.policy = Some(change.after);
        true
    }

    /// Returns the record that was erased.
    fn erasure(
        &mut self,
        index: u64,
        signed: &Sign1,
        erasure: &Erasure,
        report: &mut Report,
    ) -> Option<Subject> {
        let Some(shard) = self.shards.get(&erasure.shard) else {
            report.find(Finding::Unannounced { index, shard: erasure.shard.clone() });
            return None;
        };
        if let Err(e) = signed.verify(&shard.key) {
            report.find(Finding::Signature { index, what: e.to_string() });
            return None;
        }
        let mut wrong = |what| report.find(Finding::Erasure { index, what });
        if shard.closed {
            wrong("it comes after its shard's close");
        }
        if erasure.at > shard.not_after {
            wrong("it is dated after its key's end");
        }
        if erasure.openings == 0 {
            wrong("it erased nothing");
        }
        if !self.erasures.insert(erasure.id) {
            wrong("it is in the log twice");
            return None;
        }
        report.erasures += 1;
        report.erased = report.erased.saturating_add(erasure.openings);
        match erasure.what {
            Erased::Record { id, leaf_hash } => Some(Subject::Record(id, leaf_hash)),
            Erased::Tenant(_) | Erased::Before(_) => None,
        }
    }

    fn close(&mut self, index: u64, signed: &Sign1, close: &ShardClose, report: &mut Report) {
        let name = close.shard.clone();
        let Some(shard) = self.shards.get_mut(&name) else {
            report.find(Finding::Unannounced { index, shard: name });
            return;
        };
        if let Err(e) = signed.verify(&shard.key) {
            report.find(Finding::Signature { index, what: e.to_string() });
            return;
        }
        let wrong = |what| Finding::Close { index, shard: name.clone(), what };
        if shard.closed {
            report.find(wrong("it was closed before"));
        }
        let last = shard.last.as_ref();
        if last.map(|last| last.seq) != Some(close.seq) || shard.previous != close.payload_hash {
            report.find(wrong("it does not name the last statement"));
        }
        if last.is_some_and(|last| last.to > close.at) {
            report.find(wrong("it is dated before the last statement's end"));
        }
        shard.closed = true;
    }
}

fn total(statement: &Statement) -> Option<u64> {
    statement.cumulative_exchanges.checked_add(statement.cumulative_evidence)
}

/// Everything but `open` only grows.
fn decreased(before: &Counters, after: &Counters) -> bool {
    let parts = |c: &Counters| {
        [c.received, c.recorded, c.passed, c.lost, c.refused, c.degraded, c.bypass.unwrap_or(0)]
    };
    parts(before).iter().zip(parts(after)).any(|(before, after)| *before > after)
}
