//! What records say of exchanges, read back through their receipts: the fields are what happened, and no more.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use colophon_receipt::fields::{
    self, Answer, Context, DecisionField, Failure, Model, Operation, RequestLine, ResponseHead, Times,
    Upstream as Up, Usage,
};
use colophon_receipt::level::{Level, Outcome};
use colophon_receipt::merkle::sha256;
use colophon_receipt::receipt::Receipt;
use colophon_receipt::statement::{Counters, Statement};
use colophon_signer::cose::Sign1;
use colophon_tests::client::{get, post, post_bytes, send};
use colophon_tests::colophon::Colophon;
use colophon_tests::receipts::Fetched;
use colophon_tests::upstream::Upstream;
use colophon_tests::wire::Message;
use colophon_tests::{PATIENCE, wait_for};

const CHAT: &str = r#"{"id":"chatcmpl-7","object":"chat.completion","model":"served-model","system_fingerprint":"fp_1","choices":[{"index":0,"message":{"role":"assistant","content":"a"},"finish_reason":"stop"},{"index":1,"message":{"role":"assistant","content":"b"},"finish_reason":"length"}],"usage":{"prompt_tokens":11,"completion_tokens":5,"total_tokens":16,"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":2}}}"#;

const CHAT_STREAM: &str = "data: {\"id\":\"chatcmpl-8\",\"model\":\"served-model\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"Hel\"}}]}\n\ndata: {\"id\":\"chatcmpl-8\",\"model\":\"served-model\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"lo\"},\"finish_reason\":\"stop\"}]}\n\ndata: {\"id\":\"chatcmpl-8\",\"model\":\"served-model\",\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2,\"total_tokens\":5}}\n\ndata: [DONE]\n\n";

const MESSAGES: &str = r#"{"id":"msg_1","type":"message","role":"assistant","model":"claude-like","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn","usage":{"input_tokens":9,"output_tokens":4}}"#;

const ERROR: &str =
    r#"{"error":{"message":"no such model","type":"NotFoundError","param":"model","code":404}}"#;

/// Answers by path and body, as the servers would.
fn server() -> Upstream {
    Upstream::serve(|conn| {
        while let Some(request) = conn.request() {
            let json = "application/json";
            let (status, kind, body) = match (request.target(), request.text()) {
                (_, text) if text.contains("missing") => ("404 Not Found", json, ERROR),
                ("/v1/messages", _) => ("200 OK", json, MESSAGES),
                (_, text) if text.contains("\"stream\":true") => ("200 OK", "text/event-stream", CHAT_STREAM),
                (_, text) if text.contains("prose") => ("200 OK", "text/plain", "not JSON at all"),
                _ => ("200 OK", json, CHAT),
            };
            conn.send(format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n").as_bytes());
            if kind == "text/event-stream" {
                conn.send(b"Transfer-Encoding: chunked\r\n\r\n");
                for event in body.split_inclusive("\n\n") {
                    conn.send(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes());
                }
                conn.send(b"0\r\n\r\n");
            } else {
                conn.send(
                    format!("X-Server: test\r\nContent-Length: {}\r\n\r\n{body}", body.len()).as_bytes(),
                );
            }
        }
    })
}

/// A receipt's fields, read.
struct Record {
    receipt: Fetched,
    line: RequestLine<'static>,
    head: ResponseHead<'static>,
    operation: Operation<'static>,
    times: Times<'static>,
    decision: DecisionField<'static>,
}

impl Record {
    /// Fetches it, checks what is so of every record, and that it verifies.
    fn of(colophon: &Colophon, response: &Message, request: &[u8]) -> Self {
        let receipt = Fetched::of(response, colophon.listen());
        receipt.assert_verifies(colophon.listen(), request, &response.body);
        let field = |number| receipt.field(number).unwrap_or_else(|| panic!("no {}", fields::name(number)));
        let record = Self {
            line: RequestLine::read(field(fields::REQUEST_LINE)).unwrap(),
            head: ResponseHead::read(field(fields::RESPONSE_HEAD)).unwrap(),
            operation: Operation::read(field(fields::OPERATION)).unwrap(),
            times: Times::read(field(fields::TIMES)).unwrap(),
            decision: DecisionField::read(field(fields::DECISION)).unwrap(),
            receipt,
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64;
        let (received, first) = (record.times.received.unwrap(), record.times.first_byte.unwrap());
        let completed = record.times.completed.unwrap();
        assert!(received <= first && first <= completed && completed <= now, "{:?}", record.times);
        assert!(now - received < 120_000_000, "{:?} and now {now}", record.times);
        assert_eq!(completed, record.receipt.leaf.completed_at);
        assert_eq!(record.times.clock.as_deref(), Some("system"));
        assert_eq!(record.decision.granted, Some(record.receipt.leaf.level.code()));
        let (sent, got) = (record.receipt.request_body().unwrap(), record.receipt.response_body().unwrap());
        assert_eq!((sent.digest, sent.size), (sha256(request), request.len() as u64));
        assert_eq!((got.digest, got.size), (sha256(&response.body), response.body.len() as u64));
        assert_eq!(record.head.status, Some(u64::from(response.status())));
        // The id is a UUIDv7 of the time of acceptance.
        let id = record.receipt.leaf.id;
        let ms = id[..6].iter().fold(0u64, |ms, byte| ms << 8 | u64::from(*byte));
        assert_eq!(ms, received / 1000);
        assert_eq!((id[6] >> 4, id[8] >> 6), (7, 2));
        record
    }

    fn has(&self, number: u8) -> bool {
        self.receipt.field(number).is_some()
    }

    fn usage(&self) -> Usage {
        Usage::read(self.receipt.field(fields::USAGE).expect("usage")).unwrap()
    }

    fn answer(&self) -> Answer<'_> {
        Answer::read(self.receipt.field(fields::ANSWER).expect("answer")).unwrap()
    }

    fn model(&self) -> Model<'_> {
        Model::read(self.receipt.field(fields::MODEL).expect("model")).unwrap()
    }
}

