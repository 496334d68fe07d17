//! Ed25519 through aws-lc-rs.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use zeroize::Zeroizing;

use super::{KeyError, SIGNATURE_LEN};

/// The expanded key; AWS-LC overwrites its memory when it is freed.
pub(super) struct KeyPair(Ed25519KeyPair);

impl KeyPair {
    pub(super) fn from_seed(seed: &[u8; 32]) -> Result<KeyPair, KeyError> {
        // "Unchecked" means that no public key is given to compare with.
        Ed25519KeyPair::from_seed_unchecked(seed).map(KeyPair).map_err(|e| KeyError::Pkcs8(e.to_string()))
    }

    pub(super) fn public_key(&self) -> [u8; 32] {
        let mut public = [0; 32];
        public.copy_from_slice(self.0.public_key().as_ref());
        public
    }

    pub(super) fn seed(&self) -> Result<Zeroizing<[u8; 32]>, KeyError> {
        use aws_lc_rs::encoding::{AsBigEndian as _, Curve25519SeedBin};
        let failed = |_| KeyError::Pkcs8("the key gives out no seed".into());
        let bytes: Curve25519SeedBin<'_> = self.0.seed().map_err(failed)?.as_be_bytes().map_err(failed)?;
        let mut seed = Zeroizing::new([0; 32]);
        seed.copy_from_slice(bytes.as_ref());
        Ok(seed)
    }

    pub(super) fn sign(&self, msg: &[u8]) -> [u8; SIGNATURE_LEN] {
        let mut sig = [0; SIGNATURE_LEN];
        sig.copy_from_slice(self.0.sign(msg).as_ref());
        sig
    }
}

pub(super) fn verify(public: &[u8; 32], msg: &[u8], sig: &[u8; SIGNATURE_LEN]) -> bool {
    UnparsedPublicKey::new(&ED25519, public).verify(msg, sig).is_ok()
}
