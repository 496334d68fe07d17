//! The injector as a program: the webhook over TLS, and `--file`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use colophon_tests::certs::Authority;
use colophon_tests::injector::{Injector, filter};
use colophon_tests::process::free_address;
use colophon_tests::session::Session;
use colophon_tests::{PATIENCE, wait_for};
use serde_json::{Value, json};

const SETTINGS: &str = "image: registry.example/colophon:1";

fn review(pod: &Value) -> String {
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "u", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "operation": "CREATE", "object": pod,
    }})
    .to_string()
}

fn vllm() -> Value {
    json!({"metadata": {"labels": {"colophon.dev/inject": "enabled"}},
        "spec": {"containers": [{"name": "vllm", "image": "vllm/vllm-openai"}]}})
}

fn connect(ca: &Authority, injector: &Injector) -> Session {
    Session::tls(injector.listen(), ca.client(&[])).expect("a handshake")
}

fn answer(session: &mut Session, path: &str, review: &str) -> Value {
    let response = session.post(path, review);
    assert_eq!(response.status(), 200, "{}", response.text());
    let answer: Value = serde_json::from_slice(&response.body).expect("JSON");
    answer["response"].clone()
}

#[test]
fn reviews_are_answered_by_mode_and_malformed_ones_refused() {
    let ca = Authority::new();
    let mut injector = Injector::start(&ca.issue("webhook"), SETTINGS);
    let mut session = connect(&ca, &injector);
    assert_eq!(session.get("/livez").status(), 200);
    let done = answer(&mut session, "/mutate/enabled", &review(&vllm()));
    assert_eq!((&done["allowed"], &done["patchType"]), (&json!(true), &json!("JSONPatch")));
    let mut shell = vllm();
    shell["spec"]["containers"][0]["command"] = json!(["sh", "-c", "vllm serve m"]);
    assert_eq!(answer(&mut session, "/mutate/required", &review(&shell))["allowed"], false);
    let warned = answer(&mut session, "/mutate/enabled", &review(&shell));
    assert_eq!((&warned["allowed"], warned.get("patch")), (&json!(true), None));
    assert!(warned["warnings"][1].as_str().is_some_and(|text| text.contains("shell")), "{warned}");
    for (path, body, status) in [
        ("/mutate/enabled", "{\"apiVersion\":", 400),
        ("/mutate/enabled", "", 400),
        ("/mutate/required", "[]", 400),
        ("/mutate/other", "{}", 404),
        // Without --policies.
        ("/validate/policy", "{}", 404),
        ("/livez", "{}", 405),
    ] {
        let mut session = connect(&ca, &injector);
        assert_eq!(session.post(path, body).status(), status, "{path} {body}");
    }
    assert_eq!(connect(&ca, &injector).get("/mutate/enabled").status(), 405);
    injector.process().terminate();
    assert!(injector.process().wait(PATIENCE).success());
}

#[test]
fn a_pod_of_three_megabytes_is_answered_and_a_longer_review_refused() {
    let ca = Authority::new();
    let injector = Injector::start(&ca.issue("webhook"), SETTINGS);
    let with = |bytes: usize| {
        let mut pod = vllm();
        pod["spec"]["containers"][0]["env"] = json!([{"name": "LONG", "value": "v".repeat(bytes)}]);
        review(&pod)
    };
    let done = answer(&mut connect(&ca, &injector), "/mutate/enabled", &with(3 << 20));
    // What did not change is not in the patch.
    assert!(done["patch"].as_str().is_some_and(|patch| patch.len() < 16_384), "{}", done["patch"]);
    assert_eq!(connect(&ca, &injector).post("/mutate/enabled", &with(9 << 20)).status(), 413);
    assert_eq!(connect(&ca, &injector).get("/livez").status(), 200);
}

