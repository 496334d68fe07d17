//! Evidence that a shard's key lives in a trusted environment: made at the key's birth, announced with the key.

use crate::anchor::Anchors;
use crate::ledger::LedgerError;
use crate::shard::Shard;
use std::sync::Arc;

/// Makes evidence about keys.
pub trait KeyEvidence: Send + Sync {
    /// An attestation document about this Ed25519 key, as the log announces it. `token` is the newest verified RFC 3161
    /// token (DER), if there is one: evidence whose nonce is of it was made after it. Blocks, for up to seconds.
    ///
    /// # Errors
    /// Says why there is none.
    fn of_key(&self, key: &[u8; 32], token: Option<Vec<u8>>) -> Result<Vec<u8>, String>;
}

/// What a key gets at its birth, if anything.
pub(crate) struct Birth<'a> {
    pub(crate) evidence: Option<&'a Arc<dyn KeyEvidence>>,
    pub(crate) anchors: &'a Anchors,
}

impl Birth<'_> {
    /// The same shard with evidence about its key.
    pub(crate) async fn attest(&self, mut shard: Shard) -> Result<Shard, LedgerError> {
        let Some(evidence) = self.evidence.filter(|_| shard.attestation.is_none()) else { return Ok(shard) };
        let token = match self.anchors.beacon() {
            Some(beacon) => self.anchors.named(&beacon).await,
            None => None,
        };
        let (evidence, key) = (evidence.clone(), shard.public_key.0);
        let made = tokio::task::spawn_blocking(move || evidence.of_key(&key, token)).await;
        let document =
            made.unwrap_or_else(|error| Err(error.to_string())).map_err(LedgerError::Unattested)?;
        shard.attestation = Some(document.into());
        Ok(shard)
    }
}
