//! HTTP/2 without TLS on both sides: what a stream of its own means for records, limits and departures.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use colophon_receipt::fields::{self, RequestLine, Upstream as UpstreamField};
use colophon_receipt::level::{Level, Outcome};
use colophon_receipt::merkle::sha256;
use colophon_tests::client::{Client, post};
use colophon_tests::colophon::Colophon;
use colophon_tests::faults::{Fault, Faults};
use colophon_tests::receipts::Fetched;
use colophon_tests::server::{ANSWER, Server};
use colophon_tests::session::{self, Session};
use colophon_tests::upstream::Upstream;
use colophon_tests::wire::{End, Message};
use colophon_tests::{PATIENCE, pause};
use http::{HeaderValue, Version};
use http_body_util::BodyExt as _;

const CHAT: &str = "/v1/chat/completions";
const STREAM_HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

fn versions(receipt: &Fetched) -> (String, String) {
    let line = RequestLine::read(receipt.field(fields::REQUEST_LINE).unwrap()).unwrap();
    let upstream = UpstreamField::read(receipt.field(fields::UPSTREAM).unwrap()).unwrap();
    (line.version.unwrap().into_owned(), upstream.version.unwrap().into_owned())
}

#[test]
fn each_side_speaks_its_own_version() {
    for h2_upstream in [false, true] {
        let server = Server::plain(h2_upstream);
        let colophon = Colophon::start(&server.url(), |options| {
            options.sign_all().arg(if h2_upstream { &["--upstream-http2"] } else { &[] });
        });
        let (theirs, seen_as) =
            if h2_upstream { ("HTTP/2.0", Version::HTTP_2) } else { ("HTTP/1.1", Version::HTTP_11) };
        let mut session = Session::h2(colophon.listen());
        for response in
            [session.post(CHAT, "{\"model\":\"m\"}"), post(colophon.listen(), CHAT, "{\"model\":\"m\"}")]
        {
            assert_eq!((response.status(), response.text().as_str()), (200, ANSWER));
            let receipt = Fetched::of(&response, colophon.listen());
            receipt.assert_verifies(colophon.listen(), b"{\"model\":\"m\"}", ANSWER.as_bytes());
            let ours = if response.start.starts_with("HTTP/2") { "HTTP/2.0" } else { "HTTP/1.1" };
            assert_eq!(versions(&receipt), (ours.to_owned(), theirs.to_owned()));
        }
        let seen = server.seen();
        assert_eq!(seen.len(), 2);
        for seen in seen {
            assert_eq!((seen.version, seen.target.as_str()), (seen_as, CHAT));
            assert_eq!(seen.body, "{\"model\":\"m\"}");
            assert!(
                seen.headers.keys().all(|name| !name.as_str().starts_with("colophon")),
                "{:?}",
                seen.headers
            );
        }
    }
}

/// A request without a body is complete from the start, so its answer is signed like any other.
#[test]
fn requests_without_a_body_are_signed_too() {
    let server = Server::plain(false);
    let colophon = Colophon::signing(&server.url());
    let (mut h1, mut h2) = (Session::h1(colophon.listen()), Session::h2(colophon.listen()));
    for response in [h1.get("/v1/models"), h2.get("/v1/models")] {
        assert_eq!(response.status(), 200);
        let receipt = Fetched::of(&response, colophon.listen());
        assert_eq!(
            (receipt.leaf.level, receipt.outcome()),
            (Level::Sign, Outcome::Complete),
            "{}",
            response.start
        );
        assert!(receipt.field(fields::FAILURE).is_none());
        let body = receipt.request_body().unwrap();
        assert_eq!((body.digest, body.size), (sha256(b""), 0));
        receipt.assert_verifies(colophon.listen(), b"", ANSWER.as_bytes());
    }
}

