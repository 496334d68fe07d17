//! The chart and the injector on a real API server: Pods are created through it, and what it *returns* is looked at, since an
//! old server drops fields that it does not know.

use std::fs;

use colophon_tests::injector::{Injector, filter};
use colophon_tests::kubernetes::{Answer, ApiServer, Helm, chart, secret_file};
use colophon_tests::{PATIENCE, paths, wait_for};
use serde_json::{Value, json};

const LABEL: &str = "colophon.dev/inject";

/// One server, the chart installed on it, and the webhook that its objects lead to.
struct Cluster {
    server: ApiServer,
    injector: Injector,
}

const VALUES: [&str; 4] =
    ["--set", "image.repository=registry.example/colophon", "--set-string", "sidecar.oldestKubelet=1.34"];

impl Cluster {
    fn start(test: &str) -> Option<Self> {
        let server = ApiServer::start(test)?;
        let helm = Helm::new(test)?.at(&server);
        for (name, label) in [("colophon", None), ("free", None), ("strict", Some("required"))] {
            let labels = label.map_or(json!({}), |label| json!({LABEL: label}));
            server.namespace(name, &labels);
        }
        let chart = chart();
        let chart = chart.to_str().expect("UTF-8");
        helm.output(&[&["install", "rel", chart, "--namespace", "colophon"], &VALUES[..]].concat());
        let secret = server.get("/api/v1/namespaces/colophon/secrets/rel-tls");
        let settings = server.get("/api/v1/namespaces/colophon/configmaps/rel-injector");
        let settings = settings["data"]["settings.yaml"].as_str().expect("the settings").to_owned();
        let write = |chain: &std::path::Path, key: &std::path::Path| {
            secret_file(&secret, "tls.crt", chain);
            secret_file(&secret, "tls.key", key);
        };
        let injector = Injector::start_with(write, &settings, None);
        // No kubelet runs the chart's Pods, and nothing routes cluster addresses: the same name leads to the program here.
        let services = "/api/v1/namespaces/colophon/services";
        server.call("DELETE", &format!("{services}/rel-injector"), &Value::Null);
        let here = json!({"metadata": {"name": "rel-injector"},
            "spec": {"type": "ExternalName", "externalName": "localhost"}});
        server.create(services, &here);
        let path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/rel-injector";
        let mut webhooks = server.get(path);
        for webhook in webhooks["webhooks"].as_array_mut().expect("webhooks") {
            webhook["clientConfig"]["service"]["port"] = json!(injector.listen().port());
        }
        assert_eq!(server.call("PUT", path, &webhooks).0, 200);
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
    let bundle = || {
        let path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/rel-injector";
        server.get(path)["webhooks"][0]["clientConfig"]["caBundle"].clone()
    };
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
