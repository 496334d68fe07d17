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
        run_quietly(Command::new("apt-get").args(["install", "--yes", "--no-install-recommends", "wrk"]))
            .map(|_| ())
            .context("the load generator wrk is needed: apt-get install wrk")
    })
}

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
    let url = format!("http://{server}/v1/chat/completions");
    let mut command = Command::new("taskset");
    command.args(["-c", &list(cores), "wrk", "--threads", "1"]);
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

/// Reads `streams` streams at once, `repeat` times. Returns how many events came.
pub(super) fn streams(cores: &[usize], server: SocketAddr, streams: usize, repeat: u64) -> Result<f64> {
    let mut command = Command::new("taskset");
    command.args(["-c", &list(cores)]).arg(program("stream-client"));
    command.args(["--target", &server.to_string(), "--streams", &streams.to_string()]);
    command.args(["--repeat", &repeat.to_string()]);
    let said: serde_json::Value = serde_json::from_str(&run_quietly(&mut command)?)?;
    said["events"].as_f64().context("the client of streams gave no result")
}

fn list(cores: &[usize]) -> String {
    cores.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}
