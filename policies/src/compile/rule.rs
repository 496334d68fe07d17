//! Rules: what they ask for has to make sense.

use super::{Asked, Compiler, MAX_RULES};
use crate::actions::{Actions, FailurePolicy, Sample};
use crate::ast;
use crate::error::{Fault, Place, Warning};
use crate::policy::Rule;
use colophon_receipt::Level;
use std::sync::Arc;
use std::time::Duration;

/// A percentage is in millionths of a percent: this many are all.
const ALL: u64 = 100_000_000;
/// The longest deadline of a proof: `log check` misses it after that.
const MAX_PROOF: Duration = Duration::from_secs(7 * 86_400);

impl Compiler {
    pub(super) fn rule(&mut self, file: &str, rule: &ast::Rule) -> Result<(), Fault> {
        let name = &rule.name;
        if self.compiled.rules.len() == MAX_RULES {
            return Err(Fault::new(name.at, format!("more than {MAX_RULES} rules")));
        }
        let place = Place::new(file, name.at);
        if let Some(first) = self.names.insert(name.value.clone(), place.clone()) {
            return Err(Fault::new(
                name.at,
                format!("a second rule named `{}`; the first is at {first}", name.value),
            ));
        }
        if let Some(all) = self.compiled.rules.iter().find(|rule| rule.matches.is_empty()) {
            let message = format!("no request gets here: rule `{}` at {} takes all", all.name, all.place);
            self.compiled.warnings.push(Warning { place: place.clone(), message });
        }
        let level = self.level(rule)?;
        let actions = self.actions(file, rule, level)?;
        if let Some(given) = rule.level.as_ref().filter(|_| !(level == Level::Tee && actions.attested)) {
            self.compiled.asked.push(Asked { level, place: Place::new(file, given.at), drawn: false });
        }
        let mut matches = Vec::with_capacity(rule.matches.len());
        for entry in &rule.matches {
            matches.push(self.entry(entry)?);
        }
        self.compiled.rules.push(Rule {
            name: Arc::from(name.value.as_str()),
            level,
            failure_policy: rule.failure_policy.unwrap_or(self.compiled.default_failure_policy),
            matches,
            deny: rule.deny.as_ref().map(|reason| Arc::from(reason.value.as_str())),
            actions: Arc::new(actions),
            place,
        });
        Ok(())
    }

    /// The level; of a rule that denies, that of the refusal's record.
    fn level(&self, rule: &ast::Rule) -> Result<Level, Fault> {
        match (&rule.level, &rule.deny) {
            (Some(level), None) => Ok(level.value),
            (None, _) => Ok(self.compiled.default_level.clamp(Level::Commit, Level::Sign)),
            (Some(level), Some(_)) if matches!(level.value, Level::Commit | Level::Sign) => Ok(level.value),
            (Some(level), Some(_)) => Err(Fault::new(
                level.at,
                format!("a refusal is recorded at `commit` or `sign`, not at `{}`", level.value),
            )),
        }
    }

    fn actions(&mut self, file: &str, rule: &ast::Rule, level: Level) -> Result<Actions, Fault> {
        let ast::Rule { sample, deadline, on_miss, prover, upstreams, deny, .. } = rule;
        let reaches = |wanted| level == wanted || sample.as_ref().is_some_and(|s| s.value.to == wanted);
        let evidence = reaches(Level::Tee) || reaches(Level::Zk);
        let wrong = |at, message: &str| Err(Fault::new(at, message));
        if let Some(sample) = sample {
            if deny.is_some() || level == Level::Pass {
                return wrong(sample.at, "nothing is drawn from what is denied or passes without a record");
            }
            if sample.value.to <= level {
                return Err(Fault::new(
                    sample.at,
                    format!("`sample.to` is above the rule's level `{level}`, not `{}`", sample.value.to),
                ));
            }
            let (level, place) = (sample.value.to, Place::new(file, sample.at));
            self.compiled.asked.push(Asked { level, place, drawn: true });
        }
        match (deadline, on_miss) {
            (Some(deadline), _) if !evidence => {
                return wrong(
                    deadline.at,
                    "a deadline is for evidence: with `tee` or `zk` as `level` or `sample.to`",
                );
            }
            (Some(deadline), _) if reaches(Level::Zk) && deadline.value > MAX_PROOF => {
                return wrong(deadline.at, "a proof may take seven days at most");
            }
            (None, Some(on_miss)) => return wrong(on_miss.at, "`onMiss` needs a `deadline`"),
            _ => {}
        }
        let provers: Vec<String> = self.compiled.provers.iter().map(|(name, _)| name.clone()).collect();
        let prover = match prover {
            Some(prover) if !reaches(Level::Zk) => {
                return wrong(prover.at, "a prover is for proofs: with `zk` as `level` or `sample.to`");
            }
            Some(prover) => Some(Arc::from(self.defined("prover", prover, provers.into_iter())?)),
            None => None,
        };
        if let Some(upstream) = upstreams.first().filter(|_| level != Level::Tee) {
            return wrong(
                upstream.at,
                "an upstream is for what has to be computed there: with `level: tee` (and, for a proof beside, `sample.to: zk`)",
            );
        }
        let known: Vec<String> = self.compiled.upstreams.iter().map(|known| known.name.clone()).collect();
        let mut named: Vec<Arc<str>> = Vec::with_capacity(upstreams.len());
        for upstream in upstreams {
            named.push(Arc::from(self.defined("upstream", upstream, known.iter().cloned())?));
        }
        let proves = |name: &Arc<str>| {
            let known = self.compiled.upstreams.iter().find(|known| known.name == **name);
            known.is_some_and(|known| known.attestation.is_some())
        };
        let attested = !named.is_empty() && named.iter().all(proves);
        Ok(Actions {
            sample: sample.as_ref().map(|sample| Sample {
                threshold: threshold(sample.value.share),
                to: sample.value.to,
                draw: sample.value.draw,
            }),
            deadline: deadline.as_ref().map(|deadline| deadline.value),
            on_miss: on_miss.as_ref().map(|on_miss| on_miss.value).unwrap_or_default(),
            prover,
            upstreams: named,
            attested,
        })
    }
}

/// The share of 2^64, rounded down; `u64::MAX` for all.
fn threshold(share: u64) -> u64 {
    let threshold = (u128::from(share) << 64) / u128::from(ALL);
    u64::try_from(threshold).unwrap_or(u64::MAX)
}

impl Rule {
    /// What holds where no rule matches.
    pub(crate) fn default(level: Level, failure_policy: FailurePolicy) -> Rule {
        Rule {
            name: Arc::from(crate::decide::DEFAULT_RULE),
            level,
            failure_policy,
            matches: Vec::new(),
            deny: None,
            actions: Arc::default(),
            place: Place::default(),
        }
    }
}
