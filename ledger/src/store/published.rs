//! A log that somebody publishes by HTTP, for reading.

use std::sync::Arc;

use object_store::ObjectStore;
use object_store::http::HttpBuilder;
use object_store::prefix::PrefixStore;
use url::Url;

use super::location::{Access, client, retries};
use super::{Store, StoreError};
use crate::head;

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
        match Store::new(root.clone(), "log/1".into()).get(head::NAME, head::MAX_FILE).await {
            Ok(Some(note)) if std::str::from_utf8(&note).ok().and_then(head::claimed_size).is_some() => {
                return Ok(root);
            }
            // Some servers answer every path.
            Ok(Some(_)) => why = "what is there is no checkpoint".into(),
            Ok(None) => why = "there is no checkpoint".into(),
            Err(error) => why = error.to_string(),
        }
    }
    Err(failed(format!("no log is published there: {why}")))
}
