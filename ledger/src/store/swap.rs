//! Compare-and-swap for a local folder, whose backend has none: under a lock of the operating system, so that several
//! processes on one machine (two replicas of a log) cannot replace a checkpoint that they have not seen.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::ops::Range;
use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// The file that is locked, at the root of the store.
const LOCK: &str = ".swap-lock";
const NAME: &str = "LocalFileSystem";

#[derive(Debug)]
pub(super) struct Swapping {
    inner: LocalFileSystem,
    root: PathBuf,
}

impl Swapping {
    pub(super) fn new(inner: LocalFileSystem, root: PathBuf) -> Swapping {
        Swapping { inner, root }
    }

    /// Holds the lock for as long as the file lives.
    async fn lock(&self) -> Result<File> {
        let path = self.root.join(LOCK);
        let failed = |source: std::io::Error| Error::Generic { store: NAME, source: Box::new(source) };
        let locked = tokio::task::spawn_blocking(move || {
            let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
            file.lock().map(|()| file)
        });
        locked.await.map_err(|e| failed(std::io::Error::other(e)))?.map_err(failed)
    }
}

impl fmt::Display for Swapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.inner, f)
    }
}

#[async_trait]
impl ObjectStore for Swapping {
    async fn put_opts(&self, to: &Path, payload: PutPayload, mut options: PutOptions) -> Result<PutResult> {
        let PutMode::Update(read) = &options.mode else {
            return self.inner.put_opts(to, payload, options).await;
        };
        let lock = self.lock().await?;
        let now = self.inner.head(to).await?;
        if read.e_tag.is_none() || now.e_tag != read.e_tag {
            let source = "it was replaced since it was read".into();
            return Err(Error::Precondition { path: to.to_string(), source });
        }
        options.mode = PutMode::Overwrite;
        let put = self.inner.put_opts(to, payload, options).await;
        drop(lock);
        put
    }

    async fn put_multipart_opts(
        &self,
        to: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(to, options).await
    }

    async fn get_opts(&self, from: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(from, options).await
    }

    async fn get_ranges(&self, from: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(from, ranges).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
