//! Sampling that the operator cannot steer: what may be drawn is in the record's leaf, a later round of public randomness
//! draws, each record that is drawn gets an evidence leaf, and whoever has the round re-computes all of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use colophon_receipt::draw::{DELAY, Schedule, drawn};
use colophon_receipt::evidence::{EvidenceLeaf, Verdict};
use colophon_receipt::fields::{self, DecisionField};
use colophon_receipt::level::Level;
use colophon_receipt::merkle::{Hash, leaf_hash, sha256};
use colophon_receipt::receipt::Receipt;
use colophon_signer::drand::{Chain, Round};
use colophon_tests::client::{get, post};
use colophon_tests::colophon::{self, Colophon};
use colophon_tests::provers::{self, SCRIPT, Scripted};
use colophon_tests::receipts::Fetched;
use colophon_tests::upstream::Upstream;
use colophon_tests::wire::Message;
use colophon_tests::{PATIENCE, paths, process, wait_for};

const OK: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{\"id\":\"x\"}";
/// Round 123 of quicknet, as published.
const ROUND: &str = r#"{"round":123,"signature":"b75c69d0b72a5d906e854e808ba7e2accb1542ac355ae486d591aa9d43765482e26cd02df835d3546d23c4b13e0dfc92"}"#;

fn policy(sample: &str) -> String {
    format!(
        "\
apiVersion: colophon.dev/v1alpha1
kind: ProvenancePolicy
metadata: {{name: sampling}}
spec:
  defaults: {{level: commit, failurePolicy: Ignore}}
  rules:
  - name: chat
    matches: [{{apis: [chat]}}]
    level: sign
    sample: {sample}
"
    )
}

/// Quicknet's key, and a schedule by which its round 123 is the one of all statements of these days.
fn chain() -> Chain {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_secs();
    let period = 1_000_000;
    let schedule = Schedule { genesis: now + DELAY + period / 2 - 122 * period, period };
    Chain { schedule, ..Chain::quicknet() }
}

/// A folder for the chain's description and its rounds.
struct Rounds {
    folder: tempfile::TempDir,
}

impl Rounds {
    fn new() -> Rounds {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("chain.json"), chain().to_info()).expect("the chain");
        fs::create_dir(folder.path().join("rounds")).expect("a folder");
        Rounds { folder }
    }

    fn chain(&self) -> String {
        self.folder.path().join("chain.json").display().to_string()
    }

    fn source(&self) -> PathBuf {
        self.folder.path().join("rounds")
    }

    fn publish(&self) {
        let part = self.folder.path().join("part");
        fs::write(&part, ROUND).expect("the round");
        fs::rename(part, self.source().join("123.json")).expect("the round");
    }
}

fn randomness() -> Hash {
    sha256(&Round::parse(ROUND.as_bytes()).expect("a round").signature)
}

fn start(upstream: &Upstream, rounds: &Rounds, sample: &str) -> Colophon {
    Colophon::start(&upstream.url(), |options| {
        options.policy = Some(policy(sample));
        options.arg(&["--drand-chain", &rounds.chain(), "--drand", &rounds.source().display().to_string()]);
    })
}

fn chat(colophon: &Colophon) -> Message {
    post(colophon.listen(), "/v1/chat/completions", "{}")
}

/// `colophon-verify --json` on a receipt, with the proxy's trust file: its exit code and its report.
fn verify(colophon: &Colophon, receipt: &Fetched, more: &[&str]) -> (i32, serde_json::Value) {
    receipt.report(&get(colophon.listen(), "/.well-known/colophon/keys").body, more)
}

/// `colophon log check --json`.
fn check(data: &Path, chain: &str) -> (i32, serde_json::Value) {
    let data = data.display().to_string();
    let (code, said) = colophon::run(&["log", "check", &data, "--json", "--drand-chain", chain]);
    (code, serde_json::from_str(&said).unwrap_or_else(|_| said.into()))
}

fn evidence(receipt: &Receipt) -> Vec<EvidenceLeaf> {
    let leaf = |part: &colophon_receipt::receipt::EvidencePart| {
        EvidenceLeaf::decode(&part.leaf.0).expect("an evidence leaf")
    };
    receipt.evidence.iter().map(leaf).collect()
}

