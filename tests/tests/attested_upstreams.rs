//! Rules that send prompts only to servers that have proved themselves: whatever is wrong with the evidence, the server gets
//! no byte of the prompt and no credential, the client a 503, and the log a record of the refusal.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use colophon_attest::Keyset;
use colophon_attest::simulate::Faults;
use colophon_receipt::fields::{self, DecisionField, Failure, Upstream};
use colophon_receipt::level::{Level, Outcome};
use colophon_receipt::record::RecordLeaf;
use colophon_tests::certs::{Authority, Issued};
use colophon_tests::client::{get, send};
use colophon_tests::colophon::Colophon;
use colophon_tests::pause;
use colophon_tests::proving::{Asked, Proving, answer, document, now, takes_simulated};
use colophon_tests::receipts::Fetched;
use colophon_tests::wire::Message;

const CHAT: &str = "/v1/chat/completions";
const PROMPT: &str = r#"{"model":"m","messages":[{"role":"user","content":"a secret of mine"}]}"#;
const REPLY: &[u8] = br#"{"id":"1","object":"chat.completion","choices":[]}"#;
const DAY: u64 = 86_400;

fn policy(upstreams: &[(&str, &str, &str)]) -> String {
    let defined: String = upstreams
        .iter()
        .map(|(name, url, attestation)| {
            format!("  - {{name: {name}, url: \"{url}\", attestation: {attestation}}}\n")
        })
        .collect();
    let names: Vec<&str> = upstreams.iter().map(|(name, ..)| *name).collect();
    format!(
        "apiVersion: colophon.dev/v1alpha1\nkind: ProvenancePolicy\nmetadata: {{name: t}}\nspec:\n  upstreams:\n{defined}  rules:\n  - {{name: secret, matches: [{{apis: [chat]}}], level: tee, failurePolicy: Ignore, upstream: [{}]}}\n",
        names.join(", ")
    )
}

/// A CA, a server's certificate by it, and the folder with its file.
struct Scene {
    ca: Authority,
    issued: Issued,
    folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let ca = Authority::new();
        let issued = ca.issue("an enclave");
        let folder = tempfile::tempdir().unwrap();
        ca.write(&folder.path().join("ca.pem"));
        Self { ca, issued, folder }
    }

    fn server(&self, prove: impl Fn(&Asked) -> Option<Vec<u8>> + Send + Sync + 'static) -> Proving {
        let reply = answer(REPLY);
        Proving::serve(&self.issued, self.issued.server(&["http/1.1"], None), prove, move |to| {
            to.write_all(&reply)
        })
    }

    fn proxy(&self, policy: String, more: &[&str]) -> Colophon {
        let ca = self.folder.path().join("ca.pem").display().to_string();
        Colophon::start("http://127.0.0.1:9", |options| {
            options.policy = Some(policy);
            options.arg(&["--upstream-ca", &ca, "--attest-timeout", "2s"]).arg(more);
        })
    }
}

fn ask(colophon: &Colophon) -> Message {
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer a-credential\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        PROMPT.len()
    );
    send(colophon.listen(), &[head.as_bytes(), PROMPT.as_bytes()].concat())
}

fn good(asked: &Asked) -> Vec<u8> {
    let keyset = Keyset::new(vec![], vec![], Some(asked.exporter));
    answer(&document(&keyset, &asked.nonce, now(), Faults::default()))
}

/// 503 in the API's shape, and a record that says refused, of no more than `sign`.
fn assert_refused(colophon: &Colophon, response: &Message, what: &str) {
    assert_eq!(response.status(), 503, "{what}: {}", response.text());
    let problem: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
    assert_eq!(problem["error"]["code"], "upstream_not_attested", "{what}");
    let receipt = Fetched::of(response, colophon.listen());
    assert_eq!(receipt.outcome(), Outcome::Refused, "{what}");
    let decision = DecisionField::read(receipt.field(fields::DECISION).unwrap()).unwrap();
    assert_eq!(decision.asked, Some(Level::Tee.code()), "{what}");
    assert!(decision.granted <= Some(Level::Sign.code()), "{what}: {decision:?}");
    assert!(receipt.field(fields::UPSTREAM).is_none(), "{what}: nothing was forwarded");
    let failure = Failure::read(receipt.field(fields::FAILURE).unwrap()).unwrap();
    assert!(failure.reason.unwrap().contains("enclave"), "{what}");
    let (code, said) = receipt.verify(colophon.listen(), Some(PROMPT.as_bytes()), Some(&response.body));
    assert_eq!(code, 0, "{what}: {said}");
}

