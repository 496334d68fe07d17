//! A model of a few files, and a model authority.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;

use crate::{colophon, process};

/// A model, an authority and its key.
pub struct Bench {
    folder: TempDir,
}

impl Bench {
    /// Makes them.
    ///
    /// # Panics
    /// As all here, when something cannot be done.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Bench {
        let bench = Bench { folder: tempfile::tempdir().expect("a temporary folder") };
        fs::create_dir_all(bench.path("model/tokenizer")).unwrap();
        for (name, bytes) in [
            ("config.json", b"{}".to_vec()),
            ("model-1.safetensors", vec![1; 3 << 20]),
            ("model.safetensors.index", b"index".to_vec()),
            ("tokenizer/vocab.json", b"{\"a\": 0}".to_vec()),
            ("tokenizer.json", b"{}".to_vec()),
            ("empty", Vec::new()),
            (".gitattributes", b"* text".to_vec()),
            ("é ü.txt", b"name".to_vec()),
        ] {
            fs::write(bench.path("model").join(name), bytes).unwrap();
        }
        bench.does(&["authority", "authority.json", "--name", "Model Lab", "--key", "key.pem"], 0);
        bench
    }

    /// A path in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs `colophon model …` in the folder; what it said.
    pub fn does(&self, args: &[&str], code: i32) -> String {
        let mut command = colophon::command(&[&["model"], args].concat());
        let output = process::run(command.current_dir(self.folder.path()), crate::PATIENCE);
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        said
    }

    /// Certifies the model as `cert.json`.
    pub fn certify(&self, more: &[&str]) -> String {
        let certify = ["certify", "model", "--name", "tiny", "--version", "1.0", "--key", "key.pem"];
        self.does(&[&certify[..], &["--authority", "authority.json", "-o", "cert.json"], more].concat(), 0)
    }

    /// Certifies the model as `cert.json`, for machines that an attestation policy with this `spec` (YAML) takes. The
    /// certificate's digest.
    pub fn certify_for(&self, spec: &str) -> String {
        let policy = format!(
            "apiVersion: colophon.dev/v1alpha1\nkind: AttestationPolicy\nmetadata: {{name: t}}\nspec: {spec}\n"
        );
        fs::write(self.path("machines.yaml"), policy).unwrap();
        self.certify(&["--reference-values", "machines.yaml"]);
        self.digest()
    }

    /// Takes `cert.json` back.
    pub fn revoke(&self, reason: &str) {
        let revoke = ["revoke", "cert.json", "--authority", "authority.json", "--key", "key.pem", "--reason"];
        self.does(&[&revoke[..], &[reason]].concat(), 0);
    }

    /// Checks the model.
    pub fn check(&self, more: &[&str], code: i32) -> String {
        self.does(
            &[&["check", "model", "--cert", "cert.json", "--authority", "authority.json"], more].concat(),
            code,
        )
    }

    /// The authority's public key, in a file.
    pub fn public_key(&self) -> PathBuf {
        let authority: Value =
            serde_json::from_slice(&fs::read(self.path("authority.json")).unwrap()).unwrap();
        let path = self.path("key.pub");
        fs::write(&path, authority["keys"][0].as_str().unwrap()).unwrap();
        path
    }
}

impl Bench {
    /// The certificate's digest.
    pub fn digest(&self) -> String {
        let mut command = colophon::command(&["model", "check", "model", "--cert", "cert.json", "--json"]);
        let output = process::run(command.current_dir(self.folder.path()), crate::PATIENCE);
        let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
        report["certificate"].as_str().expect("a digest").to_owned()
    }
}
