//! The members of a response that carry meaning, of all APIs together: they hardly overlap, and gateways serve one
//! API's answer on another's route. [`super::reading`] decides which of them count.
//!
//! What only few events have is boxed: it keeps the structs small that are filled for every event.

use super::Usage;
use super::loose::{List, Loose, Raw, Read, members};
use super::scan::Scanner;

members! {
    /// One JSON response, or one event of a stream.
    pub(super) struct Document<'a> {
        "type" pub(super) kind: Loose<'a>,
        "object" pub(super) object: Loose<'a>,
        "id" pub(super) id: Loose<'a>,
        /// vLLM's token-level API calls the id so.
        "request_id" pub(super) request_id: Loose<'a>,
        "model" pub(super) model: Loose<'a>,
        "system_fingerprint" pub(super) system_fingerprint: Loose<'a>,
        "usage" pub(super) usage: Loose<'a, Counts>,

        // OpenAI chat and completions
        "choices" pub(super) choices: List<Choice<'a>>,

        // OpenAI responses; `response` wraps the same members in a stream's events
        "response" pub(super) response: Loose<'a, Box<Inner<'a>>>,
        "status" pub(super) status: Loose<'a>,
        "incomplete_details" pub(super) incomplete_details: Loose<'a, Box<Incomplete<'a>>>,
        "output" pub(super) output: List<Typed<'a>>,
        "item" pub(super) item: Loose<'a, Box<Typed<'a>>>,

        // Anthropic messages; `message` wraps them in `message_start`, and is a text in errors
        "message" pub(super) message: Loose<'a, Box<Inner<'a>>>,
        "content" pub(super) content: List<Typed<'a>>,
        "content_block" pub(super) content_block: Loose<'a, Box<Typed<'a>>>,
        "delta" pub(super) delta: Loose<'a, Delta<'a>>,
        "stop_reason" pub(super) stop_reason: Loose<'a>,

        // tokenisers: how many tokens
        "count" pub(super) count: Loose<'a>,
        "input_tokens" pub(super) input_tokens: Loose<'a>,

        // TGI
        "generated_text" pub(super) generated_text: Loose<'a>,
        "details" pub(super) details: Loose<'a, Box<Details<'a>>>,

        // llama.cpp's own /completion
        "index" pub(super) index: Loose<'a>,
        "stop" pub(super) stop: Loose<'a>,
        "stop_type" pub(super) stop_type: Loose<'a>,
        "tokens_evaluated" pub(super) tokens_evaluated: Loose<'a>,
        "tokens_predicted" pub(super) tokens_predicted: Loose<'a>,

        // errors, in every server's shape
        "error" pub(super) error: Loose<'a, Box<ErrorMembers<'a>>>,
        "error_type" pub(super) error_type: Loose<'a>,
        "code" pub(super) code: Loose<'a>,
        "detail" pub(super) detail: Loose<'a>,
    }

    /// What Anthropic's `message_start` and the responses API's events wrap.
    pub(super) struct Inner<'a> {
        "id" pub(super) id: Loose<'a>,
        "model" pub(super) model: Loose<'a>,
        "usage" pub(super) usage: Loose<'a, Counts>,
        "status" pub(super) status: Loose<'a>,
        "incomplete_details" pub(super) incomplete_details: Loose<'a, Box<Incomplete<'a>>>,
        "output" pub(super) output: List<Typed<'a>>,
        "error" pub(super) error: Loose<'a, Box<ErrorMembers<'a>>>,
    }

    /// One choice, whole or a chunk of it.
    pub(super) struct Choice<'a> {
        "index" pub(super) index: Loose<'a>,
        "finish_reason" pub(super) finish_reason: Loose<'a>,
        "delta" pub(super) delta: Loose<'a, ChoiceMessage<'a>>,
        "message" pub(super) message: Loose<'a, ChoiceMessage<'a>>,
    }

    /// A choice's message, or the part of it that a chunk adds.
    pub(super) struct ChoiceMessage<'a> {
        "tool_calls" pub(super) tool_calls: List<ToolCall<'a>>,
    }

    /// A tool call; its arguments arrive over many chunks under the same index.
    pub(super) struct ToolCall<'a> {
        "index" pub(super) index: Loose<'a>,
        "function" pub(super) function: Loose<'a, Function<'a>>,
    }

    /// The function that a tool call names.
    pub(super) struct Function<'a> {
        "name" pub(super) name: Loose<'a>,
        "arguments" pub(super) arguments: Loose<'a>,
    }

    /// Anthropic's `message_delta` and `content_block_delta`.
    pub(super) struct Delta<'a> {
        "partial_json" pub(super) partial_json: Loose<'a>,
        "stop_reason" pub(super) stop_reason: Loose<'a>,
    }

    /// A content block or an output item.
    pub(super) struct Typed<'a> {
        "type" pub(super) kind: Loose<'a>,
        "name" pub(super) name: Loose<'a>,
        /// OpenAI: JSON in a text.
        "arguments" pub(super) arguments: Loose<'a>,
        /// Anthropic: JSON.
        "input" pub(super) input: Raw<'a>,
    }

    /// Why a response of the responses API is incomplete.
    pub(super) struct Incomplete<'a> {
        "reason" pub(super) reason: Loose<'a>,
    }

    /// TGI's `details`.
    pub(super) struct Details<'a> {
        "finish_reason" pub(super) finish_reason: Loose<'a>,
        "generated_tokens" pub(super) generated_tokens: Loose<'a>,
        "input_length" pub(super) input_length: Loose<'a>,
    }

    /// An error object.
    pub(super) struct ErrorMembers<'a> {
        "type" pub(super) kind: Loose<'a>,
        "code" pub(super) code: Loose<'a>,
        "message" pub(super) message: Loose<'a>,
    }

    /// Token counts under the names of OpenAI and Anthropic.
    struct UsageMembers<'a> {
        "prompt_tokens" prompt_tokens: Loose<'a>,
        "completion_tokens" completion_tokens: Loose<'a>,
        "total_tokens" total_tokens: Loose<'a>,
        "prompt_tokens_details" prompt_tokens_details: Loose<'a, Box<UsageDetails<'a>>>,
        "completion_tokens_details" completion_tokens_details: Loose<'a, Box<UsageDetails<'a>>>,
        "input_tokens" input_tokens: Loose<'a>,
        "output_tokens" output_tokens: Loose<'a>,
        "input_tokens_details" input_tokens_details: Loose<'a, Box<UsageDetails<'a>>>,
        "output_tokens_details" output_tokens_details: Loose<'a, Box<UsageDetails<'a>>>,
        // as the realtime API calls them
        "input_token_details" input_token_details: Loose<'a, Box<UsageDetails<'a>>>,
        "output_token_details" output_token_details: Loose<'a, Box<UsageDetails<'a>>>,
        "cache_read_input_tokens" cache_read_input_tokens: Loose<'a>,
        "cache_creation_input_tokens" cache_creation_input_tokens: Loose<'a>,
    }

    struct UsageDetails<'a> {
        "cached_tokens" cached_tokens: Loose<'a>,
        "reasoning_tokens" reasoning_tokens: Loose<'a>,
    }
}

