//! AMD SEV-SNP attestation reports (SEV-SNP ABI specification 56860, tables 22 to 25), by VCEK or VLEK.
//!
//! The signature is verified over the first 672 bytes as they came, never over a re-encoded structure: what is reserved is
//! signed too, and has to be zero.

use crate::bytes::Bytes;
use crate::verify::Question;
use crate::{Collateral, Platform, Refusal, Report, chain, roots};
use colophon_signer::x509::Certificate;

/// All reports have this many bytes.
pub const REPORT_LEN: usize = 1184;
/// What the signature is over.
const SIGNED_LEN: usize = 0x2a0;
/// ECDSA on P-384 with SHA-384.
const ECDSA_P384_SHA384: u32 = 1;
/// Versions of the report: 2 (Milan, Genoa), 3 and 4 (with CPUID), 5 (with mitigation vectors).
const VERSIONS: std::ops::RangeInclusive<u32> = 2..=5;

const WHAT: &str = "SEV-SNP report";

/// Extensions of VCEK and VLEK certificates (AMD specification 57230).
const PRODUCT: &str = "1.3.6.1.4.1.3704.1.2";
const BOOTLOADER: &str = "1.3.6.1.4.1.3704.1.3.1";
const TEE: &str = "1.3.6.1.4.1.3704.1.3.2";
const SNP: &str = "1.3.6.1.4.1.3704.1.3.3";
const MICROCODE: &str = "1.3.6.1.4.1.3704.1.3.8";
const FMC: &str = "1.3.6.1.4.1.3704.1.3.9";
const HARDWARE_ID: &str = "1.3.6.1.4.1.3704.1.4";
const PROVIDER: &str = "1.3.6.1.4.1.3704.1.5";

/// Bits of the guest policy.
const POLICY_SMT: u64 = 1 << 16;
const POLICY_ONE: u64 = 1 << 17;
const POLICY_MIGRATION: u64 = 1 << 18;
const POLICY_DEBUG: u64 = 1 << 19;
const POLICY_RESERVED: u64 = !0 << 26;

/// The lines of processors, which differ in layout and root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Product {
    Milan,
    Genoa,
    Turin,
}

impl Product {
    fn of_name(name: &str) -> Option<Product> {
        match name {
            _ if name.starts_with("Milan") => Some(Product::Milan),
            _ if name.starts_with("Genoa") || name.starts_with("Siena") || name.starts_with("Bergamo") => {
                Some(Product::Genoa)
            }
            _ if name.starts_with("Turin") => Some(Product::Turin),
            _ => None,
        }
    }

    /// By family and model of CPUID, as reports of version 3 and later hold them.
    fn of_cpuid(family: u8, model: u8) -> Option<Product> {
        match (family, model) {
            (0x19, 0x00..=0x0f) => Some(Product::Milan),
            (0x19, 0x10..=0x1f | 0xa0..=0xaf) => Some(Product::Genoa),
            (0x1a, 0x00..=0x11) => Some(Product::Turin),
            _ => None,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Product::Milan => "Milan",
            Product::Genoa => "Genoa",
            Product::Turin => "Turin",
        }
    }
}

/// Security versions of the parts of the firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tcb {
    fmc: Option<u8>,
    bootloader: u8,
    tee: u8,
    snp: u8,
    microcode: u8,
}

impl Tcb {
    fn parse(bytes: [u8; 8], product: Product) -> Result<Tcb, Refusal> {
        let (tcb, reserved): (Tcb, &[u8]) = match product {
            Product::Turin => (
                Tcb {
                    fmc: Some(bytes[0]),
                    bootloader: bytes[1],
                    tee: bytes[2],
                    snp: bytes[3],
                    microcode: bytes[7],
                },
                &bytes[4..7],
            ),
            Product::Milan | Product::Genoa => (
                Tcb { fmc: None, bootloader: bytes[0], tee: bytes[1], snp: bytes[6], microcode: bytes[7] },
                &bytes[2..6],
            ),
        };
        zero(reserved, "a TCB version")?;
        Ok(tcb)
    }

    fn of_certificate(certificate: &Certificate<'_>, product: Product) -> Result<Tcb, Refusal> {
        Ok(Tcb {
            fmc: if product == Product::Turin { Some(svn(certificate, FMC)?) } else { None },
            bootloader: svn(certificate, BOOTLOADER)?,
            tee: svn(certificate, TEE)?,
            snp: svn(certificate, SNP)?,
            microcode: svn(certificate, MICROCODE)?,
        })
    }
}

