//! The files of a model and their digests, as OpenSSF Model Signing lists them.

use std::collections::BTreeMap;

use colophon_receipt::merkle::Hash;
use sha2::{Digest, Sha256};

/// A manifest has at most this many files.
pub const MAX_FILES: usize = 100_000;
/// A file's name has at most this many bytes.
pub const MAX_NAME: usize = 4096;
/// What Model Signing leaves out by default, at the top of a model's folder.
pub const GIT: [&str; 4] = [".git", ".gitattributes", ".github", ".gitignore"];

/// The files of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Name and digest, in the order in which they are hashed.
    files: Vec<(String, Hash)>,
    /// Files and folders that were left out, relative to the model's folder.
    pub ignored: Vec<String>,
    /// Whether links to files count as the files that they lead to.
    pub symlinks: bool,
}

/// Why a list of files is no manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// No file at all: it would describe every empty folder.
    #[error("it lists no file")]
    Empty,
    /// More files than [`MAX_FILES`].
    #[error("it lists more than {MAX_FILES} files")]
    TooMany,
    /// A name that leads out of the folder, or that not every system can have.
    #[error("{0:?} is no name of a file within a model's folder")]
    Name(String),
    /// A name twice.
    #[error("it lists {0:?} twice")]
    Twice(String),
}

/// How a folder differs from a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The manifest has it, the folder has not.
    Missing(String),
    /// The folder has it, the manifest has not.
    Added(String),
    /// Its content is another.
    Changed(String),
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Difference::Missing(name) => write!(f, "{name:?} is missing"),
            Difference::Added(name) => write!(f, "{name:?} is not in the certificate"),
            Difference::Changed(name) => write!(f, "{name:?} has other content"),
        }
    }
}

impl Manifest {
    /// Of files as they were listed by somebody.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn listed(
        files: Vec<(String, Hash)>,
        ignored: Vec<String>,
        symlinks: bool,
    ) -> Result<Manifest, ManifestError> {
        if files.is_empty() {
            return Err(ManifestError::Empty);
        }
        if files.len() > MAX_FILES || ignored.len() > MAX_FILES {
            return Err(ManifestError::TooMany);
        }
        if let Some(name) = files.iter().map(|(name, _)| name).chain(&ignored).find(|name| !is_name(name)) {
            return Err(ManifestError::Name(name.chars().take(256).collect()));
        }
        let mut names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(ManifestError::Twice(twice[0].to_owned()));
        }
        Ok(Manifest { files, ignored, symlinks })
    }

    /// Of a folder's files, in any order: they are put in that of Model Signing, by the parts of their paths.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn of(
        mut files: Vec<(String, Hash)>,
        ignored: Vec<String>,
        symlinks: bool,
    ) -> Result<Manifest, ManifestError> {
        files.sort_by(|a, b| a.0.split('/').cmp(b.0.split('/')));
        Manifest::listed(files, ignored, symlinks)
    }

    /// The files.
    pub fn files(&self) -> &[(String, Hash)] {
        &self.files
    }

    /// SHA-256 over all digests in their order: the digest of the statement's subject.
    pub fn root(&self) -> Hash {
        let mut hash = Sha256::new();
        self.files.iter().for_each(|(_, digest)| hash.update(digest));
        hash.finalize().into()
    }

    /// How `there`, what a folder has, differs from this.
    pub fn differences(&self, there: &Manifest) -> Vec<Difference> {
        let by_name = |manifest: &Manifest| manifest.files.iter().cloned().collect::<BTreeMap<_, _>>();
        let (mine, theirs) = (by_name(self), by_name(there));
        let mut found: Vec<Difference> = mine
            .iter()
            .filter_map(|(name, digest)| match theirs.get(name) {
                None => Some(Difference::Missing(name.clone())),
                Some(other) if other != digest => Some(Difference::Changed(name.clone())),
                Some(_) => None,
            })
            .collect();
        let added = theirs.keys().filter(|name| !mine.contains_key(*name));
        found.extend(added.cloned().map(Difference::Added));
        found
    }
}

/// Whether a path is left out: it is one of `ignored`, or below one.
pub fn is_ignored(path: &str, ignored: &[String]) -> bool {
    ignored.iter().any(|ignored| {
        let ignored = ignored.trim_end_matches('/');
        path.strip_prefix(ignored).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// Whether a name is a relative path with `/` that stays within a folder.
pub fn is_name(name: &str) -> bool {
    let part = |part: &str| !matches!(part, "" | "." | "..");
    name.len() <= MAX_NAME
        && !name.contains(['\0', '\\'])
        && name.trim_end_matches('/').split('/').all(part)
        && !name.starts_with('/')
}
