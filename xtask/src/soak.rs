//! `cargo xtask soak`: the crash test for as long as one likes, against the release build.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
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
    /// Seconds that each life lasts under load, besides the moments that it takes to get going
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    life: u64,
    /// `process`, `power`, or `node`, where the disk is lost each time
    #[arg(long, value_name = "MODE", default_value = "process")]
    durability: String,
    /// With each kill the power fails: what was not synced is forgotten (with `power`)
    #[arg(long)]
    power_loss: bool,
    /// Runs the release builds that are there
    #[arg(long, conflicts_with = "programs")]
    no_build: bool,
    /// Kills the `colophon` of this folder, which holds `colophon-verify` too; only the soak itself is built, for debugging
    #[arg(long, value_name = "FOLDER")]
    programs: Option<PathBuf>,
}

/// Runs whole answers, streams, endless streams, clients that leave and broken upstreams against `colophon serve`, kills it
/// at moments spread over what a batch takes, and starts it again on the same folder (with `node`, without it). After each kill every answer has to be on record,
/// every tree head to be of one log, and no connection left; every tenth time, the whole log is checked. Memory has to stay
/// flat. A connection hangs if it is silent while sixty others are answered: a machine that stands still makes none hang.
/// Ctrl-C ends it after the kill under way, with the checks.
///
/// # Errors
/// When the build fails or the program cannot be started; what it finds is its own exit code.
pub(crate) fn soak(args: &SoakArgs) -> Result<()> {
    if args.programs.is_some() {
        run(cargo().args(["build", "--locked", "--package", "colophon-tests", "--bin", "soak"]))?;
    } else if !args.no_build {
        for package in ["colophon", "colophon-verify", "colophon-tests"] {
            run(cargo().args(["build", "--release", "--locked", "--package", package, "--bins"]))?;
        }
    }
    let profile = if args.programs.is_some() { "debug" } else { "release" };
    let mut soak = Command::new(target().join(profile).join("soak"));
    soak.args(["--kills", &args.kills.to_string(), "--minutes", &args.minutes.to_string()]);
    soak.args(["--life", &args.life.to_string(), "--durability", &args.durability]);
    soak.args(["--power-loss", &args.power_loss.to_string()]);
    if let Some(programs) = &args.programs {
        soak.env("COLOPHON_PROGRAMS", std::path::absolute(programs)?);
    }
    // In this process's place, so that Ctrl-C is for it alone.
    let error = soak.exec();
    Err(error).with_context(|| format!("cannot start {}", soak.get_program().display()))
}
