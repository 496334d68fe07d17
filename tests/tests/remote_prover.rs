//! The `http` backend: a prover elsewhere is asked in the job schema, and its word counts for nothing: what it sends is looked at here.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use colophon_receipt::evidence::Verdict;
use colophon_receipt::merkle::sha256;
use colophon_tests::colophon::Colophon;
use colophon_tests::provers::{
    SCRIPT, Scripted, chat, circuit, command, record, settled, start, upstream, verdict,
};
use colophon_tests::upstream::{Conn, Upstream};
use colophon_tests::wire::Message;
use colophon_tests::{PATIENCE, pause, wait_for};
use serde_json::{Value, json};

/// What a prover elsewhere answers: a recorded exchange, with the artefact and its digest in their places.
const SUBMITTED: &str = r#"{"id":"r-1","state":{"state":"queued","not_before":0}}"#;
const GOES_ON: &str = r#"{"id":"r-1","state":{"state":"leased","worker":"gpu-7","until":1790000060000000,"progress":{"stage":"proving","percent":40,"seconds_left":3}},"tries":1}"#;
const PROVEN: &str = r#"{"id":"r-1","state":{"state":"proven","digest":"DIGEST","bytes":1,"cpu_seconds":2.5,"prover":"elsewhere 9","hides":false},"tries":1}"#;

fn json_answer(status: &str, body: &str) -> Vec<u8> {
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}", body.len());
    format!("{head}\r\n\r\n{body}").into_bytes()
}

