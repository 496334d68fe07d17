//! The folder that an image is written into: nothing in it is deleted but what this command wrote there before.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::TAG;

/// What this command writes there, the last two for as long as it runs.
const OURS: [&str; 5] = ["oci", "sbom.cdx.json", "provenance.json", "root", "unpacked"];

/// Makes the folder, or takes away what an earlier run left in it.
///
/// # Errors
/// When it has something in it and no image of ours, and then nothing is touched; and those of the file system.
pub(super) fn clear(out: &Path) -> Result<()> {
    fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    let empty = fs::read_dir(out)?.next().is_none();
    ensure!(
        empty || is_ours(&out.join("oci")),
        "{} has files in it and no image of this command (`oci`): nothing is deleted there, name another folder",
        out.display()
    );
    for name in OURS {
        let path = out.join(name);
        let removed = match fs::symlink_metadata(&path) {
            Ok(data) if data.is_dir() => fs::remove_dir_all(&path),
            Ok(_) => fs::remove_file(&path),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        };
        removed.with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// Whether an OCI layout has our tag, or no image yet, where a run ended early.
fn is_ours(layout: &Path) -> bool {
    let Ok(text) = fs::read_to_string(layout.join("index.json")) else { return false };
    let Ok(index) = serde_json::from_str::<Value>(&text) else { return false };
    let manifests = index.get("manifests").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let tag =
        |one: &Value| one.pointer("/annotations/org.opencontainers.image.ref.name") == Some(&TAG.into());
    layout.join("oci-layout").is_file() && manifests.iter().all(tag)
}

#[cfg(test)]
mod tests;
