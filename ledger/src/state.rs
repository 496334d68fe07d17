//! The last signed head, kept outside the store: what a restored or copied data folder cannot bring back with it.
//!
//! One small JSON file for each log key and generation in the state folder. It and the store hold the same random
//! token: a store whose token the state folder does not know was brought from elsewhere.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use colophon_receipt::Hash;
use colophon_receipt::merkle::empty_root;
use colophon_signer::PublicKey;
use serde::{Deserialize, Serialize};

const FORMAT: &str = "colophon-log-state-v1";
const MAX_FILE: u64 = 64 << 10;

/// Why the state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process signs with the same log key.
    #[error(
        "{path} is locked: another process on this machine signs with this log key. Two that did so at once, for \
         example on two copies of a data folder, would fork the log"
    )]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// The file is not one of ours.
    #[error("{path} is damaged: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// What was signed last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Last {
    pub(crate) origin: String,
    pub(crate) token: [u8; 16],
    pub(crate) size: u64,
    pub(crate) root: Hash,
    /// The newest sequence entry then: where the next start looks first.
    pub(crate) seq: u64,
}

impl Last {
    /// Nothing signed yet.
    pub(crate) fn nothing(origin: String, token: [u8; 16]) -> Last {
        Last { origin, token, size: 0, root: empty_root(), seq: 0 }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Json {
    format: String,
    origin: String,
    #[serde(with = "hex::serde")]
    token: [u8; 16],
    size: u64,
    #[serde(with = "hex::serde")]
    root: Hash,
    seq: u64,
}

/// The state file of one log key and generation, this process's alone for as long as a clone of this lives.
#[derive(Clone, Debug)]
pub(crate) struct StateFile {
    path: PathBuf,
    _lock: Arc<File>,
}

impl StateFile {
    /// Locks the file in `folder` for this key and generation; the file itself need not exist.
    pub(crate) async fn open(
        folder: &Path,
        key: &PublicKey,
        generation: u32,
    ) -> Result<StateFile, StateError> {
        let path = file(folder, key, generation);
        let lock = path.with_extension("lock");
        let io = |source| StateError::Io { path: lock.clone(), source };
        let opened = lock.clone();
        let locked = blocking(move || {
            opened.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            // A file of its own: the state file is replaced at each write.
            let mut options = OpenOptions::new();
            let file = options.write(true).create(true).truncate(false).open(&opened)?;
            Ok(file.try_lock().map(|()| file))
        });
        match locked.await.and_then(|locked| locked).map_err(io)? {
            Ok(file) => Ok(StateFile { path, _lock: Arc::new(file) }),
            Err(TryLockError::WouldBlock) => Err(StateError::Locked { path: lock }),
            Err(TryLockError::Error(source)) => Err(io(source)),
        }
    }

    /// What was signed last here in the generation after this one, under the key that it gave way to.
    pub(crate) async fn next(
        &self,
        key: &PublicKey,
        generation: u32,
    ) -> Result<Option<(PathBuf, Last)>, StateError> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        // Only read: who writes it has its lock.
        let next = StateFile { path: file(folder, key, generation + 1), _lock: self._lock.clone() };
        Ok(next.load().await?.map(|last| (next.path, last)))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn io(&self) -> impl Fn(std::io::Error) -> StateError {
        let path = self.path.clone();
        move |source| StateError::Io { path: path.clone(), source }
    }

    /// Reads the file; `None` when there is none.
    pub(crate) async fn load(&self) -> Result<Option<Last>, StateError> {
        let this = self.clone();
        blocking(move || this.load_now()).await.map_err(self.io())?
    }

    fn load_now(&self) -> Result<Option<Last>, StateError> {
        let damaged = |reason: String| StateError::Damaged { path: self.path.clone(), reason };
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(self.io()(e)),
        };
        let mut bytes = Vec::new();
        file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(self.io())?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(damaged("too long".into()));
        }
        let json: Json = serde_json::from_slice(&bytes).map_err(|e| damaged(e.to_string()))?;
        if json.format != FORMAT {
            return Err(damaged(format!("its format is not {FORMAT}")));
        }
        let Json { origin, token, size, root, seq, .. } = json;
        Ok(Some(Last { origin, token, size, root, seq }))
    }

    /// Replaces the file atomically and syncs it to disk: what is recorded here is signed only afterwards.
    pub(crate) async fn save(&self, last: &Last) -> Result<(), StateError> {
        let (this, last) = (self.clone(), last.clone());
        blocking(move || this.save_now(last)).await.map_err(self.io())?
    }

    fn save_now(&self, last: Last) -> Result<(), StateError> {
        let Last { origin, token, size, root, seq } = last;
        let json = Json { format: FORMAT.into(), origin, token, size, root, seq };
        let mut bytes = serde_json::to_vec_pretty(&json).map_err(|e| self.io()(e.into()))?;
        bytes.push(b'\n');
        replace(&self.path, &bytes).map_err(self.io())
    }
}

fn file(folder: &Path, key: &PublicKey, generation: u32) -> PathBuf {
    let key: String = key.key_id_hex().chars().take(32).collect();
    folder.join(format!("log-{generation}-{key}.json"))
}

/// Runs file I/O beside the runtime; a panic there becomes an error here.
async fn blocking<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> std::io::Result<T> {
    tokio::task::spawn_blocking(f).await.map_err(std::io::Error::other)
}

/// Writes beside the file, syncs, renames over it, syncs the folder.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let staged = path.with_extension("json.new");
    let mut file = File::create(&staged)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    std::fs::rename(&staged, path)?;
    #[cfg(unix)]
    File::open(folder)?.sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests;
