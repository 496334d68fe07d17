//! What is too big, too slow or too silent.

use std::process::Command;
use std::time::{Duration, Instant};

use colophon_receipt::level::Outcome;
use colophon_tests::client::{Client, get, post, post_bytes, send};
use colophon_tests::colophon::Colophon;
use colophon_tests::process::Process;
use colophon_tests::receipts::Fetched;
use colophon_tests::session::Session;
use colophon_tests::upstream::Upstream;
use colophon_tests::wire::End;
use colophon_tests::{PATIENCE, paths, pause, wait_for};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";

fn with_header_of(bytes: usize) -> Vec<u8> {
    let value = "x".repeat(bytes);
    format!("GET /v1/models HTTP/1.1\r\nHost: x\r\nX-Big: {value}\r\nConnection: close\r\n\r\n").into_bytes()
}

#[test]
fn a_70_kb_header_passes() {
    let upstream = Upstream::answering(OK);
    let colophon = Colophon::signing(&upstream.url());
    let response = send(colophon.listen(), &with_header_of(70 << 10));
    assert_eq!(response.status(), 200);
    assert_eq!(upstream.received()[0].header("x-big").map(str::len), Some(70 << 10));
    assert!(response.header("colophon-receipt").is_some());
}

#[test]
fn headers_beyond_the_limit_are_431() {
    let upstream = Upstream::answering(OK);
    let colophon = Colophon::signing(&upstream.url());
    let response = send(colophon.listen(), &with_header_of(300 << 10));
    assert_eq!((response.status(), &response.end), (431, &End::Complete));
    let many: String = (0..5000).map(|n| format!("X-{n}: {}\r\n", "y".repeat(60))).collect();
    let response = send(colophon.listen(), format!("GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n").as_bytes());
    assert_eq!(response.status(), 431);
    assert_eq!(upstream.received().len(), 0);
}

#[test]
fn the_header_limit_is_a_flag() {
    let upstream = Upstream::answering(OK);
    let colophon = Colophon::start(&upstream.url(), |options| {
        options.sign_all().arg(&["--max-header-bytes", "524288"]);
    });
    assert_eq!(send(colophon.listen(), &with_header_of(300 << 10)).status(), 200);
    assert_eq!(upstream.received()[0].header("x-big").map(str::len), Some(300 << 10));
}

