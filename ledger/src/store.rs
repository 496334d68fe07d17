//! A prefix of an object store, with bounded reads and create-if-absent: all that the log asks of storage.

use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    Error as ObjectError, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, UpdateVersion,
};

pub mod location;
mod published;
mod swap;

pub use location::{Access, Location};
pub use published::published;

use swap::Swapping;

/// Staging files of a process that died are removed once they are this old: a live writer needs seconds.
const STAGING_AGE: Duration = Duration::from_secs(10 * 60);

/// A folder that is listed never holds more objects: a timestamp every ten minutes fills it in nineteen years.
const MAX_LISTING: usize = 1_000_000;

/// Why storage did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The backend failed; trying again may help.
    #[error("{action} {path}: {error}{}", advice(error))]
    Backend {
        /// What was attempted, as in "reading".
        action: &'static str,
        /// The object.
        path: String,
        /// The backend's own error, whose text is in this one's.
        error: Box<ObjectError>,
    },
    /// An object is longer than anything the format puts there.
    #[error("{path} has {size} bytes, at most {limit} are allowed")]
    TooLong {
        /// The object.
        path: String,
        /// Its size in bytes.
        size: u64,
        /// What the format allows.
        limit: u64,
    },
    /// A folder holds more objects than anything here puts there.
    #[error("{path} holds more than {limit} objects")]
    TooMany {
        /// The folder.
        path: String,
        /// How many are allowed.
        limit: usize,
    },
    /// The backend accepted a create of an object that existed.
    #[error(
        "the object store does not support conditional create (`If-None-Match: *`): two writers would overwrite each \
         other's log entries. Use a store that does, or let one `colophon serve` alone write this log"
    )]
    NoConditionalCreate,
    /// Settings that no store can be opened with.
    #[error("the store {location} cannot be opened: {why}")]
    Settings {
        /// The store's URL.
        location: String,
        /// What is wrong.
        why: String,
    },
    /// The operating system gave no randomness.
    #[error("no randomness from the operating system: {0}")]
    Random(#[from] getrandom::Error),
}

/// What to do about an error that trying again does not help.
pub(crate) fn advice(error: &ObjectError) -> &'static str {
    match error {
        ObjectError::Unauthenticated { .. } | ObjectError::PermissionDenied { .. } => {
            ". The store refuses these credentials, or what they may do: look at the AWS_…, GOOGLE_… or AZURE_… \
             variables and at the bucket's policy"
        }
        ObjectError::NotFound { .. } => {
            ". There is no such bucket or account there: look at the store's URL, region and endpoint, and at the AWS_…, \
             GOOGLE_… or AZURE_… variables"
        }
        // The providers' own error, where no key is set: the machine's identity was asked for.
        error if error.to_string().contains("169.254.169.254") => {
            ". No credentials are set, and this machine has no identity of its own: set the AWS_…, GOOGLE_… or AZURE_… \
             variables"
        }
        _ => "",
    }
}

/// Opens a local folder as a store that syncs every write to disk and can compare-and-swap. The folder is created if
/// missing.
///
/// # Errors
/// When the folder cannot be created or resolved.
pub fn local(root: &FsPath) -> Result<Arc<dyn ObjectStore>, StoreError> {
    let failed = |source| StoreError::Backend {
        action: "opening",
        path: root.display().to_string(),
        error: Box::new(source),
    };
    let create = |e| failed(ObjectError::Generic { store: "LocalFileSystem", source: Box::new(e) });
    std::fs::create_dir_all(root).map_err(create)?;
    let store = LocalFileSystem::new_with_prefix(root).map_err(failed)?;
    let store = store.with_fsync(true).with_automatic_cleanup(true);
    Ok(Arc::new(Swapping::new(store, root.to_owned())))
}

/// Removes staging files (`name#1`) that a killed process left directly in `folder`, if they are old enough that no
/// living one can own them. Nothing reads them, so failures only leave litter. Returns how many were removed.
pub fn clean_staging(folder: &FsPath) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let old = |path: &PathBuf| {
        let age = path.symlink_metadata().and_then(|m| m.modified()).ok().and_then(|t| t.elapsed().ok());
        age.is_some_and(|age| age > STAGING_AGE)
    };
    entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| is_staging(path) && old(path))
        .filter(|path| std::fs::remove_file(path).is_ok())
        .count()
}

