//! What a Pod becomes, and what is refused.

use super::*;
use crate::patch;
use proptest::prelude::*;

fn settings() -> Settings {
    Settings::parse("image: registry.example/colophon:1").unwrap()
}

fn vllm(args: Value) -> Value {
    json!({"metadata": {"labels": {LABEL: "enabled"}}, "spec": {"containers": [
        {"name": "vllm", "image": "vllm/vllm-openai:v0.11.0", "args": args,
         "ports": [{"name": "http", "containerPort": 8000}]},
    ]}})
}

fn done_with(pod: &Value, settings: &Settings) -> (Value, Vec<String>) {
    match inject(pod, settings, When::Labelled) {
        Ok(Injection::Done { pod, warnings }) => (pod, warnings),
        other => panic!("{other:?}"),
    }
}

fn done(pod: &Value) -> Value {
    done_with(pod, &settings()).0
}

fn refused(pod: &Value) -> String {
    inject(pod, &settings(), When::Labelled).unwrap_err().to_string()
}

fn container<'a>(pod: &'a Value, name: &str) -> &'a Value {
    let spec = &pod["spec"];
    let mut all = items(spec, "containers").iter().chain(items(spec, "initContainers"));
    all.find(|container| container["name"] == name).unwrap()
}

fn args(pod: &Value, name: &str) -> Vec<String> {
    crate::value::words(container(pod, name), "args")
}

fn has(pod: &Value, name: &str, word: &str) -> bool {
    args(pod, name).iter().any(|arg| arg == word)
}

#[test]
fn the_sidecar_takes_the_port_and_the_engine_moves_to_loopback() {
    let mut pod = vllm(json!(["--model", "m"]));
    pod["spec"]["containers"][0]["readinessProbe"] =
        json!({"httpGet": {"path": "/health", "port": "http"}, "periodSeconds": 7});
    pod["spec"]["containers"][0]["livenessProbe"] = json!({"tcpSocket": {"port": 8000}});
    let pod = done(&pod);
    let engine = container(&pod, "vllm");
    assert_eq!(engine["args"], json!(["--model", "m", "--port", "4200", "--host", "127.0.0.1"]));
    assert!(engine.get("ports").is_none());
    let ready = &engine["readinessProbe"];
    assert_eq!(ready["httpGet"], json!({"path": "/upstream/health", "port": 4190}));
    assert_eq!(ready["periodSeconds"], 7);
    assert_eq!(engine["livenessProbe"], json!({"httpGet": {"path": "/upstream", "port": 4190}}));
    let sidecar = container(&pod, "colophon");
    assert_eq!(sidecar["ports"][0], json!({"name": "http", "containerPort": 8000}));
    for word in [
        "--listen=0.0.0.0:8000",
        "--upstream=http://127.0.0.1:4200",
        "--health=0.0.0.0:4190",
        "--probe-path=/health",
        "--admin=127.0.0.1:4181",
        "--drain-timeout=30s",
    ] {
        assert!(has(&pod, "colophon", word), "{word}: {:?}", args(&pod, "colophon"));
    }
    assert_eq!(sidecar["startupProbe"]["httpGet"], json!({"path": "/livez", "port": 4190}));
    assert_eq!(pod["spec"]["terminationGracePeriodSeconds"], 45);
}

