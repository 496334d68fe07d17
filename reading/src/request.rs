//! What a request asks for: model, streaming, sampling parameters, how many messages.

use colophon_policies::Api;
use sha2::{Digest, Sha256};

use super::loose::{Loose, Read};
use super::scan::Scanner;
use super::{MAX_DOCUMENT, MAX_PARAMETER, bounded, is_utf8, mark, media_type, reason, reason_of};

#[cfg(test)]
mod tests;

/// What a request asks for, as its sender put it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestMeaning {
    /// The model asked for, UTF-8, at most [`super::MAX_TEXT`] bytes.
    pub model: Option<Vec<u8>>,
    /// Whether a stream was asked for; `None` if the request does not say.
    pub stream: Option<bool>,
    /// Sampling parameters in the order of the request: name, and the JSON bytes as sent. Where they are longer than
    /// [`super::MAX_PARAMETER`], the name ends with `#sha256` and the value is the 32-byte digest of those bytes.
    /// TGI's `parameters` and vLLM's `sampling_params` are read as if they stood outside.
    pub sampling: Vec<(&'static str, Vec<u8>)>,
    /// Messages, inputs, prompts or documents, by API. A list of numbers is one prompt of tokens.
    pub messages: Option<u64>,
    /// Why the request could not be read, or not reliably. With `duplicate key` the last value is given, which is the
    /// one that vLLM and llama.cpp use; others refuse the request. Nothing should be decided by it.
    pub unreadable: Option<&'static str>,
}

/// Reads a request's body, of which the content encoding has been undone. Whatever the content type says, a body that
/// is a JSON object is read, as llama.cpp's server does; only a `multipart` body is not looked at.
pub fn read_request(api: Api, content_type: Option<&str>, body: &[u8]) -> RequestMeaning {
    let unread = |reason| RequestMeaning { unreadable: Some(reason), ..RequestMeaning::default() };
    if !has_meaning(api) {
        return RequestMeaning::default();
    }
    let media_type = media_type(content_type);
    if media_type.get(..10).is_some_and(|start| start.eq_ignore_ascii_case("multipart/")) {
        return unread(reason::CONTENT_TYPE);
    }
    if body.len() > MAX_DOCUMENT {
        return unread(reason::TOO_LARGE);
    }
    match body.trim_ascii_start().first() {
        Some(b'{') => {}
        Some(b'[') => return unread(reason::NOT_AN_OBJECT),
        // A GET, say.
        None => return RequestMeaning::default(),
        _ => return unread(reason::NOT_JSON),
    }
    if !is_utf8(body) {
        return unread(reason::NOT_UTF8);
    }
    let mut meaning = RequestMeaning::default();
    let mut scan = Scanner::new(body);
    let mut members = Members { meaning: &mut meaning, seen: Seen::default(), api, nested: false };
    // A fault is kept.
    let _ = members.read(&mut scan);
    match scan.end() {
        // A part of a request means nothing: the server reads all of it or refuses.
        Err(fault) => unread(reason_of(fault)),
        Ok(()) => meaning,
    }
}

/// Whether requests of this API have a meaning that the reader knows.
pub fn has_meaning(api: Api) -> bool {
    match api {
        Api::Chat | Api::Completions | Api::Responses | Api::Messages | Api::Generate | Api::Embeddings => {
            true
        }
        Api::Rerank | Api::Score | Api::Classify | Api::Audio | Api::Tokenize => true,
        Api::Realtime | Api::Models | Api::Health | Api::Admin | Api::ModelChange | Api::Unknown => false,
    }
}

/// Makes the look-up of a sampling parameter: its name, and the name under which its digest is kept.
macro_rules! parameters {
    ($($name:literal)*) => {
        fn parameter_name(key: &[u8]) -> Option<(&'static str, &'static str)> {
            Some(match key {
                $(key if key == $name.as_bytes() => ($name, concat!($name, "#sha256")),)*
                _ => return None,
            })
        }
    };
}

// The sampling parameters of OpenAI, Anthropic, vLLM, TGI and llama.cpp.
parameters! {
    "temperature" "top_p" "top_k" "min_p" "typical_p" "seed" "do_sample"
    "max_tokens" "max_completion_tokens" "max_output_tokens" "max_new_tokens" "n_predict" "min_tokens"
    "n" "best_of" "stop" "stop_sequences" "ignore_eos"
    "frequency_penalty" "presence_penalty" "repetition_penalty" "repeat_penalty" "logit_bias"
    "logprobs" "top_logprobs" "n_probs" "response_format" "grammar" "reasoning_effort"
}

/// The members that hold what the model is to read, by API.
fn message_keys(api: Api) -> &'static [&'static str] {
    match api {
        Api::Chat | Api::Messages => &["messages"],
        Api::Completions => &["prompt"],
        Api::Responses | Api::Embeddings | Api::Audio => &["input", "inputs", "messages", "content"],
        Api::Generate => &["inputs", "prompt", "messages", "input", "instances"],
        Api::Rerank => &["documents", "texts"],
        Api::Score | Api::Classify => &["text_2", "items", "documents", "input", "inputs"],
        Api::Tokenize => &["messages", "prompt", "inputs", "content", "tokens"],
        Api::Realtime | Api::Models | Api::Health | Api::Admin | Api::ModelChange | Api::Unknown => &[],
    }
}

