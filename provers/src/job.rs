//! A proof job: what is asked, how far it is, how it ended.

use colophon_receipt::Hash;
use colophon_receipt::proof::{Statement, StatementError};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Tries before a job has failed.
pub(crate) const TRIES: u32 = 3;
/// Tries to tell a webhook before that is given up.
pub const WEBHOOK_TRIES: u32 = 6;
/// Pause before the second of them, µs; each further one is four times as long: the last is half an hour after the first.
pub(crate) const WEBHOOK_BACKOFF: u64 = 5_000_000;
/// Longest name of a backend, a rule, a worker or a webhook, bytes.
const MAX_NAME: usize = 512;
/// Bytes that are kept of a text that a worker or a prover says.
const MAX_SAID: usize = 512;

/// Cuts a text that comes from outside to what is kept of it.
fn clip(text: &mut String) {
    text.truncate(text.floor_char_boundary(MAX_SAID));
}

/// A job's number: the first half of its statement's digest with its backend, so the same question is the same job.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(pub [u8; 16]);

impl JobId {
    /// The number that the job of a request has.
    ///
    /// # Errors
    /// Its statement cannot be written.
    pub fn for_request(request: &Request) -> Result<JobId, StatementError> {
        Ok(JobId::of(&request.statement.digest()?, &request.backend))
    }

    pub(crate) fn of(statement: &Hash, backend: &str) -> JobId {
        let mut bytes = b"colophon/job/v1".to_vec();
        bytes.extend_from_slice(statement);
        bytes.extend_from_slice(backend.as_bytes());
        let digest = colophon_receipt::merkle::sha256(&bytes);
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        JobId(id)
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for JobId {
    type Err = hex::FromHexError;

    fn from_str(text: &str) -> Result<JobId, hex::FromHexError> {
        let mut id = [0; 16];
        hex::decode_to_slice(text, &mut id)?;
        Ok(JobId(id))
    }
}

impl Serialize for JobId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for JobId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<JobId, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What one try may use. A backend that uses more is ended, and the try has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// CPU seconds of all its processes.
    pub cpu_seconds: u64,
    /// Seconds by the clock.
    pub seconds: u64,
    /// Bytes of memory, resident, of all its processes.
    pub memory: u64,
    /// Bytes in its folder, the artefact included.
    pub disk: u64,
    /// Bytes of the artefact.
    pub artefact: u64,
}

impl Default for Limits {
    /// What a small classifier or a tiny transformer needs, a few times over.
    fn default() -> Limits {
        let artefact = colophon_receipt::proof::MAX_ARTEFACT as u64;
        Limits { cpu_seconds: 600, seconds: 900, memory: 6 << 30, disk: 4 << 30, artefact }
    }
}

impl Limits {
    /// What counts of the CPU seconds that somebody says a try took: no more than it may use.
    pub(crate) fn cpu_of(&self, said: f64) -> f64 {
        // `max` takes what is no number for 0.
        said.max(0.0).min(self.cpu_seconds as f64)
    }
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The record's id, a UUID's text.
    pub record: String,
    /// What is to be proven.
    pub statement: Statement,
    /// Which backend is to prove it.
    pub backend: String,
    /// The rule that asked; its budget pays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// µs since the epoch, after which nobody needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<u64>,
    /// Higher goes first.
    #[serde(default)]
    pub priority: u8,
    /// What one try may use.
    #[serde(default)]
    pub limits: Limits,
    /// Where the end is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<String>,
    /// The id of the evidence leaf that is to say in the log what came of it, 32 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
}

impl Request {
    pub(crate) fn check(&self) -> Result<(), StatementError> {
        self.statement.check()
    }

    /// The texts that come from outside, with their names.
    pub(crate) fn too_long(&self) -> Option<&'static str> {
        let long = |text: &str| text.len() > MAX_NAME;
        let option = |text: &Option<String>| text.as_deref().is_some_and(long);
        [
            ("record", long(&self.record)),
            ("backend", long(&self.backend)),
            ("rule", option(&self.rule)),
            ("webhook", option(&self.webhook)),
            ("evidence", option(&self.evidence)),
        ]
        .into_iter()
        .find_map(|(name, long)| long.then_some(name))
    }
}

