//! A virtual environment with the packages of `tests/requirements.txt`.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::shell::{Stamped, root, run_quietly};

/// The oldest Python the pinned packages support.
const OLDEST: (u32, u32) = (3, 11);

pub(super) fn ensure() -> Result<()> {
    let (program, version) = find()?;
    let requirements = root().join("tests/requirements.txt");
    let pinned = fs::read_to_string(&requirements).with_context(|| requirements.display().to_string())?;
    let venv = Stamped::new("python", format!("{version}\n{pinned}"));
    venv.ensure("Python packages of tests/requirements.txt", |dir| {
        create(&program, dir)?;
        let mut pip = Command::new(dir.join("bin/python"));
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-input",
            "--requirement",
        ]);
        run_quietly(pip.arg(&requirements)).map(|_| ())
    })
}

pub(crate) fn find() -> Result<(String, String)> {
    let mut seen = Vec::new();
    for program in ["python3", "python3.13", "python3.12", "python3.11"] {
        let show = "import sys; print(*sys.version_info[:3], sys.executable)";
        let Ok(answer) = run_quietly(Command::new(program).args(["-c", show])) else { continue };
        let mut numbers = answer.split(' ').map_while(|word| word.parse::<u32>().ok());
        if let (Some(major), Some(minor)) = (numbers.next(), numbers.next()) {
            if (major, minor) >= OLDEST {
                return Ok((program.to_owned(), answer.trim().to_owned()));
            }
            seen.push(format!("{program} is {major}.{minor}"));
        }
    }
    bail!(
        "the tests need Python {}.{} or newer as `python3` on the PATH ({}). On Debian: apt-get install python3 \
         python3-venv",
        OLDEST.0,
        OLDEST.1,
        if seen.is_empty() { "none found".to_owned() } else { seen.join(", ") }
    )
}

/// Debian ships Python without `ensurepip`; where we may, we install the package that has it.
pub(crate) fn create(program: &str, dir: &std::path::Path) -> Result<()> {
    let venv = || run_quietly(Command::new(program).args(["-m", "venv", "--clear"]).arg(dir));
    let Err(first) = venv() else { return Ok(()) };
    super::debian::install(&["python3-venv"])
        .map_err(|how| first.context(format!("Python has no working `venv`; {how:#}")))?;
    venv().map(|_| ())
}