#[test]
fn a_hundred_streams_of_one_connection() {
    // Answers what it was sent, the later ones sooner.
    let upstream = Upstream::serve(|conn| {
        while let Some(request) = conn.request() {
            let number: u64 = request.text().trim_matches(['{', '}']).parse().unwrap();
            pause(Duration::from_millis(300 - 2 * (number % 100)));
            let body = request.text().repeat(1 + (number as usize * 97) % 900);
            conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).as_bytes());
        }
    });
    let colophon = Colophon::signing(&upstream.url());
    let mut session = Session::h2(colophon.listen());
    // More than the connection's limit of streams: the rest wait their turn.
    let requests = (0..300).map(|n| session.request("POST", CHAT, format!("{{{n}}}"))).collect();
    let responses = session.send_all(requests);
    let mut leaves = BTreeSet::new();
    for (number, response) in responses.iter().enumerate() {
        let body = format!("{{{number}}}").repeat(1 + (number * 97) % 900);
        assert_eq!((response.status(), &response.end), (200, &End::Complete));
        assert!(response.text() == body, "{number} got another's answer");
        let receipt = Fetched::of(response, colophon.listen());
        assert_eq!(receipt.outcome(), Outcome::Complete);
        assert_eq!(
            receipt.request_body().map(|b| b.digest),
            Some(sha256(format!("{{{number}}}").as_bytes()))
        );
        assert_eq!(receipt.response_body().map(|b| b.digest), Some(sha256(body.as_bytes())));
        leaves.insert(receipt.leaf.id);
    }
    assert_eq!(leaves.len(), 300);
    colophon.until_ended_as(Outcome::Complete, 300);
}

/// Trailers need no ceremony in HTTP/2: whoever says `TE: trailers` gets the closing signature there.
#[test]
fn a_streams_closing_signature_comes_in_trailers() {
    let upstream = Upstream::serve(|conn| {
        while conn.request().is_some() {
            conn.send(STREAM_HEAD);
            conn.send_slowly(&[b"e\r\ndata: [DONE]\n\n\r\n", b"0\r\n\r\n"], Duration::from_millis(100));
        }
    });
    let colophon = Colophon::signing(&upstream.url());
    let mut session = Session::h2(colophon.listen());
    for te in [true, false] {
        let mut request = session.request("POST", CHAT, "{\"stream\":true}");
        if te {
            request.headers_mut().insert("te", HeaderValue::from_static("trailers"));
        }
        let response = session.send(request);
        assert_eq!((response.text().as_str(), &response.end), ("data: [DONE]\n\n", &End::Complete));
        let names: Vec<&str> = response.trailers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names.contains(&"signature") && names.contains(&"content-digest"), te, "{names:?}");
        assert_eq!(response.header("connection"), None);
        assert_eq!(response.header("transfer-encoding"), None);
        Fetched::of(&response, colophon.listen()).assert_verifies(
            colophon.listen(),
            b"{\"stream\":true}",
            &response.body,
        );
    }
}

/// RST_STREAM is a departure of one exchange, not of the connection.
#[test]
fn a_reset_stream_frees_the_upstream() {
    let upstream = Upstream::serve(|conn| {
        while let Some(request) = conn.request() {
            if request.text().contains("endless") {
                conn.send(STREAM_HEAD);
                conn.send(b"b\r\ndata: one\n\n\r\n");
                conn.wait_until_gone();
                return;
            }
            conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
        }
    });
    let colophon = Colophon::signing(&upstream.url());
    let mut session = Session::h2(colophon.listen());
    let request = session.request("POST", CHAT, "{\"endless\":1}");
    let mut response = session.open(request).unwrap();
    let head: Message = session::head(&response);
    let first =
        session.run(async { response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap() });
    assert_eq!(first, "data: one\n\n");
    let left = Instant::now();
    drop(response);
    let gone = upstream.gone().expect("the upstream is never freed");
    assert!(gone - left < Duration::from_secs(5), "freed after {:?}", gone - left);
    assert_eq!(session.post(CHAT, "{}").status(), 200);
    let receipt = Fetched::of(&head, colophon.listen());
    assert_eq!(receipt.outcome(), Outcome::ClientAborted);
    receipt.assert_verifies(colophon.listen(), b"{\"endless\":1}", b"data: one\n\n");
}

