//! Proxies that prove themselves: evidence about the key that signs, made anew while it is in use.

use colophon_receipt::level::Level;
use colophon_tests::client::{self, post, send};
use colophon_tests::colophon::{Colophon, run};
use colophon_tests::receipts::Fetched;
use colophon_tests::tsa::{P256, Tsa};
use colophon_tests::upstream::Upstream;
use colophon_tests::{PATIENCE, wait_for};

const CHAT: &str = "/v1/chat/completions";
const TEE: &str = "apiVersion: colophon.dev/v1alpha1\nkind: ProvenancePolicy\nmetadata: {name: t}\nspec: {rules: [{name: all, level: tee, failurePolicy: Fail}]}\n";

fn model() -> Upstream {
    Upstream::answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}".to_vec())
}

fn date_now(colophon: &Colophon) {
    let request = b"POST /timestamp HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(send(colophon.admin(), request).status(), 200);
}

#[test]
fn evidence_is_renewed_beside_the_requests_and_receipts_say_between_which_times_it_was_made() {
    let (upstream, tsa) = (model(), Tsa::new(P256).serve());
    let (url, root) = (tsa.url(), tsa.tsa().path("root.pem"));
    let mut colophon = Colophon::start(&upstream.url(), |options| {
        options.policy = Some(TEE.to_owned());
        options.arg(&["--attest", "simulated:colophon", "--attest-every", "1s"]);
        options.arg(&["--tsa", &url, "--tsa-root", root.to_str().unwrap()]);
    });
    // The first token comes by itself, and evidence that answers it.
    let renewed = || colophon.metric("colophon_attestation_renewed_total").unwrap();
    wait_for(PATIENCE, || (renewed() >= 1.0).then_some(())).expect("it is not renewed");
    let answer = post(colophon.listen(), CHAT, "{}");
    assert_eq!(answer.status(), 200);
    let early = Fetched::of(&answer, colophon.listen());
    assert_eq!(early.leaf.level, Level::Tee);
    let before = renewed();
    date_now(&colophon);
    wait_for(PATIENCE, || (renewed() > before).then_some(())).expect("a newer token renews it");
    let dated = Fetched::of(&answer, colophon.listen());
    let (code, report) = dated.report_by_colophon(colophon.listen(), &["--allow-simulated"]);
    assert_eq!((code, &report["verified_level"]), (0, &"sign".into()), "{report:#}");
    let evidence = &report["evidence"];
    assert_eq!((&evidence["renewed"], &evidence["source"]), (&true.into(), &"operator_asserted".into()));
    let time = |name: &str| evidence[name].as_u64().unwrap_or_else(|| panic!("{report:#}"));
    assert!(time("after") <= time("before") && time("before") - time("after") < 120_000_000, "{report:#}");
    let file = colophon.folder().join("a.receipt");
    std::fs::write(&file, &dated.json).unwrap();
    let (_, said) = run(&["verify", &file.display().to_string()]);
    assert!(said.contains("attestation"), "{said}");
    assert_eq!(dated.report_by_colophon(colophon.listen(), &[]).0, 1, "simulated, and nobody allowed that");
    // The document may be anybody's; which one counts, the log says.
    let mut bent = dated.receipt();
    bent.key_evidence.as_mut().unwrap().document.0.push(b' ');
    let bent = Fetched::parse(bent.to_json().unwrap());
    assert_eq!(bent.report_by_colophon(colophon.listen(), &["--allow-simulated"]).0, 1);
    let age = colophon.metric("colophon_attestation_age_seconds").unwrap();
    assert!((0.0..60.0).contains(&age), "{age}");
    assert_eq!(colophon.metric("colophon_attestation_failed_total"), Some(0.0));

    let data = colophon.data().display().to_string();
    assert!(colophon.stop().success());
    let (code, said) = run(&["log", "check", &data, "--json"]);
    let found: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert!(code == 0 && found["key_evidence"].as_u64() >= Some(2), "{found:#}");
}

#[test]
fn a_machine_that_gives_no_good_evidence_any_more_stops_no_answer() {
    let (upstream, tsa) = (model(), Tsa::new(P256).serve());
    let (url, root) = (tsa.url(), tsa.tsa().path("root.pem"));
    let folder = tempfile::tempdir().unwrap();
    let collateral = folder.path().join("collateral");
    std::fs::write(&collateral, "{}").unwrap();
    let colophon = Colophon::start(&upstream.url(), |options| {
        options.policy = Some(TEE.to_owned());
        options.arg(&["--attest", "simulated:colophon", "--attest-every", "1s"]);
        options.arg(&["--attest-collateral", collateral.to_str().unwrap()]);
        options.arg(&["--tsa", &url, "--tsa-root", root.to_str().unwrap()]);
    });
    std::fs::write(&collateral, "no collateral").unwrap();
    date_now(&colophon);
    let failed = || colophon.metric("colophon_attestation_failed_total").filter(|failed| *failed > 0.0);
    wait_for(PATIENCE, || {
        date_now(&colophon);
        failed()
    })
    .expect("it is not counted");
    assert_eq!(post(colophon.listen(), CHAT, "{}").status(), 200);
    let ready = client::get(colophon.admin(), "/readyz");
    assert_eq!(ready.status(), 200, "{}", ready.text());
}
