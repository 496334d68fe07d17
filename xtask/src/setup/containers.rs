//! What makes and runs an image without a daemon: Debian's umoci and runc, and the seccomp profile that container engines
//! take where a Pod says `RuntimeDefault`.

use std::path::Path;

use anyhow::Result;

use crate::shell::answers;

/// From Debian's golang-github-containers-common.
const PROFILE: &str = "/usr/share/containers/seccomp.json";

pub(super) fn ensure() -> Result<()> {
    if answers("umoci", "--version") && answers("runc", "--version") && Path::new(PROFILE).exists() {
        return Ok(());
    }
    super::debian::install(&[
        "umoci",
        "runc",
        "golang-github-containers-common",
        "ca-certificates",
        "iproute2",
    ])
}
