//! What is added to an answer: commitment headers, RFC 9421 signatures, trailers and the comment tail (DESIGN section 5).

use crate::app::App;
use crate::facts::Facts;
use bytes::Bytes;
use colophon_ledger::SignedHead;
use colophon_receipt::fields::BodyDigest;
use colophon_receipt::{Hash, Level};
use colophon_signer::httpsig::{
    HttpSigError, KeptSignature, Line, SignatureBase, Value, Writer, signature_value,
};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use std::fmt::Write as _;
use std::time::Duration;

/// Where the request's digest is told.
pub const REQUEST_DIGEST: HeaderName = HeaderName::from_static("colophon-request-digest");
/// The record's id and what is promised of it.
pub const RECORD: HeaderName = HeaderName::from_static("colophon-record");
/// The newest checkpoint.
pub const LOG: HeaderName = HeaderName::from_static("colophon-log");
/// Where the receipt will be.
pub const RECEIPT: HeaderName = HeaderName::from_static("colophon-receipt");
/// A client's nonce, bound into record and signature.
pub const CLIENT_NONCE: HeaderName = HeaderName::from_static("colophon-client-nonce");
/// A client's wish for the end of a stream: `comment`.
pub const TAIL: HeaderName = HeaderName::from_static("colophon-tail");
/// RFC 9530.
pub const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
/// RFC 9421: the signatures.
pub const SIGNATURE: HeaderName = HeaderName::from_static("signature");
/// RFC 9421: what they cover.
pub const SIGNATURE_INPUT: HeaderName = HeaderName::from_static("signature-input");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// What the trailers of a signed or committed stream are called.
pub const TRAILER_NAMES: HeaderValue =
    HeaderValue::from_static("Content-Digest, Colophon-Record, Signature-Input, Signature");

/// Header lines that an answer gets at most.
const ADDED: usize = 9;

/// Bytes of `Colophon-Record` at most, but for the shard's name and the promise.
const RECORD_VALUE: usize = 112;

/// `Colophon-Log` for a checkpoint.
pub fn log_value(head: &SignedHead) -> Value {
    let mut value = Value::with_capacity(256);
    value.push(&format!("\"{}\";size={};root=:", head.checkpoint.origin, head.checkpoint.size));
    value.push_base64(&head.checkpoint.root);
    value.push(":;sig=:");
    value.push_base64(&head.signature);
    value.push(":");
    value
}

/// `Colophon-Log` in both forms, made once a checkpoint.
pub struct LogValue {
    /// As a header; empty while no checkpoint of the log is known.
    pub header: HeaderValue,
    /// As signatures cover it.
    signed: Value,
}

impl LogValue {
    /// That of a checkpoint.
    pub fn new(head: &SignedHead) -> LogValue {
        if !head.is_known() {
            return LogValue { header: HeaderValue::from_static(""), signed: Value::default() };
        }
        let signed = log_value(head);
        // An origin is visible ASCII (checked when the log is opened); an empty value would only be the lack of gossip.
        let header = HeaderValue::try_from(signed.text()).unwrap_or(HeaderValue::from_static(""));
        LogValue { header, signed }
    }
}

/// What is told of one exchange, as header values.
pub struct Stamp<'a> {
    /// This process.
    pub app: &'a App,
    /// The exchange.
    pub facts: &'a Facts,
    /// Status of the answer.
    pub status: u16,
    /// `Content-Type` of the answer, if it can be covered.
    pub content_type: Option<&'a str>,
    /// `Content-Encoding` of the answer.
    pub content_encoding: Option<&'a str>,
    /// Digest of the whole request, once it is known.
    pub request: Option<BodyDigest>,
    /// Level granted.
    pub level: Level,
    /// `Colophon-Log`, the same in every part of an answer.
    pub log: &'a LogValue,
}

/// A closing: what the end of a stream says.
pub struct Closing {
    /// As trailers.
    pub trailers: HeaderMap,
    /// As a comment line of an event stream.
    pub comment: String,
    /// For the receipt.
    pub signature: Option<KeptSignature>,
}

