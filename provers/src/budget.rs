//! What a rule may spend on proofs.

use serde::{Deserialize, Serialize};

/// µs of the window that a budget is for.
const HOUR: u64 = 3_600_000_000;

/// A rule's limits for each hour of the clock; absent is unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Budget {
    /// Jobs that may be submitted.
    pub jobs_per_hour: Option<u64>,
    /// CPU seconds that finished tries may have taken: the next job is refused, none is cut short.
    pub cpu_seconds_per_hour: Option<f64>,
}

/// What was spent in one hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spent {
    /// Jobs submitted.
    pub jobs: u64,
    /// CPU seconds of tries.
    pub cpu_seconds: f64,
}

impl Budget {
    /// Which of the limits leaves no room for one more job.
    pub(crate) fn exhausted(&self, spent: &Spent) -> Option<String> {
        if let Some(most) = self.jobs_per_hour.filter(|most| spent.jobs >= *most) {
            return Some(format!("{most} jobs an hour"));
        }
        let most = self.cpu_seconds_per_hour.filter(|most| spent.cpu_seconds >= *most)?;
        Some(format!("{most} CPU seconds an hour"))
    }
}

/// The hour that a time (µs) lies in.
pub(crate) fn hour(now: u64) -> u64 {
    now / HOUR
}
