//! SEV-SNP reports: Colophon's reader, over the raw bytes, and crate `sev`, over what it re-encodes. Whatever ours accepts
//! theirs does. Theirs accepts more: what is reserved it drops before it hashes.

use colophon_attest::{Collateral, Evidence, Question, verify};
use colophon_differential::{flipped, recorded};
use sev::certs::snp::{Chain, Verifiable};
use sev::firmware::guest::AttestationReport;

const ARK: &[u8] = include_bytes!("../../attest/src/roots/amd-ark-milan.der");
const ASK: &[u8] = include_bytes!("../../attest/src/roots/amd-ask-milan.der");
/// 2025-06-20.
const AT: u64 = 1_750_377_600;

fn ours(report: &[u8], vcek: &[u8]) -> bool {
    let evidence = Evidence::SnpReport { report: report.to_vec(), certificates: vec![vcek.to_vec()] };
    verify(&evidence, &Collateral::default(), &Question { at: AT, ..Question::default() }).is_ok()
}

/// It panics on some reports of a wrong length or version: that is no acceptance.
fn theirs(report: &[u8], chain: &Chain) -> bool {
    std::panic::catch_unwind(|| {
        AttestationReport::from_bytes(report).is_ok_and(|report| (chain, &report).verify().is_ok())
    })
    .unwrap_or(false)
}

#[test]
fn what_we_accept_crate_sev_accepts() {
    let mut compared = 0;
    for (name, key) in [
        ("snp/report_milan.hex", "snp/vcek_milan.der"),
        ("snp/vlek/test-report.bin", "snp/vlek/test-vcek.der"),
        ("snp/debug/attestation.bin", "snp/debug/vcek.testcer"),
    ] {
        let (Some(report), Some(vcek)) = (recorded(name), recorded(key)) else { continue };
        let report = if name.ends_with(".hex") {
            hex::decode(report.trim_ascii()).expect("hexadecimal")
        } else {
            report
        };
        let chain = Chain::from_der(ARK, ASK, &vcek).expect("a chain");
        let good = ours(&report, &vcek);
        assert!(theirs(&report, &chain), "{name}");
        // The one of go-sev-guest was made with debugging on, which crate `sev` does not look at.
        assert_eq!(good, !name.contains("debug"), "{name}");
        let mut more = Vec::new();
        for (at, report) in flipped(&report, 0..report.len()) {
            let (ours, theirs) = (ours(&report, &vcek), theirs(&report, &chain));
            assert!(theirs || !ours, "{name}: only we accept a changed byte {at:#x}");
            assert!(!ours, "{name}: byte {at:#x} is changed, and we accept it");
            compared += 1;
            if theirs {
                more.push(at);
            }
        }
        // Reserved bytes of the signed part, those within the four TCB versions too, and all behind the signature's numbers.
        let in_tcb =
            |at: usize| [0x38, 0x180, 0x1e0, 0x1f0].iter().any(|tcb| (tcb + 2..tcb + 6).contains(&at));
        let reserved = |at: usize| {
            (0x4c..0x50).contains(&at)
                || (0x188..0x1a0).contains(&at)
                || matches!(at, 0x1eb | 0x1ef)
                || (0x1f8..report.len()).contains(&at)
                || in_tcb(at)
        };
        let other: Vec<_> = more.iter().filter(|at| !reserved(**at)).map(|at| format!("{at:#x}")).collect();
        eprintln!("{name}: crate sev accepts {} changed reports that we refuse", more.len());
        assert!(other.is_empty(), "{name}: crate sev accepts changes at {other:?}");
    }
    eprintln!("{compared} changed reports were compared");
}

#[test]
fn a_report_of_another_key_is_refused_by_both() {
    let (Some(report), Some(key)) = (recorded("snp/report_milan.hex"), recorded("snp/vlek/test-vcek.der"))
    else {
        return;
    };
    let report = hex::decode(report.trim_ascii()).expect("hexadecimal");
    let chain = Chain::from_der(ARK, ASK, &key).expect("a chain");
    assert!(!ours(&report, &key) && !theirs(&report, &chain));
}
