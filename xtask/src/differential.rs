//! `cargo xtask differential`: verifiers of evidence against each other (`differential/`).

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::shell::{cargo, root, run, target};

/// Names the folder of recorded evidence; without it, it is the one beside the repository.
const EVIDENCE: &str = "COLOPHON_EVIDENCE";

/// Runs the comparisons, and shows what they say of how much was compared.
///
/// # Errors
/// When there is nothing to compare, they do not build, or two verifiers differ where they should not.
pub(crate) fn compare() -> Result<()> {
    let folder = std::env::var_os(EVIDENCE).map_or_else(|| root().join("../shared/evidence"), PathBuf::from);
    if !folder.is_dir() {
        bail!(
            "nothing to compare: no recorded evidence at {}; {EVIDENCE} names the folder",
            folder.display()
        );
    }
    let mut command = cargo();
    command.env(EVIDENCE, &folder);
    command.args(["test", "--locked", "--manifest-path"]).arg(root().join("differential/Cargo.toml"));
    command.arg("--target-dir").arg(target());
    run(command.args(["--", "--nocapture"]))
}
