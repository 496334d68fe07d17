//! `cargo xtask bench`: Colophon beside a plain proxy on this machine, and the table in docs/PERFORMANCE.md.
//!
//! The proxy under load has one core to itself, so that its throughput is what that core can do; the load generator and
//! the upstream have the others. Contenders take turns within each round, so that whatever else happens on the machine
//! meets all of them; what counts is the ratio to the plain proxy.

mod aim;
mod cores;
mod flames;
mod group;
mod http;
mod instructions;
mod ledger;
mod load;
mod machine;
mod memory;
mod micro;
mod peers;
mod proofs;
mod receipts;
mod report;
mod rounds;
mod servers;
mod shapes;
mod svg;
mod tee;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use serde_json::Value;

use self::machine::Machine;
use self::report::Report;
use self::servers::Stage;
use crate::shell::{run, target};

/// What can be told to the run.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    other: Option<Other>,
    /// Seconds of each measurement under load
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Rounds: every contender is measured once in each
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=50))]
    rounds: u64,
    /// Also runs the micro benchmarks (`cargo bench`) for the second table
    #[arg(long)]
    micro: bool,
    /// Measures the ledger alone: 10 million records made, kept, checked and looked up
    #[arg(long)]
    ledger: bool,
    /// With --ledger: half a million records, and no benchmark that needs a build of its own
    #[arg(long, requires = "ledger")]
    quick: bool,
    #[command(flatten)]
    output: Output,
}

/// What most runs can be told of what they measure and leave behind.
#[derive(Args)]
struct Output {
    /// Writes all that was measured to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measures the release builds that are there, on a machine without a compiler say
    #[arg(long)]
    no_build: bool,
    /// Measures and prints, and leaves docs/PERFORMANCE.md as it is
    #[arg(long)]
    no_write: bool,
}

/// Other runs than the usual one.
#[derive(Subcommand)]
enum Other {
    /// Measures Colophon beside what people would run instead: nginx, haproxy, Envoy, Caddy, Traefik, LLM gateways
    Peers(peers::PeersArgs),
    /// Measures what answering at `tee` adds to `sign`: with a warm lease, and on the first request
    Tee(tee::TeeArgs),
    /// Measures other traffic: large bodies, many idle connections, HTTP/2, TLS
    Shapes(shapes::ShapesArgs),
    /// Measures memory: at rest, beside idle connections, with a thousand streams; also as Kubernetes counts it
    Memory(memory::MemoryArgs),
    /// Measures what a second core brings, or, on a machine with two, what would keep it from bringing as much again
    Cores(cores::CoresArgs),
    /// Measures what proofs cost, and what a rule that asks for them adds to an answer
    Proofs(proofs::ProofsArgs),
    /// Samples where the time goes (perf) and draws flame graphs into docs/
    Flames(flames::FlamesArgs),
    /// Counts instructions a request (valgrind) and fails where they have grown since they were last written down
    Quick(instructions::QuickArgs),
}

/// Builds the contenders, runs them side by side, prints the tables and writes them to docs/PERFORMANCE.md.
///
/// # Errors
/// When there are fewer than two cores, wrk cannot be had, a contender fails, or an answer was not a 200.
pub(crate) fn bench(args: &BenchArgs) -> Result<()> {
    match &args.other {
        Some(Other::Peers(peers)) => return peers::run(peers),
        Some(Other::Tee(tee)) => return tee::run(tee),
        Some(Other::Shapes(shapes)) => return shapes::run(shapes),
        Some(Other::Memory(memory)) => return memory::run(memory),
        Some(Other::Cores(cores)) => return cores::run(cores),
        Some(Other::Proofs(proofs)) => return proofs::run(proofs),
        Some(Other::Flames(flames)) => return flames::run(flames),
        Some(Other::Quick(quick)) => return instructions::run(quick),
        None if args.ledger => return ledger::bench(args),
        None => {}
    }
    load::ensure_wrk()?;
    if !args.output.no_build {
        build(RELEASE)?;
    }
    // After the build, which leaves the machine as busy as it will be.
    let machine = Machine::look()?;
    let folder = Folder::new()?;
    eprintln!("bench: {} round(s) of {} s for each contender", args.rounds, args.seconds);
    let mut stage = Stage::set(&folder.0, &machine)?;
    // Before anything was asked of them.
    let at_rest = stage.memory()?;
    let rounds = rounds::run(&stage, &machine, args.rounds, Duration::from_secs(args.seconds))?;
    let receipts = receipts::measure(&stage, &machine)?;
    stage.check_records()?;
    let after = stage.memory()?;
    stage.stop();
    let micro = if args.micro { Some(micro::run(&machine)?) } else { None };
    let report = Report { machine, seconds: args.seconds, rounds, receipts, at_rest, after, micro };
    println!("{}", report.tables());
    write_json(args.output.json.as_deref(), || report.json())?;
    if !args.output.no_write {
        report.write()?;
    }
    Ok(())
}

/// Where a file was asked for, all that was measured.
fn write_json(path: Option<&Path>, figures: impl FnOnce() -> Value) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    fs::write(path, format!("{:#}\n", figures())).with_context(|| path.display().to_string())
}

/// `colophon-verify` on its own: in one build with the proxy it would get the proxy's signature code, and not be the
/// program that readers have.
fn build(profile: &str) -> Result<()> {
    for what in [["colophon", "colophon"], ["colophon-verify", "colophon-verify"]] {
        run(crate::shell::cargo().args([
            "build",
            "--profile",
            profile,
            "--locked",
            "--package",
            what[0],
            "--bin",
            what[1],
        ]))?;
    }
    run(crate::shell::cargo().args([
        "build",
        "--profile",
        profile,
        "--locked",
        "--package",
        "colophon-benches",
        "--bins",
    ]))
}

/// What users run.
const RELEASE: &str = "release";

/// A release build's program.
fn program(name: &str) -> PathBuf {
    program_of(RELEASE, name)
}

/// A program built with this profile.
fn program_of(profile: &str, name: &str) -> PathBuf {
    target().join(profile).join(name)
}

/// The run's own folder, gone when the run ends.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Folder> {
        let path = target().join("bench").join(std::process::id().to_string());
        fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed lies under target/.
        let _ = fs::remove_dir_all(&self.0);
    }
}
