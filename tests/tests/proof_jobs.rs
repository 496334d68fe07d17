//! Jobs as whoever asks for them sees them: withdrawn and asked for again, downloaded, watched on a terminal, paid for, and what a rule
//! says of one that does not come.

use std::fs;
use std::process::Command;

use colophon_receipt::evidence::Verdict;
use colophon_receipt::receipt::Bytes;
use colophon_tests::client::get;
use colophon_tests::colophon;
use colophon_tests::provers::{
    ByHand, SCRIPT, Scripted, artefact, chat, command, record, settled, start, upstream, verdict,
};
use colophon_tests::receipts::Fetched;
use colophon_tests::wire::Message;
use colophon_tests::{PATIENCE, process, wait_for};
use serde_json::{Value, json};

fn json_of(answer: &Message) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {}", answer.text()))
}

#[test]
fn a_job_is_withdrawn_asked_for_again_and_what_it_proves_downloaded() {
    let (upstream, scripted) = (upstream(), Scripted::new(SCRIPT, "workers: 0\n"));
    let colophon = start(&upstream, &scripted, "    deadline: 1h");
    let answer = chat(&colophon);
    let (hand, about) = (ByHand::new(&colophon), record(&answer));
    let shown = wait_for(PATIENCE, || {
        let shown = hand.ask("GET", &format!("/v1/proofs/{about}"));
        (shown.status() == 200).then(|| json_of(&shown))
    });
    let job = shown.unwrap_or_else(|| panic!("{}", colophon.log()));
    let id = job["id"].as_str().expect("an id");
    let at = |more: &str| format!("/v1/proofs/{id}{more}");
    assert_eq!((&job["state"]["state"], &job["request"]["rule"]), (&json!("queued"), &json!("decided")));
    // The same question is the same job, however often it is asked.
    let ask = || hand.post("/v1/proofs", &json!({"record": about, "level": "zk", "priority": 7}));
    for _ in 0..3 {
        let again = ask();
        assert_eq!((again.status(), &json_of(&again)["id"]), (202, &job["id"]), "{}", again.text());
    }
    assert_eq!(hand.ask("GET", &at("/artefact")).status(), 409);

    // Not by its record: there may be several jobs about that.
    let guessed = hand.ask("DELETE", &format!("/v1/proofs/{about}"));
    assert_eq!(guessed.status(), 400, "{}", guessed.text());
    assert_eq!(json_of(&hand.ask("GET", &at("")))["state"]["state"], "queued");
    // Withdrawn, nobody gets it, and the log says that nothing was done.
    assert_eq!(json_of(&hand.ask("DELETE", &at("")))["state"]["state"], "cancelled");
    let idle = hand.post("/v1/proofs/lease", &json!({"worker": "by hand", "backends": ["script"]}));
    assert_eq!(idle.status(), 204, "{}", idle.text());
    assert_eq!(verdict(&settled(&colophon, &answer).receipt()), Verdict::NotDone);

    // Asked for again it begins anew, and what is proven is there for whoever has the token.
    let again = ask();
    let again = (again.status(), json_of(&again));
    assert_eq!((again.0, &again.1["state"]["state"]), (202, &json!("queued")), "{}", again.1);
    assert_eq!((&again.1["id"], &again.1["request"]["priority"]), (&job["id"], &json!(7)));
    assert_eq!(hand.lease()["id"], job["id"]);
    let bytes = serde_json::to_value(Bytes(b"a proof".to_vec())).expect("base64");
    let proven = json!({"worker": "by hand", "artefact": artefact(b"a proof"), "bytes": bytes});
    assert_eq!(hand.post(&at("/proven"), &proven).status(), 200);
    assert_eq!(ask().status(), 200);
    assert_eq!(hand.ask("GET", &at("/artefact")).body, b"a proof");
    assert_eq!(json_of(&hand.ask("DELETE", &at("")))["state"]["state"], "proven", "one that has ended stays");
    let both = wait_for(PATIENCE, || {
        let evidence = Fetched::of(&answer, colophon.listen()).receipt().evidence;
        (evidence.len() == 2 && evidence[1].proof.is_some()).then_some(())
    });
    assert!(both.is_some(), "{}", colophon.log());
    for target in [at(""), at("/artefact"), "/v1/proofs".into()] {
        assert_eq!(get(colophon.admin(), &target).status(), 401);
    }
    assert_eq!(hand.ask("GET", &format!("/v1/proofs/{}", "0".repeat(32))).status(), 404);
}

