//! `cargo xtask soak`: the crash test for as long as one likes, against the release build.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::shell::{cargo, run, target};

/// How long, or how often.
#[derive(Args)]
pub(crate) struct SoakArgs {
    /// Go on at least this long
    #[arg(long, value_name = "N", default_value_t = 0)]
    minutes: u64,
    /// Kill at least this often
    #[arg(long, value_name = "N", default_value_t = 200)]
    kills: u64,
    /// `process`, `power`, or `node`, where the disk is lost each time
    #[arg(long, value_name = "MODE", default_value = "process")]
    durability: String,
    /// Runs the release builds that are there
    #[arg(long)]
    no_build: bool,
}

/// Runs whole answers, streams, endless streams and broken upstreams against `colophon serve`, kills it at moments spread
/// over what a batch takes, and starts it again on the same folder (with `node`, without
/// it). After each kill every answer has to be on record,
/// every tree head to be of one log, and no connection left; every tenth time, the whole log is checked. Memory has to stay
/// flat. Ctrl-C ends it after the kill under way, with the checks.
///
/// # Errors
/// When the build fails or the program cannot be started; what it finds is its own exit code.
pub(crate) fn soak(args: &SoakArgs) -> Result<()> {
    if !args.no_build {
        for package in ["colophon", "colophon-verify", "colophon-tests"] {
            run(cargo().args(["build", "--release", "--locked", "--package", package, "--bins"]))?;
        }
    }
    let mut soak = Command::new(target().join("release").join("soak"));
    soak.args(["--kills", &args.kills.to_string(), "--minutes", &args.minutes.to_string()]);
    soak.args(["--durability", &args.durability]);
    // In this process's place, so that Ctrl-C is for it alone.
    let error = soak.exec();
    Err(error).with_context(|| format!("cannot start {}", soak.get_program().display()))
}
