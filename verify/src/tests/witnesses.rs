//! Cosignatures in a receipt's checkpoints.

use colophon_signer::note::testing::subtree_cosignature;
use colophon_signer::note::{NoteAlgorithm, NoteSignature, VerifierKey, cosignature_line, signature_line};

use super::*;
use crate::testing::{cosignature, witness};

/// A trust file that names the log, these witnesses, and more.
fn trust(made: &Made, witnesses: &[u8], more: &str) -> Trust {
    let keys: Vec<String> = witnesses.iter().map(|n| format!("\"{}\"", witness(*n))).collect();
    let file =
        made.trust_file("{}").replace("\"witnesses\":[]", &format!("\"witnesses\":[{}]", keys.join(",")));
    Trust::from_json(file.replace("\"require\":{}", more).as_bytes()).unwrap()
}

fn against(made: &Made, trust: &Trust) -> Report {
    verify(&made.file(), Some(trust), &Bodies::default(), Some(NOW + 120_000_000))
}

fn cosigned_by(cosign: fn(&str, String) -> String) -> Made {
    Plan { cosign, ..Plan::default() }.make()
}

fn two(text: &str, note: String) -> String {
    note + &cosignature(21, text) + &cosignature(22, text)
}

#[test]
fn cosignatures_make_a_log_unique_and_say_whose_clock_their_time_is() {
    let made = cosigned_by(two);
    let report = against(&made, &trust(&made, &[21, 22], r#""require":{"witnesses":2}"#));
    assert_eq!(report.result, Verdict::Trusted, "{:#?}", report.checks);
    assert_eq!(
        report.uniqueness,
        r#"under the witnesses listed: "witness.example/21", "witness.example/22""#
    );
    assert_eq!(report.witnesses.len(), 2);
    assert_eq!(report.witnesses[0].at, NOW / 1_000_000 * 1_000_000 + 60_000_000);
    assert!(report.proven.iter().any(|line| line.contains("by its clock")));
    assert!(report.not_proven.iter().any(|line| line.contains("never saw")));
    // Time is another matter.
    assert_eq!((report.time.lower, report.time.upper), (None, None));
    assert!(report.time.source.contains("No independent time"));
}

#[test]
fn a_witness_may_sign_with_ml_dsa() {
    fn cosign(time: u64, text: &str) -> (VerifierKey, String) {
        subtree_cosignature(9, "witness.example/pq", time, text)
    }
    let made = cosigned_by(|text, note| note + &cosign(NOW / 1_000_000 + 60, text).1);
    let (vkey, _) = cosign(1, "log.example\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n");
    let file = made.trust_file(r#"{"witnesses":1}"#);
    let file = file.replace("\"witnesses\":[]", &format!("\"witnesses\":[\"{vkey}\"]"));
    let trust = Trust::from_json(file.as_bytes()).unwrap();
    let report = against(&made, &trust);
    assert_eq!(report.result, Verdict::Trusted, "{:#?}", report.checks);
    assert_eq!(report.uniqueness, r#"under the witnesses listed: "witness.example/pq""#);

    // A cosigner that says no time does not say that it saw no larger tree.
    let timeless = cosigned_by(|text, note| note + &cosign(0, text).1);
    let report = against(&timeless, &trust);
    assert_eq!((report.result, report.witnesses.len()), (Verdict::ConsistentNotTrusted, 0));
}

#[test]
fn witnesses_whom_nobody_named_vouch_for_nothing() {
    let made = cosigned_by(two);
    for (witnesses, more, result, count) in [
        (&[][..], r#""require":{}"#, Verdict::Trusted, 0),
        (&[21][..], r#""require":{"witnesses":1}"#, Verdict::Trusted, 1),
        (&[21][..], r#""require":{"witnesses":2}"#, Verdict::ConsistentNotTrusted, 1),
        (&[23][..], r#""require":{"witnesses":1}"#, Verdict::ConsistentNotTrusted, 0),
    ] {
        let report = against(&made, &trust(&made, witnesses, more));
        assert_eq!(report.result, result, "{witnesses:?} {more}: {:#?}", report.checks);
        assert_eq!(report.witnesses.len(), count);
        assert_eq!(report.witnesses_not_checked.len(), 2 - count);
        assert_eq!(report.uniqueness.starts_with("none"), count == 0);
        let check = report.check(checks::WITNESSES).unwrap();
        assert!(check.detail.contains("not checked"), "{check:?}");
    }
    // Without a trust file too: nothing is said about them.
    let report = verify(&made.file(), None, &Bodies::default(), None);
    assert_eq!(report.result, Verdict::ConsistentNotTrusted);
    assert!(report.witnesses.is_empty() && report.uniqueness.starts_with("none"));
}

#[test]
fn a_policy_says_which_witnesses_are_enough() {
    let policy = |quorum: &str| {
        let lines: String = [21, 22, 23].map(|n| format!("witness w{n} {}\\n", witness(n))).concat();
        format!(r#""witness_policy":"{lines}{quorum}""#)
    };
    let made = cosigned_by(two);
    for (quorum, result) in [
        (r"group g 2 w21 w22 w23\nquorum g\n", Verdict::Trusted),
        (r"group g all w21 w22 w23\nquorum g\n", Verdict::ConsistentNotTrusted),
        (r"quorum w23\n", Verdict::ConsistentNotTrusted),
        (r"quorum none\n", Verdict::Trusted),
    ] {
        let report = against(&made, &trust(&made, &[], &policy(quorum)));
        assert_eq!(report.result, result, "{quorum}: {:#?}", report.checks);
        assert_eq!(report.witnesses.len(), 2);
    }
    // A receipt without cosignatures is no worse than it was, and not enough.
    let plain = Plan::default().make();
    let report = against(&plain, &trust(&plain, &[], &policy(r"quorum w21\n")));
    assert_eq!(report.result, Verdict::ConsistentNotTrusted);
    assert_eq!(against(&plain, &plain.trust()).check(checks::WITNESSES), None);
}

#[test]
fn a_known_witness_whose_line_is_bad_spoils_the_receipt() {
    // Over another text, and with another time than was signed.
    let forged: [fn(&str, String) -> String; 2] = [
        |text, note| note + &cosignature(21, &text.replace("log.example", "fork.example")),
        |text, note| {
            let mut line = NoteSignature::parse(cosignature(21, text).trim_end()).unwrap();
            line.signature[7] ^= 1;
            note + &format!("{line}\n")
        },
    ];
    for cosign in forged {
        let made = cosigned_by(cosign);
        let report = against(&made, &trust(&made, &[21], r#""require":{}"#));
        refused_by(&report, &[checks::CHECKPOINT, checks::ANNOUNCEMENT]);
        assert!(report.uniqueness.starts_with("none"));
    }
}

#[test]
fn the_logs_line_comes_first_and_nothing_else_rides_along() {
    let wrong: [fn(&str, String) -> String; 4] = [
        // Before the log's own.
        |text, note| format!("{text}\n{}{}", cosignature(21, text), &note[text.len() + 1..]),
        // Twice by one witness, known or not.
        |text, note| note + &cosignature(21, text) + &cosignature(21, text),
        |text, note| {
            let again = cosignature_line(text, "witness.example/22", 5, &key(22)).unwrap();
            note + &cosignature(22, text) + &again
        },
        // Not of the length of a cosignature.
        |text, note| note + &signature_line(text, "someone.example", &key(33)).unwrap(),
    ];
    for cosign in wrong {
        let made = cosigned_by(cosign);
        let report = against(&made, &trust(&made, &[21], r#""require":{}"#));
        refused_by(&report, &[checks::CHECKPOINT, checks::ANNOUNCEMENT]);
    }
}

#[test]
fn a_cosignature_from_the_readers_future_is_refused() {
    let made = cosigned_by(|text, note| {
        let later = NOW / 1_000_000 + 86_400;
        note + &cosignature_line(text, "witness.example/21", later, &key(21)).unwrap()
    });
    refused_by(&against(&made, &trust(&made, &[21], r#""require":{}"#)), &[checks::TIME]);
}

#[test]
fn a_wrong_list_of_witnesses_is_an_error() {
    let made = Plan::default().make();
    let twin = VerifierKey::new("other.example", NoteAlgorithm::CosignatureV1, key(21).public_key()).unwrap();
    let own = VerifierKey::new("own.example", NoteAlgorithm::CosignatureV1, key(1).public_key()).unwrap();
    let with = |list: String, more: &str| {
        let file = made.trust_file("{}").replace("\"witnesses\":[]", &format!("\"witnesses\":[{list}]"));
        Trust::from_json(file.replace("\"require\":{}", more).as_bytes())
    };
    let error = |list: String, more: &str| with(list, more).unwrap_err().to_string();
    let none = r#""require":{}"#;
    assert!(error("\"nonsense\"".into(), none).contains("witnesses[0]"));
    assert!(error(format!("\"{}\",\"{}\"", witness(21), witness(21)), none).contains("twice"));
    assert!(error(format!("\"{}\",\"{twin}\"", witness(21)), none).contains("twice"));
    assert!(error(format!("\"{own}\""), none).contains("no log is its own witness"));
    assert!(error(format!("\"{}\"", made.vkey), none).contains("0x04"));
    let policy = format!(r#""witness_policy":"witness a {}\nquorum b\n""#, witness(21));
    assert!(error(String::new(), &policy).contains("line 2"));
    // A witness may stand in both.
    let policy = format!(r#""witness_policy":"witness a {}\nquorum a\n""#, witness(21));
    assert_eq!(with(format!("\"{}\"", witness(21)), &policy).unwrap().witnesses(), [witness(21)]);
}

/// The witnesses saw a tree in which the key was never announced: the announcement is proved in a fork.
#[test]
fn an_announcement_that_no_witness_saw_is_not_witnessed() {
    // The statement's tree has more entries than the one that the key was announced in.
    let cosign = |text: &str, note: String| match text.lines().nth(1) {
        Some("3") => note,
        _ => two(text, note),
    };
    let made = Plan { cosign, apart: true, ..Plan::default() }.make();
    let report = against(&made, &trust(&made, &[21, 22], r#""require":{"witnesses":1}"#));
    assert_eq!(report.result, Verdict::ConsistentNotTrusted, "{:#?}", report.checks);
    let missing = &report.check(checks::REQUIREMENTS).unwrap().detail;
    assert!(missing.contains("the announcement of key") && missing.contains("of 3 entries"), "{missing}");
    // One that they did see is good, under whatever tree head.
    let seen = Plan { cosign: two, apart: true, ..Plan::default() }.make();
    let report = against(&seen, &trust(&seen, &[21, 22], r#""require":{"witnesses":2}"#));
    assert_eq!(report.result, Verdict::Trusted, "{:#?}", report.checks);
    // Where none is required it is trusted, and said all the same.
    let report = against(&made, &trust(&made, &[21, 22], r#""require":{}"#));
    assert_eq!(report.result, Verdict::Trusted, "{:#?}", report.checks);
    let said = |what: &str| report.not_proven.iter().any(|line| line.contains(what));
    assert!(said("That the witnesses listed saw the announcement of key"), "{:#?}", report.not_proven);
    assert!(report.proven.iter().any(|line| line.contains("under another tree head that it signed, of 3")));
}

/// Evidence comes later, under a later tree head: that one needs its witnesses too.
#[test]
fn evidence_that_no_witness_saw_is_not_witnessed() {
    let plan = Plan {
        draw: Some((u64::MAX, colophon_receipt::Level::Zk)),
        evidence: Some(|_| {}),
        cosign: two,
        ..Plan::default()
    };
    let made = plan.make();
    let required = trust(&made, &[21, 22], r#""require":{"witnesses":2}"#);
    let later = Some(NOW + 7_200_000_000);
    let run = |file: &[u8]| verify(file, Some(&required), &Bodies::default(), later);
    assert_eq!(run(&made.file()).result, Verdict::Trusted, "{:#?}", run(&made.file()).checks);
    let other = Plan { later_entries: 9, cosign: |_, note| note, ..plan }.make();
    let mut receipt = made.receipt.clone();
    receipt.evidence = other.receipt.evidence;
    let report = run(&receipt.to_json().unwrap());
    assert_eq!(report.result, Verdict::ConsistentNotTrusted, "{:#?}", report.checks);
    assert!(report.check(checks::REQUIREMENTS).unwrap().detail.contains("the evidence for zk"));
}
