//! The trust file: what the reader believes from the start, which must not come from the receipt.

use std::str::FromStr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use colophon_signer::model::{Authority, AuthorityError, AuthorityFile};
use colophon_signer::note::{NoteAlgorithm, NoteError, VerifierKey};
use colophon_signer::policy::{PolicyError, TlogPolicy};
use colophon_signer::rfc3161::{Roots, RootsError};
use serde::Deserialize;

/// The only value of `format`.
pub const FORMAT: &str = "colophon-trust-v1";
/// A trust file larger than this is refused.
pub const MAX_BYTES: usize = 1 << 20;

/// A trust file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    logs: Vec<VerifierKey>,
    witnesses: Vec<VerifierKey>,
    policy: Option<TlogPolicy>,
    revoked: Vec<Revoked>,
    pub(crate) models: Vec<Authority>,
    /// Roots of time stamping authorities, and what they revoked.
    pub tsa_roots: Roots,
    /// What a receipt has to come with to be trusted.
    pub require: Require,
    /// What evidence of the proxy itself has to say.
    pub attestation: Option<colophon_attest::Policy>,
    /// What that of the servers that answered has to say.
    pub upstream_attestation: Option<colophon_attest::Policy>,
    /// Circuits whose proofs count.
    pub circuits: Vec<Circuit>,
    /// Proofs count too whose parameters were made by who could forge them. The reader's to say, not the file's.
    pub allow_local_setup: bool,
    /// Simulated evidence is looked at too, and counts for `sign` at most. The reader's to say, not the file's.
    pub allow_simulated: bool,
}

/// A circuit: a model as a prover has it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Circuit {
    /// What the reader calls it.
    pub name: String,
    /// SHA-256 of its verifying key, lower-case hexadecimal.
    pub circuit: String,
}

/// A key that counts no longer, a shard's or a log's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoked {
    /// SHA-256 of the public key.
    #[serde(deserialize_with = "key_id")]
    pub key_id: [u8; 32],
    /// What it signed from then on does not count, µs since the epoch.
    pub from: u64,
}

fn key_id<'de, D: serde::Deserializer<'de>>(from: D) -> Result<[u8; 32], D::Error> {
    let text = String::deserialize(from)?;
    let bytes = hex::decode(&text).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| serde::de::Error::custom("a key id has 64 hexadecimal digits"))
}

/// What a receipt has to come with to be trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Require {
    /// The reader's copy of the request.
    #[serde(default)]
    pub request: bool,
    /// The reader's copy of the response.
    #[serde(default)]
    pub response: bool,
    /// RFC 3161 timestamps over the receipt's checkpoint; of those by one root of this file one counts.
    #[serde(default)]
    pub timestamps: u32,
    /// Cosignatures by witnesses of this file.
    #[serde(default)]
    pub witnesses: u32,
    /// A model certificate by an authority of this file.
    #[serde(default)]
    pub model: bool,
}

