//! A log that another process keeps: statements are posted to it, and what it answers is checked before it is believed.
//!
//! The log's own signature says that a leaf is in its tree, and the leaf is read back from that tree; each head has to
//! continue the one before, across restarts too. A log that does anything else is not told that it has a record, so that
//! the record stays in the WAL.

use std::path::PathBuf;
use std::sync::Arc;

use colophon_receipt::statement::{ANNOUNCEMENT_TYPE, Announcement};
use colophon_signer::cose::Sign1;
use colophon_signer::note::VerifierKey;
use futures_util::future::BoxFuture;
use object_store::ObjectStore;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::generation::of_origin;
use crate::head::{self, SignedHead};
use crate::log::{LogError, LogReader};
use crate::remote::files::Files;
use crate::service::{Logged, Refusal};
use crate::store::Store;

mod files;

pub(crate) use files::STORE;

/// Where the log role takes announcements, below `/v1/colophon/`.
pub const SHARDS: &str = "log/shards";
/// Where it takes statements and close leaves.
pub const ENTRIES: &str = "log/entries";
/// Longest answer to a post: a checkpoint with many cosignatures.
const MAX_ANSWER: u64 = 256 << 10;
/// Extension of the file beside the remembered head that has the log's key.
const KEY: &str = "vkey";
/// A post that failed is sent again at once so often: the log takes it once.
const TRIES: usize = 3;

/// One request to the log role.
#[derive(Clone, Debug)]
pub struct Call {
    /// Below `/v1/colophon/`, query included.
    pub path: String,
    /// What is posted; absent: a GET.
    pub body: Option<Vec<u8>>,
    /// Longest answer, in bytes.
    pub limit: u64,
}

/// An answer of the log role.
#[derive(Clone, Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// The body.
    pub body: bytes::Bytes,
}

/// The way to the log role: connections, TLS, credentials. Tries its other replicas where one does not answer.
pub trait Transport: Send + Sync {
    /// Sends a request and reads the whole answer; the error says why there is none.
    fn call(&self, call: Call) -> BoxFuture<'_, Result<Reply, String>>;
}

/// How to find a log that another process keeps.
#[derive(Clone)]
pub struct Remote {
    /// The way there.
    pub transport: Arc<dyn Transport>,
    /// The log's key, where it is known from elsewhere; otherwise what the log role says on the first connection.
    pub key: Option<VerifierKey>,
}

/// What the log role answers to a post that it took.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Accepted {
    /// The leaf's index.
    pub index: u64,
    /// A checkpoint that covers it.
    pub checkpoint: String,
}

impl From<&Logged> for Accepted {
    fn from(logged: &Logged) -> Accepted {
        Accepted { index: logged.index, checkpoint: logged.head.note.clone() }
    }
}

/// What it answers to a post that it did not take.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Refused {
    /// The name of the reason.
    pub code: String,
    /// The reason.
    pub message: String,
}

impl From<&Refusal> for Refused {
    fn from(refusal: &Refusal) -> Refused {
        Refused { code: refusal.code().to_owned(), message: refusal.to_string() }
    }
}

/// The log as a sidecar sees it.
pub(crate) struct RemoteLog {
    transport: Arc<dyn Transport>,
    key: VerifierKey,
    head: watch::Sender<Arc<SignedHead>>,
    reader: LogReader,
    store: Store,
    files: Arc<dyn ObjectStore>,
    /// Remembers the newest head between lives.
    memory: PathBuf,
    /// Opened without an answer: only what was remembered is known.
    away: bool,
}

#[derive(Deserialize)]
struct TrustFile {
    logs: Vec<TrustedLog>,
}

#[derive(Deserialize)]
struct TrustedLog {
    vkey: String,
}

impl RemoteLog {
    /// Finds the log and its newest head, which has to continue the one in `memory`.
    pub(crate) async fn open(
        remote: &Remote,
        origin: Option<&str>,
        memory: PathBuf,
    ) -> Result<RemoteLog, LogError> {
        let transport = remote.transport.clone();
        let key = match &remote.key {
            Some(key) => key.clone(),
            None => said_key(&*transport).await?,
        };
        if let Some(origin) = origin.filter(|origin| !is_generation_of(key.name(), origin)) {
            return Err(LogError::Origin { stored: key.name().to_owned(), given: origin.to_owned() });
        }
        let generation = of_origin(key.name());
        let files: Arc<dyn ObjectStore> = Arc::new(Files::new(transport.clone()));
        let store = Store::new(files.clone(), format!("log/{generation}"));
        let head = watch::Sender::new(Arc::new(served(&store, &key).await?));
        let reader = LogReader::new(store.clone());
        let log = RemoteLog { transport, key, head, reader, store, files, memory, away: false };
        if let Some(before) = log.remembered().await? {
            let now = log.head();
            if before.size() > now.size() {
                return Err(LogError::Contradiction(format!(
                    "the log was rolled back: it serves {} leaves, and has signed {} before",
                    now.size(),
                    before.size()
                )));
            }
            log.reader.consistency(&before.checkpoint, &now.checkpoint).await?;
        }
        log.remember().await?;
        Ok(log)
    }