impl Document<'_> {
    /// Whether what it says adds to what was said before, so that the same again would change something: arguments of
    /// tools, tools, counts that are summed. All else is learnt once or replaced by itself. When in doubt, it adds up.
    #[rustfmt::skip]
    pub(super) fn adds_up(&self) -> bool {
        // Every member is named here, so that a new one is not forgotten.
        let Self {
            kind: _, object: _, id: _, request_id: _, model: _, system_fingerprint: _, status: _,
            stop_reason: _, index: _, stop_type: _, generated_text: _,
            error: _, error_type: _, code: _, detail: _,
            usage, choices, response, incomplete_details, output, item, message, content, content_block, delta,
            count, input_tokens, details, stop, tokens_evaluated, tokens_predicted,
        } = self;
        let counts = [count, input_tokens, tokens_evaluated, tokens_predicted];
        let absent = counts.into_iter().all(Loose::is_absent)
            && [item, content_block].into_iter().all(Loose::is_absent)
            && usage.is_absent() && response.is_absent() && incomplete_details.is_absent()
            && message.is_absent() && details.is_absent();
        !absent
            || choices.iter().any(Choice::adds_up)
            || [output, content].into_iter().any(|list| list.iter().next().is_some())
            || delta.map().is_some_and(|delta| !delta.partial_json.is_absent())
            || matches!(stop, Loose::Flag(true))
    }
}

impl Choice<'_> {
    fn adds_up(&self) -> bool {
        let Self { index: _, finish_reason: _, delta, message } = self;
        let mut parts = delta.map().into_iter().chain(message.map());
        parts.any(|ChoiceMessage { tool_calls }| tool_calls.iter().next().is_some())
    }
}

/// Token counts as far as they are counts.
#[derive(Default)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(super) struct Counts {
    pub(super) usage: Usage,
    /// One of them was something else.
    pub(super) odd: bool,
}

impl<'a> Read<'a> for Counts {
    fn fill(&mut self, scan: &mut Scanner<'a>) -> Option<()> {
        let mut members = UsageMembers::default();
        members.fill(scan)?;
        *self = members.counts();
        Some(())
    }
}

impl UsageMembers<'_> {
    fn counts(&self) -> Counts {
        let mut odd = false;
        let mut either = |one: &Loose<'_>, other: &Loose<'_>| {
            odd |= [one, other].iter().any(|v| !matches!(v, Loose::Absent | Loose::Number(_)));
            one.number().or(other.number())
        };
        let none = Loose::Absent;
        let input = self.prompt_tokens_details.map().or(self.input_tokens_details.map());
        let input = input.or(self.input_token_details.map());
        let output = self.completion_tokens_details.map().or(self.output_tokens_details.map());
        let output = output.or(self.output_token_details.map());
        let usage = Usage {
            prompt: either(&self.prompt_tokens, &self.input_tokens),
            completion: either(&self.completion_tokens, &self.output_tokens),
            total: either(&self.total_tokens, &none),
            cached: either(input.map_or(&none, |d| &d.cached_tokens), &self.cache_read_input_tokens),
            reasoning: either(output.map_or(&none, |d| &d.reasoning_tokens), &none),
            cache_write: either(&self.cache_creation_input_tokens, &none),
        };
        Counts { usage, odd }
    }
}

/// The reference reader's way, in tests.
#[cfg(test)]
impl<'de> serde::Deserialize<'de> for Counts {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        UsageMembers::deserialize(deserializer).map(|members| members.counts())
    }
}
