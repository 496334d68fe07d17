//! `cargo xtask bench quick`: instructions a request at each level, beside the plain proxy's, against those written down.
//!
//! Time is noisy on a shared machine, the number of instructions hardly. Valgrind has no SHA instructions and shows
//! programs a CPU without them, so hashing and signing, which are others' code anyway, are left out ([`LEFT_OUT`]).

mod callgrind;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde::{Deserialize, Serialize};

use super::machine::Machine;
use super::rounds::{SETTLE, write_request};
use super::servers::{COUNTED, Stage, Under};
use super::{Folder, build, load};
use crate::setup::debian;
use crate::shell::{answers, pause, root, run_quietly};

/// Where the last figures are written down.
const BASELINE: &str = "benches/instructions.json";

/// A rise above this share fails.
const MOST_RISE: f64 = 0.03;

/// Few, so that how requests meet each other in valgrind's one thread is much the same each time.
const CONNECTIONS: usize = 8;

/// Functions with one of these in their names are not counted: others' code, none of ours.
const LEFT_OUT: [&str; 5] = ["sha2::", "aws_lc", "Ledwards25519", "sha512_block", "sha256_block"];

/// What all are compared with.
const PLAIN: &str = "plain";

const WARM_UP: Duration = Duration::from_secs(2);

/// What can be told to the run.
#[derive(Args)]
pub(crate) struct QuickArgs {
    /// Writes the figures down as those to compare with
    #[arg(long)]
    save: bool,
    /// Seconds of load for each contender
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(2..=120))]
    seconds: u64,
    /// Measures the builds that are there
    #[arg(long)]
    no_build: bool,
}

/// Instructions a request, by contender.
#[derive(Deserialize, Serialize)]
struct Figures {
    /// Other compilers make other figures.
    rustc: String,
    instructions_per_request: BTreeMap<String, f64>,
}

impl Figures {
    fn of_plain(&self, name: &str) -> Result<f64> {
        let of = |name: &str| {
            self.instructions_per_request.get(name).with_context(|| format!("no figure of {name}"))
        };
        Ok(of(name)? / of(PLAIN)?)
    }
}

/// Measures, prints, and compares with (or writes) `benches/instructions.json`.
///
/// # Errors
/// When a level takes over 3 % more instructions than was written down, or than the plain proxy in proportion; when another
/// compiler wrote the figures down; or when something cannot be run.
pub(super) fn run(args: &QuickArgs) -> Result<()> {
    if !answers("valgrind", "--version") {
        debian::install(&["valgrind"])?;
    }
    load::ensure_wrk()?;
    if !args.no_build {
        build(COUNTED)?;
    }
    let machine = Machine::look()?;
    let folder = Folder::new()?;
    let mut stage = Stage::set_under(&folder.0, &machine, Under::Callgrind)?;
    write_request(&stage)?;
    let mut measured = BTreeMap::new();
    for server in stage.servers.iter().filter(|server| server.name != "direct") {
        let wrk = |time| load::wrk(&stage.folder, &machine.load_cores, server.listen, CONNECTIONS, time);
        wrk(WARM_UP)?;
        pause(SETTLE);
        control(server.pid(), &["--zero"])?;
        control(server.pid(), &["--instr=on"])?;
        let loaded = wrk(Duration::from_secs(args.seconds))?;
        pause(SETTLE);
        let out = stage.folder.join(format!("callgrind.{}", server.name));
        control(server.pid(), &["--dump"])?;
        control(server.pid(), &["--instr=off"])?;
        let instructions = total(&stage.folder, &out)? / loaded.requests;
        eprintln!(
            "bench: {:6}: {instructions:.0} instructions a request ({:.0} requests)",
            server.name, loaded.requests
        );
        measured.insert(server.name.to_owned(), instructions);
    }
    stage.check_records()?;
    stage.stop();
    let path = root().join(BASELINE);
    let now = Figures { rustc: machine.rustc, instructions_per_request: measured };
    if args.save {
        fs::write(&path, serde_json::to_string_pretty(&now)? + "\n")
            .with_context(|| path.display().to_string())?;
        eprintln!("bench: written to {BASELINE}");
        return Ok(());
    }
    let text = fs::read_to_string(&path).with_context(|| format!("{BASELINE}: make it with --save"))?;
    compare(&serde_json::from_str(&text).context(BASELINE)?, &now)
}

fn control(pid: u32, args: &[&str]) -> Result<()> {
    run_quietly(Command::new("callgrind_control").args(args).arg(pid.to_string())).map(|_| ())
}

/// What all dumps that begin like `out` counted (there is one for each time it was asked).
fn total(folder: &Path, out: &Path) -> Result<f64> {
    let begin = out.file_name().and_then(|name| name.to_str()).context("a name")?;
    let mut sum = 0;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_dump =
            path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(begin));
        if is_dump {
            sum += callgrind::count(&fs::read_to_string(&path)?, &LEFT_OUT)
                .with_context(|| path.display().to_string())?;
        }
    }
    if sum == 0 {
        bail!("callgrind counted nothing for {begin}");
    }
    Ok(sum as f64)
}

/// Against what was written down, twice: the figure itself, and its ratio to the plain proxy's of the same run. The latter sees
/// a level fall behind when hyper gets better; the former what both got worse by.
fn compare(before: &Figures, now: &Figures) -> Result<()> {
    println!(
        "Instructions a request without hashing and signing, compared with {BASELINE}; a rise over {:.0} % fails, of the figure or \
         of its ratio to the plain proxy's (of plain itself neither does):",
        MOST_RISE * 100.0
    );
    let mut wrong = Vec::new();
    for name in before.instructions_per_request.keys() {
        if !now.instructions_per_request.contains_key(name) {
            wrong.push(format!("{name} was not measured"));
        }
    }
    for (name, figure) in &now.instructions_per_request {
        let Some(old) = before.instructions_per_request.get(name) else {
            wrong.push(format!("{name} has no figure to compare with"));
            continue;
        };
        let rise = figure / old - 1.0;
        let (ratio, old_ratio) = (now.of_plain(name)?, before.of_plain(name)?);
        let ratio_rise = ratio / old_ratio - 1.0;
        println!(
            "{name:6}: {figure:8.0}, written down {old:8.0}: {:+.1} %; {ratio:.3} of plain, written down {old_ratio:.3}: {:+.1} %",
            rise * 100.0,
            ratio_rise * 100.0
        );
        // The plain proxy is the yardstick: what it does is not ours.
        if name != PLAIN && rise > MOST_RISE {
            wrong.push(format!("{name} rose by {:.1} %", rise * 100.0));
        }
        if ratio_rise > MOST_RISE {
            wrong.push(format!("{name}'s ratio to plain rose by {:.1} %", ratio_rise * 100.0));
        }
    }
    if before.rustc != now.rustc {
        // Another compiler makes other code of the same source: neither a rise nor its absence says anything.
        bail!(
            "not comparable: {BASELINE} was made by rustc {}, these programs by rustc {}. Use that compiler, or write new figures \
             down with `cargo xtask bench quick --save`",
            before.rustc,
            now.rustc
        );
    }
    if !wrong.is_empty() {
        bail!(
            "instructions a request: {}. Mend it, or write the new figures down with `cargo xtask bench quick --save` and say \
             why",
            wrong.join(", ")
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests;
