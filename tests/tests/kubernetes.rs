//! The chart and the injector on a real API server: Pods are created through it, and what it *returns* is looked at, since an
//! old server drops fields that it does not know.

use std::fs;
use std::time::Duration;

use colophon_tests::colophon::Colophon;
use colophon_tests::injector::{Injector, filter};
use colophon_tests::kubernetes::{Answer, ApiServer, Helm, chart, secret_file};
use colophon_tests::process::free_address;
use colophon_tests::upstream::Upstream;
use colophon_tests::{PATIENCE, paths, pause, wait_for};
use serde_json::{Value, json};

const LABEL: &str = "colophon.dev/inject";

/// One server, the chart installed on it, and the webhook that its objects lead to.
struct Cluster {
    server: ApiServer,
    injector: Injector,
}

const VALUES: [&str; 4] =
    ["--set", "image.repository=registry.example/colophon", "--set-string", "sidecar.oldestKubelet=1.34"];

const MUTATING: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/rel-injector";
const VALIDATING: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/rel-policies";

/// The injector with what the release has for it.
fn injector(server: &ApiServer, args: &[String]) -> Injector {
    let secret = server.get("/api/v1/namespaces/colophon/secrets/rel-tls");
    let settings = server.get("/api/v1/namespaces/colophon/configmaps/rel-injector");
    let settings = settings["data"]["settings.yaml"].as_str().expect("the settings").to_owned();
    let write = |chain: &std::path::Path, key: &std::path::Path| {
        secret_file(&secret, "tls.crt", chain);
        secret_file(&secret, "tls.key", key);
    };
    Injector::start_with(write, &settings, None, args)
}

impl Cluster {
    fn start(test: &str) -> Option<Self> {
        Self::start_with(test, &[], |_| Vec::new())
    }

    /// With more values of the chart, and more arguments of the injector.
    fn start_with(test: &str, values: &[&str], args: impl FnOnce(&ApiServer) -> Vec<String>) -> Option<Self> {
        let server = ApiServer::start(test)?;
        let helm = Helm::new(test)?.at(&server);
        for (name, label) in [("colophon", None), ("free", None), ("strict", Some("required"))] {
            let labels = label.map_or(json!({}), |label| json!({LABEL: label}));
            server.namespace(name, &labels);
        }
        let chart = chart();
        let chart = chart.to_str().expect("UTF-8");
        helm.output(&[&["install", "rel", chart, "--namespace", "colophon"], &VALUES[..], values].concat());
        let injector = injector(&server, &args(&server));
        // No kubelet runs the chart's Pods, and nothing routes cluster addresses: the same name leads to the program here.
        let services = "/api/v1/namespaces/colophon/services";
        server.call("DELETE", &format!("{services}/rel-injector"), &Value::Null);
        let here = json!({"metadata": {"name": "rel-injector"},
            "spec": {"type": "ExternalName", "externalName": "localhost"}});
        server.create(services, &here);
        for path in [MUTATING, VALIDATING] {
            let (status, Answer { object: mut webhooks, .. }) = server.call("GET", path, &Value::Null);
            if status == 404 {
                continue;
            }
            for webhook in webhooks["webhooks"].as_array_mut().expect("webhooks") {
                webhook["clientConfig"]["service"]["port"] = json!(injector.listen().port());
            }
            assert_eq!(server.call("PUT", path, &webhooks).0, 200);
        }
        let cluster = Self { server, injector };
        cluster.until_in_force();
        Some(cluster)
    }

    /// The server takes up what it was told some time later.
    fn until_in_force(&self) {
        let done = wait_for(PATIENCE, || {
            let (status, answer) = self.try_pod("free", true, &vllm("probe"));
            (status == 201 && sidecar(&answer.object).is_some()).then_some(())
        });
        assert!(done.is_some(), "the webhook is not asked: {:?}", self.try_pod("free", true, &vllm("probe")));
        let mut disabled = vllm("probe");
        disabled["metadata"]["labels"][LABEL] = json!("disabled");
        let done = wait_for(PATIENCE, || (self.try_pod("strict", true, &disabled).0 != 201).then_some(()));
        assert!(done.is_some(), "the admission policy is not in force");
    }

