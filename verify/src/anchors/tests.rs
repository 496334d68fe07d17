use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use colophon_receipt::receipt::{Anchor, Bytes};
use colophon_signer::rfc3161::testing::{Identity, Template, Tsa};

use crate::checks::{ANCHORS, BEACON, REQUIREMENTS};
use crate::testing::{Made, NOW, Plan};
use crate::{Bodies, Report, Status, Trust, Verdict, verify};

/// When the checkpoint was dated, and before the batch.
const AFTER: u64 = NOW + 30_000_000;
const BEFORE: u64 = NOW - 400_000_000;

fn tsa(seed: u8) -> Tsa {
    Tsa::new(seed, NOW)
}

fn dated() -> Plan {
    Plan { anchors: vec![(tsa(1), AFTER)], beacon: Some((tsa(1), BEFORE)), ..Plan::default() }
}

fn trust(made: &Made, tsas: &[Tsa], timestamps: u32) -> Trust {
    let roots: Vec<String> =
        tsas.iter().map(|tsa| format!("\"{}\"", BASE64_STANDARD.encode(&tsa.root.certificate))).collect();
    let file = made.trust_file(&format!(r#"{{"timestamps":{timestamps}}}"#));
    let file = file.replace(r#""tsa_roots":[]"#, &format!(r#""tsa_roots":[{}]"#, roots.join(",")));
    Trust::from_json(file.as_bytes()).unwrap()
}

fn run(made: &Made, tsas: &[Tsa], timestamps: u32) -> Report {
    verify(&made.file(), Some(&trust(made, tsas, timestamps)), &Bodies::default(), None)
}

fn status(report: &Report, name: &str) -> Status {
    report.check(name).unwrap().status
}

#[track_caller]
fn refused(plan: &Plan, check: &str, why: &str) {
    let report = run(&plan.make(), &[tsa(1), tsa(5)], 0);
    assert_eq!(report.result, Verdict::Bad, "{why}");
    let failed: Vec<_> = report.failed().map(|check| (check.name, check.detail.clone())).collect();
    assert!(failed.len() == 1 && failed[0].0 == check && failed[0].1.contains(why), "{failed:?}");
    assert_eq!((report.time.lower, report.time.upper), (None, None));
}

#[test]
fn two_timestamps_bound_the_commitment() {
    let report = run(&dated().make(), &[tsa(1)], 1);
    assert_eq!(report.result, Verdict::Trusted, "{:#?}", report.checks);
    assert_eq!((report.time.lower, report.time.upper), (Some(BEFORE), Some(AFTER)));
    assert_eq!(
        report.time.source,
        "After 2026-11-14T10:33:20.000Z (\"Test TSA 1\") and before 2026-11-14T10:40:30.000Z (\"Test TSA 1\")."
    );
    assert!(report.proven[0].ends_with(
        "committed to these bytes as an exchange, after 2026-11-14T10:33:20.000Z (timestamp by \"Test TSA 1\") and \
         before 2026-11-14T10:40:30.000Z (timestamp by \"Test TSA 1\"); unchanged since 2026-11-14T10:40:30.000Z."
    ));
    // Time is no uniqueness.
    assert_eq!(report.uniqueness, crate::wording::NOT_UNIQUE);
    assert!(!report.not_proven.iter().any(|line| line.contains("No independent time")));
    assert!(report.not_proven.iter().any(|line| line.contains("the timestamps date the commitment")));
    let of: Vec<_> =
        report.timestamps.iter().map(|stamp| (stamp.of, stamp.time, stamp.revocation_checked)).collect();
    assert_eq!(of, [("anchor", AFTER, false), ("beacon", BEFORE, false)]);
    assert!(report.check(ANCHORS).unwrap().detail.contains("revocation not checked"));
}

#[test]
fn each_bound_stands_alone() {
    let only_before = run(&Plan { beacon: None, ..dated() }.make(), &[tsa(1)], 1);
    assert_eq!((only_before.time.lower, only_before.time.upper), (None, Some(AFTER)));
    assert!(only_before.not_proven.iter().any(|line| line.contains("no timestamp says after when")));
    let only_after = run(&Plan { anchors: vec![], ..dated() }.make(), &[tsa(1)], 0);
    assert_eq!((only_after.time.lower, only_after.time.upper), (Some(BEFORE), None));
    assert!(only_after.not_proven.iter().any(|line| line.contains("no timestamp says before when")));
    let neither = run(&Plan::default().make(), &[tsa(1)], 0);
    assert_eq!((neither.result, neither.time.source.as_str()), (Verdict::Trusted, "No independent time."));
    assert_eq!(status(&neither, ANCHORS), Status::NotChecked);
}

#[test]
fn a_strangers_timestamp_says_nothing() {
    let made = dated().make();
    for report in [run(&made, &[], 0), run(&made, &[tsa(5)], 0)] {
        assert_eq!(report.result, Verdict::Trusted);
        assert_eq!((report.time.lower, report.time.upper), (None, None));
        assert_eq!(
            (status(&report, ANCHORS), status(&report, BEACON)),
            (Status::NotChecked, Status::NotChecked)
        );
        assert!(report.check(ANCHORS).unwrap().detail.contains("not trusted"));
        assert!(report.timestamps.iter().all(|stamp| stamp.tsa.is_none()));
    }
    assert_eq!(run(&made, &[tsa(5)], 1).result, Verdict::ConsistentNotTrusted);
    let without = verify(&made.file(), None, &Bodies::default(), None);
    assert_eq!((without.result, without.time.upper), (Verdict::ConsistentNotTrusted, None));
}

#[test]
fn the_earliest_counts_and_each_root_once() {
    let anchors = vec![(tsa(1), AFTER + 5_000_000), (tsa(5), AFTER), (tsa(1), AFTER + 1)];
    let made = Plan { anchors, ..Plan::default() }.make();
    assert_eq!(run(&made, &[tsa(1), tsa(5)], 2).time.upper, Some(AFTER));
    assert_eq!(run(&made, &[tsa(1), tsa(5)], 2).result, Verdict::Trusted);
    let three = run(&made, &[tsa(1), tsa(5)], 3);
    assert_eq!(three.result, Verdict::ConsistentNotTrusted);
    assert!(three.check(REQUIREMENTS).unwrap().detail.contains("3 timestamps (RFC 3161): 2 count"));
    assert_eq!(run(&made, &[tsa(1)], 2).result, Verdict::ConsistentNotTrusted);
    assert_eq!(run(&made, &[tsa(1)], 1).time.upper, Some(AFTER + 1));
}

#[test]
fn what_is_dated_after_its_keys_end_does_not_count() {
    let ends = NOW + 86_400_000_000;
    let made = Plan { anchors: vec![(tsa(1), ends + 1)], ..Plan::default() }.make();
    let report = run(&made, &[tsa(1)], 1);
    assert_eq!((report.result, report.time.upper), (Verdict::ConsistentNotTrusted, Some(ends + 1)));
    assert!(report.not_proven.iter().any(|line| line.contains("the earliest timestamp does not show")));
    // In time, and read after the end.
    let made = Plan { anchors: vec![(tsa(1), ends)], ..Plan::default() }.make();
    let report = verify(&made.file(), Some(&trust(&made, &[tsa(1)], 1)), &Bodies::default(), Some(ends * 2));
    assert_eq!(report.result, Verdict::Trusted);
    assert!(!report.not_proven.iter().any(|line| line.contains("the key was valid only until")));
}

#[test]
fn bad_timestamps_make_a_receipt_bad() {
    let seconds = NOW / 1_000_000;
    let expired = Tsa::under(tsa(1).root, 2, &Template::tsa("TSA", (seconds - 99, seconds)));
    refused(&Plan { anchors: vec![(expired.clone(), AFTER)], ..dated() }, ANCHORS, "had expired");
    refused(&Plan { beacon: Some((expired.clone(), AFTER)), ..dated() }, BEACON, "had expired");
    // What expired later stays good.
    let made = Plan { anchors: vec![(expired, NOW)], ..dated() }.make();
    assert_eq!(run(&made, &[tsa(1)], 1).result, Verdict::Trusted);
    let two = Tsa { signers: vec![tsa(1).signers[0].clone(), tsa(5).signers[0].clone()], ..tsa(1) };
    refused(&Plan { anchors: vec![(two, AFTER)], ..dated() }, ANCHORS, "exactly one signer");
    let web = Template { purposes: None, ..Template::tsa("TSA", (seconds - 99, seconds + 99)) };
    let web = Tsa { signers: vec![Identity::new(2, &web, Some(&tsa(1).root))], ..tsa(1) };
    refused(&Plan { beacon: Some((web, BEFORE)), ..dated() }, BEACON, "no extended key usage");
    refused(&Plan { anchors: vec![(tsa(5), AFTER), (tsa(5), AFTER)], ..dated() }, ANCHORS, "the same");
    refused(&Plan { anchors: vec![(tsa(1), AFTER); 17], ..dated() }, ANCHORS, "more than 16");
    // After it, and long before it.
    let (before, after) = (NOW - 200_000_000, NOW + 100_000_001);
    let crossed = Plan { anchors: vec![(tsa(5), before)], beacon: Some((tsa(1), after)), ..dated() };
    refused(&crossed, BEACON, "contradict");
    assert_eq!(run(&crossed.make(), &[tsa(1)], 0).result, Verdict::Trusted, "one of them is a stranger's");
}

#[test]
fn timestamps_of_something_else_make_a_receipt_bad() {
    let report = |made: &Made| run(made, &[tsa(1)], 0);
    let mut made = dated().make();
    let other = dated().make().receipt.beacon.unwrap();
    made.receipt.anchors = vec![Anchor::Rfc3161(other)];
    assert!(report(&made).check(ANCHORS).unwrap().detail.contains("of something else"));
    let mut made = dated().make();
    let Anchor::Rfc3161(other) = made.receipt.anchors[0].clone();
    made.receipt.beacon = Some(other);
    assert!(
        report(&made).check(BEACON).unwrap().detail.contains("not the timestamp that the statement names")
    );
    let mut made = Plan { beacon: None, ..dated() }.make();
    made.receipt.beacon = dated().make().receipt.beacon;
    assert!(report(&made).check(BEACON).unwrap().detail.contains("does not name"));
    // One that is not shown is no fault; a lower bound it is not.
    let mut made = dated().make();
    made.receipt.beacon = None;
    assert_eq!((report(&made).result, report(&made).time.lower), (Verdict::Trusted, None));
    let mut made = dated().make();
    made.receipt.anchors = vec![Anchor::Rfc3161(Bytes(b"garbage".to_vec()))];
    assert_eq!(report(&made).result, Verdict::Bad);
}

#[test]
fn a_timestamp_from_the_readers_future_is_bad() {
    let made = dated().make();
    let at =
        |at| verify(&made.file(), Some(&trust(&made, &[tsa(1)], 0)), &Bodies::default(), Some(at)).result;
    assert_eq!(at(AFTER), Verdict::Trusted);
    let made = Plan { anchors: vec![(tsa(1), AFTER + 300_000_001)], ..dated() }.make();
    let report = verify(&made.file(), Some(&trust(&made, &[tsa(1)], 0)), &Bodies::default(), Some(AFTER));
    assert_eq!(report.failed().map(|check| check.name).collect::<Vec<_>>(), [crate::checks::TIME]);
}

/// Others' clocks and the operator's may differ by minutes, not by more.
#[test]
fn timestamps_that_contradict_the_operators_times_make_a_receipt_bad() {
    // The key had ended when the statement was made.
    let over = |beacon| {
        let announcement = |a: &mut colophon_receipt::statement::Announcement| a.not_after = NOW + 2_000_000;
        Plan { announcement, beacon: Some((tsa(1), beacon)), ..Plan::default() }
    };
    refused(&over(NOW + 302_000_001), BEACON, "valid only until");
    assert_eq!(run(&over(NOW + 302_000_000).make(), &[tsa(1)], 0).result, Verdict::Trusted);
    // The record was completed, its batch began, or its key was born after it was dated.
    let dated = |ago| Plan { anchors: vec![(tsa(1), NOW - ago)], ..Plan::default() };
    refused(&dated(299_999_000 + 3 + 1_000_000), ANCHORS, "the record was completed at");
    assert_eq!(run(&dated(299_998_000).make(), &[tsa(1)], 0).result, Verdict::Trusted);
    let born = |a: &mut colophon_receipt::statement::Announcement| a.not_before = NOW + 500_000;
    let unsigned = crate::testing::Signing::Unsigned;
    let late = Plan { announcement: born, signing: unsigned, ..dated(299_998_000) };
    refused(&late, ANCHORS, "its key is valid only from");
    // A stranger's timestamp contradicts nobody.
    assert_eq!(run(&dated(900_000_000).make(), &[tsa(5)], 0).result, Verdict::Trusted);
}

#[test]
fn evidence_from_the_readers_future_is_bad() {
    let draw = Some((u64::MAX, colophon_receipt::Level::Zk));
    let made = Plan { draw, evidence: Some(|_| {}), ..Plan::default() }.make();
    let at = |at| verify(&made.file(), Some(&made.trust()), &Bodies::default(), Some(at));
    // It was logged 25 minutes after the record.
    assert_eq!(at(NOW + 1_300_000_000).result, Verdict::Trusted);
    let failed: Vec<_> = at(NOW + 1_100_000_000).failed().map(|check| check.name).collect();
    assert_eq!(failed, [crate::checks::TIME]);
}
