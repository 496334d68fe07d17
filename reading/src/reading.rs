//! Events and documents as they add up to a meaning, by API.

use colophon_policies::Api;
use colophon_receipt::canonical::{self, Uncanonical};
use sha2::{Digest, Sha256};

use super::alike::Alike;
use super::document::{Choice, Counts, Document, ErrorMembers, Incomplete, Inner, ToolCall, Typed};
use super::loose::{List, Loose, Read, parse_noting};
use super::message::Message;
use super::response::{ResponseMeaning, Usage};
use super::scan::{Fault, Scanner};
use super::{MAX_CHOICES, bounded, is_utf8, lines, mark, reason, reason_of, sse};

/// What has been read so far.
#[derive(Debug)]
pub(super) struct Reading {
    api: Api,
    status: u16,
    pub(super) meaning: ResponseMeaning,
    choices: Vec<ChoiceSoFar>,
    /// A usage over all choices came, so that those of single choices no longer count.
    whole_usage: bool,
    /// Output items or content blocks that are tool calls.
    tool_items: u64,
    /// The first of them.
    tools: Vec<Tool>,
    /// For the digest of the answer's message, where that is asked for.
    message: Option<Message>,
    /// The event before, where hearing it again would change nothing of all this.
    pub(super) before: Alike,
}

#[derive(Clone, Debug, Default)]
struct ChoiceSoFar {
    finish_reason: Vec<u8>,
    tools: Vec<Tool>,
    usage: Usage,
    /// llama.cpp: a part of this prompt's answer came, and not the last one.
    open: bool,
}

/// A tool call, as far as it has come.
#[derive(Clone, Debug)]
struct Tool {
    /// Its number among the calls of a choice, or among the content blocks.
    index: u64,
    name: Vec<u8>,
    arguments: Sha256,
}

/// Where a document came from.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    streamed: bool,
    /// The event's name.
    name: &'a str,
    /// Its place in an array of answers.
    position: u64,
}

impl Source<'_> {
    pub(super) const DOCUMENT: Self = Self { streamed: false, name: "", position: 0 };
}

impl Reading {
    pub(super) fn new(api: Api, status: u16) -> Self {
        let meaning = ResponseMeaning::default();
        Self {
            api,
            status,
            meaning,
            choices: Vec::new(),
            whole_usage: false,
            tool_items: 0,
            tools: Vec::new(),
            message: None,
            before: Alike::default(),
        }
    }

    /// Has the answer's message assembled, for its digest.
    pub(super) fn assemble(&mut self) {
        self.message = Some(Message::new(self.api));
    }

    pub(super) fn mark(&mut self, reason: &'static str) {
        mark(&mut self.meaning.unreadable, reason);
    }

    pub(super) fn event(&mut self, event: sse::Event<'_>) {
        self.meaning.events = self.meaning.events.saturating_add(1);
        let sse::Event::Data { name, data } = event else {
            self.message.iter_mut().for_each(Message::too_long);
            return self.mark(reason::TOO_LARGE);
        };
        let data = data.trim_ascii();
        if data == b"[DONE]" {
            self.before.forget();
            // The responses and messages APIs name their last event instead.
            self.meaning.terminated |= !matches!(self.api, Api::Responses | Api::Messages);
        } else if !data.is_empty() {
            if let Some(message) = &mut self.message {
                message.event(data);
            }
            let name = std::str::from_utf8(name).unwrap_or_default();
            self.json(data, Source { streamed: true, name, ..Source::DOCUMENT });
        }
    }

    pub(super) fn line(&mut self, line: lines::Line<'_>) {
        match line {
            lines::Line::Whole(line) if line.trim_ascii().is_empty() => return,
            lines::Line::Whole(line) => {
                let line = line.trim_ascii();
                self.json(line, Source { streamed: true, ..Source::DOCUMENT });
            }
            lines::Line::TooLarge => self.mark(reason::TOO_LARGE),
        }
        self.meaning.events = self.meaning.events.saturating_add(1);
    }

