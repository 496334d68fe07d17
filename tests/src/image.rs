//! The image that `cargo xtask image` makes: an OCI layout, read by its specification, and unpacked by umoci.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::{PATIENCE, paths, process};

/// The image's folder, as set-up made it: `oci`, `sbom.cdx.json`, `provenance.json`. If it is not there, this says so and
/// the test ends.
///
/// # Panics
/// When it is to be there (`cargo xtask test --full`) and is not.
pub fn installed(test: &str) -> Option<PathBuf> {
    let found = paths::installed("image").filter(|folder| folder.join("provenance.json").exists());
    if found.is_none() {
        assert!(std::env::var_os("COLOPHON_TEST_FULL").is_none(), "there is no image");
        eprintln!(
            "skipped: {test}: no image (cargo xtask test --full, or cargo xtask image --out target/setup/image)"
        );
    }
    found
}

/// A blob of the layout that is JSON, by its digest.
///
/// # Panics
/// When there is none.
pub fn blob(layout: &Path, digest: &Value) -> Value {
    let digest = digest.as_str().and_then(|digest| digest.strip_prefix("sha256:")).expect("a digest");
    let path = layout.join("blobs/sha256").join(digest);
    serde_json::from_slice(&fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
        .expect("JSON")
}

/// Manifest and configuration of the one image in a layout.
///
/// # Panics
/// When there is not just one.
pub fn read(layout: &Path) -> (Value, Value) {
    let index = fs::read(layout.join("index.json")).expect("the layout's index");
    let index: Value = serde_json::from_slice(&index).expect("JSON");
    let manifests = index["manifests"].as_array().expect("manifests");
    assert_eq!(manifests.len(), 1, "{index}");
    let manifest = blob(layout, &manifests[0]["digest"]);
    let configuration = blob(layout, &manifest["config"]["digest"]);
    (manifest, configuration)
}

/// Unpacks it: the folder is the root of a container's file system.
///
/// # Panics
/// When umoci fails.
pub fn unpack(folder: &Path, into: &Path) -> PathBuf {
    let mut umoci = Command::new("umoci");
    umoci.args(["unpack", "--rootless", "--image"]).arg(format!("{}:colophon", folder.join("oci").display()));
    let out = process::run(umoci.arg(into), PATIENCE * 4);
    assert!(out.status.success(), "umoci: {}", String::from_utf8_lossy(&out.stderr));
    into.join("rootfs")
}
