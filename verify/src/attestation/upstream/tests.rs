use super::*;
use crate::attestation::tests::trusting;
use crate::testing::{NOW, Plan, Signing, key};
use crate::{Bodies, Report as Verified, Status, Verdict, checks, verify};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use colophon_attest::Keyset;
use colophon_attest::attester::Attester;
use colophon_receipt::fields::{self, REQUEST_BODY, RESPONSE_BODY};
use colophon_receipt::receipt::Bytes;
use colophon_signer::Ed25519Key;
use colophon_signer::httpsig::{Component, Params, signature_base};
use colophon_signer::rfc3161::testing::Tsa;

const NONCE: &str = "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a";

/// The key of the server that answered.
fn theirs() -> Ed25519Key {
    key(40)
}

fn document(keys: &[&Ed25519Key]) -> Vec<u8> {
    let attester: Attester = "simulated".parse().unwrap();
    let keyset = Keyset::new(keys.iter().map(|key| key.public_key().0).collect(), vec![], Some([3; 32]));
    let at = NOW / 1_000_000;
    attester.document(&keyset, Some(NONCE.to_owned()), None, &Collateral::default(), at).unwrap().to_json()
}

fn digest_of(body: &[u8]) -> String {
    format!("sha-256=:{}:", BASE64_STANDARD.encode(sha256(body)))
}

/// What that server signs of these bodies at a time, with a tag.
fn signed_by(
    key: &Ed25519Key,
    request: &[u8],
    response: &[u8],
    created: u64,
    tag: &str,
) -> (String, Vec<u8>) {
    let (request, response) = (digest_of(request), digest_of(response));
    let field = |name, value| Component { name, req: false, tr: false, value };
    let components = [
        field("@status", "200"),
        field("content-digest", &response),
        field("colophon-request-digest", &request),
    ];
    let keyid = key.public_key().key_id_hex();
    let base = signature_base(&components, &Params { created, keyid: &keyid, tag }).unwrap();
    (base.as_str().to_owned(), key.sign(base.as_bytes()).to_vec())
}

fn plan(signed: Option<(String, Vec<u8>)>) -> Plan {
    let anchors = vec![(Tsa::new(1, NOW), NOW + 30_000_000)];
    Plan { level: Level::Tee, anchors, upstream: Some((document(&[&theirs()]), signed)), ..Plan::default() }
}

fn good() -> (String, Vec<u8>) {
    let Plan { request, response, .. } = Plan::default();
    signed_by(&theirs(), &request, &response, NOW / 1_000_000, "colophon-v1")
}

fn run(plan: &Plan) -> Verified {
    let made = plan.make();
    let mut trust = trusting(&made, &Tsa::new(1, NOW), "upstream_attestation", true);
    trust.allow_simulated = true;
    verify(&made.file(), Some(&trust), &Bodies::default(), None)
}

#[test]
fn an_upstreams_signature_over_both_digests_is_verified_by_a_key_of_its_evidence() {
    let report = run(&plan(Some(good())));
    assert_eq!(report.result, Verdict::Trusted, "{:#?}", report.checks);
    assert_eq!(report.check(checks::UPSTREAM_SIGNATURE).unwrap().status, Status::Passed);
    // Simulated: whoever signed it, it counts for no more than this.
    assert_eq!((report.claimed_level, report.verified_level), (Some(Level::Tee), Some(Level::Sign)));
    let upstream = report.upstream.unwrap();
    assert!(upstream.signed && upstream.simulated && upstream.source == "operator_asserted");
    assert!(!report.proven.iter().any(|line| line.contains("trusted environment")), "{:?}", report.proven);
}

#[test]
fn without_the_signature_it_is_the_proxys_word() {
    let report = run(&plan(None));
    assert_eq!((report.result, report.verified_level), (Verdict::Trusted, Some(Level::Sign)));
    assert!(report.check(checks::UPSTREAM_SIGNATURE).is_none());
    assert!(!report.upstream.unwrap().signed);
    assert!(
        report.not_proven.iter().any(|line| line.contains("the proxy's word")),
        "{:?}",
        report.not_proven
    );
}

#[track_caller]
fn refused(plan: &Plan, why: &str) {
    let report = run(plan);
    let failed: Vec<_> = report.failed().map(|check| (check.name, check.detail.clone())).collect();
    assert!(
        failed.len() == 1 && failed[0].0 == checks::UPSTREAM_SIGNATURE && failed[0].1.contains(why),
        "{failed:?}"
    );
    assert!(report.verified_level.is_none());
}

