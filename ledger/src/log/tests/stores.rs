//! Stores that differ: without conditional create, with answers that were lost and asked for again; and what a log ever
//! writes twice.

use std::collections::HashMap;
use std::sync::Mutex;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::support::{config, contents, leaves, memory, open};
use super::*;
use crate::store::StoreError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Creates what exists, as a server does that does not know `If-None-Match`.
    Overwrites,
    /// Says that it cannot create.
    Refuses,
    /// Each create is carried out, its answer lost; sent again, it finds itself there.
    AsksAgain,
}

#[derive(Debug)]
struct Odd {
    inner: Arc<dyn ObjectStore>,
    kind: Kind,
    /// The bytes that each object was written with, in order.
    written: Mutex<HashMap<String, Vec<Vec<u8>>>>,
}

impl Odd {
    fn new(kind: Kind) -> Arc<Odd> {
        Arc::new(Odd { inner: memory(), kind, written: Mutex::default() })
    }
}

impl std::fmt::Display for Odd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Odd")
    }
}

#[async_trait]
impl ObjectStore for Odd {
    async fn put_opts(&self, to: &Path, payload: PutPayload, mut options: PutOptions) -> Result<PutResult> {
        let create = options.mode == PutMode::Create;
        if create && self.kind == Kind::Refuses {
            return Err(Error::NotImplemented { operation: "create".into(), implementer: "Odd".into() });
        }
        if create && self.kind == Kind::Overwrites {
            options.mode = PutMode::Overwrite;
        }
        let bytes: Vec<u8> = payload.iter().flat_map(|part| part.to_vec()).collect();
        let put = self.inner.put_opts(to, payload, options).await?;
        self.written.lock().unwrap().entry(to.to_string()).or_default().push(bytes);
        if create && self.kind == Kind::AsksAgain {
            return Err(Error::AlreadyExists { path: to.to_string(), source: "asked again".into() });
        }
        Ok(put)
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

#[tokio::test]
async fn a_store_without_conditional_create_has_one_writer_or_none() {
    for kind in [Kind::Overwrites, Kind::Refuses] {
        let store: Arc<dyn ObjectStore> = Odd::new(kind);
        let several = LogConfig { several_writers: true, ..config(None) };
        let refused = Log::open(store.clone(), several).await.err();
        assert!(
            matches!(refused, Some(LogError::Store(StoreError::NoConditionalCreate))),
            "{kind:?}: {refused:?}"
        );
        let mut log = open(&store, None).await;
        let appended = log.append(leaves(0, 3)).await.unwrap();
        assert_eq!(appended.first_index, 1);
        drop(log);
        assert_eq!(contents(&open(&store, None).await).await, leaves(0, 3), "{kind:?}");
    }
}

#[tokio::test]
async fn a_create_that_finds_itself_there_is_no_other_writer() {
    let store: Arc<dyn ObjectStore> = Odd::new(Kind::AsksAgain);
    let several = LogConfig { several_writers: true, ..config(None) };
    let mut log = Log::open(store.clone(), several).await.unwrap();
    for round in 0..5 {
        let appended = log.append(leaves(round * 10, 2)).await.unwrap();
        assert_eq!(appended.first_index, 1 + 2 * round as u64);
    }
    assert_eq!(contents(&log).await.len(), 10);
}

#[tokio::test]
async fn nothing_but_the_checkpoint_is_written_with_other_bytes() {
    let odd = Odd::new(Kind::AsksAgain);
    let store: Arc<dyn ObjectStore> = odd.clone();
    let mut writers = [open(&store, None).await, open(&store, None).await];
    for round in 0..200 {
        let writer = &mut writers[round % 2];
        writer.append(leaves(round * 10, 1 + round % 4)).await.unwrap();
    }
    let (mut checkpoints, mut sizes) = (0, Vec::new());
    for (name, written) in odd.written.lock().unwrap().iter() {
        if name == "log/1/checkpoint" {
            checkpoints = written.len();
            let size =
                |note: &Vec<u8>| crate::head::claimed_size(std::str::from_utf8(note).unwrap()).unwrap();
            sizes = written.iter().map(size).collect();
        } else if !name.contains("/probe-") {
            assert!(written.iter().all(|bytes| *bytes == written[0]), "{name} was written with other bytes");
        }
    }
    assert!(checkpoints >= 200, "{checkpoints}");
    assert!(sizes.is_sorted_by(|a, b| a < b), "a checkpoint was replaced by a smaller one: {sizes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_local_folder_no_checkpoint_is_replaced_by_a_smaller_one() {
    let folder = tempfile::tempdir().unwrap();
    let store = || crate::store::local(folder.path()).unwrap();
    open(&store(), None).await;
    // As two processes would: nothing is shared but the folder.
    let write = |from: usize| {
        let store = store();
        async move {
            let mut log = open(&store, None).await;
            for round in 0..60 {
                log.append(leaves(from + round * 10, 1)).await.unwrap();
            }
        }
    };
    let mut writers = tokio::task::JoinSet::new();
    writers.spawn(write(0));
    writers.spawn(write(100_000));
    let (store, mut last) = (store(), 0);
    while !writers.is_empty() {
        let note = checkpoint_note(store.clone(), 1).await.unwrap().unwrap();
        let size = crate::head::claimed_size(&note).unwrap();
        assert!(size >= last, "{size} after {last}");
        last = size;
        if let Some(written) = writers.try_join_next() {
            written.unwrap();
        }
    }
    assert_eq!(contents(&open(&store, None).await).await.len(), 120);
}