/// The report taken apart. Parsing proves nothing.
struct Parsed<'a> {
    version: u32,
    guest_svn: u32,
    policy: u64,
    family_id: [u8; 16],
    image_id: [u8; 16],
    vmpl: u32,
    current_tcb: [u8; 8],
    platform_info: u64,
    flags: u32,
    report_data: [u8; 64],
    measurement: [u8; 48],
    host_data: [u8; 32],
    id_key_digest: [u8; 48],
    author_key_digest: [u8; 48],
    reported_tcb: [u8; 8],
    cpuid: [u8; 3],
    chip_id: [u8; 64],
    committed_tcb: [u8; 8],
    signed: &'a [u8],
    /// `r ‖ s`, big-endian.
    signature: [u8; 96],
}

impl<'a> Parsed<'a> {
    fn parse(report: &'a [u8]) -> Result<Parsed<'a>, Refusal> {
        if report.len() != REPORT_LEN {
            return Err(Refusal::malformed(WHAT, format!("{} bytes instead of {REPORT_LEN}", report.len())));
        }
        let mut bytes = Bytes::new(report, WHAT);
        let version = bytes.u32_le()?;
        if !VERSIONS.contains(&version) {
            return Err(Refusal::malformed(WHAT, format!("version {version}; this program knows 2 to 5")));
        }
        let guest_svn = bytes.u32_le()?;
        let policy = u64::from_le_bytes(bytes.array()?);
        let (family_id, image_id) = (bytes.array()?, bytes.array()?);
        let vmpl = bytes.u32_le()?;
        let algorithm = bytes.u32_le()?;
        if algorithm != ECDSA_P384_SHA384 {
            return Err(Refusal::malformed(WHAT, format!("signature algorithm {algorithm}")));
        }
        let current_tcb = bytes.array()?;
        let platform_info = u64::from_le_bytes(bytes.array()?);
        let flags = bytes.u32_le()?;
        zero(bytes.take(4)?, "bytes 0x4c to 0x50")?;
        let (report_data, measurement, host_data) = (bytes.array()?, bytes.array()?, bytes.array()?);
        let (id_key_digest, author_key_digest) = (bytes.array()?, bytes.array()?);
        let _report_ids = bytes.take(64)?;
        let reported_tcb = bytes.array()?;
        let cpuid: [u8; 3] = bytes.array()?;
        if version < 3 {
            zero(&cpuid, "bytes 0x188 to 0x18b")?;
        }
        zero(bytes.take(0x1a0 - 0x18b)?, "bytes 0x18b to 0x1a0")?;
        let chip_id = bytes.array()?;
        let committed_tcb = bytes.array()?;
        let _current_version = bytes.take(3)?;
        zero(bytes.take(1)?, "byte 0x1eb")?;
        let _committed_version = bytes.take(3)?;
        zero(bytes.take(1)?, "byte 0x1ef")?;
        let _launch_tcb = bytes.take(8)?;
        let mitigations = bytes.take(16)?;
        if version < 5 {
            zero(mitigations, "bytes 0x1f8 to 0x208")?;
        }
        zero(bytes.take(SIGNED_LEN - 0x208)?, "bytes 0x208 to 0x2a0")?;
        let mut signature = [0; 96];
        for half in signature.chunks_exact_mut(48) {
            let number: [u8; 72] = bytes.array()?;
            zero(&number[48..], "the signature's numbers")?;
            half.iter_mut().zip(number[..48].iter().rev()).for_each(|(to, from)| *to = *from);
        }
        zero(bytes.rest(), "the bytes behind the signature")?;
        Ok(Parsed {
            version,
            guest_svn,
            policy,
            family_id,
            image_id,
            vmpl,
            current_tcb,
            platform_info,
            flags,
            report_data,
            measurement,
            host_data,
            id_key_digest,
            author_key_digest,
            reported_tcb,
            cpuid,
            chip_id,
            committed_tcb,
            signed: &report[..SIGNED_LEN],
            signature,
        })
    }

    /// Whether the signing key is a VLEK.
    fn is_by_vlek(&self) -> Result<bool, Refusal> {
        if self.flags >> 5 != 0 {
            return Err(Refusal::malformed(WHAT, "reserved flags are set"));
        }
        match self.flags >> 2 & 7 {
            0 => Ok(false),
            1 => Ok(true),
            7 => Err(Refusal::Signature("the SEV-SNP report (the host had it made without one)")),
            other => Err(Refusal::malformed(WHAT, format!("signing key {other}"))),
        }
    }

    fn check_policy(&self) -> Result<(), Refusal> {
        if self.policy & POLICY_DEBUG != 0 {
            return Err(Refusal::Debug("debugging"));
        }
        if self.policy & POLICY_MIGRATION != 0 {
            return Err(Refusal::Migration);
        }
        if self.policy & POLICY_ONE == 0 || self.policy & POLICY_RESERVED != 0 {
            return Err(Refusal::malformed(WHAT, "reserved bits of the guest policy"));
        }
        Ok(())
    }
}

/// Verifies a report. `certificates` came with it; AMD's intermediate authorities are known.
pub(crate) fn verify(
    report: &[u8],
    certificates: &[Vec<u8>],
    collateral: &Collateral,
    question: &Question<'_>,
) -> Result<Report, Refusal> {
    let parsed = Parsed::parse(report)?;
    let by_vlek = parsed.is_by_vlek()?;
    let given: Vec<Vec<u8>> = certificates
        .iter()
        .chain(&collateral.certificates)
        .cloned()
        .chain(roots::AMD_BETWEEN.iter().map(|der| der.to_vec()))
        .collect();
    let given = chain::parse_all(&given)?;
    let wanted = if by_vlek { "SEV-VLEK" } else { "SEV-VCEK" };
    // A simulation's key is named so too, with its mark before it.
    let mut keys = given.iter().filter(|certificate| certificate.name().ends_with(wanted)).peekable();
    if keys.peek().is_none() {
        return Err(Refusal::Collateral(format!("the {wanted} certificate of this chip and TCB")));
    }
    // Where several are at hand, the right one is the one that signed.
    let signed = |key: &&Certificate<'_>| {
        chain::verify_p384(key, parsed.signed, &parsed.signature, "the SEV-SNP report").is_ok()
    };
    let key = keys.find(signed).ok_or(Refusal::Signature("the SEV-SNP report"))?;
    let path = chain::verify(key, &given, &collateral.crls, &roots::amd(question.simulated), question.at)?;
    let product = check_product(&parsed, key, &path)?;
    check_identity(&parsed, key, product, by_vlek)?;
    parsed.check_policy()?;
    let reported = Tcb::parse(parsed.reported_tcb, product)?;
    let certified = Tcb::of_certificate(key, product)?;
    if reported != certified {
        return Err(Refusal::Tcb(format!(
            "the report says {reported:?}, its key was made for {certified:?}"
        )));
    }
    claims(&parsed, &path, product, key, by_vlek, question)
}

