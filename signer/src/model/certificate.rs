//! A certificate's file: a Sigstore bundle (version 0.3) around a DSSE envelope around an in-toto Statement.
//!
//! What identifies a certificate is the SHA-256 of the signed statement: around it, a bundle has many spellings.

use colophon_receipt::merkle::{Hash, sha256};
use serde::{Deserialize, Serialize};

use super::circuit::Circuit;
use super::manifest::{Manifest, ManifestError};
use crate::dsse::{Envelope, IN_TOTO, Signature, pae};
use crate::ec::{EcError, EcKey, EcPublicKey};

/// A certificate's file is never longer.
pub const MAX_BYTES: usize = 32 << 20;
/// Names, versions and issuers are not longer, in bytes.
pub const MAX_TEXT: usize = 256;
/// A certificate does not name more circuits.
pub const MAX_CIRCUITS: usize = 64;

const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
const PREDICATE: &str = "https://model_signing/signature/v1.0";
const TERMS: &str = "colophon-model-certificate-v1";

/// What Colophon adds to a Model Signing signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    format: String,
    /// The model's name.
    pub name: String,
    /// Which of that name.
    pub version: String,
    /// The authority's name.
    pub issuer: String,
    /// Valid from then on, µs since the epoch.
    pub not_before: u64,
    /// Valid until then, µs.
    pub not_after: u64,
    /// Circuits of the model: a proof about it has to be under one of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub circuits: Vec<Circuit>,
    /// What evidence of machines that run this model has to say: the `spec` of an attestation policy, which is only carried
    /// here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attestation: Option<serde_json::Value>,
}

