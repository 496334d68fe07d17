//! What is known about the witnesses, for metrics.

use std::sync::{Arc, Mutex, PoisonError};

/// One witness, as far as this process knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WitnessCounts {
    /// The name of its key.
    pub name: String,
    /// Cosignatures that were verified.
    pub cosigned: u64,
    /// Submissions that gave none.
    pub failed: u64,
    /// The largest size it has cosigned for this process.
    pub size: u64,
    /// When it did, by this machine's clock, seconds since the epoch.
    pub at: u64,
    /// It says that it has seen another history of this log.
    pub contradicts: bool,
}

/// The witnesses as a whole; clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct WitnessStatus(Arc<Mutex<Status>>);

#[derive(Debug, Default)]
struct Status {
    witnesses: Vec<WitnessCounts>,
    quorum_size: u64,
}

impl WitnessStatus {
    pub(super) fn new(names: impl Iterator<Item = String>) -> WitnessStatus {
        let witnesses = names.map(|name| WitnessCounts { name, ..WitnessCounts::default() }).collect();
        WitnessStatus(Arc::new(Mutex::new(Status { witnesses, quorum_size: 0 })))
    }

    /// Every witness that is asked, in the policy's order.
    pub fn witnesses(&self) -> Vec<WitnessCounts> {
        self.status(|status| status.witnesses.clone())
    }

    /// The largest size for which the policy's quorum is met; 0 for none.
    pub fn quorum_size(&self) -> u64 {
        self.status(|status| status.quorum_size)
    }

    pub(super) fn update(&self, place: usize, change: impl FnOnce(&mut WitnessCounts)) {
        self.status(|status| status.witnesses.get_mut(place).map(change));
    }

    pub(super) fn met(&self, size: u64) {
        self.status(|status| status.quorum_size = status.quorum_size.max(size));
    }

    fn status<T>(&self, f: impl FnOnce(&mut Status) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
