//! `cargo bench`, and what criterion found.

use std::fs;

use anyhow::{Context as _, Result};

use crate::shell::{self, cargo, target};

/// One benchmark: its name, and the median of one run, ns.
pub(super) struct Micro {
    pub(super) name: String,
    pub(super) median_ns: f64,
    /// 95 % confidence interval of it.
    pub(super) interval_ns: (f64, f64),
}

/// Runs them all.
pub(super) fn run() -> Result<Vec<Micro>> {
    let results = target().join("criterion");
    if results.exists() {
        // Results of benchmarks that are no more would turn up in the table.
        fs::remove_dir_all(&results)?;
    }
    run_bench()?;
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
    Ok(found)
}

fn run_bench() -> Result<()> {
    shell::run(cargo().args([
        "bench",
        "--locked",
        "--package",
        "colophon-benches",
        "--bench",
        "micro",
        "--",
        "--noplot",
    ]))
}
