//! What must never be taken for a proof, or hold anything up: replayed and torn artefacts, a gigabyte, floods of jobs, deadlines in the
//! past, workers that die, and a queue whose file is torn.

use std::ffi::OsStr;
use std::fs;
use std::io::Read as _;
use std::process::Command;
use std::time::Duration;

use colophon_receipt::evidence::Verdict;
use colophon_receipt::receipt::Bytes;
use colophon_tests::client::{Client, post_bytes, send};
use colophon_tests::colophon::{self, Colophon};
use colophon_tests::process::{self, Process};
use colophon_tests::provers::{
    ByHand, SCRIPT, Scripted, artefact, chat, command, record, settled, start, upstream, verdict,
};
use colophon_tests::wire::Message;
use colophon_tests::{PATIENCE, wait_for};
use serde_json::{Value, json};

/// The script, proving in another way: `proved` is what it does instead of writing its artefact.
fn proving(proved: &str) -> String {
    let honest = r#"printf %s "$said" > artefact"#;
    assert!(SCRIPT.contains(honest));
    SCRIPT.replace(honest, proved)
}

#[test]
fn a_replayed_a_torn_and_a_huge_artefact_prove_nothing() {
    for (proved, why) in [
        // The first record's proof, for every other one.
        (
            r#"first=$(dirname "$0")/first; [ -f "$first" ] || printf %s "$said" > "$first"; cp "$first" artefact"#,
            "it proves something else",
        ),
        (r#"printf %s "$said" | head -c 40 > artefact"#, "it proves something else"),
        ("truncate -s 1073741824 artefact", "more than"),
        (": > artefact", "its artefact is empty"),
    ] {
        let (upstream, scripted) = (upstream(), Scripted::new(&proving(proved), ""));
        let colophon = start(&upstream, &scripted, "    deadline: 1h");
        if proved.contains("first") {
            assert_eq!(verdict(&settled(&colophon, &chat(&colophon)).receipt()), Verdict::Holds);
        }
        let answer = chat(&colophon);
        let receipt = settled(&colophon, &answer).receipt();
        assert_eq!(verdict(&receipt), Verdict::NotDone, "{proved}: {}", colophon.log());
        assert!(receipt.evidence[0].proof.is_none());
        let (_, said) = command(&colophon, &["proof", "show", &record(&answer)]);
        assert!(said.contains("failed: ") && said.contains(why), "{proved}: {said}");
        let artefacts = colophon.data().join("proofs/artefacts");
        let kept = fs::read_dir(artefacts).expect("the artefacts").count();
        assert_eq!(kept, usize::from(proved.contains("first")), "{proved}");
    }
}

#[test]
fn a_worker_hands_in_what_it_names_once_and_in_its_own_name() {
    let (upstream, scripted) = (upstream(), Scripted::new(SCRIPT, "workers: 0\n"));
    let colophon = start(&upstream, &scripted, "    deadline: 1h");
    let answer = chat(&colophon);
    let worker = ByHand::new(&colophon);
    let job = worker.lease();
    let target = format!("/v1/proofs/{}/proven", job["id"].as_str().expect("an id"));
    let hand_in = |name: &str, artefact: Value, bytes: &[u8]| {
        let bytes = serde_json::to_value(Bytes(bytes.to_vec())).expect("base64");
        worker.post(&target, &json!({"worker": name, "artefact": artefact, "bytes": bytes}))
    };
    let proof = b"a proof";
    for (name, named, bytes, status) in [
        ("by hand", artefact(proof), &proof[..3], 400),
        ("by hand", artefact(b"another"), &proof[..], 400),
        ("by hand", artefact(b""), b"", 400),
        ("somebody", artefact(proof), proof, 409),
        ("serve/0", artefact(proof), proof, 409),
    ] {
        assert_eq!(hand_in(name, named, bytes).status(), status, "{name}");
    }
    // A gigabyte is not read to its end.
    let mut client = Client::connect(colophon.admin());
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: x\r\n{}Content-Length: 1073741824\r\n\r\n",
        worker.headers()
    );
    assert!(client.send(head.as_bytes()));
    let sent = (0..16_384).take_while(|_| client.send(&[b' '; 65_536])).count();
    assert!(sent < 1024, "{sent} times 64 KiB were taken");
    // Nobody without the token.
    let naked = post_bytes(&target, "Connection: close\r\n", "{}");
    assert_eq!(send(colophon.admin(), &naked).status(), 401);
    // Its own, and once: a replay changes nothing.
    assert_eq!(hand_in("by hand", artefact(proof), proof).status(), 200);
    assert_eq!(hand_in("by hand", artefact(proof), proof).status(), 409);
    assert_eq!(hand_in("by hand", artefact(b"other"), b"other").status(), 409);
    let receipt = settled(&colophon, &answer).receipt();
    let part = receipt.evidence[0].proof.as_ref().expect("a proof");
    assert_eq!((receipt.evidence.len(), &*part.proof.artefact.0), (1, &proof[..]));
}

