//! The EZKL adapter (`examples/provers/ezkl`) on a classifier that is trained and compiled here: proofs by the real
//! prover in the sandbox, and everything that must not be taken for one.

use colophon_provers::backend::certified::{Certified, Names};
use colophon_provers::backend::exec::Exec;
use colophon_provers::backend::{Backend as _, BackendError, Poll, Task};
use colophon_provers::sandbox::Sandbox;
use colophon_provers::{Limits, Statement};
use colophon_tests::client::{get, post};
use colophon_tests::colophon::Colophon;
use colophon_tests::provers::{DEPLOYED, example, exported, policy, python, trusting};
use colophon_tests::receipts::Fetched;
use colophon_tests::upstream::Upstream;
use colophon_tests::{PATIENCE, paths, process, wait_for};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// Two classifiers of the same shape, compiled: the second one has other weights.
struct Circuits {
    folder: tempfile::TempDir,
    described: Vec<Value>,
}

impl Circuits {
    fn make() -> Circuits {
        let folder = tempfile::tempdir().expect("a folder");
        let model = folder.path().join("model");
        python("classifier/train.py", &[model.as_path()]);
        let mut described: Vec<Value> = Vec::new();
        for name in ["classifier", "other"] {
            if name == "other" {
                halve_weights(&model.join("classifier.onnx"));
            }
            let into = folder.path().join("circuits").join(name);
            std::fs::create_dir_all(folder.path().join("circuits")).expect("a folder");
            let features = model.join("features.json");
            let mut arguments = vec![
                model.join("classifier.onnx"),
                into.clone(),
                "--features".into(),
                features,
                "--name".into(),
                name.into(),
            ];
            // The other one is given a file of parameters, as one of a ceremony is.
            if name == "other" {
                arguments.extend(["--srs".into(), folder.path().join("circuits/classifier/srs")]);
            }
            python("provers/ezkl/circuit.py", &arguments.iter().map(PathBuf::as_path).collect::<Vec<_>>());
            let text = std::fs::read(into.join("circuit.json")).expect("its description");
            described.push(serde_json::from_slice(&text).expect("JSON"));
        }
        let of = |member: &str| [&described[0][member], &described[1][member]];
        assert_eq!(of("setup"), ["local", "ceremony"]);
        assert!(of("srs")[0] == of("srs")[1] && of("circuit")[0] != of("circuit")[1], "{described:?}");
        Circuits { folder, described }
    }

    fn statement(&self, circuit: usize, record: u8) -> Statement {
        let described = &self.described[circuit];
        let names = described["features"].as_array().expect("names");
        let features: serde_json::Map<String, Value> = names
            .iter()
            .zip(0i64..)
            .map(|(name, at)| (name.as_str().expect("a name").to_owned(), json!(at * 17 - 90)))
            .collect();
        serde_json::from_value(json!({
            "format": Statement::FORMAT,
            "record": format!("{record:02x}").repeat(32),
            "circuit": described["circuit"],
            "model_certificate": "ef".repeat(32),
            "quantisation": described["quantisation"],
            "features": features,
        }))
        .expect("a statement")
    }

    fn prover(&self) -> Exec {
        let adapter = paths::root().join("examples/provers/ezkl/prover.py");
        Exec {
            name: "ezkl".into(),
            program: vec![
                paths::python().into(),
                adapter.into(),
                "--circuits".into(),
                self.folder.path().join("circuits").into(),
            ],
            sandbox: Sandbox { shim: vec![paths::program("prover-sandbox").into()], network: false },
        }
    }
}

/// Another model of the same shape.
fn halve_weights(model: &Path) {
    let text = "import sys, onnx; from onnx import numpy_helper as n; m = onnx.load(sys.argv[1]); \
                w = m.graph.initializer[0]; w.CopyFrom(n.from_array(n.to_array(w) / 2, w.name)); onnx.save(m, sys.argv[1])";
    let status = Command::new(paths::python()).args(["-c", text]).arg(model).status().expect("it runs");
    assert!(status.success());
}

fn task(statement: Statement) -> (Task, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    (Task { statement, limits: Limits::default(), folder: folder.path().to_owned() }, folder)
}