impl Stamp<'_> {
    /// `Colophon-Record`; the leaf hash once it is known.
    fn record_value(&self, leaf: Option<&Hash>) -> Value {
        let mut value =
            Value::with_capacity(RECORD_VALUE + self.facts.shard.name.len() + self.app.promise.len());
        value.push("\"");
        value.push_id(&self.facts.id_text);
        // The formatting machinery would cost more than the rest.
        for part in ["\";level=", self.level.as_str(), ";shard=\"", &self.facts.shard.name, "\""] {
            value.push(part);
        }
        if let Some(leaf) = leaf {
            value.push(";leaf=:");
            value.push_leaf(leaf);
            value.push(":");
        }
        value.push(&self.app.promise);
        value
    }

    /// Stamps an answer whose body is known: all digests, and the signature if the level asks for one.
    pub fn whole(&self, headers: &mut HeaderMap, body: &BodyDigest, leaf: &Hash) -> Option<KeptSignature> {
        headers.reserve(ADDED);
        let content_digest = Value::response_digest(&body.digest);
        let record = self.record_value(Some(leaf));
        let request_digest = self.request_value();
        let signature = self.sign("colophon-v1", |base| {
            base.value(Line::ContentDigest, &content_digest)?;
            request_digest.as_ref().map(|digest| base.value(Line::RequestDigest, digest)).transpose()?;
            base.value(Line::Record, &record)
        });
        insert(headers, CONTENT_DIGEST, content_digest);
        self.common(headers, request_digest, record);
        self.attach(headers, "colophon", signature)
    }

    /// Stamps the head of a stream: its end is not known yet.
    pub fn opening(&self, headers: &mut HeaderMap, trailers: bool) -> Option<KeptSignature> {
        headers.reserve(ADDED);
        let record = self.record_value(None);
        let request_digest = self.request_value();
        let signature = self.sign("colophon-v1-open", |base| {
            request_digest.as_ref().map(|digest| base.value(Line::RequestDigest, digest)).transpose()?;
            base.value(Line::Record, &record)
        });
        self.common(headers, request_digest, record);
        if trailers {
            headers.append(header::TRAILER, TRAILER_NAMES);
        }
        self.attach(headers, "colophon", signature)
    }

    /// What the end of a stream says, the record's leaf included.
    pub fn closing(&self, body: &BodyDigest, leaf: &Hash) -> Closing {
        let content_digest = Value::response_digest(&body.digest);
        let record = self.record_value(Some(leaf));
        let request_digest = self.request_value();
        // Two of these stand in the trailer section (RFC 9421 section 2.1, `tr`): the header section has another record.
        let signature = self.sign("colophon-v1-close", |base| {
            base.value(Line::TrailerContentDigest, &content_digest)?;
            request_digest.as_ref().map(|digest| base.value(Line::RequestDigest, digest)).transpose()?;
            base.value(Line::TrailerRecord, &record)
        });
        let mut trailers = HeaderMap::with_capacity(4);
        insert(&mut trailers, CONTENT_DIGEST, content_digest);
        insert(&mut trailers, RECORD, record);
        let signature = self.attach(&mut trailers, "colophon-close", signature);
        let mut comment = String::from(": colophon");
        for (name, value) in &trailers {
            // Built above from ASCII; JSON strings keep it to one line.
            let value = serde_json::Value::from(value.to_str().unwrap_or_default());
            let _ = write!(comment, "{}\"{name}\":{value}", if comment.ends_with('n') { " {" } else { "," });
        }
        comment.push_str("}\n\n");
        Closing { trailers, comment, signature }
    }

    fn request_value(&self) -> Option<Value> {
        self.request.as_ref().map(|body| Value::request_digest(&body.digest))
    }

    fn common(&self, headers: &mut HeaderMap, request_digest: Option<Value>, record: Value) {
        if let Some(digest) = request_digest {
            insert(headers, REQUEST_DIGEST, digest);
        }
        insert(headers, RECORD, record);
        if !self.log.header.is_empty() {
            headers.insert(LOG, self.log.header.clone());
        }
        let token = self.app.ledger.token(&self.facts.id);
        let receipt = ["\"/v1/colophon/receipts/", &self.facts.id_text, "?token=", &token, "\""].concat();
        insert_text(headers, RECEIPT, receipt);
    }

    /// Signs what `cover` writes between the answer's own components and the request's. `None` at levels without a
    /// signature, and where the request's digest is missing.
    fn sign(
        &self,
        tag: &str,
        cover: impl FnOnce(&mut Writer) -> Result<(), HttpSigError>,
    ) -> Option<Result<Signed, HttpSigError>> {
        let (shard, now) = (&self.facts.shard, self.app.ledger.now());
        // A stream may outlive the key that signed its head; a signature by an expired key would count as a bad one.
        if self.level < Level::Sign || now >= shard.not_after || self.request.is_none() {
            return None;
        }
        let write = || {
            let mut base = Writer::default();
            base.text(Line::Status, itoa::Buffer::new().format(self.status))?;
            let heads =
                [(Line::ContentType, self.content_type), (Line::ContentEncoding, self.content_encoding)];
            for (line, value) in heads {
                value.map(|value| base.text(line, value)).transpose()?;
            }
            cover(&mut base)?;
            base.value(Line::Log, &self.log.signed)?;
            base.text(Line::Method, self.facts.method.as_str())?;
            base.text(Line::Path, self.facts.path())?;
            base.text(Line::Query, &self.facts.query_component)?;
            let nonce = self.facts.nonce.as_ref().and_then(|value| value.to_str().ok()).map(str::trim);
            nonce.map(|nonce| base.text(Line::ClientNonce, nonce)).transpose()?;
            Ok(base.finish(now / 1_000_000, &shard.key_id, tag))
        };
        Some(write().map(|(base, kept)| {
            let signature = shard.signer.sign(base.as_bytes());
            Signed { base, kept: KeptSignature { base: kept, signature } }
        }))
    }

    fn attach(
        &self,
        headers: &mut HeaderMap,
        label: &str,
        signed: Option<Result<Signed, HttpSigError>>,
    ) -> Option<KeptSignature> {
        match signed? {
            Err(error) => {
                // What cannot be covered was looked at before the level was granted.
                tracing::error!(id = self.facts.id_text, %error, "an answer leaves without its signature");
                None
            }
            Ok(Signed { base, kept }) => {
                append(headers, SIGNATURE_INPUT, base.signature_input(label));
                append(headers, SIGNATURE, signature_value(label, &kept.signature));
                Some(kept)
            }
        }
    }
}

