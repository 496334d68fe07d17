//! Verifier keys: `<name>+<id in hex>+<base64(type ‖ public key)>` (c2sp.org/signed-note).

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::subtree::MlDsa44Key;
use super::{NoteError, NoteSignature, key_id};
use crate::keys::PublicKey;

/// A verifier key in text is at most this long: one of ML-DSA-44 takes 1,752 characters and its name.
const MAX_VKEY: usize = 3072;

/// How a key signs notes. More types exist; lines of theirs count as unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum NoteAlgorithm {
    /// Ed25519 over the text.
    Ed25519 = 0x01,
    /// Ed25519 over a header with the time, and the text: a witness.
    CosignatureV1 = 0x04,
    /// ML-DSA-44 over the cosigner's name, a time, and the origin, size and root that the text says: a witness. Verified only.
    SubtreeV1 = 0x06,
}

/// What verifies.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum Material {
    /// Of [`NoteAlgorithm::Ed25519`] and [`NoteAlgorithm::CosignatureV1`].
    Ed25519(PublicKey),
    /// Of [`NoteAlgorithm::SubtreeV1`].
    MlDsa44(MlDsa44Key),
}

impl Material {
    fn as_bytes(&self) -> &[u8] {
        match self {
            Material::Ed25519(key) => key.as_bytes(),
            Material::MlDsa44(key) => key.as_bytes(),
        }
    }
}

/// A key whose signatures on notes a verifier knows.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct VerifierKey {
    name: String,
    algorithm: NoteAlgorithm,
    material: Material,
    id: [u8; 4],
}

impl VerifierKey {
    /// The Ed25519 key `public_key` under `name`.
    ///
    /// # Errors
    /// When the name is none, or keys of this algorithm are no Ed25519 keys.
    pub fn new(
        name: &str,
        algorithm: NoteAlgorithm,
        public_key: PublicKey,
    ) -> Result<VerifierKey, NoteError> {
        if algorithm == NoteAlgorithm::SubtreeV1 {
            return Err(NoteError::VerifierKey("not a key of 1312 bytes"));
        }
        VerifierKey::of(name, algorithm, Material::Ed25519(public_key))
    }

    pub(super) fn of(
        name: &str,
        algorithm: NoteAlgorithm,
        material: Material,
    ) -> Result<VerifierKey, NoteError> {
        check_name(name)?;
        let id = key_id(name, algorithm, material.as_bytes());
        Ok(VerifierKey { name: name.to_owned(), algorithm, material, id })
    }

    /// The key's name; a log's key has the name of its origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it signs.
    pub fn algorithm(&self) -> NoteAlgorithm {
        self.algorithm
    }

    /// The Ed25519 key; `None` where it is one of ML-DSA-44.
    pub fn public_key(&self) -> Option<&PublicKey> {
        match &self.material {
            Material::Ed25519(key) => Some(key),
            Material::MlDsa44(_) => None,
        }
    }

    /// Whether it is the same key as `other`, under whatever name.
    pub fn same_key(&self, other: &VerifierKey) -> bool {
        self.material == other.material
    }

    /// Whether it is a witness's: its signatures are cosignatures.
    pub fn is_cosigner(&self) -> bool {
        matches!(self.algorithm, NoteAlgorithm::CosignatureV1 | NoteAlgorithm::SubtreeV1)
    }

    pub(super) fn material(&self) -> &Material {
        &self.material
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
        let ed25519 = |key: &[u8]| {
            let key = PublicKey::try_from(key).map_err(|_| NoteError::VerifierKey("not a key of 32 bytes"));
            key.map(Material::Ed25519)
        };
        let (algorithm, material) = match bytes.split_first() {
            Some((0x01, key)) => (NoteAlgorithm::Ed25519, ed25519(key)?),
            Some((0x04, key)) => (NoteAlgorithm::CosignatureV1, ed25519(key)?),
            Some((0x06, key)) => (NoteAlgorithm::SubtreeV1, Material::MlDsa44(MlDsa44Key::try_from(key)?)),
            _ => return Err(NoteError::VerifierKey("unknown signature type")),
        };
        let key = VerifierKey::of(name, algorithm, material)?;
        if id != hex::encode(key.id) {
            return Err(NoteError::VerifierKey("the id does not belong to the name and key"));
        }
        Ok(key)
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&[self.algorithm as u8], self.material.as_bytes()].concat();
        write!(f, "{}+{}+{}", self.name, hex::encode(self.id), STANDARD.encode(bytes))
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifierKey({self})")
    }
}

pub(super) fn check_name(name: &str) -> Result<(), NoteError> {
    let bad = |c: char| c.is_whitespace() || c.is_control() || c == '+';
    if name.is_empty() || name.contains(bad) { Err(NoteError::Name) } else { Ok(()) }
}
