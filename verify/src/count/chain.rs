//! One shard's chain of statements, as the log shows it.

use colophon_receipt::Hash;
use colophon_receipt::merkle::empty_root;
use colophon_receipt::statement::{
    Announcement, Counters, Predecessor, RuleCount, Rules, ShardClose, Statement, payload_hash,
};
use colophon_signer::PublicKey;
use colophon_signer::cose::Sign1;

use super::Totals;
use crate::text::quoted;

/// A shard as far as the entries go.
pub(super) struct Shard {
    /// Log index of its announcement.
    pub(super) announced: u64,
    pub(super) announcement: Announcement,
    /// `H` of the payload that the next statement has to name.
    previous: Hash,
    /// Where its first statement's interval begins, µs.
    pub(super) from: Option<u64>,
    /// The last statement.
    pub(super) last: Option<Statement>,
    /// The last one before the window; what comes later is counted from here.
    before: Option<Statement>,
    /// The first and the last statement that touch the window.
    pub(super) inside: Option<(Statement, Statement)>,
    batches: u64,
    statements: u64,
    /// When it was closed, µs.
    pub(super) closed: Option<u64>,
    /// A later shard took over.
    pub(super) succeeded: bool,
}

impl Shard {
    pub(super) fn announced(index: u64, signed: &Sign1, announcement: Announcement) -> Shard {
        Shard {
            announced: index,
            previous: payload_hash(signed.payload()),
            announcement,
            from: None,
            last: None,
            before: None,
            inside: None,
            batches: 0,
            statements: 0,
            closed: None,
            succeeded: false,
        }
    }

    /// What its counters and counts grew by within the window.
    pub(super) fn totals(&self) -> Totals {
        let Some((_, last)) = &self.inside else { return Totals::default() };
        let none = Counters::default();
        let (early, late) = (self.before.as_ref().map_or(&none, |before| &before.counters), &last.counters);
        let exchanges = self.before.as_ref().map_or(0, |before| before.cumulative_exchanges);
        let evidence = self.before.as_ref().map_or(0, |before| before.cumulative_evidence);
        Totals {
            recorded: last.cumulative_exchanges.saturating_sub(exchanges),
            evidence: last.cumulative_evidence.saturating_sub(evidence),
            batches: self.batches,
            statements: self.statements,
            passed: late.passed.saturating_sub(early.passed),
            lost: late.lost.saturating_sub(early.lost),
            degraded: late.degraded.saturating_sub(early.degraded),
            refused: late.refused.saturating_sub(early.refused),
            bypass: late.bypass.unwrap_or(0).saturating_sub(early.bypass.unwrap_or(0)),
        }
    }

    /// The same by rule, of rules that counted something within the window.
    pub(super) fn by_rule(&self) -> impl Iterator<Item = (&[u8], RuleCount)> {
        let none = const { &Rules::new() };
        let early = self.before.as_ref().map_or(none, |before| &before.rules);
        let late = self.inside.as_ref().map_or(none, |(_, last)| &last.rules);
        late.iter()
            .map(|(rule, count)| (rule, count.saturating_sub(&early.get(rule))))
            .filter(|(_, count)| !count.is_zero())
    }

    /// Takes the next statement in, and says what is wrong with it all the same: one that does not follow is taken, so
    /// that one hole is one fault. One by another key or of an earlier number is an error and not taken.
    pub(super) fn statement(
        &mut self,
        signed: &Sign1,
        new: &Statement,
        origin: &str,
        touches: bool,
    ) -> Result<Option<String>, String> {
        let name = quoted(&new.shard);
        let of = format!("statement {} of {name}", new.seq);
        signed.verify(&PublicKey(self.announcement.public_key)).map_err(|error| format!("{of}: {error}"))?;
        if signed.sub() != new.shard || signed.iss() != origin {
            return Err(format!("{of} is made for another log or shard"));
        }
        let expected = self.last.as_ref().map_or(0, |last| last.seq.saturating_add(1));
        if new.seq < expected {
            let same = self.previous == payload_hash(signed.payload());
            let what =
                if same { "is in the log twice" } else { "comes after a later one, or contradicts it" };
            return Err(format!("{of} {what}"));
        }
        let follows = self.follows(new, expected);
        self.previous = payload_hash(signed.payload());
        self.from.get_or_insert(new.from);
        if touches {
            let first = self.inside.take().map_or_else(|| new.clone(), |(first, _)| first);
            self.inside = Some((first, new.clone()));
            self.statements += 1;
            self.batches += u64::from(new.count > 0);
        } else if self.inside.is_none() {
            self.before = Some(new.clone());
        }
        self.last = Some(new.clone());
        Ok(follows.err().map(|what| format!("{of} {what}")))
    }

