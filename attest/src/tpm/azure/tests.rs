use super::*;
use crate::simulate::{DEFAULT_SEED, Faults, Simulation};
use crate::testing::recorded;
use crate::tpm::tests::quote;
use crate::{Evidence, verify as verify_evidence};
use colophon_receipt::level::Level;
use rsa::pkcs8::DecodePublicKey as _;
use rsa::traits::PublicKeyParts as _;

/// There is no recorded HCL report. This one is made of a simulated SEV-SNP report and a recorded quote of a software TPM,
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
