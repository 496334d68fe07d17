//! What a Colophon says of itself: its keys, evidence that they belong to a trusted environment, and for whom it was made.
//!
//! One form for both uses: the answer of `/.well-known/colophon/attestation?nonce=…`, and what the log announces with a
//! shard's key. The evidence's report data is the digest of the statement in the bundle, the statement names the digest of
//! the keyset, and the keyset names the keys.

use crate::aci::Statement;
use crate::evidence::{Bundle, base64_option};
use crate::{Collateral, Question, Refusal, Report, verify_bundle};
use colophon_receipt::merkle::{Hash, sha256};
use serde::{Deserialize, Serialize};

/// The only value of `format`.
pub const FORMAT: &str = "colophon-attestation-v1";
/// Of a keyset's.
pub const KEYSET: &str = "colophon-keyset-v1";
/// A document is never longer: eight GPUs' reports have 100 KB.
pub const MAX_BYTES: usize = 1 << 20;
/// Keys of one kind in a keyset.
const MAX_KEYS: usize = 16;

/// The keys that live where the evidence was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keyset {
    /// [`KEYSET`].
    format: String,
    /// Ed25519 keys that sign records: 32 bytes each, in hexadecimal.
    #[serde(with = "hex_list")]
    pub shard_keys: Vec<[u8; 32]>,
    /// The TLS exporter of the connection that was asked on (RFC 9266 `tls-exporter`): only its two ends know it, whoever
    /// else has the certificate's key.
    #[serde(default, with = "hex_option", skip_serializing_if = "Option::is_none")]
    pub tls_exporter: Option<[u8; 32]>,
    /// SHA-256 of the SubjectPublicKeyInfo of the keys that TLS is spoken with.
    #[serde(default, with = "hex_list", skip_serializing_if = "Vec::is_empty")]
    pub tls_spki: Vec<Hash>,
}

/// Keys, statement and evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// [`FORMAT`].
    pub format: String,
    /// A [`Keyset`] in its one spelling: the digest in the statement is of these bytes.
    pub keyset: String,
    /// Statement, evidence and collateral.
    pub bundle: Bundle,
    /// The RFC 3161 token (DER) that the statement's nonce is of, where it is an epoch's ([`crate::aci::epoch_nonce`]).
    #[serde(default, with = "base64_option", skip_serializing_if = "Option::is_none")]
    pub token: Option<Vec<u8>>,
}

/// What a verified document says.
#[derive(Clone, Debug)]
pub struct Attested {
    /// The keys.
    pub keyset: Keyset,
    /// For whom, and of which keys.
    pub statement: Statement,
    /// Of each piece of evidence.
    pub reports: Vec<Report>,
}

impl Keyset {
    /// These keys.
    pub fn new(shard_keys: Vec<[u8; 32]>, tls_spki: Vec<Hash>, tls_exporter: Option<[u8; 32]>) -> Keyset {
        Keyset { format: KEYSET.to_owned(), shard_keys, tls_exporter, tls_spki }
    }

    /// The one spelling: keys in order, no spaces, lower-case hexadecimal.
    pub fn to_json(&self) -> String {
        // Strings and lists: serialising them to memory does not fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads a keyset; only the bytes that [`Keyset::to_json`] writes count.
    ///
    /// # Errors
    /// [`Refusal::Malformed`].
    pub fn from_json(text: &str) -> Result<Keyset, Refusal> {
        let wrong = |why: String| Refusal::malformed("keyset", why);
        let keyset: Keyset = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
        if keyset.format != KEYSET {
            return Err(wrong(format!("unknown format; this program reads {KEYSET}")));
        }
        if keyset.shard_keys.len() > MAX_KEYS || keyset.tls_spki.len() > MAX_KEYS {
            return Err(wrong(format!("more than {MAX_KEYS} keys")));
        }
        if keyset.to_json() != text {
            return Err(wrong("not in its one spelling".into()));
        }
        Ok(keyset)
    }

    /// What a statement calls this keyset.
    pub fn digest(&self) -> Hash {
        sha256(self.to_json().as_bytes())
    }
}

impl Document {
    /// Puts the parts together. The bundle holds the statement already.
    pub fn new(keyset: &Keyset, bundle: Bundle, token: Option<Vec<u8>>) -> Document {
        Document { format: FORMAT.to_owned(), keyset: keyset.to_json(), bundle, token }
    }

    /// Reads a document.
    ///
    /// # Errors
    /// [`Refusal::Malformed`].
    pub fn read(bytes: &[u8]) -> Result<Document, Refusal> {
        let wrong = |why: String| Refusal::malformed("attestation document", why);
        if bytes.len() > MAX_BYTES {
            return Err(wrong(format!("longer than {MAX_BYTES} bytes")));
        }
        let document: Document = serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
        if document.format != FORMAT {
            return Err(wrong(format!("unknown format; this program reads {FORMAT}")));
        }
        Ok(document)
    }

    /// As bytes.
    pub fn to_json(&self) -> Vec<u8> {
        // Strings, lists and maps with string keys: serialising them to memory does not fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The statement, whatever the evidence says.
    ///
    /// # Errors
    /// There is none, it is malformed, or about other keys than the keyset's.
    pub fn statement(&self) -> Result<Statement, Refusal> {
        let text = self.bundle.statement.as_deref();
        let text = text.ok_or_else(|| Refusal::malformed("attestation document", "it has no statement"))?;
        let statement =
            Statement::from_json(text).map_err(|error| Refusal::malformed("statement", error.to_string()))?;
        if statement.keyset_digest != sha256(self.keyset.as_bytes()) {
            return Err(Refusal::ReportData("its statement is of another keyset".into()));
        }
        Ok(statement)
    }

    /// Verifies keyset, statement and every piece of evidence. Whose keys they have to be is for the caller to say.
    ///
    /// # Errors
    /// The first [`Refusal`].
    pub fn verify(&self, more: &Collateral, question: &Question<'_>) -> Result<Attested, Refusal> {
        let keyset = Keyset::from_json(&self.keyset)?;
        let statement = self.statement()?;
        let results = verify_bundle(&self.bundle, more, question);
        let reports = results.pieces.into_iter().collect::<Result<Vec<_>, _>>()?;
        results.together?;
        // A GPU alone names no machine, and answers a nonce, not a statement.
        if !reports.iter().any(|report| report.report_data.is_some()) {
            return Err(Refusal::Policy("no piece of the evidence is about the statement".into()));
        }
        Ok(Attested { keyset, statement, reports })
    }
}

mod hex_list {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(keys: &[[u8; 32]], to: S) -> Result<S::Ok, S::Error> {
        keys.iter().map(hex::encode).collect::<Vec<_>>().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<[u8; 32]>, D::Error> {
        Vec::<String>::deserialize(from)?
            .iter()
            .map(|text| super::array(text).map_err(D::Error::custom))
            .collect()
    }
}

mod hex_option {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

    #[allow(clippy::ref_option)] // serde's shape
    pub(super) fn serialize<S: Serializer>(key: &Option<[u8; 32]>, to: S) -> Result<S::Ok, S::Error> {
        key.map(hex::encode).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<[u8; 32]>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.as_deref().map(super::array).transpose().map_err(D::Error::custom)
    }
}

fn array(text: &str) -> Result<[u8; 32], &'static str> {
    let bytes = hex::decode(text).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or("not 32 bytes in hexadecimal")
}

#[cfg(test)]
mod tests;