/// Removes every staging file in `folder` and below it, however new: whoever calls this knows that nobody writes there.
/// Returns how many there were.
pub(crate) fn sweep_staging(folder: &FsPath) -> std::io::Result<usize> {
    let mut removed = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else if is_staging(&entry.path()) {
                std::fs::remove_file(entry.path())?;
                removed += 1;
            }
        }
    }
    Ok(removed)
}

/// The names that `LocalFileSystem` gives to uploads under way: digits after the last `#`.
fn is_staging(path: &FsPath) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.and_then(|name| name.rsplit_once('#'))
        .is_some_and(|(_, n)| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// What a compare-and-swap compares with.
#[derive(Clone, Debug)]
pub(crate) enum Version {
    /// The object did not exist.
    Absent,
    /// The object as last read.
    Read(UpdateVersion),
}

/// The result of a compare-and-swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Swap {
    /// The object is now ours.
    Done,
    /// Someone else wrote it since it was read.
    Lost,
}

/// A folder of an object store; paths are relative to it.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    inner: Arc<dyn ObjectStore>,
    prefix: String,
    /// The backend has no conditional create, and there is no other writer.
    unconditional: bool,
}

impl Store {
    pub(crate) fn new(inner: Arc<dyn ObjectStore>, prefix: String) -> Store {
        Store { inner, prefix, unconditional: false }
    }

    /// The same, for a backend without conditional create that has one writer.
    pub(crate) fn unconditional(self) -> Store {
        Store { unconditional: true, ..self }
    }

    /// The object store that the folder is in.
    pub(crate) fn objects(&self) -> Arc<dyn ObjectStore> {
        self.inner.clone()
    }

    /// Another folder of the same object store.
    pub(crate) fn beside(&self, prefix: String) -> Store {
        Store { prefix, ..self.clone() }
    }

    /// The path of `name` from the root of the store, as errors show it.
    pub(crate) fn full(&self, name: &str) -> String {
        if self.prefix.is_empty() { name.to_owned() } else { format!("{}/{name}", self.prefix) }
    }

    fn path(&self, name: &str) -> Path {
        Path::from(self.full(name))
    }

    fn failed(&self, action: &'static str, name: &str) -> impl FnOnce(ObjectError) -> StoreError {
        let path = self.full(name);
        move |source| StoreError::Backend { action, path, error: Box::new(source) }
    }

    /// Reads an object of at most `limit` bytes; `None` when there is none.
    pub(crate) async fn get(&self, name: &str, limit: u64) -> Result<Option<Bytes>, StoreError> {
        Ok(self.get_versioned(name, limit).await?.map(|(bytes, _)| bytes))
    }

    /// Reads an object together with what a later [`Store::swap`] compares with.
    pub(crate) async fn get_versioned(
        &self,
        name: &str,
        limit: u64,
    ) -> Result<Option<(Bytes, Version)>, StoreError> {
        let result = match self.inner.get(&self.path(name)).await {
            Ok(result) => result,
            Err(ObjectError::NotFound { .. }) => return Ok(None),
            Err(e) => return Err(self.failed("reading", name)(e)),
        };
        let size = result.meta.size;
        if size > limit {
            return Err(StoreError::TooLong { path: self.full(name), size, limit });
        }
        let version =
            UpdateVersion { e_tag: result.meta.e_tag.clone(), version: result.meta.version.clone() };
        let bytes = result.bytes().await.map_err(self.failed("reading", name))?;
        Ok(Some((bytes, Version::Read(version))))
    }

    /// Whether an object exists.
    pub(crate) async fn exists(&self, name: &str) -> Result<bool, StoreError> {
        match self.inner.head(&self.path(name)).await {
            Ok(_) => Ok(true),
            Err(ObjectError::NotFound { .. }) => Ok(false),
            Err(e) => Err(self.failed("looking for", name)(e)),
        }
    }

    /// The last parts of the names in a folder, at most [`MAX_LISTING`]; none where there is no such folder.
    pub(crate) async fn list(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        let mut names = Vec::new();
        let mut listing = self.inner.list(Some(&self.path(folder)));
        while let Some(found) = listing.next().await {
            let meta = found.map_err(self.failed("listing", folder))?;
            names.extend(meta.location.filename().map(str::to_owned));
            if names.len() > MAX_LISTING {
                return Err(StoreError::TooMany { path: self.full(folder), limit: MAX_LISTING });
            }
        }
        Ok(names)
    }