    fn follows(&self, new: &Statement, expected: u64) -> Result<(), String> {
        if new.seq > expected {
            let known = self.last.as_ref().map_or(0, total);
            let lost = total(new).saturating_sub(known).saturating_sub(new.count);
            let missing = missing(expected, new.seq);
            return Err(format!("comes without {missing}: {lost} records are not accounted for"));
        }
        if new.previous != self.previous {
            return Err("names another payload as the one before it".into());
        }
        let begins = self.last.as_ref().is_none_or(|last| last.to == new.from);
        if !begins || new.to < new.from {
            return Err("has an interval that does not begin where the one before it ended".into());
        }
        if new.to > self.announcement.not_after {
            return Err("is dated after the end of its key".into());
        }
        if self.closed.is_some() || self.succeeded {
            return Err("comes after its shard was closed or another took over".into());
        }
        if new.count == 0 && new.root != empty_root() {
            return Err("has no records, but a root of some".into());
        }
        self.adds_up(new)
    }

    fn adds_up(&self, new: &Statement) -> Result<(), String> {
        let known = self.last.as_ref().map_or(0, total);
        if total(new) != known.saturating_add(new.count) {
            return Err("has totals that are not those before it and its own records".into());
        }
        if !new.counters.balanced() {
            return Err(
                "has counters that do not balance: received is not recorded + passed + lost + open".into()
            );
        }
        if new.counters.recorded != new.cumulative_exchanges {
            return Err("counts other records than its batches hold".into());
        }
        // Everything but `open` only grows.
        let parts = |c: &Counters| {
            [c.received, c.recorded, c.passed, c.lost, c.refused, c.degraded, c.bypass.unwrap_or(0)]
        };
        let before = self.last.as_ref().map_or([0; 7], |last| parts(&last.counters));
        if before.iter().zip(parts(&new.counters)).any(|(before, after)| *before > after) {
            return Err("has a counter that went backwards".into());
        }
        if !new.rules.add_up_to(&new.counters) {
            return Err("has counters by rule that do not add up to its counters".into());
        }
        if self.last.as_ref().is_some_and(|last| new.rules.decreased_since(&last.rules)) {
            return Err("has a counter by rule that went backwards".into());
        }
        Ok(())
    }

    /// A new shard says that it follows this one.
    pub(super) fn succeed(&mut self, named: &Predecessor) -> Result<(), String> {
        self.succeeded = true;
        let last = self.last.as_ref().map(|last| last.seq);
        if last == Some(named.seq) && self.previous == named.payload_hash {
            return Ok(());
        }
        let of = quoted(&named.shard);
        Err(format!("a shard that follows statement {} of {of}, which is not the last one logged", named.seq))
    }

    pub(super) fn close(&mut self, signed: &Sign1, close: &ShardClose) -> Result<(), String> {
        let of = format!("the close of {}", quoted(&close.shard));
        signed.verify(&PublicKey(self.announcement.public_key)).map_err(|error| format!("{of}: {error}"))?;
        let last = self.last.as_ref().map(|last| last.seq);
        self.closed = Some(close.at);
        if last != Some(close.seq) || self.previous != close.payload_hash {
            return Err(format!(
                "{of} does not name its last statement: statements after {last:?} are missing"
            ));
        }
        Ok(())
    }
}

/// The statements from `expected` to the one before `found`.
fn missing(expected: u64, found: u64) -> String {
    match found - expected {
        1 => format!("statement {expected}"),
        _ => format!("statements {expected} to {}", found - 1),
    }
}

/// Records so far.
fn total(statement: &Statement) -> u64 {
    statement.cumulative_exchanges.saturating_add(statement.cumulative_evidence)
}
