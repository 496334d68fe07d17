//! A small text server for the demo: OpenAI-compatible, streamed or not. It is no model: it answers from a fixed text.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Either, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The only model there is, and none.
pub(super) const MODEL: &str = "colophon-demo-text";

/// What it says, word by word.
const TEXT: &str = "I am the demo's text server, not a model: I say the same to everyone. \
    But these bytes are now in a signed log, and a receipt can show that nobody changed them since.";

/// Between the words of a stream.
const PAUSE: Duration = Duration::from_millis(12);

/// Largest request it reads.
const MAX_REQUEST: usize = 1 << 20;

type Body = Either<Full<Bytes>, StreamBody<Words>>;
type Words = std::pin::Pin<Box<dyn futures_util::Stream<Item = Result<Frame<Bytes>, Infallible>> + Send>>;

/// Listens on loopback and serves until `stop`.
pub(super) async fn start(tasks: &TaskTracker, stop: CancellationToken) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let connections = tasks.clone();
    tasks.spawn(async move {
        loop {
            let stream = tokio::select! {
                Ok((stream, _)) = listener.accept() => stream,
                () = stop.cancelled() => return,
            };
            let stop = stop.clone();
            connections.spawn(async move {
                let _ = stream.set_nodelay(true);
                let service = service_fn(|request| async { Ok::<_, Infallible>(answer(request).await) });
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                tokio::select! {
                    _ = connection => {}
                    () = stop.cancelled() => {}
                }
            });
        }
    });
    Ok(address)
}

async fn answer(request: Request<Incoming>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    match (&parts.method, parts.uri.path()) {
        (&Method::GET, "/health") => json_answer(StatusCode::OK, &json!({"status": "ok"})),
        (&Method::GET, "/v1/models") => json_answer(
            StatusCode::OK,
            &json!({"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "colophon demo"}]}),
        ),
        (&Method::POST, path @ ("/v1/chat/completions" | "/v1/completions")) => {
            let chat = path == "/v1/chat/completions";
            let body = Limited::new(body, MAX_REQUEST).collect().await.map(|body| body.to_bytes());
            match body.ok().and_then(|body| serde_json::from_slice::<Value>(&body).ok()) {
                Some(asked) if asked["stream"] == json!(true) => stream(chat),
                Some(_) => whole(chat),
                None => problem(StatusCode::BAD_REQUEST, "the request body is not JSON"),
            }
        }
        _ => problem(
            StatusCode::NOT_FOUND,
            "the demo's text server has /health, /v1/models, /v1/chat/completions and /v1/completions",
        ),
    }
}

fn whole(chat: bool) -> Response<Body> {
    let words = TEXT.split_whitespace().count();
    let choice = if chat {
        json!({"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"})
    } else {
        json!({"index": 0, "text": TEXT, "finish_reason": "stop"})
    };
    let object = if chat { "chat.completion" } else { "text_completion" };
    json_answer(
        StatusCode::OK,
        &json!({
            "id": "demo-1", "object": object, "created": 0, "model": MODEL, "choices": [choice],
            "usage": {"prompt_tokens": 0, "completion_tokens": words, "total_tokens": words},
        }),
    )
}

fn stream(chat: bool) -> Response<Body> {
    let mut events: Vec<String> = TEXT.split_inclusive(' ').map(|word| event(chat, Some(word))).collect();
    events.push(event(chat, None));
    events.push("data: [DONE]\n\n".to_owned());
    let words = futures_util::stream::unfold(events.into_iter(), |mut events| async move {
        let event = events.next()?;
        tokio::time::sleep(PAUSE).await;
        Some((Ok(Frame::data(Bytes::from(event))), events))
    });
    let mut response = Response::new(Either::Right(StreamBody::new(Box::pin(words) as Words)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response
}

fn event(chat: bool, word: Option<&str>) -> String {
    let finish = if word.is_none() { json!("stop") } else { Value::Null };
    let choice = match (chat, word) {
        (true, Some(word)) => json!({"index": 0, "delta": {"content": word}, "finish_reason": finish}),
        (true, None) => json!({"index": 0, "delta": {}, "finish_reason": finish}),
        (false, word) => json!({"index": 0, "text": word.unwrap_or_default(), "finish_reason": finish}),
    };
    let object = if chat { "chat.completion.chunk" } else { "text_completion" };
    let event = json!({"id": "demo-1", "object": object, "created": 0, "model": MODEL, "choices": [choice]});
    format!("data: {event}\n\n")
}

fn problem(status: StatusCode, message: &str) -> Response<Body> {
    json_answer(
        status,
        &json!({"error": {"message": message, "type": "invalid_request_error", "param": null, "code": null}}),
    )
}

fn json_answer(status: StatusCode, value: &Value) -> Response<Body> {
    let mut response = Response::new(Either::Left(Full::new(Bytes::from(value.to_string()))));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
