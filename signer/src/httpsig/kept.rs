//! The signature base of an answer, and how a ledger keeps it: short.
//!
//! A base repeats what the record has already (digests, the id, the leaf) and what every answer has (names of components).
//! A kept base is the same text, which is ASCII, with bytes from 0x80 in the place of those: about 300 bytes for 1,200. A
//! text without such bytes is its own kept form.
//!
//! | byte | stands for |
//! |---|---|
//! | `0x80 + n` | the line break, if it is not the first line, the name of component `n` of [`Line`] and `: ` |
//! | `0xa0` | `sha-256=:…:` over the request body |
//! | `0xa1` | the same over the response body |
//! | `0xa2` | the record's id, as a UUID is written |
//! | `0xa3` | the record's leaf hash in base64 |
//! | `0xa4`, length, bytes | these bytes in base64 |
//! | `0xb0` | a line break, `"@signature-params": (`, the names of all lines, `);created=` |
//! | `0xb1`, 32 bytes | `;keyid="`, these bytes in hexadecimal, `";alg="ed25519";tag="` |

use colophon_receipt::Hash;

use super::{HttpSigError, SignatureBase};
use crate::keys::SIGNATURE_LEN;
use crate::sf::push_base64;

const LINE: u8 = 0x80;
const REQUEST: u8 = 0xa0;
const RESPONSE: u8 = 0xa1;
const ID: u8 = 0xa2;
const LEAF: u8 = 0xa3;
const BASE64: u8 = 0xa4;
const PARAMS: u8 = 0xb0;
const KEY: u8 = 0xb1;

/// Bytes that a base has at most when it is written out.
const MAX_TEXT: usize = 1 << 20;

/// A component that an answer's signature covers, in the order of their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "each is named by its identifier")]
pub enum Line {
    Status,
    ContentType,
    ContentEncoding,
    ContentDigest,
    RequestDigest,
    Record,
    Log,
    Method,
    Path,
    Query,
    ClientNonce,
    TrailerContentDigest,
    TrailerRecord,
}

/// By number: what [`LINE`] counts. Only ever grows.
const LINES: [&str; 13] = [
    r#""@status""#,
    r#""content-type""#,
    r#""content-encoding""#,
    r#""content-digest""#,
    r#""colophon-request-digest""#,
    r#""colophon-record""#,
    r#""colophon-log""#,
    r#""@method";req"#,
    r#""@path";req"#,
    r#""@query";req"#,
    r#""colophon-client-nonce";req"#,
    r#""content-digest";tr"#,
    r#""colophon-record";tr"#,
];
const PARAMS_NAME: &str = "\n\"@signature-params\": ";

/// A signature that left with an answer, as a ledger keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptSignature {
    /// The base in its kept form.
    pub base: Vec<u8>,
    /// Over the base as text.
    pub signature: [u8; SIGNATURE_LEN],
}

/// What a kept base refers to.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// SHA-256 of the request body, if the record has it.
    pub request: Option<&'a Hash>,
    /// SHA-256 of the response body, if the record has it.
    pub response: Option<&'a Hash>,
    /// The record's id as text.
    pub id: &'a str,
    /// The record's leaf hash.
    pub leaf: &'a Hash,
}

/// Why a kept base has no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a kept signature base {0}")]
pub struct KeptError(&'static str);

/// A header's value that is signed too, in both forms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Value {
    text: String,
    kept: Vec<u8>,
}

impl Value {
    /// An empty one, whose text will be about `len` bytes long.
    pub fn with_capacity(len: usize) -> Value {
        Value { text: String::with_capacity(len), kept: Vec::with_capacity(len.min(64)) }
    }

    /// `Content-Digest` of RFC 9530, of the request.
    pub fn request_digest(digest: &Hash) -> Value {
        Value { text: digest_text(digest), kept: vec![REQUEST] }
    }

    /// `Content-Digest` of RFC 9530, of the response.
    pub fn response_digest(digest: &Hash) -> Value {
        Value { text: digest_text(digest), kept: vec![RESPONSE] }
    }

