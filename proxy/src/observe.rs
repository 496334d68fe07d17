//! Looking at bodies as they pass: digests, decoded digests and meaning, from copies that never hold anything back.

use crate::decode::{Decoder, Sink};
use crate::pointers;
use crate::rolling::Rolling;
use bytes::Bytes;
use colophon_policies::{Api, Pointer, Value};
use colophon_reading::{FormReader, RequestMeaning, ResponseMeaning, ResponseReader, read_request_watching};
use colophon_receipt::Hash;
use colophon_receipt::canonical::{self, Uncanonical};
use colophon_receipt::fields::BodyDigest;
use http::header::{self, HeaderMap, HeaderValue};
use hyper::body::Incoming;

/// A request is read for its meaning up to this many bytes; beyond, only its digest is known.
const MAX_READ: usize = 4 << 20;

/// Frames smaller than this are copied together: each kept alone would cost more than it holds.
const SMALL_FRAME: usize = 1024;

/// A bounded copy of a body. Large frames are kept by reference count.
#[derive(Default)]
pub struct Copy {
    frames: Vec<Bytes>,
    /// Small frames after the last large one.
    tail: Vec<u8>,
    size: usize,
    overflowed: bool,
}

impl Copy {
    /// Keeps a frame, unless the copy would grow past its limit; then it is emptied for good.
    pub fn push(&mut self, frame: Bytes) {
        if !self.admits(frame.len()) {
            return;
        }
        if frame.len() < SMALL_FRAME {
            self.tail.extend_from_slice(&frame);
        } else {
            self.end_tail();
            self.frames.push(frame);
        }
    }

    /// Keeps a copy of borrowed bytes.
    pub fn push_slice(&mut self, bytes: &[u8]) {
        if self.admits(bytes.len()) {
            self.tail.extend_from_slice(bytes);
        }
    }

    fn admits(&mut self, len: usize) -> bool {
        self.size = self.size.saturating_add(len);
        if self.size > MAX_READ {
            *self = Copy { size: self.size, overflowed: true, ..Copy::default() };
        }
        !self.overflowed
    }

    fn end_tail(&mut self) {
        if !self.tail.is_empty() {
            self.frames.push(std::mem::take(&mut self.tail).into());
        }
    }

    /// All of it in one piece, unless it outgrew its limit.
    pub fn joined(mut self) -> Option<Bytes> {
        self.end_tail();
        match self.frames.as_slice() {
            _ if self.overflowed => None,
            [] => Some(Bytes::new()),
            [one] => Some(one.clone()),
            many => Some(many.concat().into()),
        }
    }
}

/// What is known of a request body so far. Shared by the body on its way up and the exchange that records it.
pub struct RequestSeen {
    seen: Rolling,
    copy: Option<Copy>,
    /// In place of a copy, of a form: its files are too long for one.
    form: Option<Box<FormReader>>,
    decoder: Option<Decoder>,
    /// Whether a digest of what the request says is wanted, and what came of it.
    canonical: Option<Result<Hash, &'static str>>,
    digests: bool,
    /// Read once, when the body ends: while the upstream works, and not when its answer is released.
    meaning: Option<RequestMeaning>,
    /// Of the whole body, once it has ended.
    whole: Option<BodyDigest>,
    complete: bool,
    /// The rest of a body that was given up before its end.
    rest: Option<Incoming>,
    api: Api,
    content_type: Option<HeaderValue>,
    /// How many content types it has: of several, servers take the first or the last.
    types: usize,
    /// What the policy asks of the body, and what is there once it has ended.
    asked: Vec<Pointer>,
    values: Vec<Value<'static>>,
    /// Whether there was a whole text to read.
    legible: bool,
    /// Whether the body is wanted for longer, and what it is once it has ended, its content encoding undone.
    keeping: bool,
    kept: Option<Bytes>,
}

impl RequestSeen {
    /// Nothing seen yet. Bodies of unknown APIs are hashed, not kept, unless something is asked of them.
    pub fn new(api: Api, headers: &HeaderMap, asked: Vec<Pointer>) -> RequestSeen {
        let readable = readable(api) || !asked.is_empty();
        let encoding = encoding(headers);
        let decoder = encoding.and_then(|encoding| {
            let sink = Sink::copying(readable.then(Copy::default));
            Decoder::new(encoding, sink)
        });
        let form = headers.get(header::CONTENT_TYPE).and_then(|value| FormReader::new(value.to_str().ok()?));
        let form = form.filter(|_| readable && encoding.is_none()).map(Box::new);
        RequestSeen {
            seen: Rolling::default(),
            copy: (readable && encoding.is_none() && form.is_none()).then(Copy::default),
            form,
            decoder,
            canonical: None,
            digests: false,
            meaning: None,
            whole: None,
            complete: false,
            rest: None,
            api,
            content_type: headers.get(header::CONTENT_TYPE).cloned(),
            types: headers.get_all(header::CONTENT_TYPE).iter().count(),
            asked,
            values: Vec::new(),
            legible: false,
            keeping: false,
            kept: None,
        }
    }

