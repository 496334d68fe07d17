//! AWS Nitro Enclaves attestation documents: COSE_Sign1 (RFC 9052) with ES384 over a CBOR map.
//!
//! The signature is verified over the payload's bytes as they came. Certificates live for hours, so a document is judged at
//! the time the question names, usually the one it carries itself.

use crate::bytes::shown;
use crate::verify::Question;
use crate::{Collateral, Platform, Refusal, Report, chain, roots};
use minicbor::Decoder;
use minicbor::data::Type;
use std::collections::BTreeMap;

const WHAT: &str = "Nitro document";
/// A document with the longest user data, nonce and key allowed has about 10 KB.
const MAX_BYTES: usize = 32 << 10;
/// ES384 (RFC 9053), in the protected header `{1: -35}`.
const PROTECTED: [u8; 4] = [0xa1, 0x01, 0x38, 0x22];
const SIGNATURE_LEN: usize = 96;
const MAX_PCRS: u64 = 32;
const MAX_CERTIFICATES: u64 = 16;

/// A document taken apart. Parsing proves nothing.
#[derive(Default)]
struct Document {
    module_id: String,
    /// Milliseconds since the epoch.
    timestamp: u64,
    pcrs: BTreeMap<u8, Vec<u8>>,
    certificate: Vec<u8>,
    authorities: Vec<Vec<u8>>,
    public_key: Option<Vec<u8>>,
    user_data: Option<Vec<u8>>,
    nonce: Option<Vec<u8>>,
}

/// Payload and signature of the COSE_Sign1.
fn unwrap(document: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    let wrong = |why: &str| Refusal::malformed(WHAT, why);
    if document.len() > MAX_BYTES {
        return Err(wrong("longer than 32 KiB"));
    }
    // Tag 18 is optional.
    let untagged = document.strip_prefix(&[0xd2]).unwrap_or(document);
    let mut decoder = Decoder::new(untagged);
    let mut parse = || {
        let four = decoder.array()? == Some(4);
        let protected = decoder.bytes()?;
        let unprotected = decoder.map()?;
        let (payload, signature) = (decoder.bytes()?, decoder.bytes()?);
        Ok::<_, minicbor::decode::Error>((four, protected, unprotected, payload, signature))
    };
    let (four, protected, unprotected, payload, signature) =
        parse().map_err(|error| Refusal::malformed(WHAT, error.to_string()))?;
    if !four || unprotected != Some(0) || decoder.position() != untagged.len() {
        return Err(wrong("not a COSE_Sign1 with an empty unprotected header, and nothing behind it"));
    }
    if protected != PROTECTED || signature.len() != SIGNATURE_LEN {
        return Err(wrong("its algorithm is not ES384"));
    }
    Ok((payload, signature))
}

/// `Sig_structure` of RFC 9052 section 4.4.
fn to_be_signed(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 32);
    out.extend([0x84, 0x6a]);
    out.extend(b"Signature1");
    out.push(0x44);
    out.extend(PROTECTED);
    out.push(0x40);
    match payload.len() {
        len @ 0..24 => out.push(0x40 | len as u8),
        len @ 24..256 => out.extend([0x58, len as u8]),
        len => {
            out.push(0x59);
            out.extend((len as u16).to_be_bytes());
        }
    }
    out.extend(payload);
    out
}

