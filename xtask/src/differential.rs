//! `cargo xtask differential`: verifiers of evidence against each other (`differential/`).

use anyhow::Result;

use crate::shell::{cargo, root, run, target};

/// Runs the comparisons, and shows what they say of how much was compared.
///
/// # Errors
/// When they do not build, or two verifiers differ where they should not.
pub(crate) fn compare() -> Result<()> {
    let mut command = cargo();
    command.args(["test", "--locked", "--manifest-path"]).arg(root().join("differential/Cargo.toml"));
    command.arg("--target-dir").arg(target());
    run(command.args(["--", "--nocapture"]))
}
