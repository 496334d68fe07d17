//! A shard's word that another policy is in force from a statement on (type 7), and where the texts of policies are kept.

use crate::cbor::{CborError, MapReader, Value};
use crate::merkle::Hash;

/// COSE content type of a policy change.
pub const POLICY_CHANGE_TYPE: &str = "application/colophon-policy-change+cbor";

/// The folder of policies' texts, in a store and in an export.
pub const POLICIES: &str = "policy";

/// The name of the file with a policy's canonical text, whose SHA-256 is `digest`.
pub fn policy_file(digest: &Hash) -> String {
    let mut name = format!("{POLICIES}/");
    for byte in digest {
        name.extend([byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16).unwrap_or('0')));
    }
    name + ".json"
}

/// The payload, signed by the key of the shard whose policy changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyChange {
    /// The shard.
    pub shard: String,
    /// Its first statement under the new policy; the one before closed the last batch under the old.
    pub seq: u64,
    /// When, µs.
    pub at: u64,
    /// Digest of the policy in force until then.
    pub before: Hash,
    /// Digest of the policy in force from then on.
    pub after: Hash,
}

impl PolicyChange {
    const TYPE: u64 = 7;

    /// The deterministic encoding.
    pub fn encode(&self) -> Vec<u8> {
        Value::Map(vec![
            (1, Value::Uint(Self::TYPE)),
            (2, Value::text(&self.shard)),
            (3, Value::Uint(self.seq)),
            (4, Value::Uint(self.at)),
            (5, Value::bytes(self.before)),
            (6, Value::bytes(self.after)),
        ])
        .encode()
    }

    /// Reads a canonical payload.
    ///
    /// # Errors
    /// [`CborError`]; also for a change to the same policy.
    pub fn decode(bytes: &[u8]) -> Result<PolicyChange, CborError> {
        let mut map = MapReader::decode(bytes)?;
        map.expect_type(Self::TYPE, "policy change type")?;
        let change = PolicyChange {
            shard: map.required(2)?.as_text("shard")?.to_owned(),
            seq: map.required(3)?.as_uint("seq")?,
            at: map.required(4)?.as_uint("at")?,
            before: map.required(5)?.as_array("policy digest")?,
            after: map.required(6)?.as_array("policy digest")?,
        };
        map.finish()?;
        if change.before == change.after {
            return Err(CborError::Value("policy digest"));
        }
        Ok(change)
    }
}

#[cfg(test)]
mod tests;
