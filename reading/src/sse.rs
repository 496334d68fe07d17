//! Server-sent events, split out of a stream in whatever pieces it comes (WHATWG HTML, 9.2.6 "Interpreting an event
//! stream").
//!
//! An event with one `data` line that lies within one piece is handed out in place, without a copy. What must be
//! carried from piece to piece is bounded by [`MAX_EVENT`]; an event beyond that is skipped, and the same ones are
//! skipped however the stream was cut.

use super::MAX_EVENT;

#[cfg(test)]
mod tests;

/// The longest event name kept, in bytes: names are only compared with known ones.
const MAX_NAME: usize = 64;
/// UTF-8's byte order mark.
const MARK: &[u8] = b"\xef\xbb\xbf";
/// What the carried buffers may keep allocated between events.
const KEEP: usize = 64 << 10;

/// One event of the stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event<'a> {
    /// The `event` field, empty if there was none, and the `data` lines joined by line feeds.
    Data { name: &'a [u8], data: &'a [u8] },
    /// An event larger than [`MAX_EVENT`].
    TooLarge,
}

/// The state between two pieces.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    /// How many bytes of a byte order mark were seen; its length once the stream has begun without one.
    mark: usize,
    /// The last byte was a carriage return: a line feed right after it belongs to it.
    after_cr: bool,
    /// Where in a line the stream stands.
    at: At,
    /// The start of a line whose end has not come; never a comment's.
    line: Vec<u8>,
    event: Pending,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    LineStart,
    Line,
    Comment,
}

/// The event being assembled.
#[derive(Debug, Default)]
struct Pending {
    name: Vec<u8>,
    /// The `data` lines so far, joined, but for the one that still lies in the piece at hand.
    data: Vec<u8>,
    has_data: bool,
    /// Bytes of its lines so far, comments left out.
    size: usize,
}

impl Splitter {
    /// Takes the next piece and hands out each event that it completes.
    pub(super) fn push<'a>(&mut self, mut piece: &'a [u8], mut each: impl FnMut(Event<'_>)) {
        if self.after_cr && !piece.is_empty() {
            piece = piece.strip_prefix(b"\n").unwrap_or(piece);
            self.after_cr = false;
        }
        piece = self.skip_mark(piece);
        // The only `data` line of the event, while it lies in this piece.
        let mut in_place: Option<&'a [u8]> = None;
        while !piece.is_empty() {
            let (part, rest) = piece.split_at(memchr::memchr2(b'\n', b'\r', piece).unwrap_or(piece.len()));
            self.count(part);
            match rest {
                [] => {
                    self.carry(part);
                    break;
                }
                [b'\r', after @ ..] => {
                    self.after_cr = after.is_empty();
                    piece = after.strip_prefix(b"\n").unwrap_or(after);
                }
                [_, after @ ..] => piece = after,
            }
            match self.at {
                At::LineStart => self.event.dispatch(in_place.take(), &mut each),
                At::Line => self.end_line(part, &mut in_place),
                At::Comment => {}
            }
            self.at = At::LineStart;
        }
        if let Some(data) = in_place {
            self.event.data.extend_from_slice(data);
        }
    }

    /// Whether an event has begun and not ended: a stream that ends here was cut.
    pub(super) fn is_open(&self) -> bool {
        self.event.size > 0
    }

    /// What the buffers have allocated.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.line.capacity() + self.event.data.capacity() + self.event.name.capacity()
    }

    /// Leaves out a byte order mark at the very start of the stream.
    fn skip_mark<'a>(&mut self, mut piece: &'a [u8]) -> &'a [u8] {
        while let (Some(expected), Some((first, rest))) = (MARK.get(self.mark), piece.split_first()) {
            if first == expected {
                self.mark += 1;
                piece = rest;
            } else {
                let seen = &MARK[..self.mark];
                self.mark = MARK.len();
                self.count(seen);
                self.carry(seen);
            }
        }
        piece
    }

    /// Notes that `part` continues the line.
    fn count(&mut self, part: &[u8]) {
        let Some(first) = part.first() else { return };
        if self.at == At::LineStart {
            self.at = if *first == b':' { At::Comment } else { At::Line };
        }
        if self.at == At::Line {
            self.event.size = self.event.size.saturating_add(part.len());
        }
    }

    /// Keeps the start of a line until its end comes.
    fn carry(&mut self, part: &[u8]) {
        if self.event.is_too_large() {
            self.line = Vec::new();
        } else if self.at == At::Line {
            self.line.extend_from_slice(part);
        }
    }

    /// Reads a line that ends with `part`.
    fn end_line<'a>(&mut self, part: &'a [u8], in_place: &mut Option<&'a [u8]>) {
        if self.event.is_too_large() {
            self.line = Vec::new();
            self.event.data = Vec::new();
        } else if self.line.is_empty() {
            match self.event.field(part) {
                Some(data) if !self.event.has_data => {
                    self.event.has_data = true;
                    *in_place = Some(data);
                }
                Some(data) => self.event.append(in_place.take(), data),
                None => {}
            }
        } else {
            self.line.extend_from_slice(part);
            if let Some(data) = self.event.field(&self.line) {
                self.event.append(in_place.take(), data);
            }
            self.line.clear();
            self.line.shrink_to(KEEP);
        }
    }
}

impl Pending {
    fn is_too_large(&self) -> bool {
        self.size > MAX_EVENT
    }

    /// Takes the fields that only set something; the value of a `data` field is handed back.
    fn field<'a>(&mut self, line: &'a [u8]) -> Option<&'a [u8]> {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (field, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => return Some(value),
            b"event" => {
                self.name.clear();
                self.name.extend(value.iter().take(MAX_NAME));
            }
            _ => {}
        }
        None
    }

    /// Adds a `data` line, after the one that was still in place.
    fn append(&mut self, in_place: Option<&[u8]>, data: &[u8]) {
        self.data.extend_from_slice(in_place.unwrap_or_default());
        if self.has_data {
            self.data.push(b'\n');
        }
        self.has_data = true;
        self.data.extend_from_slice(data);
    }

    /// A blank line: the event is complete. Without a `data` field there is none.
    fn dispatch(&mut self, in_place: Option<&[u8]>, each: &mut impl FnMut(Event<'_>)) {
        if self.is_too_large() {
            each(Event::TooLarge);
        } else if self.has_data {
            each(Event::Data { name: &self.name, data: in_place.unwrap_or(&self.data) });
        }
        self.name.clear();
        self.data.clear();
        self.data.shrink_to(KEEP);
        self.has_data = false;
        self.size = 0;
    }
}
