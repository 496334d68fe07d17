//! What is known about the TSAs, for metrics.

use std::sync::{Arc, Mutex, PoisonError};

/// One TSA, as far as this process knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TsaCounts {
    /// The name under which its tokens are stored.
    pub name: String,
    /// Tokens that were verified and stored.
    pub tokens: u64,
    /// Requests that gave none.
    pub failed: u64,
    /// Leaves of the checkpoint that it dated last.
    pub size: u64,
    /// The time in its last token, by its clock, µs since the epoch; 0 for none.
    pub time: u64,
    /// That time is far from this machine's clock, so the token is no beacon.
    pub far_off: bool,
}

/// The TSAs as a whole; clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct AnchorStatus(Arc<Mutex<Vec<TsaCounts>>>);

impl AnchorStatus {
    pub(super) fn new(names: impl Iterator<Item = String>) -> AnchorStatus {
        let tsas = names.map(|name| TsaCounts { name, ..TsaCounts::default() }).collect();
        AnchorStatus(Arc::new(Mutex::new(tsas)))
    }

    /// Every TSA that is asked, in the order given.
    pub fn tsas(&self) -> Vec<TsaCounts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn update(&self, place: usize, change: impl FnOnce(&mut TsaCounts)) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(place).map(change);
    }
}
