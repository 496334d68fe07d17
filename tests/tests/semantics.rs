//! HTTP as RFC 9110 has it: what a method, a status or a version means for the message, and what is one hop's own.

use std::time::{Duration, Instant};

use colophon_receipt::fields::{self, Upgrade};
use colophon_receipt::level::Outcome;
use colophon_receipt::merkle::sha256;
use colophon_tests::client::{Client, get, post, post_bytes, send};
use colophon_tests::colophon::Colophon;
use colophon_tests::pause;
use colophon_tests::receipts::Fetched;
use colophon_tests::upstream::Upstream;
use colophon_tests::wire::{End, Framing, Message};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";

fn verified(colophon: &Colophon, response: &Message, request: &[u8]) -> Fetched {
    let receipt = Fetched::of(response, colophon.listen());
    receipt.assert_verifies(colophon.listen(), request, &response.body);
    receipt
}

#[test]
fn head_has_the_length_and_no_body() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1234\r\n\r\n",
    );
    let colophon = Colophon::signing(&upstream.url());
    let mut client = Client::connect(colophon.listen());
    for _ in 0..2 {
        client.send(b"HEAD /v1/models HTTP/1.1\r\nHost: x\r\n\r\n");
        let response = client.response("HEAD");
        assert_eq!((response.status(), response.header("content-length")), (200, Some("1234")));
        verified(&colophon, &response, b"");
    }
}

#[test]
fn statuses_without_a_body_have_none() {
    for head in [
        "204 No Content\r\n",
        "304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 99\r\n",
        "304 Not Modified\r\n",
    ] {
        let upstream = Upstream::answering(format!("HTTP/1.1 {head}\r\n"));
        let colophon = Colophon::signing(&upstream.url());
        let mut client = Client::connect(colophon.listen());
        for _ in 0..2 {
            client.send(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n");
            let response = client.response("GET");
            assert_eq!(
                (response.start[9..12].to_owned() + " ", &response.end),
                (head[..4].to_owned(), &End::Complete)
            );
            assert_eq!(response.header("transfer-encoding"), None, "{head}");
            // hyper's server drops a length where it has no body to send, but for HEAD; RFC 9110 lets a 304 leave it out.
            assert_eq!(response.header("content-length"), None, "{head}");
            assert_eq!(verified(&colophon, &response, b"").outcome(), Outcome::Complete);
        }
    }
}

#[test]
fn an_empty_answer_is_on_record_too() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let colophon = Colophon::signing(&upstream.url());
    let response = get(colophon.listen(), "/health");
    assert_eq!((response.status(), response.header("content-length")), (200, Some("0")));
    verified(&colophon, &response, b"");
}

#[test]
fn http_1_0_clients_get_no_chunks() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n",
    );
    let colophon = Colophon::signing(&upstream.url());
    let response = send(colophon.listen(), b"GET /v1/models HTTP/1.0\r\n\r\n");
    assert_eq!(
        (response.status(), response.text().as_str(), &response.framing),
        (200, "onetwo", &Framing::Close)
    );
    assert!(upstream.received()[0].start.ends_with("HTTP/1.1"), "{}", upstream.received()[0].start);
    verified(&colophon, &response, b"");
}

