//! The image's list of components, CycloneDX 1.5.

use std::collections::BTreeSet;

use anyhow::Result;
use serde_json::{Value, json};

use super::PROGRAMS;
use super::contents::File;
use crate::shell::{cargo, root, run_quietly};

/// The Debian packages that files are from, and what is in the programs. Of programs that this run `compiled` those are the crates
/// that the lock file has for them on this platform, what builds them among them; of others nobody here can say, so the
/// programs stand there as they are, and the list says that it is not whole.
///
/// # Errors
/// When cargo fails.
pub(super) fn sbom(files: &[File], compiled: bool) -> Result<Value> {
    let mut components: Vec<Value> = match compiled {
        true => crates()?.iter().map(|(name, version, license)| component(name, version, license)).collect(),
        false => files.iter().filter(|file| file.path.contains("/bin/")).map(program).collect(),
    };
    let packages: BTreeSet<_> = files.iter().filter_map(|file| file.package.clone()).collect();
    components.extend(packages.iter().map(|package| {
        json!({"type": "library", "bom-ref": package.purl(), "name": package.name, "version": package.version,
            "purl": package.purl()})
    }));
    let mut list = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {
            "type": "container", "bom-ref": "colophon", "name": "colophon", "version": env!("CARGO_PKG_VERSION"),
        }},
        "components": components,
    });
    if !compiled {
        list["compositions"] = json!([{"aggregate": "incomplete", "assemblies": ["colophon"]}]);
    }
    Ok(list)
}

/// Name, version and licence of what the programs are compiled from.
fn crates() -> Result<BTreeSet<(String, String, String)>> {
    let mut crates = BTreeSet::new();
    for name in PROGRAMS {
        let tree =
            ["tree", "--locked", "--edges", "normal,build", "--prefix", "none", "--format", "{p}\t{l}"];
        let said = run_quietly(cargo().args(tree).args(["--package", name]).current_dir(root()))?;
        for line in said.lines() {
            let (package, license) = line.split_once('\t').unwrap_or((line, ""));
            let mut words = package.split_whitespace();
            if let (Some(crate_name), Some(version)) = (words.next(), words.next()) {
                let license = license.trim_end_matches(" (*)");
                let version = version.trim_start_matches('v');
                crates.insert((crate_name.to_owned(), version.to_owned(), license.to_owned()));
            }
        }
    }
    Ok(crates)
}

/// A program of which only its bytes are known.
fn program(file: &File) -> Value {
    json!({"type": "file", "bom-ref": file.path, "name": file.path,
        "hashes": [{"alg": "SHA-256", "content": file.sha256}]})
}

fn component(name: &str, version: &str, license: &str) -> Value {
    let purl = format!("pkg:cargo/{name}@{}", version.replace('+', "%2B"));
    let mut one = json!({"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl});
    if !license.is_empty() {
        // `MIT/Apache-2.0` is how crates wrote it before SPDX expressions.
        one["licenses"] = json!([{"expression": license.replace('/', " OR ")}]);
    }
    one
}