impl Document {
    fn parse(payload: &[u8]) -> Result<Document, Refusal> {
        let wrong = |why: &str| Refusal::malformed(WHAT, why);
        let mut decoder = Decoder::new(payload);
        let document =
            Document::decode(&mut decoder).map_err(|error| Refusal::malformed(WHAT, error.to_string()))?;
        if decoder.position() != payload.len() {
            return Err(wrong("bytes behind its end"));
        }
        if document.pcrs.is_empty() || document.certificate.is_empty() {
            return Err(wrong("it has no PCRs or no certificate"));
        }
        Ok(document)
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Document, minicbor::decode::Error> {
        let message = minicbor::decode::Error::message;
        let mut document = Document::default();
        let mut seen: Vec<String> = Vec::new();
        let entries = decoder.map()?.ok_or_else(|| message("a map of unknown length"))?;
        for _ in 0..entries {
            let key = decoder.str()?.to_owned();
            if seen.contains(&key) {
                return Err(message("a key twice"));
            }
            match key.as_str() {
                "module_id" => document.module_id = decoder.str()?.to_owned(),
                "digest" if decoder.str()? == "SHA384" => {}
                "timestamp" => document.timestamp = decoder.u64()?,
                "pcrs" => document.pcrs = pcrs(decoder)?,
                "certificate" => document.certificate = decoder.bytes()?.to_vec(),
                "cabundle" => document.authorities = authorities(decoder)?,
                "public_key" => document.public_key = optional(decoder)?,
                "user_data" => document.user_data = optional(decoder)?,
                "nonce" => document.nonce = optional(decoder)?,
                _ => return Err(message("a key or digest that this program does not know")),
            }
            seen.push(key);
        }
        Ok(document)
    }
}

fn pcrs(decoder: &mut Decoder<'_>) -> Result<BTreeMap<u8, Vec<u8>>, minicbor::decode::Error> {
    let message = minicbor::decode::Error::message;
    let mut pcrs = BTreeMap::new();
    let count = decoder.map()?.filter(|count| *count <= MAX_PCRS).ok_or_else(|| message("too many PCRs"))?;
    for _ in 0..count {
        let (number, digest) = (decoder.u8()?, decoder.bytes()?.to_vec());
        if digest.len() != 48 || pcrs.insert(number, digest).is_some() {
            return Err(message("a PCR that is no SHA-384, or twice"));
        }
    }
    Ok(pcrs)
}

fn authorities(decoder: &mut Decoder<'_>) -> Result<Vec<Vec<u8>>, minicbor::decode::Error> {
    let message = minicbor::decode::Error::message;
    let count = decoder.array()?.filter(|count| *count <= MAX_CERTIFICATES);
    let count = count.ok_or_else(|| message("too many certificates"))?;
    (0..count).map(|_| decoder.bytes().map(<[u8]>::to_vec)).collect()
}

fn optional(decoder: &mut Decoder<'_>) -> Result<Option<Vec<u8>>, minicbor::decode::Error> {
    match decoder.datatype()? {
        Type::Null => decoder.null().map(|()| None),
        _ => decoder.bytes().map(|bytes| Some(bytes.to_vec())),
    }
}

/// Verifies a document.
pub(crate) fn verify(
    document: &[u8],
    collateral: &Collateral,
    question: &Question<'_>,
) -> Result<Report, Refusal> {
    let (payload, signature) = unwrap(document)?;
    let parsed = Document::parse(payload)?;
    let given = chain::parse_all(&parsed.authorities)?;
    let leaf = [parsed.certificate.clone()];
    let leaf = chain::parse_all(&leaf)?;
    let leaf = &leaf[0];
    let path = chain::verify(leaf, &given, &collateral.crls, &roots::nitro(question.simulated), question.at)?;
    chain::verify_p384(leaf, &to_be_signed(payload), signature, "the Nitro document")?;
    let made = parsed.timestamp / 1000;
    if made > question.at || made < leaf.validity().0 {
        return Err(Refusal::Time(
            "its own time is later than the one asked for, or before its certificate".into(),
        ));
    }
    if (0..3).all(|number| parsed.pcrs.get(&number).is_some_and(|pcr| pcr.iter().all(|byte| *byte == 0))) {
        return Err(Refusal::Debug("debugging"));
    }
    let mut report = Report::new(Platform::Nitro, path.root.clone(), path.simulated, question.at);
    report.about = format!("the enclave {}", shown(parsed.module_id.as_bytes()));
    report.age.made = Some(made);
    report.age.good_until = Some(path.good_until);
    report.report_data = parsed.user_data;
    report.nonce = Some(parsed.nonce.unwrap_or_default());
    for (number, pcr) in &parsed.pcrs {
        report.measure(&format!("pcr{number}"), pcr);
    }
    if let Some(key) = parsed.public_key {
        report.claim("public_key", hex::encode(key));
    }
    Ok(report)
}

#[cfg(test)]
mod tests;
