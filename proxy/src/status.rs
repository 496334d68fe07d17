//! `/statusz`: what this process is and how it stands, in one page of JSON for whoever is called at night. No secret is in it.

use crate::app::App;
use http::StatusCode;
use http::header::{self, HeaderValue};
use http_body_util::Full;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::time::SystemTime;

/// The answer.
pub(crate) fn answer(app: &App) -> http::Response<Full<bytes::Bytes>> {
    let mut response = crate::admin::text(StatusCode::OK, format!("{:#}\n", status(app)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn status(app: &App) -> Value {
    let (ledger, metrics) = (&app.ledger, &app.metrics);
    let (shard, head, counts) = (ledger.shard(), ledger.head(), ledger.counters());
    let counters = counts.counters;
    let in_force = app.policy.load();
    let up = SystemTime::now().duration_since(app.started).unwrap_or_default();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "started": moment(app.started),
        "up_seconds": up.as_secs(),
        "draining": app.draining(),
        "upstream": &**app.upstream.url(),
        "shard": {"name": shard.name, "key_ends": time(shard.not_after)},
        "log": {"origin": head.checkpoint.origin, "size": head.checkpoint.size},
        "policy": {
            "name": in_force.policy.name(),
            "digest": hex::encode(in_force.digest),
            "file_is_wrong": metrics.policy_reload_failed.get() == 1,
            "waits_for_the_log": metrics.policy_reload_pending.get() == 1,
            "warnings": in_force.policy.warnings().iter().map(ToString::to_string).collect::<Vec<_>>(),
        },
        "durability": ledger.durability().as_str(),
        "keeps_records": ledger.healthy(),
        "bypass": ledger.bypassing().is_some(),
        "exchanges": {
            "received": counters.received,
            "open": counters.open,
            "recorded": counters.recorded,
            "passed": counters.passed,
            "refused": counters.refused,
            "lost": counters.lost,
            "degraded": metrics.degraded.get(),
        },
        "waiting_for_the_log": {
            "records": counts.backlog,
            "seconds": counts.backlog_age,
            "wal_bytes": counts.wal_bytes,
        },
        "dated": ledger.beacon_time().map(time),
        "witnesses_agree_on": ledger.witnesses().map(|witnesses| witnesses.quorum_size()),
        "evidence_seconds_old": ledger.key_evidence().map(|evidence| evidence.age),
        "tls_certificate_ends": app.metrics.certificate_ends().map(|seconds| time(seconds * 1_000_000)),
    })
}

/// RFC 3339.
pub(crate) fn moment(time: SystemTime) -> String {
    Timestamp::try_from(time).map(|time| time.to_string()).unwrap_or_default()
}

/// Of µs since the epoch, RFC 3339.
pub(crate) fn time(micros: u64) -> String {
    let micros = i64::try_from(micros).unwrap_or(i64::MAX);
    Timestamp::from_microsecond(micros).map(|time| time.to_string()).unwrap_or_default()
}
