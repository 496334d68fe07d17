//! What a request asks for: model, streaming, sampling parameters, how many messages.

use colophon_policies::Api;
use sha2::{Digest, Sha256};

use super::loose::{Loose, Nothing, Read, members};
use super::multipart;
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
    /// The conversation that it belongs to, by its id (responses API), UTF-8, at most [`super::MAX_TEXT`] bytes.
    pub conversation: Option<Vec<u8>>,
    /// The id of the response that it follows (`previous_response_id`), likewise.
    pub parent: Option<Vec<u8>>,
    /// Messages, inputs, prompts or documents, by API. A list of numbers is one prompt of tokens.
    pub messages: Option<u64>,
    /// Why the request could not be read, or not reliably. With `duplicate key` the last value is given, which is the
    /// one that vLLM and llama.cpp use; others refuse the request. Nothing should be decided by it.
    pub unreadable: Option<&'static str>,
}

/// Reads a request's body, of which the content encoding has been undone. Whatever the content type says, a body that
/// is a JSON object is read, as llama.cpp's server does; only a `multipart` body is not looked at.
pub fn read_request(api: Api, content_type: Option<&str>, body: &[u8]) -> RequestMeaning {
    read_request_watching(api, content_type, body, &[]).0
}

/// Members of the request object that were watched for, in the order of the request: which of the names, and the value
/// as written.
pub type Watched<'b> = Vec<(usize, &'b [u8])>;

/// The same, and in the same pass the values of the members of these names (no name twice in the list), wherever they
/// come. `None` where the body was not read as one JSON object to its end; then nothing is known of them.
pub fn read_request_watching<'b>(
    api: Api,
    content_type: Option<&str>,
    body: &'b [u8],
    names: &[&str],
) -> (RequestMeaning, Option<Watched<'b>>) {
    let mut watch = Watch { names, found: Vec::new() };
    let (meaning, read) = read(api, content_type, body, &mut watch);
    (meaning, read.then_some(watch.found))
}

/// Whether it was read to its end is told beside the meaning.
fn read<'b>(
    api: Api,
    content_type: Option<&str>,
    body: &'b [u8],
    watch: &mut Watch<'b, '_>,
) -> (RequestMeaning, bool) {
    let unread = |reason| (RequestMeaning { unreadable: Some(reason), ..RequestMeaning::default() }, false);
    if !has_meaning(api) {
        return (RequestMeaning::default(), false);
    }
    let media_type = media_type(content_type);
    if is_multipart(media_type) {
        let Some(mut form) = content_type.and_then(FormReader::new) else {
            return unread(reason::CONTENT_TYPE);
        };
        form.push(body);
        return (form.finish(), false);
    }
    if body.len() > MAX_DOCUMENT {
        return unread(reason::TOO_LARGE);
    }
    match body.trim_ascii_start().first() {
        Some(b'{') => {}
        Some(b'[') => return unread(reason::NOT_AN_OBJECT),
        // A GET, say.
        None => return (RequestMeaning::default(), false),
        _ => return unread(reason::NOT_JSON),
    }
    if !is_utf8(body) {
        return unread(reason::NOT_UTF8);
    }
    let mut meaning = RequestMeaning::default();
    let mut scan = Scanner::new(body);
    let watch = Some(watch).filter(|watch| !watch.names.is_empty());
    let mut members = Members { meaning: &mut meaning, seen: Seen::default(), api, nested: false, watch };
    // A fault is kept.
    let _ = members.read(&mut scan);
    match scan.end() {
        // A part of a request means nothing: the server reads all of it or refuses.
        Err(fault) => unread(reason_of(fault)),
        Ok(()) => (meaning, true),
    }
}

/// Members whose values are wanted as written.
struct Watch<'b, 'n> {
    names: &'n [&'n str],
    found: Watched<'b>,
}

/// Reads a form (`multipart/form-data`) in whatever pieces it comes, with bounded memory: its files may be long.
#[derive(Debug)]
pub struct FormReader(multipart::Form);

impl FormReader {
    /// A reader for a body of this content type; `None` if it is no form, or names no boundary.
    pub fn new(content_type: &str) -> Option<Self> {
        if !is_multipart(media_type(Some(content_type))) {
            return None;
        }
        multipart::Form::new(content_type).map(Self)
    }

    /// Reads the next piece of the body.
    pub fn push(&mut self, piece: &[u8]) {
        self.0.push(piece);
    }

    /// What the form asks for. The values of its parameters are the texts of the fields.
    pub fn finish(mut self) -> RequestMeaning {
        self.0.finish();
        let mut meaning = RequestMeaning::default();
        for field in &self.0.fields {
            let name = field.name.strip_suffix(b"[]").unwrap_or(&field.name);
            if self.0.fields.iter().filter(|other| other.name == field.name).count() > 1
                && !field.name.ends_with(b"[]")
            {
                mark(&mut meaning.unreadable, reason::DUPLICATE_KEY);
            }
            match (name, field.value.as_slice()) {
                (b"model", model) => meaning.model = Some(bounded(model).0),
                (b"stream", b"true" | b"True" | b"1") => meaning.stream = Some(true),
                (b"stream", _) => meaning.stream = Some(false),
                (name, value) => {
                    if let Some(names) = parameter_name(name) {
                        meaning.sampling.push(parameter(names, value));
                    }
                }
            }
        }
        if let Some(fault) = self.0.fault {
            let reason = match fault {
                multipart::Fault::TooLarge => reason::TOO_LARGE,
                multipart::Fault::CutShort => reason::CUT_SHORT,
                multipart::Fault::Malformed => reason::NOT_A_FORM,
            };
            mark(&mut meaning.unreadable, reason);
        }
        meaning
    }
}

