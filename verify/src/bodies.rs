//! The reader's own copies, read once and of any size: a raw body, or a saved HTTP/1.x message or `curl -i` output.

use colophon_receipt::canonical::MAX_TEXT;
use colophon_receipt::fields::BodyDigest;
use colophon_receipt::merkle::sha256;
use colophon_signer::drand::{Chain, Round};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::proof::{ProofVerifier, TokenReader};

use self::chunked::Dechunker;
pub(crate) use self::saved::SavedHead;
use self::saved::is_message;
pub(crate) use self::trailers::Trailers;

mod chunked;
mod saved;
mod trailers;

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
    /// Why it was not de-chunked although its head says that it is chunked: something is in it that no body has.
    pub(crate) odd: Option<&'static str>,
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
    /// The trailers that it leaves out.
    pub(crate) trailers: Trailers,
}

impl Reading {
    /// How the copy was read, and what was left out of it.
    pub(crate) fn told(&self) -> String {
        let names: Vec<&str> = self.trailers.names().collect();
        let trailers = (!names.is_empty()).then(|| format!("its trailers ({})", names.join(", ")));
        let comment = self.comment.as_ref().map(|_| "its closing comment".to_owned());
        let left_out: Vec<String> = comment.into_iter().chain(trailers).collect();
        match left_out.is_empty() {
            true => self.how.to_owned(),
            false => format!("{} without {}", self.how, left_out.join(" and ")),
        }
    }
}

impl Body {
    /// Reads a copy that is in memory.
    pub fn from_bytes(side: Side, bytes: &[u8]) -> Body {
        let mut reader = BodyReader::new(side);
        reader.update(bytes);
        reader.finish()
    }

    /// What of it to tell when nothing in it is the recorded body: without its head, if it has one.
    pub(crate) fn told(&self) -> (&'static str, BodyDigest) {
        let plain = self.readings.iter().rfind(|reading| reading.comment.is_none());
        let what = if self.head.is_some() { "your copy's body" } else { "your copy" };
        (what, plain.map_or(BodyDigest { digest: [0; 32], size: self.size }, |reading| reading.body))
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
    Body { head: Box<SavedHead>, plain: Tail, chunked: Box<Dechunker> },
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
                        self.message = Message::Body { head: Box::new(head), plain, chunked };
                    }
                    _ => self.message = Message::Raw,
                }
            }
        }
    }

    /// The end of the copy.
    pub fn finish(self) -> Body {
        let size = self.raw.len;
        let (mut readings, mut odd) = (Vec::new(), None);
        self.raw.readings("the file", &Trailers::default(), &mut readings);
        let mut saved = None;
        if let Message::Body { head, plain, chunked } = self.message {
            plain.readings("the saved message's body", &Trailers::default(), &mut readings);
            plain.before_trailers(&head.trailer_names(), "the saved message's body", &mut readings);
            // What only looks like chunks is the body itself.
            if head.is_chunked() {
                odd = chunked.odd();
                if let Some((body, trailers)) = chunked.finish() {
                    body.readings("the saved message's de-chunked body", &trailers, &mut readings);
                }
            }
            saved = Some(*head);
        }
        if self.side == Side::Request {
            // Nothing is ever appended to a request.
            readings.retain(|reading| reading.comment.is_none());
        }
        let kept = if size > MAX_KEPT as u64 { Vec::new() } else { self.kept };
        Body { size, readings, head: saved, odd, kept, begins: self.begins }
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

    /// Adds the readings of these bytes: all of them, and without a closing SSE comment.
    fn readings(&self, how: &'static str, after: &Trailers, out: &mut Vec<Reading>) {
        self.readings_to(self.window.len(), how, after, out);
    }

    /// Those without trailers of these names.
    fn before_trailers(&self, names: &BTreeSet<String>, how: &'static str, out: &mut Vec<Reading>) {
        let end = trailers::begin(&self.window, names);
        let parsed = end.and_then(|end| Some((end, Trailers::parse(&self.window[end..])?)));
        if let Some((end, trailers)) = parsed {
            self.readings_to(end, how, &trailers, out);
        }
    }

    fn readings_to(&self, end: usize, how: &'static str, after: &Trailers, out: &mut Vec<Reading>) {
        let mut add = |keep: usize, comment: Option<&[u8]>| {
            let (body, trailers) = (self.digest(keep), after.clone());
            out.push(Reading { how, body, comment: comment.map(<[u8]>::to_vec), trailers });
        };
        add(end, None);
        if let Some(keep) = before_comment(&self.window[..end]) {
            add(keep, Some(&self.window[keep..end]));
        }
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

#[cfg(test)]
mod tests;
