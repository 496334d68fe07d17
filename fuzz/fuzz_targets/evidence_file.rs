//! Files of evidence, and what stands beside evidence in them: collateral, statements, keysets, policies.
#![no_main]

use colophon_attest::aci::Statement;
use colophon_attest::evidence::Bundle;
use colophon_attest::{Collateral, Document, Keyset, Policy, Question, SimulatedRoots, verify_bundle};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

/// 2026-11-26.
const AT: u64 = 1_795_651_200;

static ROOTS: LazyLock<SimulatedRoots> =
    LazyLock::new(|| SimulatedRoots::of_seed(colophon_attest::simulate::DEFAULT_SEED));

fuzz_target!(|data: &[u8]| {
    let question = Question { at: AT, simulated: Some(&ROOTS), ..Question::default() };
    let none = Collateral::default();
    if let Ok(bundle) = Bundle::read(data) {
        let json = serde_json::to_vec(&bundle).expect("JSON");
        assert_eq!(Bundle::read(&json).expect("what was written"), bundle);
        let results = verify_bundle(&bundle, &none, &question);
        for report in results.pieces.iter().flatten() {
            assert!(!report.about.chars().any(char::is_control), "{report:?}");
        }
    }
    if let Ok(collateral) = Collateral::read(data) {
        let json = serde_json::to_vec(&collateral).expect("JSON");
        assert_eq!(serde_json::from_slice::<Collateral>(&json).expect("what was written"), collateral);
    }
    if let Ok(document) = Document::read(data) {
        assert_eq!(Document::read(&document.to_json()).expect("what was written"), document);
        let _ = document.verify(&none, &question);
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(keyset) = Keyset::from_json(text) {
        assert_eq!(keyset.to_json(), text);
    }
    if let Ok(statement) = Statement::from_json(text) {
        assert_eq!(statement.to_json().expect("what was read"), text);
    }
    let _ = Policy::from_yaml(text);
});
