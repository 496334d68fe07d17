use colophon_receipt::receipt::{Bytes, Field, Receipt};
use colophon_receipt::{Level, Outcome};

use super::*;
use crate::testing::{Made, NOW, Plan, Signing, key};

mod copies;
mod draw;
mod forged;
pub(crate) mod proof;
mod tampered;
mod witnesses;

fn run(made: &Made) -> Report {
    verify(&made.file(), Some(&made.trust()), &Bodies::default(), None)
}

/// The receipt is bad, and exactly these checks say so.
#[track_caller]
fn refused_by(report: &Report, names: &[&str]) {
    assert_eq!(report.result, Verdict::Bad);
    let failed: Vec<&str> = report.failed().map(|check| check.name).collect();
    assert_eq!(failed, names, "{:#?}", report.checks);
    assert!(report.proven.is_empty() && report.verified_level.is_none());
}

#[test]
fn good_receipts_of_every_shape_are_trusted() {
    for signing in [Signing::Unsigned, Signing::Whole, Signing::Stream, Signing::OpenOnly] {
        for (records, index) in [(1, 0), (2, 1), (5, 0), (5, 4), (8, 3)] {
            for earlier_key in [false, signing != Signing::Unsigned] {
                let made = Plan { signing, records, index, earlier_key, ..Plan::default() }.make();
                let apart = Plan { apart: true, signing, records, index, earlier_key, ..Plan::default() };
                assert_eq!(run(&apart.make()).result, Verdict::Trusted);
                let report = run(&made);
                assert_eq!(report.result, Verdict::Trusted, "{:#?}", report.checks);
                let signed = matches!(signing, Signing::Whole | Signing::Stream);
                let level = if signed { Level::Sign } else { Level::Commit };
                assert_eq!(report.verified_level, Some(level));
                assert_eq!(report.claimed_level, Some(Level::Sign));
                assert_eq!(report.binding, Binding::None);
            }
        }
    }
}

#[test]
fn a_claim_without_its_signature_verifies_as_commit_and_says_so() {
    let report = run(&Plan { signing: Signing::Unsigned, ..Plan::default() }.make());
    assert_eq!(report.check(checks::LEVEL).map(|check| check.status), Some(Status::NotChecked));
    assert!(report.not_proven.iter().any(|line| line.contains("level sign that the record claims")));
    assert!(report.check(checks::LEVEL).unwrap().detail.contains("not shown"));
    let text = crate::cli::print::human(&report, false);
    assert!(text.contains("sign claimed, commit verified: what is claimed is NOT shown"), "{text}");
}

#[test]
fn an_answer_that_was_cut_does_not_read_like_a_whole_one() {
    use Outcome::*;
    let ends = |outcome: Outcome| -> fn(&mut colophon_receipt::record::RecordLeaf) {
        match outcome {
            Complete => |_| {},
            ClientAborted => |leaf| leaf.outcome = ClientAborted,
            UpstreamFailed => |leaf| leaf.outcome = UpstreamFailed,
            UpstreamError => |leaf| leaf.outcome = UpstreamError,
            Refused => |leaf| leaf.outcome = Refused,
            Recovered => |leaf| leaf.outcome = Recovered,
        }
    };
    for (outcome, open) in [
        (Complete, None),
        (ClientAborted, Some("That this is the whole answer: the record says client-aborted")),
        (UpstreamFailed, Some("That this is the whole answer: the record says upstream-failed")),
        (UpstreamError, Some("That a model answered: the record says upstream-error")),
        (Refused, Some("That a model answered: the record says refused")),
        (Recovered, Some("That this is the whole exchange: the record says recovered")),
    ] {
        let made = Plan { leaf: ends(outcome), ..Plan::default() }.make();
        let response = Some(Body::from_bytes(Side::Response, &made.response));
        let bodies = Bodies { response, ..Bodies::default() };
        let report = verify(&made.file(), Some(&made.trust()), &bodies, None);
        assert_eq!(report.result, Verdict::Trusted, "{:#?}", report.checks);
        let said = |what: &str| report.not_proven.iter().any(|line| line.starts_with(what));
        assert!(open.is_none_or(said), "{outcome}: {:#?}", report.not_proven);
        let cut = matches!(outcome, ClientAborted | UpstreamFailed | Recovered);
        assert_eq!(report.proven.iter().any(|line| line.contains("as far as it was sent")), cut);
        let signed = &report.check(checks::HTTP_SIGNATURE).unwrap().detail;
        assert_eq!(signed.contains("the whole answer"), outcome == Complete, "{signed}");
        let text = crate::cli::print::human(&report, false);
        assert_eq!(text.contains("  outcome    "), outcome != Complete, "{text}");
    }
}

