//! Servers that say in another form than Colophon's own what they prove.

use colophon_attest::Keyset;
use colophon_attest::simulate::Faults;
use colophon_receipt::fields::{self, Upstream};
use colophon_tests::proving::{answer, document, now, takes_simulated};
use colophon_tests::scene::{REPLY, Scene, ask, assert_refused, good, judged, policy, proof};

const DAY: u64 = 86_400;

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
    let (receipt, report) = judged(&colophon, &response);
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

/// A report of dstack's proxies, version 2: about this TLS key and nonce. Without a key it is of version 1.
fn dstack_report(nonce: &str, spki: Option<[u8; 32]>) -> Vec<u8> {
    use colophon_receipt::merkle::sha256;
    let key = [3; 32];
    let mut data = [0; 64];
    data[..32].copy_from_slice(&spki.map_or(key, |spki| sha256(&[key, spki].concat())));
    data[32..].copy_from_slice(&hex::decode(nonce).unwrap());
    let quote = hex::encode(colophon_tests::proving::quote(data).0);
    let mut report = serde_json::json!({"signing_address": hex::encode(key), "intel_quote": quote});
    if let Some(spki) = spki {
        report["tls_cert_fingerprint"] = hex::encode(spki).into();
    }
    answer(report.to_string().as_bytes())
}

#[test]
fn a_dstack_server_binds_its_tls_key_by_version_2_and_by_version_1_gets_nothing() {
    let scene = Scene::new();
    let collateral = scene.folder.path().join("collateral.json");
    std::fs::write(&collateral, colophon_tests::proving::quote([0; 64]).1).unwrap();
    let flags = ["--allow-simulated", "--upstream-collateral", collateral.to_str().unwrap()];
    let server = scene.server(|asked| Some(dstack_report(&asked.nonce, Some(asked.spki))));
    let colophon = scene.proxy(policy(&[("enclave", &server.url(), &speaking("dstack"))]), &flags);
    let response = ask(&colophon);
    assert_eq!((response.status(), &*response.body), (200, REPLY), "{}", response.text());
    let (receipt, report) = judged(&colophon, &response);
    let upstream = Upstream::read(receipt.field(fields::UPSTREAM).unwrap()).unwrap();
    assert_eq!((upstream.bound.as_deref(), server.asked()), (Some("spki"), 1));
    assert_eq!(report["upstream"]["source"], "operator_asserted", "{report:#}");

    for (what, prove) in [
        ("version 1", proof(|asked| Some(dstack_report(&asked.nonce, None)))),
        ("another TLS key", proof(|asked| Some(dstack_report(&asked.nonce, Some([1; 32]))))),
        ("another nonce", proof(|asked| Some(dstack_report(&"00".repeat(32), Some(asked.spki))))),
    ] {
        let server = scene.server(prove);
        let colophon = scene.proxy(policy(&[("enclave", &server.url(), &speaking("dstack"))]), &flags);
        assert_refused(&colophon, &ask(&colophon), what);
        assert!(server.asked() == 1 && server.received().is_empty(), "{what}: bytes of the prompt");
    }
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
    let (receipt, report) = judged(&colophon, &response);
    let upstream = Upstream::read(receipt.field(fields::UPSTREAM).unwrap()).unwrap();
    assert_eq!((upstream.bound.as_deref(), server.asked()), (Some("spki"), 0));
    assert_eq!(report["upstream"]["simulated"], true, "{report:#}");

    scene.issued = scene.ca.issue_about(&[1, 2, 840, 113_741, 1337, 6], |_| about(b"another key"));
    let server = scene.server(|_| None);
    let colophon = scene.proxy(policy(&[("enclave", &server.url(), &speaking("ra-tls"))]), &flags);
    assert_refused(&colophon, &ask(&colophon), "a quote about another key");
    assert!(server.received().is_empty(), "bytes of the prompt");
}

/// What a Colophon says is kept as it came, so a file beside it would make good for this proxy what no reader can judge.
#[test]
fn a_colophon_that_brings_no_collateral_along_is_refused_with_a_file_too() {
    let scene = Scene::new();
    let collateral = scene.folder.path().join("collateral.json");
    std::fs::write(&collateral, colophon_tests::proving::quote([0; 64]).1).unwrap();
    let flags = ["--allow-simulated", "--upstream-collateral", collateral.to_str().unwrap()];
    let server = scene.server(|asked| {
        let keyset = Keyset::new(vec![], vec![], Some(asked.exporter));
        let whole = document(&keyset, &asked.nonce, now(), Faults::default());
        let mut document: serde_json::Value = serde_json::from_slice(&whole).unwrap();
        let taken = document["bundle"].as_object_mut().unwrap().remove("collateral");
        taken.expect("collateral");
        Some(answer(document.to_string().as_bytes()))
    });
    let colophon = scene.proxy(policy(&[("enclave", &server.url(), &takes_simulated())]), &flags);
    assert_refused(&colophon, &ask(&colophon), "no collateral");
    let reason = "colophon_upstream_evidence_refused_total{upstream=\"enclave\",reason=\"collateral\"}";
    assert_eq!(colophon.metric(reason), Some(1.0));
}
