//! The signature algorithms of TSAs: ECDSA on P-256 and P-384, RSA (PKCS#1 v1.5 and PSS), with SHA-256, -384 or -512.

use ::der::asn1::ObjectIdentifier;
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use rsa::{BoxedUint, Pkcs1v15Sign, Pss, RsaPublicKey};
use sha2::{Digest, Sha256, Sha384, Sha512};

use super::TokenError;
use super::der::{INTEGER, NULL, OID, SEQUENCE, Value, Walk, context, magnitude};

const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");
const SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3");
const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const ECDSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
const ECDSA_SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.4");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const RSA_MGF1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.8");
const RSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const RSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");
const RSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.12");
const RSA_SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.13");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");

/// RSA moduli of TSAs, in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// The hashes that count. SHA-1 is read in one place only, where RFC 2634 fixes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    /// The hash of an `AlgorithmIdentifier`.
    pub(super) fn of_algorithm(algorithm: Value<'_>) -> Result<Hash, TokenError> {
        let (oid, parameters) = identifier(algorithm)?;
        if !absent_or_null(parameters) {
            return Err(TokenError::Malformed("parameters of a hash"));
        }
        match oid {
            SHA256 => Ok(Hash::Sha256),
            SHA384 => Ok(Hash::Sha384),
            SHA512 => Ok(Hash::Sha512),
            _ => Err(TokenError::Refused("a hash that is not SHA-256, SHA-384 or SHA-512")),
        }
    }

    pub(super) fn digest(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Hash::Sha256 => Sha256::digest(bytes).to_vec(),
            Hash::Sha384 => Sha384::digest(bytes).to_vec(),
            Hash::Sha512 => Sha512::digest(bytes).to_vec(),
        }
    }

    fn len(self) -> usize {
        match self {
            Hash::Sha256 => 32,
            Hash::Sha384 => 48,
            Hash::Sha512 => 64,
        }
    }
}

/// How a signature is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Ecdsa(Hash),
    Pkcs1(Hash),
    Pss(Hash, usize),
}

impl Scheme {
    /// Reads an `AlgorithmIdentifier`. CMS may say `rsaEncryption` and leave the hash to `digest`, its digest algorithm.
    pub(super) fn parse(algorithm: Value<'_>, digest: Option<Hash>) -> Result<Scheme, TokenError> {
        let (oid, parameters) = identifier(algorithm)?;
        let scheme = match (oid, digest) {
            (ECDSA_SHA256, _) => Scheme::Ecdsa(Hash::Sha256),
            (ECDSA_SHA384, _) => Scheme::Ecdsa(Hash::Sha384),
            (ECDSA_SHA512, _) => Scheme::Ecdsa(Hash::Sha512),
            (RSA_SHA256, _) => Scheme::Pkcs1(Hash::Sha256),
            (RSA_SHA384, _) => Scheme::Pkcs1(Hash::Sha384),
            (RSA_SHA512, _) => Scheme::Pkcs1(Hash::Sha512),
            (RSA, Some(digest)) => Scheme::Pkcs1(digest),
            (RSA_PSS, _) => return pss(parameters),
            _ => return Err(TokenError::Refused("a signature algorithm that this program does not accept")),
        };
        if !absent_or_null(parameters) {
            return Err(TokenError::Malformed("parameters of a signature algorithm"));
        }
        Ok(scheme)
    }

    /// The hash over the message.
    pub(super) fn hash(self) -> Hash {
        match self {
            Scheme::Ecdsa(hash) | Scheme::Pkcs1(hash) | Scheme::Pss(hash, _) => hash,
        }
    }

    /// Verifies `signature` over `message` by the key in `spki`, a `SubjectPublicKeyInfo`.
    pub(super) fn verify(self, spki: &[u8], message: &[u8], signature: &[u8]) -> Result<(), TokenError> {
        let (oid, parameters, key) = public_key(spki)?;
        let hashed = self.hash().digest(message);
        let bad = TokenError::Signature;
        match (self, oid) {
            (Scheme::Ecdsa(_), EC_PUBLIC_KEY) => {
                let curve = parameters.filter(|curve| curve.tag == OID);
                let mut curve = Walk::new(curve.map_or(&[][..], |curve| curve.raw), "curve")?;
                match curve.oid()? {
                    P256 => {
                        let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(key).map_err(|_| bad.clone())?;
                        let signature =
                            p256::ecdsa::Signature::from_der(signature).map_err(|_| bad.clone())?;
                        key.verify_prehash(&hashed, &signature).map_err(|_| bad)
                    }
                    P384 => {
                        let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(key).map_err(|_| bad.clone())?;
                        let signature =
                            p384::ecdsa::Signature::from_der(signature).map_err(|_| bad.clone())?;
                        key.verify_prehash(&hashed, &signature).map_err(|_| bad)
                    }
                    _ => Err(TokenError::Refused("an elliptic curve other than P-256 and P-384")),
                }
            }
            (Scheme::Pkcs1(hash), RSA) => {
                let scheme = match hash {
                    Hash::Sha256 => Pkcs1v15Sign::new::<Sha256>(),
                    Hash::Sha384 => Pkcs1v15Sign::new::<Sha384>(),
                    Hash::Sha512 => Pkcs1v15Sign::new::<Sha512>(),
                };
                rsa_key(key)?.verify(scheme, &hashed, signature).map_err(|_| bad)
            }
            (Scheme::Pss(hash, salt), RSA | RSA_PSS) => {
                let key = rsa_key(key)?;
                let verified = match hash {
                    Hash::Sha256 => key.verify(Pss::<Sha256>::new_with_salt(salt), &hashed, signature),
                    Hash::Sha384 => key.verify(Pss::<Sha384>::new_with_salt(salt), &hashed, signature),
                    Hash::Sha512 => key.verify(Pss::<Sha512>::new_with_salt(salt), &hashed, signature),
                };
                verified.map_err(|_| bad)
            }
            _ => Err(TokenError::Refused("a signature algorithm that does not fit the key")),
        }
    }
}

