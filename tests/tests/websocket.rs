//! WebSockets: messages of all sizes pass, over HTTP/1.1 and over HTTP/2 (RFC 8441), and the record has a rolling
//! digest and a size for each direction.

use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use colophon_receipt::fields::{
    self, Answer, BodyDigest, Failure, Model, Operation, RequestLine, ResponseHead, Upgrade, Usage,
};
use colophon_receipt::level::{Level, Outcome};
use colophon_receipt::merkle::sha256;
use colophon_tests::client::{Client, get};
use colophon_tests::colophon::Colophon;
use colophon_tests::receipts::Fetched;
use colophon_tests::server::Server;
use colophon_tests::session::Session;
use colophon_tests::upstream::Upstream;
use colophon_tests::websocket::{Echo, Socket, Traffic};
use colophon_tests::wire::Message;
use colophon_tests::{PATIENCE, pause, wait_for};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

const TARGET: &str = "/v1/realtime?model=m";

/// Sends messages and waits for each one's echo.
fn echo(session: &Session, socket: &mut Socket, messages: Vec<Frame>) {
    session.run(async {
        for message in messages {
            socket.messages.send(message.clone()).await.unwrap();
            let echoed = socket.messages.next().await.unwrap().unwrap();
            assert!(echoed == message, "another message came back");
        }
    });
}

/// Closes as the protocol says and reads until the other side has gone.
fn close(session: &Session, socket: &mut Socket) {
    session.run(async {
        let bye = CloseFrame { code: 1000.into(), reason: "done".into() };
        // The answer may come, and the connection end, before all is flushed.
        socket.messages.close(Some(bye)).await.ok();
        while let Some(Ok(_)) = socket.messages.next().await {}
    });
}

fn traffic(socket: &Socket) -> Traffic {
    socket.traffic.lock().unwrap().clone()
}

fn digest(bytes: &[u8]) -> BodyDigest {
    BodyDigest { digest: sha256(bytes), size: bytes.len() as u64 }
}

/// The record has exactly these bytes of each direction.
fn assert_recorded(colophon: &Colophon, head: &Message, traffic: &Traffic, outcome: Outcome) -> Fetched {
    let receipt = Fetched::of(head, colophon.listen());
    assert_eq!(receipt.outcome(), outcome);
    let upgrade = Upgrade::read(receipt.field(fields::UPGRADE).expect("on record")).unwrap();
    assert_eq!(upgrade.protocol.as_deref(), Some(&b"websocket"[..]));
    assert_eq!(upgrade.sent, Some(digest(&traffic.sent)), "client to upstream");
    assert_eq!(upgrade.received, Some(digest(&traffic.received)), "upstream to client");
    let (code, said) = receipt.verify(colophon.listen(), None, None);
    assert_eq!(code, 0, "{said}");
    receipt
}

/// The events of both sides are read: here the client says the server's, and hears them from it.
#[test]
fn a_realtime_session_has_model_usage_and_the_ids_of_its_responses_on_record() {
    let upstream = Echo::start();
    let colophon = Colophon::signing(&upstream.url());
    for h2 in [false, true] {
        let mut session = if h2 { Session::h2(colophon.listen()) } else { Session::h1(colophon.listen()) };
        assert_eq!(session.get("/.well-known/colophon/about").status(), 200);
        let (head, mut socket) = session.websocket(TARGET);
        let done = |id: &str, output: u64| {
            let usage =
                format!("{{\"input_tokens\":9,\"output_tokens\":{output},\"total_tokens\":{}}}", 9 + output);
            let response = format!("{{\"id\":\"{id}\",\"status\":\"completed\",\"usage\":{usage}}}");
            Frame::text(format!("{{\"type\":\"response.done\",\"response\":{response}}}"))
        };
        let begin = r#"{"type":"session.created","session":{"id":"sess_1","model":"gpt-realtime"}}"#;
        let messages =
            vec![Frame::text(begin), done("resp_1", 4), Frame::binary(vec![0; 100_000]), done("resp_2", 7)];
        echo(&session, &mut socket, messages);
        close(&session, &mut socket);
        let receipt = assert_recorded(&colophon, &head, &traffic(&socket), Outcome::Complete);
        let model = Model::read(receipt.field(fields::MODEL).expect("a model")).unwrap();
        assert_eq!(model.requested.as_deref(), Some(&b"gpt-realtime"[..]), "h2 {h2}");
        assert_eq!(model.reported.as_deref(), Some(&b"gpt-realtime"[..]), "h2 {h2}");
        let usage = Usage::read(receipt.field(fields::USAGE).expect("a usage")).unwrap();
        assert_eq!((usage.prompt, usage.completion, usage.total), (Some(18), Some(11), Some(29)), "h2 {h2}");
        let answer = Answer::read(receipt.field(fields::ANSWER).expect("an answer")).unwrap();
        assert_eq!(answer.id.as_deref(), Some(&b"sess_1"[..]), "h2 {h2}");
        let upgrade = Upgrade::read(receipt.field(fields::UPGRADE).unwrap()).unwrap();
        assert_eq!(upgrade.responses, Some(vec![b"resp_1".to_vec(), b"resp_2".to_vec()]), "h2 {h2}");
        let operation = Operation::read(receipt.field(fields::OPERATION).unwrap()).unwrap();
        assert_eq!((operation.events, operation.response_unreadable), (Some(4), None), "h2 {h2}");
    }
}

