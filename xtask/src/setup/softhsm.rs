//! SoftHSM2, a PKCS#11 token in software, and OpenSC's pkcs11-tool beside it.

use anyhow::Result;
use std::process::Command;

/// Both from Debian, unless they are there.
pub(super) fn ensure() -> Result<()> {
    // pkcs11-tool has no flag that answers with success.
    let tool = Command::new("pkcs11-tool").arg("--help").output().is_ok();
    if tool && crate::shell::answers("softhsm2-util", "--version") {
        return Ok(());
    }
    super::debian::install(&["softhsm2", "opensc"])
}
