use super::*;
use crate::testing::{flips, judge, policy, recorded, recorded_hex};
use crate::{Evidence, Source, verify as verify_evidence};

/// 2025-06-20: all recorded certificates are valid.
const AT: u64 = 1_750_377_600;

fn snp(report: Vec<u8>, certificate: Option<Vec<u8>>) -> Option<Evidence> {
    Some(Evidence::SnpReport { report, certificates: vec![certificate?] })
}

fn milan() -> Option<Evidence> {
    snp(recorded_hex("snp/report_milan.hex")?, recorded("snp/vcek_milan.der"))
}

fn vlek() -> Option<Evidence> {
    snp(recorded("snp/vlek/test-vlek-report.bin")?, recorded("snp/vlek/test-vlek.der"))
}

fn ask(evidence: &Evidence) -> Result<Report, Refusal> {
    judge(evidence, &Collateral::default(), AT)
}

fn changed(evidence: &Evidence, change: impl Fn(&mut Vec<u8>)) -> Evidence {
    let Evidence::SnpReport { report, certificates } = evidence else { panic!("not a report") };
    let mut report = report.clone();
    change(&mut report);
    Evidence::SnpReport { report, certificates: certificates.clone() }
}

#[test]
fn recorded_reports_are_accepted() {
    let Some(evidence) = milan() else { return };
    let report = ask(&evidence).unwrap();
    assert_eq!((report.platform, report.source), (Platform::SevSnp, Source::HardwareProven));
    assert_eq!(report.root.name, "ARK-Milan");
    assert_eq!((report.tcb["bootloader"], report.tcb["snp"], report.tcb["microcode"]), (3, 8, 0x73));
    assert_eq!(report.measurements["product"], "Milan");
    assert_eq!(report.claims["signed_by"], "VCEK");
    let Some(other) = recorded("snp/vlek/test-report.bin")
        .and_then(|report| snp(report, recorded("snp/vlek/test-vcek.der")))
    else {
        return;
    };
    ask(&other).unwrap();
}

#[test]
fn a_recorded_report_by_a_vlek_is_accepted() {
    let Some(evidence) = vlek() else { return };
    let report = ask(&evidence).unwrap();
    assert_eq!(report.claims["signed_by"], "VLEK");
    assert!(report.about.contains("amazonaws.com"), "{}", report.about);
    assert_eq!(report.tcb["microcode"], 0xd9);
}

/// In the HCL report of an Azure machine, from byte 32 on.
fn genoa() -> Option<Evidence> {
    let mut bundle = crate::evidence::Bundle::read(&recorded("azure/genoa.json")?).unwrap();
    let Some(Evidence::AzureVtpm { hcl, .. }) = bundle.evidence.pop() else { panic!("not Azure's") };
    snp(hcl[0x20..0x20 + REPORT_LEN].to_vec(), bundle.collateral.certificates.pop())
}

#[test]
fn a_recorded_genoa_report_of_version_3_is_accepted() {
    let Some(evidence) = genoa() else { return };
    let report = ask(&evidence).unwrap();
    assert_eq!((report.source, report.root.name.as_str()), (Source::HardwareProven, "ARK-Genoa"));
    assert_eq!(report.measurements["product"], "Genoa");
    assert_eq!(report.claims["report_version"], "3");
    assert_eq!((report.tcb["bootloader"], report.tcb["snp"], report.tcb["microcode"]), (10, 23, 84));
    // Nothing of it can be changed: neither what is signed nor the signature.
    for at in (0..REPORT_LEN).step_by(23) {
        assert!(ask(&changed(&evidence, |report| report[at] ^= 1 << (at % 8))).is_err(), "{at}");
    }
}

/// A key of another line, under its own good root, does not fit the report's CPUID, nor a report that names none.
#[test]
fn the_processor_lines_of_report_key_and_root_agree() {
    let Some(Evidence::SnpReport { report, certificates }) = genoa() else { return };
    let key = Certificate::parse(&certificates[0]).unwrap();
    let between: Vec<Vec<u8>> = roots::AMD_BETWEEN.iter().map(|der| der.to_vec()).collect();
    let between = chain::parse_all(&between).unwrap();
    let path = |key| chain::verify(key, &between, &[], &roots::amd(None), AT).unwrap();
    let parsed = Parsed::parse(&report).unwrap();
    assert_eq!(check_product(&parsed, &key, &path(&key)), Ok(Product::Genoa));
    let mut milan = report.clone();
    milan[0x188..0x18a].copy_from_slice(&[0x19, 0x01]);
    let milan = Parsed::parse(&milan).unwrap();
    assert_eq!(check_product(&milan, &key, &path(&key)).unwrap_err().code(), "identity");
    let Some(turin) = recorded("snp/vcek_turin.der") else { return };
    let turin = Certificate::parse(&turin).unwrap();
    assert_eq!(check_product(&parsed, &turin, &path(&turin)).unwrap_err().code(), "identity");
    assert_eq!(check_product(&parsed, &key, &path(&turin)).unwrap_err().code(), "chain");
}

