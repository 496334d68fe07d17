//! `cargo xtask test`: set-up, the programs, then every test.

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
    let mut tests = cargo();
    tests.args(["test", "--workspace"]).args(args).env("COLOPHON_SETUP", target().join("setup"));
    if full {
        tests.env("COLOPHON_TEST_FULL", "1");
    }
    let outcome = run(&mut tests);
    for what in &skipped {
        eprintln!("skipped: {what}");
    }
    outcome
}
