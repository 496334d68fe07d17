//! What of a request and of its answer bears on token ids. Whatever else a request says might change the prompt in a way that
//! is not known here, so that nothing is said of one with a member that is not known.

use colophon_receipt::canonical;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ChatError;

/// Members of a request that change neither its prompt nor where its answer ends.
const NEUTRAL: [&str; 10] = [
    "model",
    "top_p",
    "seed",
    "stream",
    "stream_options",
    "user",
    "metadata",
    "store",
    "return_token_ids",
    "logprobs",
];

/// Members that do not change its prompt, and where the answer is the likeliest are 0.
const WEIGHING: [&str; 3] = ["temperature", "frequency_penalty", "presence_penalty"];

/// One message.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Message {
    role: String,
    content: String,
}

/// A request.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) messages: Vec<Message>,
    /// Tokens that the answer may have.
    pub(crate) most: Option<u64>,
    /// Whether it says that the answer need not be of the tokens with the highest scores. One that says nothing of it leaves it to the
    /// server, which is not known here.
    pub(crate) weighs: bool,
}

impl Request {
    pub(crate) fn read(body: &[u8]) -> Result<Request, ChatError> {
        let Value::Object(members) = parse(body, "the request cannot be read")? else {
            return Err(ChatError::unread("the request is no JSON object"));
        };
        let mut request = Request { messages: Vec::new(), most: None, weighs: false };
        for (name, value) in members {
            match name.as_str() {
                "messages" => {
                    request.messages = serde_json::from_value(value).map_err(|error| {
                        ChatError::detailed("the request's messages are of a kind that is not read", error)
                    })?
                }
                "max_tokens" | "max_completion_tokens" => {
                    let most =
                        value.as_u64().ok_or_else(|| ChatError::unread("a bound that is no number"))?;
                    request.most = Some(request.most.map_or(most, |known| known.min(most)));
                }
                "n" if value.as_u64() == Some(1) => {}
                name if WEIGHING.contains(&name) => {
                    request.weighs |= value.as_f64().is_some_and(|weight| weight != 0.0);
                }
                name if NEUTRAL.contains(&name) => {}
                name => {
                    let what = "the request has a member that may change its prompt or answer";
                    return Err(ChatError::detailed(what, name));
                }
            }
        }
        match request.messages.is_empty() {
            true => Err(ChatError::unread("the request has no messages: only chats are read")),
            false => Ok(request),
        }
    }
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finish {
    /// By the model's own end.
    Stop,
    /// By a bound.
    Length,
}

/// An answer's only choice.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) finish: Finish,
    /// Its token ids, where the server tells them as vLLM does (`return_token_ids`).
    pub(crate) ids: Option<Vec<u32>>,
}

impl Answer {
    /// Reads a JSON answer, or one of events.
    pub(crate) fn read(body: &[u8]) -> Result<Answer, ChatError> {
        let mut parts = Parts::default();
        if body.trim_ascii_start().starts_with(b"{") {
            parts.take(&parse(body, UNREAD)?, "message")?;
        } else {
            let text = std::str::from_utf8(body).map_err(|_| ChatError::unread("the answer is no text"))?;
            for data in text.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim) {
                if data != "[DONE]" {
                    parts.take(&parse(data.as_bytes(), UNREAD)?, "delta")?;
                }
            }
        }
        let finish = parts.finish.ok_or_else(|| ChatError::unread("the answer does not say how it ended"))?;
        Ok(Answer { text: parts.text, finish, ids: parts.ids })
    }
}

/// Of an answer, or one of its events.
const UNREAD: &str = "the answer cannot be read";

#[derive(Default)]
struct Parts {
    text: String,
    finish: Option<Finish>,
    ids: Option<Vec<u32>>,
}

impl Parts {
    fn take(&mut self, value: &Value, holder: &str) -> Result<(), ChatError> {
        let choices = value.get("choices").and_then(Value::as_array);
        let choices =
            choices.ok_or_else(|| ChatError::unread("the answer has no choices: only chats are read"))?;
        for choice in choices {
            if choice.get("index").and_then(Value::as_u64) != Some(0) {
                return Err(ChatError::unread("the answer has more than one choice"));
            }
            let said = choice.get(holder).and_then(Value::as_object);
            for (name, value) in said.into_iter().flatten() {
                match (name.as_str(), value) {
                    (_, Value::Null) | ("role", _) => {}
                    ("content", Value::String(text)) => self.text.push_str(text),
                    (name, _) => {
                        let what = "the answer has a member of a kind that is not read";
                        return Err(ChatError::detailed(what, name));
                    }
                }
            }
            match choice.get("finish_reason") {
                None | Some(Value::Null) => {}
                Some(Value::String(why)) if why == "stop" => self.finish = Some(Finish::Stop),
                Some(Value::String(why)) if why == "length" => self.finish = Some(Finish::Length),
                Some(why) => {
                    return Err(ChatError::detailed("the answer ended in a way that is not read", why));
                }
            }
            if let Some(ids) = choice.get("token_ids").filter(|ids| !ids.is_null()) {
                let what = "the answer's `token_ids` are no token ids";
                let ids: Vec<u32> =
                    Vec::deserialize(ids).map_err(|error| ChatError::detailed(what, error))?;
                self.ids.get_or_insert_default().extend(ids);
            }
        }
        Ok(())
    }
}

fn parse(body: &[u8], what: &'static str) -> Result<Value, ChatError> {
    canonical::parse(body).map_err(|why| ChatError::detailed(what, why))
}
