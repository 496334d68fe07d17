use super::*;
use colophon_attest::simulate::{DEFAULT_SEED, Faults, Simulation};
use serde_json::json;

const FIRST: [u8; 32] = [1; 32];
const NEXT: [u8; 32] = [2; 32];

fn simulated(seed: &str) -> Attester {
    Attester::Simulated(Simulation::new(seed))
}

/// A machine whose evidence verifies while it attests with the default seed, and not with another: its roots stay.
fn machine() -> Attesting {
    let attester = simulated(DEFAULT_SEED);
    Attesting {
        simulated: attester.simulated_roots(),
        attester,
        collateral: None,
        certificate: None,
        turns: Semaphore::new(AT_ONCE),
        judging: Mutex::default(),
    }
}

/// What a certificate says that speaks of the simulated machine.
fn machines() -> Arc<Machines> {
    let at = u64::try_from(jiff::Timestamp::now().as_second()).unwrap();
    let simulation = Simulation::new(DEFAULT_SEED);
    let (quote, collateral) = simulation.tdx([0; 64], at, Faults::default());
    let roots = simulation.roots();
    let question = Question { at, simulated: Some(&roots), ..Question::default() };
    let report = colophon_attest::verify(&quote, &collateral, &question).unwrap();
    let values = json!({"mr_td": [report.measurements["mr_td"].to_string()]});
    let spec = json!({"gpu": "off", "platforms": {"tdx": {"referenceValues": values}}});
    Arc::new(Machines::new(&spec).unwrap())
}

#[test]
fn a_key_whose_evidence_fits_is_known_and_its_successor_whose_evidence_does_not_is_not() {
    let (mut machine, machines) = (machine(), machines());
    machine.of_key(&FIRST, None).unwrap();
    machine.compare_with(machines.clone());
    // Simulated evidence is the operator's word.
    assert_eq!((machines.known(&FIRST), machines.known(&NEXT)), (Some(Source::OperatorAsserted), None));
    machine.attester = simulated("another");
    machine.of_key(&NEXT, None).unwrap();
    assert_eq!(machines.known(&NEXT), None);
    assert!(machines.known(&FIRST).is_some(), "exchanges of the key before may be under way");
    // Evidence about the same key that does not fit counts more than what was before.
    machine.of_key(&FIRST, None).unwrap();
    assert_eq!(machines.known(&FIRST), None);
}

#[test]
fn a_key_is_known_from_the_evidence_on_that_fits() {
    let (mut machine, machines) = (machine(), machines());
    machine.compare_with(machines.clone());
    assert_eq!(machines.known(&FIRST), None, "there is no evidence yet");
    machine.attester = simulated("another");
    machine.of_key(&FIRST, None).unwrap();
    assert_eq!(machines.known(&FIRST), None);
    machine.attester = simulated(DEFAULT_SEED);
    machine.of_key(&FIRST, None).unwrap();
    assert!(machines.known(&FIRST).is_some());
}

#[test]
fn another_certificate_is_compared_with_the_evidence_there_is_and_the_old_one_no_longer() {
    let (mut machine, old, new) = (machine(), machines(), machines());
    machine.of_key(&FIRST, None).unwrap();
    machine.compare_with(old);
    let other = json!({"gpu": "off", "platforms": {"tdx": {"referenceValues": {"mr_td": ["00"]}}}});
    let other = Arc::new(Machines::new(&other).unwrap());
    machine.compare_with(other.clone());
    assert_eq!(other.known(&FIRST), None, "it speaks of other machines");
    machine.compare_with(new.clone());
    assert!(new.known(&FIRST).is_some());
    machine.attester = simulated("another");
    machine.of_key(&FIRST, None).unwrap();
    assert_eq!(new.known(&FIRST), None);
}

#[test]
fn evidence_is_kept_of_the_newest_keys_only() {
    let (machine, machines) = (machine(), machines());
    machine.compare_with(machines.clone());
    for key in 1..=9 {
        machine.of_key(&[key; 32], None).unwrap();
    }
    let known: Vec<u8> = (1..=9).filter(|key| machines.known(&[*key; 32]).is_some()).collect();
    assert_eq!(known, [6, 7, 8, 9]);
}
