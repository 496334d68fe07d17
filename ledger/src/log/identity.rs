//! `identity`: the random token that ties a log's folder to the state kept outside it, and the log's origin.

use serde::{Deserialize, Serialize};

use crate::log::LogError;
use crate::store::Store;

const NAME: &str = "identity";
const FORMAT: &str = "colophon-log-identity-v1";
const MAX_FILE: u64 = 4096;

/// What the store says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Identity {
    format: String,
    /// The effective origin, generation included.
    pub(super) origin: String,
    #[serde(with = "hex::serde")]
    pub(super) token: [u8; 16],
}

impl Identity {
    pub(super) fn new(origin: String, token: [u8; 16]) -> Identity {
        Identity { format: FORMAT.into(), origin, token }
    }

    /// Reads the identity; `None` when the store has none.
    pub(super) async fn read(store: &Store) -> Result<Option<Identity>, LogError> {
        let Some(bytes) = store.get(NAME, MAX_FILE).await? else { return Ok(None) };
        let damaged = |what: String| LogError::corrupt(store.full(NAME), what);
        let identity: Identity = serde_json::from_slice(&bytes).map_err(|e| damaged(e.to_string()))?;
        if identity.format != FORMAT {
            return Err(damaged(format!("its format is not {FORMAT}")));
        }
        Ok(Some(identity))
    }

    /// Creates the identity; where another writer was faster, returns theirs.
    pub(super) async fn create(self, store: &Store) -> Result<Identity, LogError> {
        let mut bytes =
            serde_json::to_vec_pretty(&self).map_err(|e| LogError::corrupt(NAME.into(), e.to_string()))?;
        bytes.push(b'\n');
        if store.create(NAME, bytes).await? {
            return Ok(self);
        }
        Identity::read(store).await?.ok_or_else(|| LogError::corrupt(store.full(NAME), "it came and went"))
    }
}
