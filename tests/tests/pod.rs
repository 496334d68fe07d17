//! A Pod that the injector has changed, run as kubelet runs it: llama.cpp and the image in two containers with one network, in
//! order, with their probes, and ended in order. Nothing here knows the sidecar's options: they come from the Pod.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use colophon_tests::client::{Client, get, post, post_bytes};
use colophon_tests::colophon::{self, SIGN_ALL};
use colophon_tests::injector::filter;
use colophon_tests::pod::{self, Around, Image, Pod};
use colophon_tests::receipts::Fetched;
use colophon_tests::wire::End;
use colophon_tests::{PATIENCE, image, llama, paths, process};
use serde_json::Value;

/// As people write it: llama.cpp's own image, a claim with the model, probes of the port of clients.
const DEPLOYMENT: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: llama, namespace: clinic}
spec:
  selector: {matchLabels: {app: llama}}
  template:
    metadata:
      labels: {app: llama, colophon.dev/inject: enabled}
      annotations: {colophon.dev/policy: sign-all}
    spec:
      terminationGracePeriodSeconds: 20
      containers:
      - name: server
        image: ghcr.io/ggml-org/llama.cpp:server
        args: [-m, /models/model.gguf, --alias, tiny-random, --host, 0.0.0.0, --port, "8080", --metrics]
        ports: [{name: http, containerPort: 8080}]
        startupProbe: {httpGet: {path: /health, port: http}, periodSeconds: 1, failureThreshold: 120}
        livenessProbe: {tcpSocket: {port: http}, periodSeconds: 10}
        readinessProbe: {httpGet: {path: /v1/models, port: http}, periodSeconds: 2}
        resources: {limits: {memory: 1Gi}}
        volumeMounts: [{name: models, mountPath: /models, readOnly: true}]
      volumes:
      - {name: models, persistentVolumeClaim: {claimName: models}}
"#;
const SETTINGS: &str =
    "image: registry.example/colophon:tested\nkubernetes: {server: v1.34.4, oldestKubelet: v1.34.0}\n";
const CLIENTS: u16 = 8080;

/// The Deployment's Pod, with the name that a ReplicaSet would give it.
fn injected(folder: &Path) -> Value {
    let (deployment, settings) = (folder.join("deployment.yaml"), folder.join("settings.yaml"));
    fs::write(&deployment, DEPLOYMENT).expect("a file");
    fs::write(&settings, SETTINGS).expect("a file");
    let (code, printed, said) = filter(&deployment, &settings, "json");
    assert_eq!(code, Some(0), "{said}");
    let printed: Value = serde_json::from_str(&printed).expect("JSON");
    let mut pod = printed["spec"]["template"].clone();
    pod["metadata"]["name"] = "llama-6d4b-x2x".into();
    pod["metadata"]["namespace"] = "clinic".into();
    pod
}

/// llama.cpp as an image: this machine's Python with xllamacpp, at its own paths.
fn engine(root: PathBuf) -> Image {
    fs::create_dir_all(&root).expect("a folder");
    let environment = paths::installed("python").and_then(|path| path.canonicalize().ok()).expect("set-up");
    let python = environment.join("bin/python");
    let real = python.canonicalize().expect("a Python");
    let base = real.parent().and_then(Path::parent).expect("its prefix").to_owned();
    let program = paths::tests("llama").canonicalize().expect("the server's folder");
    let mut of_machine: Vec<PathBuf> = ["/usr", "/lib", "/lib64", "/bin"].map(PathBuf::from).into();
    of_machine.extend([environment, program.clone()]);
    if !base.starts_with("/usr") {
        of_machine.push(base);
    }
    let text = |path: PathBuf| path.display().to_string();
    Image { root, entrypoint: vec![text(python), text(program.join("llama-server"))], of_machine }
}

fn around(folder: &Path, colophon_image: &Path) -> Around {
    let models = folder.join("models");
    fs::create_dir_all(&models).expect("a folder");
    llama::write_model(&models.join("model.gguf"));
    let (_, configuration) = image::read(&colophon_image.join("oci"));
    let entrypoint = serde_json::from_value(configuration["config"]["Entrypoint"].clone()).expect("words");
    let root = image::unpack(colophon_image, &folder.join("colophon"));
    let colophon = Image { root, entrypoint, of_machine: Vec::new() };
    Around {
        images: BTreeMap::from([
            ("registry.example/colophon:tested".into(), colophon),
            ("ghcr.io/ggml-org/llama.cpp:server".into(), engine(folder.join("engine"))),
        ]),
        claims: BTreeMap::from([("models".into(), models)]),
        config_maps: BTreeMap::from([(
            "sign-all".into(),
            BTreeMap::from([("policy.yaml".into(), SIGN_ALL.into())]),
        )]),
    }
}