    /// A body that is one JSON document.
    pub(super) fn whole(&mut self, body: &[u8]) {
        let body = body.trim_ascii();
        let source = Source::DOCUMENT;
        if self.message.take().is_some() && !body.is_empty() && self.status < 400 {
            self.meaning.message = Some(canonical::message_digest(body).map_err(Uncanonical::as_str));
        }
        if body.starts_with(b"[") {
            self.list(body);
        } else if !body.is_empty() {
            // No body at all answers HEAD, 204 and 304, and is no document.
            self.meaning.terminated = self.json(body, source);
        }
    }

    /// An array of answers: TGI's compatible route, llama.cpp with several prompts, rerankers, streams in one array.
    /// Whatever is no object in it says nothing.
    fn list(&mut self, body: &[u8]) {
        let mut scan = Scanner::new(body);
        let (mut position, mut answers) = (0, 0_u64);
        if let Some(mut within) = scan.array() {
            while scan.element(&mut within) {
                let mut document = Document::default();
                let object = scan.peek() == Some(b'{');
                let read = if object { document.fill(&mut scan) } else { scan.skip() };
                if read.is_none() {
                    break;
                }
                if object {
                    self.document(&document, Source { position, ..Source::DOCUMENT });
                    answers += 1;
                }
                position += 1;
            }
        }
        match scan.end() {
            Err(fault) => self.mark(reason_of(fault)),
            Ok(()) => {
                self.note_encoding(body);
                self.meaning.terminated = true;
                if answers == 0 && position > 0 && !matches!(self.api, Api::Embeddings | Api::Tokenize) {
                    self.mark(reason::NOT_AN_OBJECT);
                }
            }
        }
    }

    /// Reads one JSON object; whether it could be read.
    pub(super) fn json(&mut self, bytes: &[u8], source: Source<'_>) -> bool {
        if source.streamed && self.before.is(source.name.as_bytes(), bytes) {
            self.note_encoding(bytes);
            return true;
        }
        self.before.forget();
        match bytes.first() {
            Some(b'{') => {
                let mut document = Document::default();
                match parse_noting(bytes, &mut document) {
                    Ok(skipped) => {
                        self.note_encoding(bytes);
                        self.document(&document, source);
                        if source.streamed && !document.adds_up() {
                            self.before.keep(source.name.as_bytes(), bytes, skipped);
                        }
                        return true;
                    }
                    // An event is cut by its sender, not by the connection.
                    Err(Fault::CutShort) if source.streamed => self.mark(reason::NOT_JSON),
                    Err(fault) => self.mark(reason_of(fault)),
                }
            }
            Some(b'[') => self.mark(reason::NOT_AN_OBJECT),
            // llama.cpp begins a stream over several prompts with it.
            _ if bytes == b"null" => return true,
            _ if source.name == "error" => self.error(bytes),
            _ => self.mark(reason::NOT_JSON),
        }
        false
    }

    /// Notes what is no UTF-8. That a text is not says nothing against its neighbours.
    fn note_encoding(&mut self, bytes: &[u8]) {
        if !is_utf8(bytes) {
            self.mark(reason::NOT_UTF8);
        }
    }

    fn document(&mut self, document: &Document<'_>, source: Source<'_>) {
        self.identity(&document.id, &document.model);
        self.identity(&document.request_id, &Loose::Absent);
        self.fingerprint(&document.system_fingerprint);
        self.choices(&document.choices);
        // Only in a completions stream is a choice's usage its own; `/invocations` has them too.
        let per_choice = document.object.is("text_completion");
        self.usage(&document.usage, per_choice.then_some(&document.choices));
        self.read_error(document, source);
        match self.api {
            Api::Messages => self.anthropic(document, source),
            Api::Responses => self.response(document, source),
            Api::Generate | Api::Completions => self.native(document, source),
            Api::Tokenize => self.token_counts(
                if document.count.is_absent() { &document.input_tokens } else { &document.count },
                &Loose::Absent,
            ),
            _ => {}
        }
    }

    fn identity(&mut self, id: &Loose<'_>, model: &Loose<'_>) {
        let unreadable = &mut self.meaning.unreadable;
        learn(&mut self.meaning.id, id, unreadable, reason::CONFLICTING_ID);
        learn(&mut self.meaning.model, model, unreadable, reason::CONFLICTING_MODEL);
    }