/// Why a file is not a trust file.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// Larger than [`MAX_BYTES`].
    #[error("larger than {MAX_BYTES} bytes")]
    TooLarge,
    /// Not JSON, or not of the trust file's shape.
    #[error("not a Colophon trust file: {0}")]
    Json(#[from] serde_json::Error),
    /// Another format or version.
    #[error("unknown format; this program reads {FORMAT}")]
    Format,
    /// A verifier key is not one.
    #[error("logs[{index}].vkey: {error}")]
    Key {
        /// Which entry.
        index: usize,
        /// What is wrong with it.
        error: NoteError,
    },
    /// A log's key is a witness's, or is named otherwise than its log.
    #[error("logs[{0}]: the verifier key must be plain Ed25519 and have the name of its origin")]
    Log(usize),
    /// A witness's key is not one.
    #[error("witnesses[{index}]: {error}")]
    WitnessKey {
        /// Which entry.
        index: usize,
        /// What is wrong with it.
        error: NoteError,
    },
    /// A witness's key is of another type, stands there twice, or is a log's.
    #[error("the witness {0}: {1}")]
    Witness(String, &'static str),
    /// The witness policy is none.
    #[error("witness_policy: {0}")]
    Policy(#[from] PolicyError),
    /// A root of a time stamping authority is none.
    #[error("tsa_roots[{index}]: {error}; give PEM, or DER in base64")]
    TsaRoot {
        /// Which entry.
        index: usize,
        /// What is wrong with it.
        error: RootsError,
    },
    /// What is asked of evidence makes no sense.
    #[error("attestation: {0}")]
    Attestation(#[from] colophon_attest::policy::PolicyError),
    /// A circuit's digest is none.
    #[error("circuits[{0}]: the digest of a verifying key has 64 digits of lower-case hexadecimal")]
    Circuit(usize),
    /// A model authority is none.
    #[error("model_authorities[{index}]: {error}")]
    Model {
        /// Which entry.
        index: usize,
        /// What is wrong with it.
        error: AuthorityError,
    },
    /// The file trusts nobody.
    #[error("names no log")]
    Empty,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TrustFile {
    format: String,
    logs: Vec<LogEntry>,
    #[serde(default)]
    witnesses: Vec<String>,
    #[serde(default)]
    witness_policy: Option<String>,
    #[serde(default)]
    tsa_roots: Vec<String>,
    #[serde(default)]
    revoked: Vec<Revoked>,
    #[serde(default)]
    model_authorities: Vec<AuthorityFile>,
    #[serde(default)]
    circuits: Vec<Circuit>,
    #[serde(default)]
    require: Require,
    #[serde(default)]
    attestation: Option<serde_json::Value>,
    #[serde(default)]
    upstream_attestation: Option<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogEntry {
    origin: String,
    vkey: String,
}

impl Trust {
    /// Reads a trust file. Unknown keys are errors.
    pub fn from_json(file: &[u8]) -> Result<Trust, TrustError> {
        if file.len() > MAX_BYTES {
            return Err(TrustError::TooLarge);
        }
        let file: TrustFile = serde_json::from_slice(file)?;
        if file.format != FORMAT {
            return Err(TrustError::Format);
        }
        let mut logs = Vec::with_capacity(file.logs.len());
        for (index, entry) in file.logs.iter().enumerate() {
            let key = VerifierKey::from_str(&entry.vkey).map_err(|error| TrustError::Key { index, error })?;
            if key.name() != entry.origin || key.algorithm() != NoteAlgorithm::Ed25519 {
                return Err(TrustError::Log(index));
            }
            logs.push(key);
        }
        let policy = file.witness_policy.map(|text| TlogPolicy::parse(text.as_bytes())).transpose()?;
        for log in policy.iter().flat_map(|policy| &policy.logs) {
            if !logs.contains(&log.key) {
                logs.push(log.key.clone());
            }
        }
        if logs.is_empty() {
            return Err(TrustError::Empty);
        }
        let mut witnesses = Vec::new();
        for (index, text) in file.witnesses.iter().enumerate() {
            let key = VerifierKey::from_str(text).map_err(|error| TrustError::WitnessKey { index, error })?;
            add_witness(&mut witnesses, key, &logs)?;
        }
        for witness in policy.iter().flat_map(|policy| &policy.witnesses) {
            if !witnesses.contains(&witness.key) {
                add_witness(&mut witnesses, witness.key.clone(), &logs)?;
            }
        }
        let mut tsa_roots = Roots::default();
        for (index, entry) in file.tsa_roots.iter().enumerate() {
            let added = tsa_root(entry).and_then(|roots| tsa_roots.extend(roots));
            added.map_err(|error| TrustError::TsaRoot { index, error })?;
        }
        let mut models = Vec::with_capacity(file.model_authorities.len());
        for (index, entry) in file.model_authorities.into_iter().enumerate() {
            models.push(Authority::try_from(entry).map_err(|error| TrustError::Model { index, error })?);
        }
        let digest = |text: &str| {
            text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        if let Some(index) = file.circuits.iter().position(|circuit| !digest(&circuit.circuit)) {
            return Err(TrustError::Circuit(index));
        }
        let policy_of = |spec: &Option<serde_json::Value>| {
            spec.as_ref().map(|spec| colophon_attest::Policy::from_spec("trust file", spec)).transpose()
        };
        let attestation = policy_of(&file.attestation)?;
        let upstream_attestation = policy_of(&file.upstream_attestation)?;
        Ok(Trust {
            logs,
            witnesses,
            policy,
            revoked: file.revoked,
            models,
            tsa_roots,
            require: file.require,
            attestation,
            upstream_attestation,
            circuits: file.circuits,
            allow_local_setup: false,
            allow_simulated: false,
        })
    }

    /// Trust in these log keys and nothing else.
    pub fn in_logs(logs: Vec<VerifierKey>) -> Trust {
        Trust {
            logs,
            witnesses: Vec::new(),
            policy: None,
            revoked: Vec::new(),
            models: Vec::new(),
            tsa_roots: Roots::default(),
            require: Require::default(),
            attestation: None,
            upstream_attestation: None,
            circuits: Vec::new(),
            allow_local_setup: false,
            allow_simulated: false,
        }
    }

    /// Keys that count no longer.
    pub fn revoked(&self) -> &[Revoked] {
        &self.revoked
    }

    /// Whose model certificates count.
    pub fn model_authorities(&self) -> &[Authority] {
        &self.models
    }

    /// The keys of the witnesses, none twice.
    pub fn witnesses(&self) -> &[VerifierKey] {
        &self.witnesses
    }

    /// Whether these are the cosignatures that the file asks for: so many as it requires, and its policy's quorum.
    pub fn are_enough(&self, cosigned: &[VerifierKey]) -> bool {
        let quorum = self.policy.as_ref().is_none_or(|policy| policy.is_met(|key| cosigned.contains(key)));
        quorum && cosigned.len() as u64 >= u64::from(self.require.witnesses)
    }

    /// Whether the file asks for more than a signed log.
    pub(crate) fn requires_something(&self) -> bool {
        let quorum = self.policy.as_ref().is_some_and(TlogPolicy::needs_witnesses);
        quorum || self.require != Require::default()
    }

    /// The keys of the log with this origin.
    pub fn keys_of(&self, origin: &str) -> Vec<VerifierKey> {
        self.logs.iter().filter(|key| key.name() == origin).cloned().collect()
    }
}

/// An entry of `tsa_roots`: PEM of certificates and CRLs, or one certificate's DER in base64.
fn tsa_root(entry: &str) -> Result<Roots, RootsError> {
    if entry.contains("-----BEGIN") {
        return Roots::from_pem(entry);
    }
    let mut roots = Roots::default();
    roots.add_der(BASE64_STANDARD.decode(entry).map_err(|_| RootsError::Pem("neither PEM nor base64"))?)?;
    Ok(roots)
}

/// One key is one witness, under whatever name, and no log is its own.
fn add_witness(
    witnesses: &mut Vec<VerifierKey>,
    key: VerifierKey,
    logs: &[VerifierKey],
) -> Result<(), TrustError> {
    let same = |other: &VerifierKey| other.same_key(&key);
    let wrong = match () {
        () if !key.is_cosigner() => {
            "its verifier key must be a cosignature key, of Ed25519 (type 0x04) or ML-DSA-44 (type 0x06)"
        }
        () if witnesses.iter().any(same) => "its key stands there twice",
        () if logs.iter().any(same) => "its key is a log's: no log is its own witness",
        () => {
            witnesses.push(key);
            return Ok(());
        }
    };
    Err(TrustError::Witness(key.name().to_owned(), wrong))
}

#[cfg(test)]
mod tests;
