//! Sampling by randomness that comes into being after the record was committed to (DESIGN section 7): anybody can
//! re-compute who was drawn, and nobody could steer it.

use crate::merkle::{Hash, sha256};

/// The round of a statement begins this long after its interval's end, in s: time enough for the log to take it, and for
/// others to date it, before anybody knows the randomness.
pub const DELAY: u64 = 20 * 60;

/// When a public chain's rounds are made: round 1 at `genesis`, one every `period`, in s since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Time of round 1.
    pub genesis: u64,
    /// Seconds between rounds, at least 1.
    pub period: u64,
}

impl Schedule {
    /// The round that draws in a statement whose interval ends at `to`, µs: the first not before [`DELAY`] after it.
    pub fn round(&self, to: u64) -> u64 {
        let due = to.div_ceil(1_000_000).saturating_add(DELAY);
        due.saturating_sub(self.genesis).div_ceil(self.period.max(1)).saturating_add(1)
    }

    /// When a round is made, µs.
    pub fn time(&self, round: u64) -> u64 {
        let since = round.saturating_sub(1).saturating_mul(self.period);
        self.genesis.saturating_add(since).saturating_mul(1_000_000)
    }
}

/// Whether a record is drawn whatever the randomness is: all of its rule's are.
pub fn certain(threshold: u64) -> bool {
    threshold == u64::MAX
}

/// Whether a record is drawn: `u64be(H("colophon/draw/v1" ‖ randomness ‖ leaf hash)[0..8]) < threshold`, or it is
/// [`certain`].
pub fn drawn(randomness: &Hash, leaf_hash: &Hash, threshold: u64) -> bool {
    if certain(threshold) {
        return true;
    }
    let mut input = b"colophon/draw/v1".to_vec();
    input.extend(randomness);
    input.extend(leaf_hash);
    let digest = sha256(&input);
    digest.first_chunk().is_some_and(|first| u64::from_be_bytes(*first) < threshold)
}

#[cfg(test)]
mod tests;
