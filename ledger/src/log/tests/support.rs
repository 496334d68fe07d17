//! A store that fails on command, and the small things every log test needs.

use std::fmt;
use std::path::Path as FsPath;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use colophon_signer::Ed25519Key;
use futures_util::stream::{self, BoxStream, StreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use tokio::sync::Notify;

use crate::log::{Log, LogConfig};

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The process dies before the write: it and everything after it fails.
    DeadBefore,
    /// The process dies after the write, before it hears of it.
    DeadAfter,
    /// One write fails and did not happen; the next ones work. A disk that was full.
    HiccupBefore,
    /// One write is reported as failed although it happened; the next ones work. A timeout.
    HiccupAfter,
    /// The write panics, as a bug would.
    Panic,
}

/// Counts writes and fails at one of them.
#[derive(Debug)]
pub(crate) struct FaultStore {
    inner: Arc<dyn ObjectStore>,
    fault: Fault,
    at: usize,
    writes: AtomicUsize,
    batch_reads: AtomicUsize,
    listings: [AtomicUsize; 2],
    without_index: AtomicBool,
    overtaken: AtomicUsize,
}

impl FaultStore {
    pub(crate) fn new(inner: Arc<dyn ObjectStore>, fault: Fault, at: usize) -> Arc<FaultStore> {
        Arc::new(FaultStore {
            inner,
            fault,
            at,
            writes: AtomicUsize::new(0),
            batch_reads: AtomicUsize::new(0),
            listings: Default::default(),
            without_index: AtomicBool::new(false),
            overtaken: AtomicUsize::new(0),
        })
    }

    /// Whether the fault has happened.
    pub(crate) fn tripped(&self) -> bool {
        self.writes.load(Ordering::SeqCst) > self.at
    }

    /// How often batch files were read.
    pub(crate) fn batch_reads(&self) -> usize {
        self.batch_reads.load(Ordering::SeqCst)
    }

    /// How often a folder of the index was listed: whole, and from a name on.
    pub(crate) fn index_listings(&self) -> [usize; 2] {
        self.listings.each_ref().map(|count| count.load(Ordering::SeqCst))
    }

    /// Whether files of the index are listed, and gone when they are read.
    pub(crate) fn lose_index(&self, lose: bool) {
        self.without_index.store(lose, Ordering::SeqCst);
    }

    /// The next listings of the index, so many, had passed the names of merged files before these were written.
    pub(crate) fn overtake(&self, listings: usize) {
        self.overtaken.store(listings, Ordering::SeqCst);
    }

    fn count_listing(&self, prefix: Option<&Path>, kind: usize) {
        if prefix.is_some_and(|prefix| prefix.as_ref().starts_with("index/")) {
            self.listings[kind].fetch_add(1, Ordering::SeqCst);
        }
    }

    /// (fail before doing it, fail after doing it)
    fn next_write(&self) -> (bool, bool) {
        let n = self.writes.fetch_add(1, Ordering::SeqCst);
        match self.fault {
            Fault::DeadBefore => (n >= self.at, false),
            Fault::DeadAfter => (n > self.at, n == self.at),
            Fault::HiccupBefore => (n == self.at, false),
            Fault::HiccupAfter => (false, n == self.at),
            Fault::Panic if n >= self.at => panic!("injected"),
            Fault::Panic => (false, false),
        }
    }

    fn dead(&self) -> bool {
        matches!(self.fault, Fault::DeadBefore | Fault::DeadAfter) && self.tripped()
    }
}

fn broken() -> Error {
    Error::Generic { store: "FaultStore", source: "no space left on device (injected)".into() }
}

impl fmt::Display for FaultStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultStore")
    }
}

#[async_trait]
impl ObjectStore for FaultStore {
    async fn put_opts(&self, to: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let (before, after) = self.next_write();
        if before {
            return Err(broken());
        }
        let result = self.inner.put_opts(to, payload, options).await;
        if after { Err(broken()) } else { result }
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(broken())
    }

