//! A policy as it is in force.

use crate::actions::{Actions, Draw, FailurePolicy, Honours};
use crate::compile::{Asked, Compiled, File, compile};
use crate::error::{At, Fault, Place, PolicyError, Warning};
use crate::matching::Match;
use crate::matching::body::Pointer;
use crate::{canonical, read, yaml};
use colophon_receipt::Level;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// A policy file may be this long,
pub const MAX_POLICY_BYTES: usize = 1 << 20;
/// and a policy may be in this many files.
pub const MAX_POLICY_FILES: usize = 64;

const BUILTIN: &str = include_str!("../profiles/default.yaml");

/// A policy in force: ordered rules, of which the first that matches decides.
#[derive(Debug)]
pub struct Policy {
    pub(crate) name: String,
    /// What holds where no rule matches; a rule named [`DEFAULT_RULE`](crate::DEFAULT_RULE).
    pub(crate) default: Rule,
    /// The level up to which a client may raise; `Pass` if it may not.
    pub(crate) ceiling: Level,
    pub(crate) rules: Vec<Rule>,
    pub(crate) honours: Honours,
    pub(crate) reasons: Reasons,
    pointers: Vec<Pointer>,
    upstreams: Vec<Upstream>,
    canonical: String,
    asked: Vec<Asked>,
    warnings: Vec<Warning>,
}

/// One rule; it matches if any of its entries does, or has none.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) name: Arc<str>,
    pub(crate) level: Level,
    pub(crate) failure_policy: FailurePolicy,
    pub(crate) matches: Vec<Match>,
    /// The reason, where what matches is refused.
    pub(crate) deny: Option<Arc<str>>,
    pub(crate) actions: Arc<Actions>,
    pub(crate) place: Place,
}

/// An attested server that rules may send requests to.
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// Its name in rules and records.
    pub name: String,
    /// `https://host:port`.
    pub url: String,
    /// What its evidence has to say: the `spec` of an attestation policy, which this crate only carries. Without, nothing
    /// proves it, and `tee` cannot be given there.
    pub attestation: Option<serde_json::Value>,
    pub(crate) place: Place,
}

impl Upstream {
    /// What is wrong with its `attestation`, by whoever understands that.
    pub fn wrong(&self, message: &str) -> PolicyError {
        PolicyError::at(self.place.clone(), format!("the attestation of `{}`: {message}", self.name))
    }
}

/// The reasons that need no detail, made once.
#[derive(Debug)]
pub(crate) struct Reasons {
    pub(crate) spelling: Arc<str>,
    pub(crate) body: Arc<str>,
    pub(crate) no_tee: Arc<str>,
    pub(crate) no_zk: Arc<str>,
}

impl Policy {
    /// The policy in force without `--policy`: `profiles/default.yaml`.
    #[expect(clippy::expect_used, reason = "the file is part of the program, and a test reads it")]
    pub fn builtin() -> Policy {
        Policy::parse(BUILTIN, "default.yaml").expect("the built-in policy is well-formed")
    }

    /// Reads a policy of one file. `source_name` is what errors call it.
    ///
    /// # Errors
    /// As [`Policy::parse_all`].
    pub fn parse(yaml: &str, source_name: &str) -> Result<Policy, PolicyError> {
        Policy::parse_all([(source_name, yaml)])
    }

    /// Reads a policy in several files, each as its name and text. The rules of a later file follow those of an earlier one.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place: YAML that is not well-formed or exceeds a limit, unknown or
    /// duplicate keys, wrong types, unknown words, duplicate names, empty matches, expressions that do not compile
    /// or get too large, actions that contradict each other, upstreams and provers that are not defined, and what
    /// two files say differently.
    pub fn parse_all<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Policy, PolicyError> {
        let mut read = Vec::new();
        for (name, text) in files {
            if read.len() == MAX_POLICY_FILES {
                let fault = Fault::new(At::default(), format!("more than {MAX_POLICY_FILES} files"));
                return Err(PolicyError::new(name, fault));
            }
            let document = document(text).map_err(|fault| PolicyError::new(name, fault))?;
            read.push(File { name: name.to_owned(), document });
        }
        if read.is_empty() {
            let fault = Fault::new(At::default(), "no policy file (*.yaml or *.yml) is there");
            return Err(PolicyError::new("policy", fault));
        }
        Ok(Policy::new(compile(&read)?))
    }