    /// Adds text: ASCII.
    pub fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.kept.extend_from_slice(text.as_bytes());
    }

    /// Adds the record's id, given as text.
    pub fn push_id(&mut self, id: &str) {
        self.text.push_str(id);
        self.kept.push(ID);
    }

    /// Adds the record's leaf hash, in base64.
    pub fn push_leaf(&mut self, leaf: &Hash) {
        push_base64(&mut self.text, leaf);
        self.kept.push(LEAF);
    }

    /// Adds bytes, at most 255, in base64.
    pub fn push_base64(&mut self, bytes: &[u8]) {
        push_base64(&mut self.text, bytes);
        match u8::try_from(bytes.len()) {
            Ok(len) => {
                self.kept.extend_from_slice(&[BASE64, len]);
                self.kept.extend_from_slice(bytes);
            }
            Err(_) => {
                let mut text = String::new();
                push_base64(&mut text, bytes);
                self.kept.extend_from_slice(text.as_bytes());
            }
        }
    }

    /// The header's value.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The same.
    pub fn into_text(self) -> String {
        self.text
    }
}

/// Writes a base in both forms, line by line.
pub struct Writer {
    text: String,
    kept: Vec<u8>,
    /// The names so far, as the inner list has them.
    names: String,
}

impl Default for Writer {
    fn default() -> Writer {
        Writer {
            text: String::with_capacity(1536),
            kept: Vec::with_capacity(448),
            names: String::with_capacity(256),
        }
    }
}

impl Writer {
    /// A line whose value is text: what a client or an upstream sent.
    ///
    /// # Errors
    /// The value has bytes that a signature cannot cover.
    pub fn text(&mut self, line: Line, value: &str) -> Result<(), HttpSigError> {
        // A line break here would let a value pose as the next component.
        if !super::is_coverable(value) {
            return Err(HttpSigError::Value(name(line).to_owned()));
        }
        self.name(line);
        self.text.push_str(value);
        self.kept.extend_from_slice(value.as_bytes());
        Ok(())
    }

    /// A line whose value was made here.
    ///
    /// # Errors
    /// As for [`Writer::text`].
    pub fn value(&mut self, line: Line, value: &Value) -> Result<(), HttpSigError> {
        if !super::is_coverable(&value.text) {
            return Err(HttpSigError::Value(name(line).to_owned()));
        }
        self.name(line);
        self.text.push_str(&value.text);
        self.kept.extend_from_slice(&value.kept);
        Ok(())
    }

    fn name(&mut self, line: Line) {
        if !self.text.is_empty() {
            self.text.push('\n');
            self.names.push(' ');
        }
        let name = name(line);
        self.text.push_str(name);
        self.text.push_str(": ");
        self.names.push_str(name);
        self.kept.push(LINE + line as u8);
    }

    /// The last line. `created` is in seconds, `key_id` SHA-256 of the key that is to sign, `tag` what the signature is for.
    pub fn finish(mut self, created: u64, key_id: &Hash, tag: &str) -> (SignatureBase, Vec<u8>) {
        let params_at = params(&mut self.text, &self.names);
        self.kept.push(PARAMS);
        let created = created.to_string();
        self.text.push_str(&created);
        self.kept.extend_from_slice(created.as_bytes());
        key(&mut self.text, key_id);
        self.kept.push(KEY);
        self.kept.extend_from_slice(key_id);
        for part in [tag, "\""] {
            self.text.push_str(part);
            self.kept.extend_from_slice(part.as_bytes());
        }
        (SignatureBase { text: self.text, params_at }, self.kept)
    }
}