#[test]
fn http_1_0_upstreams_end_by_closing() {
    let upstream =
        Upstream::answering_once("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nuntil the end");
    let colophon = Colophon::signing(&upstream.url());
    let mut client = Client::connect(colophon.listen());
    for _ in 0..2 {
        client.send(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n");
        let response = client.response("GET");
        assert_eq!(
            (response.status(), response.text().as_str(), &response.end),
            (200, "until the end", &End::Complete)
        );
        verified(&colophon, &response, b"");
    }
}

#[test]
fn an_absolute_form_is_forwarded_as_origin_form() {
    let upstream = Upstream::answering(OK);
    let colophon = Colophon::signing(&upstream.url());
    let response = send(
        colophon.listen(),
        b"GET http://models.example:81/v1/models?a=b HTTP/1.1\r\nHost: other\r\n\r\n",
    );
    assert_eq!(response.status(), 200);
    let received = &upstream.received()[0];
    assert_eq!(received.target(), "/v1/models?a=b");
    assert_eq!(received.all("host").collect::<Vec<_>>(), ["models.example:81"]);
    verified(&colophon, &response, b"");
    // OPTIONS * is about the server as a whole.
    send(colophon.listen(), b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(upstream.received()[1].start, "OPTIONS * HTTP/1.1");
}

#[test]
fn connect_is_refused() {
    let upstream = Upstream::answering(OK);
    let colophon = Colophon::signing(&upstream.url());
    for wish in ["", "Connection: upgrade\r\nUpgrade: websocket\r\n"] {
        let request = format!("CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n{wish}\r\n");
        let response = send(colophon.listen(), request.as_bytes());
        assert!((400..600).contains(&response.status()), "{}", response.start);
    }
    assert_eq!(upstream.received().len(), 0);
}

#[test]
fn hop_by_hop_headers_stay_on_their_hop() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Mine\r\nKeep-Alive: timeout=5\r\nX-Mine: 1\r\nX-Yours: 2\r\nX-Yours: 3\r\n\
         Proxy-Authenticate: Basic\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\n\r\n{}",
    );
    let colophon = Colophon::signing(&upstream.url());
    let response = send(
        colophon.listen(),
        b"GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close, x-private\r\nX-Private: 1\r\nX-Public: a\r\nx-public: b\r\n\
          Keep-Alive: timeout=9\r\nTE: gzip\r\nProxy-Authorization: Basic eA==\r\nAuthorization: Bearer k\r\nX-Empty:\r\n\r\n",
    );
    let received = &upstream.received()[0];
    for name in ["x-private", "keep-alive", "te", "proxy-authorization", "x-request-id", "accept-encoding"] {
        assert_eq!(received.header(name), None, "request {name}");
    }
    assert_eq!(received.all("x-public").collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!((received.header("authorization"), received.header("x-empty")), (Some("Bearer k"), Some("")));
    for name in ["x-mine", "keep-alive", "proxy-authenticate"] {
        assert_eq!(response.header(name), None, "response {name}");
    }
    assert_eq!(response.all("x-yours").collect::<Vec<_>>(), ["2", "3"]);
    assert_eq!(response.all("set-cookie").collect::<Vec<_>>(), ["a=1", "b=2"]);
}

#[test]
fn the_clients_body_waits_for_the_upstreams_100() {
    let upstream = Upstream::serve(|conn| {
        while let Some(head) = conn.request_head() {
            assert_eq!(head.header("expect"), Some("100-continue"));
            pause(Duration::from_millis(300));
            conn.send(b"HTTP/1.1 100 Continue\r\n\r\n");
            conn.request_body(head);
            conn.send(OK.as_bytes());
        }
    });
    let colophon = Colophon::signing(&upstream.url());
    let request = post_bytes("/v1/chat/completions", "Expect: 100-continue\r\n", "{}");
    let (head, body) = request.split_at(request.len() - 2);
    let mut client = Client::connect(colophon.listen());
    let start = Instant::now();
    client.send(head);
    let mut interim = [0; 25];
    std::io::Read::read_exact(&mut client.stream(), &mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    assert!(
        start.elapsed() > Duration::from_millis(250),
        "100 before the upstream's, after {:?}",
        start.elapsed()
    );
    client.send(body);
    let response = client.response("POST");
    assert_eq!(response.status(), 200);
    verified(&colophon, &response, b"{}");
}

#[test]
fn a_refusal_instead_of_100_reaches_a_client_that_waits() {
    let upstream = Upstream::serve(|conn| {
        if conn.request_head().is_some() {
            conn.send(b"HTTP/1.1 417 Expectation Failed\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let colophon = Colophon::signing(&upstream.url());
    let request = post_bytes("/v1/chat/completions", "Expect: 100-continue\r\n", "{}");
    let mut client = Client::connect(colophon.listen());
    client.send(&request[..request.len() - 2]);
    let response = client.response("POST");
    // A proxy that waits for its own patience to end sends a 100 then.
    assert_eq!((response.status(), response.interim.len()), (417, 0));
}

/// Many servers never send a 100; the client must get one all the same.
#[test]
fn a_100_that_never_comes_is_replaced() {
    let upstream = Upstream::answering(OK);
    let colophon = Colophon::signing(&upstream.url());
    let request = post_bytes("/v1/chat/completions", "Expect: 100-continue\r\n", "{}");
    let mut client = Client::connect(colophon.listen()).timeout(Duration::from_secs(5));
    client.send(&request[..request.len() - 2]);
    let mut interim = [0; 25];
    std::io::Read::read_exact(&mut client.stream(), &mut interim).unwrap();
    client.send(b"{}");
    assert_eq!(client.response("POST").status(), 200);
}

#[test]
fn other_interim_responses_are_consumed() {
    let upstream = Upstream::answering(format!(
        "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n{OK}"
    ));
    let colophon = Colophon::signing(&upstream.url());
    let response = post(colophon.listen(), "/v1/chat/completions", "{}");
    assert_eq!((response.status(), response.interim.len(), response.header("link")), (200, 0, None));
    verified(&colophon, &response, b"{}");
}

const WITH_TRAILERS: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n\
                             6\r\ndata: \r\n0\r\nX-Sum: 7\r\n\r\n";

#[test]
fn trailers_reach_those_who_ask() {
    let upstream = Upstream::answering(WITH_TRAILERS);
    let colophon = Colophon::signing(&upstream.url());
    let asked = post_bytes("/v1/chat/completions", "TE: trailers\r\nConnection: TE\r\n", "{}");
    let response = send(colophon.listen(), &asked);
    let trailer = |name: &str| {
        response.trailers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    };
    assert_eq!((response.end.clone(), trailer("x-sum")), (End::Complete, Some("7")));
    // The closing signature of the stream comes with them, and every trailer is announced.
    for name in ["signature", "signature-input", "colophon-record"] {
        assert!(trailer(name).is_some(), "no {name} in {:?}", response.trailers);
    }
    for (name, _) in &response.trailers {
        assert!(
            response.has_token("trailer", name),
            "{name} is not announced in {:?}",
            response.header("trailer")
        );
    }
    let receipt = verified(&colophon, &response, b"{}");
    assert_eq!(receipt.outcome(), Outcome::Complete);

    let response = post(colophon.listen(), "/v1/chat/completions", "{}");
    assert_eq!((response.end.clone(), response.trailers.len()), (End::Complete, 0));
    verified(&colophon, &response, b"{}");
}

#[test]
fn the_comment_tail_comes_only_to_those_who_ask() {
    let stream = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    let upstream = Upstream::answering(format!("{stream}e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"));
    let colophon = Colophon::signing(&upstream.url());
    let body = r#"{"stream":true}"#;
    let asked = post_bytes("/v1/chat/completions", "Colophon-Tail: comment\r\n", body);
    let response = send(colophon.listen(), &asked);
    let text = response.text();
    let tail = text.strip_prefix("data: [DONE]\n\n").expect("the stream comes first");
    assert!(tail.starts_with(": colophon ") && tail.ends_with('\n'), "{tail:?}");
    assert_eq!(tail.trim_end().lines().count(), 1, "{tail:?}");
    let receipt = Fetched::of(&response, colophon.listen());
    // The tail is outside the digest.
    receipt.assert_verifies(colophon.listen(), body.as_bytes(), b"data: [DONE]\n\n");
    assert_eq!(post(colophon.listen(), "/v1/chat/completions", body).text(), "data: [DONE]\n\n");
}

#[test]
fn the_comment_tail_is_not_put_on_encoded_streams() {
    let stream = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n";
    let upstream = Upstream::answering(format!("{stream}3\r\nabc\r\n0\r\n\r\n"));
    let colophon = Colophon::signing(&upstream.url());
    let asked = post_bytes("/v1/chat/completions", "Colophon-Tail: comment\r\n", "{}");
    let response = send(colophon.listen(), &asked);
    // Not gzip at all, which is no business of a proxy's: it passes, and is on record.
    assert_eq!((response.text().as_str(), &response.end), ("abc", &End::Complete));
    verified(&colophon, &response, b"{}");
}

#[test]
fn a_websocket_is_a_pipe_with_a_digest_for_each_direction() {
    let upstream = Upstream::serve(|conn| {
        let Some(request) = conn.request() else { return };
        assert_eq!(request.header("upgrade"), Some("websocket"));
        assert!(request.has_token("connection", "upgrade"));
        assert_eq!(request.header("sec-websocket-key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
        conn.send(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
              Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nhello",
        );
        while let Some(bytes) = conn.raw() {
            conn.send(&bytes);
        }
    });
    let colophon = Colophon::signing(&upstream.url());
    let mut client = Client::connect(colophon.listen());
    client.send(
        b"GET /v1/realtime?model=m HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
          Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    let mut response = client.wire().response_head();
    assert_eq!((response.status(), response.header("upgrade")), (101, Some("websocket")));
    assert!(response.has_token("connection", "upgrade"));
    assert_eq!(response.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    // Read as one endless body: the greeting, then echoes.
    client.wire().response_prefix(&mut response, 5);
    assert_eq!(response.body, b"hello");
    for round in 0..3u8 {
        let bytes = [b'0' + round, 0, 0xff, b'\n'];
        client.send(&bytes);
        let length = response.body.len() + bytes.len();
        client.wire().response_prefix(&mut response, length);
        assert!(response.body.ends_with(&bytes), "{:?}", response.body);
    }
    drop(client);
    let receipt = Fetched::of(&response, colophon.listen());
    let upgrade = Upgrade::read(receipt.field(fields::UPGRADE).expect("on record")).expect("an upgrade");
    assert_eq!(upgrade.protocol.as_deref(), Some(&b"websocket"[..]));
    let (sent, received) = (upgrade.sent.expect("sent"), upgrade.received.expect("received"));
    assert_eq!((sent.size, sent.digest), (12, sha256(&response.body[5..])));
    assert_eq!((received.size, received.digest), (17, sha256(&response.body)));
    assert_eq!(receipt.verify(colophon.listen(), None, None).0, 0);
}

/// Many clients at once, with bodies of all sizes: none gets another's bytes, and each has a record of its own.
#[test]
fn parallel_exchanges_do_not_mix() {
    let upstream = Upstream::serve(|conn| {
        while let Some(request) = conn.request() {
            let body = request.body;
            let head = if body.len() % 2 == 0 {
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len())
            } else {
                format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n", body.len())
            };
            conn.send(head.as_bytes());
            conn.send(&body);
            if body.len() % 2 == 1 {
                conn.send(b"\r\n0\r\n\r\n");
            }
        }
    });
    let colophon = Colophon::signing(&upstream.url());
    std::thread::scope(|scope| {
        for thread in 0..8usize {
            let colophon = &colophon;
            scope.spawn(move || {
                let mut client = Client::connect(colophon.listen());
                for round in 0..10usize {
                    let body =
                        format!("{thread}-{round};").repeat(1 + (round * 7919 + thread * 104_729) % 40_000);
                    client.send(&post_bytes("/v1/completions", "", &body));
                    let response = client.response("POST");
                    assert_eq!((response.status(), &response.end), (200, &End::Complete));
                    assert!(response.text() == body, "{thread}-{round}");
                    let receipt = Fetched::of(&response, colophon.listen());
                    assert_eq!(
                        receipt.response_body().map(|body| body.digest),
                        Some(sha256(body.as_bytes()))
                    );
                }
            });
        }
    });
    colophon.until_ended_as(Outcome::Complete, 80);
}
