//! Bodies that nobody should send, under a policy that asks about them: each passes byte for byte or is refused, is decided by
//! the stricter branch where it cannot be read without doubt, and costs a bounded amount of memory.

use std::io::Write as _;

use colophon_receipt::fields::{self, DecisionField, Operation};
use colophon_receipt::level::{Level, Outcome};
use colophon_receipt::merkle::sha256;
use colophon_tests::client::{Client, post_bytes, send};
use colophon_tests::colophon::Colophon;
use colophon_tests::receipts::Fetched;
use colophon_tests::upstream::Upstream;
use colophon_tests::{pause, wait_for};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::time::Duration;

const CHAT: &str = "/v1/chat/completions";
const OK: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{\"id\":\"x\"}";

/// Signs where a pointer into the body, or into an array in it, has a value, and for some models; commits otherwise.
const POLICY: &str = "\
apiVersion: colophon.dev/v1alpha1
kind: ProvenancePolicy
metadata: {name: bodies}
spec:
  defaults: {level: commit, failurePolicy: Ignore}
  rules:
  - name: diagnosis
    matches:
    - body: [{pointer: /metadata/decision, op: In, values: [triage, dosage]}]
    - body: [{pointer: /tags/1, op: Equals, value: triage}]
    - models: [med-*]
    level: sign
";

/// What a process may take beyond what it has at rest, whatever comes.
const FLAT: u64 = 48 << 20;

/// The number of bytes of the process that were in memory at most.
fn peak(colophon: &mut Colophon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", colophon.process().pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() << 10
}

fn start(upstream: &Upstream) -> Colophon {
    Colophon::start(&upstream.url(), |options| options.policy = Some(POLICY.to_owned()))
}

/// A request with a body of any bytes.
fn request(headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

/// What became of a request: level granted, why it is not simply the rule's, and why the request was not read.
fn recorded(colophon: &Colophon, upstream: &Upstream, headers: &str, body: &[u8]) -> (Level, String, String) {
    sent(colophon, upstream, &request(headers, body), body)
}

/// The same of a request as it is sent, with this body.
fn sent(colophon: &Colophon, upstream: &Upstream, request: &[u8], body: &[u8]) -> (Level, String, String) {
    let answer = send(colophon.listen(), request);
    assert_eq!((answer.status(), answer.text().as_str()), (200, "{\"id\":\"x\"}"));
    let arrived = upstream.received().pop().expect("a request");
    assert!(arrived.body == body, "other bytes arrived");
    let receipt = Fetched::of(&answer, colophon.listen());
    assert_eq!(receipt.outcome(), Outcome::Complete);
    let digest = receipt.request_body().expect("a digest");
    assert_eq!((digest.digest, digest.size), (sha256(body), body.len() as u64));
    let decision = DecisionField::read(receipt.field(fields::DECISION).unwrap()).unwrap();
    let operation = Operation::read(receipt.field(fields::OPERATION).unwrap()).unwrap();
    let text = |text: Option<std::borrow::Cow<'_, str>>| text.unwrap_or_default().into_owned();
    (receipt.leaf.level, text(decision.why_lowered), text(operation.request_unreadable))
}

#[test]
fn what_cannot_be_read_without_doubt_gets_the_stricter_branch() {
    let upstream = Upstream::answering(OK);
    let colophon = start(&upstream);
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    let nested = |decision: &str| {
        format!("{{\"model\":\"m\",\"x\":{deep},\"metadata\":{{\"decision\":\"{decision}\"}}}}")
    };
    let triage = r#"{"model":"m","metadata":{"decision":"triage"}}"#;
    let other = r#"{"model":"m","metadata":{"decision":"small talk"}}"#;
    let (coded, unknown) = ("Content-Encoding: gzip\r\n", "Content-Encoding: x-unknown\r\n");
    let zipped = gzip(other.as_bytes());
    // (what, headers, body, whether the rule can be ruled out, why the request was not read)
    let clear: [(&str, &str, &[u8], Level); 9] = [
        ("plain", "", triage.as_bytes(), Level::Sign),
        ("plain, another value", "", other.as_bytes(), Level::Commit),
        ("deep beside the pointer", "", &nested("triage").into_bytes(), Level::Sign),
        ("deep, another value", "", &nested("x").into_bytes(), Level::Commit),
        ("into an array", "", br#"{"model":"m","tags":["a","triage"]}"#, Level::Sign),
        ("beyond an array", "", br#"{"model":"m","tags":["triage"]}"#, Level::Commit),
        ("an index that is no index", "", br#"{"model":"m","tags":{"1":"triage"}}"#, Level::Sign),
        ("gzip", coded, &gzip(triage.as_bytes()), Level::Sign),
        ("gzip, another value", coded, &zipped, Level::Commit),
    ];
    for (what, headers, body, level) in clear {
        assert_eq!(
            recorded(&colophon, &upstream, headers, body),
            (level, String::new(), String::new()),
            "{what}"
        );
    }
    // Whoever generates without naming a model gets the one that there is.
    let (level, why, _) = recorded(&colophon, &upstream, "", b"");
    assert!(level == Level::Sign && why.contains("not known"), "nothing: {level:?} {why}");
    let twice = "Content-Encoding: identity\r\nContent-Encoding: br\r\n";
    let form = "Content-Type: multipart/form-data; boundary=x\r\n";
    let doubtful: [(&str, &str, &[u8], &str); 13] = [
        ("a key twice", "", br#"{"metadata":{"decision":"x","decision":"y"}}"#, ""),
        ("a key twice, one in escapes", "", br#"{"metadata":{"decision":"x","\u0064ecision":"y"}}"#, ""),
        ("NaN", "", br#"{"temperature":NaN,"metadata":{"decision":"x"}}"#, "not json"),
        ("no UTF-8", "", b"{\"metadata\":{\"decision\":\"\xff\"}}", "not utf-8"),
        ("a byte order mark", "", b"\xef\xbb\xbf{\"metadata\":{\"decision\":\"x\"}}", "not json"),
        ("half a document", "", br#"{"metadata":{"decision":"x""#, "cut short"),
        ("two documents", "", br#"{"metadata":{}} {"metadata":{}}"#, "not json"),
        ("no JSON", "", b"prompt=hello", "not json"),
        ("half of gzip", coded, &zipped[..zipped.len() - 9], ""),
        ("no gzip", coded, other.as_bytes(), ""),
        ("a coding that nobody knows", unknown, other.as_bytes(), ""),
        ("two codings, of which a server may take either", twice, other.as_bytes(), ""),
        ("a second content type", form, other.as_bytes(), ""),
    ];
    for (what, headers, body, unreadable) in doubtful {
        let (level, why, unread) = recorded(&colophon, &upstream, headers, body);
        assert_eq!(level, Level::Sign, "{what}");
        assert!(why.contains("not known"), "{what}: {why}");
        assert!(unread.contains(unreadable), "{what}: {unread}");
    }
}

#[test]
fn a_name_is_compared_whole_and_what_comes_late_is_not_overlooked() {
    let upstream = Upstream::answering(OK);
    let colophon = start(&upstream);
    // A server in C may end the name there; this is the whole of it.
    for (body, level) in [
        (r#"{"model":"med-\u0000x"}"#, Level::Sign),
        (r#"{"model":"x\u0000med-7b"}"#, Level::Commit),
        (r#"{"model":"\u006ded-7b"}"#, Level::Sign),
    ] {
        let came = recorded(&colophon, &upstream, "", body.as_bytes());
        assert_eq!(came, (level, String::new(), String::new()), "{body}");
    }
    // Longer than what is kept of a name: it may be any.
    for name in ["med-", "other-"] {
        let body = format!("{{\"model\":\"{name}{}\"}}", "x".repeat(1_000_000));
        let (level, why, unread) = recorded(&colophon, &upstream, "", body.as_bytes());
        assert!(level == Level::Sign && why.contains("not known"), "{name}: {level} {why}");
        assert_eq!(unread, "string too long", "{name}");
    }
    // In chunks of every size, without a length that says what is to come, and the model behind a megabyte.
    let body = format!("{{\"prompt\":\"{}\",\"model\":\"other\"}}", "x".repeat(1 << 20));
    let mut request = format!(
        "POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n\
         Transfer-Encoding: chunked\r\n\r\n"
    )
    .into_bytes();
    let mut rest = body.as_bytes();
    for size in (1..).map(|n| n * n) {
        let (chunk, left) = rest.split_at(rest.len().min(size));
        request.extend([format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
        if chunk.is_empty() {
            break;
        }
        rest = left;
    }
    let (level, why, _) = sent(&colophon, &upstream, &request, body.as_bytes());
    assert!(level == Level::Sign && why.contains("not known"), "{level} {why}");
}

#[test]
fn a_hundred_megabytes_pass_and_take_no_memory() {
    let upstream = Upstream::answering(OK);
    let mut colophon = start(&upstream);
    recorded(&colophon, &upstream, "", b"{}");
    let before = peak(&mut colophon);
    // What the rule asks for comes after the part that is looked into.
    let text = "0123456789abcdef".repeat((100 << 20) / 16);
    let body = format!("{{\"x\":\"{text}\",\"metadata\":{{\"decision\":\"x\"}}}}").into_bytes();
    let (level, why, unread) = recorded(&colophon, &upstream, "", &body);
    assert!(level == Level::Sign && why.contains("not known"), "{level} {why}");
    assert_eq!(unread, "too large");
    // And one that is small on the way, and large behind it.
    let bomb = gzip(&body);
    let (level, why, _) = recorded(&colophon, &upstream, "Content-Encoding: gzip\r\n", &bomb);
    assert!(level == Level::Sign && why.contains("not known"), "{level} {why}");
    let grown = peak(&mut colophon).saturating_sub(before);
    assert!(grown < FLAT, "it took {} MB more", grown >> 20);
}

/// A stream of events that goes on until the client has had enough.
#[test]
fn a_stream_that_never_ends_takes_no_memory_and_is_on_record_as_far_as_it_went() {
    let upstream = Upstream::serve(|conn| {
        if conn.request().is_none() {
            return;
        }
        conn.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
        );
        // An event that never ends, then events without an end, as fast as they are taken.
        let event =
            format!("data: {{\"id\":\"chatcmpl-1\",\"model\":\"m\",\"x\":\"{}\"}}\n\n", "y".repeat(60_000));
        let line = "z".repeat(60_000);
        let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len()).into_bytes();
        let (event, line) = (chunk(&event), chunk(&line));
        conn.send(&chunk("data: "));
        for _ in 0..100 {
            conn.send(&line);
        }
        conn.send(&chunk("\n\n"));
        while conn.send(&event) {}
    });
    let mut colophon = start(&upstream);
    let before = peak(&mut colophon);
    let mut client = Client::connect(colophon.listen());
    client.send(&post_bytes(CHAT, "", "{}"));
    let mut head = client.wire().response_head();
    client.wire().response_prefix(&mut head, 64 << 20);
    let grown = peak(&mut colophon).saturating_sub(before);
    assert!(grown < FLAT, "it took {} MB more", grown >> 20);
    let released = head.body.len() as u64;
    drop(client);
    colophon.until_ended_as(Outcome::ClientAborted, 1);
    pause(Duration::from_millis(300));
    let receipt = Fetched::of(&head, colophon.listen());
    let body = receipt.response_body().expect("a prefix");
    assert!(body.size >= released, "{} of {released}", body.size);
    let operation = Operation::read(receipt.field(fields::OPERATION).unwrap()).unwrap();
    assert_eq!(operation.response_unreadable.as_deref(), Some("too large"));
    assert!(operation.events.is_some_and(|events| events > 500), "{:?}", operation.events);
    assert!(wait_for(colophon_tests::PATIENCE, || upstream.received().pop()).is_some());
}
