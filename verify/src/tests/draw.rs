//! Draws re-computed from a published round, whose place in a chain of the test's own schedule the statement names.

use super::*;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use colophon_receipt::draw::{DELAY, Schedule};
use colophon_receipt::evidence::Verdict as Came;
use colophon_receipt::receipt::RoundPart;
use colophon_receipt::record::RecordLeaf;
use colophon_signer::drand::{Chain, Round};
use colophon_signer::rfc3161::testing::Tsa;

/// Round 123 of quicknet.
const ROUND: &str = r#"{"round":123,"signature":"b75c69d0b72a5d906e854e808ba7e2accb1542ac355ae486d591aa9d43765482e26cd02df835d3546d23c4b13e0dfc92"}"#;

/// All but certain.
const ALL: u64 = u64::MAX - 1;

fn sampled(threshold: u64) -> Plan {
    Plan { draw: Some((threshold, Level::Zk)), ..Plan::default() }
}

/// Quicknet's key, and a schedule by which round `of` is that of the plans' statements.
fn chain(of: u64) -> Chain {
    let to = NOW / 1_000_000 + 1;
    let schedule = Schedule { genesis: to + DELAY - 3 * (of - 1), period: 3 };
    Chain { schedule, ..Chain::quicknet() }
}

fn with(made: &Made, round: Option<&str>, of: u64) -> Report {
    let round = round.map(|round| Round::parse(round.as_bytes()).unwrap());
    let bodies = Bodies { round, chain: Some(chain(of)), ..Bodies::default() };
    verify(&made.file(), Some(&made.trust()), &bodies, None)
}

fn part(chain: &Chain) -> Option<RoundPart> {
    let round = Round::parse(ROUND.as_bytes()).unwrap();
    let chain = hex::encode(chain.hash());
    Some(RoundPart { chain, number: round.round, signature: Bytes(round.signature) })
}

#[test]
fn a_draw_is_recomputed() {
    for (threshold, drawn) in [(ALL, true), (0, false)] {
        let report = with(&sampled(threshold).make(), Some(ROUND), 123);
        assert_eq!(report.result, Verdict::Trusted, "{:#?}", report.checks);
        let draw = report.draw.unwrap();
        assert_eq!((draw.drawn, draw.round, draw.target), (Some(drawn), 123, "zk"));
        assert!(draw.operator_influenced, "no timestamp");
        // The same, where the receipt has the round.
        let carried = Plan { round: part(&chain(123)), ..sampled(threshold) }.make();
        assert_eq!(with(&carried, None, 123).draw.unwrap().drawn, Some(drawn));
    }
    assert_eq!(run(&Plan::default().make()).draw, None, "its rule does not sample");
}

