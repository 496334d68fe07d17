use super::*;
use crate::testing::{flips, judge, policy, recorded};
use crate::{Evidence, Source, verify as verify_evidence};

/// 2025-06-20, one day after the collateral of the first samples.
const AT: u64 = 1_750_377_600;
/// 2026-02-19 and 2026-10-09: likewise for the other two.
const AT_OUTDATED: u64 = 1_771_459_200;
const AT_TD15EX: u64 = 1_791_504_000;

fn load(name: &str) -> Option<(Evidence, Collateral)> {
    let quote = recorded(name)?;
    let collateral = Collateral::read(&recorded(&format!("{name}_collateral.json"))?).unwrap();
    Some((Evidence::IntelQuote { quote }, collateral))
}

fn flipped(evidence: &Evidence, at: usize, mask: u8) -> Evidence {
    let Evidence::IntelQuote { quote } = evidence else { panic!("not a quote") };
    let mut quote = quote.clone();
    quote[at] ^= mask;
    Evidence::IntelQuote { quote }
}

#[test]
fn a_recorded_tdx_quote_is_accepted_at_its_time() {
    let Some((evidence, collateral)) = load("tdx/tdx_quote") else { return };
    let report = judge(&evidence, &collateral, AT).unwrap();
    assert_eq!((report.platform, report.source), (Platform::Tdx, Source::HardwareProven));
    assert!(!report.is_simulated() && !report.compared);
    assert_eq!(report.root.name, "Intel SGX Root CA");
    assert_eq!(report.claims["tcb_status"], "UpToDate");
    assert_eq!(report.measurements["mr_td"].len(), 96);
    assert_eq!(report.report_data.as_ref().unwrap().len(), 64);
}

#[test]
fn a_recorded_tdx_quote_of_version_5_is_accepted_with_its_status() {
    let Some((evidence, collateral)) = load("tdx/tdx_quote_td15ex") else { return };
    let strict = judge(&evidence, &collateral, AT_TD15EX);
    let rules = "    tdx:\n      referenceValues: {xfam: [\"e702060000000000\"]}\n      tcb: {statuses: [UpToDate, OutOfDate, SWHardeningNeeded, ConfigurationNeeded, ConfigurationAndSWHardeningNeeded, OutOfDateConfigurationNeeded], grace: 4000d}\n";
    let policy = policy(rules);
    let question = Question { at: AT_TD15EX, policy: Some(&policy), ..Question::default() };
    let lenient = verify_evidence(&evidence, &collateral, &question);
    let report = strict.or(lenient).unwrap();
    assert_eq!(report.claims["quote_version"], "5");
}

#[test]
fn a_recorded_sgx_quote_is_accepted_where_its_status_is() {
    let Some((evidence, collateral)) = load("sgx/sgx_quote") else { return };
    assert_eq!(evidence.platform(), Platform::Sgx);
    let mr_enclave = {
        let Evidence::IntelQuote { quote } = &evidence else { panic!("not a quote") };
        hex::encode(&quote[48 + 64..48 + 96])
    };
    let rules = format!(
        "    sgx:\n      referenceValues: {{mr_enclave: [{mr_enclave:?}]}}\n      tcb: {{statuses: [UpToDate, SWHardeningNeeded, ConfigurationNeeded, ConfigurationAndSWHardeningNeeded]}}\n"
    );
    let policy = policy(&rules);
    let question = Question { at: AT, policy: Some(&policy), ..Question::default() };
    let report = verify_evidence(&evidence, &collateral, &question).unwrap();
    assert!(report.compared);
    assert_eq!(report.platform, Platform::Sgx);
}

#[test]
fn expired_and_future_collateral_is_refused() {
    let Some((evidence, collateral)) = load("tdx/tdx_quote") else { return };
    for at in [AT + 40 * 86_400, AT - 3 * 86_400] {
        let refusal = judge(&evidence, &collateral, at).unwrap_err();
        assert_eq!(refusal.code(), "time", "{refusal}");
    }
}

/// The recorded quote is below every level that Intel's data lists: no policy can take it.
#[test]
fn an_outdated_tcb_is_refused_whatever_the_policy() {
    let Some((evidence, collateral)) = load("tdx/tdx_quote_outdated") else { return };
    let refusal = judge(&evidence, &collateral, AT_OUTDATED).unwrap_err();
    assert_eq!(refusal.code(), "tcb", "{refusal}");
    let rules = "    tdx:\n      referenceValues: {xfam: [\"e702060000000000\"]}\n      tcb: {statuses: [UpToDate, OutOfDate, OutOfDateConfigurationNeeded], grace: 4000d}\n";
    let policy = policy(rules);
    let question = Question { at: AT_OUTDATED, policy: Some(&policy), ..Question::default() };
    assert_eq!(verify_evidence(&evidence, &collateral, &question).unwrap_err().code(), "tcb");
}