    fn fingerprint(&mut self, fingerprint: &Loose<'_>) {
        let meaning = &mut self.meaning;
        learn(
            &mut meaning.system_fingerprint,
            fingerprint,
            &mut meaning.unreadable,
            reason::CONFLICTING_FINGERPRINT,
        );
    }

    fn choices(&mut self, choices: &List<Choice<'_>>) {
        for (position, choice) in (0..).zip(choices.iter()) {
            self.finish_reason(choice.index.number().unwrap_or(position), &choice.finish_reason);
            for message in choice.delta.map().into_iter().chain(choice.message.map()) {
                for (place, call) in (0_u64..).zip(message.tool_calls.iter()) {
                    self.tool_call(choice.index.number().unwrap_or(position), place, call);
                }
            }
        }
        if choices.overflowed {
            self.mark(reason::TOO_MANY_CHOICES);
        }
    }

    fn tool_call(&mut self, choice: u64, place: u64, call: &ToolCall<'_>) {
        let index = call.index.number().unwrap_or(place).min(MAX_CHOICES as u64 - 1);
        let Some(choice) = self.choice(choice) else { return };
        let tool = tool(&mut choice.tools, index);
        if let Loose::Map(function) = &call.function {
            tool.name(&function.name);
            tool.arguments.update(function.arguments.text().unwrap_or_default());
        }
    }

    fn choice(&mut self, index: u64) -> Option<&mut ChoiceSoFar> {
        let Some(index) = usize::try_from(index).ok().filter(|index| *index < MAX_CHOICES) else {
            self.mark(reason::TOO_MANY_CHOICES);
            return None;
        };
        if self.choices.len() <= index {
            self.choices.resize_with(index + 1, ChoiceSoFar::default);
        }
        self.choices.get_mut(index)
    }

    fn finish_reason(&mut self, index: u64, why: &Loose<'_>) {
        match why {
            Loose::Absent => {}
            // TGI's completions stream says "" until the end.
            Loose::Text(why) if why.is_empty() => {}
            Loose::Text(why) => {
                let (why, cut) = bounded(why);
                if cut {
                    self.mark(reason::STRING_TOO_LONG);
                }
                if let Some(choice) = self.choice(index) {
                    choice.finish_reason = why;
                }
            }
            _ => self.mark(reason::UNEXPECTED_TYPE),
        }
    }

    fn usage(&mut self, members: &Loose<'_, Counts>, choices: Option<&List<Choice<'_>>>) {
        let members = match members {
            Loose::Absent => return,
            Loose::Map(members) => members,
            _ => return self.mark(reason::UNEXPECTED_TYPE),
        };
        if members.odd {
            self.mark(reason::UNEXPECTED_TYPE);
        }
        let usage = members.usage;
        let mut choices = choices.into_iter().flat_map(List::iter);
        if let (Some(only), None) = (choices.next(), choices.next()) {
            if let Some(choice) = self.choice(only.index.number().unwrap_or(0)) {
                choice.usage.update(usage);
            }
        } else {
            self.whole_usage = true;
            self.meaning.usage.update(usage);
        }
    }

    /// Anthropic: `message_start`, `content_block_start`, `message_delta`, `message_stop`, or all in one.
    fn anthropic(&mut self, document: &Document<'_>, source: Source<'_>) {
        if let Loose::Map(message) = &document.message {
            self.inner(message);
        }
        self.finish_reason(0, &document.stop_reason);
        if let Loose::Map(delta) = &document.delta {
            self.finish_reason(0, &delta.stop_reason);
        }
        self.count_tools(document.content.iter(), "tool_use");
        let index = document.index.number().unwrap_or(0);
        if let Loose::Map(block) = &document.content_block {
            // Its input follows in parts.
            self.count_tool(index, block, "tool_use", false);
        }
        if let Some(part) = document.delta.map().and_then(|delta| delta.partial_json.text())
            && let Some(tool) = self.tools.iter_mut().find(|tool| tool.index == index)
        {
            tool.arguments.update(part);
        }
        if source.streamed && kind(document, source) == b"message_stop" {
            self.meaning.terminated = true;
        }
    }

