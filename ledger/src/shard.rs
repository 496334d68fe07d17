//! A shard: one life of one sidecar, with its own key, announced in the log (DESIGN sections 1 and 3).

use crate::destination::Destination;
use crate::ledger::LedgerError;
use colophon_receipt::Hash;
use colophon_receipt::merkle::sha256;
use colophon_receipt::statement::{Announcement, Predecessor, payload_hash};
use colophon_signer::{Ed25519Key, PublicKey};
use std::sync::Arc;
use std::time::Duration;

/// A shard whose key the log has announced.
pub struct Shard {
    /// `name/<8 random bytes in hex>`.
    pub name: String,
    /// The shard's key: in memory always, since it signs on the hot path.
    pub signer: Arc<Ed25519Key>,
    /// Its public half.
    pub public_key: PublicKey,
    /// SHA-256 of the public key, in hex: the `keyid` of signatures.
    pub key_id_hex: String,
    /// The first two bytes of `H(name)`, which stand in every id made here.
    pub tag: [u8; 2],
    /// The log index of the announcement.
    pub announced: u64,
    /// `H` of the announcement's payload: what the first statement calls the previous one.
    pub(crate) announcement_hash: Hash,
    /// When another shard should take over, µs.
    pub(crate) rotate_at: u64,
    /// When the key stops counting, µs.
    pub not_after: u64,
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard").field("name", &self.name).field("announced", &self.announced).finish()
    }
}

/// The tag of a shard name.
pub fn tag(name: &str) -> [u8; 2] {
    let hash = sha256(name.as_bytes());
    [hash[0], hash[1]]
}

impl Shard {
    /// Makes a key for a new life of `name` at `now` (µs) and announces it in the log, signed by the log's key.
    pub(crate) async fn announce(
        log: &mut Destination,
        name: &str,
        now: u64,
        life: Duration,
        predecessor: Option<Predecessor>,
    ) -> Result<Shard, LedgerError> {
        let mut incarnation = [0; 8];
        getrandom::fill(&mut incarnation)?;
        let name = format!("{name}/{}", hex::encode(incarnation));
        let key = Ed25519Key::generate()?;
        let public_key = key.public_key();
        let life = u64::try_from(life.as_micros()).unwrap_or(u64::MAX / 2);
        let mut announcement = Announcement {
            shard: name.clone(),
            public_key: public_key.0,
            not_before: now,
            not_after: now.saturating_add(life),
            origin: log.origin().to_string(),
            predecessor,
            proof: [0; 64],
            attestation: None,
        };
        announcement.proof = key.sign(&announcement.proof_message());
        let announced = log.announce(&announcement).await?;
        let payload = announcement.encode();
        tracing::info!(shard = name, log_index = announced, "shard announced");
        Ok(Shard {
            tag: tag(&name),
            name,
            key_id_hex: public_key.key_id_hex(),
            public_key,
            signer: Arc::new(key),
            announced,
            announcement_hash: payload_hash(&payload),
            rotate_at: now.saturating_add(life / 10 * 9),
            not_after: announcement.not_after,
        })
    }
}
