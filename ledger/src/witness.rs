//! Witnesses (c2sp.org/tlog-witness): others who cosign this log's checkpoints, and each only ever one history of it.
//!
//! Beside the keeper, [`Witnesses`] submits the newest checkpoint to every witness of a C2SP tlog-policy, verifies what
//! comes back, and stores it: in `checkpoint` while that is still the newest, in `anchor/<size>/checkpoint` for good, and
//! in `cosigned` where the policy's quorum is met. Nothing waits for a witness. But a witness that has cosigned what this
//! log does not continue stops all signing: then the log's key stands for two histories.

mod client;
mod kept;
pub mod protocol;
mod status;
mod task;

use std::sync::Arc;
use std::time::Duration;

use colophon_signer::policy::TlogPolicy;

pub(crate) use self::kept::{COSIGNED, Kept};
pub use self::status::{WitnessCounts, WitnessStatus};
pub(crate) use self::task::Witnesses;
use crate::post::Post;

/// Which witnesses to ask, and how.
#[derive(Clone)]
pub struct Witnessing {
    /// The witnesses; those without a URL are not asked.
    pub policy: Arc<TlogPolicy>,
    /// Checkpoints are submitted at most this often.
    pub every: Duration,
    /// The way out of this process.
    pub post: Arc<dyn Post>,
}

impl std::fmt::Debug for Witnessing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let witnesses = self.policy.witnesses.len();
        write!(f, "Witnessing {{ witnesses: {witnesses}, every: {:?} }}", self.every)
    }
}

#[cfg(test)]
mod tests;
