//! The members of a response that carry meaning, of all APIs together: they hardly overlap, and gateways serve one
//! API's answer on another's route. [`super::reading`] decides which of them count.
//!
//! What only few events have is boxed: it keeps the structs small that are filled for every event.

use serde::Deserialize;

use super::Usage;
use super::loose::{List, Loose};

/// One JSON response, or one event of a stream.
#[derive(Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(super) struct Document<'a> {
    #[serde(rename = "type")]
    pub(super) kind: Loose<'a>,
    pub(super) object: Loose<'a>,
    pub(super) id: Loose<'a>,
    /// vLLM's token-level API calls the id so.
    pub(super) request_id: Loose<'a>,
    pub(super) model: Loose<'a>,
    pub(super) system_fingerprint: Loose<'a>,
    pub(super) usage: Loose<'a, Box<UsageMembers<'a>>>,

    // OpenAI chat and completions
    pub(super) choices: List<Choice<'a>>,

    // OpenAI responses; `response` wraps the same members in a stream's events
    pub(super) response: Loose<'a, Box<Inner<'a>>>,
    pub(super) status: Loose<'a>,
    pub(super) incomplete_details: Loose<'a, Box<Incomplete<'a>>>,
    pub(super) output: List<Typed<'a>>,
    pub(super) item: Loose<'a, Typed<'a>>,

    // Anthropic messages; `message` wraps them in `message_start`, and is a text in errors
    pub(super) message: Loose<'a, Box<Inner<'a>>>,
    pub(super) content: List<Typed<'a>>,
    pub(super) content_block: Loose<'a, Typed<'a>>,
    pub(super) delta: Loose<'a, Delta<'a>>,
    pub(super) stop_reason: Loose<'a>,

    // TGI
    pub(super) generated_text: Loose<'a>,
    pub(super) details: Loose<'a, Box<Details<'a>>>,

    // llama.cpp's own /completion
    pub(super) index: Loose<'a>,
    pub(super) stop: Loose<'a>,
    pub(super) stop_type: Loose<'a>,
    pub(super) tokens_evaluated: Loose<'a>,
    pub(super) tokens_predicted: Loose<'a>,

    // errors, in every server's shape
    pub(super) error: Loose<'a, Box<ErrorMembers<'a>>>,
    pub(super) error_type: Loose<'a>,
    pub(super) code: Loose<'a>,
    pub(super) detail: Loose<'a>,
}

/// What Anthropic's `message_start` and the responses API's events wrap.
#[derive(Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(super) struct Inner<'a> {
    pub(super) id: Loose<'a>,
    pub(super) model: Loose<'a>,
    pub(super) usage: Loose<'a, Box<UsageMembers<'a>>>,
    pub(super) status: Loose<'a>,
    pub(super) incomplete_details: Loose<'a, Box<Incomplete<'a>>>,
    pub(super) output: List<Typed<'a>>,
    pub(super) error: Loose<'a, Box<ErrorMembers<'a>>>,
}

/// One choice, whole or a chunk of it.
#[derive(Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(super) struct Choice<'a> {
    pub(super) index: Loose<'a>,
    pub(super) finish_reason: Loose<'a>,
    pub(super) delta: Loose<'a, ChoiceMessage<'a>>,
    pub(super) message: Loose<'a, Box<ChoiceMessage<'a>>>,
}

/// A choice's message, or the part of it that a chunk adds.
#[derive(Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(super) struct ChoiceMessage<'a> {
    pub(super) tool_calls: List<ToolCall<'a>>,
}

/// A tool call; its arguments arrive over many chunks under the same index.
#[derive(Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(super) struct ToolCall<'a> {
    pub(super) index: Loose<'a>,
}

/// Anthropic's `message_delta`.
#[derive(Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(super) struct Delta<'a> {
    pub(super) stop_reason: Loose<'a>,
}

/// A content block or an output item.
#[derive(Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(super) struct Typed<'a> {
    #[serde(rename = "type")]
    pub(super) kind: Loose<'a>,
}

/// Why a response of the responses API is incomplete.
#[derive(Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(super) struct Incomplete<'a> {
    pub(super) reason: Loose<'a>,
}

/// TGI's `details`.
#[derive(Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(super) struct Details<'a> {
    pub(super) finish_reason: Loose<'a>,
    pub(super) generated_tokens: Loose<'a>,
    pub(super) input_length: Loose<'a>,
}

/// An error object.
#[derive(Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(super) struct ErrorMembers<'a> {
    #[serde(rename = "type")]
    pub(super) kind: Loose<'a>,
    pub(super) code: Loose<'a>,
    pub(super) message: Loose<'a>,
}

/// Token counts under the names of OpenAI and Anthropic.
#[derive(Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(super) struct UsageMembers<'a> {
    prompt_tokens: Loose<'a>,
    completion_tokens: Loose<'a>,
    total_tokens: Loose<'a>,
    prompt_tokens_details: Loose<'a, Box<UsageDetails<'a>>>,
    completion_tokens_details: Loose<'a, Box<UsageDetails<'a>>>,
    input_tokens: Loose<'a>,
    output_tokens: Loose<'a>,
    input_tokens_details: Loose<'a, Box<UsageDetails<'a>>>,
    output_tokens_details: Loose<'a, Box<UsageDetails<'a>>>,
    cache_read_input_tokens: Loose<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct UsageDetails<'a> {
    cached_tokens: Loose<'a>,
    reasoning_tokens: Loose<'a>,
}

impl UsageMembers<'_> {
    /// The counts, and whether one of them was not a count.
    pub(super) fn usage(&self) -> (Usage, bool) {
        let mut odd = false;
        let mut either = |one: &Loose<'_>, other: &Loose<'_>| {
            odd |= [one, other].iter().any(|v| !matches!(v, Loose::Absent | Loose::Number(_)));
            one.number().or(other.number())
        };
        let none = Loose::Absent;
        let input = self.prompt_tokens_details.map().or(self.input_tokens_details.map());
        let output = self.completion_tokens_details.map().or(self.output_tokens_details.map());
        let usage = Usage {
            prompt: either(&self.prompt_tokens, &self.input_tokens),
            completion: either(&self.completion_tokens, &self.output_tokens),
            total: either(&self.total_tokens, &none),
            cached: either(input.map_or(&none, |d| &d.cached_tokens), &self.cache_read_input_tokens),
            reasoning: either(output.map_or(&none, |d| &d.reasoning_tokens), &none),
        };
        (usage, odd)
    }
}