#[test]
fn a_long_target_is_414_and_a_usual_long_one_passes() {
    let upstream = Upstream::answering(OK);
    let colophon = Colophon::signing(&upstream.url());
    let request =
        |length: usize| format!("GET /v1/{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(length)).into_bytes();
    assert_eq!(send(colophon.listen(), &request(32 << 10)).status(), 200);
    assert!(matches!(send(colophon.listen(), &request(100 << 10)).status(), 414 | 431));
}

/// A sender that trickles its header is cut after the whole head's time, however often it sends a byte.
#[test]
fn slow_headers_are_cut() {
    let upstream = Upstream::answering(OK);
    let colophon = Colophon::start(&upstream.url(), |options| {
        options.sign_all().arg(&["--header-timeout", "1s"]);
    });
    let mut client = Client::connect(colophon.listen());
    client.send(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n");
    let start = Instant::now();
    while client.send(b"X-Slow: 1\r\n") && start.elapsed() < PATIENCE {
        pause(Duration::from_millis(200));
    }
    assert!(start.elapsed() < Duration::from_secs(15), "cut only after {:?}", start.elapsed());
    assert_eq!(upstream.received().len(), 0);
}

/// What was sent in time is not cut because the proxy, not its peer, stood still past the limit.
#[test]
fn a_proxy_that_stood_still_answers_what_came_meanwhile() {
    let upstream = Upstream::answering(OK);
    let colophon = Colophon::start(&upstream.url(), |options| {
        options.sign_all().arg(&["--header-timeout", "1s"]);
    });
    let request = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n";
    // Before a first byte; in the middle of a head; between two requests.
    for (first, rest) in [request.split_at(0), request.split_at(10), (&request[..], &request[..])] {
        let mut client = Client::connect(colophon.listen());
        client.send(first);
        if first == request {
            assert_eq!(client.response("GET").status(), 200);
        }
        // It waits for more when it is stopped.
        pause(Duration::from_millis(200));
        colophon.signal("STOP");
        client.send(rest);
        pause(Duration::from_millis(1500));
        colophon.signal("CONT");
        assert_eq!(client.response("GET").status(), 200, "after {} bytes", first.len());
    }
}

#[test]
fn silent_connections_are_cut() {
    let upstream = Upstream::answering(OK);
    let colophon = Colophon::start(&upstream.url(), |options| {
        options.sign_all().arg(&["--header-timeout", "1s"]);
    });
    // Before a first byte; after half an HTTP/2 preface; between two requests.
    let firsts: [&[u8]; 3] = [b"", b"PRI * HTTP/2.0\r\n", b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"];
    for first in firsts {
        let mut client = Client::connect(colophon.listen());
        let start = Instant::now();
        client.send(first);
        if first.ends_with(b"\r\n\r\n") {
            assert_eq!(client.response("GET").status(), 200);
        }
        let response = client.response("GET");
        let shown = String::from_utf8_lossy(first);
        assert!(
            matches!(response.end, End::Truncated | End::Reset) || response.start.contains(" 408 "),
            "{shown:?}: {:?} {:?}",
            response.start,
            response.end
        );
        assert!(start.elapsed() < Duration::from_secs(15), "{shown:?}: cut only after {:?}", start.elapsed());
        assert!(start.elapsed() > Duration::from_millis(500), "{shown:?}: cut after {:?}", start.elapsed());
    }
}

/// A silent connection must not be able to hold up others, and a quiet HTTP/1 client that waits for its answer is not
/// silent.
#[test]
fn waiting_for_an_answer_is_not_silence() {
    let upstream = Upstream::serve(|conn| {
        while conn.request().is_some() {
            pause(Duration::from_millis(2500));
            conn.send(OK.as_bytes());
        }
    });
    let colophon = Colophon::start(&upstream.url(), |options| {
        options.sign_all().arg(&["--header-timeout", "1s"]);
    });
    assert_eq!(post(colophon.listen(), "/v1/chat/completions", "{}").status(), 200);
}

#[test]
fn bodies_beyond_the_limit_are_413() {
    let upstream = Upstream::serve(|conn| {
        while conn.request().is_some_and(|request| request.end == End::Complete) {
            conn.send(OK.as_bytes());
        }
    });
    let colophon = Colophon::start(&upstream.url(), |options| {
        options.sign_all().arg(&["--max-body-bytes", "1000"]);
    });
    assert_eq!(post(colophon.listen(), "/v1/chat/completions", &"x".repeat(1000)).status(), 200);
    let response = post(colophon.listen(), "/v1/chat/completions", &"x".repeat(1001));
    assert_eq!(response.status(), 413);
    let error: serde_json::Value = serde_json::from_slice(&response.body).expect("the API's error shape");
    assert!(error["error"]["message"].is_string(), "{error}");
    assert_eq!(response.header("x-should-retry"), Some("false"));
    assert_eq!(Fetched::of(&response, colophon.listen()).outcome(), Outcome::Refused);

    let chunks: String = (0..20).map(|_| format!("64\r\n{}\r\n", "y".repeat(100))).collect();
    let head = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    let response = send(colophon.listen(), format!("{head}{chunks}0\r\n\r\n").as_bytes());
    assert_eq!(response.status(), 413);
    assert_eq!(upstream.received().iter().filter(|request| request.end == End::Complete).count(), 1);
}

/// A client that goes on with a body that was refused gets to the end of it, and has the answer: no reset takes it away.
#[test]
fn a_refusal_outlives_the_rest_of_the_body() {
    let upstream = Upstream::answering(OK);
    let colophon = Colophon::start(&upstream.url(), |options| {
        options.sign_all().arg(&["--max-body-bytes", "1000"]);
    });
    let mut client = Client::connect(colophon.listen());
    let body = "x".repeat(64 << 20);
    assert!(client.send(&post_bytes("/v1/chat/completions", "", &body)), "it was cut off");
    assert_eq!(client.response("POST").status(), 413);
    client.half_close();
    colophon.until_left();
}

/// A request body that stalls is the client's business; it must not time out the head.
#[test]
fn a_slow_body_is_waited_for() {
    let upstream = Upstream::answering(OK);
    let colophon = Colophon::start(&upstream.url(), |options| {
        options.sign_all().arg(&["--header-timeout", "1s"]);
    });
    let mut client = Client::connect(colophon.listen());
    let request = post_bytes("/v1/chat/completions", "", r#"{"model":"m"}"#);
    let (first, rest) = request.split_at(request.len() - 6);
    client.send(first);
    pause(Duration::from_millis(2500));
    client.send(rest);
    assert_eq!(client.response("POST").status(), 200);
    assert_eq!(upstream.received()[0].text(), r#"{"model":"m"}"#);
}

/// All open files that the system allows are used, and peers that vanish without a word are noticed: a connection on which nothing
/// happens is asked after (`02` in the kernel's table: the keepalive timer).
#[test]
fn files_and_keepalive_are_set() {
    let upstream = Upstream::serve(|conn| {
        if conn.request().is_some() {
            conn.wait_until_gone();
        }
    });
    let mut colophon = Colophon::signing(&upstream.url());
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", colophon.process().pid())).unwrap();
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let (soft, hard) = files.trim().split_once(' ').unwrap();
    assert_eq!(soft, hard.trim().split(' ').next().unwrap());
    // While the model thinks nothing happens on either connection.
    let mut client = Client::connect(colophon.listen());
    client.send(&post_bytes("/v1/completions", "", "{}"));
    let hex = |address: std::net::SocketAddr| format!("0100007F:{:04X}", address.port());
    let (ours, theirs) = (hex(colophon.listen()), hex(client.stream().local_addr().unwrap()));
    let server = hex(upstream.address());
    let asked = wait_for(PATIENCE, || {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        let of = |local: Option<&str>, remote: &str| {
            rows.iter().any(|row| {
                local.is_none_or(|local| row[1] == local) && row[2] == remote && row[5].starts_with("02:")
            })
        };
        // Towards the server by whatever port that connection has here.
        (of(Some(&ours), &theirs) && of(None, &server)).then_some(())
    });
    assert!(
        asked.is_some(),
        "{ours} {theirs} {server}\n{}",
        std::fs::read_to_string("/proc/net/tcp").unwrap()
    );
}

/// Clients that would take all open files are kept waiting, and what they leave is enough for probes and the log.
#[test]
fn a_low_limit_on_open_files_leaves_the_rest_alive() {
    let upstream = Upstream::serve(|conn| {
        while conn.request().is_some() {
            pause(Duration::from_millis(300));
            conn.send(OK.as_bytes());
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    // 100 are kept; 66 connections and 34 exchanges have the other 100.
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 200 && exec \"$0\" serve \"$@\""]).arg(paths::program("colophon"));
    command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--upstream", &upstream.url()]);
    command.args(["--data", &path("data"), "--state", &path("state"), "--ready-file", &path("ready")]);
    let process = Process::start(&mut command, &folder.path().join("log"));
    let ready = || serde_json::from_slice::<serde_json::Value>(&std::fs::read(path("ready")).ok()?).ok();
    let ready = wait_for(PATIENCE, ready).expect("it is ready");
    let address = |name: &str| ready[name].as_str().unwrap().parse::<std::net::SocketAddr>().unwrap();
    assert!(process.log().contains("too low for --max-connections"), "{}", process.log());
    let answered = std::thread::scope(|scope| {
        // Both more than there are files for.
        let streams = scope.spawn(|| {
            let mut session = Session::h2(address("listen"));
            let requests = (0..150).map(|_| session.request("POST", "/v1/completions", "{}")).collect();
            session.send_all(requests).iter().filter(|answer| answer.status() == 200).count()
        });
        let clients: Vec<_> = (0..150)
            .map(|_| scope.spawn(|| post(address("listen"), "/v1/completions", "{}").status()))
            .collect();
        for _ in 0..10 {
            assert_eq!(get(address("admin"), "/livez").status(), 200);
            pause(Duration::from_millis(100));
        }
        let served = clients.into_iter().map(|client| client.join().unwrap());
        served.filter(|status| *status == 200).count() + streams.join().unwrap()
    });
    assert_eq!(answered, 300, "{}", process.log());
    let log = process.log();
    assert!(!log.contains("Too many open files") && !log.contains("logging failed"), "{log}");
}

/// Connections beyond the limit wait, and are served when one ends.
#[test]
fn connections_beyond_the_limit_wait() {
    let upstream = Upstream::answering(OK);
    let colophon = Colophon::start(&upstream.url(), |options| {
        options.sign_all().arg(&["--max-connections", "2"]);
    });
    let mut first = Client::connect(colophon.listen());
    let mut second = Client::connect(colophon.listen());
    for client in [&mut first, &mut second] {
        client.send(&post_bytes("/v1/completions", "", "{}"));
        assert_eq!(client.response("POST").status(), 200);
    }
    let mut third = Client::connect(colophon.listen());
    third.send(&post_bytes("/v1/completions", "", "{}"));
    pause(Duration::from_millis(500));
    assert_eq!(upstream.received().len(), 2, "a third connection was served");
    drop(first);
    assert_eq!(third.response("POST").status(), 200);
}

/// A model's place is not held for a client that asked for a stream and reads none of it.
#[test]
fn a_client_that_takes_nothing_counts_as_gone() {
    let upstream = Upstream::serve(|conn| {
        if conn.request().is_some() {
            conn.send(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
            );
            let event = format!("data: {}\n\n", "x".repeat(4000));
            let chunk = format!("{:x}\r\n{event}\r\n", event.len());
            while conn.send(chunk.as_bytes()) {}
        }
    });
    let colophon = Colophon::start(&upstream.url(), |options| {
        options.sign_all().arg(&["--client-write-timeout", "1s"]);
    });
    let mut client = Client::connect(colophon.listen());
    assert!(client.send(&post_bytes("/v1/chat/completions", "", "{}")));
    colophon.until_ended_as(Outcome::ClientAborted, 1);
    upstream.until_closed(1);
}

/// What a rule has to look at comes in pieces of one byte: they do not cost a hundred each.
#[test]
fn a_body_in_tiny_pieces_takes_no_more_memory_than_its_bytes() {
    let upstream = Upstream::answering(OK);
    let colophon = Colophon::start(&upstream.url(), |options| {
        let head =
            "apiVersion: colophon.dev/v1alpha1\nkind: ProvenancePolicy\nmetadata: {name: test}\nspec:\n";
        options.policy = Some(format!(
            "{head}  rules:\n  - name: med\n    matches: [{{models: ['med-*']}}]\n    level: sign\n"
        ));
    });
    assert_eq!(post(colophon.listen(), "/v1/chat/completions", "{\"model\":\"a\"}").status(), 200);
    let resident = || colophon_tests::process::resident(colophon.process_id()).expect("a resident size");
    let before = resident();
    let mut client = Client::connect(colophon.listen());
    let head = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert!(client.send(head.as_bytes()));
    let body = format!("{{\"model\":\"med-1\",\"x\":\"{}\"}}", "y".repeat(400_000));
    let pieces: String = body.chars().map(|piece| format!("1\r\n{piece}\r\n")).collect();
    assert!(client.send(pieces.as_bytes()));
    pause(Duration::from_secs(2));
    let more = resident().saturating_sub(before);
    assert!(more < 16 << 10, "{more} KiB more");
    assert!(client.send(b"0\r\n\r\n"));
    assert_eq!(client.response("POST").status(), 200);
    assert_eq!(upstream.received()[1].body, body.as_bytes());
}
