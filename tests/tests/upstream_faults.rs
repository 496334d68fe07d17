//! Upstreams that are down, break off, talk nonsense or say nothing: the client gets a clear error in its API's shape,
//! or the end of what there was, and the record says what happened.

use std::io::Write as _;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use colophon_receipt::fields::{self, Failure};
use colophon_receipt::level::Outcome;
use colophon_receipt::merkle::sha256;
use colophon_tests::client::{Client, get, post, post_bytes};
use colophon_tests::colophon::{self, Colophon};
use colophon_tests::pause;
use colophon_tests::receipts::Fetched;
use colophon_tests::server::Server;
use colophon_tests::upstream::Upstream;
use colophon_tests::wire::{End, Message};

const STREAM_HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

/// The record blames the upstream and commits to what the client got.
fn assert_failed(colophon: &Colophon, response: &Message, request: &str) {
    let receipt = Fetched::of(response, colophon.listen());
    assert_eq!(receipt.outcome(), Outcome::UpstreamFailed);
    let failure = receipt.field(fields::FAILURE).expect("the reason is on record");
    let failure = Failure::read(failure).expect("a failure");
    assert_eq!(failure.fault.as_deref(), Some("upstream"));
    assert!(failure.reason.is_some_and(|reason| !reason.is_empty()));
    let body = receipt.response_body().expect("a response digest");
    assert_eq!((body.digest, body.size), (sha256(&response.body), response.body.len() as u64));
    receipt.assert_verifies(colophon.listen(), request.as_bytes(), &response.body);
}

fn free_port() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

#[test]
fn an_upstream_that_is_down_is_an_error_in_the_apis_shape() {
    let colophon = Colophon::signing(&format!("http://{}", free_port()));
    let chat = post(colophon.listen(), "/v1/chat/completions", "{}");
    let messages = post(colophon.listen(), "/v1/messages", "{}");
    let generate = post(colophon.listen(), "/generate", "{}");
    for response in [&chat, &messages, &generate] {
        assert!(matches!(response.status(), 502 | 503), "{}", response.start);
        assert_eq!(response.end, End::Complete);
        assert_eq!(response.header("content-type"), Some("application/json"));
        assert_failed(&colophon, response, "{}");
    }
    // Whoever is paged reads why, once in a while.
    let log = colophon.log();
    assert_eq!(log.matches("the upstream failed").count(), 1, "{log}");
    assert!(log.contains("Connection refused"), "{log}");
    let json =
        |response: &Message| serde_json::from_slice::<serde_json::Value>(&response.body).expect("JSON");
    assert!(json(&chat)["error"]["message"].is_string() && json(&chat)["error"]["type"].is_string());
    assert_eq!(json(&messages)["type"], "error");
    assert!(json(&messages)["error"]["message"].is_string());
    assert!(json(&generate)["error"].is_string() && json(&generate)["error_type"].is_string());
}

#[test]
fn an_upstream_that_comes_back_is_found_again() {
    let address = free_port();
    let colophon = Colophon::signing(&format!("http://{address}"));
    assert!(get(colophon.listen(), "/v1/models").status() >= 502);
    let listener = TcpListener::bind(address).unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut some = [0; 4096];
        let read = std::io::Read::read(&mut stream, &mut some).unwrap();
        assert!(read > 0);
        std::io::Write::write_all(
            &mut stream,
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
        )
        .unwrap();
    });
    assert_eq!(get(colophon.listen(), "/v1/models").status(), 200);
    server.join().unwrap();
}

#[test]
fn garbage_instead_of_an_answer_is_502() {
    let garbage: &[&[u8]] = &[
        b"\x00\x01\x02\x03\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nNo colon here\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}x",
        b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\n{}",
        b"",
    ];
    for bytes in garbage {
        let upstream = Upstream::answering_once(bytes.to_vec());
        let colophon = Colophon::signing(&upstream.url());
        let response = post(colophon.listen(), "/v1/chat/completions", "{}");
        let shown = String::from_utf8_lossy(bytes);
        assert_eq!(
            (response.status(), &response.end),
            (502, &End::Complete),
            "{shown:?}: {}",
            response.text()
        );
        assert_failed(&colophon, &response, "{}");
    }
}

