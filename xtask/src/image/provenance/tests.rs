use std::fs;

use super::*;
use crate::image::contents::Package;
use crate::image::sbom::sbom;
use crate::shell::target;

const COMMIT: &str = "d6cd1e2bd19e03a81132a23b2025920577f84e37";

fn source(commit: &str, changed: bool) -> Source {
    Source { commit: Some(commit.to_owned()), changed }
}

/// A program and a library, as an image has them.
fn files() -> Vec<File> {
    let package = Package { name: "libc6".into(), version: "2".into(), architecture: "amd64".into() };
    [("/usr/local/bin/colophon", None), ("/lib/libc.so.6", Some(package))]
        .map(|(path, package)| File { path: path.into(), sha256: "ab".repeat(32), package })
        .into()
}

/// The statement about an image of digest 7…, and its SBOM, written into a folder as `cargo xtask image` does.
fn written(folder: &Path, source: Option<&Source>) -> (Value, Value) {
    let (files, path) = (files(), folder.join("sbom.cdx.json"));
    let list = sbom(&files, source.is_some()).unwrap();
    fs::write(&path, list.to_string()).unwrap();
    let time = || "2026-01-02T03:04:05Z".to_owned();
    let tools = json!({"rustc": "rustc 1"});
    let build = Build { files: &files, source, tools, started: time(), finished: time(), sbom: &path };
    let made = statement(&"7".repeat(64), &build).unwrap();
    fs::write(folder.join("provenance.json"), made.to_string()).unwrap();
    (made, list)
}

#[test]
fn of_what_was_compiled_here_it_names_the_commit_and_the_lock_file() {
    for changed in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let (made, list) = written(folder.path(), Some(&source(COMMIT, changed)));
        let definition = &made["predicate"]["buildDefinition"];
        let asked = json!({"profile": "release", "commit": COMMIT, "changed": changed});
        assert_eq!(definition["externalParameters"], asked);
        let materials = definition["resolvedDependencies"].as_array().unwrap();
        let named = |name: &str| materials.iter().find(|one| one["name"] == name).unwrap();
        assert_eq!(named("source")["digest"], json!({"gitCommit": COMMIT}));
        let lock = sha256(&root().join("Cargo.lock")).unwrap();
        assert_eq!(named("Cargo.lock")["digest"], json!({"sha256": lock}));
        assert!(list["components"].as_array().unwrap().iter().any(|one| one["name"] == "rustls"));
        assert!(list.get("compositions").is_none());
        others_read(folder.path());
    }
}

#[test]
fn of_programs_that_were_given_it_says_nothing_of_this_checkout() {
    let folder = tempfile::tempdir().unwrap();
    let (made, list) = written(folder.path(), None);
    let definition = &made["predicate"]["buildDefinition"];
    let materials = definition["resolvedDependencies"].as_array().unwrap();
    assert_eq!((materials.len(), &materials[0]["name"]), (1, &json!("/lib/libc.so.6")));
    let asked = definition["externalParameters"].as_object().unwrap();
    assert_eq!(asked.keys().collect::<Vec<_>>(), ["programs"]);
    let names: Vec<_> = list["components"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["/usr/local/bin/colophon", "libc6"]);
    assert_eq!(list["compositions"][0]["aggregate"], "incomplete");
    others_read(folder.path());
}

#[test]
fn a_commit_is_the_revision_only_of_a_build_that_nothing_was_changed_for() {
    let clean = || source(COMMIT, false);
    assert_eq!(clean().built(&clean()).revision(), Some(COMMIT));
    for (before, after) in [
        (source(COMMIT, true), source(COMMIT, true)),
        (clean(), source(COMMIT, true)),
        (source(COMMIT, true), clean()),
        (clean(), source("another", false)),
        (clean(), Source { commit: None, changed: false }),
        (Source { commit: None, changed: false }, clean()),
    ] {
        let built = before.built(&after);
        assert!(built.changed, "{built:?} after {after:?}");
        assert_eq!(built.revision(), None);
    }
}

/// Has in-toto's own types and CycloneDX' own schema look at a folder, where set-up has installed them.
fn others_read(folder: &Path) {
    let setup = std::env::var_os("COLOPHON_SETUP").map_or_else(|| target().join("setup"), Into::into);
    let python = setup.join("python/bin/python");
    if !python.exists() {
        eprintln!("skipped: in-toto and CycloneDX read provenance and SBOM (cargo xtask setup)");
        return;
    }
    let digest = format!("sha256:{}", "7".repeat(64));
    fs::create_dir(folder.join("oci")).unwrap();
    fs::write(folder.join("oci/index.json"), json!({"manifests": [{"digest": digest}]}).to_string()).unwrap();
    let said =
        run_quietly(Command::new(python).arg(root().join("tests/checkers/image.py")).arg(folder)).unwrap();
    assert!(said.contains("ok - an unknown field is refused there too"), "{said}");
}
