//! Verifier keys: `<name>+<id in hex>+<base64(type ‖ public key)>` (c2sp.org/signed-note).

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{NoteError, NoteSignature, key_id};
use crate::keys::PublicKey;

/// A verifier key in text is at most this long.
const MAX_VKEY: usize = 1024;

/// How a key signs notes. More types exist; lines of theirs count as unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum NoteAlgorithm {
    /// Ed25519 over the text.
    Ed25519 = 0x01,
    /// Ed25519 over a header with the time, and the text: a witness.
    CosignatureV1 = 0x04,
}

/// A key whose signatures on notes a verifier knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VerifierKey {
    name: String,
    algorithm: NoteAlgorithm,
    public_key: PublicKey,
    id: [u8; 4],
}

impl VerifierKey {
    /// The key `public_key` under `name`.
    pub fn new(
        name: &str,
        algorithm: NoteAlgorithm,
        public_key: PublicKey,
    ) -> Result<VerifierKey, NoteError> {
        check_name(name)?;
        let id = key_id(name, algorithm, public_key.as_bytes());
        Ok(VerifierKey { name: name.to_owned(), algorithm, public_key, id })
    }

    /// The key's name; a log's key has the name of its origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it signs.
    pub fn algorithm(&self) -> NoteAlgorithm {
        self.algorithm
    }

    /// The Ed25519 key.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// The four-byte id: a name, not a fingerprint.
    pub fn id(&self) -> [u8; 4] {
        self.id
    }

    /// Whether `signature` claims to be by this key.
    pub fn names(&self, signature: &NoteSignature) -> bool {
        signature.id == self.id && signature.name == self.name
    }
}

impl FromStr for VerifierKey {
    type Err = NoteError;

    fn from_str(vkey: &str) -> Result<VerifierKey, NoteError> {
        if vkey.len() > MAX_VKEY {
            return Err(NoteError::VerifierKey("too long"));
        }
        // The base64 may hold plus signs itself, the name and the id may not.
        let mut parts = vkey.splitn(3, '+');
        let (Some(name), Some(id), Some(encoded)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError::VerifierKey("expected name+id+key"));
        };
        let bytes = STANDARD.decode(encoded).map_err(|_| NoteError::VerifierKey("the key is not base64"))?;
        let (algorithm, public_key) = match bytes.split_first() {
            Some((0x01, key)) => (NoteAlgorithm::Ed25519, key),
            Some((0x04, key)) => (NoteAlgorithm::CosignatureV1, key),
            _ => return Err(NoteError::VerifierKey("unknown signature type")),
        };
        let public_key =
            PublicKey::try_from(public_key).map_err(|_| NoteError::VerifierKey("not a key of 32 bytes"))?;
        let key = VerifierKey::new(name, algorithm, public_key)?;
        if id != hex::encode(key.id) {
            return Err(NoteError::VerifierKey("the id does not belong to the name and key"));
        }
        Ok(key)
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; 33];
        bytes[0] = self.algorithm as u8;
        bytes[1..].copy_from_slice(self.public_key.as_bytes());
        write!(f, "{}+{}+{}", self.name, hex::encode(self.id), STANDARD.encode(bytes))
    }
}

pub(super) fn check_name(name: &str) -> Result<(), NoteError> {
    let bad = |c: char| c.is_whitespace() || c.is_control() || c == '+';
    if name.is_empty() || name.contains(bad) { Err(NoteError::Name) } else { Ok(()) }
}