/// How far a try is, as its backend says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// What it is at, such as `witness`.
    pub stage: String,
    /// 0 to 100.
    pub percent: u8,
    /// Seconds that it thinks it still needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<u64>,
}

impl Progress {
    /// As it is kept: its text is from outside.
    pub(crate) fn clipped(mut self) -> Progress {
        clip(&mut self.stage);
        self.percent = self.percent.min(100);
        self
    }
}

/// What was proven, after the backend's verifier has accepted it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Artefact {
    /// SHA-256 of its bytes, lower-case hexadecimal.
    pub digest: String,
    /// How many.
    pub bytes: u64,
    /// CPU seconds that the try took, its verification included.
    pub cpu_seconds: f64,
    /// Name and version of the prover, as it says.
    pub prover: String,
    /// Whether it says that its proofs hide their private inputs.
    pub hides: bool,
    /// Where it says that its parameters come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup: Option<String>,
}

impl Artefact {
    /// As it is kept: its texts are from outside.
    pub(crate) fn clipped(mut self) -> Artefact {
        clip(&mut self.digest);
        clip(&mut self.prover);
        self.setup.as_mut().map(clip);
        self
    }
}

/// Why a try or a job came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// One word: `refused`, `limit`, `lied`, `malformed`, `ended`, `lease`, …
    pub code: String,
    /// For people.
    pub message: String,
}

impl Failure {
    /// As it is kept: its texts are from outside.
    pub(crate) fn clipped(mut self) -> Failure {
        clip(&mut self.code);
        clip(&mut self.message);
        self
    }
}

/// Where a job stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum State {
    /// It waits, not before this time (µs).
    Queued {
        /// µs since the epoch.
        not_before: u64,
    },
    /// A worker has it.
    Leased {
        /// Who.
        worker: String,
        /// µs; without a renewal it goes to another worker then.
        until: u64,
        /// What the worker last said.
        progress: Progress,
    },
    /// An artefact is there, and verified.
    Proven(Artefact),
    /// Every try failed, or one in a way that no other try would mend.
    Failed(Failure),
    /// Nobody could do it in time.
    Missed,
    /// Somebody withdrew it.
    Cancelled,
}

impl State {
    /// Whether nothing will happen to it any more.
    pub fn has_ended(&self) -> bool {
        !matches!(self, State::Queued { .. } | State::Leased { .. })
    }
}

/// A job as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Number.
    pub id: JobId,
    /// What was asked.
    pub request: Request,
    /// µs since the epoch.
    pub made_at: u64,
    /// µs, once it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<u64>,
    /// Tries begun.
    pub tries: u32,
    /// What became of the last try that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<Failure>,
    /// Where it stands.
    pub state: State,
    /// Whether the log says what came of it, where it is to say that.
    #[serde(default)]
    pub logged: bool,
    /// How far its webhook was told of its end, where it has one.
    #[serde(default)]
    pub told: Told,
}

/// How far a webhook was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Tries made.
    pub tries: u32,
    /// Not before this time (µs) it is tried again.
    pub next: u64,
    /// Whether it was told, or given up on.
    pub done: bool,
}

impl Job {
    /// As a worker elsewhere gets it: without its webhook, whose URL may hold a secret that is none of its business.
    pub fn for_a_worker(mut self) -> Job {
        self.request.webhook = None;
        self
    }

    /// Whether its webhook is still to be told of its end.
    pub fn is_untold(&self) -> bool {
        self.state.has_ended() && self.request.webhook.is_some() && !self.told.done
    }

    /// Whether the log is still to say what came of it.
    pub fn is_unlogged(&self) -> bool {
        self.state.has_ended() && self.request.evidence.is_some() && !self.logged
    }
}
