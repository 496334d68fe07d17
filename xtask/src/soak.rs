//! `cargo xtask soak`: the crash test for as long as one likes, against the release build.

use anyhow::Result;
use clap::Args;

use crate::shell::{cargo, run};

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
}

/// Runs whole answers, streams, endless streams and broken upstreams against `colophon serve`, kills it at moments spread
/// over what a batch takes, and starts it again on the same folder (with `node`, without it). After each kill every answer has to be on record,
/// and every tree head to be of one log; every tenth time, the whole log is checked. Memory has to stay flat.
///
/// # Errors
/// When the build fails, or anything is not so.
pub(crate) fn soak(args: &SoakArgs) -> Result<()> {
    run(cargo().args([
        "build",
        "--release",
        "--package",
        "colophon",
        "--package",
        "colophon-verify",
        "--bins",
    ]))?;
    let mut test = cargo();
    test.args(["test", "--release", "--package", "colophon-tests", "--test", "crash"]);
    test.args(["killed_at_any_moment_it_goes_on_with_the_same_log", "--", "--exact", "--nocapture"]);
    test.env("COLOPHON_SOAK_KILLS", args.kills.to_string());
    test.env("COLOPHON_SOAK_DURABILITY", &args.durability);
    if args.minutes > 0 {
        test.env("COLOPHON_SOAK_MINUTES", args.minutes.to_string());
    }
    run(&mut test)
}