async fn prove(prover: &Exec, statement: Statement) -> Result<(Vec<u8>, f64), BackendError> {
    let (task, _folder) = task(statement);
    let mut running = prover.submit(&task).await?;
    while !matches!(running.poll().await?, Poll::Done) {}
    Ok((running.fetch().await?, running.cpu_seconds()))
}

async fn verify(prover: &Exec, statement: Statement, artefact: &[u8]) -> Result<f64, BackendError> {
    let (task, _folder) = task(statement);
    prover.verify(&task, artefact).await.map(|verified| verified.cpu_seconds)
}

async fn lied(prover: &Exec, statement: Statement, artefact: &[u8], why: &str) {
    match verify(prover, statement, artefact).await {
        Err(BackendError::Lied(said)) => assert!(said.contains(why), "{said}"),
        other => panic!("{other:?} instead of {why}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_classifiers_score_is_proven_for_its_record_and_for_nothing_else() {
    let circuits = Circuits::make();
    let prover = circuits.prover();
    let said = prover.capabilities(circuits.folder.path().to_owned()).await.expect("it answers");
    assert!(said.prover.starts_with("ezkl ") && said.circuits.len() == 2, "{said:?}");
    assert_eq!(
        (said.hides, said.setup.as_deref()),
        (false, Some("local")),
        "whoever made the SRS here could forge"
    );

    let statement = circuits.statement(0, 0xab);
    let (artefact, proving) = prove(&prover, statement.clone()).await.expect("a proof");
    let verifying = verify(&prover, statement.clone(), &artefact).await.expect("it is one");
    let proof: Value = serde_json::from_slice(&artefact).expect("JSON");
    let hex = proof["hex_proof"].as_str().expect("the proof itself").trim_start_matches("0x").len() / 2;
    eprintln!(
        "classifier of 640 weights: proven in {proving:.2} CPU-s, verified in {verifying:.2}, {hex} bytes"
    );

    // Another record, other features, another certificate, another model.
    lied(&prover, circuits.statement(0, 0xac), &artefact, "the record or the statement differs").await;
    let mut features = statement.clone();
    *features.features.as_mut().expect("some").get_mut("streamed").expect("one of them") += 1;
    lied(&prover, features, &artefact, "differs").await;
    let certificate = Statement { model_certificate: Some("ee".repeat(32)), ..statement.clone() };
    lied(&prover, certificate, &artefact, "the record or the statement differs").await;
    let other = Statement {
        circuit: circuits.described[1]["circuit"].as_str().expect("text").into(),
        ..statement.clone()
    };
    lied(&prover, other, &artefact, "the record or the statement differs").await;
    // The same statement under the other model's key: what is left is EZKL's own check.
    let swapped = circuits.statement(1, 0xab);
    let (theirs, _) = prove(&prover, swapped.clone()).await.expect("a proof");
    let mut mixed: Value = serde_json::from_slice(&theirs).expect("JSON");
    mixed["proof"] = proof["proof"].clone();
    mixed["hex_proof"] = proof["hex_proof"].clone();
    lied(&prover, swapped, &serde_json::to_vec(&mixed).expect("JSON"), "EZKL does not accept it").await;

    // Another score: every public input is part of what is proven.
    let mut forged = proof.clone();
    flip(&mut forged["instances"][0][0]);
    lied(&prover, statement.clone(), &serde_json::to_vec(&forged).expect("JSON"), "EZKL does not accept it")
        .await;

    // Torn, empty, garbage, and one whose list of public inputs is cut.
    for bytes in [&artefact[..artefact.len() / 2], b"{}", b"[]", b"\x00\xff", b"{\"instances\":[[1]]}"] {
        lied(&prover, statement.clone(), bytes, "the artefact is no EZKL proof").await;
    }
    let mut cut = proof.clone();
    cut["instances"][0].as_array_mut().expect("a list").truncate(4);
    lied(
        &prover,
        statement.clone(),
        &serde_json::to_vec(&cut).expect("JSON"),
        "another number of public inputs",
    )
    .await;

    // Held to a certificate that names its files, it counts; to one with another SRS it does not, nor over changed files.
    let described = &circuits.described[0];
    let of = |member: &str| described[member].as_str().expect("text").to_owned();
    let named = Statement { weights: Some(of("model")), ..statement.clone() };
    let names = Names {
        certificate: "ef".repeat(32),
        circuit: of("circuit"),
        model: of("model"),
        settings: of("settings"),
        srs: of("srs"),
    };
    let (certified, _) = prove(&prover, named.clone()).await.expect("a proof");
    let held = |names: Names| Certified {
        backend: Arc::new(circuits.prover()),
        names,
        judge: Arc::new(|| Ok(None)),
    };
    let (task, _folder) = task(named);
    let verified = held(names.clone()).verify(&task, &certified).await.expect("it is one");
    assert_eq!(verified.srs, Some(names.srs.clone()));
    match held(Names { srs: "00".repeat(32), ..names.clone() }).verify(&task, &certified).await {
        Err(BackendError::Uncertified(why)) => assert!(why.contains("another SRS"), "{why}"),
        other => panic!("{other:?}"),
    }
    let srs = circuits.folder.path().join("circuits/classifier/srs");
    let mut bytes = std::fs::read(&srs).expect("the SRS");
    bytes[100] ^= 1;
    std::fs::write(&srs, &bytes).expect("the SRS");
    match held(names).verify(&task, &certified).await {
        Err(BackendError::Lied(why)) => assert!(why.contains("the file srs of the circuit"), "{why}"),
        other => panic!("{other:?}"),
    }
    bytes[100] ^= 1;
    std::fs::write(&srs, &bytes).expect("the SRS");

    let unknown = Statement { circuit: "00".repeat(32), ..statement.clone() };
    assert!(
        matches!(prove(&prover, unknown).await, Err(BackendError::Refused(why)) if why.contains("no circuit"))
    );
    let missing = Statement { features: None, ..statement };
    assert!(
        matches!(prove(&prover, missing).await, Err(BackendError::Refused(why)) if why.contains("features"))
    );
}

/// From a request to a reader's verdict, by the real prover.
#[test]
fn a_classifiers_decision_about_a_record_is_proven_the_whole_way() {
    let circuits = Circuits::make();
    let described = &circuits.described[0];
    let adapter = paths::root().join("examples/provers/ezkl/prover.py");
    let python = paths::python();
    let folder = circuits.folder.path();
    let command = format!(
        "{} {} --circuits {}",
        python.display(),
        adapter.display(),
        folder.join("circuits").display()
    );
    let words: Vec<String> = command.split(' ').map(|word| format!("{word:?}")).collect();
    let provers = folder.join("provers.yaml");
    let text = format!(
        "provers:\n- name: ezkl\n  program: [{}]\n  circuit: circuits/classifier\n",
        words.join(", ")
    );
    std::fs::write(&provers, text).expect("the provers");
    let body = r#"{"id":"x","object":"chat.completion","model":"m","choices":[{"index":0,"finish_reason":"length","message":{"role":"assistant","content":"no"}}],"usage":{"prompt_tokens":40,"completion_tokens":16,"total_tokens":56}}"#;
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let upstream = Upstream::answering(format!("{head}{body}"));
    let colophon = Colophon::start(&upstream.url(), |options| {
        options.policy = Some(policy("ezkl", "    deadline: 1h"));
        options.arg(&["--provers", &provers.display().to_string()]);
    });
    let request =
        r#"{"model":"m","messages":[{"role":"user","content":"may I?"}],"temperature":0.7,"max_tokens":16}"#;
    let begun = std::time::Instant::now();
    let answer = post(colophon.listen(), "/v1/chat/completions", request);
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let answered = begun.elapsed();
    let settled = wait_for(PATIENCE * 4, || {
        let receipt = Fetched::of(&answer, colophon.listen());
        receipt.receipt().evidence.first().is_some_and(|part| part.proof.is_some()).then_some(receipt)
    });
    let receipt = settled.unwrap_or_else(|| panic!("no proof:\n{}", colophon.log()));
    eprintln!("answered in {answered:?}, proven and logged after {:?}", begun.elapsed());

    let keys = get(colophon.listen(), "/.well-known/colophon/keys").body;
    let names = |circuit: &Value| trusting(&keys, "the classifier", circuit.as_str().expect("a digest"));
    let verify = |receipt: &[u8], trust: &[u8], more: &[&str]| {
        let save = |name: &str, bytes: &[u8]| {
            std::fs::write(folder.join(name), bytes).expect("a file");
            folder.join(name)
        };
        let mut program = Command::new(paths::program("colophon-verify"));
        program.arg(save("receipt.json", receipt)).arg("--trust").arg(save("trust.json", trust));
        program.args(["--prover-cmd", &command]).args(more);
        let output = process::run(&mut program, PATIENCE * 2);
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.code(),
            String::from_utf8_lossy(&said).split_whitespace().collect::<Vec<_>>().join(" "),
        )
    };
    let trust = names(&described["circuit"]);
    let (code, said) = verify(&receipt.json, &trust, &["--allow-local-setup"]);
    for part in [
        "sign claimed, zk verified",
        "zk verified: \"the classifier\"",
        "score",
        "neither the answer's truth",
    ] {
        assert!(code == Some(0) && said.contains(part), "{part}: {said}");
    }
    // Others verify it as well: a contract in an EVM, and EZKL's engine for Node and browsers.
    let said = exported(
        &folder.join("receipt.json"),
        &folder.join("circuits"),
        "classifier",
        &folder.join("exported"),
    );
    let node = &said["node"];
    assert_eq!(node["good"], true, "{said}");
    assert!(node["bent"].as_str().is_some_and(|why| why.contains("not satisfied")), "{said}");
    assert!(node["untyped"].as_str().is_some_and(|why| why.contains("transcript_type")), "{said}");
    let bytes = said["contract"]["bytes"].as_u64();
    assert!(bytes.is_some_and(|bytes| bytes <= DEPLOYED), "more than public chains deploy");
    // And EZKL alone, without Colophon.
    let alone = |receipt: &[u8], more: &[&str]| {
        std::fs::write(folder.join("alone.json"), receipt).expect("a file");
        let mut program = Command::new(paths::python());
        program.arg(example("provers/ezkl/verify.py")).arg(folder.join("alone.json"));
        program.arg("--circuits").arg(folder.join("circuits")).args(more);
        let output = process::run(&mut program, PATIENCE * 2);
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (code, said) = alone(&receipt.json, &["--allow-local-setup"]);
    assert!(code == Some(0) && said.contains("\"score\""), "{said}");
    let (code, said) = alone(&receipt.json, &[]);
    assert!(code == Some(1) && said.contains("its parameters are local"), "{said}");
    let mut other: Value = serde_json::from_slice(&receipt.json).expect("JSON");
    other["evidence"][0]["proof"]["proof"]["statement"]["features"]["status"] = json!(51);
    let (code, said) = alone(&serde_json::to_vec(&other).expect("JSON"), &["--allow-local-setup"]);
    assert!(code == Some(1) && said.contains("status differs"), "{said}");
    // Its maker could have forged it.
    let (code, said) = verify(&receipt.json, &trust, &[]);
    assert!(
        code == Some(0)
            && said.contains("sign claimed, sign verified")
            && said.contains("parameters are local"),
        "{said}"
    );
    // By another model's key it is another statement, and a circuit that the reader does not name is nobody's.
    let (code, said) =
        verify(&receipt.json, &names(&circuits.described[1]["circuit"]), &["--allow-local-setup"]);
    assert!(code == Some(0) && said.contains("does not name it"), "{said}");
    // Altered anywhere, it is not what the log committed to.
    for (what, bend) in [
        ("another score", &(|proof: &mut Value| flip(&mut proof["instances"][0][0])) as &dyn Fn(&mut Value)),
        ("torn", &|proof| *proof = json!({})),
    ] {
        let mut bent = receipt.receipt();
        let part = bent.evidence[0].proof.as_mut().expect("the proof");
        let mut proof: Value = serde_json::from_slice(&part.proof.artefact.0).expect("JSON");
        bend(&mut proof);
        part.proof.artefact.0 = serde_json::to_vec(&proof).expect("JSON");
        let (code, said) = verify(&bent.to_json().expect("a receipt"), &trust, &["--allow-local-setup"]);
        assert!(
            code == Some(1) && said.contains("not the proof that the evidence leaf commits to"),
            "{what}: {said}"
        );
    }
}

fn flip(score: &mut Value) {
    let text = score.as_str().expect("text").to_owned();
    let first = if text.starts_with("00") { "01" } else { "00" };
    *score = format!("{first}{}", &text[2..]).into();
}
