use colophon_signer::rfc3161::testing::Tsa;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::testing::{Made, NOW, Plan, key};
use crate::{Bodies, Report, Status, Trust, Verdict, verify};

/// When the checkpoint was dated.
const DATED: u64 = NOW + 30_000_000;

/// Verifies with a trust file that revokes these keys.
fn judged(made: &Made, revoked: &str) -> Report {
    let root = BASE64_STANDARD.encode(&Tsa::new(1, NOW).root.certificate);
    let file = made.trust_file("{}").replace(r#""tsa_roots":[]"#, &format!(r#""tsa_roots":["{root}"]"#));
    let file = file.trim_end().strip_suffix('}').expect("a JSON object");
    let trust = format!("{file}, \"revoked\": [{revoked}]}}");
    verify(&made.file(), Some(&Trust::from_json(trust.as_bytes()).unwrap()), &Bodies::default(), None)
}

fn entry(key_id: &str, from: u64) -> String {
    format!("{{\"key_id\": \"{key_id}\", \"from\": {from}}}")
}

fn detail(report: &Report) -> (Status, String) {
    let check = report.checks.iter().find(|check| check.name == "revocation").expect("the check");
    (check.status, check.detail.clone())
}

#[test]
fn what_a_revoked_key_signed_is_refused_unless_others_dated_it_before() {
    let undated = Plan::default().make();
    let tsa = Tsa::new(1, NOW);
    let dated = Plan { anchors: vec![(tsa, DATED)], ..Plan::default() }.make();
    let report = judged(&undated, "");
    assert_eq!(report.result, Verdict::Trusted);
    let (statement, log) = (report.keys.statement.clone().unwrap(), report.keys.log.clone().unwrap());
    let log: colophon_signer::note::VerifierKey = log.parse().unwrap();
    let log = log.public_key().unwrap().key_id_hex();
    for key_id in [&statement, &log] {
        // Whenever it was revoked: nobody says that this is older.
        for from in [0, DATED + 1, u64::MAX] {
            let report = judged(&undated, &entry(key_id, from));
            assert_eq!(report.result, Verdict::Bad);
            assert!(detail(&report).1.contains("no timestamp"), "{report:?}");
            assert!(report.proven.is_empty());
        }
        for (from, verdict) in [(DATED + 1, Verdict::Trusted), (DATED, Verdict::Bad), (NOW, Verdict::Bad)] {
            let report = judged(&dated, &entry(key_id, from));
            assert_eq!(report.result, verdict, "{from}: {:?}", detail(&report));
        }
        // The earliest revocation counts.
        let both = [entry(key_id, DATED + 1), entry(key_id, NOW)].join(", ");
        assert_eq!(judged(&dated, &both).result, Verdict::Bad);
    }
    let other = judged(&undated, &entry(&key(99).public_key().key_id_hex(), 0));
    assert_eq!((other.result, detail(&other).0), (Verdict::Trusted, Status::Passed));
}

#[test]
fn an_entry_that_is_none_is_refused() {
    let made = Plan::default().make();
    let file = made.trust_file("{}");
    let file = file.trim_end().strip_suffix('}').unwrap();
    let key_id = "00".repeat(32);
    for bad in [
        entry("00", 1),
        entry(&"zz".repeat(32), 1),
        format!("{{\"key_id\": \"{key_id}\"}}"),
        format!("{{\"key_id\": \"{key_id}\", \"from\": -1}}"),
        format!("{{\"key_id\": \"{key_id}\", \"from\": 1, \"why\": \"\"}}"),
    ] {
        let trust = format!("{file}, \"revoked\": [{bad}]}}");
        assert!(Trust::from_json(trust.as_bytes()).is_err(), "{bad}");
    }
}

/// The key id of the log whose key has this number.
fn log_of(number: u8) -> String {
    key(number).public_key().key_id_hex()
}

/// A receipt of a log with two keys, and the trust file that names both and revokes the first.
fn with_two_keys(receipt: &colophon_receipt::receipt::Receipt, plan: &Plan) -> Report {
    let (old, new) = (Plan { log_key: 2, ..plan.clone() }.make(), Plan { log_key: 1, ..plan.clone() }.make());
    let file = new.trust_file("{}");
    let both = format!(r#"{{"origin":"{}","vkey":"{}"}},{{"#, old.vkey.name(), old.vkey);
    let file = file.replacen(r#""logs":[{"#, &format!(r#""logs":[{both}"#), 1);
    let file = file.trim_end().strip_suffix('}').unwrap();
    let trust = format!("{file}, \"revoked\": [{}]}}", entry(&log_of(2), 0));
    let trust = Trust::from_json(trust.as_bytes()).unwrap();
    verify(&receipt.to_json().unwrap(), Some(&trust), &Bodies::default(), None)
}

#[test]
fn an_announcement_that_a_revoked_key_signed_is_refused() {
    let plan = Plan::default();
    let mut receipt = plan.make().receipt;
    assert_eq!(with_two_keys(&receipt, &plan).result, Verdict::Trusted);
    // In another tree: its genesis names another key.
    let other = Plan { log_key: 2, apart: true, ..plan.clone() }.make();
    receipt.announcements = other.receipt.announcements;
    let report = with_two_keys(&receipt, &plan);
    let failed: Vec<_> = report.failed().map(|check| check.name).collect();
    assert_eq!(failed, ["revocation"], "{:#?}", report.checks);
    // The tree head in the answer's header is by that key.
    let mut receipt = plan.make().receipt;
    receipt.http_signatures = Plan { log_key: 2, ..plan.clone() }.make().receipt.http_signatures;
    let report = with_two_keys(&receipt, &plan);
    let failed: Vec<_> = report.failed().map(|check| check.name).collect();
    assert_eq!(failed, ["revocation"], "{:#?}", report.checks);
}

/// It leaves the record what it is: anybody could have left the evidence out.
#[test]
fn evidence_that_a_revoked_key_signed_does_not_count() {
    let draw = Some((u64::MAX, colophon_receipt::Level::Zk));
    let plan = Plan { draw, evidence: Some(|_| {}), ..Plan::default() };
    let mut receipt = plan.make().receipt;
    let good = with_two_keys(&receipt, &plan);
    assert_eq!((good.result, good.draw.unwrap().evidence), (Verdict::Trusted, Some("not-done")));
    let other = Plan { log_key: 2, later_entries: 9, ..plan.clone() }.make();
    receipt.evidence = other.receipt.evidence;
    let report = with_two_keys(&receipt, &plan);
    assert_eq!(report.result, Verdict::Trusted, "{:#?}", report.checks);
    let check = report.check("evidence").unwrap();
    assert!(check.status == Status::NotChecked && check.detail.contains("does not count"), "{check:?}");
    assert_eq!(report.draw.unwrap().evidence, None);
    assert!(report.not_proven.iter().any(|line| line.starts_with("Anything by the evidence logged")));
}
