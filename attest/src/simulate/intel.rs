//! A simulated TDX quote of version 4, and Intel's collateral for it.

use super::der::{Certificate, Curve, Identity, oid, tlv};
use super::{Faults, Simulation};
use crate::{Collateral, Evidence};
use colophon_receipt::merkle::sha256;
use dcap_qvl::QuoteCollateralV3;
use serde_json::json;

const FMSPC: [u8; 6] = [0x50, 0x80, 0x6f, 0, 0, 0];
/// SVN of all components, of the PCE and of the QE.
const SVN: u8 = 5;
const DAY: u64 = 86_400;
/// Intel's id of its quoting enclave.
const QE_VENDOR: [u8; 16] =
    [0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07];

pub(super) fn tdx(
    simulation: &Simulation,
    report_data: [u8; 64],
    at: u64,
    faults: Faults,
) -> (Evidence, Collateral) {
    let root = simulation.intel_root();
    let authority =
        simulation.identity("Intel SGX PCK Platform CA", Curve::P256, Certificate::authority(), Some(&root));
    let extensions = [("1.2.840.113741.1.13.1", sgx_extension())];
    let pck = simulation.identity(
        "Intel SGX PCK Certificate",
        Curve::P256,
        Certificate::leaf(&extensions),
        Some(&authority),
    );
    let signer =
        simulation.identity("Intel SGX TCB Signing", Curve::P256, Certificate::leaf(&[]), Some(&root));
    let attestation = simulation.identity("attestation key", Curve::P256, Certificate::leaf(&[]), None);
    let (tcb_info, qe_identity) = (tcb_info(at, faults).to_string(), qe_identity(at).to_string());
    let chain = format!("{}{}", signer.pem(), root.pem());
    let intel = QuoteCollateralV3 {
        pck_crl_issuer_chain: format!("{}{}", authority.pem(), root.pem()),
        root_ca_crl: root.crl(&[]),
        pck_crl: authority.crl(&[]),
        tcb_info_issuer_chain: chain.clone(),
        tcb_info_signature: signer.sign(tcb_info.as_bytes()),
        tcb_info,
        qe_identity_issuer_chain: chain,
        qe_identity_signature: signer.sign(qe_identity.as_bytes()),
        qe_identity,
        pck_certificate_chain: None,
    };
    let quote =
        quote(report_data, faults, &attestation, &pck, &[pck.pem(), authority.pem(), root.pem()].concat());
    (Evidence::IntelQuote { quote }, Collateral { intel: Some(intel), ..Collateral::default() })
}

fn quote(
    report_data: [u8; 64],
    faults: Faults,
    attestation: &Identity,
    pck: &Identity,
    chain: &str,
) -> Vec<u8> {
    let mut quote = Vec::new();
    // Version, ECDSA on P-256, TDX, QE and PCE SVN, vendor, user data.
    quote.extend([4, 0, 2, 0, 0x81, 0, 0, 0, 0, 0, 0, 0]);
    quote.extend(QE_VENDOR);
    quote.extend([0; 20]);
    // TEE TCB SVN: all components, with module version 0.
    let mut svn = [SVN; 16];
    svn[1] = 0;
    quote.extend(svn);
    quote.extend(digest("mr_seam"));
    quote.extend([0; 48 + 8]);
    let attributes = 1u64 << 28 | u64::from(faults.debug) | u64::from(faults.migration) << 29;
    quote.extend(attributes.to_le_bytes());
    quote.extend([0xe7, 2, 6, 0, 0, 0, 0, 0]);
    quote.extend(digest("mr_td"));
    quote.extend([0; 3 * 48]);
    for register in ["rt_mr0", "rt_mr1", "rt_mr2", "rt_mr3"] {
        quote.extend(digest(register));
    }
    quote.extend(report_data);
    let signature = attestation.sign(&quote);
    let qe_auth = [7; 32];
    let mut qe_report = [0; 384];
    qe_report[48] = 0x11;
    qe_report[128..160].copy_from_slice(&sha256(b"mrsigner of the QE"));
    qe_report[256] = 2;
    qe_report[258] = SVN;
    qe_report[320..352].copy_from_slice(&sha256(&[&attestation.coordinates()[..], &qe_auth].concat()));
    let mut certification = qe_report.to_vec();
    certification.extend(pck.sign(&qe_report));
    certification.extend([32, 0]);
    certification.extend(qe_auth);
    certification.extend([5, 0]);
    certification.extend((chain.len() as u32).to_le_bytes());
    certification.extend(chain.as_bytes());
    let mut auth = signature;
    auth.extend(attestation.coordinates());
    auth.extend([6, 0]);
    auth.extend((certification.len() as u32).to_le_bytes());
    auth.extend(certification);
    quote.extend((auth.len() as u32).to_le_bytes());
    quote.extend(auth);
    quote
}

