//! Measurement reports of NVIDIA GPUs and NVSwitches: SPDM 1.1 `GET_MEASUREMENTS` and its signed answer (DMTF DSP0274).
//!
//! The signature is over request and answer as they came. The key is the one that the device derived for its firmware, and
//! its certificate names that firmware's digest (FWID), which a GPU's report has to repeat: Hopper keeps it under the extension
//! 2.23.133.5.4.1, Blackwell under 2.23.133.5.4.1.1. An NVSwitch's report names none, so its certificate's counts.

use crate::bytes::{Bytes, shown};
use crate::verify::Question;
use crate::{Collateral, Platform, Refusal, Report, chain, roots};
use colophon_signer::x509::Certificate;
use std::collections::BTreeMap;

const WHAT: &str = "NVIDIA report";
/// SPDM 1.1 on the wire.
const SPDM_1_1: u8 = 0x11;
const GET_MEASUREMENTS: u8 = 0xe0;
const MEASUREMENTS: u8 = 0x60;
/// ECDSA on P-384.
const SIGNATURE_LEN: usize = 96;
/// SHA-384.
const DIGEST_LEN: usize = 48;
/// Measurements by the DMTF's specification.
const DMTF: u8 = 1;

const FWID_HOPPER: &str = "2.23.133.5.4.1";
const FWID_BLACKWELL: &str = "2.23.133.5.4.1.1";
/// `SEQUENCE`'s inside of a digest by SHA-384: the algorithm's OID, and an OCTET STRING of 48 bytes.
const SHA384_DIGEST: [u8; 13] = [0x06, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 2, 0x04, 48];

/// Fields of the opaque data, by NVIDIA's `nvtrust`.
mod field {
    pub(super) const DRIVER_VERSION: u16 = 3;
    pub(super) const VBIOS_VERSION: u16 = 6;
    pub(super) const NVDEC0_STATUS: u16 = 11;
    pub(super) const BOARD_ID: u16 = 14;
    pub(super) const CHIP_SKU: u16 = 15;
    pub(super) const PROJECT: u16 = 17;
    pub(super) const PROJECT_SKU: u16 = 18;
    pub(super) const FWID: u16 = 20;
    pub(super) const PROTECTED_PCIE: u16 = 21;
    pub(super) const SWITCH_PDI: u16 = 22;
    pub(super) const SWITCH_GPU_PDIS: u16 = 26;
    pub(super) const FEATURE_FLAG: u16 = 36;
}

/// A report taken apart. Parsing proves nothing.
struct Parsed<'a> {
    nonce: &'a [u8],
    measurements: BTreeMap<u8, &'a [u8]>,
    opaque: BTreeMap<u16, &'a [u8]>,
    signed: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Parsed<'a> {
    fn parse(report: &'a [u8]) -> Result<Parsed<'a>, Refusal> {
        let wrong = |why: &str| Refusal::malformed(WHAT, why);
        let mut bytes = Bytes::new(report, WHAT);
        if [bytes.u8()?, bytes.u8()?] != [SPDM_1_1, GET_MEASUREMENTS] {
            return Err(wrong("it does not begin with a GET_MEASUREMENTS of SPDM 1.1"));
        }
        // Signature asked for, all measurements.
        if [bytes.u8()?, bytes.u8()?] != [1, 0xff] {
            return Err(wrong("the request did not ask for all measurements, signed"));
        }
        let nonce = bytes.take(32)?;
        let _slot = bytes.u8()?;
        if [bytes.u8()?, bytes.u8()?] != [SPDM_1_1, MEASUREMENTS] {
            return Err(wrong("the answer is no MEASUREMENTS of SPDM 1.1"));
        }
        let _parameters = bytes.take(2)?;
        let blocks = bytes.u8()?;
        let [a, b, c] = bytes.array()?;
        let record = bytes.take(u32::from_le_bytes([a, b, c, 0]) as usize)?;
        let _responder_nonce = bytes.take(32)?;
        let opaque_len = bytes.u16_le()?;
        let opaque = opaque(bytes.take(usize::from(opaque_len))?)?;
        let signed = &report[..report.len() - bytes.rest().len()];
        let signature = bytes.take(SIGNATURE_LEN)?;
        // Drivers hand out buffers, and tools have written a zero too many.
        if bytes.rest().iter().any(|byte| *byte != 0) {
            return Err(wrong("bytes behind its end"));
        }
        Ok(Parsed { nonce, measurements: measurements(record, blocks)?, opaque, signed, signature })
    }

    fn field(&self, number: u16) -> Option<&'a [u8]> {
        self.opaque.get(&number).copied()
    }
}