#[test]
fn another_platforms_collateral_is_refused() {
    let (Some((evidence, _)), Some((_, other))) = (load("tdx/tdx_quote"), load("sgx/sgx_quote")) else {
        return;
    };
    assert!(judge(&evidence, &other, AT).is_err());
    let refusal = judge(&evidence, &Collateral::default(), AT).unwrap_err();
    assert_eq!(refusal.code(), "collateral");
}

#[test]
fn report_data_and_nonce_have_to_be_those_asked_for() {
    let Some((evidence, collateral)) = load("tdx/tdx_quote") else { return };
    let data = judge(&evidence, &collateral, AT).unwrap().report_data.unwrap();
    let ask = |report_data: &[u8]| {
        verify_evidence(
            &evidence,
            &collateral,
            &Question { at: AT, report_data: Some(report_data), ..Question::default() },
        )
    };
    ask(&data).unwrap();
    let mut other = data.clone();
    other[0] ^= 1;
    assert_eq!(ask(&other).unwrap_err().code(), "report-data");
    let question = Question { at: AT, nonce: Some(&other), ..Question::default() };
    assert_eq!(verify_evidence(&evidence, &collateral, &question).unwrap_err().code(), "nonce");
}

#[test]
fn collateral_older_than_the_policy_allows_is_refused() {
    let Some((evidence, collateral)) = load("tdx/tdx_quote") else { return };
    let report = judge(&evidence, &collateral, AT).unwrap();
    // 2025-06-19T10:16:03Z, the TCB info's.
    assert_eq!(report.age.collateral_from, Some(1_750_328_163));
    let mr_td = &report.measurements["mr_td"];
    let ask = |age: &str| {
        let policy = crate::Policy::from_yaml(&format!(
            "apiVersion: colophon.dev/v1alpha1\nkind: AttestationPolicy\nmetadata: {{name: t}}\nspec:\n  maxCollateralAge: {age}\n  platforms:\n    tdx: {{referenceValues: {{mr_td: [{mr_td:?}]}}}}\n"
        ))
        .unwrap();
        verify_evidence(
            &evidence,
            &collateral,
            &Question { at: AT, policy: Some(&policy), ..Question::default() },
        )
    };
    assert!(ask("14h").unwrap().compared);
    assert_eq!(ask("13h").unwrap_err().code(), "policy");
}

#[test]
fn a_reference_value_that_does_not_fit_is_refused() {
    let Some((evidence, collateral)) = load("tdx/tdx_quote") else { return };
    let ask = |rules: &str| {
        let policy = policy(rules);
        verify_evidence(
            &evidence,
            &collateral,
            &Question { at: AT, policy: Some(&policy), ..Question::default() },
        )
    };
    let good = judge(&evidence, &collateral, AT).unwrap().measurements["mr_td"].clone();
    assert!(ask(&format!("    tdx:\n      referenceValues: {{mr_td: [{good:?}]}}\n")).unwrap().compared);
    let refused = |rules: &str, code| assert_eq!(ask(rules).unwrap_err().code(), code, "{rules}");
    refused(
        &format!("    tdx:\n      referenceValues: {{mr_td: [\"{}\"]}}\n", "00".repeat(48)),
        "measurement",
    );
    refused("    sev-snp:\n      referenceValues: {vmpl: [\"0\"]}\n", "policy");
    let floor = format!(
        "    tdx:\n      referenceValues: {{mr_td: [{good:?}]}}\n      tcb: {{minimum: {{evaluation_data_number: 18}}}}\n"
    );
    refused(&floor, "tcb");
}

/// One bit of each byte of what is signed: header and report by the attestation key, QE report by the PCK.
#[test]
fn no_flipped_bit_of_a_tdx_quote_is_accepted() {
    let Some((evidence, collateral)) = load("tdx/tdx_quote") else { return };
    let signed = 48 + 584;
    // Then: length (4), signature (64), key (64), type and length (6), QE report (384).
    let qe_report = signed + 4 + 64 + 64 + 6;
    let accepted = |at, mask| judge(&flipped(&evidence, at, mask), &collateral, AT).is_ok();
    assert_eq!(flips(0..signed, false, accepted), []);
    assert_eq!(flips(signed + 4..signed + 4 + 128, false, accepted), [], "signature and key");
    assert_eq!(flips(qe_report..qe_report + 384 + 64, false, accepted), [], "QE report and its signature");
}

#[test]
fn a_debug_td_is_named_as_such() {
    // Bit 0 of the TD attributes is refused before the signature is the point; the word for scripts is the signature's
    // where the quote was tampered with, and `debug` where it was signed so (see the simulation's tests).
    let error = "Debug mode is enabled".to_owned();
    assert_eq!(refusal(&error), Refusal::Debug("debugging"));
    assert_eq!(refusal(&"TD migration is enabled".to_owned()), Refusal::Migration);
}
