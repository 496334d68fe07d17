//! Who calls: by API key, JWT and client certificate, in records as authenticated or claimed. What a client showed is in no
//! byte that this process leaves behind.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use colophon_receipt::fields::{self, Caller};
use colophon_receipt::level::Level;
use colophon_receipt::merkle::sha256;
use colophon_tests::certs::Authority;
use colophon_tests::client::{get, post_bytes, send};
use colophon_tests::colophon::{self, Colophon};
use colophon_tests::receipts::Fetched;
use colophon_tests::session::Session;
use colophon_tests::upstream::Upstream;
use colophon_tests::wire::Message;
use colophon_tests::{PATIENCE, log, wait_for};

const CHAT: &str = "/v1/chat/completions";
const OK: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{\"id\":\"x\"}";
const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const KNOWN: &str = "sk-known-0123456789";
const STRANGE: &str = "sk-strange-0123456789";

/// Signs what the clinic asks for, and what callers of any name ask for whom nobody has checked.
const BY_TENANT: &str = "\
apiVersion: colophon.dev/v1alpha1
kind: ProvenancePolicy
metadata: {name: by-tenant}
spec:
  defaults: {level: commit, failurePolicy: Ignore}
  rules:
  - name: clinic
    matches: [{tenants: [clinic]}, {callers: ['key:*']}]
    level: sign
";

/// `colophon key hash`.
fn hash(key_file: &Path, api_key: &str) -> String {
    let mut command = colophon::command(&["key", "hash", "--hash-key"]);
    command.arg(key_file).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("colophon key hash");
    child.stdin.take().expect("its input").write_all(api_key.as_bytes()).expect("a key");
    let output = child.wait_with_output().expect("a hash");
    String::from_utf8(output.stdout).expect("a hash").trim().to_owned()
}

fn caller(receipt: &Fetched) -> Option<(String, Option<String>, bool)> {
    let caller = Caller::read(receipt.field(fields::CALLER)?).expect("a caller");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("a name");
    Some((
        text(caller.caller.as_deref().expect("a name")),
        caller.tenant.as_deref().map(text),
        caller.authenticated.expect("whether it was checked"),
    ))
}

fn ask(colophon: &Colophon, headers: &str) -> Fetched {
    let answer = send(colophon.listen(), &post_bytes(CHAT, headers, "{}"));
    assert_eq!(answer.status(), 200, "{}", answer.text());
    Fetched::of(&answer, colophon.listen())
}

#[test]
fn api_keys_are_in_records_as_keyed_hashes_and_nowhere_in_clear() {
    let upstream = Upstream::answering(OK);
    let folder = tempfile::tempdir().unwrap();
    let (key, file) = (folder.path().join("key"), folder.path().join("callers.yaml"));
    fs::write(&key, KEY).unwrap();
    let write = |caller: &str| {
        let known = format!("{{hash: {}, caller: {caller}, tenant: clinic}}", hash(&key, KNOWN));
        fs::write(&file, format!("apiKeys: {{hashKeyFile: key, known: [{known}]}}\n")).unwrap();
    };
    write("alice");
    let path = file.display().to_string();
    let mut colophon = Colophon::start(&upstream.url(), |options| {
        options.policy = Some(BY_TENANT.to_owned());
        options.arg(&["--callers", &path, "--log", "trace"]);
    });
    let known = format!("Authorization: Bearer {KNOWN}\r\n");
    let receipt = ask(&colophon, &known);
    assert_eq!(caller(&receipt), Some(("alice".into(), Some("clinic".into()), true)));
    assert_eq!(receipt.leaf.level, Level::Sign, "its tenant's rule");
    let (code, said) = receipt.verify(colophon.listen(), None, None);
    assert!(code == 0 && said.contains("caller \"alice\" (authenticated, by \"api-key\")"), "{said}");
    let strange = ask(&colophon, &format!("x-api-key: {STRANGE}\r\n"));
    let name = format!("key:{}", hash(&key, STRANGE));
    assert_eq!(caller(&strange), Some((name, None, false)));
    assert_eq!(strange.leaf.level, Level::Commit, "no rule sees what is only claimed");
    let (_, said) = strange.verify(colophon.listen(), None, None);
    assert!(said.contains("(claimed, by"), "{said}");
    assert_eq!(caller(&ask(&colophon, "")), None);

    // A changed file is read again; a bad one is not.
    write("bob");
    colophon.signal("HUP");
    let renamed = || caller(&ask(&colophon, &known)).is_some_and(|(name, ..)| name == "bob").then_some(());
    assert!(wait_for(PATIENCE, renamed).is_some(), "the file is not read again");
    fs::write(&file, "apiKeys: {}\n").unwrap();
    colophon.signal("HUP");
    let said = wait_for(PATIENCE, || {
        colophon.process().log().contains("the callers known before stay in force").then_some(())
    });
    assert!(said.is_some(), "a bad file is not told of");
    assert_eq!(caller(&ask(&colophon, &known)).map(|(name, ..)| name).as_deref(), Some("bob"));

    let metrics = get(colophon.admin(), "/metrics").text();
    colophon.kill();
    let mut places = vec![("the metrics".to_owned(), metrics.into_bytes())];
    places.push(("the program's log".to_owned(), colophon.process().log().into_bytes()));
    places.extend(
        log::files(&colophon.data())
            .into_iter()
            .map(|path| (path.display().to_string(), fs::read(&path).unwrap_or_default())),
    );
    for (place, bytes) in places {
        for secret in [KNOWN, STRANGE] {
            let there = bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
            assert!(!there, "{secret} is in {place}");
        }
    }
}

#[test]
fn a_client_certificate_is_the_caller() {
    let upstream = Upstream::answering(OK);
    let folder = tempfile::tempdir().unwrap();
    let text = |name: &str| folder.path().join(name).display().to_string();
    let ca = Authority::new();
    ca.write(&folder.path().join("ca.pem"));
    ca.issue("listener").write(&folder.path().join("tls.crt"), &folder.path().join("tls.key"));
    let yaml =
        "mtls: {clientCaFile: ca.pem, tenants: [{prefix: 'spiffe://td/ns/clinic/', tenant: clinic}]}\n";
    fs::write(folder.path().join("callers.yaml"), yaml).unwrap();
    let colophon = Colophon::start(&upstream.url(), |options| {
        options.sign_all().arg(&["--callers", &text("callers.yaml")]);
        options.arg(&["--tls-cert", &text("tls.crt"), "--tls-key", &text("tls.key")]);
    });
    let said = |config| {
        let mut session = Session::tls(colophon.listen(), config).expect("a handshake");
        let answer = session.post(CHAT, "{}");
        caller(&Fetched::with(&answer, |path| session.get(path)))
    };
    let pod = ca.issue_uri("spiffe://td/ns/clinic/sa/chat");
    for protocols in [&["h2"][..], &["http/1.1"]] {
        let expected = Some(("spiffe://td/ns/clinic/sa/chat".into(), Some("clinic".into()), true));
        assert_eq!(said(ca.client_as(&pod, protocols)), expected, "{protocols:?}");
    }
    assert_eq!(said(ca.client_as(&ca.issue("a laptop"), &[])), Some(("a laptop".into(), None, true)));
    assert_eq!(said(ca.client(&[])), None, "a certificate is not demanded");
    let stranger = Authority::new().issue_uri("spiffe://td/ns/clinic/sa/chat");
    // With TLS 1.3 the client may hear of it only when it asks.
    let refused = match Session::tls(colophon.listen(), ca.client_as(&stranger, &["http/1.1"])) {
        Err(_) => true,
        Ok(mut session) => {
            let request = session.request("POST", CHAT, "{}");
            session.open(request).is_err()
        }
    };
    assert!(refused, "a stranger's certificate is taken");
}

/// The tenant is what the key stands for: not a header, nor what a stranger says. Others' records stay, and so do those made
/// after it.
#[test]
fn a_tenant_is_erased_by_what_its_callers_keys_stand_for() {
    const OTHER: &str = "sk-other-0123456789";
    let upstream = Upstream::answering(OK);
    let folder = tempfile::tempdir().unwrap();
    let (key, file) = (folder.path().join("key"), folder.path().join("callers.yaml"));
    fs::write(&key, KEY).unwrap();
    let known = [(KNOWN, "alice", "clinic"), (OTHER, "bob", "lab")].map(|(api_key, caller, tenant)| {
        format!("{{hash: {}, caller: {caller}, tenant: {tenant}}}", hash(&key, api_key))
    });
    fs::write(&file, format!("apiKeys: {{hashKeyFile: key, known: [{}]}}\n", known.join(", "))).unwrap();
    let path = file.display().to_string();
    let mut colophon = Colophon::start(&upstream.url(), |options| {
        options.sign_all().arg(&["--callers", &path]);
    });
    let ask = |colophon: &Colophon, headers: &str, prompt: &str| {
        let headers = format!("Connection: close\r\n{headers}");
        let answer =
            send(colophon.listen(), &post_bytes(CHAT, &headers, &format!("{{\"prompt\":\"{prompt}\"}}")));
        (Fetched::of(&answer, colophon.listen()), answer)
    };
    let status = |colophon: &Colophon, (_, answer): &(Fetched, Message)| {
        let receipt = answer.header("colophon-receipt").expect("a receipt").trim_matches('"').to_owned();
        get(colophon.listen(), &receipt).status()
    };
    let clinic = [
        ask(&colophon, &format!("Authorization: Bearer {KNOWN}\r\n"), "patient one"),
        ask(&colophon, &format!("x-api-key: {KNOWN}\r\n"), "patient two"),
    ];
    let others = [
        ask(&colophon, &format!("x-api-key: {OTHER}\r\n"), "sample"),
        ask(&colophon, "", "nobody"),
        ask(&colophon, &format!("x-api-key: {STRANGE}\r\nX-Tenant: clinic\r\n"), "stranger"),
    ];
    for ((receipt, _), name) in clinic.iter().map(|one| (one, "alice")).chain([(&others[0], "bob")]) {
        assert_eq!(caller(receipt).map(|(caller, _, checked)| (caller, checked)), Some((name.into(), true)));
    }
    let digest = |prompt: &str| sha256(format!("{{\"prompt\":\"{prompt}\"}}").as_bytes());
    let holders = |colophon: &Colophon, prompt: &str| {
        let digest = digest(prompt);
        let files = log::files(colophon.folder()).into_iter();
        files.filter(|file| fs::read(file).is_ok_and(|b| b.windows(32).any(|part| part == digest))).count()
    };
    assert!(holders(&colophon, "patient one") > 0 && holders(&colophon, "sample") > 0);

    let (data, state) = (colophon.data().display().to_string(), colophon.state().display().to_string());
    let erase = |tenant: &str| {
        let args = ["erase", "--json", "--tenant", tenant, "--data", &data, "--state", &state];
        let (code, said) = colophon::run(&args);
        assert_eq!(code, 0, "{said}");
        serde_json::from_str::<serde_json::Value>(&said).expect("a report")["openings"].clone()
    };
    assert_eq!(erase("clinic"), 2);
    for prompt in ["patient one", "patient two"] {
        assert_eq!(holders(&colophon, prompt), 0, "{prompt}");
    }
    assert!(clinic.iter().all(|one| status(&colophon, one) == 410));
    assert!(others.iter().all(|one| status(&colophon, one) == 200), "somebody else's record is erased");
    let later = ask(&colophon, &format!("x-api-key: {KNOWN}\r\n"), "patient three");
    assert_eq!(status(&colophon, &later), 200);

    // Those that name no tenant: nobody, and the stranger. The tenant of a record survives a kill.
    colophon.kill();
    colophon.restart();
    assert_eq!(erase("-"), 2);
    let statuses: Vec<u16> = others.iter().chain([&later]).map(|one| status(&colophon, one)).collect();
    assert_eq!(statuses, [200, 410, 410, 200]);
    assert!(colophon.stop().success());
    let (code, said) = colophon::run(&["log", "check", "--json", &data]);
    let report: serde_json::Value = serde_json::from_str(&said).expect("a report");
    assert_eq!((code, &report["erasures"], &report["erased"]), (0, &2.into(), &4.into()), "{said}");
}