/// Reset before there is an answer.
#[test]
fn a_request_taken_back_frees_the_upstream() {
    let upstream = Upstream::serve(|conn| {
        if conn.request().is_some() {
            conn.wait_until_gone();
        }
    });
    let colophon = Colophon::signing(&upstream.url());
    let mut session = Session::h2(colophon.listen());
    let request = session.request("POST", CHAT, "{}");
    let patience = Duration::from_millis(1500);
    assert!(!session.race(request, patience));
    let left = Instant::now();
    let gone = upstream.gone().expect("the upstream is never freed");
    assert!(gone.saturating_duration_since(left) < Duration::from_secs(5));
    colophon.until_ended_as(Outcome::ClientAborted, 1);
}

/// An upstream that breaks off resets the stream: the client must not take the prefix for the whole.
#[test]
fn a_broken_answer_is_a_reset_stream() {
    let upstream = Upstream::serve(|conn| {
        if conn.request().is_some() {
            conn.send(STREAM_HEAD);
            conn.send(b"b\r\ndata: one\n\n\r\n");
            pause(Duration::from_millis(100));
        }
    });
    let colophon = Colophon::signing(&upstream.url());
    let mut session = Session::h2(colophon.listen());
    let response = session.post(CHAT, "{}");
    assert_eq!((response.status(), response.text().as_str()), (200, "data: one\n\n"));
    assert!(matches!(response.end, End::Bad(_)), "{:?}", response.end);
    let receipt = Fetched::of(&response, colophon.listen());
    assert_eq!(receipt.outcome(), Outcome::UpstreamFailed);
    receipt.assert_verifies(colophon.listen(), b"{}", b"data: one\n\n");
}

/// HTTP/2 may split `Cookie` into crumbs; an HTTP/1.1 server gets one line (RFC 9113 section 8.2.3).
#[test]
fn cookies_are_put_together_for_http_1() {
    let server = Server::plain(false);
    let colophon = Colophon::signing(&server.url());
    let mut session = Session::h2(colophon.listen());
    let mut request = session.request("POST", CHAT, "{}");
    for crumb in ["a=b", "c=d", "e=f"] {
        request.headers_mut().append("cookie", HeaderValue::from_static(crumb));
    }
    assert_eq!(session.send(request).status(), 200);
    let seen = server.seen().remove(0);
    let cookies: Vec<_> = seen.headers.get_all("cookie").iter().collect();
    assert_eq!(cookies, ["a=b; c=d; e=f"]);
}

#[test]
fn big_heads_pass_up_to_the_limit() {
    let server = Server::plain(false);
    let colophon = Colophon::signing(&server.url());
    let mut session = Session::h2(colophon.listen());
    let with = |session: &Session, bytes: usize| {
        let mut request = session.request("POST", CHAT, "{}");
        request.headers_mut().insert("x-big", "x".repeat(bytes).parse().unwrap());
        request
    };
    let request = with(&session, 70 << 10);
    assert_eq!(session.send(request).status(), 200);
    assert_eq!(server.seen()[0].headers.get("x-big").map(HeaderValue::len), Some(70 << 10));
    let request = with(&session, 300 << 10);
    match session.open(request) {
        Ok(response) => assert_eq!(response.status(), 431),
        Err(error) => assert!(!error.is_parse(), "{error}"),
    }
    assert_eq!(server.seen().len(), 1);
    // Other clients are not concerned.
    assert_eq!(Session::h2(colophon.listen()).post(CHAT, "{}").status(), 200);
}

/// A connection on which nothing happens is closed with GOAWAY, not kept for ever.
#[test]
fn idle_connections_are_closed() {
    let server = Server::plain(false);
    let colophon = Colophon::start(&server.url(), |options| {
        options.sign_all().arg(&["--header-timeout", "1s"]);
    });
    let mut session = Session::h2(colophon.listen());
    assert_eq!(session.post(CHAT, "{}").status(), 200);
    colophon.until_left();
    let request = session.request("POST", CHAT, "{}");
    assert!(session.open(request).is_err(), "it is still open");
}

/// A server whose answer has so many bytes.
fn long_answer(bytes: usize) -> Upstream {
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {bytes}\r\n\r\n");
    Upstream::answering([head.as_bytes(), &vec![b'x'; bytes]].concat())
}

