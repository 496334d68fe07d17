//! `node_modules` of `tests/npm`, from its lock file.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::shell::{Stamped, answers, root, run_quietly};

pub(super) fn ensure() -> Result<()> {
    for program in ["node", "npm"] {
        if !answers(program, "--version") {
            bail!(
                "the tests run JavaScript clients and need `{program}` (Node 20 or newer) on the PATH. On Debian: \
                 apt-get install nodejs npm"
            );
        }
    }
    let from = root().join("tests/npm");
    let read = |name: &str| fs::read_to_string(from.join(name)).with_context(|| format!("tests/npm/{name}"));
    let (package, lock) = (read("package.json")?, read("package-lock.json")?);
    Stamped::new("npm", format!("{package}{lock}")).ensure("npm packages of tests/npm", |dir| {
        fs::write(dir.join("package.json"), &package)?;
        fs::write(dir.join("package-lock.json"), &lock)?;
        let mut npm = Command::new("npm");
        npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(dir);
        run_quietly(&mut npm).map(|_| ())
    })
}