#[test]
fn each_engine_is_told_in_its_own_way() {
    let case = |container: Value| {
        let pod = json!({"metadata": {"labels": {LABEL: "true"}}, "spec": {"containers": [container]}});
        done(&pod)
    };
    let tgi = case(json!({"name": "e", "image": "ghcr.io/huggingface/text-generation-inference:3.3.6",
        "args": ["--model-id", "m", "-p", "3000"], "env": [{"name": "PORT", "value": "80"}]}));
    assert_eq!(
        container(&tgi, "e")["args"],
        json!(["--model-id", "m", "-p", "4200", "--hostname", "127.0.0.1"])
    );
    assert!(has(&tgi, "colophon", "--listen=0.0.0.0:3000"));
    let by_variable = case(json!({"name": "e", "image": "ghcr.io/huggingface/text-generation-inference",
        "env": [{"name": "PORT", "value": "8080"}]}));
    assert!(has(&by_variable, "colophon", "--listen=0.0.0.0:8080"));
    assert_eq!(container(&by_variable, "e")["args"], json!(["--port", "4200", "--hostname", "127.0.0.1"]));
    let llama = case(json!({"name": "e", "image": "ghcr.io/ggml-org/llama.cpp:server-cuda",
        "args": ["-m", "m.gguf", "--host=0.0.0.0", "--port=9000"]}));
    assert_eq!(container(&llama, "e")["args"], json!(["-m", "m.gguf", "--host=127.0.0.1", "--port=4200"]));
    assert!(has(&llama, "colophon", "--listen=0.0.0.0:9000"));
    let sglang = case(json!({"name": "e", "image": "lmsysorg/sglang:v0.5",
        "command": ["python3", "-m", "sglang.launch_server", "--model-path", "m", "--host", "0.0.0.0"]}));
    assert_eq!(
        container(&sglang, "e")["command"],
        json!([
            "python3",
            "-m",
            "sglang.launch_server",
            "--model-path",
            "m",
            "--host",
            "127.0.0.1",
            "--port",
            "4200"
        ])
    );
    assert!(has(&sglang, "colophon", "--listen=0.0.0.0:30000"));
    let by_command = case(json!({"name": "e", "image": "ghcr.io/llm-d/llm-d-cuda:v0.3",
        "command": ["vllm", "serve"], "args": ["m", "--port", "$(PORT)"],
        "env": [{"name": "PORT", "value": "8200"}]}));
    assert!(has(&by_command, "colophon", "--listen=0.0.0.0:8200"));
    assert_eq!(container(&by_command, "e")["args"], json!(["m", "--port", "4200", "--host", "127.0.0.1"]));
}

#[test]
fn what_cannot_be_done_is_refused_with_the_way_out() {
    let with = |change: &dyn Fn(&mut Value)| {
        let mut pod = vllm(json!([]));
        change(&mut pod);
        refused(&pod)
    };
    for (change, why) in [
        ((&|pod: &mut Value| pod["spec"]["hostNetwork"] = json!(true)) as &dyn Fn(&mut Value), "hostNetwork"),
        (&|pod| pod["spec"]["os"] = json!({"name": "windows"}), "Windows"),
        (&|pod| pod["spec"]["nodeSelector"] = json!({"kubernetes.io/os": "windows"}), "Windows"),
        (&|pod| pod["spec"]["containers"][0]["image"] = json!("example/mine"), "no container is known"),
        (&|pod| pod["spec"]["containers"] = json!([]), "no container is known"),
        (
            &|pod| pod["spec"]["containers"][0]["command"] = json!(["bash", "-lc", "vllm serve m"]),
            "through a shell",
        ),
        (
            &|pod| {
                pod["spec"]["containers"][0]["command"] =
                    json!(["tini", "--", "/bin/sh", "-c", "exec vllm serve"])
            },
            "shell",
        ),
        (&|pod| pod["spec"]["containers"][0]["args"] = json!(["--ssl-keyfile", "k"]), "serves TLS"),
        (
            &|pod| pod["spec"]["containers"][0]["args"] = json!(["--config", "vllm.yaml"]),
            "with colophon.dev/port",
        ),
        (&|pod| pod["spec"]["containers"][0]["args"] = json!(["--port", "many"]), "no number"),
        (&|pod| pod["spec"]["containers"][0]["args"] = json!(["--port", "$(P)"]), "no number"),
        (
            &|pod| pod["spec"]["containers"][0]["ports"] = json!([{"containerPort": 9000}]),
            "colophon.dev/port",
        ),
        (&|pod| pod["spec"]["volumes"] = json!([{"name": "colophon-data", "emptyDir": {}}]), "colophon-data"),
        (&|pod| pod["spec"]["containers"][0]["livenessProbe"] = json!({"grpc": {"port": 8000}}), "gRPC"),
        (
            &|pod| {
                pod["spec"]["containers"][0]["livenessProbe"] =
                    json!({"httpGet": {"port": 8000, "scheme": "HTTPS"}})
            },
            "HTTPS",
        ),
        (&|pod| pod["metadata"]["labels"][LABEL] = json!("maybe"), "enabled or disabled"),
        (&|pod| pod["metadata"]["annotations"] = json!({"colophon.dev/ranks": "1000"}), "64 at most"),
        (&|pod| pod["metadata"]["annotations"] = json!({"colophon.dev/engine-port": "0"}), "1 to 65535"),
        (&|pod| pod["metadata"]["annotations"] = json!({"colophon.dev/engine-port": "8000"}), "elsewhere"),
        (&|pod| pod["metadata"]["annotations"] = json!({"colophon.dev/port": "grpc"}), "neither a number"),
        (
            &|pod| pod["metadata"]["annotations"] = json!({"colophon.dev/engine-container": "x"}),
            "no container `x`",
        ),
        (
            &|pod| {
                let taken = json!({"name": "other", "image": "o", "ports": [{"containerPort": 8000}]});
                pod["spec"]["containers"].as_array_mut().unwrap().push(taken);
            },
            "also declared by the container `other`",
        ),
        (
            &|pod| {
                let mut second = pod["spec"]["containers"][0].clone();
                second["name"] = json!("second");
                pod["spec"]["containers"].as_array_mut().unwrap().push(second);
            },
            "several containers are engines, `vllm` and `second`",
        ),
    ] {
        let text = with(change);
        assert!(text.contains(why), "{why}: {text}");
    }
}