#[test]
fn a_prompt_goes_to_a_server_that_has_proved_itself_on_that_connection() {
    let scene = Scene::new();
    let server = scene.server(|asked| Some(good(asked)));
    let colophon =
        scene.proxy(policy(&[("enclave", &server.url(), &takes_simulated())]), &["--allow-simulated"]);
    for _ in 0..3 {
        let response = ask(&colophon);
        assert_eq!(response.status(), 200, "{}", response.text());
        assert_eq!(response.body, REPLY);
        let receipt = Fetched::of(&response, colophon.listen());
        let upstream = Upstream::read(receipt.field(fields::UPSTREAM).unwrap()).unwrap();
        assert_eq!(upstream.url.as_deref(), Some(server.url().as_bytes()));
        assert_eq!(upstream.name.as_deref(), Some(&b"enclave"[..]));
        assert_eq!(upstream.bound.as_deref(), Some("exporter"));
        assert_eq!(upstream.source.as_deref(), Some("operator_asserted"), "it is simulated");
        assert!(upstream.evidence.is_some() && upstream.verified.is_some());
        let leaf = RecordLeaf::decode(&receipt.receipt().record.leaf.0).unwrap();
        assert_eq!(leaf.level, Level::Tee);
        let (code, said) = receipt.verify(colophon.listen(), Some(PROMPT.as_bytes()), Some(REPLY));
        assert_eq!(code, 0, "{said}");
        assert!(said.contains("sign"), "{said}");
    }
    assert_eq!((server.asked(), server.connections()), (1, 1), "one connection, asked once");
    let received = server.received();
    assert_eq!(received.len(), 3);
    assert!(received.iter().all(|request| request.ends_with(PROMPT.as_bytes())));
}

type Proof = Box<dyn Fn(&Asked) -> Option<Vec<u8>> + Send + Sync>;

fn proof(make: impl Fn(&Asked) -> Option<Vec<u8>> + Send + Sync + 'static) -> Proof {
    Box::new(make)
}

/// Evidence that names the connection, but is of a machine with these faults, made at another time.
fn faulty(faults: Faults, age: u64) -> Proof {
    proof(move |asked| {
        let keyset = Keyset::new(vec![], vec![], Some(asked.exporter));
        Some(answer(&document(&keyset, &asked.nonce, now() - age, faults)))
    })
}