struct Signed {
    base: SignatureBase,
    kept: KeptSignature,
}

/// Where an answer's time went, up to its head.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timing {
    /// This proxy's own time.
    pub own: Duration,
    /// Waiting for the upstream; zero where it was not asked.
    pub upstream: Duration,
    /// Waiting for the rest of the request before anything else could be done; zero most often.
    pub client: Duration,
}

impl Timing {
    /// Adds it as `Server-Timing`, in milliseconds (FORMATS.md, section 9).
    pub fn tell(&self, headers: &mut HeaderMap) {
        let mut value = String::with_capacity(64);
        let parts = [("colophon", self.own), ("upstream", self.upstream), ("client", self.client)];
        for (name, time) in parts {
            if time.is_zero() && !value.is_empty() {
                continue;
            }
            let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
            let comma = if value.is_empty() { "" } else { ", " };
            // The formatting machinery took as long as all other header lines together.
            let (mut whole, mut thousandths) = (itoa::Buffer::new(), itoa::Buffer::new());
            // With a one before them, which is left out, there are always three digits.
            let thousandths = thousandths.format(1000 + micros % 1000).get(1..).unwrap_or_default();
            for part in [comma, name, ";dur=", whole.format(micros / 1000), ".", thousandths] {
                value.push_str(part);
            }
        }
        append(headers, SERVER_TIMING, value);
    }
}

/// Whether a field value can stand in a signature base: visible ASCII and spaces.
pub fn coverable(value: &[u8]) -> bool {
    value.iter().all(|b| (0x20..0x7f).contains(b))
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: Value) {
    insert_text(headers, name, value.into_text());
}

fn insert_text(headers: &mut HeaderMap, name: HeaderName, value: String) {
    if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(value)) {
        headers.insert(name, value);
    }
}

fn append(headers: &mut HeaderMap, name: HeaderName, value: String) {
    if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(value)) {
        headers.append(name, value);
    }
}

#[cfg(test)]
mod tests;