    fn new(compiled: Compiled) -> Policy {
        let default = Rule::default(compiled.default_level, compiled.default_failure_policy);
        let reasons = Reasons {
            spelling: Arc::from("the path is not written plainly, so `pass` does not apply"),
            body: Arc::from("what the rules ask of the body is not known, so the stricter branch applies"),
            no_tee: Arc::from("`tee` cannot be given here"),
            no_zk: Arc::from("`zk` cannot be given here"),
        };
        Policy {
            canonical: canonical::text(&compiled, &default),
            name: compiled.name,
            default,
            ceiling: compiled.ceiling,
            rules: compiled.rules,
            honours: Honours::default(),
            reasons,
            pointers: compiled.pointers,
            upstreams: compiled.upstreams,
            asked: compiled.asked,
            warnings: compiled.warnings,
        }
    }

    /// The same policy in a program that can give these levels. Without, `tee` and `zk` cannot be given.
    pub fn honouring(self, honours: Honours) -> Policy {
        Policy { honours, ..self }
    }

    /// The pointers into bodies that rules ask about, each once: see [`Content::values`](crate::Content::values).
    pub fn pointers(&self) -> &[Pointer] {
        &self.pointers
    }

    /// The attested servers that rules may name, in the order of their names.
    pub fn upstreams(&self) -> &[Upstream] {
        &self.upstreams
    }

    /// What else the rule of this name asks for.
    pub fn actions(&self, rule: &str) -> Option<&Arc<Actions>> {
        self.rules.iter().find(|known| *known.name == *rule).map(|rule| &rule.actions)
    }

    /// What the rules that ask for proofs name as their prover, in order; `None` where one names none.
    pub fn provers(&self) -> impl Iterator<Item = Option<&str>> {
        let asks = |rule: &&Rule| {
            rule.level == Level::Zk || rule.actions.sample.is_some_and(|sample| sample.to == Level::Zk)
        };
        self.rules.iter().filter(asks).map(|rule| rule.actions.prover.as_deref())
    }

    /// What may not be meant so, and what the program cannot do.
    pub fn warnings(&self) -> Vec<Warning> {
        let missing = self.asked.iter().filter(|asked| !self.honours.gives(asked.level));
        let mut warnings: Vec<Warning> = missing.map(Asked::warning).collect();
        warnings.extend(self.warnings.iter().cloned());
        warnings
    }

    /// Whether any exchange may have to be refused for want of a record (`failurePolicy: Fail` anywhere).
    pub fn may_refuse(&self) -> bool {
        std::iter::once(&self.default)
            .chain(&self.rules)
            .any(|rule| rule.failure_policy == FailurePolicy::Fail)
    }

    /// Whether any rule draws by public randomness (`draw: PostCommit`).
    pub fn draws_by_rounds(&self) -> bool {
        let mut samples = self.rules.iter().filter_map(|rule| rule.actions.sample);
        samples.any(|sample| sample.draw == Draw::PostCommit)
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
    /// `path method api operation generating` a route, sorted), `upstreams` (each {`name`, `url`, and, if it has one,
    /// `attestation` with its keys sorted}) and `provers` (sorted; absent if there are none),
    /// `rules` in order, each {`name`, `level`, `failurePolicy` (the default's where the rule has none), `matches` (null: everything),
    /// and, if it has them, `sample` {`threshold` (decimal text), `to`, `draw`}, `deadline` (seconds), `onMiss`, `prover`, `upstream` (a list where the rule names several), `deny`}.
    /// An entry of `matches` has, if it names them, `method`, `path` {`type`, `value`}, `headers` and `query` [{`name`, `type`, `value`}]
    /// (names of headers in lower case), `apis`, `models`, `tenants`, `callers`, `stream`, `body` [{`pointer`, `op`, `values`}]
    /// (`Equals` is an `In` of one value; `Matches` has its expression as the only value; each value is its type and its text). The order in `matches`,
    /// and in the lists of an entry, means nothing, so they are sorted and freed of repetitions; a prefix has no trailing slash.
    pub fn canonical(&self) -> String {
        self.canonical.clone()
    }
}

impl Asked {
    fn warning(&self) -> Warning {
        let level = self.level;
        let then = if self.drawn {
            "for what is drawn for it the log says that nothing was done"
        } else {
            "with `failurePolicy: Fail` such requests are refused, with `Ignore` they get `sign`, and their records say so"
        };
        let message = format!("`{level}` cannot be given by this program as it runs now: {then}");
        Warning { place: self.place.clone(), message }
    }
}

fn document(text: &str) -> Result<crate::ast::Document, Fault> {
    if text.len() > MAX_POLICY_BYTES {
        return Err(Fault::new(
            At::default(),
            format!("the file is larger than {} KiB", MAX_POLICY_BYTES >> 10),
        ));
    }
    read::document(&yaml::read(text)?)
}
