//! The operator's side of the log role: `--health` and `--admin`.

use super::{MAX_POST, READ_TIMEOUT, Shared, json_response, refused, response};
use crate::admin::dated_now;
use crate::erase::Access;
use crate::metrics::{text, vouching};
use crate::status::{moment, time};
use bytes::Bytes;
use colophon_ledger::LogService;
use colophon_ledger::remote::{Accepted, Refused};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fmt;
use std::time::SystemTime;

const TEXT: &str = "text/plain; charset=utf-8";

/// What `--admin` serves.
pub(super) fn answer_admin(
    shared: &Shared,
    request: Request<Incoming>,
    certified: bool,
) -> BoxFuture<'_, Response<Full<Bytes>>> {
    match (request.method(), request.uri().path()) {
        (&Method::POST, "/revoke") => revoke(shared, request).boxed(),
        (&Method::POST, "/timestamp") => async { dated_now(shared.service.timestamp_now().await) }.boxed(),
        (&Method::GET | &Method::HEAD, "/statusz") => {
            let page = format!("{:#}\n", status(shared));
            async move { response(StatusCode::OK, "application/json", page.into()) }.boxed()
        }
        _ => answer_health(shared, request, certified),
    }
}

/// What `--health` serves, and `--admin` too.
pub(super) fn answer_health(
    shared: &Shared,
    request: Request<Incoming>,
    _: bool,
) -> BoxFuture<'_, Response<Full<Bytes>>> {
    let (status, kind, body) = match request.uri().path() {
        "/livez" | "/healthz" => (StatusCode::OK, TEXT, "ok\n".to_owned()),
        "/readyz" if shared.service.is_running() => (StatusCode::OK, TEXT, "ready\n".to_owned()),
        "/readyz" => (StatusCode::SERVICE_UNAVAILABLE, TEXT, "the log's task has ended\n".to_owned()),
        "/metrics" => match text([&shared.metrics]) {
            Ok(metrics) => {
                (StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", metrics)
            }
            Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, TEXT, "metrics cannot be written\n".to_owned()),
        },
        _ => {
            let served = "served here: /livez /readyz /metrics; on --admin also /statusz, POST /timestamp and POST /revoke\n";
            (StatusCode::NOT_FOUND, TEXT, served.to_owned())
        }
    };
    async move { response(status, kind, body.into()) }.boxed()
}

/// How the log stands, for whoever is called at night. No secret is in it.
fn status(shared: &Shared) -> Value {
    let (service, head) = (&shared.service, shared.service.head());
    let counts = service.counts();
    let up = SystemTime::now().duration_since(shared.started).unwrap_or_default();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "role": "log",
        "started": moment(shared.started),
        "up_seconds": up.as_secs(),
        "log": {"origin": head.checkpoint.origin, "size": head.checkpoint.size},
        "keeps_leaves": service.is_running(),
        "posts": {
            "accepted": counts.accepted,
            "refused": counts.refused,
            "busy": counts.busy,
            "forks": counts.forks,
        },
        "dated": service.beacon_time().map(time),
        "witnesses_agree_on": service.witnesses().map(|witnesses| witnesses.quorum_size()),
    })
}

/// `POST /revoke`: how `colophon key revoke` reaches a log that runs.
async fn revoke(shared: &Shared, request: Request<Incoming>) -> Response<Full<Bytes>> {
    if !Access::permits(&shared.admin_token, request.headers()) {
        let why = "the token in keys/log-admin of the log's data folder is needed";
        return refused(StatusCode::UNAUTHORIZED, "unauthorized", why);
    }
    let body = Limited::new(request.into_body(), MAX_POST).collect();
    let body = match tokio::time::timeout(READ_TIMEOUT, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        _ => return refused(StatusCode::BAD_REQUEST, "body", "the body is too long or did not come whole"),
    };
    let what = serde_json::from_slice::<Revoking>(&body).ok();
    let Some((reason, what)) = what.and_then(|what| Some((what.reason.parse().ok()?, what))) else {
        let form =
            r#"write {"shard": "<name>/<16 hex digits>", "reason": "key-compromise", "from": <µs or null>}"#;
        return refused(StatusCode::BAD_REQUEST, "unfit", form);
    };
    match shared.service.revoke(&what.shard, reason, what.from).await {
        Ok(logged) => {
            tracing::warn!(shard = what.shard, leaf = logged.index, "revoked: nothing more of it is logged");
            json_response(StatusCode::OK, &Accepted::from(&logged))
        }
        Err(refusal) => {
            let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
            json_response(status, &Refused::from(&refusal))
        }
    }
}

/// The body of `POST /revoke`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoking {
    /// The shard, whole.
    pub shard: String,
    /// A name of RFC 5280 section 5.3.1.
    pub reason: String,
    /// What its key signed from then on does not count, µs; absent: from now on.
    pub from: Option<u64>,
}

/// What is counted, read when asked.
pub(super) fn metrics(service: &LogService) -> Registry {
    let mut registry = Registry::with_prefix("colophon");
    registry.register_collector(Box::new(LogCollector(service.clone())));
    registry
}

#[derive(Debug)]
struct LogCollector(LogService);

impl Collector for LogCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let LogCollector(service) = self;
        let counts = service.counts();
        let size = ConstGauge::new(i64::try_from(service.head().size()).unwrap_or(i64::MAX));
        let help = "Leaves under the newest checkpoint";
        size.encode(encoder.encode_descriptor("log_size", help, None, size.metric_type())?)?;
        for (name, help, count) in [
            ("log_accepted", "Posts that are in the log", counts.accepted),
            ("log_refused", "Posts that the log does not take", counts.refused),
            ("log_busy", "Posts that have to be sent again", counts.busy),
            ("log_forks", "Second statements for one place of a shard's chain", counts.forks),
        ] {
            let metric = ConstCounter::new(count);
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)?;
        }
        vouching::encode(service.timestamps(), service.beacon_time(), service.witnesses(), encoder)
    }
}