#[test]
fn a_later_round_draws_and_anybody_recomputes_it() {
    let (upstream, rounds) = (Upstream::answering(OK), Rounds::new());
    let mut colophon = start(&upstream, &rounds, "{percent: 50, to: zk, draw: PostCommit}");
    let answers: Vec<Message> = (0..16).map(|_| chat(&colophon)).collect();
    let early: Vec<Fetched> = answers.iter().map(|answer| Fetched::of(answer, colophon.listen())).collect();
    assert!(early.iter().all(|receipt| receipt.leaf.draw == Some(((1 << 63), Level::Zk))));
    let other = Fetched::of(&post(colophon.listen(), "/v1/embeddings", "{}"), colophon.listen());
    assert_eq!(other.leaf.draw, None, "another rule's");
    // Before the round: nobody can say, the operator included.
    let (code, report) = verify(&colophon, &early[0], &["--drand-chain", &rounds.chain()]);
    assert!(code == 0 && report["draw"]["drawn"].is_null(), "{report:#}");
    assert_eq!(report["draw"]["operator_influenced"], true);
    // Whoever has the round can, from the receipt as it is.
    let own = rounds.folder.path().join("own.json");
    fs::write(&own, ROUND).expect("the round");
    let own = own.display().to_string();
    let (code, report) = verify(&colophon, &early[0], &["--drand-chain", &rounds.chain(), "--round", &own]);
    let is = drawn(&randomness(), &leaf_hash(&early[0].receipt().record.leaf.0), 1 << 63);
    assert_eq!((code, &report["draw"]["drawn"]), (0, &is.into()), "{report:#}");
    // Of quicknet's own schedule it is another round.
    assert_eq!(verify(&colophon, &early[0], &["--round", &own]).0, 1);
    assert!(colophon.metric("colophon_draws_waiting").is_some_and(|waiting| waiting > 0.0));
    // A kill and a restart lose nothing that waits.
    colophon.kill();
    rounds.publish();
    colophon.restart();
    // The gauge is 0 too before the notes of the life before are read; the round is there only after.
    let drew = || Fetched::of(&answers[0], colophon.listen()).receipt().round.is_some();
    let done = wait_for(PATIENCE * 2, || {
        (drew() && colophon.metric("colophon_draws_waiting") == Some(0.0)).then_some(())
    });
    assert!(done.is_some(), "still to be drawn: {}", get(colophon.admin(), "/metrics").text());
    let mut count = 0;
    for answer in &answers {
        let receipt = Fetched::of(answer, colophon.listen());
        let hash = leaf_hash(&receipt.receipt().record.leaf.0);
        let is = drawn(&randomness(), &hash, 1 << 63);
        let found = evidence(&receipt.receipt());
        assert_eq!(found.len(), usize::from(is));
        assert!(found.iter().all(|leaf| leaf.subject == hash && leaf.verdict == Verdict::NotDone));
        count += found.len();
        let (code, report) = verify(&colophon, &receipt, &["--drand-chain", &rounds.chain()]);
        assert_eq!((code, &report["draw"]["drawn"]), (0, &is.into()), "{report:#}");
        assert_eq!(report["draw"]["operator_influenced"], true, "no timestamp shows otherwise");
        let said = if is { serde_json::Value::from("not-done") } else { serde_json::Value::Null };
        assert_eq!(report["draw"]["evidence"], said);
    }
    // By quicknet itself, which is not what this one drew by, nothing is said.
    let receipt = Fetched::of(&answers[0], colophon.listen());
    let (code, report) = verify(&colophon, &receipt, &[]);
    assert!(report["draw"]["drawn"].is_null(), "{code:?} {report:#}");
    assert!(colophon.stop().success());
    let (code, report) = check(&colophon.data(), &rounds.chain());
    assert_eq!(code, 0, "{report:#}");
    let told = &report["drawn"];
    assert_eq!((&told["records"], &told["drawn"]), (&16.into(), &count.into()), "{report:#}");
    assert_eq!((&told["with_evidence"], &told["not_done"]), (&count.into(), &count.into()));
    // An export has a receipt of each exchange; evidence is none.
    let (data, folder) = (colophon.data().display().to_string(), rounds.folder.path().join("export"));
    let (code, said) = colophon::run(&["receipt", "export", &data, "-o", &folder.display().to_string()]);
    assert!(said.contains("17 receipts of 17 recorded"), "{code} {said}");
    let output =
        process::run(Command::new(paths::program("colophon-verify")).arg(&folder).arg("--json"), PATIENCE);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a report");
    assert_eq!(
        (&report["unbroken"], &report["receipts"]["verified"]),
        (&true.into(), &17.into()),
        "{report:#}"
    );
    // A round that was altered afterwards is found.
    let kept = colophon.data().join("draw/round").join(hex::encode(chain_of(&rounds).hash())).join("123");
    let text = fs::read_to_string(&kept).expect("the round in the store");
    fs::write(&kept, text.replace("b75c", "b75d")).expect("the round in the store");
    let (code, report) = check(&colophon.data(), &rounds.chain());
    assert!(code == 1 && report.to_string().contains("the signature of round 123 is bad"), "{report:#}");
}

fn chain_of(rounds: &Rounds) -> Chain {
    Chain::from_info(&fs::read(rounds.chain()).expect("the chain")).expect("the chain")
}

