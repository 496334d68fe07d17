//! The log's public files by way of the log role, as a store that can only be read.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::{Call, Transport};
use crate::tiles::MAX_BUNDLE;

/// What errors call this store.
pub(crate) const STORE: &str = "the log role";

pub(super) struct Files(Arc<dyn Transport>);

impl Files {
    pub(super) fn new(transport: Arc<dyn Transport>) -> Files {
        Files(transport)
    }
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(STORE)
    }
}

fn failed(why: String) -> Error {
    Error::Generic { store: STORE, source: why.into() }
}

fn read_only<T>(operation: &str) -> Result<T> {
    Err(Error::NotImplemented { operation: operation.into(), implementer: STORE.into() })
}

#[async_trait]
impl ObjectStore for Files {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        if options.range.is_some() {
            return read_only("reading parts");
        }
        let call = Call { path: location.to_string(), body: None, limit: MAX_BUNDLE };
        let reply = self.0.call(call).await.map_err(failed)?;
        match reply.status {
            200 => {}
            404 => {
                let source = "the log has no such file".into();
                return Err(Error::NotFound { path: location.to_string(), source });
            }
            status => return Err(failed(format!("{location}: it answered {status}"))),
        }
        let size = reply.body.len() as u64;
        let meta = ObjectMeta {
            location: location.clone(),
            last_modified: Default::default(),
            size,
            e_tag: None,
            version: None,
        };
        let body = async move { Ok(reply.body) };
        Ok(GetResult {
            payload: GetResultPayload::Stream(stream::once(body.boxed()).boxed()),
            meta,
            range: 0..size,
            attributes: Default::default(),
            extensions: Default::default(),
        })
    }

    async fn put_opts(&self, _: &Path, _: PutPayload, _: PutOptions) -> Result<PutResult> {
        read_only("writing")
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        read_only("writing")
    }

    fn delete_stream(&self, _: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        stream::once(async { read_only("deleting") }).boxed()
    }

    fn list(&self, _: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        stream::once(async { read_only("listing") }).boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        read_only("listing")
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        read_only("copying")
    }
}