fn text<'a>(bytes: &'a Option<Cow<'_, [u8]>>) -> Option<&'a str> {
    bytes.as_deref().map(|bytes| std::str::from_utf8(bytes).unwrap())
}

#[test]
fn a_chat_completion() {
    let upstream = server();
    let colophon = Colophon::before(&upstream.url());
    let request = r#"{"model":"asked-model","messages":[],"temperature":0.70,"seed":42,"n":2}"#;
    let headers = "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nX-Request-Id: abc-1\r\n\
                   X-Stainless-Retry-Count: 2\r\nColophon-Client-Nonce: :AAECAwQFBgcICQoLDA0ODw==:\r\nConnection: close\r\n";
    let response = send(colophon.listen(), &post_bytes("/v1/chat/completions?k=v", headers, request));
    let record = Record::of(&colophon, &response, request.as_bytes());
    assert_eq!((record.receipt.outcome(), record.receipt.leaf.level), (Outcome::Complete, Level::Sign));

    assert_eq!(text(&record.line.method), Some("POST"));
    assert_eq!(text(&record.line.path), Some("/v1/chat/completions"));
    assert_eq!(record.line.query, Some(sha256(b"k=v")));
    assert_eq!(text(&record.line.authority), Some("test"));
    assert_eq!(text(&record.line.content_type), Some("application/json"));
    assert_eq!(record.line.version.as_deref(), Some("HTTP/1.1"));
    assert_eq!(text(&record.head.content_type), Some("application/json"));
    let lines = format!("content-length: {}\ncontent-type: application/json\nx-server: test\n", CHAT.len());
    assert_eq!(record.head.headers, Some(sha256(lines.as_bytes())));

    let operation = &record.operation;
    assert_eq!(
        (operation.api.as_deref(), operation.operation.as_deref()),
        (Some("chat"), Some("chat.completions"))
    );
    assert_eq!((operation.streamed, operation.events), (None, None));
    assert_eq!((&operation.request_unreadable, &operation.response_unreadable), (&None, &None));
    let model = record.model();
    assert_eq!((text(&model.requested), text(&model.reported)), (Some("asked-model"), Some("served-model")));
    assert_eq!((model.known_by.as_deref(), model.certificate), (Some("observed"), None));
    let usage = record.usage();
    assert_eq!((usage.prompt, usage.completion, usage.total), (Some(11), Some(5), Some(16)));
    assert_eq!((usage.cached, usage.reasoning), (Some(4), Some(2)));
    let answer = record.answer();
    assert_eq!(text(&answer.id), Some("chatcmpl-7"));
    assert_eq!(answer.finish_reasons, Some(vec![b"stop".to_vec(), b"length".to_vec()]));
    assert_eq!(text(&answer.system_fingerprint), Some("fp_1"));
    assert_eq!(answer.error, None);
    let sampling = fields::read_sampling(&record.receipt.field(fields::SAMPLING).expect("sampling")).unwrap();
    let sampling: BTreeMap<String, Vec<u8>> = sampling.into_iter().collect();
    // The bytes as they stood there.
    assert_eq!(sampling.get("temperature").map(Vec::as_slice), Some(&b"0.70"[..]));
    assert_eq!(sampling.get("seed").map(Vec::as_slice), Some(&b"42"[..]));

    let decision = &record.decision;
    assert_eq!((text(&decision.rule), decision.asked), (Some("answers"), Some(Level::Sign.code())));
    assert_eq!((&decision.why_lowered, decision.degraded), (&None, None));
    let context = Context::read(record.receipt.field(fields::CONTEXT).expect("context")).unwrap();
    assert_eq!(text(&context.nonce), Some(":AAECAwQFBgcICQoLDA0ODw==:"));
    assert_eq!(text(&context.traceparent), Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
    assert_eq!((text(&context.request_id), context.retries), (Some("abc-1"), Some(2)));
    let up = Up::read(record.receipt.field(fields::UPSTREAM).expect("upstream")).unwrap();
    assert_eq!((text(&up.url), up.version.as_deref()), (Some(upstream.url().as_str()), Some("HTTP/1.1")));
    for absent in [
        fields::FAILURE,
        fields::UPGRADE,
        fields::STRIPPED,
        fields::REQUEST_DECODED,
        fields::REQUEST_FORWARDED,
    ] {
        assert!(!record.has(absent), "{}", fields::name(absent));
    }
}

#[test]
fn a_streamed_chat_completion() {
    let upstream = server();
    let colophon = Colophon::before(&upstream.url());
    let request = r#"{"model":"asked-model","messages":[],"stream":true}"#;
    let response = post(colophon.listen(), "/v1/chat/completions", request);
    assert_eq!(response.text(), CHAT_STREAM);
    let record = Record::of(&colophon, &response, request.as_bytes());
    assert_eq!((record.receipt.outcome(), record.receipt.leaf.level), (Outcome::Complete, Level::Sign));
    let operation = &record.operation;
    assert_eq!((operation.stream_asked, operation.streamed), (Some(true), Some(true)));
    assert_eq!(operation.events, Some(4));
    assert_eq!(text(&record.model().reported), Some("served-model"));
    assert_eq!(record.usage().total, Some(5));
    let answer = record.answer();
    assert_eq!((text(&answer.id), answer.terminated), (Some("chatcmpl-8"), Some(true)));
    assert_eq!(answer.finish_reasons, Some(vec![b"stop".to_vec()]));
}

#[test]
fn a_message() {
    let upstream = server();
    let colophon = Colophon::before(&upstream.url());
    let request = r#"{"model":"asked-model","max_tokens":5,"messages":[]}"#;
    let response = post(colophon.listen(), "/v1/messages", request);
    let record = Record::of(&colophon, &response, request.as_bytes());
    assert_eq!(record.operation.api.as_deref(), Some("messages"));
    assert_eq!(text(&record.model().reported), Some("claude-like"));
    let usage = record.usage();
    assert_eq!((usage.prompt, usage.completion), (Some(9), Some(4)));
    assert_eq!(text(&record.answer().id), Some("msg_1"));
    assert_eq!(record.answer().finish_reasons, Some(vec![b"end_turn".to_vec()]));
}

#[test]
fn an_error_of_the_server() {
    let upstream = server();
    let colophon = Colophon::before(&upstream.url());
    let request = r#"{"model":"missing","messages":[]}"#;
    let response = post(colophon.listen(), "/v1/chat/completions", request);
    assert_eq!((response.status(), response.text().as_str()), (404, ERROR));
    let record = Record::of(&colophon, &response, request.as_bytes());
    assert_eq!(record.receipt.outcome(), Outcome::UpstreamError);
    assert_eq!(text(&record.model().requested), Some("missing"));
    assert!(record.answer().error.is_some_and(|error| !error.is_empty()));
}

/// What cannot be read is recorded exactly, and the record says that it was not understood.
#[test]
fn what_cannot_be_parsed() {
    let upstream = server();
    let colophon = Colophon::before(&upstream.url());
    for request in ["prose", "{\"model\":\"prose\",", "\u{0}\u{1}prose"] {
        let response = post(colophon.listen(), "/v1/chat/completions", request);
        assert_eq!(response.text(), "not JSON at all");
        let record = Record::of(&colophon, &response, request.as_bytes());
        assert_eq!(record.receipt.outcome(), Outcome::Complete);
        assert!(record.operation.request_unreadable.is_some(), "{request:?}");
        assert!(!record.has(fields::USAGE), "{request:?}");
    }
}

/// A refusal of ours is on record with whose fault it was; nothing is said of an upstream that was never asked.
#[test]
fn a_refusal() {
    let upstream = server();
    let colophon = Colophon::start(&upstream.url(), |options| {
        options.arg(&["--max-body-bytes", "10"]);
    });
    let response = post(colophon.listen(), "/v1/chat/completions", "{\"model\":\"much too long\"}");
    assert_eq!(response.status(), 413);
    let receipt = Fetched::of(&response, colophon.listen());
    assert_eq!(receipt.outcome(), Outcome::Refused);
    let failure = Failure::read(receipt.field(fields::FAILURE).expect("why")).unwrap();
    assert_eq!(failure.fault.as_deref(), Some("client"));
    assert!(receipt.field(fields::UPSTREAM).is_none());
    assert!(upstream.received().is_empty());
    assert_eq!(receipt.verify(colophon.listen(), None, Some(&response.body)).0, 0);
}

fn counters(receipt: &Fetched) -> Counters {
    let receipt: Receipt = serde_json::from_slice(&receipt.json).unwrap();
    let signed = Sign1::parse(&receipt.statement.0).unwrap();
    Statement::decode(signed.payload()).unwrap().counters
}

/// `pass` leaves no record and no header, but every statement counts it; all levels add up.
#[test]
fn what_passes_is_counted_in_the_statements() {
    let upstream = server();
    let colophon = Colophon::before(&upstream.url());
    for path in ["/health", "/metrics", "/v1/models"] {
        let response = get(colophon.listen(), path);
        assert_eq!(response.text(), CHAT, "{path}");
        let added: Vec<&String> = response.headers.iter().map(|(name, _)| name).collect();
        assert!(added.iter().all(|name| !name.to_ascii_lowercase().starts_with("colophon")), "{added:?}");
        assert!(response.header("signature").is_none() && response.header("server-timing").is_none());
    }
    let signed = post(colophon.listen(), "/v1/chat/completions", "{}");
    let committed = post(colophon.listen(), "/tokenize", "{}");
    assert!(signed.header("signature").is_some());
    assert!(committed.header("signature").is_none() && committed.header("colophon-record").is_some());
    let receipts = [&signed, &committed].map(|response| Fetched::of(response, colophon.listen()));
    assert_eq!(receipts[0].leaf.level, Level::Sign);
    assert_eq!(receipts[1].leaf.level, Level::Commit);
    let last = receipts.iter().map(counters).max_by_key(|counters| counters.received).unwrap();
    assert!(last.balanced(), "{last:?}");
    assert_eq!((last.received, last.recorded, last.passed), (5, 2, 3));
    assert_eq!((last.lost, last.open, last.refused, last.degraded), (0, 0, 0, 0));
    let passed = wait_for(PATIENCE, || colophon.metric("colophon_ledger_passed_total").filter(|n| *n == 3.0));
    assert!(passed.is_some());
}

/// Matching is on the normalised path, and `pass` is not for a path that has to be normalised first.
#[test]
fn a_disguised_path_does_not_pass() {
    let upstream = server();
    let colophon = Colophon::before(&upstream.url());
    for path in ["/./health", "/x/../health", "//health", "/%68ealth"] {
        let response = get(colophon.listen(), path);
        assert_eq!(response.status(), 200);
        assert!(response.header("colophon-record").is_some(), "{path} leaves no record");
        assert!(upstream.received().iter().any(|request| request.target() == path), "{path} was changed");
    }
}
