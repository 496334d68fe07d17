//! versitygw, an S3 server, built by Go from the module that `tests/versitygw/go.mod` pins. About two minutes, once.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::shell::{Stamped, answers, root, run_quietly};

const PACKAGE: &str = "github.com/versity/versitygw/cmd/versitygw";

pub(super) fn ensure() -> Result<()> {
    if !answers("go", "version") {
        bail!("no `go` on the PATH to build it with. On Debian: apt-get install golang-go");
    }
    let module = root().join("tests/versitygw");
    let read =
        |name: &str| fs::read_to_string(module.join(name)).with_context(|| format!("tests/versitygw/{name}"));
    let key = format!("{}{}", read("go.mod")?, read("go.sum")?);
    Stamped::new("versitygw", key).ensure("versitygw from the Go module proxy", |dir| {
        let mut go = Command::new("go");
        go.args(["build", "-mod=readonly", "-o"])
            .arg(dir.join("versitygw"))
            .arg(PACKAGE)
            .current_dir(&module);
        run_quietly(&mut go).map(|_| ())
    })
}