#[test]
fn a_timestamp_before_the_round_shows_that_nobody_steered_it() {
    // The round is made 20 minutes after the batch's end.
    for (after, influenced) in [(30_000_000, false), (3_600_000_000, true)] {
        let plan = Plan { anchors: vec![(Tsa::new(1, NOW), NOW + after)], ..sampled(ALL) };
        let made = plan.make();
        let root = BASE64_STANDARD.encode(&Tsa::new(1, NOW).root.certificate);
        let roots = format!(r#""tsa_roots":["{root}"]"#);
        let trust = Trust::from_json(made.trust_file("{}").replace(r#""tsa_roots":[]"#, &roots).as_bytes());
        let round = Some(Round::parse(ROUND.as_bytes()).unwrap());
        let bodies = Bodies { round, chain: Some(chain(123)), ..Bodies::default() };
        let report = verify(&made.file(), Some(&trust.unwrap()), &bodies, None);
        assert_eq!(report.result, Verdict::Trusted, "{:#?}", report.checks);
        assert_eq!(report.draw.map(|draw| draw.operator_influenced), Some(influenced));
    }
}

#[test]
fn without_the_round_nothing_is_said_to_be_drawn() {
    let cannot_say = |report: Report| {
        assert_eq!(report.result, Verdict::Trusted);
        let check = report.check(checks::DRAW).unwrap();
        assert_eq!(check.status, Status::NotChecked);
        assert!(
            check.detail.contains("cannot say") && check.detail.contains("operator-influenced"),
            "{check:?}"
        );
        let draw = report.draw.unwrap();
        assert!(draw.drawn.is_none() && draw.operator_influenced);
    };
    cannot_say(with(&sampled(ALL).make(), None, 123));
    // A round of a chain that the reader did not choose says nothing.
    cannot_say(with(&Plan { round: part(&chain(7)), ..sampled(ALL) }.make(), None, 123));
    cannot_say(run(&Plan { round: part(&chain(123)), ..sampled(ALL) }.make()));
}

#[test]
fn what_is_drawn_for_certain_needs_no_round_and_local_draws_say_so() {
    for (how, influenced) in [(None, false), (Some("PostCommit"), false), (Some("Local"), true)] {
        let made = Plan { how, withheld: vec![], ..sampled(u64::MAX) }.make();
        let draw = run(&made).draw.unwrap();
        assert_eq!((draw.drawn, draw.operator_influenced), (Some(true), influenced), "{how:?}");
    }
}

#[test]
fn another_round_or_a_bad_one_is_refused() {
    for threshold in [ALL, u64::MAX] {
        let made = sampled(threshold).make();
        refused_by(&with(&made, Some(ROUND), 124), &[checks::DRAW]);
        let bad = ROUND.replace("b75c", "b75d");
        refused_by(&with(&made, Some(&bad), 123), &[checks::DRAW]);
    }
    let mut bad = part(&chain(123));
    bad.as_mut().unwrap().signature.0[9] ^= 1;
    refused_by(&with(&Plan { round: bad, ..sampled(ALL) }.make(), None, 123), &[checks::DRAW]);
    let unasked = Plan { round: part(&chain(123)), ..Plan::default() };
    refused_by(&with(&unasked.make(), None, 123), &[checks::DRAW]);
    // The threshold is under the batch's root.
    let mut receipt = Receipt::from_json(&sampled(ALL).make().file()).unwrap();
    let mut leaf = RecordLeaf::decode(&receipt.record.leaf.0).unwrap();
    leaf.draw = Some((1, Level::Zk));
    receipt.record.leaf = Bytes(leaf.encode());
    let report =
        verify(&receipt.to_json().unwrap(), Some(&sampled(ALL).make().trust()), &Bodies::default(), None);
    assert_eq!(report.result, Verdict::Bad);
}

#[test]
fn not_done_is_evidence_too() {
    let plan = Plan { round: part(&chain(123)), evidence: Some(|_| {}), ..sampled(ALL) };
    let report = with(&plan.make(), None, 123);
    assert_eq!(report.result, Verdict::Trusted, "{:#?}", report.checks);
    let check = report.check(checks::EVIDENCE).unwrap();
    assert!(check.status == Status::Passed && check.detail.contains("drawn, but not done"), "{check:?}");
    let draw = report.draw.unwrap();
    assert_eq!((draw.drawn, draw.evidence), (Some(true), Some("not-done")));
    assert_eq!(report.verified_level, Some(Level::Sign), "evidence that was not made raises nothing");
    let untrusted = verify(&plan.make().file(), None, &Bodies::default(), None);
    assert_eq!(untrusted.check(checks::EVIDENCE).map(|check| check.status), Some(Status::NotChecked));
}

#[test]
fn evidence_for_another_record_or_draw_is_refused() {
    let plan = || Plan { round: part(&chain(123)), ..sampled(ALL) };
    for bend in [
        (|leaf| leaf.subject[0] ^= 1) as fn(&mut colophon_receipt::evidence::EvidenceLeaf),
        |leaf| leaf.id[15] ^= 1,
        |leaf| leaf.kind = Level::Tee,
        |leaf| leaf.at += 1,
        |leaf| leaf.verdict = Came::Holds,
    ] {
        let made = Plan { evidence: Some(bend), ..plan() }.make();
        refused_by(&with(&made, None, 123), &[checks::EVIDENCE]);
    }
    // Of a record that was not drawn, or whose rule draws nothing.
    let made = Plan { evidence: Some(|_| {}), draw: Some((0, Level::Zk)), ..plan() }.make();
    refused_by(&with(&made, None, 123), &[checks::EVIDENCE]);
    let made = Plan { evidence: Some(|_| {}), ..Plan::default() }.make();
    refused_by(&run(&made), &[checks::EVIDENCE]);
    // Moved, or cut out of its batch.
    let good = Plan { evidence: Some(|_| {}), ..plan() }.make();
    for bend in [
        (|receipt| receipt.evidence[0].batch.index = 1) as fn(&mut Receipt),
        |receipt| receipt.evidence[0].statement = receipt.statement.clone(),
        |receipt| receipt.evidence[0].log_proof = receipt.log_proof.clone(),
        |receipt| receipt.evidence.push(receipt.evidence[0].clone()),
        |receipt| receipt.evidence[0].announcement = Some(receipt.announcements[0].clone()),
    ] {
        let mut receipt = good.receipt.clone();
        bend(&mut receipt);
        let same = receipt.evidence[0].announcement.is_some();
        let bodies = Bodies { chain: Some(chain(123)), ..Bodies::default() };
        let report = verify(&receipt.to_json().unwrap(), Some(&good.trust()), &bodies, None);
        match same {
            // Said twice, but true.
            true => assert_eq!(report.result, Verdict::Trusted, "{:#?}", report.checks),
            false => refused_by(&report, &[checks::EVIDENCE]),
        }
    }
}

#[test]
fn a_record_is_in_the_draw_that_its_rule_asks_for() {
    use colophon_receipt::merkle::sha256;
    let text = |sample: &str| {
        format!(
            r#"{{"apiVersion":"v","defaults":{{"level":"commit"}},"rules":[{{"name":"chat","level":"sign"{sample}}}]}}"#
        )
    };
    let post_commit = r#","sample":{"threshold":"5","to":"zk","draw":"PostCommit"}"#;
    let local = r#","sample":{"threshold":"5","to":"zk","draw":"Local"}"#;
    let zk = |threshold| Some((threshold, Level::Zk));
    for (sample, draw, good) in [
        ("", None, true),
        ("", zk(5), false),
        (post_commit, zk(5), true),
        (post_commit, zk(4), false),
        (post_commit, Some((5, Level::Tee)), false),
        (post_commit, None, false),
        (local, None, true),
        (local, zk(u64::MAX), true),
    ] {
        let text = text(sample);
        let made =
            Plan { draw, policy: Some(sha256(text.as_bytes())), withheld: vec![], ..Plan::default() }.make();
        let bodies = Bodies { policy: Some(text.into_bytes()), ..Bodies::default() };
        let report = verify(&made.file(), Some(&made.trust()), &bodies, None);
        match good {
            true => assert_eq!(report.result, Verdict::Trusted, "{sample} {draw:?} {:#?}", report.checks),
            false => refused_by(&report, &[checks::POLICY]),
        }
    }
}