    /// Whether the whole body was there to be read, and every server would read the same bytes in the same way. That is in
    /// doubt where its content encoding is unknown, broken, or `br`, whose streams no server can tell from other bytes, and
    /// where it has several encodings or types.
    pub fn legible(&self) -> bool {
        self.legible
    }

    /// The values asked for, once the body has ended. None of a body that could not be kept or decoded.
    pub fn values(&self) -> &[Value<'static>] {
        &self.values
    }

    /// Has what the request says digested as well.
    pub fn digesting(mut self, wanted: bool) -> RequestSeen {
        self.digests = wanted;
        self
    }

    /// Has the body kept for longer, as far as it is read at all.
    pub fn keeping(mut self, wanted: bool) -> RequestSeen {
        self.keeping = wanted;
        self
    }

    /// Nobody wants the body for longer after all.
    pub fn keep_no_longer(&mut self) {
        (self.keeping, self.kept) = (false, None);
    }

    /// The whole body, if it was to be kept, could be, and has ended: once.
    pub fn kept(&mut self) -> Option<Bytes> {
        self.kept.take()
    }

    /// The digest of what the request says, where it was wanted: or why there is none.
    pub fn canonical(&self) -> Option<Result<Hash, &'static str>> {
        self.canonical
    }

    /// A frame that passed.
    pub fn push(&mut self, frame: &Bytes) {
        self.seen.push(frame);
        if let Some(copy) = &mut self.copy {
            copy.push(frame.clone());
        }
        if let Some(form) = &mut self.form {
            form.push(frame);
        }
        if let Some(decoder) = &mut self.decoder {
            decoder.push(frame);
        }
    }

    /// The body ended properly.
    pub fn end(&mut self) {
        if !self.complete {
            self.complete = true;
            self.meaning = Some(self.read());
            // It lies in the connection's read buffer, which would be kept with it.
            self.content_type = None;
            self.whole = Some(self.digest());
        }
    }

    /// Keeps the rest of a body that was given up.
    pub fn leave(&mut self, rest: Incoming) {
        self.rest = Some(rest);
    }

    /// The rest of a body that was given up, once.
    pub fn left(&mut self) -> Option<Incoming> {
        self.rest.take()
    }

    /// Whether the whole body was seen.
    pub fn complete(&self) -> bool {
        self.complete
    }

    /// Bytes seen so far.
    pub fn size(&self) -> u64 {
        self.seen.size()
    }

    /// Digest of what was seen.
    pub fn digest(&self) -> BodyDigest {
        self.whole.unwrap_or_else(|| self.seen.digest())
    }

    /// Digest of what was seen, with its content encoding undone.
    pub fn decoded(&self) -> Option<BodyDigest> {
        Some(self.decoder.as_ref()?.sink()?.digest())
    }

    /// What the request asked for; of a body that did not end, what its beginning says.
    pub fn meaning(&mut self) -> RequestMeaning {
        self.meaning.clone().unwrap_or_else(|| self.read())
    }

    /// Reads the copy and gives it up.
    fn read(&mut self) -> RequestMeaning {
        if let Some(form) = self.form.take() {
            return form.finish();
        }
        let copy = match &mut self.decoder {
            Some(decoder) => decoder.sink_mut().and_then(|sink| sink.copy.take()),
            None => self.copy.take(),
        };
        match copy.map(Copy::joined) {
            None => RequestMeaning::default(),
            Some(None) => RequestMeaning { unreadable: Some("too large"), ..RequestMeaning::default() },
            Some(Some(body)) => {
                if self.complete {
                    self.kept = self.keeping.then(|| body.clone());
                    let doubtful = matches!(self.decoder, Some(Decoder::Brotli(_)))
                        || self.types > 1
                        || (body.trim_ascii().is_empty() && self.seen.size() > 0);
                    self.legible = !doubtful;
                }
                if self.digests && !body.is_empty() {
                    self.canonical = Some(canonical::digest(&body).map_err(Uncanonical::as_str));
                }
                let content_type = self.content_type.as_ref().and_then(|value| value.to_str().ok());
                let names = pointers::first_names(&self.asked);
                let (meaning, members) = read_request_watching(self.api, content_type, &body, &names);
                if self.complete {
                    self.values = match members {
                        Some(members) => pointers::of_members(&members, &names, &self.asked),
                        None => pointers::values(&body, &self.asked),
                    };
                }
                meaning
            }
        }
    }
}