    /// The log that does not answer, as far as it is known: by the key that was given, or the one that an earlier life of
    /// this folder has found. `None` where there is neither.
    pub(crate) async fn unanswered(
        remote: &Remote,
        origin: Option<&str>,
        memory: PathBuf,
    ) -> Result<Option<RemoteLog>, LogError> {
        let remembered = std::fs::read_to_string(memory.with_extension(KEY)).ok();
        let remembered = remembered.and_then(|vkey| vkey.trim().parse::<VerifierKey>().ok());
        let Some(key) = remote.key.clone().or(remembered) else { return Ok(None) };
        if let Some(origin) = origin.filter(|origin| !is_generation_of(key.name(), origin)) {
            return Err(LogError::Origin { stored: key.name().to_owned(), given: origin.to_owned() });
        }
        let generation = of_origin(key.name());
        let transport = remote.transport.clone();
        let files: Arc<dyn ObjectStore> = Arc::new(Files::new(transport.clone()));
        let store = Store::new(files.clone(), format!("log/{generation}"));
        let head = watch::Sender::new(Arc::new(SignedHead::unknown(key.name())));
        let reader = LogReader::new(store.clone());
        let log = RemoteLog { transport, key, head, reader, store, files, memory, away: true };
        if let Some(before) = log.remembered().await? {
            log.head.send_replace(Arc::new(before));
        }
        Ok(Some(log))
    }

    /// Whether it was opened without an answer.
    pub(crate) fn is_away(&self) -> bool {
        self.away
    }

    pub(crate) fn origin(&self) -> &str {
        self.key.name()
    }

    pub(crate) fn vkey(&self) -> String {
        self.key.to_string()
    }

    pub(crate) fn head(&self) -> Arc<SignedHead> {
        self.head.borrow().clone()
    }

    pub(crate) fn heads(&self) -> watch::Receiver<Arc<SignedHead>> {
        self.head.subscribe()
    }

    pub(crate) fn reader(&self) -> LogReader {
        self.reader.clone()
    }

    /// The log's public files, read through the log role.
    pub(crate) fn files(&self) -> Arc<dyn ObjectStore> {
        self.files.clone()
    }

    /// Learns of the newest head.
    pub(crate) async fn refresh(&self) -> Result<(), LogError> {
        let head = Arc::new(served(&self.store, &self.key).await?);
        self.grow(head).await
    }

    /// Takes a head in, which has to be one of the same log.
    async fn grow(&self, head: Arc<SignedHead>) -> Result<(), LogError> {
        let known = self.head();
        if !known.is_known() {
            self.head.send_replace(head);
            return self.remember().await;
        }
        // Replicas may be a little behind each other.
        let (old, new) = if known.size() <= head.size() { (&known, &head) } else { (&head, &known) };
        self.reader.consistency(&old.checkpoint, &new.checkpoint).await?;
        if head.size() > known.size() {
            self.head.send_replace(head);
            self.remember().await?;
        }
        Ok(())
    }

    /// Has a key announced. Returns the announcement's index.
    pub(crate) async fn announce(&self, payload: Vec<u8>) -> Result<u64, LogError> {
        let (index, leaf) = self.post(SHARDS.to_owned(), payload.clone()).await?;
        let signed = Sign1::parse(&leaf).ok().filter(|signed| {
            signed.content_type() == ANNOUNCEMENT_TYPE
                && signed.payload() == payload
                && self.key.public_key().is_some_and(|key| signed.verify(key).is_ok())
                && Announcement::decode(signed.payload()).is_ok()
        });
        match signed {
            Some(_) => Ok(index),
            None => Err(LogError::Contradiction(format!("leaf {index} is not the announcement asked for"))),
        }
    }

    /// Has a leaf of the shard that was announced at `announced` logged. Returns its index.
    pub(crate) async fn append(&self, leaf: Vec<u8>, announced: u64) -> Result<u64, LogError> {
        let (index, logged) = self.post(format!("{ENTRIES}?announced={announced}"), leaf.clone()).await?;
        match logged == leaf {
            true => Ok(index),
            false => Err(LogError::Contradiction(format!("leaf {index} is not the one that was sent"))),
        }
    }