fn measurements(record: &[u8], blocks: u8) -> Result<BTreeMap<u8, &[u8]>, Refusal> {
    let wrong = |why: &str| Refusal::malformed("NVIDIA measurement record", why);
    let mut bytes = Bytes::new(record, "NVIDIA measurement record");
    let mut found = BTreeMap::new();
    while !bytes.is_empty() {
        let (index, specification) = (bytes.u8()?, bytes.u8()?);
        let len = bytes.u16_le()?;
        let mut block = Bytes::new(bytes.take(usize::from(len))?, "NVIDIA measurement");
        let (_kind, len) = (block.u8()?, block.u16_le()?);
        let digest = block.take(usize::from(len))?;
        block.end()?;
        if specification != DMTF || digest.len() != DIGEST_LEN {
            return Err(wrong("a measurement that is no SHA-384 by the DMTF's specification"));
        }
        if found.insert(index, digest).is_some() {
            return Err(wrong("a measurement twice"));
        }
    }
    if found.len() != usize::from(blocks) {
        Err(wrong("another number of measurements than it says"))
    } else {
        Ok(found)
    }
}

fn opaque(data: &[u8]) -> Result<BTreeMap<u16, &[u8]>, Refusal> {
    let mut bytes = Bytes::new(data, "NVIDIA opaque data");
    let mut found = BTreeMap::new();
    while !bytes.is_empty() {
        let (number, len) = (bytes.u16_le()?, bytes.u16_le()?);
        if found.insert(number, bytes.take(usize::from(len))?).is_some() {
            return Err(Refusal::malformed("NVIDIA opaque data", format!("field {number} twice")));
        }
    }
    Ok(found)
}

/// The generations, which differ in where the FWID is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Architecture {
    Hopper,
    Blackwell,
    /// The NVSwitch of Hopper systems.
    Switch,
}

impl Architecture {
    /// By the name of the device's certificate: `GH100 A01 GSP FMC LF`.
    fn of(certificate: &Certificate<'_>) -> Result<Architecture, Refusal> {
        let name = certificate.name();
        let name = name.strip_prefix(roots::SIMULATED).unwrap_or(&name).trim_start();
        match name {
            _ if name.starts_with("GH") => Ok(Architecture::Hopper),
            _ if name.starts_with("GB") => Ok(Architecture::Blackwell),
            _ if name.starts_with("LS10") || name.starts_with("LS_10") => Ok(Architecture::Switch),
            _ => Err(Refusal::Identity(format!("{name:?} is no device that this program knows"))),
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Architecture::Hopper => "Hopper",
            Architecture::Blackwell => "Blackwell",
            Architecture::Switch => "NVSwitch LS10",
        }
    }

    /// The firmware's digest in the device's certificate.
    fn fwid<'a>(self, certificate: &Certificate<'a>) -> Result<&'a [u8], Refusal> {
        let oid = if self == Architecture::Blackwell { FWID_BLACKWELL } else { FWID_HOPPER };
        let missing = || Refusal::malformed("certificate", format!("no firmware id under {oid}"));
        let value = certificate.extension(oid).ok_or_else(missing)?;
        let at = value
            .windows(SHA384_DIGEST.len())
            .position(|window| window == SHA384_DIGEST)
            .ok_or_else(missing)?;
        let from = at + SHA384_DIGEST.len();
        value.get(from..from + DIGEST_LEN).ok_or_else(missing)
    }
}