/// There is no recorded report of Turin: its VCEK's chain is what can be shown, and a simulated report
/// (`simulate::tests::a_turin_is_read_by_its_own_layout`).
#[test]
fn a_recorded_turin_vcek_leads_to_turins_root() {
    let Some(der) = recorded("snp/vcek_turin.der") else { return };
    let vcek = Certificate::parse(&der).unwrap();
    let between: Vec<Vec<u8>> = roots::AMD_BETWEEN.iter().map(|der| der.to_vec()).collect();
    let between = chain::parse_all(&between).unwrap();
    let path = chain::verify(&vcek, &between, &[], &roots::amd(None), AT).unwrap();
    assert_eq!(path.root.name, "ARK-Turin");
    let tcb = Tcb::of_certificate(&vcek, Product::Turin).unwrap();
    assert_eq!(tcb.fmc, Some(0));
    assert_eq!(extension(&vcek, HARDWARE_ID).unwrap().len(), 8);
}

#[test]
fn a_report_that_allows_debugging_is_refused() {
    let Some(evidence) = recorded("snp/debug/attestation.bin")
        .and_then(|report| snp(report, recorded("snp/debug/vcek.testcer")))
    else {
        return;
    };
    assert_eq!(ask(&evidence), Err(Refusal::Debug("debugging")));
}

#[test]
fn expired_keys_are_refused() {
    let Some(evidence) = vlek() else { return };
    // The VLEK is good for a year, to 2025-12-10.
    let refusal = judge(&evidence, &Collateral::default(), AT + 200 * 86_400).unwrap_err();
    assert_eq!(refusal.code(), "time", "{refusal}");
    let refusal = judge(&evidence, &Collateral::default(), AT - 400 * 86_400).unwrap_err();
    assert_eq!(refusal.code(), "time", "{refusal}");
}

#[test]
fn keys_of_other_chips_and_lines_are_refused() {
    let Some(report) = recorded_hex("snp/report_milan.hex") else { return };
    for name in [
        "snp/vcek_turin.der",
        "snp/vlek/test-vcek.der",
        "snp/vlek/test-vcek-invalid-new.der",
        "snp/vlek/test-vlek.der",
    ] {
        let Some(evidence) = snp(report.clone(), recorded(name)) else { return };
        let refusal = ask(&evidence).unwrap_err();
        assert!(matches!(refusal.code(), "signature" | "collateral" | "malformed"), "{name}: {refusal}");
    }
    // Its own key, changed after AMD signed it: hardware id, TCB.
    let Some(report) = recorded("snp/vlek/test-report.bin") else { return };
    for name in ["snp/vlek/test-vcek-invalid-new.der", "snp/vlek/test-vcek-invalid-legacy.der"] {
        let Some(evidence) = snp(report.clone(), recorded(name)) else { return };
        assert!(ask(&evidence).is_err(), "{name}");
    }
    let evidence = Evidence::SnpReport { report, certificates: vec![] };
    assert_eq!(ask(&evidence).unwrap_err().code(), "collateral");
}

#[test]
fn a_chip_or_tcb_that_is_not_the_keys_is_refused() {
    let Some(Evidence::SnpReport { report, certificates }) = milan() else { return };
    let parsed = Parsed::parse(&report).unwrap();
    let key = Certificate::parse(&certificates[0]).unwrap();
    check_identity(&parsed, &key, Product::Milan, false).unwrap();
    let mut other = report.clone();
    other[0x1a0] ^= 1;
    let other = Parsed::parse(&other).unwrap();
    assert_eq!(check_identity(&other, &key, Product::Milan, false).unwrap_err().code(), "identity");
    // A VCEK has no provider, so it cannot stand in for a VLEK.
    assert!(check_identity(&parsed, &key, Product::Milan, true).is_err());
    let mut old = parsed.reported_tcb;
    old[7] -= 1;
    assert_ne!(Tcb::parse(old, Product::Milan).unwrap(), Tcb::of_certificate(&key, Product::Milan).unwrap());
}

