//! X.509 certificates and revocation lists (RFC 5280) for chains that are no TSA's: those of TEE vendors.
//!
//! The reader is the one of [`crate::rfc3161`]: what is signed is never re-encoded, signatures are ECDSA on P-256 or P-384
//! or RSA (PKCS#1 v1.5, PSS). Which certificates make a path, and at what time, is the caller's to say.

use ::der::asn1::ObjectIdentifier;

use crate::rfc3161::TokenError;
use crate::rfc3161::certificate as inner;
use crate::rfc3161::chain::pem_blocks;
use crate::rfc3161::der::{SEQUENCE, Value};

/// Why bytes are no certificate, or one that may not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct X509Error(String);

impl From<TokenError> for X509Error {
    fn from(error: TokenError) -> Self {
        X509Error(match error {
            TokenError::Malformed(what) => format!("malformed {what}"),
            TokenError::Refused(why) => why.to_owned(),
            other => other.to_string(),
        })
    }
}

/// A certificate taken apart. Parsing proves nothing.
#[derive(Clone)]
pub struct Certificate<'a>(inner::Certificate<'a>);

impl<'a> Certificate<'a> {
    /// Reads DER, and nothing behind it.
    ///
    /// # Errors
    /// When it is no certificate.
    pub fn parse(der: &'a [u8]) -> Result<Certificate<'a>, X509Error> {
        Ok(Certificate(inner::Certificate::parse(der)?))
    }

    /// All of it, DER.
    pub fn raw(&self) -> &'a [u8] {
        self.0.raw
    }

    /// The subject's common name, else its organisation, else nothing. As typed there, unescaped.
    pub fn name(&self) -> String {
        self.0.name()
    }

    /// The subject's name, DER.
    pub fn subject(&self) -> &'a [u8] {
        self.0.subject
    }

    /// The issuer's name, DER.
    pub fn issuer(&self) -> &'a [u8] {
        self.0.issuer
    }

    /// First and last second of its validity, since the epoch.
    pub fn validity(&self) -> (u64, u64) {
        (self.0.not_before, self.0.not_after)
    }

    /// Contents of the extension with this dotted number. Every extension stands there once.
    pub fn extension(&self, oid: &str) -> Option<&'a [u8]> {
        self.0.extension_value(ObjectIdentifier::new(oid).ok()?)
    }

    /// The SubjectPublicKeyInfo, DER.
    pub fn spki(&self) -> &'a [u8] {
        self.0.spki
    }

    /// The public key as its bit string holds it: a point (SEC 1) or an `RSAPublicKey`.
    ///
    /// # Errors
    /// When the SubjectPublicKeyInfo is none.
    pub fn key(&self) -> Result<&'a [u8], X509Error> {
        const WHAT: &str = "public key";
        let mut walk = Value::only(self.0.spki, SEQUENCE, WHAT)?.inside(WHAT)?;
        walk.next(SEQUENCE)?;
        let key = walk.bits()?;
        walk.end()?;
        Ok(key)
    }

    /// Whether `issuer`'s key signed it, as their names say.
    pub fn is_issued_by(&self, issuer: &Certificate<'_>) -> bool {
        self.0.issuer == issuer.0.subject && self.0.is_signed_by(&issuer.0)
    }

    /// Refuses a certificate that may not issue others, with `below` authorities between it and the leaf.
    ///
    /// # Errors
    /// With the reason.
    pub fn check_issuer(&self, below: usize) -> Result<(), X509Error> {
        Ok(self.0.check_issuer(below)?)
    }

    /// Refuses a critical extension that nobody here understands.
    ///
    /// # Errors
    /// When there is one.
    pub fn check_critical(&self) -> Result<(), X509Error> {
        Ok(self.0.check_critical()?)
    }
}

/// A revocation list taken apart.
pub struct Crl<'a>(inner::Crl<'a>);

impl<'a> Crl<'a> {
    /// Reads DER, and nothing behind it.
    ///
    /// # Errors
    /// When it is no revocation list.
    pub fn parse(der: &'a [u8]) -> Result<Crl<'a>, X509Error> {
        Ok(Crl(inner::Crl::parse(der)?))
    }

    /// Whether `issuer` signed this list, about all of its certificates.
    pub fn is_by(&self, issuer: &Certificate<'_>) -> bool {
        self.0.is_by(&issuer.0)
    }

    /// Whether it is still the newest one at `time`, seconds since the epoch.
    pub fn covers(&self, time: u64) -> bool {
        self.0.covers(time.saturating_mul(1_000_000))
    }

    /// Whether it revokes `certificate`, whatever the reason and the time.
    ///
    /// # Errors
    /// When an entry cannot be read.
    pub fn revokes(&self, certificate: &Certificate<'_>) -> Result<bool, X509Error> {
        Ok(self.0.revokes(&certificate.0, u64::MAX)?)
    }
}

/// The certificates of a PEM file, DER each.
///
/// # Errors
/// When it is no PEM.
pub fn certificates(pem: &str) -> Result<Vec<Vec<u8>>, X509Error> {
    blocks(pem, "CERTIFICATE")
}

/// The revocation lists of a PEM file, DER each.
///
/// # Errors
/// When it is no PEM.
pub fn crls(pem: &str) -> Result<Vec<Vec<u8>>, X509Error> {
    blocks(pem, "X509 CRL")
}

fn blocks(pem: &str, wanted: &str) -> Result<Vec<Vec<u8>>, X509Error> {
    let blocks = pem_blocks(pem).map_err(|why| X509Error(format!("not PEM: {why}")))?;
    Ok(blocks.into_iter().filter(|(label, _)| *label == wanted).map(|(_, contents)| contents).collect())
}
