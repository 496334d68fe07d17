//! What servers say of themselves in other forms than Colophon's own: the open ACI report, the report of dstack's inference
//! proxies, and certificates with a quote in them (RA-TLS). One module a form. None of them names a connection's exporter: what
//! they bind is the TLS key.
//!
//! An answer is kept as [`Told`], together with the nonce that was asked and the collateral it was judged by, so that a
//! reader can judge it again.

use crate::document::{Attested, Document, MAX_BYTES};
use crate::evidence::{Bundle, base64_bytes};
use crate::{Collateral, Evidence, Keyset, Question, Refusal, Report, verify_bundle};
use colophon_receipt::merkle::Hash;
use serde::{Deserialize, Serialize};

mod aci;
mod dstack;
mod ra_tls;

/// The only value of `format`.
pub const FORMAT: &str = "colophon-told-v1";
/// An answer is never longer: it is kept in base64 within a document of 1 MiB.
pub const MAX_ANSWER: usize = 512 << 10;

/// In which form a server says what it proves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Speaks {
    /// Colophon's own [`Document`].
    #[default]
    Colophon,
    /// The open ACI report, `aci/1`.
    Aci,
    /// The attestation report of dstack's inference proxies, with the digest of the TLS key in it.
    Dstack,
    /// Nothing is asked: the quote is in the server's certificate.
    RaTls,
}

impl Speaks {
    /// What is asked for, path and query; nothing where the certificate says it all.
    pub fn question(self, nonce: &[u8; 32]) -> Option<String> {
        let nonce = hex::encode(nonce);
        match self {
            Speaks::Colophon => Some(format!("/.well-known/colophon/attestation?nonce={nonce}")),
            Speaks::Aci => Some(format!("/v1/aci/attestation?nonce={nonce}")),
            Speaks::Dstack => Some(format!(
                "/v1/attestation/report?nonce={nonce}&include_tls_fingerprint=true&signing_algo=ed25519"
            )),
            Speaks::RaTls => None,
        }
    }
}

/// An answer in another form, and what it was judged by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Told {
    /// [`FORMAT`].
    format: String,
    /// Its form.
    pub speaks: Speaks,
    /// The nonce that was asked with, in hexadecimal.
    nonce: String,
    /// The answer as it came: JSON, or a certificate in DER.
    #[serde(with = "base64_bytes")]
    answer: Vec<u8>,
    /// What its verification needs besides.
    #[serde(default)]
    collateral: Collateral,
}

/// What verified evidence says, in whichever form it came.
#[derive(Clone, Debug)]
pub struct Known {
    /// The keys that live there.
    pub keyset: Keyset,
    /// Of each piece of evidence.
    pub reports: Vec<Report>,
}

impl From<Attested> for Known {
    fn from(attested: Attested) -> Known {
        Known { keyset: attested.keyset, reports: attested.reports }
    }
}

/// What an answer claims: a quote, what its report data has to be, and the TLS keys that this binds.
struct Claim {
    quote: Vec<u8>,
    report_data: [u8; 64],
    tls_spki: Vec<Hash>,
}

impl Told {
    /// An answer to this nonce.
    ///
    /// # Errors
    /// It is too long.
    pub fn new(
        speaks: Speaks,
        nonce: &[u8; 32],
        answer: &[u8],
        collateral: Collateral,
    ) -> Result<Told, Refusal> {
        if answer.len() > MAX_ANSWER {
            return Err(Refusal::malformed("answer", format!("longer than {MAX_ANSWER} bytes")));
        }
        let (format, nonce, answer) = (FORMAT.to_owned(), hex::encode(nonce), answer.to_vec());
        Ok(Told { format, speaks, nonce, answer, collateral })
    }

    /// As bytes, to be kept.
    ///
    /// # Errors
    /// They are more than [`MAX_BYTES`], of which the collateral may be any part: nobody would read them again.
    pub fn to_json(&self) -> Result<Vec<u8>, Refusal> {
        // Strings, lists and maps with string keys: serialising them to memory does not fail.
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        if bytes.len() > MAX_BYTES {
            let length = bytes.len();
            return Err(Refusal::Collateral(format!(
                "with it the kept answer has {length} bytes, of {MAX_BYTES} at most"
            )));
        }
        Ok(bytes)
    }

    fn read(bytes: &[u8]) -> Result<Told, Refusal> {
        let wrong = |why: String| Refusal::malformed("kept answer", why);
        let told: Told = serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
        match (told.format.as_str(), told.speaks) {
            (FORMAT, Speaks::Aci | Speaks::Dstack | Speaks::RaTls) => Ok(told),
            _ => Err(wrong(format!("unknown format; this program reads {FORMAT}"))),
        }
    }

    /// Verifies the answer: its quote, and that this is about the nonce and the keys. Whose keys these have to be is for the
    /// caller to say.
    ///
    /// # Errors
    /// The first [`Refusal`].
    pub fn verify(&self, more: &Collateral, question: &Question<'_>) -> Result<Known, Refusal> {
        let nonce: [u8; 32] = hex::decode(&self.nonce)
            .ok()
            .and_then(|nonce| nonce.try_into().ok())
            .ok_or_else(|| Refusal::malformed("kept answer", "its nonce is not 32 bytes"))?;
        if question.nonce.is_some_and(|wanted| wanted != nonce) {
            return Err(Refusal::Nonce(self.nonce.clone()));
        }
        let Claim { quote, report_data, tls_spki } = match self.speaks {
            Speaks::Aci => aci::claim(&self.answer, &nonce, question.at)?,
            Speaks::Dstack => dstack::claim(&self.answer, &nonce)?,
            Speaks::RaTls => ra_tls::claim(&self.answer, question.at)?,
            Speaks::Colophon => return Err(Refusal::malformed("kept answer", "it has a form of its own")),
        };
        let question = Question { nonce: None, report_data: Some(&report_data), ..*question };
        let bundle = Bundle::new(vec![Evidence::IntelQuote { quote }], self.collateral.clone());
        let results = verify_bundle(&bundle, more, &question);
        let reports = results.pieces.into_iter().collect::<Result<Vec<_>, _>>()?;
        results.together?;
        Ok(Known { keyset: Keyset::new(Vec::new(), tls_spki, None), reports })
    }
}

/// Verifies what was kept of a server, in whichever form.
///
/// # Errors
/// The first [`Refusal`].
pub fn verify_kept(bytes: &[u8], more: &Collateral, question: &Question<'_>) -> Result<Known, Refusal> {
    if let Ok(told) = Told::read(bytes) {
        return told.verify(more, question);
    }
    Document::read(bytes)?.verify(more, question).map(Known::from)
}

/// Bytes in hexadecimal, with or without `0x`.
fn hexadecimal(what: &'static str, text: &str) -> Result<Vec<u8>, Refusal> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    hex::decode(digits).map_err(|_| Refusal::malformed(what, "not hexadecimal"))
}

fn hash(what: &'static str, text: &str) -> Result<Hash, Refusal> {
    let bytes = hexadecimal(what, text)?;
    bytes.try_into().map_err(|_| Refusal::malformed(what, "not 32 bytes"))
}

#[cfg(test)]
mod tests;
