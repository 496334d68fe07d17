//! Lines of newline-delimited JSON, split out of a stream in whatever pieces it comes.

use super::MAX_EVENT;

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// Its bytes, without the line feed.
    Whole(&'a [u8]),
    /// A line longer than [`MAX_EVENT`].
    TooLarge,
}

/// The start of a line whose end has not come.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    line: Vec<u8>,
    too_large: bool,
}

impl Splitter {
    /// Takes the next piece and hands out each line that it completes.
    pub(super) fn push(&mut self, mut piece: &[u8], mut each: impl FnMut(Line<'_>)) {
        while let Some(end) = piece.iter().position(|byte| *byte == b'\n') {
            let (part, rest) = piece.split_at(end);
            piece = rest.strip_prefix(b"\n").unwrap_or(rest);
            if self.line.is_empty() && !self.too_large && part.len() <= MAX_EVENT {
                each(Line::Whole(part));
            } else {
                self.carry(part);
                self.finish(&mut each);
            }
        }
        self.carry(piece);
    }

    /// Hands out the last line, which needs no line feed.
    pub(super) fn finish(&mut self, mut each: impl FnMut(Line<'_>)) {
        if self.too_large {
            each(Line::TooLarge);
        } else if !self.line.is_empty() {
            each(Line::Whole(&self.line));
        }
        self.line.clear();
        self.too_large = false;
    }

    /// What the buffer has allocated.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.line.capacity()
    }

    fn carry(&mut self, part: &[u8]) {
        if self.too_large || self.line.len() + part.len() > MAX_EVENT {
            self.too_large = true;
            self.line = Vec::new();
        } else {
            self.line.extend_from_slice(part);
        }
    }
}
