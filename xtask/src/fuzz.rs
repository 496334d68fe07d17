//! `cargo xtask fuzz`: the fuzz targets (`fuzz/fuzz_targets`), one after the other.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::shell::{cargo, root, run, run_quietly, target};

/// Which of them, and for how long.
#[derive(Args)]
pub(crate) struct FuzzArgs {
    /// Minutes of each target
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    minutes: u64,
    /// These targets; without, all of them
    targets: Vec<String>,
}

/// Runs each target by cargo-fuzz, from the seeds in the repository; what it finds worth keeping goes to `target/fuzz`. The
/// code has no `unsafe`, so it is built without sanitizers, which a stable compiler can do.
///
/// # Errors
/// When cargo-fuzz is not there, a target does not exist or build, or finds an input that breaks it.
pub(crate) fn fuzz(args: &FuzzArgs) -> Result<()> {
    run_quietly(cargo().args(["fuzz", "--version"]))
        .context("cargo-fuzz is needed: cargo install --locked cargo-fuzz")?;
    let all = targets()?;
    let chosen = if args.targets.is_empty() { &all } else { &args.targets };
    for name in chosen {
        ensure!(all.contains(name), "there is no fuzz target `{name}`; there are {}", all.join(", "));
    }
    for name in chosen {
        let found = target().join("fuzz").join(name);
        fs::create_dir_all(&found)?;
        let mut command = cargo();
        command.args(["fuzz", "run", "--sanitizer", "none", name]).arg(&found);
        command.arg(root().join("fuzz/seeds").join(name)).arg("--");
        command.arg(format!("-max_total_time={}", args.minutes * 60));
        // An input that takes so long is a find, too; wall-clock time, on a machine that may be busy.
        command.args(["-timeout=60", "-rss_limit_mb=2048", "-print_final_stats=1"]);
        run(&mut command)?;
    }
    Ok(())
}

/// The targets' names, in their order.
fn targets() -> Result<Vec<String>> {
    let folder = root().join("fuzz/fuzz_targets");
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry?.path().file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}