/// What is known of a response body so far.
pub struct ResponseSeen {
    seen: Rolling,
    reader: Option<ResponseReader>,
    decoder: Option<Decoder>,
    /// The body as far as it went, where it is wanted whole and has no encoding to be undone.
    copy: Option<Copy>,
}

impl ResponseSeen {
    /// Nothing seen yet of a response with this head.
    pub fn new(api: Api, status: u16, headers: &HeaderMap) -> ResponseSeen {
        let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let mut reader = readable(api).then(|| ResponseReader::new(api, status, content_type));
        let decoder = encoding(headers).and_then(|encoding| {
            let sink = Sink::reading(reader.take());
            Decoder::new(encoding, sink)
        });
        ResponseSeen { seen: Rolling::default(), reader, decoder, copy: None }
    }

    /// Has the answer's message digested as well. Before the first byte.
    pub fn digesting(mut self) -> ResponseSeen {
        self.reader = self.reader.take().map(ResponseReader::assembling);
        if let Some(sink) = self.decoder.as_mut().and_then(Decoder::sink_mut) {
            sink.reader = sink.reader.take().map(ResponseReader::assembling);
        }
        self
    }

    /// Has the body kept. Before the first byte.
    pub fn keeping(mut self) -> ResponseSeen {
        match self.decoder.as_mut() {
            Some(decoder) => {
                decoder.sink_mut().into_iter().for_each(|sink| sink.copy = Some(Copy::default()))
            }
            None => self.copy = Some(Copy::default()),
        }
        self
    }

    /// The body, if it was to be kept and could be, its content encoding undone: once.
    pub fn kept(&mut self) -> Option<Bytes> {
        let decoding = self.decoder.as_mut().and_then(|decoder| decoder.sink_mut()?.copy.take());
        self.copy.take().or(decoding)?.joined()
    }

    /// Bytes that are about to be released.
    pub fn push(&mut self, bytes: &[u8]) {
        self.seen.push(bytes);
        self.copy_too(bytes);
        if let Some(reader) = &mut self.reader {
            reader.push(bytes);
        }
        if let Some(decoder) = &mut self.decoder {
            decoder.push(bytes);
        }
    }

    /// The last bytes of an answer, or all of them.
    pub fn push_last(&mut self, bytes: &[u8]) {
        match &mut self.reader {
            Some(reader) => {
                self.seen.push(bytes);
                reader.push_last(bytes);
                self.copy_too(bytes);
            }
            None => self.push(bytes),
        }
    }

    fn copy_too(&mut self, bytes: &[u8]) {
        if let Some(copy) = &mut self.copy {
            copy.push_slice(bytes);
        }
    }

    /// Digest of what was released.
    pub fn digest(&self) -> BodyDigest {
        self.seen.digest()
    }

    /// Digest of what was released, with its content encoding undone.
    pub fn decoded(&self) -> Option<BodyDigest> {
        Some(self.decoder.as_ref()?.sink()?.digest())
    }

    /// Whether the API's own terminator has passed.
    pub fn terminated(&self) -> bool {
        let decoding = || self.decoder.as_ref()?.sink()?.reader.as_ref();
        self.reader.as_ref().or_else(decoding).is_some_and(ResponseReader::terminated)
    }

    /// What the response said.
    pub fn meaning(&mut self) -> Option<ResponseMeaning> {
        let decoding = self.decoder.as_mut().and_then(|decoder| decoder.sink_mut()?.reader.take());
        self.reader.take().or(decoding).map(ResponseReader::finish)
    }
}

/// The content encoding to be undone, if there is one. Several are one that no decoder knows: servers differ in which of
/// them they undo.
fn encoding(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(header::CONTENT_ENCODING).iter().map(HeaderValue::as_bytes);
    match (values.next()?, values.next()) {
        (one, None) => (!one.eq_ignore_ascii_case(b"identity")).then_some(one),
        (_, Some(_)) => Some(b""),
    }
}

/// Whether bodies of this API have a meaning that the readers know.
fn readable(api: Api) -> bool {
    !matches!(api, Api::Health | Api::Models | Api::Unknown)
}

#[cfg(test)]
mod tests;