    /// OpenAI responses: events that wrap the response as it stands, or the response itself.
    fn response(&mut self, document: &Document<'_>, source: Source<'_>) {
        self.status(&document.status, &document.incomplete_details);
        self.count_tools(document.output.iter(), "_call");
        if let Loose::Map(response) = &document.response {
            self.inner(response);
            self.status(&response.status, &response.incomplete_details);
            // The last event lists all that the events before it added, and all of it.
            if response.output.iter().next().is_some() {
                (self.tool_items, self.tools) = (0, Vec::new());
                self.count_tools(response.output.iter(), "_call");
            }
        }
        if source.streamed {
            match kind(document, source) {
                b"response.output_item.added" => {
                    self.count_tools(document.item.map().map(Box::as_ref).into_iter(), "_call")
                }
                b"response.completed" | b"response.incomplete" | b"response.failed" => {
                    self.meaning.terminated = true
                }
                _ => {}
            }
        }
    }

    fn inner(&mut self, inner: &Inner<'_>) {
        self.identity(&inner.id, &inner.model);
        self.usage(&inner.usage, None);
        if let Loose::Map(error) = &inner.error {
            self.error(&error_text(error));
        }
    }

    /// The status a response ended with, or the reason why it is incomplete.
    fn status(&mut self, status: &Loose<'_>, incomplete: &Loose<'_, Box<Incomplete<'_>>>) {
        if status.is("in_progress") || status.is("queued") {
            return;
        }
        match incomplete.map().map(|incomplete| &incomplete.reason) {
            Some(reason @ Loose::Text(_)) => self.finish_reason(0, reason),
            _ => self.finish_reason(0, status),
        }
    }

    fn count_tools<'t>(&mut self, items: impl Iterator<Item = &'t Typed<'t>>, suffix: &str) {
        for (index, item) in (0..).zip(items) {
            self.count_tool(index, item, suffix, true);
        }
    }

    fn count_tool(&mut self, index: u64, item: &Typed<'_>, suffix: &str, whole: bool) {
        if !item.kind.text().is_some_and(|kind| kind.ends_with(suffix.as_bytes())) {
            return;
        }
        self.tool_items = self.tool_items.saturating_add(1);
        if self.tools.len() < MAX_CHOICES {
            let mut tool = Tool { index, name: Vec::new(), arguments: Sha256::new() };
            tool.name(&item.name);
            if whole {
                tool.arguments.update(item.arguments.text().unwrap_or(item.input.0));
            }
            self.tools.push(tool);
        }
    }

    /// TGI's and llama.cpp's own APIs.
    fn native(&mut self, document: &Document<'_>, source: Source<'_>) {
        if let Loose::Map(details) = &document.details {
            self.finish_reason(source.position, &details.finish_reason);
            self.token_counts(&details.input_length, &details.generated_tokens);
        }
        if source.streamed && matches!(document.generated_text, Loose::Text(_)) {
            self.meaning.terminated = true;
        }
        if let Loose::Flag(stopped) = document.stop {
            self.llama(document, stopped, source);
        }
    }

    /// llama.cpp: each prompt has its index, and ends with a `stop` that is true.
    fn llama(&mut self, document: &Document<'_>, stopped: bool, source: Source<'_>) {
        let index = document.index.number().unwrap_or(source.position);
        if let Some(choice) = self.choice(index) {
            choice.open = !stopped;
        }
        if stopped {
            self.finish_reason(index, &document.stop_type);
            self.token_counts(&document.tokens_evaluated, &document.tokens_predicted);
        }
        self.meaning.terminated = source.streamed && !self.choices.iter().any(|choice| choice.open);
    }

    /// Counts that servers give for each prompt: added up.
    fn token_counts(&mut self, prompt: &Loose<'_>, completion: &Loose<'_>) {
        let add = |sum: &mut Option<u64>, count: &Loose<'_>| {
            *sum = count.number().map(|count| sum.unwrap_or(0).saturating_add(count)).or(*sum);
        };
        self.whole_usage = true;
        add(&mut self.meaning.usage.prompt, prompt);
        add(&mut self.meaning.usage.completion, completion);
    }

    fn read_error(&mut self, document: &Document<'_>, source: Source<'_>) {
        match &document.error {
            Loose::Map(error) => self.error(&error_text(error)),
            Loose::Text(message) => self.error(&joined(document.error_type.text(), Some(message))),
            Loose::Absent if is_error(document, source) => {
                let kind = document.kind.text().filter(|kind| *kind != b"error").or(document.code.text());
                self.error(&joined(kind, document.message.text()));
            }
            Loose::Absent if self.status >= 400 => {
                if let Some(message) = document.detail.text().or(document.message.text()) {
                    self.error(message);
                }
            }
            Loose::Absent | Loose::Flag(false) => {}
            _ => self.mark(reason::UNEXPECTED_TYPE),
        }
    }

    fn error(&mut self, text: &[u8]) {
        self.meaning.error.get_or_insert_with(|| bounded(text).0);
    }

    pub(super) fn finish(self) -> ResponseMeaning {
        let mut meaning = self.meaning;
        if !self.whole_usage {
            for choice in &self.choices {
                meaning.usage.add(choice.usage);
            }
        }
        let of_choices = self.choices.iter().flat_map(|choice| &choice.tools);
        meaning.tool_calls = (of_choices.clone().count() as u64).saturating_add(self.tool_items);
        let tools = of_choices.chain(&self.tools).take(MAX_CHOICES);
        meaning.tools =
            tools.map(|tool| (tool.name.clone(), tool.arguments.clone().finalize().into())).collect();
        if let Some(message) = self.message
            && meaning.events > 0
        {
            // What broke off is nothing that a client's library would hand out.
            let whole = if meaning.terminated { message.finish() } else { Err(Uncanonical::NotWhole) };
            meaning.message = Some(whole.map_err(Uncanonical::as_str));
        }
        meaning.finish_reasons = self.choices.into_iter().map(|choice| choice.finish_reason).collect();
        while meaning.finish_reasons.last().is_some_and(Vec::is_empty) {
            meaning.finish_reasons.pop();
        }
        meaning
    }
}

