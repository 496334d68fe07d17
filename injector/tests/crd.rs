//! The custom resource's definition is made from the schema of policy files: a key that is added there is added here, or this
//! test fails.

#![allow(clippy::expect_used, clippy::panic, reason = "a test, which may fail loudly")]

use std::fs;
use std::path::Path;

use colophon_injector::manifest;
use serde_json::{Map, Value, json};

fn definition() -> Value {
    let schema: Value = serde_json::from_str(colophon_policies::SCHEMA).expect("the schema is JSON");
    let spec = structural(&schema["$defs"]["Spec"], &schema);
    let digest =
        json!({"type": "string", "description": "Digest of the policy in the ConfigMap, as records name it"});
    let count = json!({"type": "integer", "minimum": 0});
    let text = json!({"type": "string"});
    let status = json!({"type": "object", "properties": {
        "observedGeneration": {"type": "integer", "format": "int64"},
        "digest": digest,
        "conditions": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
            "items": {"type": "object", "required": ["type", "status", "reason", "message", "lastTransitionTime"], "properties": {
                "type": text, "status": {"type": "string", "enum": ["True", "False", "Unknown"]}, "reason": text, "message": text,
                "observedGeneration": {"type": "integer", "format": "int64"},
                "lastTransitionTime": {"type": "string", "format": "date-time"}}}},
        "sidecars": {"type": "object", "description": "How many have this digest in force, another one, or cannot be asked",
            "properties": {"current": count, "old": count, "unknown": count}},
        "pods": {"type": "array", "description": "At most 100 of them, those that have another digest first",
            "items": {"type": "object", "required": ["pod", "container", "state"], "properties": {
                "pod": text, "container": text, "state": {"type": "string", "enum": ["current", "old", "unknown"]},
                "digest": text, "version": text, "why": text}}},
    }});
    let column = |name: &str, kind: &str, path: &str| json!({"name": name, "type": kind, "jsonPath": path});
    let names = json!({"kind": "ProvenancePolicy", "listKind": "ProvenancePolicyList", "plural": "provenancepolicies",
        "singular": "provenancepolicy", "shortNames": ["provpol"], "categories": ["colophon"]});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": "provenancepolicies.colophon.dev",
            // With the definition all policies would go.
            "annotations": {"helm.sh/resource-policy": "keep"},
        },
        "spec": {
            "group": "colophon.dev",
            "scope": "Namespaced",
            "names": names,
            "versions": [{
                "name": "v1alpha1", "served": true, "storage": true,
                "subresources": {"status": {}},
                "additionalPrinterColumns": [
                    column("Accepted", "string", ".status.conditions[?(@.type==\"Accepted\")].status"),
                    column("Written", "string", ".status.conditions[?(@.type==\"Written\")].status"),
                    column("Current", "integer", ".status.sidecars.current"),
                    column("Old", "integer", ".status.sidecars.old"),
                    column("Unknown", "integer", ".status.sidecars.unknown"),
                    column("Digest", "string", ".status.digest"),
                    column("Age", "date", ".metadata.creationTimestamp"),
                ],
                "schema": {"openAPIV3Schema": {
                    "type": "object", "required": ["spec"], "description": schema["description"],
                    "properties": {"apiVersion": text, "kind": text, "metadata": {"type": "object"}, "spec": spec, "status": status},
                }},
            }],
        },
    })
}

