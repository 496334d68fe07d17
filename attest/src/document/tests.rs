use super::*;
use crate::SimulatedRoots;
use crate::attester::Attester;
use crate::simulate::DEFAULT_SEED;

/// 2026-11-26.
const AT: u64 = 1_795_651_200;

fn made(keyset: &Keyset, nonce: &str) -> Document {
    let attester: Attester = "simulated".parse().unwrap();
    attester.document(keyset, Some(nonce.to_owned()), None, &Collateral::default(), AT).unwrap()
}

fn keyset() -> Keyset {
    Keyset::new(vec![[1; 32]], vec![[2; 32]], Some([3; 32]))
}

fn ask(document: &Document, nonce: &[u8]) -> Result<Attested, Refusal> {
    let roots = SimulatedRoots::of_seed(DEFAULT_SEED);
    let question = Question { at: AT, nonce: Some(nonce), simulated: Some(&roots), ..Question::default() };
    document.verify(&Collateral::default(), &question)
}

#[test]
fn what_an_attester_makes_is_read_and_verified() {
    let document = Document::read(&made(&keyset(), &"5a".repeat(32)).to_json()).unwrap();
    let attested = ask(&document, &[0x5a; 32]).unwrap();
    assert_eq!(attested.keyset, keyset());
    // A nonce of 32 bytes is one that GPUs can answer too.
    assert_eq!(attested.reports.len(), 2);
    assert!(attested.reports.iter().all(Report::is_simulated));
    assert!(document.to_json().len() < 60 << 10, "a log entry has room for {}", document.to_json().len());
}

#[test]
fn other_keys_another_nonce_and_other_spellings_are_refused() {
    let good = made(&keyset(), &"5a".repeat(32));
    assert!(matches!(ask(&good, &[0x5b; 32]), Err(Refusal::Nonce(_))));
    let mut other = good.clone();
    other.keyset = Keyset::new(vec![[9; 32]], vec![[2; 32]], Some([3; 32])).to_json();
    assert!(matches!(ask(&other, &[0x5a; 32]), Err(Refusal::ReportData(_))));
    // With a statement of those keys, the evidence is about another statement.
    let mut forged = other;
    forged.bundle.statement =
        made(&Keyset::from_json(&forged.keyset).unwrap(), &"5a".repeat(32)).bundle.statement;
    assert!(matches!(ask(&forged, &[0x5a; 32]), Err(Refusal::ReportData(_))));
    let spaced = good.keyset.replace(",\"tls", ", \"tls");
    for text in [spaced.as_str(), &good.keyset.replace("01", "0G"), "{}", "[]", ""] {
        assert!(Keyset::from_json(text).is_err(), "{text}");
    }
    let mut without = good.clone();
    without.bundle.statement = None;
    assert!(matches!(ask(&without, &[0x5a; 32]), Err(Refusal::Malformed(..))));
    assert!(Document::read(&vec![b' '; MAX_BYTES + 1]).is_err());
    let unknown = String::from_utf8(good.to_json()).unwrap().replacen('{', "{\"more\":1,", 1);
    assert!(Document::read(unknown.as_bytes()).is_err());
}

#[test]
fn a_gpu_alone_is_no_machine() {
    let mut document = made(&keyset(), &"5a".repeat(32));
    document.bundle.evidence.retain(|piece| piece.platform() == crate::Platform::NvidiaGpu);
    assert!(matches!(ask(&document, &[0x5a; 32]), Err(Refusal::Policy(_))));
}