/// Verifies one device's report.
pub(crate) fn verify(
    report: &[u8],
    certificates: &[Vec<u8>],
    collateral: &Collateral,
    question: &Question<'_>,
) -> Result<Report, Refusal> {
    let parsed = Parsed::parse(report)?;
    let given: Vec<Vec<u8>> = certificates.iter().chain(&collateral.certificates).cloned().collect();
    let given = chain::parse_all(&given)?;
    let device = given.first().ok_or_else(|| Refusal::Collateral("the device's certificate chain".into()))?;
    let path =
        chain::verify(device, &given, &collateral.crls, &roots::nvidia(question.simulated), question.at)?;
    chain::verify_p384(device, parsed.signed, parsed.signature, "the NVIDIA report")?;
    let architecture = Architecture::of(device)?;
    let fwid = architecture.fwid(device)?;
    match parsed.field(field::FWID) {
        Some(reported) if reported == fwid => {}
        // No NVSwitch's report repeats it; it is derived into the key all the same.
        None if architecture == Architecture::Switch => {}
        _ => return Err(Refusal::Identity("the report is of other firmware than its key".into())),
    }
    Ok(claims(&parsed, device, architecture, fwid, &path, question))
}

fn claims(
    parsed: &Parsed<'_>,
    device: &Certificate<'_>,
    architecture: Architecture,
    fwid: &[u8],
    path: &chain::Path,
    question: &Question<'_>,
) -> Report {
    let platform = match architecture {
        Architecture::Switch => Platform::NvidiaSwitch,
        Architecture::Hopper | Architecture::Blackwell => Platform::NvidiaGpu,
    };
    let mut report = Report::new(platform, path.root.clone(), path.simulated, question.at);
    report.about = format!("{} {:?}, below {:?}", architecture.as_str(), device.name(), path.issuer);
    report.nonce = Some(parsed.nonce.to_vec());
    report.age.good_until = Some(path.good_until);
    for (index, digest) in &parsed.measurements {
        report.measure(&format!("measurement_{index:02}"), digest);
    }
    let word = |number| parsed.field(number).map(text);
    let words = [
        ("driver", word(field::DRIVER_VERSION)),
        ("vbios", parsed.field(field::VBIOS_VERSION).and_then(|value| vbios(architecture, value))),
        ("chip_sku", word(field::CHIP_SKU)),
        ("project", word(field::PROJECT)),
        ("project_sku", word(field::PROJECT_SKU)),
        ("architecture", Some(architecture.as_str().to_owned())),
        ("fwid", Some(hex::encode(fwid))),
        ("protected_pcie", parsed.field(field::PROTECTED_PCIE).map(switched)),
        ("feature_flag", parsed.field(field::FEATURE_FLAG).map(feature)),
    ];
    for (name, word) in words {
        if let Some(word) = word {
            report.measurements.insert(name.into(), word);
        }
    }
    let shown = [
        ("board_id", field::BOARD_ID),
        ("switch_pdi", field::SWITCH_PDI),
        ("gpu_pdis", field::SWITCH_GPU_PDIS),
    ];
    for (name, number) in shown {
        if let Some(value) = parsed.field(number) {
            report.claim(name, hex::encode(value));
        }
    }
    if let Some(value) = parsed.field(field::NVDEC0_STATUS) {
        report.claim("nvdec0", switched(value));
    }
    if platform == Platform::NvidiaGpu && parsed.field(field::FEATURE_FLAG).is_none() {
        report
            .notes
            .push("this driver's report does not say in which confidential mode the device is".into());
    }
    report
}

/// `96.00.9F.00.01`: of an NVSwitch as text, of a GPU from a little-endian word and the byte behind it.
fn vbios(architecture: Architecture, value: &[u8]) -> Option<String> {
    match value {
        _ if architecture == Architecture::Switch => Some(text(value)),
        [d, c, b, a, e, ..] => Some(format!("{a:02X}.{b:02X}.{c:02X}.{d:02X}.{e:02X}")),
        _ => None,
    }
}

/// Characters up to the first zero.
fn text(value: &[u8]) -> String {
    shown(value.split(|byte| *byte == 0).next().unwrap_or_default())
}

fn switched(value: &[u8]) -> String {
    match value {
        [0xaa] => "on".into(),
        [0x55] => "off".into(),
        other => hex::encode(other),
    }
}

/// Which confidential mode the device is in.
fn feature(value: &[u8]) -> String {
    match value {
        [0, ..] => "single-passthrough".into(),
        [1, ..] => "multi-passthrough".into(),
        [2, ..] => "protected-pcie".into(),
        other => hex::encode(other),
    }
}

#[cfg(test)]
mod tests;