/// Proves for as long as the file `go` is not there, and thinks that it takes 100 CPU seconds.
fn waiting() -> String {
    let estimate = r#"*'"op":"estimate"'*) echo '{"result":{"cpu_seconds":100,"memory":1000000}}' ;;"#;
    let goes_on = r#"while [ ! -f "$(dirname "$0")/go" ]; do sleep 0.2; done; printf %s "$said" > artefact"#;
    let script = SCRIPT.replace(r#"printf %s "$said" > artefact"#, goes_on);
    script.replace(
        "*) echo '{\"result\":{\"prover\"",
        &format!("{estimate}\n*) echo '{{\"result\":{{\"prover\""),
    )
}

#[test]
fn how_far_a_proof_is_is_seen_in_the_job_on_a_terminal_and_in_metrics() {
    let (upstream, scripted) = (upstream(), Scripted::new(&waiting(), ""));
    let provers = fs::read_to_string(scripted.file()).expect("the provers");
    fs::write(scripted.file(), provers.replace("seconds: 20}", "seconds: 300}")).expect("the provers");
    let colophon = start(&upstream, &scripted, "    deadline: 1h");
    let answer = chat(&colophon);
    let id = record(&answer);
    let seen = wait_for(PATIENCE, || {
        let (code, said) = command(&colophon, &["proof", "show", &id]);
        (code == 0 && said.contains("40 % done, witness, about ")).then_some(said)
    });
    let said = seen.unwrap_or_else(|| panic!("{}", colophon.log()));
    assert!(said.contains(" s of computing left"), "{said}");
    let (_, said) = command(&colophon, &["proof", "show", &id, "--json"]);
    let job: Value = serde_json::from_str(&said).expect("a job");
    let progress = &job["state"]["progress"];
    assert_eq!((&progress["stage"], &progress["percent"]), (&json!("witness"), &json!(40)), "{job:#}");
    assert!(progress["seconds_left"].as_u64().is_some_and(|left| left < 100), "{job:#}");
    assert_eq!(colophon.metric("colophon_proof_jobs{state=\"leased\"}"), Some(1.0));
    assert_eq!(colophon.metric("colophon_proof_progress_percent"), Some(40.0));

    // On a terminal, a bar. `script` gives the program one.
    let data = colophon.data().display().to_string();
    let submit = colophon::command(&["proof", "submit", &id, "--wait", "--data", &data]);
    let words: Vec<String> = std::iter::once(submit.get_program())
        .chain(submit.get_args())
        .map(|word| format!("'{}'", word.to_string_lossy()))
        .collect();
    let log = colophon.folder().join("terminal");
    let mut terminal = Command::new("script");
    terminal.args(["--quiet", "--return", "--flush", "--command", &words.join(" ")]).arg(&log);
    let mut running = process::Process::start(&mut terminal, &colophon.folder().join("script.log"));
    let shown = || String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()).into_owned();
    let bar = wait_for(PATIENCE, || {
        let shown = shown();
        (shown.contains("proving ") && shown.contains(" 40 % witness, about ")).then_some(())
    });
    assert!(bar.is_some(), "{}\n{}", shown(), running.log());
    fs::write(scripted.script().with_file_name("go"), "").expect("a file");
    let done = wait_for(PATIENCE, || shown().contains("proven: ").then_some(()));
    assert!(done.is_some(), "{}\n{}", shown(), colophon.log());
    running.kill();
    assert_eq!(verdict(&settled(&colophon, &answer).receipt()), Verdict::Holds);
    let idle = wait_for(PATIENCE, || {
        (colophon.metric("colophon_proof_progress_percent") == Some(0.0)).then_some(())
    });
    assert!(idle.is_some());
}

