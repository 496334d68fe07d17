//! `node_modules` of a folder below `tests/`, from its lock file.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::shell::{Stamped, answers, root, run_quietly};

/// Installs what `tests/<name>` pins into the folder of that name under `target/setup`.
///
/// # Errors
/// When there is no Node, or the registry cannot be reached.
pub(super) fn ensure(name: &str) -> Result<()> {
    for program in ["node", "npm"] {
        if !answers(program, "--version") {
            bail!(
                "the tests run JavaScript programs and need `{program}` (Node 20 or newer) on the PATH. On Debian: \
                 apt-get install nodejs npm"
            );
        }
    }
    let from = root().join("tests").join(name);
    let read =
        |file: &str| fs::read_to_string(from.join(file)).with_context(|| format!("tests/{name}/{file}"));
    let (package, lock) = (read("package.json")?, read("package-lock.json")?);
    let step = format!("npm packages of tests/{name}");
    Stamped::new(name, format!("{package}{lock}")).ensure(&step, |dir| {
        fs::write(dir.join("package.json"), &package)?;
        fs::write(dir.join("package-lock.json"), &lock)?;
        let mut npm = Command::new("npm");
        npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(dir);
        run_quietly(&mut npm).map(|_| ())
    })
}