#[test]
fn whatever_is_wrong_with_the_evidence_the_server_gets_nothing() {
    let other = [7; 32];
    let stale = |asked: &Asked| {
        document(
            &Keyset::new(vec![], vec![], Some(asked.exporter)),
            &"00".repeat(32),
            now(),
            Faults::default(),
        )
    };
    let unknown = "{gpu: off, platforms: {tdx: {referenceValues: {mr_td: [\"00\"]}}}}".to_owned();
    let cases: Vec<(&str, Proof, Option<String>, &[&str])> = vec![
        (
            "no evidence",
            proof(|_| Some(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_vec())),
            None,
            &[],
        ),
        ("it hangs up", proof(|_| None), None, &[]),
        ("stale nonce", proof(move |asked| Some(answer(&stale(asked)))), None, &[]),
        (
            "another connection's exporter",
            proof(move |asked| {
                let keyset = Keyset::new(vec![], vec![asked.spki], Some(other));
                Some(answer(&document(&keyset, &asked.nonce, now(), Faults::default())))
            }),
            None,
            &[],
        ),
        (
            "another TLS key",
            proof(move |asked| {
                let keyset = Keyset::new(vec![], vec![other], None);
                Some(answer(&document(&keyset, &asked.nonce, now(), Faults::default())))
            }),
            None,
            &[],
        ),
        (
            "no key of the connection",
            proof(|asked| {
                Some(answer(&document(
                    &Keyset::new(vec![other_key()], vec![], None),
                    &asked.nonce,
                    now(),
                    Faults::default(),
                )))
            }),
            None,
            &[],
        ),
        ("debug", faulty(Faults { debug: true, ..Faults::default() }, 0), None, &[]),
        ("migration", faulty(Faults { migration: true, ..Faults::default() }, 0), None, &[]),
        ("outdated", faulty(Faults { outdated: true, ..Faults::default() }, 0), None, &[]),
        ("expired collateral", faulty(Faults::default(), 40 * DAY), None, &[]),
        ("unknown measurement", proof(|asked| Some(good(asked))), Some(unknown), &[]),
        ("malformed", proof(|_| Some(answer(b"{\"format\":"))), None, &[]),
        ("oversized", proof(|_| Some(answer(&vec![b' '; 2 << 20]))), None, &[]),
        (
            "too slow",
            proof(|asked| {
                pause(Duration::from_secs(4));
                Some(good(asked))
            }),
            None,
            &[],
        ),
        (
            "it closes the connection behind its evidence",
            proof(|asked| {
                let text =
                    String::from_utf8_lossy(&good(asked)).replacen("\r\n", "\r\nconnection: close\r\n", 1);
                Some(text.into_bytes())
            }),
            None,
            &[],
        ),
        ("simulated, and nobody allowed that", proof(|asked| Some(good(asked))), None, &["not allowed"]),
    ];
    let scene = Scene::new();
    for (what, prove, attestation, flags) in cases {
        let server = scene.server(prove);
        let attestation = attestation.unwrap_or_else(takes_simulated);
        let flags: &[&str] = if flags.is_empty() { &["--allow-simulated"] } else { &[] };
        let colophon = scene.proxy(policy(&[("enclave", &server.url(), &attestation)]), flags);
        let response = ask(&colophon);
        assert_refused(&colophon, &response, what);
        assert!(server.asked() >= 1, "{what}: it was not even asked");
        let got: usize = server.received().iter().map(Vec::len).sum();
        assert_eq!(got, 0, "{what}: bytes of the prompt");
        colophon.until_ended_as(Outcome::Refused, 1);
        let metrics = get(colophon.admin(), "/metrics").text();
        let refused = |line: &&str| line.starts_with("colophon_upstream_proofs_refused_total{");
        // One that closes behind good evidence gave good evidence.
        let counted = metrics.lines().any(|line| refused(&line)) || what.contains("behind its evidence");
        assert!(counted, "{what}: {metrics}");
    }
}

fn other_key() -> [u8; 32] {
    [9; 32]
}

#[test]
fn a_backend_that_is_swapped_shows_at_the_next_connection() {
    let scene = Scene::new();
    let swapped = Arc::new(AtomicBool::new(false));
    let (of_server, reply) = (swapped.clone(), answer(REPLY));
    let prove = move |asked: &Asked| match of_server.load(Ordering::SeqCst) {
        false => Some(good(asked)),
        true => Some(answer(&document(
            &Keyset::new(vec![], vec![[1; 32]], None),
            &asked.nonce,
            now(),
            Faults::default(),
        ))),
    };
    let reply =
        String::from_utf8(reply).unwrap().replacen("\r\n", "\r\nconnection: close\r\n", 1).into_bytes();
    let config = scene.issued.server(&["http/1.1"], None);
    let server = Proving::serve(&scene.issued, config, prove, move |to| to.write_all(&reply));
    let colophon =
        scene.proxy(policy(&[("enclave", &server.url(), &takes_simulated())]), &["--allow-simulated"]);
    assert_eq!(ask(&colophon).status(), 200);
    swapped.store(true, Ordering::SeqCst);
    assert_refused(&colophon, &ask(&colophon), "swapped");
    assert_eq!((server.received().len(), server.connections()), (1, 2));
    swapped.store(false, Ordering::SeqCst);
    assert_eq!(ask(&colophon).status(), 200, "and it is tried again");
}

