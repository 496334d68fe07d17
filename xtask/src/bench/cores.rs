//! `cargo xtask bench cores`: what a second core brings, and where there are enough of them, a fourth and an eighth.
//!
//! A proxy has as many worker threads as cores that it may run on (tokio asks `sched_getaffinity`), so pinning it decides.
//! With four cores it is asked directly: requests a second on one core and on two, the load on others, and on four and eight
//! where at least as many are left for the load. With fewer than four, two cores cannot be the proxy's alone. Then what
//! would keep them from doing twice as much is measured: the CPU time of a request with two threads against one thread,
//! the load beside them on the same cores. The report says which it was.

mod report;

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;

use self::report::Report;
use super::machine::{self, Machine};
use super::report::insert;
use super::rounds::{CONNECTIONS, SETTLE, in_turns, write_request_of};
use super::servers::{Server, check_records, pinned_to};
use super::{Folder, Output, RELEASE, build, load, program, write_json};
use crate::shell::pause;

/// What is measured in each place: the yardstick, and the level that does most.
const CONTENDERS: [&str; 2] = ["plain", "sign"];

/// What tokio takes for the number of worker threads, whatever the cores.
const THREADS: &str = "TOKIO_WORKER_THREADS";

/// The proxy's cores where the load has its own, each place with what it is called.
const SIZES: [(usize, &str); 4] = [(1, "one core"), (2, "two cores"), (4, "four cores"), (8, "eight cores")];

/// What can be told to the run.
#[derive(Args)]
pub(crate) struct CoresArgs {
    /// Seconds of each measurement under load
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Rounds: every contender is measured once in each place in each
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=50))]
    rounds: u64,
    #[command(flatten)]
    output: Output,
}

/// Where a proxy and its load run.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    title: &'static str,
    proxy: Vec<usize>,
    load: Vec<usize>,
    /// Worker threads; as many as the proxy's cores where nothing is said.
    threads: Option<&'static str>,
}

/// Whether two cores can be the proxy's alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// The load had cores of its own: first place one core, second place two, then twice as many in each.
    Measured,
    /// The load was on the same cores: first place one core of its own, then one thread and two on shared cores.
    Derived,
}

/// One contender in one place, in one round.
#[derive(Clone, Copy)]
struct Turn {
    per_second: f64,
    cpu_us: f64,
    /// How often one of its threads waited, for another one or for work, a request.
    waits: f64,
    /// How busy the cores were that the proxy may run on, percent of them: the rest is time in which nobody had work.
    busy: f64,
}

/// One contender in one place, in the order of the rounds.
struct Turns {
    name: &'static str,
    place: usize,
    turns: Vec<Turn>,
}

/// Measures, prints and writes the table.
///
/// # Errors
/// When there are fewer than two cores, wrk cannot be had, a contender fails, or an answer was not a 200.
pub(super) fn run(args: &CoresArgs) -> Result<()> {
    load::ensure_wrk()?;
    if !args.output.no_build {
        build(RELEASE)?;
    }
    let machine = Machine::look()?;
    let (how, places) = places(&machine)?;
    let folder = Folder::new()?;
    write_request_of(&folder.0, &program("fixed-upstream"))?;
    let time = Duration::from_secs(args.seconds);
    let mut stage = Vec::new();
    for place in &places {
        stage.push(set(&folder.0, stage.len(), place)?);
    }
    let mut contenders = Vec::new();
    for (place, (_, proxies)) in stage.iter().enumerate() {
        for proxy in proxies {
            // Connections, caches, files: not part of any round.
            turn(&folder.0, &places[place], proxy, Duration::from_secs(1))?;
            contenders.push((place, proxy));
        }
    }
    let all = in_turns(&contenders, args.rounds, |round, (place, proxy)| {
        let place = &places[*place];
        let turn = turn(&folder.0, place, proxy, time)?;
        eprintln!(
            "bench: round {}: {:5}, {}: {:.0}/s, {:.1} µs CPU, {:.2} waits, its cores {:.0} % busy",
            round + 1,
            proxy.name,
            place.title,
            turn.per_second,
            turn.cpu_us,
            turn.waits,
            turn.busy
        );
        Ok(turn)
    })?;
    let turns = contenders.iter().zip(all);
    let measured =
        turns.map(|((place, proxy), turns)| Turns { name: proxy.name, place: *place, turns }).collect();
    for (_, proxies) in &stage {
        check_records(proxies)?;
    }
    let report = Report {
        machine: machine.line(),
        noisy: machine.is_busy(),
        seconds: args.seconds,
        how,
        places,
        measured,
    };
    println!("{}", report.table());
    write_json(args.output.json.as_deref(), || report.json())?;
    if !args.output.no_write {
        insert(&[("cores", &report.table())])?;
    }
    Ok(())
}

