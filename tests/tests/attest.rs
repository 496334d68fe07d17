//! `colophon attest`: what is typed, what comes back, and the exit codes that scripts depend on.

use colophon_attest::aci::Statement;
use colophon_attest::evidence::Bundle;
use colophon_attest::simulate::{DEFAULT_SEED, Faults, Simulation};
use colophon_tests::{PATIENCE, colophon, process};
use serde_json::Value;
use std::path::Path;

/// 2026-11-26.
const AT: u64 = 1_795_651_200;
const NONCE: [u8; 32] = [0x5a; 32];

/// Runs it; the exit code and the output.
fn attest(args: &[&str]) -> (i32, String) {
    let output = process::run(&mut colophon::command(&[&["attest"], args].concat()), PATIENCE);
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code().expect("an exit code"), said)
}

/// A bundle of a simulated machine with a GPU, about one statement.
fn bundle(folder: &Path, faults: Faults) -> String {
    let simulation = Simulation::new(DEFAULT_SEED);
    let statement = Statement { keyset_digest: [7; 32], nonce: Some(hex::encode(NONCE)) };
    let (tdx, collateral) = simulation.tdx(statement.report_data().unwrap(), AT, faults);
    let mut bundle = Bundle::new(vec![tdx, simulation.hopper(NONCE, faults)], collateral);
    bundle.statement = Some(statement.to_json().unwrap());
    let path = folder.join("evidence.json");
    std::fs::write(&path, serde_json::to_vec(&bundle).unwrap()).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn simulated_evidence_is_refused_marked_pinned_and_never_more_than_sign() {
    let folder = tempfile::tempdir().unwrap();
    let file = bundle(folder.path(), Faults::default());
    let at = AT.to_string();
    let (code, said) = attest(&["verify", &file, "--at", &at]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("simulation") && said.contains("--allow-simulated"), "{said}");
    let allowed = ["verify", &file, "--at", &at, "--allow-simulated"];
    let (code, said) = attest(&allowed);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("SIMULATED") && said.contains("It does not show"), "{said}");

    let policy = folder.path().join("policy.yaml");
    let policy = policy.to_str().unwrap();
    let (code, said) = attest(&["pin", &file, "--at", &at, "--allow-simulated", "-o", policy]);
    assert_eq!(code, 0, "{said}");
    let (code, said) =
        attest(&[&allowed[..], &["--policy", policy, "--nonce", &hex::encode(NONCE), "--json"]].concat());
    assert_eq!(code, 0, "{said}");
    let report: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(report["verdict"], "trusted");
    for piece in report["evidence"].as_array().unwrap() {
        assert_eq!(piece["report"]["simulated"], true);
        assert_eq!(piece["report"]["source"], "operator_asserted");
        assert_eq!(piece["highest_level"], "sign");
    }
    // The policy does not replace the leave.
    let (code, said) = attest(&["verify", &file, "--at", &at, "--policy", policy]);
    assert_eq!(code, 1, "{said}");
}

#[test]
fn what_is_wrong_is_said_with_a_word_for_scripts() {
    let folder = tempfile::tempdir().unwrap();
    let file = bundle(folder.path(), Faults { debug: true, ..Faults::default() });
    let at = AT.to_string();
    let ask = |more: &[&str]| {
        let (code, said) = attest(&[&["verify", &file, "--allow-simulated", "--json"], more].concat());
        assert_eq!(code, 1, "{said}");
        let report: Value = serde_json::from_str(&said).unwrap();
        let piece = report["evidence"][0]["refusal"]["code"].clone();
        if piece.is_null() { report["refusal"]["code"].clone() } else { piece }
    };
    assert_eq!(ask(&["--at", &at]), "debug");
    assert_eq!(ask(&["--at", "2027-06-01"]), "time");
    assert_eq!(ask(&["--at", &at, "--nonce", "00"]), "nonce");
}

#[test]
fn other_files_and_words_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hello");
    std::fs::write(&file, "hello").unwrap();
    let (code, said) = attest(&["verify", file.to_str().unwrap()]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("no evidence that this program knows"), "{said}");
    let (code, _) = attest(&["verify", file.to_str().unwrap(), "--nonce", "xyz"]);
    assert_eq!(code, 2);
    let (code, said) = attest(&["verify", file.to_str().unwrap(), "--collateral", "/nowhere"]);
    assert_eq!(code, 1, "{said}");
}

#[test]
fn a_machine_says_what_it_can_prove() {
    let nonce = hex::encode(NONCE);
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle.json");
    let output = bundle.to_str().unwrap();
    let (code, said) = attest(&["show", "--json", "--nonce", &nonce, "-o", output]);
    // What is said on stderr comes after it.
    let shown = said.split("not written: ").next().unwrap_or_default();
    let shown: Value = serde_json::from_str(shown).expect("JSON");
    assert_eq!(shown["nonce"], nonce.as_str());
    assert_eq!(shown["can_prove"].as_array().unwrap().len(), 6);
    let generated = shown["attempts"].as_array().unwrap().iter().any(|attempt| attempt["generated"] == true);
    assert_eq!(code, if generated { 0 } else { 1 });
    // An empty bundle would look like evidence of something.
    assert_eq!(bundle.exists(), generated);
}
