use super::*;
use crate::testing::policy;
use crate::{Evidence, verify as verify_evidence};
use base64::Engine as _;
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

#[test]
fn debugging_is_refused_at_any_depth() {
    let code = |evidence: &Evidence| ask(evidence).unwrap_err().code();
    assert_eq!(code(&token(1, |claims| claims["submods"]["gpu"]["dbgstat"] = json!("enabled"))), "debug");
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
