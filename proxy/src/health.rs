//! What a cluster's probes and scrapers may see: `/livez`, `/readyz`, `/metrics`, and whether the upstream answers. On an
//! address of its own (`--health`), so that nothing else of the operator's side is reachable with it.

use crate::admin::{connections, text};
use crate::app::App;
use crate::request_body::RequestBody;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Connections served at once.
const CONNECTIONS: usize = 64;
/// A connection has so long, however many requests it makes.
const CONNECTION_LIFE: Duration = Duration::from_secs(60);
/// Whether the upstream answers is waited for so long. Probes give up before.
const PROBE_TIMEOUT: Duration = Duration::from_secs(15);
/// Behind it is the upstream's own path.
const UPSTREAM: &str = "/upstream";

/// Serves until `stop`. The upstream is asked for `paths` and for no others: what it answers is not recorded.
pub(crate) async fn serve(
    app: Arc<App>,
    listener: TcpListener,
    paths: Arc<[String]>,
    stop: CancellationToken,
) {
    let tasks = app.tasks.clone();
    let answer = move |_, request| {
        let (app, paths) = (app.clone(), paths.clone());
        async move { answer(&app, &paths, request).await }
    };
    connections(&tasks, listener, CONNECTIONS, CONNECTION_LIFE, stop, answer).await;
}

async fn answer(app: &App, paths: &[String], request: Request<Incoming>) -> Response<Full<Bytes>> {
    if !is_read(request.method()) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET is served here\n");
    }
    if let Some(known) = of(app, request.uri().path()).await {
        return known;
    }
    let target = request.uri().path_and_query().map_or("", |target| target.as_str());
    match target.strip_prefix(UPSTREAM) {
        Some("") if app.upstream.reachable().await => text(StatusCode::OK, "the upstream can be reached\n"),
        Some("") => text(StatusCode::SERVICE_UNAVAILABLE, "the upstream cannot be reached\n"),
        Some(path) if paths.iter().any(|known| known == path) => {
            let path = path.to_owned();
            asked(app, &path, request).await
        }
        _ => text(
            StatusCode::NOT_FOUND,
            "served here: /livez /readyz /metrics, /upstream, and /upstream/PATH for each --probe-path\n",
        ),
    }
}

pub(crate) fn is_read(method: &Method) -> bool {
    *method == Method::GET || *method == Method::HEAD
}

/// `/livez`, `/readyz` and `/metrics`.
pub(crate) async fn of(app: &App, path: &str) -> Option<Response<Full<Bytes>>> {
    let answer = match path {
        "/livez" | "/healthz" => text(StatusCode::OK, "ok\n"),
        "/readyz" if app.draining() => text(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
        // Under `Ignore` answers go on without a WAL, counted: to be unready would make of that an outage.
        "/readyz"
            if app.policy.load().policy.may_refuse()
                && !app.ledger.healthy()
                && app.ledger.bypassing().is_none() =>
        {
            text(StatusCode::SERVICE_UNAVAILABLE, "the ledger cannot keep records\n")
        }
        "/readyz" if !app.upstream.reachable().await => {
            text(StatusCode::SERVICE_UNAVAILABLE, "the upstream cannot be reached\n")
        }
        "/readyz" => text(StatusCode::OK, "ready\n"),
        "/metrics" => match app.metrics.encode() {
            Ok(metrics) => {
                let mut response = text(StatusCode::OK, metrics);
                let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
                response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
                response
            }
            Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be written\n"),
        },
        _ => return None,
    };
    Some(answer)
}

/// The upstream's status at a path, and nothing else of its answer.
async fn asked(app: &App, path: &str, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (mut parts, _) = request.into_parts();
    let Ok(uri) = path.parse::<Uri>() else {
        return text(StatusCode::NOT_FOUND, "no path\n");
    };
    parts.uri = uri;
    parts.headers.remove(header::CONTENT_LENGTH);
    let sent = async {
        let head = app.upstream.head(parts)?;
        app.upstream.send(head, RequestBody::empty(), Instant::now()).await
    };
    match tokio::time::timeout(PROBE_TIMEOUT, sent).await {
        Ok(Ok(answer)) => text(answer.status(), ""),
        Ok(Err(error)) => text(StatusCode::BAD_GATEWAY, format!("{error}\n")),
        Err(_) => text(StatusCode::GATEWAY_TIMEOUT, "the upstream did not answer in time\n"),
    }
}