    /// Writes an object whole, in place of any that was there.
    pub(crate) async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        let put = self.inner.put(&self.path(name), PutPayload::from(bytes)).await;
        put.map(drop).map_err(self.failed("writing", name))
    }

    /// Writes an object if there is none; `false` when there is one, which may be this very one, from a try whose answer
    /// was lost. After an error it may or may not exist.
    pub(crate) async fn create(&self, name: &str, bytes: Vec<u8>) -> Result<bool, StoreError> {
        if self.unconditional {
            let exists = self.exists(name).await?;
            return if exists { Ok(false) } else { self.put(name, bytes).await.map(|()| true) };
        }
        let options = PutOptions::from(PutMode::Create);
        match self.inner.put_opts(&self.path(name), PutPayload::from(bytes), options).await {
            Ok(_) => Ok(true),
            Err(ObjectError::AlreadyExists { .. }) => Ok(false),
            Err(e) => Err(self.failed("creating", name)(e)),
        }
    }

    /// Replaces the object that was read as `version`; where the backend cannot compare, replaces whatever is there.
    pub(crate) async fn swap(
        &self,
        name: &str,
        bytes: Vec<u8>,
        version: Version,
    ) -> Result<Swap, StoreError> {
        let version = match version {
            Version::Absent => {
                return Ok(if self.create(name, bytes).await? { Swap::Done } else { Swap::Lost });
            }
            Version::Read(version) => version,
        };
        let options = PutOptions::from(PutMode::Update(version));
        match self.inner.put_opts(&self.path(name), PutPayload::from(bytes.clone()), options).await {
            Ok(_) => Ok(Swap::Done),
            Err(ObjectError::Precondition { .. } | ObjectError::NotFound { .. }) => Ok(Swap::Lost),
            Err(ObjectError::NotImplemented { .. }) => self.put(name, bytes).await.map(|()| Swap::Done),
            Err(e) => Err(self.failed("replacing", name)(e)),
        }
    }

    /// Removes an object; one that is not there is no error.
    pub(crate) async fn delete(&self, name: &str) -> Result<(), StoreError> {
        match self.inner.delete(&self.path(name)).await {
            Ok(()) | Err(ObjectError::NotFound { .. }) => Ok(()),
            Err(e) => Err(self.failed("deleting", name)(e)),
        }
    }

    /// Removes objects, several at once; those that are not there are no error.
    pub(crate) async fn delete_all(&self, names: &[String]) -> Result<(), StoreError> {
        let paths: Vec<_> = names.iter().map(|name| Ok(self.path(name))).collect();
        let mut results = self.inner.delete_stream(stream::iter(paths).boxed());
        let mut failed = None;
        while let Some(result) = results.next().await {
            match result {
                Ok(_) | Err(ObjectError::NotFound { .. }) => {}
                Err(e) => failed = Some(e),
            }
        }
        let folder = names.first().map(String::as_str).unwrap_or_default();
        failed.map_or(Ok(()), |e| Err(self.failed("deleting", folder)(e)))
    }

    /// Checks that a second create of the same object is refused: sequencing rests on it.
    pub(crate) async fn probe_create(&self) -> Result<(), StoreError> {
        let mut nonce = [0; 8];
        getrandom::fill(&mut nonce)?;
        let name = format!("probe-{}", hex::encode(nonce));
        let (first, second) = (b"first\n".to_vec(), b"second\n".to_vec());
        // What it answers does not matter: sent twice, it refuses itself.
        match self.create(&name, first.clone()).await {
            Err(e) if e.is_not_implemented() => return Err(StoreError::NoConditionalCreate),
            created => created?,
        };
        let again = self.create(&name, second).await;
        let held = self.get(&name, 64).await;
        self.delete(&name).await?;
        let refused = !again? && held?.is_some_and(|bytes| bytes == first);
        if refused { Ok(()) } else { Err(StoreError::NoConditionalCreate) }
    }
}

impl StoreError {
    /// Whether the backend says of itself that it cannot do this at all.
    fn is_not_implemented(&self) -> bool {
        let StoreError::Backend { error, .. } = self else { return false };
        matches!(**error, ObjectError::NotImplemented { .. } | ObjectError::NotSupported { .. })
    }
}
