//! SIGTERM: what has begun is finished, within a limit; what is cut is on record with what went out; nothing is lost.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use colophon_receipt::fields::{self, Failure};
use colophon_receipt::level::Outcome;
use colophon_receipt::merkle::sha256;
use colophon_tests::client::{Client, get, post, post_bytes};
use colophon_tests::colophon::{self, Colophon};
use colophon_tests::receipts::Fetched;
use colophon_tests::session::{self, Session};
use colophon_tests::upstream::Upstream;
use colophon_tests::wire::{End, Message};
use colophon_tests::{PATIENCE, log, pause, wait_for};
use http_body_util::BodyExt as _;

/// What a stream that is to be finished has.
const EVENTS: usize = 40;

const CHAT: &str = "/v1/chat/completions";
const STREAM_HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

/// A stream of `count` events, ten a second; or, asked without `stream`, one answer after as long.
fn slow(count: usize) -> Upstream {
    Upstream::serve(move |conn| {
        while let Some(request) = conn.request() {
            if request.text().contains("stream") {
                conn.send(STREAM_HEAD);
                for _ in 0..count {
                    if !conn.send(b"b\r\ndata: one\n\n\r\n") {
                        return;
                    }
                    pause(Duration::from_millis(100));
                }
                conn.send(b"0\r\n\r\n");
            } else {
                pause(Duration::from_millis(100 * count as u64));
                conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
            }
        }
    })
}

/// Opens a stream over HTTP/1.1 and reads its first event.
fn begun(colophon: &Colophon) -> (Client, Message) {
    let mut client = Client::connect(colophon.listen());
    client.send(&post_bytes(CHAT, "", "{\"stream\":true}"));
    let mut head = client.wire().response_head();
    client.wire().response_prefix(&mut head, 11);
    assert_eq!((head.end.clone(), head.text().as_str()), (End::Complete, "data: one\n\n"));
    (client, head)
}

/// Streams and slow answers of both versions finish; the log ends with the shard's close.
#[test]
fn what_has_begun_is_finished() {
    // Long enough for a busy machine to get all of them under way, and to be seen draining.
    let upstream = slow(EVENTS);
    let mut colophon = Colophon::start(&upstream.url(), |options| {
        options.sign_all().batch_every = "1h".to_owned();
    });
    let listen = colophon.listen();
    let (mut h1, mut streamed) = begun(&colophon);
    let answered = std::thread::spawn(move || post(listen, CHAT, "{}"));
    let over_h2 = std::thread::spawn(move || {
        let mut session = Session::h2(listen);
        let requests =
            [session.request("POST", CHAT, "{\"stream\":true}"), session.request("POST", CHAT, "{}")];
        session.send_all(requests.into())
    });
    let open = wait_for(PATIENCE, || (colophon.metric("colophon_ledger_open") == Some(4.0)).then_some(()));
    assert!(open.is_some(), "four exchanges are under way: {:?}", colophon.metric("colophon_ledger_open"));
    colophon.process().terminate();
    let draining = wait_for(Duration::from_secs(2), || {
        let ready = get(colophon.admin(), "/readyz");
        (ready.status() == 503).then(|| ready.text())
    });
    assert!(draining.is_some_and(|said| said.contains("draining")));
    assert_eq!(get(colophon.admin(), "/livez").status(), 200);
    let closed = wait_for(Duration::from_secs(2), || TcpStream::connect(listen).is_err().then_some(()));
    assert!(closed.is_some(), "new connections are still taken");

    h1.wire().response_prefix(&mut streamed, usize::MAX);
    let answered = answered.join().unwrap();
    let over_h2 = over_h2.join().unwrap();
    assert!(colophon.process().wait(PATIENCE).success(), "{}", colophon.process().log());
    let text = "data: one\n\n".repeat(EVENTS);
    let all = [(&streamed, text.as_str()), (&answered, "{}"), (&over_h2[0], &text), (&over_h2[1], "{}")];
    for (response, text) in all {
        assert_eq!((response.status(), response.text().as_str(), &response.end), (200, text, &End::Complete));
    }
    let (code, shown) = colophon::run(&["log", "show", &colophon.data().display().to_string()]);
    assert_eq!(code, 0, "{shown}");
    let last = shown.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    assert!(last.contains("close"), "the log does not end with a shard close:\n{shown}");
    assert_eq!(log::recorded_ids(&colophon.data()).len(), 4);
    let (code, said) = colophon::run(&["log", "check", &colophon.data().display().to_string()]);
    assert_eq!(code, 0, "{said}");
    colophon.restart();
    for (response, text) in all {
        let receipt = Fetched::of(response, colophon.listen());
        assert_eq!(receipt.outcome(), Outcome::Complete);
        assert_eq!(receipt.verify(colophon.listen(), None, Some(text.as_bytes())).0, 0);
    }
}

