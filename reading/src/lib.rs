//! What a request asked for and what a response says of itself, read from a copy of the bytes.
//!
//! Nothing here delays, changes or re-serialises a byte: the readers are given what has already passed. What they
//! cannot read they mark (`unreadable`), never refuse. Everything read is a claim by an outside party, so it stays a
//! byte string, and every length and count is bounded.
//!
//! | shape | how it is read |
//! |---|---|
//! | `text/event-stream` | event by event as it passes ([`sse`]) |
//! | `application/x-ndjson`, `application/jsonl` | line by line ([`lines`]) |
//! | `application/json`, `+json` | once, at the end, up to [`MAX_DOCUMENT`] |
//! | `multipart/form-data` requests | field by field, as it passes ([`FormReader`]) |
//! | text messages of a WebSocket, of the realtime API | message by message, as they pass ([`ServerReader`]) |
//! | anything else | not read |

mod alike;
mod document;
mod frames;
mod lines;
mod loose;
mod message;
mod multipart;
mod reading;
mod realtime;
mod request;
mod response;
mod scan;
mod sse;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(test)]
mod tests;

pub use realtime::{ClientReader, ServerReader, SessionMeaning};
pub use request::{FormReader, RequestMeaning, Watched, has_meaning, read_request, read_request_watching};
pub use response::{ResponseMeaning, ResponseReader, Usage, read_metadata_header, read_token_headers};

/// The longest request body or JSON response that is read, in bytes; a longer one is marked `too large`.
pub const MAX_DOCUMENT: usize = 4 << 20;
/// The longest event or line of a stream that is read, in bytes; a longer one is skipped, the next is read again.
pub const MAX_EVENT: usize = 1 << 20;
/// The longest string kept from outside, in bytes; a longer one is cut and ends with `…`.
pub const MAX_TEXT: usize = 512;
/// The longest sampling parameter kept as it was sent, in bytes; of a longer one the SHA-256 is kept.
pub const MAX_PARAMETER: usize = 256;
/// The most choices of one answer that are told apart.
pub const MAX_CHOICES: usize = 64;

/// Why something was not read. Short and fixed, so that a record can hold it and a counter can be labelled with it.
mod reason {
    pub(super) const COMPRESSED: &str = "compressed messages";
    pub(super) const CONTENT_TYPE: &str = "content type not read";
    pub(super) const CONFLICTING_FINGERPRINT: &str = "conflicting fingerprint";
    pub(super) const CONFLICTING_ID: &str = "conflicting id";
    pub(super) const CONFLICTING_MODEL: &str = "conflicting model";
    pub(super) const CUT_SHORT: &str = "cut short";
    pub(super) const DUPLICATE_KEY: &str = "duplicate key";
    pub(super) const NOT_A_FORM: &str = "not a form";
    pub(super) const NOT_AN_OBJECT: &str = "not an object";
    pub(super) const NOT_A_WEBSOCKET: &str = "not websocket frames";
    pub(super) const NOT_JSON: &str = "not json";
    pub(super) const NOT_UTF8: &str = "not utf-8";
    pub(super) const TOO_LARGE: &str = "too large";
    pub(super) const TOO_MANY_CHOICES: &str = "too many choices";
    pub(super) const STRING_TOO_LONG: &str = "string too long";
    pub(super) const UNEXPECTED_TYPE: &str = "unexpected type";
}

/// Keeps the first reason: later ones are often its consequence.
fn mark(unreadable: &mut Option<&'static str>, reason: &'static str) {
    unreadable.get_or_insert(reason);
}

/// Whether this is UTF-8. Most of it is ASCII, which shows faster.
fn is_utf8(bytes: &[u8]) -> bool {
    bytes.is_ascii() || std::str::from_utf8(bytes).is_ok()
}

/// The text, cut to [`MAX_TEXT`] bytes at a character boundary, with what is no UTF-8 replaced; whether it was cut.
fn bounded(text: &[u8]) -> (Vec<u8>, bool) {
    let replaced;
    let text = match std::str::from_utf8(text) {
        Ok(text) => text,
        Err(_) => {
            replaced = String::from_utf8_lossy(text);
            &replaced
        }
    };
    if text.len() <= MAX_TEXT {
        return (text.as_bytes().to_vec(), false);
    }
    let kept = &text[..text.floor_char_boundary(MAX_TEXT - '…'.len_utf8())];
    (format!("{kept}…").into_bytes(), true)
}

/// The reason behind a fault.
fn reason_of(fault: scan::Fault) -> &'static str {
    match fault {
        scan::Fault::CutShort => reason::CUT_SHORT,
        scan::Fault::Syntax => reason::NOT_JSON,
        scan::Fault::DuplicateKey => reason::DUPLICATE_KEY,
        scan::Fault::Kind => reason::UNEXPECTED_TYPE,
    }
}

/// `type/subtype` of a content type, without parameters.
fn media_type(content_type: Option<&str>) -> &str {
    content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim()
}