#[test]
fn a_stream_that_breaks_off_is_not_ended_properly() {
    let upstream = Upstream::serve(|conn| {
        if conn.request().is_some() {
            conn.send(STREAM_HEAD);
            conn.send(b"b\r\ndata: one\n\n\r\n");
            pause(Duration::from_millis(50));
            conn.send(b"b\r\ndata:"); // and closes
        }
    });
    let colophon = Colophon::signing(&upstream.url());
    let response = post(colophon.listen(), "/v1/chat/completions", r#"{"stream":true}"#);
    assert_eq!((response.status(), response.text().as_str()), (200, "data: one\n\ndata:"));
    assert!(matches!(response.end, End::Truncated | End::Reset), "{:?}", response.end);
    assert_failed(&colophon, &response, r#"{"stream":true}"#);
}

#[test]
fn an_answer_with_a_length_that_breaks_off_is_cut_or_an_error() {
    // Short enough to be held back until its digest is known: then the failure can still be said.
    let upstream = Upstream::answering_once(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{\"a\"",
    );
    let colophon = Colophon::signing(&upstream.url());
    let response = post(colophon.listen(), "/v1/chat/completions", "{}");
    assert_eq!((response.status(), &response.end), (502, &End::Complete), "{}", response.text());
    assert_failed(&colophon, &response, "{}");

    // Too long to be held back.
    let upstream = Upstream::answering_once(format!(
        "HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n{}",
        "x".repeat(2000)
    ));
    let colophon = Colophon::signing(&upstream.url());
    let response = post(colophon.listen(), "/v1/chat/completions", "{}");
    assert_eq!((response.status(), response.body.len()), (200, 2000));
    assert!(matches!(response.end, End::Truncated | End::Reset), "{:?}", response.end);
    assert_failed(&colophon, &response, "{}");
}

/// The server closes with the request unread, so that the kernel resets the connection.
#[test]
fn a_reset_in_the_body_ends_the_answer() {
    let upstream = Upstream::serve(|conn| {
        if conn.request_head().is_some() {
            conn.send(STREAM_HEAD);
            conn.send(b"b\r\ndata: one\n\n\r\n");
            pause(Duration::from_millis(300));
        }
    });
    let colophon = Colophon::signing(&upstream.url());
    let request = "x".repeat(200_000);
    let mut client = Client::connect(colophon.listen());
    client.send(&post_bytes("/v1/chat/completions", "", &request));
    let response = client.response("POST");
    assert_eq!((response.status(), response.text().as_str()), (200, "data: one\n\n"));
    assert!(matches!(response.end, End::Truncated | End::Reset), "{:?}", response.end);
    let receipt = Fetched::of(&response, colophon.listen());
    assert_eq!(receipt.outcome(), Outcome::UpstreamFailed);
    assert_eq!(receipt.response_body().map(|body| body.digest), Some(sha256(b"data: one\n\n")));
}

#[test]
fn an_upstream_that_never_answers_is_504() {
    let upstream = Upstream::serve(|conn| {
        if conn.request().is_some() {
            conn.wait_until_gone();
        }
    });
    let colophon = Colophon::start(&upstream.url(), |options| {
        options.sign_all().arg(&["--upstream-header-timeout", "1s"]);
    });
    let start = Instant::now();
    let response = post(colophon.listen(), "/v1/chat/completions", "{}");
    assert_eq!(response.status(), 504, "{}", response.text());
    assert!(start.elapsed() < Duration::from_secs(15), "only after {:?}", start.elapsed());
    assert!(upstream.gone().is_some(), "the upstream is not freed");
    assert_failed(&colophon, &response, "{}");
}

#[test]
fn an_upstream_that_falls_silent_is_cut() {
    let upstream = Upstream::serve(|conn| {
        if conn.request().is_some() {
            conn.send(STREAM_HEAD);
            conn.send(b"b\r\ndata: one\n\n\r\n");
            conn.wait_until_gone();
        }
    });
    let colophon = Colophon::start(&upstream.url(), |options| {
        options.sign_all().arg(&["--upstream-idle-timeout", "1s"]);
    });
    let start = Instant::now();
    let response = post(colophon.listen(), "/v1/chat/completions", "{}");
    assert!(start.elapsed() < Duration::from_secs(15), "only after {:?}", start.elapsed());
    assert_eq!(response.text(), "data: one\n\n");
    assert!(matches!(response.end, End::Truncated | End::Reset), "{:?}", response.end);
    assert_failed(&colophon, &response, "{}");
}

/// uvicorn closes idle connections when it likes; a request that meets the close must not fail because of it.
#[test]
fn a_pooled_connection_that_was_closed_is_not_an_error() {
    let upstream = Upstream::answering_once("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"); // says keep-alive, closes
    let colophon = Colophon::signing(&upstream.url());
    for closed in 1..=10 {
        assert_eq!(post(colophon.listen(), "/v1/chat/completions", "{}").status(), 200);
        upstream.until_closed(closed);
    }
    assert_eq!(upstream.received().len(), 10);
}

/// A connection serves one exchange after another, and goes before servers close theirs.
#[test]
fn an_idle_connection_is_used_again_and_dropped_after_a_while() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
    let colophon = Colophon::signing(&upstream.url());
    for _ in 0..5 {
        assert_eq!(post(colophon.listen(), "/v1/chat/completions", "{}").status(), 200);
    }
    assert_eq!(upstream.connections(), 1);
    let idle = Instant::now();
    upstream.until_closed(1);
    assert!(idle.elapsed() > Duration::from_secs(3), "after {:?} already", idle.elapsed());
    assert_eq!(post(colophon.listen(), "/v1/chat/completions", "{}").status(), 200);
    assert_eq!(upstream.connections(), 2);
}

/// What the upstream says in our name is taken off, and that is on record.
#[test]
fn the_upstreams_own_colophon_headers_are_removed() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nColophon-Record: \"forged\"\r\nColophon-Receipt: \"/forged\"\r\n\
         Colophon-Whatever: 1\r\nSignature-Input: colophon=(\"@status\");created=1, theirs=(\"@status\");created=2\r\n\
         Signature: colophon=:AAAA:, theirs=:BBBB:\r\nContent-Length: 2\r\n\r\n{}",
    );
    let colophon = Colophon::signing(&upstream.url());
    let response = post(colophon.listen(), "/v1/chat/completions", "{}");
    assert_eq!(response.header("colophon-whatever"), None);
    for name in ["colophon-record", "colophon-receipt"] {
        assert_eq!(response.all(name).count(), 1, "{name}");
        assert!(!response.header(name).unwrap().contains("forged"), "{name}");
    }
    let inputs: Vec<&str> = response.all("signature-input").collect();
    assert!(inputs.join(", ").contains("theirs=(\"@status\");created=2"), "{inputs:?}");
    assert!(!inputs.join(", ").contains("created=1,"), "{inputs:?}");
    let receipt = Fetched::of(&response, colophon.listen());
    let stripped = fields::read_list(&receipt.field(fields::STRIPPED).expect("on record")).expect("a list");
    for name in ["colophon-record", "colophon-receipt", "colophon-whatever"] {
        assert!(stripped.iter().any(|entry| entry == name.as_bytes()), "{name} in {stripped:?}");
    }
    receipt.assert_verifies(colophon.listen(), b"{}", b"{}");
}

