//! `cargo xtask bench --ledger`: the ledger alone, from one record to many millions, against the figures it should have.

mod report;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value};

use self::report::Report;
use super::machine::Machine;
use super::report::insert;
use super::{BenchArgs, Folder, micro, program, write_json};
use crate::shell::{cargo, run, run_quietly};

/// Records of a full run, and of a quick one.
const RECORDS: u64 = 10_000_000;
const QUICK_RECORDS: u64 = 500_000;
/// Of so many of them, one is made again for each durability that waits for a disk.
const SLOW_SHARE: u64 = 10;
/// The durabilities that wait for more than write(2).
const SLOW: [&str; 2] = ["power", "node"];
/// The micro benchmark of a receipt with everything in it.
const VERIFY: &str = "verify/receipt-with-two-timestamps-and-two-witnesses";

/// Runs all parts, prints the table and writes it to docs/PERFORMANCE.md.
///
/// # Errors
/// When a build or a part fails; a figure that is missed is told, and is no error.
pub(super) fn bench(args: &BenchArgs) -> Result<()> {
    if !args.output.no_build {
        run(cargo()
            .args(["build", "--release", "--locked", "--package", "colophon-benches"])
            .args(["--bin", "large-ledger"]))?;
    }
    let machine = Machine::look()?;
    let records = if args.quick { QUICK_RECORDS } else { RECORDS };
    let folder = Folder::new()?;
    let steps = Steps::new(4 + SLOW.len() as u64 + u64::from(!args.quick && !args.output.no_build));
    let large = folder.0.join("process");
    let made = steps.part("making records, process", &large, &["make", "--records", &records.to_string()])?;
    let sizes = steps.part("sizes", &large, &["sizes"])?;
    let lookup = steps.part("look-ups", &large, &["lookup"])?;
    let check = steps.part("log check", &large, &["check"])?;
    let mut slow = Vec::new();
    for mode in SLOW {
        let (records, at) = ((records / SLOW_SHARE).to_string(), folder.0.join(mode));
        let made = ["make", "--records", &records, "--in-flight", "256", "--durability", mode];
        slow.push((mode, steps.part(&format!("making records, {mode}"), &at, &made)?));
    }
    // A build with all that the benchmarks need, and minutes: not for a quick look.
    let verify_ns = match (args.quick, args.output.no_build) {
        (true, _) => None,
        (false, true) => micro::last_median_of(VERIFY).ok(),
        (false, false) => Some(steps.step("verification", || micro::median_of(VERIFY))?),
    };
    steps.bar.finish_and_clear();
    let report = Report { machine, records, made, sizes, lookup, check, slow, verify_ns };
    println!("{}", report.table());
    write_json(args.output.json.as_deref(), || report.json())?;
    if !args.output.no_write {
        insert(&[("ledger", &report.table())])?;
    }
    Ok(())
}

/// What one part measured.
type Figures = Map<String, Value>;

/// The parts, with a bar.
struct Steps {
    bar: ProgressBar,
    program: PathBuf,
}

impl Steps {
    fn new(count: u64) -> Steps {
        let style = ProgressStyle::with_template("bench {wide_bar} {pos}/{len} {msg}");
        let bar = ProgressBar::new(count).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Steps { bar, program: program("large-ledger") }
    }

    fn step<T>(&self, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.bar.set_message(name.to_owned());
        if self.bar.is_hidden() {
            eprintln!("bench: {name}");
        }
        let done = work().with_context(|| name.to_owned());
        self.bar.inc(1);
        done
    }

    fn part(&self, name: &str, folder: &Path, words: &[&str]) -> Result<Figures> {
        self.step(name, || {
            let said = run_quietly(Command::new(&self.program).arg(folder).args(words))?;
            serde_json::from_str(&said).with_context(|| format!("large-ledger said: {said}"))
        })
    }
}
