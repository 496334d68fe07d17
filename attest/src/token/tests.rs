use super::*;
use crate::testing::{policy, recorded};
use crate::{Evidence, verify as verify_evidence};
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use colophon_receipt::level::Level;
use jsonwebtoken::{EncodingKey, Header, encode};
use p256::pkcs8::EncodePrivateKey as _;
use serde_json::json;

const AT: u64 = 1_795_651_200;

fn secret(seed: u8) -> p256::SecretKey {
    p256::SecretKey::from_slice(&[seed; 32]).unwrap()
}

fn keys(seed: u8) -> Collateral {
    let point = p256::ecdsa::VerifyingKey::from(secret(seed).public_key()).to_sec1_point(false);
    let number = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let point = point.as_bytes();
    let jwk = json!({"kty": "EC", "crv": "P-256", "kid": "k", "alg": "ES256", "x": number(&point[1..33]), "y": number(&point[33..])});
    Collateral { jwks: Some(json!({"keys": [jwk]})), ..Collateral::default() }
}

fn token(seed: u8, change: impl Fn(&mut Value)) -> Evidence {
    let mut claims = json!({
        "iss": "https://nras.example", "iat": AT - 60, "exp": AT + 3600, "eat_nonce": "5a".repeat(32),
        "submods": {"gpu": {"x-nvidia-gpu-driver-version": "550.90.07", "dbgstat": "disabled"}},
    });
    change(&mut claims);
    let header = Header { kid: Some("k".into()), ..Header::new(Algorithm::ES256) };
    let key = EncodingKey::from_ec_der(secret(seed).to_pkcs8_der().unwrap().as_bytes());
    Evidence::Token { token: encode(&header, &claims, &key).unwrap() }
}

fn ask(evidence: &Evidence) -> Result<Report, Refusal> {
    verify_evidence(evidence, &keys(1), &Question { at: AT, ..Question::default() })
}

#[test]
fn a_token_is_what_its_verifier_says() {
    let report = ask(&token(1, |_| {})).unwrap();
    assert_eq!((report.source, report.highest_level()), (Source::VerifierDerived, Level::Tee));
    assert_eq!(report.nonce, Some(vec![0x5a; 32]));
    assert_eq!(report.measurements["submods.gpu.x-nvidia-gpu-driver-version"], "550.90.07");
}

/// A token of Microsoft Azure Attestation about an SGX enclave, and its keys as the service publishes them: certificates
/// without a modulus beside them.
#[test]
fn a_recorded_token_of_azure_is_accepted() {
    let (Some(token), Some(certs)) = (recorded("token/maa_sgx.jwt"), recorded("token/maa_certs.json")) else {
        return;
    };
    let bundle = crate::evidence::Bundle::read(&token).unwrap();
    let keys = Collateral::read(&certs).unwrap();
    // 2021-07-01, when it was made.
    let made = 1_625_170_396;
    let ask = |evidence: &Evidence, keys: &Collateral, at: u64| crate::testing::judge(evidence, keys, at);
    let report = ask(&bundle.evidence[0], &keys, made).unwrap();
    assert_eq!((report.source, report.age.made), (Source::VerifierDerived, Some(made)));
    assert_eq!(report.claims["iss"], "https://sharedwus.wus.attest.azure.net");
    assert_eq!(report.measurements["x-ms-attestation-type"], "sgx");
    assert_eq!(report.measurements["x-ms-sgx-is-debuggable"], "false");
    assert_eq!(ask(&bundle.evidence[0], &keys, made - 1).unwrap_err().code(), "time");
    assert_eq!(ask(&bundle.evidence[0], &keys, made + 28_801).unwrap_err().code(), "time");

    let Evidence::Token { token } = &bundle.evidence[0] else { panic!("not a token") };
    for at in (0..token.len() - 1).step_by(11) {
        let mut bytes = token.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        assert_ne!(changed, *token);
        assert!(ask(&Evidence::Token { token: changed }, &keys, made).is_err(), "{at}");
    }
    // The key of another name in the same set.
    let mut set = keys.jwks.clone().unwrap();
    let names = [set["keys"][0]["kid"].clone(), set["keys"][1]["kid"].clone()];
    set["keys"][0]["kid"] = names[1].clone();
    set["keys"][1]["kid"] = names[0].clone();
    let swapped = Collateral { jwks: Some(set.clone()), ..Collateral::default() };
    assert_eq!(ask(&bundle.evidence[0], &swapped, made).unwrap_err().code(), "signature");
    for broken in [json!([]), json!(["AAAA"]), json!("x")] {
        set["keys"][1]["x5c"] = broken;
        let broken = Collateral { jwks: Some(set.clone()), ..Collateral::default() };
        assert_eq!(ask(&bundle.evidence[0], &broken, made).unwrap_err().code(), "malformed");
    }
}

