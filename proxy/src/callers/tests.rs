use super::*;
use crate::jwks::testing::Issuer;
use http::HeaderValue;
use serde_json::json;
use std::fs;

const NOW: u64 = 1_794_700_000;
const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| ((*name).parse().unwrap(), HeaderValue::from_str(value).unwrap()))
        .collect()
}

fn read(folder: &Path, yaml: &str) -> anyhow::Result<Loaded> {
    let path = folder.join("callers.yaml");
    fs::write(&path, yaml).unwrap();
    Loaded::read(&path)
}

fn bearer(loaded: &Loaded, token: &str, now: u64) -> Option<Caller> {
    loaded.identify(&headers(&[("authorization", &format!("Bearer {token}"))]), None, now)
}

#[test]
fn an_api_key_is_known_by_its_keyed_hash_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("key"), KEY).unwrap();
    let hash = key_hash(&dir.path().join("key"), "sk-secret\n").unwrap();
    let yaml = format!(
        "apiKeys:\n  hashKeyFile: key\n  known:\n  - {{hash: {hash}, caller: alice, tenant: clinic}}\n"
    );
    let loaded = read(dir.path(), &yaml).unwrap();
    for shown in [("authorization", "Bearer sk-secret"), ("x-api-key", "sk-secret"), ("api-key", "sk-secret")]
    {
        let caller = loaded.identify(&headers(&[shown]), None, NOW).unwrap();
        assert_eq!(
            (&*caller.name, caller.tenant.as_deref(), caller.authenticated),
            ("alice", Some("clinic"), true)
        );
    }
    let stranger = bearer(&loaded, "sk-other", NOW).unwrap();
    assert!(stranger.name.starts_with("key:") && !stranger.name.contains("other"));
    assert_eq!((stranger.tenant, stranger.authenticated), (None, false));
    assert_eq!(loaded.identify(&headers(&[("authorization", "Basic abc")]), None, NOW), None);
    assert_eq!(loaded.identify(&HeaderMap::new(), None, NOW), None);
    // Another key of the hash knows nobody.
    fs::write(dir.path().join("key"), KEY.replace("00", "01")).unwrap();
    assert!(!bearer(&read(dir.path(), &yaml).unwrap(), "sk-secret", NOW).unwrap().authenticated);
}

#[test]
fn a_token_counts_if_it_is_good_now() {
    let dir = tempfile::tempdir().unwrap();
    let (issuer, thief) = (Issuer::new(), Issuer::new());
    fs::write(dir.path().join("jwks.json"), json!({"keys": [issuer.jwk("a")]}).to_string()).unwrap();
    fs::write(dir.path().join("key"), KEY).unwrap();
    let yaml = "jwt: {jwksFile: jwks.json, issuer: idp, audience: llm, callerClaim: email, tenantClaim: org}\n\
                apiKeys: {hashKeyFile: key}\n";
    let loaded = read(dir.path(), yaml).unwrap();
    let header = json!({"alg": "ES256", "kid": "a"});
    let claims =
        json!({"iss": "idp", "aud": "llm", "sub": "u1", "exp": NOW + 100, "email": "a@b", "org": "clinic"});
    let good = issuer.token(&header, &claims);
    // The second is from memory.
    for _ in 0..2 {
        let caller = bearer(&loaded, &good, NOW).unwrap();
        assert_eq!((&*caller.name, caller.tenant.as_deref(), caller.by), ("a@b", Some("clinic"), "jwt"));
        assert!(caller.authenticated);
    }
    let mut other = claims.clone();
    other["aud"] = "another".into();
    let mut nameless = claims.clone();
    nameless.as_object_mut().unwrap().remove("email");
    let bad = [
        (thief.token(&header, &claims), NOW),
        (issuer.token(&header, &other), NOW),
        (issuer.token(&header, &nameless), NOW),
        (good, NOW + 100 + jwks::LEEWAY),
    ];
    for (token, now) in bad {
        let caller = bearer(&loaded, &token, now).unwrap();
        assert_eq!(
            (caller.authenticated, caller.by),
            (false, "api-key"),
            "what it shows is no more than a key"
        );
    }
}

#[test]
fn a_certificate_goes_first_and_has_a_tenant_by_its_name() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("key"), KEY).unwrap();
    let yaml = "apiKeys: {hashKeyFile: key}\nmtls:\n  clientCaFile: ca.pem\n  tenants:\n  - {prefix: \"spiffe://td/ns/a/\", tenant: a}\n";
    let loaded = read(dir.path(), yaml).unwrap();
    let of = |name: &str| {
        let peer = Peer(name.into());
        loaded.identify(&headers(&[("authorization", "Bearer sk")]), Some(&peer), NOW).unwrap()
    };
    let caller = of("spiffe://td/ns/a/sa/x");
    assert_eq!((caller.tenant.as_deref(), caller.by, caller.authenticated), (Some("a"), "mtls", true));
    assert_eq!(of("spiffe://td/ns/b/sa/x").tenant, None);
}

#[test]
fn a_file_that_says_too_little_or_too_much_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("key"), KEY).unwrap();
    for yaml in [
        "{}",
        "apiKeys: {hashKeyFile: missing}",
        "apiKeys: {hashKeyFile: key, unknown: 1}",
        "apiKeys: {hashKeyFile: key, known: [{hash: abc, caller: a}]}",
        "apiKeys: {hashKeyFile: callers.yaml}",
        "jwt: {jwksFile: key, issuer: a, audience: b}",
    ] {
        assert!(read(dir.path(), yaml).is_err(), "{yaml}");
    }
    // What has no length, no end, or nobody who writes into it.
    assert!(std::process::Command::new("mkfifo").arg(dir.path().join("pipe")).status().unwrap().success());
    let huge = fs::File::create(dir.path().join("huge.json")).unwrap();
    huge.set_len(64 << 30).unwrap();
    for (jwks, words) in [
        ("pipe", "not a file"),
        ("/dev/zero", "not a file"),
        (".", "not a file"),
        ("huge.json", "longer than"),
        ("gone.json", "cannot read"),
    ] {
        let yaml = format!("jwt: {{jwksFile: {jwks}, issuer: a, audience: b}}");
        let (folder, (told, said)) = (dir.path().to_owned(), std::sync::mpsc::channel());
        std::thread::spawn(move || told.send(read(&folder, &yaml).map(|_| ())));
        let read = said.recv_timeout(std::time::Duration::from_secs(20)).expect("it waits for a writer");
        let error = format!("{:#}", read.unwrap_err());
        assert!(error.contains(words), "{jwks}: {error}");
    }
}
