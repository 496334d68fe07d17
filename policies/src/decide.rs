//! The decision about one exchange.

use crate::actions::{Actions, FailurePolicy, Refusal};
use crate::head::{Head, View};
use crate::matching::Fit;
use crate::policy::{Policy, Rule};
use colophon_receipt::Level;
use http::{HeaderMap, HeaderName};
use std::sync::Arc;

/// The rule named in a decision that no rule made.
pub const DEFAULT_RULE: &str = "(default)";

/// The request header by which a client may raise the level, never lower it (DESIGN section 5).
pub const LEVEL_HEADER: HeaderName = HeaderName::from_static("colophon-level");

const LEVELS: [Level; 5] = [Level::Pass, Level::Commit, Level::Sign, Level::Tee, Level::Zk];

/// What a policy says about one exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The name of the rule that decided, [`DEFAULT_RULE`] if none matched.
    pub rule: Arc<str>,
    /// The level granted; of a refusal, the level of its record.
    pub level: Level,
    /// The level asked for: the rule's, or the client's where that is higher.
    pub asked: Level,
    /// The level that is due: the rule's, raised as far as the client may raise it. `level` is below it where it cannot be
    /// given; what a client asked for in vain is not in it.
    pub due: Level,
    /// What happens if `level` cannot be reached.
    pub failure_policy: FailurePolicy,
    /// Why the level granted is not simply the one asked for: a client asked for more than it may, `pass` did not
    /// apply to the path's spelling, the body was not known, or the level cannot be given here. Fit for a record.
    pub why_lowered: Option<Arc<str>>,
    /// Why the request is not forwarded, if it is not.
    pub refusal: Option<Refusal>,
    /// What else the rule asks for.
    pub actions: Arc<Actions>,
}

/// A rule with what it comes to for one request.
#[derive(Clone, Copy)]
pub(crate) struct Standing<'a> {
    pub(crate) rule: &'a Rule,
    pub(crate) asked: Level,
    pub(crate) level: Level,
    pub(crate) failure_policy: FailurePolicy,
}

impl Policy {
    /// Decides about a request.
    ///
    /// The first rule that matches decides, else the defaults. `pass` does not apply to a path that is not written
    /// plainly: such a request gets the default's level, and at least `commit`.
    ///
    /// If what a rule asks of the body is not known, the result is at least as strict as any body's would be: of the
    /// rule that matches for certain and the rules before it that match some bodies, the strictest is taken (one that denies,
    /// else one whose servers have to prove themselves, else the one with the highest level, else the one that samples most;
    /// the certain one among equals, else the first), with the highest level that any of them has, and `Fail` if any of them
    /// says so. Where a request cannot name a model (health, metrics, lists of models, controls, and requests without a body
    /// on routes that generate nothing), rules about models do not match.
    ///
    /// Then `Colophon-Level` may raise up to `clientMayRaiseTo`; values that are no level are ignored. A level that cannot be given
    /// ([`Policy::honouring`]) is never lowered silently: with `Fail` the request is refused, with `Ignore` it gets `sign`, or `tee` where
    /// the rule's servers prove themselves, and `asked` and `why_lowered` say so.
    pub fn decide(&self, head: &Head<'_>) -> Decision {
        let (certain, possible) = self.first_matches(&View::new(head));
        let taken = match possible {
            Some(possible) if possible.rank() > certain.rank() => possible.and_at_least(certain),
            Some(possible) => certain.and_at_least(possible),
            None => certain,
        };
        let failure_policy =
            possible.map_or(certain.failure_policy, |p| p.failure_policy.max(certain.failure_policy));
        let why_lowered = if taken.rule.level == Level::Pass && taken.level > Level::Pass {
            Some(self.reasons.spelling.clone())
        } else if taken.rank() > certain.rank() || failure_policy > certain.failure_policy {
            Some(self.reasons.body.clone())
        } else {
            None
        };
        let mut decision = Decision {
            rule: taken.rule.name.clone(),
            level: taken.level,
            asked: taken.asked,
            due: taken.level,
            failure_policy,
            why_lowered,
            refusal: taken.rule.deny.clone().map(Refusal::Denied),
            actions: taken.rule.actions.clone(),
        };
        if let Some(wanted) = client_level(head.headers) {
            self.raise(&mut decision, wanted);
        }
        decision.due = decision.level;
        if !self.gives(&decision) {
            self.lower(&mut decision);
        }
        decision
    }

    /// Whether knowing the body could change what [`decide`](Policy::decide) says; then it is worth waiting for a
    /// bounded prefix of it.
    pub fn needs_body(&self, head: &Head<'_>) -> bool {
        let view = View::new(head);
        let first = self.rules.iter().map(|rule| rule.fit(&view)).find(|fit| *fit != Fit::No);
        first == Some(Fit::Maybe)
    }