/// The places on this machine.
fn places(machine: &Machine) -> Result<(How, Vec<Place>)> {
    if machine.load_cores.is_empty() {
        bail!("two cores are needed");
    }
    // One of each physical core: two threads of one would share what they are to have twice.
    let mut apart = vec![machine.proxy_core];
    let mut left = machine.load_cores.clone();
    while let Some(next) = left.first().copied() {
        apart.push(next);
        left = machine::apart_from(next, &left[1..]);
    }
    Ok(arranged(&apart, |proxy| {
        let others = machine.load_cores.iter().copied().filter(|core| !proxy.contains(core)).collect();
        proxy.iter().fold(others, |others: Vec<usize>, core| machine::apart_from(*core, &others))
    }))
}

/// As many of `cores` for the proxy as leave the load as many and two at least; without that, the first two for both. `others`
/// are those that the load has beside the proxy's.
fn arranged(cores: &[usize], others: impl Fn(&[usize]) -> Vec<usize>) -> (How, Vec<Place>) {
    let place = |title, proxy: &[usize], load: &[usize]| Place {
        title,
        proxy: proxy.into(),
        load: load.into(),
        threads: None,
    };
    let fitting: Vec<(&[usize], &'static str)> = SIZES
        .iter()
        .filter_map(|(size, title)| Some((cores.get(..*size)?, *title)))
        .filter(|(proxy, _)| others(proxy).len() >= proxy.len().max(2))
        .collect();
    if let [_, .., (most, _)] = fitting.as_slice() {
        // The load has the same cores in each place.
        let load = others(most);
        let places = fitting.iter().map(|&(proxy, title)| place(title, proxy, &load));
        return (How::Measured, places.collect());
    }
    let (first, both) = (&cores[..1], &cores[..2]);
    let one = Place { threads: Some("1"), ..place("one thread, two cores shared with the load", both, both) };
    let two =
        Place { threads: Some("2"), ..place("two threads, two cores shared with the load", both, both) };
    (How::Derived, vec![place("one core of its own", first, &cores[1..2]), one, two])
}

/// An upstream on the load's cores, and the proxies before it.
fn set(folder: &Path, number: usize, place: &Place) -> Result<(Server, Vec<Server>)> {
    let upstream = Server::announced("direct", pinned_to(&place.load, &program("fixed-upstream")))?;
    let pinned = |name: &str| {
        let mut command = pinned_to(&place.proxy, &program(name));
        // What the caller's shell says of it is not this place's.
        command.env_remove(THREADS).envs(place.threads.map(|threads| (THREADS, threads)));
        command
    };
    let mut proxies = Vec::new();
    for name in CONTENDERS {
        proxies.push(match name {
            "plain" => Server::plain(pinned("plain-proxy"), upstream.listen)?,
            level => {
                let own = folder.join(format!("{level}-{number}"));
                Server::colophon(pinned("colophon"), level, &own, upstream.listen)?
            }
        });
    }
    Ok((upstream, proxies))
}

fn turn(folder: &Path, place: &Place, proxy: &Server, time: Duration) -> Result<Turn> {
    let busy = || -> Result<f64> { place.proxy.iter().map(|core| machine::core_busy_seconds(*core)).sum() };
    let (cpu_before, waits_before) = (machine::cpu_seconds(proxy.pid())?, machine::waits(proxy.pid())?);
    let busy_before = busy()?;
    let loaded = load::wrk(folder, &place.load, proxy.listen, CONNECTIONS, time)?;
    let busy = (busy()? - busy_before) / (place.proxy.len() as f64 * loaded.seconds) * 100.0;
    let waits = machine::waits(proxy.pid())?.saturating_sub(waits_before);
    // What follows the answers, a batch's closing say, is paid for by them.
    pause(SETTLE);
    let cpu = machine::cpu_seconds(proxy.pid())? - cpu_before;
    Ok(Turn {
        per_second: loaded.requests / loaded.seconds,
        cpu_us: cpu * 1e6 / loaded.requests,
        waits: waits as f64 / loaded.requests,
        busy,
    })
}

#[cfg(test)]
mod tests;
