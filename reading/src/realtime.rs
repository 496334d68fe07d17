//! What goes over a realtime WebSocket, by the events of OpenAI's realtime API (vLLM's `/v1/realtime` has a subset): JSON in
//! text messages, each with a `type`, in both directions.
//!
//! A session holds any number of responses, so what an exchange usually has once, it has many times: token counts are added
//! up over the responses, and their ids and endings are listed, at most [`MAX_CHOICES`].

use super::document::{Counts, ErrorMembers, Inner};
use super::frames::{Message, Splitter};
use super::loose::{Loose, members, parse};
use super::reading::error_text;
use super::request::RequestMeaning;
use super::response::ResponseMeaning;
use super::{MAX_CHOICES, bounded, is_utf8, mark, reason, reason_of};

#[cfg(test)]
mod tests;

members! {
    /// One event of either side.
    struct Event<'a> {
        "type" kind: Loose<'a>,
        /// vLLM's `session.update` names the model here.
        "model" model: Loose<'a>,
        "id" id: Loose<'a>,
        "session" session: Loose<'a, Box<Session<'a>>>,
        "response" response: Loose<'a, Box<Inner<'a>>>,
        /// Of a transcription.
        "usage" usage: Loose<'a, Counts>,
        "error" error: Loose<'a>,
    }

    /// The settings that a session has or is to have.
    struct Session<'a> {
        "id" id: Loose<'a>,
        "model" model: Loose<'a>,
    }

    /// An event that tells of an error: vLLM's is a text, OpenAI's an object.
    struct Failed<'a> {
        "error" error: Loose<'a, Box<ErrorMembers<'a>>>,
    }
}

/// Reads what the client sends, in whatever pieces it comes.
#[derive(Debug, Default)]
pub struct ClientReader {
    frames: Splitter,
    meaning: RequestMeaning,
}

impl ClientReader {
    /// Reads the next piece.
    pub fn push(&mut self, bytes: &[u8]) {
        let meaning = &mut self.meaning;
        self.frames.push(bytes, |message| {
            let mut event = Event::default();
            if read(message, &mut event, &mut meaning.unreadable) {
                let session = event.session.map().map(|session| &session.model);
                // The last one that it asked for.
                for model in [session, Some(&event.model)].into_iter().flatten() {
                    learn(&mut meaning.model, model, &mut meaning.unreadable);
                }
            }
        });
    }

    /// The model that was asked for in the session, and whether all of it could be read.
    pub fn finish(self) -> RequestMeaning {
        self.meaning
    }
}

/// Reads what the server sends, in whatever pieces it comes.
#[derive(Debug, Default)]
pub struct ServerReader {
    frames: Splitter,
    meaning: SessionMeaning,
}

/// What a server says in a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionMeaning {
    /// As of a response, but: the id is the session's, token counts are added up over its responses, and there is a finish
    /// reason for each of these that has ended.
    pub answer: ResponseMeaning,
    /// The ids of its responses, in the order in which they began: the first [`MAX_CHOICES`].
    pub responses: Vec<Vec<u8>>,
}

impl ServerReader {
    /// Reads the next piece.
    pub fn push(&mut self, bytes: &[u8]) {
        let meaning = &mut self.meaning;
        self.frames.push(bytes, |message| {
            let text = if let Message::Text(text) = message { text } else { &[] };
            meaning.answer.events = meaning.answer.events.saturating_add(1);
            let mut event = Event::default();
            if read(message, &mut event, &mut meaning.answer.unreadable) {
                meaning.event(&event, text);
            }
        });
    }

    /// What the session came to.
    pub fn finish(mut self) -> SessionMeaning {
        if self.frames.is_open() {
            mark(&mut self.meaning.answer.unreadable, reason::CUT_SHORT);
        }
        self.meaning
    }
}