#[test]
fn a_worker_that_may_hold_no_program_ends_before_it_asks_for_a_job() {
    // Nobody is there: a worker that may go on asks for ever.
    let nobody = process::free_address();
    let scripted =
        Scripted::new(SCRIPT, &format!("workers: 0\nnats: {{url: 'nats://{nobody}', name: clinic}}\n"));
    let file = scripted.file().display().to_string();
    let prover = colophon::command(&["prover", "--provers", &file, "--nats"]);
    let folder = tempfile::tempdir().expect("a folder");
    let mut free = Process::start(&mut behind(&[], &prover), &folder.path().join("free.log"));
    let asks = wait_for(PATIENCE, || free.log().contains("it is asked again").then_some(()));
    assert!(asks.is_some() && free.ended().is_none(), "{}", free.log());
    free.kill();
    // Root, of a user namespace even, without what unshare(2) asks root for.
    let held = ["unshare", "--user", "--map-root-user", "setpriv", "--bounding-set=-sys_admin"];
    let mut held = Process::start(&mut behind(&held, &prover), &folder.path().join("held.log"));
    let status = held.wait(PATIENCE);
    assert_eq!(status.code(), Some(1), "{}", held.log());
    assert!(held.log().contains("no namespaces of its own for the prover"), "{}", held.log());
    assert!(!held.log().contains("asked again"), "{}", held.log());
}

/// A command behind other words.
fn behind(before: &[&str], command: &Command) -> Command {
    let words = before.iter().map(OsStr::new).chain([command.get_program()]).chain(command.get_args());
    let mut words = words.map(OsStr::to_owned);
    let mut made = Command::new(words.next().expect("a program"));
    made.args(words);
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => made.env(name, value),
            None => made.env_remove(name),
        };
    }
    made
}