/// The whole answer has left the proxy's hands long before a slow reader has it: neither the limit on idle connections nor the end of
/// the process may cut it off.
#[test]
fn a_slow_reader_gets_the_whole_answer() {
    // More than hyper's windows hold.
    const LONG: usize = 7 << 20;
    let upstream = long_answer(LONG);
    for drained in [false, true] {
        let mut colophon = Colophon::start(&upstream.url(), |options| {
            options.sign_all().arg(&["--header-timeout", "1s", "--buffer-limit", "16777216"]);
        });
        let mut session = Session::h2(colophon.listen());
        let request = session.request("POST", CHAT, "{}");
        let response = session.open(request).unwrap();
        assert_eq!(response.status(), 200);
        if drained {
            colophon.process().terminate();
        }
        pause(Duration::from_secs(5));
        let read = session.run(session::message(response));
        assert_eq!((&read.end, read.body.len()), (&End::Complete, LONG), "drained {drained}");
        if drained {
            assert!(colophon.process().wait(PATIENCE).success());
        }
    }
}

/// A client says how much it has taken while it reads the end of an answer. That comes after the goodbye where the network is slow, and
/// must not make the kernel throw away what is still on its way.
#[test]
fn the_goodbye_cuts_nothing_off() {
    const LONG: usize = 3 << 20;
    let upstream = long_answer(LONG);
    let mut colophon = Colophon::start(&upstream.url(), |options| {
        options.sign_all().arg(&["--buffer-limit", "16777216"]);
    });
    let network = Faults::before(colophon.listen());
    network.set(Fault::Slow(Duration::from_millis(20)));
    let mut session = Session::h2(network.address());
    let response = session.open(session.request("POST", CHAT, "{}")).unwrap();
    assert_eq!(response.status(), 200);
    colophon.process().terminate();
    let read = session.run(session::message(response));
    assert_eq!((&read.end, read.body.len()), (&End::Complete, LONG));
    drop(session);
    assert!(colophon.process().wait(PATIENCE).success());
}

/// `PRI` split over packets is still the preface, and something else that begins with `P` is not.
#[test]
fn the_preface_may_come_in_pieces() {
    let server = Server::plain(false);
    let colophon = Colophon::signing(&server.url());
    let mut client = Client::connect(colophon.listen());
    for piece in [&b"P"[..], b"R", b"I * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[0, 0, 0, 4, 0, 0, 0, 0, 0]] {
        client.send(piece);
        pause(Duration::from_millis(30));
    }
    // The server's own SETTINGS frame: 3 bytes of length, then its type.
    let mut frame = [0; 9];
    std::io::Read::read_exact(&mut client.stream(), &mut frame).unwrap();
    assert_eq!(frame[3], 4, "{frame:?}");
    let mut client = Client::connect(colophon.listen());
    for piece in ["P", "RO", "PFIND /x HTTP/1.1\r\nHost: x\r\n\r\n"] {
        client.send(piece.as_bytes());
        pause(Duration::from_millis(30));
    }
    assert_eq!(client.response("PROPFIND").status(), 200);
}

/// Peers that say nothing more, not even goodbye: before any request, and in the middle of a header block.
#[test]
fn silent_peers_are_cut() {
    let server = Server::plain(false);
    let colophon = Colophon::start(&server.url(), |options| {
        options.sign_all().arg(&["--header-timeout", "1s"]);
    });
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    // HEADERS of stream 1 without END_HEADERS: `:method: POST` is its only field so far.
    let half = [&preface[..], b"\0\0\x01\x01\0\0\0\0\x01\x83"].concat();
    for bytes in [preface, half] {
        let mut client = Client::connect(colophon.listen());
        client.send(&bytes);
        let begun = Instant::now();
        std::io::Read::read_to_end(&mut client.stream(), &mut Vec::new()).ok();
        assert!(begun.elapsed() < Duration::from_secs(15), "cut only after {:?}", begun.elapsed());
    }
    assert!(server.seen().is_empty());
}