    /// The rule that matches for certain, and the strictest of those before it that match some bodies.
    fn first_matches(&self, view: &View<'_>) -> (Standing<'_>, Option<Standing<'_>>) {
        let mut possible: Option<Standing<'_>> = None;
        for rule in &self.rules {
            match rule.fit(view) {
                Fit::No => {}
                Fit::Maybe => {
                    let standing = self.standing(rule, view.head);
                    possible = Some(possible.map_or(standing, |so_far| so_far.stricter(standing)));
                }
                Fit::Yes => return (self.standing(rule, view.head), possible),
            }
        }
        (self.standing(&self.default, view.head), possible)
    }

    pub(crate) fn standing<'a>(&self, rule: &'a Rule, head: &Head<'_>) -> Standing<'a> {
        if rule.level > Level::Pass || !head.route.normalised_differs {
            return Standing {
                rule,
                asked: rule.level,
                level: rule.level,
                failure_policy: rule.failure_policy,
            };
        }
        let failure_policy = rule.failure_policy.max(self.default.failure_policy);
        Standing { rule, asked: rule.level, level: self.default.level.max(Level::Commit), failure_policy }
    }

    /// Whether the level can be given: here, or for `tee` by the attested servers that the rule names.
    fn gives(&self, decision: &Decision) -> bool {
        self.honours.gives(decision.level) || (decision.level == Level::Tee && decision.actions.attested)
    }

    /// Raises to what the client wants, as far as the ceiling goes.
    fn raise(&self, decision: &mut Decision, wanted: Level) {
        decision.asked = decision.asked.max(wanted);
        decision.level = decision.level.max(wanted.min(self.ceiling));
        if wanted <= decision.level {
            return;
        }
        let refused = match self.ceiling {
            Level::Pass => format!("the client asked for `{wanted}`; clients may not raise the level"),
            ceiling => format!("the client asked for `{wanted}`; clients may raise the level to `{ceiling}`"),
        };
        decision.add_reason(Arc::from(refused));
    }

    /// The level cannot be given: the failure policy decides.
    fn lower(&self, decision: &mut Decision) {
        let wanted = decision.level;
        decision.level = decision.at_once();
        if decision.refusal.is_some() {
            // A refusal is the proxy's own answer: there is nothing to attest or to prove.
            return;
        }
        decision.asked = decision.asked.max(wanted);
        decision.add_reason(match wanted {
            Level::Zk => self.reasons.no_zk.clone(),
            _ => self.reasons.no_tee.clone(),
        });
        if decision.failure_policy == FailurePolicy::Fail {
            decision.refusal = Some(Refusal::Unavailable(wanted));
        }
    }
}

impl Decision {
    /// Whether one of the rule's attested servers has to answer, and no other: whatever level was granted, since a client that may
    /// raise it must not be able to send the prompt elsewhere.
    pub fn sends_to_attested(&self) -> bool {
        self.actions.attested
    }

    /// The level of what can only be given later, or not at all, when the answer leaves.
    pub fn at_once(&self) -> Level {
        if self.actions.attested { Level::Tee } else { Level::Sign }
    }

    fn add_reason(&mut self, reason: Arc<str>) {
        self.why_lowered = Some(match self.why_lowered.take() {
            Some(first) => Arc::from(format!("{first}; {reason}")),
            None => reason,
        });
    }
}

impl<'a> Standing<'a> {
    /// How strict: whether it denies, then whether it sends the prompt to attested servers only, then its level, then what it samples.
    pub(crate) fn rank(&self) -> (bool, bool, Level, Option<(Level, u64)>) {
        let Rule { deny, actions, .. } = self.rule;
        let sample = actions.sample.map(|sample| (sample.to, sample.threshold));
        (deny.is_some(), actions.attested, self.level, sample)
    }

    /// The first of the strictest, and `Fail` if any says so.
    fn stricter(self, later: Standing<'a>) -> Standing<'a> {
        let failure_policy = self.failure_policy.max(later.failure_policy);
        let first =
            if later.rank() > self.rank() { later.and_at_least(self) } else { self.and_at_least(later) };
        Standing { failure_policy, ..first }
    }

    /// The same with the other's level, where that is higher. A refusal's record has its own.
    fn and_at_least(self, other: Standing<'_>) -> Standing<'a> {
        if self.rule.deny.is_some() {
            return self;
        }
        Standing { asked: self.asked.max(other.asked), level: self.level.max(other.level), ..self }
    }
}

impl Rule {
    pub(crate) fn fit(&self, view: &View<'_>) -> Fit {
        if self.matches.is_empty() {
            return Fit::Yes;
        }
        let mut best = Fit::No;
        for entry in &self.matches {
            best = best.max(entry.fit(view));
            if best == Fit::Yes {
                break;
            }
        }
        best
    }
}

/// The highest level that the client's headers name.
fn client_level(headers: &HeaderMap) -> Option<Level> {
    let values = headers.get_all(&LEVEL_HEADER).iter();
    values
        .filter_map(|value| {
            let word = value.as_bytes().trim_ascii();
            LEVELS.into_iter().find(|level| level.as_str().as_bytes().eq_ignore_ascii_case(word))
        })
        .max()
}