/// The processor line of the key's root, of the key itself and of the report agree.
fn check_product(parsed: &Parsed<'_>, key: &Certificate<'_>, path: &chain::Path) -> Result<Product, Refusal> {
    let root = path.root.name.rsplit("ARK-").next().unwrap_or_default();
    let root =
        Product::of_name(root).ok_or_else(|| Refusal::Chain("a root of no known processor line".into()))?;
    let named = extension(key, PRODUCT)?;
    // IA5String
    let named = named.get(2..).map(|name| String::from_utf8_lossy(name).into_owned()).unwrap_or_default();
    if Product::of_name(&named) != Some(root) {
        return Err(Refusal::Chain(format!("a key for {named:?} under the root of {}", root.as_str())));
    }
    let [family, model, _] = parsed.cpuid;
    if parsed.version >= 3 && Product::of_cpuid(family, model) != Some(root) {
        let cpuid = format!(
            "a report of CPUID family {family:#x}, model {model:#x} under the root of {}",
            root.as_str()
        );
        return Err(Refusal::Identity(cpuid));
    }
    Ok(root)
}

/// A VCEK is of one chip: the report has to name it.
fn check_identity(
    parsed: &Parsed<'_>,
    key: &Certificate<'_>,
    product: Product,
    by_vlek: bool,
) -> Result<(), Refusal> {
    if by_vlek {
        return extension(key, PROVIDER).map(|_| ());
    }
    let id = extension(key, HARDWARE_ID)?;
    // Some are an OCTET STRING in the extension's own.
    let id = match id {
        [4, len, id @ ..] if usize::from(*len) == id.len() && matches!(id.len(), 8 | 64) => id,
        id => id,
    };
    let len = if product == Product::Turin { 8 } else { 64 };
    if id.len() != len {
        return Err(Refusal::malformed("certificate", "a hardware id of another length"));
    }
    let (chip, rest) = parsed.chip_id.split_at(len);
    if chip != id || rest.iter().any(|byte| *byte != 0) {
        return Err(Refusal::Identity("the report names another chip than its key, or hides it".into()));
    }
    Ok(())
}

