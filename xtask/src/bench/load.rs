//! wrk, and the client of many streams.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::program;
use crate::shell::{answers, run_quietly, step};

/// What wrk saw.
#[derive(Clone, Copy)]
pub(super) struct Load {
    pub(super) requests: f64,
    pub(super) seconds: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
}

/// wrk from Debian, installed where that is allowed.
pub(super) fn ensure_wrk() -> Result<()> {
    if Path::new("/usr/bin/wrk").exists() || answers("wrk", "-v") {
        return Ok(());
    }
    step("wrk, from the distribution", || {
        apt("wrk").context("the load generator wrk is needed: apt-get install wrk")
    })
}

/// h2load, the same way.
pub(super) fn ensure_h2load() -> Result<()> {
    if answers("h2load", "--version") {
        return Ok(());
    }
    step("h2load, from the distribution", || {
        apt("nghttp2-client").context("the load generator h2load is needed: apt-get install nghttp2-client")
    })
}

fn apt(package: &str) -> Result<()> {
    run_quietly(Command::new("apt-get").args(["install", "--yes", "--no-install-recommends", package]))
        .map(drop)
}

/// The request's body, for those that read it from a file.
const REQUEST: &str = "request.json";

/// The script that tells wrk what to send, and what to say at the end.
pub(super) fn write_script(folder: &Path, body: &str) -> Result<()> {
    if body.contains("]==]") {
        bail!("the body cannot stand in a Lua string");
    }
    let script = format!(
        r#"wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = [==[{body}]==]
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("RESULT %d %d %d %d %d\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), e.connect + e.read + e.write + e.status + e.timeout))
end
"#
    );
    fs::write(folder.join("post.lua"), script)?;
    fs::write(folder.join(REQUEST), body)?;
    Ok(())
}

/// POSTs for `time` over `connections`.
pub(super) fn wrk(
    folder: &Path,
    cores: &[usize],
    server: SocketAddr,
    connections: usize,
    time: Duration,
) -> Result<Load> {
    wrk_with(folder, cores, server, &[], connections, time)
}

/// The same with more headers on each request.
pub(super) fn wrk_with(
    folder: &Path,
    cores: &[usize],
    server: SocketAddr,
    headers: &[String],
    connections: usize,
    time: Duration,
) -> Result<Load> {
    wrk_at(folder, cores, &format!("http://{server}"), headers, connections, time)
}

/// The other half of the cores is the upstream's; wrk wants a connection for each thread.
fn threads(cores: &[usize], connections: usize) -> usize {
    (cores.len() / 2).min(connections).max(1)
}

/// The same at a server that is given by its URL's beginning, `https://…` say.
pub(super) fn wrk_at(
    folder: &Path,
    cores: &[usize],
    server: &str,
    headers: &[String],
    connections: usize,
    time: Duration,
) -> Result<Load> {
    let url = format!("{server}/v1/chat/completions");
    let mut command = Command::new("taskset");
    command.args(["-c", &list(cores), "wrk", "--threads", &threads(cores, connections).to_string()]);
    command.args(["--connections", &connections.to_string()]);
    command.args(["--duration", &format!("{}s", time.as_secs().max(1))]);
    for header in headers {
        command.args(["--header", header]);
    }
    command.arg("--script").arg(folder.join("post.lua")).arg(url);
    let out = run_quietly(&mut command)?;
    let line = out.lines().find_map(|line| line.strip_prefix("RESULT ")).context("wrk gave no result")?;
    let numbers: Vec<f64> = line.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    let [requests, micros, p50_us, p99_us, errors] = numbers[..] else { bail!("wrk said: {line}") };
    if errors > 0.0 || requests == 0.0 {
        bail!("{server}: {errors} errors in {requests} requests");
    }
    Ok(Load { requests, seconds: micros / 1e6, p50_us, p99_us })
}

/// POSTs for `time` over HTTP/2, with so many streams at once on each connection. Returns (requests, seconds).
pub(super) fn h2load(
    folder: &Path,
    cores: &[usize],
    server: SocketAddr,
    (connections, streams): (usize, usize),
    time: Duration,
) -> Result<(f64, f64)> {
    let seconds = time.as_secs().max(1);
    let mut command = Command::new("taskset");
    command.args(["-c", &list(cores), "h2load", "--threads", "1"]);
    command.args(["-c", &connections.to_string(), "-m", &streams.to_string(), "-D", &seconds.to_string()]);
    command.args(["-H", "content-type: application/json", "-d"]).arg(folder.join(REQUEST));
    let out = run_quietly(command.arg(format!("http://{server}/v1/chat/completions")))?;
    // "requests: 9 total, … 9 succeeded, 0 failed, …" and "status codes: 9 2xx, …"
    let before = |word: &str| -> Option<f64> {
        let (before, _) = out.split_once(&format!(" {word}"))?;
        before.rsplit([' ', ',']).next()?.parse().ok()
    };
    let counts = before("succeeded").zip(before("failed")).zip(before("2xx"));
    let ((succeeded, failed), good) = counts.with_context(|| format!("h2load said: {out}"))?;
    if failed > 0.0 || good < succeeded || succeeded == 0.0 {
        bail!("{server}: {failed} of {succeeded} requests failed, {good} were answered with a 2xx");
    }
    Ok((succeeded, seconds as f64))
}

/// What came of streams.
#[derive(Clone, Copy)]
pub(super) struct Streamed {
    pub(super) events: f64,
    /// From the first connection to the last event.
    pub(super) seconds: f64,
    /// From one event of a stream to the next, 99th percentile.
    pub(super) gap_p99_us: f64,
}

/// Reads `streams` streams at once, `repeat` times.
pub(super) fn streams(cores: &[usize], server: SocketAddr, streams: usize, repeat: u64) -> Result<Streamed> {
    let mut command = Command::new("taskset");
    command.args(["-c", &list(cores)]).arg(program("stream-client"));
    command.args(["--target", &server.to_string(), "--streams", &streams.to_string()]);
    command.args(["--repeat", &repeat.to_string()]);
    let said: serde_json::Value = serde_json::from_str(&run_quietly(&mut command)?)?;
    let number = |name: &str| said[name].as_f64().with_context(|| format!("stream-client gave no {name}"));
    Ok(Streamed { events: number("events")?, seconds: number("seconds")?, gap_p99_us: number("gap_p99_us")? })
}

fn list(cores: &[usize]) -> String {
    cores.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}
