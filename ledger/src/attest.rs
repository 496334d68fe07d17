//! Evidence that a shard's key lives in a trusted environment: made at the key's birth and announced with the key, and made
//! anew while the key is in use ([`renew`]).

use crate::anchor::Anchors;
use crate::ledger::LedgerError;
use crate::shard::Shard;
use colophon_receipt::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub(crate) mod note;
pub(crate) mod renew;

/// The longest document that is announced with a key, in bytes: a leaf of the log has at most 65,535. A longer one is logged
/// right after the announcement, by its digest, as renewed evidence is.
pub const MAX_ANNOUNCED: usize = 60 << 10;
/// A document is never longer.
const MAX_DOCUMENT: usize = 1 << 20;

/// Makes evidence about keys.
pub trait KeyEvidence: Send + Sync {
    /// An attestation document about this Ed25519 key, of at most 1 MiB. `token` is the newest verified RFC 3161 token
    /// (DER), if there is one: evidence whose nonce is of it was made after it. Blocks, for up to seconds.
    ///
    /// # Errors
    /// Says why there is none.
    fn of_key(&self, key: &[u8; 32], token: Option<Vec<u8>>) -> Result<Vec<u8>, String>;

    /// Whether a document of [`of_key`](KeyEvidence::of_key) is genuine by now, collateral included. Blocks.
    ///
    /// # Errors
    /// Says why not. What is refused here is not logged.
    fn check(&self, document: &[u8]) -> Result<(), String>;
}

/// Who makes evidence about shards' keys, and how often.
#[derive(Clone)]
pub struct KeyAttesting {
    /// Who.
    pub by: Arc<dyn KeyEvidence>,
    /// It is made anew so long after the last, once there is a newer timestamp token.
    pub every: Duration,
}

/// What is known about evidence of shards' keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyEvidenceCounts {
    /// Evidence that was made anew and logged.
    pub renewed: u64,
    /// Attempts that gave none.
    pub failed: u64,
    /// Seconds since the newest evidence about the key in use was made, by this machine's clock.
    pub age: u64,
}

/// The same, while it is counted.
#[derive(Debug, Default)]
pub(crate) struct Counting {
    renewed: AtomicU64,
    failed: AtomicU64,
    /// When the newest evidence was made, µs.
    made_at: AtomicU64,
}

impl Counting {
    fn made(&self, at: u64) {
        self.made_at.fetch_max(at, Ordering::Relaxed);
    }

    pub(crate) fn counts(&self, now: u64) -> KeyEvidenceCounts {
        KeyEvidenceCounts {
            renewed: self.renewed.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            age: now.saturating_sub(self.made_at.load(Ordering::Relaxed)) / 1_000_000,
        }
    }
}

/// What a key gets at its birth, if anything.
pub(crate) struct Birth<'a> {
    pub(crate) attesting: Option<&'a KeyAttesting>,
    pub(crate) anchors: &'a Anchors,
    pub(crate) counting: &'a Counting,
}

/// What was made for a key before it was announced.
#[derive(Clone, Debug, Default)]
pub(crate) struct Born {
    /// The token that it answers, by its digest.
    pub(crate) epoch: Option<Hash>,
    /// When, µs by this machine's clock.
    pub(crate) at: u64,
}

impl Birth<'_> {
    /// The same shard with evidence about its key; without, where that is too long to be announced.
    pub(crate) async fn attest(&self, mut shard: Shard, now: u64) -> Result<Shard, LedgerError> {
        let Some(attesting) = self.attesting.filter(|_| shard.born.is_none()) else { return Ok(shard) };
        let (epoch, token) = newest(self.anchors).await;
        let made = make(&attesting.by, shard.public_key.0, token, false).await;
        let document = made.map_err(LedgerError::Unattested)?;
        self.counting.made(now);
        shard.born = Some(Born { epoch, at: now });
        shard.attestation = (document.len() <= MAX_ANNOUNCED).then(|| document.into());
        Ok(shard)
    }
}

/// The newest token, by its digest and whole; neither where it cannot be read.
async fn newest(anchors: &Anchors) -> (Option<Hash>, Option<Vec<u8>>) {
    let Some(beacon) = anchors.beacon() else { return (None, None) };
    let token = anchors.named(&beacon).await;
    (token.is_some().then_some(beacon), token)
}

/// Has evidence made outside of the runtime's own threads, and looked at where it is `checked`.
async fn make(
    by: &Arc<dyn KeyEvidence>,
    key: [u8; 32],
    token: Option<Vec<u8>>,
    checked: bool,
) -> Result<Vec<u8>, String> {
    let by = by.clone();
    let made = tokio::task::spawn_blocking(move || {
        let document = by.of_key(&key, token)?;
        match document.len() {
            0..=MAX_DOCUMENT if checked => by.check(&document).map(|()| document),
            0..=MAX_DOCUMENT => Ok(document),
            long => {
                Err(format!("its evidence has {long} bytes, and no document is longer than {MAX_DOCUMENT}"))
            }
        }
    });
    made.await.unwrap_or_else(|error| Err(error.to_string()))
}

#[cfg(test)]
mod tests;