/// A schema as Kubernetes wants it ("structural"): without references, of one type each, and with no types under `anyOf`.
///
/// Members that it does not know are kept, not dropped: a rule whose `levle` was dropped would be another rule. They are
/// for the parser to refuse.
fn structural(schema: &Value, root: &Value) -> Value {
    let mut made = Map::new();
    for (key, value) in schema.as_object().expect("a schema is an object") {
        match key.as_str() {
            // What stands beside it goes before what it refers to.
            "$ref" => {
                let pointer = value.as_str().and_then(|text| text.strip_prefix('#')).expect("a reference");
                let referred = structural(root.pointer(pointer).expect("what it refers to"), root);
                for (key, value) in referred.as_object().expect("a schema") {
                    made.entry(key.clone()).or_insert_with(|| value.clone());
                }
            }
            "properties" => {
                let members = value.as_object().expect("properties");
                let members = members.iter().map(|(name, member)| (name.clone(), structural(member, root)));
                made.insert(key.clone(), Value::Object(members.collect()));
            }
            "items" => {
                made.insert(key.clone(), structural(value, root));
            }
            "additionalProperties" => {
                made.insert("x-kubernetes-preserve-unknown-fields".into(), json!(true));
            }
            "oneOf" => variants(&mut made, value, root),
            "anyOf"
                if value.as_array().is_some_and(|all| all.iter().all(|one| one.get("type").is_some())) =>
            {
                anything(&mut made);
            }
            "type" if value.is_array() => anything(&mut made),
            // Of numbers Kubernetes knows `double` as well, but it says nothing that `number` does not.
            "format" => {}
            "description" | "type" | "enum" | "pattern" | "required" | "anyOf" | "minLength"
            | "maxLength" | "minItems" | "maxItems" | "minProperties" | "minimum" | "maximum" => {
                made.insert(key.clone(), value.clone());
            }
            other => panic!("`{other}` of a policy's schema has no counterpart here yet"),
        }
    }
    Value::Object(made)
}

/// What is one of several types is for the parser to look at.
fn anything(made: &mut Map<String, Value>) {
    made.insert("x-kubernetes-preserve-unknown-fields".into(), json!(true));
    made.insert("nullable".into(), json!(true));
}

/// Objects that a word tells apart: one object with the members of all, and which go together.
fn variants(made: &mut Map<String, Value>, all: &Value, root: &Value) {
    let all = all.as_array().expect("variants");
    let mut properties = Map::<String, Value>::new();
    let mut words = Vec::new();
    let mut together = Vec::new();
    let every: Vec<&str> = all
        .iter()
        .flat_map(|one| one["properties"].as_object().expect("members").keys())
        .map(String::as_str)
        .collect();
    for one in all {
        let own = one["properties"].as_object().expect("members");
        for (name, member) in own {
            if name == "op" {
                words.push(member["const"].clone());
                continue;
            }
            let member = structural(member, root);
            match properties.get_mut(name) {
                None => {
                    properties.insert(name.clone(), member);
                }
                Some(known) if *known == member => {}
                // Of another type elsewhere.
                Some(known) => {
                    let mut either = Map::new();
                    anything(&mut either);
                    *known = Value::Object(either);
                }
            }
        }
        let mut others: Vec<_> = every.iter().filter(|name| !own.contains_key(**name)).collect();
        others.sort_unstable();
        others.dedup();
        let others: Vec<_> = others.iter().map(|name| json!({"required": [name]})).collect();
        together.push(json!({"properties": {"op": {"enum": [own["op"]["const"]]}}, "required": one["required"], "not": {"anyOf": others}}));
    }
    properties.insert("op".into(), json!({"type": "string", "enum": words}));
    made.insert("type".into(), json!("object"));
    made.insert("x-kubernetes-preserve-unknown-fields".into(), json!(true));
    made.insert("required".into(), json!(["op"]));
    made.insert("properties".into(), Value::Object(properties));
    made.insert("oneOf".into(), Value::Array(together));
}

#[test]
fn the_definition_is_made_from_the_policys_schema() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../helm/colophon/crd/provenancepolicies.yaml");
    let made = definition();
    if std::env::var_os("COLOPHON_GOLDEN").is_some_and(|what| what == "write") {
        let head = "# Made from policies/policy.schema.json by injector/tests/crd.rs\n";
        fs::write(&path, format!("{head}{}", manifest::print(std::slice::from_ref(&made)).expect("YAML")))
            .expect("the file");
    }
    let there = manifest::parse(&fs::read_to_string(&path).expect("the definition")).expect("YAML");
    assert_eq!(there, [made], "run this test with COLOPHON_GOLDEN=write, and look at the difference");
}
