//! The text messages of one direction of a WebSocket (RFC 6455), taken out of its bytes in whatever pieces they come.
//!
//! What is carried from piece to piece is bounded by [`MAX_EVENT`]; a longer message is skipped. A message that an extension
//! has changed (`permessage-deflate`) is told of, and not read.

use super::MAX_EVENT;

#[cfg(test)]
mod tests;

/// One message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message<'a> {
    /// A text, its fragments joined, its mask undone.
    Text(&'a [u8]),
    /// A binary message: of it nothing is kept.
    Binary,
    /// A text longer than [`MAX_EVENT`].
    TooLarge,
    /// A message that an extension has changed.
    Extended,
    /// What breaks the protocol: nothing after it can be read.
    Broken,
}

/// The state between two pieces.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    /// The frame's head as far as it has come: two bytes, then a longer length, then the mask.
    head: Vec<u8>,
    /// The frame whose payload is coming.
    frame: Option<Frame>,
    /// What the message under way is.
    kind: Kind,
    text: Vec<u8>,
    broken: bool,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    left: u64,
    mask: Option<[u8; 4]>,
    /// Bytes of it that have been unmasked.
    at: usize,
    control: bool,
    last: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    None,
    Text,
    Binary,
    TooLarge,
    Extended,
}

impl Splitter {
    /// Takes the next piece and hands out each message that it completes.
    pub(super) fn push(&mut self, mut piece: &[u8], mut each: impl FnMut(Message<'_>)) {
        while !piece.is_empty() && !self.broken {
            let Some(mut frame) = self.frame.take() else {
                let (byte, rest) = piece.split_at(1);
                piece = rest;
                self.head.extend_from_slice(byte);
                match begun(&self.head) {
                    Head::Partial => continue,
                    Head::Whole(first, frame) => {
                        self.head.clear();
                        if self.begin(first, frame) {
                            self.go_on(frame, &mut each);
                        } else {
                            self.broken = true;
                        }
                    }
                    Head::Broken => self.broken = true,
                }
                if self.broken {
                    (self.head, self.text) = (Vec::new(), Vec::new());
                    each(Message::Broken);
                }
                continue;
            };
            let length = usize::try_from(frame.left).unwrap_or(usize::MAX).min(piece.len());
            let (payload, rest) = piece.split_at(length);
            piece = rest;
            if !frame.control {
                self.keep(payload, &frame);
            }
            frame.at = (frame.at + length) % 4;
            frame.left -= length as u64;
            self.go_on(frame, &mut each);
        }
    }

    /// Whether a message has begun and not ended.
    pub(super) fn is_open(&self) -> bool {
        self.frame.is_some() || !self.head.is_empty() || self.kind != Kind::None
    }

    /// What the buffers have allocated.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.head.capacity() + self.text.capacity()
    }

    /// Takes note of a frame's first byte; whether the protocol allows it here.
    fn begin(&mut self, first: u8, frame: Frame) -> bool {
        let extended = first & 0x70 != 0;
        match first & 0x0f {
            0x0 => self.kind != Kind::None && !extended,
            opcode @ (0x1 | 0x2) if self.kind == Kind::None => {
                self.kind = match opcode {
                    _ if extended => Kind::Extended,
                    0x1 => Kind::Text,
                    _ => Kind::Binary,
                };
                true
            }
            0x8..=0xa => frame.last && frame.left <= 125 && !extended,
            _ => false,
        }
    }

    /// Keeps part of a text.
    fn keep(&mut self, payload: &[u8], frame: &Frame) {
        if self.kind != Kind::Text {
            return;
        }
        if self.text.len().saturating_add(payload.len()) > MAX_EVENT {
            self.kind = Kind::TooLarge;
            self.text = Vec::new();
            return;
        }
        let start = self.text.len();
        self.text.extend_from_slice(payload);
        if let (Some(mask), Some(added)) = (frame.mask, self.text.get_mut(start..)) {
            for (byte, key) in added.iter_mut().zip(mask.iter().cycle().skip(frame.at)) {
                *byte ^= key;
            }
        }
    }

    /// Keeps a frame that is not over, and hands out the message that ends with one that is.
    fn go_on(&mut self, frame: Frame, each: &mut impl FnMut(Message<'_>)) {
        if frame.left > 0 {
            self.frame = Some(frame);
            return;
        }
        if frame.control || !frame.last {
            return;
        }
        match std::mem::take(&mut self.kind) {
            Kind::Text => each(Message::Text(&self.text)),
            Kind::Binary => each(Message::Binary),
            Kind::TooLarge => each(Message::TooLarge),
            Kind::Extended => each(Message::Extended),
            Kind::None => {}
        }
        self.text.clear();
        self.text.shrink_to(KEEP);
    }
}

/// What the carried text may keep allocated between messages.
const KEEP: usize = 64 << 10;

/// A frame's head.
enum Head {
    Partial,
    /// Its first byte and what follows from the rest.
    Whole(u8, Frame),
    Broken,
}

/// Reads a frame's head, as far as it has come (RFC 6455 section 5.2).
fn begun(head: &[u8]) -> Head {
    let [first, second, rest @ ..] = head else { return Head::Partial };
    let long = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let masked = if second & 0x80 == 0 { 0 } else { 4 };
    if rest.len() < long + masked {
        return Head::Partial;
    }
    let (length, mask) = rest.split_at(long);
    let left = match long {
        0 => u64::from(second & 0x7f),
        _ => length.iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
    };
    if left >> 63 != 0 {
        return Head::Broken;
    }
    let (mask, control) = (mask.first_chunk().copied(), first & 0x08 != 0);
    Head::Whole(*first, Frame { left, mask, at: 0, control, last: first & 0x80 != 0 })
}
