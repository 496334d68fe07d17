//! The account by rule, as far as statements tell it.

use std::collections::BTreeMap;
use std::fmt;

use colophon_receipt::statement::{OTHER, RuleCount};
use serde::Serialize;

use super::chain::Shard;
use crate::text::shown;

/// What exchanges one rule decided.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ByRule {
    /// The rule's name, escaped for display; absent: rules that the statements tell no more about.
    pub rule: Option<String>,
    /// Exchanges with a record.
    pub recorded: u64,
    /// Exchanges that it passed, or that a bypass let through.
    pub passed: u64,
    /// Exchanges whose record could not be kept.
    pub lost: u64,
    /// Of the recorded ones, those that the proxy refused itself.
    pub refused: u64,
    /// Of the recorded ones, those let through while the ledger was in trouble.
    pub degraded: u64,
}

impl ByRule {
    /// What statements tell of the rule that they call `rule`.
    pub fn new(rule: &[u8], count: &RuleCount) -> ByRule {
        ByRule::named((rule != OTHER).then(|| shown(rule)), count)
    }

    fn named(rule: Option<String>, count: &RuleCount) -> ByRule {
        let RuleCount { recorded, passed, lost, refused, degraded } = *count;
        ByRule { rule, recorded, passed, lost, refused, degraded }
    }

    fn count(&self) -> RuleCount {
        let ByRule { recorded, passed, lost, refused, degraded, .. } = *self;
        RuleCount { recorded, passed, lost, refused, degraded }
    }
}

impl fmt::Display for ByRule {
    /// Everything that is not 0.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ByRule { rule, recorded, passed, lost, refused, degraded } = self;
        write!(f, "{}: ", rule.as_deref().unwrap_or("other rules"))?;
        let counts = [(recorded, "recorded"), (passed, "passed"), (lost, "lost")];
        let of_these = [(refused, "refused"), (degraded, "degraded")];
        let list = |counts: &[(&u64, &str)]| {
            let told = counts.iter().filter(|(n, _)| **n > 0).map(|(n, what)| format!("{n} {what}"));
            told.collect::<Vec<_>>().join(", ")
        };
        f.write_str(&list(&counts))?;
        match list(&of_these) {
            none if none.is_empty() => Ok(()),
            some => write!(f, "; of the recorded: {some}"),
        }
    }
}

/// What the shards counted within the window.
pub(super) fn of<'a>(shards: impl Iterator<Item = &'a Shard>) -> Vec<ByRule> {
    let mut sums: BTreeMap<&[u8], RuleCount> = BTreeMap::new();
    for (rule, count) in shards.flat_map(Shard::by_rule) {
        let sum = sums.entry(rule).or_default();
        *sum = sum.saturating_add(&count);
    }
    sums.iter().map(|(rule, count)| ByRule::new(rule, count)).collect()
}

/// Adds the account of another stretch of log.
pub(super) fn join(into: &mut Vec<ByRule>, other: Vec<ByRule>) {
    for one in other {
        match into.iter_mut().find(|known| known.rule == one.rule) {
            Some(known) => {
                let sum = known.count().saturating_add(&one.count());
                *known = ByRule::named(one.rule, &sum);
            }
            None => into.push(one),
        }
    }
    into.sort_by(|a, b| a.rule.cmp(&b.rule));
}
