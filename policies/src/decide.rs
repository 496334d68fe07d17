//! The decision about one exchange.

use crate::api::Api;
use crate::matching::Fit;
use crate::policy::{FailurePolicy, Policy, Rule};
use crate::routes::Route;
use colophon_receipt::Level;
use http::{HeaderMap, HeaderName, Method, header};
use std::sync::Arc;

/// The rule named in a decision that no rule made.
pub const DEFAULT_RULE: &str = "(default)";

/// The request header by which a client may raise the level, never lower it (DESIGN section 5).
pub const LEVEL_HEADER: HeaderName = HeaderName::from_static("colophon-level");

const LEVELS: [Level; 5] = [Level::Pass, Level::Commit, Level::Sign, Level::Tee, Level::Zk];

/// The head of a request.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path as received, without the query.
    pub path: &'a str,
    /// The query as received, without `?`. No rule of this version looks at it.
    pub query: Option<&'a str>,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The model that the request names. `None`: not known, so rules about models are taken if they are stricter.
    /// `Some("")`: the whole request was read and names none, so that only a glob like `*` matches.
    pub model: Option<&'a str>,
    /// What [`identify`](crate::identify) says of `method` and `path`.
    pub route: &'a Route,
}

/// What a policy says about one exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The name of the rule that decided, [`DEFAULT_RULE`] if none matched.
    pub rule: Arc<str>,
    /// The level granted.
    pub level: Level,
    /// The level asked for: the rule's, or the client's where that is higher.
    pub asked: Level,
    /// What happens if `level` cannot be reached.
    pub failure_policy: FailurePolicy,
    /// Why the level granted is not simply the one asked for: a client asked for more than it may, `pass` did not
    /// apply to the path's spelling, or the model was not known. Fit for a record.
    pub why_lowered: Option<Arc<str>>,
}

/// A rule with what it comes to for one request.
#[derive(Clone, Copy)]
struct Standing<'a> {
    rule: &'a Rule,
    level: Level,
    failure_policy: FailurePolicy,
}

impl Policy {
    /// Decides about the request with this head.
    ///
    /// The first rule that matches decides, else the defaults. `pass` does not apply to a path that is not written
    /// plainly: such a request gets the default's level, and at least `commit`.
    ///
    /// If the model is not known and could be named, the result is at least as strict as any model's would be: of the
    /// rule that matches for certain and the rules before it that match for some models, the one with the highest level
    /// is taken (the certain one among equals, else the first), and `Fail` if any of them says so. Where a request
    /// cannot name a model (health, metrics, lists of models, controls, and requests without a body on routes that
    /// generate nothing), rules about models do not match.
    ///
    /// Then `Colophon-Level` may raise up to `clientMayRaiseTo`; values that are no level are ignored.
    pub fn decide(&self, head: &Head<'_>) -> Decision {
        let (certain, possible) = self.first_matches(head);
        let taken = possible.filter(|possible| possible.level > certain.level).unwrap_or(certain);
        let failure_policy =
            possible.map_or(certain.failure_policy, |p| p.failure_policy.max(certain.failure_policy));
        let why_lowered = if taken.rule.level == Level::Pass && taken.level > Level::Pass {
            Some(self.reasons.spelling.clone())
        } else if taken.level > certain.level || failure_policy > certain.failure_policy {
            Some(self.reasons.model.clone())
        } else {
            None
        };
        let mut decision = Decision {
            rule: taken.rule.name.clone(),
            level: taken.level,
            asked: taken.rule.level,
            failure_policy,
            why_lowered,
        };
        if let Some(wanted) = client_level(head.headers) {
            self.raise(&mut decision, wanted);
        }
        decision
    }

    /// Whether knowing the model could change what [`decide`](Policy::decide) says; then it is worth waiting for a
    /// bounded prefix of the body. False if `head.model` is known.
    pub fn needs_model(&self, head: &Head<'_>) -> bool {
        let path = head.route.matched_path(head.path);
        let model_possible = model_possible(head);
        model_possible
            && self
                .rules
                .iter()
                .map(|rule| rule.fit(head, path, model_possible))
                .find(|fit| *fit != Fit::No)
                .is_some_and(|fit| fit == Fit::IfModel)
    }

    /// The rule that matches for certain, and the strictest that rules before it make of an unknown model.
    fn first_matches(&self, head: &Head<'_>) -> (Standing<'_>, Option<Standing<'_>>) {
        let path = head.route.matched_path(head.path);
        let model_possible = model_possible(head);
        let mut possible: Option<Standing<'_>> = None;
        for rule in &self.rules {
            match rule.fit(head, path, model_possible) {
                Fit::No => {}
                Fit::IfModel => {
                    let standing = self.standing(rule, head);
                    possible = Some(possible.map_or(standing, |so_far| so_far.stricter(standing)));
                }
                Fit::Yes => return (self.standing(rule, head), possible),
            }
        }
        (self.standing(&self.default, head), possible)
    }

    fn standing<'a>(&self, rule: &'a Rule, head: &Head<'_>) -> Standing<'a> {
        if rule.level > Level::Pass || !head.route.normalised_differs {
            return Standing { rule, level: rule.level, failure_policy: rule.failure_policy };
        }
        let failure_policy = rule.failure_policy.max(self.default.failure_policy);
        Standing { rule, level: self.default.level.max(Level::Commit), failure_policy }
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
        decision.why_lowered = Some(match decision.why_lowered.take() {
            Some(reason) => Arc::from(format!("{reason}; {refused}")),
            None => Arc::from(refused),
        });
    }
}

impl<'a> Standing<'a> {
    /// The first with the highest level, and `Fail` if any says so.
    fn stricter(self, later: Standing<'a>) -> Standing<'a> {
        let first = if later.level > self.level { later } else { self };
        Standing { failure_policy: self.failure_policy.max(later.failure_policy), ..first }
    }
}

impl Rule {
    fn fit(&self, head: &Head<'_>, path: &str, model_possible: bool) -> Fit {
        if self.matches.is_empty() {
            return Fit::Yes;
        }
        let mut best = Fit::No;
        for entry in &self.matches {
            best = best.max(entry.fit(head, path, model_possible));
            if best == Fit::Yes {
                break;
            }
        }
        best
    }
}

/// Whether a request whose model is not known may name one.
fn model_possible(head: &Head<'_>) -> bool {
    if head.model.is_some() {
        return false;
    }
    match head.route.api {
        Api::Models | Api::Health | Api::Admin | Api::ModelChange => false,
        _ if head.route.generating => true,
        // A body may hide where none is usual; only its framing or an upgrade tells before it comes.
        _ if matches!(*head.method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE) => {
            [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::UPGRADE]
                .iter()
                .any(|name| head.headers.contains_key(name))
        }
        _ => true,
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
