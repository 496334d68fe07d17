//! Proofs under a model certificate (`colophon model certify --circuit`): the certificate pins the circuit's verifying key, its
//! model and its SRS, and what is under another is refused by name, by the worker and by the reader.

use std::fs;

use colophon_receipt::evidence::Verdict;
use colophon_tests::client::get;
use colophon_tests::colophon::Colophon;
use colophon_tests::models::Bench;
use colophon_tests::provers::{
    MODEL, SCRIPT, Scripted, chat, circuit, command, record, settled, start, upstream, verdict,
};
use colophon_tests::receipts::Fetched;
use colophon_tests::upstream::Upstream;
use serde_json::Value;

/// A certified model with a circuit made of one of its files, and the script that proves.
struct Case {
    bench: Bench,
    scripted: Scripted,
    upstream: Upstream,
}

impl Case {
    fn new() -> Case {
        let (bench, scripted) = (Bench::new(), Scripted::new(SCRIPT, ""));
        fs::write(bench.path("model/model.onnx"), MODEL).expect("the model");
        let said = bench.certify(&["--circuit", &scripted.circuit().display().to_string()]);
        assert!(
            said.contains(&format!("script: vk {}", circuit())) && said.contains("setup ceremony"),
            "{said}"
        );
        let provers = fs::read_to_string(scripted.file()).expect("the provers");
        let certificate = format!(
            "  circuit: circuit\n  modelCert: {}\n  modelAuthority: {}\n",
            bench.path("cert.json").display(),
            bench.path("authority.json").display()
        );
        fs::write(scripted.file(), provers.replace("  circuit: circuit\n", &certificate))
            .expect("the provers");
        Case { bench, scripted, upstream: upstream() }
    }

    fn start(&self) -> Colophon {
        start(&self.upstream, &self.scripted, "    deadline: 1h")
    }

    /// What it says when it does not start.
    fn refused(&self) -> String {
        let (status, said) = Colophon::refused(&self.upstream.url(), |options| {
            options.arg(&["--provers", &self.scripted.file().display().to_string()]);
        });
        assert!(!status.success(), "{said}");
        said
    }

    /// A reader who believes the authority and names no circuit.
    fn verify(&self, colophon: &Colophon, receipt: &Fetched, more: &[&str]) -> (i32, Value) {
        let keys = get(colophon.listen(), "/.well-known/colophon/keys").body;
        let mut trust: Value = serde_json::from_slice(&keys).expect("JSON");
        let authority = fs::read(self.bench.path("authority.json")).expect("the authority");
        trust["model_authorities"] = Value::Array(vec![serde_json::from_slice(&authority).expect("JSON")]);
        let command = self.scripted.command();
        receipt
            .report(&serde_json::to_vec(&trust).expect("JSON"), &[&["--prover-cmd", &command], more].concat())
    }
}

fn proof_check(report: &Value) -> String {
    let checks = report["checks"].as_array().expect("checks");
    let check = checks.iter().find(|check| check["name"] == "proof").unwrap_or_else(|| panic!("{report:#}"));
    check["detail"].as_str().expect("text").to_owned()
}

#[test]
fn a_proof_counts_under_the_key_the_model_and_the_srs_that_the_certificate_names() {
    let case = Case::new();
    let mut colophon = case.start();
    let receipt = settled(&colophon, &chat(&colophon));
    assert_eq!(verdict(&receipt.receipt()), Verdict::Holds, "{}", colophon.log());
    let statement = receipt.receipt().evidence[0].proof.clone().expect("a proof").proof.statement;
    let digest = case.bench.digest();
    assert_eq!(statement.model_certificate.as_deref(), Some(digest.as_str()));

    // The certificate is where readers look for those of records.
    let served = get(colophon.listen(), &format!("/.well-known/colophon/models/{digest}")).body;
    let file = case.bench.path("cert.json");
    assert_eq!(served, fs::read(&file).expect("the certificate"));
    let file = file.display().to_string();
    let (code, report) = case.verify(&colophon, &receipt, &["--circuit-cert", &file]);
    assert_eq!((code, report["verified_level"].as_str()), (0, Some("zk")), "{report:#}");
    assert_eq!(report["proof"]["certified_by"], "Model Lab");
    let (code, report) = case.verify(&colophon, &receipt, &[]);
    assert_eq!((code, report["verified_level"].as_str()), (0, Some("sign")), "{report:#}");
    assert!(proof_check(&report).contains("did not give (--circuit-cert FILE)"), "{report:#}");

    // Of another circuit, however good the certificate is: another key, and its digest is another.
    let other = case.bench.path("other.cert.json").display().to_string();
    let certify = [
        "certify",
        "model",
        "--name",
        "other",
        "--version",
        "1",
        "--key",
        "key.pem",
        "-o",
        "other.cert.json",
    ];
    case.bench.does(&certify, 0);
    let (code, report) = case.verify(&colophon, &receipt, &["--circuit-cert", &other]);
    assert!(code == 1 && proof_check(&report).contains("another model certificate"), "{report:#}");

    // The reader's program, and the next job's, look with another SRS than the certificate names.
    case.scripted.other_srs();
    let (code, report) = case.verify(&colophon, &receipt, &["--circuit-cert", &file]);
    assert!(code == 1 && proof_check(&report).contains("another SRS"), "{report:#}");
    let answer = chat(&colophon);
    assert_eq!(verdict(&settled(&colophon, &answer).receipt()), Verdict::NotDone);
    let (_, said) = command(&colophon, &["proof", "show", &record(&answer)]);
    assert!(said.contains("failed: refused: another SRS"), "{said}");
    assert!(colophon.stop().success());
    let said = case.refused();
    assert!(said.contains("another SRS: the circuit in"), "{said}");
}

