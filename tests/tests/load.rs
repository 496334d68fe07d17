//! Much at once, and much in one piece: memory stays flat, nobody's answer is another's, and the border between held and
//! streamed answers is where it is said to be.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use colophon_receipt::fields;
use colophon_receipt::level::{Level, Outcome};
use colophon_receipt::merkle::sha256;
use colophon_tests::client::{Client, post, post_bytes};
use colophon_tests::colophon::Colophon;
use colophon_tests::process::resident;
use colophon_tests::receipts::Fetched;
use colophon_tests::session::Session;
use colophon_tests::upstream::Upstream;
use colophon_tests::wire::{End, Message};
use colophon_tests::{PATIENCE, pause, wait_for};

const CHAT: &str = "/v1/chat/completions";

/// Bytes of the large bodies.
const LARGE: usize = 64 << 20;

/// What a process that only streams may take beyond what it has at rest, whatever the size of the bodies.
const FLAT: u64 = 24 << 20;

/// The number of bytes of the process that were in memory at most.
fn peak(colophon: &mut Colophon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", colophon.process().pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() << 10
}

/// An answer of `size` bytes whose length is known.
fn sized(size: usize) -> Vec<u8> {
    let body = "x".repeat(size);
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n\r\n{body}")
        .into_bytes()
}

/// Held up to the limit, with a digest in the head; streamed beyond, with an opening signature.
#[test]
fn the_border_between_held_and_streamed() {
    for (limit, size, held) in [
        (None, 1 << 20, true),
        (None, (1 << 20) + 1, false),
        (Some("1000"), 1000, true),
        (Some("1000"), 1001, false),
    ] {
        let upstream = Upstream::answering(sized(size));
        let colophon = Colophon::start(&upstream.url(), |options| {
            options.sign_all();
            if let Some(limit) = limit {
                options.arg(&["--buffer-limit", limit]);
            }
        });
        let response = post(colophon.listen(), CHAT, "{}");
        assert_eq!((response.status(), response.body.len(), &response.end), (200, size, &End::Complete));
        assert_eq!(response.header("content-length"), Some(size.to_string().as_str()));
        assert_eq!(response.header("content-digest").is_some(), held, "{limit:?} {size}");
        let input = response.header("signature-input").expect("a signature");
        let tag = if held { "tag=\"colophon-v1\"" } else { "tag=\"colophon-v1-open\"" };
        assert!(input.contains(tag), "{limit:?} {size}: {input}");
        let record = response.header("colophon-record").expect("a record");
        assert_eq!(record.contains("leaf="), held, "{record}");
        let receipt = Fetched::of(&response, colophon.listen());
        assert_eq!((receipt.outcome(), receipt.leaf.level), (Outcome::Complete, Level::Sign));
        receipt.assert_verifies(colophon.listen(), b"{}", &response.body);
    }
}

/// 64 MB each way, streamed: the digests are right and the proxy never has more than a little of it.
#[test]
fn large_bodies_take_no_memory() {
    let upstream = Upstream::serve(|conn| {
        while let Some(request) = conn.request() {
            assert_eq!(request.body.len(), LARGE);
            conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n").as_bytes());
            if !conn.send(&request.body) {
                return;
            }
        }
    });
    let mut colophon = Colophon::signing(&upstream.url());
    assert_eq!(get_about(&colophon), 200);
    let before = peak(&mut colophon);
    let body: String = "0123456789abcdef".repeat(LARGE / 16);
    let response = post(colophon.listen(), "/v1/files", &body);
    assert_eq!((response.status(), &response.end), (200, &End::Complete));
    assert!(response.body == body.as_bytes(), "another body came back");
    let grown = peak(&mut colophon) - before;
    assert!(grown < FLAT, "it took {} MB more", grown >> 20);
    let receipt = Fetched::of(&response, colophon.listen());
    assert_eq!(receipt.outcome(), Outcome::Complete);
    for recorded in [receipt.request_body().unwrap(), receipt.response_body().unwrap()] {
        assert_eq!((recorded.size, recorded.digest), (LARGE as u64, sha256(body.as_bytes())));
    }
}

