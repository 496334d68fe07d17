//! A good receipt whose file was changed afterwards, by someone without any key.

use super::*;
use colophon_signer::rfc3161::testing::Tsa;
use proptest::prelude::*;

fn samples() -> Vec<Made> {
    vec![
        Plan { nonce: Some("n-1".into()), ..Plan::default() }.make(),
        Plan { signing: Signing::Stream, earlier_key: true, ..Plan::default() }.make(),
    ]
}

fn result(file: &[u8], made: &Made) -> Verdict {
    verify(file, Some(&made.trust()), &Bodies::default(), None).result
}

#[test]
fn every_byte_of_the_file_counts() {
    for made in samples() {
        let good = made.file();
        assert_eq!(result(&good, &made), Verdict::Trusted);
        for at in 0..good.len() {
            // The neighbour in ASCII and base64, and another bit for every position.
            for mask in [0x01, 1 << (1 + at % 7)] {
                let mut bad = good.clone();
                bad[at] ^= mask;
                assert_eq!(result(&bad, &made), Verdict::Bad, "byte {at} ^ {mask:#04x}");
            }
        }
    }
}

#[test]
fn every_byte_of_the_timestamps_counts() {
    let tsa = Tsa::new(1, NOW);
    let made =
        Plan { anchors: vec![(tsa.clone(), NOW)], beacon: Some((tsa, NOW - 1)), ..Plan::default() }.make();
    let good = made.file();
    assert_eq!(result(&good, &made), Verdict::Trusted);
    let start = good.windows(9).position(|window| window == b"\"anchors\"").unwrap();
    for at in start..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert_eq!(result(&bad, &made), Verdict::Bad, "byte {at}");
    }
}