#[test]
fn what_changes_after_the_start_is_seen_by_the_next_job() {
    // Settings that lie there instead of those that the certificate names.
    let case = Case::new();
    let colophon = case.start();
    let settings = case.scripted.circuit().join("settings.json");
    fs::write(&settings, b"{ }").expect("settings");
    let refused = |why: &str| {
        let answer = chat(&colophon);
        assert_eq!(verdict(&settled(&colophon, &answer).receipt()), Verdict::NotDone);
        let (_, said) = command(&colophon, &["proof", "show", &record(&answer)]);
        assert!(said.contains(&format!("failed: refused: {why}")), "{said}");
    };
    refused("other settings: the verifier looked with");
    fs::write(&settings, b"{}").expect("settings");
    let receipt = settled(&colophon, &chat(&colophon));
    assert_eq!(verdict(&receipt.receipt()), Verdict::Holds, "{}", colophon.log());
    // The reader's program, likewise.
    let file = case.bench.path("cert.json").display().to_string();
    let (code, report) = case.verify(&colophon, &receipt, &["--circuit-cert", &file]);
    assert_eq!((code, report["verified_level"].as_str()), (0, Some("zk")), "{report:#}");
    fs::write(&settings, b"{ }").expect("settings");
    let (code, report) = case.verify(&colophon, &receipt, &["--circuit-cert", &file]);
    assert!(code == 1 && proof_check(&report).contains("other settings"), "{report:#}");
    fs::write(&settings, b"{}").expect("settings");
    // The authority takes the certificate back.
    case.bench.revoke("key-compromise");
    refused("the certificate is revoked (key-compromise)");
}

#[test]
fn what_is_not_as_the_certificate_names_it_is_refused_at_the_start() {
    let case = Case::new();
    let circuit = case.scripted.circuit();
    let description = fs::read_to_string(circuit.join("circuit.json")).expect("the circuit");
    let bend = |member: &str, value: &str| {
        let mut json: Value = serde_json::from_str(&description).expect("JSON");
        json[member] = value.into();
        fs::write(circuit.join("circuit.json"), json.to_string()).expect("the circuit");
    };
    bend("model", &"0e".repeat(32));
    assert!(case.refused().contains("another model: the circuit in"));
    bend("setup", "local");
    assert!(case.refused().contains("another setup"));
    // A description of other files than lie there.
    bend("circuit", &"0e".repeat(32));
    assert!(case.refused().contains("the file `vk` is"));
    // Another circuit, whole in itself.
    fs::write(circuit.join("settings.json"), "{\"other\":1}").expect("settings");
    fs::write(circuit.join("vk"), "another key").expect("the key");
    let digest = |bytes: &[u8]| hex::encode(colophon_receipt::merkle::sha256(bytes));
    let mut json: Value = serde_json::from_str(&description).expect("JSON");
    json["circuit"] = digest(b"another key").into();
    json["settings"] = digest(b"{\"other\":1}").into();
    fs::write(circuit.join("circuit.json"), json.to_string()).expect("the circuit");
    assert!(case.refused().contains("another verifying key"));
    // An authority that did not sign it.
    case.bench.does(&["authority", "other.json", "--name", "Model Lab", "--key", "other.pem"], 0);
    let provers = fs::read_to_string(case.scripted.file()).expect("the provers");
    fs::write(case.scripted.file(), provers.replace("authority.json", "other.json")).expect("the provers");
    assert!(case.refused().contains("no key of"));
}

#[test]
fn only_a_circuit_of_the_models_own_files_is_certified() {
    let (bench, scripted) = (Bench::new(), Scripted::new(SCRIPT, ""));
    let certify = || {
        let (folder, circuit) = ("model", scripted.circuit().display().to_string());
        let args =
            ["certify", folder, "--name", "n", "--version", "1", "--key", "key.pem", "--circuit", &circuit];
        bench.does(&args, 1)
    };
    assert!(certify().contains("and no file of model is that"));
    fs::write(bench.path("model/model.onnx"), MODEL).expect("the model");
    fs::write(scripted.circuit().join("srs"), "other").expect("the SRS");
    assert!(certify().contains("the file `srs` is"));
    fs::remove_file(scripted.circuit().join("srs")).expect("the SRS");
    assert!(certify().contains("the file `srs` is missing"));
    fs::remove_file(scripted.circuit().join("circuit.json")).expect("the circuit");
    assert!(certify().contains("circuit.json"));
    assert!(!bench.path("model.cert.json").exists());
}
