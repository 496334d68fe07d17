//! h2spec, built by Go from the module that `tests/h2spec/go.mod` pins.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::shell::{Stamped, answers, root, run_quietly};

const PACKAGE: &str = "github.com/summerwind/h2spec/cmd/h2spec";

pub(super) fn ensure() -> Result<()> {
    if !answers("go", "version") {
        bail!("no `go` on the PATH to build it with. On Debian: apt-get install golang-go");
    }
    let module = root().join("tests/h2spec");
    let read =
        |name: &str| fs::read_to_string(module.join(name)).with_context(|| format!("tests/h2spec/{name}"));
    let key = format!("{}{}", read("go.mod")?, read("go.sum")?);
    Stamped::new("h2spec", key).ensure("h2spec from the Go module proxy", |dir| {
        let mut go = Command::new("go");
        go.args(["build", "-mod=readonly", "-o"]).arg(dir.join("h2spec")).arg(PACKAGE).current_dir(&module);
        run_quietly(&mut go).map(|_| ())
    })
}
