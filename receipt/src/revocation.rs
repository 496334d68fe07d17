//! The log's word that a key counts no longer (type 4): a shard's, or the log's own.

use crate::cbor::{CborError, MapReader, Value};
use crate::merkle::Hash;

/// COSE content type of a revocation.
pub const REVOCATION_TYPE: &str = "application/colophon-revocation+cbor";

/// Why a key is revoked; the numbers are those of RFC 5280 section 5.3.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// 0: not said.
    Unspecified,
    /// 1: somebody else has it, or may have it.
    KeyCompromise,
    /// 4: another key took its place.
    Superseded,
    /// 5: it is not needed any more.
    CessationOfOperation,
}

/// All of them, with their numbers and names.
const REASONS: [(Reason, u64, &str); 4] = [
    (Reason::Unspecified, 0, "unspecified"),
    (Reason::KeyCompromise, 1, "key-compromise"),
    (Reason::Superseded, 4, "superseded"),
    (Reason::CessationOfOperation, 5, "cessation-of-operation"),
];

impl Reason {
    /// The name, as it is typed and printed.
    pub fn as_str(self) -> &'static str {
        REASONS.iter().find(|(reason, ..)| *reason == self).map_or("unspecified", |(.., name)| name)
    }

    fn code(self) -> u64 {
        REASONS.iter().find(|(reason, ..)| *reason == self).map_or(0, |(_, code, _)| *code)
    }

    fn from_code(code: u64) -> Result<Reason, CborError> {
        let found = REASONS.iter().find(|(_, number, _)| *number == code);
        found.map(|(reason, ..)| *reason).ok_or(CborError::Value("reason"))
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Reason {
    type Err = String;

    fn from_str(text: &str) -> Result<Reason, String> {
        let names = || REASONS.iter().map(|(.., name)| *name).collect::<Vec<_>>().join(", ");
        let found = REASONS.iter().find(|(.., name)| *name == text);
        found.map(|(reason, ..)| *reason).ok_or_else(|| format!("`{text}` is no reason: {}", names()))
    }
}

/// The payload, signed by the log's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// `H` of the public key that is revoked.
    pub key_id: Hash,
    /// Why.
    pub reason: Reason,
    /// When this was said, µs.
    pub at: u64,
    /// The shard whose key it is; absent for the log's own.
    pub shard: Option<String>,
    /// What the key signed from then on does not count, µs (RFC 5280 section 5.3.2); absent: from `at` on.
    pub invalid_from: Option<u64>,
    /// The verifier key that takes the place of the log's own, under the next generation's origin.
    pub successor: Option<String>,
}

impl Revocation {
    const TYPE: u64 = 4;

    /// The deterministic encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut entries = vec![
            (1, Value::Uint(Self::TYPE)),
            (2, Value::bytes(self.key_id)),
            (3, Value::Uint(self.reason.code())),
            (4, Value::Uint(self.at)),
        ];
        entries.extend(self.shard.as_ref().map(|shard| (5, Value::text(shard))));
        entries.extend(self.invalid_from.map(|from| (6, Value::Uint(from))));
        entries.extend(self.successor.as_ref().map(|vkey| (7, Value::text(vkey))));
        Value::Map(entries).encode()
    }

    /// Reads a canonical payload.
    ///
    /// # Errors
    /// [`CborError`]; among others when it would take effect after it was said, or names a shard and a successor.
    pub fn decode(bytes: &[u8]) -> Result<Revocation, CborError> {
        let mut map = MapReader::decode(bytes)?;
        map.expect_type(Self::TYPE, "revocation type")?;
        let revocation = Revocation {
            key_id: map.required(2)?.as_array("key id")?,
            reason: Reason::from_code(map.required(3)?.as_uint("reason")?)?,
            at: map.required(4)?.as_uint("at")?,
            shard: map.optional(5).map(|shard| shard.as_text("shard").map(str::to_owned)).transpose()?,
            invalid_from: map.optional(6).map(|from| from.as_uint("invalid from")).transpose()?,
            successor: map
                .optional(7)
                .map(|vkey| vkey.as_text("successor").map(str::to_owned))
                .transpose()?,
        };
        map.finish()?;
        if revocation.invalid_from.is_some_and(|from| from > revocation.at) {
            return Err(CborError::Value("invalid from"));
        }
        if revocation.shard.is_some() && revocation.successor.is_some() {
            return Err(CborError::Value("successor"));
        }
        Ok(revocation)
    }

    /// What the key signed from then on does not count, µs.
    pub fn from(&self) -> u64 {
        self.invalid_from.unwrap_or(self.at)
    }
}

#[cfg(test)]
mod tests;
