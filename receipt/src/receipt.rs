//! The receipt: everything needed to verify one record offline, in one JSON file (DESIGN section 6).
//!
//! Every byte of a receipt is either checked or refused: unknown keys are errors and the file has to be exactly what
//! `Receipt::to_json` writes, so that nothing unauthenticated can ride along.

use crate::merkle::Hash;
use crate::proof::Proof;
use crate::record::Salt;
use base64::prelude::{BASE64_STANDARD, Engine};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Media type of a receipt.
pub const MEDIA_TYPE: &str = "application/colophon-receipt+json";
/// The only value of `format`.
pub const FORMAT: &str = "colophon-receipt-v1";
/// The only value of `notice`.
pub const NOTICE: &str =
    "This receipt can show who committed to these bytes, and when. It never shows that they are true.";
/// A receipt has at most this many anchors.
pub const MAX_ANCHORS: usize = 16;
/// A receipt has at most this many pieces of evidence.
pub const MAX_EVIDENCE: usize = 16;
/// A receipt larger than this is refused unread.
pub const MAX_BYTES: usize = 4 << 20;

/// A receipt as it stands in its file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// [`FORMAT`].
    pub format: String,
    /// [`NOTICE`].
    pub notice: String,
    /// The record leaf and its fields.
    pub record: RecordPart,
    /// Where the record is in its batch; the batch's size is in the statement.
    pub batch: BatchPart,
    /// The COSE_Sign1 of the batch.
    pub statement: Bytes,
    /// C2SP tlog-proof that the statement is in the log.
    pub log_proof: String,
    /// The announcement of the statement's key, then those of other keys that signed.
    pub announcements: Vec<AnnouncementPart>,
    /// Signatures over the HTTP answer; only where both digest fields are opened.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub http_signatures: Vec<HttpSignature>,
    /// What others signed over the checkpoint of `log_proof`; at most [`MAX_ANCHORS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub anchors: Vec<Anchor>,
    /// The timestamp token (RFC 3161) that the statement names as its beacon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beacon: Option<Bytes>,
    /// The attestation document by which the server that answered had proved itself: field 17 has its SHA-256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream_evidence: Option<Bytes>,
    /// Evidence about the statement's key that was made while the key was in use, where there is some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_evidence: Option<KeyEvidencePart>,
    /// The round of public randomness that draws the record, where its rule samples and the round is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round: Option<RoundPart>,
    /// What came of evidence for the record, logged later; at most [`MAX_EVIDENCE`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<EvidencePart>,
}

/// A round of a drand chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoundPart {
    /// The chain's hash, in hexadecimal.
    pub chain: String,
    /// The round's number.
    pub number: u64,
    /// The chain's signature over it, whose SHA-256 is the randomness.
    pub signature: Bytes,
}

/// An evidence leaf, and the proof that the log holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidencePart {
    /// Canonical CBOR of the leaf.
    pub leaf: Bytes,
    /// Where it is in its batch.
    pub batch: BatchPart,
    /// The COSE_Sign1 of that batch.
    pub statement: Bytes,
    /// C2SP tlog-proof that this statement is in the log.
    pub log_proof: String,
    /// The announcement of its key, where that is not the one of the record's statement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub announcement: Option<AnnouncementPart>,
    /// What the leaf commits to, where it commits to a proof that is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<ProofPart>,
}

/// A proof, and the salt of the commitment to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProofPart {
    /// 16 random bytes.
    pub salt: Bytes,
    /// The proof.
    pub proof: Proof,
}

/// Evidence about the statement's key, and the proof that the log holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyEvidencePart {
    /// The attestation document.
    pub document: Bytes,
    /// With it, `H(salt ‖ H(document))` is the leaf's commitment.
    pub salt: Bytes,
    /// The leaf, whose subject is the payload that announced the key; by that key too, so without an announcement.
    pub logged: EvidencePart,
}

/// Someone else's signature over a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Anchor {
    /// DER of a timestamp token over SHA-256 of the checkpoint with the log's own signature line only.
    Rfc3161(Bytes),
}

/// The record leaf with its fields, opened or withheld.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordPart {
    /// Canonical CBOR of the record leaf.
    pub leaf: Bytes,
    /// Every present field in ascending number.
    pub fields: Vec<Field>,
}

/// A field: opened (salt and value) or withheld (hash).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Field {
    /// Shown to the reader.
    Opened(OpenedField),
    /// Only its leaf hash.
    Withheld(WithheldField),
}

/// A field that the reader may see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenedField {
    /// The field's number.
    pub number: u8,
    /// Its salt.
    pub salt: Bytes,
    /// `cbor([number, value])`.
    pub value: Bytes,
}

/// A field that stays private.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WithheldField {
    /// The field's number.
    pub number: u8,
    /// Its leaf hash.
    pub hash: Bytes,
}

/// An inclusion proof in the batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchPart {
    /// Index of the record in its batch.
    pub index: u64,
    /// Sibling of the leaf first.
    pub path: Vec<Bytes>,
}

/// A key announcement with the proof that the log holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnnouncementPart {
    /// COSE_Sign1 by the log key.
    pub statement: Bytes,
    /// C2SP tlog-proof.
    pub log_proof: String,
}

/// An RFC 9421 signature that left with the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpSignature {
    /// The signature base, exactly as signed; its last line names the covered components, tag and key.
    pub base: String,
    /// Ed25519 over `base`.
    pub signature: Bytes,
}

/// Bytes that stand in the file as standard, padded base64.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl Bytes {
    /// The bytes as a hash, if there are 32.
    pub fn hash(&self) -> Option<Hash> {
        self.0.as_slice().try_into().ok()
    }

    /// The bytes as a salt, if there are 16.
    pub fn salt(&self) -> Option<Salt> {
        self.0.as_slice().try_into().ok()
    }
}

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Self {
        Bytes(bytes.to_vec())
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64_STANDARD.decode(&text).map(Bytes).map_err(serde::de::Error::custom)
    }
}

/// Why a file is not a receipt.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptError {
    /// Larger than [`MAX_BYTES`].
    #[error("larger than {MAX_BYTES} bytes")]
    TooLarge,
    /// Not JSON, or not of the receipt's shape.
    #[error("not a Colophon receipt: {0}")]
    Json(#[from] serde_json::Error),
    /// Another format or version.
    #[error("unknown format or notice; this program reads {FORMAT}")]
    Format,
    /// Right content, other bytes than this version writes.
    #[error("not in the exact form a receipt is written in (reformatted, or with something added)")]
    NotCanonical,
}

impl Receipt {
    /// The file's bytes: JSON with two-space indentation and a final newline.
    pub fn to_json(&self) -> Result<Vec<u8>, ReceiptError> {
        let mut out = serde_json::to_vec_pretty(self)?;
        out.push(b'\n');
        Ok(out)
    }

    /// Reads a file and refuses any spelling but the one that `to_json` gives.
    pub fn from_json(file: &[u8]) -> Result<Receipt, ReceiptError> {
        if file.len() > MAX_BYTES {
            return Err(ReceiptError::TooLarge);
        }
        let receipt: Receipt = serde_json::from_slice(file)?;
        if receipt.format != FORMAT || receipt.notice != NOTICE {
            return Err(ReceiptError::Format);
        }
        if receipt.to_json()? != file {
            return Err(ReceiptError::NotCanonical);
        }
        Ok(receipt)
    }
}

#[cfg(test)]
mod tests;
