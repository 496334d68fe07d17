//! The `zk` level, the whole way: a rule asks for a proof, the answer leaves at once, a worker proves, the log says what came of
//! it, and a reader's own program looks at the proof in the receipt.

use std::fs;
use std::time::Duration;

use colophon_receipt::evidence::Verdict;
use colophon_receipt::fields::{self, DecisionField};
use colophon_receipt::level::Level;
use colophon_tests::client::get;
use colophon_tests::colophon::{self, Colophon};
use colophon_tests::faults::{Fault, Faults};
use colophon_tests::fleet::Fleet;
use colophon_tests::provers::{
    SCRIPT, Scripted, chat, circuit, command, policy, record, settled, start, trusting, upstream, verdict,
};
use colophon_tests::receipts::Fetched;
use colophon_tests::upstream::Upstream;
use colophon_tests::wire::Message;
use colophon_tests::{PATIENCE, pause, wait_for};
use serde_json::Value;

/// `colophon-verify --json` with a trust file that names the circuit: exit code and report.
fn verify(colophon: &Colophon, receipt: &Fetched, named: &str, more: &[&str]) -> (i32, Value) {
    let keys = get(colophon.listen(), "/.well-known/colophon/keys").body;
    receipt.report(&trusting(&keys, "the classifier", named), more)
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
    let (code, report) = verify(&colophon, &receipt, &circuit(), &[]);
    assert_eq!((code, report["verified_level"].as_str()), (0, Some("sign")), "{report:#}");
    assert!(detail(&report, "proof").1.contains("--prover-cmd"), "{report:#}");
    let command = scripted.command();
    let with = ["--prover-cmd", command.as_str()];
    let (code, report) = verify(&colophon, &receipt, &circuit(), &with);
    assert_eq!((code, report["verified_level"].as_str()), (0, Some("zk")), "{report:#}");
    assert_eq!((&report["proof"]["verified"], &report["draw"]["evidence"]), (&true.into(), &"holds".into()));
    assert!(report["not_proven"].to_string().contains("neither the answer's truth"), "{report:#}");
    let (code, report) = verify(&colophon, &receipt, &"ee".repeat(32), &with);
    assert_eq!((code, report["verified_level"].as_str()), (0, Some("sign")), "{report:#}");
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

/// A prover that never ends.
const HANGS: &str = "sleep 600";
/// A prover whose proofs its own verifier refuses.
const LIES: &str = r#"
read -r call
case $call in
*'"op":"prove"'*) echo nonsense > artefact; echo '{"result":{}}' ;;
*'"op":"verify"'*) echo '{"error":{"refused":true,"message":"that is no proof"}}' ;;
*) echo '{"result":{"prover":"liar 1","circuits":[],"hides":false}}' ;;
esac
"#;

