//! The two object stores of a ledger, with bounded reads.

use super::LedgerError;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{Error, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use std::ops::Range;
use std::sync::Arc;

/// One hour never has more index files than this; a listing that is longer is not ours.
const MAX_LISTING: usize = 1_000_000;

type Listing = BoxStream<'static, object_store::Result<ObjectMeta>>;

/// A store whose reads are bounded.
#[derive(Clone, Debug)]
pub(crate) struct Objects(pub(crate) Arc<dyn ObjectStore>);

impl Objects {
    pub(crate) async fn put(&self, name: &str, bytes: Bytes) -> Result<(), LedgerError> {
        self.put_parts(name, vec![bytes]).await
    }

    /// Writes an object that is there in parts.
    pub(crate) async fn put_parts(&self, name: &str, parts: Vec<Bytes>) -> Result<(), LedgerError> {
        let put = self.0.put(&Path::from(name), PutPayload::from_iter(parts)).await;
        put.map(drop).map_err(failed("writing", name))
    }

    /// Writes an object if there is none; `false` when there is one.
    pub(crate) async fn create(&self, name: &str, bytes: Bytes) -> Result<bool, LedgerError> {
        let options = PutOptions::from(PutMode::Create);
        match self.0.put_opts(&Path::from(name), PutPayload::from(bytes), options).await {
            Ok(_) => Ok(true),
            Err(Error::AlreadyExists { .. }) => Ok(false),
            Err(error) => Err(failed("creating", name)(error)),
        }
    }

    /// Reads an object whole.
    pub(crate) async fn get(&self, name: &str, limit: u64) -> Result<Option<Bytes>, LedgerError> {
        let found = match self.0.get(&Path::from(name)).await {
            Ok(found) => found,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(failed("reading", name)(error)),
        };
        if found.meta.size > limit {
            return Err(LedgerError::Damaged {
                what: name.to_owned(),
                why: "longer than the format allows".into(),
            });
        }
        found.bytes().await.map(Some).map_err(failed("reading", name))
    }

    /// Reads part of an object; the caller bounds the range.
    pub(crate) async fn get_range(
        &self,
        name: &str,
        range: Range<u64>,
    ) -> Result<Option<Bytes>, LedgerError> {
        match self.0.get_range(&Path::from(name), range).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed("reading", name)(error)),
        }
    }

    pub(crate) async fn exists(&self, name: &str) -> Result<bool, LedgerError> {
        match self.0.head(&Path::from(name)).await {
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(failed("looking for", name)(error)),
        }
    }

    /// Removes objects, in this order; one that is not there is no error.
    pub(crate) async fn delete_in_order(&self, names: &[String]) -> Result<(), LedgerError> {
        for name in names {
            match self.0.delete(&Path::from(name.as_str())).await {
                Ok(()) | Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(failed("deleting", name)(error)),
            }
        }
        Ok(())
    }

    /// The last parts of the names in a folder.
    pub(crate) async fn list(&self, folder: &str) -> Result<Vec<String>, LedgerError> {
        let last = |path: String| last_part(&path).to_owned();
        Ok(self.paths(folder).await?.into_iter().map(last).collect())
    }

    /// The same, with their sizes in bytes.
    pub(crate) async fn sizes(&self, folder: &str) -> Result<Vec<(String, u64)>, LedgerError> {
        let mut found = Vec::new();
        let mut listing = self.0.list(Some(&Path::from(folder)));
        while let Some(meta) = listing.try_next().await.map_err(failed("listing", folder))? {
            found.extend(meta.location.filename().map(|name| (name.to_owned(), meta.size)));
            if found.len() > MAX_LISTING {
                return Err(LedgerError::Damaged { what: folder.to_owned(), why: "too many files".into() });
            }
        }
        Ok(found)
    }

    /// The names of the folders in a folder, ascending.
    pub(crate) async fn folders(&self, folder: &str) -> Result<Vec<String>, LedgerError> {
        let listing = self.0.list_with_delimiter(Some(&Path::from(folder))).await;
        let prefixes = listing.map_err(failed("listing", folder))?.common_prefixes;
        let mut names: Vec<String> =
            prefixes.iter().filter_map(|prefix| prefix.filename().map(str::to_owned)).collect();
        names.sort();
        Ok(names)
    }

    /// Removes objects, several at once; those that are not there are no error.
    pub(crate) async fn delete_all(&self, names: &[String]) -> Result<(), LedgerError> {
        let paths: Vec<_> = names.iter().map(|name| Ok(Path::from(name.as_str()))).collect();
        let mut results = self.0.delete_stream(stream::iter(paths).boxed());
        let mut broken = None;
        while let Some(result) = results.next().await {
            match result {
                Ok(_) | Err(Error::NotFound { .. }) => {}
                Err(error) => broken = Some(error),
            }
        }
        let first = names.first().map(String::as_str).unwrap_or_default();
        broken.map_or(Ok(()), |error| Err(failed("deleting", first)(error)))
    }

    /// The whole names of what is in a folder and below it.
    pub(crate) async fn paths(&self, folder: &str) -> Result<Vec<String>, LedgerError> {
        names(self.0.list(Some(&Path::from(folder))), folder).await
    }

    /// The same, of those whose name within the folder comes after `from`.
    pub(crate) async fn paths_from(&self, folder: &str, from: &str) -> Result<Vec<String>, LedgerError> {
        let offset = Path::from(format!("{folder}/{from}"));
        names(self.0.list_with_offset(Some(&Path::from(folder)), &offset), folder).await
    }
}

/// What a listing of a folder gives.
async fn names(mut listing: Listing, folder: &str) -> Result<Vec<String>, LedgerError> {
    let mut names = Vec::new();
    while let Some(meta) = listing.try_next().await.map_err(failed("listing", folder))? {
        names.push(String::from(meta.location));
        if names.len() > MAX_LISTING {
            return Err(LedgerError::Damaged { what: folder.to_owned(), why: "too many files".into() });
        }
    }
    Ok(names)
}

/// The name of an object within its folder.
pub(crate) fn last_part(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

fn failed(action: &'static str, name: &str) -> impl FnOnce(Error) -> LedgerError {
    let name = name.to_owned();
    move |source| LedgerError::Objects { action, name, error: Box::new(source) }
}
