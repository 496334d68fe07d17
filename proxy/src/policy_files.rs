//! Policies on disk: a file, or a folder of them.

use crate::attested;
use crate::files;
use anyhow::Context as _;
use colophon_policies::{MAX_POLICY_BYTES, MAX_POLICY_FILES, Policy, PolicyError};
use colophon_receipt::Hash;
use colophon_receipt::merkle::sha256;
use std::io::Read as _;
use std::path::Path;

/// The files of a policy, read but not understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyFiles {
    /// Name and text, in the order of names.
    files: Vec<(String, String)>,
}

impl PolicyFiles {
    /// As [`read`](PolicyFiles::read), of what is read again while it is in force.
    ///
    /// # Errors
    /// As of `read`, and where it is a pipe or a device.
    pub fn read_lasting(path: &Path) -> anyhow::Result<PolicyFiles> {
        files::lasting(path, true).context("cannot read the policy")?;
        PolicyFiles::read(path)
    }

    /// Reads a file, or a folder's files that end in `.yaml` or `.yml`, in the order of their names. Hidden files and
    /// tests (`….test.yaml`) are left out, folders within are not entered.
    ///
    /// # Errors
    /// Something cannot be read, is no text, or there is too much of it.
    pub fn read(path: &Path) -> anyhow::Result<PolicyFiles> {
        let meta =
            std::fs::metadata(path).with_context(|| format!("cannot read the policy {}", path.display()))?;
        if !meta.is_dir() {
            return Ok(PolicyFiles { files: vec![(path.display().to_string(), read(path)?)] });
        }
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(path).with_context(|| format!("cannot list {}", path.display()))? {
            let file = entry.with_context(|| format!("cannot list {}", path.display()))?.path();
            // As mounted by Kubernetes: links into a hidden folder. One that leads nowhere is an error, not rules less.
            if is_policy(&file) && !std::fs::metadata(&file).is_ok_and(|meta| meta.is_dir()) {
                anyhow::ensure!(
                    paths.len() < MAX_POLICY_FILES,
                    "{}: more than {MAX_POLICY_FILES} policy files",
                    path.display()
                );
                paths.push(file);
            }
        }
        anyhow::ensure!(!paths.is_empty(), "{}: no policy file (*.yaml or *.yml) is there", path.display());
        paths.sort();
        let files = paths.iter().map(|file| {
            files::lasting(file, false).context("cannot read the policy")?;
            Ok((file.display().to_string(), read(file)?))
        });
        Ok(PolicyFiles { files: files.collect::<anyhow::Result<_>>()? })
    }

    /// Understands them.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(&self) -> Result<Policy, PolicyError> {
        let policy = Policy::parse_all(self.files.iter().map(|(name, text)| (name.as_str(), text.as_str())))?;
        attested::demands(&policy)?;
        Ok(policy)
    }

    /// SHA-256 over names and texts: another one where anything changed.
    pub fn digest(&self) -> Hash {
        let mut all = Vec::new();
        for part in self.files.iter().flat_map(|(name, text)| [name, text]) {
            all.extend_from_slice(&(part.len() as u64).to_be_bytes());
            all.extend_from_slice(part.as_bytes());
        }
        sha256(&all)
    }

    /// The text of the file with this name.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.files.iter().find(|(known, _)| known == name).map(|(_, text)| text.as_str())
    }
}

fn is_policy(path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return false };
    let stem = name.strip_suffix(".yaml").or_else(|| name.strip_suffix(".yml"));
    stem.is_some_and(|stem| !stem.starts_with('.') && !stem.ends_with(".test"))
}

fn read(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)
        // One byte more than allowed, so that the parser sees that it is too long.
        .and_then(|file| file.take(MAX_POLICY_BYTES as u64 + 1).read_to_string(&mut text))
        .with_context(|| format!("cannot read the policy {}", path.display()))?;
    Ok(text)
}

#[cfg(test)]
mod tests;
