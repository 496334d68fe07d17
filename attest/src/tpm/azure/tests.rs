use super::*;
use crate::simulate::{DEFAULT_SEED, Faults, Simulation};
use crate::testing::recorded;
use crate::tpm::tests::quote;
use crate::{Evidence, verify as verify_evidence};
use colophon_receipt::level::Level;
use rsa::pkcs8::DecodePublicKey as _;
use rsa::traits::PublicKeyParts as _;

/// 2025-06-20: all recorded certificates are valid.
const RECORDED: u64 = 1_750_377_600;

/// Of a confidential VM on a Genoa processor: HCL report, quote, and the VCEK as collateral.
fn genoa() -> Option<crate::evidence::Bundle> {
    recorded("azure/genoa.json").map(|file| crate::evidence::Bundle::read(&file).unwrap())
}

fn ask_recorded(evidence: &Evidence, collateral: &Collateral) -> Result<Report, Refusal> {
    crate::testing::judge(evidence, collateral, RECORDED)
}

#[test]
fn recorded_evidence_of_azure_is_hardware_proven() {
    let Some(bundle) = genoa() else { return };
    let report = ask_recorded(&bundle.evidence[0], &bundle.collateral).unwrap();
    assert_eq!((report.platform, report.source), (Platform::AzureVtpm, Source::HardwareProven));
    assert_eq!(report.highest_level(), Level::Tee);
    assert_eq!(report.root.name, "ARK-Genoa");
    assert_eq!(report.measurements["sev_snp_product"], "Genoa");
    assert_eq!(report.measurements["sev_snp_vmpl"], "0");
    assert_eq!(
        report.measurements["pcr0"],
        "afd689d0bb1c5f36f023fbaf574135f555a28a10c1f6b938d2a25e70c7783338"
    );
    assert_eq!((report.tcb["snp"], report.tcb["microcode"]), (23, 84));
    assert_eq!(report.report_data.unwrap().len(), 48, "what the quote was asked for");
}

/// A bit of each byte of everything that is signed: hardware report, runtime data, quote.
#[test]
fn no_flipped_bit_of_recorded_evidence_is_accepted() {
    let Some(bundle) = genoa() else { return };
    let Evidence::AzureVtpm { hcl, tpm, .. } = &bundle.evidence[0] else { panic!("not Azure's") };
    let accepted = |hcl: Vec<u8>, tpm: TpmQuote| {
        let evidence = Evidence::AzureVtpm { hcl, td_quote: None, tpm };
        ask_recorded(&evidence, &bundle.collateral).is_ok()
    };
    assert!(accepted(hcl.clone(), tpm.clone()));
    let runtime = 0x20 + HARDWARE_REPORT_LEN + 20;
    let of_hcl = |at: usize, mask: u8| {
        let mut hcl = hcl.clone();
        hcl[at] ^= mask;
        accepted(hcl, tpm.clone())
    };
    // Each costs the verification of a chain of RSA-4096.
    for at in (0x20..0x20 + HARDWARE_REPORT_LEN).step_by(37).chain((runtime..runtime + 1200).step_by(61)) {
        assert!(!of_hcl(at, 1 << (at % 8)), "{at}");
    }
    for at in (0..tpm.message.len()).step_by(5) {
        let mut other = tpm.clone();
        other.message[at] ^= 1 << (at % 8);
        assert!(!accepted(hcl.clone(), other), "{at}");
    }
    let mut other = tpm.clone();
    other.pcrs.insert(23, "11".repeat(32));
    assert!(!accepted(hcl.clone(), other), "another PCR");
}

#[test]
fn recorded_evidence_of_another_machine_or_time_is_refused() {
    let (Some(bundle), Some(other), Some(vcek)) =
        (genoa(), recorded("azure/quote.json"), recorded("azure/milan_vcek.der"))
    else {
        return;
    };
    let Evidence::AzureVtpm { hcl, tpm, .. } = &bundle.evidence[0] else { panic!("not Azure's") };
    let Some(Evidence::Tpm(other)) = crate::evidence::Bundle::read(&other).unwrap().evidence.pop() else {
        panic!("not a quote")
    };
    let code = |hcl: &[u8], tpm: &TpmQuote, collateral: &Collateral, at: u64| {
        let evidence = Evidence::AzureVtpm { hcl: hcl.to_vec(), td_quote: None, tpm: tpm.clone() };
        crate::testing::judge(&evidence, collateral, at).unwrap_err().code()
    };
    assert_eq!(code(hcl, &other, &bundle.collateral, RECORDED), "signature", "a quote by another vTPM");
    let vcek = Collateral { certificates: vec![vcek], ..Collateral::default() };
    assert_eq!(code(hcl, tpm, &vcek, RECORDED), "signature", "another chip's key");
    assert_eq!(code(hcl, tpm, &Collateral::default(), RECORDED), "collateral");
    // The VCEK is of 2025-01-24.
    assert_eq!(code(hcl, tpm, &bundle.collateral, 1_737_600_000), "time");
}

