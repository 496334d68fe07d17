//! Other people's transparency-log programs, built by Go from the module that `tests/tlog/go.mod` pins: torchwood's
//! witness, tessera's checker of log folders, and two small programs of `tests/tlog` on their libraries.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::shell::{Stamped, answers, root, run_quietly};

const PACKAGES: [&str; 4] = [
    "filippo.io/torchwood/cmd/litewitness",
    "github.com/transparency-dev/tessera/cmd/fsck",
    "./checkproof",
    "./logged",
];

pub(super) fn ensure() -> Result<()> {
    if !answers("go", "version") {
        bail!("no `go` on the PATH to build it with. On Debian: apt-get install golang-go");
    }
    let module = root().join("tests/tlog");
    let mut key = String::new();
    for name in ["go.mod", "go.sum", "checkproof/main.go", "logged/main.go"] {
        let path = module.join(name);
        key.push_str(&fs::read_to_string(&path).with_context(|| format!("tests/tlog/{name}"))?);
    }
    Stamped::new("tlog", key).ensure("litewitness and fsck from the Go module proxy", |dir| {
        let mut go = Command::new("go");
        go.args(["build", "-mod=readonly", "-o"]).arg(dir).args(PACKAGES).current_dir(&module);
        run_quietly(&mut go).map(|_| ())
    })
}
