//! ECDSA keys on P-256 and P-384, which OpenSSF Model Signing asks for where Colophon's own signatures are Ed25519.
//!
//! P-256 signs; both verify, with the hash of the curve's size (SHA-256, SHA-384), as Sigstore's bundles have it.

use std::fmt;
use std::path::Path;

use colophon_receipt::merkle::sha256;
use p256::ecdsa::signature::{Signer as _, Verifier as _};
use p256::pkcs8::{
    DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _, EncodePublicKey as _, LineEnding,
};
use zeroize::Zeroizing;

use crate::keys::{KeyError, read_private, write_private};

/// Random bytes are a private key with all but vanishing probability.
const TRIES: usize = 8;

/// A private key on P-256 in memory.
pub struct EcKey(p256::ecdsa::SigningKey);

/// A public key on P-256 or P-384.
#[derive(Clone, PartialEq, Eq)]
pub struct EcPublicKey {
    curve: Curve,
    /// The one spelling of its PEM (`SubjectPublicKeyInfo`, lines of 64).
    pem: String,
}

#[derive(Clone, PartialEq, Eq)]
enum Curve {
    P256(p256::ecdsa::VerifyingKey),
    P384(p384::ecdsa::VerifyingKey),
}

/// Why bytes are no such public key, or no signature by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EcError {
    /// No public key of a curve that is known here.
    #[error("not the PEM of a public key on P-256 or P-384 (BEGIN PUBLIC KEY)")]
    Key,
    /// Not a signature by this key over this message.
    #[error("the signature does not match the key and the message")]
    Signature,
}

impl EcKey {
    /// A new key from the operating system's randomness.
    ///
    /// # Errors
    /// When there is none.
    pub fn generate() -> Result<EcKey, KeyError> {
        let mut bytes = Zeroizing::new([0; 32]);
        for _ in 0..TRIES {
            getrandom::fill(bytes.as_mut_slice())?;
            // Zero and what is not below the group's order is none.
            if let Ok(key) = p256::ecdsa::SigningKey::from_slice(bytes.as_slice()) {
                return Ok(EcKey(key));
            }
        }
        Err(KeyError::Pkcs8("the operating system's randomness gives no key".into()))
    }

    /// Reads a file with PKCS#8 PEM that only its owner may read.
    ///
    /// # Errors
    /// [`KeyError`]; among others for keys of other kinds.
    pub fn load(path: &Path) -> Result<EcKey, KeyError> {
        let bytes = read_private(path)?;
        let pem = std::str::from_utf8(&bytes).map_err(|_| KeyError::Pkcs8("not text".into()))?;
        let key = p256::SecretKey::from_pkcs8_pem(pem);
        let wrong = |why: &dyn fmt::Display| {
            KeyError::Pkcs8(format!(
                "models are certified with an ECDSA key on P-256 in PKCS#8 (colophon model authority makes one): {why}"
            ))
        };
        Ok(EcKey(key.map_err(|why| wrong(&why))?.into()))
    }

    /// Saves it to a new file of mode 0600; an existing file is an error.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn save(&self, path: &Path) -> Result<(), KeyError> {
        let pem = self.0.to_pkcs8_pem(LineEnding::LF).map_err(|why| KeyError::Pkcs8(why.to_string()))?;
        write_private(path, pem.as_bytes())
    }

    /// The public half.
    ///
    /// # Errors
    /// When it cannot be spelled, which does not happen.
    pub fn public_key(&self) -> Result<EcPublicKey, EcError> {
        EcPublicKey::new(Curve::P256(*self.0.verifying_key()))
    }

    /// ECDSA with SHA-256 over `message`, in DER.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature: p256::ecdsa::Signature = self.0.sign(message);
        signature.to_der().as_bytes().to_vec()
    }
}

impl fmt::Debug for EcKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EcKey").field(&self.public_key()).finish()
    }
}

impl EcPublicKey {
    fn new(curve: Curve) -> Result<EcPublicKey, EcError> {
        let pem = match &curve {
            Curve::P256(key) => key.to_public_key_pem(LineEnding::LF),
            Curve::P384(key) => key.to_public_key_pem(LineEnding::LF),
        };
        Ok(EcPublicKey { pem: pem.map_err(|_| EcError::Key)?, curve })
    }

    /// Reads PEM.
    ///
    /// # Errors
    /// [`EcError::Key`].
    pub fn from_pem(pem: &str) -> Result<EcPublicKey, EcError> {
        let pem = pem.trim();
        if let Ok(key) = p256::ecdsa::VerifyingKey::from_public_key_pem(pem) {
            return EcPublicKey::new(Curve::P256(key));
        }
        let key = p384::ecdsa::VerifyingKey::from_public_key_pem(pem).map_err(|_| EcError::Key)?;
        EcPublicKey::new(Curve::P384(key))
    }

    /// As PEM, in one spelling, with a newline at its end.
    pub fn to_pem(&self) -> &str {
        &self.pem
    }

    /// SHA-256 of [`to_pem`](EcPublicKey::to_pem): how Model Signing's bundles name a key (`hint`).
    pub fn id(&self) -> [u8; 32] {
        sha256(self.pem.as_bytes())
    }

    /// Verifies a DER signature over `message`.
    ///
    /// # Errors
    /// [`EcError::Signature`].
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), EcError> {
        let verified = match &self.curve {
            Curve::P256(key) => p256::ecdsa::Signature::from_der(signature)
                .and_then(|signature| key.verify(message, &signature)),
            Curve::P384(key) => p384::ecdsa::Signature::from_der(signature)
                .and_then(|signature| key.verify(message, &signature)),
        };
        verified.map_err(|_| EcError::Signature)
    }
}

impl fmt::Debug for EcPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EcPublicKey({})", hex::encode(self.id()))
    }
}
