//! TPM 2.0 quotes (TCG TPM 2.0 Library, part 2, section 10.12) with the firmware's event log.
//!
//! Nothing here leads from an attestation key to a manufacturer, so a bare quote may be a software TPM's: it is marked as
//! simulated, is refused unless that is allowed, and never counts for more than `sign`. [`azure`] is the exception, where a
//! confidential VM's hardware report names the key.

pub(crate) mod azure;
mod event_log;

use crate::bytes::Bytes;
use crate::evidence::TpmQuote;
use crate::report::{Root, Source};
use crate::verify::Question;
use crate::{Platform, Refusal, Report};
use colophon_receipt::merkle::sha256;
use event_log::Replayed;
use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use p256::pkcs8::DecodePublicKey as _;
use rsa::{Pkcs1v15Sign, Pss, RsaPublicKey};
use sha2::{Digest, Sha256, Sha384, Sha512};
use std::collections::BTreeMap;

const WHAT: &str = "TPM quote";
/// `TPM_GENERATED_VALUE`: a restricted key signs nothing else that begins so.
const GENERATED: [u8; 4] = [0xff, b'T', b'C', b'G'];
/// `TPM_ST_ATTEST_QUOTE`.
const QUOTE: u16 = 0x8018;

/// `TPM_ALG_ID`s.
const RSASSA: u16 = 0x0014;
const RSAPSS: u16 = 0x0016;
const ECDSA: u16 = 0x0018;

/// The hashes that count; SHA-1 banks do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    fn of(id: u16) -> Result<Hash, Refusal> {
        match id {
            0x000b => Ok(Hash::Sha256),
            0x000c => Ok(Hash::Sha384),
            0x000d => Ok(Hash::Sha512),
            other => {
                Err(Refusal::malformed(WHAT, format!("hash {other:#06x}; SHA-256, -384 and -512 count")))
            }
        }
    }

    pub(crate) fn digest(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Hash::Sha256 => Sha256::digest(bytes).to_vec(),
            Hash::Sha384 => Sha384::digest(bytes).to_vec(),
            Hash::Sha512 => Sha512::digest(bytes).to_vec(),
        }
    }

    pub(crate) fn len(self) -> usize {
        match self {
            Hash::Sha256 => 32,
            Hash::Sha384 => 48,
            Hash::Sha512 => 64,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Hash::Sha256 => "sha256",
            Hash::Sha384 => "sha384",
            Hash::Sha512 => "sha512",
        }
    }
}

/// `TPMS_ATTEST` of a quote, taken apart.
struct Attest<'a> {
    qualifying_data: &'a [u8],
    clock: u64,
    reset_count: u32,
    restart_count: u32,
    firmware: u64,
    bank: Hash,
    selected: Vec<u8>,
    digest: &'a [u8],
}

impl<'a> Attest<'a> {
    fn parse(message: &'a [u8]) -> Result<Attest<'a>, Refusal> {
        let mut bytes = Bytes::new(message, WHAT);
        if bytes.array()? != GENERATED || bytes.u16_be()? != QUOTE {
            return Err(Refusal::malformed(WHAT, "it is no TPM-generated quote"));
        }
        let _signer = bytes.sized_be()?;
        let qualifying_data = bytes.sized_be()?;
        let (clock, reset_count, restart_count) = (bytes.u64_be()?, bytes.u32_be()?, bytes.u32_be()?);
        let _safe = bytes.u8()?;
        let firmware = bytes.u64_be()?;
        if bytes.u32_be()? != 1 {
            return Err(Refusal::malformed(WHAT, "it is over no bank of PCRs, or over several"));
        }
        let bank = Hash::of(bytes.u16_be()?)?;
        let len = bytes.u8()?;
        let bits = bytes.take(usize::from(len))?;
        let selected = (0..=u8::MAX)
            .filter(|n| bits.get(usize::from(n / 8)).is_some_and(|byte| byte >> (n % 8) & 1 == 1))
            .collect();
        let digest = bytes.sized_be()?;
        bytes.end()?;
        Ok(Attest { qualifying_data, clock, reset_count, restart_count, firmware, bank, selected, digest })
    }
}

/// Verifies a bare quote.
pub(crate) fn verify(quote: &TpmQuote, question: &Question<'_>) -> Result<Report, Refusal> {
    let root = Root { name: "the attestation key itself".into(), sha256: sha256(&quote.key) };
    let mut report = Report::new(Platform::Tpm, root, true, question.at);
    report.about = format!("the holder of the key {}", hex::encode(sha256(&quote.key)));
    report.notes.push("nothing leads from this key to a manufacturer: it may be a software TPM".into());
    claims(quote, &Key::from_spki(&quote.key)?, &mut report)?;
    match question.simulated {
        Some(_) => Ok(report),
        None => Err(Refusal::Simulated("nothing leads from its key to hardware, it may be a software TPM's")),
    }
}

/// An attestation key.
pub(crate) enum Key {
    P256(p256::ecdsa::VerifyingKey),
    Rsa(Box<RsaPublicKey>),
}

impl Key {
    /// From a SubjectPublicKeyInfo, DER.
    pub(crate) fn from_spki(spki: &[u8]) -> Result<Key, Refusal> {
        if let Ok(key) = p256::ecdsa::VerifyingKey::from_public_key_der(spki) {
            return Ok(Key::P256(key));
        }
        let key = RsaPublicKey::from_public_key_der(spki);
        key.map(|key| Key::Rsa(Box::new(key))).map_err(|_| {
            Refusal::malformed("TPM attestation key", "neither P-256 nor RSA, as DER SubjectPublicKeyInfo")
        })
    }