/// An answer that is not recorded may not be silent for ever either.
#[test]
fn an_unrecorded_answer_that_falls_silent_is_cut() {
    let upstream = Upstream::serve(|conn| {
        if conn.request().is_some() {
            conn.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\n");
            for _ in 0..3 {
                conn.send(b"up 1\n");
                pause(Duration::from_millis(700));
            }
            conn.wait_until_gone();
        }
    });
    let colophon = Colophon::start(&upstream.url(), |options| {
        options.policy = Some(colophon::SIGN_ALL.replace("level: sign", "level: pass"));
        options.arg(&["--upstream-idle-timeout", "2s"]);
    });
    let response = get(colophon.listen(), "/metrics");
    assert!(response.header("colophon-record").is_none(), "it is recorded");
    // Each piece begins the time anew.
    assert_eq!(response.text(), "up 1\nup 1\nup 1\n");
    assert!(matches!(response.end, End::Truncated | End::Reset), "{:?}", response.end);
    upstream.until_closed(1);
}

/// The server answers from the head alone and closes; its reset comes while the rest of the request is still written.
#[test]
fn an_answer_before_the_end_of_the_request_is_heard() {
    const REFUSED: &[u8] =
        b"HTTP/1.1 413 Payload Too Large\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
    let upstream = Upstream::serve(|conn| {
        if conn.request_head().is_some() {
            conn.send(REFUSED);
        }
    });
    let colophon = Colophon::signing(&upstream.url());
    let body = "x".repeat(8 << 20);
    for _ in 0..20 {
        let mut client = Client::connect(colophon.listen());
        client.send(&post_bytes("/v1/chat/completions", "", &body));
        let response = client.response("POST");
        assert_eq!((response.status(), response.text().as_str()), (413, "{}"));
    }
}