#[test]
fn a_lease_that_ends_within_a_stream_lets_it_end_and_no_other_begin() {
    let scene = Scene::new();
    let prove = |asked: &Asked| if asked.before == 0 { Some(good(asked)) } else { None };
    let config = scene.issued.server(&["http/1.1"], None);
    let server = Proving::serve(&scene.issued, config, prove, |to| {
        to.write_all(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
        )?;
        for _ in 0..4 {
            to.write_all(b"6\r\ndata: \r\n")?;
            to.flush()?;
            pause(Duration::from_millis(700));
        }
        to.write_all(b"0\r\n\r\n")
    });
    let attestation = takes_simulated();
    let colophon = scene.proxy(
        policy(&[("enclave", &server.url(), &attestation)]),
        &["--allow-simulated", "--attest-lease", "1s"],
    );
    let response = ask(&colophon);
    assert_eq!((response.status(), response.body.len()), (200, 24));
    assert_refused(&colophon, &ask(&colophon), "after the lease");
    assert_eq!(server.received().len(), 1);
}

#[test]
fn a_lease_is_renewed_beside_the_requests() {
    let scene = Scene::new();
    let server = scene.server(|asked| Some(good(asked)));
    let attestation = takes_simulated();
    let colophon = scene.proxy(
        policy(&[("enclave", &server.url(), &attestation)]),
        &["--allow-simulated", "--attest-lease", "2s"],
    );
    for _ in 0..8 {
        assert_eq!(ask(&colophon).status(), 200);
        pause(Duration::from_millis(500));
    }
    assert!(server.asked() >= 3, "asked {} times", server.asked());
    let counted = |name: &str| colophon.metric(&format!("colophon_upstream_{name}{{upstream=\"enclave\"}}"));
    assert!(counted("proofs_total") >= Some(3.0) && counted("proofs_renewed_total") >= Some(2.0));
    let age = now() as f64 - counted("proof_time_seconds").unwrap();
    assert!((0.0..60.0).contains(&age), "{age}");
    assert_eq!(server.connections(), 1, "on the connection that it is about");
}

#[test]
fn the_second_upstream_answers_where_the_first_proves_nothing() {
    let scene = Scene::new();
    let (first, second) = (scene.server(|_| None), scene.server(|asked| Some(good(asked))));
    let takes = takes_simulated();
    let both = policy(&[("enclave", &first.url(), &takes), ("spare", &second.url(), &takes)]);
    let colophon = scene.proxy(both, &["--allow-simulated"]);
    let response = ask(&colophon);
    assert_eq!(response.status(), 200, "{}", response.text());
    let receipt = Fetched::of(&response, colophon.listen());
    let upstream = Upstream::read(receipt.field(fields::UPSTREAM).unwrap()).unwrap();
    assert_eq!(upstream.name.as_deref(), Some(&b"spare"[..]));
    assert!(first.received().is_empty());
    assert_eq!(second.received().len(), 1);
}

/// A proxy that says it runs in a (simulated) trusted environment, behind TLS.
fn inside(scene: &Scene, upstream: &str) -> Colophon {
    let (certificate, key) = (scene.folder.path().join("tls.pem"), scene.folder.path().join("key.pem"));
    scene.issued.write(&certificate, &key);
    let (certificate, key) = (certificate.display().to_string(), key.display().to_string());
    Colophon::start(upstream, |options| {
        options.sign_all().arg(&[
            "--tls-cert",
            &certificate,
            "--tls-key",
            &key,
            "--attest",
            "simulated:colophon",
        ]);
    })
}

#[test]
fn one_colophon_proves_itself_to_another_over_http2() {
    let scene = Scene::new();
    let model = colophon_tests::upstream::Upstream::answering(answer(REPLY));
    let enclave = inside(&scene, &model.url());
    let url = format!("https://localhost:{}", enclave.listen().port());
    let attestation = takes_simulated();
    let colophon = scene
        .proxy(policy(&[("enclave", &url, &attestation)]), &["--allow-simulated", "--attest-lease", "2s"]);
    for _ in 0..6 {
        let response = ask(&colophon);
        assert_eq!((response.status(), &*response.body), (200, REPLY));
        let receipt = Fetched::of(&response, colophon.listen());
        let upstream = Upstream::read(receipt.field(fields::UPSTREAM).unwrap()).unwrap();
        assert_eq!(upstream.version.as_deref(), Some("HTTP/2.0"));
        assert_eq!(upstream.bound.as_deref(), Some("exporter"));
        pause(Duration::from_millis(500));
    }
    assert_eq!(model.received().len(), 6, "questions for evidence are answered in its own name");
}

