//! `cargo bench`, and what criterion found.

use std::fmt::Write as _;
use std::fs;
use std::time::Instant;

use anyhow::{Context as _, Result};

use super::machine::Machine;
use super::report::NOISE;
use crate::shell::{self, cargo, target};

/// One benchmark: its name, and the median of one run, ns.
pub(super) struct Micro {
    pub(super) name: String,
    pub(super) median_ns: f64,
    /// 95 % confidence interval of it.
    pub(super) interval_ns: (f64, f64),
}

/// All of them.
pub(super) struct Micros {
    pub(super) all: Vec<Micro>,
    /// What others used of the machine meanwhile, in percent of one core.
    others: f64,
}

impl Micros {
    /// As Markdown.
    pub(super) fn table(&self) -> String {
        let mut text = String::from("| benchmark | median | 95 % interval |\n|---|---|---|\n");
        for micro in &self.all {
            let (low, high) = micro.interval_ns;
            let median = time(micro.median_ns);
            let _ = writeln!(text, "| {} | {median} | {} to {} |", micro.name, time(low), time(high));
        }
        let verdict = if self.others > NOISE { "**noisy: do not rely on these figures**" } else { "quiet" };
        let _ = writeln!(
            text,
            "\nEverything else on the machine took {:.0} % of a core: {verdict}.",
            self.others
        );
        text
    }
}

fn time(ns: f64) -> String {
    match ns {
        ns if ns < 1e3 => format!("{ns:.0} ns"),
        ns if ns < 1e6 => format!("{:.2} µs", ns / 1e3),
        ns => format!("{:.2} ms", ns / 1e6),
    }
}

/// Runs them all.
pub(super) fn run(machine: &Machine) -> Result<Micros> {
    let results = target().join("criterion");
    if results.exists() {
        // Results of benchmarks that are no more would turn up in the table.
        fs::remove_dir_all(&results)?;
    }
    bench(&["--no-run"])?;
    let (begun, before) = (Instant::now(), machine.busy_seconds()?);
    bench(&["--", "--noplot"])?;
    let busy = (machine.busy_seconds()? - before) / begun.elapsed().as_secs_f64() * 100.0;
    let mut found = Vec::new();
    for group in fs::read_dir(&results).with_context(|| results.display().to_string())? {
        let group = group?.path();
        if !group.is_dir() {
            continue;
        }
        for bench in fs::read_dir(&group)? {
            let bench = bench?.path();
            // Reports lie beside the results.
            let Ok(text) = fs::read_to_string(bench.join("new/estimates.json")) else { continue };
            let estimates: serde_json::Value = serde_json::from_str(&text)?;
            let median = &estimates["median"];
            let number =
                |value: &serde_json::Value| value.as_f64().context("criterion's estimates have changed");
            let name =
                |path: &std::path::Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            found.push(Micro {
                name: format!("{}/{}", name(&group), name(&bench)),
                median_ns: number(&median["point_estimate"])?,
                interval_ns: (
                    number(&median["confidence_interval"]["lower_bound"])?,
                    number(&median["confidence_interval"]["upper_bound"])?,
                ),
            });
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    // The benchmarks keep one core busy themselves.
    Ok(Micros { all: found, others: (busy - 100.0).max(0.0) })
}

/// Runs one of them, `group/name`, and gives its median, ns.
pub(super) fn median_of(name: &str) -> Result<f64> {
    bench(&["--", "--noplot", name])?;
    last_median_of(name)
}

/// The same, of the last time that it ran.
pub(super) fn last_median_of(name: &str) -> Result<f64> {
    let path = target().join("criterion").join(name).join("new/estimates.json");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let estimates: serde_json::Value = serde_json::from_str(&text)?;
    estimates["median"]["point_estimate"].as_f64().context("criterion's estimates have changed")
}

fn bench(more: &[&str]) -> Result<()> {
    let mut command = cargo();
    command.args(["bench", "--locked", "--package", "colophon-benches", "--bench", "micro"]).args(more);
    shell::run(&mut command)
}
