//! What is in the image and where it is from: programs, and files of Debian packages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use crate::shell::{root, run_quietly};

/// A file of the image.
pub(super) struct File {
    /// In the image, from `/` on.
    pub(super) path: String,
    /// SHA-256 of its bytes, hexadecimal.
    pub(super) sha256: String,
    /// The Debian package that it is from; `None` for our programs and what Debian makes at installation (the CAs).
    pub(super) package: Option<Package>,
}

/// A Debian package.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) architecture: String,
}

impl Package {
    /// As a package URL.
    pub(super) fn purl(&self) -> String {
        let version = self.version.replace('+', "%2B").replace(':', "%3A");
        format!("pkg:deb/debian/{}@{version}?arch={}", self.name, self.architecture)
    }
}

/// Fills `into` with the image's files by the script that the Containerfile uses as well.
///
/// # Errors
/// When something is missing, or a library is of no Debian package.
pub(super) fn gather(programs: &Path, into: &Path) -> Result<Vec<File>> {
    let script = root().join("xtask/image/root.sh");
    run_quietly(Command::new("sh").arg(script).arg(architecture()?).args([programs, into]))?;
    let mut files = Vec::new();
    for path in all_below(into)? {
        let relative = path.strip_prefix(into)?.to_str().context("a path that is no text")?.to_owned();
        let in_image = format!("/{relative}");
        let package = if in_image.contains("/lib") { Some(package_of(&in_image)?) } else { None };
        files.push(File { path: in_image, sha256: sha256(&path)?, package });
    }
    ensure!(!files.is_empty(), "the image would be empty");
    Ok(files)
}

/// This machine's, as Debian and images name it.
pub(super) fn architecture() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => bail!("no image for {other}"),
    }
}

/// SHA-256 of a file, hexadecimal.
///
/// # Errors
/// When it cannot be read.
pub(super) fn sha256(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    Ok(hex::encode(Sha256::digest(bytes)))
}

fn all_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let into = if entry.file_type()?.is_dir() { &mut folders } else { &mut found };
            into.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

fn package_of(library: &str) -> Result<Package> {
    // Since Debian 13 packages name their files below /usr, where /lib is only a link.
    let owner = [library.to_owned(), format!("/usr{library}")]
        .iter()
        .find_map(|path| run_quietly(Command::new("dpkg-query").args(["--search", path])).ok());
    let owner = owner.with_context(|| format!("{library} is of no Debian package"))?;
    let (package, _) = owner.split_once(": ").with_context(|| format!("dpkg-query says {owner}"))?;
    let format = "${Package} ${Version} ${Architecture}";
    let said = run_quietly(Command::new("dpkg-query").args(["--show", "--showformat", format, package]))?;
    let words: Vec<_> = said.split(' ').collect();
    let [name, version, architecture] = words.as_slice() else { bail!("dpkg-query says {said}") };
    let owned = |word: &str| word.to_owned();
    Ok(Package { name: owned(name), version: owned(version), architecture: owned(architecture) })
}
