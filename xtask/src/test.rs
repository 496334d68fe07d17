//! `cargo xtask test`: set-up, the programs, then every test, or those of the release build.

use std::process::Command;

use anyhow::Result;

use crate::image::{self, ImageArgs};
use crate::setup;
use crate::shell::{cargo, run, target};

/// Runs `cargo test --workspace` with `args` after it, everything it needs in place.
///
/// # Errors
/// When set-up, the build or a test fails.
pub(crate) fn run_tests(full: bool, args: &[String]) -> Result<()> {
    let skipped = setup::run(full)?;
    // The whole-process tests start these; `cargo test` alone would not build another package's programs.
    let programs = ["colophon", "colophon-verify", "colophon-injector"];
    eprintln!("build: {}", programs.join(", "));
    run(cargo().arg("build").args(programs.iter().flat_map(|name| ["--package", name])).arg("--bins"))?;
    if full {
        // Of the programs that are tested: a release build would take minutes.
        let out = target().join("setup/image");
        image::image(&ImageArgs { programs: Some(target().join("debug")), out: Some(out) })?;
    }
    let mut tests = cargo_test(full);
    tests.arg("--workspace").args(args);
    let outcome = run(&mut tests);
    for what in &skipped {
        eprintln!("skipped: {what}");
    }
    outcome
}

/// What speed must not have cost, as test programs of `tests/tests`: crashes, whatever is spoilt on disk or on its way, and
/// bytes that nobody may change.
const RELEASE_SUITES: [&[&str]; 3] = [
    &["crash", "durability", "lifecycle", "drain", "load"],
    &["checkers", "exports", "folders", "monitor", "tlog"],
    &[
        "captures",
        "departures",
        "framing",
        "http2",
        "limits",
        "semantics",
        "timing",
        "tls",
        "upstream_faults",
        "upstream_http2",
        "websocket",
    ],
];

/// Builds `colophon` and `colophon-verify` as they are shipped (the `release` profile, apart from each other, as `soak` and
/// `bench` do), and runs [`RELEASE_SUITES`] against them. The tests themselves are debug builds: what they run counts.
///
/// # Errors
/// When set-up, the build or a test fails.
pub(crate) fn run_release(full: bool, no_build: bool, args: &[String]) -> Result<()> {
    let skipped = setup::run(full)?;
    if !no_build {
        for package in ["colophon", "colophon-verify"] {
            run(cargo().args(["build", "--release", "--locked", "--package", package, "--bins"]))?;
        }
    }
    let mut tests = cargo_test(full);
    tests.args(["--locked", "--no-fail-fast", "--package", "colophon-tests"]);
    tests.args(RELEASE_SUITES.concat().into_iter().flat_map(|suite| ["--test", suite])).args(args);
    tests.env("COLOPHON_PROGRAMS", target().join("release"));
    let outcome = run(&mut tests);
    for what in &skipped {
        eprintln!("skipped: {what}");
    }
    outcome
}

/// `cargo test` with what the tests find their set-up by; where that is `full`, they fail instead of skipping.
fn cargo_test(full: bool) -> Command {
    let mut tests = cargo();
    tests.arg("test").env("COLOPHON_SETUP", target().join("setup"));
    if full {
        tests.env("COLOPHON_TEST_FULL", "1");
    }
    tests
}

#[cfg(test)]
mod tests;
