//! A log that somebody publishes by HTTP, for reading.

use std::sync::Arc;

use object_store::http::HttpBuilder;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt};
use url::Url;

use super::StoreError;
use super::location::{Access, client, retries};

/// Where a proxy serves its log, beside the place that was named.
const WELL_KNOWN: &str = ".well-known/colophon";

/// Opens the log published below `url`, or below its `/.well-known/colophon`: whichever has a checkpoint. Reads only.
///
/// # Errors
/// When the URL or the file of CAs cannot be used, or there is no log.
pub async fn published(url: &str, access: &Access) -> Result<Arc<dyn ObjectStore>, StoreError> {
    let failed = |why: String| StoreError::Settings { location: url.to_owned(), why };
    let url = url.trim_end_matches('/');
    let parsed = Url::parse(url).map_err(|error| failed(error.to_string()))?;
    let options = client(&parsed, Some(url.to_owned()), access)?;
    let store = HttpBuilder::new().with_url(url).with_client_options(options).with_retry(retries()).build();
    let store: Arc<dyn ObjectStore> = Arc::new(store.map_err(|error| failed(error.to_string()))?);
    let mut why = String::new();
    for prefix in ["", WELL_KNOWN] {
        let root: Arc<dyn ObjectStore> = match prefix.is_empty() {
            true => store.clone(),
            false => Arc::new(PrefixStore::new(store.clone(), prefix)),
        };
        match root.get(&Path::from("log/1/checkpoint")).await {
            Ok(_) => return Ok(root),
            Err(error) => why = error.to_string(),
        }
    }
    Err(failed(format!("no log is published there: {why}")))
}
