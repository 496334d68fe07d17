//! A rule that asks for a language model's proof: the bodies are kept in memory until they are token ids, where the operator says so, and
//! nothing is proven of what is not there any more.

use std::fs;
use std::io::Write as _;

use colophon_receipt::evidence::Verdict;
use colophon_tests::client::{get, post};
use colophon_tests::colophon::{self, Colophon};
use colophon_tests::faults::{Fault, Faults};
use colophon_tests::fleet::Fleet;
use colophon_tests::provers::{
    ByHand, SCRIPT, Scripted, circuit, command, policy, record, settled, start, trusting, verdict,
};
use colophon_tests::upstream::Upstream;
use colophon_tests::{PATIENCE, log, wait_for};

/// Proves by writing down the record and the token ids.
fn script() -> String {
    let features = r#"'.*"features":\({[^}]*}\)'"#;
    assert!(SCRIPT.contains(features));
    SCRIPT.replace(features, r#"'.*"output":\(\[[^]]*\]\)'"#)
}

const REQUEST: &str = r#"{"model":"m","messages":[{"role":"user","content":"ask"}]}"#;
const CHOICE: &str =
    r#""choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"say say"}}]"#;
const EVENTS: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"say \"}}]}\n\n\
    data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"say\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
const JSON: &str = "application/json";
/// A word that is nowhere by chance.
const WORD: &str = "unmistakable";

fn answer() -> String {
    format!("{{\"id\":\"x\",{CHOICE}}}")
}

fn answering(kind: &str, more: &str, body: &[u8]) -> Upstream {
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n{more}Content-Length: {}\r\n\r\n", body.len());
    Upstream::answering([head.as_bytes(), body].concat())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

fn declined(colophon: &Colophon) -> Option<f64> {
    colophon.metric("colophon_proofs_declined_total")
}

#[test]
fn a_rule_asks_for_an_answers_proof_and_its_bodies_are_kept_until_then() {
    let plain = answer();
    for (kind, more, body) in [
        (JSON, "", plain.clone().into_bytes()),
        (JSON, "Content-Encoding: gzip\r\n", gzip(plain.as_bytes())),
        ("text/event-stream", "", EVENTS.into()),
    ] {
        let scripted = Scripted::language(&script(), "keepBodies: 1000000\n");
        let upstream = answering(kind, more, &body);
        let colophon = start(&upstream, &scripted, "    deadline: 1h\n    failurePolicy: Fail");
        let message = post(colophon.listen(), "/v1/chat/completions", REQUEST);
        assert_eq!(message.status(), 200, "{}", message.text());
        let receipt = settled(&colophon, &message);
        assert_eq!(verdict(&receipt.receipt()), Verdict::Holds, "{kind} {more}: {}", colophon.log());
        let proof = receipt.receipt().evidence[0].proof.clone().expect("a proof").proof;
        assert_eq!(proof.statement.prompt, Some(vec![1, 4, 2]));
        assert_eq!(proof.statement.output, Some(vec![5, 5, 3]));

        // To the reader it is a proof like any other.
        let folder = tempfile::tempdir().expect("a folder");
        let (request, response) = (folder.path().join("request"), folder.path().join("response"));
        fs::write(&request, REQUEST).expect("a file");
        fs::write(&response, if kind == JSON { plain.as_bytes() } else { EVENTS.as_bytes() })
            .expect("a file");
        let (model, prover) = (scripted.model().display().to_string(), scripted.command());
        let (request, response) = (request.display().to_string(), response.display().to_string());
        let more =
            ["--model", &model, "--prover-cmd", &prover, "--request", &request, "--response", &response];
        let keys = get(colophon.listen(), "/.well-known/colophon/keys").body;
        let trust = trusting(&keys, "a model", &circuit());
        let (code, report) = receipt.report_by(colophon::command(&["verify"]), &trust, &more);
        assert_eq!((code, report["verified_level"].as_str()), (0, Some("zk")), "{report:#}");

        // The job is found by its record, and is the one that whoever has the bodies would ask for.
        let id = record(&message);
        let (code, shown) = command(&colophon, &["proof", "show", &id, "--json"]);
        assert_eq!(code, 0, "{shown}");
        let asked =
            ["proof", "submit", &id, "--request", &request, "--response", &response, "--json", "--wait"];
        let (code, again) = command(&colophon, &asked);
        assert!(code == 0 && again == shown, "{again}\n{shown}");
        let (code, said) = command(&colophon, &["proof", "submit", &id]);
        assert!(code == 1 && said.contains("not here (any more)"), "{said}");
    }
}

#[test]
fn a_proof_that_takes_long_is_waited_for_when_its_bodies_are_gone() {
    // Several times as long as it takes until the log asks about it again.
    let slow =
        script().replace(r#"printf %s "$said" > artefact"#, r#"sleep 13; printf %s "$said" > artefact"#);
    assert!(slow.contains("sleep 13"));
    let scripted = Scripted::language(&slow, "keepBodies: 1000000\n");
    let upstream = answering(JSON, "", answer().as_bytes());
    let colophon = start(&upstream, &scripted, "    deadline: 1h");
    let message = post(colophon.listen(), "/v1/chat/completions", REQUEST);
    let receipt = settled(&colophon, &message).receipt();
    assert_eq!((verdict(&receipt), receipt.evidence.len()), (Verdict::Holds, 1), "{}", colophon.log());
    assert_eq!(declined(&colophon), Some(0.0));
}

#[test]
fn without_the_operators_word_no_body_is_kept_and_no_rule_can_ask() {
    let scripted = Scripted::language(&script(), "");
    let upstream = answering(JSON, "", answer().as_bytes());
    let colophon = start(&upstream, &scripted, "    deadline: 1h\n    failurePolicy: Fail");
    assert_eq!(post(colophon.listen(), "/v1/chat/completions", REQUEST).status(), 503);
    assert!(colophon.log().contains("--provers has no `keepBodies`"), "{}", colophon.log());
}

#[test]
fn of_what_is_too_large_or_cannot_be_read_nothing_is_proven_and_no_rule_is_held() {
    let upstream = answering(JSON, "", answer().as_bytes());
    let with = |more: &str| REQUEST.replace("\"model\"", &format!("{more},\"model\""));
    let (other, drawn) = (with(&format!("\"{WORD}\":[]")), with("\"temperature\":0.7"));
    let strange = REQUEST.replace("{\"role\"", &format!("{{\"{WORD}\":\"{WORD}\",\"role\""));
    for (most, context, request, why) in [
        (100, 5, REQUEST, "not here (any more)"),
        (1_000_000, 5, &other, "a member that may change its prompt"),
        (1_000_000, 5, &strange, "messages are of a kind that is not read"),
        (1_000_000, 5, "{", "cannot be read"),
        (1_000_000, 5, &drawn, "drawn or weighed"),
        (1_000_000, 4, REQUEST, "longer than the circuit's context of 4 tokens"),
    ] {
        let scripted = Scripted::language(&script(), &format!("keepBodies: {most}\n"));
        let path = scripted.circuit().join("circuit.json");
        let circuit = fs::read_to_string(&path).expect("the circuit");
        fs::write(&path, circuit.replacen('{', &format!("{{\"context\":{context},"), 1))
            .expect("the circuit");
        let colophon = start(&upstream, &scripted, "    deadline: 1h\n    onMiss: Fail");
        for _ in 0..2 {
            let message = post(colophon.listen(), "/v1/chat/completions", request);
            assert_eq!(message.status(), 200, "{}", message.text());
            assert_eq!(verdict(&settled(&colophon, &message).receipt()), Verdict::NotDone);
        }
        assert_eq!(declined(&colophon), Some(2.0));
        assert!(colophon.log().contains(why), "{why}: {}", colophon.log());
        assert!(!colophon.log().contains(WORD), "{}", colophon.log());
    }
}

#[test]
fn what_a_prover_refuses_of_an_answer_holds_no_rule_and_its_words_are_in_no_log() {
    let refuses = format!("echo '{{\"error\":{{\"refused\":true,\"message\":\"the answer has {WORD}\"}}}}'");
    let script = script().replace("echo '{\"result\":{}}'", &refuses);
    assert!(script.contains(WORD));
    let scripted = Scripted::language(&script, "keepBodies: 1000000\n");
    let upstream = answering(JSON, "", answer().as_bytes());
    let colophon = start(&upstream, &scripted, "    deadline: 1h\n    onMiss: Fail");
    for _ in 0..2 {
        let message = post(colophon.listen(), "/v1/chat/completions", REQUEST);
        assert_eq!(message.status(), 200, "{}", message.text());
        assert_eq!(verdict(&settled(&colophon, &message).receipt()), Verdict::NotDone);
        // To whoever may look at the job they are told.
        let shown = ByHand::new(&colophon).ask("GET", &format!("/v1/proofs/{}", record(&message)));
        assert!(shown.text().contains(WORD), "{}", shown.text());
    }
    let missed = colophon.metric("colophon_proofs_missed_total");
    assert_eq!((declined(&colophon), missed), (Some(2.0), Some(0.0)));
    assert!(!colophon.log().contains(WORD), "{}", colophon.log());
}

/// How the token ids of `ask WORD ask` are in a job.
const IDS: &str = "\"prompt\":[1,4,0,4,2]";

#[test]
fn bodies_are_in_memory_alone_and_a_kill_before_the_record_is_logged_loses_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let fleet = Fleet::new(folder.path());
    let log = fleet.replica_on_disk();
    let way = Faults::before(log.listen());
    let scripted = Scripted::language(&script(), "keepBodies: 1000000\n");
    let file = scripted.file().display().to_string();
    let upstream = answering(JSON, "", answer().as_bytes());
    let mut colophon = fleet.sidecar(&upstream.url(), &[way.url()], |options| {
        options.policy = Some(policy("script", "    deadline: 1h"));
        options.arg(&["--provers", &file]);
    });
    let request = REQUEST.replace("ask", &format!("ask {WORD} ask"));
    let ask = |colophon: &Colophon| post(colophon.listen(), "/v1/chat/completions", &request);
    let has = |colophon: &Colophon, what: &str| {
        let holds = |bytes: Vec<u8>| bytes.windows(what.len()).any(|part| part == what.as_bytes());
        let files = [folder.path(), colophon.folder()].map(log::files).concat();
        files.iter().filter(|path| fs::read(path).is_ok_and(holds)).count()
    };
    // As long as the process lives they wait for the log, and no file has them: neither the sidecar's nor the log's.
    way.set(Fault::Away);
    let waits = ask(&colophon);
    colophon_tests::pause(std::time::Duration::from_secs(3));
    assert_eq!((has(&colophon, WORD), has(&colophon, IDS)), (0, 0));
    way.set(Fault::None);
    assert_eq!(verdict(&settled(&colophon, &waits).receipt()), Verdict::Holds, "{}", colophon.log());
    // It would be seen: a job has its token ids.
    assert!(has(&colophon, WORD) == 0 && has(&colophon, IDS) > 0);
    way.set(Fault::Away);
    let lost = ask(&colophon);
    colophon.kill();
    way.set(Fault::None);
    colophon.restart();
    assert_eq!(verdict(&settled(&colophon, &lost).receipt()), Verdict::NotDone);
    let counted = wait_for(PATIENCE, || (declined(&colophon) == Some(1.0)).then_some(()));
    assert!(counted.is_some(), "{}", colophon.log());
}
