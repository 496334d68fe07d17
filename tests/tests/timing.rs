//! `Server-Timing` is what a clock outside measures: whoever waited 50 or 200 ms is said to have waited that long, within a
//! tenth, and what the proxy itself took is told apart from it.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use colophon_tests::client::{Client, post_bytes};
use colophon_tests::colophon::Colophon;
use colophon_tests::pause;
use colophon_tests::power::Disk;
use colophon_tests::upstream::Upstream;
use colophon_tests::wire::{End, Message};

const CHAT: &str = "/v1/chat/completions";

/// Each request is made so often, and the quickest counts: it is the one that the machine disturbed least.
const TRIES: usize = 12;

/// A rule that depends on the body has it read first.
const BY_MODEL: &str = r#"
apiVersion: colophon.dev/v1alpha1
kind: ProvenancePolicy
metadata: {name: timing}
spec:
  defaults: {level: sign, failurePolicy: Fail}
  rules:
  - name: other
    matches: [{models: [other]}]
    level: commit
"#;

/// What an answer says, ms.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    colophon: f64,
    upstream: Option<f64>,
    client: Option<f64>,
}

impl Told {
    fn of(response: &Message) -> Told {
        let text = response.header("server-timing").expect("a Server-Timing");
        let mut told = Told::default();
        for entry in text.split(", ") {
            let (name, value) = entry.split_once(";dur=").unwrap_or_else(|| panic!("{text}"));
            let value = value.parse().unwrap_or_else(|_| panic!("{text}"));
            match name {
                "colophon" => told.colophon = value,
                "upstream" => told.upstream = Some(value),
                "client" => told.client = Some(value),
                _ => panic!("{text}"),
            }
        }
        told
    }

    fn sum(&self) -> f64 {
        self.colophon + self.upstream.unwrap_or(0.0) + self.client.unwrap_or(0.0)
    }
}

/// One request as seen from outside.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// From before the request's first byte until after the answer's head, ms.
    total: f64,
    /// From when the upstream had the request until it answered, by its own clock, ms.
    upstream: f64,
    told: Told,
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn assert_close(what: &str, told: f64, outside: f64, of: &Seen) {
    assert!((told - outside).abs() <= 0.1 * outside, "{what}: {told} ms told, {outside} ms outside: {of:?}");
}

/// An upstream that thinks for as long as the path's last number says, and then answers whole or with a stream. Says how
/// long it took the last time.
fn thinking() -> (Upstream, Arc<Mutex<Duration>>) {
    let took = Arc::new(Mutex::new(Duration::ZERO));
    let noted = took.clone();
    let upstream = Upstream::serve(move |conn| {
        while let Some(request) = conn.request() {
            let begun = Instant::now();
            let wait = request.target().rsplit('=').next().and_then(|text| text.parse().ok());
            pause(Duration::from_millis(wait.expect("a number of milliseconds")));
            *noted.lock().expect("a lock") = begun.elapsed();
            if request.target().contains("stream") {
                conn.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
                let event = b"b\r\ndata: one\n\n\r\n";
                conn.send_slowly(&[event, event, b"0\r\n\r\n"], Duration::from_millis(30));
            } else {
                conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
            }
        }
    });
    (upstream, took)
}

/// Sends the request again and again on one connection, the body `late` after its head; the quickest time.
fn quickest(
    colophon: &Colophon,
    took: &Mutex<Duration>,
    kind: &str,
    wait: u64,
    late: Option<Duration>,
) -> Seen {
    let mut client = Client::connect(colophon.listen());
    let body = r#"{"model":"m"}"#;
    let request = post_bytes(&format!("{CHAT}?{kind}={wait}"), "", body);
    let (head, rest) = request.split_at(request.len() - body.len());
    let seen = (0..TRIES).map(|_| {
        let begun = Instant::now();
        match late {
            None => drop(client.send(&request)),
            Some(late) => {
                client.send(head);
                pause(late);
                client.send(rest);
            }
        }
        let mut response = client.wire().response_head();
        let total = ms(begun.elapsed());
        client.wire().response_body(&mut response, "POST");
        assert_eq!((response.status(), &response.end), (200, &End::Complete));
        Seen { total, upstream: ms(*took.lock().expect("a lock")), told: Told::of(&response) }
    });
    seen.min_by(|a, b| a.total.total_cmp(&b.total)).expect("some tries")
}

