//! `cargo xtask bench peers`: Colophon beside what people would run instead, on one core each, in one run.
//!
//! All get the same: one worker, kept connections on both sides, no access log. One that is not being measured is
//! stopped (SIGSTOP), so that its housekeeping is not another one's noise.

mod chart;
mod configs;
mod install;
mod report;
mod rounds;

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use self::configs::Peer;
use super::machine::Machine;
use super::servers::Stage;
use super::{Folder, Output, RELEASE, build, load, write_json};

/// The slowest of them (a Python gateway) takes half a minute to listen on a busy machine.
const START: Duration = Duration::from_secs(180);

/// What can be told to the run.
#[derive(Args)]
pub(crate) struct PeersArgs {
    /// Seconds of each measurement under load
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Rounds: every contender is measured once in each
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=50))]
    rounds: u64,
    /// Only these peers; Colophon and the plain proxy always run
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    only: Vec<String>,
    #[command(flatten)]
    output: Output,
}

/// Installs the peers, runs everybody side by side, prints the table and writes it with its chart to docs/.
///
/// # Errors
/// When a peer of `--only` is unknown or none could be had, there are fewer than two cores, or a contender fails.
pub(super) fn run(args: &PeersArgs) -> Result<()> {
    let chosen = choose(&args.only)?;
    load::ensure_wrk()?;
    let mut missing = Vec::new();
    let mut peers = Vec::new();
    for peer in chosen {
        match install::ensure(peer) {
            Ok(version) => peers.push((peer, version)),
            Err(error) => {
                eprintln!("bench: skipped: {}: {error:#}", peer.title());
                missing.push(peer.title());
            }
        }
    }
    if peers.is_empty() {
        bail!("none of the peers could be had");
    }
    if !args.output.no_build {
        build(RELEASE)?;
    }
    let machine = Machine::look()?;
    let folder = Folder::new()?;
    let mut stage = Stage::set(&folder.0, &machine)?;
    let upstream = stage.server("direct")?.listen;
    for (peer, _) in &peers {
        eprintln!("bench: starting {}", peer.title());
        stage.servers.push(peer.start(&folder.0, machine.proxy_core, upstream, START)?);
    }
    let measured = rounds::run(&stage, &machine, args.rounds, Duration::from_secs(args.seconds))?;
    stage.check_records()?;
    stage.stop();
    let report = report::Report { machine, seconds: args.seconds, peers, missing, measured };
    println!("{}", report.table());
    write_json(args.output.json.as_deref(), || report.json())?;
    if !args.output.no_write {
        report.write()?;
    }
    Ok(())
}

fn choose(only: &[String]) -> Result<Vec<Peer>> {
    let find = |name: &String| {
        let known = || Peer::ALL.map(|peer| peer.name()).join(", ");
        Peer::ALL
            .into_iter()
            .find(|peer| peer.name() == name)
            .with_context(|| format!("no peer is called {name}; there are {}", known()))
    };
    if only.is_empty() { Ok(Peer::ALL.to_vec()) } else { only.iter().map(find).collect() }
}

#[cfg(test)]
mod tests;
