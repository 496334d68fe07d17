//! Reviews and what is answered.

use super::*;
use serde_json::json;

fn settings() -> Settings {
    Settings::parse("image: i").unwrap()
}

fn review(object: &Value) -> Value {
    json!({"apiVersion": API, "kind": KIND, "request": {
        "uid": "u-1", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "operation": "CREATE",
        "namespace": "team", "object": object, "dryRun": true, "userInfo": {"username": "x"},
    }})
}

fn pod(image: &str) -> Value {
    json!({"metadata": {"labels": {crate::LABEL: "enabled"}}, "spec": {"containers": [{"name": "e", "image": image}]}})
}

fn answered(review: &Value, mode: Mode) -> Value {
    let answer: Value =
        serde_json::from_slice(&answer(&serde_json::to_vec(review).unwrap(), &settings(), mode).unwrap())
            .unwrap();
    assert_eq!((&answer["apiVersion"], &answer["kind"]), (&json!(API), &json!(KIND)));
    assert_eq!(answer["response"]["uid"], "u-1");
    answer["response"].clone()
}

#[test]
fn a_pod_that_asks_gets_a_patch() {
    let before = pod("vllm/vllm-openai");
    let response = answered(&review(&before), Mode::Required);
    assert_eq!((&response["allowed"], &response["patchType"]), (&json!(true), &json!("JSONPatch")));
    let patch = BASE64_STANDARD.decode(response["patch"].as_str().unwrap()).unwrap();
    let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
    let mut after = before;
    json_patch::patch(&mut after, &patch).unwrap();
    assert_eq!(after["spec"]["containers"][1]["name"], "colophon");
    // Asked again, as with reinvocationPolicy: IfNeeded.
    assert!(answered(&review(&after), Mode::Required).get("patch").is_none());
}

#[test]
fn what_cannot_be_done_is_refused_or_warned_of() {
    let required = answered(&review(&pod("mine")), Mode::Required);
    assert_eq!((&required["allowed"], &required["status"]["code"]), (&json!(false), &json!(403)));
    assert!(required["status"]["message"].as_str().unwrap().contains("colophon.dev/engine-container"));
    let enabled = answered(&review(&pod("mine")), Mode::Enabled);
    assert_eq!(enabled["allowed"], true);
    assert!(enabled.get("patch").is_none());
    for warning in enabled["warnings"].as_array().unwrap() {
        assert!(warning.as_str().unwrap().len() <= MAX_WARNING);
    }
}

#[test]
fn other_objects_and_operations_pass() {
    for change in [
        json!({"operation": "UPDATE"}),
        json!({"subResource": "ephemeralcontainers"}),
        json!({"kind": {"group": "apps", "version": "v1", "kind": "Deployment"}}),
        json!({"object": null}),
        json!({"object": [1, 2]}),
    ] {
        let mut review = review(&pod("vllm/vllm-openai"));
        review["request"].as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let response = answered(&review, Mode::Required);
        assert_eq!(response["allowed"], true, "{change}");
        assert!(response.get("patch").is_none(), "{change}");
    }
}

#[test]
fn malformed_reviews_are_errors() {
    let whole = review(&pod("vllm/vllm-openai"));
    let with = |pointer: &str, value: Value| {
        let mut review = whole.clone();
        *review.pointer_mut(pointer).unwrap() = value;
        serde_json::to_vec(&review).unwrap()
    };
    let nested = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    let nested =
        serde_json::to_string(&review(&json!("HERE"))).unwrap().replace("\"HERE\"", &nested).into_bytes();
    for (bytes, why) in [
        (b"".to_vec(), "no AdmissionReview"),
        (b"{}".to_vec(), "missing field"),
        (b"\xff\xfe".to_vec(), "no AdmissionReview"),
        (nested, "recursion limit"),
        (with("/apiVersion", json!("admission.k8s.io/v1beta1")), "v1beta1"),
        (with("/kind", json!("ConversionReview")), "ConversionReview"),
        (with("/request", json!(null)), "no request"),
        (with("/request/uid", json!("")), "uid"),
        (with("/request/uid", json!("u".repeat(300))), "uid"),
        (with("/request/kind", json!("Pod")), "no AdmissionReview"),
    ] {
        let error = answer(&bytes, &settings(), Mode::Enabled).unwrap_err().to_string();
        assert!(error.contains(why), "{why}: {error}");
    }
}

#[test]
fn a_wrong_policy_is_refused_unless_it_was_wrong_before() {
    let object = |level: &str| {
        json!({"apiVersion": "colophon.dev/v1alpha1", "kind": "ProvenancePolicy", "metadata": {"name": "clinic"},
            "spec": {"rules": [{"name": "all", "level": level}]}})
    };
    let ask = |operation: &str, object: Value, old: Value| {
        let review = json!({"apiVersion": API, "kind": KIND, "request": {
            "uid": "u-1", "kind": {"group": "colophon.dev", "version": "v1alpha1", "kind": "ProvenancePolicy"},
            "operation": operation, "namespace": "team", "object": object, "oldObject": old,
        }});
        let answer = answer_policy(&serde_json::to_vec(&review).unwrap()).unwrap();
        let response = serde_json::from_slice::<Value>(&answer).unwrap()["response"].clone();
        (response["allowed"].clone(), response["status"]["message"].clone())
    };
    assert_eq!(ask("CREATE", object("sign"), Value::Null).0, json!(true));
    let (allowed, message) = ask("CREATE", object("sing"), Value::Null);
    assert_eq!(allowed, json!(false));
    assert!(message.as_str().unwrap().starts_with("colophon: spec.rules[0].level: "), "{message}");
    assert_eq!(ask("UPDATE", object("sing"), object("sign")).0, json!(false));
    assert_eq!(ask("UPDATE", object("sing"), object("sing")).0, json!(true));
    assert_eq!(ask("DELETE", Value::Null, object("sing")).0, json!(true));
}
