//! Connections of servers that answer little and seldom: HTTP/1.1, held in memory, ended in order at a stop.

use std::convert::Infallible;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::never_asked;
use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

/// The first request's head has to be whole within this time.
const FIRST_HEAD: Duration = Duration::from_secs(10);

/// A later one's, from the answer before on: whoever asks keeps its connection for a minute ([`super::ask`]), and one that is closed by
/// both sides at once loses a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);

/// Serves one connection until it ends; at `stop` the answer under way is its last. Bodies are for `answer` to bound.
pub async fn serve<S, A, F>(stream: S, stop: CancellationToken, answer: A)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<Full<Bytes>>>,
{
    let asked = AtomicBool::new(false);
    let service = service_fn(|request| {
        asked.store(true, Ordering::Relaxed);
        let answered = answer(request);
        async move { Ok::<_, Infallible>(answered.await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = never_asked(&asked, FIRST_HEAD) => return,
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// Writes the file of `--ready-file`, whole or not at all.
///
/// # Errors
/// It cannot be written.
pub fn write_ready(path: &Path, ready: &serde_json::Value) -> anyhow::Result<()> {
    let part = path.with_extension("part");
    std::fs::write(&part, ready.to_string())
        .and_then(|()| std::fs::rename(&part, path))
        .with_context(|| format!("--ready-file {}", path.display()))
}
