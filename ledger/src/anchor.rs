//! Timestamps by others (RFC 3161): every so often the newest checkpoint goes to time stamping authorities (TSAs).
//!
//! Beside the keeper, [`Anchoring`] sends the hash of the checkpoint to every TSA, verifies what comes back against the
//! configured roots, and stores it for good in `anchor/<size>/<tsa>.tst`. What is dated cannot have been made later; and
//! the newest token is the beacon that statements name, so what names it cannot have been made earlier. Nothing waits for
//! a TSA: one that is down or slow is asked again, and counted.

mod client;
mod kept;
mod status;
mod task;

use std::sync::Arc;
use std::time::Duration;

use colophon_signer::rfc3161::Roots;

use tokio::sync::{mpsc, oneshot};

use crate::ledger::Ledger;
use crate::post::Post;

pub(crate) use self::kept::{Anchors, ENDING, SIZES, beacon_name, folder, imprint};
pub use self::status::{AnchorStatus, TsaCounts};
pub(crate) use self::task::{Anchoring, Demand};

/// Which TSAs to ask, and whom to believe.
#[derive(Clone)]
pub struct Timestamping {
    /// Their URLs. Each is asked for a token of every checkpoint that is dated.
    pub urls: Vec<String>,
    /// A token counts only where its TSA leads to one of these.
    pub roots: Roots,
    /// How often the newest checkpoint is dated.
    pub every: Duration,
    /// The way out of this process.
    pub post: Arc<dyn Post>,
}

impl std::fmt::Debug for Timestamping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Timestamping {{ urls: {:?}, every: {:?} }}", self.urls, self.every)
    }
}

/// What came of dating the newest checkpoint on demand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatedNow {
    /// Leaves of the checkpoint.
    pub size: u64,
    /// The TSAs that have dated it, by the names under which their tokens are stored.
    pub dated: Vec<String>,
    /// The others, with what went wrong.
    pub failed: Vec<(String, String)>,
}

impl Ledger {
    /// What is known about the TSAs, where there are some.
    pub fn timestamps(&self) -> Option<&AnchorStatus> {
        self.timestamping().map(|(status, _)| status)
    }

    /// The time of the token that statements name now, µs since the epoch.
    pub fn beacon_time(&self) -> Option<u64> {
        self.anchors().beacon_time()
    }

    /// Has the newest checkpoint dated now, and says by whom. `None` where no TSA is configured, or the ledger is closed.
    pub async fn timestamp_now(&self) -> Option<DatedNow> {
        dated_now(&self.timestamping()?.1).await
    }
}

/// `None` where whoever has heads dated has ended.
pub(crate) async fn dated_now(demands: &mpsc::Sender<Demand>) -> Option<DatedNow> {
    let (demand, done) = oneshot::channel();
    demands.send(demand).await.ok()?;
    done.await.ok()
}

#[cfg(test)]
pub(crate) mod tests;