/// 48 bytes that follow from a word.
fn digest(word: &str) -> Vec<u8> {
    let hash = sha256(word.as_bytes());
    [&hash[..], &hash[..16]].concat()
}

fn tcb_info(at: u64, faults: Faults) -> serde_json::Value {
    let component = json!({"svn": SVN});
    let tdx: Vec<_> = (0..16).map(|number| json!({"svn": if number == 1 { 0 } else { SVN }})).collect();
    let status = if faults.outdated { "OutOfDate" } else { "UpToDate" };
    json!({
        "id": "TDX",
        "version": 3,
        "issueDate": date(at.saturating_sub(DAY)),
        "nextUpdate": date(at + 29 * DAY),
        "fmspc": hex::encode_upper(FMSPC),
        "pceId": "0000",
        "tcbType": 0,
        "tcbEvaluationDataNumber": 20,
        "tdxModule": {"mrsigner": "00".repeat(48), "attributes": "00".repeat(8), "attributesMask": "FF".repeat(8)},
        "tcbLevels": [{
            "tcb": {"sgxtcbcomponents": vec![component; 16], "pcesvn": SVN, "tdxtcbcomponents": tdx},
            "tcbDate": "2024-03-13T00:00:00Z",
            "tcbStatus": status,
            "advisoryIDs": if faults.outdated { vec!["INTEL-SA-00000"] } else { vec![] },
        }],
    })
}

fn qe_identity(at: u64) -> serde_json::Value {
    json!({
        "id": "TD_QE",
        "version": 2,
        "issueDate": date(at.saturating_sub(DAY)),
        "nextUpdate": date(at + 29 * DAY),
        "tcbEvaluationDataNumber": 20,
        "miscselect": "00000000",
        "miscselectMask": "FFFFFFFF",
        "attributes": "11000000000000000000000000000000",
        "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
        "mrsigner": hex::encode_upper(sha256(b"mrsigner of the QE")),
        "isvprodid": 2,
        "tcbLevels": [{"tcb": {"isvsvn": SVN}, "tcbDate": "2024-03-13T00:00:00Z", "tcbStatus": "UpToDate"}],
    })
}

/// The PCK certificate's own extension: PPID, TCB, PCE id, FMSPC, type.
fn sgx_extension() -> Vec<u8> {
    const BASE: &str = "1.2.840.113741.1.13.1";
    let entry = |number: &str, value: Vec<u8>| tlv(0x30, &[oid(&format!("{BASE}.{number}")), value].concat());
    let mut tcb: Vec<u8> =
        (1..=16).flat_map(|component| entry(&format!("2.{component}"), tlv(0x02, &[SVN]))).collect();
    tcb.extend(entry("2.17", tlv(0x02, &[SVN])));
    tcb.extend(entry("2.18", tlv(0x04, &[SVN; 16])));
    let entries = [
        entry("1", tlv(0x04, &sha256(b"ppid")[..16])),
        entry("2", tlv(0x30, &tcb)),
        entry("3", tlv(0x04, &[0, 0])),
        entry("4", tlv(0x04, &FMSPC)),
        entry("5", tlv(0x0a, &[0])),
    ];
    tlv(0x30, &entries.concat())
}

/// RFC 3339, of the proleptic Gregorian calendar.
fn date(seconds: u64) -> String {
    let (days, rest) = (seconds / DAY, seconds % DAY);
    let (mut year, mut left) = (1970, days);
    let leap = |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    while left >= 365 + u64::from(leap(year)) {
        left -= 365 + u64::from(leap(year));
        year += 1;
    }
    let mut month = 1;
    for len in [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if left < len {
            break;
        }
        left -= len;
        month += 1;
    }
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", left + 1)
}
