//! Where an export is written: a folder, or a Zstandard-compressed tar archive.

use anyhow::Context as _;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The end of an archive's name.
const ARCHIVE: &str = ".tar.zst";
/// Ends of names that promise an archive of another kind.
const OTHER_ARCHIVES: [&str; 14] = [
    ".7z", ".bz2", ".gz", ".lz4", ".rar", ".tar", ".tbz", ".tbz2", ".tgz", ".txz", ".tzst", ".xz", ".zip",
    ".zst",
];
/// Fast, and receipts shrink to a third all the same.
const COMPRESSION: i32 = 3;

type Zstd = zstd::Encoder<'static, BufWriter<File>>;

/// An export that is being written.
pub(in crate::cli) enum Sink {
    /// A folder.
    Folder(PathBuf),
    /// An archive beside its final name.
    Archive { tar: Box<tar::Builder<Zstd>>, new: PathBuf, path: PathBuf, now: u64 },
}

impl Sink {
    /// Begins an export. A folder has to be new or empty, an archive new.
    pub(in crate::cli) fn create(path: &Path) -> anyhow::Result<Sink> {
        let cannot = || format!("cannot write {}", path.display());
        if !path.to_string_lossy().ends_with(ARCHIVE) {
            let name = path.to_string_lossy().to_ascii_lowercase();
            anyhow::ensure!(
                path.is_dir() || !OTHER_ARCHIVES.iter().any(|end| name.ends_with(end)),
                "{}: an export is a folder, or an archive whose name ends in {ARCHIVE}",
                path.display()
            );
            fs::create_dir_all(path).with_context(cannot)?;
            let empty = fs::read_dir(path).with_context(cannot)?.next().is_none();
            anyhow::ensure!(empty, "{} is not empty: name a new folder", path.display());
            return Ok(Sink::Folder(path.to_owned()));
        }
        anyhow::ensure!(!path.exists(), "{} exists: name a new file", path.display());
        let mut new = path.as_os_str().to_owned();
        new.push(".new");
        let new = PathBuf::from(new);
        let file = BufWriter::new(File::create(&new).with_context(cannot)?);
        let tar = tar::Builder::new(zstd::Encoder::new(file, COMPRESSION).with_context(cannot)?);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Ok(Sink::Archive { tar: Box::new(tar), new, path: path.to_owned(), now })
    }

    /// Writes one file.
    pub(in crate::cli) fn put(&mut self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let cannot = || format!("cannot write {name}");
        match self {
            Sink::Folder(root) => {
                let path = root.join(name);
                if let Some(folder) = path.parent() {
                    fs::create_dir_all(folder).with_context(cannot)?;
                }
                fs::write(&path, bytes).with_context(cannot)
            }
            Sink::Archive { tar, now, .. } => {
                let mut header = tar::Header::new_ustar();
                header.set_size(bytes.len() as u64);
                header.set_mode(0o644);
                header.set_mtime(*now);
                tar.append_data(&mut header, name, bytes).with_context(cannot)
            }
        }
    }

    /// Completes the export.
    pub(in crate::cli) fn finish(self) -> anyhow::Result<()> {
        let Sink::Archive { tar, new, path, .. } = self else { return Ok(()) };
        let cannot = || format!("cannot write {}", path.display());
        let mut file = tar.into_inner().and_then(Zstd::finish).with_context(cannot)?;
        file.flush().with_context(cannot)?;
        file.get_ref().sync_all().with_context(cannot)?;
        fs::rename(&new, &path).with_context(cannot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_not_called_an_archive() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["e.tar.gz", "e.TGZ", "e.zip", "e.tar", "e.zst"] {
            let path = folder.path().join(name);
            let refused = Sink::create(&path).err().unwrap().to_string();
            assert!(refused.contains(".tar.zst") && !path.exists(), "{refused}");
        }
        assert!(matches!(Sink::create(&folder.path().join("e")).unwrap(), Sink::Folder(_)));
        assert!(matches!(Sink::create(&folder.path().join("e.tar.zst")).unwrap(), Sink::Archive { .. }));
    }
}
