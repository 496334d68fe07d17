//! Debian packages, where we are root and there is apt.

use std::env;
use std::process::Command;

use anyhow::{Result, bail};

use crate::shell::run_quietly;

/// Installs packages.
///
/// # Errors
/// When that is not ours to do (not root, no apt, or `COLOPHON_NO_APT` is set), with the command to type, or fails.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    let is_root = run_quietly(Command::new("id").arg("-u")).is_ok_and(|uid| uid.trim() == "0");
    let has_apt = crate::shell::answers("apt-get", "--version");
    if !(is_root && has_apt) || env::var_os("COLOPHON_NO_APT").is_some() {
        bail!("on Debian: apt-get install {list}");
    }
    eprintln!("setup: installing Debian's {list}");
    run_quietly(Command::new("apt-get").args(["update", "-qq"]))?;
    let mut install = Command::new("apt-get");
    install.args(["install", "-y", "-qq", "--no-install-recommends"]).args(packages);
    run_quietly(install.env("DEBIAN_FRONTEND", "noninteractive")).map(|_| ())
}