/// Why a file is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// Longer than [`MAX_BYTES`].
    #[error("larger than {MAX_BYTES} bytes")]
    TooLarge,
    /// Nothing in it.
    #[error("the file is empty")]
    Empty,
    /// Not JSON, or not of a bundle's or statement's shape.
    #[error("not a model certificate: {0}")]
    Json(#[from] serde_json::Error),
    /// Another kind of bundle, statement or predicate, or one that cannot be checked here.
    #[error("not a model certificate: {0}")]
    Kind(String),
    /// Its list of files is none.
    #[error("its manifest: {0}")]
    Manifest(#[from] ManifestError),
    /// The statement's own digest is not that of its files.
    #[error("its digests do not lead to the digest that it states")]
    Root,
    /// What Colophon adds is out of bounds.
    #[error("its terms: {0}")]
    Terms(&'static str),
    /// The key cannot be used.
    #[error(transparent)]
    Key(#[from] EcError),
}

/// A certificate, read but not yet believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelCertificate {
    envelope: Envelope,
    hint: Option<String>,
    /// What the statement calls the model; only for people.
    pub subject: String,
    /// Its files.
    pub manifest: Manifest,
    /// Name, version, issuer and validity; a signature that another program made has none.
    pub terms: Option<Terms>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    media_type: String,
    verification_material: Material,
    dsse_envelope: Envelope,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Material {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    public_key: Option<KeyHint>,
    #[serde(default)]
    tlog_entries: Vec<serde_json::Value>,
}

#[derive(Serialize, Deserialize)]
struct KeyHint {
    #[serde(default)]
    hint: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Subject>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    predicate: Predicate,
}

#[derive(Serialize, Deserialize)]
struct Subject {
    name: String,
    digest: Sha256Digest,
}

#[derive(Serialize, Deserialize)]
struct Sha256Digest {
    sha256: String,
}

#[derive(Serialize, Deserialize)]
struct Predicate {
    serialization: Serialization,
    resources: Vec<Resource>,
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "colophon")]
    terms: Option<Terms>,
}

#[derive(Serialize, Deserialize)]
struct Serialization {
    method: String,
    hash_type: String,
    allow_symlinks: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ignore_paths: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Resource {
    name: String,
    algorithm: String,
    digest: String,
}

impl Terms {
    /// The terms of a new certificate, times in µs since the epoch.
    ///
    /// # Errors
    /// [`CertificateError::Terms`]: something is empty or too long, or it would end before it begins.
    pub fn new(
        name: &str,
        version: &str,
        issuer: &str,
        not_before: u64,
        not_after: u64,
    ) -> Result<Terms, CertificateError> {
        let terms = Terms {
            format: TERMS.into(),
            name: name.into(),
            version: version.into(),
            issuer: issuer.into(),
            not_before,
            not_after,
            circuits: Vec::new(),
            attestation: None,
        };
        terms.check()?;
        Ok(terms)
    }

    /// The same with circuits of the model.
    ///
    /// # Errors
    /// [`CertificateError::Terms`]: one of them is none, is there twice, or they are too many.
    pub fn with_circuits(self, circuits: Vec<Circuit>) -> Result<Terms, CertificateError> {
        let terms = Terms { circuits, ..self };
        terms.check()?;
        Ok(terms)
    }

    /// The same with what evidence of machines that run the model has to say: an object, the `spec` of an attestation policy.
    #[must_use]
    pub fn with_attestation(self, spec: Option<serde_json::Value>) -> Terms {
        Terms { attestation: spec, ..self }
    }

    fn check(&self) -> Result<(), CertificateError> {
        let twice = |(at, circuit): (usize, &Circuit)| {
            self.circuits.iter().take(at).any(|known| known.circuit == circuit.circuit)
        };
        let long = |text: &String| text.is_empty() || text.len() > MAX_TEXT;
        match () {
            () if self.format != TERMS => Err(CertificateError::Terms("of another format or version")),
            () if [&self.name, &self.version, &self.issuer].into_iter().any(long) => {
                Err(CertificateError::Terms("name, version and issuer have 1 to 256 bytes"))
            }
            () if self.not_after <= self.not_before => {
                Err(CertificateError::Terms("the validity ends before it begins"))
            }
            () if self.circuits.len() > MAX_CIRCUITS => Err(CertificateError::Terms("more than 64 circuits")),
            () if !self.circuits.iter().all(Circuit::is_sound) => Err(CertificateError::Terms(
                "a circuit has texts of 1 to 256 bytes and SHA-256 digests in lower-case hexadecimal",
            )),
            () if self.circuits.iter().enumerate().any(twice) => {
                Err(CertificateError::Terms("one circuit is there twice"))
            }
            () if self.attestation.as_ref().is_some_and(|spec| !spec.is_object()) => {
                Err(CertificateError::Terms("attestation is an object: the spec of an attestation policy"))
            }
            () => Ok(()),
        }
    }
}

impl ModelCertificate {
    /// Makes one; gives the file's bytes.
    ///
    /// # Errors
    /// When it would be larger than a certificate may be.
    pub fn issue(manifest: &Manifest, terms: Terms, key: &EcKey) -> Result<Vec<u8>, CertificateError> {
        terms.check()?;
        let resource = |(name, digest): &(String, Hash)| Resource {
            name: name.clone(),
            algorithm: "sha256".into(),
            digest: hex::encode(digest),
        };
        let subject = Subject {
            name: terms.name.clone(),
            digest: Sha256Digest { sha256: hex::encode(manifest.root()) },
        };
        let statement = Statement {
            kind: STATEMENT.into(),
            subject: vec![subject],
            predicate_type: PREDICATE.into(),
            predicate: Predicate {
                serialization: Serialization {
                    method: "files".into(),
                    hash_type: "sha256".into(),
                    allow_symlinks: manifest.symlinks,
                    ignore_paths: manifest.ignored.clone(),
                },
                resources: manifest.files().iter().map(resource).collect(),
                terms: Some(terms),
            },
        };
        let payload = serde_json::to_vec(&statement)?;
        let signature = Signature { sig: key.sign(&pae(IN_TOTO, &payload)), keyid: String::new() };
        let bundle = Bundle {
            media_type: BUNDLE.into(),
            verification_material: Material {
                public_key: Some(KeyHint { hint: Some(hex::encode(key.public_key()?.id())) }),
                tlog_entries: Vec::new(),
            },
            dsse_envelope: Envelope { payload, payload_type: IN_TOTO.into(), signatures: vec![signature] },
        };
        let mut file = serde_json::to_vec(&bundle)?;
        file.push(b'\n');
        if file.len() > MAX_BYTES {
            return Err(CertificateError::TooLarge);
        }
        Ok(file)
    }

    /// Reads a file. Its signature is not looked at: [`verify`](ModelCertificate::verify).
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn parse(file: &[u8]) -> Result<ModelCertificate, CertificateError> {
        match file.len() {
            0 => return Err(CertificateError::Empty),
            n if n > MAX_BYTES => return Err(CertificateError::TooLarge),
            _ => {}
        }
        let kind = |what: &str| Err(CertificateError::Kind(what.to_owned()));
        let bundle: Bundle = serde_json::from_slice(file)?;
        if bundle.media_type != BUNDLE {
            return kind("no Sigstore bundle of version 0.3");
        }
        let Some(key) = bundle.verification_material.public_key else {
            return kind("it is signed with Sigstore or an X.509 certificate; only plain keys are read here");
        };
        let envelope = bundle.dsse_envelope;
        if envelope.payload_type != IN_TOTO {
            return kind("its envelope has no in-toto statement");
        }
        let statement: Statement = serde_json::from_slice(&envelope.payload)?;
        if statement.kind != STATEMENT || statement.predicate_type != PREDICATE {
            return kind("its statement is not of OpenSSF Model Signing 1.0");
        }
        let [subject] = statement.subject.as_slice() else {
            return kind("it has more or less than one subject");
        };
        let Predicate { serialization, resources, terms } = statement.predicate;
        if serialization.method != "files" || serialization.hash_type != "sha256" {
            return kind("its manifest is by shards, or not of SHA-256; sign by files with SHA-256");
        }
        let mut files = Vec::with_capacity(resources.len());
        for resource in resources {
            let digest = hex::decode(&resource.digest).ok().and_then(|bytes| Hash::try_from(bytes).ok());
            match digest {
                Some(digest) if resource.algorithm == "sha256" => files.push((resource.name, digest)),
                _ => return kind("a digest in it is no SHA-256"),
            }
        }
        let manifest = Manifest::listed(files, serialization.ignore_paths, serialization.allow_symlinks)?;
        if hex::encode(manifest.root()) != subject.digest.sha256 {
            return Err(CertificateError::Root);
        }
        terms.as_ref().map_or(Ok(()), Terms::check)?;
        Ok(ModelCertificate { subject: subject.name.clone(), hint: key.hint, manifest, terms, envelope })
    }

    /// What it says of the circuit with this verifying key (SHA-256, lower-case hexadecimal).
    pub fn circuit(&self, verifying_key: &str) -> Option<&Circuit> {
        self.terms.as_ref()?.circuits.iter().find(|known| known.circuit == verifying_key)
    }

    /// What records and revocations call it: SHA-256 of the signed statement.
    pub fn digest(&self) -> Hash {
        sha256(&self.envelope.payload)
    }

    /// The model's name: that of the terms, or what the statement calls it.
    pub fn name(&self) -> &str {
        self.terms.as_ref().map_or(&self.subject, |terms| &terms.name)
    }

    /// Whether its hint, if it has one, is at this key.
    pub fn hints_at(&self, key: &EcPublicKey) -> bool {
        self.hint.as_deref().is_none_or(|hint| hint.is_empty() || hint == hex::encode(key.id()))
    }

    /// Verifies its signature: the first, as Model Signing does.
    ///
    /// # Errors
    /// [`EcError::Signature`].
    pub fn verify(&self, key: &EcPublicKey) -> Result<(), EcError> {
        let signature = self.envelope.signatures.first().ok_or(EcError::Signature)?;
        key.verify(&self.envelope.message(), &signature.sig)
    }
}

#[cfg(test)]
mod tests;
