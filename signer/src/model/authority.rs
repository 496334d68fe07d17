//! Who certifies models: a name, keys, and what was taken back. One JSON file, which readers pin.

use colophon_receipt::merkle::Hash;
use colophon_receipt::revocation::Reason;
use serde::{Deserialize, Serialize};

use super::certificate::{MAX_TEXT, ModelCertificate};
use crate::dsse::{Envelope, Signature, pae};
use crate::ec::{EcError, EcKey, EcPublicKey};

/// An authority's file is never longer.
pub const MAX_BYTES: usize = 4 << 20;

const FORMAT: &str = "colophon-model-authority-v1";
const REVOCATION: &str = "application/vnd.colophon.model-revocation+json";
const REVOCATION_FORMAT: &str = "colophon-model-revocation-v1";

/// An authority as its file has it, the signatures in it not yet checked: `Authority::try_from`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthorityFile {
    format: String,
    name: String,
    /// PEM, each.
    keys: Vec<String>,
    /// Verifier key of the log in which it publishes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    log: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    revocations: Vec<Envelope>,
}

/// An authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    file: AuthorityFile,
    keys: Vec<EcPublicKey>,
    revocations: Vec<ModelRevocation>,
}

/// An authority's word that a certificate counts no longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelRevocation {
    /// The certificate's digest.
    pub certificate: Hash,
    /// Why.
    pub reason: Reason,
    /// When this was said, µs since the epoch.
    pub at: u64,
    /// From when on it does not count, µs; not after `at`.
    pub from: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RevocationText {
    format: String,
    certificate: String,
    reason: String,
    at: u64,
    from: u64,
}

/// What an authority's file and a time make of a certificate that the authority signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It counts.
    Good,
    /// It counts only from then on, µs.
    NotYet(u64),
    /// It counted until then, µs.
    Expired(u64),
    /// It was taken back.
    Revoked(ModelRevocation),
    /// It states no validity: a signature of another program, which never expires.
    Timeless,
}

impl Standing {
    /// Whether the certificate counts.
    pub fn is_good(&self) -> bool {
        matches!(self, Standing::Good | Standing::Timeless)
    }
}

