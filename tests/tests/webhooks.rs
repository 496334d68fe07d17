//! Webhooks: whoever wants to know of a job's end is told by a POST that the shard's key signs, and no receiver can hold anything up
//! or lead it anywhere.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use colophon_receipt::evidence::Verdict;
use colophon_tests::client::{get, post};
use colophon_tests::colophon::Colophon;
use colophon_tests::provers::{SCRIPT, Scripted, chat, command, record, settled, start, upstream, verdict};
use colophon_tests::upstream::Upstream;
use colophon_tests::wire::Message;
use colophon_tests::{PATIENCE, paths, pause, process, wait_for};
use serde_json::{Value, json};

const HEARD: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";

/// Waits until so many requests have come.
fn heard(receiver: &Upstream, count: usize, colophon: &Colophon) -> Vec<Message> {
    let came = wait_for(PATIENCE, || {
        let received = receiver.received();
        (received.len() >= count).then_some(received)
    });
    came.unwrap_or_else(|| panic!("{} of {count} came\n{}", receiver.received().len(), colophon.log()))
}

/// What a receiver got, as the checker reads it, judged by somebody else's implementation.
fn check(receiver: &Upstream, request: &Message, colophon: &Colophon) {
    let about: Value =
        serde_json::from_slice(&get(colophon.listen(), "/.well-known/colophon/about").body).expect("JSON");
    let said = json!({
        "method": request.method(),
        "url": format!("{}{}", receiver.url(), request.target()),
        "headers": request.headers,
        "body": request.text(),
        "public_key": about["key"]["public"],
    });
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("request.json");
    std::fs::write(&file, said.to_string()).expect("a file");
    let mut python = Command::new(paths::python());
    python.arg(paths::tests("checkers/webhook.py")).arg(&file);
    let output = process::run(&mut python, Duration::from_secs(120));
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && said.contains("refused with another key"), "{said}");
}

#[test]
fn a_webhook_hears_of_a_jobs_end_and_others_verify_its_signature() {
    let tries = AtomicUsize::new(0);
    let receiver = Upstream::serve(move |conn| {
        while conn.request().is_some() {
            match tries.fetch_add(1, Ordering::SeqCst) {
                0 => conn.send(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"),
                _ => conn.send(HEARD),
            };
        }
    });
    let more = format!("webhook: {{url: '{}/all?of=them'}}\n", receiver.url());
    let (upstream, scripted) = (upstream(), Scripted::new(SCRIPT, &more));
    let mut colophon = start(&upstream, &scripted, "    deadline: 1h");
    let answer = chat(&colophon);
    assert_eq!(verdict(&settled(&colophon, &answer).receipt()), Verdict::Holds);
    // It was away the first time, and is told again, also by the next life.
    heard(&receiver, 1, &colophon);
    colophon.kill();
    colophon.restart();
    let requests = heard(&receiver, 2, &colophon);
    assert_eq!((requests[1].method(), requests[1].target()), ("POST", "/all?of=them"));
    let body: Value = serde_json::from_slice(&requests[1].body).expect("JSON");
    assert_eq!(
        (&body["format"], &body["record"], &body["came"]["state"], &body["rule"]),
        (&"colophon-webhook-v1".into(), &record(&answer).into(), &"proven".into(), &"decided".into())
    );
    assert!(body["came"]["digest"].as_str().is_some_and(|digest| digest.len() == 64), "{body}");
    assert!(!requests[1].text().contains("features"), "what the statement says is nobody's to know: {body}");
    check(&receiver, &requests[1], &colophon);
    // Once heard, it is told no more.
    pause(Duration::from_secs(3));
    assert_eq!(receiver.received().len(), 2);
}

#[test]
fn a_receiver_that_hangs_lies_or_leads_elsewhere_holds_up_nothing() {
    let (elsewhere, good) = (Upstream::answering(HEARD), Upstream::answering(HEARD));
    let hangs = Upstream::serve(|conn| {
        conn.request();
        conn.wait_until_gone();
    });
    let leads = Upstream::answering(format!(
        "HTTP/1.1 307 Temporary Redirect\r\nLocation: {}/\r\nContent-Length: 0\r\n\r\n",
        elsewhere.url()
    ));
    let garbage = Upstream::answering_once(*b"HTTP/9 what\r\n\r\n");
    // It says yes, and goes on for a gigabyte that nobody reads.
    let endless = Upstream::serve(|conn| {
        conn.request();
        conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n");
        while conn.send(&[0; 65536]) {}
    });
    let allowed: Vec<String> =
        [&good, &leads, &garbage, &endless].iter().map(|to| format!("'{}'", to.url())).collect();
    let more = format!("webhook: {{url: '{}', allow: [{}]}}\n", hangs.url(), allowed.join(", "));
    let (upstream, scripted) = (upstream(), Scripted::new(SCRIPT, &more));
    let colophon = start(&upstream, &scripted, "    deadline: 1h");
    for _ in 0..3 {
        assert_eq!(verdict(&settled(&colophon, &chat(&colophon)).receipt()), Verdict::Holds);
    }
    heard(&hangs, 3, &colophon);

    // Records that no rule asks about, each with a webhook of its own.
    let submit = |to: &str| {
        let answer = post(colophon.listen(), "/v1/completions", r#"{"model":"m","prompt":"x"}"#);
        let id = record(&answer);
        let logged = wait_for(PATIENCE, || {
            let said = command(&colophon, &["proof", "submit", &id, "--prover", "script", "--webhook", to]);
            (!said.1.contains("not logged yet")).then_some(said)
        });
        logged.unwrap_or_else(|| panic!("{}", colophon.log()))
    };
    for receiver in [&leads, &garbage, &endless, &good] {
        let (code, said) = submit(&format!("{}/job", receiver.url()));
        assert_eq!(code, 0, "{said}");
        heard(receiver, 1, &colophon);
    }
    let begun = Instant::now();
    assert_eq!(chat(&colophon).status(), 200);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let tried = wait_for(PATIENCE, || {
        let log = colophon.log();
        ["307 Temporary Redirect", "no answer within 10 s"].iter().all(|why| log.contains(why)).then_some(())
    });
    assert!(tried.is_some(), "{}", colophon.log());
    assert_eq!((elsewhere.received().len(), elsewhere.connections()), (0, 0), "nobody allowed that");
    assert_eq!((good.received().len(), endless.received().len()), (1, 1));

    // What the operator does not allow is refused, and nobody is asked.
    for url in [
        format!("{}/", elsewhere.url()),
        "http://169.254.169.254/latest".into(),
        format!("{}@127.0.0.1/", good.url()),
    ] {
        let (code, said) = submit(&url);
        assert!(code == 1 && said.contains("not under a URL that --provers allows"), "{said}");
    }
    assert_eq!(elsewhere.connections(), 0);
}
