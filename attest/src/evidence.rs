//! Evidence as it lies in files and receipts.
//!
//! The format is one JSON object, `colophon-evidence-v1`; what vendors' own tools write (raw or hexadecimal quotes and
//! reports, NVIDIA's JSON, Nitro's COSE, a token) is read too.

use crate::{Collateral, Platform, Refusal};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};
use colophon_signer::x509;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The only value of `format`.
pub const FORMAT: &str = "colophon-evidence-v1";
/// A file of evidence is never longer: a quote has 5 KB, eight GPUs' reports 100 KB, an event log perhaps 200 KB.
pub const MAX_BYTES: usize = 4 << 20;
/// Pieces of evidence in a file.
const MAX_PIECES: usize = 32;

/// One piece of evidence, unverified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Evidence {
    /// A DCAP quote: TDX version 4 or 5, SGX version 3.
    IntelQuote {
        /// The quote's bytes.
        #[serde(with = "base64_bytes")]
        quote: Vec<u8>,
    },
    /// An SEV-SNP report of 1184 bytes.
    SnpReport {
        /// The report's bytes.
        #[serde(with = "base64_bytes")]
        report: Vec<u8>,
        /// Certificates that came with it (VCEK or VLEK, ASK), DER each.
        #[serde(default, with = "base64_list", skip_serializing_if = "Vec::is_empty")]
        certificates: Vec<Vec<u8>>,
    },
    /// A GPU's or NVSwitch's SPDM request and response.
    Nvidia {
        /// Request, response and signature.
        #[serde(with = "base64_bytes")]
        report: Vec<u8>,
        /// The device's chain, leaf first, DER each.
        #[serde(with = "base64_list")]
        certificates: Vec<Vec<u8>>,
    },
    /// A Nitro attestation document, COSE_Sign1.
    Nitro {
        /// The document.
        #[serde(with = "base64_bytes")]
        document: Vec<u8>,
    },
    /// A TPM 2.0 quote.
    Tpm(TpmQuote),
    /// A quote by the vTPM of an Azure confidential VM.
    AzureVtpm {
        /// The HCL report from NV index 0x01400001: the hardware report, and the runtime data it is about.
        #[serde(with = "base64_bytes")]
        hcl: Vec<u8>,
        /// The TDX quote over the same report data, where the machine is a TDX one.
        #[serde(default, with = "base64_option", skip_serializing_if = "Option::is_none")]
        td_quote: Option<Vec<u8>>,
        /// The quote; its own `key` does not count, the HCL report's does.
        tpm: TpmQuote,
    },
    /// A token of another verifier, as a compact JWT.
    Token {
        /// The token.
        token: String,
    },
}

/// A TPM 2.0 quote, and what it is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TpmQuote {
    /// `TPMS_ATTEST`, what is signed.
    #[serde(with = "base64_bytes")]
    pub message: Vec<u8>,
    /// `TPMT_SIGNATURE`.
    #[serde(with = "base64_bytes")]
    pub signature: Vec<u8>,
    /// The attestation key: SubjectPublicKeyInfo, DER.
    #[serde(default, with = "base64_bytes")]
    pub key: Vec<u8>,
    /// The quoted PCRs of the quoted bank, by number, in hexadecimal.
    #[serde(with = "numbered")]
    pub pcrs: BTreeMap<u8, String>,
    /// The firmware's crypto-agile event log, as Linux shows it.
    #[serde(default, with = "base64_option", skip_serializing_if = "Option::is_none")]
    pub event_log: Option<Vec<u8>>,
}

/// Pieces of evidence about one machine, with collateral, and what they are about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// [`FORMAT`].
    pub format: String,
    /// The pieces.
    pub evidence: Vec<Evidence>,
    /// What their verification needs.
    #[serde(default)]
    pub collateral: Collateral,
    /// The statement that the report data is the digest of ([`crate::aci`]), as bytes of JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statement: Option<String>,
}

impl Evidence {
    /// The platform it claims to be of; only verification shows whether it is.
    pub fn platform(&self) -> Platform {
        match self {
            Evidence::IntelQuote { quote } if quote.get(4..8) == Some(&[0, 0, 0, 0]) => Platform::Sgx,
            Evidence::IntelQuote { .. } => Platform::Tdx,
            Evidence::SnpReport { .. } => Platform::SevSnp,
            Evidence::Nvidia { .. } => Platform::NvidiaGpu,
            Evidence::Nitro { .. } => Platform::Nitro,
            Evidence::Tpm(_) => Platform::Tpm,
            Evidence::AzureVtpm { .. } => Platform::AzureVtpm,
            Evidence::Token { .. } => Platform::Token,
        }
    }
}

impl Bundle {
    /// A bundle of these pieces.
    pub fn new(evidence: Vec<Evidence>, collateral: Collateral) -> Bundle {
        Bundle { format: FORMAT.to_owned(), evidence, collateral, statement: None }
    }

