//! One Colophon before another, and what a receipt shows of the server that answered: its evidence, and what it signed.

use std::time::Duration;

use colophon_attest::Keyset;
use colophon_attest::simulate::Faults;
use colophon_receipt::fields::{self, Upstream, UpstreamSigned};
use colophon_receipt::merkle::sha256;
use colophon_signer::Ed25519Key;
use colophon_signer::httpsig::{Component, Params, Value, signature_base, signature_value};
use colophon_tests::client::{get, send};
use colophon_tests::colophon::Colophon;
use colophon_tests::pause;
use colophon_tests::proving::{Asked, Proving, answer, document, now, takes_simulated};
use colophon_tests::receipts::Fetched;
use colophon_tests::scene::{CHAT, PROMPT, REPLY, Scene, ask, good, inside, judged, policy, status_of};

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
    let model = colophon_tests::upstream::Upstream::answering(answer(REPLY));
    let policy = "apiVersion: colophon.dev/v1alpha1\nkind: ProvenancePolicy\nmetadata: {name: t}\nspec: {rules: [{name: all, level: tee, failurePolicy: Fail}]}\n";
    let colophon = Colophon::start(&model.url(), |options| {
        options.policy = Some(policy.to_owned());
        options.arg(&["--attest", "simulated:colophon"]);
    });
    let response = ask(&colophon);
    assert_eq!(response.status(), 200, "{}", response.text());
    let receipt = Fetched::of(&response, colophon.listen());
    let verify =
        |more: &[&str]| receipt.report_by_colophon(colophon.listen(), &[&["--at", "now"], more].concat());
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
        let (receipt, report) = judged(&colophon, &response);
        let signed =
            receipt.field(fields::UPSTREAM_SIGNED).unwrap_or_else(|| panic!("no signature with {tag}"));
        let signed = UpstreamSigned::read(signed).unwrap();
        let base = signed.base.unwrap();
        let said = String::from_utf8_lossy(&base);
        assert!(said.contains(tag.trim_start_matches("tag=\"")), "{said}");
        assert!(
            !said.contains("sha-256=") && said.contains(CHAT),
            "its digests are those of the record: {said}"
        );
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
    let (receipt, report) = judged(&colophon, &ask(&colophon));
    assert!(receipt.field(fields::UPSTREAM_SIGNED).is_none());
    assert_eq!(status_of(&report, "upstream-signature"), None);
    assert_eq!((&report["upstream"]["signed"], &report["verified_level"]), (&false.into(), &"sign".into()));
}

/// A server with good evidence of its key, which signs its whole answer `ago` seconds in the past, and sends as much of it.
fn signing_server(scene: &Scene, ago: u64, sent: usize) -> Proving {
    let key = Ed25519Key::from_seed(&[5; 32]).unwrap();
    let public = key.public_key();
    let digest = |body: &[u8]| Value::response_digest(&sha256(body)).into_text();
    let (request, response) = (digest(PROMPT.as_bytes()), digest(REPLY));
    let field = |name, value| Component { name, req: false, tr: false, value };
    let components = [
        field("@status", "200"),
        field("content-digest", &response),
        field("colophon-request-digest", &request),
    ];
    let keyid = public.key_id_hex();
    let params = Params { created: now() - ago, keyid: &keyid, tag: "colophon-v1" };
    let base = signature_base(&components, &params).unwrap();
    let (input, signature) =
        (base.signature_input("colophon"), signature_value("colophon", &key.sign(base.as_bytes())));
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\ncontent-digest: {response}\r\ncolophon-request-digest: {request}\r\nsignature-input: {input}\r\nsignature: {signature}\r\n\r\n",
        REPLY.len()
    );
    let prove = move |asked: &Asked| {
        let keyset = Keyset::new(vec![public.0], vec![], Some(asked.exporter));
        Some(answer(&document(&keyset, &asked.nonce, now(), Faults::default())))
    };
    Proving::serve(&scene.issued, scene.issued.server(&["http/1.1"], None), prove, move |to| {
        to.write_all(head.as_bytes())?;
        to.write_all(&REPLY[..sent])?;
        to.flush()?;
        if sent < REPLY.len() { Err(std::io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    })
}

/// The same signature, and what became of the exchange decides whether it is one over what the record says.
#[test]
fn a_signature_over_something_else_than_was_recorded_is_not_kept_and_the_receipt_is_good() {
    let scene = Scene::new();
    for (what, ago, sent, status, kept) in [
        ("whole", 0, REPLY.len(), 200, true),
        ("cut", 0, 10, 502, false),
        ("by a clock that is an hour behind", 3600, REPLY.len(), 200, false),
    ] {
        let server = signing_server(&scene, ago, sent);
        let colophon =
            scene.proxy(policy(&[("enclave", &server.url(), &takes_simulated())]), &["--allow-simulated"]);
        let response = ask(&colophon);
        assert_eq!(response.status(), status, "{what}: {}", response.text());
        let (receipt, report) = judged(&colophon, &response);
        assert_eq!(receipt.field(fields::UPSTREAM_SIGNED).is_some(), kept, "{what}");
        assert_ne!(report["result"], "bad", "{what}: {report:#}");
        assert_eq!(report["upstream"]["signed"], kept, "{what}: {report:#}");
    }
}
