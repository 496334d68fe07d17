//! The event of a stream that was read last, to know the next one by.
//!
//! Most events of a stream are the same but for one text, which this crate skips. Such an event says what the one before
//! it said, so comparing it with that one is all the reading it needs. Whether hearing it again changes anything is for
//! [`super::reading`] to say, which keeps only events of which it does not.

use super::scan::{SKIPPED_TEXTS, Skipped, text_length};

#[cfg(test)]
mod tests;

/// The longest event kept, in bytes: those of a stream have some 200 to 400, and each open stream keeps one.
const MAX_KEPT: usize = 1024;

/// An event, or none.
#[derive(Debug, Default)]
pub(super) struct Alike {
    name: Vec<u8>,
    /// Empty where none is kept: an event has at least a brace.
    data: Vec<u8>,
    /// Where in `data` the skipped texts lie, in order.
    texts: Skipped,
}

impl Alike {
    /// Whether this event differs from the one kept in skipped texts only, and is as sound a JSON text as that one.
    pub(super) fn is(&self, name: &[u8], data: &[u8]) -> bool {
        if self.data.is_empty() || self.name != name {
            return false;
        }
        let (mut kept, mut rest) = (0, data);
        for (start, end) in self.texts.iter() {
            // It ends with the text's opening quote.
            let Some(after) = self.data.get(kept..start).and_then(|fixed| rest.strip_prefix(fixed)) else {
                return false;
            };
            let Ok((length, _)) = text_length(after) else { return false };
            rest = after.get(length..).unwrap_or_default();
            kept = end;
        }
        self.data.get(kept..) == Some(rest)
    }

    /// Keeps an event that was read to its end, if it is not too long and has not too many texts.
    pub(super) fn keep(&mut self, name: &[u8], data: &[u8], texts: Skipped) {
        self.forget();
        if name.len() + data.len() <= MAX_KEPT && texts.len() <= SKIPPED_TEXTS {
            self.name.extend_from_slice(name);
            self.data.extend_from_slice(data);
            self.texts = texts;
        }
    }

    /// The data of the event kept.
    #[cfg(test)]
    pub(super) fn kept(&self) -> &[u8] {
        &self.data
    }

    /// Keeps none.
    pub(super) fn forget(&mut self) {
        self.name.clear();
        self.data.clear();
    }
}
