//! The APIs that a policy can name.

use std::fmt;
use std::str::FromStr;

/// What a request is, as far as its method and path tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Api {
    /// OpenAI chat completions.
    Chat,
    /// OpenAI completions.
    Completions,
    /// OpenAI responses.
    Responses,
    /// Anthropic messages.
    Messages,
    /// A server's own generation API: TGI's and vLLM's `generate`, llama.cpp's `completion`, `/invocations`, `/vertex`.
    /// The body tells which shape it has.
    Generate,
    /// Embeddings and pooling.
    Embeddings,
    /// Reranking.
    Rerank,
    /// Scoring: how well texts go together.
    Score,
    /// Classification.
    Classify,
    /// Transcription, translation and speech.
    Audio,
    /// A session over a WebSocket.
    Realtime,
    /// Token counts, tokenisation, templates: the model's vocabulary, not the model.
    Tokenize,
    /// What models there are.
    Models,
    /// What state the server is in: health, metrics, version, settings.
    Health,
    /// Controls that leave the model what it is: caches, pausing, cancelling, profiling.
    Admin,
    /// Calls after which another model may answer.
    ModelChange,
    /// No profile names the route.
    Unknown,
}

impl Api {
    /// Every API, in the order of the documentation.
    pub const ALL: [Api; 17] = [
        Api::Chat,
        Api::Completions,
        Api::Responses,
        Api::Messages,
        Api::Generate,
        Api::Embeddings,
        Api::Rerank,
        Api::Score,
        Api::Classify,
        Api::Audio,
        Api::Realtime,
        Api::Tokenize,
        Api::Models,
        Api::Health,
        Api::Admin,
        Api::ModelChange,
        Api::Unknown,
    ];

    /// The word used in policies and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Api::Chat => "chat",
            Api::Completions => "completions",
            Api::Responses => "responses",
            Api::Messages => "messages",
            Api::Generate => "generate",
            Api::Embeddings => "embeddings",
            Api::Rerank => "rerank",
            Api::Score => "score",
            Api::Classify => "classify",
            Api::Audio => "audio",
            Api::Realtime => "realtime",
            Api::Tokenize => "tokenize",
            Api::Models => "models",
            Api::Health => "health",
            Api::Admin => "admin",
            Api::ModelChange => "model-change",
            Api::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no API.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an API")]
pub struct UnknownApi(pub String);

impl FromStr for Api {
    type Err = UnknownApi;

    fn from_str(word: &str) -> Result<Api, UnknownApi> {
        Api::ALL.into_iter().find(|api| api.as_str() == word).ok_or_else(|| UnknownApi(word.to_owned()))
    }
}
