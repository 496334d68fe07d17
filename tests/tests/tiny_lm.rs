//! The tiny language model (`examples/tiny-lm`), the whole way: trained, compiled for EZKL, served, asked with `curl`, proven, and
//! verified by the reader; and everything that must not be taken for a proof of that answer.

use colophon_tests::client::get;
use colophon_tests::colophon::{self, Colophon};
use colophon_tests::process::{self, Process};
use colophon_tests::provers::{LONG, example, exported, policy, python, trusting};
use colophon_tests::receipts::Fetched;
use colophon_tests::{PATIENCE, paths, wait_for};
use serde_json::{Value, json};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// A model, its circuit and its server.
struct Served {
    folder: tempfile::TempDir,
    circuit: Value,
    url: String,
    _server: Process,
}

impl Served {
    fn make() -> Served {
        let folder = tempfile::tempdir().expect("a folder");
        let (model, circuit) = (folder.path().join("model"), folder.path().join("circuits/tiny-lm"));
        python("tiny-lm/train.py", &[&model]);
        let arguments = [&model.join("model.onnx"), &circuit, Path::new("--folder"), &model];
        python(
            "provers/ezkl/circuit.py",
            &[&arguments[..], &[Path::new("--name"), Path::new("tiny-lm")]].concat(),
        );
        let text = fs::read(circuit.join("circuit.json")).expect("its description");
        let log = folder.path().join("server.log");
        let mut command = Command::new(paths::python());
        command.arg(example("tiny-lm/server.py")).arg(&model).args(["--port", "0"]);
        let server = Process::start(&mut command, &log);
        let url = wait_for(PATIENCE, || server.log().strip_suffix('\n').map(str::to_owned));
        let url = url.unwrap_or_else(|| panic!("no address: {}", server.log()));
        Served { circuit: serde_json::from_slice(&text).expect("JSON"), url, _server: server, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn save(&self, name: &str, bytes: &[u8]) -> PathBuf {
        fs::write(self.path(name), bytes).expect("a file");
        self.path(name)
    }

    /// A file for `--provers`.
    fn provers(&self) -> PathBuf {
        let program =
            [paths::python(), example("provers/ezkl/prover.py")].map(|path| path.display().to_string());
        let provers = format!(
            "keepBodies: 1000000\nprovers:\n- name: tiny-lm\n  program: [{:?}, {:?}, --circuits, ./circuits]\n  circuit: circuits/tiny-lm\n  model: model\n",
            program[0], program[1]
        );
        self.save("provers.yaml", provers.as_bytes())
    }

    /// What the adapter says of this artefact under a statement.
    fn adapter(&self, op: &str, statement: &Value, artefact: &[u8]) -> Value {
        let own = tempfile::tempdir().expect("a folder");
        fs::write(own.path().join("artefact"), artefact).expect("a file");
        let mut command = Command::new(paths::python());
        command.arg(example("provers/ezkl/prover.py")).arg("--circuits").arg(self.path("circuits"));
        command.current_dir(own.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("it runs");
        let call = json!({"protocol": "colophon-prover-v1", "op": op, "statement": statement});
        let mut stdin = child.stdin.take().expect("a pipe");
        writeln!(stdin, "{call}").expect("it reads");
        drop(stdin);
        let out = child.wait_with_output().expect("it ends");
        let last = out.stdout.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty()).expect("a line");
        serde_json::from_slice(last).expect("JSON")
    }

    /// A folder like the model's, with one file altered.
    fn altered(&self, name: &str, from: &str, to: &str) -> String {
        let folder = self.path(&format!("without {from}").replace(' ', "-"));
        fs::create_dir(&folder).expect("a folder");
        for file in ["tokenizer.json", "tokenizer_config.json"] {
            let text = fs::read_to_string(self.path("model").join(file)).expect("a file");
            let text = if file == name { text.replace(from, to) } else { text };
            fs::write(folder.join(file), text).expect("a file");
        }
        folder.display().to_string()
    }
}

/// Asks by `curl`, as anybody would; gives the answer's head and body.
fn curl(served: &Served, colophon: &Colophon, request: &Path) -> (String, Vec<u8>) {
    let (head, body) = (served.path("head"), served.path("response.json"));
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--fail", "--header", "Content-Type: application/json"]);
    command.arg("--data-binary").arg(format!("@{}", request.display()));
    command.arg("--dump-header").arg(&head).arg("--output").arg(&body);
    command.arg(format!("http://{}/v1/chat/completions", colophon.listen()));
    let out = process::run(&mut command, PATIENCE);
    assert!(out.status.success(), "curl: {}", String::from_utf8_lossy(&out.stderr));
    (fs::read_to_string(&head).expect("the head"), fs::read(&body).expect("the body"))
}

#[test]
fn a_language_models_answer_is_proven_from_curl_to_verify() {
    let served = Served::make();
    let provers = served.provers().display().to_string();
    let colophon = Colophon::start(&served.url, |options| {
        options.policy = Some(policy("tiny-lm", "    deadline: 1h\n    failurePolicy: Fail"));
        options.arg(&["--provers", provers.as_str()]);
    });
    let request = json!({"model": "tiny-lm", "messages": [{"role": "user", "content": "after monday"}]});
    let request = served.save("request.json", request.to_string().as_bytes());
    let begun = Instant::now();
    let (head, body) = curl(&served, &colophon, &request);
    let answered = begun.elapsed();
    let answer: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(answer["choices"][0]["message"]["content"], "tuesday wednesday thursday", "{answer}");
    let header = head.lines().find(|line| line.to_ascii_lowercase().starts_with("colophon-record:"));
    let record =
        header.and_then(|line| line.split('"').nth(1)).unwrap_or_else(|| panic!("no record: {head}"));
    let target = head.lines().find(|line| line.to_ascii_lowercase().starts_with("colophon-receipt:"));
    let target = target.and_then(|line| line.split('"').nth(1)).expect("the receipt's address").to_owned();
    // Its rule asks for the proof.
    let settled = wait_for(LONG, || {
        let got = get(colophon.listen(), &target);
        let receipt = (got.status() == 200).then(|| Fetched::parse(got.body))?;
        (!receipt.receipt().evidence.is_empty()).then_some(receipt)
    });
    let receipt = settled.unwrap_or_else(|| panic!("no proof:\n{}", colophon.log()));
    eprintln!("answered in {answered:?}, proven and logged after {:?}", begun.elapsed());

    // Somebody who has the bodies may ask, too. By now nobody has them here.
    let (request, response) =
        (request.display().to_string(), served.path("response.json").display().to_string());
    let data = colophon.data().display().to_string();
    let submit = |request: &str, response: &str| {
        let arguments = ["proof", "submit", record, "--wait", "--data", data.as_str()];
        let bodies = ["--request", request, "--response", response];
        let bodies = if request.is_empty() { &[][..] } else { &bodies[..] };
        colophon::run_within(LONG, &[&arguments[..], bodies].concat(), &[])
    };
    let (code, said) = submit("", "");
    assert!(code == 1 && said.contains("bodies, which are not here (any more)"), "{said}");
    let bent = String::from_utf8(body.clone()).expect("text").replace("thursday", "friday");
    let bent_path = served.save("bent.json", bent.as_bytes()).display().to_string();
    let (code, said) = submit(&request, &bent_path);
    assert!(code == 1 && said.contains("the response is not the recorded one"), "{said}");
    let (code, said) = submit(&request, &response);
    assert!(code == 0 && said.contains("proven: "), "{said}\n{}", colophon.log());
    let proof = receipt.receipt().evidence[0].proof.clone().expect("the proof").proof;
    let keys = get(colophon.listen(), "/.well-known/colophon/keys").body;
    let trust = trusting(&keys, "tiny-lm", served.circuit["circuit"].as_str().expect("a digest"));
    let trust = served.save("trust.json", &trust);
    let file = served.save("receipt.json", &receipt.json);
    let prover = format!(
        "{} {} --circuits {}",
        paths::python().display(),
        example("provers/ezkl/prover.py").display(),
        served.path("circuits").display()
    );
    let verify = |receipt: &Path, model: Option<&str>, request: &str, response: &str| {
        let mut command = colophon::command(&["verify"]);
        command.arg(receipt).arg("--trust").arg(&trust).args([
            "--prover-cmd",
            &prover,
            "--allow-local-setup",
        ]);
        command.args(["--request", request, "--response", response]);
        command.args(model.map(|model| ["--model", model]).into_iter().flatten());
        let out = process::run(&mut command, PATIENCE * 4);
        let said = [out.stdout, out.stderr].concat();
        let words = String::from_utf8_lossy(&said).split_whitespace().collect::<Vec<_>>().join(" ");
        (out.status.code(), words)
    };
    let model = served.path("model").display().to_string();
    let (code, said) = verify(&file, Some(&model), &request, &response);
    for part in [
        "sign claimed, zk verified",
        "zk verified: \"tiny-lm\"",
        "gives this answer to this request",
        "(4 of them)",
        "what one small model, quantised, answers",
    ] {
        assert!(code == Some(0) && said.contains(part), "{part}: {said}");
    }

    // What does not show it.
    let config = served.altered("tokenizer_config.json", "<user>", "<assistant>");
    let words = served.altered("tokenizer.json", "\"monday\"", "\"mittwoch\"");
    for (model, why) in [
        (None, "give --model DIR"),
        (Some(config.as_str()), "by another chat template"),
        (Some(words.as_str()), "by another tokenizer"),
    ] {
        let (code, said) = verify(&file, model, &request, &response);
        assert!(
            code == Some(0) && said.contains("sign claimed, sign verified") && said.contains(why),
            "{why}: {said}"
        );
    }
    let other = json!({"model": "tiny-lm", "messages": [{"role": "user", "content": "after sunday"}]});
    let other = served.save("other.json", other.to_string().as_bytes()).display().to_string();
    for (request, response, why) in
        [(&*request, &*bent_path, "response-body"), (&other, &response, "request-body")]
    {
        let (code, said) = verify(&file, Some(&model), request, response);
        assert!(code == Some(1) && said.contains(&format!("bad: {why}")), "{why}: {said}");
    }

    // The same artefact under any other statement, and what no artefact is made of.
    let statement = serde_json::to_value(&proof.statement).expect("JSON");
    let good = served.adapter("verify", &statement, &proof.artefact.0);
    assert_eq!(good["result"]["accepted"], true, "{good}");
    let altered = |member: &str, value: Value| {
        let mut statement = statement.clone();
        statement[member] = value;
        statement
    };
    for (op, member, value, why) in [
        ("verify", "prompt", json!([2, 5, 36, 3]), "token 2 differs"),
        ("verify", "output", json!([31, 32, 34, 4]), "token 6 differs"),
        ("verify", "output", json!([31, 32, 33]), "token 6 differs"),
        ("verify", "output", json!([31, 32, 33, 33]), "the record or the statement differs"),
        ("verify", "record", json!("ab".repeat(32)), "the record or the statement differs"),
        ("verify", "weights", json!("ab".repeat(32)), "the record or the statement differs"),
        ("verify", "tokenizer", json!("ab".repeat(32)), "another tokenizer"),
        ("verify", "template", json!("ab".repeat(32)), "another template"),
        ("verify", "decode", json!("mood"), "another decode"),
        ("prove", "output", json!([31, 32, 34, 4]), "token 2 of it is 33, not 34"),
        ("prove", "prompt", json!([2, 5, 30, 30, 30, 3]), "8 tokens at most"),
    ] {
        let said = served.adapter(op, &altered(member, value), &proof.artefact.0);
        let message = said["error"]["message"].as_str().unwrap_or_default();
        assert!(said["error"]["refused"] == true && message.contains(why), "{op} {member}: {said}");
    }
    let mut forged: Value = serde_json::from_slice(&proof.artefact.0).expect("JSON");
    let bytes = forged["hex_proof"].as_str().expect("the proof itself").trim_start_matches("0x").len() / 2;
    eprintln!("the proof has {bytes} bytes, its artefact {}", proof.artefact.0.len());
    // Public: the token that the model found at the first position, which the statement says nothing of.
    forged["instances"][0][0] = json!(format!("3f{}", "00".repeat(31)));
    let said = served.adapter("verify", &statement, forged.to_string().as_bytes());
    assert!(
        said["error"]["message"].as_str().is_some_and(|why| why.contains("EZKL does not accept it")),
        "{said}"
    );

    // Others verify it as well: two contracts in an EVM, of which public chains deploy the one for any circuit.
    exported(&file, &served.path("circuits"), "tiny-lm", &served.path("exported"));
}