/// HCL reports of a Milan machine and of a TDX one, whose keys did not come along: what they hold is about their runtime data.
#[test]
fn recorded_hcl_reports_of_either_hardware_are_read() {
    // Where the report data is, in an SEV-SNP report and in a TDREPORT.
    for (name, kind, data) in [("azure/milan_hcl.bin", SNP, 0x50), ("azure/tdx_hcl.bin", TDX, 128)] {
        let Some(file) = recorded(name) else { return };
        let hcl = Hcl::parse(&file).unwrap();
        assert_eq!(hcl.kind, kind, "{name}");
        hcl.key().unwrap();
        assert_eq!(hcl.hardware[data..data + 32], Sha256::digest(hcl.runtime_data)[..], "{name}");
        assert_eq!(hcl.hardware[data + 32..data + 64], [0; 32], "{name}");
        let Some(tpm) = quote("rsa") else { return };
        let evidence = Evidence::AzureVtpm { hcl: file, td_quote: None, tpm };
        let refusal = ask_recorded(&evidence, &Collateral::default()).unwrap_err();
        assert_eq!(refusal.code(), "collateral", "{name}: {refusal}");
    }
}

/// An HCL report in which all can be changed. It is made of a simulated SEV-SNP report and a recorded quote of a software TPM,
/// whose key takes the place of HCLAkPub.
fn hcl(change: impl Fn(&mut Vec<u8>)) -> Option<(Evidence, TpmQuote)> {
    recorded("tpm/quote_rsa.msg")?;
    let quote = quote("rsa")?;
    let key = RsaPublicKey::from_public_key_der(&quote.key).unwrap();
    let number = |number: &BoxedUint| BASE64_URL_SAFE_NO_PAD.encode(number.to_be_bytes_trimmed_vartime());
    let runtime = serde_json::json!({"keys": [
        {"kid": "HCLAkPub", "kty": "RSA", "n": number(key.n().as_ref()), "e": number(key.e())},
        {"kid": "HCLEkPub", "kty": "RSA"},
    ]})
    .to_string();
    let mut data = [0; 64];
    data[..32].copy_from_slice(&Sha256::digest(runtime.as_bytes()));
    let Evidence::SnpReport { report, .. } = Simulation::new(DEFAULT_SEED).snp(data, Faults::default())
    else {
        return None;
    };
    let mut hcl = SIGNATURE.to_vec();
    hcl.extend([0; 28]);
    hcl.extend(report);
    for word in [0, 1, SNP, SHA256, runtime.len() as u32] {
        hcl.extend(word.to_le_bytes());
    }
    hcl.extend(runtime.as_bytes());
    change(&mut hcl);
    Some((Evidence::AzureVtpm { hcl, td_quote: None, tpm: quote.clone() }, quote))
}

fn ask(evidence: &Evidence, simulated: bool) -> Result<Report, Refusal> {
    let simulation = Simulation::new(DEFAULT_SEED);
    let Evidence::SnpReport { certificates, .. } = simulation.snp([0; 64], Faults::default()) else {
        panic!("no report")
    };
    let roots = simulation.roots();
    let collateral = Collateral { certificates, ..Collateral::default() };
    let question =
        Question { at: 1_795_651_200, simulated: simulated.then_some(&roots), ..Question::default() };
    verify_evidence(evidence, &collateral, &question)
}

#[test]
fn the_hardware_report_names_the_key_that_quotes() {
    let Some((evidence, _)) = hcl(|_| {}) else { return };
    let report = ask(&evidence, true).unwrap();
    assert_eq!(report.platform, Platform::AzureVtpm);
    assert!(report.is_simulated() && report.highest_level() == Level::Sign);
    assert!(
        report.measurements.contains_key("sev_snp_measurement") && report.measurements.contains_key("pcr0")
    );
    assert_eq!(ask(&evidence, false).unwrap_err().code(), "simulated");
}

#[test]
fn other_runtime_data_keys_and_reports_are_refused() {
    let Some((evidence, _)) = hcl(|hcl| *hcl.last_mut().unwrap() ^= 1) else { return };
    assert_eq!(ask(&evidence, true).unwrap_err().code(), "identity", "one bit of the runtime data");
    let Some((evidence, _)) = hcl(|hcl| hcl[0x20 + 0x90] ^= 1) else { return };
    assert_eq!(ask(&evidence, true).unwrap_err().code(), "signature", "one bit of the hardware report");
    let Some((evidence, _)) = hcl(|hcl| hcl[0] = b'X') else { return };
    assert_eq!(ask(&evidence, true).unwrap_err().code(), "malformed");
    let (Some((Evidence::AzureVtpm { hcl, .. }, _)), Some(other)) = (hcl(|_| {}), quote("ecc")) else {
        return;
    };
    let evidence = Evidence::AzureVtpm { hcl, td_quote: None, tpm: other };
    assert!(ask(&evidence, true).is_err(), "a quote by another key");
}
