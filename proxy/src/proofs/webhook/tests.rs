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

fn waiting(number: u64, webhook: &str) -> Waiting {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    Waiting { mark: Mark(number, JobId(id)), webhook: webhook.into() }
}

#[test]
fn a_receiver_that_hangs_holds_up_no_other_however_many_wait_for_it() {
    let hangs = "https://hangs.example/a?token=secret";
    let due: Vec<Waiting> = (1..=AT_ONCE as u64).map(|number| waiting(number, hangs)).collect();
    let (chosen, after) = choose(&due, &BTreeMap::new(), Mark::default());
    assert_eq!(chosen.len(), TO_ONE);
    assert_eq!(after, due[AT_ONCE - 1].mark, "a full look: it goes on behind");
    let at: BTreeMap<JobId, String> = chosen.into_iter().collect();
    let behind = [waiting(5000, hangs), waiting(5001, "https://hears.example/b")];
    let (chosen, after) = choose(&behind, &at, after);
    assert_eq!(chosen, [(behind[1].mark.1, "https://hears.example".to_owned())]);
    assert_eq!(after, Mark::default(), "all was looked at");
    // What is being told is not told twice at the same time.
    let at = BTreeMap::from(chosen.try_into().map(|one: [_; 1]| one).unwrap());
    assert!(choose(&behind[1..], &at, Mark::default()).0.is_empty());
    // With all places taken, it goes on from where it was.
    let many: Vec<Waiting> = (1..=20).map(|n| waiting(n, &format!("https://h{n}.example/"))).collect();
    let (chosen, after) = choose(&many, &BTreeMap::new(), Mark::default());
    assert_eq!((chosen.len(), after), (SIDE_BY_SIDE, many[SIDE_BY_SIDE - 1].mark));
}

#[test]
fn the_log_gets_no_secret_of_a_receivers_url() {
    let url = "https://user:word@hooks.example:8443/T00/B00/secret?token=secret";
    assert_eq!(receiver(url), "https://hooks.example:8443");
    assert_eq!(receiver("no url"), "");
}