#[test]
fn without_a_trust_file_nothing_is_trusted() {
    let report = verify(&Plan::default().make().file(), None, &Bodies::default(), None);
    assert_eq!(report.result, Verdict::ConsistentNotTrusted);
    assert_eq!((report.verified_level, report.keys.log.as_ref()), (None, None));
    assert!(report.not_proven[0].starts_with("Who made this"));
    for name in [checks::CHECKPOINT, checks::ANNOUNCEMENT, checks::LEVEL, checks::REQUIREMENTS] {
        assert_eq!(report.check(name).map(|check| check.status), Some(Status::NotChecked), "{name}");
    }
}

#[test]
fn what_the_trust_file_requires_has_to_be_there() {
    let made = Plan::default().make();
    let require = |what: &str| Trust::from_json(made.trust_file(what).as_bytes()).unwrap();
    let bodies = Bodies {
        request: Some(Body::from_bytes(Side::Request, &made.request)),
        response: Some(Body::from_bytes(Side::Response, &made.response)),
        ..Bodies::default()
    };
    for (what, bodies, expected) in [
        ("{}", Bodies::default(), Verdict::Trusted),
        (r#"{"request":true}"#, Bodies::default(), Verdict::ConsistentNotTrusted),
        (r#"{"response":true}"#, Bodies::default(), Verdict::ConsistentNotTrusted),
        (r#"{"request":true,"response":true}"#, bodies.clone(), Verdict::Trusted),
        (r#"{"timestamps":1}"#, bodies.clone(), Verdict::ConsistentNotTrusted),
        (r#"{"witnesses":1}"#, bodies, Verdict::ConsistentNotTrusted),
    ] {
        let report = verify(&made.file(), Some(&require(what)), &bodies, None);
        assert_eq!(report.result, expected, "{what}");
    }
}

#[test]
fn time_is_the_readers_only_when_given() {
    let made = Plan::default().make();
    let at = |time| verify(&made.file(), Some(&made.trust()), &Bodies::default(), Some(time));
    assert_eq!(at(NOW).result, Verdict::Trusted);
    refused_by(&at(NOW - 600_000_000), &[checks::TIME]);
    let late = at(NOW + 2 * 86_400_000_000);
    assert_eq!(late.result, Verdict::Trusted);
    assert!(late.not_proven.iter().any(|line| line.contains("no timestamp shows")), "{:#?}", late.not_proven);
    assert_eq!((late.time.lower, late.time.upper), (None, None));
}

#[test]
fn foreign_text_is_quoted_escaped_and_attributed() {
    let path = format!("/v1/\"}}\u{1b}[31m{}", "x".repeat(500));
    // Such a path cannot stand in a signature base, so the answer goes unsigned.
    let made = Plan { path, signing: Signing::Unsigned, ..Plan::default() }.make();
    let report = run(&made);
    assert_eq!(report.result, Verdict::Trusted);
    for line in &report.record_says {
        assert!(line.starts_with("the operator's record says: "), "{line}");
        assert!(line.len() < 400 && line.chars().all(|c| c == '…' || (' '..='~').contains(&c)), "{line}");
    }
    assert!(report.record_says.iter().any(|line| line.contains(r"med-7b\u{202e}\u{1b}[2J")));
    assert!(report.proven.iter().all(|line| !line.contains("med-7b")));
}

#[test]
fn every_report_says_that_it_does_not_show_truth() {
    let made = Plan::default().make();
    for trust in [None, Some(made.trust())] {
        let report = verify(&made.file(), trust.as_ref(), &Bodies::default(), None);
        for line in ["That the answer is true, safe or unbiased.", "That no inference bypassed the proxy."] {
            assert!(report.not_proven.iter().any(|l| l == line));
        }
        assert!(report.not_proven.iter().any(|line| line.contains("No independent time.")));
        assert!(report.uniqueness.contains("second log"));
    }
}

#[test]
fn what_is_no_receipt_is_bad() {
    for file in [&b""[..], b"{}", b"null", b"\xff\xfe", b"[[[[[[", b"{\"format\":\"colophon-receipt-v1\"}"] {
        refused_by(&verify(file, None, &Bodies::default(), None), &[checks::RECEIPT_FORM]);
    }
    let huge = vec![b' '; colophon_receipt::receipt::MAX_BYTES + 1];
    refused_by(&verify(&huge, None, &Bodies::default(), None), &[checks::RECEIPT_FORM]);
    let deep = vec![b'['; 1 << 20];
    refused_by(&verify(&deep, None, &Bodies::default(), None), &[checks::RECEIPT_FORM]);
}

/// Prints how long a verification takes; run it alone, in release, with `--ignored --nocapture`.
#[test]
#[ignore = "measures, asserts nothing about time"]
fn how_long_a_verification_takes() {
    let made = Plan { records: 4096, index: 1234, ..Plan::default() }.make();
    let (file, trust) = (made.file(), made.trust());
    let start = std::time::Instant::now();
    for _ in 0..1000 {
        assert_eq!(verify(&file, Some(&trust), &Bodies::default(), None).result, Verdict::Trusted);
    }
    println!("{:?} each, {} bytes", start.elapsed() / 1000, file.len());
}