    /// Reads a file: this crate's JSON, NVIDIA's, a token, or raw or hexadecimal evidence of a platform.
    ///
    /// # Errors
    /// When it is none of these.
    pub fn read(bytes: &[u8]) -> Result<Bundle, Refusal> {
        let wrong = |why: String| Refusal::malformed("evidence file", why);
        if bytes.len() > MAX_BYTES {
            return Err(wrong(format!("longer than {MAX_BYTES} bytes")));
        }
        let text = bytes.trim_ascii();
        let bundle = match text.first() {
            Some(b'{') => serde_json::from_slice(text).map_err(|error| wrong(error.to_string()))?,
            Some(b'[') => Bundle::new(nvidia_json(text)?, Collateral::default()),
            Some(b'e') if text.starts_with(b"eyJ") => {
                let token =
                    String::from_utf8(text.to_vec()).map_err(|_| wrong("a token that is not text".into()))?;
                Bundle::new(vec![Evidence::Token { token }], Collateral::default())
            }
            _ => {
                let decoded = hex::decode(text.strip_prefix(b"0x").unwrap_or(text));
                Bundle::new(vec![sniff(decoded.as_deref().unwrap_or(bytes))?], Collateral::default())
            }
        };
        if bundle.format != FORMAT {
            return Err(wrong(format!("unknown format; this program reads {FORMAT}")));
        }
        if bundle.evidence.is_empty() || bundle.evidence.len() > MAX_PIECES {
            return Err(wrong(format!("it holds no evidence, or more than {MAX_PIECES} pieces")));
        }
        Ok(bundle)
    }
}

/// Raw evidence, told apart by how it begins.
fn sniff(bytes: &[u8]) -> Result<Evidence, Refusal> {
    let starts = |with: &[u8]| bytes.starts_with(with);
    let quote = || Evidence::IntelQuote { quote: bytes.to_vec() };
    Ok(match bytes.len() {
        crate::snp::REPORT_LEN if matches!(bytes, [2..=5, 0, 0, 0, ..]) => {
            Evidence::SnpReport { report: bytes.to_vec(), certificates: Vec::new() }
        }
        _ if starts(&[3, 0, 2, 0]) || starts(&[4, 0, 2, 0]) || starts(&[5, 0, 2, 0]) => quote(),
        _ if starts(&[0x11, 0xe0]) => Evidence::Nvidia { report: bytes.to_vec(), certificates: Vec::new() },
        _ if starts(&[0x84, 0x44]) || starts(&[0xd2, 0x84, 0x44]) => {
            Evidence::Nitro { document: bytes.to_vec() }
        }
        _ => {
            return Err(Refusal::malformed(
                "evidence file",
                "it begins like no evidence that this program knows",
            ));
        }
    })
}

/// What NVIDIA's attestation SDK writes: a list of devices.
fn nvidia_json(json: &[u8]) -> Result<Vec<Evidence>, Refusal> {
    #[derive(Deserialize)]
    struct Device {
        certificate: String,
        evidence: String,
    }
    let wrong = |why: String| Refusal::malformed("NVIDIA evidence", why);
    let devices: Vec<Device> = serde_json::from_slice(json).map_err(|error| wrong(error.to_string()))?;
    let decode = |text: &str| decode_base64(text).map_err(|_| wrong("not base64".into()));
    let device = |device: &Device| {
        let pem = String::from_utf8(decode(&device.certificate)?).map_err(|_| wrong("not PEM".into()))?;
        let certificates = x509::certificates(&pem).map_err(|error| wrong(error.to_string()))?;
        Ok(Evidence::Nvidia { report: decode(&device.evidence)?, certificates })
    };
    devices.iter().map(device).collect()
}

fn decode_base64(text: &str) -> Result<Vec<u8>, base64::DecodeError> {
    match text.len() % 4 {
        0 => BASE64_STANDARD.decode(text),
        _ => BASE64_STANDARD_NO_PAD.decode(text),
    }
}

pub(crate) mod base64_bytes {
    use super::*;
    use serde::{Deserializer, Serializer, de::Error as _};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&BASE64_STANDARD.encode(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        decode_base64(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// Maps with numbers as keys: JSON's keys are text, and serde gives a tagged enum's inside no numbers for them.
mod numbered {
    use super::*;
    use serde::{Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(map: &BTreeMap<u8, String>, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(map.iter().map(|(number, value)| (number.to_string(), value)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<u8, String>, D::Error> {
        let map = BTreeMap::<String, String>::deserialize(from)?;
        let number = |(key, value): (String, String)| {
            let number: u8 = key.parse().map_err(D::Error::custom)?;
            // One spelling, or a PCR could stand there twice.
            if number.to_string() == key {
                Ok((number, value))
            } else {
                Err(D::Error::custom("not a PCR's number"))
            }
        };
        map.into_iter().map(number).collect()
    }
}

pub(crate) mod base64_list {
    use super::*;
    use serde::{Deserializer, Serializer, de::Error as _};

    pub(crate) fn serialize<S: Serializer>(list: &[Vec<u8>], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(list.iter().map(|bytes| BASE64_STANDARD.encode(bytes)))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Vec<u8>>, D::Error> {
        let list = Vec::<String>::deserialize(from)?;
        list.iter().map(|text| decode_base64(text).map_err(D::Error::custom)).collect()
    }
}

pub(crate) mod base64_option {
    use super::*;
    use serde::{Deserializer, Serializer, de::Error as _};

    #[allow(clippy::ref_option)] // serde's shape
    pub(crate) fn serialize<S: Serializer>(bytes: &Option<Vec<u8>>, to: S) -> Result<S::Ok, S::Error> {
        bytes.as_ref().map(|bytes| BASE64_STANDARD.encode(bytes)).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<u8>>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| decode_base64(&text).map_err(D::Error::custom)).transpose()
    }
}

#[cfg(test)]
mod tests;
