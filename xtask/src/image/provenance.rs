//! How the image was made: an in-toto Statement with SLSA's provenance (v1) as predicate.
//!
//! Whoever ran the build writes it and nobody signs it, so it proves nothing by itself: it is what a signer signs.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::contents::{File, sha256};
use crate::shell::{cargo, root, run_quietly};

/// What the fields of the predicate mean: docs/KUBERNETES.md, "The image".
const BUILD_TYPE: &str = "https://colophon.dev/build/image/v1";
/// Nobody in particular: whoever ran `cargo xtask image`, on whatever machine.
const BUILDER: &str = "https://colophon.dev/build/whoever-ran-it/v1";

/// What one build was.
pub(super) struct Build<'a> {
    /// Files of the image.
    pub(super) files: &'a [File],
    /// What this run compiled the programs from; otherwise they were given to it.
    pub(super) source: Option<&'a Source>,
    /// What it was built with, by name and the version that each says.
    pub(super) tools: Value,
    /// RFC 3339.
    pub(super) started: String,
    /// RFC 3339.
    pub(super) finished: String,
    /// The SBOM's file.
    pub(super) sbom: &'a Path,
}

/// Now, as RFC 3339 has it.
///
/// # Errors
/// When there is no `date`.
pub(super) fn now() -> Result<String> {
    Ok(run_quietly(Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]))?.trim().to_owned())
}

/// What programs are compiled from.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Source {
    /// The commit that is checked out, if this is a git checkout.
    commit: Option<String>,
    /// Whether there are changes that the commit does not have: then it is not what is compiled.
    changed: bool,
}

impl Source {
    /// What lies here now.
    ///
    /// # Errors
    /// When git does not say what was changed.
    pub(super) fn checked_out() -> Result<Source> {
        let commit = git(&["rev-parse", "HEAD"]).ok();
        let changed = commit.is_some() && !git(&["status", "--porcelain"])?.is_empty();
        Ok(Source { commit, changed })
    }

    /// What was compiled, where this lay here before and `after` does since: the same only where nobody moved anything meanwhile.
    pub(super) fn built(self, after: &Source) -> Source {
        let changed = self.changed || self != *after;
        Source { changed, ..self }
    }

    /// The commit that was compiled; `None` where what was compiled is no commit.
    pub(super) fn revision(&self) -> Option<&str> {
        self.commit.as_deref().filter(|_| !self.changed)
    }
}

/// The versions that the compiler and the others say.
///
/// # Errors
/// When one does not.
pub(super) fn tools() -> Result<Value> {
    let rustc = run_quietly(Command::new("rustc").arg("--version"))?;
    let cargo = run_quietly(cargo().arg("--version"))?;
    let umoci = run_quietly(Command::new("umoci").arg("--version"))?;
    Ok(json!({"rustc": rustc.trim(), "cargo": cargo.trim(), "umoci": umoci.trim()}))
}

/// The statement about the image whose manifest has this digest (hexadecimal SHA-256).
///
/// # Errors
/// When a file cannot be read.
pub(super) fn statement(manifest: &str, build: &Build<'_>) -> Result<Value> {
    let (source, mut materials) = match build.source {
        Some(source) => compiled(source)?,
        None => (
            json!({"programs": "built before, by something that this statement knows nothing of"}),
            Vec::new(),
        ),
    };
    let libraries = build.files.iter().filter_map(|file| {
        let package = file.package.as_ref()?;
        Some(json!({"name": file.path, "digest": {"sha256": file.sha256}, "annotations": {"package": package.purl()}}))
    });
    materials.extend(libraries);
    let programs = build.files.iter().filter(|file| file.path.contains("/bin/"));
    let mut byproducts: Vec<_> =
        programs.map(|file| json!({"name": file.path, "digest": {"sha256": file.sha256}})).collect();
    byproducts.push(json!({"name": "sbom.cdx.json", "digest": {"sha256": sha256(build.sbom)?}}));
    Ok(json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "colophon", "digest": {"sha256": manifest}}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": source,
                "resolvedDependencies": materials,
            },
            "runDetails": {
                "builder": {
                    "id": BUILDER,
                    "version": build.tools,
                },
                "metadata": {"startedOn": build.started, "finishedOn": build.finished},
                "byproducts": byproducts,
            },
        },
    }))
}

/// What a build here was asked for, and what went into it.
fn compiled(source: &Source) -> Result<(Value, Vec<Value>)> {
    let mut materials = vec![of_file("Cargo.lock")?, of_file("Containerfile")?];
    let mut asked = json!({"profile": "release"});
    if let Some(commit) = &source.commit {
        asked["commit"] = json!(commit);
        asked["changed"] = json!(source.changed);
        materials.push(json!({"name": "source", "digest": {"gitCommit": commit}}));
    }
    Ok((asked, materials))
}

fn of_file(name: &str) -> Result<Value> {
    Ok(json!({"name": name, "digest": {"sha256": sha256(&root().join(name))?}}))
}

fn git(args: &[&str]) -> Result<String> {
    let mut git = Command::new("git");
    let said = run_quietly(git.args(args).current_dir(root())).context("git")?;
    Ok(said.trim().to_owned())
}

#[cfg(test)]
mod tests;
