//! swtpm, a TPM 2.0 in software.

use anyhow::Result;

/// From Debian, unless it is there.
pub(super) fn ensure() -> Result<()> {
    if crate::shell::answers("swtpm", "--version") {
        return Ok(());
    }
    super::debian::install(&["swtpm"])
}
