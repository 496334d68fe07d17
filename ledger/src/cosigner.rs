//! The other side of c2sp.org/tlog-witness: cosigns other logs' checkpoints, each log only ever one history.
//!
//! What was cosigned last is kept in a folder, one file a log: the log's own signed checkpoint. It is on disk, synced,
//! before a cosignature leaves; one request of a log at a time is compared with it and takes its place.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use colophon_receipt::Hash;
use colophon_receipt::merkle::{empty_root, sha256, verify_consistency};
use colophon_signer::Signer;
use colophon_signer::note::{Note, NoteAlgorithm, NoteError, VerifierKey, cosignature_line};

use crate::state::replace;
use crate::witness::protocol::{AddCheckpoint, Head, MAX_REQUEST, SIZE_TYPE};

/// A kept checkpoint is no longer than the request that brought it.
const MAX_FILE: u64 = MAX_REQUEST as u64;
const TEXT: &str = "text/plain; charset=utf-8";

/// How a witness is set up.
pub struct CosignerConfig {
    /// The witness's name: a URL without its scheme, such as `witness.example/w1`.
    pub name: String,
    /// Its key, used for nothing else.
    pub key: Arc<dyn Signer>,
    /// The keys of the logs that it cosigns, each named after its origin; an origin may have several.
    pub logs: Vec<VerifierKey>,
    /// Where it remembers what it has cosigned.
    pub folder: PathBuf,
}

/// Why a witness cannot start.
#[derive(Debug, thiserror::Error)]
pub enum CosignerError {
    /// Its name cannot be a key's.
    #[error("the witness's name: {0}")]
    Name(NoteError),
    /// A key that is not a log's.
    #[error("{0} is not a log's key: those are plain Ed25519 (type 0x01)")]
    LogKey(String),
    /// No log is named.
    #[error("no log to witness is named")]
    NoLogs,
    /// The witness would vouch for itself.
    #[error("the key of the log {0} is the witness's own: a log cannot be its own witness")]
    OwnKey(String),
    /// Another process uses the folder.
    #[error(
        "{0} is in use by another process: two witnesses with one key could cosign two histories of a log"
    )]
    Locked(PathBuf),
    /// The folder cannot be used.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file of the folder is not what this program wrote there.
    #[error(
        "{path} is damaged, or of a log key that is no longer named: {why}. It says what was cosigned last; without it \
         this witness could cosign another history. Put it back from a copy, or name the old key as well"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// In which way.
        why: String,
    },
}

/// An HTTP answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

impl Reply {
    fn text(status: u16, why: impl Into<String>) -> Reply {
        Reply { status, content_type: TEXT, body: format!("{}\n", why.into()) }
    }

    fn conflict(size: u64) -> Reply {
        Reply { status: 409, content_type: SIZE_TYPE, body: format!("{size}\n") }
    }
}

/// A witness.
pub struct Cosigner {
    vkey: VerifierKey,
    key: Arc<dyn Signer>,
    logs: BTreeMap<String, Log>,
    _lock: File,
}

/// One log and what was cosigned of it last.
struct Log {
    keys: Vec<VerifierKey>,
    path: PathBuf,
    seen: Mutex<Seen>,
}

#[derive(Clone)]
struct Seen {
    size: u64,
    root: Hash,
    note: String,
}

impl std::fmt::Debug for Cosigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cosigner {{ vkey: {}, logs: {} }}", self.vkey, self.logs.len())
    }
}

impl Cosigner {
    /// Locks the folder and reads what was cosigned before. Does blocking file I/O.
    ///
    /// # Errors
    /// [`CosignerError`].
    pub fn open(config: CosignerConfig) -> Result<Cosigner, CosignerError> {
        let public = config.key.public_key();
        let vkey = VerifierKey::new(&config.name, NoteAlgorithm::CosignatureV1, public)
            .map_err(CosignerError::Name)?;
        let folder = &config.folder;
        std::fs::create_dir_all(folder).map_err(io(folder))?;
        let lock = lock(folder)?;
        let mut keys: BTreeMap<String, Vec<VerifierKey>> = BTreeMap::new();
        for key in config.logs {
            if key.algorithm() != NoteAlgorithm::Ed25519 {
                return Err(CosignerError::LogKey(key.to_string()));
            }
            if key.public_key() == Some(&public) {
                return Err(CosignerError::OwnKey(key.name().to_owned()));
            }
            keys.entry(key.name().to_owned()).or_default().push(key);
        }
        if keys.is_empty() {
            return Err(CosignerError::NoLogs);
        }
        let mut logs = BTreeMap::new();
        for (origin, keys) in keys {
            let path = folder.join(format!("{}.checkpoint", hex::encode(&sha256(origin.as_bytes())[..16])));
            let seen = Mutex::new(read(&path, &origin, &keys)?);
            logs.insert(origin, Log { keys, path, seen });
        }
        Ok(Cosigner { vkey, key: config.key, logs, _lock: lock })
    }

    /// The witness's verifier key (type 0x04).
    pub fn vkey(&self) -> &VerifierKey {
        &self.vkey
    }