    fn try_pod(&self, namespace: &str, dry: bool, pod: &Value) -> (u16, Answer) {
        let dry = if dry { "&dryRun=All" } else { "" };
        self.server.call(
            "POST",
            &format!("/api/v1/namespaces/{namespace}/pods?fieldValidation=Strict{dry}"),
            pod,
        )
    }

    fn pod(&self, namespace: &str, pod: &Value) -> Answer {
        let (status, answer) = self.try_pod(namespace, false, pod);
        assert_eq!(status, 201, "{}", answer.object);
        answer
    }
}

fn vllm(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {LABEL: "enabled"}}, "spec": {"containers": [
        {"name": "vllm", "image": "vllm/vllm-openai:v0.11.0", "args": ["--model", "m"],
         "ports": [{"name": "http", "containerPort": 8000}],
         "readinessProbe": {"httpGet": {"path": "/health", "port": "http"}}},
    ]}})
}

fn shell(name: &str) -> Value {
    let mut pod = vllm(name);
    pod["spec"]["containers"][0]["command"] = json!(["sh", "-c", "vllm serve m"]);
    pod
}

fn sidecar(pod: &Value) -> Option<&Value> {
    let lists = ["containers", "initContainers"];
    let mut all = lists.iter().filter_map(|list| pod["spec"][list].as_array()).flatten();
    all.find(|container| container["name"] == "colophon")
}