fn get_about(colophon: &Colophon) -> u16 {
    colophon_tests::client::get(colophon.listen(), "/.well-known/colophon/about").status()
}

/// A client that does not read holds its upstream back, instead of filling the proxy.
#[test]
fn a_slow_reader_holds_the_upstream_back() {
    let upstream = Upstream::serve(|conn| {
        if conn.request().is_some() {
            conn.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            let chunk = [b"100000\r\n".as_slice(), &vec![b'x'; 1 << 20], b"\r\n"].concat();
            for _ in 0..64 {
                if !conn.send(&chunk) {
                    return;
                }
            }
            conn.send(b"0\r\n\r\n");
        }
    });
    let mut colophon = Colophon::signing(&upstream.url());
    assert_eq!(get_about(&colophon), 200);
    let before = peak(&mut colophon);
    let mut client = Client::connect(colophon.listen());
    client.send(&post_bytes(CHAT, "", "{}"));
    let mut response = client.wire().response_head();
    pause(Duration::from_secs(2));
    let grown = peak(&mut colophon) - before;
    assert!(grown < FLAT, "it took {} MB while nobody read", grown >> 20);
    client.wire().response_body(&mut response, "POST");
    assert_eq!((response.body.len(), &response.end), (LARGE, &End::Complete));
    assert_eq!(Fetched::of(&response, colophon.listen()).outcome(), Outcome::Complete);
}

/// The same for one stream of an HTTP/2 connection: its window, not the proxy's memory, is what fills up.
#[test]
fn a_slow_reader_over_http_2() {
    let upstream = Upstream::answering(sized(LARGE));
    let mut colophon = Colophon::signing(&upstream.url());
    let mut session = Session::h2(colophon.listen());
    assert_eq!(session.get("/.well-known/colophon/about").status(), 200);
    let before = peak(&mut colophon);
    let request = session.request("POST", CHAT, "{}");
    let response = session.open(request).unwrap();
    pause(Duration::from_secs(2));
    let grown = peak(&mut colophon) - before;
    assert!(grown < FLAT, "it took {} MB while nobody read", grown >> 20);
    let read = session.run(colophon_tests::session::message(response));
    assert_eq!((read.body.len(), &read.end), (LARGE, &End::Complete));
    assert_eq!(Fetched::of(&read, colophon.listen()).outcome(), Outcome::Complete);
}

/// A thousand streams at once, each a connection: all whole, all on record.
#[test]
fn a_thousand_streams() {
    const STREAMS: usize = 1000;
    let all_open = Arc::new((Mutex::new(false), Condvar::new()));
    let until_all_open = all_open.clone();
    let upstream = Upstream::serve(move |conn| {
        while let Some(request) = conn.request() {
            conn.send(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
            );
            let event = format!("data: {}\n\n", request.text());
            let chunk = format!("{:x}\r\n{event}\r\n", event.len());
            conn.send(chunk.as_bytes());
            let (open, changed) = &*until_all_open;
            drop(changed.wait_timeout_while(open.lock().unwrap(), PATIENCE, |open| !*open).unwrap());
            conn.send(format!("{chunk}0\r\n\r\n").as_bytes());
        }
    });
    let mut colophon = Colophon::signing(&upstream.url());
    assert_eq!(get_about(&colophon), 200);
    let before = peak(&mut colophon);
    let mut open: Vec<TcpStream> = Vec::with_capacity(STREAMS);
    for number in 0..STREAMS {
        let mut stream = TcpStream::connect(colophon.listen()).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&post_bytes(CHAT, "Connection: close\r\n", &number.to_string())).unwrap();
        open.push(stream);
    }
    let at_once = wait_for(PATIENCE, || {
        (colophon.metric("colophon_ledger_open") == Some(STREAMS as f64)).then_some(())
    });
    assert!(at_once.is_some(), "they are not served at once: {:?}", colophon.metric("colophon_ledger_open"));
    *all_open.0.lock().unwrap() = true;
    all_open.1.notify_all();
    let mut responses: Vec<Message> = Vec::with_capacity(STREAMS);
    for (number, mut stream) in open.into_iter().enumerate() {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        let response = colophon_tests::wire::Wire::new(bytes.as_slice()).response("POST");
        assert_eq!(
            (response.text(), &response.end),
            (format!("data: {number}\n\n").repeat(2), &End::Complete)
        );
        responses.push(response);
    }
    colophon.until_ended_as(Outcome::Complete, STREAMS as u64);
    // Some 40 KB, the buffers of two connections among them; it was 50 while the task of a connection had room for a TLS
    // handshake, and 70 while it had for the largest exchange and streams kept the buffers that their heads were read into.
    let per_stream = (peak(&mut colophon) - before) / STREAMS as u64;
    assert!(per_stream < 50 << 10, "{} KB a stream", per_stream >> 10);
    for response in responses.iter().step_by(50) {
        let receipt = Fetched::of(response, colophon.listen());
        assert_eq!(receipt.response_body().map(|body| body.digest), Some(sha256(&response.body)));
    }
}

