//! What a rule draws of its exchanges: at once by the proxy's own randomness, or later by everybody's.

use colophon_policies::{Decision, Draw};
use colophon_receipt::Level;
use colophon_receipt::record::Seed;

/// What is drawn of an exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sampled {
    /// Threshold and target for the record's leaf: evidence has to follow, "not done" included.
    pub(crate) leaf: Option<(u64, Level)>,
    /// How the rule samples, if it does.
    pub(crate) how: Option<Draw>,
}

impl Sampled {
    /// Draws for a decision, and raises its level where the draw says so and that level can be given at once. Without
    /// randomness what is drawn locally is drawn.
    pub(crate) fn of(decision: &mut Decision, random: impl FnOnce() -> Option<Seed>) -> Sampled {
        let certain = Sampled::follows(decision);
        let Some(sample) = decision.actions.sample.filter(|_| certain.is_none()) else {
            return Sampled { leaf: certain, how: None };
        };
        // What is refused has nothing to prove, and its proof must not stand for the rule's.
        if decision.refusal.is_some() {
            return Sampled::default();
        }
        let how = Some(sample.draw);
        let leaf = match sample.draw {
            Draw::PostCommit => Some((sample.threshold, sample.to)),
            Draw::Local => {
                let random = random().and_then(|seed| seed.first_chunk().copied());
                let below = |random: [u8; 8]| u64::from_be_bytes(random) < sample.threshold;
                let drawn = sample.threshold == u64::MAX || random.is_none_or(below);
                if drawn && sample.to <= Level::Sign {
                    decision.level = decision.level.max(sample.to);
                    decision.asked = decision.asked.max(sample.to);
                    decision.due = decision.due.max(sample.to);
                }
                // Of these all are drawn: who they are was decided here, and the leaf says no more than that.
                (drawn && decision.level < sample.to).then_some((u64::MAX, sample.to))
            }
        };
        Sampled { leaf, how }
    }

    /// A proof comes after the answer, which is signed meanwhile: the leaf says that one has to follow.
    fn follows(decision: &mut Decision) -> Option<(u64, Level)> {
        if decision.level != Level::Zk {
            return None;
        }
        decision.level = decision.at_once();
        if decision.refusal.is_some() {
            return None;
        }
        let reason = match decision.level {
            Level::Tee => "the answer is attested at once, and a proof follows",
            _ => "the answer is signed at once, and a proof follows",
        };
        decision.why_lowered = Some(match decision.why_lowered.take() {
            Some(first) => format!("{first}; {reason}").into(),
            None => reason.into(),
        });
        Some((u64::MAX, Level::Zk))
    }
}

#[cfg(test)]
mod tests;
