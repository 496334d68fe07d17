//! The reader's own copies, read once and of any size: a raw body, or a saved HTTP/1.x message or `curl -i` output.

use colophon_receipt::canonical::MAX_TEXT;
use colophon_receipt::fields::BodyDigest;
use colophon_receipt::merkle::sha256;
use colophon_signer::drand::{Chain, Round};
use sha2::{Digest, Sha256};
use std::sync::Arc;

use crate::proof::{ProofVerifier, TokenReader};

use self::chunked::Dechunker;
pub(crate) use self::saved::SavedHead;
use self::saved::is_message;

mod chunked;
mod saved;

/// The end of a body that may have to be left out again: a closing SSE comment or trailers.
const TAIL: usize = 64 << 10;
/// A saved head is at most this long.
const MAX_HEAD: usize = 512 << 10;
/// Of a copy that is no longer all bytes are kept, for what is said in it.
const MAX_KEPT: usize = MAX_HEAD + MAX_TEXT;

/// What the reader has besides the receipt.
#[derive(Clone, Default)]
pub struct Bodies {
    /// The request as it was sent.
    pub request: Option<Body>,
    /// The response as it was received.
    pub response: Option<Body>,
    /// The request as an object of a client library, in JSON.
    pub request_message: Option<Vec<u8>>,
    /// The answer likewise.
    pub message: Option<Vec<u8>>,
    /// The nonce that was sent as `Colophon-Client-Nonce`.
    pub nonce: Option<Vec<u8>>,
    /// The canonical text of the policy that was in force.
    pub policy: Option<Vec<u8>>,
    /// The file of the model certificate that the record names.
    pub model: Option<Vec<u8>>,
    /// The file of the model certificate that a proof's statement names, where that is another.
    pub circuit: Option<Vec<u8>>,
    /// The round of public randomness that the statement names.
    pub round: Option<Round>,
    /// Its chain, if not quicknet.
    pub chain: Option<Chain>,
    /// Who looks at proofs for the reader.
    pub prover: Option<Arc<dyn ProofVerifier>>,
    /// Who reads token ids for the reader.
    pub tokens: Option<Arc<dyn TokenReader>>,
}

/// The side that a copy belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// A request.
    Request,
    /// A response.
    Response,
}

/// One copy: the digests of everything in it that may be the body.
#[derive(Clone, Debug)]
pub struct Body {
    pub(crate) size: u64,
    pub(crate) readings: Vec<Reading>,
    pub(crate) head: Option<SavedHead>,
    /// Its bytes, and where in them a body may begin; empty where there are too many.
    kept: Vec<u8>,
    begins: usize,
}

/// One way to read a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) how: &'static str,
    pub(crate) body: BodyDigest,
    /// The closing comment that this reading leaves out.
    pub(crate) comment: Option<Vec<u8>>,
}

impl Body {
    /// Reads a copy that is in memory.
    pub fn from_bytes(side: Side, bytes: &[u8]) -> Body {
        let mut reader = BodyReader::new(side);
        reader.update(bytes);
        reader.finish()
    }

    /// The recorded body, where it is in the copy as it is. Not of one that is de-chunked first, or longer than 1 MiB.
    pub(crate) fn recorded(&self, recorded: &BodyDigest) -> Option<&[u8]> {
        let length = usize::try_from(recorded.size).ok()?;
        let parts = [0, self.begins].into_iter().filter_map(|from| self.kept.get(from..)?.get(..length));
        parts.into_iter().find(|part| sha256(part) == recorded.digest)
    }
}

/// Reads a copy piece by piece; memory stays bounded.
pub struct BodyReader {
    side: Side,
    kept: Vec<u8>,
    begins: usize,
    raw: Tail,
    message: Message,
}

enum Message {
    /// Not yet known whether there is a head.
    Head(Vec<u8>),
    /// After the head.
    Body { head: SavedHead, plain: Tail, chunked: Box<Dechunker> },
    /// There is none.
    Raw,
}

impl BodyReader {
    /// Nothing read yet.
    pub fn new(side: Side) -> BodyReader {
        BodyReader {
            side,
            kept: Vec::new(),
            begins: 0,
            raw: Tail::default(),
            message: Message::Head(Vec::new()),
        }
    }

    /// Reads on.
    pub fn update(&mut self, bytes: &[u8]) {
        let room = (MAX_KEPT + 1).saturating_sub(self.kept.len());
        self.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.raw.update(bytes);
        match &mut self.message {
            Message::Raw => {}
            Message::Body { plain, chunked, .. } => {
                plain.update(bytes);
                chunked.update(bytes);
            }
            Message::Head(start) => {
                start.extend_from_slice(bytes);
                if !is_message(self.side, start) {
                    self.message = Message::Raw;
                    return;
                }
                match SavedHead::parse(self.side, start) {
                    Ok(None) if start.len() <= MAX_HEAD => {}
                    Ok(Some((head, rest))) => {
                        self.begins = start.len() - rest.len();
                        let (mut plain, mut chunked) = (Tail::default(), Box::new(Dechunker::new()));
                        plain.update(rest);
                        chunked.update(rest);
                        self.message = Message::Body { head, plain, chunked };
                    }
                    _ => self.message = Message::Raw,
                }
            }
        }
    }

