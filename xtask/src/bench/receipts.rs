//! From an answer to its receipt: how long until the proof is there, and how long a reader's program takes over it.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::machine::Machine;
use super::rounds::{CONNECTIONS, Spread};
use super::servers::{Server, Stage};
use super::{http, load, program};
use crate::shell::pause;

/// Receipts fetched, and verifications run.
const SAMPLES: usize = 20;

/// How often a receipt is asked for.
const EVERY: Duration = Duration::from_millis(20);

/// By then it has to be there.
const PATIENCE: Duration = Duration::from_secs(30);

/// What was measured.
pub(super) struct Receipts {
    /// Seconds from the end of an answer to its receipt, nothing else going on.
    pub(super) quiet: Spread,
    /// The same while wrk keeps the proxy busy.
    pub(super) busy: Spread,
    /// Milliseconds of one run of `colophon-verify` on one of these receipts, start and end of the process included.
    pub(super) verify_ms: Spread,
    /// Bytes of one such receipt.
    pub(super) bytes: usize,
}

/// Measures with the contender that signs.
pub(super) fn measure(stage: &Stage, machine: &Machine) -> Result<Receipts> {
    let server = stage.server("sign")?;
    let request = fs::read_to_string(stage.folder.join("post.lua"))?;
    let (_, body) = request.split_once("[==[").context("the script has a body")?;
    let (body, _) = body.split_once("]==]").context("the script has a body")?;
    let mut quiet = Vec::with_capacity(SAMPLES);
    let mut last = String::new();
    for sample in 0..SAMPLES {
        // Not in step with the batches.
        pause(Duration::from_millis(137 * (sample as u64 % 7)));
        let (seconds, receipt) = one(server, body)?;
        quiet.push(seconds);
        last = receipt;
    }
    let busy = busy(stage, machine, server, body)?;
    let verify_ms = verify(stage, server, &last)?;
    eprintln!(
        "bench: receipts there after {:.2} s, busy {:.2} s",
        Spread::of(quiet.clone()).median,
        busy.median
    );
    Ok(Receipts { quiet: Spread::of(quiet), busy, verify_ms, bytes: last.len() })
}

fn busy(stage: &Stage, machine: &Machine, server: &Server, body: &str) -> Result<Spread> {
    let (folder, cores, listen) = (stage.folder.clone(), machine.load_cores.clone(), server.listen);
    let load =
        std::thread::spawn(move || load::wrk(&folder, &cores, listen, CONNECTIONS, Duration::from_secs(10)));
    pause(Duration::from_secs(1));
    let mut seconds = Vec::with_capacity(SAMPLES);
    // As long as the load lasts.
    while !load.is_finished() && seconds.len() < SAMPLES {
        let (taken, _) = one(server, body)?;
        if !load.is_finished() {
            seconds.push(taken);
        }
    }
    match load.join() {
        Ok(load) => load?,
        Err(_) => bail!("the load ended badly"),
    };
    Ok(Spread::of(seconds))
}

/// One exchange. Returns how long its receipt took, and the receipt.
fn one(server: &Server, body: &str) -> Result<(f64, String)> {
    let answer = http::post(server.listen, "/v1/chat/completions", body)?;
    let begun = Instant::now();
    let target = answer.header("colophon-receipt").context("an answer without Colophon-Receipt")?;
    let target = target.trim_matches('"').to_owned();
    while begun.elapsed() < PATIENCE {
        let receipt = http::get(server.listen, &target)?;
        match receipt.status {
            200 => return Ok((begun.elapsed().as_secs_f64(), receipt.body)),
            202 => pause(EVERY),
            status => bail!("a receipt was refused: {status} {}", receipt.body),
        }
    }
    bail!("no receipt within {PATIENCE:?}")
}

fn verify(stage: &Stage, server: &Server, receipt: &str) -> Result<Spread> {
    let (file, trust) = (stage.folder.join("receipt.json"), stage.folder.join("trust.json"));
    fs::write(&file, receipt)?;
    fs::write(&trust, http::get(server.listen, "/.well-known/colophon/keys")?.body)?;
    let mut millis = Vec::with_capacity(SAMPLES);
    for _ in 0..SAMPLES {
        let mut command = Command::new(program("colophon-verify"));
        command.arg(&file).arg("--trust").arg(&trust).stdin(Stdio::null()).stdout(Stdio::null());
        let begun = Instant::now();
        let status = command.status().context("cannot start colophon-verify")?;
        millis.push(begun.elapsed().as_secs_f64() * 1e3);
        if !status.success() {
            bail!("colophon-verify refused a receipt of this run: {status}");
        }
    }
    Ok(Spread::of(millis))
}
