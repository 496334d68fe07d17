//! The fields of an exchange (DESIGN section 4): numbers, typed values, and how each is written.
//!
//! Numbers are frozen. What came from outside is a byte string; our own words are text; what is unknown is absent.

use crate::cbor::{CborError, MapReader, Value};
use crate::merkle::Hash;
use crate::record::FieldSet;
use std::borrow::Cow;

/// `[SHA-256, size]` of the request body as received.
pub const REQUEST_BODY: u8 = 0;
/// `[SHA-256, size]` of the request body as forwarded, only if different: without [`REQUEST_BODY`], what was read of a
/// body whose end never came.
pub const REQUEST_FORWARDED: u8 = 1;
/// `[SHA-256, size]` of the request body with its content encoding undone.
pub const REQUEST_DECODED: u8 = 2;
/// [`RequestLine`].
pub const REQUEST_LINE: u8 = 3;
/// `[SHA-256, size]` of the response body as released.
pub const RESPONSE_BODY: u8 = 4;
/// `[SHA-256, size]` of the response body with its content encoding undone.
pub const RESPONSE_DECODED: u8 = 5;
/// [`ResponseHead`].
pub const RESPONSE_HEAD: u8 = 6;
/// Names of headers and labels that the upstream sent in our name and that were removed: array of byte strings.
pub const STRIPPED: u8 = 7;
/// [`Operation`].
pub const OPERATION: u8 = 8;
/// [`Model`].
pub const MODEL: u8 = 9;
/// Sampling parameters: array of `[name, raw JSON]`.
pub const SAMPLING: u8 = 10;
/// [`Usage`].
pub const USAGE: u8 = 11;
/// [`Answer`].
pub const ANSWER: u8 = 12;
/// [`Semantic`].
pub const SEMANTIC: u8 = 13;
/// [`Times`].
pub const TIMES: u8 = 14;
/// [`DecisionField`].
pub const DECISION: u8 = 15;
/// [`Caller`].
pub const CALLER: u8 = 16;
/// [`Upstream`].
pub const UPSTREAM: u8 = 17;
/// [`Context`].
pub const CONTEXT: u8 = 18;
/// [`Failure`].
pub const FAILURE: u8 = 19;
/// [`Upgrade`].
pub const UPGRADE: u8 = 20;

/// [`UpstreamSigned`].
pub const UPSTREAM_SIGNED: u8 = 21;

/// A person's word for a field number.
pub fn name(number: u8) -> &'static str {
    match number {
        REQUEST_BODY => "request body",
        REQUEST_FORWARDED => "request body as forwarded",
        REQUEST_DECODED => "request body, decoded",
        REQUEST_LINE => "request line",
        RESPONSE_BODY => "response body",
        RESPONSE_DECODED => "response body, decoded",
        RESPONSE_HEAD => "response head",
        STRIPPED => "removed from the response",
        OPERATION => "operation",
        MODEL => "model",
        SAMPLING => "sampling parameters",
        USAGE => "usage",
        ANSWER => "answer",
        SEMANTIC => "semantic digests",
        TIMES => "times",
        DECISION => "decision",
        CALLER => "caller",
        UPSTREAM => "upstream",
        CONTEXT => "context",
        FAILURE => "failure",
        UPGRADE => "upgrade",
        UPSTREAM_SIGNED => "the upstream's signature",
        _ => "unknown field",
    }
}

/// A digest with the number of bytes it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyDigest {
    /// SHA-256.
    pub digest: Hash,
    /// Bytes.
    pub size: u64,
}