impl Tool {
    /// Keeps the first name that comes.
    fn name(&mut self, name: &Loose<'_>) {
        if let (true, Loose::Text(name)) = (self.name.is_empty(), name) {
            self.name = bounded(name).0;
        }
    }
}

/// The call of this number, begun if it is new.
fn tool(tools: &mut Vec<Tool>, index: u64) -> &mut Tool {
    let place = tools.iter().position(|tool| tool.index == index).unwrap_or_else(|| {
        tools.push(Tool { index, name: Vec::new(), arguments: Sha256::new() });
        tools.len() - 1
    });
    &mut tools[place]
}

/// Keeps the first text that says something, and marks a later one that says something else.
fn learn(
    known: &mut Option<Vec<u8>>,
    value: &Loose<'_>,
    unreadable: &mut Option<&'static str>,
    conflict: &'static str,
) {
    match (value, &known) {
        (Loose::Absent, _) => {}
        // TGI has no ids and says "".
        (Loose::Text(text), _) if text.is_empty() => {}
        (Loose::Text(text), Some(known)) if known.as_slice() == &**text => {}
        (Loose::Text(text), _) => {
            let (text, cut) = bounded(text);
            if cut {
                mark(unreadable, reason::STRING_TOO_LONG);
            }
            if known.get_or_insert_with(|| text.clone()) != &text {
                mark(unreadable, conflict);
            }
        }
        _ => mark(unreadable, reason::UNEXPECTED_TYPE),
    }
}

/// What kind of event it is, by its own word or by its name.
fn kind<'d>(document: &'d Document<'_>, source: Source<'d>) -> &'d [u8] {
    document.kind.text().unwrap_or(source.name.as_bytes())
}

fn is_error(document: &Document<'_>, source: Source<'_>) -> bool {
    source.name == "error" || [&document.kind, &document.object].into_iter().any(|v| v.is("error"))
}

pub(super) fn error_text(error: &ErrorMembers<'_>) -> Vec<u8> {
    joined(error.kind.text().or(error.code.text()), error.message.text())
}

fn joined(kind: Option<&[u8]>, message: Option<&[u8]>) -> Vec<u8> {
    match (kind, message) {
        (Some(kind), Some(message)) => [kind, b": ", message].concat(),
        (Some(text), None) | (None, Some(text)) => text.to_vec(),
        (None, None) => b"error".to_vec(),
    }
}