#[test]
fn pods_are_created_with_colophon_and_the_required_are_never_without() {
    let Some(mut cluster) = Cluster::start("the injector on a Kubernetes API server") else { return };

    // What the server keeps is what was asked of it.
    let answer = cluster.pod("free", &vllm("one"));
    let pod = cluster.server.get("/api/v1/namespaces/free/pods/one");
    assert_eq!(pod["spec"], answer.object["spec"]);
    let native = &pod["spec"]["initContainers"][0];
    assert_eq!((&native["name"], &native["restartPolicy"]), (&json!("colophon"), &json!("Always")));
    assert_eq!(native["ports"][0]["name"], "http");
    let engine = &pod["spec"]["containers"][0];
    assert_eq!(engine["args"], json!(["--model", "m", "--port", "4200", "--host", "127.0.0.1"]));
    assert_eq!(engine["readinessProbe"]["httpGet"]["path"], "/upstream/health");
    assert_eq!(pod["spec"]["terminationGracePeriodSeconds"], 45);
    assert!(answer.warnings.iter().any(|text| text.contains("keeps its own")), "{:?}", answer.warnings);

    // A generated name, many annotations, requests that are limits: Guaranteed stays Guaranteed.
    let mut odd = vllm("");
    odd["metadata"] = json!({"generateName": "llm-", "labels": {LABEL: "enabled"}, "annotations": {}});
    for number in 0..200 {
        odd["metadata"]["annotations"][format!("example.com/{number}")] = json!("v");
    }
    odd["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "4", "memory": "8Gi"}});
    let odd = cluster.pod("free", &odd).object;
    assert!(sidecar(&odd).is_some(), "{odd}");
    assert_eq!(odd["status"]["qosClass"], "Guaranteed");
    assert_eq!(odd["metadata"]["annotations"].as_object().map(serde_json::Map::len), Some(201));

    // A large one.
    let mut large = vllm("large");
    large["spec"]["containers"][0]["env"] = json!([{"name": "LONG", "value": "v".repeat(1 << 20)}]);
    assert!(sidecar(&cluster.pod("free", &large).object).is_some());

    // Who cannot have it: a warning, or a refusal. Who does not ask: nothing.
    let warned = cluster.pod("free", &shell("shell"));
    assert!(sidecar(&warned.object).is_none());
    assert!(warned.warnings.iter().any(|text| text.contains("shell")), "{:?}", warned.warnings);
    let (status, refused) = cluster.try_pod("strict", false, &shell("shell"));
    assert_eq!(status, 403, "{}", refused.object);
    assert!(
        refused.object["message"].as_str().is_some_and(|text| text.contains("shell")),
        "{}",
        refused.object
    );
    assert!(sidecar(&cluster.pod("strict", &vllm("one")).object).is_some());
    let mut without = vllm("without");
    without["metadata"]["labels"] = json!({});
    assert!(sidecar(&cluster.pod("strict", &without).object).is_none());

    // The admission policy: `disabled`, and another image by the sidecar's name.
    let mut disabled = vllm("disabled");
    disabled["metadata"]["labels"][LABEL] = json!("disabled");
    assert!(sidecar(&cluster.pod("free", &disabled).object).is_none());
    let mut imitation = vllm("imitation");
    let other = json!({"name": "colophon", "image": "example/other"});
    imitation["spec"]["containers"].as_array_mut().expect("containers").push(other);
    for pod in [disabled, imitation] {
        let (status, refused) = cluster.try_pod("strict", false, &pod);
        assert_eq!(status, 403, "{}", refused.object);
        assert!(
            refused.object["message"].as_str().is_some_and(|text| text.contains("no engine without")),
            "{refused:?}"
        );
    }

    // The webhook is gone: `enabled` goes on without, `required` does not.
    cluster.injector.process().kill();
    assert!(sidecar(&cluster.pod("free", &vllm("gone")).object).is_none());
    let (status, refused) = cluster.try_pod("strict", false, &vllm("gone"));
    assert_eq!(status, 500, "{}", refused.object);
    assert!(
        refused.object["message"].as_str().is_some_and(|text| text.contains("required.inject")),
        "{refused:?}"
    );
    // Deleting and everything else goes on.
    assert_eq!(cluster.server.call("DELETE", "/api/v1/namespaces/strict/pods/one", &Value::Null).0, 200);
}

#[test]
fn an_upgrade_keeps_the_certificate_and_brings_the_settings() {
    let test = "an upgrade of the chart on a Kubernetes API server";
    let Some(server) = ApiServer::start(test) else { return };
    let Some(helm) = Helm::new(test).map(|helm| helm.at(&server)) else { return };
    let chart = chart();
    let chart = chart.to_str().expect("UTF-8");
    let begin =
        |what: &'static str| vec![what, "rel", chart, "--namespace", "colophon", "--create-namespace"];
    helm.output(&[&begin("install")[..], &VALUES[..]].concat());
    let secret = || server.get("/api/v1/namespaces/colophon/secrets/rel-tls")["data"].clone();
    let bundle = || server.get(MUTATING)["webhooks"][0]["clientConfig"]["caBundle"].clone();
    let checksum = || {
        let path = "/apis/apps/v1/namespaces/colophon/deployments/rel-injector";
        server.get(path)["spec"]["template"]["metadata"]["annotations"]["checksum/settings"].clone()
    };
    let before = (secret(), bundle(), checksum());
    helm.output(&[&begin("upgrade")[..], &VALUES[..], &["--set", "sidecar.policyConfigMap=clinic"]].concat());
    let after = (secret(), bundle(), checksum());
    assert_eq!((&before.0, &before.1), (&after.0, &after.1));
    assert_ne!(before.2, after.2, "the injector starts anew with its new settings");
    let settings = server.get("/api/v1/namespaces/colophon/configmaps/rel-injector");
    assert!(
        settings["data"]["settings.yaml"]
            .as_str()
            .is_some_and(|text| text.contains("policyConfigMap: clinic"))
    );
    // To gateway mode and away: nothing of the injector stays.
    let gateway = ["--set", "mode=gateway,gateway.upstream=http://v,gateway.origin=o"];
    helm.output(&[&begin("upgrade")[..], &VALUES[..], &gateway].concat());
    let list = server.get("/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations");
    assert_eq!(list["items"], json!([]));
    helm.output(&["uninstall", "rel", "--namespace", "colophon"]);
}

/// From the chart before this one, and back. `tests/README.md` says how that file is renewed.
#[test]
fn the_chart_before_is_upgraded_and_rolled_back_to() {
    let test = "an upgrade from the chart before on a Kubernetes API server";
    let Some(server) = ApiServer::start(test) else { return };
    let Some(helm) = Helm::new(test).map(|helm| helm.at(&server)) else { return };
    let (before, now) = (paths::tests("helm/previous.tgz"), chart());
    let text = |path: &std::path::Path| path.to_str().expect("UTF-8").to_owned();
    let version = |chart: &str| {
        let shown = helm.output(&["show", "chart", chart]);
        shown.lines().find_map(|line| line.strip_prefix("version: ")).expect("a version").to_owned()
    };
    let (before, now) = (text(&before), text(&now));
    assert_ne!(version(&before), version(&now), "another chart has another version");
    server.namespace("free", &json!({}));
    let place = ["--namespace", "colophon"];
    helm.output(&[&["install", "rel", &before, "--create-namespace"], &place[..], &VALUES[..]].concat());
    let certificate = || server.get("/api/v1/namespaces/colophon/secrets/rel-tls")["data"].clone();
    let pods = || {
        let mut deployment = server.get("/apis/apps/v1/namespaces/colophon/deployments/rel-injector");
        deployment["spec"]["template"]["spec"].take()
    };
    let (made, first) = (certificate(), pods());

    // What was said stays said, and what is new has its default.
    let upgrade = ["upgrade", "rel", &now, "--reset-then-reuse-values"];
    helm.output(&[&upgrade, &place[..]].concat());
    assert_eq!((certificate(), pods()), (made.clone(), first.clone()), "the same values, the same Pods");
    helm.output(&[&upgrade, &place[..], &["--set", "policies.enabled=true"]].concat());
    assert_eq!(certificate(), made);
    let args = pods()["containers"][0]["args"].clone();
    assert!(args.as_array().is_some_and(|args| args.contains(&json!("--policies"))), "{args}");
    let made_one = wait_for(PATIENCE, || {
        (server.call("POST", POLICIES, &policy("clinic", "sign")).0 == 201).then_some(())
    });
    assert!(made_one.is_some(), "{:?}", server.call("POST", POLICIES, &policy("clinic", "sign")));

    // Back: the injector is as it was, and no policy is lost.
    helm.output(&[&["rollback", "rel", "1"], &place[..]].concat());
    assert_eq!((certificate(), pods()), (made, first));
    assert_eq!(server.call("GET", VALIDATING, &Value::Null).0, 404);
    server.get(&format!("{POLICIES}/clinic"));
    // And forth again, over the definition that stayed.
    helm.output(&[&upgrade, &place[..], &["--set", "policies.enabled=true"]].concat());
    helm.output(&[&["uninstall", "rel"], &place[..]].concat());
    server.get(&format!("{POLICIES}/clinic"));
}

#[test]
fn the_server_takes_manifests_as_the_injector_prints_them() {
    let Some(server) = ApiServer::start("manifests on a Kubernetes API server") else { return };
    server.namespace("team", &json!({}));
    let golden = paths::root().join("injector/tests/golden");
    let mut sent = 0;
    for entry in fs::read_dir(&golden).expect("the golden folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let Some(name) = name.strip_suffix(".in.yaml") else { continue };
        let own = golden.join(format!("{name}.settings.yaml"));
        let settings = if own.exists() { own } else { golden.join("settings.yaml") };
        let (code, out, err) = filter(&path, &settings, "json");
        if code == Some(1) {
            continue;
        }
        assert_eq!(code, Some(0), "{err}");
        let printed: Value = serde_json::from_str(&out).expect("JSON");
        let objects = printed["items"].as_array().cloned().unwrap_or_else(|| vec![printed.clone()]);
        for object in objects
            .iter()
            .flat_map(|object| object["items"].as_array().cloned().unwrap_or(vec![object.clone()]))
        {
            let (group, plural) = match object["kind"].as_str().expect("a kind") {
                "Pod" => ("/api/v1", "pods"),
                "Service" => ("/api/v1", "services"),
                "ConfigMap" => ("/api/v1", "configmaps"),
                "Deployment" => ("/apis/apps/v1", "deployments"),
                "StatefulSet" => ("/apis/apps/v1", "statefulsets"),
                "CronJob" => ("/apis/batch/v1", "cronjobs"),
                // Without a selector: an example of what is left alone.
                "DaemonSet" => continue,
                other => panic!("{name}: {other}"),
            };
            let namespace = object["metadata"]["namespace"].as_str().unwrap_or("team");
            let path = format!("{group}/namespaces/{namespace}/{plural}?dryRun=All&fieldValidation=Strict");
            let (status, answer) = server.call("POST", &path, &object);
            assert_eq!(status, 201, "{name}: {}", answer.object);
            sent += 1;
        }
    }
    assert!(sent >= 7, "{sent}");
}

const POLICIES: &str = "/apis/colophon.dev/v1alpha1/namespaces/free/provenancepolicies";

fn policy(name: &str, level: &str) -> Value {
    json!({"apiVersion": "colophon.dev/v1alpha1", "kind": "ProvenancePolicy", "metadata": {"name": name}, "spec": {
        "defaults": {"level": "commit", "failurePolicy": "Ignore"},
        "upstreams": [{"name": "enclave", "url": "https://10.0.0.7:8443"}, {"name": "spare", "url": "https://10.0.0.8:8443"}],
        "rules": [
            // What a server that drops unknown members, or `null`, would make something else of.
            {"name": "marked", "matches": [{"apis": ["chat"], "body": [
                {"pointer": "/metadata", "op": "Equals", "value": null}, {"pointer": "/n", "op": "In", "values": [1, true, "x", null]}]}],
             "level": "tee", "upstream": ["enclave", "spare"], "failurePolicy": "Fail"},
            {"name": "drawn", "matches": [{"apis": ["chat"], "stream": false}], "level": "sign", "deadline": "10m",
             "sample": {"percent": 0.5, "to": "tee", "draw": "PostCommit"}},
            {"name": "rest", "level": level},
        ],
    }})
}

/// A Pod that runs, as far as the server knows, and whose sidecar mounts the policy.
fn running(server: &ApiServer, name: &str, policy: &str, health: u16) {
    let pod = json!({"metadata": {"name": name, "labels": {LABEL: "enabled"}}, "spec": {
        "containers": [{"name": "colophon", "image": "example/colophon", "ports": [{"name": "colophon-health", "containerPort": health}]}],
        "volumes": [{"name": "colophon-policy", "configMap": {"name": policy}}],
    }});
    server.create("/api/v1/namespaces/free/pods", &pod);
    let status =
        json!({"status": {"phase": "Running", "podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}});
    let (code, answer) =
        server.call("PATCH", &format!("/api/v1/namespaces/free/pods/{name}/status"), &status);
    assert_eq!(code, 200, "{}", answer.object);
}

/// The object once its status is for this generation and as it should be.
fn until(server: &ApiServer, name: &str, what: impl Fn(&Value) -> bool) -> Value {
    let path = format!("{POLICIES}/{name}");
    let found = wait_for(PATIENCE, || {
        let object = server.get(&path);
        let seen = object["status"]["observedGeneration"] == object["metadata"]["generation"];
        (seen && what(&object["status"])).then_some(object)
    });
    found.unwrap_or_else(|| panic!("{name} is not so: {}", server.get(&path)["status"]))
}

fn condition<'a>(object: &'a Value, kind: &str) -> (&'a str, &'a str, &'a str) {
    let all = object["status"]["conditions"].as_array().expect("conditions");
    let found = all.iter().find(|one| one["type"] == kind).expect("the condition");
    let text = |name: &str| found[name].as_str().expect("text");
    (text("status"), text("reason"), text("message"))
}

#[test]
fn a_policy_becomes_a_config_map_and_says_which_sidecars_have_it() {
    let test = "policies on a Kubernetes API server";
    let values = ["--set", "policies.enabled=true,policies.namespaces={free}"];
    let args = |server: &ApiServer| {
        [
            server.account(),
            vec!["--policies".into(), "--policies-namespace=free".into(), "--policies-every=1".into()],
        ]
        .concat()
    };
    let Some(mut cluster) = Cluster::start_with(test, &values, args) else { return };
    let Cluster { server, injector: first } = &mut cluster;
    let server = &*server;
    // A second one, as a release has: who writes first is the same.
    let _second = injector(server, &args(server));

    // What the schema refuses, before anybody is asked; and what only the parser does.
    let strict = format!("{POLICIES}?fieldValidation=Strict");
    let changed = |pointer: &str, value: Value| {
        let mut object = policy("wrong", "sign");
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
        object.pointer_mut(parent).expect("its parent")[key] = value;
        object
    };
    for (pointer, value, why) in [
        ("/spec/rules/2/level", json!("sing"), "Unsupported value: \"sing\""),
        ("/spec/rules/1/sample/percent", json!(101), "spec.rules[1].sample.percent in body"),
        ("/spec/rules/1/deadline", json!("soon"), "spec.rules[1].deadline"),
        ("/spec/rules/1/matches/0/stream", json!("no"), "spec.rules[1].matches[0].stream"),
        ("/spec/rules/0/matches/0/body/0/values", json!([1]), "spec.rules[0].matches[0].body[0]"),
        ("/spec/rules", json!([]), "spec.rules"),
        ("/spec/upstreams/0/url", json!("http://10.0.0.7"), "spec.upstreams[0].url"),
        ("/spec", json!(null), "spec"),
        // Of whole numbers the server looks at the whole part of the least.
        ("/spec/rules/1/sample/percent", json!(0), "colophon: spec.rules[1].sample.percent"),
        (
            "/spec/rules/2/levle",
            json!("sign"),
            "colophon: spec.rules[2].levle: unknown key `levle`, did you mean `level`?",
        ),
        ("/spec/rules/0/upstream", json!("elsewhere"), "colophon: spec.rules[0]"),
        (
            "/spec/rules/0/matches/0/body/0/value",
            json!({"a": 1}),
            "colophon: spec.rules[0].matches[0].body[0].value",
        ),
        ("/spec/rules/2/name", json!("drawn"), "colophon: spec.rules[2].name"),
    ] {
        // The server takes definition and webhook up some time later.
        let object = changed(pointer, value);
        let ask = || server.call("POST", &format!("{strict}&dryRun=All"), &object);
        let refused = wait_for(PATIENCE, || {
            let (status, answer) = ask();
            let message = answer.object["message"].as_str().unwrap_or_default();
            (status == 422 && message.contains(why)).then_some(())
        });
        assert!(refused.is_some(), "{pointer}: {:?}", ask());
    }

    // A good one, a sidecar that has it and one that does not answer.
    let (status, answer) = server.call("POST", &strict, &policy("clinic", "sign"));
    assert_eq!((status, &answer.warnings), (201, &Vec::new()), "{}", answer.object);
    let object = until(server, "clinic", |status| status["digest"].is_string());
    assert_eq!(object["spec"], policy("clinic", "sign")["spec"], "the server keeps all of it");
    assert_eq!((condition(&object, "Accepted").0, condition(&object, "Written").0), ("True", "True"));
    let config_map = || server.get("/api/v1/namespaces/free/configmaps/clinic");
    let file = || config_map()["data"]["policy.yaml"].as_str().expect("the file").to_owned();
    assert_eq!(config_map()["metadata"]["ownerReferences"][0]["uid"], object["metadata"]["uid"]);
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let sidecar = Colophon::start(&upstream.url(), |options| {
        options.policy = Some(file());
        options.arg(&["--health", "127.0.0.1:0"]);
    });
    running(server, "llm-0", "clinic", sidecar.health().port());
    running(server, "llm-1", "clinic", free_address().port());
    running(server, "other", "another", sidecar.health().port());
    let counts =
        |current: u32, old: u32, unknown: u32| json!({"current": current, "old": old, "unknown": unknown});
    let object = until(server, "clinic", |status| status["sidecars"] == counts(1, 0, 1));
    assert_eq!(object["status"]["pods"][1]["digest"], object["status"]["digest"]);
    assert_eq!(object["status"]["pods"][0]["state"], "unknown");

    // Nothing changes: nobody writes, for rounds of both.
    pause(Duration::from_secs(4));
    assert_eq!(
        server.get(&format!("{POLICIES}/clinic"))["metadata"]["resourceVersion"],
        object["metadata"]["resourceVersion"]
    );

    // Another: first the sidecar has the old one, then kubelet brings the file.
    let mut next = policy("clinic", "commit");
    next["metadata"]["resourceVersion"] = object["metadata"]["resourceVersion"].clone();
    assert_eq!(server.call("PUT", &format!("{POLICIES}/clinic"), &next).0, 200);
    let digest = object["status"]["digest"].clone();
    let object = until(server, "clinic", |status| status["sidecars"] == counts(0, 1, 1));
    assert_ne!(object["status"]["digest"], digest);
    fs::write(sidecar.folder().join("policy.yaml"), file()).expect("the file");
    until(server, "clinic", |status| status["sidecars"] == counts(1, 0, 1));

    // A wrong one comes in while the webhook is away: the last good one stays, and the status says why.
    assert_eq!(server.call("DELETE", VALIDATING, &Value::Null).0, 200);
    let (before, digest) = (file(), server.get(&format!("{POLICIES}/clinic"))["status"]["digest"].clone());
    let wrong = json!({"spec": {"rules": [{"name": "all", "level": "sign", "onMis": "Fail"}]}});
    let done = wait_for(PATIENCE, || {
        (server.call("PATCH", &format!("{POLICIES}/clinic"), &wrong).0 == 200).then_some(())
    });
    assert!(done.is_some(), "the webhook is still asked");
    let object = until(server, "clinic", |status| status["conditions"][0]["status"] == "False");
    let said = "spec.rules[0].onMis: unknown key `onMis`, did you mean `onMiss`?";
    assert_eq!(condition(&object, "Accepted"), ("False", "Invalid", said));
    assert_eq!(condition(&object, "Written").1, "Kept");
    assert_eq!((file(), &object["status"]["digest"]), (before, &digest));
    assert_eq!(object["status"]["sidecars"], counts(1, 0, 1));

    // A ConfigMap that was there before is somebody else's.
    let others = json!({"metadata": {"name": "taken"}, "data": {"policy.yaml": "mine"}});
    server.create("/api/v1/namespaces/free/configmaps", &others);
    server.create(POLICIES, &policy("taken", "sign"));
    let object = until(server, "taken", |status| status["conditions"].is_array());
    assert_eq!((condition(&object, "Accepted").0, condition(&object, "Written").1), ("True", "NotOurs"));
    assert_eq!(server.get("/api/v1/namespaces/free/configmaps/taken")["data"], others["data"]);
    // It may do no more than its roles say.
    let log = first.process().log();
    assert!(!log.contains("says 403") && !log.contains("could not"), "{log}");
}
