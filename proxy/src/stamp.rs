//! What is added to an answer: commitment headers, RFC 9421 signatures, trailers and the comment tail (DESIGN section 5).

use crate::app::App;
use crate::facts::Facts;
use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use colophon_ledger::SignedHead;
use colophon_receipt::fields::BodyDigest;
use colophon_receipt::receipt::{Bytes as ReceiptBytes, HttpSignature};
use colophon_receipt::{Hash, Level};
use colophon_signer::httpsig::{Component, HttpSigError, Params, signature_base, signature_value};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use std::fmt::Write as _;

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
const SIGNATURE: HeaderName = HeaderName::from_static("signature");
const SIGNATURE_INPUT: HeaderName = HeaderName::from_static("signature-input");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// What the trailers of a signed or committed stream are called.
pub const TRAILER_NAMES: HeaderValue =
    HeaderValue::from_static("Content-Digest, Colophon-Record, Signature-Input, Signature");

/// Header lines that an answer gets at most.
const ADDED: usize = 9;

/// A digest as RFC 9530 writes it.
pub fn digest_value(digest: &BodyDigest) -> String {
    let mut value = String::with_capacity(54);
    value.push_str("sha-256=:");
    BASE64_STANDARD.encode_string(digest.digest, &mut value);
    value.push(':');
    value
}

/// `Colophon-Log` for a checkpoint.
pub fn log_value(head: &SignedHead) -> String {
    format!(
        "\"{}\";size={};root=:{}:;sig=:{}:",
        head.checkpoint.origin,
        head.checkpoint.size,
        BASE64_STANDARD.encode(head.checkpoint.root),
        BASE64_STANDARD.encode(head.signature)
    )
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
    pub log: &'a HeaderValue,
}

/// A closing: what the end of a stream says.
pub struct Closing {
    /// As trailers.
    pub trailers: HeaderMap,
    /// As a comment line of an event stream.
    pub comment: String,
    /// For the receipt.
    pub signature: Option<HttpSignature>,
}

