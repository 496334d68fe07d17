//! The files of a model's folder, and how to see that one changed without reading it.

use anyhow::Context as _;
use colophon_signer::model::manifest::{MAX_FILES, MAX_NAME, is_ignored};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Folders within folders are not deeper.
const MAX_DEPTH: usize = 64;

/// What a file system says of a file's content. Whoever writes to a file cannot keep its `ctime`, unless he may set the
/// machine's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stamp {
    /// Device.
    pub device: u64,
    /// Number on it.
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// Last written, ns since the epoch.
    pub written: i128,
    /// Last changed in any way, ns since the epoch.
    pub changed: i128,
}

impl Stamp {
    /// Of a file.
    pub fn of(meta: &Metadata) -> Stamp {
        let ns = |seconds: i64, ns: i64| i128::from(seconds) * 1_000_000_000 + i128::from(ns);
        Stamp {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            written: ns(meta.mtime(), meta.mtime_nsec()),
            changed: ns(meta.ctime(), meta.ctime_nsec()),
        }
    }
}

/// A file of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its path within the folder, with `/`.
    pub name: String,
    /// Where it is; where a link led, if it was one.
    pub path: PathBuf,
    /// How it was found.
    pub stamp: Stamp,
}

/// All files of a folder but those ignored, in no order.
///
/// # Errors
/// What cannot be certified: no file, a link that may not be followed or leads out of the folder, what is neither file nor
/// folder, names that are no text, more than a manifest may have.
pub fn list(root: &Path, ignored: &[String], symlinks: bool) -> anyhow::Result<Vec<Found>> {
    let top =
        root.canonicalize().with_context(|| format!("cannot read the model's folder {}", root.display()))?;
    anyhow::ensure!(top.is_dir(), "{} is not a folder", root.display());
    let mut found = Vec::new();
    let mut waiting = vec![(top.clone(), String::new(), 0)];
    while let Some((folder, prefix, depth)) = waiting.pop() {
        let cannot = || format!("cannot read the folder {}", folder.display());
        for entry in std::fs::read_dir(&folder).with_context(cannot)? {
            let entry = entry.with_context(cannot)?;
            let path = entry.path();
            let name = entry.file_name();
            let name = name.to_str().with_context(|| format!("{path:?}: its name is not UTF-8 text"))?;
            let name = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
            anyhow::ensure!(name.len() <= MAX_NAME, "{name:?}: longer than {MAX_NAME} bytes");
            anyhow::ensure!(!name.contains('\\'), "{name:?}: a name with a backslash cannot be certified");
            if is_ignored(&name, ignored) {
                continue;
            }
            let kind = entry.file_type().with_context(|| format!("cannot look at {}", path.display()))?;
            if kind.is_dir() {
                anyhow::ensure!(depth < MAX_DEPTH, "{name:?}: more than {MAX_DEPTH} folders deep");
                waiting.push((path, name, depth + 1));
                continue;
            }
            let path = if kind.is_symlink() { follow(&top, &path, &name, symlinks)? } else { path };
            let meta =
                std::fs::metadata(&path).with_context(|| format!("cannot look at {}", path.display()))?;
            anyhow::ensure!(meta.is_file(), "{name:?} is neither a file nor a folder");
            anyhow::ensure!(found.len() < MAX_FILES, "{}: more than {MAX_FILES} files", root.display());
            found.push(Found { name, path, stamp: Stamp::of(&meta) });
        }
    }
    anyhow::ensure!(!found.is_empty(), "{}: there is no file in it", root.display());
    Ok(found)
}

/// Where a link leads, if that is a file of the same folder.
fn follow(top: &Path, path: &Path, name: &str, symlinks: bool) -> anyhow::Result<PathBuf> {
    anyhow::ensure!(
        symlinks,
        "{name:?} is a symbolic link: copy the model with `cp -rL`, or allow links within the folder \
         (--allow-symlinks when it is certified)"
    );
    let target =
        path.canonicalize().with_context(|| format!("{name:?}: where this link leads cannot be found"))?;
    anyhow::ensure!(
        target.starts_with(top),
        "{name:?} is a link out of the folder, to {}: copy the model with `cp -rL`",
        target.display()
    );
    Ok(target)
}

#[cfg(test)]
mod tests;