#[test]
fn an_expired_certificate_is_replaced_without_a_restart() {
    let ca = Authority::new();
    let injector = Injector::start(&ca.issue_expired("webhook"), SETTINGS);
    assert!(Session::tls(injector.listen(), ca.client(&[])).is_err(), "nobody takes an expired certificate");
    injector.renew(&ca.issue("webhook"));
    let taken = wait_for(Duration::from_secs(25), || Session::tls(injector.listen(), ca.client(&[])).ok());
    let mut session = taken.expect("the new certificate is served");
    assert_eq!(answer(&mut session, "/mutate/required", &review(&vllm()))["allowed"], true);
}

#[test]
fn with_a_client_ca_only_api_servers_are_answered() {
    let (ca, servers, others) = (Authority::new(), Authority::new(), Authority::new());
    // It judges policies too; where the API server should be nobody is.
    let folder = tempfile::tempdir().unwrap();
    let (token, roots) = (folder.path().join("token"), folder.path().join("ca.pem"));
    fs::write(&token, "secret").unwrap();
    let args = [
        "--policies".to_owned(),
        format!("--api-server=https://{}", free_address()),
        format!("--api-token-file={}", token.display()),
        format!("--api-ca={}", ca.write(&roots).display()),
    ];
    let certificate = ca.issue("webhook");
    let write = |chain: &Path, key: &Path| certificate.write(chain, key);
    let injector = Injector::start_with(write, SETTINGS, Some(&servers), &args);
    // What a kubelet probes with.
    let mut probe = connect(&ca, &injector);
    assert_eq!(probe.get("/readyz").status(), 200);
    assert_eq!(probe.post("/mutate/enabled", &review(&vllm())).status(), 403);
    assert_eq!(probe.post("/mutate/required", &review(&vllm())).status(), 403);
    assert_eq!(probe.post("/validate/policy", &review(&vllm())).status(), 403);
    let shown = ca.client_as(&servers.issue("kube-apiserver"), &[]);
    let mut server = Session::tls(injector.listen(), shown).expect("a handshake");
    assert_eq!(answer(&mut server, "/mutate/required", &review(&vllm()))["patchType"], "JSONPatch");
    assert_eq!(answer(&mut server, "/validate/policy", &review(&vllm()))["allowed"], true);
    for wrong in [others.issue("kube-apiserver"), servers.issue_expired("kube-apiserver")] {
        // TLS 1.3 clients learn of it with the first answer.
        let session = Session::tls(injector.listen(), ca.client_as(&wrong, &[]));
        let answered = session.ok().and_then(|mut session| {
            let request = session.request("POST", "/mutate/enabled", review(&vllm()));
            session.open(request).ok()
        });
        assert!(answered.is_none(), "{:?}", answered.map(|answer| answer.status()));
    }
}

#[test]
fn manifests_are_printed_and_what_cannot_be_done_has_exit_code_one() {
    let folder = tempfile::tempdir().unwrap();
    let (manifest, settings) = (folder.path().join("pod.yaml"), folder.path().join("settings.yaml"));
    fs::write(&settings, SETTINGS).unwrap();
    let mut pod = vllm();
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    fs::write(&manifest, pod.to_string()).unwrap();
    let (code, out, err) = filter(&manifest, &settings, "yaml");
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("name: colophon") && err.contains("Colophon is in it"), "{out}{err}");
    fs::write(&manifest, &out).unwrap();
    let (code, again, err) = filter(&manifest, &settings, "yaml");
    assert_eq!((code, &again), (Some(0), &out), "{err}");
    pod["spec"]["hostNetwork"] = json!(true);
    fs::write(&manifest, pod.to_string()).unwrap();
    let (code, out, err) = filter(&manifest, &settings, "yaml");
    assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
    assert!(err.contains("hostNetwork"), "{err}");
    fs::write(&settings, "image: i\nimages: j").unwrap();
    let (code, _, err) = filter(&manifest, &settings, "yaml");
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("images"), "{err}");
}
