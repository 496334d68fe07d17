use super::*;
use crate::evidence::Bundle;
use crate::testing::{judge, recorded, recorded_hex};
use crate::{Evidence, Source, verify as verify_evidence};
use colophon_signer::x509;

/// 2025-06-20.
const AT: u64 = 1_750_377_600;

fn hopper() -> Option<Evidence> {
    let pem = String::from_utf8(recorded("nvidia/hopper_cert_chain_case1.txt")?).unwrap();
    let report = recorded_hex("nvidia/hopperAttestationReport.txt")?;
    Some(Evidence::Nvidia { report, certificates: x509::certificates(&pem).unwrap() })
}

fn ask(evidence: &Evidence) -> Result<Report, Refusal> {
    judge(evidence, &Collateral::default(), AT)
}

fn changed(evidence: &Evidence, change: impl Fn(&mut Vec<u8>)) -> Evidence {
    let Evidence::Nvidia { report, certificates } = evidence else { panic!("not a report") };
    let mut report = report.clone();
    change(&mut report);
    Evidence::Nvidia { report, certificates: certificates.clone() }
}

#[test]
fn a_recorded_hopper_report_is_accepted() {
    let Some(evidence) = hopper() else { return };
    let report = ask(&evidence).unwrap();
    assert_eq!((report.platform, report.source), (Platform::NvidiaGpu, Source::HardwareProven));
    assert_eq!(report.root.name, "NVIDIA Device Identity CA");
    assert_eq!(report.measurements["driver"], "550.90.07");
    assert_eq!(report.measurements["vbios"], "96.00.9F.00.01");
    assert_eq!(report.measurements["protected_pcie"], "off");
    assert_eq!(report.measurements.keys().filter(|name| name.starts_with("measurement_")).count(), 64);
    assert!(report.notes.iter().any(|note| note.contains("confidential mode")));
}

#[test]
fn what_nvidias_sdk_writes_is_read_and_accepted() {
    let Some(file) = recorded("nvidia/hopper_evidence.json") else { return };
    let bundle = Bundle::read(&file).unwrap();
    let report = ask(&bundle.evidence[0]).unwrap();
    assert_eq!(
        hex::encode(report.nonce.unwrap()),
        "e97b23a1718095a0e9e35edca810768c70a6a5a389b705e753b197912bc11576"
    );
    assert_eq!(report.measurements["feature_flag"], "protected-pcie");
    let Some(file) = recorded("nvidia/multi_gpu_hopper.json") else { return };
    let bundle = Bundle::read(&file).unwrap();
    assert_eq!(bundle.evidence.len(), 4);
    for piece in &bundle.evidence {
        ask(piece).unwrap();
    }
}

fn blackwell() -> Option<Evidence> {
    let pem = String::from_utf8(recorded("nvidia/blackwell_chain.pem")?).unwrap();
    let report = recorded_hex("nvidia/blackwell_report.hex")?;
    Some(Evidence::Nvidia { report, certificates: x509::certificates(&pem).unwrap() })
}

fn switch() -> Option<Evidence> {
    Bundle::read(&recorded("nvidia/switch_ls10.json")?).unwrap().evidence.pop()
}

#[test]
fn a_recorded_blackwell_report_is_accepted() {
    let Some(evidence) = blackwell() else { return };
    let report = ask(&evidence).unwrap();
    assert_eq!((report.platform, report.source), (Platform::NvidiaGpu, Source::HardwareProven));
    assert_eq!(report.measurements["architecture"], "Blackwell");
    assert_eq!(report.measurements["driver"], "595.58.03");
    assert_eq!(report.measurements["vbios"], "98.02.81.00.01");
    assert_eq!(report.measurements["feature_flag"], "single-passthrough");
    assert!(report.measurements["fwid"].starts_with("9b92cc3e53b92652"));
    assert_eq!(
        hex::encode(report.nonce.unwrap()),
        "4cff7f5380ead8fad8ec2c531c110aca4302a88f603792801a8ca29ee151af2e"
    );
    assert_eq!(report.measurements.keys().filter(|name| name.starts_with("measurement_")).count(), 64);
}

