//! `cargo xtask bench flames`: where the time of a request goes, as flame graphs and as a table.
//!
//! perf takes samples of the build that has its names while the usual load runs. Frame pointers are not in a release
//! build, so perf keeps a piece of the stack with each sample and unwinds it afterwards.

mod draw;
mod fold;
mod groups;
mod names;

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use self::fold::Profile;
use super::machine::{self, Machine};
use super::report::insert;
use super::rounds::{CONNECTIONS, SETTLE, write_request};
use super::servers::{COUNTED, Server, Stage, Under};
use super::{Folder, build, load};
use crate::setup::debian;
use crate::shell::{answers, pause, root, run_quietly};

/// What is looked at, in the order of the table; all but the first get a flame graph.
const CONTENDERS: [&str; 3] = ["plain", "commit", "sign"];

/// Samples a second. Odd, so as not to keep step with anything.
const FREQUENCY: &str = "499";

/// The most that perf keeps of a stack. An exchange's futures have frames of some tens of kilobytes.
const CALL_GRAPH: &str = "dwarf,65528";

/// What can be told to the run.
#[derive(Args)]
pub(crate) struct FlamesArgs {
    /// Seconds of samples for each contender
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Measures the builds that are there
    #[arg(long)]
    no_build: bool,
    /// Prints the table, and leaves docs/ as it is
    #[arg(long)]
    no_write: bool,
}

/// Samples, prints the table, and writes it and the graphs to docs/.
///
/// # Errors
/// When perf or wrk cannot be had, perf may not sample, or a contender fails.
pub(super) fn run(args: &FlamesArgs) -> Result<()> {
    if !answers("perf", "--version") {
        debian::install(&["linux-perf"]).context("perf is needed (on Ubuntu: linux-tools-generic)")?;
    }
    load::ensure_wrk()?;
    if !args.no_build {
        build(COUNTED)?;
    }
    let machine = Machine::look()?;
    let folder = Folder::new()?;
    let mut stage = Stage::set_under(&folder.0, &machine, Under::Perf)?;
    write_request(&stage)?;
    let mut profiles = Vec::new();
    for name in CONTENDERS {
        let profile = profile(&stage, &machine, stage.server(name)?, args.seconds)?;
        eprintln!("bench: {name:6}: {} samples, {:.1} µs CPU a request", profile.samples, profile.cpu_us);
        profiles.push(profile);
    }
    stage.check_records()?;
    stage.stop();
    let table = groups::table(&machine.line(), args.seconds, machine.is_busy(), &profiles);
    println!("{table}");
    if args.no_write {
        return Ok(());
    }
    insert(&[("flames", &table)])?;
    for profile in profiles.iter().filter(|profile| profile.name != "plain") {
        let path = root().join(format!("docs/flame-{}.svg", profile.name));
        let title = format!(
            "CPU of a request at {}: {:.1} µs. Callers above; orange is Colophon, blue the kernel",
            profile.name, profile.cpu_us
        );
        fs::write(&path, draw::svg(&title, &profile.root)).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// Samples one contender under load.
fn profile(stage: &Stage, machine: &Machine, server: &Server, seconds: u64) -> Result<Profile> {
    let wrk = |seconds| {
        let time = Duration::from_secs(seconds);
        load::wrk(&stage.folder, &machine.load_cores, server.listen, CONNECTIONS, time)
    };
    wrk(1)?;
    pause(SETTLE);
    let data = stage.folder.join(format!("perf.{}", server.name));
    let mut record = Command::new("perf");
    record.args(["record", "--quiet", "--event", "cpu-clock", "--freq", FREQUENCY, "--mmap-pages", "8M"]);
    record.args(["--call-graph", CALL_GRAPH, "--pid", &server.pid().to_string(), "--output"]).arg(&data);
    record.args(["--", "sleep", &seconds.to_string()]).stdin(Stdio::null());
    let before = machine::cpu_seconds(server.pid())?;
    let mut record = record.spawn().context("cannot start perf")?;
    let loaded = wrk(seconds + 1);
    // It ends with its sleep, whatever became of the load.
    let recorded = record.wait()?;
    let loaded = loaded?;
    ensure!(recorded.success(), "perf record: {recorded}; see /proc/sys/kernel/perf_event_paranoid");
    pause(SETTLE);
    let cpu_us = (machine::cpu_seconds(server.pid())? - before) * 1e6 / loaded.requests;
    let mut script = Command::new("perf");
    // Inlined functions have no symbols; to look for their lines takes minutes.
    script.args(["script", "--no-inline", "--fields", "comm,ip,sym", "--input"]).arg(&data);
    let profile = fold::fold(server.name, cpu_us, &run_quietly(&mut script)?);
    fs::remove_file(&data)?;
    ensure!(profile.samples > 0, "perf took no sample of {}", server.name);
    Ok(profile)
}

#[cfg(test)]
mod tests;
