//! The operator's side: health, readiness, metrics, timestamps and CPU profiles on demand, on an address of their own.

use crate::app::App;
use crate::profile::{self, Profiler};
use crate::proofs::api;
use crate::{bypass, erase, health, status};
use bytes::Bytes;
use colophon_ledger::anchor::DatedNow;
use colophon_listen::next_connection;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// An admin request has to be whole within this time.
pub(crate) const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections served at once.
const CONNECTIONS: usize = 256;

/// What only the operator's side has.
pub(crate) struct Operators {
    /// Permits to erase and to break the glass.
    pub(crate) token: Arc<str>,
    /// Who takes CPU profiles.
    pub(crate) profiler: Profiler,
}

/// Serves until `stop`.
pub(crate) async fn serve(
    app: Arc<App>,
    listener: TcpListener,
    operators: Arc<Operators>,
    stop: CancellationToken,
) {
    let tasks = app.tasks.clone();
    let answer = move |from, request| {
        let (app, operators) = (app.clone(), operators.clone());
        async move { answer(&app, &operators, from, request).await }
    };
    connections(&tasks, listener, CONNECTIONS, Duration::MAX, stop, answer).await;
}

/// Serves connections until `stop`, `most` at once: whoever scrapes in a storm waits in the listen queue. A connection has `life`,
/// however many requests it makes.
pub(crate) async fn connections<F, A>(
    tasks: &TaskTracker,
    listener: TcpListener,
    most: usize,
    life: Duration,
    stop: CancellationToken,
    answer: F,
) where
    F: Fn(IpAddr, Request<Incoming>) -> A + Clone + Send + 'static,
    A: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(most));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let Some(stream) = next_connection(&listener, "a connection of an operator", &stop).await else {
            return;
        };
        let Ok(from) = stream.peer_addr() else { continue };
        let (answer, stop) = (answer.clone(), stop.clone());
        tasks.spawn(async move {
            let service = service_fn(move |request| {
                let answered = answer(from.ip(), request);
                async move { Ok::<_, Infallible>(answered.await) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                _ = tokio::time::timeout(life, connection) => {}
                () = stop.cancelled() => {}
            }
            drop(place);
        });
    }
}

/// Erases records, and what is kept of them for proofs.
async fn erased(app: &App, token: &str, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let answer = erase::answer(&app.ledger, token, request).await;
    if answer.status() == StatusCode::OK
        && let Some(proving) = &app.proving
        && let Err(error) = proving.forget_erased(&app.ledger).await
    {
        let why = format!("the records are erased, but not all proof jobs about them: {error:#}");
        return erase::refused(StatusCode::SERVICE_UNAVAILABLE, &why);
    }
    answer
}

async fn answer(
    app: &Arc<App>,
    operators: &Operators,
    from: IpAddr,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let token = &operators.token;
    if request.method() == Method::POST && request.uri().path() == "/erase" {
        // In a task of its own: what is begun is done to its end, whether or not the operator stays to hear of it.
        let (erasing, token) = (app.clone(), operators.token.clone());
        let done = app.tasks.spawn(async move { erased(&erasing, &token, request).await });
        return done
            .await
            .unwrap_or_else(|_| erase::refused(StatusCode::INTERNAL_SERVER_ERROR, "it broke off"));
    }
    if request.uri().path() == "/bypass" {
        return bypass::answer(&app.ledger, token, request).await;
    }
    if api::is_ours(request.uri().path()) {
        return api::answer(app, token, request).await;
    }
    if request.uri().path() == "/timestamp" {
        return timestamp(app, request.method()).await;
    }
    if request.uri().path() == profile::PATH {
        return operators.profiler.answer(from, &request).await;
    }
    if request.uri().path() == "/statusz" && health::is_read(request.method()) {
        return status::answer(app);
    }
    if !health::is_read(request.method()) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET is served here\n");
    }
    let known = health::of(app, request.uri().path()).await;
    known.unwrap_or_else(|| {
        let served =
            "served here: /livez /readyz /metrics /statusz /debug/pprof/profile, and POST /timestamp\n";
        text(StatusCode::NOT_FOUND, served)
    })
}

/// Has the newest checkpoint dated now: receipts of everything logged before can then be fetched with its timestamps.
async fn timestamp(app: &App, method: &Method) -> Response<Full<Bytes>> {
    if *method != Method::POST {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only POST is served here\n");
    }
    dated_now(app.ledger.timestamp_now().await)
}

/// What came of it, for whoever asked.
pub(crate) fn dated_now(now: Option<DatedNow>) -> Response<Full<Bytes>> {
    let Some(now) = now else {
        return text(StatusCode::CONFLICT, "no TSA is configured (--tsa)\n");
    };
    let failed: Vec<_> = now.failed.iter().map(|(tsa, why)| json!({"tsa": tsa, "why": why})).collect();
    let status = if now.dated.is_empty() { StatusCode::BAD_GATEWAY } else { StatusCode::OK };
    let json = json!({"size": now.size, "dated": now.dated, "failed": failed});
    let mut response = text(status, format!("{json}\n"));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

pub(crate) fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