impl Stamp<'_> {
    /// `Colophon-Record`; the leaf hash once it is known.
    pub fn record_value(&self, leaf: Option<&Hash>) -> String {
        let mut value = String::with_capacity(224);
        // The formatting machinery would cost more than the rest.
        let shard = &self.facts.shard.name;
        for part in ["\"", &self.facts.id_text, "\";level=", self.level.as_str(), ";shard=\"", shard, "\""] {
            value.push_str(part);
        }
        if let Some(leaf) = leaf {
            value.push_str(";leaf=:");
            BASE64_STANDARD.encode_string(leaf, &mut value);
            value.push(':');
        }
        value.push_str(&self.app.promise);
        value
    }

    /// Stamps an answer whose body is known: all digests, and the signature if the level asks for one.
    pub fn whole(&self, headers: &mut HeaderMap, body: &BodyDigest, leaf: &Hash) -> Option<HttpSignature> {
        headers.reserve(ADDED);
        let content_digest = digest_value(body);
        let record = self.record_value(Some(leaf));
        let request_digest = self.request.as_ref().map(digest_value);
        let signature = self.sign("colophon-v1", |components| {
            components.push(field("content-digest", &content_digest));
            components.push(field("colophon-request-digest", request_digest.as_deref()?));
            components.push(field("colophon-record", &record));
            Some(())
        });
        insert(headers, CONTENT_DIGEST, content_digest);
        self.common(headers, request_digest, record);
        self.attach(headers, "colophon", signature)
    }

    /// Stamps the head of a stream: its end is not known yet.
    pub fn opening(&self, headers: &mut HeaderMap, trailers: bool) -> Option<HttpSignature> {
        headers.reserve(ADDED);
        let record = self.record_value(None);
        let request_digest = self.request.as_ref().map(digest_value);
        let signature = self.sign("colophon-v1-open", |components| {
            components.push(field("colophon-request-digest", request_digest.as_deref()?));
            components.push(field("colophon-record", &record));
            Some(())
        });
        self.common(headers, request_digest, record);
        if trailers {
            headers.append(header::TRAILER, TRAILER_NAMES);
        }
        self.attach(headers, "colophon", signature)
    }

    /// What the end of a stream says, the record's leaf included.
    pub fn closing(&self, body: &BodyDigest, leaf: &Hash) -> Closing {
        let content_digest = digest_value(body);
        let record = self.record_value(Some(leaf));
        let request_digest = self.request.as_ref().map(digest_value);
        // These two stand in the trailer section (RFC 9421 section 2.1, `tr`): the header section has another record.
        let trailer = |name, value| Component { tr: true, ..field(name, value) };
        let signature = self.sign("colophon-v1-close", |components| {
            components.push(trailer("content-digest", &content_digest));
            components.push(field("colophon-request-digest", request_digest.as_deref()?));
            components.push(trailer("colophon-record", &record));
            Some(())
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

    fn common(&self, headers: &mut HeaderMap, request_digest: Option<String>, record: String) {
        if let Some(digest) = request_digest {
            insert(headers, REQUEST_DIGEST, digest);
        }
        insert(headers, RECORD, record);
        if !self.log.is_empty() {
            headers.insert(LOG, self.log.clone());
        }
        let token = self.app.ledger.token(&self.facts.id);
        let mut receipt = String::with_capacity(96);
        for part in ["\"/v1/colophon/receipts/", &self.facts.id_text, "?token=", &token, "\""] {
            receipt.push_str(part);
        }
        insert(headers, RECEIPT, receipt);
    }

    /// Signs what `cover` lists between the answer's own components and the request's. `None` at levels without a
    /// signature, and where something to be covered is missing.
    fn sign<'s>(
        &'s self,
        tag: &str,
        cover: impl FnOnce(&mut Vec<Component<'s>>) -> Option<()>,
    ) -> Option<Result<Signed, HttpSigError>> {
        let (shard, now) = (&self.facts.shard, self.app.ledger.now());
        // A stream may outlive the key that signed its head; a signature by an expired key would count as a bad one.
        if self.level < Level::Sign || now >= shard.not_after {
            return None;
        }
        let status = status_text(self.status);
        let mut components: Vec<Component<'_>> = Vec::with_capacity(12);
        components.push(field("@status", &status));
        components.extend(self.content_type.map(|value| field("content-type", value)));
        components.extend(self.content_encoding.map(|value| field("content-encoding", value)));
        {
            // `cover` borrows for 's; the status lives shorter, so its part is made apart.
            let mut covered: Vec<Component<'s>> = Vec::with_capacity(3);
            cover(&mut covered)?;
            components.extend(covered);
        }
        let log = self.log.to_str().ok()?;
        components.push(field("colophon-log", log));
        components.push(request("@method", self.facts.method.as_str()));
        components.push(request("@path", self.facts.path()));
        components.push(request("@query", &self.facts.query_component));
        let nonce = self.facts.nonce.as_ref().and_then(|value| value.to_str().ok()).map(str::trim);
        components.extend(nonce.map(|nonce| request("colophon-client-nonce", nonce)));
        let base =
            signature_base(&components, &Params { created: now / 1_000_000, keyid: &shard.key_id_hex, tag });
        Some(base.map(|base| {
            let signature = shard.signer.sign(base.as_bytes());
            Signed { base, signature }
        }))
    }

    fn attach(
        &self,
        headers: &mut HeaderMap,
        label: &str,
        signed: Option<Result<Signed, HttpSigError>>,
    ) -> Option<HttpSignature> {
        match signed? {
            Err(error) => {
                // What cannot be covered was looked at before the level was granted.
                tracing::error!(id = self.facts.id_text, %error, "an answer leaves without its signature");
                None
            }
            Ok(signed) => {
                append(headers, SIGNATURE_INPUT, signed.base.signature_input(label));
                append(headers, SIGNATURE, signature_value(label, &signed.signature));
                Some(HttpSignature {
                    base: signed.base.as_str().to_owned(),
                    signature: ReceiptBytes(signed.signature.to_vec()),
                })
            }
        }
    }
}

struct Signed {
    base: colophon_signer::httpsig::SignatureBase,
    signature: [u8; colophon_signer::SIGNATURE_LEN],
}

fn field<'a>(name: &'a str, value: &'a str) -> Component<'a> {
    Component { name, req: false, tr: false, value }
}

fn request<'a>(name: &'a str, value: &'a str) -> Component<'a> {
    Component { name, req: true, tr: false, value }
}

fn status_text(status: u16) -> String {
    status.to_string()
}

/// `Server-Timing` with this proxy's own time.
pub fn server_timing(headers: &mut HeaderMap, own: std::time::Duration) {
    let micros = own.as_micros();
    append(headers, SERVER_TIMING, format!("colophon;dur={}.{:03}", micros / 1000, micros % 1000));
}

/// Whether a field value can stand in a signature base: visible ASCII and spaces.
pub fn coverable(value: &[u8]) -> bool {
    value.iter().all(|b| (0x20..0x7f).contains(b))
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: String) {
    if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(value)) {
        headers.insert(name, value);
    }
}

fn append(headers: &mut HeaderMap, name: HeaderName, value: String) {
    if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(value)) {
        headers.append(name, value);
    }
}
