//! Provers for tests: circuits, files for `--provers`, and a shell script that is as honest as a script can be.

use std::fs;
use std::path::PathBuf;

use colophon_receipt::merkle::sha256;
use serde_json::json;

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
        looked="\"circuit\":\"$(digest vk)\",\"srs\":\"$(digest srs)\""
        echo "{\"result\":{\"accepted\":true,\"setup\":\"ceremony\",$looked,\"claims\":{\"score\":[1]}}}"
    else
        echo '{"error":{"refused":true,"message":"it proves something else"}}'
    fi ;;
*) echo '{"result":{"prover":"script 1","circuits":[],"hides":false}}' ;;
esac
"#;

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
