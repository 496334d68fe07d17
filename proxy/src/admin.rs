//! The operator's side: health, readiness, metrics and timestamps on demand, on an address of their own.

use crate::app::App;
use crate::proofs::api;
use crate::{bypass, erase, health, status};
use bytes::Bytes;
use colophon_listen::next_connection;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// An admin request has to be whole within this time.
pub(crate) const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves until `stop`. `token` permits to erase and to break the glass.
pub async fn serve(app: Arc<App>, listener: TcpListener, token: Arc<str>, stop: CancellationToken) {
    loop {
        let Some(stream) = next_connection(&listener, "an admin connection", &stop).await else { return };
        let (served, token, stop) = (app.clone(), token.clone(), stop.clone());
        app.tasks.spawn(async move {
            let service = service_fn(move |request| {
                let (app, token) = (served.clone(), token.clone());
                async move { Ok::<_, Infallible>(answer(&app, &token, request).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                _ = connection => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

async fn answer(app: &App, token: &str, request: Request<Incoming>) -> Response<Full<Bytes>> {
    if request.method() == Method::POST && request.uri().path() == "/erase" {
        let answer = erase::answer(&app.ledger, token, request).await;
        if answer.status() == StatusCode::OK
            && let Some(proving) = &app.proving
            && let Err(error) = proving.forget_erased(&app.ledger).await
        {
            let why = format!("the records are erased, but not all proof jobs about them: {error:#}");
            return erase::refused(StatusCode::SERVICE_UNAVAILABLE, &why);
        }
        return answer;
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
    if request.uri().path() == "/statusz" && health::is_read(request.method()) {
        return status::answer(app);
    }
    if !health::is_read(request.method()) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET is served here\n");
    }
    let known = health::of(app, request.uri().path()).await;
    known.unwrap_or_else(|| {
        text(StatusCode::NOT_FOUND, "served here: /livez /readyz /metrics /statusz, and POST /timestamp\n")
    })
}

/// Has the newest checkpoint dated now: receipts of everything logged before can then be fetched with its timestamps.
async fn timestamp(app: &App, method: &Method) -> Response<Full<Bytes>> {
    if *method != Method::POST {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only POST is served here\n");
    }
    let Some(now) = app.ledger.timestamp_now().await else {
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
