//! What verification needs beside the evidence: certificates, revocation lists, Intel's signed TCB data, keys of verifiers.

use crate::Refusal;
use crate::evidence::base64_list;
use colophon_signer::x509;
use dcap_qvl::QuoteCollateralV3;
use serde::{Deserialize, Serialize};

/// A file of collateral is never longer; Intel's has 25 KB.
pub const MAX_BYTES: usize = 4 << 20;

/// Collateral, of whatever platform. Nothing in it is trusted: certificates have to lead to a pinned root, and what is
/// signed has to be signed by one that does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Collateral {
    /// Certificates in any order, DER in base64.
    #[serde(default, with = "base64_list", skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<Vec<u8>>,
    /// Revocation lists, DER in base64.
    #[serde(default, with = "base64_list", skip_serializing_if = "Vec::is_empty")]
    pub crls: Vec<Vec<u8>>,
    /// Intel's: TCB info, QE identity and revocation lists, as PCCS clients write them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intel: Option<QuoteCollateralV3>,
    /// Public keys of other verifiers (RFC 7517 JWK set), for tokens. The reader's choice: they are trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<serde_json::Value>,
}

impl Collateral {
    /// Reads a file: Intel's collateral or a JWK set (JSON), PEM, or one certificate or revocation list as DER.
    ///
    /// # Errors
    /// When it is none of these.
    pub fn read(bytes: &[u8]) -> Result<Collateral, Refusal> {
        let wrong = |why: String| Refusal::malformed("collateral", why);
        if bytes.len() > MAX_BYTES {
            return Err(wrong(format!("longer than {MAX_BYTES} bytes")));
        }
        let mut collateral = Collateral::default();
        match bytes.trim_ascii_start().first() {
            Some(b'{') => {
                let json: serde_json::Value =
                    serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
                if json.get("keys").is_some() {
                    collateral.jwks = Some(json);
                } else if json.get("tcb_info").is_some() {
                    collateral.intel =
                        Some(serde_json::from_value(json).map_err(|error| wrong(error.to_string()))?);
                } else {
                    return serde_json::from_value(json).map_err(|error| wrong(error.to_string()));
                }
            }
            Some(b'-') => {
                let text = std::str::from_utf8(bytes).map_err(|_| wrong("not text".into()))?;
                collateral.certificates =
                    x509::certificates(text).map_err(|error| wrong(error.to_string()))?;
                collateral.crls = x509::crls(text).map_err(|error| wrong(error.to_string()))?;
            }
            _ if x509::Certificate::parse(bytes).is_ok() => collateral.certificates.push(bytes.to_vec()),
            _ if x509::Crl::parse(bytes).is_ok() => collateral.crls.push(bytes.to_vec()),
            _ => {
                return Err(wrong(
                    "neither Intel's JSON, a JWK set, PEM, a certificate nor a revocation list".into(),
                ));
            }
        }
        Ok(collateral)
    }

    /// Adds what another file holds; of Intel's data and key sets the later one counts.
    pub fn extend(&mut self, other: Collateral) {
        self.certificates.extend(other.certificates);
        self.crls.extend(other.crls);
        self.intel = other.intel.or(self.intel.take());
        self.jwks = other.jwks.or(self.jwks.take());
    }
}

#[cfg(test)]
mod tests;
