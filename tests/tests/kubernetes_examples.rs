//! `examples/kubernetes`: each file goes through the injector, and a real API server with the projects' own definitions takes what
//! comes out, unknown fields being errors.

use std::fs;
use std::path::Path;

use colophon_tests::injector::filter;
use colophon_tests::kubernetes::ApiServer;
use colophon_tests::{PATIENCE, kubernetes, log, paths, wait_for};
use serde_json::{Value, json};

/// File, and the ports on which Colophon is in the Pods that it makes.
const EXAMPLES: [(&str, &[u64]); 5] = [
    ("inference-pool.yaml", &[8000]),
    ("inference-pool-ranks.yaml", &[8000, 8001]),
    ("llm-d-decode.yaml", &[8200]),
    ("production-stack-engine.yaml", &[8000]),
    // Its controller makes the Pod, which then meets the webhook.
    ("kserve.yaml", &[]),
];

fn folder() -> std::path::PathBuf {
    paths::root().join("examples/kubernetes")
}

fn list(of: &Value, at: &str) -> Vec<Value> {
    of.pointer(at).and_then(Value::as_array).cloned().unwrap_or_default()
}

/// The objects that the injector makes of a file.
fn injected(name: &str) -> Vec<Value> {
    let (code, printed, said) = filter(&folder().join(name), &folder().join("settings.yaml"), "json");
    assert_eq!(code, Some(0), "{name}: {said}");
    let printed: Value = serde_json::from_str(&printed).expect("JSON");
    if printed["kind"] == "List" { list(&printed, "/items") } else { vec![printed] }
}

/// The first port of each Colophon in a workload's Pods, in order.
fn ports(object: &Value) -> Vec<u64> {
    let spec = "/spec/template/spec";
    let all = [list(object, &format!("{spec}/initContainers")), list(object, &format!("{spec}/containers"))];
    let ours = all.concat().into_iter().filter(|one| {
        one["name"].as_str().is_some_and(|name| name == "colophon" || name.starts_with("colophon-"))
    });
    ours.filter_map(|one| one.pointer("/ports/0/containerPort").and_then(Value::as_u64)).collect()
}

#[test]
fn the_injector_takes_each_and_pools_lead_to_colophon() {
    let mut files: Vec<_> = log::files(&folder()).iter().filter_map(|path| name(path)).collect();
    files.retain(|file| {
        file.ends_with(".yaml") && !["settings.yaml", "production-stack-values.yaml"].contains(&file.as_str())
    });
    let mut known: Vec<_> = EXAMPLES.iter().map(|(file, _)| (*file).to_owned()).collect();
    known.sort();
    assert_eq!(files, known, "a file that nobody looks at");
    for (file, expected) in EXAMPLES {
        let objects = injected(file);
        let found: Vec<u64> = objects.iter().flat_map(ports).collect();
        assert_eq!(found, expected, "{file}");
        let pools = objects.iter().filter(|object| object["kind"] == "InferencePool");
        for pool in pools.filter(|_| !file.starts_with("llm-d")) {
            let targets: Vec<_> =
                list(pool, "/spec/targetPorts").iter().filter_map(|port| port["number"].as_u64()).collect();
            assert_eq!(targets, found, "{file}");
        }
    }
}

fn name(path: &Path) -> Option<String> {
    Some(path.file_name()?.to_str()?.to_owned())
}

/// Where objects of that kind are made.
fn collection(object: &Value) -> String {
    let (api, kind) =
        (object["apiVersion"].as_str().expect("a version"), object["kind"].as_str().expect("a kind"));
    format!("/apis/{api}/namespaces/models/{}s?fieldValidation=Strict", kind.to_lowercase())
}

#[test]
fn a_server_with_the_projects_own_definitions_takes_each() {
    let test = "the examples on an API server";
    let Some(crds) = kubernetes::definitions(test) else { return };
    let Some(server) = ApiServer::start(test) else { return };
    server.namespace("models", &json!({}));
    let files: Vec<_> = log::files(&crds).into_iter().filter(|path| path.extension().is_some()).collect();
    assert!(files.len() >= 4, "{files:?}");
    for file in files {
        let text = fs::read_to_string(&file).expect("a definition");
        server.create_yaml("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &text);
    }
    for (file, _) in EXAMPLES {
        for object in injected(file) {
            let path = collection(&object);
            // A definition is served some time after it was made.
            let taken = wait_for(PATIENCE, || {
                let (status, answer) = server.call("POST", &path, &object);
                (status != 404).then_some((status, answer))
            });
            let (status, answer) = taken.unwrap_or_else(|| panic!("{file}: nothing is served at {path}"));
            assert_eq!(status, 201, "{file}: {}", answer.object["message"]);
        }
    }
    // That it would find something.
    let mut pool = injected("inference-pool.yaml").remove(1);
    pool["metadata"]["name"] = json!("another");
    pool["spec"]["targetPortNumber"] = json!(8000);
    let (status, answer) = server.call("POST", &collection(&pool), &pool);
    assert_eq!(status, 400, "{}", answer.object);
    assert!(answer.object["message"].to_string().contains("targetPortNumber"), "{}", answer.object);
}
