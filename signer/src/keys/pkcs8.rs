//! Private keys as PKCS#8 (RFC 5958, RFC 8410), and in words what is in the way of reading one.

use ed25519_dalek::pkcs8::spki::ObjectIdentifier;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, KeypairBytes, PrivateKeyInfoRef};

use super::{Ed25519Key, KeyError};

/// Algorithms that people have keys of, by object identifier.
const OTHERS: [(&str, &str); 5] = [
    ("1.2.840.113549.1.1.1", "RSA"),
    ("1.2.840.10045.2.1", "ECDSA (a NIST or other Weierstrass curve)"),
    ("1.3.101.110", "X25519"),
    ("1.3.101.113", "Ed448"),
    ("1.2.840.10040.4.1", "DSA"),
];

/// What stands in the first line of a PEM that is not PKCS#8, and what it means.
const LABELS: [(&str, &str); 6] = [
    (
        "BEGIN ENCRYPTED PRIVATE KEY",
        "it is encrypted with a passphrase, which a service that starts alone cannot type. Decrypt it into a file of \
         mode 0600 (openssl pkey -in KEY -out NEW), or keep the key in a PKCS#11 token",
    ),
    ("BEGIN RSA PRIVATE KEY", "it is an RSA key; an Ed25519 key is needed (colophon key generate)"),
    ("BEGIN EC PRIVATE KEY", "it is an ECDSA key; an Ed25519 key is needed (colophon key generate)"),
    ("BEGIN OPENSSH PRIVATE KEY", "it is in OpenSSH's own form; PKCS#8 is needed (colophon key generate)"),
    ("BEGIN CERTIFICATE", "it is a certificate, not a private key"),
    ("BEGIN PUBLIC KEY", "it is a public key; the private one is needed"),
];

pub(super) fn from_pem(pem: &str) -> Result<Ed25519Key, KeyError> {
    if let Some((_, why)) = LABELS.iter().find(|(label, _)| pem.contains(label)) {
        return Err(KeyError::Pkcs8((*why).to_owned()));
    }
    if pem.contains("-----BEGIN PRIVATE KEY-----") && !pem.contains("-----END PRIVATE KEY-----") {
        return Err(KeyError::Pkcs8("it has no line -----END PRIVATE KEY-----: was it cut off?".into()));
    }
    match KeypairBytes::from_pkcs8_pem(pem) {
        Ok(bytes) => checked(bytes),
        Err(e) => Err(KeyError::Pkcs8(match der_of(pem).as_deref().and_then(other_algorithm) {
            Some(why) => why,
            None => e.to_string(),
        })),
    }
}

pub(super) fn from_der(der: &[u8]) -> Result<Ed25519Key, KeyError> {
    match KeypairBytes::from_pkcs8_der(der) {
        Ok(bytes) => checked(bytes),
        Err(e) => Err(KeyError::Pkcs8(other_algorithm(der).unwrap_or_else(|| e.to_string()))),
    }
}

fn checked(bytes: KeypairBytes) -> Result<Ed25519Key, KeyError> {
    let key = Ed25519Key::from_seed(&bytes.secret_key)?;
    match &bytes.public_key {
        Some(public) if public.to_bytes() != key.public.0 => Err(KeyError::PublicKeyMismatch),
        _ => Ok(key),
    }
}

fn der_of(pem: &str) -> Option<zeroize::Zeroizing<Vec<u8>>> {
    let (_, der) = ed25519_dalek::pkcs8::spki::der::pem::decode_vec(pem.as_bytes()).ok()?;
    Some(zeroize::Zeroizing::new(der))
}

/// Whose key it is, if it is PKCS#8 of another algorithm.
fn other_algorithm(der: impl AsRef<[u8]>) -> Option<String> {
    let info = PrivateKeyInfoRef::try_from(der.as_ref()).ok()?;
    let oid: ObjectIdentifier = info.algorithm.oid;
    let text = oid.to_string();
    if text == "1.3.101.112" {
        return None;
    }
    let name = OTHERS.iter().find(|(number, _)| *number == text).map_or(text.as_str(), |(_, name)| name);
    Some(format!("it is an {name} key; an Ed25519 key is needed (colophon key generate)"))
}
