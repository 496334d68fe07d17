//! Rules that send prompts only to servers that have proved themselves: whatever is wrong with the evidence, the server gets
//! no byte of the prompt and no credential, the client a 503, and the log a record of the refusal.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use colophon_attest::Keyset;
use colophon_attest::simulate::Faults;
use colophon_receipt::fields::{self, Upstream};
use colophon_receipt::level::{Level, Outcome};
use colophon_receipt::record::RecordLeaf;
use colophon_tests::client::get;
use colophon_tests::colophon::{Colophon, can_have_hosts, command, run};
use colophon_tests::models::Bench;
use colophon_tests::pause;
use colophon_tests::proving::{Asked, Proving, answer, document, now, takes_simulated};
use colophon_tests::receipts::Fetched;
use colophon_tests::scene::{PROMPT, Proof, REPLY, Scene, ask, assert_refused, good, judged, policy, proof};

const DAY: u64 = 86_400;

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

/// A policy that names a model certificate instead of reference values: what that says of machines is asked, as long as it
/// counts.
#[test]
fn a_model_certificate_says_what_a_server_has_to_prove() {
    let (scene, bench) = (Scene::new(), Bench::new());
    let file = |name: &str| bench.path(name).display().to_string();
    let (cert, authority) = (file("cert.json"), file("authority.json"));
    let flags = ["--allow-simulated", "--upstream-model-cert", &cert, "--model-authority", &authority];
    let named = |digest: &str| format!("{{modelCertificate: \"{digest}\"}}");

    // It speaks of other machines.
    let digest = bench.certify_for("{gpu: off, platforms: {tdx: {referenceValues: {mr_td: [\"00\"]}}}}");
    let server = scene.server(|asked| Some(good(asked)));
    let colophon = scene.proxy(policy(&[("enclave", &server.url(), &named(&digest))]), &flags);
    assert_refused(&colophon, &ask(&colophon), "another machine");
    assert!(server.received().is_empty());

    // Of this one.
    let digest = bench.certify_for(&takes_simulated());
    let server = scene.server(|asked| Some(good(asked)));
    let demanded = policy(&[("enclave", &server.url(), &named(&digest))]);
    let colophon = scene.proxy(demanded.clone(), &[&flags[..], &["--attest-lease", "1s"]].concat());
    let response = ask(&colophon);
    assert_eq!(response.status(), 200, "{}", response.text());
    let (receipt, _) = judged(&colophon, &response);
    let trust = get(colophon.listen(), "/.well-known/colophon/keys");
    let mut trust: serde_json::Value = serde_json::from_slice(&trust.body).unwrap();
    let issuer: serde_json::Value = serde_json::from_slice(&std::fs::read(&authority).unwrap()).unwrap();
    trust["model_authorities"] = serde_json::json!([issuer]);
    let report = |more: &[&str]| {
        let given = [&["--model-cert", &cert, "--at", "now"], more].concat();
        receipt.report_by(command(&["verify"]), trust.to_string().as_bytes(), &given)
    };
    let (code, said) = report(&["--allow-simulated"]);
    assert_eq!(code, 0, "{said:#}");
    let (model, compared) = (&said["model"], &said["model"]["upstream_evidence"]);
    assert_eq!((&compared["matches"], &compared["counts"]), (&true.into(), &false.into()), "{said:#}");
    assert_eq!((&model["certificate"], &model["shown_by"]), (&serde_json::Value::Null, &"observed".into()));

    // Taken back: it counts for no further proof.
    bench.revoke("superseded");
    pause(Duration::from_millis(1500));
    let before = server.received().len();
    assert_refused(&colophon, &ask(&colophon), "revoked");
    assert_eq!(server.received().len(), before);
    // Nor does a proxy start with it, or without the file.
    for flags in [&flags[..], &flags[..1]] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.yaml");
        std::fs::write(&path, &demanded).unwrap();
        let data = folder.path().join("data");
        let mut serve = vec!["serve", "--policy", path.to_str().unwrap(), "--data", data.to_str().unwrap()];
        serve.extend(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        serve.extend(flags);
        let (code, said) = run(&serve);
        assert!(code != 0 && (said.contains("revoked") || said.contains("--upstream-model-cert")), "{said}");
    }
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
        let refused = |line: &&str| {
            line.starts_with("colophon_upstream_evidence_refused_total{") && !line.ends_with(" 0")
        };
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

/// The system's own resolver leads to another machine: it proves nothing there, or is a machine that does.
#[test]
fn a_name_that_moves_to_another_machine_shows_at_the_next_connection() {
    if !can_have_hosts() {
        return;
    }
    let scene = Scene::new();
    let reply = answer(REPLY);
    let reply =
        String::from_utf8(reply).unwrap().replacen("\r\n", "\r\nconnection: close\r\n", 1).into_bytes();
    let serve = |last: u8, port: u16, prove: Proof| {
        let (config, reply) = (scene.issued.server(&["http/1.1"], None), reply.clone());
        let at = ([127, 0, 0, last], port).into();
        Proving::serve_at(at, &scene.issued, config, prove, move |to| to.write_all(&reply))
    };
    let first = serve(1, 0, proof(|asked| Some(good(asked))));
    let nothing = answer(b"{}");
    let second = serve(2, first.port(), proof(move |_| Some(nothing.clone())));
    let third = serve(3, first.port(), proof(|asked| Some(good(asked))));
    let hosts = scene.folder.path().join("hosts");
    // Written in place: what is mounted is this very file.
    let lead_to = |last: u8| std::fs::write(&hosts, format!("127.0.0.{last} enclave.test\n")).unwrap();
    lead_to(1);
    let url = format!("https://enclave.test:{}", first.port());
    let ca = scene.folder.path().join("ca.pem").display().to_string();
    let colophon = Colophon::start("http://127.0.0.1:9", |options| {
        options.policy = Some(policy(&[("enclave", &url, &takes_simulated())]));
        options.arg(&["--upstream-ca", &ca, "--attest-timeout", "2s", "--allow-simulated"]);
        options.hosts = Some(hosts.clone());
    });
    assert_eq!(ask(&colophon).status(), 200);
    lead_to(2);
    assert_refused(&colophon, &ask(&colophon), "moved");
    assert!(second.received().is_empty() && second.asked() > 0, "it got something but the question");
    lead_to(3);
    assert_eq!(ask(&colophon).status(), 200, "it proves itself as well");
    assert_eq!((first.received().len(), third.received().len(), third.asked()), (1, 1, 1));
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

/// Nobody renews what nobody uses: the next request finds the lease over, and nothing is sent on its strength.
#[test]
fn a_connection_that_lay_idle_beyond_its_lease_proves_itself_anew() {
    let scene = Scene::new();
    let lost = Arc::new(AtomicBool::new(false));
    let of_server = lost.clone();
    let server = scene.server(move |asked| (!of_server.load(Ordering::SeqCst)).then(|| good(asked)));
    let colophon = scene.proxy(
        policy(&[("enclave", &server.url(), &takes_simulated())]),
        &["--allow-simulated", "--attest-lease", "1s"],
    );
    assert_eq!(ask(&colophon).status(), 200);
    lost.store(true, Ordering::SeqCst);
    pause(Duration::from_millis(1500));
    assert_refused(&colophon, &ask(&colophon), "after the lease");
    assert_eq!(server.received().len(), 1);
    lost.store(false, Ordering::SeqCst);
    assert_eq!(ask(&colophon).status(), 200);
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
    assert!(counted("evidence_total") >= Some(3.0) && counted("evidence_renewed_total") >= Some(2.0));
    let age = now() as f64 - counted("evidence_time_seconds").unwrap();
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