#[test]
fn a_local_draw_is_made_at_once_and_says_whose_it_is() {
    let (upstream, rounds) = (Upstream::answering(OK), Rounds::new());
    let how = |receipt: &Fetched| {
        let decision = receipt.field(fields::DECISION).expect("a decision");
        DecisionField::read(decision).expect("a decision").draw.map(|how| how.into_owned())
    };
    let colophon = start(&upstream, &rounds, "{percent: 50, to: zk, draw: Local}");
    let answers: Vec<Message> = (0..24).map(|_| chat(&colophon)).collect();
    let mut counts = [0, 0];
    for answer in &answers {
        let receipt = Fetched::of(answer, colophon.listen());
        assert_eq!(how(&receipt).as_deref(), Some("Local"));
        match receipt.leaf.draw {
            None => counts[0] += 1,
            Some(draw) => {
                assert_eq!(draw, (u64::MAX, Level::Zk));
                counts[1] += 1;
                let came = wait_for(PATIENCE * 2, || {
                    let receipt = Fetched::of(answer, colophon.listen());
                    (!receipt.receipt().evidence.is_empty()).then_some(receipt)
                });
                let receipt = came.expect("its evidence leaf, without any round");
                let (code, report) = verify(&colophon, &receipt, &[]);
                assert_eq!((code, &report["draw"]["evidence"]), (0, &"not-done".into()), "{report:#}");
                assert_eq!(report["draw"]["operator_influenced"], true);
            }
        }
    }
    assert!(counts[0] > 0 && counts[1] > 0, "{counts:?} of 24, at 50 %");
}

#[test]
fn what_is_drawn_for_zk_is_proven_where_there_is_a_prover_and_nothing_else_is() {
    for draw in ["PostCommit", "Local"] {
        let (upstream, rounds, scripted) = (provers::upstream(), Rounds::new(), Scripted::new(SCRIPT, ""));
        let colophon = Colophon::start(&upstream.url(), |options| {
            options.policy = Some(policy(&format!("{{percent: 50, to: zk, draw: {draw}}}")));
            options.arg(&[
                "--drand-chain",
                &rounds.chain(),
                "--drand",
                &rounds.source().display().to_string(),
            ]);
            options.arg(&["--provers", &scripted.file().display().to_string()]);
        });
        let answers: Vec<Message> = (0..16).map(|_| chat(&colophon)).collect();
        rounds.publish();
        let mut counts = [0, 0];
        for answer in &answers {
            let receipt = Fetched::of(answer, colophon.listen());
            let hash = leaf_hash(&receipt.receipt().record.leaf.0);
            let is = receipt.leaf.draw.is_some_and(|(below, _)| drawn(&randomness(), &hash, below));
            counts[usize::from(is)] += 1;
            if is {
                let receipt = provers::settled(&colophon, answer).receipt();
                assert_eq!(evidence(&receipt)[0].verdict, Verdict::Holds, "{draw}: {}", colophon.log());
                assert!(receipt.evidence[0].proof.is_some());
            }
        }
        assert!(counts[0] > 0 && counts[1] > 0, "{counts:?} of 16, at 50 %");
        assert_eq!(colophon.metric("colophon_proofs_logged_total"), Some(f64::from(counts[1])));
    }
}

#[test]
fn explain_and_test_say_what_a_sample_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("p.yaml");
    let explain = |sample: &str| {
        fs::write(&file, policy(sample)).expect("the policy");
        let file = file.display().to_string();
        let args = ["policy", "explain", &file, "--method", "POST", "--path", "/v1/chat/completions"];
        let (code, said) = colophon::run(&args);
        assert_eq!(code, 0, "{said}");
        said.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let said = explain("{percent: 0.25, to: zk, draw: PostCommit}");
    for part in ["0.25 % are drawn for zk, by the drand round", "an evidence leaf says \"not done\""] {
        assert!(said.contains(part), "{said}");
    }
    let said = explain("{percent: 2, to: tee, draw: Local}");
    assert!(
        said.contains("2 % are drawn for tee, at once") && said.contains("operator-influenced"),
        "{said}"
    );
    let test = |sampled: &str| {
        let case = format!(
            "cases:\n- name: chat\n  request: {{method: POST, path: /v1/chat/completions}}\n  expect: {{sampled: {sampled}}}\n"
        );
        fs::write(folder.path().join("p.test.yaml"), case).expect("the cases");
        colophon::run(&["policy", "test", &file.display().to_string()])
    };
    let (code, said) = test("\"2 % for tee, Local\"");
    assert_eq!(code, 0, "{said}");
    let (code, said) = test("No");
    assert!(code == 1 && said.contains("sampled: expected No, got 2 % for tee, Local"), "{said}");
}