#[test]
fn what_a_rule_refuses_after_a_miss_is_served_again_once_a_proof_was_made() {
    // Its second is over before its job is queued, or while it hangs.
    let (upstream, scripted) = (upstream(), Scripted::new(HANGS, ""));
    let colophon = start(&upstream, &scripted, "    deadline: 1s\n    onMiss: Fail");
    let answer = chat(&colophon);
    let receipt = settled(&colophon, &answer);
    assert_eq!(verdict(&receipt.receipt()), Verdict::NotDone);
    assert_eq!(colophon.metric("colophon_proofs_missed_total"), Some(1.0));
    let refused = chat(&colophon);
    assert_eq!(refused.status(), 503, "{}", refused.text());
    assert!(colophon.log().contains("ALERT"), "{}", colophon.log());

    // Somebody asks for it after all.
    fs::write(scripted.script(), SCRIPT).expect("the script");
    let id = record(&answer);
    let (code, said) = command(&colophon, &["proof", "submit", &id, "--wait"]);
    assert!(code == 0 && said.contains("proven: "), "{said}");
    let served = wait_for(PATIENCE, || (chat(&colophon).status() == 200).then_some(()));
    assert!(served.is_some(), "{}", colophon.log());
    let later = Fetched::of(&answer, colophon.listen());
    let parts = later.receipt().evidence;
    assert_eq!(parts.len(), 2, "that it was missed stays in the log");
    assert!(parts[0].proof.is_none() && parts[1].proof.is_some());
    let command_line = scripted.command();
    let (code, report) = verify(&colophon, &later, &circuit(), &["--prover-cmd", command_line.as_str()]);
    assert_eq!((code, report["verified_level"].as_str()), (0, Some("zk")), "{report:#}");
    // The same again is the same job.
    let (code, again) = command(&colophon, &["proof", "submit", &id, "--json"]);
    let (_, shown) = command(&colophon, &["proof", "show", &id, "--json"]);
    assert!(code == 0 && again == shown && again.contains("\"logged\":true"), "{again}\n{shown}");

    // Erased, nothing of it is left.
    let kept = colophon.data().join("private/proof").join(id.replace('-', ""));
    assert!(fs::read_dir(&kept).is_ok_and(|mut files| files.next().is_some()), "{}", kept.display());
    let (code, said) = command(&colophon, &["erase", "--record", &id]);
    assert_eq!(code, 0, "{said}");
    assert!(!kept.exists() || fs::read_dir(&kept).is_ok_and(|mut files| files.next().is_none()));
    let (code, said) = command(&colophon, &["proof", "show", &id]);
    assert!(code == 1 && said.contains("erased"), "{said}");
}

#[test]
fn a_prover_that_lies_or_hangs_proves_nothing_and_holds_nothing_up() {
    for (script, why) in [(LIES, "that is no proof"), (HANGS, "seconds")] {
        let (upstream, scripted) = (upstream(), Scripted::new(script, ""));
        // Of what hangs, a short limit ends the try.
        let file = fs::read_to_string(scripted.file()).expect("the provers");
        fs::write(scripted.file(), file.replace("seconds: 20}", "seconds: 2}")).expect("the provers");
        let colophon = start(&upstream, &scripted, "    deadline: 1h\n    onMiss: Alert");
        let answers: Vec<Message> = (0..3).map(|_| chat(&colophon)).collect();
        assert!(answers.iter().all(|answer| answer.status() == 200));
        for answer in &answers {
            let receipt = settled(&colophon, answer);
            assert_eq!(verdict(&receipt.receipt()), Verdict::NotDone);
            assert!(receipt.receipt().evidence[0].proof.is_none());
        }
        let (_, said) = command(&colophon, &["proof", "show", &record(&answers[0])]);
        assert!(said.contains("failed: ") && said.contains(why), "{said}");
        assert!(colophon.log().contains("ALERT"), "{}", colophon.log());
    }
}

#[test]
fn a_kill_in_the_middle_of_a_proof_leaves_one_proof_and_one_leaf() {
    let (upstream, scripted) = (upstream(), Scripted::new(HANGS, ""));
    let mut colophon = start(&upstream, &scripted, "    deadline: 1h");
    let answer = chat(&colophon);
    let leased = "colophon_proof_jobs{state=\"leased\"}";
    let begun = wait_for(PATIENCE, || (colophon.metric(leased) == Some(1.0)).then_some(()));
    assert!(begun.is_some(), "{}", get(colophon.admin(), "/metrics").text());
    colophon.kill();
    fs::write(scripted.script(), format!("#!/bin/sh\n{SCRIPT}")).expect("the script");
    colophon.restart();
    let receipt = settled(&colophon, &answer);
    assert_eq!((verdict(&receipt.receipt()), receipt.receipt().evidence.len()), (Verdict::Holds, 1));
    let (_, said) = command(&colophon, &["proof", "show", &record(&answer), "--json"]);
    let job: Value = serde_json::from_str(&said).expect("a job");
    assert_eq!((&job["tries"], &job["logged"]), (&2.into(), &true.into()), "{job:#}");
    assert!(colophon.stop().success());
    let (code, said) = colophon::run(&["log", "check", &colophon.data().display().to_string()]);
    assert_eq!(code, 0, "{said}");
}

