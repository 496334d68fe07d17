//! Sigstore's time stamping authority, built by Go from the module that `tests/timestamp-server/go.mod` pins.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::shell::{Stamped, answers, root, run_quietly};

const PACKAGE: &str = "github.com/sigstore/timestamp-authority/v2/cmd/timestamp-server";

pub(super) fn ensure() -> Result<()> {
    if !answers("go", "version") {
        bail!("no `go` on the PATH to build it with. On Debian: apt-get install golang-go");
    }
    let module = root().join("tests/timestamp-server");
    let read = |name: &str| {
        fs::read_to_string(module.join(name)).with_context(|| format!("tests/timestamp-server/{name}"))
    };
    let key = format!("{}{}", read("go.mod")?, read("go.sum")?);
    Stamped::new("timestamp-server", key).ensure(
        "Sigstore's timestamp-server from the Go module proxy",
        |dir| {
            let mut go = Command::new("go");
            go.args(["build", "-mod=readonly", "-o"]).arg(dir.join("timestamp-server")).arg(PACKAGE);
            run_quietly(go.current_dir(&module)).map(|_| ())
        },
    )
}
