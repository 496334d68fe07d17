//! Provers for tests: circuits, files for `--provers`, and a shell script that is as honest as a script can be.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use colophon_receipt::evidence::{EvidenceLeaf, Verdict};
use colophon_receipt::merkle::sha256;
use colophon_receipt::receipt::Receipt;
use serde_json::{Value, json};

use crate::client::{get, post, post_bytes, send};
use crate::colophon::{self, Colophon};
use crate::receipts::Fetched;
use crate::upstream::Upstream;
use crate::wire::Message;
use crate::{PATIENCE, paths, process, wait_for};

/// Training, compiling or proving takes up to a minute of a CPU, which may be shared.
pub const LONG: Duration = Duration::from_secs(1200);

/// Proves by writing down the record and the features, and verifies by comparing them.
pub const SCRIPT: &str = r#"
read -r call
digest() { sha256sum < "$(dirname "$0")/circuit/$1" | cut -c 1-64; }
said=$(expr "$call" : '.*"features":\({[^}]*}\)').$(expr "$call" : '.*"record":"\([0-9a-f]*\)"')
case $call in
*'"op":"prove"'*)
    echo '{"progress":{"stage":"witness","percent":40}}'
    printf %s "$said" > artefact
    echo '{"result":{}}' ;;
*'"op":"verify"'*)
    if [ "$(cat artefact)" = "$said" ]; then
        looked="\"circuit\":\"$(digest vk)\",\"settings\":\"$(digest settings.json)\",\"srs\":\"$(digest srs)\""
        echo "{\"result\":{\"accepted\":true,\"setup\":\"ceremony\",$looked,\"claims\":{\"score\":[1]}}}"
    else
        echo '{"error":{"refused":true,"message":"it proves something else"}}'
    fi ;;
*) echo '{"result":{"prover":"script 1","circuits":[],"hides":false}}' ;;
esac
"#;

/// Bytes of a contract that public chains deploy, at most (EIP-170).
pub const DEPLOYED: u64 = 24_576;

/// The model of the script's circuit.
pub const MODEL: &[u8] = b"weights of the script";
/// Its verifying key.
const KEY: &[u8] = b"verifying key of the script";
/// Its structured reference string.
const SRS: &[u8] = b"structured reference string of the script";

/// The digest of the script's circuit.
pub fn circuit() -> String {
    digest(KEY)
}

fn digest(bytes: &[u8]) -> String {
    hex::encode(sha256(bytes))
}

/// A folder with the circuit and a file for `--provers` whose prover `script` runs this text.
pub struct Scripted {
    folder: tempfile::TempDir,
}

impl Scripted {
    /// `more` is YAML of the file beside its provers.
    ///
    /// # Panics
    /// When nothing can be written.
    pub fn new(script: &str, more: &str) -> Scripted {
        let folder = tempfile::tempdir().expect("a folder");
        let circuit = json!({
            "format": "colophon-ezkl-circuit-v1",
            "name": "script",
            "circuit": circuit(),
            "model": digest(MODEL),
            "settings": digest(b"{}"),
            "srs": digest(SRS),
            "setup": "ceremony",
            "quantisation": "none",
            "features": ["status", "prompt_tokens", "response_size"],
        });
        let directory = folder.path().join("circuit");
        fs::create_dir(&directory).expect("a folder");
        for (name, bytes) in [("vk", KEY), ("srs", SRS), ("settings.json", b"{}")] {
            fs::write(directory.join(name), bytes).expect("a file of the circuit");
        }
        fs::write(directory.join("circuit.json"), circuit.to_string()).expect("the circuit");
        let scripted = Scripted { folder };
        fs::write(scripted.script(), format!("#!/bin/sh\n{script}")).expect("the script");
        let provers = format!(
            "provers:\n- name: script\n  program: [/bin/sh, ./prover.sh]\n  circuit: circuit\n  limits: {{cpuSeconds: 20, seconds: 20}}\n{more}"
        );
        fs::write(scripted.file(), provers).expect("the provers");
        scripted
    }