/// The text of a kept base.
///
/// # Errors
/// It refers to what is not known, or is no kept base.
pub fn expand(kept: &[u8], known: &Known<'_>) -> Result<String, KeptError> {
    let mut text = String::with_capacity(4 * kept.len());
    let mut names = String::new();
    let mut rest = kept;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            0..LINE => text.push(char::from(byte)),
            REQUEST => {
                text.push_str(&digest_text(known.request.ok_or(KeptError("needs a request's digest"))?))
            }
            RESPONSE => {
                text.push_str(&digest_text(known.response.ok_or(KeptError("needs a response's digest"))?))
            }
            ID => text.push_str(known.id),
            LEAF => push_base64(&mut text, known.leaf),
            BASE64 => {
                let (&len, after) = rest.split_first().ok_or(SHORT)?;
                let (bytes, after) = after.split_at_checked(usize::from(len)).ok_or(SHORT)?;
                push_base64(&mut text, bytes);
                rest = after;
            }
            PARAMS => drop(params(&mut text, &names)),
            KEY => {
                let (id, after) = rest.split_first_chunk().ok_or(SHORT)?;
                key(&mut text, id);
                rest = after;
            }
            line => {
                let name =
                    LINES.get(usize::from(line - LINE)).ok_or(KeptError("has a byte of another version"))?;
                if !text.is_empty() {
                    text.push('\n');
                    names.push(' ');
                }
                text.push_str(name);
                text.push_str(": ");
                names.push_str(name);
            }
        }
        if text.len() > MAX_TEXT {
            return Err(KeptError("is too long"));
        }
    }
    Ok(text)
}

/// The kept form of a base that was made elsewhere, ASCII: its digests are written by reference, and it opens to the same text with
/// a [`Known`] that has them. What it says in other words than here stays as it is.
pub fn shorten(text: &str, request: &Hash, response: &Hash) -> Vec<u8> {
    let digests = [(digest_text(request), REQUEST), (digest_text(response), RESPONSE)];
    let mut kept = Vec::with_capacity(text.len() / 2);
    let mut names = String::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let digest = digests.iter().find_map(|(text, mark)| Some((rest.strip_prefix(text.as_str())?, *mark)));
        // A first line has no line break before it.
        let line = if kept.is_empty() { Some(rest) } else { rest.strip_prefix('\n') };
        let line = line.and_then(|line| {
            let named = |name: &str| line.strip_prefix(name)?.strip_prefix(": ");
            LINES.iter().zip(LINE..).find_map(|(name, mark)| Some((named(name)?, name, mark)))
        });
        if let Some((after, mark)) = digest {
            kept.push(mark);
            rest = after;
        } else if let Some((after, name, mark)) = line {
            if !kept.is_empty() {
                names.push(' ');
            }
            names.push_str(name);
            kept.push(mark);
            rest = after;
        } else if let Some(after) = after_params(rest, &names) {
            kept.push(PARAMS);
            rest = after;
        } else {
            kept.extend_from_slice(next.encode_utf8(&mut [0; 4]).as_bytes());
            rest = rest.get(next.len_utf8()..).unwrap_or_default();
        }
    }
    kept
}

/// What follows [`params`] in a text that goes on with it.
fn after_params<'t>(text: &'t str, names: &str) -> Option<&'t str> {
    let list = text.strip_prefix(PARAMS_NAME)?.strip_prefix('(')?;
    list.strip_prefix(names)?.strip_prefix(");created=")
}

const SHORT: KeptError = KeptError("ends early");

fn name(line: Line) -> &'static str {
    LINES.get(line as usize).copied().unwrap_or_default()
}

/// The beginning of the last line; returns where the inner list begins.
fn params(text: &mut String, names: &str) -> usize {
    text.push_str(PARAMS_NAME);
    let at = text.len();
    for part in ["(", names, ");created="] {
        text.push_str(part);
    }
    at
}

fn key(text: &mut String, id: &Hash) {
    text.push_str(";keyid=\"");
    let mut digits = [0; 64];
    if hex::encode_to_slice(id, &mut digits).is_ok() {
        text.push_str(str::from_utf8(&digits).unwrap_or_default());
    }
    text.push_str("\";alg=\"ed25519\";tag=\"");
}

fn digest_text(digest: &Hash) -> String {
    let mut text = String::with_capacity(54);
    text.push_str("sha-256=:");
    push_base64(&mut text, digest);
    text.push(':');
    text
}

#[cfg(test)]
mod tests;
