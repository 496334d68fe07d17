//! The `zk` level, the whole way: a rule asks for a proof, the answer leaves at once, a worker proves, the log says what came of
//! it, and a reader's own program looks at the proof in the receipt.

use std::fs;
use std::process::Command;

use colophon_receipt::evidence::{EvidenceLeaf, Verdict};
use colophon_receipt::fields::{self, DecisionField};
use colophon_receipt::level::Level;
use colophon_receipt::receipt::Receipt;
use colophon_tests::client::{get, post};
use colophon_tests::colophon::{self, Colophon};
use colophon_tests::provers::{SCRIPT, Scripted, circuit, policy, trusting};
use colophon_tests::receipts::Fetched;
use colophon_tests::upstream::Upstream;
use colophon_tests::wire::Message;
use colophon_tests::{PATIENCE, paths, process, wait_for};
use serde_json::Value;

const ANSWER: &str =
    r#"{"id":"x","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}"#;

fn upstream() -> Upstream {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length:";
    Upstream::answering(format!("{head} {}\r\n\r\n{ANSWER}", ANSWER.len()))
}

fn start(upstream: &Upstream, scripted: &Scripted, rule: &str) -> Colophon {
    Colophon::start(&upstream.url(), |options| {
        options.policy = Some(policy("script", rule));
        options.arg(&["--provers", &scripted.file().display().to_string()]);
    })
}

fn chat(colophon: &Colophon) -> Message {
    post(colophon.listen(), "/v1/chat/completions", r#"{"model":"m","messages":[]}"#)
}

/// The receipt once it has evidence.
fn settled(colophon: &Colophon, answer: &Message) -> Fetched {
    let found = wait_for(PATIENCE * 2, || {
        let receipt = Fetched::of(answer, colophon.listen());
        (!receipt.receipt().evidence.is_empty()).then_some(receipt)
    });
    found.unwrap_or_else(|| {
        panic!("no evidence; {}\n{}", get(colophon.admin(), "/metrics").text(), colophon.log())
    })
}

fn verdict(receipt: &Receipt) -> Verdict {
    EvidenceLeaf::decode(&receipt.evidence[0].leaf.0).expect("an evidence leaf").verdict
}

/// `colophon-verify --json` with a trust file that names the circuit: exit code and report.
fn verify(colophon: &Colophon, receipt: &[u8], named: &str, more: &[&str]) -> (Option<i32>, Value) {
    let folder = tempfile::tempdir().expect("a folder");
    let save = |name: &str, bytes: &[u8]| {
        fs::write(folder.path().join(name), bytes).expect("a file");
        folder.path().join(name)
    };
    let keys = get(colophon.listen(), "/.well-known/colophon/keys").body;
    let trust = save("trust.json", &trusting(&keys, "the classifier", named));
    let mut command = Command::new(paths::program("colophon-verify"));
    command.arg(save("receipt.json", receipt)).arg("--trust").arg(trust).arg("--json").args(more);
    let output = process::run(&mut command, PATIENCE);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), serde_json::from_str(&said).unwrap_or_else(|_| said.into()))
}

fn detail<'a>(report: &'a Value, check: &str) -> (&'a str, &'a str) {
    let checks = report["checks"].as_array().expect("checks");
    let found = checks.iter().find(|found| found["name"] == check).unwrap_or_else(|| panic!("{report:#}"));
    (found["status"].as_str().expect("text"), found["detail"].as_str().expect("text"))
}

#[test]
fn a_rule_asks_for_a_proof_and_the_receipt_has_it_later() {
    let (upstream, scripted) = (upstream(), Scripted::new(SCRIPT, ""));
    let mut colophon = start(&upstream, &scripted, "    deadline: 1h\n    failurePolicy: Fail");
    let answer = chat(&colophon);
    assert_eq!(answer.status(), 200);
    assert!(answer.header("colophon-record").is_some_and(|record| record.contains(";level=sign;")));
    let first = Fetched::of(&answer, colophon.listen());
    assert_eq!((first.leaf.level, first.leaf.draw), (Level::Sign, Some((u64::MAX, Level::Zk))));
    let decision = DecisionField::read(first.field(fields::DECISION).expect("a decision")).expect("one");
    assert_eq!((decision.asked, decision.granted), (Some(4), Some(2)));
    assert_eq!(decision.why_lowered.as_deref(), Some("the answer is signed at once, and a proof follows"));

    let receipt = settled(&colophon, &answer);
    assert_eq!(verdict(&receipt.receipt()), Verdict::Holds);
    let part = receipt.receipt().evidence[0].proof.clone().expect("the proof travels with its leaf");
    assert_eq!(part.proof.statement.features.as_ref().expect("some")["status"], 50);
    assert_eq!(part.proof.statement.features.expect("some")["prompt_tokens"], 23);

    // The reader without a program of its own, with one, and with another circuit in the trust file.
    let (code, report) = verify(&colophon, &receipt.json, &circuit(), &[]);
    assert_eq!((code, report["verified_level"].as_str()), (Some(0), Some("sign")), "{report:#}");
    assert!(detail(&report, "proof").1.contains("--prover-cmd"), "{report:#}");
    let command = scripted.command();
    let with = ["--prover-cmd", command.as_str()];
    let (code, report) = verify(&colophon, &receipt.json, &circuit(), &with);
    assert_eq!((code, report["verified_level"].as_str()), (Some(0), Some("zk")), "{report:#}");
    assert_eq!((&report["proof"]["verified"], &report["draw"]["evidence"]), (&true.into(), &"holds".into()));
    assert!(report["not_proven"].to_string().contains("neither the answer's truth"), "{report:#}");
    let (code, report) = verify(&colophon, &receipt.json, &"ee".repeat(32), &with);
    assert_eq!((code, report["verified_level"].as_str()), (Some(0), Some("sign")), "{report:#}");
    assert!(detail(&report, "proof").1.contains("does not name it"), "{report:#}");

    // What is logged stays, and the log is sound.
    assert_eq!(colophon.metric("colophon_proofs_logged_total"), Some(1.0));
    colophon.kill();
    colophon.restart();
    assert!(Fetched::of(&answer, colophon.listen()).receipt().evidence[0].proof.is_some());
    assert!(colophon.stop().success());
    let (code, said) = colophon::run(&["log", "check", &colophon.data().display().to_string(), "--json"]);
    let report: Value = serde_json::from_str(&said).expect("JSON");
    assert!(code == 0 && report["drawn"]["with_evidence"] == 1, "{said}");
}
