//! The vTPM of an Azure confidential VM: its attestation key is named by the runtime data, whose digest is the report data
//! of the hardware report (SEV-SNP, or TDX through a quote) in the same HCL report.

use super::Key;
use crate::bytes::Bytes;
use crate::evidence::TpmQuote;
use crate::report::Source;
use crate::verify::Question;
use crate::{Collateral, Platform, Refusal, Report, intel, snp};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
#[cfg(feature = "generate")]
use rsa::pkcs8::EncodePublicKey as _;
use rsa::{BoxedUint, RsaPublicKey};
use serde::Deserialize;
use sha2::{Digest, Sha256};

const WHAT: &str = "Azure HCL report";
const SIGNATURE: &[u8; 4] = b"HCLA";
/// The space for a hardware report, of whatever platform.
const HARDWARE_REPORT_LEN: usize = 1184;
/// Kinds of hardware report.
const SNP: u32 = 2;
pub(crate) const TDX: u32 = 4;
/// Hashes of the runtime data.
const SHA256: u32 = 1;
/// The name of the attestation key in the runtime data.
const KEY: &str = "HCLAkPub";

/// An HCL report taken apart.
pub(crate) struct Hcl<'a> {
    hardware: &'a [u8],
    /// Which hardware's report it holds.
    pub(crate) kind: u32,
    runtime_data: &'a [u8],
}

impl<'a> Hcl<'a> {
    pub(crate) fn parse(hcl: &'a [u8]) -> Result<Hcl<'a>, Refusal> {
        let wrong = |why: &str| Refusal::malformed(WHAT, why);
        let mut bytes = Bytes::new(hcl, WHAT);
        if bytes.array::<4>()? != *SIGNATURE {
            return Err(wrong("it does not begin with HCLA"));
        }
        let _version_to_reserved = bytes.take(28)?;
        let hardware = bytes.take(HARDWARE_REPORT_LEN)?;
        let (_len, _version, kind, hash) =
            (bytes.u32_le()?, bytes.u32_le()?, bytes.u32_le()?, bytes.u32_le()?);
        if hash != SHA256 {
            return Err(wrong("its runtime data is hashed otherwise than by SHA-256"));
        }
        let len = bytes.u32_le()?;
        let runtime_data = bytes.take(len as usize)?;
        Ok(Hcl { hardware, kind, runtime_data })
    }

    /// The key's SubjectPublicKeyInfo, DER.
    #[cfg(feature = "generate")]
    pub(crate) fn spki(&self) -> Result<Vec<u8>, Refusal> {
        let der = self.rsa()?.to_public_key_der();
        der.map(rsa::pkcs8::Document::into_vec)
            .map_err(|error| Refusal::malformed("Azure runtime data", error.to_string()))
    }

    fn key(&self) -> Result<Key, Refusal> {
        Ok(Key::Rsa(Box::new(self.rsa()?)))
    }

    fn rsa(&self) -> Result<RsaPublicKey, Refusal> {
        #[derive(Deserialize)]
        struct RuntimeData {
            keys: Vec<Jwk>,
        }
        #[derive(Deserialize)]
        struct Jwk {
            kid: String,
            n: Option<String>,
            e: Option<String>,
        }
        let wrong = |why: &str| Refusal::malformed("Azure runtime data", why);
        let data: RuntimeData =
            serde_json::from_slice(self.runtime_data).map_err(|error| wrong(&error.to_string()))?;
        let key = data.keys.into_iter().find(|key| key.kid == KEY).ok_or_else(|| wrong("no HCLAkPub"))?;
        let number = |text: Option<String>| {
            let bytes = BASE64_URL_SAFE_NO_PAD.decode(text.unwrap_or_default()).unwrap_or_default();
            BoxedUint::from_be_slice_vartime(&bytes)
        };
        RsaPublicKey::new(number(key.n), number(key.e)).map_err(|_| wrong("HCLAkPub is no RSA key"))
    }
}

/// Verifies the hardware report, its binding of the vTPM's key, and the quote by that key.
pub(crate) fn verify(
    hcl: &[u8],
    td_quote: Option<&[u8]>,
    quote: &TpmQuote,
    collateral: &Collateral,
    question: &Question<'_>,
) -> Result<Report, Refusal> {
    let hcl = Hcl::parse(hcl)?;
    let hardware = match (hcl.kind, td_quote) {
        (SNP, _) => snp::verify(hcl.hardware, &[], collateral, question)?,
        (TDX, Some(quote)) => trust_domain(intel::verify(quote, collateral, question)?)?,
        (TDX, None) => return Err(Refusal::Collateral("the TDX quote over the same report data".into())),
        (other, _) => return Err(Refusal::malformed(WHAT, format!("hardware report of kind {other}"))),
    };
    let mut bound = Sha256::digest(hcl.runtime_data).to_vec();
    bound.resize(64, 0);
    if hardware.report_data.as_ref() != Some(&bound) {
        return Err(Refusal::Identity("the hardware report is about other runtime data".into()));
    }
    let mut report =
        Report::new(Platform::AzureVtpm, hardware.root.clone(), hardware.is_simulated(), question.at);
    super::claims(quote, &hcl.key()?, &mut report)?;
    report.about = format!("the vTPM in {} on {}", hardware.platform, hardware.about);
    report.age = hardware.age;
    report.tcb = hardware.tcb.clone();
    let prefix = |name: &String| format!("{}_{name}", hardware.platform.as_str().replace('-', "_"));
    report
        .measurements
        .extend(hardware.measurements.iter().map(|(name, value)| (prefix(name), value.clone())));
    report.claims.extend(hardware.claims.iter().map(|(name, value)| (prefix(name), value.clone())));
    report.notes.extend(hardware.notes);
    if !report.is_simulated() {
        // The paravisor that runs the vTPM is Microsoft's; the hardware report alone says which one it is.
        report.source = Source::HardwareProven;
    }
    Ok(report)
}

/// The same report, of a trust domain and of nothing else that signs quotes.
fn trust_domain(report: Report) -> Result<Report, Refusal> {
    match report.platform {
        Platform::Tdx => Ok(report),
        other => Err(Refusal::malformed(WHAT, format!("a quote of {other} where one of tdx belongs"))),
    }
}

#[cfg(test)]
mod tests;
