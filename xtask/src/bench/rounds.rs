//! The rounds: every contender in turn, under load, alone with one connection, and with many streams.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};

use super::load;
use super::machine::{self, Machine};
use super::servers::{Server, Stage};
use crate::shell::pause;

/// Connections under load, and streams at once.
pub(super) const CONNECTIONS: usize = 32;

/// Events of one stream, the last one included.
const EVENTS: usize = 201;

/// The last batch of a load closes within this time; its cost is the load's, not the next contender's.
pub(super) const SETTLE: Duration = Duration::from_millis(1500);

/// What one contender did in one round.
#[derive(Clone, Copy)]
pub(super) struct Turn {
    pub(super) loaded: Loaded,
    pub(super) streamed: Streamed,
}

/// Under load, and with one connection.
#[derive(Clone, Copy)]
pub(super) struct Loaded {
    pub(super) requests_per_second: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    /// CPU of the contender for one request, batches included.
    pub(super) cpu_us: f64,
    /// How much of its core the contender used under load, percent.
    pub(super) core_used: f64,
    /// How much of that core others used meanwhile, percent.
    pub(super) core_others: f64,
    /// Median latency with a single connection.
    pub(super) p50_alone_us: f64,
}

/// With many streams at once.
#[derive(Clone, Copy)]
pub(super) struct Streamed {
    /// Events.
    pub(super) per_second: f64,
    /// CPU of the contender for one event, all of a stream's work spread over its events.
    pub(super) cpu_us: f64,
    /// From one event of a stream to the next, 99th percentile.
    pub(super) gap_p99_us: f64,
    /// How much of the contender's core others used meanwhile, percent.
    pub(super) core_others: f64,
}

/// The turns of one contender, in the order of the rounds.
pub(super) struct Turns {
    pub(super) name: &'static str,
    pub(super) turns: Vec<Turn>,
}

/// Tells wrk what to send: the upstream's own idea of a usual request.
pub(super) fn write_request(stage: &Stage) -> Result<()> {
    write_request_of(&stage.folder, &stage.program("fixed-upstream")).map(|_| ())
}

/// The same with this upstream; returns the request.
pub(super) fn write_request_of(folder: &Path, upstream: &Path) -> Result<String> {
    let request = crate::shell::run_quietly(std::process::Command::new(upstream).arg("--print-request"))?;
    load::write_script(folder, request.trim())?;
    Ok(request.trim().to_owned())
}

/// Runs all rounds: those of streams before any load, whose memory is given back to the system for seconds after it.
pub(super) fn run(stage: &Stage, machine: &Machine, rounds: u64, time: Duration) -> Result<Vec<Turns>> {
    write_request(stage)?;
    // Connections, caches, files: not part of any round.
    in_turns(&stage.servers, 1, |_, server| streams(machine, server, 1))?;
    let streamed = in_turns(&stage.servers, rounds, |_, server| {
        let streamed = streams(machine, server, time.as_secs().max(1))?;
        eprintln!("bench: {:10}: stream event {:.1} µs CPU", server.name, streamed.cpu_us);
        Ok(streamed)
    })?;
    in_turns(&stage.servers, 1, |_, server| {
        load::wrk(&stage.folder, &machine.load_cores, server.listen, CONNECTIONS, Duration::from_secs(1))
    })?;
    pause(SETTLE);
    let loaded = in_turns(&stage.servers, rounds, |_, server| {
        let loaded = loaded(stage, machine, server, time)?;
        eprintln!(
            "bench: {:10}: {:.0}/s, {:.1} µs CPU, {:.0} % of its core, others {:.0} %, alone {:.0} µs",
            server.name,
            loaded.requests_per_second,
            loaded.cpu_us,
            loaded.core_used,
            loaded.core_others,
            loaded.p50_alone_us
        );
        Ok(loaded)
    })?;
    let turns = stage.servers.iter().zip(loaded).zip(streamed);
    Ok(turns
        .map(|((server, loaded), streamed)| Turns {
            name: server.name,
            turns: loaded
                .into_iter()
                .zip(streamed)
                .map(|(loaded, streamed)| Turn { loaded, streamed })
                .collect(),
        })
        .collect())
}

