//! What a response says of itself: which model answered, how many tokens, why it stopped, whether it failed.

use colophon_policies::Api;
use colophon_receipt::Hash;

use super::reading::{Reading, Source};
use super::{MAX_DOCUMENT, lines, mark, media_type, reason, sse};

#[cfg(test)]
mod tests;

/// Token counts as reported, never computed but for one case: where each choice of a completions stream reports its
/// own and the stream no total (TGI with several prompts), they are added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens read.
    pub prompt: Option<u64>,
    /// Tokens written.
    pub completion: Option<u64>,
    /// Both, where the server says so.
    pub total: Option<u64>,
    /// Those that came from a cache: of `prompt` in OpenAI's APIs, besides `prompt` in Anthropic's.
    pub cached: Option<u64>,
    /// Of `completion`, those of reasoning.
    pub reasoning: Option<u64>,
    /// Those written to a cache (Anthropic), besides `prompt`.
    pub cache_write: Option<u64>,
}

/// What a response says of itself. All of it is the upstream's claim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseMeaning {
    /// The model reported, UTF-8, at most [`super::MAX_TEXT`] bytes.
    pub model: Option<Vec<u8>>,
    /// The response's id, likewise.
    pub id: Option<Vec<u8>>,
    /// Token counts; in a stream the newest.
    pub usage: Usage,
    /// Why each choice ended, by index, empty where it is not said; none after the last that says so.
    pub finish_reasons: Vec<Vec<u8>>,
    /// OpenAI's `system_fingerprint`.
    pub system_fingerprint: Option<Vec<u8>>,
    /// Tool calls begun, over all choices; at most 64 a choice are told apart.
    pub tool_calls: u64,
    /// Of each of them, the name and the SHA-256 of its arguments as they came: the text (OpenAI) or the JSON (Anthropic),
    /// the parts of a stream one after the other. At most [`super::MAX_CHOICES`].
    pub tools: Vec<(Vec<u8>, Hash)>,
    /// The first error reported, `type: message`, cut to [`super::MAX_TEXT`] bytes; also inside a stream with status
    /// 200. An error body that is not JSON is not read.
    pub error: Option<Vec<u8>>,
    /// Events or lines of a stream, those that could not be read included.
    pub events: u64,
    /// In a stream: the API's own terminator came. Else: the whole document was there.
    pub terminated: bool,
    /// The first reason why not everything could be read.
    pub unreadable: Option<&'static str>,
    /// Where it was asked for: the digest of the message that this answer is (`docs/FORMATS.md`, section 3.5), or why
    /// there is none.
    pub message: Option<Result<Hash, &'static str>>,
}

/// Reads a response from a copy of its bytes, of which the content encoding has been undone, in whatever pieces they
/// come: the meaning does not depend on how they were cut.
#[derive(Debug)]
pub struct ResponseReader {
    form: Form,
    reading: Reading,
}

/// How the body is read.
#[derive(Debug)]
enum Form {
    Events(sse::Splitter),
    Lines(lines::Splitter),
    Document(Vec<u8>),
    /// Not read for this reason, which counts only if there is a body.
    Unread(&'static str),
    /// Has no meaning to be read: another kind of route.
    Meaningless,
}

impl ResponseReader {
    /// A reader for the answer to a request of this API, by the answer's status and content type.
    pub fn new(api: Api, status: u16, content_type: Option<&str>) -> Self {
        let form = if has_meaning(api) { Form::of(media_type(content_type)) } else { Form::Meaningless };
        Self { form, reading: Reading::new(api, status) }
    }

    /// Has the message assembled and digested, too. That takes an allocation for every part of it.
    pub fn assembling(mut self) -> Self {
        self.reading.assemble();
        self
    }

    /// Reads the next piece of the body.
    pub fn push(&mut self, bytes: &[u8]) {
        let reading = &mut self.reading;
        match &mut self.form {
            Form::Events(splitter) => splitter.push(bytes, |event| reading.event(event)),
            Form::Lines(splitter) => splitter.push(bytes, |line| reading.line(line)),
            Form::Document(document) if document.len().saturating_add(bytes.len()) > MAX_DOCUMENT => {
                mark(&mut reading.meaning.unreadable, reason::TOO_LARGE);
                self.form = Form::Meaningless;
            }
            Form::Document(document) => document.extend_from_slice(bytes),
            Form::Unread(reason) if !bytes.is_empty() => mark(&mut reading.meaning.unreadable, reason),
            Form::Unread(_) | Form::Meaningless => {}
        }
    }

