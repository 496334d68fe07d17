use super::*;
use crate::SimulatedRoots;
use crate::simulate::{DEFAULT_SEED, Faults, Simulation};
use crate::testing::recorded;
use colophon_receipt::merkle::sha256;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha512};

/// 2026-11-26.
const AT: u64 = 1_795_651_200;
const NONCE: [u8; 32] = [0x5a; 32];
const SPKI: Hash = [7; 32];

fn simulation() -> Simulation {
    Simulation::new(DEFAULT_SEED)
}

fn quote(report_data: [u8; 64]) -> (Vec<u8>, Collateral) {
    match simulation().tdx(report_data, AT, Faults::default()) {
        (Evidence::IntelQuote { quote }, collateral) => (quote, collateral),
        (other, _) => panic!("{other:?}"),
    }
}

fn judge(speaks: Speaks, answer: &[u8], collateral: Collateral) -> Result<Known, Refusal> {
    let told = Told::new(speaks, &NONCE, answer, collateral)?;
    let roots = SimulatedRoots::of_seed(DEFAULT_SEED);
    let question = Question { at: AT, nonce: Some(&NONCE), simulated: Some(&roots), ..Question::default() };
    let known = told.verify(&Collateral::default(), &question)?;
    // What is kept says the same again, with nothing given.
    let kept = verify_kept(&told.to_json()?, &Collateral::default(), &question)?;
    assert_eq!((&kept.keyset, kept.reports.len()), (&known.keyset, known.reports.len()));
    let other = Question { nonce: Some(&[1; 32]), ..question };
    assert!(matches!(told.verify(&Collateral::default(), &other), Err(Refusal::Nonce(_))));
    Ok(known)
}

/// An ACI report about these keys, whose quote is about another nonce than `nonce` if that is wished.
fn aci(spki: &str, nonce: [u8; 32]) -> (Value, Collateral) {
    let keyset = json!({
        "subject": null, "not_after": AT + 1,
        "receipt_signing_keys": [{"key_id": "a", "algo": "ed25519", "public_key": "34b4"}],
        "tls_public_keys": [{"spki_sha256": spki, "domain": "api.example.com"}],
    });
    let digest = sha256(&colophon_receipt::canonical::canonical(&keyset).unwrap());
    let statement = crate::aci::Statement { keyset_digest: digest, nonce: Some(hex::encode(nonce)) };
    let (quote, collateral) = quote(statement.report_data().unwrap());
    let report = json!({
        "api_version": "aci/1",
        "workload_keyset_digest": format!("sha256:{}", hex::encode(digest)),
        "attestation": {"tee_type": "tdx", "workload_keyset": keyset, "report_data": "ignored",
                        "evidence": {"quote": hex::encode(quote), "event_log": null}},
        "service_capabilities": {"serving": "aggregator"},
    });
    (report, collateral)
}

#[test]
fn an_aci_report_binds_nonce_and_tls_keys() {
    let (good, collateral) = aci(&hex::encode(SPKI), NONCE);
    let told = |report: &Value| judge(Speaks::Aci, report.to_string().as_bytes(), collateral.clone());
    let known = told(&good).unwrap();
    assert_eq!(known.keyset.tls_spki, [SPKI]);
    assert!(known.keyset.shard_keys.is_empty() && known.reports[0].is_simulated());

    let bent = |pointer: &str, value: Value| {
        let mut report = good.clone();
        *report.pointer_mut(pointer).unwrap() = value;
        told(&report).unwrap_err().code()
    };
    assert_eq!(bent("/api_version", json!("aci/2")), "malformed");
    assert_eq!(bent("/attestation/tee_type", json!("sev-snp")), "policy");
    assert_eq!(bent("/attestation/evidence/quote", json!("00")), "malformed");
    let other = json!([{"spki_sha256": hex::encode([8; 32])}]);
    assert_eq!(bent("/attestation/workload_keyset/tls_public_keys", other), "report-data");
    let (other, _) = aci(&hex::encode([8; 32]), NONCE);
    let mut swapped = good.clone();
    swapped["attestation"]["workload_keyset"] = other["attestation"]["workload_keyset"].clone();
    swapped["workload_keyset_digest"] = other["workload_keyset_digest"].clone();
    assert_eq!(told(&swapped).unwrap_err().code(), "report-data", "a keyset that the quote is not about");
    let (stale, _) = aci(&hex::encode(SPKI), [1; 32]);
    assert_eq!(told(&stale).unwrap_err().code(), "report-data", "a report for somebody else's nonce");
    let twice = good.to_string().replacen("\"tee_type\"", "\"tee_type\":\"x\",\"tee_type\"", 1);
    assert_eq!(judge(Speaks::Aci, twice.as_bytes(), collateral.clone()).unwrap_err().code(), "malformed");
    assert_eq!(told(&aci("00", NONCE).0).unwrap_err().code(), "malformed");
}