/// The server has as long for its answer after the last piece of the request as it has after a short one.
#[test]
fn a_slow_upload_is_not_the_servers_fault() {
    let thinks = Upstream::serve(|conn| {
        while conn.request().is_some_and(|request| request.end == End::Complete) {
            pause(Duration::from_millis(2500));
            conn.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}");
        }
    });
    let server = Server::plain(true);
    for (url, h2) in [(thinks.url(), &[][..]), (server.url(), &["--upstream-http2"])] {
        let colophon = Colophon::start(&url, |options| {
            options.sign_all().arg(&["--upstream-header-timeout", "4s"]).arg(h2);
        });
        // In pieces, and all of it late.
        for (piece, gap) in [(10, 1000), (60, 2500)] {
            let (mut client, head, body) = upload(&colophon);
            client.send(&head);
            for piece in body.chunks(piece) {
                pause(Duration::from_millis(gap));
                client.send(piece);
            }
            assert_eq!(client.response("POST").status(), 200, "{h2:?} {piece}");
        }
    }
}

/// A client that does not go on with its request is to blame itself, and one that goes on for ever ends, too.
#[test]
fn an_upload_that_stops_is_the_clients_fault() {
    for h2 in [false, true] {
        let server = Server::plain(h2);
        let colophon = Colophon::start(&server.url(), |options| {
            options.sign_all().arg(&["--upstream-header-timeout", "1s"]);
            options.arg(if h2 { &["--upstream-http2"] } else { &[] });
        });
        let (mut client, head, body) = upload(&colophon);
        client.send(&head);
        client.send(&body[..30]);
        let response = client.response("POST");
        assert_eq!((response.status(), response.header("x-should-retry")), (408, Some("false")), "h2 {h2}");
        assert_eq!(Fetched::of(&response, colophon.listen()).outcome(), Outcome::Refused, "h2 {h2}");
        // The answer is there while the client still sends.
        let (mut client, head, body) = upload(&colophon);
        client.send(&head);
        client.stream().set_nonblocking(true).unwrap();
        let begun = Instant::now();
        let answered = body.iter().any(|byte| {
            client.send(&[*byte]);
            pause(Duration::from_millis(300));
            client.stream().peek(&mut [0]).is_ok()
        });
        assert!(answered && begun.elapsed() > Duration::from_secs(1), "h2 {h2}: {:?}", begun.elapsed());
        client.stream().set_nonblocking(false).unwrap();
        assert_eq!(client.response("POST").status(), 408, "h2 {h2}");
    }
}

/// A connection, and head and body of a request with 60 bytes.
fn upload(colophon: &Colophon) -> (Client, Vec<u8>, Vec<u8>) {
    let mut head = post_bytes("/v1/chat/completions", "", &format!("{{\"model\":\"{}\"}}", "x".repeat(48)));
    let body = head.split_off(head.len() - 60);
    (Client::connect(colophon.listen()), head, body)
}

/// The server resets the connection in an answer whose end is the connection's, while the rest of the request is written to it: what
/// there is of the answer is not all.
#[test]
fn a_reset_is_no_end_while_the_request_goes_on() {
    let upstream = Upstream::serve(|conn| {
        if conn.request_head().is_some() {
            conn.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: one\n\n");
            // Closed with the request unread: a reset.
            pause(Duration::from_millis(500));
        }
    });
    let colophon = Colophon::signing(&upstream.url());
    for _ in 0..5 {
        let mut client = Client::connect(colophon.listen());
        let request = post_bytes("/v1/chat/completions", "", &"x".repeat(4000));
        let (first, rest) = request.split_at(request.len() - 2000);
        client.send(first);
        let response = std::thread::scope(|scope| {
            let mut writer = client.stream().try_clone().unwrap();
            scope.spawn(move || {
                for piece in rest.chunks(20) {
                    pause(Duration::from_millis(15));
                    if writer.write_all(piece).is_err() {
                        return;
                    }
                }
            });
            client.response("POST")
        });
        assert_eq!((response.status(), response.text().as_str()), (200, "data: one\n\n"));
        assert_eq!(Fetched::of(&response, colophon.listen()).outcome(), Outcome::UpstreamFailed);
    }
}

/// A server that takes connections and says nothing is not there.
#[test]
fn a_handshake_that_hangs_is_no_connection() {
    let upstream = Upstream::serve(|conn| conn.wait_until_gone());
    let url = upstream.url().replace("http:", "https:");
    for h2 in [false, true] {
        let colophon = Colophon::start(if h2 { upstream.url() } else { url.clone() }.as_str(), |options| {
            options.sign_all().arg(&["--upstream-connect-timeout", "1s"]);
            options.arg(if h2 { &["--upstream-http2"] } else { &[] });
        });
        let start = Instant::now();
        let response = post(colophon.listen(), "/v1/chat/completions", "{}");
        assert_eq!(response.status(), 502, "{}", response.text());
        assert!(start.elapsed() < Duration::from_secs(15), "only after {:?}", start.elapsed());
    }
}