#[test]
fn a_recorded_nvswitch_report_is_accepted() {
    let Some(evidence) = switch() else { return };
    let report = ask(&evidence).unwrap();
    assert_eq!((report.platform, report.source), (Platform::NvidiaSwitch, Source::HardwareProven));
    assert_eq!(report.measurements["architecture"], "NVSwitch LS10");
    assert_eq!(report.measurements["vbios"], "96.10.55.00.01");
    assert_eq!(
        hex::encode(report.nonce.unwrap()),
        "931d8dd0add203ac3d8b4fbde75e115278eefcdceac5b87671a748f32364dfcb"
    );
    // Of the firmware's digest only the certificate speaks.
    assert!(report.measurements["fwid"].starts_with("2ea9f30a114c20a1"), "{}", report.measurements["fwid"]);
}

/// A GPU's report without the firmware's digest, which an NVSwitch's may lack, is refused.
#[test]
fn a_gpus_report_names_its_firmware() {
    let faults = crate::simulate::Faults { no_fwid: true, ..Default::default() };
    let simulation = crate::simulate::Simulation::new(crate::simulate::DEFAULT_SEED);
    let roots = simulation.roots();
    let ask = |evidence: &Evidence| {
        let question = Question { at: 1_795_651_200, simulated: Some(&roots), ..Question::default() };
        verify_evidence(evidence, &Collateral::default(), &question)
    };
    assert_eq!(ask(&simulation.hopper([1; 32], faults)).unwrap_err().code(), "identity");
    assert_eq!(ask(&simulation.blackwell([1; 32], faults)).unwrap_err().code(), "identity");
    ask(&simulation.nvswitch([1; 32], faults)).unwrap();
}

#[test]
fn keys_of_other_devices_are_refused() {
    let all = [hopper(), blackwell(), switch()];
    for report in &all {
        for chain in &all {
            let (
                Some(Evidence::Nvidia { report, certificates }),
                Some(Evidence::Nvidia { certificates: other, .. }),
            ) = (report, chain)
            else {
                return;
            };
            let evidence = Evidence::Nvidia { report: report.clone(), certificates: other.clone() };
            match certificates == other {
                true => drop(ask(&evidence).unwrap()),
                false => assert_eq!(ask(&evidence).unwrap_err().code(), "signature"),
            }
        }
    }
}

#[test]
fn the_nonce_has_to_be_the_one_asked_for() {
    let Some(evidence) = hopper() else { return };
    let nonce = ask(&evidence).unwrap().nonce.unwrap();
    let ask = |nonce: &[u8]| {
        let question = Question { at: AT, nonce: Some(nonce), ..Question::default() };
        verify_evidence(&evidence, &Collateral::default(), &question)
    };
    ask(&nonce).unwrap();
    assert_eq!(ask(&[0; 32]).unwrap_err().code(), "nonce");
    assert_eq!(ask(&nonce[..31]).unwrap_err().code(), "nonce");
    let question = Question { at: AT, report_data: Some(&nonce), ..Question::default() };
    assert_eq!(
        verify_evidence(&evidence, &Collateral::default(), &question).unwrap_err().code(),
        "report-data"
    );
}

#[test]
fn other_chains_are_refused() {
    let (Some(evidence), Some(pem)) = (hopper(), recorded("nvidia/hopper_coco_certs1.txt")) else { return };
    let other = x509::certificates(&String::from_utf8(pem).unwrap()).unwrap();
    let Evidence::Nvidia { report, certificates } = &evidence else { return };
    let ask = |certificates: Vec<Vec<u8>>| ask(&Evidence::Nvidia { report: report.clone(), certificates });
    assert_eq!(ask(other).unwrap_err().code(), "signature");
    assert_eq!(ask(certificates[..1].to_vec()).unwrap_err().code(), "chain");
    assert_eq!(ask(vec![]).unwrap_err().code(), "collateral");
    // The root that comes along counts for nothing, and is not needed.
    ask(certificates[..4].to_vec()).unwrap();
    // Without the root's signature no certificate that calls itself one helps.
    assert!(ask(certificates[1..].to_vec()).is_err());
}

#[test]
fn a_recorded_report_with_a_bad_signature_is_refused() {
    let Some(Evidence::Nvidia { certificates, .. }) = hopper() else { return };
    let Some(report) = recorded_hex("nvidia/hopperAttestationReportInvalidSignature.txt") else { return };
    assert!(ask(&Evidence::Nvidia { report, certificates }).is_err());
}

