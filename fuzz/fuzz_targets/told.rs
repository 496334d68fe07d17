//! Answers of servers that are asked for evidence in forms of their own: ACI, dstack, a certificate with a quote in it. Only the
//! simulation's roots are believed.
#![no_main]

use std::sync::LazyLock;

use colophon_attest::simulate::{DEFAULT_SEED, Faults, Simulation};
use colophon_attest::told::verify_kept;
use colophon_attest::{Collateral, Question, SimulatedRoots, Speaks, Told};
use libfuzzer_sys::fuzz_target;

/// 2026-11-26, which the seeds were made for.
const AT: u64 = 1_795_651_200;
/// The nonce that they answer.
const NONCE: [u8; 32] = [0x5a; 32];

static GIVEN: LazyLock<(SimulatedRoots, Collateral)> = LazyLock::new(|| {
    let simulation = Simulation::new(DEFAULT_SEED);
    let (_, collateral) = simulation.tdx([1; 64], AT, Faults::default());
    (simulation.roots(), collateral)
});

fuzz_target!(|data: &[u8]| {
    let [kind, answer @ ..] = data else { return };
    let speaks = match kind % 4 {
        0 => Speaks::Aci,
        1 => Speaks::Dstack,
        2 => Speaks::RaTls,
        // As it is kept, in whichever form.
        _ => return kept(answer),
    };
    let Ok(told) = Told::new(speaks, &NONCE, answer, GIVEN.1.clone()) else { return };
    let question = Question { at: AT, nonce: Some(&NONCE), simulated: Some(&GIVEN.0), ..Question::default() };
    let Ok(known) = told.verify(&Collateral::default(), &question) else { return };
    assert!(known.reports.iter().all(colophon_attest::Report::is_simulated), "{known:?}");
    assert!(known.keyset.shard_keys.is_empty() && known.keyset.tls_exporter.is_none(), "{known:?}");
    let strict = Question { simulated: None, ..question };
    assert!(told.verify(&Collateral::default(), &strict).is_err(), "it counts without --allow-simulated");
    let stale = Question { nonce: Some(&[1; 32]), ..question };
    assert!(told.verify(&Collateral::default(), &stale).is_err(), "it answers every nonce");
    let again = told.to_json().expect("short enough");
    let again = verify_kept(&again, &Collateral::default(), &question).expect("what was kept");
    assert_eq!(again.keyset, known.keyset);
});

fn kept(bytes: &[u8]) {
    let question = Question { at: AT, ..Question::default() };
    assert!(verify_kept(bytes, &GIVEN.1, &question).is_err(), "nothing here is hardware's");
}
