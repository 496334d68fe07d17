//! Draws re-computed from a published round, whose place in a chain of the test's own schedule the statement names.

use super::*;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use colophon_receipt::draw::{DELAY, Schedule};
use colophon_receipt::statement::Statement;
use colophon_signer::cose::Sign1;
use colophon_signer::drand::{Chain, Round};
use colophon_signer::rfc3161::testing::Tsa;

/// Round 123 of quicknet.
const ROUND: &str = r#"{"round":123,"signature":"b75c69d0b72a5d906e854e808ba7e2accb1542ac355ae486d591aa9d43765482e26cd02df835d3546d23c4b13e0dfc92"}"#;

fn sampled(threshold: u64) -> Plan {
    Plan { draw: Some((threshold, Level::Zk)), ..Plan::default() }
}

/// Quicknet's key, and a schedule by which round `of` is the statement's.
fn chain(made: &Made, of: u64) -> Chain {
    let receipt = Receipt::from_json(&made.file()).unwrap();
    let statement = Sign1::parse(&receipt.statement.0).unwrap();
    let to = Statement::decode(statement.payload()).unwrap().to.div_ceil(1_000_000);
    let schedule = Schedule { genesis: to + DELAY - 3 * (of - 1), period: 3 };
    Chain { schedule, ..Chain::quicknet() }
}

fn with(made: &Made, round: Option<&str>, of: u64) -> Report {
    let round = round.map(|round| Round::parse(round.as_bytes()).unwrap());
    let bodies = Bodies { round, chain: Some(chain(made, of)), ..Bodies::default() };
    verify(&made.file(), Some(&made.trust()), &bodies, None)
}

#[test]
fn a_draw_is_recomputed() {
    for (threshold, drawn) in [(u64::MAX, true), (0, false)] {
        let report = with(&sampled(threshold).make(), Some(ROUND), 123);
        assert_eq!(report.result, Verdict::Trusted, "{:#?}", report.checks);
        let draw = report.draw.unwrap();
        assert_eq!((draw.drawn, draw.round, draw.target), (Some(drawn), 123, "zk"));
        assert!(draw.operator_influenced, "no timestamp");
    }
    assert_eq!(run(&Plan::default().make()).draw, None, "its rule does not sample");
}

#[test]
fn a_timestamp_before_the_round_shows_that_nobody_steered_it() {
    // The round is made 20 minutes after the batch's end.
    for (after, influenced) in [(30_000_000, false), (3_600_000_000, true)] {
        let plan = Plan { anchors: vec![(Tsa::new(1, NOW), NOW + after)], ..sampled(u64::MAX) };
        let made = plan.make();
        let root = BASE64_STANDARD.encode(&Tsa::new(1, NOW).root.certificate);
        let roots = format!(r#""tsa_roots":["{root}"]"#);
        let trust = Trust::from_json(made.trust_file("{}").replace(r#""tsa_roots":[]"#, &roots).as_bytes());
        let round = Some(Round::parse(ROUND.as_bytes()).unwrap());
        let bodies = Bodies { round, chain: Some(chain(&made, 123)), ..Bodies::default() };
        let report = verify(&made.file(), Some(&trust.unwrap()), &bodies, None);
        assert_eq!(report.result, Verdict::Trusted, "{:#?}", report.checks);
        assert_eq!(report.draw.map(|draw| draw.operator_influenced), Some(influenced));
    }
}

#[test]
fn without_the_round_nothing_is_said_to_be_drawn() {
    let report = with(&sampled(u64::MAX).make(), None, 123);
    assert_eq!(report.check(checks::DRAW).map(|check| check.status), Some(Status::NotChecked));
    let draw = report.draw.unwrap();
    assert!(draw.drawn.is_none() && draw.operator_influenced);
}

#[test]
fn another_round_or_a_bad_one_is_refused() {
    let made = sampled(u64::MAX).make();
    refused_by(&with(&made, Some(ROUND), 124), &[checks::DRAW]);
    let bad = ROUND.replace("b75c", "b75d");
    refused_by(&with(&made, Some(&bad), 123), &[checks::DRAW]);
    // The threshold is under the batch's root.
    let mut receipt = Receipt::from_json(&made.file()).unwrap();
    let mut leaf = colophon_receipt::record::RecordLeaf::decode(&receipt.record.leaf.0).unwrap();
    leaf.draw = Some((1, Level::Zk));
    receipt.record.leaf = Bytes(leaf.encode());
    let report = verify(&receipt.to_json().unwrap(), Some(&made.trust()), &Bodies::default(), None);
    assert_eq!(report.result, Verdict::Bad);
}
