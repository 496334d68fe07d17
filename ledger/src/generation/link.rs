//! Whether a generation continues the one before it.

use std::sync::Arc;

use colophon_receipt::checkpoint::Checkpoint;
use colophon_receipt::statement::Genesis;
use colophon_signer::note::{Note, VerifierKey};
use object_store::ObjectStore;

use super::names_successor;
use crate::head::SignedHead;
use crate::log::LogReader;

/// How a generation is tied to the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Where the generation before ended, by its own key.
    pub end: Checkpoint,
    /// Whether the old key named the new one in its log's last leaf. Without that, whoever could write to the store may
    /// have begun the new generation.
    pub handed_over: bool,
}

/// Checks that `generation`, above 1, names the end of the one before it, and that nothing was added to that since.
///
/// # Errors
/// A sentence that says what does not fit.
pub async fn check_link(store: &Arc<dyn ObjectStore>, generation: u32) -> Result<Link, String> {
    let before = generation.saturating_sub(1);
    let (reader, head) = LogReader::open(store.clone(), generation).await.map_err(|e| e.to_string())?;
    let genesis = reader.entry(0, &head.checkpoint).await.map_err(|e| e.to_string())?;
    let genesis = Genesis::decode(&genesis).map_err(|e| e.to_string())?;
    let note = genesis.predecessor.as_ref();
    let note = note.ok_or(format!("the genesis of generation {generation} names no predecessor"))?;

    let (old, old_head) = LogReader::open(store.clone(), before).await.map_err(|e| e.to_string())?;
    let old_genesis = old.entry(0, &old_head.checkpoint).await.map_err(|e| e.to_string())?;
    let old_genesis = Genesis::decode(&old_genesis).map_err(|e| e.to_string())?;
    let base =
        |origin: &str, generation: u32| origin.strip_suffix(&format!("/{generation}")).map(str::to_owned);
    if base(&genesis.origin, generation).is_none()
        || base(&genesis.origin, generation) != base(&old_genesis.origin, before)
    {
        return Err(format!("{} is no generation of the log {}", genesis.origin, old_genesis.origin));
    }
    let keys = old_genesis.vkeys.iter().filter_map(|vkey| vkey.parse::<VerifierKey>().ok());
    let text =
        std::str::from_utf8(note).map_err(|_| "the predecessor's checkpoint is not text".to_owned())?;
    let named = keys.into_iter().find_map(|key| SignedHead::parse(text, &key).ok());
    let named = named.ok_or(format!(
        "the checkpoint that generation {generation} names was not signed by a key of generation {before}"
    ))?;
    let (end, now) = (&named.checkpoint, &old_head.checkpoint);
    if now.size < end.size {
        return Err(format!(
            "generation {before} holds {} leaves, but ended with {} when {generation} began",
            now.size, end.size
        ));
    }
    old.consistency(end, now).await.map_err(|e| e.to_string())?;
    if now.size > end.size {
        return Err(format!(
            "generation {before} grew from {} to {} leaves after generation {generation} had begun: who used its key?",
            end.size, now.size
        ));
    }
    let last = old.entry(end.size.saturating_sub(1), now).await.map_err(|e| e.to_string())?;
    let handed_over = genesis.vkeys.iter().any(|vkey| names_successor(&last, vkey));
    Ok(Link { end: end.clone(), handed_over })
}

/// What a genesis says of its predecessor, signature unseen.
pub(super) fn unverified(note: &[u8]) -> Result<Checkpoint, String> {
    let text = std::str::from_utf8(note).map_err(|e| e.to_string())?;
    let note = Note::parse(text).map_err(|e| e.to_string())?;
    Checkpoint::parse(note.text()).map_err(|e| e.to_string())
}
