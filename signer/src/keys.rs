//! Ed25519 keys (RFC 8032): who signs, who verifies, and how a private key rests on disk.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;

use colophon_receipt::merkle::sha256;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{EncodePrivateKey, KeypairBytes};
use zeroize::Zeroizing;

#[cfg(feature = "fast")]
use self::fast as backend;
#[cfg(not(feature = "fast"))]
use self::portable as backend;

#[cfg(feature = "fast")]
mod fast;
mod pkcs8;
#[cfg(any(test, not(feature = "fast")))]
mod portable;
mod strict;

/// The length of an Ed25519 signature in bytes.
pub const SIGNATURE_LEN: usize = 64;

/// A key file is never longer than this many bytes.
const MAX_KEY_FILE: u64 = 16 * 1024;

/// Something that signs with one Ed25519 key: in memory, in a token, or wherever else [`crate::KeySource`] finds one.
pub trait Signer: Send + Sync {
    /// The public half of the key that [`Signer::sign`] uses.
    fn public_key(&self) -> PublicKey;

    /// Signs `msg` (RFC 8032 section 5.1.6, pure Ed25519). A key in memory always does.
    ///
    /// # Errors
    /// When what holds the key does not sign at the moment; trying again may help.
    fn sign(&self, msg: &[u8]) -> Result<[u8; SIGNATURE_LEN], SignError>;

    /// Whether [`Signer::sign`] waits for a device or a network: then it has no place on an async runtime's worker.
    fn waits(&self) -> bool {
        false
    }
}

/// Why there is no signature.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no signature by {key}: {why}")]
pub struct SignError {
    /// Which key was asked; no secret.
    pub key: String,
    /// What is wrong, and what to do.
    pub why: String,
}

/// An Ed25519 public key: the 32 bytes of RFC 8032 section 5.1.5, not yet known to be a good point.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey(pub [u8; 32]);

/// Why a signature was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The signature is not 64 bytes long.
    #[error("an Ed25519 signature has 64 bytes, this one has {0}")]
    Length(usize),
    /// The public key or the signature's R is a non-canonical encoding or a point of small order.
    #[error("the public key or the signature holds a weak or non-canonical point")]
    WeakPoint,
    /// The signature is not one of this key over this message, or its S is not below the group order.
    #[error("the signature does not match the key and the message")]
    Mismatch,
}

impl PublicKey {
    /// The raw 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// SHA-256 of the raw 32 bytes: how a key is named in COSE `kid` and RFC 9421 `keyid`.
    pub fn key_id(&self) -> [u8; 32] {
        sha256(&self.0)
    }

    /// [`PublicKey::key_id`] in lower-case hexadecimal.
    pub fn key_id_hex(&self) -> String {
        hex::encode(self.key_id())
    }

    /// Verifies `sig` over `msg` strictly: no S at or above the group order, no non-canonical encodings, no points of
    /// small order, and the cofactorless equation. What one backend accepts, the other accepts.
    pub fn verify(&self, msg: &[u8], sig: &[u8]) -> Result<(), SignatureError> {
        let sig: &[u8; SIGNATURE_LEN] = sig.try_into().map_err(|_| SignatureError::Length(sig.len()))?;
        strict::check(&self.0, sig)?;
        if backend::verify(&self.0, msg, sig) { Ok(()) } else { Err(SignatureError::Mismatch) }
    }
}

impl From<[u8; 32]> for PublicKey {
    fn from(bytes: [u8; 32]) -> PublicKey {
        PublicKey(bytes)
    }
}

impl TryFrom<&[u8]> for PublicKey {
    type Error = std::array::TryFromSliceError;

    fn try_from(bytes: &[u8]) -> Result<PublicKey, Self::Error> {
        bytes.try_into().map(PublicKey)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", hex::encode(self.0))
    }
}