impl SessionMeaning {
    fn event(&mut self, event: &Event<'_>, text: &[u8]) {
        let unreadable = &mut self.answer.unreadable;
        if let Loose::Map(session) = &event.session {
            learn(&mut self.answer.id, &session.id, unreadable);
            learn(&mut self.answer.model, &session.model, unreadable);
        } else if event.kind.is("session.created") {
            learn(&mut self.answer.id, &event.id, unreadable);
        }
        learn(&mut self.answer.model, &event.model, unreadable);
        self.usage(&event.usage);
        if let Loose::Map(response) = &event.response {
            self.response(response, event.kind.is("response.done"));
        }
        if event.kind.is("error") && self.answer.error.is_none() {
            let mut failed = Failed::default();
            let text = match (parse(text, &mut failed), &failed.error) {
                (Ok(()), Loose::Map(error)) => error_text(error),
                (Ok(()), Loose::Text(message)) => message.to_vec(),
                _ => b"error".to_vec(),
            };
            self.answer.error = Some(bounded(&text).0);
        }
    }

    /// A response as it stands at its beginning, or at its end.
    fn response(&mut self, response: &Inner<'_>, done: bool) {
        if let Loose::Text(id) = &response.id {
            let (id, cut) = bounded(id);
            if cut {
                mark(&mut self.answer.unreadable, reason::STRING_TOO_LONG);
            }
            if !self.responses.contains(&id) {
                if self.responses.len() < MAX_CHOICES {
                    self.responses.push(id);
                } else {
                    mark(&mut self.answer.unreadable, reason::TOO_MANY_CHOICES);
                }
            }
        }
        learn(&mut self.answer.model, &response.model, &mut self.answer.unreadable);
        if !done {
            return;
        }
        self.usage(&response.usage);
        let calls = response.output.iter().filter(|item| item.kind.is("function_call")).count();
        self.answer.tool_calls = self.answer.tool_calls.saturating_add(calls as u64);
        if let Loose::Text(status) = &response.status {
            if self.answer.finish_reasons.len() < MAX_CHOICES {
                self.answer.finish_reasons.push(bounded(status).0);
            } else {
                mark(&mut self.answer.unreadable, reason::TOO_MANY_CHOICES);
            }
        }
    }

    fn usage(&mut self, usage: &Loose<'_, Counts>) {
        match usage {
            Loose::Absent => {}
            Loose::Map(counts) => {
                if counts.odd {
                    mark(&mut self.answer.unreadable, reason::UNEXPECTED_TYPE);
                }
                self.answer.usage.add(counts.usage);
            }
            _ => mark(&mut self.answer.unreadable, reason::UNEXPECTED_TYPE),
        }
    }
}

/// Reads a message as an event; whether it is one.
fn read<'a>(message: Message<'a>, event: &mut Event<'a>, unreadable: &mut Option<&'static str>) -> bool {
    let wrong = match message {
        Message::Text(text) if text.trim_ascii_start().first() != Some(&b'{') => reason::NOT_AN_OBJECT,
        Message::Text(text) => match parse(text, event) {
            Ok(()) if is_utf8(text) => return true,
            Ok(()) => reason::NOT_UTF8,
            Err(fault) => reason_of(fault),
        },
        // Audio may come as it is.
        Message::Binary => return false,
        Message::TooLarge => reason::TOO_LARGE,
        Message::Extended => reason::COMPRESSED,
        Message::Broken => reason::NOT_A_WEBSOCKET,
    };
    mark(unreadable, wrong);
    false
}

/// Keeps the last text that says something.
fn learn(known: &mut Option<Vec<u8>>, value: &Loose<'_>, unreadable: &mut Option<&'static str>) {
    match value {
        Loose::Absent => {}
        Loose::Text(text) if text.is_empty() => {}
        Loose::Text(text) => {
            let (text, cut) = bounded(text);
            if cut {
                mark(unreadable, reason::STRING_TOO_LONG);
            }
            *known = Some(text);
        }
        _ => mark(unreadable, reason::UNEXPECTED_TYPE),
    }
}