/// Connections that asked once and wait, as clients with a pool leave them: hyper's two buffers of 8 KB, of which half is
/// never touched, and little else.
#[test]
fn idle_connections_take_little_memory() {
    const IDLE: u64 = 1000;
    let upstream = Upstream::answering(sized(2));
    let mut colophon = Colophon::signing(&upstream.url());
    let request = b"GET /.well-known/colophon/about HTTP/1.1\r\nHost: test\r\n\r\n";
    let ask = || {
        let mut client = Client::connect(colophon.listen());
        client.send(request);
        assert_eq!(client.response("GET").status(), 200);
        client
    };
    let warm: Vec<Client> = (0..20).map(|_| ask()).collect();
    let resident = |colophon: &Colophon| resident(colophon.process_id()).expect("a process");
    let before = resident(&colophon);
    let idle: Vec<Client> = (0..IDLE).map(|_| ask()).collect();
    let each = (resident(&colophon) - before) * 1024 / IDLE;
    assert!(each < 12 << 10, "{each} bytes each");
    drop((warm, idle));
    assert!(colophon.stop().success());
}

/// Clients that come and go at once leave nothing behind: neither connections nor open exchanges.
#[test]
fn nothing_is_left_behind() {
    let upstream = Upstream::serve(|conn| {
        while conn.request().is_some() {
            pause(Duration::from_millis(300));
            if !conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}") {
                return;
            }
        }
    });
    let mut colophon = Colophon::signing(&upstream.url());
    thread::scope(|scope| {
        for thread in 0..8 {
            let colophon = &colophon;
            scope.spawn(move || {
                for round in 0..25 {
                    let mut client = Client::connect(colophon.listen());
                    let request = post_bytes(CHAT, "", "{}");
                    // Whole requests, half ones, and a head's beginning.
                    let sent = [request.len(), request.len() - 1, 20][(thread + round) % 3];
                    client.send(&request[..sent]);
                    if round % 4 == 0 && sent == request.len() {
                        assert_eq!(client.response("POST").status(), 200);
                    }
                }
            });
        }
    });
    let idle = wait_for(PATIENCE, || {
        let open = colophon.metric("colophon_ledger_open");
        (open == Some(0.0) && colophon.metric("colophon_connections") == Some(0.0)).then_some(())
    });
    assert!(idle.is_some(), "{:?} open", colophon.metric("colophon_ledger_open"));
    let files = std::fs::read_dir(format!("/proc/{}/fd", colophon.process().pid())).unwrap().count();
    assert!(files < 64, "{files} files are open");
    let received = colophon.metric("colophon_ledger_received_total").unwrap();
    let recorded = colophon.metric("colophon_ledger_recorded_total").unwrap();
    assert_eq!((received, colophon.metric("colophon_ledger_lost_total")), (recorded, Some(0.0)));
    let response = post(colophon.listen(), CHAT, "{}");
    assert!(Fetched::of(&response, colophon.listen()).field(fields::FAILURE).is_none());
}
