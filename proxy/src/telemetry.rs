//! What those who watch are told of an exchange that ended: Prometheus always, an OpenTelemetry collector where one is named.
//! Never what was asked or answered.

pub mod collector;
mod exposition;
pub mod gen_ai;
pub mod meters;
pub mod pushing;
pub mod traces;

use colophon_policies::Api;
use colophon_receipt::Outcome;

/// What request and answer say of themselves that a watcher may know.
#[derive(Debug, Default)]
pub struct Told {
    /// The model asked for.
    pub requested: Option<Vec<u8>>,
    /// The model that answered, by its own word.
    pub reported: Option<Vec<u8>>,
    /// The response's id.
    pub response_id: Option<Vec<u8>>,
    /// Why its choices ended.
    pub finish_reasons: Vec<Vec<u8>>,
    /// Tokens of the prompt.
    pub input_tokens: Option<u64>,
    /// Tokens of the answer.
    pub output_tokens: Option<u64>,
    /// The answer was a stream of events.
    pub streamed: bool,
}

/// An exchange that ended.
#[derive(Clone, Copy)]
pub struct Ended<'a> {
    /// What it was.
    pub api: Api,
    /// How it ended.
    pub outcome: Outcome,
    /// When the request's head was there, µs.
    pub received_at: u64,
    /// When the first byte of the answer's body was about to leave, µs.
    pub first_byte: Option<u64>,
    /// When it ended, µs.
    pub completed: u64,
    /// What was said.
    pub told: &'a Told,
}

impl Ended<'_> {
    /// `error.type` where it did not end well: the status, or how it ended.
    fn error(&self, status: u16) -> Option<String> {
        match self.outcome {
            Outcome::Complete => None,
            Outcome::UpstreamError | Outcome::Refused if status >= 400 => Some(status.to_string()),
            outcome => Some(outcome.as_str().to_owned()),
        }
    }
}

/// Between two times in µs; a clock may have gone back.
fn seconds(from: u64, to: u64) -> f64 {
    to.saturating_sub(from) as f64 / 1e6
}
