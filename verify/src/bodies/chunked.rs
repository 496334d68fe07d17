//! Undoes HTTP/1.1 chunked framing (RFC 9112 section 7.1), for messages that were saved as they stood on the wire.

use super::{Tail, Trailers};

/// Reads chunks piece by piece; anything that is not chunked ends it.
#[derive(Debug)]
pub(super) struct Dechunker {
    state: State,
    line: Vec<u8>,
    body: Tail,
    trailers: Vec<u8>,
    odd: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size,
    Data(u64),
    DataEnd,
    Trailers,
    Done,
    NotChunked,
}

/// A chunk-size line or a trailer line is at most this long.
const MAX_LINE: usize = 16 << 10;
/// All trailers together.
const MAX_TRAILERS: usize = 64 << 10;

impl Dechunker {
    pub(super) fn new() -> Dechunker {
        Dechunker {
            state: State::Size,
            line: Vec::new(),
            body: Tail::default(),
            trailers: Vec::new(),
            odd: None,
        }
    }

    pub(super) fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.state {
                State::NotChunked => return,
                State::Done => self.state = State::NotChunked,
                State::Data(left) => {
                    let take = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
                    self.body.update(&bytes[..take]);
                    bytes = &bytes[take..];
                    let left = left - take as u64;
                    self.state = if left == 0 { State::DataEnd } else { State::Data(left) };
                }
                _ => {
                    let newline = bytes.iter().position(|byte| *byte == b'\n');
                    let take = newline.map_or(bytes.len(), |at| at + 1);
                    self.line.extend_from_slice(&bytes[..take]);
                    bytes = &bytes[take..];
                    if self.line.len() > MAX_LINE {
                        self.state = State::NotChunked;
                    } else if newline.is_some() {
                        let line = std::mem::take(&mut self.line);
                        self.state = self.end_of_line(&line);
                    }
                }
            }
        }
    }

    fn end_of_line(&mut self, line: &[u8]) -> State {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        match self.state {
            State::DataEnd if text.is_empty() => State::Size,
            State::Size => {
                let hex = text.len() <= 15 && !text.is_empty() && text.iter().all(u8::is_ascii_hexdigit);
                match std::str::from_utf8(text).ok().and_then(|text| u64::from_str_radix(text, 16).ok()) {
                    Some(0) if hex => State::Trailers,
                    Some(size) if hex => State::Data(size),
                    _ => {
                        // They could say anything, and no digest is over them.
                        let size =
                            text.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii_end();
                        if size.len() < text.len() && size.iter().all(u8::is_ascii_hexdigit) {
                            self.odd = Some("its chunks have extensions, which no digest covers");
                        }
                        State::NotChunked
                    }
                }
            }
            State::Trailers if text.is_empty() => State::Done,
            State::Trailers if self.trailers.len() + line.len() <= MAX_TRAILERS => {
                self.trailers.extend_from_slice(line);
                State::Trailers
            }
            _ => State::NotChunked,
        }
    }

    /// Why a message that is chunked was not read.
    pub(super) fn odd(&self) -> Option<&'static str> {
        self.odd
    }

    /// The body and its trailers, if everything was chunked and the end was there.
    pub(super) fn finish(self) -> Option<(Tail, Trailers)> {
        let trailers = match self.trailers.is_empty() {
            true => Some(Trailers::default()),
            false => Trailers::parse(&self.trailers),
        };
        trailers.filter(|_| self.state == State::Done).map(|trailers| (self.body, trailers))
    }
}