    /// As [`Scripted::new`], of a language model of a few words: its circuit is about token ids.
    ///
    /// # Panics
    /// When nothing can be written.
    pub fn language(script: &str, more: &str) -> Scripted {
        let scripted = Scripted::new(script, more);
        let words = ["<unk>", "<user>", "<assistant>", "<end>", "ask", "say"];
        let vocabulary: serde_json::Map<String, Value> =
            words.iter().zip(0..).map(|(word, id)| ((*word).to_owned(), json!(id))).collect();
        let special = |id: usize| {
            json!({"id": id, "content": words[id], "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true})
        };
        let tokenizer = json!({
            "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
            "decoder": null, "added_tokens": (0..4).map(special).collect::<Vec<_>>(),
            "pre_tokenizer": {"type": "WhitespaceSplit"},
            "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"},
        });
        let template = "{% for m in messages %}<user> {{ m.content }} {% endfor %}<assistant>";
        let config = json!({"chat_template": template, "eos_token": {"content": "<end>"}});
        let model = scripted.model();
        fs::create_dir(&model).expect("a folder");
        fs::write(model.join("tokenizer.json"), tokenizer.to_string()).expect("the tokenizer");
        fs::write(model.join("tokenizer_config.json"), config.to_string()).expect("the template");
        let path = scripted.circuit().join("circuit.json");
        let mut circuit: Value =
            serde_json::from_slice(&fs::read(&path).expect("the circuit")).expect("JSON");
        let members = circuit.as_object_mut().expect("an object");
        members.remove("features");
        members.insert("tokenizer".into(), digest(tokenizer.to_string().as_bytes()).into());
        members.insert("template".into(), digest(config.to_string().as_bytes()).into());
        members.insert("decode".into(), "greedy".into());
        fs::write(&path, circuit.to_string()).expect("the circuit");
        let provers = fs::read_to_string(scripted.file()).expect("the provers");
        let with = "  circuit: circuit\n  model: model\n";
        fs::write(scripted.file(), provers.replace("  circuit: circuit\n", with)).expect("the provers");
        scripted
    }

    /// A language model's folder.
    pub fn model(&self) -> PathBuf {
        self.folder.path().join("model")
    }

    /// The file for `--provers`.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("provers.yaml")
    }

    /// The circuit directory.
    pub fn circuit(&self) -> PathBuf {
        self.folder.path().join("circuit")
    }

    /// Writes another SRS, and a description that says so.
    ///
    /// # Panics
    /// When nothing can be written.
    pub fn other_srs(&self) {
        fs::write(self.circuit().join("srs"), b"another").expect("the SRS");
        let path = self.circuit().join("circuit.json");
        let text = fs::read_to_string(&path).expect("the circuit");
        fs::write(&path, text.replace(&digest(SRS), &digest(b"another"))).expect("the circuit");
    }

    /// Has the proofs made elsewhere, at `url`; the script only verifies.
    ///
    /// # Panics
    /// When nothing can be written.
    pub fn elsewhere(&self, url: &str) {
        fs::write(self.folder.path().join("token"), "a token\n").expect("the token");
        let provers = fs::read_to_string(self.file()).expect("the provers");
        let elsewhere = format!("  url: {url}\n  tokenFile: ./token\n  verifier: [");
        fs::write(self.file(), provers.replace("  program: [", &elsewhere)).expect("the provers");
    }

    /// The script: what it says is what the next call runs.
    pub fn script(&self) -> PathBuf {
        self.folder.path().join("prover.sh")
    }

    /// A reader's `--prover-cmd`.
    pub fn command(&self) -> String {
        format!("/bin/sh {}", self.script().display())
    }
}

/// The policy whose rule `decided` asks for a proof of each chat; `more` is YAML of the rule.
pub fn policy(prover: &str, more: &str) -> String {
    format!(
        "\
apiVersion: colophon.dev/v1alpha1
kind: ProvenancePolicy
metadata: {{name: proven}}
spec:
  defaults: {{level: sign, failurePolicy: Ignore}}
  provers: [{{name: {prover}, backend: exec}}]
  rules:
  - name: decided
    matches: [{{apis: [chat]}}]
    level: zk
    prover: {prover}
{more}"
    )
}

/// A trust file that also names a circuit.
///
/// # Panics
/// When the proxy's own is no JSON object.
pub fn trusting(keys: &[u8], name: &str, circuit: &str) -> Vec<u8> {
    let mut trust: serde_json::Value = serde_json::from_slice(keys).expect("JSON");
    trust["circuits"] = json!([{"name": name, "circuit": circuit}]);
    serde_json::to_vec(&trust).expect("JSON")
}

/// A model server with one answer, which says how many tokens it took.
pub fn upstream() -> Upstream {
    let answer =
        r#"{"id":"x","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}"#;
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length:";
    Upstream::answering(format!("{head} {}\r\n\r\n{answer}", answer.len()))
}

/// A proxy whose rule `decided` asks the script for a proof of each chat.
pub fn start(upstream: &Upstream, scripted: &Scripted, rule: &str) -> Colophon {
    Colophon::start(&upstream.url(), |options| {
        options.policy = Some(policy("script", rule));
        options.arg(&["--provers", &scripted.file().display().to_string()]);
    })
}

/// Whoever works for the queue from elsewhere, by hand.
pub struct ByHand<'a> {
    colophon: &'a Colophon,
    token: String,
}

