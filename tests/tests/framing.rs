//! Message framing that is ambiguous or broken, from either side (RFC 9112 section 6): repaired only where the RFC says
//! how, refused otherwise, and never handed on.

use colophon_receipt::level::Outcome;
use colophon_tests::client::{Client, get, post, post_bytes, send};
use colophon_tests::colophon::Colophon;
use colophon_tests::receipts::Fetched;
use colophon_tests::upstream::Upstream;
use colophon_tests::wire::{End, Framing};
use colophon_tests::{PATIENCE, wait_for};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
const CHAT: &str = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";

#[test]
fn transfer_encoding_wins_over_the_clients_content_length() {
    let upstream = Upstream::answering(OK);
    let colophon = Colophon::signing(&upstream.url());
    for lines in [
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    ] {
        let seen = upstream.received().len();
        let mut client = Client::connect(colophon.listen());
        // What a server that believed the Content-Length would take for a second request follows.
        client.send(
            format!("{CHAT}{lines}\r\nb\r\n{{\"model\":1}}\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n")
                .as_bytes(),
        );
        let response = client.response("POST");
        assert_eq!((response.status(), &response.end), (200, &End::Complete), "{lines}");
        assert!(response.has_token("connection", "close"), "{lines}: the connection goes on");
        let after = client.response("GET");
        assert!(after.start.is_empty(), "{lines}: {:?} after the answer", after.start);
        let received = upstream.received().split_off(seen);
        assert_eq!(received.len(), 1, "{lines}: {received:?}");
        assert_eq!(
            (&received[0].end, received[0].text().as_str()),
            (&End::Complete, "{\"model\":1}"),
            "{lines}"
        );
        assert_eq!(received[0].header("content-length"), None, "{lines}");
        Fetched::of(&response, colophon.listen()).assert_verifies(colophon.listen(), b"{\"model\":1}", b"{}");
    }
}

#[test]
fn transfer_encoding_wins_over_the_upstreams_content_length() {
    for lines in [
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    ] {
        let upstream = Upstream::answering(format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{lines}\r\n9\r\n{{\"id\":\"x\"\r\n1\r\n}}\r\n0\r\n\r\n"
        ));
        let colophon = Colophon::signing(&upstream.url());
        for _ in 0..2 {
            let response = post(colophon.listen(), "/v1/chat/completions", "{}");
            assert_eq!((response.status(), &response.end), (200, &End::Complete), "{lines}");
            assert_eq!(response.text(), r#"{"id":"x"}"#, "{lines}");
            assert_eq!(response.framing, Framing::Chunked, "{lines}");
            Fetched::of(&response, colophon.listen()).assert_verifies(
                colophon.listen(),
                b"{}",
                &response.body,
            );
        }
        assert_eq!(
            upstream.connections(),
            2,
            "{lines}: a connection whose framing is in doubt was used again"
        );
    }
}

#[test]
fn identical_content_lengths_collapse() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}");
    let colophon = Colophon::signing(&upstream.url());
    let request =
        format!("{CHAT}Content-Length: 4\r\nContent-Length: 4\r\nConnection: close\r\n\r\n{{\"\"}}");
    let response = send(colophon.listen(), request.as_bytes());
    // Our strict reader refuses two of them.
    assert_eq!((response.status(), &response.end, response.text().as_str()), (200, &End::Complete, "{}"));
    let received = upstream.received();
    assert_eq!((received.len(), &received[0].end), (1, &End::Complete));
    assert_eq!(received[0].all("content-length").collect::<Vec<_>>(), ["4"]);
}

#[test]
fn unclear_request_framing_is_refused() {
    let upstream = Upstream::answering(OK);
    let colophon = Colophon::signing(&upstream.url());
    for lines in [
        "Content-Length: 2\r\nContent-Length: 3\r\n",
        "Content-Length: 2, 2\r\n",
        "Content-Length: 2, 3\r\n",
        "Content-Length: +2\r\n",
        "Content-Length: -2\r\n",
        "Content-Length: 0x2\r\n",
        "Content-Length: 2 2\r\n",
        "Content-Length:\r\n",
        "Content-Length: 99999999999999999999999\r\n",
        "Content-Length : 2\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked;q=1\r\nContent-Length: 2\r\n",
    ] {
        let response = send(colophon.listen(), format!("{CHAT}{lines}\r\n{{}}").as_bytes());
        let status = response.status();
        assert!((400..502).contains(&status), "{lines:?}: {status}");
        assert_eq!(upstream.received().len(), 0, "{lines:?} was forwarded");
    }
}