/// A key of a kind that this program does not know is no reason to refuse those beside it.
#[test]
fn other_keys_in_a_set_do_not_matter() {
    let mut keys = keys(1);
    keys.jwks.as_mut().unwrap()["keys"].as_array_mut().unwrap().insert(0, json!({"kty": "AKP", "kid": "pq"}));
    verify_evidence(&token(1, |_| {}), &keys, &Question { at: AT, ..Question::default() }).unwrap();
}

#[test]
fn other_keys_times_and_nonces_are_refused() {
    let code = |evidence: &Evidence| ask(evidence).unwrap_err().code();
    assert_eq!(code(&token(2, |_| {})), "signature");
    assert_eq!(code(&token(1, |claims| claims["exp"] = json!(AT - 1))), "time");
    assert_eq!(code(&token(1, |claims| claims["nbf"] = json!(AT + 1))), "time");
    assert_eq!(code(&token(1, |claims| claims["exp"] = Value::Null)), "malformed");
    let question = Question { at: AT, nonce: Some(&[1; 32]), ..Question::default() };
    assert_eq!(verify_evidence(&token(1, |_| {}), &keys(1), &question).unwrap_err().code(), "nonce");
    let none = verify_evidence(&token(1, |_| {}), &Collateral::default(), &Question::default());
    assert_eq!(none.unwrap_err().code(), "collateral");
}

/// Whoever sends a token along with the key that signed it is believed nothing.
#[test]
fn keys_that_come_with_the_evidence_do_not_count() {
    let bundle = crate::evidence::Bundle::new(vec![token(1, |_| {})], keys(1));
    let question = Question { at: AT, ..Question::default() };
    let ask = |more: &Collateral| {
        let mut pieces = crate::verify_bundle(&bundle, more, &question).pieces;
        pieces.remove(0).err().map(|refusal| refusal.code())
    };
    assert_eq!(ask(&Collateral::default()), Some("collateral"));
    assert_eq!(ask(&keys(1)), None);
    assert_eq!(ask(&keys(2)), Some("signature"));
}

#[test]
fn debugging_is_refused_at_any_depth() {
    let code = |evidence: &Evidence| ask(evidence).unwrap_err().code();
    assert_eq!(code(&token(1, |claims| claims["submods"]["gpu"]["dbgstat"] = json!("enabled"))), "debug");
    // Of several devices each counts, wherever the verifier put it.
    for other in [json!({"dbgstat": "enabled"}), json!([{"a": {"dbgstat": "enabled"}}])] {
        assert_eq!(code(&token(1, |claims| claims["submods"]["zz"] = other.clone())), "debug", "{other}");
    }
    assert_eq!(code(&token(1, |claims| claims["x-ms-sevsnpvm-is-debuggable"] = json!(true))), "debug");
    assert_eq!(code(&token(1, |claims| claims["tdx"] = json!({"tdx_is_debuggable": true}))), "debug");
}

#[test]
fn issuers_are_the_policys() {
    let ask = |issuer: &str| {
        let policy = policy(&format!("    token: {{issuers: [{issuer:?}]}}\n"));
        let question = Question { at: AT, policy: Some(&policy), ..Question::default() };
        verify_evidence(&token(1, |_| {}), &keys(1), &question)
    };
    assert!(ask("https://nras.example").unwrap().compared);
    assert_eq!(ask("https://other.example").unwrap_err().code(), "policy");
}

/// Every character of header, claims and signature.
#[test]
fn no_changed_character_is_accepted() {
    let Evidence::Token { token } = token(1, |_| {}) else { return };
    for at in 0..token.len() - 1 {
        let mut bytes = token.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        assert!(ask(&Evidence::Token { token: changed }).is_err(), "{at}");
    }
}

#[test]
fn a_shared_secret_or_no_signature_is_refused() {
    for header in ["{\"alg\":\"none\"}", "{\"alg\":\"HS256\",\"kid\":\"k\"}"] {
        let token =
            format!("{}.{}.", BASE64_URL_SAFE_NO_PAD.encode(header), BASE64_URL_SAFE_NO_PAD.encode("{}"));
        assert_eq!(ask(&Evidence::Token { token }).unwrap_err().code(), "malformed", "{header}");
    }
}