    async fn get_opts(&self, from: &Path, options: GetOptions) -> Result<GetResult> {
        if from.as_ref().contains("/batch/") {
            self.batch_reads.fetch_add(1, Ordering::SeqCst);
        }
        if from.as_ref().starts_with("index/") && self.without_index.load(Ordering::SeqCst) {
            return Err(Error::NotFound { path: from.to_string(), source: "merged (injected)".into() });
        }
        if self.dead() { Err(broken()) } else { self.inner.get_opts(from, options).await }
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (before, after) = self.next_write();
        if before || after {
            return stream::iter([Err(broken())]).boxed();
        }
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.count_listing(prefix, 0);
        let of_index = prefix.is_some_and(|prefix| prefix.as_ref().starts_with("index/"));
        let fewer = |left: usize| left.checked_sub(1);
        if of_index && self.overtaken.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer).is_ok() {
            let without = self.inner.list(prefix).filter(|found| {
                let merged = matches!(found, Ok(meta) if meta.location.as_ref().contains("-m"));
                std::future::ready(!merged)
            });
            return without.boxed();
        }
        self.inner.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.count_listing(prefix, 1);
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// Takes no writes while it is shut, and lets writes of some names wait.
#[derive(Debug)]
pub(crate) struct Gate {
    inner: Arc<dyn ObjectStore>,
    shut: AtomicBool,
    held: Mutex<Option<(&'static str, Arc<Held>)>>,
}

/// A write that waits.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// It has come.
    pub(crate) reached: Notify,
    /// It may go on.
    pub(crate) go: Notify,
}

impl Gate {
    pub(crate) fn new(inner: Arc<dyn ObjectStore>) -> Arc<Gate> {
        Arc::new(Gate { inner, shut: AtomicBool::new(false), held: Mutex::default() })
    }

    /// Lets the next write of a name with this beginning wait.
    pub(crate) fn hold(&self, beginning: &'static str) -> Arc<Held> {
        let held = Arc::new(Held::default());
        *self.held.lock().unwrap() = Some((beginning, held.clone()));
        held
    }

    fn held(&self, name: &Path) -> Option<Arc<Held>> {
        let mut held = self.held.lock().unwrap();
        let is = held.as_ref().is_some_and(|(beginning, _)| name.as_ref().contains(beginning));
        held.take_if(|_| is).map(|(_, held)| held)
    }

    pub(crate) fn shut(&self, shut: bool) {
        self.shut.store(shut, Ordering::SeqCst);
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gate")
    }
}

#[async_trait]
impl ObjectStore for Gate {
    async fn put_opts(&self, to: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if let Some(held) = self.held(to) {
            held.reached.notify_one();
            held.go.notified().await;
        }
        match self.shut.load(Ordering::SeqCst) {
            true => Err(broken()),
            false => self.inner.put_opts(to, payload, options).await,
        }
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(broken())
    }

    async fn get_opts(&self, from: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(from, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

pub(crate) fn memory() -> Arc<dyn ObjectStore> {
    Arc::new(InMemory::new())
}

/// The log key of all tests.
pub(crate) fn key() -> Arc<Ed25519Key> {
    Arc::new(Ed25519Key::from_seed(&[7; 32]).unwrap())
}

pub(crate) fn config(state: Option<&FsPath>) -> LogConfig {
    LogConfig {
        predecessor: None,
        generation: 1,
        origin: Some("log.example/test".into()),
        key: key(),
        state: state.map(FsPath::to_owned),
        adopt: false,
        several_writers: false,
        now: 1_700_000_000_000_000,
    }
}

pub(crate) async fn open(store: &Arc<dyn ObjectStore>, state: Option<&FsPath>) -> Log {
    Log::open(store.clone(), config(state)).await.unwrap()
}

/// `count` distinct leaves, the first of which is number `from`.
pub(crate) fn leaves(from: usize, count: usize) -> Vec<Vec<u8>> {
    (from..from + count).map(|n| format!("leaf {n} {}", "x".repeat(n % 50)).into_bytes()).collect()
}

/// Everything in the log but the genesis, authenticated against its head.
pub(crate) async fn contents(log: &Log) -> Vec<Vec<u8>> {
    let head = log.head();
    log.reader().entries(1..head.size(), &head.checkpoint).await.unwrap()
}