#[test]
fn bytes_that_are_not_http_are_refused_and_counted() {
    let upstream = Upstream::answering(OK);
    let colophon = Colophon::signing(&upstream.url());
    let bad: &[&[u8]] = &[
        b"GET /a\0b HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /a\xffb HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: x\r\nX-A: a\0b\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: x\r\nX A: b\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: x\r\n: b\r\n\r\n",
        b"GET /a HTTP/7.9\r\nHost: x\r\n\r\n",
        b"G\0T /a HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ];
    for bytes in bad {
        let response = send(colophon.listen(), bytes);
        let shown = String::from_utf8_lossy(bytes);
        assert_eq!(response.status(), 400, "{shown:?}");
    }
    assert_eq!(upstream.received().len(), 0);
    // Counted when the connection has ended, which may be after its answer is there.
    let all = || (colophon.metric("colophon_malformed_total") == Some(bad.len() as f64)).then_some(());
    assert!(wait_for(PATIENCE, all).is_some(), "{:?}", colophon.metric("colophon_malformed_total"));
    // The next client is served.
    assert_eq!(post(colophon.listen(), "/v1/chat/completions", "{}").status(), 200);
}

#[test]
fn odd_paths_are_forwarded_as_they_are() {
    let upstream = Upstream::answering(OK);
    let colophon = Colophon::signing(&upstream.url());
    let odd = [
        "/v1/%00x",
        "/v1/%zz",
        "//v1//models",
        "/v1/../v1/models",
        "/v1/%6dodels?a=%20&&b=/?c",
        "/v1/é",
        "/v1/;a=b",
    ];
    for (at, target) in odd.iter().enumerate() {
        let response = get(colophon.listen(), target);
        assert_eq!(response.status(), 200, "{target}");
        assert_eq!(upstream.received()[at].target(), *target);
        assert!(response.header("colophon-receipt").is_some(), "{target}");
    }
}

/// The request has begun, so it is on record as one whose client failed; the upstream never sees its end.
#[test]
fn bad_chunks_from_the_client_never_complete_a_request() {
    let upstream = Upstream::serve(|conn| {
        while conn.request().is_some_and(|request| request.end == End::Complete) {
            conn.send(OK.as_bytes());
        }
    });
    let colophon = Colophon::signing(&upstream.url());
    let bad = [
        "zz\r\n{}\r\n0\r\n\r\n",
        "-2\r\n{}\r\n0\r\n\r\n",
        "2\r\n{}xx\r\n0\r\n\r\n",
        "fffffffffffffffff\r\n{}",
        "\r\n{}\r\n0\r\n\r\n",
    ];
    for (at, chunks) in bad.iter().enumerate() {
        let response =
            send(colophon.listen(), format!("{CHAT}Transfer-Encoding: chunked\r\n\r\n{chunks}").as_bytes());
        assert!(response.start.is_empty() || response.status() == 400, "{chunks:?}: {:?}", response.start);
        assert!(
            upstream.received().iter().all(|request| request.end != End::Complete),
            "{chunks:?} was completed"
        );
        let ended = colophon_tests::wait_for(colophon_tests::PATIENCE, || {
            let ended = colophon.ended_as(Outcome::ClientAborted) + colophon.ended_as(Outcome::Refused);
            (ended == at as u64 + 1).then_some(())
        });
        assert!(ended.is_some(), "{chunks:?} left no record");
    }
}

#[test]
fn bad_chunks_from_the_upstream_end_the_answer() {
    for chunks in ["zz\r\nxx\r\n0\r\n\r\n", "-1\r\nx\r\n0\r\n\r\n", "fffffffffffffffff\r\nx"] {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
        let upstream = Upstream::answering_once(format!("{head}6\r\nbefore\r\n{chunks}"));
        let colophon = Colophon::signing(&upstream.url());
        let response = post(colophon.listen(), "/v1/chat/completions", "{}");
        assert_eq!((response.status(), response.text().as_str()), (200, "before"), "{chunks:?}");
        assert!(matches!(response.end, End::Truncated | End::Reset), "{chunks:?}: {:?}", response.end);
        let receipt = Fetched::of(&response, colophon.listen());
        assert_eq!(receipt.outcome(), Outcome::UpstreamFailed, "{chunks:?}");
        receipt.assert_verifies(colophon.listen(), b"{}", b"before");
    }
}

#[test]
fn requests_on_one_connection_are_answered_in_order() {
    let upstream = Upstream::serve(|conn| {
        while let Some(request) = conn.request() {
            let body = request.text();
            conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).as_bytes());
        }
    });
    let colophon = Colophon::signing(&upstream.url());
    let bodies: Vec<String> = (0..10).map(|n| format!("{{\"n\":{n}}}")).collect();
    let all: Vec<u8> = bodies.iter().flat_map(|body| post_bytes("/v1/completions", "", body)).collect();
    let mut client = Client::connect(colophon.listen());
    client.send(&all);
    for body in &bodies {
        let response = client.response("POST");
        assert_eq!((&response.text(), &response.end), (body, &End::Complete));
        Fetched::of(&response, colophon.listen()).assert_verifies(
            colophon.listen(),
            body.as_bytes(),
            body.as_bytes(),
        );
    }
}