    /// Reads the last piece of the body, or the only one: in place, where that saves a copy.
    pub fn push_last(&mut self, bytes: &[u8]) {
        match &self.form {
            Form::Document(before) if before.is_empty() && bytes.len() <= MAX_DOCUMENT => {
                self.reading.whole(bytes);
                self.form = Form::Meaningless;
            }
            _ => self.push(bytes),
        }
    }

    /// Whether a stream's own terminator has come: a client that leaves now has had everything. A document that was read
    /// has not left yet.
    pub fn terminated(&self) -> bool {
        matches!(self.form, Form::Events(_) | Form::Lines(_)) && self.reading.meaning.terminated
    }

    /// The meaning of all that was pushed.
    pub fn finish(self) -> ResponseMeaning {
        let Self { form, mut reading } = self;
        match form {
            Form::Events(splitter) if splitter.is_open() => reading.mark(reason::CUT_SHORT),
            Form::Lines(mut splitter) => splitter.finish(|line| reading.line(line)),
            Form::Document(document) => reading.whole(&document),
            Form::Events(_) | Form::Unread(_) | Form::Meaningless => {}
        }
        reading.finish()
    }
}

/// What media types of JSON formats end with (RFC 6839).
const JSON_SUFFIX: &[u8] = b"+json";

fn has_meaning(api: Api) -> bool {
    match api {
        Api::Chat | Api::Completions | Api::Responses | Api::Messages | Api::Generate | Api::Embeddings => {
            true
        }
        Api::Rerank | Api::Score | Api::Classify | Api::Audio | Api::Tokenize => true,
        Api::Realtime | Api::Models | Api::Health => false,
        Api::Admin | Api::ModelChange | Api::Unknown => false,
    }
}

impl Form {
    fn of(media_type: &str) -> Self {
        let is = |known: &str| media_type.eq_ignore_ascii_case(known);
        let suffix = media_type.len().saturating_sub(JSON_SUFFIX.len());
        let json =
            || media_type.as_bytes().get(suffix..).is_some_and(|end| end.eq_ignore_ascii_case(JSON_SUFFIX));
        match () {
            () if is("application/json") => Self::Document(Vec::new()),
            () if is("text/event-stream") => Self::Events(sse::Splitter::default()),
            () if ["application/x-ndjson", "application/ndjson", "application/jsonl"].into_iter().any(is) => {
                Self::Lines(lines::Splitter::default())
            }
            () if json() => Self::Document(Vec::new()),
            () => Self::Unread(reason::CONTENT_TYPE),
        }
    }
}

impl Usage {
    /// Newer counts replace older ones; those that are missing leave them.
    pub(super) fn update(&mut self, newer: Self) {
        self.prompt = newer.prompt.or(self.prompt);
        self.completion = newer.completion.or(self.completion);
        self.total = newer.total.or(self.total);
        self.cached = newer.cached.or(self.cached);
        self.reasoning = newer.reasoning.or(self.reasoning);
        self.cache_write = newer.cache_write.or(self.cache_write);
    }

    pub(super) fn add(&mut self, other: Self) {
        let add = |sum: &mut Option<u64>, count: Option<u64>| {
            *sum = count.map(|count| sum.unwrap_or(0).saturating_add(count)).or(*sum);
        };
        add(&mut self.prompt, other.prompt);
        add(&mut self.completion, other.completion);
        add(&mut self.total, other.total);
        add(&mut self.cached, other.cached);
        add(&mut self.reasoning, other.reasoning);
        add(&mut self.cache_write, other.cache_write);
    }
}

/// Reads vLLM's `metadata` response header, in which embeddings with `encoding_format: "bytes"` have their id, model
/// and usage, into the meaning of that response.
pub fn read_metadata_header(value: &[u8], into: &mut ResponseMeaning) {
    let mut reading = Reading::new(Api::Embeddings, 200);
    std::mem::swap(&mut reading.meaning, into);
    // The body has nothing more to say.
    reading.meaning.unreadable.take_if(|reason| *reason == reason::CONTENT_TYPE);
    reading.json(value.trim_ascii(), Source::DOCUMENT);
    *into = reading.meaning;
}

/// Reads TGI's `x-prompt-tokens` and `x-generated-tokens` response headers, the only place where its `/generate` has
/// its usage unless details were asked for. Counts in the body go first.
pub fn read_token_headers(prompt: Option<&[u8]>, generated: Option<&[u8]>, into: &mut ResponseMeaning) {
    let count = |value: &[u8]| std::str::from_utf8(value).ok()?.trim().parse::<u64>().ok();
    into.usage.prompt = into.usage.prompt.or(prompt.and_then(count));
    into.usage.completion = into.usage.completion.or(generated.and_then(count));
}