#[test]
fn a_receipt_carries_the_upstreams_evidence_which_is_judged_on_its_own() {
    let scene = Scene::new();
    let server = scene.server(|asked| Some(good(asked)));
    let colophon =
        scene.proxy(policy(&[("enclave", &server.url(), &takes_simulated())]), &["--allow-simulated"]);
    let response = ask(&colophon);
    // It is kept beside the answer.
    let receipt = colophon_tests::wait_for(colophon_tests::PATIENCE, || {
        let receipt = Fetched::of(&response, colophon.listen());
        receipt.receipt().upstream_evidence.is_some().then_some(receipt)
    });
    let receipt = receipt.expect("a receipt with the upstream's evidence");
    let whole = receipt.receipt();
    let upstream = Upstream::read(receipt.field(fields::UPSTREAM).unwrap()).unwrap();
    let document = whole.upstream_evidence.clone().unwrap();
    assert_eq!(upstream.evidence, Some(colophon_receipt::merkle::sha256(&document.0)));
    let trust = String::from_utf8(get(colophon.listen(), "/.well-known/colophon/keys").body).unwrap();
    let mr_td = takes_simulated();
    let mr_td = mr_td.split('"').nth(1).unwrap();
    let trusting = |mr_td: &str| {
        let spec =
            format!(r#"{{"gpu":"off","platforms":{{"tdx":{{"referenceValues":{{"mr_td":["{mr_td}"]}}}}}}}}"#);
        format!("{},\"upstream_attestation\":{spec}}}", trust.trim().strip_suffix('}').unwrap())
    };
    let path = |name: &str| scene.folder.path().join(name).display().to_string();
    let verify = |receipt: &colophon_receipt::receipt::Receipt, trust: &str, more: &[&str]| {
        std::fs::write(path("receipt.json"), receipt.to_json().unwrap()).unwrap();
        std::fs::write(path("trust.json"), trust).unwrap();
        let (receipt, trust) = (path("receipt.json"), path("trust.json"));
        colophon_tests::colophon::run(
            &[&["verify", &receipt, "--trust", &trust, "--at", "now"], more].concat(),
        )
    };
    let allowed = ["--allow-simulated"];
    let (code, said) = verify(&whole, &trusting(mr_td), &allowed);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("upstream-evidence") && said.contains("tee claimed, sign verified"), "{said}");
    assert_eq!(verify(&whole, &trusting(mr_td), &[]).0, 1, "simulated, and nobody allowed that");
    assert_eq!(verify(&whole, &trusting("00"), &allowed).0, 1, "another measurement");
    assert_eq!(verify(&whole, &trust, &allowed).0, 0, "nobody asked for one");
    let mut other = whole.clone();
    other.upstream_evidence = Some(colophon_receipt::receipt::Bytes(document.0[..100].to_vec()));
    let (code, said) = verify(&other, &trust, &allowed);
    assert!(code == 1 && said.contains("does not name"), "{said}");
}

#[test]
fn a_receipt_carries_the_proxys_own_evidence_and_simulated_evidence_counts_for_sign_at_most() {
    let scene = Scene::new();
    let model = colophon_tests::upstream::Upstream::answering(answer(REPLY));
    let policy = "apiVersion: colophon.dev/v1alpha1\nkind: ProvenancePolicy\nmetadata: {name: t}\nspec: {rules: [{name: all, level: tee, failurePolicy: Fail}]}\n";
    let colophon = Colophon::start(&model.url(), |options| {
        options.policy = Some(policy.to_owned());
        options.arg(&["--attest", "simulated:colophon"]);
    });
    let response = ask(&colophon);
    assert_eq!(response.status(), 200, "{}", response.text());
    let receipt = Fetched::of(&response, colophon.listen());
    let path = |name: &str| scene.folder.path().join(name).display().to_string();
    std::fs::write(path("receipt.json"), receipt.receipt().to_json().unwrap()).unwrap();
    std::fs::write(path("trust.json"), get(colophon.listen(), "/.well-known/colophon/keys").body).unwrap();
    let verify = |more: &[&str]| {
        let (receipt, trust) = (path("receipt.json"), path("trust.json"));
        let args = [&["verify", &receipt, "--trust", &trust, "--at", "now", "--json"], more].concat();
        let (code, said) = colophon_tests::colophon::run(&args);
        // What it says on stderr follows.
        let report = serde_json::Deserializer::from_str(&said).into_iter::<serde_json::Value>().next();
        (code, report.and_then(Result::ok).unwrap_or_else(|| panic!("{said}")))
    };
    let (code, refused) = verify(&[]);
    assert_eq!((code, &refused["result"]), (1, &"bad".into()), "{refused:#}");
    let (code, allowed) = verify(&["--allow-simulated"]);
    assert_eq!(code, 0, "{allowed:#}");
    assert_eq!((&allowed["claimed_level"], &allowed["verified_level"]), (&"tee".into(), &"sign".into()));
    assert_eq!(allowed["evidence"]["simulated"], true, "{allowed:#}");
}

