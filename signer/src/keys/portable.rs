//! Ed25519 through ed25519-dalek.

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use zeroize::Zeroizing;

use super::{KeyError, SIGNATURE_LEN};

/// The expanded key; ed25519-dalek overwrites its memory when it is dropped.
pub(super) struct KeyPair(SigningKey);

impl KeyPair {
    pub(super) fn from_seed(seed: &[u8; 32]) -> Result<KeyPair, KeyError> {
        Ok(KeyPair(SigningKey::from_bytes(seed)))
    }

    pub(super) fn public_key(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    #[cfg_attr(feature = "fast", allow(dead_code))]
    pub(super) fn seed(&self) -> Result<Zeroizing<[u8; 32]>, KeyError> {
        Ok(Zeroizing::new(self.0.to_bytes()))
    }

    pub(super) fn sign(&self, msg: &[u8]) -> [u8; SIGNATURE_LEN] {
        self.0.sign(msg).to_bytes()
    }
}

pub(super) fn verify(public: &[u8; 32], msg: &[u8], sig: &[u8; SIGNATURE_LEN]) -> bool {
    VerifyingKey::from_bytes(public)
        .is_ok_and(|key| key.verify_strict(msg, &Signature::from_bytes(sig)).is_ok())
}
