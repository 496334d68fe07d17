//! The rounds: everyone in turn, another one first in each; whoever is not being measured is stopped.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::super::load;
use super::super::machine::{self, Machine};
use super::super::rounds::{CONNECTIONS, SETTLE, in_turns, write_request};
use super::super::servers::{Server, Stage};
use crate::shell::{pause, run_quietly};

/// One that listens answers within this time; Python gateways load most of themselves at the first request.
const FIRST_ANSWER: Duration = Duration::from_secs(90);

/// What one contender did in one round.
#[derive(Clone, Copy)]
pub(super) struct Turn {
    pub(super) requests_per_second: f64,
    pub(super) cpu_us: f64,
    pub(super) p50_alone_us: f64,
    pub(super) p99_us: f64,
    /// Of its core, percent.
    pub(super) core_used: f64,
}

/// All of one contender.
pub(super) struct Measured {
    pub(super) name: &'static str,
    pub(super) turns: Vec<Turn>,
    /// Resident, kB, of all its processes after the last round.
    pub(super) memory_kb: u64,
}

pub(super) fn run(stage: &Stage, machine: &Machine, rounds: u64, time: Duration) -> Result<Vec<Measured>> {
    write_request(stage)?;
    let proxies = || stage.servers.iter().filter(|server| server.name != "direct");
    for server in &stage.servers {
        warm_up(stage, machine, server)?;
    }
    pause(SETTLE);
    for server in proxies() {
        signal(server, "-STOP")?;
    }
    let all = in_turns(&stage.servers, rounds, |round, server| {
        signal(server, "-CONT")?;
        let turn = turn(stage, machine, server, time)?;
        if server.name != "direct" {
            signal(server, "-STOP")?;
        }
        eprintln!(
            "bench: round {}: {:13}: {:7.0}/s, {:8.1} µs CPU, {:.0} % of its core, alone {:.0} µs",
            round + 1,
            server.name,
            turn.requests_per_second,
            turn.cpu_us,
            turn.core_used,
            turn.p50_alone_us
        );
        Ok(turn)
    })?;
    let measured = stage.servers.iter().zip(all).map(|(server, turns)| {
        signal(server, "-CONT")?;
        let family = machine::family(server.pid())?;
        let memory_kb = family.iter().filter_map(|pid| machine::resident_kb(*pid).ok()).sum();
        Ok(Measured { name: server.name, turns, memory_kb })
    });
    measured.collect()
}

fn turn(stage: &Stage, machine: &Machine, server: &Server, time: Duration) -> Result<Turn> {
    let wrk = |connections, time| {
        let cores = &machine.load_cores;
        load::wrk_with(&stage.folder, cores, server.listen, &server.headers, connections, time)
    };
    let cpu =
        || -> Result<f64> { machine::family(server.pid())?.into_iter().map(machine::cpu_seconds).sum() };
    let before = cpu()?;
    let loaded = wrk(CONNECTIONS, time)?;
    let core_used = (cpu()? - before) / loaded.seconds * 100.0;
    // What follows the answers, a batch's closing say, is paid for by them.
    pause(SETTLE);
    let cpu_us = (cpu()? - before) * 1e6 / loaded.requests;
    let alone = wrk(1, Duration::from_secs(1))?;
    Ok(Turn {
        requests_per_second: loaded.requests / loaded.seconds,
        cpu_us,
        p50_alone_us: alone.p50_us,
        p99_us: loaded.p99_us,
        core_used,
    })
}

/// Until a second of load goes without an error.
fn warm_up(stage: &Stage, machine: &Machine, server: &Server) -> Result<()> {
    let begun = Instant::now();
    loop {
        let cores = &machine.load_cores;
        let second = Duration::from_secs(1);
        let tried = load::wrk_with(&stage.folder, cores, server.listen, &server.headers, CONNECTIONS, second);
        match tried {
            Ok(_) => return Ok(()),
            Err(error) if begun.elapsed() > FIRST_ANSWER => {
                return Err(error.context(format!("{} does not answer as it should", server.name)));
            }
            Err(_) => pause(Duration::from_millis(500)),
        }
    }
}

/// To all processes of a contender, or to none but its own where it has no others.
fn signal(server: &Server, signal: &str) -> Result<()> {
    let family = machine::family(server.pid())?;
    if family.is_empty() {
        bail!("{} has ended", server.name);
    }
    let mut kill = Command::new("kill");
    kill.arg(signal).args(family.iter().map(u32::to_string));
    run_quietly(&mut kill).map(|_| ()).with_context(|| server.name)
}
