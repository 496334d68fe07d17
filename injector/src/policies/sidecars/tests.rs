use super::*;
use serde_json::json;

fn pod() -> Value {
    json!({
        "metadata": {"name": "llm-0"},
        "spec": {
            "initContainers": [{"name": "colophon", "ports": [{"containerPort": 8000}, {"name": "colophon-health", "containerPort": 4190}]}],
            "containers": [
                {"name": "colophon-1", "ports": [{"name": "colophon-health", "containerPort": 4191}]},
                {"name": "colophon-tools", "ports": [{"name": "colophon-health", "containerPort": 4192}]},
                {"name": "vllm", "ports": [{"name": "colophon-health", "containerPort": 4193}]},
            ],
            "volumes": [{"name": "other", "configMap": {"name": "x"}}, {"name": "colophon-policy", "configMap": {"name": "clinic"}}],
        },
        "status": {"phase": "Running", "podIP": "fd00::7"},
    })
}

#[test]
fn a_pods_sidecars_are_those_that_mount_the_policy() {
    let (policy, found) = of_pod(&pod()).unwrap();
    assert_eq!(policy, "clinic");
    let shown: Vec<_> =
        found.iter().map(|one| (one.container.as_str(), one.health.map(|at| at.to_string()))).collect();
    assert_eq!(
        shown,
        [("colophon", Some("[fd00::7]:4190".into())), ("colophon-1", Some("[fd00::7]:4191".into()))]
    );
    for (pointer, value) in [
        ("/status/phase", json!("Pending")),
        ("/spec/volumes", json!(null)),
        ("/spec", json!(1)),
        ("/metadata/deletionTimestamp", json!("2026-01-01T00:00:00Z")),
    ] {
        let mut pod = pod();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        pod.pointer_mut(parent).unwrap()[key] = value;
        assert_eq!(of_pod(&pod), None, "{pointer}");
    }
}

#[test]
fn no_node_is_asked() {
    for (key, value) in [("hostNetwork", json!(true)), ("initContainers", json!([{"name": "colophon"}]))] {
        let mut pod = pod();
        pod["spec"][key] = value;
        assert_eq!(of_pod(&pod).unwrap().1[0].health, None, "{key}");
    }
    let mut pod = pod();
    pod["status"]["podIP"] = json!("kubernetes.default/../x");
    assert_eq!(of_pod(&pod).unwrap().1[0].health, None);
}

#[test]
fn metrics_say_what_is_in_force() {
    let digest = "0f".repeat(32);
    let line = format!(
        "# TYPE colophon_policy_in_force gauge\ncolophon_policy_in_force{{name=\"a\\\",digest=\\\"b\",digest=\"{digest}\",version=\"0.1.0\"}} 1\n"
    );
    let known = Said { digest: Some(digest), version: Some("0.1.0".into()), why: None };
    assert_eq!(said(&line), known);
    let refusing = said(&format!("{line}colophon_policy_reload_failed 1\n"));
    assert!(refusing.digest == known.digest && refusing.why.is_some_and(|why| why.contains("refuses")));
    for nothing in
        ["", "colophon_policy_in_force{", "colophon_policy_in_force{digest=\"00\"} 1", "\u{0}{digest=\"\"}"]
    {
        let said = said(nothing);
        assert!(said.digest.is_none() && said.why.is_some(), "{nothing}");
    }
}