impl ByHand<'_> {
    /// With the token of the proxy's data folder.
    ///
    /// # Panics
    /// When there is none.
    pub fn new(colophon: &Colophon) -> ByHand<'_> {
        let access = fs::read(colophon.data().join("keys/admin")).expect("the token's file");
        let access: Value = serde_json::from_slice(&access).expect("JSON");
        ByHand { colophon, token: access["token"].as_str().expect("a token").to_owned() }
    }

    /// The headers of its requests.
    pub fn headers(&self) -> String {
        format!("Authorization: Bearer {}\r\nConnection: close\r\n", self.token)
    }

    /// Asks the admin side.
    pub fn post(&self, target: &str, body: &Value) -> Message {
        send(self.colophon.admin(), &post_bytes(target, &self.headers(), &body.to_string()))
    }

    /// Asks it without a body.
    pub fn ask(&self, method: &str, target: &str) -> Message {
        let head = format!("{method} {target} HTTP/1.1\r\nHost: x\r\n{}\r\n", self.headers());
        send(self.colophon.admin(), head.as_bytes())
    }

    /// A job, once there is one.
    ///
    /// # Panics
    /// When there is none for long.
    pub fn lease(&self) -> Value {
        let ask = json!({"worker": "by hand", "backends": ["script"]});
        let leased = wait_for(PATIENCE, || {
            let answer = self.post("/v1/proofs/lease", &ask);
            (answer.status() == 200).then(|| serde_json::from_slice(&answer.body).expect("a job"))
        });
        leased.unwrap_or_else(|| panic!("{}", self.colophon.log()))
    }
}

/// What a worker says of an artefact.
pub fn artefact(bytes: &[u8]) -> Value {
    let digest = hex::encode(sha256(bytes));
    json!({"digest": digest, "bytes": bytes.len(), "cpu_seconds": 1.0, "prover": "by hand", "hides": false})
}

/// A chat's answer.
pub fn chat(colophon: &Colophon) -> Message {
    post(colophon.listen(), "/v1/chat/completions", r#"{"model":"m","messages":[]}"#)
}

/// The receipt once it has evidence.
///
/// # Panics
/// When none comes.
pub fn settled(colophon: &Colophon, answer: &Message) -> Fetched {
    let found = wait_for(PATIENCE * 2, || {
        let receipt = Fetched::of(answer, colophon.listen());
        (!receipt.receipt().evidence.is_empty()).then_some(receipt)
    });
    found.unwrap_or_else(|| {
        panic!("no evidence; {}\n{}", get(colophon.admin(), "/metrics").text(), colophon.log())
    })
}

/// What the first evidence leaf of a receipt says.
///
/// # Panics
/// When there is none.
pub fn verdict(receipt: &Receipt) -> Verdict {
    EvidenceLeaf::decode(&receipt.evidence[0].leaf.0).expect("an evidence leaf").verdict
}

/// The record's id, as the answer names it.
///
/// # Panics
/// When it names none.
pub fn record(answer: &Message) -> String {
    let header = answer.header("colophon-record").expect("a record");
    header.split('"').nth(1).expect("a quoted id").to_owned()
}

/// Runs `colophon …` on the data folder of a proxy: exit code, and what it said.
pub fn command(colophon: &Colophon, args: &[&str]) -> (i32, String) {
    let data = colophon.data().display().to_string();
    colophon::run_within(PATIENCE * 4, &[args, &["--data", data.as_str()]].concat(), &[])
}

/// A file of `examples/`.
pub fn example(name: &str) -> PathBuf {
    paths::root().join("examples").join(name)
}

/// Runs a Python program of `examples/` to its end.
///
/// # Panics
/// When it fails.
pub fn python(script: &str, arguments: &[&Path]) {
    let mut command = Command::new(paths::python());
    let out = process::run(command.arg(example(script)).args(arguments), LONG);
    assert!(out.status.success(), "{script}: {}", String::from_utf8_lossy(&out.stderr));
}

/// What others make of the proof in a receipt, exported into `to`: `circuit` is its directory among `circuits`. Both contracts, the
/// circuit's own and the one for any, accept it in an EVM, and none whose proof, first or last public input is bent; the latter only under
/// this circuit's key, once that is registered, and public chains deploy it. This returns what else `tests/evm/check.mjs` says.
///
/// # Panics
/// When that is not so, or set-up has not been done.
pub fn exported(receipt: &Path, circuits: &Path, circuit: &str, to: &Path) -> Value {
    python("provers/ezkl/export.py", &[receipt, Path::new("--circuits"), circuits, to]);
    let packages = paths::installed("evm").expect("no packages: run `cargo xtask setup`");
    let mut command = Command::new("node");
    command.arg(paths::tests("evm/check.mjs")).arg(to).arg(circuits.join(circuit)).arg(packages);
    let out = process::run(&mut command, LONG);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let said: Value = serde_json::from_slice(&out.stdout).expect("JSON");
    for contract in ["contract", "reusable"] {
        assert_eq!(said[contract]["accepted"], true, "{said}");
        assert_eq!(said[contract]["bent"], json!({"proof": false, "found": false, "bound": false}), "{said}");
        eprintln!("{contract}: {} bytes, {} gas", said[contract]["bytes"], said[contract]["gas"]);
    }
    let reusable = &said["reusable"];
    assert_eq!((&reusable["before"], &reusable["key"]), (&json!(false), &json!(false)), "{said}");
    assert_eq!(reusable["digest"], true, "it says under which key: {said}");
    assert!(reusable["bytes"].as_u64().is_some_and(|bytes| bytes <= DEPLOYED), "{said}");
    said
}
