//! Who proves: one trait, and who there is.

pub mod certified;
pub mod exec;
mod usage;

use crate::job::{Job, Limits, Progress};
use async_trait::async_trait;
use colophon_receipt::proof::Statement;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What a backend is and can do, in its own words: for people, never for a decision about what is proven.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Name and version of the prover, such as `ezkl 23.0.5`.
    pub prover: String,
    /// Digests of the circuits that it has, lower-case hexadecimal.
    pub circuits: Vec<String>,
    /// Whether its proofs hide their private inputs: `zk`, else `succinct`.
    pub hides: bool,
    /// Where its parameters come from: `ceremony`, or `local` when whoever made them could forge proofs; absent without any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup: Option<String>,
}

/// What a backend thinks that a task costs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// CPU seconds.
    pub cpu_seconds: f64,
    /// Bytes of memory.
    pub memory: u64,
}

/// What a backend's verifier says of an artefact that it accepts.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    /// CPU seconds that it took.
    pub cpu_seconds: f64,
    /// Where the parameters of this circuit come from, as in [`Capabilities::setup`].
    pub setup: Option<String>,
    /// SHA-256 of the verifying key that it looked with, lower-case hexadecimal.
    pub circuit: Option<String>,
    /// SHA-256 of the circuit's settings that it looked with, likewise.
    pub settings: Option<String>,
    /// SHA-256 of the structured reference string that it looked with, likewise.
    pub srs: Option<String>,
}

/// What a backend is given.
#[derive(Clone, Debug)]
pub struct Task {
    /// What to prove.
    pub statement: Statement,
    /// What it may use.
    pub limits: Limits,
    /// Its own folder, which is there, empty, and deleted afterwards.
    pub folder: PathBuf,
}

impl Task {
    /// A job's, in a folder.
    pub fn of(job: &Job, folder: PathBuf) -> Task {
        Task { statement: job.request.statement.clone(), limits: job.request.limits, folder }
    }
}

/// A step of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Poll {
    /// It goes on.
    Running(Progress),
    /// There is an artefact to fetch.
    Done,
}

/// Why a backend did not do it: whose fault it is, and whether another try may help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// It says that it cannot prove this: no other try will.
    #[error("the prover refuses: {0}")]
    Refused(String),
    /// It could not this time.
    #[error("the prover failed: {0}")]
    Failed(String),
    /// It used more than it may.
    #[error("the prover was ended: it used more than {0}")]
    Limit(String),
    /// What it says is not the protocol.
    #[error("the prover does not speak the protocol: {0}")]
    Malformed(String),
    /// It could not be run at all: the worker's set-up.
    #[error("the prover cannot be run: {0}")]
    Unusable(String),
    /// What it calls a proof is none.
    #[error("the prover lied: its own verifier does not accept what it proved: {0}")]
    Lied(String),
    /// It is not under what the model certificate names.
    #[error("refused: {0}")]
    Uncertified(String),
}

impl BackendError {
    /// One word for it.
    pub fn code(&self) -> &'static str {
        match self {
            BackendError::Refused(_) => "refused",
            BackendError::Failed(_) => "failed",
            BackendError::Limit(_) => "limit",
            BackendError::Malformed(_) => "malformed",
            BackendError::Unusable(_) => "unusable",
            BackendError::Lied(_) => "lied",
            BackendError::Uncertified(_) => "uncertified",
        }
    }

    /// Whether another try may end otherwise.
    pub fn may_help_again(&self) -> bool {
        matches!(self, BackendError::Failed(_) | BackendError::Unusable(_))
    }
}

/// A task under way. Dropping it ends it.
#[async_trait]
pub trait Running: Send {
    /// Waits for the next thing that it says, or for its end.
    ///
    /// # Errors
    /// It came to nothing.
    async fn poll(&mut self) -> Result<Poll, BackendError>;

    /// Reads what it made, once it is done; at most `limits.artefact` bytes.
    ///
    /// # Errors
    /// There is none, or it is too large.
    async fn fetch(&mut self) -> Result<Vec<u8>, BackendError>;

    /// Ends it, and everything it started, before this returns.
    async fn cancel(&mut self);

    /// CPU seconds that it has used.
    fn cpu_seconds(&self) -> f64;
}

/// Somebody who proves.
#[async_trait]
pub trait Backend: Send + Sync {
    /// The name that jobs ask for it by.
    fn name(&self) -> &str;

    /// What it is and can do.
    ///
    /// # Errors
    /// It does not answer.
    async fn capabilities(&self, folder: PathBuf) -> Result<Capabilities, BackendError>;

    /// What it thinks that a task costs.
    ///
    /// # Errors
    /// It does not answer, or refuses the task.
    async fn estimate(&self, task: &Task) -> Result<Estimate, BackendError>;

    /// Begins to prove.
    ///
    /// # Errors
    /// It could not be begun.
    async fn submit(&self, task: &Task) -> Result<Box<dyn Running>, BackendError>;

    /// Has its own verifier look at an artefact, in a folder that only holds that.
    ///
    /// # Errors
    /// [`BackendError::Lied`] where it does not accept the artefact for this very statement.
    async fn verify(&self, task: &Task, artefact: &[u8]) -> Result<Verified, BackendError>;
}