#[test]
fn a_rule_that_downgrades_goes_on_and_raises_no_alarm() {
    let (upstream, scripted) = (upstream(), Scripted::new("exit 1", ""));
    let colophon = start(&upstream, &scripted, "    deadline: 1s\n    onMiss: Downgrade");
    for _ in 0..2 {
        let answer = chat(&colophon);
        assert_eq!(answer.status(), 200);
        let receipt = settled(&colophon, &answer);
        assert_eq!(verdict(&receipt.receipt()), Verdict::NotDone);
        let (code, report) = receipt.report_by_colophon(colophon.listen(), &[]);
        assert_eq!((code, report["verified_level"].as_str()), (0, Some("sign")), "{report:#}");
        assert_eq!(report["draw"]["evidence"], "not-done", "{report:#}");
    }
    assert_eq!(colophon.metric("colophon_proofs_missed_total"), Some(2.0));
    assert!(!colophon.log().contains("ALERT"), "{}", colophon.log());
}

#[test]
fn a_rule_spends_no_more_cpu_seconds_than_its_budget_and_others_their_own() {
    let busy = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done\nprintf %s";
    let script = SCRIPT.replace("printf %s", busy);
    let more = "budgets: {decided: {cpuSecondsPerHour: 0.01}, '*': {cpuSecondsPerHour: 1000}}\n";
    let (upstream, scripted) = (upstream(), Scripted::new(&script, more));
    let colophon = start(&upstream, &scripted, "    deadline: 1h");
    // Of two hours of the clock each has its own.
    let mut verdicts = Vec::new();
    for _ in 0..3 {
        verdicts.push(verdict(&settled(&colophon, &chat(&colophon)).receipt()));
    }
    let held = verdicts.iter().filter(|verdict| **verdict == Verdict::Holds).count();
    assert!(verdicts[0] == Verdict::Holds && held < 3, "{verdicts:?}\n{}", colophon.log());
    assert_eq!(colophon.metric("colophon_proofs_declined_total"), Some((3 - held) as f64));
    assert!(colophon.log().contains("CPU seconds"), "{}", colophon.log());
}

#[test]
fn nothing_is_said_of_a_draw_while_another_job_may_still_prove_it() {
    let (upstream, scripted) = (upstream(), Scripted::new(SCRIPT, "workers: 0\n"));
    // The same circuit by another prover, which fails.
    let provers = fs::read_to_string(scripted.file()).expect("the provers");
    let other = "- name: other\n  program: [/bin/false]\n  circuit: circuit\n";
    let with = format!("{other}workers: 0\n");
    fs::write(scripted.file(), provers.replace("workers: 0\n", &with)).expect("the provers");
    let colophon = start(&upstream, &scripted, "    deadline: 1h");
    let answer = chat(&colophon);
    let hand = ByHand::new(&colophon);
    let job = hand.lease();
    let asked = hand.post("/v1/proofs", &json!({"record": record(&answer), "backend": "other"}));
    assert_eq!(asked.status(), 202, "{}", asked.text());
    let failed = json!({"worker": "by hand", "failure": {"code": "refused", "message": "no"}, "again": false, "cpu_seconds": 0.0});
    let target = format!("/v1/proofs/{}/failed", job["id"].as_str().expect("an id"));
    assert_eq!(hand.post(&target, &failed).status(), 200);
    // Longer than the log looks for what has ended.
    colophon_tests::pause(std::time::Duration::from_secs(5));
    assert!(Fetched::of(&answer, colophon.listen()).receipt().evidence.is_empty());
    let lease = hand.post("/v1/proofs/lease", &json!({"worker": "by hand", "backends": ["other"]}));
    let other = json_of(&lease);
    assert_eq!(other["request"]["evidence"], job["request"]["evidence"], "both are about one draw");
    let bytes = serde_json::to_value(Bytes(b"a proof".to_vec())).expect("base64");
    let proven = json!({"worker": "by hand", "artefact": artefact(b"a proof"), "bytes": bytes});
    let target = format!("/v1/proofs/{}/proven", other["id"].as_str().expect("an id"));
    assert_eq!(hand.post(&target, &proven).status(), 200);
    let receipt = settled(&colophon, &answer).receipt();
    assert_eq!((verdict(&receipt), receipt.evidence.len()), (Verdict::Holds, 1));
    assert_eq!(colophon.metric("colophon_proofs_missed_total"), Some(0.0));
}
