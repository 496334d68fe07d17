//! What a shard counted, rule by rule (key 15 of a statement, `docs/FORMATS.md` section 4).

use super::Counters;
use crate::cbor::{CborError, Value};
use std::collections::BTreeMap;

/// Rules that a statement tells apart; what others counted stands under [`OTHER`].
pub const MAX_RULES: usize = 64;

/// Longest name of a rule, in bytes; what a rule with a longer one counted stands under [`OTHER`].
pub const MAX_RULE_NAME: usize = 128;

/// In the place of a name: rules beyond the first [`MAX_RULES`], and exchanges whose rule is not known any more.
pub const OTHER: &[u8] = b"";

/// What one rule decided, cumulative over a shard. As in [`Counters`], but for what is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleCount {
    /// Exchanges with a record.
    pub recorded: u64,
    /// Exchanges without one, since the rule said `pass` or a bypass was in force.
    pub passed: u64,
    /// Exchanges whose record could not be kept.
    pub lost: u64,
    /// Of the recorded ones, those the proxy refused.
    pub refused: u64,
    /// Of the recorded ones, those let through while the ledger was in trouble.
    pub degraded: u64,
}

impl RuleCount {
    const fn parts(&self) -> [u64; 5] {
        [self.recorded, self.passed, self.lost, self.refused, self.degraded]
    }

    const fn of([recorded, passed, lost, refused, degraded]: [u64; 5]) -> RuleCount {
        RuleCount { recorded, passed, lost, refused, degraded }
    }

    /// Whether nothing was counted.
    pub fn is_zero(&self) -> bool {
        self.parts() == [0; 5]
    }

    /// The sums, which stop at the largest number.
    pub fn saturating_add(&self, other: &RuleCount) -> RuleCount {
        self.with(other, u64::saturating_add)
    }

    /// The differences, which stop at 0.
    pub fn saturating_sub(&self, other: &RuleCount) -> RuleCount {
        self.with(other, u64::saturating_sub)
    }

    fn with(&self, other: &RuleCount, combine: fn(u64, u64) -> u64) -> RuleCount {
        let (mine, theirs) = (self.parts(), other.parts());
        RuleCount::of(std::array::from_fn(|at| combine(mine[at], theirs[at])))
    }
}

/// Counts by the name of the rule. Empty where a statement does not tell them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules(BTreeMap<Vec<u8>, RuleCount>);

impl Rules {
    /// None.
    pub const fn new() -> Rules {
        Rules(BTreeMap::new())
    }

    /// Adds to what a rule counted. Once [`MAX_RULES`] have a place of their own, a new one has none.
    pub fn add(&mut self, rule: &[u8], count: &RuleCount) {
        if count.is_zero() {
            return;
        }
        if let Some(known) = self.0.get_mut(rule) {
            *known = known.saturating_add(count);
            return;
        }
        let own = rule.len() <= MAX_RULE_NAME && self.named() < MAX_RULES;
        let place = self.0.entry(if own { rule } else { OTHER }.to_vec()).or_default();
        *place = place.saturating_add(count);
    }

    /// Adds to each rule what it counted there.
    pub fn add_all(&mut self, other: &Rules) {
        other.iter().for_each(|(rule, count)| self.add(rule, count));
    }

    fn named(&self) -> usize {
        self.0.len() - usize::from(self.0.contains_key(OTHER))
    }

    /// Each rule and what it counted, in ascending order of the names' bytes.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &RuleCount)> {
        self.0.iter().map(|(rule, count)| (rule.as_slice(), count))
    }

    /// What one rule counted.
    pub fn get(&self, rule: &[u8]) -> RuleCount {
        self.0.get(rule).copied().unwrap_or_default()
    }

    /// Whether nothing is told by rule.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the counts of all rules together are those of the shard, or nothing is told by rule.
    pub fn add_up_to(&self, counters: &Counters) -> bool {
        let Counters { recorded, passed, lost, refused, degraded, .. } = *counters;
        let sums =
            (0..5).map(|at| self.0.values().try_fold(0u64, |sum, rule| sum.checked_add(rule.parts()[at])));
        self.is_empty() || sums.eq([recorded, passed, lost, refused, degraded].map(Some))
    }

    /// Whether a count is lower than it was, or gone.
    pub fn decreased_since(&self, before: &Rules) -> bool {
        let lower = |(rule, before): (&[u8], &RuleCount)| {
            let now = self.get(rule);
            before.parts().iter().zip(now.parts()).any(|(before, now)| *before > now)
        };
        before.iter().any(lower)
    }

    pub(super) fn to_value(&self) -> Value {
        let rule = |(name, count): (&Vec<u8>, &RuleCount)| {
            let counts = count.parts().into_iter().map(Value::Uint);
            Value::Array(std::iter::once(Value::bytes(name)).chain(counts).collect())
        };
        Value::Array(self.0.iter().map(rule).collect())
    }

    /// `None` is nothing told; an empty array is no spelling of that.
    pub(super) fn from_value(value: Option<Value>) -> Result<Rules, CborError> {
        const WRONG: CborError = CborError::Value("rules");
        let Some(value) = value else { return Ok(Rules::default()) };
        let items = value.as_items("rules")?;
        let mut rules = Rules::default();
        for item in items {
            let [name, counts @ ..] = item.as_items("rules")? else { return Err(WRONG) };
            let name = name.as_bytes("rules")?;
            let counts =
                counts.iter().map(|count| count.as_uint("rules")).collect::<Result<Vec<u64>, _>>()?;
            let count = RuleCount::of(<[u64; 5]>::try_from(counts).map_err(|_| WRONG)?);
            let ascends = rules.0.last_key_value().is_none_or(|(last, _)| last.as_slice() < name);
            if !ascends || name.len() > MAX_RULE_NAME || count.is_zero() {
                return Err(WRONG);
            }
            rules.0.insert(name.to_vec(), count);
        }
        if rules.is_empty() || rules.named() > MAX_RULES { Err(WRONG) } else { Ok(rules) }
    }
}

#[cfg(test)]
mod tests;
