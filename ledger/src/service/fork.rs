//! Two statements signed for one place of a chain: proof of misbehaviour, kept whole.

use crate::store::{Store, StoreError};

/// Keeps the logged statement and the one refused, once for each place: two are proof enough.
pub(super) async fn keep(
    store: &Store,
    shard: &str,
    seq: u64,
    logged: &[u8],
    other: &[u8],
) -> Result<(), StoreError> {
    for (name, leaf) in [("logged", logged), ("other", other)] {
        store.create(&format!("fork/{shard}/{seq}/{name}"), leaf.to_vec()).await?;
    }
    Ok(())
}
