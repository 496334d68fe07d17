//! A line in the program's log for what may come up a thousand times a second.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lets the first one through, then one now and then.
pub(crate) struct Seldom {
    pause: Duration,
    /// When the last line was, and how many there would have been since.
    last: Mutex<Option<(Instant, u64)>>,
}

impl Seldom {
    /// At most one line in `pause`.
    pub(crate) const fn new(pause: Duration) -> Seldom {
        Seldom { pause, last: Mutex::new(None) }
    }

    /// Whether it is time for a line; then how many were left out since the one before.
    pub(crate) fn due(&self, now: Instant) -> Option<u64> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *last {
            Some((at, left_out)) if now.saturating_duration_since(*at) < self.pause => {
                *left_out += 1;
                None
            }
            before => {
                let left_out = before.map_or(0, |(_, left_out)| left_out);
                *before = Some((now, 0));
                Some(left_out)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_said_and_later_ones_are_counted() {
        let seldom = Seldom::new(Duration::from_secs(10));
        let begun = Instant::now();
        let at = |seconds| seldom.due(begun + Duration::from_secs(seconds));
        assert_eq!(
            [at(0), at(1), at(9), at(10), at(11), at(40)],
            [Some(0), None, None, Some(2), None, Some(1)]
        );
        // A clock that goes back says nothing more.
        assert_eq!(at(39), None);
    }
}