#[test]
fn every_line_of_the_file_counts() {
    for made in samples() {
        let good = made.file();
        let lines: Vec<&[u8]> = good.split_inclusive(|byte| *byte == b'\n').collect();
        for at in 0..lines.len() {
            let mut deleted = lines.clone();
            deleted.remove(at);
            assert_eq!(result(&deleted.concat(), &made), Verdict::Bad, "line {at} deleted");
            let mut doubled = lines.clone();
            doubled.insert(at, lines[at]);
            assert_eq!(result(&doubled.concat(), &made), Verdict::Bad, "line {at} doubled");
            for other in at + 1..lines.len().min(at + 12) {
                if lines[at] != lines[other] {
                    let mut swapped = lines.clone();
                    swapped.swap(at, other);
                    assert_eq!(result(&swapped.concat(), &made), Verdict::Bad, "{at} and {other} swapped");
                }
            }
        }
        for cut in [1, 2, good.len() / 2, good.len() - 1] {
            assert_eq!(result(&good[..good.len() - cut], &made), Verdict::Bad, "{cut} bytes cut");
        }
        for more in [&b"\n"[..], b" ", b"\0", b"{}"] {
            assert_eq!(result(&[&good, more].concat(), &made), Verdict::Bad, "{more:?} appended");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_change_of_bytes_is_refused(at in any::<prop::sample::Index>(), mask in 1u8.., other in any::<prop::sample::Index>(), mask2: u8) {
        let made = Plan { signing: Signing::Stream, ..Plan::default() }.make();
        let mut bad = made.file();
        let (at, other) = (at.index(bad.len()), other.index(bad.len()));
        bad[at] ^= mask;
        if at != other {
            bad[other] ^= mask2;
        }
        prop_assert_eq!(result(&bad, &made), Verdict::Bad);
    }

    #[test]
    fn rubbish_is_refused_quietly(file in prop::collection::vec(any::<u8>(), 0..512)) {
        let report = verify(&file, None, &Bodies::default(), None);
        prop_assert_eq!(report.result, Verdict::Bad);
    }
}

/// Changes the receipt as a value, so that the file's form stays right and deeper checks have to notice.
#[track_caller]
fn changed(change: impl Fn(&mut Receipt), names: &[&str]) {
    let mut made = Plan { earlier_key: true, signing: Signing::Stream, ..Plan::default() }.make();
    change(&mut made.receipt);
    refused_by(&run(&made), names);
}

#[test]
fn batch_proofs_are_exact() {
    changed(|r| r.batch.path.push(Bytes(vec![7; 32])), &[checks::BATCH]);
    changed(|r| drop(r.batch.path.pop()), &[checks::BATCH]);
    changed(|r| r.batch.path[0] = Bytes(vec![7; 31]), &[checks::BATCH]);
    changed(|r| r.batch.path = vec![Bytes(vec![0; 32]); 5000], &[checks::BATCH]);
    changed(|r| r.batch.path.swap(0, 1), &[checks::BATCH]);
    for index in [0, 2, 4, 5, 3 + 8, 3 + (1 << 32), u64::MAX] {
        changed(|r| r.batch.index = index, &[checks::BATCH]);
    }
}

#[test]
fn log_proofs_are_exact() {
    let hash = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let more = |r: &mut Receipt| r.log_proof = r.log_proof.replacen("\n\n", &format!("\n{hash}\n\n"), 1);
    changed(more, &[checks::LOG_INCLUSION]);
    let index = |text: &str, index: &str| {
        let (before, after) = text.split_once("index ").unwrap();
        let (_, after) = after.split_once('\n').unwrap();
        format!("{before}index {index}\n{after}")
    };
    for at in ["0", "3", "12", "18446744073709551615"] {
        let found = changed_report(|r| r.log_proof = index(&r.log_proof, at));
        assert!(found.failed().any(|check| check.name == checks::LOG_INCLUSION), "{at}");
    }
    // A smaller tree than the one signed: the note's signature no longer fits, nor does the proof.
    let size = |r: &mut Receipt| r.log_proof = r.log_proof.replacen("\n7\n", "\n6\n", 1);
    let found = changed_report(size);
    assert!(found.failed().any(|check| check.name == checks::CHECKPOINT));
    changed(|r| r.log_proof.push_str("— log.example/2026 AAAAAAAA\n"), &[checks::CHECKPOINT]);
}

fn changed_report(change: impl Fn(&mut Receipt)) -> Report {
    let mut made = Plan { earlier_key: true, signing: Signing::Stream, ..Plan::default() }.make();
    let before = made.receipt.clone();
    change(&mut made.receipt);
    assert_ne!(before, made.receipt, "the change did nothing");
    run(&made)
}

#[test]
fn fields_are_those_of_the_bitmap() {
    changed(|r| r.record.fields.insert(1, r.record.fields[1].clone()), &[checks::FIELDS]);
    changed(|r| r.record.fields.swap(0, 1), &[checks::FIELDS]);
    changed(|r| drop(r.record.fields.remove(4)), &[checks::FIELDS]);
    let renumber = |r: &mut Receipt, number| match &mut r.record.fields[4] {
        Field::Opened(field) => field.number = number,
        Field::Withheld(field) => field.number = number,
    };
    // The bitmap lacks 8, has 9; above 63 there is none.
    changed(|r| renumber(r, 8), &[checks::FIELDS]);
    changed(|r| renumber(r, 200), &[checks::FIELDS]);
    changed(
        |r| match &mut r.record.fields[0] {
            Field::Opened(field) => drop(field.salt.0.pop()),
            Field::Withheld(_) => unreachable!(),
        },
        &[checks::FIELDS],
    );
}

#[test]
fn signatures_and_announcements_neither_come_nor_go_unseen() {
    // Open and close, in that order, each once.
    changed(|r| r.http_signatures.swap(0, 1), &[checks::HTTP_SIGNATURE]);
    changed(|r| r.http_signatures.push(r.http_signatures[1].clone()), &[checks::HTTP_SIGNATURE]);
    // An announcement that nothing needs.
    changed(|r| r.http_signatures.clear(), &[checks::OTHER_ANNOUNCEMENTS]);
    // A signature whose key is not announced.
    changed(|r| drop(r.announcements.pop()), &[checks::HTTP_SIGNATURE]);
    changed(|r| r.announcements.push(r.announcements[1].clone()), &[checks::OTHER_ANNOUNCEMENTS]);
    let found = changed_report(|r| r.announcements.swap(0, 1));
    assert!(found.failed().any(|check| check.name == checks::STATEMENT_SIGNATURE));
    changed(|r| r.announcements.clear(), &[checks::ANNOUNCEMENT, checks::HTTP_SIGNATURE]);
}

#[test]
fn dropping_every_signature_only_lowers_the_level() {
    let mut made = Plan::default().make();
    made.receipt.http_signatures.clear();
    let report = run(&made);
    assert_eq!((report.result, report.verified_level), (Verdict::Trusted, Some(Level::Commit)));
}

#[test]
fn withholding_is_allowed_but_not_under_a_signature() {
    let hide = |made: &mut Made, at: usize| {
        let Field::Opened(field) = made.receipt.record.fields[at].clone() else { unreachable!() };
        let salt = field.salt.salt().unwrap();
        let hash = Bytes(colophon_receipt::record::field_hash(&salt, &field.value.0).to_vec());
        let hidden = colophon_receipt::receipt::WithheldField { number: field.number, hash };
        made.receipt.record.fields[at] = Field::Withheld(hidden);
    };
    let mut unsigned = Plan { signing: Signing::Unsigned, ..Plan::default() }.make();
    let mut signed = Plan::default().make();
    for at in 0..4 {
        hide(&mut unsigned, at);
    }
    assert_eq!(run(&unsigned).result, Verdict::Trusted);
    assert!(run(&unsigned).not_proven.iter().any(|line| line.contains("withheld fields")));
    hide(&mut signed, 2);
    refused_by(&run(&signed), &[checks::HTTP_SIGNATURE]);
    // The request line may be withheld: the digests still tie the signature to the record.
    let mut signed = Plan::default().make();
    hide(&mut signed, 1);
    assert_eq!(run(&signed).verified_level, Some(Level::Sign));
}
