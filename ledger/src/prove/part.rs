//! Files of the public log as they are, for those who copy a part of it.

use bytes::Bytes;

use super::LogReader;
use crate::log::LogError;
use crate::store::Store;
use crate::tiles::{MAX_BUNDLE, TileId};

impl LogReader {
    /// The log's folder.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// A tile or bundle of the tree with this width, by the name that it has in the store: where the partial file is gone,
    /// the full one has what it had. Nothing of it is verified.
    ///
    /// # Errors
    /// [`LogError`] when neither is there.
    pub async fn file(&self, tile: TileId, width: usize) -> Result<(String, Bytes), LogError> {
        for name in [tile.name_at(width), tile.name()] {
            if let Some(bytes) = self.store.get(&name, MAX_BUNDLE).await? {
                return Ok((name, bytes));
            }
        }
        Err(LogError::corrupt(self.store.full(&tile.name_at(width)), "it is missing"))
    }
}
