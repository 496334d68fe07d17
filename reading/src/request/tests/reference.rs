//! The reference reader of requests: over `serde_json`'s own visitor.

use std::borrow::Cow;
use std::fmt;

use colophon_policies::Api;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::loose::Loose;
use crate::request::{RequestMeaning, has_meaning, message_keys};
use crate::{MAX_DOCUMENT, MAX_PARAMETER, bounded, mark, media_type, reason};

/// Reads a request's body, of which the content encoding has been undone. Whatever the content type says, a body that
/// is a JSON object is read, as llama.cpp's server does; only a `multipart` body is not looked at.
pub(super) fn read_request(api: Api, content_type: Option<&str>, body: &[u8]) -> RequestMeaning {
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
    let Ok(text) = std::str::from_utf8(body) else { return unread(reason::NOT_UTF8) };
    let mut meaning = RequestMeaning::default();
    let mut json = serde_json::Deserializer::from_str(text);
    let members = Members { meaning: &mut meaning, seen: Seen::default(), api, nested: false };
    match members.deserialize(&mut json).and_then(|()| json.end()) {
        // A part of a request means nothing: the server reads all of it or refuses.
        Err(error) if error.is_data() => unread(reason::UNEXPECTED_TYPE),
        Err(error) => unread(match error.is_eof() {
            true => reason::CUT_SHORT,
            false => reason::NOT_JSON,
        }),
        Ok(()) => meaning,
    }
}

/// Each sampling parameter, and the name under which its digest is kept.
macro_rules! parameters {
    ($($name:literal)*) => { &[$(($name, concat!($name, "#sha256"))),*] };
}

/// The sampling parameters of OpenAI, Anthropic, vLLM, TGI and llama.cpp.
const PARAMETERS: &[(&str, &str)] = parameters! {
    "temperature" "top_p" "top_k" "min_p" "typical_p" "seed" "do_sample"
    "max_tokens" "max_completion_tokens" "max_output_tokens" "max_new_tokens" "n_predict" "min_tokens"
    "n" "best_of" "stop" "stop_sequences" "ignore_eos"
    "frequency_penalty" "presence_penalty" "repetition_penalty" "repeat_penalty" "logit_bias"
    "logprobs" "top_logprobs" "n_probs" "response_format" "grammar" "reasoning_effort"
};

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
    fn member<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        if let Some(names) = PARAMETERS.iter().find(|(name, _)| *name == key) {
            self.parameter(*names, map.next_value::<&RawValue>()?.get());
        } else if self.nested {
            map.next_value::<IgnoredAny>()?;
        } else if key == "model" {
            self.once(|seen| &mut seen.model);
            let model = map.next_value()?;
            self.model(&model);
        } else if key == "stream" {
            self.once(|seen| &mut seen.stream);
            let stream = map.next_value()?;
            self.stream(&stream);
        } else if let Some(place) = message_keys(self.api).iter().position(|known| *known == key) {
            let count = map.next_value_seed(Counted)?;
            self.messages(1 << place, count);
        } else if self.api == Api::Generate && (key == "parameters" || key == "sampling_params") {
            self.once(|seen| &mut seen.nested);
            let seen = Seen::default();
            map.next_value_seed(Members { meaning: self.meaning, seen, api: self.api, nested: true })?;
        } else {
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
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

    fn parameter(&mut self, (name, digest_name): (&'static str, &'static str), raw: &str) {
        let entry = match raw.len() {
            0..=MAX_PARAMETER => (name, raw.as_bytes().to_vec()),
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

impl<'de> DeserializeSeed<'de> for Members<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Members<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Key<'de>>()? {
            self.member(&key.0, &mut map)?;
        }
        Ok(())
    }

    /// `null` in the place of nested parameters.
    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
}

/// A key, borrowed unless it has escapes.
#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// Counts inputs: the elements of an array, or one for anything else that is there.
struct Counted;

impl<'de> DeserializeSeed<'de> for Counted {
    type Value = Option<u64>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<u64>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Counted {
    type Value = Option<u64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E: Error>(self) -> Result<Option<u64>, E> {
        Ok(None)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Option<u64>, E> {
        Ok(None)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Option<u64>, E> {
        Ok(None)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Option<u64>, E> {
        Ok(None)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Option<u64>, E> {
        Ok(None)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Option<u64>, E> {
        Ok(Some(1))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Option<u64>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Some(1))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Option<u64>, A::Error> {
        // Only the first element's kind matters. Nested messages and images are skipped, not copied.
        let Some(first) = seq.next_element::<Loose<'de>>()? else { return Ok(Some(0)) };
        let mut count = 1;
        while seq.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok(Some(if matches!(first, Loose::Number(_)) { 1 } else { count }))
    }
}