fn messages() -> Vec<Frame> {
    let mut all = vec![Frame::text("hello"), Frame::text(""), Frame::binary(vec![0, 0xff, b'\n'])];
    // Past every buffer on the way, and in a size that no buffer has.
    all.extend([125, 126, 65_535, 65_536, 1_000_003].map(|size| Frame::binary(vec![7; size])));
    all
}

fn a_conversation(colophon: &Colophon, session: &mut Session, version: &str, method: &str) {
    let (head, mut socket) = session.websocket(TARGET);
    echo(session, &mut socket, messages());
    close(session, &mut socket);
    let traffic = traffic(&socket);
    assert!(traffic.sent.len() > 1_100_000 && traffic.received.len() > 1_100_000);
    drop(socket);
    let receipt = assert_recorded(colophon, &head, &traffic, Outcome::Complete);
    assert_eq!(receipt.leaf.level, Level::Sign);
    let line = RequestLine::read(receipt.field(fields::REQUEST_LINE).unwrap()).unwrap();
    assert_eq!((line.version.as_deref(), line.method.as_deref()), (Some(version), Some(method.as_bytes())));
    assert_eq!(line.query, Some(sha256(b"model=m")));
    let upstream = ResponseHead::read(receipt.field(fields::RESPONSE_HEAD).unwrap()).unwrap();
    // What the client saw, which is what is signed.
    assert_eq!(upstream.status, Some(u64::from(head.status())));
}

#[test]
fn over_http_1() {
    let upstream = Echo::start();
    let colophon = Colophon::signing(&upstream.url());
    a_conversation(&colophon, &mut Session::h1(colophon.listen()), "HTTP/1.1", "GET");
}

#[test]
fn over_http_2() {
    let upstream = Echo::start();
    let colophon = Colophon::signing(&upstream.url());
    let mut session = Session::h2(colophon.listen());
    // The server's settings, which allow the extended CONNECT, are there once it has answered anything.
    assert_eq!(session.get("/.well-known/colophon/about").status(), 200);
    a_conversation(&colophon, &mut session, "HTTP/2.0", "CONNECT");
    // The connection has not switched; only that one stream had.
    assert_eq!(session.get("/.well-known/colophon/about").status(), 200);
}

#[test]
fn many_at_once_do_not_mix() {
    let upstream = Echo::start();
    let colophon = Colophon::signing(&upstream.url());
    let mut session = Session::h2(colophon.listen());
    assert_eq!(session.get("/.well-known/colophon/about").status(), 200);
    let mut open: Vec<(Message, Socket)> = (0..20).map(|_| session.websocket(TARGET)).collect();
    for round in 0..3 {
        for (number, (_, socket)) in open.iter_mut().enumerate() {
            echo(&session, socket, vec![Frame::text(format!("{round} of {number}"))]);
        }
    }
    for (head, socket) in &mut open {
        close(&session, socket);
        assert_recorded(&colophon, head, &traffic(socket), Outcome::Complete);
    }
}

