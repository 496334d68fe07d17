//! cargo-deny, installed under `target/setup` at a pinned version, and the two ways it is run.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

use anyhow::Result;

use crate::shell::{Stamped, cargo, root, run, run_quietly};

const VERSION: &str = "0.20.2";

/// Bans, licences and sources: what needs no network beyond the crates themselves.
///
/// # Errors
/// When cargo-deny cannot be installed or finds something.
pub(crate) fn check() -> Result<()> {
    run(Command::new(ensure()?).args(["check", "bans", "licenses", "sources"]).current_dir(root()))
}

/// Known vulnerabilities. Without a database, neither reachable nor kept from an earlier run, there is nothing to
/// check against; that is said, and is no failure.
///
/// # Errors
/// When cargo-deny cannot be installed or finds something.
pub(crate) fn advisories() -> Result<()> {
    let program = ensure()?;
    let fetched = run_quietly(Command::new(&program).args(["fetch", "db"]).current_dir(root()));
    if let Err(error) = fetched {
        if !have_database() {
            println!("skipped: no advisory database");
            return Ok(());
        }
        eprintln!("the advisory database could not be refreshed, using the one kept: {error:#}");
    }
    run(Command::new(&program).args(["check", "--disable-fetch", "advisories"]).current_dir(root()))
}

fn ensure() -> Result<PathBuf> {
    let root = Stamped::new("cargo-deny", VERSION.to_owned());
    root.ensure(&format!("cargo-deny {VERSION}, built from crates.io"), |dir| {
        let mut install = cargo();
        install
            .args(["install", "--quiet", "--locked", "cargo-deny", "--version", VERSION, "--root"])
            .arg(dir);
        run_quietly(&mut install).map(|_| ())
    })?;
    Ok(root.dir.join("bin/cargo-deny"))
}

/// A failed clone can leave an empty folder behind; a database has a `crates` folder.
fn have_database() -> bool {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    let Some(entries) = home.and_then(|home| fs::read_dir(home.join("advisory-dbs")).ok()) else {
        return false;
    };
    entries.flatten().any(|entry| entry.path().join("crates").is_dir())
}