/// Generates a struct that is a CBOR map with optional entries in ascending key, its writer and its reader. One with
/// text in it borrows what it writes, because every exchange writes it: `Name<'a>`.
macro_rules! map_field {
    ($(#[$doc:meta])* $name:ident<'a> { $($entries:tt)* }) => {
        map_field! { @all [<'a>] [<'static>] $(#[$doc])* $name { $($entries)* } }
    };
    ($(#[$doc:meta])* $name:ident { $($entries:tt)* }) => {
        map_field! { @all [] [] $(#[$doc])* $name { $($entries)* } }
    };
    (@all [$($borrowed:tt)*] [$($owned:tt)*] $(#[$doc:meta])* $name:ident {
        $($(#[$entry_doc:meta])* $key:literal $entry:ident : $kind:ident),* $(,)?
    }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct $name $($borrowed)* {
            $($(#[$entry_doc])* pub $entry: Option<map_field!(@type $kind)>,)*
        }

        impl $($borrowed)* $name $($borrowed)* {
            /// Adds this field to a record's fields, if it says anything.
            pub fn write(&self, number: u8, fields: &mut FieldSet) {
                let len = 0 $(+ u64::from(self.$entry.is_some()))*;
                if len == 0 {
                    return;
                }
                fields.add(number, |e| {
                    drop(e.map(len));
                    $(if let Some(value) = &self.$entry {
                        drop(e.u64($key));
                        map_field!(@write $kind, e, value);
                    })*
                });
            }
        }

        impl $name $($owned)* {
            /// Reads the field's value.
            pub fn read(value: Value) -> Result<Self, CborError> {
                let mut map = MapReader::new(value)?;
                let field = Self {
                    $($entry: match map.optional($key) {
                        Some(value) => Some(map_field!(@read $kind, value, stringify!($entry))),
                        None => None,
                    },)*
                };
                map.finish()?;
                Ok(field)
            }
        }
    };
    (@type bytes) => { Cow<'a, [u8]> };
    (@type text) => { Cow<'a, str> };
    (@type uint) => { u64 };
    (@type hash) => { Hash };
    (@type bool) => { bool };
    (@type list) => { Vec<Vec<u8>> };
    (@type body) => { BodyDigest };
    (@write bytes, $e:ident, $v:ident) => { drop($e.bytes($v)) };
    (@write text, $e:ident, $v:ident) => { drop($e.str($v)) };
    (@write uint, $e:ident, $v:ident) => { drop($e.u64(*$v)) };
    (@write hash, $e:ident, $v:ident) => { drop($e.bytes($v)) };
    (@write bool, $e:ident, $v:ident) => { drop($e.bool(*$v)) };
    (@write list, $e:ident, $v:ident) => {{
        drop($e.array($v.len() as u64));
        for item in $v { drop($e.bytes(item)); }
    }};
    (@write body, $e:ident, $v:ident) => { drop($e.array(2).and_then(|e| e.bytes(&$v.digest)?.u64($v.size))) };
    (@read bytes, $v:ident, $what:expr) => { Cow::Owned($v.as_bytes($what)?.to_vec()) };
    (@read text, $v:ident, $what:expr) => { Cow::Owned($v.as_text($what)?.to_owned()) };
    (@read uint, $v:ident, $what:expr) => { $v.as_uint($what)? };
    (@read hash, $v:ident, $what:expr) => { $v.as_array($what)? };
    (@read bool, $v:ident, $what:expr) => {
        match $v { Value::Bool(b) => b, _ => return Err(CborError::Value($what)) }
    };
    (@read list, $v:ident, $what:expr) => { read_list(&$v)? };
    (@read body, $v:ident, $what:expr) => { BodyDigest::read(&$v)? };
}

map_field! {
    /// What was asked for, as received.
    RequestLine<'a> {
        /// Method.
        1 method: bytes,
        /// Path, without the query.
        2 path: bytes,
        /// SHA-256 of the query without its `?`; absent when there was none.
        3 query: hash,
        /// `Host` or `:authority`.
        4 authority: bytes,
        /// `Content-Type`.
        5 content_type: bytes,
        /// `Content-Encoding`.
        6 content_encoding: bytes,
        /// `HTTP/1.1`, `HTTP/2.0`, …
        7 version: text,
    }
}

map_field! {
    /// The head of the response as the upstream sent it.
    ResponseHead<'a> {
        /// Status code.
        1 status: uint,
        /// `Content-Type`.
        2 content_type: bytes,
        /// `Content-Encoding`.
        3 content_encoding: bytes,
        /// SHA-256 over the upstream's end-to-end header lines `name: value\n`: names in lower case and ascending, the
        /// lines of one name in the order received.
        4 headers: hash,
        /// Trailers, in the same form.
        5 trailers: hash,
    }
}

map_field! {
    /// Which operation of which API.
    Operation<'a> {
        /// `chat`, `completions`, …
        1 api: text,
        /// `chat.completions`, …
        2 operation: text,
        /// Whether the request asked for a stream.
        3 stream_asked: bool,
        /// Whether the answer was one.
        4 streamed: bool,
        /// Events in the stream.
        5 events: uint,
        /// Why the request's meaning was not read.
        6 request_unreadable: text,
        /// Why the response's meaning was not read.
        7 response_unreadable: text,
    }
}

map_field! {
    /// Which model, by whose word.
    Model<'a> {
        /// As the request named it.
        1 requested: bytes,
        /// As the response named it.
        2 reported: bytes,
        /// Digest of a model certificate.
        3 certificate: hash,
        /// `configured`, `observed` or `attested`.
        4 known_by: text,
        /// `operator_asserted`, `provider_asserted`, `verifier_derived` or `hardware_proven`.
        5 source: text,
    }
}

map_field! {
    /// Tokens, as the upstream counted them.
    Usage {
        /// In the prompt.
        1 prompt: uint,
        /// In the completion.
        2 completion: uint,
        /// In all.
        3 total: uint,
        /// Of the prompt, served from a cache.
        4 cached: uint,
        /// Of the completion, spent on reasoning.
        5 reasoning: uint,
        /// Written to a cache.
        6 cache_write: uint,
    }
}

map_field! {
    /// What the response says of itself.
    Answer<'a> {
        /// Response id.
        1 id: bytes,
        /// Finish reason per choice.
        2 finish_reasons: list,
        /// System fingerprint.
        3 system_fingerprint: bytes,
        /// An error, also one inside a `200` stream.
        4 error: bytes,
        /// Tool calls.
        5 tool_calls: uint,
        /// Whether the API's own terminator was seen.
        6 terminated: bool,
        /// Names of the tools called, in order.
        7 tools: list,
        /// SHA-256 of each call's arguments as they came.
        8 arguments: list,
    }
}

map_field! {
    /// Digests of what the bodies say, however it is written ([`crate::canonical`]).
    Semantic<'a> {
        /// Of the request.
        1 request: hash,
        /// Of the answer's message.
        2 message: hash,
        /// Why there is none of the request.
        3 no_request: text,
        /// Why there is none of the message.
        4 no_message: text,
    }
}

map_field! {
    /// When, by the operator's clock, in µs since the epoch.
    Times<'a> {
        /// Request head received.
        1 received: uint,
        /// First byte of the response body, or its head when there is no body.
        2 first_byte: uint,
        /// The record was made.
        3 completed: uint,
        /// `system`: this machine's clock.
        4 clock: text,
    }
}

map_field! {
    /// What the policy decided.
    DecisionField<'a> {
        /// Name of the rule.
        1 rule: bytes,
        /// Digest of the effective policy.
        2 policy: hash,
        /// Level asked.
        3 asked: uint,
        /// Level granted.
        4 granted: uint,
        /// Why less was granted than asked.
        5 why_lowered: text,
        /// Whether the record was kept while the ledger was in trouble.
        6 degraded: bool,
        /// How the rule samples: `Local` or `PostCommit`.
        7 draw: text,
    }
}

map_field! {
    /// Who called.
    Caller<'a> {
        /// The tenant.
        1 tenant: bytes,
        /// The caller's name, or `key:` and a keyed hash in hexadecimal.
        2 caller: bytes,
        /// Whether the proxy checked it; otherwise it is what the client claimed.
        3 authenticated: bool,
        /// `api-key`, `jwt` or `mtls`.
        4 by: text,
    }
}

map_field! {
    /// Where the request went.
    Upstream<'a> {
        /// scheme://host:port.
        1 url: bytes,
        /// `HTTP/1.1`, `HTTP/2.0`.
        2 version: text,
        /// Of a server that has to prove itself: its name in the policy.
        3 name: bytes,
        /// What of the connection its evidence named: `exporter` or `spki`.
        4 bound: text,
        /// SHA-256 of the attestation document that was verified. No key against replay: evidence is malleable.
        5 evidence: hash,
        /// When it was verified, µs, by the operator's clock.
        6 verified: uint,
        /// `operator_asserted`, `provider_asserted`, `verifier_derived` or `hardware_proven`: how this proxy knew it.
        7 source: text,
    }
}

map_field! {
    /// What the server signed of request and answer by a key that its evidence names. A field of its own: its base says path, query
    /// and nonce, which whoever shows where the request went may want to withhold.
    UpstreamSigned<'a> {
        /// A signature base (RFC 9421) in its kept form: the digests are those of [`REQUEST_BODY`] and [`RESPONSE_BODY`].
        1 base: bytes,
        /// The Ed25519 signature over its text.
        2 signature: bytes,
    }
}

map_field! {
    /// What ties the exchange to others.
    Context<'a> {
        /// `Colophon-Client-Nonce`.
        1 nonce: bytes,
        /// `traceparent`.
        2 traceparent: bytes,
        /// Conversation.
        3 conversation: bytes,
        /// Parent response.
        4 parent: bytes,
        /// Retry count the client reported.
        5 retries: uint,
        /// `X-Request-Id` of the request.
        6 request_id: bytes,
    }
}