/// The server does not want it: what it says instead is an answer like any other.
#[test]
fn a_refused_upgrade_is_an_ordinary_answer() {
    let upstream = Upstream::answering("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
    let colophon = Colophon::signing(&upstream.url());
    for h2 in [false, true] {
        let mut session = if h2 { Session::h2(colophon.listen()) } else { Session::h1(colophon.listen()) };
        assert_eq!(session.get("/.well-known/colophon/about").status(), 200);
        let request = session.handshake(TARGET);
        let response = session.send(request);
        assert_eq!((response.status(), response.text().as_str()), (403, "no"), "h2 {h2}");
        let receipt = Fetched::of(&response, colophon.listen());
        assert_eq!(receipt.outcome(), Outcome::UpstreamError);
        assert!(receipt.field(fields::UPGRADE).is_none());
        assert_eq!(receipt.verify(colophon.listen(), None, Some(b"no")).0, 0);
    }
}

/// An upstream that switches although nobody asked.
#[test]
fn a_switch_that_was_not_asked_for_is_an_error() {
    let upstream = Upstream::answering(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello",
    );
    let colophon = Colophon::signing(&upstream.url());
    let response = colophon_tests::client::post(colophon.listen(), "/v1/chat/completions", "{}");
    assert_eq!(response.status(), 502, "{response:?}");
    colophon.until_ended_as(Outcome::UpstreamFailed, 1);
}

/// A client that is gone without a goodbye.
#[test]
fn a_client_that_leaves_is_recorded_as_such() {
    let upstream = Echo::start();
    let colophon = Colophon::signing(&upstream.url());
    let mut session = Session::h1(colophon.listen());
    let (head, mut socket) = session.websocket(TARGET);
    echo(&session, &mut socket, vec![Frame::text("hello")]);
    let traffic = traffic(&socket);
    drop(socket);
    drop(session);
    let receipt = Fetched::of(&head, colophon.listen());
    assert!(
        matches!(receipt.outcome(), Outcome::Complete | Outcome::ClientAborted),
        "{:?}",
        receipt.outcome()
    );
    let upgrade = Upgrade::read(receipt.field(fields::UPGRADE).unwrap()).unwrap();
    assert_eq!(upgrade.sent, Some(digest(&traffic.sent)));
    assert_eq!(upgrade.received, Some(digest(&traffic.received)));
}

/// What one side said before it closed reaches the other, however slowly it is taken, and though the other still talks.
#[test]
fn the_last_words_arrive() {
    const SWITCHED: &[u8] =
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: chatter\r\n\r\n";
    const ASK: &[u8] = b"GET /x HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: chatter\r\n\r\n";
    const LONG: usize = 6 << 20;
    // The server's last words.
    let upstream = Upstream::serve(|conn| {
        if conn.request_head().is_some() {
            conn.send(&[SWITCHED, &vec![b'a'; LONG]].concat());
            conn.half_close();
            while conn.raw().is_some() {}
        }
    });
    let colophon = Colophon::signing(&upstream.url());
    let mut client = Client::connect(colophon.listen());
    client.send(ASK);
    let (mut talks, done) = (client.stream().try_clone().unwrap(), Arc::new(AtomicBool::new(false)));
    let over = done.clone();
    let talking = std::thread::spawn(move || {
        while !over.load(Ordering::Relaxed) && talks.write_all(b"and ").is_ok() {
            pause(Duration::from_millis(5));
        }
    });
    let (mut got, mut piece) = (0, vec![0; 64 << 10]);
    let mut stream = client.stream();
    while let Ok(n @ 1..) = stream.read(&mut piece) {
        got += n;
        pause(Duration::from_millis(10));
    }
    done.store(true, Ordering::Relaxed);
    talking.join().unwrap();
    assert!(got > LONG, "{got} of {LONG} and a head");
    // The client's.
    let heard = Arc::new(AtomicUsize::new(0));
    let counted = heard.clone();
    let upstream = Upstream::serve(move |conn| {
        if conn.request_head().is_some() {
            conn.send(SWITCHED);
            while let Some(piece) = conn.raw() {
                counted.fetch_add(piece.len(), Ordering::Relaxed);
                conn.send(b"yes ");
                pause(Duration::from_millis(1));
            }
        }
    });
    let colophon = Colophon::signing(&upstream.url());
    let mut client = Client::connect(colophon.listen());
    client.send(ASK);
    client.send(&vec![b'b'; LONG]);
    client.half_close();
    let all = wait_for(PATIENCE, || (heard.load(Ordering::Relaxed) == LONG).then_some(()));
    assert!(all.is_some(), "{} of {LONG}", heard.load(Ordering::Relaxed));
}

/// A WebSocket may live for days, so a stop cannot wait for it; it ends with the proxy, and its record says so.
#[test]
fn sigterm_ends_it_on_record() {
    for h2 in [false, true] {
        let upstream = Echo::start();
        let mut colophon = Colophon::start(&upstream.url(), |options| {
            options.sign_all().arg(&["--drain-timeout", "1s"]);
        });
        let mut session = if h2 { Session::h2(colophon.listen()) } else { Session::h1(colophon.listen()) };
        assert_eq!(session.get("/.well-known/colophon/about").status(), 200);
        let (head, mut socket) = session.websocket(TARGET);
        echo(&session, &mut socket, vec![Frame::text("hello")]);
        let begun = Instant::now();
        assert!(colophon.stop().success(), "{}", colophon.process().log());
        assert!(begun.elapsed() < Duration::from_secs(20), "it took {:?}", begun.elapsed());
        let ended = session.run(async { socket.messages.next().await });
        assert!(!matches!(ended, Some(Ok(Frame::Text(_) | Frame::Binary(_)))), "{ended:?}");
        let traffic = traffic(&socket);
        colophon.restart();
        let receipt = Fetched::of(&head, colophon.listen());
        let upgrade = Upgrade::read(receipt.field(fields::UPGRADE).expect("on record")).unwrap();
        assert_eq!(upgrade.sent, Some(digest(&traffic.sent)), "h2 {h2}");
        assert_eq!(upgrade.received, Some(digest(&traffic.received)), "h2 {h2}");
        // Neither side is to blame.
        let failure = Failure::read(receipt.field(fields::FAILURE).expect("why it ended")).unwrap();
        assert_eq!(failure.fault.as_deref(), Some("proxy"), "h2 {h2}: {failure:?}");
        assert_eq!(receipt.verify(colophon.listen(), None, None).0, 0);
    }
}

/// While others are served, a WebSocket stays open past every limit on heads and pauses.
#[test]
fn a_quiet_one_stays_open() {
    let upstream = Echo::start();
    let colophon = Colophon::start(&upstream.url(), |options| {
        options.sign_all().arg(&["--header-timeout", "1s"]);
    });
    for h2 in [false, true] {
        let mut session = if h2 { Session::h2(colophon.listen()) } else { Session::h1(colophon.listen()) };
        assert_eq!(session.get("/.well-known/colophon/about").status(), 200);
        let (head, mut socket) = session.websocket(TARGET);
        pause(Duration::from_secs(3));
        echo(&session, &mut socket, vec![Frame::text("still there")]);
        close(&session, &mut socket);
        assert_recorded(&colophon, &head, &traffic(&socket), Outcome::Complete);
    }
}

/// On HTTP/2 it is asked for by CONNECT, and is the `GET` that the upstream gets all the same.
#[test]
fn a_rule_about_get_is_about_both() {
    let upstream = Echo::start();
    let colophon = Colophon::start(&upstream.url(), |options| {
        let path = TARGET.split('?').next().unwrap();
        let rule = format!(
            "  rules:\n  - name: closed\n    matches: [{{method: GET, path: {{type: Exact, value: {path}}}}}]\n    deny: {{reason: not here}}\n"
        );
        let head =
            "apiVersion: colophon.dev/v1alpha1\nkind: ProvenancePolicy\nmetadata: {name: test}\nspec:\n";
        options.policy = Some(format!("{head}{rule}"));
    });
    for h2 in [false, true] {
        let mut session = if h2 { Session::h2(colophon.listen()) } else { Session::h1(colophon.listen()) };
        assert_eq!(session.get("/.well-known/colophon/about").status(), 200);
        let request = session.handshake(TARGET);
        assert_eq!(session.send(request).status(), 403, "h2 {h2}");
    }
}

/// A `pass` rule leaves no record of it, and no trace in its head.
#[test]
fn a_passed_one_is_only_counted() {
    let upstream = Echo::start();
    let colophon = Colophon::start(&upstream.url(), |options| {
        options.policy = Some(colophon_tests::colophon::SIGN_ALL.replace("level: sign", "level: pass"));
    });
    let mut session = Session::h1(colophon.listen());
    let (head, mut socket) = session.websocket(TARGET);
    echo(&session, &mut socket, messages());
    close(&session, &mut socket);
    assert!(head.headers.iter().all(|(name, _)| !name.starts_with("colophon-")), "{head:?}");
    let passed = colophon_tests::wait_for(PATIENCE, || {
        (colophon.metric("colophon_ledger_passed_total") == Some(1.0)).then_some(())
    });
    assert!(passed.is_some(), "{}", get(colophon.admin(), "/metrics").text());
}

/// h2c by upgrade is obsolete (RFC 9113 section 3.1): the answer comes in HTTP/1.1.
#[test]
fn an_upgrade_to_http_2_is_ignored() {
    let server = Server::plain(false);
    let colophon = Colophon::signing(&server.url());
    let mut client = Client::connect(colophon.listen());
    client.send(
        b"GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
          HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
    );
    let response = client.response("GET");
    assert_eq!(response.status(), 200);
    let seen = server.seen().remove(0);
    assert!(
        seen.headers.get("upgrade").is_none() && seen.headers.get("http2-settings").is_none(),
        "{seen:?}"
    );
}
