//! SIGKILL at many moments under load of every kind, and a restart on the same folder each time: one log, which only
//! grew; nothing that was released is lost; nothing is there twice.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use colophon_receipt::level::Outcome;
use colophon_receipt::merkle::sha256;
use colophon_tests::client::{Client, get, post, post_bytes};
use colophon_tests::colophon::{self, Colophon};
use colophon_tests::log::{self, Head};
use colophon_tests::receipts::Fetched;
use colophon_tests::upstream::Upstream;
use colophon_tests::wire::{End, Message};
use colophon_tests::{PATIENCE, pause, wait_for};

const CHAT: &str = "/v1/chat/completions";
const STREAM_HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Kills of one run; at moments that are spread over what a batch takes.
const KILLS: u64 = 12;

/// Small answers at once, a stream of three events, or an endless one.
fn upstream() -> Upstream {
    Upstream::serve(|conn| {
        while let Some(request) = conn.request() {
            let text = request.text();
            if text.contains("endless") {
                conn.send(STREAM_HEAD);
                while conn.send(b"b\r\ndata: one\n\n\r\n") {
                    pause(Duration::from_millis(20));
                }
            } else if text.contains("stream") {
                conn.send(STREAM_HEAD);
                let event = b"b\r\ndata: one\n\n\r\n";
                conn.send_slowly(&[event, event, event, b"0\r\n\r\n"], Duration::from_millis(5));
            } else {
                conn.send(
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()).as_bytes(),
                );
            }
        }
    })
}

/// What a client got: the request's body, the response, whole or cut.
type Got = (String, Message);

/// Asks again and again until the proxy is gone, counting the answers that are whole.
fn load(colophon: &Colophon, kind: &'static str, stop: &AtomicBool, answers: &AtomicUsize) -> Vec<Got> {
    let mut got = Vec::new();
    let mut client = Client::connect(colophon.listen()).timeout(Duration::from_secs(10));
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let body = format!("{{\"{kind}\":{number}}}");
        client.send(&post_bytes(CHAT, "", &body));
        let response = client.response("POST");
        if response.start.is_empty() {
            break;
        }
        assert_eq!(response.status(), 200, "{}", response.text());
        let whole = response.end == End::Complete;
        got.push((body, response));
        if !whole {
            break;
        }
        answers.fetch_add(1, Ordering::Relaxed);
    }
    got
}

#[test]
fn killed_at_any_moment_it_goes_on_with_the_same_log() {
    let upstream = upstream();
    let mut colophon = Colophon::start(&upstream.url(), |options| {
        options.sign_all().batch_every = "60ms".to_owned();
    });
    let trust = get(colophon.listen(), "/.well-known/colophon/keys").body;
    let (mut all, mut heads): (Vec<Got>, Vec<Head>) = (Vec::new(), Vec::new());
    for kill in 0..KILLS {
        let (stop, answers) = (AtomicBool::new(false), AtomicUsize::new(0));
        let got: Vec<Got> = thread::scope(|scope| {
            let of = |kind: &'static str| {
                let (colophon, stop, answers) = (&colophon, &stop, &answers);
                scope.spawn(move || load(colophon, kind, stop, answers))
            };
            let clients = [of("plain"), of("plain"), of("stream"), of("endless")];
            // A busy machine takes longer to get going.
            wait_for(PATIENCE, || (answers.load(Ordering::Relaxed) > 10).then_some(()));
            pause(Duration::from_millis(40 + (kill * 37) % 130));
            // SIGKILL, while the clients are at it.
            colophon.signal("KILL");
            stop.store(true, Ordering::Relaxed);
            clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
        });
        colophon.process().wait(PATIENCE);
        heads.extend(got.iter().map(|(_, response)| Head::of_response(response)));
        heads.push(Head::of_folder(&colophon.data()));
        all.extend(got);
        colophon.restart();
    }
    assert_eq!(get(colophon.listen(), "/.well-known/colophon/keys").body, trust, "it is another log");

    // What was cut in the middle has no end, and is on record all the same.
    let (whole, cut): (Vec<&Got>, Vec<&Got>) =
        all.iter().partition(|(_, response)| response.end == End::Complete);
    assert!(whole.len() > 100 && cut.len() >= 6, "{} whole answers and {} cut ones", whole.len(), cut.len());
    let mut ids = BTreeSet::new();
    for (body, response) in &whole {
        let receipt = Fetched::of(response, colophon.listen());
        assert_eq!(receipt.outcome(), Outcome::Complete);
        assert_eq!(receipt.request_body().map(|b| b.digest), Some(sha256(body.as_bytes())));
        assert_eq!(receipt.response_body().map(|b| b.digest), Some(sha256(&response.body)));
        ids.insert(receipt.leaf.id);
    }
    // The verifier is a process each time: a sample, with the last of each life in it.
    for (body, response) in whole.iter().step_by((whole.len() / 40).max(1)) {
        let receipt = Fetched::of(response, colophon.listen());
        let (code, said) = receipt.verify_by(&trust, Some(body.as_bytes()), Some(&response.body));
        assert_eq!(code, 0, "{said}");
    }
    for (_, response) in &cut {
        let receipt = Fetched::of(response, colophon.listen());
        // A stream's end may have been recorded and not have come out any more.
        let endless = !response.body.starts_with(b"{") && response.body.len() > 33;
        match receipt.outcome() {
            Outcome::Recovered => {}
            Outcome::Complete => assert!(!endless),
            other => panic!("{other:?}"),
        }
        let (code, said) = receipt.verify_by(&trust, None, None);
        assert_eq!(code, 0, "{said}");
        ids.insert(receipt.leaf.id);
    }
    assert_eq!(ids.len(), all.len(), "two answers have one record");

    assert!(colophon.stop().success());
    let recorded = log::recorded_ids(&colophon.data());
    let distinct: BTreeSet<[u8; 16]> = recorded.iter().copied().collect();
    assert_eq!(recorded.len(), distinct.len(), "a record is there twice");
    assert!(ids.is_subset(&distinct));
    log::assert_one_log(&colophon.data(), &heads);
    let (code, said) = colophon::run(&["log", "check", &colophon.data().display().to_string()]);
    assert_eq!(code, 0, "{said}");
}

