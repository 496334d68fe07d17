//! What a proof is about: the statement `S` of DESIGN section 9, canonical JSON (RFC 8785), and its digest. And the proof as a
//! receipt carries it, whose digest an evidence leaf commits to.

use crate::evidence::commitment;
use crate::merkle::{Hash, sha256};
use crate::receipt::Bytes;
use crate::record::Salt;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Longest canonical form, bytes.
pub const MAX_STATEMENT: usize = 1 << 20;
/// The decode rule by which each token is the one with the highest score.
pub const GREEDY: &str = "greedy";
/// Longest artefact that a receipt carries, bytes.
pub const MAX_ARTEFACT: usize = 1 << 20;

/// `S`: everything that a verifier has to rebuild from the receipt and the bodies. Digests are lower-case hexadecimal
/// SHA-256; what does not apply is absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// Format, [`Statement::FORMAT`].
    pub format: String,
    /// The record's leaf hash.
    pub record: String,
    /// Digest of the circuit's verifying key: the commitment to the model's weights where parameters are fixed in it.
    pub circuit: String,
    /// Digest of the certificate that names the circuit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_certificate: Option<String>,
    /// Digest of the weights before quantisation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<String>,
    /// How the proven model differs from the weights, such as `ezkl fixed-point, scale 7`.
    pub quantisation: String,
    /// Digest of the tokenizer's file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<String>,
    /// Digest of the chat template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// Token ids of the prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<Vec<u32>>,
    /// Token ids of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Vec<u32>>,
    /// How ids follow from the model's scores, such as [`GREEDY`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decode: Option<String>,
    /// What a classifier was shown, by the names that its features have; each is read from the record's opened fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features: Option<BTreeMap<String, i64>>,
}

/// A statement, or a proof of one, that cannot stand.
#[derive(Debug, thiserror::Error)]
pub enum StatementError {
    /// Not JSON of this form.
    #[error("a statement or proof that cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// Another format.
    #[error("the format `{0}`, which this version does not know")]
    Format(String),
    /// What should be a SHA-256 digest is none.
    #[error("`{0}` of a statement is no SHA-256 in lower-case hexadecimal")]
    Digest(&'static str),
    /// Too long.
    #[error("a statement of {0} bytes; {MAX_STATEMENT} are the most")]
    TooLong(usize),
    /// An artefact that no receipt carries.
    #[error("an artefact of {length} bytes; 1 to {most} are allowed")]
    Artefact {
        /// Its bytes.
        length: usize,
        /// The most.
        most: usize,
    },
}

impl Statement {
    /// Of this version.
    pub const FORMAT: &'static str = "colophon-statement-v1";

    /// About a record, by the hash of its leaf, and a circuit, which is the model but for its quantisation. What else applies is for
    /// the caller to add.
    pub fn about(record: &Hash, circuit: &str, quantisation: &str) -> Statement {
        Statement {
            format: Statement::FORMAT.into(),
            record: hex::encode(record),
            circuit: circuit.to_owned(),
            model_certificate: None,
            weights: None,
            quantisation: quantisation.to_owned(),
            tokenizer: None,
            template: None,
            prompt: None,
            output: None,
            decode: None,
            features: None,
        }
    }

    /// Checks form and digests.
    ///
    /// # Errors
    /// [`StatementError`] says what is wrong.
    pub fn check(&self) -> Result<(), StatementError> {
        if self.format != Statement::FORMAT {
            return Err(StatementError::Format(self.format.clone()));
        }
        digest_of(&self.record, "record")?;
        digest_of(&self.circuit, "circuit")?;
        for (name, value) in [
            ("model_certificate", &self.model_certificate),
            ("weights", &self.weights),
            ("tokenizer", &self.tokenizer),
            ("template", &self.template),
        ] {
            value.as_deref().map_or(Ok(()), |value| digest_of(value, name).map(drop))?;
        }
        Ok(())
    }

    /// The record's leaf hash.
    ///
    /// # Errors
    /// [`StatementError::Digest`].
    pub fn record(&self) -> Result<Hash, StatementError> {
        digest_of(&self.record, "record")
    }

    /// The canonical bytes (RFC 8785).
    ///
    /// # Errors
    /// [`StatementError::TooLong`].
    pub fn canonical(&self) -> Result<Vec<u8>, StatementError> {
        let bytes = serde_json_canonicalizer::to_vec(self)?;
        if bytes.len() > MAX_STATEMENT {
            return Err(StatementError::TooLong(bytes.len()));
        }
        Ok(bytes)
    }

    /// SHA-256 of the canonical bytes: what a proof absorbs, and what makes a job the same job.
    ///
    /// # Errors
    /// As [`Statement::canonical`].
    pub fn digest(&self) -> Result<Hash, StatementError> {
        Ok(sha256(&self.canonical()?))
    }
}

/// A proof with what a reader has to know of it: the evidence of a leaf whose kind is `zk`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// Format, [`Proof::FORMAT`].
    pub format: String,
    /// What is proven.
    pub statement: Statement,
    /// Name and version of the prover, in its own words, such as `ezkl 23.0.5`.
    pub prover: String,
    /// Whether the proof hides its private inputs. One that does not is `succinct`, not `zk`.
    pub hides: bool,
    /// Where the prover's parameters come from, in its own words: `ceremony`, or `local` when whoever made them could forge proofs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup: Option<String>,
    /// The prover's artefact, at most [`MAX_ARTEFACT`] bytes.
    pub artefact: Bytes,
}

impl Proof {
    /// Of this version.
    pub const FORMAT: &'static str = "colophon-proof-v1";

    /// Checks form, digests and size.
    ///
    /// # Errors
    /// [`StatementError`] says what is wrong.
    pub fn check(&self) -> Result<(), StatementError> {
        if self.format != Proof::FORMAT {
            return Err(StatementError::Format(self.format.clone()));
        }
        let (length, most) = (self.artefact.0.len(), MAX_ARTEFACT);
        if length == 0 || length > most {
            return Err(StatementError::Artefact { length, most });
        }
        self.statement.check()
    }

    /// SHA-256 of the canonical JSON (RFC 8785).
    ///
    /// # Errors
    /// It cannot be written.
    pub fn digest(&self) -> Result<Hash, StatementError> {
        Ok(sha256(&serde_json_canonicalizer::to_vec(self)?))
    }

    /// What an evidence leaf says of it: `H(salt ‖ digest)`.
    ///
    /// # Errors
    /// As [`Proof::digest`].
    pub fn commitment(&self, salt: &Salt) -> Result<Hash, StatementError> {
        Ok(commitment(salt, &self.digest()?))
    }
}

/// The leaf hash as a circuit takes it: 16 limbs of 16 bits, big-endian, first bytes first.
pub fn limbs(hash: &Hash) -> [u16; 16] {
    let mut limbs = [0; 16];
    for (limb, pair) in limbs.iter_mut().zip(hash.chunks_exact(2)) {
        *limb = u16::from_be_bytes([pair[0], pair[1]]);
    }
    limbs
}

fn digest_of(text: &str, name: &'static str) -> Result<Hash, StatementError> {
    let mut hash = [0; 32];
    let lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
    match hex::decode_to_slice(text, &mut hash) {
        Ok(()) if lower => Ok(hash),
        _ => Err(StatementError::Digest(name)),
    }
}

#[cfg(test)]
mod tests;
