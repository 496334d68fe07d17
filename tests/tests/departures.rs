//! Clients that leave: the upstream is freed at once, and what had been delivered is on record.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use colophon_receipt::level::Outcome;
use colophon_receipt::merkle::sha256;
use colophon_tests::captures::{Capture, replay};
use colophon_tests::client::{Client, post_bytes};
use colophon_tests::colophon::Colophon;
use colophon_tests::receipts::Fetched;
use colophon_tests::upstream::Upstream;
use colophon_tests::wire::End;
use colophon_tests::{PATIENCE, pause, wait_for};

/// On a busy machine; an upstream that is not freed at once keeps working for minutes.
const AT_ONCE: Duration = Duration::from_secs(5);

const STREAM_HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

fn chunk(data: &str) -> Vec<u8> {
    format!("{:x}\r\n{data}\r\n", data.len()).into_bytes()
}

/// Plays a recording whose client left, leaves at the same place, and checks the record.
fn leave_where_recorded(name: &str) {
    let capture = Capture::load(name);
    let (upstream, playing) = replay();
    let colophon = Colophon::signing(&upstream.url());
    playing.play(&capture);
    let (recorded, _) = capture.responses().remove(0);
    assert!(!recorded.body.is_empty());
    let mut client = Client::connect(colophon.listen());
    client.send(&capture.request);
    let mut got = client.wire().response_head();
    client.wire().response_prefix(&mut got, recorded.body.len());
    assert_eq!((got.end.clone(), &got.body), (End::Complete, &recorded.body), "{name}");
    let left = Instant::now();
    drop(client);
    let gone = upstream.gone().expect("the upstream is never freed");
    assert!(gone - left < AT_ONCE, "{name}: freed after {:?}", gone - left);
    let receipt = Fetched::of(&got, colophon.listen());
    assert_eq!(receipt.outcome(), Outcome::ClientAborted, "{name}");
    receipt.assert_verifies(colophon.listen(), &capture.requests()[0].body, &recorded.body);
}

#[test]
fn a_stream_of_vllm_left_midway() {
    leave_where_recorded("vllm-0.32.0/disconnect-midstream");
}

#[test]
fn a_stream_of_tgi_left_midway() {
    leave_where_recorded("tgi-3.3.6/disconnect-midstream");
}

/// The client has got nothing yet, so it has no token to fetch a receipt with; the record is counted.
#[test]
fn a_client_that_leaves_before_the_answer_frees_the_upstream() {
    let capture = Capture::load("vllm-0.32.0/disconnect-nonstream");
    let (upstream, playing) = replay();
    let colophon = Colophon::signing(&upstream.url());
    let play = playing.play(&capture);
    let mut client = Client::connect(colophon.listen());
    client.send(&capture.request);
    let received = wait_for(PATIENCE, || (play.received().len() == 1).then_some(()));
    assert!(received.is_some(), "the upstream got no request");
    let left = Instant::now();
    drop(client);
    let gone = upstream.gone().expect("the upstream is never freed");
    assert!(gone - left < AT_ONCE, "freed after {:?}", gone - left);
    colophon.until_ended_as(Outcome::ClientAborted, 1);
}

/// While the upstream says nothing there is nothing to write to the client, whose departure must show all the same.
#[test]
fn a_silent_stream_is_freed_at_once() {
    let upstream = Upstream::serve(|conn| {
        if conn.request().is_some() {
            conn.send(STREAM_HEAD);
            conn.send(&chunk("data: one\n\n"));
            conn.wait_until_gone();
        }
    });
    let colophon = Colophon::signing(&upstream.url());
    let body = r#"{"model":"m","messages":[],"stream":true}"#;
    let mut client = Client::connect(colophon.listen());
    client.send(&post_bytes("/v1/chat/completions", "", body));
    let mut got = client.wire().response_head();
    client.wire().response_prefix(&mut got, 11);
    pause(Duration::from_millis(500));
    let left = Instant::now();
    drop(client);
    let gone = upstream.gone().expect("the upstream is never freed");
    assert!(gone - left < AT_ONCE, "freed after {:?}", gone - left);
    let receipt = Fetched::of(&got, colophon.listen());
    assert_eq!(receipt.outcome(), Outcome::ClientAborted);
    let body_on_record = receipt.response_body().expect("a response digest");
    assert_eq!((body_on_record.digest, body_on_record.size), (sha256(b"data: one\n\n"), 11));
    receipt.assert_verifies(colophon.listen(), body.as_bytes(), b"data: one\n\n");
}

/// An SDK closes the connection when it has seen `[DONE]`, often before the last chunk: the exchange is complete.
#[test]
fn leaving_after_the_terminator_is_no_departure() {
    let (first, done) = ("data: {\"id\":\"x\",\"choices\":[]}\n\n", "data: [DONE]\n\n");
    let upstream = Upstream::serve(move |conn| {
        if conn.request().is_some() {
            conn.send(STREAM_HEAD);
            conn.send(&chunk(first));
            conn.send(&chunk(done));
            conn.wait_until_gone();
        }
    });
    let colophon = Colophon::signing(&upstream.url());
    let body = r#"{"model":"m","messages":[],"stream":true}"#;
    let mut client = Client::connect(colophon.listen());
    client.send(&post_bytes("/v1/chat/completions", "", body));
    let whole = format!("{first}{done}");
    let mut got = client.wire().response_head();
    client.wire().response_prefix(&mut got, whole.len());
    assert_eq!(got.text(), whole);
    drop(client);
    let receipt = Fetched::of(&got, colophon.listen());
    assert_eq!(receipt.outcome(), Outcome::Complete);
    receipt.assert_verifies(colophon.listen(), body.as_bytes(), whole.as_bytes());
}

/// The client leaves while it still sends its request.
#[test]
fn an_upload_left_midway_frees_the_upstream() {
    let under_way = Arc::new(AtomicBool::new(false));
    let of_upstream = under_way.clone();
    let upstream = Upstream::serve(move |conn| {
        if let Some(head) = conn.request_head() {
            of_upstream.store(true, Ordering::SeqCst);
            let request = conn.request_body(head);
            assert_ne!(request.end, End::Complete);
            conn.wait_until_gone();
        }
    });
    let colophon = Colophon::signing(&upstream.url());
    let mut client = Client::connect(colophon.listen());
    client
        .send(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n{\"model\":");
    let begun = wait_for(PATIENCE, || under_way.load(Ordering::SeqCst).then_some(()));
    assert!(begun.is_some(), "the upstream got no request");
    let left = Instant::now();
    drop(client);
    let gone = upstream.gone().expect("the upstream is never freed");
    assert!(gone - left < AT_ONCE, "freed after {:?}", gone - left);
    colophon.until_ended_as(Outcome::ClientAborted, 1);
}
