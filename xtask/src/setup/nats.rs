//! A NATS server, through which jobs go to a fleet of provers.

use anyhow::Result;

/// Debian's, unless it is there.
pub(super) fn ensure() -> Result<()> {
    if crate::shell::answers("nats-server", "--version") {
        return Ok(());
    }
    super::debian::install(&["nats-server"])
}