/// Measures every contender once in each round, another one first in each: what came of it by contender. `measure` is told the
/// round too.
pub(super) fn in_turns<C, T>(
    contenders: &[C],
    rounds: u64,
    mut measure: impl FnMut(u64, &C) -> Result<T>,
) -> Result<Vec<Vec<T>>> {
    let mut all: Vec<Vec<T>> = contenders.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds {
        for place in 0..all.len() {
            let at = (place + round as usize) % all.len();
            all[at].push(measure(round, &contenders[at])?);
        }
    }
    Ok(all)
}

fn streams(machine: &Machine, server: &Server, repeat: u64) -> Result<Streamed> {
    let core = || machine::core_busy_seconds(machine.proxy_core);
    let (before, core_before) = (machine::cpu_seconds(server.pid())?, core()?);
    let came = load::streams(&machine.load_cores, server.listen, CONNECTIONS, repeat)?;
    let (cpu_streaming, core_streaming) =
        (machine::cpu_seconds(server.pid())? - before, core()? - core_before);
    pause(SETTLE);
    let cpu = machine::cpu_seconds(server.pid())? - before;
    // The upstream runs on the other cores.
    let own_core = if server.name == "direct" { 0.0 } else { cpu_streaming };
    let expected = (CONNECTIONS * EVENTS) as f64 * repeat as f64;
    if came.events != expected {
        bail!("{}: {} events came instead of {expected}", server.name, came.events);
    }
    Ok(Streamed {
        per_second: came.events / came.seconds,
        cpu_us: cpu * 1e6 / came.events,
        gap_p99_us: came.gap_p99_us,
        core_others: ((core_streaming - own_core) / came.seconds * 100.0).max(0.0),
    })
}

fn loaded(stage: &Stage, machine: &Machine, server: &Server, time: Duration) -> Result<Loaded> {
    let cores = &machine.load_cores;
    let cpu = || machine::cpu_seconds(server.pid());
    let core = || machine::core_busy_seconds(machine.proxy_core);

    let (cpu_before, core_before) = (cpu()?, core()?);
    let under_load = load::wrk(&stage.folder, cores, server.listen, CONNECTIONS, time)?;
    let (cpu_loaded, core_loaded) = (cpu()? - cpu_before, core()? - core_before);
    pause(SETTLE);
    let cpu_all = cpu()? - cpu_before;

    let alone = load::wrk(&stage.folder, cores, server.listen, 1, Duration::from_secs(1))?;
    pause(SETTLE);

    // The upstream runs on the other cores.
    let own_core = if server.name == "direct" { 0.0 } else { cpu_loaded };
    Ok(Loaded {
        requests_per_second: under_load.requests / under_load.seconds,
        p50_us: under_load.p50_us,
        p99_us: under_load.p99_us,
        cpu_us: cpu_all * 1e6 / under_load.requests,
        core_used: cpu_loaded / under_load.seconds * 100.0,
        core_others: ((core_loaded - own_core) / under_load.seconds * 100.0).max(0.0),
        p50_alone_us: alone.p50_us,
    })
}

/// Median with the smallest and the largest.
#[derive(Clone, Copy)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) least: f64,
    pub(super) most: f64,
}

impl Spread {
    /// Of at least one value.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Spread {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |n: usize| values.get(n).copied().unwrap_or(f64::NAN);
        let middle = values.len() / 2;
        let median =
            if values.len() % 2 == 1 { at(middle) } else { (at(middle.wrapping_sub(1)) + at(middle)) / 2.0 };
        Spread { median, least: at(0), most: at(values.len().wrapping_sub(1)) }
    }
}

#[cfg(test)]
mod tests;
