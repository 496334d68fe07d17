//! A shard: one life of one sidecar, with its own key, announced in the log (DESIGN sections 1 and 3).

use crate::attest::{Birth, Born};
use crate::destination::Destination;
use crate::ledger::LedgerError;
use colophon_receipt::Hash;
use colophon_receipt::merkle::sha256;
use colophon_receipt::statement::{Announcement, Predecessor, payload_hash};
use colophon_signer::{Ed25519Key, PublicKey};
use std::sync::Arc;
use std::time::Duration;

/// A shard, whose key the log has announced, or will.
#[derive(Clone)]
pub struct Shard {
    /// `name/<8 random bytes in hex>`.
    pub name: String,
    /// The shard's key: in memory always, since it signs on the hot path.
    pub signer: Arc<Ed25519Key>,
    /// Its public half.
    pub public_key: PublicKey,
    /// SHA-256 of the public key: in hex, the `keyid` of signatures.
    pub key_id: Hash,
    /// The first two bytes of `H(name)`, which stand in every id made here.
    pub tag: [u8; 2],
    /// The log index of the announcement; `u64::MAX` while the log could not be asked yet.
    pub announced: u64,
    /// Evidence that the key was born in a trusted environment, as the log announces it.
    pub attestation: Option<Arc<[u8]>>,
    /// When that was made, and for which token; also where it is too long to be announced.
    pub(crate) born: Option<Born>,
    /// `H` of the announcement's payload: what the first statement calls the previous one.
    pub(crate) announcement_hash: Hash,
    /// From when on the key counts, µs.
    not_before: u64,
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

/// Stands for the log index of an announcement that the log does not have yet.
pub(crate) const UNANNOUNCED: u64 = u64::MAX;

impl Shard {
    /// Makes a key for a new life of `name` at `now` (µs) and announces it in the log, signed by the log's key.
    pub(crate) async fn announce(
        log: &mut Destination,
        name: &str,
        now: u64,
        life: Duration,
        predecessor: Option<Predecessor>,
        birth: &Birth<'_>,
    ) -> Result<Shard, LedgerError> {
        Shard::generate(name, now, life)?.announced_in(log, predecessor, birth).await
    }

    /// Makes a key for a new life of `name` at `now`, µs.
    pub(crate) fn generate(name: &str, now: u64, life: Duration) -> Result<Shard, LedgerError> {
        let mut incarnation = [0; 8];
        getrandom::fill(&mut incarnation)?;
        let name = format!("{name}/{}", hex::encode(incarnation));
        let key = Ed25519Key::generate()?;
        let public_key = key.public_key();
        let life = u64::try_from(life.as_micros()).unwrap_or(u64::MAX / 2);
        Ok(Shard {
            tag: tag(&name),
            name,
            key_id: public_key.key_id(),
            public_key,
            signer: Arc::new(key),
            announced: UNANNOUNCED,
            attestation: None,
            born: None,
            announcement_hash: Hash::default(),
            not_before: now,
            rotate_at: now.saturating_add(life / 10 * 9),
            not_after: now.saturating_add(life),
        })
    }

    /// What the log is to say of the key.
    pub(crate) fn announcement(&self, origin: &str, predecessor: Option<Predecessor>) -> Announcement {
        let mut announcement = Announcement {
            shard: self.name.clone(),
            public_key: self.public_key.0,
            not_before: self.not_before,
            not_after: self.not_after,
            origin: origin.to_owned(),
            predecessor,
            proof: [0; 64],
            attestation: self.attestation.as_deref().map(<[u8]>::to_vec),
        };
        announcement.proof = self.signer.sign(&announcement.proof_message());
        announcement
    }

    /// Has the log say it, with evidence where that is made.
    pub(crate) async fn announced_in(
        &self,
        log: &mut Destination,
        predecessor: Option<Predecessor>,
        birth: &Birth<'_>,
    ) -> Result<Shard, LedgerError> {
        let shard = birth.attest(self.clone(), self.not_before).await?;
        let announcement = shard.announcement(log.origin(), predecessor);
        let announced = log.announce(&announcement).await?;
        tracing::info!(shard = self.name, log_index = announced, "shard announced");
        let announcement_hash = payload_hash(&announcement.encode());
        Ok(Shard { announced, announcement_hash, ..shard })
    }
}