/// Every bit of what is signed and of the signature.
#[test]
fn no_flipped_bit_is_accepted() {
    let Some(evidence) = milan() else { return };
    let Evidence::SnpReport { report, certificates } = &evidence else { return };
    let key = Certificate::parse(&certificates[0]).unwrap();
    // The chain does not depend on the report: verifying it 9000 times would only cost time.
    let accepted = |at: usize, mask: u8| {
        let mut report = report.clone();
        report[at] ^= mask;
        Parsed::parse(&report)
            .and_then(|parsed| {
                chain::verify_p384(&key, parsed.signed, &parsed.signature, "the SEV-SNP report")
            })
            .is_ok()
    };
    assert!(accepted(0, 0), "unchanged it is good");
    assert_eq!(flips(0..SIGNED_LEN, true, accepted), []);
    assert_eq!(flips(SIGNED_LEN..REPORT_LEN, true, accepted), [], "nothing of the signature's field is free");
    // Through the front door, a bit of each sixteenth byte.
    for at in (0..REPORT_LEN).step_by(16) {
        assert!(ask(&changed(&evidence, |report| report[at] ^= 0x10)).is_err(), "{at}");
    }
}

#[test]
fn what_is_reserved_has_to_be_zero() {
    let Some(evidence) = milan() else { return };
    for at in [
        0x4c,
        0x188,
        0x18b,
        0x1eb,
        0x1ef,
        0x1f8,
        0x208,
        0x29f,
        0x2a0 + 48,
        0x2a0 + 72 + 48,
        0x2a0 + 144,
        1183,
    ] {
        let refusal = ask(&changed(&evidence, |report| report[at] = 1)).unwrap_err();
        assert_eq!(refusal.code(), "malformed", "{at:#x}: {refusal}");
    }
}

/// A processor that signs it would not make it right: bits that mean nothing today may mean something weaker tomorrow.
#[test]
fn reserved_bits_of_the_guest_policy_are_refused() {
    let Some(Evidence::SnpReport { report, .. }) = genoa() else { panic!("it is in the repository") };
    let code = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut report = report.clone();
        change(&mut report);
        Parsed::parse(&report).unwrap().check_policy().err().map(|refusal| refusal.code())
    };
    assert_eq!(code(&|_| {}), None);
    assert_eq!(code(&|report| report[0x0a] &= !2), Some("malformed"), "bit 17 is always one");
    for (at, bit) in [(0x0b, 4), (0x0b, 0x80), (0x0f, 0x80)] {
        assert_eq!(code(&|report| report[at] |= bit), Some("malformed"), "{at:#x} {bit:#x}");
    }
}

#[test]
fn other_lengths_and_versions_are_refused() {
    let Some(evidence) = milan() else { return };
    for version in [0, 1, 6] {
        assert_eq!(ask(&changed(&evidence, |report| report[0] = version)).unwrap_err().code(), "malformed");
    }
    assert_eq!(ask(&changed(&evidence, |report| report.truncate(1183))).unwrap_err().code(), "malformed");
    assert_eq!(ask(&changed(&evidence, |report| report.push(0))).unwrap_err().code(), "malformed");
}

#[test]
fn floors_and_reference_values_are_compared() {
    let Some(evidence) = milan() else { return };
    let measurement = ask(&evidence).unwrap().measurements["measurement"].clone();
    let rules = |floor: u64, vmpl: &str| {
        policy(&format!(
            "    sev-snp:\n      referenceValues: {{measurement: [{measurement:?}], vmpl: [{vmpl:?}]}}\n      tcb: {{minimum: {{microcode: {floor}}}}}\n"
        ))
    };
    let ask = |policy: &crate::Policy| {
        let question = Question { at: AT, policy: Some(policy), ..Question::default() };
        verify_evidence(&evidence, &Collateral::default(), &question)
    };
    assert!(ask(&rules(115, "0")).unwrap().compared);
    assert_eq!(ask(&rules(116, "0")).unwrap_err().code(), "tcb");
    assert_eq!(ask(&rules(115, "1")).unwrap_err().code(), "measurement");
}