#[test]
fn a_challenge_is_answered_for_the_nonce_alone() {
    let scene = Scene::new();
    let model = colophon_tests::upstream::Upstream::answering(answer(REPLY));
    let enclave = inside(&scene, &model.url());
    let mut session =
        colophon_tests::session::Session::tls(enclave.listen(), scene.ca.client(&["http/1.1"])).unwrap();
    let answered = session.get("/.well-known/colophon/attestation?nonce=abc");
    assert_eq!(answered.status(), 200, "{}", answered.text());
    let document = colophon_attest::Document::read(&answered.body).unwrap();
    assert_eq!(document.statement().unwrap().nonce.as_deref(), Some("abc"));
    for bad in ["", "?nonce=", "?nonce=a%20b", "?nonce=a&request=00", "?request_hash=00"] {
        let refused = session.get(&format!("/v1/colophon/attestation{bad}"));
        assert_eq!(refused.status(), 400, "{bad}");
    }
    let outside = Colophon::before(&model.url());
    let refused = get(outside.listen(), "/.well-known/colophon/attestation?nonce=abc");
    assert_eq!(refused.status(), 404);
    assert!(refused.text().contains("not_attested"), "{}", refused.text());
    assert!(model.received().is_empty());
}

/// The receipt of an answer with the upstream's evidence, and what `verify` says of it where simulated evidence is allowed.
fn judged(scene: &Scene, colophon: &Colophon, response: &Message) -> (Fetched, serde_json::Value) {
    let receipt = colophon_tests::wait_for(colophon_tests::PATIENCE, || {
        let receipt = Fetched::of(response, colophon.listen());
        receipt.receipt().upstream_evidence.is_some().then_some(receipt)
    });
    let receipt = receipt.expect("a receipt with the upstream's evidence");
    let path = |name: &str| scene.folder.path().join(name).display().to_string();
    let (file, trust) = (path("judged.receipt"), path("judged.trust"));
    std::fs::write(&file, &receipt.json).unwrap();
    std::fs::write(&trust, get(colophon.listen(), "/.well-known/colophon/keys").body).unwrap();
    let args = ["verify", &file, "--trust", &trust, "--at", "now", "--allow-simulated", "--json"];
    let (_, said) = colophon_tests::colophon::run(&args);
    let report = serde_json::Deserializer::from_str(&said).into_iter::<serde_json::Value>().next();
    (receipt, report.and_then(Result::ok).unwrap_or_else(|| panic!("{said}")))
}

