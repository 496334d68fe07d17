//! What the tests need besides cargo, installed under `target/setup` from the ordinary package registries, once for
//! each set of pinned versions.

pub(crate) mod debian;
mod h2spec;
mod npm;
pub(crate) mod python;
mod softhsm;
mod timestamp_server;
mod tlog;
mod versitygw;
pub(crate) mod vllm;

use anyhow::Result;

/// Installs whatever is missing or out of date. Returns what had to be left out, and why.
///
/// # Errors
/// When a tool is missing or an installation fails; with `full`, also when something optional cannot be had.
pub(crate) fn run(full: bool) -> Result<Vec<String>> {
    python::ensure()?;
    npm::ensure()?;
    let mut skipped = Vec::new();
    if let Err(error) = h2spec::ensure() {
        if full {
            return Err(error);
        }
        skipped.push(format!("h2spec, the HTTP/2 conformance suite: {error:#}"));
    }
    if let Err(error) = softhsm::ensure() {
        if full {
            return Err(error);
        }
        skipped.push(format!("keys in a PKCS#11 token (SoftHSM2): {error:#}"));
    }
    if full {
        versitygw::ensure()?;
        tlog::ensure()?;
        timestamp_server::ensure()?;
    } else {
        skipped.push(
            "the tests with Sigstore's timestamp-server: they are part of `cargo xtask test --full`".into(),
        );
        skipped.push(
            "the tests with others' witness and log checker (litewitness, fsck): they are part of `cargo xtask test --full`"
                .into(),
        );
        skipped.push(
            "the tests on a real S3 server (versitygw): they are part of `cargo xtask test --full`".into(),
        );
    }
    Ok(skipped)
}