/// Which of the members that may come only once have come.
#[derive(Default)]
struct Seen {
    model: bool,
    stream: bool,
    nested: bool,
    /// One bit for each of the keys that hold messages.
    messages: u8,
}

/// Reads the members of the request object, or of the parameters nested in it, into `meaning`.
struct Members<'m> {
    meaning: &'m mut RequestMeaning,
    seen: Seen,
    api: Api,
    nested: bool,
}

impl Members<'_> {
    fn read(&mut self, scan: &mut Scanner<'_>) -> Option<()> {
        let mut within = scan.object()?;
        while let Some(key) = scan.member(&mut within) {
            match scan.unescaped(key) {
                Some(unescaped) => self.member(&unescaped, scan)?,
                None => self.member(key, scan)?,
            }
        }
        scan.sound()
    }

    fn member(&mut self, key: &[u8], scan: &mut Scanner<'_>) -> Option<()> {
        if let Some(names) = parameter_name(key) {
            self.parameter(names, scan.raw()?);
        } else if self.nested {
            scan.skip()?;
        } else if key == b"model" {
            self.once(|seen| &mut seen.model);
            let mut model = Loose::default();
            model.fill(scan)?;
            self.model(&model);
        } else if key == b"stream" {
            self.once(|seen| &mut seen.stream);
            let mut stream = Loose::default();
            stream.fill(scan)?;
            self.stream(&stream);
        } else if let Some(place) = message_keys(self.api).iter().position(|known| known.as_bytes() == key) {
            let count = count(scan)?;
            self.messages(1 << place, count);
        } else if self.api == Api::Generate && (key == b"parameters" || key == b"sampling_params") {
            self.once(|seen| &mut seen.nested);
            if scan.peek()? == b'n' {
                return scan.skip();
            }
            let (meaning, seen) = (&mut *self.meaning, Seen::default());
            Members { meaning, seen, api: self.api, nested: true }.read(scan)?;
        } else {
            scan.skip()?;
        }
        Some(())
    }

    /// Notes that a member has come, and marks the request if it had come before.
    fn once(&mut self, member: impl FnOnce(&mut Seen) -> &mut bool) {
        if std::mem::replace(member(&mut self.seen), true) {
            mark(&mut self.meaning.unreadable, reason::DUPLICATE_KEY);
        }
    }

    fn messages(&mut self, bit: u8, count: Option<u64>) {
        if self.seen.messages & bit != 0 {
            mark(&mut self.meaning.unreadable, reason::DUPLICATE_KEY);
            self.meaning.messages = count;
        }
        self.seen.messages |= bit;
        self.meaning.messages = self.meaning.messages.or(count);
    }

    fn model(&mut self, model: &Loose<'_>) {
        self.meaning.model = None;
        match model {
            Loose::Absent => {}
            Loose::Text(text) => {
                let (text, cut) = bounded(text);
                if cut {
                    mark(&mut self.meaning.unreadable, reason::STRING_TOO_LONG);
                }
                self.meaning.model = Some(text);
            }
            _ => mark(&mut self.meaning.unreadable, reason::UNEXPECTED_TYPE),
        }
    }

    fn stream(&mut self, stream: &Loose<'_>) {
        self.meaning.stream = None;
        match stream {
            Loose::Absent => {}
            Loose::Flag(stream) => self.meaning.stream = Some(*stream),
            _ => mark(&mut self.meaning.unreadable, reason::UNEXPECTED_TYPE),
        }
    }

    fn parameter(&mut self, (name, digest_name): (&'static str, &'static str), raw: &[u8]) {
        let entry = match raw.len() {
            0..=MAX_PARAMETER => (name, raw.to_vec()),
            _ => (digest_name, Sha256::digest(raw).to_vec()),
        };
        let sampling = &mut self.meaning.sampling;
        match sampling.iter_mut().find(|(known, _)| *known == name || *known == digest_name) {
            None => sampling.push(entry),
            Some(earlier) => {
                *earlier = entry;
                mark(&mut self.meaning.unreadable, reason::DUPLICATE_KEY);
            }
        }
    }
}

/// Counts inputs: the elements of an array, or one for any other text or object.
fn count(scan: &mut Scanner<'_>) -> Option<Option<u64>> {
    let first = scan.peek()?;
    if first != b'[' {
        scan.skip()?;
        return Some(matches!(first, b'"' | b'{').then_some(1));
    }
    let mut within = scan.array()?;
    let (mut count, mut tokens) = (0, false);
    while scan.element(&mut within) {
        // Only the first element's kind matters.
        match (count, scan.peek()?) {
            (0, b'0'..=b'9') => tokens = scan.number()?.is_some(),
            _ => scan.skip()?,
        }
        count += 1;
    }
    scan.sound()?;
    Some(Some(if tokens { 1 } else { count }))
}
