//! `--durability power`: answers of every framing leave whole, say so, and have a record, also after SIGKILL.

use std::thread;
use std::time::Duration;

use colophon_receipt::level::Outcome;
use colophon_tests::client::{Client, get, post, post_bytes};
use colophon_tests::colophon::Colophon;
use colophon_tests::receipts::Fetched;
use colophon_tests::upstream::Upstream;
use colophon_tests::{PATIENCE, pause, wait_for};

const CHAT: &str = "/v1/chat/completions";
const STREAM: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

fn upstream() -> Upstream {
    Upstream::serve(|conn| {
        while let Some(request) = conn.request() {
            let text = request.text();
            if text.contains("stream") {
                conn.send(STREAM);
                let pieces: [&[u8]; 3] = [b"b\r\ndata: one\n\n\r\n", b"b\r\ndata: two\n\n\r\n", b"0\r\n\r\n"];
                conn.send_slowly(&pieces, Duration::from_millis(5));
            } else if text.contains("large") {
                conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n");
                conn.send(&vec![b'x'; 2_000_000]);
            } else {
                conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
            }
        }
    })
}

#[test]
fn with_power_every_framing_ends_whole_and_recorded() {
    let upstream = upstream();
    let mut colophon = Colophon::start(&upstream.url(), |options| {
        options.sign_all().arg(&["--durability", "power"]);
    });
    let about = get(colophon.listen(), "/.well-known/colophon/about").text();
    assert!(about.contains("\"durability\":\"power\""), "{about}");
    let listen = colophon.listen();
    let answers: Vec<_> = thread::scope(|scope| {
        let bodies = (0..24).map(|n| ["{}", "{\"a\":\"stream\"}", "{\"a\":\"large\"}"][n % 3]);
        let asked: Vec<_> =
            bodies.map(|body| scope.spawn(move || (body, post(listen, CHAT, body)))).collect();
        asked.into_iter().map(|thread| thread.join().expect("an answer")).collect()
    });
    for (body, answer) in &answers {
        let length = answer.body.len();
        let expected = if body.contains("stream") {
            22
        } else if body.contains("large") {
            2_000_000
        } else {
            2
        };
        assert_eq!((answer.status(), length), (200, expected), "{body}");
        let record = answer.header("colophon-record").expect("a record");
        assert!(record.contains(";durability=power;"), "{record}");
    }
    // Whatever its end released survives the process, too.
    colophon.kill();
    colophon.restart();
    for (body, answer) in &answers {
        let fetched = Fetched::of(answer, colophon.listen());
        assert_eq!(fetched.leaf.outcome, Outcome::Complete, "{body}");
    }
}

#[test]
fn with_power_a_client_that_leaves_at_the_end_leaves_a_record() {
    let upstream = upstream();
    let colophon = Colophon::start(&upstream.url(), |options| {
        options.arg(&["--durability", "power"]);
    });
    for _ in 0..20 {
        let mut client = Client::connect(colophon.listen());
        client.send(&post_bytes(CHAT, "", "{\"a\":\"stream\"}"));
        // Gone before, while or after the end is held back.
        pause(Duration::from_millis(12));
    }
    let all = wait_for(PATIENCE, || {
        let ended = [Outcome::Complete, Outcome::ClientAborted].map(|outcome| colophon.ended_as(outcome));
        (ended.iter().sum::<u64>() == 20).then_some(())
    });
    assert!(all.is_some(), "every exchange ends");
    assert_eq!(colophon.metric("colophon_ledger_lost_total"), Some(0.0));
}
