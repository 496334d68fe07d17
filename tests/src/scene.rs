//! What the tests of upstreams that prove themselves share: a CA, servers, a proxy with a rule of level `tee`, and what is
//! expected of answers and receipts.

use colophon_attest::Keyset;
use colophon_attest::simulate::Faults;
use colophon_receipt::fields::{self, DecisionField, Failure};
use colophon_receipt::level::{Level, Outcome};

use crate::certs::{Authority, Issued};
use crate::client::send;
use crate::colophon::Colophon;
use crate::proving::{Asked, Proving, answer, document, now};
use crate::receipts::Fetched;
use crate::wire::Message;

/// Where prompts go.
pub const CHAT: &str = "/v1/chat/completions";
/// What no server may get before it has proved itself.
pub const PROMPT: &str = r#"{"model":"m","messages":[{"role":"user","content":"a secret of mine"}]}"#;
/// What the servers answer.
pub const REPLY: &[u8] = br#"{"id":"1","object":"chat.completion","choices":[]}"#;

/// One rule of level `tee` with these upstreams: name, URL, `attestation`.
pub fn policy(upstreams: &[(&str, &str, &str)]) -> String {
    let defined: String = upstreams
        .iter()
        .map(|(name, url, attestation)| {
            format!("  - {{name: {name}, url: \"{url}\", attestation: {attestation}}}\n")
        })
        .collect();
    let names: Vec<&str> = upstreams.iter().map(|(name, ..)| *name).collect();
    format!(
        "apiVersion: colophon.dev/v1alpha1\nkind: ProvenancePolicy\nmetadata: {{name: t}}\nspec:\n  upstreams:\n{defined}  rules:\n  - {{name: secret, matches: [{{apis: [chat]}}], level: tee, failurePolicy: Ignore, upstream: [{}]}}\n",
        names.join(", ")
    )
}

/// A CA, a server's certificate by it, and the folder with its file.
pub struct Scene {
    /// The CA.
    pub ca: Authority,
    /// The certificate, for `localhost`.
    pub issued: Issued,
    /// A folder of its own.
    pub folder: tempfile::TempDir,
}

impl Default for Scene {
    fn default() -> Self {
        Self::new()
    }
}

impl Scene {
    /// Makes all of it anew.
    pub fn new() -> Self {
        let ca = Authority::new();
        let issued = ca.issue("an enclave");
        let folder = tempfile::tempdir().unwrap();
        ca.write(&folder.path().join("ca.pem"));
        Self { ca, issued, folder }
    }

    /// A server that proves itself so, and answers with [`REPLY`].
    pub fn server(&self, prove: impl Fn(&Asked) -> Option<Vec<u8>> + Send + Sync + 'static) -> Proving {
        let reply = answer(REPLY);
        Proving::serve(&self.issued, self.issued.server(&["http/1.1"], None), prove, move |to| {
            to.write_all(&reply)
        })
    }

    /// A proxy that trusts the CA.
    pub fn proxy(&self, policy: String, more: &[&str]) -> Colophon {
        let ca = self.folder.path().join("ca.pem").display().to_string();
        Colophon::start("http://127.0.0.1:9", |options| {
            options.policy = Some(policy);
            options.arg(&["--upstream-ca", &ca, "--attest-timeout", "2s"]).arg(more);
        })
    }
}

/// Sends [`PROMPT`] with a credential.
pub fn ask(colophon: &Colophon) -> Message {
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer a-credential\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        PROMPT.len()
    );
    send(colophon.listen(), &[head.as_bytes(), PROMPT.as_bytes()].concat())
}

/// Evidence of a good machine that names the connection.
pub fn good(asked: &Asked) -> Vec<u8> {
    let keyset = Keyset::new(vec![], vec![], Some(asked.exporter));
    answer(&document(&keyset, &asked.nonce, now(), Faults::default()))
}

/// 503 in the API's shape, and a record that says refused, of no more than `sign`.
pub fn assert_refused(colophon: &Colophon, response: &Message, what: &str) {
    assert_eq!(response.status(), 503, "{what}: {}", response.text());
    let problem: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
    assert_eq!(problem["error"]["code"], "upstream_not_attested", "{what}");
    let receipt = Fetched::of(response, colophon.listen());
    assert_eq!(receipt.outcome(), Outcome::Refused, "{what}");
    let decision = DecisionField::read(receipt.field(fields::DECISION).unwrap()).unwrap();
    assert_eq!(decision.asked, Some(Level::Tee.code()), "{what}");
    assert!(decision.granted <= Some(Level::Sign.code()), "{what}: {decision:?}");
    assert!(receipt.field(fields::UPSTREAM).is_none(), "{what}: nothing was forwarded");
    let failure = Failure::read(receipt.field(fields::FAILURE).unwrap()).unwrap();
    assert!(failure.reason.unwrap().contains("enclave"), "{what}");
    let (code, said) = receipt.verify(colophon.listen(), Some(PROMPT.as_bytes()), Some(&response.body));
    assert_eq!(code, 0, "{what}: {said}");
}

/// What a server answers to a question for evidence.
pub type Proof = Box<dyn Fn(&Asked) -> Option<Vec<u8>> + Send + Sync>;

/// The same, boxed.
pub fn proof(make: impl Fn(&Asked) -> Option<Vec<u8>> + Send + Sync + 'static) -> Proof {
    Box::new(make)
}

/// A proxy that says it runs in a (simulated) trusted environment, behind TLS.
pub fn inside(scene: &Scene, upstream: &str) -> Colophon {
    let (certificate, key) = (scene.folder.path().join("tls.pem"), scene.folder.path().join("key.pem"));
    scene.issued.write(&certificate, &key);
    let (certificate, key) = (certificate.display().to_string(), key.display().to_string());
    Colophon::start(upstream, |options| {
        options.sign_all().arg(&[
            "--tls-cert",
            &certificate,
            "--tls-key",
            &key,
            "--attest",
            "simulated:colophon",
        ]);
    })
}

/// The receipt of an answer with the upstream's evidence, and what `verify` says of it where simulated evidence is allowed.
pub fn judged(colophon: &Colophon, response: &Message) -> (Fetched, serde_json::Value) {
    let receipt = crate::wait_for(crate::PATIENCE, || {
        let receipt = Fetched::of(response, colophon.listen());
        receipt.receipt().upstream_evidence.is_some().then_some(receipt)
    });
    let receipt = receipt.expect("a receipt with the upstream's evidence");
    let (_, report) = receipt.report_by_colophon(colophon.listen(), &["--at", "now", "--allow-simulated"]);
    (receipt, report)
}

/// What became of a check.
pub fn status_of(report: &serde_json::Value, name: &str) -> Option<String> {
    let checks = report["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["name"] == name)?;
    check["status"].as_str().map(str::to_owned)
}
