//! Which command lines are engines, and what is read from options and variables.

use serde_json::json;

use super::*;

fn started_by(line: &[&str]) -> Option<Kind> {
    Kind::of(&json!({"name": "c", "image": "example/mine", "command": line}))
}

#[test]
fn an_engine_is_what_a_line_starts() {
    for (line, kind) in [
        (&["vllm", "serve", "m"] as &[&str], Kind::Vllm),
        (&["/usr/local/bin/vllm", "serve", "m"], Kind::Vllm),
        (&["python3", "-u", "-m", "vllm.entrypoints.openai.api_server", "--model", "m"], Kind::Vllm),
        (&["/opt/venv/bin/python3.12", "/usr/local/bin/vllm", "serve"], Kind::Vllm),
        (&["tini", "-g", "--", "env", "A=b", "vllm", "serve"], Kind::Vllm),
        (&["bash", "-lc", "cd /models && exec vllm serve \\\n m"], Kind::Vllm),
        (&["sh", "-c", "set -e\nif true; then HF_HOME=/x vllm serve m; fi"], Kind::Vllm),
        (&["text-generation-launcher", "-p", "80"], Kind::Tgi),
        (&["/app/llama-server", "-m", "m.gguf"], Kind::LlamaCpp),
        (&["python", "-m", "sglang.launch_server"], Kind::Sglang),
        (&["sglang", "serve", "m"], Kind::Sglang),
        (&["/opt/nvidia/nvidia_entrypoint.sh", "sglang", "serve"], Kind::Sglang),
    ] {
        assert_eq!(started_by(line), Some(kind), "{line:?}");
    }
    // The image's own entrypoint starts what its arguments name, or is an engine by its image.
    let args = |image: &str, args: &[&str]| Kind::of(&json!({"name": "c", "image": image, "args": args}));
    assert_eq!(args("lmsysorg/sglang:v0.5", &["python3", "-m", "sglang.launch_server"]), Some(Kind::Sglang));
    assert_eq!(args("vllm/vllm-openai", &["--model", "/models/llama-server"]), Some(Kind::Vllm));
}

#[test]
fn other_uses_of_their_names_are_no_engines() {
    for line in [
        &["vllm", "bench", "serve", "--base-url", "http://vllm"] as &[&str],
        &["vllm", "chat"],
        &["vllm", "run-batch", "-i", "in", "serve"],
        &["vllm"],
        &["python", "-m", "http.server", "--directory", "/data/vllm"],
        &["python3", "-m", "vllm.entrypoints.openai.run_batch"],
        &["exporter", "--models", "/models/vllm", "serve"],
        &["cp", "-r", "/src/sglang", "serve"],
        &["sh", "-c", "ls /models/vllm serve; echo vllm serve"],
        &["sh", "-c"],
        &["bash", "/scripts/vllm", "serve"],
        &["env", "A=vllm"],
        &["sglang", "bench_serving"],
        &["tini", "--"],
        &["pythonista", "vllm", "serve"],
    ] {
        assert_eq!(started_by(line), None, "{line:?}");
    }
}

#[test]
fn underscores_are_read_as_dashes_in_long_options_only() {
    assert!(is_option("--ssl_keyfile=k", "--ssl-keyfile") && is_option("--ssl_keyfile", "--ssl-keyfile"));
    assert!(!is_option("--ssl-keyfile-password", "--ssl-keyfile") && !is_option("_p", "-p"));
    let container = json!({"command": ["vllm", "serve", "m", "--ssl_keyfile", "k"]});
    assert_eq!(Kind::Vllm.serves_tls(&container), Some("--ssl-keyfile"));
}

#[test]
fn variables_that_make_it_serve_tls_count_and_empty_ones_do_not() {
    let with = |entry: Value| json!({"command": ["llama-server"], "env": [entry]});
    let name = "LLAMA_ARG_SSL_KEY_FILE";
    assert_eq!(Kind::LlamaCpp.serves_tls(&with(json!({"name": name, "value": "/k"}))), Some(name));
    let elsewhere = json!({"name": name, "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}});
    assert_eq!(Kind::LlamaCpp.serves_tls(&with(elsewhere)), Some(name));
    assert_eq!(Kind::LlamaCpp.serves_tls(&with(json!({"name": name, "value": ""}))), None);
    assert_eq!(Kind::Vllm.serves_tls(&with(json!({"name": name, "value": "/k"}))), None);
}
