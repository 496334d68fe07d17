//! What is known of the shards, in a form that can be put away: for whoever follows a log over days.

use colophon_receipt::Hash;
use colophon_receipt::statement::Statement;
use colophon_signer::PublicKey;
use serde::{Deserialize, Serialize};

use super::{HashMap, HashSet, Shard, Statements};

/// Payload hashes kept for each shard: a second statement of an older number is found by reading the log again.
const PAYLOADS: u64 = 4096;

/// [`Statements`] without the hashes of single payloads.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Saved {
    origin: String,
    #[serde(with = "keys")]
    log_keys: Vec<[u8; 32]>,
    shards: Vec<SavedShard>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedShard {
    name: String,
    #[serde(with = "hex::serde")]
    key: [u8; 32],
    not_after: u64,
    #[serde(with = "hex::serde")]
    previous: Hash,
    next: u64,
    /// The last statement's payload.
    #[serde(with = "hex::serde")]
    last: Vec<u8>,
    /// The policy that its next statement has to name, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    policy: Option<String>,
    closed: bool,
    /// The leaf that revoked its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revoked: Option<u64>,
}

mod keys {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(keys: &[[u8; 32]], serializer: S) -> Result<S::Ok, S::Error> {
        keys.iter().map(hex::encode).collect::<Vec<String>>().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<[u8; 32]>, D::Error> {
        let keys = Vec::<String>::deserialize(from)?;
        let key = |text: &String| {
            hex::decode(text).ok().and_then(|bytes| bytes.try_into().ok()).ok_or("a key is not 32 bytes")
        };
        keys.iter().map(key).collect::<Result<_, _>>().map_err(serde::de::Error::custom)
    }
}

/// Where a shard stands.
pub(crate) struct Standing<'a> {
    pub(crate) name: &'a str,
    /// The end of its last statement's interval, by the operator's clock.
    pub(crate) to: Option<u64>,
    pub(crate) not_after: u64,
    pub(crate) closed: bool,
}

impl Statements {
    /// Puts away what is known.
    pub(crate) fn save(&self) -> Saved {
        let shard = |(name, shard): (&String, &Shard)| SavedShard {
            name: name.clone(),
            key: shard.key.0,
            not_after: shard.not_after,
            previous: shard.previous,
            next: shard.next,
            last: shard.last.as_ref().map(Statement::encode).unwrap_or_default(),
            policy: shard.policy.map(hex::encode),
            closed: shard.closed,
            revoked: shard.revoked,
        };
        let mut shards: Vec<SavedShard> = self.shards.iter().map(shard).collect();
        shards.sort_by(|a, b| a.name.cmp(&b.name));
        Saved {
            origin: self.origin.clone(),
            log_keys: self.log_keys.iter().map(|key| key.0).collect(),
            shards,
        }
    }

    /// Goes on from what was put away; `None` where that is damaged.
    pub(crate) fn restore(saved: Saved) -> Option<Statements> {
        let mut shards = HashMap::new();
        for shard in saved.shards {
            let last = match shard.last.as_slice() {
                [] => None,
                payload => Some(Statement::decode(payload).ok()?),
            };
            let known = Shard {
                key: PublicKey(shard.key),
                not_after: shard.not_after,
                previous: shard.previous,
                payloads: HashMap::new(),
                next: shard.next,
                last,
                policy: match shard.policy {
                    None => None,
                    Some(digest) => Some(hex::decode(digest).ok()?.try_into().ok()?),
                },
                closed: shard.closed,
                revoked: shard.revoked,
                // Counted anew from here: a follower sums nothing up.
                succeeded: false,
                statements: 0,
                records: 0,
            };
            shards.insert(shard.name, known);
        }
        let log_keys = saved.log_keys.into_iter().map(PublicKey).collect();
        // An erasure that is there twice is found by reading the log again; batches are not read.
        let (erasures, announcements) = (HashSet::new(), HashSet::new());
        Some(Statements { origin: saved.origin, log_keys, shards, erasures, announcements })
    }

    /// Lets go of the hashes of old payloads, so that memory is bounded.
    pub(crate) fn forget_old(&mut self) {
        for shard in self.shards.values_mut() {
            if shard.payloads.len() as u64 > 2 * PAYLOADS {
                let first = shard.next.saturating_sub(PAYLOADS);
                shard.payloads.retain(|seq, _| *seq >= first);
            }
        }
    }

    /// Every shard.
    pub(crate) fn standing(&self) -> impl Iterator<Item = Standing<'_>> {
        self.shards.iter().map(|(name, shard)| Standing {
            name,
            to: shard.last.as_ref().map(|last| last.to),
            not_after: shard.not_after,
            closed: shard.closed,
        })
    }
}