#[test]
fn a_worker_of_its_own_proves_for_a_queue_that_has_none() {
    let (upstream, scripted) = (upstream(), Scripted::new(SCRIPT, "workers: 0\n"));
    let colophon = start(&upstream, &scripted, "    deadline: 1h");
    let answer = chat(&colophon);
    let ready = "colophon_proof_jobs{state=\"ready\"}";
    assert!(wait_for(PATIENCE, || (colophon.metric(ready) == Some(1.0)).then_some(())).is_some());
    let file = scripted.file().display().to_string();
    let (code, said) = command(&colophon, &["prover", "--provers", &file, "--once"]);
    assert!(code == 0 && said.contains("proven"), "{said}");
    assert_eq!(verdict(&settled(&colophon, &answer).receipt()), Verdict::Holds);
    let (code, said) = command(&colophon, &["prover", "--provers", &file, "--once"]);
    assert!(code == 0 && said.contains("there is no job"), "{said}");
    // Nobody else may.
    assert_eq!(get(colophon.admin(), "/v1/proofs").status(), 401);
}

#[test]
fn what_cannot_be_served_is_refused_at_the_start_or_by_the_rules_word() {
    let (upstream, scripted) = (upstream(), Scripted::new(SCRIPT, ""));
    // The policy names another prover than is there.
    let colophon = Colophon::start(&upstream.url(), |options| {
        options.policy = Some(policy("other", "    failurePolicy: Fail"));
        options.arg(&["--provers", &scripted.file().display().to_string()]);
    });
    assert_eq!(chat(&colophon).status(), 503);
    assert!(colophon.log().contains("a prover that --provers does not define"), "{}", colophon.log());
    // A file that is wrong, and a circuit that is not there.
    for (from, to, why) in [
        ("cpuSeconds", "cpus", "unknown field"),
        ("circuit: circuit", "circuit: nowhere", "circuit.json"),
        ("name: script", "name: [script]", "provers"),
    ] {
        let text = fs::read_to_string(scripted.file()).expect("the provers").replace(from, to);
        let file = scripted.file().with_file_name("wrong.yaml");
        fs::write(&file, text).expect("the provers");
        let (status, said) = Colophon::refused(&upstream.url(), |options| {
            options.arg(&["--provers", &file.display().to_string()]);
        });
        assert!(!status.success() && said.contains(why), "{said}");
    }
}

#[test]
fn a_stop_does_not_wait_for_a_log_that_is_away() {
    let folder = tempfile::tempdir().expect("a folder");
    let fleet = Fleet::new(folder.path());
    let log = fleet.replica_on_disk();
    let way = Faults::before(log.listen());
    let (upstream, scripted) = (upstream(), Scripted::new(SCRIPT, "workers: 0\n"));
    let file = scripted.file().display().to_string();
    let mut colophon = fleet.sidecar(&upstream.url(), &[way.url()], |options| {
        options.policy = Some(policy("script", "    deadline: 1h"));
        options.arg(&["--provers", &file]);
    });
    let answer = chat(&colophon);
    let ready = "colophon_proof_jobs{state=\"ready\"}";
    assert!(wait_for(PATIENCE, || (colophon.metric(ready) == Some(1.0)).then_some(())).is_some());
    // What was proven cannot be logged now.
    way.set(Fault::Away);
    let (code, said) = command(&colophon, &["prover", "--provers", &file, "--once"]);
    assert!(code == 0 && said.contains("proven"), "{said}");
    pause(Duration::from_secs(3));
    assert_eq!(colophon.metric("colophon_proofs_logged_total"), Some(0.0));
    colophon.stop();
    // The next life has it logged.
    way.set(Fault::None);
    colophon.restart();
    assert_eq!(verdict(&settled(&colophon, &answer).receipt()), Verdict::Holds);
}