    /// The logs' origins, and how many leaves were cosigned of each.
    pub fn logs(&self) -> Vec<(String, u64)> {
        self.logs.iter().map(|(origin, log)| (origin.clone(), log.seen().size)).collect()
    }

    /// Answers the body of an `add-checkpoint` at `now` (seconds since the epoch). Does blocking file I/O.
    pub fn add_checkpoint(&self, body: &[u8], now: u64) -> Reply {
        let parsed = AddCheckpoint::parse(body).and_then(|request| {
            let note = Note::parse(&request.note).ok()?;
            Some((Head::parse(&note)?, note, request))
        });
        let Some((head, note, request)) = parsed else {
            return Reply::text(400, "not an add-checkpoint request (c2sp.org/tlog-witness)");
        };
        let Some(log) = self.logs.get(&head.origin) else {
            return Reply::text(404, "this witness does not know the log");
        };
        let Ok(signed) = note.verify(&log.keys) else {
            return Reply::text(403, "not signed by a key that this witness knows of the log");
        };
        if request.old > head.size {
            return Reply::text(400, "the old size is larger than the checkpoint's");
        }
        // Only what was verified is kept, so that a file is never longer than needed.
        let lines = note.signatures().iter().filter(|line| signed.signed.iter().any(|s| s.key.names(line)));
        let lines: String = lines.map(|line| format!("{line}\n")).collect();
        let kept = format!("{}\n{lines}", note.text());
        log.cosign(&head, kept, &request, || cosignature_line(note.text(), self.vkey.name(), now, &*self.key))
    }
}

impl Log {
    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Compares with what was cosigned last and takes its place, both under the log's lock; then signs.
    fn cosign(
        &self,
        head: &Head,
        note: String,
        request: &AddCheckpoint,
        sign: impl FnOnce() -> Result<String, NoteError>,
    ) -> Reply {
        let mut seen = self.seen();
        if request.old != seen.size {
            return Reply::conflict(seen.size);
        }
        if request.old == head.size && head.root != seen.root {
            // Only the empty tree has no note.
            if !seen.note.is_empty() {
                self.keep_proof(&seen.note, &note, head);
            }
            return Reply::conflict(seen.size);
        }
        let proven = verify_consistency(seen.size, &seen.root, head.size, &head.root, &request.proof);
        if let Err(error) = proven {
            tracing::warn!(log = head.origin, from = seen.size, to = head.size, "not cosigned: {error}");
            return Reply::text(422, format!("the consistency proof does not hold: {error}"));
        }
        if seen.size == 0 {
            tracing::info!(
                log = head.origin,
                size = head.size,
                "the first checkpoint of this log: taken on trust"
            );
        }
        if head.size > seen.size || seen.note.is_empty() {
            // On disk before the cosignature exists.
            if let Err(error) = replace(&self.path, note.as_bytes()) {
                tracing::error!(path = %self.path.display(), %error, "cannot remember a checkpoint; not cosigned");
                return Reply::text(500, "this witness cannot write its state at the moment");
            }
            *seen = Seen { size: head.size, root: head.root, note };
        }
        match sign() {
            Ok(line) => Reply { status: 200, content_type: TEXT, body: line },
            Err(error) => Reply::text(500, error.to_string()),
        }
    }

    /// Two signed checkpoints of one size with different roots: anybody can see from them that the log forked.
    fn keep_proof(&self, seen: &str, other: &str, head: &Head) {
        let path = self.path.with_extension(format!("fork-{}.txt", head.size));
        tracing::error!(
            log = head.origin,
            size = head.size,
            proof = %path.display(),
            "FORK: the log signed two trees of one size; both checkpoints are kept"
        );
        if !path.exists()
            && let Err(error) = replace(&path, format!("{seen}\n{other}").as_bytes())
        {
            tracing::error!(path = %path.display(), %error, "the proof could not be kept");
        }
    }
}

fn lock(folder: &Path) -> Result<File, CosignerError> {
    let path = folder.join("lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(io(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(CosignerError::Locked(folder.to_owned())),
        Err(TryLockError::Error(error)) => Err(io(&path)(error)),
    }
}

/// What was cosigned last, by the file; without one, nothing.
fn read(path: &Path, origin: &str, keys: &[VerifierKey]) -> Result<Seen, CosignerError> {
    let mut file = match File::open(path) {
        Ok(file) => file.take(MAX_FILE + 1),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Seen { size: 0, root: empty_root(), note: String::new() });
        }
        Err(e) => return Err(io(path)(e)),
    };
    let damaged = |why: String| CosignerError::Damaged { path: path.to_owned(), why };
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(io(path))?;
    if text.len() as u64 > MAX_FILE {
        return Err(damaged("too long".into()));
    }
    let note = Note::parse(&text).map_err(|error| damaged(error.to_string()))?;
    note.verify(keys).map_err(|error| damaged(error.to_string()))?;
    let head = Head::parse(&note).filter(|head| head.origin == origin);
    let head = head.ok_or_else(|| damaged("not a checkpoint of this log".into()))?;
    Ok(Seen { size: head.size, root: head.root, note: text })
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> CosignerError {
    let path = path.to_owned();
    move |source| CosignerError::Io { path: path.clone(), source }
}

#[cfg(test)]
mod tests;