/// The ACI project's own fixture: its keyset has the digest that it says, and its quote is a stub.
#[test]
fn the_recorded_aci_report_is_read() {
    let Some(file) = recorded("aci/aci_report_fixture.json") else { return };
    let nonce = hex::decode("cd20088d763605cf78564e5b35524ad52715419624b76e029582a3652758708d").unwrap();
    let claim = super::aci::claim(&file, &nonce.try_into().unwrap(), AT).unwrap();
    let report: Value = serde_json::from_slice(&file).unwrap();
    let said = report["attestation"]["report_data"].as_str().unwrap();
    assert_eq!(
        (hex::encode(&claim.report_data[..32]).as_str(), &claim.report_data[32..]),
        (said, &[0; 32][..])
    );
    assert!(claim.tls_spki.is_empty());
    assert_eq!(judge(Speaks::Aci, &file, quote([0; 64]).1).unwrap_err().code(), "malformed", "a stub");
    let late = super::aci::claim(&file, &NONCE, 2_000_000_001).err().map(|refusal| refusal.code());
    assert_eq!(late, Some("time"));
}

#[test]
fn dstack_reports_of_version_2_bind_the_tls_key_and_of_version_1_none() {
    for (key, digits) in [(vec![3; 32], "03".repeat(32)), (vec![4; 20], format!("0x{}", "04".repeat(20)))] {
        let mut data = [0; 64];
        data[..32].copy_from_slice(&sha256(&[&key[..], &SPKI].concat()));
        data[32..].copy_from_slice(&NONCE);
        let (second, collateral) = quote(data);
        let second = json!({"signing_address": digits, "signing_algo": "ed25519", "request_nonce": "x",
            "intel_quote": hex::encode(second), "tls_cert_fingerprint": hex::encode(SPKI)});
        let known = judge(Speaks::Dstack, second.to_string().as_bytes(), collateral.clone()).unwrap();
        assert_eq!(known.keyset.tls_spki, [SPKI]);
        // A gateway's, beside those of its models.
        let gateway = json!({"gateway_attestation": second, "model_attestations": []});
        let known = judge(Speaks::Dstack, gateway.to_string().as_bytes(), collateral.clone()).unwrap();
        assert_eq!(known.keyset.tls_spki, [SPKI]);
        let mut other = second.clone();
        other["tls_cert_fingerprint"] = json!(hex::encode([8; 32]));
        let refused = judge(Speaks::Dstack, other.to_string().as_bytes(), collateral.clone());
        assert_eq!(refused.unwrap_err().code(), "report-data", "a key that the quote is not about");

        let mut data = [0; 64];
        data[..key.len()].copy_from_slice(&key);
        data[32..].copy_from_slice(&NONCE);
        let (first, collateral) = quote(data);
        let first = json!({"signing_address": digits, "intel_quote": hex::encode(first)});
        let known = judge(Speaks::Dstack, first.to_string().as_bytes(), collateral.clone()).unwrap();
        assert!(known.keyset.tls_spki.is_empty(), "no connection is bound");
        let mut stripped = second.clone();
        stripped.as_object_mut().unwrap().remove("tls_cert_fingerprint");
        assert!(judge(Speaks::Dstack, stripped.to_string().as_bytes(), collateral).is_err());
    }
    for bad in ["{}", "[]", r#"{"signing_address": "00", "intel_quote": ""}"#, "{"] {
        let refused = judge(Speaks::Dstack, bad.as_bytes(), Collateral::default());
        assert_eq!(refused.unwrap_err().code(), "malformed", "{bad}");
    }
}