/// NVIDIA's sample of an "expired" chain is refused by their OCSP responder; all its dates end in 9999. Nothing offline can
/// see that, and the report's list says so.
#[test]
fn what_only_ocsp_knows_is_not_seen_and_said_so() {
    let files = recorded_hex("nvidia/hopperAttestationReportExpired.txt")
        .zip(recorded("nvidia/hopperCertChainExpired.txt"));
    let Some((report, pem)) = files else { return };
    let certificates = x509::certificates(&String::from_utf8(pem).unwrap()).unwrap();
    let report = ask(&Evidence::Nvidia { report, certificates }).unwrap();
    assert!(report.platform.does_not_prove().iter().any(|what| what.contains("OCSP")));
}

#[test]
fn a_time_before_the_certificates_is_refused() {
    let Some(evidence) = hopper() else { return };
    let refusal = judge(&evidence, &Collateral::default(), 1_500_000_000).unwrap_err();
    assert_eq!(refusal.code(), "time", "{refusal}");
}

/// Of the Hopper's every byte of report and signature, of the others each ninth; a bit of each that moves along.
#[test]
fn no_flipped_bit_is_accepted() {
    if let Some(evidence) = hopper() {
        no_flip_of(&evidence, 1);
    }
    for evidence in [blackwell(), switch()] {
        no_flip_of(&evidence.unwrap(), 9);
    }
}

fn no_flip_of(evidence: &Evidence, step: usize) {
    let Evidence::Nvidia { report, certificates } = evidence else { panic!("not a report") };
    let key = Certificate::parse(&certificates[0]).unwrap();
    let accepted = |at: usize, mask: u8| {
        let mut report = report.clone();
        report[at] ^= mask;
        Parsed::parse(&report)
            .and_then(|parsed| chain::verify_p384(&key, parsed.signed, parsed.signature, "the NVIDIA report"))
            .is_ok()
    };
    assert!(accepted(0, 0), "unchanged it is good");
    for at in (0..report.len()).step_by(step) {
        assert!(!accepted(at, 1 << (at % 8)), "{at}");
    }
    for at in (0..report.len()).step_by(97) {
        assert!(ask(&changed(evidence, |report| report[at] ^= 4)).is_err(), "{at}");
    }
}

/// Whatever a device signs: the request is part of it, and asked for all measurements, once each.
#[test]
fn a_report_is_the_answer_to_the_whole_question() {
    let Some(Evidence::Nvidia { report, .. }) = blackwell() else { panic!("it is in the repository") };
    Parsed::parse(&report).unwrap();
    // The request's parameters, the answer's number of measurements, and the second one's index and specification.
    for (at, byte) in [(2, 0), (3, 1), (41, 63), (100, 1), (101, 0)] {
        let mut report = report.clone();
        report[at] = byte;
        let refusal = Parsed::parse(&report).err().map(|refusal| refusal.code());
        assert_eq!(refusal, Some("malformed"), "{at}");
    }
}

#[test]
fn zeros_behind_the_signature_are_passed_over_and_nothing_else() {
    let Some(evidence) = hopper() else { return };
    assert_eq!(ask(&changed(&evidence, |report| report.extend([0; 9]))), ask(&evidence));
    assert_eq!(ask(&changed(&evidence, |report| report.push(1))).unwrap_err().code(), "malformed");
    // One that was recorded so.
    let files = recorded_hex("nvidia/hopper_coco_report1.txt").zip(recorded("nvidia/hopper_coco_certs1.txt"));
    let Some((report, pem)) = files else { return };
    let certificates = x509::certificates(&String::from_utf8(pem).unwrap()).unwrap();
    let report = ask(&Evidence::Nvidia { report, certificates }).unwrap();
    assert_eq!(report.measurements["feature_flag"], "single-passthrough");
}

#[test]
fn a_firmware_id_is_found_under_the_generations_own_number() {
    let Some(Evidence::Nvidia { certificates, .. }) = hopper() else { return };
    let leaf = Certificate::parse(&certificates[0]).unwrap();
    assert!(Architecture::Hopper.fwid(&leaf).unwrap().starts_with(&[0xf5, 0xc3, 0x84]));
    let refusal = Architecture::Blackwell.fwid(&leaf).unwrap_err();
    assert!(refusal.to_string().contains("2.23.133.5.4.1.1"), "{refusal}");
}