#[test]
fn who_does_not_ask_or_has_it_is_left_alone() {
    let unchanged = |pod: &Value, when| match inject(pod, &settings(), when) {
        Ok(Injection::Unchanged(why)) => why,
        other => panic!("{other:?}"),
    };
    let mut pod = vllm(json!([]));
    pod["metadata"]["labels"] = json!({});
    assert_eq!(unchanged(&pod, When::Labelled), "it does not ask");
    assert!(matches!(inject(&pod, &settings(), When::Asked), Ok(Injection::Done { .. })));
    pod["metadata"]["labels"] = json!({LABEL: "disabled"});
    assert_eq!(unchanged(&pod, When::Asked), "it says no");
    let mut by_hand = vllm(json!([]));
    by_hand["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "colophon", "image": "mine"}));
    assert_eq!(unchanged(&by_hand, When::Labelled), "it has Colophon already");
    for odd in [json!(null), json!(7), json!({}), json!({"metadata": 1, "spec": []}), json!([])] {
        assert_eq!(unchanged(&odd, When::Labelled), "it does not ask");
        assert_eq!(unchanged(&odd, When::Asked), "no engine is known in it");
    }
}

#[test]
fn an_engine_that_listens_elsewhere_already_is_not_told_anything() {
    let mut pod = vllm(json!(null));
    pod["spec"]["containers"][0]["command"] =
        json!(["sh", "-c", "vllm serve m --port 9000 --host 127.0.0.1"]);
    pod["metadata"]["annotations"] = json!({"colophon.dev/engine-port": "9000", "colophon.dev/typo": "1"});
    let before = pod["spec"]["containers"][0]["command"].clone();
    let (pod, warnings) = done_with(&pod, &settings());
    assert_eq!(container(&pod, "vllm")["command"], before);
    assert!(has(&pod, "colophon", "--upstream=http://127.0.0.1:9000"));
    assert!(has(&pod, "colophon", "--listen=0.0.0.0:8000"));
    assert!(warnings.iter().any(|text| text.contains("127.0.0.1:9000")), "{warnings:?}");
    assert!(warnings.iter().any(|text| text.contains("colophon.dev/typo means nothing")), "{warnings:?}");
}

#[test]
fn options_in_a_file_are_taken_where_the_port_is_said_beside_them() {
    let mut pod = vllm(json!(["--config=vllm.yaml"]));
    pod["metadata"]["annotations"] = json!({"colophon.dev/port": "http"});
    let by_annotation = done(&pod);
    assert!(has(&by_annotation, "colophon", "--listen=0.0.0.0:8000"));
    // Options go before the file.
    assert!(has(&by_annotation, "vllm", "--port") && has(&by_annotation, "vllm", "127.0.0.1"));
    let by_option = done(&vllm(json!(["--config", "vllm.yaml", "--port", "8000"])));
    assert!(has(&by_option, "colophon", "--listen=0.0.0.0:8000"));
}

#[test]
fn a_native_sidecar_only_where_both_versions_are_known() {
    let text = "image: i\nkubernetes: {server: '1.34', oldestKubelet: '1.33'}";
    let (pod, _) = done_with(&vllm(json!([])), &Settings::parse(text).unwrap());
    assert_eq!(pod["spec"]["initContainers"][0]["restartPolicy"], "Always");
    assert_eq!(items(&pod["spec"], "containers").len(), 1);
    let old = done(&vllm(json!([])));
    assert!(old["spec"].get("initContainers").is_none());
    assert_eq!(items(&old["spec"], "containers").len(), 2);
}

#[test]
fn a_comma_in_a_probes_path_is_no_end_of_it() {
    let mut pod = vllm(json!([]));
    pod["spec"]["containers"][0]["livenessProbe"] =
        json!({"httpGet": {"path": "/health?of=a,b", "port": 8000}});
    let pod = done(&pod);
    assert!(has(&pod, "colophon", "--probe-path=/health?of=a%2Cb"));
    let path = &container(&pod, "vllm")["livenessProbe"]["httpGet"]["path"];
    assert_eq!(path, "/upstream/health?of=a%2Cb");
}

#[test]
fn a_guaranteed_pod_stays_guaranteed() {
    let mut pod = vllm(json!([]));
    pod["spec"]["containers"][0]["resources"] = json!({
        "requests": {"cpu": "8000m", "memory": "64Gi"},
        "limits": {"cpu": 8, "memory": "65536Mi", "nvidia.com/gpu": 1},
    });
    assert!(is_guaranteed(&pod));
    let pod = done(&pod);
    assert!(is_guaranteed(&pod));
    let resources = &container(&pod, "colophon")["resources"];
    assert_eq!(resources["requests"], resources["limits"]);
    // 250m as a limit would throttle.
    assert_eq!(resources["limits"], json!({"cpu": "1", "memory": "1Gi"}));
    let with = |resources: &str| {
        let mut pod = vllm(json!([]));
        let amounts = json!({"cpu": 8, "memory": "64Gi"});
        pod["spec"]["containers"][0]["resources"] = json!({"limits": amounts});
        let settings = Settings::parse(&format!("image: i\nresources: {resources}")).unwrap();
        container(&done_with(&pod, &settings).0, "colophon")["resources"]["limits"]["cpu"].clone()
    };
    assert_eq!(with("{requests: {cpu: 2}}"), 2);
    assert_eq!(with("{requests: {cpu: 250m}, limits: {cpu: 500m}}"), "500m");
    let burstable = done(&vllm(json!([])));
    assert!(!is_guaranteed(&burstable));
    assert_eq!(container(&burstable, "colophon")["resources"]["limits"], json!({"memory": "1Gi"}));
}

#[test]
fn an_engine_with_a_port_for_each_rank_gets_a_sidecar_for_each() {
    let mut pod = vllm(json!(["--data-parallel-size", "3"]));
    pod["metadata"]["annotations"] = json!({"colophon.dev/ranks": "3"});
    pod["spec"]["containers"][0]["ports"] = json!([{"name": "r0", "containerPort": 8000}, {"name": "r1", "containerPort": 8001},
               {"name": "other", "containerPort": 5555}]);
    pod["spec"]["containers"][0]["readinessProbe"] = json!({"httpGet": {"path": "/health", "port": "r1"}});
    let pod = done(&pod);
    let names: Vec<_> = items(&pod["spec"], "containers").iter().map(name).collect();
    assert_eq!(names, ["vllm", "colophon", "colophon-1", "colophon-2"]);
    for (number, sidecar) in ["colophon", "colophon-1", "colophon-2"].into_iter().enumerate() {
        assert!(has(&pod, sidecar, &format!("--listen=0.0.0.0:{}", 8000 + number)));
        assert!(has(&pod, sidecar, &format!("--upstream=http://127.0.0.1:{}", 4200 + number)));
    }
    assert_eq!(container(&pod, "colophon-1")["ports"][0]["name"], "r1");
    assert_eq!(container(&pod, "vllm")["ports"], json!([{"name": "other", "containerPort": 5555}]));
    // Each rank's probe goes to its own sidecar, which alone is told the path.
    let health = container(&pod, "colophon-1")["ports"][1]["containerPort"].clone();
    assert_eq!(container(&pod, "vllm")["readinessProbe"]["httpGet"]["port"], health);
    assert!(
        has(&pod, "colophon-1", "--probe-path=/health") && !has(&pod, "colophon", "--probe-path=/health")
    );
    let ports: Vec<_> = ["colophon", "colophon-1", "colophon-2"]
        .iter()
        .flat_map(|name| args(&pod, name))
        .filter(|arg| {
            arg.starts_with("--health=") || arg.starts_with("--admin=") || arg.starts_with("--listen=")
        })
        .filter_map(|arg| arg.rsplit(':').next().map(str::to_owned))
        .collect();
    let unlike: std::collections::BTreeSet<_> = ports.iter().collect();
    assert_eq!(unlike.len(), 9, "{ports:?}");
}

#[test]
fn the_number_of_ranks_is_read_where_vllm_opens_a_port_for_each() {
    let sidecars = |args: Value| {
        let pod = done(&vllm(args));
        items(&pod["spec"], "containers").len() - 1
    };
    let each = "--data-parallel-multi-port-external-lb";
    assert_eq!(sidecars(json!([each, "--data-parallel-size", "8", "--data-parallel-size-local", "4"])), 4);
    assert_eq!(sidecars(json!(["-dpm", "-dp=4", "-dpl=2"])), 2);
    // One port, whatever the number of ranks behind it; or one process for each rank, in Pods of their own.
    assert_eq!(sidecars(json!(["--data-parallel-size", "4", "--data-parallel-size-local", "4"])), 1);
    assert_eq!(sidecars(json!(["--data-parallel-size=4", "--data-parallel-rank=1"])), 1);
    let pod = done(&vllm(json!(["-dpm", "-dpl", "2", "--port", "8000"])));
    assert_eq!(args(&pod, "vllm"), ["-dpm", "-dpl", "2", "--port", "4200", "--host", "127.0.0.1"]);
    for (number, sidecar) in ["colophon", "colophon-1"].into_iter().enumerate() {
        assert!(has(&pod, sidecar, &format!("--listen=0.0.0.0:{}", 8000 + number)));
        assert!(has(&pod, sidecar, &format!("--upstream=http://127.0.0.1:{}", 4200 + number)));
    }

    let mut by_variable = vllm(json!(["-dpm", "-dpl", "$(LOCAL)"]));
    by_variable["spec"]["containers"][0]["env"] = json!([{"name": "LOCAL", "value": "3"}]);
    assert_eq!(items(&done(&by_variable)["spec"], "containers").len(), 4);
    for args in [json!(["-dpm"]), json!(["-dpm", "-dpl", "many"]), json!(["-dpm", "-dpl", "65"])] {
        let mut pod = vllm(args);
        assert!(refused(&pod).contains("say it with colophon.dev/ranks"), "{}", refused(&pod));
        pod["metadata"]["annotations"] = json!({"colophon.dev/ranks": "2"});
        assert_eq!(items(&done(&pod)["spec"], "containers").len(), 3);
    }
}

#[test]
fn a_probe_of_the_supervisor_of_ranks_is_refused() {
    for (more, port) in
        [(json!([]), json!(9256)), (json!(["--data-parallel-supervisor-port=9300"]), json!("up"))]
    {
        let mut pod = vllm(json!(["-dpm", "-dpl", "2"]));
        pod["spec"]["containers"][0]["args"].as_array_mut().unwrap().extend(more.as_array().unwrap().clone());
        pod["spec"]["containers"][0]["ports"] = json!([{"name": "up", "containerPort": 9300}]);
        pod["metadata"]["annotations"] = json!({"colophon.dev/port": "8000"});
        pod["spec"]["containers"][0]["livenessProbe"] = json!({"httpGet": {"path": "/health", "port": port}});
        assert!(refused(&pod).contains("supervisor"), "{}", refused(&pod));
    }
}

#[test]
fn a_program_that_only_asks_for_a_path_becomes_an_http_probe() {
    let mut pod = vllm(json!([]));
    let engine = &mut pod["spec"]["containers"][0];
    engine["livenessProbe"] =
        json!({"exec": {"command": ["curl", "-f", "http://localhost:8000/health"]}, "timeoutSeconds": 3});
    engine["readinessProbe"] = json!({"exec": {"command": ["curl", "-f", "http://localhost:9000/health"]}});
    let (pod, warnings) = done_with(&pod, &settings());
    let engine = container(&pod, "vllm");
    let asks = json!({"httpGet": {"path": "/upstream/health", "port": 4190}, "timeoutSeconds": 3});
    assert_eq!(engine["livenessProbe"], asks);
    assert!(has(&pod, "colophon", "--probe-path=/health"));
    // Somebody else's port stays as it is.
    assert!(engine["readinessProbe"]["exec"].is_object());
    let about =
        |kind: &str, what: &str| warnings.iter().any(|line| line.contains(kind) && line.contains(what));
    assert!(about("livenessProbe", "is an httpGet of the same now"), "{warnings:?}");
    assert!(about("readinessProbe", "left as it is"), "{warnings:?}");
}

#[test]
fn log_stores_policy_and_keys_reach_the_sidecar() {
    let text = "
image: i
imagePullSecrets: [pull]
log: {urls: [https://log-0:4180, https://log-1:4180], vkey: log/1+abc, ca: PEM}
store: s3://records/x
private: s3://openings/x
credentialsSecret: s3
keysSecret: keys
policyConfigMap: clinic
extraArgs: [--durability=power]
";
    let (pod, warnings) = done_with(&vllm(json!([])), &Settings::parse(text).unwrap());
    for word in [
        "--log-url=https://log-0:4180,https://log-1:4180",
        "--log-vkey=log/1+abc",
        "--log-ca=/var/run/colophon/log/ca.pem",
        "--store=s3://records/x",
        "--private=s3://openings/x",
        "--token-key=/var/run/colophon/keys/token-key",
        "--policy=/etc/colophon/policy",
        "--durability=power",
    ] {
        assert!(has(&pod, "colophon", word), "{word}");
    }
    assert_eq!(pod["metadata"]["annotations"]["colophon.dev/log-ca"], "PEM");
    assert_eq!(pod["spec"]["imagePullSecrets"], json!([{"name": "pull"}]));
    let volumes: Vec<_> = items(&pod["spec"], "volumes").iter().map(name).collect();
    assert_eq!(
        volumes,
        ["colophon-data", "colophon-state", "colophon-policy", "colophon-log", "colophon-keys"]
    );
    let mounts: Vec<_> = items(container(&pod, "colophon"), "volumeMounts").iter().map(name).collect();
    assert_eq!(mounts, volumes);
    assert!(warnings.is_empty(), "{warnings:?}");
    let mut own = vllm(json!([]));
    own["metadata"]["annotations"] =
        json!({"colophon.dev/policy": "own", "colophon.dev/data-claim": "claim"});
    let (pod, warnings) = done_with(&own, &Settings::parse(text).unwrap());
    assert_eq!(pod["spec"]["volumes"][2]["configMap"]["name"], "own");
    assert_eq!(pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"], "claim");
    assert!(warnings[0].contains("fsGroup"), "{warnings:?}");
}

#[test]
fn two_hundred_annotations_and_a_generated_name_are_kept() {
    let mut pod = vllm(json!([]));
    pod["metadata"]["generateName"] = json!("llm-");
    for number in 0..200 {
        pod["metadata"]["annotations"][format!("example.com/a~{number}")] = json!("v");
    }
    pod["spec"]["ephemeralContainers"] = json!([{"name": "debug", "image": "busybox"}]);
    let after = done(&pod);
    assert_eq!(after["metadata"]["annotations"].as_object().unwrap().len(), 201);
    assert_eq!(after["metadata"]["generateName"], "llm-");
    assert_eq!(after["spec"]["ephemeralContainers"], pod["spec"]["ephemeralContainers"]);
    let longest = serde_json::to_string(&patch::between(&pod, &after)).unwrap().len();
    assert!(longest < 8192, "{longest} bytes: the patch names what changed, nothing else");
}

fn probe() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!({"httpGet": {"path": "/health", "port": 8000}})),
        Just(json!({"httpGet": {"port": "http"}})),
        Just(json!({"tcpSocket": {"port": 8000}, "periodSeconds": 3})),
        Just(json!({"exec": {"command": ["true"]}})),
        Just(json!({"exec": {"command": ["curl", "-f", "http://127.0.0.1:8000/health"]}})),
        Just(json!({"httpGet": {"port": 9090}})),
        Just(Value::Null),
    ]
}

fn engine() -> impl Strategy<Value = Value> {
    let args = prop::collection::vec(
        prop_oneof![Just("--port=8000"), Just("--host"), Just("0.0.0.0"), Just("--model"), Just("m")],
        0..5,
    );
    let images = prop_oneof![
        Just("vllm/vllm-openai"),
        Just("vllm/vllm-openai@sha256:00"),
        Just("ghcr.io/ggml-org/llama.cpp:server"),
        Just("mine"),
    ];
    (args, images, probe(), probe(), any::<bool>()).prop_map(|(args, image, ready, live, port)| {
        let mut container = json!({"name": "e", "image": image, "args": args, "readinessProbe": ready, "livenessProbe": live});
        if port {
            container["ports"] = json!([{"name": "http", "containerPort": 8000}, {"containerPort": 4200}]);
        }
        container
    })
}

fn other() -> impl Strategy<Value = Value> {
    (0..2000u16, any::<bool>()).prop_map(|(port, named)| {
        let mut other =
            json!({"name": format!("o{port}"), "image": "o", "ports": [{"containerPort": 3500 + port}]});
        if named {
            other["args"] = json!(["--port", "1"]);
        }
        other
    })
}

proptest! {
    #[test]
    fn any_pod(
        engine in engine(),
        others in prop::collection::btree_map(0..20usize, other(), 0..3),
        at in 0..3usize,
        native in any::<bool>(),
        ranks in 1..3u16,
    ) {
        let others: Vec<_> = others.into_values().collect();
        let mut containers = others.clone();
        containers.insert(at.min(others.len()), engine);
        let pod = json!({
            "metadata": {"labels": {LABEL: "enabled"}, "annotations": {"colophon.dev/ranks": ranks.to_string()}},
            "spec": {"containers": containers, "volumes": [{"name": "v", "emptyDir": {}}]},
        });
        let cluster = if native { "kubernetes: {server: '1.34', oldestKubelet: '1.34'}" } else { "" };
        let settings = Settings::parse(&format!("image: i\n{cluster}")).unwrap();
        let Ok(Injection::Done { pod: after, .. }) = inject(&pod, &settings, When::Labelled) else { return Ok(()) };
        // Somebody else's RFC 6902 makes the same of the patch.
        let patch = serde_json::to_value(patch::between(&pod, &after)).unwrap();
        let patch: json_patch::Patch = serde_json::from_value(patch).unwrap();
        let mut patched = pod.clone();
        json_patch::patch(&mut patched, &patch).unwrap();
        prop_assert_eq!(&patched, &after);
        // A second time nothing happens.
        prop_assert_eq!(
            inject(&after, &settings, When::Labelled),
            Ok(Injection::Unchanged("it has Colophon already"))
        );
        // Other containers and volumes are as they were, in their order.
        let kept: Vec<_> = items(&after["spec"], "containers").iter()
            .filter(|c| c["name"] != "e" && !c["name"].as_str().unwrap().starts_with("colophon")).cloned().collect();
        prop_assert_eq!(kept, others);
        prop_assert_eq!(&after["spec"]["volumes"][0], &pod["spec"]["volumes"][0]);
        // No two listeners meet, and nobody's declared port is taken.
        let declared: Vec<u16> = items(&pod["spec"], "containers").iter().flat_map(ports::declared).collect();
        let mut listening = std::collections::BTreeSet::new();
        for sidecar in items(&after["spec"], "containers").iter().chain(items(&after["spec"], "initContainers")) {
            if !sidecar["name"].as_str().unwrap().starts_with("colophon") { continue }
            for flag in ["--listen=", "--health=", "--admin=", "--upstream="] {
                let word = crate::value::words(sidecar, "args").into_iter().find(|arg| arg.starts_with(flag)).unwrap();
                let port: u16 = word.rsplit(':').next().unwrap().parse().unwrap();
                prop_assert!(listening.insert(port), "{port} twice");
                prop_assert!(flag == "--listen=" || !declared.contains(&port), "{port} is somebody's");
            }
        }
    }
}
