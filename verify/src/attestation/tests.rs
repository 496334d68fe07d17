use super::*;
use crate::testing::{Made, NOW, Plan};
use crate::{Bodies, Report as Verified, Status, Verdict, checks, verify};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use colophon_attest::attester::Attester;
use colophon_attest::evidence::Bundle;
use colophon_attest::{Keyset, Policy};
use colophon_receipt::statement::Announcement;
use colophon_signer::rfc3161::testing::Tsa;

/// 2025-06-20, when the recorded evidence was good.
const AT: u64 = 1_750_377_600;

/// When the token was made whose nonce the evidence answers, and when the checkpoint was dated.
const EPOCH: u64 = NOW - 400_000_000;
const AFTER: u64 = NOW + 30_000_000;

fn tsa() -> Tsa {
    Tsa::new(1, NOW)
}

fn token() -> Vec<u8> {
    tsa().token(&[9; 32], EPOCH, Some(&[1]))
}

/// Announces simulated evidence about `key`, with `token`, whose nonce is of `of`.
fn attest(announcement: &mut Announcement, key: [u8; 32], token: Option<Vec<u8>>, of: Option<Vec<u8>>) {
    let attester: Attester = "simulated".parse().unwrap();
    let nonce = of.map(|token| hex::encode(aci::epoch_nonce(&token)));
    let keyset = Keyset::new(vec![key], vec![], None);
    let document = attester.document(&keyset, nonce, token, &Collateral::default(), NOW / 1_000_000).unwrap();
    announcement.attestation = Some(document.to_json());
}

fn good(announcement: &mut Announcement) {
    attest(announcement, announcement.public_key, Some(token()), Some(token()));
}

fn plan(announced: fn(&mut Announcement)) -> Plan {
    Plan { announced, level: Level::Tee, anchors: vec![(tsa(), AFTER)], ..Plan::default() }
}

