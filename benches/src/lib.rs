//! What the contenders of the side-by-side run share: how they say where they listen, how they end, and the messages
//! that go back and forth.
//!
//! The run itself is `cargo xtask bench`; the micro benchmarks are `cargo bench`.

pub mod exchange;

use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// Bytes of the request body and of the whole answer, where nothing else is said: what a short chat takes.
pub const BODY_BYTES: usize = 1536;

/// What asks the upstream for a stream: `Accept` with this value.
pub const EVENT_STREAM: &str = "text/event-stream";

/// Binds a free port of the loopback and says which on standard output, as one line.
///
/// # Errors
/// When there is no port to be had.
pub async fn listen() -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    println!("{}", listener.local_addr()?);
    Ok(listener)
}

/// Ends when the process is asked to.
///
/// # Errors
/// When no signal can be waited for.
pub async fn terminated() -> anyhow::Result<()> {
    signal(SignalKind::terminate())?.recv().await;
    Ok(())
}

/// A chat request whose body is [`BODY_BYTES`] long.
#[must_use]
pub fn request_body() -> String {
    request_body_of(BODY_BYTES)
}

/// A chat request whose body has so many bytes, if it can be as short as that.
#[must_use]
pub fn request_body_of(bytes: usize) -> String {
    let head =
        r#"{"model":"bench-7b","temperature":0.7,"max_tokens":256,"messages":[{"role":"user","content":""#;
    padded(head, r#""}]}"#, bytes)
}

/// A chat completion of [`BODY_BYTES`].
#[must_use]
pub fn answer_body() -> String {
    answer_body_of(BODY_BYTES)
}

/// A chat completion of so many bytes, if it can be as short as that.
#[must_use]
pub fn answer_body_of(bytes: usize) -> String {
    let head = concat!(
        r#"{"id":"chatcmpl-0123456789abcdef0123456789abcdef","object":"chat.completion","created":1790000000,"#,
        r#""model":"bench-7b","choices":[{"index":0,"message":{"role":"assistant","content":""#,
    );
    let tail = concat!(
        r#"","refusal":null,"tool_calls":[]},"logprobs":null,"finish_reason":"stop","stop_reason":null}],"#,
        r#""usage":{"prompt_tokens":310,"total_tokens":566,"completion_tokens":256,"prompt_tokens_details":null}}"#,
    );
    padded(head, tail, bytes)
}

/// One event of a streamed chat completion.
#[must_use]
pub fn chunk(number: usize) -> String {
    format!(
        concat!(
            r#"data: {{"id":"chatcmpl-0123456789abcdef0123456789abcdef","object":"chat.completion.chunk","#,
            r#""created":1790000000,"model":"bench-7b","choices":[{{"index":0,"delta":{{"content":" word{:03}"}},"#,
            r#""logprobs":null,"finish_reason":null}}]}}"#,
            "\n\n"
        ),
        number % 1000
    )
}

/// The end of a streamed chat completion.
pub const LAST_CHUNK: &str = "data: [DONE]\n\n";

fn padded(head: &str, tail: &str, bytes: usize) -> String {
    const TEXT: &str = "The note at the end of a book says who made it, where and when. ";
    let room = bytes.saturating_sub(head.len() + tail.len());
    let text: String = TEXT.chars().cycle().take(room).collect();
    format!("{head}{text}{tail}")
}

#[cfg(test)]
mod tests;