/// Why a file is no authority's, or a certificate not by this one.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// Longer than [`MAX_BYTES`].
    #[error("larger than {MAX_BYTES} bytes")]
    TooLarge,
    /// Not JSON, or not of this shape.
    #[error("not a model authority's file: {0}")]
    Json(#[from] serde_json::Error),
    /// Another format or version.
    #[error("not a model authority's file: its format is not {FORMAT}")]
    Format,
    /// No name, or one that is too long.
    #[error("an authority's name has 1 to {MAX_TEXT} bytes")]
    Name,
    /// No key, or one that is none.
    #[error("keys[{0}]: {1}")]
    Key(usize, EcError),
    /// It names no key.
    #[error("it names no key")]
    NoKey,
    /// A revocation that this authority did not sign, or that says nothing.
    #[error("revocations[{0}]: {1}")]
    Revocation(usize, &'static str),
    /// No key of this authority signed the certificate.
    #[error("no key of {0:?} signed this certificate, or it was altered")]
    NotSigned(String),
    /// The certificate says that somebody else issued it.
    #[error("it says that {0:?} issued it, but a key of {1:?} signed it")]
    Issuer(String, String),
}

impl Authority {
    /// A new authority with one key.
    ///
    /// # Errors
    /// [`AuthorityError::Name`].
    pub fn new(name: &str, key: &EcPublicKey) -> Result<Authority, AuthorityError> {
        Authority::try_from(AuthorityFile {
            format: FORMAT.into(),
            name: name.into(),
            keys: vec![key.to_pem().to_owned()],
            log: None,
            revocations: Vec::new(),
        })
    }

    /// Reads its file.
    ///
    /// # Errors
    /// [`AuthorityError`]; one bad revocation spoils the file, since what it would take back is not known.
    pub fn from_json(file: &[u8]) -> Result<Authority, AuthorityError> {
        if file.len() > MAX_BYTES {
            return Err(AuthorityError::TooLarge);
        }
        Authority::try_from(serde_json::from_slice::<AuthorityFile>(file)?)
    }

    /// Its file.
    ///
    /// # Errors
    /// When it would be longer than it may be.
    pub fn to_json(&self) -> Result<Vec<u8>, AuthorityError> {
        let mut file = serde_json::to_vec_pretty(&self.file)?;
        file.push(b'\n');
        if file.len() > MAX_BYTES { Err(AuthorityError::TooLarge) } else { Ok(file) }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.file.name
    }

    /// Its keys.
    pub fn keys(&self) -> &[EcPublicKey] {
        &self.keys
    }

    /// The verifier key of the log in which it publishes, as its file has it.
    pub fn log(&self) -> Option<&str> {
        self.file.log.as_deref()
    }

    /// Names the log in which it publishes.
    pub fn set_log(&mut self, vkey: &str) {
        self.file.log = Some(vkey.to_owned());
    }

    /// What it took back.
    pub fn revocations(&self) -> &[ModelRevocation] {
        &self.revocations
    }

    /// Takes a certificate back, by one of its keys.
    ///
    /// # Errors
    /// When the key is not one of this authority's.
    pub fn revoke(&mut self, revocation: ModelRevocation, key: &EcKey) -> Result<(), AuthorityError> {
        let text = RevocationText {
            format: REVOCATION_FORMAT.into(),
            certificate: hex::encode(revocation.certificate),
            reason: revocation.reason.as_str().into(),
            at: revocation.at,
            from: revocation.from,
        };
        let payload = serde_json::to_vec(&text)?;
        let signature = Signature { sig: key.sign(&pae(REVOCATION, &payload)), keyid: String::new() };
        let envelope = Envelope { payload, payload_type: REVOCATION.into(), signatures: vec![signature] };
        let number = self.revocations.len();
        let read =
            read_revocation(&envelope, &self.keys).map_err(|why| AuthorityError::Revocation(number, why))?;
        self.revocations.push(read);
        self.file.revocations.push(envelope);
        Ok(())
    }

    /// Whether this authority signed a certificate, and issued it by the certificate's own words.
    ///
    /// # Errors
    /// [`AuthorityError::NotSigned`], [`AuthorityError::Issuer`].
    pub fn signed(&self, certificate: &ModelCertificate) -> Result<(), AuthorityError> {
        if !self.keys.iter().any(|key| certificate.verify(key).is_ok()) {
            return Err(AuthorityError::NotSigned(self.file.name.clone()));
        }
        match &certificate.terms {
            Some(terms) if terms.issuer != self.file.name => {
                Err(AuthorityError::Issuer(terms.issuer.clone(), self.file.name.clone()))
            }
            _ => Ok(()),
        }
    }

    /// How a certificate that it [signed](Authority::signed) stands at a time, µs since the epoch. Of several revocations
    /// the one that takes effect first counts.
    pub fn standing(&self, certificate: &ModelCertificate, at: u64) -> Standing {
        let digest = certificate.digest();
        let revoked = self.revocations.iter().filter(|revocation| revocation.certificate == digest);
        match (revoked.min_by_key(|revocation| revocation.from), &certificate.terms) {
            (Some(revocation), _) if revocation.from <= at => Standing::Revoked(revocation.clone()),
            (_, None) => Standing::Timeless,
            (_, Some(terms)) if at < terms.not_before => Standing::NotYet(terms.not_before),
            (_, Some(terms)) if at > terms.not_after => Standing::Expired(terms.not_after),
            _ => Standing::Good,
        }
    }

    /// The revocation of a certificate that takes effect first.
    pub fn revocation(&self, certificate: &Hash) -> Option<&ModelRevocation> {
        let all = self.revocations.iter().filter(|revocation| revocation.certificate == *certificate);
        all.min_by_key(|revocation| revocation.from)
    }
}

impl TryFrom<AuthorityFile> for Authority {
    type Error = AuthorityError;

    fn try_from(file: AuthorityFile) -> Result<Authority, AuthorityError> {
        if file.format != FORMAT {
            return Err(AuthorityError::Format);
        }
        if file.name.is_empty() || file.name.len() > MAX_TEXT {
            return Err(AuthorityError::Name);
        }
        let mut keys = Vec::with_capacity(file.keys.len());
        for (number, pem) in file.keys.iter().enumerate() {
            keys.push(EcPublicKey::from_pem(pem).map_err(|why| AuthorityError::Key(number, why))?);
        }
        if keys.is_empty() {
            return Err(AuthorityError::NoKey);
        }
        let mut revocations = Vec::with_capacity(file.revocations.len());
        for (number, envelope) in file.revocations.iter().enumerate() {
            let read = read_revocation(envelope, &keys);
            revocations.push(read.map_err(|why| AuthorityError::Revocation(number, why))?);
        }
        Ok(Authority { file, keys, revocations })
    }
}

fn read_revocation(envelope: &Envelope, keys: &[EcPublicKey]) -> Result<ModelRevocation, &'static str> {
    if envelope.payload_type != REVOCATION {
        return Err("no revocation is in it");
    }
    let message = envelope.message();
    let by = |key: &EcPublicKey| envelope.signatures.iter().any(|by| key.verify(&message, &by.sig).is_ok());
    if !keys.iter().any(by) {
        return Err("no key of this authority signed it");
    }
    let text: RevocationText = serde_json::from_slice(&envelope.payload).map_err(|_| "it is malformed")?;
    let certificate = hex::decode(&text.certificate).ok().and_then(|bytes| Hash::try_from(bytes).ok());
    match (certificate, text.reason.parse::<Reason>()) {
        (Some(certificate), Ok(reason)) if text.format == REVOCATION_FORMAT && text.from <= text.at => {
            Ok(ModelRevocation { certificate, reason, at: text.at, from: text.from })
        }
        _ => Err("it is malformed"),
    }
}