#[test]
fn a_deadline_in_the_past_and_a_flood_of_asking_are_refused() {
    let more = "workers: 0\nbudgets: {decided: {jobsPerHour: 20}, '*': {jobsPerHour: 20}}\n";
    let (upstream, scripted) = (upstream(), Scripted::new(SCRIPT, more));
    // No rule asks here: whoever has the token does.
    let colophon = start(&upstream, &scripted, "    deadline: 1h");
    let answers: Vec<Message> = (0..120).map(|_| chat(&colophon)).collect();
    let ready = || colophon.metric("colophon_proof_jobs{state=\"ready\"}").unwrap_or_default();
    let declined = || colophon.metric("colophon_proofs_declined_total").unwrap_or_default();
    let all = wait_for(PATIENCE * 2, || (ready() + declined() >= 120.0).then_some(()));
    assert!(all.is_some(), "{} and {}", ready(), declined());
    // Twice as many where the clock's hour turned meanwhile.
    assert!((20.0..=40.0).contains(&ready()) && declined() == 120.0 - ready(), "{}", ready());
    let over = wait_for(PATIENCE, || {
        let receipts =
            answers.iter().map(|answer| colophon_tests::receipts::Fetched::of(answer, colophon.listen()));
        let undone = receipts.filter(|receipt| !receipt.receipt().evidence.is_empty()).count();
        (undone as f64 == declined()).then_some(())
    });
    assert!(over.is_some(), "the log says of each that nothing was done");

    let worker = ByHand::new(&colophon);
    let ask = |id: &str, deadline: Option<u64>| {
        let deadline = deadline.map_or(json!({}), |at| json!({"deadline": at}));
        let mut body = json!({"record": id});
        body.as_object_mut().expect("an object").extend(deadline.as_object().expect("an object").clone());
        worker.post("/v1/proofs", &body)
    };
    let (before, memory) = (ready(), process::resident(colophon.process_id()).expect("a process"));
    let known: Vec<String> = answers.iter().map(record).collect();
    let statuses: Vec<u16> =
        (0..600).map(|number| ask(&known[number % known.len()], None).status()).collect();
    let count = |status: u16| statuses.iter().filter(|seen| **seen == status).count();
    // Those that have a job have it still, all others are over the rule's budget.
    assert_eq!(count(202) + count(429), 600, "{statuses:?}");
    assert!(ready() - before <= 20.0 && count(429) > 0, "{}", ready());
    let grown = process::resident(colophon.process_id()).expect("a process").saturating_sub(memory);
    let file = fs::metadata(colophon.data().join("proofs/jobs.redb")).expect("the queue").len();
    assert!(grown < 64 << 10 && file < 16 << 20, "{grown} KiB of memory, {file} bytes of queue");
    // A time that has passed is nobody's deadline.
    let none = statuses.iter().position(|status| *status == 429).expect("one without a job");
    let late = ask(&known[none % known.len()], Some(1_000_000));
    assert!(
        late.status() == 400 && late.text().contains("the deadline has passed already"),
        "{}",
        late.text()
    );
}

/// `colophon prover`, until it is killed.
fn prover(colophon: &Colophon, scripted: &Scripted, name: &str) -> Process {
    let (file, data) = (scripted.file().display().to_string(), colophon.data().display().to_string());
    let log = colophon.folder().join(format!("{name}.log"));
    Process::start(
        &mut colophon::command(&["prover", "--provers", &file, "--data", &data, "--name", name]),
        &log,
    )
}

#[test]
fn a_worker_that_is_killed_loses_its_job_to_another_and_one_artefact_is_left() {
    let (upstream, scripted) = (upstream(), Scripted::new("sleep 600", "workers: 0\n"));
    let colophon = start(&upstream, &scripted, "    deadline: 1h");
    let answer = chat(&colophon);
    let mut first = prover(&colophon, &scripted, "first");
    let leased = "colophon_proof_jobs{state=\"leased\"}";
    let begun = wait_for(PATIENCE, || (colophon.metric(leased) == Some(1.0)).then_some(()));
    assert!(begun.is_some(), "{}", first.log());
    first.kill();
    fs::write(scripted.script(), format!("#!/bin/sh\n{SCRIPT}")).expect("the script");
    // Its lease runs out after a minute, and the pause before the second try comes on top.
    let mut second = prover(&colophon, &scripted, "second");
    let proven = wait_for(Duration::from_secs(150), || second.log().contains("proven").then_some(()));
    assert!(proven.is_some(), "{}\n{}", second.log(), colophon.log());
    second.kill();
    let receipt = settled(&colophon, &answer).receipt();
    assert_eq!((verdict(&receipt), receipt.evidence.len()), (Verdict::Holds, 1));
    let (_, said) = command(&colophon, &["proof", "show", &record(&answer), "--json"]);
    let job: Value = serde_json::from_str(&said).expect("a job");
    assert_eq!((&job["tries"], &job["last_failure"]["code"]), (&2.into(), &"lease".into()), "{job:#}");
    let artefacts = fs::read_dir(colophon.data().join("proofs/artefacts")).expect("the artefacts");
    assert_eq!(artefacts.count(), 1);
}