    /// Verifies a `TPMT_SIGNATURE`.
    fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), Refusal> {
        let bad = Refusal::Signature("the TPM quote");
        let mut bytes = Bytes::new(signature, "TPM signature");
        let (scheme, hash) = (bytes.u16_be()?, Hash::of(bytes.u16_be()?)?);
        let hashed = hash.digest(message);
        let verified = match (self, scheme) {
            (Key::P256(key), ECDSA) => {
                let (r, s) = (padded(bytes.sized_be()?)?, padded(bytes.sized_be()?)?);
                let signature = p256::ecdsa::Signature::from_scalars(r, s).map_err(|_| bad.clone())?;
                key.verify_prehash(&hashed, &signature).is_ok()
            }
            (Key::Rsa(key), RSASSA) => {
                let scheme = match hash {
                    Hash::Sha256 => Pkcs1v15Sign::new::<Sha256>(),
                    Hash::Sha384 => Pkcs1v15Sign::new::<Sha384>(),
                    Hash::Sha512 => Pkcs1v15Sign::new::<Sha512>(),
                };
                key.verify(scheme, &hashed, bytes.sized_be()?).is_ok()
            }
            (Key::Rsa(key), RSAPSS) => {
                let signature = bytes.sized_be()?;
                match hash {
                    Hash::Sha256 => key.verify(Pss::<Sha256>::new(), &hashed, signature).is_ok(),
                    Hash::Sha384 => key.verify(Pss::<Sha384>::new(), &hashed, signature).is_ok(),
                    Hash::Sha512 => key.verify(Pss::<Sha512>::new(), &hashed, signature).is_ok(),
                }
            }
            _ => return Err(Refusal::malformed("TPM signature", "its scheme does not fit the key")),
        };
        bytes.end()?;
        if verified { Ok(()) } else { Err(bad) }
    }
}

/// A number of at most 32 bytes, filled up at the front.
fn padded(number: &[u8]) -> Result<[u8; 32], Refusal> {
    let mut out = [0; 32];
    let from = 32usize.checked_sub(number.len()).ok_or(Refusal::Signature("the TPM quote"))?;
    out[from..].copy_from_slice(number);
    Ok(out)
}

/// Signature, PCRs and event log of a quote, and what they say.
pub(crate) fn claims(quote: &TpmQuote, key: &Key, report: &mut Report) -> Result<(), Refusal> {
    key.verify(&quote.message, &quote.signature)?;
    let attest = Attest::parse(&quote.message)?;
    let pcrs = pcrs(quote, attest.bank)?;
    if !pcrs.keys().eq(attest.selected.iter()) {
        return Err(Refusal::malformed(WHAT, "the PCR values given are not those that were quoted"));
    }
    let all: Vec<u8> = pcrs.values().flatten().copied().collect();
    if attest.bank.digest(&all) != attest.digest && Hash::Sha256.digest(&all) != attest.digest {
        return Err(Refusal::Identity("the PCR values given are not those that were signed".into()));
    }
    if let Some(log) = &quote.event_log {
        let Replayed { events, untold } = event_log::replay(log, attest.bank, &pcrs)?;
        report.claim("event_log", format!("{events} events, which lead to the quoted PCRs that they extend"));
        if !untold.is_empty() {
            let numbers = untold.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
            report
                .notes
                .push(format!("the log has no event of the quoted PCRs {numbers}: it says nothing of them"));
        }
    }
    report.report_data = Some(attest.qualifying_data.to_vec());
    for (number, digest) in &pcrs {
        report.measure(&format!("pcr{number}"), digest);
    }
    report.claim("pcr_bank", attest.bank.as_str());
    report.claim("clock_ms", attest.clock);
    report.claim("resets", attest.reset_count);
    report.claim("restarts", attest.restart_count);
    report.claim("firmware", format!("{:#x}", attest.firmware));
    if report.is_simulated() {
        report.source = Source::OperatorAsserted;
    }
    Ok(())
}

fn pcrs(quote: &TpmQuote, bank: Hash) -> Result<BTreeMap<u8, Vec<u8>>, Refusal> {
    let decode = |(number, text): (&u8, &String)| {
        let digest = hex::decode(text).ok().filter(|digest| digest.len() == bank.len());
        digest
            .map(|digest| (*number, digest))
            .ok_or_else(|| Refusal::malformed(WHAT, format!("PCR {number} is no digest")))
    };
    quote.pcrs.iter().map(decode).collect()
}

#[cfg(test)]
pub(crate) mod tests;