/// Why a private key could not be made, read or written.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The operating system gave no randomness.
    #[error("no randomness from the operating system: {0}")]
    Random(#[from] getrandom::Error),
    /// The bytes are not an Ed25519 private key in PKCS#8 PEM (RFC 8410).
    #[error("not an Ed25519 private key in PKCS#8 PEM: {0}")]
    Pkcs8(String),
    /// The file names a public key that does not belong to its private key.
    #[error("the public key in the PKCS#8 document does not belong to its private key")]
    PublicKeyMismatch,
    /// The key file could be read by others than its owner.
    #[error("the key file may be read or written by others (mode {mode:o}); make it private: chmod 600")]
    Permissions {
        /// The file's permission bits.
        mode: u32,
    },
    /// The key file could not be read or written.
    #[error("key file: {0}")]
    Io(#[from] std::io::Error),
}

/// An Ed25519 private key in memory, ready to sign. Its memory is overwritten when it is dropped.
pub struct Ed25519Key {
    pair: backend::KeyPair,
    public: PublicKey,
}

impl Ed25519Key {
    /// A new key from the operating system's randomness.
    pub fn generate() -> Result<Ed25519Key, KeyError> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut_slice())?;
        Ed25519Key::from_seed(&seed)
    }

    /// The key that a 32-byte seed (RFC 8032 section 5.1.5) stands for.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Ed25519Key, KeyError> {
        let pair = backend::KeyPair::from_seed(seed)?;
        let public = PublicKey(pair.public_key());
        Ok(Ed25519Key { pair, public })
    }

    /// The public half.
    pub fn public_key(&self) -> PublicKey {
        self.public
    }

    /// As [`Signer::sign`], which cannot fail for a key in memory.
    pub fn sign(&self, msg: &[u8]) -> [u8; SIGNATURE_LEN] {
        self.pair.sign(msg)
    }

    /// Reads PKCS#8 PEM: version 1, or version 2 whose public key then has to match.
    pub fn from_pkcs8_pem(pem: &str) -> Result<Ed25519Key, KeyError> {
        pkcs8::from_pem(pem)
    }

    /// Reads PKCS#8 DER: what stands in the PEM.
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Ed25519Key, KeyError> {
        pkcs8::from_der(der)
    }

    /// Writes PKCS#8 PEM version 1, the form that every OpenSSL reads.
    pub fn to_pkcs8_pem(&self) -> Result<Zeroizing<String>, KeyError> {
        let bytes = KeypairBytes { secret_key: *self.pair.seed()?, public_key: None };
        bytes.to_pkcs8_pem(LineEnding::LF).map_err(|e| KeyError::Pkcs8(e.to_string()))
    }

    /// Saves the key to a new file that only its owner may read (mode 0600). An existing file is an error. The file is there
    /// as a whole or not at all, wherever this is cut off.
    pub fn save(&self, path: &Path) -> Result<(), KeyError> {
        write_private(path, self.to_pkcs8_pem()?.as_bytes())
    }

    /// Loads a key from a PKCS#8 PEM file. On Unix a file that its group or others may touch is refused.
    pub fn load(path: &Path) -> Result<Ed25519Key, KeyError> {
        let bytes = read_private(path)?;
        let pem = std::str::from_utf8(&bytes).map_err(|_| KeyError::Pkcs8("not text".into()))?;
        Ed25519Key::from_pkcs8_pem(pem)
    }
}

/// Writes a secret to a new file that only its owner may read (mode 0600). An existing file is an error. The file is there
/// as a whole or not at all, wherever this is cut off.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), KeyError> {
    let name = path.file_name().ok_or(std::io::ErrorKind::InvalidInput).map_err(std::io::Error::from)?;
    let mut half = std::ffi::OsString::from(".");
    half.push(name);
    half.push(".half");
    let half = path.with_file_name(half);
    // Left by one that was cut off; nobody has used it.
    let _ = std::fs::remove_file(&half);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&half)?;
    // A link, unlike a renaming, never takes another file's place.
    let saved =
        file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| std::fs::hard_link(&half, path));
    let _ = std::fs::remove_file(&half);
    saved?;
    // The name, too, is to outlast a loss of power.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    Ok(File::open(folder.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all())?)
}

/// Reads a small file with a secret. On Unix one that its group or others may touch is refused.
pub(crate) fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let file = File::open(path)?;
    check_private(&file)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_KEY_FILE as usize + 1));
    file.take(MAX_KEY_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_KEY_FILE {
        return Err(KeyError::Pkcs8("the file is too long".into()));
    }
    Ok(bytes)
}

impl Signer for Ed25519Key {
    fn public_key(&self) -> PublicKey {
        self.public
    }

    fn sign(&self, msg: &[u8]) -> Result<[u8; SIGNATURE_LEN], SignError> {
        Ok(self.pair.sign(msg))
    }
}

impl fmt::Debug for Ed25519Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ed25519Key({:?})", self.public)
    }
}

#[cfg(unix)]
fn check_private(file: &File) -> Result<(), KeyError> {
    let meta = file.metadata()?;
    if meta.is_dir() {
        // What is wrong with it is not its mode.
        return Err(std::io::Error::from(std::io::ErrorKind::IsADirectory).into());
    }
    let mode = std::os::unix::fs::MetadataExt::mode(&meta) & 0o777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(KeyError::Permissions { mode }) }
}

#[cfg(not(unix))]
fn check_private(_file: &File) -> Result<(), KeyError> {
    Ok(())
}

#[cfg(test)]
mod tests;
