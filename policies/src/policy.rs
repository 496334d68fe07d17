//! A policy as it is in force.

use crate::canonical;
use crate::decide::DEFAULT_RULE;
use crate::error::{At, Fault, PolicyError};
use crate::matching::Match;
use crate::{read, yaml};
use colophon_receipt::Level;
use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::Arc;

/// A policy file may be this long.
pub const MAX_POLICY_BYTES: usize = 1 << 20;

const BUILTIN: &str = include_str!("../profiles/default.yaml");

/// What happens to an exchange whose level cannot be reached: as in Kubernetes' admission webhooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailurePolicy {
    /// It goes on at the level that can be reached, and the record says so.
    Ignore,
    /// It is refused, and the refusal is recorded.
    Fail,
}

impl FailurePolicy {
    /// The word used in policies.
    pub fn as_str(self) -> &'static str {
        match self {
            FailurePolicy::Ignore => "Ignore",
            FailurePolicy::Fail => "Fail",
        }
    }
}

impl fmt::Display for FailurePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A policy in force: ordered rules, of which the first that matches decides.
#[derive(Debug)]
pub struct Policy {
    pub(crate) name: String,
    /// What holds where no rule matches; a rule named [`DEFAULT_RULE`].
    pub(crate) default: Rule,
    /// The level up to which a client may raise; `Pass` if it may not.
    pub(crate) ceiling: Level,
    pub(crate) rules: Vec<Rule>,
    pub(crate) canonical: String,
    pub(crate) reasons: Reasons,
}

/// One rule; it matches if any of its entries does, or has none.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) name: Arc<str>,
    pub(crate) level: Level,
    pub(crate) failure_policy: FailurePolicy,
    pub(crate) matches: Vec<Match>,
}

/// The reasons that need no detail, made once.
#[derive(Debug)]
pub(crate) struct Reasons {
    pub(crate) spelling: Arc<str>,
    pub(crate) model: Arc<str>,
}

impl Policy {
    /// The policy in force without `--policy`: `profiles/default.yaml`.
    #[expect(clippy::expect_used, reason = "the file is part of the program, and a test reads it")]
    pub fn builtin() -> Policy {
        Policy::parse(BUILTIN, "default.yaml").expect("the built-in policy is well-formed")
    }

    /// Reads a policy file. `source_name` is what errors call it.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place: YAML that is not well-formed or exceeds a limit, unknown or
    /// duplicate keys, wrong types, unknown words, duplicate rule names, empty matches, expressions that do not compile
    /// or get too large, and what belongs to the language but not to this version.
    pub fn parse(yaml: &str, source_name: &str) -> Result<Policy, PolicyError> {
        read_policy(yaml).map_err(|fault| PolicyError::new(source_name, fault))
    }

    /// Whether any exchange may have to be refused for want of a record (`failurePolicy: Fail` anywhere).
    pub fn may_refuse(&self) -> bool {
        std::iter::once(&self.default)
            .chain(&self.rules)
            .any(|rule| rule.failure_policy == FailurePolicy::Fail)
    }

    /// `metadata.name`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SHA-256 of [`canonical`](Policy::canonical): what records and statements call the policy digest.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.canonical.as_bytes()).into()
    }

    /// The effective policy as one line of JSON, the same for every way to write the same policy.
    ///
    /// Keys come in a fixed order: `apiVersion`, `kind`, `name`, `defaults` {`level`, `failurePolicy`},
    /// `clientMayRaiseTo` (null: clients cannot raise), `routes` (SHA-256 in hex of the table behind `apis`, one line
    /// `path method api operation generating` a route, sorted), `rules` in order, each {`name`, `level`, `failurePolicy`
    /// (the default's where the rule has none), `matches` (null: everything)}. An entry of `matches` has, if it names them, `method`,
    /// `path` {`type`, `value`}, `headers` [{`name`, `type`, `value`}] (names in lower case), `apis`, `models`. The order in `matches`, `headers`,
    /// `apis` and `models` means nothing, so they are sorted and freed of repetitions; a prefix has no trailing slash.
    pub fn canonical(&self) -> String {
        self.canonical.clone()
    }
}

fn read_policy(text: &str) -> Result<Policy, Fault> {
    if text.len() > MAX_POLICY_BYTES {
        return Err(Fault::new(
            At::default(),
            format!("the file is larger than {} KiB", MAX_POLICY_BYTES >> 10),
        ));
    }
    let spec = read::spec(&yaml::read(text)?)?;
    let default = Rule {
        name: Arc::from(DEFAULT_RULE),
        level: spec.default_level,
        failure_policy: spec.default_failure_policy,
        matches: Vec::new(),
    };
    let canonical = canonical::text(&spec.name, &default, spec.ceiling, &spec.rules);
    let reasons = Reasons {
        spelling: Arc::from("the path is not written plainly, so `pass` does not apply"),
        model: Arc::from("the model was not known, so the stricter branch applies"),
    };
    Ok(Policy { name: spec.name, default, ceiling: spec.ceiling, rules: spec.rules, canonical, reasons })
}
