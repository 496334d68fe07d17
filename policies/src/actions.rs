//! What a rule asks for beside its level.

use colophon_receipt::Level;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What happens to an exchange whose level cannot be reached: as in Kubernetes' admission webhooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailurePolicy {
    /// It goes on at the level that can be reached, and the record says so.
    Ignore,
    /// It is refused, and the refusal is recorded.
    Fail,
}

/// What a rule asks for beside its level.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actions {
    /// The share of exchanges that is drawn for a higher level.
    pub sample: Option<Sample>,
    /// How long after its record the evidence may come.
    pub deadline: Option<Duration>,
    /// What happens if it has not come by then.
    pub on_miss: OnMiss,
    /// The prover that makes it, by the name of its definition.
    pub prover: Option<Arc<str>>,
    /// The attested servers of which one answers instead of the usual one, by the names of their definitions: the first
    /// that proves itself.
    pub upstreams: Vec<Arc<str>>,
    /// Whether all of them have reference values, so that `tee` can be given there.
    pub attested: bool,
}

/// A share of exchanges, drawn for a higher level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// An exchange is drawn if its 64 bits of the draw are below this (DESIGN section 7): the share times 2^64, rounded
    /// down; `u64::MAX` for all.
    pub threshold: u64,
    /// The level it is drawn for.
    pub to: Level,
    /// When it is drawn, and by whose randomness.
    pub draw: Draw,
}

impl Sample {
    /// The share, in percent, to a millionth of it.
    pub fn percent(&self) -> f64 {
        (self.threshold as f64 / u64::MAX as f64 * 1e8).round() / 1e6
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} % for {}, {}", self.percent(), self.to, self.draw.as_str())
    }
}

/// When an exchange is drawn, and by whose randomness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Draw {
    /// By the proxy, when the record is made: nobody can check it.
    Local,
    /// By public randomness that comes into being after the record was committed to: anybody can check it.
    PostCommit,
}

/// What happens if evidence has not come by its deadline. In every case the log says that it did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnMiss {
    /// Nothing else: the record stays at `sign`.
    #[default]
    Downgrade,
    /// It is an error in the proxy's own log, and counted.
    Alert,
    /// The same, and what the rule matches is refused until evidence for a record of the rule is made again.
    Fail,
}

/// Why a request is not forwarded. Its refusal is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A rule denies it, for this reason. 403.
    Denied(Arc<str>),
    /// This program cannot give this level now, and the rule says `Fail`. 503.
    Unavailable(Level),
}

/// The levels above `sign` that the program can give as it runs now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Honours {
    /// Evidence from a trusted execution environment.
    pub tee: bool,
    /// Proofs.
    pub zk: bool,
}

impl Honours {
    /// Whether `level` can be given.
    pub fn gives(self, level: Level) -> bool {
        match level {
            Level::Pass | Level::Commit | Level::Sign => true,
            Level::Tee => self.tee,
            Level::Zk => self.zk,
        }
    }
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

impl Draw {
    /// The word used in policies.
    pub fn as_str(self) -> &'static str {
        match self {
            Draw::Local => "Local",
            Draw::PostCommit => "PostCommit",
        }
    }
}

impl OnMiss {
    /// The word used in policies.
    pub fn as_str(self) -> &'static str {
        match self {
            OnMiss::Downgrade => "Downgrade",
            OnMiss::Alert => "Alert",
            OnMiss::Fail => "Fail",
        }
    }
}
