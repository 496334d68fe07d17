//! Prometheus and promtool, Debian's: the alert rules are checked by the one, the dashboard's queries asked of the other.

use anyhow::Result;

use crate::shell::answers;

pub(super) fn ensure() -> Result<()> {
    if answers("prometheus", "--version") && answers("promtool", "--version") {
        return Ok(());
    }
    super::debian::install(&["prometheus"])
}