    /// Posts, and reads back what the log says it has.
    async fn post(&self, path: String, body: Vec<u8>) -> Result<(u64, Vec<u8>), LogError> {
        let mut tries = 0;
        let reply = loop {
            tries += 1;
            let call = Call { path: path.clone(), body: Some(body.clone()), limit: MAX_ANSWER };
            match self.transport.call(call).await {
                Ok(reply) if reply.status >= 500 && tries < TRIES => {}
                Err(_) if tries < TRIES => {}
                reply => break reply.map_err(away)?,
            }
        };
        let accepted = accepted(&reply)?;
        let unsigned = |e: head::HeadError| LogError::Contradiction(format!("the log role's answer: {e}"));
        let head = Arc::new(SignedHead::parse(&accepted.checkpoint, &self.key).map_err(unsigned)?);
        if accepted.index >= head.size() {
            return Err(LogError::Contradiction("the log role's checkpoint does not cover the leaf".into()));
        }
        let leaf = self.reader.entry(accepted.index, &head.checkpoint).await?;
        self.grow(head).await?;
        Ok((accepted.index, leaf))
    }

    async fn remembered(&self) -> Result<Option<SignedHead>, LogError> {
        let path = self.memory.clone();
        let read = tokio::task::spawn_blocking(move || std::fs::read(path)).await;
        let failed = |e: String| LogError::corrupt(self.memory.display().to_string(), e);
        let bytes = match read.map_err(|e| failed(e.to_string()))? {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(failed(e.to_string())),
        };
        let note = std::str::from_utf8(&bytes).map_err(|e| failed(e.to_string()))?;
        // Of another log: this folder has moved to it.
        Ok(SignedHead::parse(note, &self.key).ok())
    }

    async fn remember(&self) -> Result<(), LogError> {
        let (path, note) = (self.memory.clone(), self.head().note.clone());
        let vkey = format!("{}\n", self.key);
        let write = move || {
            let new = path.with_extension("new");
            std::fs::write(&new, note).and_then(|()| std::fs::rename(&new, &path))?;
            // For a start without the log.
            let key = path.with_extension(KEY);
            match std::fs::read(&key) {
                Ok(known) if known == vkey.as_bytes() => Ok(()),
                _ => std::fs::write(&new, vkey).and_then(|()| std::fs::rename(&new, &key)),
            }
        };
        let failed = |e: String| LogError::corrupt(self.memory.display().to_string(), e);
        let written = tokio::task::spawn_blocking(write).await.map_err(|e| failed(e.to_string()))?;
        written.map_err(|e| failed(e.to_string()))
    }
}

/// The checkpoint that the log role serves.
async fn served(store: &Store, key: &VerifierKey) -> Result<SignedHead, LogError> {
    match head::read(store, key).await? {
        head::Stored::Head(head) => Ok(head),
        head::Stored::Missing => Err(away("it serves no checkpoint")),
        head::Stored::Garbled(why) => {
            Err(LogError::Contradiction(format!("the log role's checkpoint: {why}")))
        }
    }
}

/// The key that the log role says is its log's.
async fn said_key(transport: &dyn Transport) -> Result<VerifierKey, LogError> {
    let call = Call { path: "keys".into(), body: None, limit: MAX_ANSWER };
    let reply = transport.call(call).await.map_err(away)?;
    if reply.status != 200 {
        return Err(away(format!("it answered {} to `keys`", reply.status)));
    }
    let trust: TrustFile = serde_json::from_slice(&reply.body).map_err(|e| away(format!("its keys: {e}")))?;
    let log = trust.logs.first().ok_or_else(|| away("it names no log"))?;
    log.vkey.parse().map_err(|e| away(format!("its key: {e}")))
}

fn accepted(reply: &Reply) -> Result<Accepted, LogError> {
    if reply.status == 200 {
        return serde_json::from_slice(&reply.body).map_err(|e| away(format!("its answer: {e}")));
    }
    let refused: Option<Refused> = serde_json::from_slice(&reply.body).ok();
    match refused {
        Some(Refused { code, message }) if reply.status < 500 => Err(LogError::Refused { code, message }),
        Some(Refused { message, .. }) => Err(away(message)),
        None => Err(away(format!("it answered {}", reply.status))),
    }
}

/// Whether `origin` is the base `given` with a generation.
fn is_generation_of(origin: &str, given: &str) -> bool {
    origin
        .strip_prefix(given)
        .and_then(|rest| rest.strip_prefix('/'))
        .is_some_and(|n| n.parse::<u32>().is_ok())
}

fn away(why: impl Into<String>) -> LogError {
    LogError::Away(why.into())
}
