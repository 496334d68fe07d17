//! Nitro documents: Colophon's reader and crate `nitro_attest`. Whatever ours accepts theirs does, with the same words in it.

use colophon_attest::{Collateral, Evidence, Question, Report, verify};
use colophon_differential::{flipped, recorded};
use nitro_attest::UnparsedAttestationDoc;
use time::OffsetDateTime;

/// 2022-10-13.
const AT: u64 = 1_665_655_200;

fn ours(document: &[u8], at: u64) -> Option<Report> {
    let evidence = Evidence::Nitro { document: document.to_vec() };
    verify(&evidence, &Collateral::default(), &Question { at, ..Question::default() }).ok()
}

fn theirs(document: &[u8], at: u64) -> Option<nitro_attest::AttestationDoc> {
    let now = OffsetDateTime::from_unix_timestamp(at as i64).expect("a time");
    std::panic::catch_unwind(|| UnparsedAttestationDoc::from(document).parse_and_verify(now).ok())
        .ok()
        .flatten()
}

#[test]
fn a_recorded_document_says_the_same_to_both() {
    let Some(document) = recorded("nitro/valid-attestation-doc-bytes") else { return };
    let (mine, other) = (ours(&document, AT).expect("good"), theirs(&document, AT).expect("good"));
    assert_eq!(mine.report_data, other.user_data.map(|bytes| bytes.into_vec()));
    assert_eq!(mine.nonce.unwrap_or_default(), other.nonce.map(|bytes| bytes.into_vec()).unwrap_or_default());
    assert_eq!(mine.age.made, u64::try_from(other.timestamp.unix_timestamp()).ok());
    assert!(!other.pcrs.is_empty());
    for (number, digest) in other.pcrs {
        assert_eq!(mine.measurements[&format!("pcr{number}")], hex::encode(digest.value), "PCR {number}");
    }
    let day = 86_400;
    for (at, what) in [(AT - 2 * day, "before"), (AT + 2 * day, "after")] {
        assert!(ours(&document, at).is_none() && theirs(&document, at).is_none(), "two days {what}");
    }
}

#[test]
fn what_we_accept_of_changed_documents_they_accept() {
    let Some(document) = recorded("nitro/valid-attestation-doc-bytes") else { return };
    let mut more = Vec::new();
    for (at, changed) in flipped(&document, 0..document.len()) {
        let (ours, theirs) = (ours(&changed, AT).is_some(), theirs(&changed, AT).is_some());
        assert!(theirs || !ours, "only we accept a changed byte {at}");
        if theirs && !ours {
            more.push(at);
        }
    }
    eprintln!(
        "of {} changed documents, {} are accepted by nitro_attest alone: bytes {more:?}",
        document.len(),
        more.len()
    );
    // The envelope that no signature covers: tag, array, unprotected header.
    assert!(more.iter().all(|at| *at < 16), "accepted by nitro_attest alone: {more:?}");
}

#[test]
fn debugging_is_looked_at_by_us_alone() {
    let Some(document) = recorded("nitro/debug-mode-attestation-doc-bytes") else { return };
    // Its chain was good for some hours of 2022; theirs is the one that says which.
    let when =
        (AT - 200 * 86_400..AT + 200 * 86_400).step_by(1800).find(|at| theirs(&document, *at).is_some());
    let when = when.expect("a time when it was good");
    let read = theirs(&document, when).expect("good");
    assert!(read.pcrs.get(&0).is_none(), "all zeros, which it leaves out");
    assert!(ours(&document, when).is_none(), "a debug enclave");
}