#[test]
fn a_queue_whose_file_is_torn_is_named_and_nothing_is_lost_without_it() {
    let (upstream, scripted) = (upstream(), Scripted::new(SCRIPT, "workers: 0\n"));
    let mut colophon = start(&upstream, &scripted, "    deadline: 1h");
    let answer = chat(&colophon);
    let ready = "colophon_proof_jobs{state=\"ready\"}";
    assert!(wait_for(PATIENCE, || (colophon.metric(ready) == Some(1.0)).then_some(())).is_some());
    colophon.kill();
    let path = colophon.data().join("proofs/jobs.redb");
    let mut whole = Vec::new();
    fs::File::open(&path).and_then(|mut file| file.read_to_end(&mut whole)).expect("the queue");
    for torn in [&whole[..whole.len() / 3], &whole[..100], &b"no queue, but long enough to look at"[..]] {
        fs::write(&path, torn).expect("the queue");
        let (status, said) = colophon.try_start();
        assert!(status.is_some_and(|status| !status.success()) && said.contains("jobs.redb"), "{said}");
    }
    // Without it the jobs are made anew from what the store notes.
    fs::remove_file(&path).expect("the queue");
    let file = fs::read_to_string(scripted.file()).expect("the provers");
    fs::write(scripted.file(), file.replace("workers: 0", "workers: 1")).expect("the provers");
    colophon.restart();
    let receipt = settled(&colophon, &answer).receipt();
    assert_eq!((verdict(&receipt), receipt.evidence.len()), (Verdict::Holds, 1));
}

/// Garbles all openings that are kept.
fn garble_openings(colophon: &Colophon) -> usize {
    let shards = colophon.data().join("private").join(shard_name(colophon));
    let mut garbled = 0;
    for shard in fs::read_dir(&shards).unwrap_or_else(|error| panic!("{}: {error}", shards.display())) {
        for file in fs::read_dir(shard.expect("a shard").path()).expect("its openings") {
            fs::write(file.expect("a file").path(), b"garbled").expect("the openings");
            garbled += 1;
        }
    }
    garbled
}

/// The name that all shards of a proxy begin with.
fn shard_name(colophon: &Colophon) -> String {
    let about = colophon_tests::client::get(colophon.listen(), "/.well-known/colophon/about");
    let about: Value = serde_json::from_slice(&about.body).expect("JSON");
    about["shard"].as_str().and_then(|shard| shard.split('/').next()).expect("a shard").to_owned()
}

#[test]
fn hundreds_of_proofs_that_cannot_be_logged_hold_up_none_behind_them() {
    const STUCK: usize = 300;
    let (upstream, scripted) = (upstream(), Scripted::new(SCRIPT, "workers: 0\n"));
    let mut colophon = start(&upstream, &scripted, "    deadline: 1h");
    for _ in 0..STUCK {
        chat(&colophon);
    }
    let ready =
        |colophon: &Colophon| colophon.metric("colophon_proof_jobs{state=\"ready\"}").unwrap_or_default();
    let all = wait_for(PATIENCE * 2, || (ready(&colophon) == STUCK as f64).then_some(()));
    assert!(all.is_some(), "{}", ready(&colophon));
    // What opens their records cannot be read any more: nothing can be kept of them, neither now nor later.
    let garbled = garble_openings(&colophon);
    assert!(garbled > 0);
    colophon.kill();
    colophon.restart();
    let prove = || {
        let worker = ByHand::new(&colophon);
        let job = worker.lease();
        let target = format!("/v1/proofs/{}/proven", job["id"].as_str().expect("an id"));
        let bytes = serde_json::to_value(Bytes(b"a proof".to_vec())).expect("base64");
        let body = json!({"worker": "by hand", "artefact": artefact(b"a proof"), "bytes": bytes});
        assert_eq!(worker.post(&target, &body).status(), 200);
    };
    (0..STUCK).for_each(|_| prove());
    let answer = chat(&colophon);
    prove();
    assert_eq!(verdict(&settled(&colophon, &answer).receipt()), Verdict::Holds);
    assert_eq!(colophon.metric("colophon_proofs_logged_total"), Some(1.0), "and nothing of the others");
    assert!(colophon.log().contains("is not logged yet"), "{}", colophon.log());
}