/// A proxy without workers, the answer to a chat whose proof waits in its queue, and a kill.
fn left_waiting(upstream: &Upstream, scripted: &Scripted, rule: &str) -> (Colophon, Message) {
    let mut colophon = start(upstream, scripted, rule);
    let answer = chat(&colophon);
    let ready = "colophon_proof_jobs{state=\"ready\"}";
    assert!(wait_for(PATIENCE, || (colophon.metric(ready) == Some(1.0)).then_some(())).is_some());
    colophon.kill();
    (colophon, answer)
}

fn with_a_worker(scripted: &Scripted) {
    let file = fs::read_to_string(scripted.file()).expect("the provers");
    fs::write(scripted.file(), file.replace("workers: 0", "workers: 1")).expect("the provers");
}

#[test]
fn a_queue_that_is_lost_is_made_anew_and_without_provers_the_log_says_not_done() {
    for provers in [true, false] {
        let (upstream, scripted) = (upstream(), Scripted::new(SCRIPT, "workers: 0\n"));
        let (mut colophon, answer) = left_waiting(&upstream, &scripted, "    deadline: 1h");
        fs::remove_dir_all(colophon.data().join("proofs")).expect("the queue");
        if provers {
            with_a_worker(&scripted);
        } else {
            colophon.options().args.clear();
        }
        colophon.restart();
        let receipt = settled(&colophon, &answer).receipt();
        let expected = if provers { Verdict::Holds } else { Verdict::NotDone };
        assert_eq!((verdict(&receipt), receipt.evidence.len()), (expected, 1));
    }
}

#[test]
fn a_start_without_provers_keeps_the_jobs_that_wait_until_their_deadline() {
    let (upstream, scripted) = (upstream(), Scripted::new(SCRIPT, "workers: 0\n"));
    let (mut colophon, answer) = left_waiting(&upstream, &scripted, "    deadline: 1h");
    let arguments = std::mem::take(&mut colophon.options().args);
    colophon.restart();
    assert!(colophon.log().contains("an earlier life has left proofs to be made"), "{}", colophon.log());
    // Longer than the log looks for what is drawn, twice over.
    pause(Duration::from_secs(12));
    assert_eq!(colophon.metric("colophon_proof_jobs{state=\"ready\"}"), Some(1.0));
    assert!(Fetched::of(&answer, colophon.listen()).receipt().evidence.is_empty(), "{}", colophon.log());
    colophon.kill();
    with_a_worker(&scripted);
    colophon.options().args = arguments;
    colophon.restart();
    assert_eq!(verdict(&settled(&colophon, &answer).receipt()), Verdict::Holds);

    // With a deadline that comes meanwhile, the log says that nothing was done.
    let scripted = Scripted::new(SCRIPT, "workers: 0\n");
    let (mut colophon, answer) = left_waiting(&upstream, &scripted, "    deadline: 20s");
    colophon.options().args.clear();
    colophon.restart();
    assert!(colophon.log().contains("an earlier life has left proofs to be made"), "{}", colophon.log());
    assert_eq!(verdict(&settled(&colophon, &answer).receipt()), Verdict::NotDone);
    assert_eq!(colophon.metric("colophon_proofs_missed_total"), Some(1.0));
}

#[test]
fn what_is_over_budget_is_not_proven_and_the_log_says_so() {
    let (upstream, scripted) = (upstream(), Scripted::new(SCRIPT, "budgets: {decided: {jobsPerHour: 1}}\n"));
    let colophon = start(&upstream, &scripted, "    deadline: 1h");
    let answers: Vec<Message> = (0..3).map(|_| chat(&colophon)).collect();
    let verdicts: Vec<Verdict> =
        answers.iter().map(|answer| verdict(&settled(&colophon, answer).receipt())).collect();
    let held = verdicts.iter().filter(|verdict| **verdict == Verdict::Holds).count();
    // Two where the clock's hour turned meanwhile.
    assert!((1..3).contains(&held), "{verdicts:?}");
    assert_eq!(colophon.metric("colophon_proofs_declined_total"), Some((3 - held) as f64));
}