fn status_of(report: &serde_json::Value, name: &str) -> Option<String> {
    let checks = report["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["name"] == name)?;
    check["status"].as_str().map(str::to_owned)
}

#[test]
fn an_attested_colophon_signs_both_digests_of_an_answer_and_of_a_stream_and_the_record_keeps_that() {
    let scene = Scene::new();
    let events = b"data: {\"id\":\"1\",\"choices\":[]}\n\ndata: [DONE]\n\n";
    let model = colophon_tests::upstream::Upstream::serve(move |conn| {
        while let Some(request) = conn.request() {
            if !request.text().contains("\"stream\":true") {
                conn.send(&answer(REPLY));
                continue;
            }
            conn.send(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
            );
            conn.send(&[format!("{:x}\r\n", events.len()).as_bytes(), events, b"\r\n0\r\n\r\n"].concat());
        }
    });
    let enclave = inside(&scene, &model.url());
    let url = format!("https://localhost:{}", enclave.listen().port());
    let colophon = scene.proxy(policy(&[("enclave", &url, &takes_simulated())]), &["--allow-simulated"]);
    let streamed = PROMPT.replacen('{', "{\"stream\":true,", 1);
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        streamed.len()
    );
    let answers = [
        (ask(&colophon), REPLY, "tag=\"colophon-v1\""),
        (
            send(colophon.listen(), &[head.as_bytes(), streamed.as_bytes()].concat()),
            &events[..],
            "tag=\"colophon-v1-close\"",
        ),
    ];
    for (response, body, tag) in answers {
        assert_eq!((response.status(), &*response.body), (200, body), "{}", response.text());
        assert_eq!(response.header("trailer"), None, "what it asked for is not the client's");
        let (receipt, report) = judged(&scene, &colophon, &response);
        let upstream = Upstream::read(receipt.field(fields::UPSTREAM).unwrap()).unwrap();
        let signed = upstream.signed.unwrap_or_else(|| panic!("no signature with {tag}"));
        let signed = String::from_utf8(signed.into_owned()).unwrap();
        assert!(signed.contains(tag), "{signed}");
        assert_eq!(status_of(&report, "upstream-signature").as_deref(), Some("passed"), "{report:#}");
        assert_eq!(
            (&report["upstream"]["signed"], &report["verified_level"]),
            (&true.into(), &"sign".into())
        );
        assert_eq!(report["claimed_level"], "tee", "it is simulated: {report:#}");
    }
}

#[test]
fn an_upstream_that_signs_nothing_is_the_proxys_word() {
    let scene = Scene::new();
    let server = scene.server(|asked| Some(good(asked)));
    let colophon =
        scene.proxy(policy(&[("enclave", &server.url(), &takes_simulated())]), &["--allow-simulated"]);
    let (receipt, report) = judged(&scene, &colophon, &ask(&colophon));
    let upstream = Upstream::read(receipt.field(fields::UPSTREAM).unwrap()).unwrap();
    assert!(upstream.signed.is_none() && upstream.signature.is_none());
    assert_eq!(status_of(&report, "upstream-signature"), None);
    assert_eq!((&report["upstream"]["signed"], &report["verified_level"]), (&false.into(), &"sign".into()));
}

#[test]
fn evidence_that_names_the_tls_key_alone_binds_to_it() {
    let scene = Scene::new();
    let server = scene.server(|asked| {
        let keyset = Keyset::new(vec![], vec![[1; 32], asked.spki], None);
        Some(answer(&document(&keyset, &asked.nonce, now(), Faults::default())))
    });
    let colophon =
        scene.proxy(policy(&[("enclave", &server.url(), &takes_simulated())]), &["--allow-simulated"]);
    let response = ask(&colophon);
    assert_eq!((response.status(), &*response.body), (200, REPLY), "{}", response.text());
    let receipt = Fetched::of(&response, colophon.listen());
    let upstream = Upstream::read(receipt.field(fields::UPSTREAM).unwrap()).unwrap();
    assert_eq!(upstream.bound.as_deref(), Some("spki"));
    assert_eq!(server.received().len(), 1);
}

/// The policy of a server that says it in another form.
fn speaking(form: &str) -> String {
    takes_simulated().replacen('{', &format!("{{speaks: {form}, "), 1)
}

/// An ACI report about this TLS key, or another, for this nonce.
fn aci_report(nonce: &str, spki: [u8; 32]) -> Vec<u8> {
    use colophon_receipt::merkle::sha256;
    let keyset = serde_json::json!({"not_after": now() + DAY, "tls_public_keys": [{"spki_sha256": hex::encode(spki)}]});
    let keyset_digest = sha256(&colophon_receipt::canonical::canonical(&keyset).unwrap());
    let statement = colophon_attest::aci::Statement { keyset_digest, nonce: Some(nonce.to_owned()) };
    let (quote, _) = colophon_tests::proving::quote(statement.report_data().unwrap());
    let report = serde_json::json!({
        "api_version": "aci/1", "workload_keyset_digest": format!("sha256:{}", hex::encode(keyset_digest)),
        "attestation": {"tee_type": "tdx", "workload_keyset": keyset, "evidence": {"quote": hex::encode(quote)}},
    });
    answer(report.to_string().as_bytes())
}

