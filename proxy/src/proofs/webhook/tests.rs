use super::*;

fn webhooks(url: Option<&str>, allow: &[&str]) -> anyhow::Result<Webhooks> {
    let allow = allow.iter().map(|url| (*url).to_owned()).collect();
    WebhookPart { url: url.map(str::to_owned), allow, ca: None }.read(Path::new("/"))
}

#[test]
fn only_what_the_operator_allows_is_ever_asked() {
    let hooks = webhooks(
        Some("https://one.example/all?key=1"),
        &["https://hooks.example:8443/proofs/", "http://127.0.0.1:9"],
    );
    let hooks = hooks.unwrap();
    for url in [
        "https://one.example/all?key=1",
        "https://one.example/all/more",
        "https://hooks.example:8443/proofs",
        "https://hooks.example:8443/proofs/a/b?c=d",
        "http://127.0.0.1:9/",
        "http://127.0.0.1:9/anything",
    ] {
        assert!(hooks.allows(url), "{url}");
    }
    for url in [
        "",
        "/proofs/",
        "https://hooks.example:8443/",
        "https://hooks.example:8443/proofsandmore",
        "https://hooks.example:8443/proofs/../admin",
        "https://hooks.example:8443/proofs/%2e%2e/admin",
        "https://hooks.example:8443/proofs/..",
        "https://hooks.example:8443/proofs\\..\\admin",
        "http://hooks.example:8443/proofs/a",
        "https://hooks.example/proofs/a",
        "https://hooks.example:8443@evil.example/proofs/a",
        "https://user@hooks.example:8443/proofs/a",
        "https://hooks.example:8443.evil.example/proofs/a",
        "http://127.0.0.1:99/",
        "http://127.0.0.1/",
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "ftp://127.0.0.1:9/",
    ] {
        assert!(!hooks.allows(url), "{url}");
    }
    // Nothing is allowed where the file allows nothing.
    assert!(!webhooks(None, &[]).unwrap().allows("https://hooks.example/"));
    for wrong in [
        "hooks.example",
        "https://u@h.example/",
        "https://h.example/a/../b",
        "https://h.example/?q=1",
        "ftp://h/",
    ] {
        assert!(webhooks(None, &[wrong]).is_err(), "{wrong}");
    }
}