/// A trust file with the root of a TSA, and in the member `policy` the measurement of the simulated machine, or another.
pub(super) fn trusting(made: &Made, tsa: &Tsa, policy: &str, known: bool) -> Trust {
    let (quote, collateral) = colophon_attest::simulate::Simulation::new("colophon").tdx(
        [0; 64],
        NOW / 1_000_000,
        Default::default(),
    );
    let roots = SimulatedRoots::of_seed("colophon");
    let question = Question { at: NOW / 1_000_000, simulated: Some(&roots), ..Question::default() };
    let report = colophon_attest::verify(&quote, &collateral, &question).unwrap();
    let mr_td = if known { report.measurements["mr_td"].as_str() } else { "00" };
    let root = BASE64_STANDARD.encode(&tsa.root.certificate);
    let spec =
        format!(r#"{{"gpu":"off","platforms":{{"tdx":{{"referenceValues":{{"mr_td":["{mr_td}"]}}}}}}}}"#);
    let file = made.trust_file("{}").replace(r#""tsa_roots":[]"#, &format!(r#""tsa_roots":["{root}"]"#));
    let file = format!(r#"{},"{policy}":{spec}}}"#, file.strip_suffix('}').unwrap());
    Trust::from_json(file.as_bytes()).unwrap()
}

fn run(plan: &Plan, allow: bool, known: bool) -> Verified {
    let made = plan.make();
    let mut trust = trusting(&made, &tsa(), "attestation", known);
    trust.allow_simulated = allow;
    verify(&made.file(), Some(&trust), &Bodies::default(), None)
}

#[test]
fn simulated_evidence_is_refused_without_leave_and_counts_for_sign_with_it() {
    let refused = run(&plan(good), false, true);
    assert_eq!(refused.result, Verdict::Bad);
    let failed: Vec<_> = refused.failed().map(|check| check.name).collect();
    assert_eq!(failed, [checks::ATTESTATION]);
    assert!(refused.evidence.is_none());

    let allowed = run(&plan(good), true, true);
    assert_eq!(allowed.result, Verdict::Trusted, "{:#?}", allowed.checks);
    assert_eq!((allowed.claimed_level, allowed.verified_level), (Some(Level::Tee), Some(Level::Sign)));
    let evidence = allowed.evidence.unwrap();
    assert!(evidence.simulated && evidence.pieces.iter().all(|piece| piece.compared));
    assert_eq!(
        (evidence.source, evidence.after, evidence.before),
        ("operator_asserted", Some(EPOCH), Some(AFTER))
    );
    assert!(!allowed.proven.iter().any(|line| line.contains("trusted environment")), "{:?}", allowed.proven);
    assert!(
        allowed.not_proven.iter().any(|line| line.contains("it is simulated")),
        "{:?}",
        allowed.not_proven
    );
    assert!(allowed.not_proven.iter().any(|line| line.contains("TEE.fail")), "{:?}", allowed.not_proven);
}

/// Whatever else is given, simulated evidence is no hardware's.
#[test]
fn nothing_lets_simulated_evidence_pass_as_hardware() {
    for at in [None, Some(NOW), Some(AFTER)] {
        for known in [false, true] {
            for allow in [false, true] {
                let made = plan(good).make();
                let mut trust = trusting(&made, &tsa(), "attestation", known);
                trust.allow_simulated = allow;
                for trust in [Some(&trust), None] {
                    let report = verify(&made.file(), trust, &Bodies::default(), at);
                    assert!(report.verified_level < Some(Level::Tee), "{report:#?}");
                    let source = report.evidence.map(|evidence| evidence.source);
                    assert!(matches!(source, None | Some("operator_asserted")), "{source:?}");
                }
            }
        }
    }
}

#[test]
fn a_record_that_claims_no_tee_is_not_made_bad_by_evidence_that_is_refused() {
    let report = run(&Plan { level: Level::Sign, ..plan(good) }, false, true);
    assert_eq!((report.result, report.verified_level), (Verdict::Trusted, Some(Level::Sign)));
    let check = report.check(checks::ATTESTATION).unwrap();
    assert!(check.status == Status::NotChecked && check.detail.contains("refused"), "{}", check.detail);
    assert!(report.evidence.is_none());
}

/// `attestation` fails, for this reason, and nothing else does.
#[track_caller]
fn assert_refused(report: &Verified, why: &str) {
    let failed: Vec<_> = report.failed().map(|check| (check.name, check.detail.clone())).collect();
    assert!(
        failed.len() == 1 && failed[0].0 == checks::ATTESTATION && failed[0].1.contains(why),
        "{failed:?}"
    );
    assert!(report.evidence.is_none() && report.verified_level.is_none());
}

#[track_caller]
fn refused(announced: fn(&mut Announcement), known: bool, why: &str) {
    let report = run(&plan(announced), true, known);
    assert_refused(&report, why);
}

#[test]
fn evidence_of_other_keys_tokens_and_machines_is_refused() {
    refused(good, false, "none of the reference values");
    refused(|a| attest(a, [7; 32], Some(token()), Some(token())), true, "other keys");
    refused(
        |a| attest(a, a.public_key, Some(token()), Some(b"another".to_vec())),
        true,
        "another timestamp token",
    );
    refused(|a| attest(a, a.public_key, None, Some(token())), true, "does not carry");
    refused(|a| attest(a, a.public_key, Some(token()), None), true, "nonce is of none");
    refused(|a| a.attestation = Some(b"{}".to_vec()), true, "malformed");
    let late = |a: &mut Announcement| {
        let token = tsa().token(&[9; 32], AFTER + 1_000_000, Some(&[1]));
        attest(a, a.public_key, Some(token.clone()), Some(token));
    };
    refused(late, true, "later than the timestamp");
}

#[test]
fn evidence_without_a_time_of_others_is_not_judged() {
    let undated = Plan { anchors: vec![], ..plan(|a| attest(a, a.public_key, None, None)) };
    let report = run(&undated, true, true);
    assert_eq!(report.check(checks::ATTESTATION).unwrap().status, Status::NotChecked);
    assert_eq!((report.result, report.verified_level), (Verdict::Trusted, Some(Level::Sign)));
}

/// A token by a TSA that the reader does not trust says nothing of when: its own time could be anything.
#[test]
fn a_token_of_another_tsa_dates_nothing() {
    let strange = |a: &mut Announcement| {
        let token = Tsa::new(7, NOW).token(&[9; 32], EPOCH, Some(&[1]));
        attest(a, a.public_key, Some(token.clone()), Some(token));
    };
    let report = run(&plan(strange), true, true);
    assert_eq!(report.result, Verdict::Trusted, "{:#?}", report.checks);
    let evidence = report.evidence.unwrap();
    assert_eq!((evidence.after, evidence.before), (None, Some(AFTER)));
    let undated = run(&Plan { anchors: vec![], ..plan(strange) }, true, true);
    assert_eq!(undated.check(checks::ATTESTATION).unwrap().status, Status::NotChecked);
}

/// Recorded evidence is hardware's. It is about nobody's key here, so only the rule itself can be asked.
#[test]
fn only_dated_hardware_with_reference_values_counts_for_tee() {
    let file = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../attest/recorded/azure/genoa.json"));
    let bundle = Bundle::read(&file.unwrap()).unwrap();
    let (evidence, collateral) = (&bundle.evidence[0], &bundle.collateral);
    let question = Question { at: AT, ..Question::default() };
    let report = colophon_attest::verify(evidence, collateral, &question).unwrap();
    let pinned =
        Policy::from_yaml(&colophon_attest::policy::pin("t", std::slice::from_ref(&report))).unwrap();
    let compared =
        colophon_attest::verify(evidence, collateral, &Question { policy: Some(&pinned), ..question })
            .unwrap();
    assert_eq!(level(std::slice::from_ref(&compared), true), Level::Tee);
    assert_eq!(upstream::shown(level(std::slice::from_ref(&compared), true), true), Level::Tee);
    assert_eq!(upstream::shown(level(std::slice::from_ref(&compared), true), false), Level::Sign);
    assert_eq!(level(std::slice::from_ref(&compared), false), Level::Sign, "undated");
    assert_eq!(level(&[compared.clone(), report], true), Level::Sign, "one was not compared");
    for source in [Source::VerifierDerived, Source::OperatorAsserted] {
        let mut other = compared.clone();
        other.source = source;
        assert_eq!(level(&[other], true), Level::Sign, "{source:?}");
    }
    assert_eq!(level(&[], true), Level::Sign);
}

/// When the token was made that renewed evidence answers: between the announced one's and the anchor.
const RENEWED: u64 = NOW - 100_000_000;

fn document(key: [u8; 32], time: u64) -> Vec<u8> {
    let token = tsa().token(&[9; 32], time, Some(&[1]));
    let attester: Attester = "simulated".parse().unwrap();
    let nonce = Some(hex::encode(aci::epoch_nonce(&token)));
    let keyset = Keyset::new(vec![key], vec![], None);
    attester.document(&keyset, nonce, Some(token), &Collateral::default(), NOW / 1_000_000).unwrap().to_json()
}

fn renewed(key: [u8; 32]) -> Vec<u8> {
    document(key, RENEWED)
}

#[test]
fn renewed_evidence_says_more_narrowly_when_the_key_was_there() {
    for announced in [good as fn(&mut Announcement), |a| a.attestation = None] {
        let report = run(&Plan { key_evidence: Some((renewed, |_| {})), ..plan(announced) }, true, true);
        assert_eq!(report.result, Verdict::Trusted, "{:#?}", report.checks);
        let evidence = report.evidence.unwrap();
        assert!(evidence.renewed);
        assert_eq!((evidence.after, evidence.before), (Some(RENEWED), Some(AFTER)));
        assert_eq!(report.verified_level, Some(Level::Sign), "it is simulated");
    }
    let report = run(&plan(good), true, true);
    assert!(!report.evidence.unwrap().renewed);
}

#[track_caller]
fn renewed_refused(document: fn([u8; 32]) -> Vec<u8>, bend: fn(&mut EvidenceLeaf), why: &str) {
    let report = run(&Plan { key_evidence: Some((document, bend)), ..plan(good) }, true, true);
    assert_refused(&report, why);
}

#[test]
fn renewed_evidence_that_the_log_does_not_hold_for_this_key_makes_a_receipt_bad() {
    renewed_refused(|_| renewed([7; 32]), |_| {}, "other keys");
    renewed_refused(renewed, |leaf| leaf.subject = [1; 32], "about another key");
    renewed_refused(renewed, |leaf| leaf.commitment = [1; 32], "commits to another document");
    renewed_refused(renewed, |leaf| leaf.kind = Level::Zk, "holds for zk");
    renewed_refused(
        renewed,
        |leaf| leaf.verdict = colophon_receipt::evidence::Verdict::Fails,
        "fails for tee",
    );
    renewed_refused(|key| document(key, AFTER + 1_000_000), |_| {}, "later than the timestamp");
    // Also where the record claims no tee: the part would vouch for nothing.
    let made = Plan { level: Level::Sign, key_evidence: Some((renewed, |_| {})), ..plan(good) }.make();
    let mut trust = trusting(&made, &tsa(), "attestation", true);
    trust.allow_simulated = true;
    let bent = |bend: fn(&mut KeyEvidencePart)| {
        let mut receipt = made.receipt.clone();
        bend(receipt.key_evidence.as_mut().unwrap());
        verify(&receipt.to_json().unwrap(), Some(&trust), &Bodies::default(), None).result
    };
    assert_eq!(bent(|_| {}), Verdict::Trusted);
    assert_eq!(bent(|part| part.document.0.push(b' ')), Verdict::Bad);
    assert_eq!(bent(|part| part.salt.0[0] ^= 1), Verdict::Bad);
    assert_eq!(bent(|part| part.salt.0.truncate(15)), Verdict::Bad);
    assert_eq!(bent(|part| part.logged.batch.index = 1), Verdict::Bad);
    assert_eq!(bent(|part| part.logged.statement.0[100] ^= 1), Verdict::Bad);
    assert_eq!(bent(|part| part.logged.proof = Some(crate::tests::proof::part([0; 32]))), Verdict::Bad);
    assert_eq!(
        bent(|part| part.logged.log_proof = part.logged.log_proof.replacen("index ", "index 1", 1)),
        Verdict::Bad
    );
}

/// The collateral of these plans is of a day before [`NOW`]: the token that the evidence answers may be chosen so that it was
/// young enough then.
#[test]
fn evidence_has_to_be_good_at_the_end_of_the_records_interval_too() {
    let verified = |plan: &Plan, age: &str, at| {
        let made = plan.make();
        let mut trust = trusting(&made, &tsa(), "attestation", true);
        trust.allow_simulated = true;
        let spec = serde_json::json!({"gpu": "off", "maxCollateralAge": age, "platforms": {"tdx": {"referenceValues": {
            "mr_td": measured(&made, &trust)}}}});
        trust.attestation = Some(Policy::from_spec("t", &spec).unwrap());
        verify(&made.file(), Some(&trust), &Bodies::default(), at)
    };
    // A year later it is what it was.
    for at in [None, Some(NOW + 365 * 86_400_000_000)] {
        let good = verified(&plan(good), "86500s", at);
        assert_eq!(good.result, Verdict::Trusted, "{:#?}", good.checks);
        assert!(!good.check(checks::ATTESTATION).unwrap().detail.contains("not good any more"));
    }
    // Dated, and not: then the end of the batch is the latest that is known.
    for anchors in [plan(good).anchors, vec![]] {
        let report = verified(&Plan { anchors, ..plan(good) }, "86100s", None);
        assert_eq!(report.result, Verdict::Trusted, "{:#?}", report.checks);
        let detail = &report.check(checks::ATTESTATION).unwrap().detail;
        assert!(detail.contains("not good any more") && detail.contains("no more than sign"), "{detail}");
        assert!(report.not_proven.iter().any(|line| line.starts_with("That the evidence was good when")));
    }
}

/// The measurement that evidence of a receipt has.
fn measured(made: &Made, trust: &Trust) -> Vec<String> {
    let report = verify(&made.file(), Some(trust), &Bodies::default(), None);
    report.evidence.unwrap().pieces.iter().map(|piece| piece.measurements["mr_td"].clone()).collect()
}