/// What the kernel says of a process: the value of a line of its status.
fn status(pid: u32, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
    line.unwrap_or_else(|| panic!("no {name} in {status}"))
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .into()
}

fn assert_confined(pid: u32) {
    let is = |name: &str, value: &str| assert_eq!(status(pid, name), value, "{name}");
    is("Uid", "65532");
    is("Gid", "65532");
    is("NoNewPrivs", "1");
    is("Seccomp", "2");
    for set in ["CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        is(set, "0000000000000000");
    }
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).expect("its mounts");
    let of = |path: &str| {
        let mut lines = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        lines.find(|words| words[4] == path).unwrap_or_else(|| panic!("no {path}: {mounts}"))[5].to_owned()
    };
    assert!(of("/").split(',').any(|option| option == "ro"), "{mounts}");
    assert!(of("/var/lib/colophon/data").split(',').any(|option| option == "rw"), "{mounts}");
}

#[test]
fn an_injected_pod_runs_and_every_exchange_has_a_receipt() {
    let test = "a Pod that runs";
    let Some(colophon_image) = image::installed(test) else { return };
    if !pod::can_run(test) {
        return;
    }
    let folder = tempfile::Builder::new().prefix("colophon-").tempdir().expect("a temporary folder");
    let mut pod = Pod::new(injected(folder.path()), around(folder.path(), &colophon_image));
    assert_eq!(pod.order(), ["colophon", "server"]);

    // The sidecar starts alone: its startup probe does not wait for an engine that starts after it.
    pod.start("colophon");
    let health = pod.port("colophon", "colophon-health");
    assert_eq!(pod.port("colophon", "http"), CLIENTS);
    assert_eq!(get(pod.at(health), "/upstream").status(), 503);
    let pid = pod.container("colophon").pid();
    assert_confined(pid);
    pod.start("server");
    pod.until_ready(PATIENCE);
    for name in ["colophon", "server"] {
        assert!(pod.answers(name, "livenessProbe"), "{name}");
    }
    // Nobody gets past it: the engine and the admin port are on 127.0.0.1.
    for port in [4200, 4181] {
        assert!(!pod.listens(port), "{port} can be reached from outside");
    }

    let to = pod.at(CLIENTS);
    let trust = folder.path().join("trust.json");
    fs::write(&trust, get(to, "/.well-known/colophon/keys").body).expect("the trust file");
    let chat = r#"{"model":"tiny-random","messages":[{"role":"user","content":"Once"}],"max_tokens":8,"temperature":0"#;
    let requests = [
        ("/v1/chat/completions", format!("{chat}}}"), 200),
        ("/v1/chat/completions", format!("{chat},\"stream\":true}}"), 200),
        ("/v1/completions", r#"{"model":"tiny-random","prompt":"Once upon","max_tokens":8}"#.into(), 200),
        ("/v1/chat/completions", "{".into(), 400),
    ];
    for (path, body, expected) in &requests {
        let answer = post(to, path, body);
        assert_eq!((answer.status(), &answer.end), (*expected, &End::Complete), "{path}: {}", answer.text());
        Fetched::of(&answer, to).assert_verifies(to, body.as_bytes(), &answer.body);
    }

    // One is under way when the Pod ends. kubelet asks the engine first, and the sidecar once the engine is gone.
    let mut client = Client::connect(to);
    let long = r#"{"prompt":"Once","n_predict":7000,"ignore_eos":true,"stream":true}"#;
    assert!(client.send(&post_bytes("/completion", "", long)));
    let mut cut = client.wire().response_head();
    assert_eq!(cut.status(), 200);
    let grace = pod.grace();
    pod.container("server").terminate();
    pod.container("server").wait(grace);
    client.wire().response_body(&mut cut, "POST");
    assert_ne!(cut.end, End::Complete, "the engine's end was to cut this answer");
    assert_eq!(get(pod.at(health), "/livez").status(), 200, "the sidecar outlives the engine");
    assert!(!pod.answers("server", "livenessProbe"));
    pod.container("colophon").terminate();
    let ended = pod.container("colophon").wait(grace);
    assert!(ended.success(), "{ended}:\n{}", pod.container("colophon").log());

    // What its disk has: a receipt for each of them, the one that was cut too.
    let (data, export) = (pod.volume("colophon-data"), folder.path().join("export"));
    let text = |path: &Path| path.display().to_string();
    let (code, said) =
        colophon::run(&["receipt", "export", &text(&data), "-o", &text(&export), "--trust", &text(&trust)]);
    let all = requests.len() + 1;
    assert!(code == 0 && said.contains(&format!("{all} receipts of {all} recorded")), "{code} {said}");
    let mut verify = Command::new(paths::program("colophon-verify"));
    let out =
        process::run(verify.arg(&export).arg("--trust").arg(&trust), PATIENCE + Duration::from_secs(30));
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
}
