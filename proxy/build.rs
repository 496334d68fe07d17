//! Has the program's relative relocations packed (`DT_RELR`), where the C library it is built against can read them.
//!
//! Unpacked they are 1.5 MB of the file, which the loader reads once and which then stay among the resident pages.
//! glibc reads packed ones from 2.36 on, and refuses such a program before; so a program built against an older one keeps
//! them unpacked, as does one for any other C library. Where the target's C library is not this machine's (a sysroot),
//! [`SAID`] has the last word: `1` packs, `0` does not.

use std::env;
use std::process::Command;

/// The first glibc that reads packed relocations.
const READS_PACKED: (u32, u32) = (2, 36);

/// Overrules what is found out here.
const SAID: &str = "COLOPHON_PACK_RELOCATIONS";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={SAID}");
    let target = |what: &str| env::var(format!("CARGO_CFG_TARGET_{what}")).unwrap_or_default();
    let glibc = target("OS") == "linux" && target("ENV") == "gnu";
    let packs = match env::var(SAID).as_deref() {
        Ok("1") => true,
        Ok(_) => false,
        Err(_) => glibc && version_here().is_some_and(|version| version >= READS_PACKED),
    };
    if packs {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// The version of this machine's glibc. One for another architecture comes from the same release of the distribution.
fn version_here() -> Option<(u32, u32)> {
    let printed = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?.stdout;
    let printed = String::from_utf8(printed).ok()?;
    let (major, minor) = printed.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
}
