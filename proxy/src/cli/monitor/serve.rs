//! The monitor's metrics, over HTTP.

use crate::admin::connections;
use bytes::Bytes;
use colophon_ledger::monitor::{LogMonitor, Round};
use http::header::{self, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections served at once.
const MAX_CONNECTIONS: usize = 64;

/// What the last look at each log gave.
#[derive(Default)]
pub(super) struct Board(Mutex<BTreeMap<String, Line>>);

#[derive(Clone, Default)]
struct Line {
    size: u64,
    rounds: u64,
    failed: u64,
    standing: u64,
    silent: u64,
    /// When it was last read whole, seconds since the epoch.
    read_at: u64,
    counts: Vec<(String, u64)>,
}

impl Board {
    /// Takes a round in; `None` where the monitor itself failed.
    pub(super) fn put(&self, monitor: &LogMonitor, round: Option<Round>) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut board = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let line = board.entry(monitor.origin().to_owned()).or_default();
        line.rounds += 1;
        line.counts = monitor.counts().map(|(kind, count)| (kind.to_owned(), count)).collect();
        match round {
            Some(round) => {
                (line.size, line.silent) = (round.size, round.silent.len() as u64);
                line.standing = round.found.len() as u64;
                match round.unreachable {
                    Some(_) => line.failed += 1,
                    None => line.read_at = now,
                }
            }
            None => line.failed += 1,
        }
    }

    /// OpenMetrics text.
    fn text(&self) -> String {
        type Value = fn(&Line) -> u64;
        let gauges: [(&str, &str, &str, Value); 6] = [
            ("size", "gauge", "Leaves of the newest checkpoint that holds", |l| l.size),
            ("silent_shards", "gauge", "Shards that should speak and do not", |l| l.silent),
            ("standing", "gauge", "What was wrong at the last look", |l| l.standing),
            ("read_at_seconds", "gauge", "When the log was last read whole", |l| l.read_at),
            ("rounds", "counter", "Looks at the log", |l| l.rounds),
            ("failed", "counter", "Looks that could not read the log, or not remember it", |l| l.failed),
        ];
        let board = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut text = String::new();
        for (name, kind, help, value) in gauges {
            let _ = writeln!(
                text,
                "# HELP colophon_monitor_{name} {help}.\n# TYPE colophon_monitor_{name} {kind}"
            );
            let total = if kind == "counter" { "_total" } else { "" };
            for (log, line) in &board {
                let _ = writeln!(
                    text,
                    "colophon_monitor_{name}{total}{{log=\"{}\"}} {}",
                    label(log),
                    value(line)
                );
            }
        }
        let _ = writeln!(
            text,
            "# HELP colophon_monitor_found Things found wrong since the state folder began.\n# TYPE \
             colophon_monitor_found counter"
        );
        for (log, line) in &board {
            for (kind, count) in &line.counts {
                let _ = writeln!(
                    text,
                    "colophon_monitor_found_total{{log=\"{}\",kind=\"{kind}\"}} {count}",
                    label(log)
                );
            }
        }
        text + "# EOF\n"
    }
}

fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Serves until `stop`.
pub(super) async fn serve(
    board: Arc<Board>,
    listener: TcpListener,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    let answer = move |_, request| {
        let board = board.clone();
        async move { answer(&board, &request) }
    };
    connections(&tasks, listener, MAX_CONNECTIONS, Duration::MAX, stop, answer).await;
}

fn answer(board: &Board, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let (status, kind, body) = match request.uri().path() {
        "/metrics" => {
            (StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", board.text())
        }
        "/livez" | "/healthz" => (StatusCode::OK, "text/plain; charset=utf-8", "ok\n".to_owned()),
        _ => {
            (StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "served here: /livez /metrics\n".to_owned())
        }
    };
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