    /// The end of the copy.
    pub fn finish(self) -> Body {
        let size = self.raw.len;
        let mut readings = Vec::new();
        self.raw.readings(&[], ["the file", "the file without its closing comment", ""], &mut readings);
        let mut saved = None;
        if let Message::Body { mut head, plain, chunked } = self.message {
            let names = head.trailer_names();
            let how = [
                "the saved message's body",
                "the saved message's body without its closing comment",
                "the saved message's body without its trailers",
            ];
            let written_after = plain.readings(&names, how, &mut readings);
            if let Some((body, trailers)) = chunked.finish() {
                let how = [
                    "the saved message's body, de-chunked",
                    "the saved message's body, de-chunked, without its closing comment",
                    "",
                ];
                body.readings(&[], how, &mut readings);
                head.add_trailers(&trailers);
            } else if let Some(trailers) = written_after {
                head.add_trailers(&trailers);
            }
            saved = Some(head);
        }
        if self.side == Side::Request {
            // Nothing is ever appended to a request.
            readings.retain(|reading| reading.comment.is_none());
        }
        let kept = if size > MAX_KEPT as u64 { Vec::new() } else { self.kept };
        Body { size, readings, head: saved, kept, begins: self.begins }
    }
}

/// A digest that lags behind, so that the last bytes can be left out of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tail {
    hash: Sha256,
    hashed: u64,
    len: u64,
    window: Vec<u8>,
}

impl Tail {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.len += bytes.len() as u64;
        self.window.extend_from_slice(bytes);
        if self.window.len() > 2 * TAIL {
            let old = self.window.len() - TAIL;
            self.hash.update(&self.window[..old]);
            self.hashed += old as u64;
            self.window.drain(..old);
        }
    }

    /// The digest of everything but what comes after `keep` bytes of the window.
    fn digest(&self, keep: usize) -> BodyDigest {
        let digest = self.hash.clone().chain_update(&self.window[..keep]).finalize().into();
        BodyDigest { digest, size: self.hashed + keep as u64 }
    }

    /// Adds the readings of these bytes: all of them, without a closing SSE comment, without trailers of these names
    /// (`curl -i` writes them after the body). Returns the trailers.
    fn readings(
        &self,
        trailers: &[String],
        how: [&'static str; 3],
        out: &mut Vec<Reading>,
    ) -> Option<Vec<u8>> {
        let mut add = |how, keep: usize, comment: Option<&[u8]>| {
            out.push(Reading { how, body: self.digest(keep), comment: comment.map(<[u8]>::to_vec) });
        };
        add(how[0], self.window.len(), None);
        if let Some(keep) = before_comment(&self.window) {
            add(how[1], keep, Some(&self.window[keep..]));
        }
        let keep = before_trailers(&self.window, trailers)?;
        add(how[2], keep, None);
        if let Some(shorter) = before_comment(&self.window[..keep]) {
            add(how[1], shorter, Some(&self.window[shorter..keep]));
        }
        Some(self.window[keep..].to_vec())
    }
}

/// Where the closing comment `: colophon …`, asked for by `Colophon-Tail: comment`, begins.
fn before_comment(window: &[u8]) -> Option<usize> {
    const START: &[u8] = b": colophon ";
    let mut at = window.len();
    let mut found = None;
    // The comment is one or more whole lines at the very end; blank lines around it belong to it.
    while let Some(line_end) = window[..at].strip_suffix(b"\n").map(<[u8]>::len) {
        let start =
            window[..line_end].iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        let line = window[start..line_end].trim_ascii_end();
        if line.starts_with(START) {
            found = Some(start);
        } else if !line.is_empty() || found.is_some() {
            break;
        }
        at = start;
    }
    found
}

/// Where the trailers begin: header lines of these names up to the very end. The first may follow the body's last byte
/// without a line break.
fn before_trailers(window: &[u8], names: &[String]) -> Option<usize> {
    let is_trailer = |line: &[u8]| {
        names.iter().any(|name| {
            line.split_at_checked(name.len()).is_some_and(|(start, rest)| {
                start.eq_ignore_ascii_case(name.as_bytes()) && rest.starts_with(b":")
            })
        })
    };
    let mut at = window.len();
    let mut found = None;
    while let Some(line_end) = window[..at].strip_suffix(b"\n").map(<[u8]>::len) {
        let start =
            window[..line_end].iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        let line = &window[start..line_end];
        if let Some(inside) = (0..line.len()).find(|inside| is_trailer(&line[*inside..])) {
            found = Some(start + inside);
            if inside > 0 {
                break;
            }
        } else if !line.trim_ascii().is_empty() || found.is_some() {
            break;
        }
        at = start;
    }
    found
}

#[cfg(test)]
mod tests;