fn is_multipart(media_type: &str) -> bool {
    media_type.get(..10).is_some_and(|start| start.eq_ignore_ascii_case("multipart/"))
}

/// A sampling parameter as it is kept.
fn parameter((name, digest_name): (&'static str, &'static str), raw: &[u8]) -> (&'static str, Vec<u8>) {
    match raw.len() {
        0..=MAX_PARAMETER => (name, raw.to_vec()),
        _ => (digest_name, Sha256::digest(raw).to_vec()),
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

// What steers the answer besides its input: the sampling parameters of OpenAI, Anthropic, vLLM, TGI and llama.cpp, and their like.
parameters! {
    "temperature" "top_p" "top_k" "min_p" "typical_p" "seed" "do_sample"
    "max_tokens" "max_completion_tokens" "max_output_tokens" "max_new_tokens" "n_predict" "min_tokens"
    "n" "best_of" "stop" "stop_sequences" "ignore_eos"
    "frequency_penalty" "presence_penalty" "repetition_penalty" "repeat_penalty" "logit_bias"
    "logprobs" "top_logprobs" "n_probs" "response_format" "grammar" "reasoning_effort"
    "top_a" "tfs_z" "length_penalty" "use_beam_search" "watermark" "stop_token_ids" "bad_words" "allowed_token_ids"
    "mirostat" "mirostat_tau" "mirostat_eta" "dynatemp_range" "dynatemp_exponent" "xtc_probability" "xtc_threshold"
    "dry_multiplier" "repeat_last_n" "samplers" "json_schema" "structured_outputs" "guided_json" "guided_regex"
    "guided_choice" "guided_grammar" "tool_choice" "parallel_tool_calls" "reasoning" "thinking" "verbosity" "text"
    "truncate_prompt_tokens" "truncate" "truncation" "service_tier" "dimensions" "encoding_format" "top_n"
    "language" "voice" "speed" "timestamp_granularities"
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

members! {
    /// The object that a conversation may be named by.
    struct Conversation<'a> {
        "id" id: Loose<'a>,
    }
}

/// Which of the members that may come only once have come.
#[derive(Default)]
struct Seen {
    model: bool,
    stream: bool,
    nested: bool,
    parent: bool,
    conversation: bool,
    /// One bit for each of the keys that hold messages.
    messages: u8,
}

/// Reads the members of the request object, or of the parameters nested in it, into `meaning`.
struct Members<'m, 'b, 'n> {
    meaning: &'m mut RequestMeaning,
    seen: Seen,
    api: Api,
    nested: bool,
    watch: Option<&'m mut Watch<'b, 'n>>,
}

impl<'b> Members<'_, 'b, '_> {
    fn read(&mut self, scan: &mut Scanner<'b>) -> Option<()> {
        let mut within = scan.object()?;
        while let Some(key) = scan.member(&mut within) {
            match scan.unescaped(key) {
                Some(unescaped) => self.watched(&unescaped, scan)?,
                None => self.watched(key, scan)?,
            }
        }
        scan.sound()
    }

    /// Takes a member, and keeps its value as written where somebody wants it.
    fn watched(&mut self, key: &[u8], scan: &mut Scanner<'b>) -> Option<()> {
        let names = self.watch.as_ref().map_or(&[][..], |watch| watch.names);
        let Some(name) = names.iter().position(|name| name.as_bytes() == key) else {
            return self.member(key, scan);
        };
        let place = scan.place()?;
        self.member(key, scan)?;
        let value = scan.since(place)?;
        self.watch.as_mut()?.found.push((name, value));
        Some(())
    }

    fn member(&mut self, key: &[u8], scan: &mut Scanner<'b>) -> Option<()> {
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
        } else if self.api == Api::Responses && key == b"previous_response_id" {
            self.once(|seen| &mut seen.parent);
            let mut parent = Loose::<Nothing>::default();
            parent.fill(scan)?;
            self.meaning.parent = self.id(parent.text(), parent.is_absent());
        } else if self.api == Api::Responses && key == b"conversation" {
            self.once(|seen| &mut seen.conversation);
            let mut conversation = Loose::<Conversation<'_>>::default();
            conversation.fill(scan)?;
            let id = conversation.map().map(|members| &members.id).and_then(Loose::text);
            self.meaning.conversation = self.id(id.or(conversation.text()), conversation.is_absent());
        } else if let Some(place) = message_keys(self.api).iter().position(|known| known.as_bytes() == key) {
            let count = count(scan)?;
            self.messages(1 << place, count);
        } else if self.api == Api::Generate && (key == b"parameters" || key == b"sampling_params") {
            self.once(|seen| &mut seen.nested);
            if scan.peek()? == b'n' {
                return scan.skip();
            }
            let (meaning, seen) = (&mut *self.meaning, Seen::default());
            Members { meaning, seen, api: self.api, nested: true, watch: None }.read(scan)?;
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

    /// An id as it is kept.
    fn id(&mut self, text: Option<&[u8]>, absent: bool) -> Option<Vec<u8>> {
        let Some(text) = text else {
            if !absent {
                mark(&mut self.meaning.unreadable, reason::UNEXPECTED_TYPE);
            }
            return None;
        };
        let (text, cut) = bounded(text);
        if cut {
            mark(&mut self.meaning.unreadable, reason::STRING_TOO_LONG);
        }
        Some(text)
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
        let entry = parameter((name, digest_name), raw);
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