/// What the way to the proxy and back costs without a proxy, ms.
fn loopback(upstream: &Upstream) -> f64 {
    let mut client = Client::connect(upstream.address());
    let request = post_bytes(&format!("{CHAT}?whole=0"), "", r#"{"model":"m"}"#);
    let ways = (0..50).map(|_| {
        let begun = Instant::now();
        client.send(&request);
        assert_eq!(client.response("POST").status(), 200);
        ms(begun.elapsed())
    });
    ways.min_by(f64::total_cmp).expect("some tries")
}

#[test]
fn the_wait_for_the_upstream_is_told_within_a_tenth() {
    let (upstream, took) = thinking();
    let colophon = Colophon::signing(&upstream.url());
    let way = loopback(&upstream);
    for (kind, wait) in [("whole", 50), ("whole", 200), ("stream", 50), ("stream", 200)] {
        let seen = quickest(&colophon, &took, kind, wait, None);
        assert_close("in all", seen.told.sum(), seen.total - way, &seen);
        assert_close("the upstream", seen.told.upstream.expect("an upstream"), seen.upstream, &seen);
        assert!(seen.told.client.is_none(), "{seen:?}");
        // What is left is the proxy's, and no more than that.
        assert!(seen.told.colophon <= seen.total - seen.upstream, "{seen:?}");
    }
}

#[test]
fn a_body_that_comes_late_is_the_clients_time() {
    let (upstream, took) = thinking();
    let colophon = Colophon::start(&upstream.url(), |options| options.policy = Some(BY_MODEL.to_owned()));
    let way = loopback(&upstream);
    let late = Duration::from_millis(80);
    for kind in ["whole", "stream"] {
        let seen = quickest(&colophon, &took, kind, 50, Some(late));
        assert_close("in all", seen.told.sum(), seen.total - way, &seen);
        assert_close("the upstream", seen.told.upstream.expect("an upstream"), seen.upstream, &seen);
        assert_close("the client", seen.told.client.expect("a wait for the client"), ms(late), &seen);
    }
}

/// On a disk that takes 60 ms for each sync, that wait is the proxy's own: before the answer's first byte for a stream, and
/// a second time for an answer that is held until its record is safe.
#[test]
fn the_wait_for_the_disk_is_the_proxys_own_time() {
    let Some(disk) = Disk::new() else { return eprintln!("skipped: no C compiler (cc)") };
    let sync = Duration::from_millis(60);
    let (upstream, took) = thinking();
    let colophon = Colophon::start(&upstream.url(), |options| {
        options.sign_all().arg(&["--durability", "power"]);
        disk.slow(options, sync);
    });
    let way = loopback(&upstream);
    for (kind, least) in [("whole", 2.0 * ms(sync)), ("stream", 0.0)] {
        let seen = quickest(&colophon, &took, kind, 50, None);
        assert_close("in all", seen.told.sum(), seen.total - way, &seen);
        assert_close("the upstream", seen.told.upstream.expect("an upstream"), seen.upstream, &seen);
        let own = seen.total - way - seen.upstream;
        assert!((seen.told.colophon - own).abs() <= 0.1 * seen.total, "{own} ms outside: {seen:?}");
        assert!(seen.told.colophon >= 0.5 * least, "it does not count the disk: {seen:?}");
    }
}

#[test]
fn where_nobody_was_asked_no_wait_for_an_upstream_is_told() {
    let (upstream, _) = thinking();
    let colophon = Colophon::signing(&upstream.url());
    let mut client = Client::connect(colophon.listen());
    client.send(&post_bytes(&format!("{CHAT}?whole=0"), "Host: another\r\n", r#"{"model":"m"}"#));
    let refused = client.response("POST");
    assert_eq!(refused.status(), 400, "{}", refused.text());
    assert!(refused.text().contains("bad_target"), "{}", refused.text());
    assert!(Told::of(&refused).upstream.is_none(), "{:?}", Told::of(&refused));
    assert!(upstream.received().is_empty());
}
