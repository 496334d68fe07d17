//! The semantic conventions for generative AI (OpenTelemetry, `gen-ai` 1.38): all names in one table, because they still move.

use colophon_policies::Api;

/// Attributes of spans and metrics.
pub mod attribute {
    #![allow(missing_docs, reason = "each is named by its value")]

    pub const OPERATION: &str = "gen_ai.operation.name";
    pub const PROVIDER: &str = "gen_ai.provider.name";
    pub const REQUEST_MODEL: &str = "gen_ai.request.model";
    pub const RESPONSE_MODEL: &str = "gen_ai.response.model";
    pub const RESPONSE_ID: &str = "gen_ai.response.id";
    pub const FINISH_REASONS: &str = "gen_ai.response.finish_reasons";
    pub const INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
    pub const OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";
    pub const TOKEN_TYPE: &str = "gen_ai.token.type";
    pub const ERROR_TYPE: &str = "error.type";
    pub const METHOD: &str = "http.request.method";
    pub const STATUS: &str = "http.response.status_code";
    pub const PATH: &str = "url.path";
    pub const SCHEME: &str = "url.scheme";
    pub const RECORD: &str = "colophon.record";
    pub const LEVEL: &str = "colophon.level";
    pub const LEVEL_ASKED: &str = "colophon.level.asked";
    pub const RULE: &str = "colophon.rule";
    pub const OUTCOME: &str = "colophon.outcome";
    pub const FIRST_BYTE: &str = "colophon.first_byte";
}

/// The provider is whoever runs the server; nobody tells a proxy who that is.
pub const PROVIDER: &str = "_OTHER";

/// `gen_ai.operation.name`; none for what generates nothing.
pub fn operation(api: Api) -> Option<&'static str> {
    match api {
        Api::Chat | Api::Responses | Api::Messages => Some("chat"),
        Api::Completions => Some("text_completion"),
        Api::Generate => Some("generate_content"),
        Api::Embeddings => Some("embeddings"),
        // Names of our own, where the conventions have none.
        Api::Rerank | Api::Score | Api::Classify | Api::Audio | Api::Realtime => Some(api.as_str()),
        Api::Tokenize | Api::Models | Api::Health | Api::Admin | Api::ModelChange | Api::Unknown => None,
    }
}

/// A name as Prometheus has it, and as it is by the conventions.
pub struct Named {
    /// With `_` for `.`; of a metric with its unit at the end.
    pub scraped: &'static str,
    /// The conventions' own.
    pub name: &'static str,
    /// The conventions' unit; none of a label.
    pub unit: &'static str,
}

/// Time of a whole answer.
pub const REQUEST_DURATION: Named = Named {
    scraped: "gen_ai_server_request_duration_seconds",
    name: "gen_ai.server.request.duration",
    unit: "s",
};
/// Time to a stream's first byte.
pub const TIME_TO_FIRST_TOKEN: Named = Named {
    scraped: "gen_ai_server_time_to_first_token_seconds",
    name: "gen_ai.server.time_to_first_token",
    unit: "s",
};
/// Time of each later token.
pub const TIME_PER_OUTPUT_TOKEN: Named = Named {
    scraped: "gen_ai_server_time_per_output_token_seconds",
    name: "gen_ai.server.time_per_output_token",
    unit: "s",
};
/// Tokens.
pub const TOKEN_USAGE: Named =
    Named { scraped: "gen_ai_client_token_usage", name: "gen_ai.client.token.usage", unit: "{token}" };
/// All metrics of the conventions.
pub const METRICS: [Named; 4] = [REQUEST_DURATION, TIME_TO_FIRST_TOKEN, TIME_PER_OUTPUT_TOKEN, TOKEN_USAGE];

/// What is done.
pub const OPERATION_LABEL: Named = label("gen_ai_operation_name", attribute::OPERATION);
/// By whom.
pub const PROVIDER_LABEL: Named = label("gen_ai_provider_name", attribute::PROVIDER);
/// The model that answers.
pub const MODEL_LABEL: Named = label("gen_ai_response_model", attribute::RESPONSE_MODEL);
/// Prompt or answer.
pub const TOKEN_TYPE_LABEL: Named = label("gen_ai_token_type", attribute::TOKEN_TYPE);
/// How it failed.
pub const ERROR_LABEL: Named = label("error_type", attribute::ERROR_TYPE);
/// All labels of these metrics.
pub const LABELS: [Named; 5] = [OPERATION_LABEL, PROVIDER_LABEL, MODEL_LABEL, TOKEN_TYPE_LABEL, ERROR_LABEL];

const fn label(scraped: &'static str, name: &'static str) -> Named {
    Named { scraped, name, unit: "" }
}

/// Upper bounds of `gen_ai.server.request.duration`, seconds.
pub const DURATION: [f64; 14] =
    [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];

/// Upper bounds of `gen_ai.server.time_to_first_token`, seconds.
pub const FIRST_TOKEN: [f64; 16] =
    [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// Upper bounds of `gen_ai.server.time_per_output_token`, seconds.
pub const EACH_TOKEN: [f64; 13] = [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5];

/// Upper bounds of `gen_ai.client.token.usage`, tokens.
pub const TOKENS: [f64; 14] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];