/// Longer than the drain's limit: cut, and the record has the prefix and says whose doing it was.
#[test]
fn what_takes_too_long_is_cut_on_record() {
    for h2 in [false, true] {
        let upstream = slow(300);
        let mut colophon = Colophon::start(&upstream.url(), |options| {
            options.sign_all().arg(&["--drain-timeout", "1s"]);
        });
        let started = Instant::now();
        let (head, prefix) = if h2 {
            let mut session = Session::h2(colophon.listen());
            let request = session.request("POST", CHAT, "{\"stream\":true}");
            let mut response = session.open(request).unwrap();
            let head = session::head(&response);
            let mut read = Vec::new();
            session.run(async {
                read.extend(response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap());
                colophon.process().terminate();
                while let Some(Ok(frame)) = response.body_mut().frame().await {
                    read.extend(frame.into_data().unwrap_or_default());
                }
            });
            (head, read)
        } else {
            let (mut client, mut response) = begun(&colophon);
            colophon.process().terminate();
            client.wire().response_prefix(&mut response, usize::MAX);
            assert!(matches!(response.end, End::Truncated | End::Reset), "{:?}", response.end);
            (response.clone(), response.body)
        };
        assert!(colophon.process().wait(PATIENCE).success(), "{}", colophon.process().log());
        assert!(started.elapsed() < Duration::from_secs(20), "it took {:?}", started.elapsed());
        assert!(started.elapsed() >= Duration::from_secs(1), "it was not drained for a second");
        assert!(!prefix.is_empty());
        colophon.restart();
        let receipt = Fetched::of(&head, colophon.listen());
        assert_eq!(receipt.outcome(), Outcome::UpstreamFailed, "h2 {h2}");
        let failure = Failure::read(receipt.field(fields::FAILURE).expect("why")).unwrap();
        assert_eq!(failure.fault.as_deref(), Some("proxy"), "h2 {h2}: {failure:?}");
        let body = receipt.response_body().expect("a prefix");
        // What was handed to the socket may be a little more than what came out of it.
        assert!(
            body.size >= prefix.len() as u64 && body.size <= prefix.len() as u64 + 11,
            "h2 {h2}: {body:?}"
        );
        assert_eq!(body.digest, sha256("data: one\n\n".repeat(body.size as usize / 11).as_bytes()));
        assert_eq!(receipt.verify(colophon.listen(), Some(b"{\"stream\":true}"), None).0, 0);
    }
}

/// A second signal means now. What was under way is known to have begun.
#[test]
fn a_second_signal_ends_at_once() {
    let upstream = slow(300);
    let mut colophon = Colophon::signing(&upstream.url());
    let (_client, head) = begun(&colophon);
    colophon.process().terminate();
    // Two signals that are pending at once are one.
    let heard = wait_for(PATIENCE, || colophon.process().log().contains("draining").then_some(()));
    assert!(heard.is_some(), "{}", colophon.process().log());
    pause(Duration::from_millis(300));
    assert!(colophon.process().ended().is_none(), "it does not wait for the stream");
    let again = Instant::now();
    colophon.process().terminate();
    let status = colophon.process().wait(PATIENCE);
    assert!(again.elapsed() < Duration::from_secs(10), "it took {:?}", again.elapsed());
    assert!(!status.success(), "{status}");
    colophon.restart();
    let receipt = Fetched::of(&head, colophon.listen());
    assert!(
        matches!(receipt.outcome(), Outcome::Recovered | Outcome::UpstreamFailed),
        "{:?}",
        receipt.outcome()
    );
    assert_eq!(receipt.verify(colophon.listen(), None, None).0, 0);
}

/// Idle connections of either version are nothing to wait for, nor are those that never said a thing.
#[test]
fn idle_connections_hold_nothing_up() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
    let mut colophon = Colophon::signing(&upstream.url());
    let (mut h1, mut h2) = (Session::h1(colophon.listen()), Session::h2(colophon.listen()));
    assert_eq!((h1.post(CHAT, "{}").status(), h2.post(CHAT, "{}").status()), (200, 200));
    let _silent = Client::connect(colophon.listen());
    pause(Duration::from_millis(200));
    let begun = Instant::now();
    assert!(colophon.stop().success());
    assert!(begun.elapsed() < Duration::from_secs(5), "it took {:?}", begun.elapsed());
}

/// SIGINT is the same as SIGTERM: what Ctrl-C sends.
#[test]
fn an_interrupt_drains_too() {
    let upstream = slow(10);
    let mut colophon = Colophon::signing(&upstream.url());
    let (mut client, mut response) = begun(&colophon);
    colophon.process().signal("INT");
    client.wire().response_prefix(&mut response, 110);
    assert_eq!((response.text(), response.end), ("data: one\n\n".repeat(10), End::Complete));
    assert!(colophon.process().wait(PATIENCE).success());
    assert_eq!(log::recorded_ids(&colophon.data()).len(), 1);
}
