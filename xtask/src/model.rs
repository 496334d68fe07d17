//! `cargo xtask model`: checks docs/models/sequencer.pml with spin, and that the check finds seeded mistakes.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::shell::{answers, root, run_quietly, target};

/// Sizes that are searched to the end: writers, leaves of each, crashes and storage faults in all.
const SIZES: [[u8; 4]; 3] = [[2, 2, 2, 2], [3, 1, 1, 0], [3, 1, 0, 1]];

/// Each has to lead to a violated assertion, or the check checks nothing.
const MISTAKES: [&str; 6] =
    ["SIGN_FIRST", "PLAIN_PUT", "NO_COMPARE", "TILES_LATE", "STATE_LATE", "BLIND_HEAD"];

/// Memory of one search, MiB.
const MEMORY: &str = "-DMEMLIM=4000";

/// Runs the checks; says what it skips where spin or a C compiler is missing.
///
/// # Errors
/// When the model violates an assertion, is not searched to its end, or a seeded mistake is not found.
pub(crate) fn check() -> Result<()> {
    for (program, flag) in [("spin", "-V"), ("cc", "--version")] {
        if !answers(program, flag) {
            eprintln!(
                "skipped: `{program}` is missing (Debian: apt-get install spin gcc): the model is NOT checked"
            );
            return Ok(());
        }
    }
    let folder = target().join("model");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for [writers, leaves, crashes, faults] in SIZES {
        let defines = [
            format!("-DN={writers}"),
            format!("-DK={leaves}"),
            format!("-DCRASHES={crashes}"),
            format!("-DFAULTS={faults}"),
        ];
        let begun = Instant::now();
        let said = search(&folder, &defines)?;
        let whole = said.contains("errors: 0") && !said.contains("Search not completed");
        ensure!(whole, "the sequencer's model, {defines:?}:\n{said}");
        let states = number(&said, "states, stored");
        println!(
            "{writers} writers, {leaves} leaves each, {crashes} crashes, {faults} faults: no violation in {states} states \
             ({:.0} s)",
            begun.elapsed().as_secs_f64()
        );
    }
    for mistake in MISTAKES {
        let said = search(&folder, &[format!("-D{mistake}")])?;
        let Some(found) = said.lines().find(|line| line.contains("assertion violated")) else {
            bail!("the seeded mistake {mistake} is not found, so the model checks too little:\n{said}");
        };
        println!("{mistake} is found: {}", found.trim());
    }
    Ok(())
}

/// Searches all that can happen; gives the verifier's words.
fn search(folder: &Path, defines: &[String]) -> Result<String> {
    let model = root().join("docs/models/sequencer.pml");
    run_quietly(Command::new("spin").current_dir(folder).arg("-a").args(defines).arg(model))?;
    let mut compiler = Command::new("cc");
    compiler.current_dir(folder).args(["-O2", "-w", "-DSAFETY", "-DCOLLAPSE", MEMORY, "-o", "pan", "pan.c"]);
    run_quietly(&mut compiler)?;
    run_quietly(Command::new(folder.join("pan")).current_dir(folder).arg("-m1000000"))
}

/// The number in front of some words.
fn number<'a>(said: &'a str, words: &str) -> &'a str {
    said.lines().find_map(|line| line.trim().strip_suffix(words)).map_or("?", str::trim)
}