/// The artefact that the script's verifier accepts for the statement in a call.
fn artefact(call: &str) -> String {
    let features =
        call.split(r#""features":"#).nth(1).and_then(|rest| rest.split('}').next()).expect("features");
    let record =
        call.split(r#""record":""#).nth(1).and_then(|rest| rest.split('"').next()).expect("a record");
    format!("{features}}}.{record}")
}

/// How a prover elsewhere behaves: the answer to each call, by the calls so far.
type Behaviour = fn(&mut Conn, &Message, &str) -> bool;

fn elsewhere(behaviour: Behaviour) -> Upstream {
    let proof = Arc::new(Mutex::new(String::new()));
    Upstream::serve(move |conn| {
        while let Some(request) = conn.request() {
            if request.method() == "POST" {
                *proof.lock().expect("a lock") = artefact(&request.text());
            }
            let proof = proof.lock().expect("a lock").clone();
            if !behaviour(conn, &request, &proof) {
                return;
            }
        }
    })
}

/// As it should be.
fn honest(conn: &mut Conn, request: &Message, proof: &str) -> bool {
    conn.send(&match (request.method(), request.target()) {
        ("POST", "/prove/v1/proofs") => json_answer("202 Accepted", SUBMITTED),
        ("GET", "/prove/v1/proofs/r-1") => {
            json_answer("200 OK", &PROVEN.replace("DIGEST", &hex::encode(sha256(proof.as_bytes()))))
        }
        ("GET", "/prove/v1/proofs/r-1/artefact") => json_answer("200 OK", proof),
        ("DELETE", _) => json_answer("200 OK", "{}"),
        _ => json_answer("404 Not Found", "{}"),
    })
}

/// A proxy whose proofs are made elsewhere, and the answer to a chat with what the log says of it.
fn proved_by(behaviour: Behaviour) -> (Colophon, Upstream, Message, Verdict) {
    let (there, scripted) = (elsewhere(behaviour), Scripted::new(SCRIPT, ""));
    scripted.elsewhere(&format!("{}/prove/", there.url()));
    let file = std::fs::read_to_string(scripted.file()).expect("the provers");
    std::fs::write(scripted.file(), file.replace("seconds: 20}", "seconds: 6}")).expect("the provers");
    let upstream = upstream();
    let colophon = start(&upstream, &scripted, "    deadline: 1h");
    let answer = chat(&colophon);
    let came = verdict(&settled(&colophon, &answer).receipt());
    (colophon, there, answer, came)
}

#[test]
fn a_prover_elsewhere_is_asked_in_the_job_schema_and_looked_at_here() {
    fn twice(conn: &mut Conn, request: &Message, proof: &str) -> bool {
        thread_local!(static ASKED: std::cell::Cell<u32> = const { std::cell::Cell::new(0) });
        if request.method() == "GET" && request.target().ends_with("/r-1") && ASKED.replace(1) == 0 {
            return conn.send(&json_answer("200 OK", GOES_ON));
        }
        honest(conn, request, proof)
    }
    let (colophon, there, answer, came) = proved_by(twice);
    assert_eq!(came, Verdict::Holds, "{}", colophon.log());
    let requests = there.received();
    let asked: Vec<(&str, &str)> =
        requests.iter().map(|request| (request.method(), request.target())).collect();
    let job = "/prove/v1/proofs/r-1";
    assert_eq!(
        asked,
        [("POST", "/prove/v1/proofs"), ("GET", job), ("GET", job), ("GET", &format!("{job}/artefact"))]
    );
    assert!(requests.iter().all(|request| request.header("authorization") == Some("Bearer a token")));
    let call: Value = serde_json::from_slice(&requests[0].body).expect("JSON");
    assert_eq!(call["protocol"], "colophon-prover-v1");
    assert_eq!((&call["statement"]["circuit"], &call["limits"]["seconds"]), (&circuit().into(), &json!(6)));
    assert_eq!(call.as_object().expect("an object").len(), 3, "{call}");
    // Its prover is named by who looked at the proof, its CPU seconds by itself.
    let (_, said) = command(&colophon, &["proof", "show", &record(&answer), "--json"]);
    let job: Value = serde_json::from_str(&said).expect("a job");
    assert_eq!(job["state"]["prover"], "script 1");
    assert!(job["state"]["cpu_seconds"].as_f64().is_some_and(|cpu| cpu >= 2.5), "{job:#}");
}

#[test]
fn a_prover_elsewhere_that_lies_proves_nothing() {
    /// A whole exchange, and an artefact of something else.
    fn lies(conn: &mut Conn, request: &Message, _proof: &str) -> bool {
        honest(conn, request, "{}.nonsense")
    }
    /// Another artefact than its job names.
    fn swaps(conn: &mut Conn, request: &Message, proof: &str) -> bool {
        let artefact = request.target().ends_with("/artefact");
        honest(conn, request, if artefact { "other" } else { proof })
    }
    /// A job whose id leads elsewhere.
    fn misleads(conn: &mut Conn, _request: &Message, _proof: &str) -> bool {
        conn.send(&json_answer("202 Accepted", &SUBMITTED.replace("r-1", "../../admin")))
    }
    fn talks_nonsense(conn: &mut Conn, _request: &Message, _proof: &str) -> bool {
        conn.send(&json_answer("200 OK", "proved!"))
    }
    for (behaviour, why) in [
        (lies as Behaviour, "it proves something else"),
        (swaps, "not the one that its job names"),
        (misleads, "has no id of"),
        (talks_nonsense, "does not speak the protocol"),
    ] {
        let (colophon, there, answer, came) = proved_by(behaviour);
        assert_eq!(came, Verdict::NotDone, "{why}");
        let (_, said) = command(&colophon, &["proof", "show", &record(&answer)]);
        assert!(said.contains("failed: ") && said.contains(why), "{why}: {said}");
        assert!(there.received().iter().all(|request| !request.target().contains("admin")));
    }
}

#[test]
fn a_prover_elsewhere_that_hangs_or_floods_is_given_up_on() {
    /// It never ends.
    fn hangs(conn: &mut Conn, request: &Message, proof: &str) -> bool {
        match request.method() {
            "GET" => conn.send(&json_answer("200 OK", GOES_ON)),
            _ => honest(conn, request, proof),
        }
    }
    /// An artefact of a gigabyte, by its head.
    fn gigabyte(conn: &mut Conn, request: &Message, proof: &str) -> bool {
        if request.target().ends_with("/artefact") {
            conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n");
            while conn.send(&[b'x'; 65536]) {}
            return false;
        }
        honest(conn, request, proof)
    }
    /// One without an end.
    fn endless(conn: &mut Conn, request: &Message, proof: &str) -> bool {
        if request.target().ends_with("/artefact") {
            conn.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            while conn.send(&[b"10000\r\n", &[b'x'; 65536][..], b"\r\n"].concat()) {}
            return false;
        }
        honest(conn, request, proof)
    }
    /// A job without an end.
    fn long_job(conn: &mut Conn, _request: &Message, _proof: &str) -> bool {
        conn.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while conn.send(&[b"10000\r\n", &[b' '; 65536][..], b"\r\n"].concat()) {}
        false
    }
    for (behaviour, why) in [
        (hangs as Behaviour, "6 seconds"),
        (gigabyte, "1048576 bytes of artefact"),
        (endless, "1048576 bytes of artefact"),
        (long_job, "more than 2097152 bytes"),
    ] {
        let begun = Instant::now();
        let (colophon, there, answer, came) = proved_by(behaviour);
        assert!(came == Verdict::NotDone && begun.elapsed() < Duration::from_secs(60), "{why}");
        let (_, said) = command(&colophon, &["proof", "show", &record(&answer)]);
        assert!(said.contains("failed: ") && said.contains(why), "{why}: {said}");
        if why == "6 seconds" {
            // It need not go on for nobody.
            let withdrawn =
                || there.received().iter().any(|request| request.method() == "DELETE").then_some(());
            assert!(wait_for(PATIENCE, withdrawn).is_some(), "{:?}", there.received());
        }
    }
}

/// Stops a proxy whose worker waits for a proof that `there` makes. Returns how long the stop took, and its log.
fn stopped_while_it_proves(there: &Upstream) -> (Duration, String) {
    let scripted = Scripted::new(SCRIPT, "");
    scripted.elsewhere(&format!("{}/prove/", there.url()));
    let upstream = upstream();
    let mut colophon = start(&upstream, &scripted, "    deadline: 1h");
    chat(&colophon);
    let begun = || there.received().iter().any(|request| request.method() == "GET").then_some(());
    assert!(wait_for(PATIENCE, begun).is_some(), "{}", colophon.log());
    let stopping = Instant::now();
    assert!(colophon.stop().success(), "{}", colophon.log());
    (stopping.elapsed(), colophon.log())
}

#[test]
fn a_worker_that_ends_tells_the_prover_elsewhere_before_it_is_gone() {
    fn goes_on(conn: &mut Conn, request: &Message, proof: &str) -> bool {
        match request.method() {
            "GET" => conn.send(&json_answer("200 OK", GOES_ON)),
            // It takes its time to hear it.
            "DELETE" => {
                pause(Duration::from_secs(2));
                conn.send(&json_answer("200 OK", "{}"))
            }
            _ => honest(conn, request, proof),
        }
    }
    let there = elsewhere(goes_on);
    let (took, log) = stopped_while_it_proves(&there);
    let withdrawn = there.received().iter().any(|request| request.method() == "DELETE");
    assert!(withdrawn && took >= Duration::from_secs(2), "{took:?}: {log}");
}

#[test]
fn a_prover_elsewhere_that_hangs_does_not_hold_up_the_end() {
    fn hangs(conn: &mut Conn, request: &Message, proof: &str) -> bool {
        match request.method() {
            "GET" => conn.send(&json_answer("200 OK", GOES_ON)),
            "DELETE" => {
                pause(Duration::from_secs(25));
                false
            }
            _ => honest(conn, request, proof),
        }
    }
    let there = elsewhere(hangs);
    let (took, log) = stopped_while_it_proves(&there);
    assert!(took < Duration::from_secs(15), "{took:?}");
    assert!(log.contains("does not answer: it may go on"), "{log}");
}
