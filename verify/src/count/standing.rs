//! Whether a count is the whole account of the interval asked for.

use super::Count;

/// How an account stands. There is no short way to ask: an account of nothing has no fault either.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Every chain is whole, every sidecar's account without a hole, and statements are about all of the interval.
    Unbroken,
    /// Nothing is wrong with the statements, but none is about these parts of the interval: starts and ends in µs, in their order,
    /// none overlapping. Without any statement it is one part, the interval; 0 and `u64::MAX` are its open edges.
    NotCovered(Vec<(u64, u64)>),
    /// A statement is missing or contradicts, or a sidecar's account has a hole: see `faults`, `more_faults` and the `breaks` of
    /// each sidecar.
    Broken,
}

impl Count {
    /// How the account stands against the interval that was asked for.
    ///
    /// An open edge (0, `u64::MAX`) asks for what there is, so nothing is missing there; where both are open, nor is anything
    /// between two sidecars, of which each has its own account.
    pub fn standing(&self) -> Standing {
        let whole = self.faults.is_empty()
            && self.more_faults == 0
            && self.sidecars.iter().all(|one| one.breaks.is_empty());
        match (whole, self.not_covered()) {
            (false, _) => Standing::Broken,
            (true, none) if none.is_empty() => Standing::Unbroken,
            (true, parts) => Standing::NotCovered(parts),
        }
    }

    fn not_covered(&self) -> Vec<(u64, u64)> {
        let (from, to) = self.asked;
        let mut told: Vec<(u64, u64)> = self.sidecars.iter().map(|one| (one.from, one.to)).collect();
        told.sort_unstable();
        let (Some(first), Some(last)) = (told.first(), told.iter().map(|(_, to)| *to).max()) else {
            return vec![(from, to)];
        };
        let open = (from == 0, to == u64::MAX);
        if open == (true, true) {
            return Vec::new();
        }
        let mut covered = if open.0 { first.0 } else { from };
        let end = if open.1 { last } else { to };
        let mut parts = Vec::new();
        for (from, to) in told {
            if from > covered {
                parts.push((covered, from.min(end)));
            }
            covered = covered.max(to);
        }
        if covered < end {
            parts.push((covered, end));
        }
        parts
    }
}