#[test]
fn others_are_asked_in_their_own_form_and_their_evidence_is_kept_with_its_nonce() {
    let scene = Scene::new();
    let collateral = scene.folder.path().join("collateral.json");
    std::fs::write(&collateral, colophon_tests::proving::quote([0; 64]).1).unwrap();
    let flags = ["--allow-simulated", "--upstream-collateral", collateral.to_str().unwrap()];
    let server = scene.server(|asked| Some(aci_report(&asked.nonce, asked.spki)));
    let colophon = scene.proxy(policy(&[("enclave", &server.url(), &speaking("aci"))]), &flags);
    let response = ask(&colophon);
    assert_eq!((response.status(), &*response.body), (200, REPLY), "{}", response.text());
    let (receipt, report) = judged(&scene, &colophon, &response);
    let upstream = Upstream::read(receipt.field(fields::UPSTREAM).unwrap()).unwrap();
    assert_eq!(upstream.bound.as_deref(), Some("spki"));
    assert_eq!(report["upstream"]["source"], "operator_asserted", "{report:#}");
    assert_eq!((&report["upstream"]["signed"], &report["verified_level"]), (&false.into(), &"sign".into()));

    for (what, prove) in [
        ("another TLS key", proof(|asked| Some(aci_report(&asked.nonce, [1; 32])))),
        ("another nonce", proof(|asked| Some(aci_report(&"00".repeat(32), asked.spki)))),
        ("Colophon's own form", proof(|asked| Some(good(asked)))),
    ] {
        let server = scene.server(prove);
        let colophon = scene.proxy(policy(&[("enclave", &server.url(), &speaking("aci"))]), &flags);
        assert_refused(&colophon, &ask(&colophon), what);
        assert!(server.asked() == 1 && server.received().is_empty(), "{what}: bytes of the prompt");
    }
    // Without collateral nobody can judge it.
    let server = scene.server(|asked| Some(aci_report(&asked.nonce, asked.spki)));
    let colophon =
        scene.proxy(policy(&[("enclave", &server.url(), &speaking("aci"))]), &["--allow-simulated"]);
    assert_refused(&colophon, &ask(&colophon), "no collateral");
}

#[test]
fn a_certificate_with_a_quote_about_its_key_is_asked_nothing() {
    let mut scene = Scene::new();
    let collateral = scene.folder.path().join("collateral.json");
    std::fs::write(&collateral, colophon_tests::proving::quote([0; 64]).1).unwrap();
    let flags = ["--allow-simulated", "--upstream-collateral", collateral.to_str().unwrap()];
    let about = |spki: &[u8]| {
        let mut data = [0; 64];
        data[..32].copy_from_slice(&colophon_receipt::merkle::sha256(spki));
        colophon_tests::proving::quote(data).0
    };
    scene.issued = scene.ca.issue_about(&[1, 2, 840, 113_741, 1337, 6], about);
    let server = scene.server(|_| None);
    let colophon = scene.proxy(policy(&[("enclave", &server.url(), &speaking("ra-tls"))]), &flags);
    let response = ask(&colophon);
    assert_eq!((response.status(), &*response.body), (200, REPLY), "{}", response.text());
    let (receipt, report) = judged(&scene, &colophon, &response);
    let upstream = Upstream::read(receipt.field(fields::UPSTREAM).unwrap()).unwrap();
    assert_eq!((upstream.bound.as_deref(), server.asked()), (Some("spki"), 0));
    assert_eq!(report["upstream"]["simulated"], true, "{report:#}");

    scene.issued = scene.ca.issue_about(&[1, 2, 840, 113_741, 1337, 6], |_| about(b"another key"));
    let server = scene.server(|_| None);
    let colophon = scene.proxy(policy(&[("enclave", &server.url(), &speaking("ra-tls"))]), &flags);
    assert_refused(&colophon, &ask(&colophon), "a quote about another key");
    assert!(server.received().is_empty(), "bytes of the prompt");
}
