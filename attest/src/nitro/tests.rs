use super::*;
use crate::testing::{flips, judge, recorded};
use crate::{Evidence, Source, verify as verify_evidence};
use colophon_signer::x509::Certificate;

/// 2022-10-13, 10:00: within the recorded document's three hours.
const AT: u64 = 1_665_655_200;
/// 2022-10-12, 14:00.
const AT_DEBUG: u64 = 1_665_583_200;

fn recorded_document() -> Option<Vec<u8>> {
    recorded("nitro/valid-attestation-doc-bytes")
}

fn ask(document: &[u8], at: u64) -> Result<Report, Refusal> {
    judge(&Evidence::Nitro { document: document.to_vec() }, &Collateral::default(), at)
}

#[test]
fn a_recorded_document_is_accepted_at_its_time() {
    let Some(document) = recorded_document() else { return };
    let report = ask(&document, AT).unwrap();
    assert_eq!((report.platform, report.source), (Platform::Nitro, Source::HardwareProven));
    assert_eq!(report.root.name, "aws.nitro-enclaves");
    assert_eq!(report.measurements["pcr0"].len(), 96);
    assert_eq!(report.age.made, Some(1_665_651_482));
    assert!(report.about.starts_with("the enclave i-"), "{}", report.about);
}

#[test]
fn hours_later_and_before_it_was_made_it_is_refused() {
    let Some(document) = recorded_document() else { return };
    for at in [AT + 4 * 3600, AT - 2 * 3600, 1_665_651_481] {
        let refusal = ask(&document, at).unwrap_err();
        assert_eq!(refusal.code(), "time", "{at}: {refusal}");
    }
}

#[test]
fn a_debug_enclave_is_refused() {
    let Some(document) = recorded("nitro/debug-mode-attestation-doc-bytes") else { return };
    assert_eq!(ask(&document, AT_DEBUG), Err(Refusal::Debug("debugging")));
}

#[test]
fn another_nonce_is_refused() {
    let Some(document) = recorded_document() else { return };
    let question = Question { at: AT, nonce: Some(b"another nonce"), ..Question::default() };
    let evidence = Evidence::Nitro { document };
    assert_eq!(verify_evidence(&evidence, &Collateral::default(), &question).unwrap_err().code(), "nonce");
}

/// Every byte of the document, a bit of each that moves along: headers, payload, signature.
#[test]
fn no_flipped_bit_is_accepted() {
    let Some(document) = recorded_document() else { return };
    let (payload, _) = unwrap(&document).unwrap();
    let leaf = Document::parse(payload).unwrap().certificate;
    let accepted = |at: usize, mask: u8| {
        let mut document = document.clone();
        document[at] ^= mask;
        let key = Certificate::parse(&leaf).unwrap();
        unwrap(&document)
            .and_then(|(payload, signature)| {
                chain::verify_p384(&key, &to_be_signed(payload), signature, "the Nitro document")
            })
            .is_ok()
    };
    assert!(accepted(0, 0), "unchanged it is good");
    assert_eq!(flips(0..document.len(), false, accepted), []);
    for at in (0..document.len()).step_by(131) {
        let mut document = document.clone();
        document[at] ^= 2;
        assert!(ask(&document, AT).is_err(), "{at}");
    }
}

#[test]
fn other_shapes_are_refused() {
    let Some(document) = recorded_document() else { return };
    // With the tag it is the same document.
    ask(&[&[0xd2][..], &document].concat(), AT).unwrap();
    for other in
        [[&document[..], &[0]].concat(), [&[0xd1][..], &document].concat(), document[..4000].to_vec(), vec![]]
    {
        assert_eq!(ask(&other, AT).unwrap_err().code(), "malformed");
    }
}