/// Algorithm, its parameters and the key of a `SubjectPublicKeyInfo`.
fn public_key(spki: &[u8]) -> Result<(ObjectIdentifier, Option<Value<'_>>, &[u8]), TokenError> {
    let mut walk = Value::only(spki, SEQUENCE, "public key")?.inside("public key")?;
    let (oid, parameters) = identifier(walk.next(SEQUENCE)?)?;
    let key = walk.bits()?;
    walk.end()?;
    Ok((oid, parameters, key))
}

/// `RSAPublicKey { modulus, publicExponent }`.
fn rsa_key(key: &[u8]) -> Result<RsaPublicKey, TokenError> {
    let malformed = || TokenError::Malformed("RSA key");
    let mut walk = Value::only(key, SEQUENCE, "RSA key")?.inside("RSA key")?;
    let modulus = magnitude(walk.next(INTEGER)?.contents).ok_or_else(malformed)?;
    let exponent = magnitude(walk.next(INTEGER)?.contents).ok_or_else(malformed)?;
    walk.end()?;
    let bits = modulus.len() * 8 - modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
    if !RSA_BITS.contains(&bits) {
        return Err(TokenError::Refused("an RSA key of less than 2048 or more than 8192 bits"));
    }
    let key = RsaPublicKey::new(
        BoxedUint::from_be_slice_vartime(modulus),
        BoxedUint::from_be_slice_vartime(exponent),
    );
    key.map_err(|_| malformed())
}

/// `RSASSA-PSS-params` (RFC 4055 section 3.1), one hash throughout.
fn pss(parameters: Option<Value<'_>>) -> Result<Scheme, TokenError> {
    const WHAT: &str = "RSASSA-PSS parameters";
    let refused = TokenError::Refused("RSASSA-PSS with SHA-1 or with two hashes");
    let mut walk = parameters.ok_or(refused.clone())?.inside(WHAT)?;
    let hash = walk.optional(context(0))?.ok_or(refused.clone())?;
    let hash = Hash::of_algorithm(Value::only(hash.contents, SEQUENCE, WHAT)?)?;
    let mask = walk.optional(context(1))?.ok_or(refused.clone())?;
    let (mask, mask_hash) = identifier(Value::only(mask.contents, SEQUENCE, WHAT)?)?;
    let mask_hash = Hash::of_algorithm(mask_hash.ok_or(refused.clone())?)?;
    let salt = match walk.optional(context(2))? {
        None => 20,
        Some(salt) => Walk::new(salt.contents, WHAT)?.uint()?,
    };
    if let Some(trailer) = walk.optional(context(3))?
        && Walk::new(trailer.contents, WHAT)?.uint()? != 1
    {
        return Err(TokenError::Malformed(WHAT));
    }
    walk.end()?;
    if mask != RSA_MGF1 || mask_hash != hash || salt > hash.len() as u64 {
        return Err(refused);
    }
    Ok(Scheme::Pss(hash, salt as usize))
}

/// `AlgorithmIdentifier { algorithm, parameters OPTIONAL }`.
fn identifier(algorithm: Value<'_>) -> Result<(ObjectIdentifier, Option<Value<'_>>), TokenError> {
    let what = "algorithm identifier";
    if algorithm.tag != SEQUENCE {
        return Err(TokenError::Malformed(what));
    }
    let mut walk = algorithm.inside(what)?;
    let oid = walk.oid()?;
    let parameters = if walk.is_at_end() { None } else { Some(walk.any()?) };
    walk.end()?;
    Ok((oid, parameters))
}

fn absent_or_null(parameters: Option<Value<'_>>) -> bool {
    parameters.is_none_or(|value| value.tag == NULL && value.contents.is_empty())
}