#[test]
fn what_is_no_signature_of_that_server_over_this_exchange_is_refused() {
    let Plan { request, response, .. } = Plan::default();
    let now = NOW / 1_000_000;
    let by = |key: &Ed25519Key, request: &[u8], response: &[u8], created, tag| {
        plan(Some(signed_by(key, request, response, created, tag)))
    };
    refused(&by(&key(41), &request, &response, now, "colophon-v1"), "does not name");
    refused(&by(&theirs(), b"other", &response, now, "colophon-v1"), "colophon-request-digest");
    refused(&by(&theirs(), &request, b"other", now, "colophon-v1"), "content-digest");
    refused(&by(&theirs(), &request, &response, now - 3600, "colophon-v1"), "another time");
    refused(&by(&theirs(), &request, &response, now + 3600, "colophon-v1"), "another time");
    refused(&by(&theirs(), &request, &response, now, "colophon-v1-open"), "its tag");
    let (base, mut signature) = good();
    signature[0] ^= 1;
    refused(&plan(Some((base.clone(), signature))), "signature");
    let (_, signature) = good();
    refused(&plan(Some((base.replace("200", "201"), signature.clone()))), "signature");
    refused(&plan(Some(("\"@status\": 200".into(), signature))), "the base");
}

/// Good evidence of a server that the record does not name is no evidence of the one that answered.
#[test]
fn evidence_that_the_record_does_not_name_is_refused() {
    let made = plan(Some(good())).make();
    let mut trust = trusting(&made, &Tsa::new(1, NOW), "upstream_attestation", true);
    trust.allow_simulated = true;
    let mut receipt = made.receipt.clone();
    receipt.upstream_evidence = Some(Bytes(document(&[&theirs(), &key(41)])));
    let report = verify(&receipt.to_json().unwrap(), Some(&trust), &Bodies::default(), None);
    let failed: Vec<_> = report.failed().map(|check| (check.name, check.detail.clone())).collect();
    assert!(
        failed.len() == 1
            && failed[0].0 == checks::UPSTREAM_EVIDENCE
            && failed[0].1.contains("does not name"),
        "{failed:?}"
    );
    assert!(report.upstream.is_none() && report.result == Verdict::Bad);
}

#[test]
fn what_a_receipt_withholds_leaves_the_signature_unchecked_and_the_rest_good() {
    for number in [REQUEST_BODY, RESPONSE_BODY] {
        // The proxy's own signature, which covers it too, is left out: no leaf commits to that.
        let report = run(&Plan { withheld: vec![number], signing: Signing::Unsigned, ..plan(Some(good())) });
        assert_eq!(report.check(checks::UPSTREAM_SIGNATURE).unwrap().status, Status::NotChecked, "{number}");
        assert!(report.result != Verdict::Bad && !report.upstream.unwrap().signed, "{:#?}", report.checks);
    }
    let report = run(&Plan { withheld: vec![fields::UPSTREAM_SIGNED], ..plan(Some(good())) });
    assert!(report.check(checks::UPSTREAM_SIGNATURE).is_none());
    assert_eq!((report.result, report.verified_level), (Verdict::Trusted, Some(Level::Sign)));
}

/// Whoever shows where the request went shows neither what was asked nor a digest of it.
#[test]
fn the_field_of_the_upstream_tells_nothing_that_other_fields_may_withhold() {
    let made = plan(Some(good())).make();
    let value = |number| {
        let field = made.receipt.record.fields.iter().find_map(|field| match field {
            colophon_receipt::receipt::Field::Opened(field) if field.number == number => Some(field),
            _ => None,
        });
        field.unwrap().value.0.clone()
    };
    let Plan { request, response, .. } = Plan::default();
    for body in [&request, &response] {
        let digest = digest_of(body);
        let says = |number| value(number).windows(digest.len()).any(|part| part == digest.as_bytes());
        assert!(!says(fields::UPSTREAM) && !says(fields::UPSTREAM_SIGNED));
    }
    assert!(!value(fields::UPSTREAM).windows(9).any(|part| part == b"\"@status\""));
}

/// The rule itself: only hardware's evidence, dated and compared, and only with the signature.
#[test]
fn the_signature_raises_nothing_that_the_evidence_does_not_show() {
    assert_eq!(shown(Level::Tee, true), Level::Tee);
    assert_eq!(shown(Level::Tee, false), Level::Sign);
    assert_eq!(shown(Level::Sign, true), Level::Sign);
}