#[test]
fn an_ra_tls_certificate_holds_a_quote_about_its_own_key() {
    let intel = |spki: &[u8]| {
        let mut data = [0; 64];
        data[..32].copy_from_slice(&sha256(spki));
        data
    };
    let dstack = |spki: &[u8]| Sha512::digest([b"ratls-cert:", spki].concat()).into();
    let octets = |quote: &[u8]| [&[4, 0x82][..], &(quote.len() as u16).to_be_bytes(), quote].concat();
    let as_it_is = |quote: &[u8]| quote.to_vec();
    type Case<'a> = (&'a str, &'a dyn Fn(&[u8]) -> [u8; 64], &'a dyn Fn(&[u8]) -> Vec<u8>);
    let cases: [Case<'_>; 2] =
        [(super::ra_tls::INTEL, &intel, &as_it_is), (super::ra_tls::DSTACK, &dstack, &octets)];
    for (oid, report_data, wrapped) in cases {
        let spki = simulation().ra_tls_key();
        let (good, collateral) = quote(report_data(&spki));
        let certificate = simulation().ra_tls(oid, wrapped(&good));
        let known = judge(Speaks::RaTls, &certificate, collateral.clone()).unwrap();
        assert_eq!(known.keyset.tls_spki, [sha256(&spki)]);
        let (other, _) = quote(report_data(b"another key"));
        let certificate = simulation().ra_tls(oid, wrapped(&other));
        let refused = judge(Speaks::RaTls, &certificate, collateral.clone());
        assert_eq!(refused.unwrap_err().code(), "report-data", "a quote about another key");
        let certificate = simulation().ra_tls(oid, vec![4, 0x82, 0, 9, 0]);
        assert_eq!(judge(Speaks::RaTls, &certificate, collateral).unwrap_err().code(), "malformed");
    }
    let none = simulation().ra_tls("1.2.3.4", vec![0]);
    assert_eq!(judge(Speaks::RaTls, &none, Collateral::default()).unwrap_err().code(), "malformed");
    assert_eq!(
        judge(Speaks::RaTls, b"no certificate", Collateral::default()).unwrap_err().code(),
        "malformed"
    );
}

#[test]
fn what_is_kept_is_read_back_and_nothing_poses_as_it() {
    let told = Told::new(Speaks::Aci, &NONCE, b"{}", Collateral::default()).unwrap();
    assert_eq!(Told::read(&told.to_json().unwrap()).unwrap(), told);
    let text = String::from_utf8(told.to_json().unwrap()).unwrap();
    for bent in [
        text.replace("told-v1", "told-v2"),
        text.replace("\"aci\"", "\"colophon\""),
        text.replacen('{', "{\"more\":1,", 1),
    ] {
        assert!(Told::read(bent.as_bytes()).is_err(), "{bent}");
    }
    assert!(Told::new(Speaks::Aci, &NONCE, &vec![0; MAX_ANSWER + 1], Collateral::default()).is_err());
}

#[test]
fn what_nobody_would_read_again_is_refused() {
    let told = |certificate: usize| {
        let collateral = Collateral { certificates: vec![vec![0; certificate]], ..Collateral::default() };
        Told::new(Speaks::RaTls, &NONCE, &[0; MAX_ANSWER], collateral).unwrap().to_json()
    };
    assert!(told(1000).is_ok());
    assert_eq!(told(MAX_BYTES / 2).unwrap_err().code(), "collateral");
}