map_field! {
    /// Why an exchange did not end well.
    Failure<'a> {
        /// `client`, `upstream`, `proxy` or `policy`.
        1 fault: text,
        /// What happened, in our words.
        2 reason: text,
    }
}

map_field! {
    /// A connection that changed protocol: rolling digests per direction.
    Upgrade<'a> {
        /// `websocket`, …
        1 protocol: bytes,
        /// Client to upstream.
        2 sent: body,
        /// Upstream to client.
        3 received: body,
        /// Of a realtime session, the ids of its responses in their order: the first 64.
        4 responses: list,
    }
}

impl BodyDigest {
    /// Adds the digest as field `number`.
    pub fn write(&self, number: u8, fields: &mut FieldSet) {
        fields.add(number, |e| drop(e.array(2).and_then(|e| e.bytes(&self.digest)?.u64(self.size))));
    }

    /// Reads `[digest, size]`.
    pub fn read(value: &Value) -> Result<BodyDigest, CborError> {
        match value.as_items("body digest")? {
            [digest, size] => {
                Ok(BodyDigest { digest: digest.as_array("body digest")?, size: size.as_uint("body size")? })
            }
            _ => Err(CborError::Value("body digest")),
        }
    }
}

/// Adds a list of byte strings, if there are any.
pub fn write_list(number: u8, items: &[Vec<u8>], fields: &mut FieldSet) {
    if !items.is_empty() {
        fields.add(number, |e| {
            drop(e.array(items.len() as u64));
            items.iter().for_each(|item| drop(e.bytes(item)));
        });
    }
}

/// Reads a list of byte strings.
pub fn read_list(value: &Value) -> Result<Vec<Vec<u8>>, CborError> {
    value.as_items("list")?.iter().map(|item| item.as_bytes("list").map(<[u8]>::to_vec)).collect()
}

/// Adds sampling parameters as `[name, raw JSON]`, if there are any.
pub fn write_sampling(parameters: &[(&str, Vec<u8>)], fields: &mut FieldSet) {
    if !parameters.is_empty() {
        fields.add(SAMPLING, |e| {
            drop(e.array(parameters.len() as u64));
            for (name, raw) in parameters {
                drop(e.array(2).and_then(|e| e.str(name)?.bytes(raw)));
            }
        });
    }
}

/// Reads sampling parameters.
pub fn read_sampling(value: &Value) -> Result<Vec<(String, Vec<u8>)>, CborError> {
    let pair = |item: &Value| match item.as_items("sampling")? {
        [name, raw] => Ok((name.as_text("sampling")?.to_owned(), raw.as_bytes("sampling")?.to_vec())),
        _ => Err(CborError::Value("sampling")),
    };
    value.as_items("sampling")?.iter().map(pair).collect()
}

#[cfg(test)]
mod tests;