/// Killed again before it is ready, several times over: starting is as safe as serving.
#[test]
fn killed_while_it_recovers() {
    let upstream = upstream();
    let mut colophon = Colophon::start(&upstream.url(), |options| {
        options.sign_all().batch_every = "1h".to_owned();
    });
    let released: Vec<Message> = (0..50).map(|_| post(colophon.listen(), CHAT, "{}")).collect();
    colophon.kill();
    let wal = log::files(&colophon.data().join("wal"));
    assert!(wal.iter().any(|file| file.metadata().unwrap().len() > 1000), "{wal:?}");
    colophon.options().batch_every = "100ms".to_owned();
    for round in 0..8 {
        colophon.start_and_kill(Duration::from_millis(5 + round * 9));
    }
    colophon.restart();
    for response in &released {
        assert_eq!(Fetched::of(response, colophon.listen()).outcome(), Outcome::Complete);
    }
    assert!(colophon.stop().success());
    let recorded = log::recorded_ids(&colophon.data());
    let distinct: BTreeSet<&[u8; 16]> = recorded.iter().collect();
    assert_eq!((recorded.len(), distinct.len()), (50, 50));
    let (code, said) = colophon::run(&["log", "check", &colophon.data().display().to_string()]);
    assert_eq!(code, 0, "{said}");
}

/// The tail of the WAL in every state a crash of the machine may leave: cut at any byte, zeros, rubbish, flipped bits.
#[test]
fn a_torn_wal_is_read_up_to_the_tear() {
    let upstream = upstream();
    let mut colophon = Colophon::start(&upstream.url(), |options| {
        options.sign_all().batch_every = "1h".to_owned();
    });
    let released: Vec<Message> = (0..4).map(|_| post(colophon.listen(), CHAT, "{}")).collect();
    colophon.kill();
    let files = log::files(&colophon.data().join("wal"));
    let wal = files.iter().max_by_key(|file| file.metadata().unwrap().len()).expect("a WAL").clone();
    let whole = std::fs::read(&wal).unwrap();
    let saved = colophon.folder().join("saved");
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        std::fs::remove_dir_all(to).ok();
        let status = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status();
        assert!(status.is_ok_and(|status| status.success()));
    };
    copy(&colophon.data(), &saved);
    colophon.options().batch_every = "100ms".to_owned();
    let mut torn: Vec<(String, Vec<u8>)> =
        [1, 4, 9, 60].map(|cut| (format!("{cut} bytes short"), whole[..whole.len() - cut].to_vec())).into();
    for (name, tail) in
        [("zeros", vec![0u8; 4096]), ("rubbish", (0..999u32).map(|n| ((n * 7919) >> 3) as u8).collect())]
    {
        torn.push((format!("{name} after it"), [whole.as_slice(), &tail].concat()));
    }
    for at in [2, 40] {
        let mut flipped = whole.clone();
        let byte = flipped.len() - at;
        flipped[byte] ^= 0x81;
        torn.push((format!("a flipped byte {at} before its end"), flipped));
    }
    let state = colophon.state();
    let saved_state = colophon.folder().join("saved-state");
    copy(&state, &saved_state);
    for (what, bytes) in torn {
        copy(&saved, &colophon.data());
        copy(&saved_state, &state);
        std::fs::write(&wal, &bytes).unwrap();
        let before = colophon.process().log().len();
        colophon.restart();
        let said = colophon.process().log()[before..].to_owned();
        let lost = !what.contains("after");
        for (number, response) in released.iter().enumerate() {
            let receipt = Fetched::of(response, colophon.listen());
            let expected = if lost && number == 3 { Outcome::Recovered } else { Outcome::Complete };
            assert_eq!(receipt.outcome(), expected, "{what}: answer {number}");
        }
        assert!(said.to_lowercase().contains("wal"), "{what}: nothing is said of it:\n{said}");
        assert!(colophon.stop().success());
        let (code, said) = colophon::run(&["log", "check", &colophon.data().display().to_string()]);
        assert_eq!(code, 0, "{what}: {said}");
    }
}

/// Killed in the middle of everything, it is ready again at once.
#[test]
fn a_restart_is_quick() {
    let upstream = upstream();
    let mut colophon = Colophon::start(&upstream.url(), |options| {
        options.sign_all().batch_every = "1h".to_owned();
    });
    for _ in 0..200 {
        assert_eq!(post(colophon.listen(), CHAT, "{}").status(), 200);
    }
    colophon.kill();
    let begun = std::time::Instant::now();
    colophon.restart();
    assert!(begun.elapsed() < Duration::from_secs(10), "it took {:?}", begun.elapsed());
    let logged = wait_for(PATIENCE, || (log::recorded_ids(&colophon.data()).len() == 200).then_some(()));
    assert!(logged.is_some(), "{} records", log::recorded_ids(&colophon.data()).len());
}
