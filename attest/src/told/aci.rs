//! The open ACI report (`aci/1`): the quote's report data is the digest of a statement over nonce and keyset, and the keyset
//! names TLS keys by the SHA-256 of their SubjectPublicKeyInfo.

use super::{Claim, hash, hexadecimal};
use crate::Refusal;
use crate::aci::Statement;
use colophon_receipt::canonical;
use colophon_receipt::merkle::sha256;
use serde::Deserialize;
use serde_json::Value;

const WHAT: &str = "ACI report";

// Others add to these as they like: only what is used is looked at.
#[derive(Deserialize)]
struct Report {
    api_version: String,
    workload_keyset_digest: String,
    attestation: Attestation,
}

#[derive(Deserialize)]
struct Attestation {
    tee_type: String,
    workload_keyset: Value,
    evidence: Evidence,
}

#[derive(Deserialize)]
struct Evidence {
    quote: String,
}

#[derive(Deserialize)]
struct Keyset {
    /// Seconds since the epoch.
    not_after: u64,
    #[serde(default)]
    tls_public_keys: Vec<TlsKey>,
}

#[derive(Deserialize)]
struct TlsKey {
    spki_sha256: String,
}

/// What a report claims at a time, seconds since the epoch.
pub(super) fn claim(answer: &[u8], nonce: &[u8; 32], at: u64) -> Result<Claim, Refusal> {
    let wrong = |why: String| Refusal::malformed(WHAT, why);
    // The canonical reader: a key that comes twice would be one thing to us and another to the server.
    let whole = canonical::parse(answer).map_err(|error| wrong(error.to_string()))?;
    let report: Report = serde_json::from_value(whole).map_err(|error| wrong(error.to_string()))?;
    if report.api_version != "aci/1" {
        return Err(wrong(format!("version {:?}; this program reads aci/1", report.api_version)));
    }
    let Attestation { tee_type, workload_keyset, evidence } = report.attestation;
    if tee_type != "tdx" {
        return Err(Refusal::Policy(format!("ACI evidence of type {tee_type:?}; only tdx is read")));
    }
    let canonical = canonical::canonical(&workload_keyset).map_err(|error| wrong(error.to_string()))?;
    let digest = sha256(&canonical);
    if report.workload_keyset_digest != format!("sha256:{}", hex::encode(digest)) {
        return Err(Refusal::ReportData("its keyset has another digest than it says".into()));
    }
    let keyset: Keyset = serde_json::from_value(workload_keyset).map_err(|error| wrong(error.to_string()))?;
    if at > keyset.not_after {
        return Err(Refusal::Time("its keyset has expired".into()));
    }
    let statement = Statement { keyset_digest: digest, nonce: Some(hex::encode(nonce)) };
    let keys = keyset.tls_public_keys.iter();
    Ok(Claim {
        quote: hexadecimal(WHAT, &evidence.quote)?,
        report_data: statement.report_data().map_err(|error| wrong(error.to_string()))?,
        tls_spki: keys.map(|key| hash(WHAT, &key.spki_sha256)).collect::<Result<_, _>>()?,
    })
}
