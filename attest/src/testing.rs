//! Recorded vendor evidence for tests, where it is at hand.

use crate::{Collateral, Evidence, Policy, Question, Refusal, Report, verify};
use std::path::PathBuf;

/// The folder of recorded evidence beside the repository, or `COLOPHON_EVIDENCE`.
fn folder() -> PathBuf {
    std::env::var_os("COLOPHON_EVIDENCE").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/evidence")),
        PathBuf::from,
    )
}

/// What may be kept in the repository, and is; its `SOURCES` says where it is from.
fn kept(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/recorded")).join(name)
}

/// The samples in the source of the crate `dcap-qvl`, which cargo has.
fn sample(name: &str) -> Option<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))?;
    let registries = std::fs::read_dir(home.join("registry/src")).ok()?;
    let mut crates =
        registries.flatten().flat_map(|registry| std::fs::read_dir(registry.path())).flatten().flatten();
    let found = crates.find(|entry| entry.file_name().to_string_lossy().starts_with("dcap-qvl-0."))?;
    Some(found.path().join("sample").join(name)).filter(|path| path.exists())
}

/// A recorded file. Where it is missing the test says so, loudly, and has nothing to do.
pub(crate) fn recorded(name: &str) -> Option<Vec<u8>> {
    let path = Some(kept(name)).filter(|path| path.exists()).unwrap_or_else(|| folder().join(name));
    let path = if path.exists() { path } else { sample(name.rsplit('/').next()?).unwrap_or(path) };
    let bytes = std::fs::read(&path).ok();
    if bytes.is_none() {
        eprintln!("\n*** skipped: no recorded evidence at {} ***\n", path.display());
    }
    bytes
}

/// A recorded file in hexadecimal.
pub(crate) fn recorded_hex(name: &str) -> Option<Vec<u8>> {
    recorded(name).map(|text| hex::decode(text.trim_ascii()).expect("hexadecimal"))
}

/// Verifies without a policy.
pub(crate) fn judge(evidence: &Evidence, collateral: &Collateral, at: u64) -> Result<Report, Refusal> {
    verify(evidence, collateral, &Question { at, ..Question::default() })
}

/// A policy from the part below `platforms:`.
pub(crate) fn policy(platforms: &str) -> Policy {
    let text = format!(
        "apiVersion: colophon.dev/v1alpha1\nkind: AttestationPolicy\nmetadata: {{name: t}}\nspec:\n  platforms:\n{platforms}"
    );
    Policy::from_yaml(&text).expect("a policy")
}

/// Flips bits of `range` one at a time and asks whether it is still accepted: all eight of each byte, or one of each that
/// moves along, where verification is slow. Returns the accepted ones.
pub(crate) fn flips(
    range: std::ops::Range<usize>,
    all: bool,
    accepted: impl Fn(usize, u8) -> bool,
) -> Vec<(usize, u8)> {
    let bits = range.flat_map(|at| (0..8).map(move |bit| (at, bit)));
    bits.filter(|(at, bit)| all || at % 8 == usize::from(*bit))
        .filter(|(at, bit)| accepted(*at, 1 << bit))
        .collect()
}
