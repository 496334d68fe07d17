//! Digests of files that were read before, by what the file system says of them, so that a second start need not read
//! hundreds of gigabytes again, nor one that was interrupted.
//!
//! Whoever may write this file may say what a model's files are: it lies beside the openings. Start without it
//! (`--model-no-cache`) where that is not enough.

use crate::model::folder::Stamp;
use anyhow::Context as _;
use colophon_receipt::Hash;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Longer than this it is begun anew.
const MAX_BYTES: u64 = 32 << 20;
/// A file written so shortly before may be written again without another time: its digest is not kept.
const SETTLED: i128 = 2_000_000_000;
const HEAD: &str = "colophon model digests 1";

/// The cache, a line of text for each file.
pub struct Cache {
    path: PathBuf,
    known: Mutex<HashMap<Stamp, Hash>>,
    file: Mutex<File>,
}

impl Cache {
    /// Opens the cache, or begins it. A line that is none is passed over: the last one of a process that was killed.
    ///
    /// # Errors
    /// When it can be neither read nor written.
    pub fn open(path: &Path) -> anyhow::Result<Cache> {
        let cannot = || format!("the cache of digests {}", path.display());
        let mut text = Vec::new();
        match File::open(path) {
            Ok(file) => drop(file.take(MAX_BYTES + 1).read_to_end(&mut text).with_context(cannot)?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(cannot),
        }
        let text = String::from_utf8_lossy(&text);
        let mut lines = text.lines();
        let known: HashMap<Stamp, Hash> = match lines.next() {
            Some(HEAD) if text.len() as u64 <= MAX_BYTES => lines.filter_map(read).collect(),
            _ => HashMap::new(),
        };
        // Anew, so that it does not grow for ever, and ends with a whole line.
        let part = path.with_extension("part");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&part)
            .with_context(cannot)?;
        let mut whole = format!("{HEAD}\n");
        known.iter().for_each(|(stamp, digest)| whole.push_str(&line(stamp, digest)));
        file.write_all(whole.as_bytes()).and_then(|()| std::fs::rename(&part, path)).with_context(cannot)?;
        Ok(Cache { path: path.to_owned(), known: Mutex::new(known), file: Mutex::new(file) })
    }

    /// The digest of a file that looks like this.
    pub fn get(&self, stamp: &Stamp) -> Option<Hash> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(stamp).copied()
    }

    /// Keeps a digest, on disk too. What cannot be written is only read again the next time.
    pub fn put(&self, stamp: &Stamp, digest: &Hash) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let last = stamp.written.max(stamp.changed);
        if i128::try_from(now).unwrap_or_default() - last < SETTLED {
            return;
        }
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(*stamp, *digest);
        let written = self
            .file
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write_all(line(stamp, digest).as_bytes());
        if let Err(error) = written {
            tracing::warn!(%error, path = %self.path.display(), "the cache of digests cannot be written");
        }
    }
}

fn line(stamp: &Stamp, digest: &Hash) -> String {
    let Stamp { device, inode, size, written, changed } = stamp;
    format!("{device} {inode} {size} {written} {changed} {}\n", hex::encode(digest))
}

fn read(line: &str) -> Option<(Stamp, Hash)> {
    let mut words = line.split(' ');
    let stamp = Stamp {
        device: words.next()?.parse().ok()?,
        inode: words.next()?.parse().ok()?,
        size: words.next()?.parse().ok()?,
        written: words.next()?.parse().ok()?,
        changed: words.next()?.parse().ok()?,
    };
    let digest = hex::decode(words.next()?).ok()?.try_into().ok()?;
    words.next().is_none().then_some((stamp, digest))
}

#[cfg(test)]
mod tests;
