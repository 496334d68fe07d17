//! The signature of an attested server over request and answer, taken before its headers go: another Colophon signs both
//! digests by a key that its evidence names (RFC 9421), and what it signed is kept in the record, so that a reader need not
//! take this proxy's word for which machine answered (DESIGN section 8).

use super::attested::Session;
use crate::facts::{path_component, query_component};
use crate::stamp::{CLIENT_NONCE, CONTENT_DIGEST, REQUEST_DIGEST, SIGNATURE, SIGNATURE_INPUT};
use colophon_receipt::Hash;
use colophon_signer::PublicKey;
use colophon_signer::httpsig::{
    ALG, CoveredComponent, SignatureInput, Value, field_value, parse_signature, parse_signature_input,
    shorten,
};
use colophon_verify::CLOCK_TOLERANCE;
use http::header::{HeaderMap, HeaderName};
use std::sync::Arc;

/// A signature base is never longer: its longest part is a path.
pub const MAX_BASE: usize = 16 << 10;

/// A signature over both digests, and what exactly it is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The signature base in its kept form.
    pub base: Vec<u8>,
    /// Ed25519 over its text.
    pub signature: Vec<u8>,
}

/// What the record says of an exchange, which a signature has to agree with: a reader compares them.
#[derive(Clone, Copy, Debug)]
pub struct Recorded {
    /// SHA-256 of the request body.
    pub request: Hash,
    /// SHA-256 of the response body as released.
    pub response: Hash,
    /// When the request came, µs.
    pub received: u64,
    /// When the exchange ended, µs.
    pub completed: u64,
}

/// What is known of one exchange with an attested server.
#[derive(Debug)]
pub struct Signing {
    session: Arc<Session>,
    sent: SentHead,
    status: String,
    headers: HeaderMap,
    trailers: HeaderMap,
}

impl Signing {
    /// Of a request with this head.
    pub(crate) fn new(session: Arc<Session>, sent: SentHead) -> Signing {
        let (status, headers, trailers) = (String::new(), HeaderMap::new(), HeaderMap::new());
        Signing { session, sent, status, headers, trailers }
    }

    /// The answer's head, as it came.
    pub fn answered(&mut self, status: u16, headers: &HeaderMap) {
        (self.status, self.headers) = (status.to_string(), headers.clone());
    }

    /// The answer's trailers, as they came.
    pub fn ended(&mut self, trailers: &HeaderMap) {
        self.trailers = trailers.clone();
    }

    /// The signature over the whole answer, or over a stream's end, if it is there, by a key of the evidence, and of what the
    /// record says: the bodies that were recorded, at about that time.
    pub fn found(&self, recorded: &Recorded) -> Option<Signed> {
        let whole = || self.verified(&self.headers, "colophon", "colophon-v1", recorded);
        whole().or_else(|| self.verified(&self.trailers, "colophon-close", "colophon-v1-close", recorded))
    }

    fn verified(&self, part: &HeaderMap, label: &str, tag: &str, recorded: &Recorded) -> Option<Signed> {
        let inputs = parse_signature_input(&text(part, &SIGNATURE_INPUT)?).ok()?;
        let of_this = |input: &&SignatureInput| input.tag() == Some(tag) && input.alg() == Some(ALG);
        let input = inputs.iter().filter(of_this).find(|input| input.label() == label)?;
        let signatures = parse_signature(&text(part, &SIGNATURE)?).ok()?;
        let (_, signature) = signatures.into_iter().find(|(known, _)| known == label)?;
        if !self.is_of(input, recorded) {
            return None;
        }
        let base = self.base(input)?;
        let keys = self.session.keys.iter().map(|key| PublicKey(*key));
        let key = { keys }.find(|key| input.keyid() == Some(key.key_id_hex().as_str()))?;
        let good = base.len() <= MAX_BASE && key.verify(base.as_bytes(), &signature).is_ok();
        let kept = || shorten(&base, &recorded.request, &recorded.response);
        good.then(|| Signed { base: kept(), signature })
    }

    /// Whether it covers the digests of the record, and was made while the exchange was, as far as two clocks can agree.
    fn is_of(&self, input: &SignatureInput, recorded: &Recorded) -> bool {
        let says = |name: &str, digest: Value| {
            let covered = input.components().iter().find(|covered| covered.name == name && !covered.req);
            covered.and_then(|covered| self.value(covered)).is_some_and(|value| value == digest.text())
        };
        let created = input.created().map(|created| created.saturating_mul(1_000_000));
        let from = recorded.received.saturating_sub(CLOCK_TOLERANCE);
        let until = recorded.completed.saturating_add(CLOCK_TOLERANCE);
        says(CONTENT_DIGEST.as_str(), Value::response_digest(&recorded.response))
            && says(REQUEST_DIGEST.as_str(), Value::request_digest(&recorded.request))
            && created.is_some_and(|created| (from..=until).contains(&created))
    }

    fn base(&self, input: &SignatureInput) -> Option<String> {
        let values: Option<Vec<String>> =
            input.components().iter().map(|covered| self.value(covered)).collect();
        let values = values?;
        let value = |covered: &CoveredComponent| {
            let at = input.components().iter().position(|known| known == covered)?;
            values.get(at).map(String::as_str)
        };
        input.signature_base(value).ok().map(|base| base.as_str().to_owned())
    }

    /// The value of a component: derived from the request as it was sent, or a header of the answer.
    fn value(&self, covered: &CoveredComponent) -> Option<String> {
        match (covered.name.as_str(), covered.req) {
            ("@method", true) => Some(self.sent.method.clone()),
            ("@path", true) => Some(self.sent.path.clone()),
            ("@query", true) => Some(self.sent.query.clone()),
            (name, true) if name == CLIENT_NONCE.as_str() => self.sent.nonce.clone(),
            ("@status", false) => Some(self.status.clone()),
            (name, false) => {
                let part = if covered.tr { &self.trailers } else { &self.headers };
                text(part, &name.parse().ok()?)
            }
            _ => None,
        }
    }
}

/// What a signature may cover of the request.
#[derive(Clone, Debug)]
pub(crate) struct SentHead {
    method: String,
    path: String,
    query: String,
    nonce: Option<String>,
}

impl SentHead {
    /// Of the request as it goes to the server.
    pub(crate) fn of(parts: &http::request::Parts) -> SentHead {
        SentHead {
            method: parts.method.as_str().to_owned(),
            path: path_component(&parts.uri).to_owned(),
            query: query_component(&parts.uri),
            nonce: text(&parts.headers, &CLIENT_NONCE),
        }
    }
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let lines: Option<Vec<&str>> = headers.get_all(name).iter().map(|value| value.to_str().ok()).collect();
    field_value(lines?)
}

/// Removes from an answer's trailers what they have only because this proxy asked for them; its own closing takes their place.
pub(crate) fn forget_trailers(trailers: &mut HeaderMap) {
    trailers.remove(CONTENT_DIGEST);
}

#[cfg(test)]
mod tests;
