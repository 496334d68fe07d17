//! The data folder: who may use it, and what it remembers outside the log.

use super::LedgerError;
use crate::private::Kek;
use colophon_receipt::statement::Announcement;
use colophon_signer::KeySource;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// Names the shard that last used the folder.
const SHARD: &str = "shard-now";
/// Names the lives that the folder had, with durability `node`.
const LIVES: &str = "lives";
/// Announcements that the log does not have yet, a line each.
const UNANNOUNCED: &str = "unannounced";
/// That file is never longer: a line for each start without the log, of a few hundred bytes.
const MAX_UNANNOUNCED: u64 = 1 << 20;
/// So many of them; fences of older ones are gone.
const MAX_LIVES: usize = 4096;

/// The folder, locked for as long as this lives.
#[derive(Debug)]
pub(crate) struct Folder {
    root: PathBuf,
    _lock: File,
}

impl Folder {
    /// Creates what is missing and locks the folder against a second process.
    pub(crate) fn open(root: &Path) -> Result<Folder, LedgerError> {
        // Absolute, so that a later change of directory changes nothing.
        let root = std::path::absolute(root).map_err(|e| io(root, e))?;
        for part in ["", "wal", "private", "keys"] {
            let path = root.join(part);
            let mut builder = DirBuilder::new();
            builder.recursive(true);
            // Seeds and fields lie there.
            #[cfg(unix)]
            if !part.is_empty() {
                std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
            }
            builder.create(&path).map_err(|e| io(&path, e))?;
        }
        let path = root.join("lock");
        let lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|e| io(&path, e))?;
        match lock.try_lock() {
            Ok(()) => Ok(Folder { root, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(LedgerError::Locked(root)),
            Err(TryLockError::Error(error)) => Err(io(&path, error)),
        }
    }

    pub(crate) fn wal(&self) -> PathBuf {
        self.root.join("wal")
    }

    pub(crate) fn private(&self) -> PathBuf {
        self.root.join("private")
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The shard that last used the folder, and the log index of its announcement.
    pub(crate) fn last_shard(&self) -> Result<Option<(String, u64)>, LedgerError> {
        let path = self.root.join("wal").join(SHARD);
        let mut line = String::new();
        match File::open(&path) {
            Ok(file) => file.take(1024).read_to_string(&mut line).map_err(|e| io(&path, e))?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(io(&path, e)),
        };
        let parts = line.trim_end().split_once(' ');
        match parts.and_then(|(name, index)| Some((name.to_owned(), index.parse().ok()?))) {
            Some(shard) => Ok(Some(shard)),
            None => Err(io(&path, std::io::Error::other("not a shard name and a log index"))),
        }
    }

    /// Remembers the shard that uses the folder.
    pub(crate) fn set_shard(&self, name: &str, announced: u64) -> Result<(), LedgerError> {
        let path = self.root.join("wal").join(SHARD);
        replace(&path, format!("{name} {announced}\n").as_bytes())
    }

    /// Keeps the announcement of a shard that signs answers before the log can be asked, so that the log still comes to
    /// know its key should this life end before.
    pub(crate) fn add_unannounced(&self, announcement: &Announcement) -> Result<(), LedgerError> {
        let mut kept = self.unannounced()?;
        kept.push(announcement.clone());
        let lines = kept.iter().map(|one| hex::encode(one.encode()) + "\n");
        replace(&self.unannounced_path(), lines.collect::<String>().as_bytes())
    }

    /// Those that are kept.
    pub(crate) fn unannounced(&self) -> Result<Vec<Announcement>, LedgerError> {
        let path = self.unannounced_path();
        let mut text = String::new();
        match File::open(&path) {
            Ok(file) => file.take(MAX_UNANNOUNCED).read_to_string(&mut text).map_err(|e| io(&path, e))?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(io(&path, e)),
        };
        let read = |line: &str| Announcement::decode(&hex::decode(line).ok()?).ok();
        Ok(text.lines().filter_map(read).collect())
    }

    /// The log knows them, or never will.
    pub(crate) fn forget_unannounced(&self) -> Result<(), LedgerError> {
        let path = self.unannounced_path();
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(io(&path, e)),
            _ => Ok(()),
        }
    }

    fn unannounced_path(&self) -> PathBuf {
        self.root.join("wal").join(UNANNOUNCED)
    }

    /// Remembers the lives that this folder had in the store of copies, the newest last. Returns all that are known.
    pub(crate) fn add_life(&self, life: &str) -> Result<Vec<String>, LedgerError> {
        let path = self.root.join("wal").join(LIVES);
        let mut text = String::new();
        match File::open(&path) {
            Ok(file) => {
                file.take(MAX_LIVES as u64 * 32).read_to_string(&mut text).map_err(|e| io(&path, e))?
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => 0,
            Err(e) => return Err(io(&path, e)),
        };
        let mut lives: Vec<String> = text.lines().map(str::to_owned).collect();
        lives.push(life.to_owned());
        lives.drain(..lives.len().saturating_sub(MAX_LIVES));
        replace(&path, (lives.join("\n") + "\n").as_bytes())?;
        Ok(lives)
    }

    /// Where the newest head of a log that is kept elsewhere is remembered.
    pub(crate) fn log_head(&self) -> PathBuf {
        self.root.join("log-head")
    }

    /// Where the secret behind the receipts' tokens is.
    pub(crate) fn token_path(&self) -> PathBuf {
        self.root.join("keys").join("token")
    }

    /// The secret behind the receipts' tokens, made at first use, and whether this was it.
    pub(crate) fn token_key(&self) -> Result<([u8; 32], bool), LedgerError> {
        let path = self.token_path();
        if let Some(key) = read_token_key(&path)? {
            return Ok((key, false));
        }
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        replace(&path, &key)?;
        Ok((key, true))
    }
}

impl Folder {
    /// Where the key that wraps the keys of the private openings is, unless it is kept elsewhere.
    pub(crate) fn private_key_path(&self) -> PathBuf {
        self.root.join("keys").join("private")
    }

    /// That key; made at first use, but not where it is `needed` to open what is there.
    pub(crate) fn private_key(&self, needed: bool) -> Result<Kek, LedgerError> {
        let path = self.private_key_path();
        if !path.exists() {
            if needed {
                return Err(LedgerError::PrivateKeyGone(path));
            }
            let mut secret = [0; 32];
            getrandom::fill(&mut secret)?;
            replace(&path, format!("{}\n", hex::encode(secret)).as_bytes())?;
            tracing::info!(
                path = %path.display(),
                "made a key for the private openings; better keep it elsewhere than the data (--private-key)"
            );
        }
        Ok(Kek::load(&KeySource::File(path))?)
    }
}

/// The secret in a file that several processes share.
pub(crate) fn shared_token_key(path: &Path) -> Result<[u8; 32], LedgerError> {
    let missing = || io(path, std::io::Error::other("there is no such file: 32 random bytes are needed"));
    read_token_key(path)?.ok_or_else(missing)
}

fn read_token_key(path: &Path) -> Result<Option<[u8; 32]>, LedgerError> {
    let mut key = [0; 32];
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(io(path, e)),
    };
    match file.read_exact(&mut key).and_then(|()| file.read(&mut [0; 1])) {
        Ok(0) => Ok(Some(key)),
        Ok(_) => Err(io(path, std::io::Error::other("longer than 32 bytes"))),
        Err(e) => Err(io(path, e)),
    }
}

/// Writes a small private file whole, or not at all.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<(), LedgerError> {
    let new = path.with_extension("new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(&new).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    });
    let renamed = written.and_then(|()| std::fs::rename(&new, path));
    // The name has to survive a power cut too.
    renamed
        .and_then(|()| path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all()))
        .map_err(|e| io(path, e))
}

fn io(path: &Path, source: std::io::Error) -> LedgerError {
    LedgerError::Folder { path: path.to_owned(), source }
}
