//! Signing with a key that may be slow: the log's.

use colophon_signer::{SignError, Signer};
use std::sync::Arc;

/// Calls `sign` with the key, beside the runtime's workers if the key waits for a device.
pub(crate) async fn with<T, E>(
    key: &Arc<dyn Signer>,
    sign: impl FnOnce(&dyn Signer) -> Result<T, E> + Send + 'static,
) -> Result<T, E>
where
    T: Send + 'static,
    E: From<SignError> + Send + 'static,
{
    if !key.waits() {
        return sign(key.as_ref());
    }
    let key = key.clone();
    match tokio::task::spawn_blocking(move || sign(key.as_ref())).await {
        Ok(signed) => signed,
        Err(e) => {
            Err(SignError { key: "the log's key".into(), why: format!("signing ended early: {e}") }.into())
        }
    }
}
