//! The attestation report of dstack's inference proxies, of both versions.
//!
//! Version 1 binds a signing key and the nonce: `key filled up to 32 bytes ‖ nonce`. It names no TLS key, so it shows nothing
//! about a connection. Version 2 binds the TLS key too: `H(signing key ‖ H(SubjectPublicKeyInfo)) ‖ nonce`.

use super::{Claim, hash, hexadecimal};
use crate::Refusal;
use colophon_receipt::merkle::sha256;
use serde::Deserialize;

const WHAT: &str = "dstack report";

#[derive(Deserialize)]
struct Answer {
    /// Of a gateway that speaks for models behind it: it is the gateway that the connection ends at.
    gateway_attestation: Option<Report>,
    #[serde(flatten)]
    own: Option<Report>,
}

#[derive(Deserialize)]
struct Report {
    /// An Ethereum address or an Ed25519 key, in hexadecimal.
    signing_address: String,
    intel_quote: String,
    /// SHA-256 of the TLS key's SubjectPublicKeyInfo: version 2.
    tls_cert_fingerprint: Option<String>,
}

pub(super) fn claim(answer: &[u8], nonce: &[u8; 32]) -> Result<Claim, Refusal> {
    let wrong = |why: String| Refusal::malformed(WHAT, why);
    let answer: Answer = serde_json::from_slice(answer).map_err(|error| wrong(error.to_string()))?;
    let report = answer.gateway_attestation.or(answer.own);
    let report = report.ok_or_else(|| wrong("it holds no quote with a signing address".into()))?;
    let key = hexadecimal(WHAT, &report.signing_address)?;
    if !matches!(key.len(), 20 | 32) {
        return Err(wrong("its signing address is neither an address nor a key".into()));
    }
    let mut report_data = [0; 64];
    let mut tls_spki = Vec::new();
    match report.tls_cert_fingerprint {
        None => report_data[..key.len()].copy_from_slice(&key),
        Some(fingerprint) => {
            let spki = hash(WHAT, &fingerprint)?;
            report_data[..32].copy_from_slice(&sha256(&[&key[..], &spki].concat()));
            tls_spki.push(spki);
        }
    }
    report_data[32..].copy_from_slice(nonce);
    Ok(Claim { quote: hexadecimal(WHAT, &report.intel_quote)?, report_data, tls_spki })
}