fn claims(
    parsed: &Parsed<'_>,
    path: &chain::Path,
    product: Product,
    key: &Certificate<'_>,
    by_vlek: bool,
    question: &Question<'_>,
) -> Result<Report, Refusal> {
    let mut report = Report::new(Platform::SevSnp, path.root.clone(), path.simulated, question.at);
    let reported = Tcb::parse(parsed.reported_tcb, product)?;
    report.about = match by_vlek {
        true => {
            format!("a {} CPU of {}", product.as_str(), crate::bytes::shown(&extension(key, PROVIDER)?[2..]))
        }
        false => format!("the {} CPU {}…", product.as_str(), hex::encode(&parsed.chip_id[..8])),
    };
    report.age.good_until = Some(path.good_until);
    report.report_data = Some(parsed.report_data.to_vec());
    report.measure("measurement", &parsed.measurement);
    report.measure("host_data", &parsed.host_data);
    report.measure("id_key_digest", &parsed.id_key_digest);
    report.measure("author_key_digest", &parsed.author_key_digest);
    report.measure("family_id", &parsed.family_id);
    report.measure("image_id", &parsed.image_id);
    report.measurements.insert("vmpl".into(), parsed.vmpl.to_string());
    report.measurements.insert("product".into(), product.as_str().into());
    if let Some(fmc) = reported.fmc {
        report.tcb.insert("fmc".into(), fmc.into());
    }
    report.tcb.insert("bootloader".into(), reported.bootloader.into());
    report.tcb.insert("tee".into(), reported.tee.into());
    report.tcb.insert("snp".into(), reported.snp.into());
    report.tcb.insert("microcode".into(), reported.microcode.into());
    report.tcb.insert("guest_svn".into(), parsed.guest_svn.into());
    report.claim("report_version", parsed.version);
    report.claim("signed_by", if by_vlek { "VLEK" } else { "VCEK" });
    report.claim("chip_id", hex::encode(parsed.chip_id));
    report.claim("guest_policy", format!("{:#x}", parsed.policy));
    report.claim("smt_allowed", parsed.policy & POLICY_SMT != 0);
    report.claim("platform_info", format!("{:#x}", parsed.platform_info));
    report.claim("current_tcb", hex::encode(parsed.current_tcb));
    report.claim("committed_tcb", hex::encode(parsed.committed_tcb));
    if !path.revocation_checked {
        report.notes.push("no revocation list of AMD's was at hand that covers this time".into());
    }
    Ok(report)
}

fn extension<'a>(certificate: &Certificate<'a>, oid: &str) -> Result<&'a [u8], Refusal> {
    let missing = || Refusal::malformed("certificate", format!("no extension {oid}"));
    certificate.extension(oid).filter(|value| value.len() > 2).ok_or_else(missing)
}

/// An INTEGER of 0 to 255.
fn svn(certificate: &Certificate<'_>, oid: &str) -> Result<u8, Refusal> {
    match extension(certificate, oid)? {
        [2, 1, svn] if *svn < 0x80 => Ok(*svn),
        [2, 2, 0, svn] if *svn >= 0x80 => Ok(*svn),
        _ => Err(Refusal::malformed("certificate", format!("extension {oid} is no security version"))),
    }
}

fn zero(bytes: &[u8], which: &str) -> Result<(), Refusal> {
    match bytes.iter().all(|byte| *byte == 0) {
        true => Ok(()),
        false => Err(Refusal::malformed(WHAT, format!("{which} are reserved and not zero"))),
    }
}

#[cfg(test)]
mod tests;
