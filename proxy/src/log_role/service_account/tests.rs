use super::*;
use crate::jwks::testing::Issuer;
use crate::jwks::{LEEWAY, MAX_TOKEN};
use serde_json::{Value, json};

const NOW: u64 = 1_794_700_000;
const ISSUER: &str = "https://kubernetes.default.svc";

impl ServiceAccounts {
    fn parse(jwks: &str, issuer: &str, audience: &str, allowed: &[String]) -> anyhow::Result<Self> {
        Self::new(Jwks::parse(jwks, issuer, audience)?, allowed)
    }
}

fn header() -> Value {
    json!({"alg": "ES256", "kid": "a", "typ": "JWT"})
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": ["colophon-log"], "sub": "system:serviceaccount:llm:colophon",
        "iat": NOW - 10, "nbf": NOW - 10, "exp": NOW + 3600,
        "kubernetes.io": {"namespace": "llm", "pod": {"name": "vllm-0", "uid": "u"},
                          "serviceaccount": {"name": "colophon", "uid": "u"}},
    })
}

fn accounts(keys: &[Value], allowed: &[&str]) -> ServiceAccounts {
    let allowed: Vec<String> = allowed.iter().map(|entry| (*entry).to_owned()).collect();
    ServiceAccounts::parse(&json!({"keys": keys}).to_string(), ISSUER, "colophon-log", &allowed).unwrap()
}

#[test]
fn a_pod_is_admitted_under_its_own_name() {
    let issuer = Issuer::new();
    let token = issuer.token(&header(), &claims());
    let expected =
        Identity { namespace: "llm".into(), account: "colophon".into(), pod: Some("vllm-0".into()) };
    for allowed in [&["llm/colophon"][..], &["llm/*"], &["other/x", "llm/colophon"]] {
        let accounts = accounts(&[Issuer::new().jwk("b"), issuer.jwk("a")], allowed);
        assert_eq!(accounts.admit(&token, NOW).as_ref(), Ok(&expected));
        let mut headers = HeaderMap::new();
        assert_eq!(accounts.caller(&headers, NOW), Ok(None));
        headers.insert(AUTHORIZATION, format!("bearer {token}").parse().unwrap());
        assert_eq!(accounts.caller(&headers, NOW).as_ref(), Ok(&Some(expected.clone())));
    }
    // Without a kid the only key is taken; a token that is bound to no Pod has no name.
    let mut unbound = claims();
    unbound["kubernetes.io"].as_object_mut().unwrap().remove("pod");
    let token = issuer.token(&json!({"alg": "ES256"}), &unbound);
    assert_eq!(accounts(&[issuer.jwk("a")], &["llm/*"]).admit(&token, NOW).unwrap().pod, None);
}

#[test]
fn what_the_cluster_did_not_say_so_now_and_here_is_denied() {
    let issuer = Issuer::new();
    let here = accounts(&[issuer.jwk("a"), Issuer::new().jwk("b")], &["llm/colophon"]);
    let with = |key: &str, value: Value| {
        let mut changed = claims();
        changed[key] = value;
        here.admit(&issuer.token(&header(), &changed), NOW)
    };
    assert!(with("iss", json!(ISSUER)).is_ok());
    for (key, value) in [
        ("iss", json!("https://other")),
        ("aud", json!(["other"])),
        ("aud", json!([])),
        ("sub", json!("system:serviceaccount:llm:default")),
        ("exp", json!("soon")),
        ("kubernetes.io", json!({"namespace": "llm"})),
        ("kubernetes.io", Value::Null),
    ] {
        assert!(matches!(with(key, value.clone()), Err(Denied::Token(_))), "{key}={value}");
    }
    assert_eq!(with("exp", json!(NOW - LEEWAY)), Err(Denied::Time));
    assert_eq!(with("nbf", json!(NOW + LEEWAY + 1)), Err(Denied::Time));
    let good = issuer.token(&header(), &claims());
    assert!(matches!(here.admit(&good, NOW + 3600 + LEEWAY), Err(Denied::Time)));
    for allowed in ["llm/default", "other/colophon", "llm-2/*"] {
        let refused = accounts(&[issuer.jwk("a")], &[allowed]).admit(&good, NOW);
        assert_eq!(refused, Err(Denied::Stranger("llm/colophon".into())), "{allowed}");
    }
    // Missing claims, another issuer's key, an unknown kid, no kid among two keys.
    for gone in ["iss", "aud", "sub", "exp"] {
        let mut changed = claims();
        changed.as_object_mut().unwrap().remove(gone);
        assert!(here.admit(&issuer.token(&header(), &changed), NOW).is_err(), "{gone}");
    }
    assert!(here.admit(&Issuer::new().token(&header(), &claims()), NOW).is_err());
    for head in
        [json!({"alg": "ES256", "kid": "z"}), json!({"alg": "ES256"}), json!({"alg": "ES256", "kid": "b"})]
    {
        assert!(here.admit(&issuer.token(&head, &claims()), NOW).is_err(), "{head}");
    }
    // The classics: no algorithm, and the public key as a shared secret.
    for alg in ["none", "HS256", "RS256"] {
        let head = json!({"alg": alg, "kid": "a"});
        assert!(here.admit(&issuer.token(&head, &claims()), NOW).is_err(), "{alg}");
    }
    for bad in ["", ".", "a.b.c", &good[..good.len() - 3], &format!("{good}x"), &"a".repeat(MAX_TOKEN + 1)] {
        assert!(here.admit(bad, NOW).is_err(), "{}", &bad[..bad.len().min(20)]);
    }
    let mut flipped = good.into_bytes();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    assert!(here.admit(&String::from_utf8_lossy(&flipped), NOW).is_err());
}

#[test]
fn settings_that_admit_nobody_or_everybody_are_refused() {
    let keys = json!({"keys": [Issuer::new().jwk("a")]}).to_string();
    let parse = |jwks: &str, issuer: &str, audience: &str, allowed: &[&str]| {
        let allowed: Vec<String> = allowed.iter().map(|entry| (*entry).to_owned()).collect();
        ServiceAccounts::parse(jwks, issuer, audience, &allowed).is_ok()
    };
    assert!(parse(&keys, ISSUER, "a", &["llm/colophon"]));
    assert!(!parse("{}", ISSUER, "a", &["llm/colophon"]));
    assert!(!parse(r#"{"keys": []}"#, ISSUER, "a", &["llm/colophon"]));
    assert!(!parse(&keys, "", "a", &["llm/colophon"]));
    assert!(!parse(&keys, ISSUER, "", &["llm/colophon"]));
    for allowed in [&[][..], &["llm"], &["/x"], &["llm/"], &["*/*"], &["*/colophon"]] {
        assert!(!parse(&keys, ISSUER, "a", allowed), "{allowed:?}");
    }
}
