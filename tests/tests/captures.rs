//! Recorded vLLM and TGI traffic, replayed with its timing behind the proxy: status, body and end-to-end headers reach
//! the client as recorded, the request reaches the upstream as sent, and every exchange has a receipt that verifies.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use colophon_receipt::level::Outcome;
use colophon_tests::captures::{Capture, Play, Playing, end_to_end, replay};
use colophon_tests::client::Client;
use colophon_tests::colophon::Colophon;
use colophon_tests::receipts::Fetched;
use colophon_tests::upstream::Upstream;
use colophon_tests::wire::{End, Message, Wire};

/// What the proxy adds to an answer (DESIGN section 5).
const ADDED: &[&str] = &[
    "colophon-log",
    "colophon-receipt",
    "colophon-record",
    "colophon-request-digest",
    "content-digest",
    "server-timing",
    "signature",
    "signature-input",
];

/// What has to come of a recording.
enum Expected {
    /// The recorded answer.
    Same,
    /// Refused by the proxy with 400 before there is a request, so that nothing reaches the upstream.
    Refused,
    /// No answer at all, as recorded: nothing but the end of the connection.
    Nothing,
    /// HTTP/2 frames of the proxy's own.
    Http2,
    /// Another test plays it: the client leaves.
    Elsewhere,
}

/// The exceptions, each with its reason.
fn expected(name: &str) -> Expected {
    match name.rsplit('/').next().unwrap_or_default() {
        // RFC 9112 section 3: no request line, nothing to forward or to record.
        "bad-request-line" => Expected::Refused,
        // RFC 9112 section 5.2: obsolete line folding is refused by a server.
        "obs-fold" => Expected::Refused,
        // The client half-closes after its request. Both servers take that as its departure, and so do we.
        "half-close" => Expected::Nothing,
        // The proxy speaks HTTP/2 itself; what the upstream speaks does not show.
        "h2c-prior-knowledge" => Expected::Http2,
        // tests/departures.rs
        "disconnect-midstream" | "disconnect-nonstream" => Expected::Elsewhere,
        _ => Expected::Same,
    }
}

/// The requests as a lenient server reads them. Two recordings have framing that our strict reader refuses, and that
/// RFC 9112 section 6.3 says how to repair: `Transfer-Encoding` wins, identical `Content-Length`s collapse.
fn requests(capture: &Capture) -> Vec<Message> {
    let drop_line = |line: &str| {
        let text = String::from_utf8(capture.request.clone()).unwrap();
        Wire::new(text.replacen(line, "", 1).as_bytes()).request()
    };
    if capture.name.ends_with("/te-cl-both") {
        return vec![drop_line("Content-Length: 5\r\n")];
    }
    if capture.name.ends_with("/dup-content-length") {
        let line =
            capture.request.split(|byte| *byte == b'\n').find(|line| line.starts_with(b"Content-Length"));
        return vec![drop_line(&format!("{}\n", String::from_utf8_lossy(line.unwrap())))];
    }
    capture.requests()
}

/// A proxy before a replaying upstream.
struct Stage {
    colophon: Colophon,
    playing: Playing,
    _upstream: Upstream,
}

impl Stage {
    fn new() -> Self {
        let (upstream, playing) = replay();
        let colophon = Colophon::signing(&upstream.url());
        Self { colophon, playing, _upstream: upstream }
    }

    fn play(&self, capture: &Capture) {
        let name = &capture.name;
        let play = self.playing.play(capture);
        let mut client = Client::connect(self.colophon.listen()).timeout(Duration::from_secs(20));
        match expected(name) {
            Expected::Elsewhere => {}
            Expected::Same => self.same(&mut client, capture, &play),
            Expected::Refused => {
                client.send(&capture.request);
                assert_eq!(client.response("GET").status(), 400, "{name}");
                assert_eq!(play.received().len(), 0, "{name}: something was forwarded");
            }
            Expected::Nothing => {
                client.send(&capture.request);
                client.half_close();
                let response = client.response("POST");
                assert!(response.start.is_empty(), "{name}: {:?}", response.start);
                assert!(matches!(response.end, End::Truncated | End::Reset), "{name}: {:?}", response.end);
            }
            Expected::Http2 => {
                client.send(&capture.request);
                let mut frame = [0; 4];
                std::io::Read::read_exact(&mut client.stream(), &mut frame).unwrap();
                assert_eq!((frame[0], frame[3]), (0, 4), "{name}: not a SETTINGS frame");
            }
        }
    }

    fn same(&self, client: &mut Client, capture: &Capture, play: &Play) {
        let name = &capture.name;
        client.send(&capture.request);
        let requests = requests(capture);
        for (at, (sent, (recorded, _))) in requests.iter().zip(capture.responses()).enumerate() {
            let got = client.response(sent.method());
            assert_eq!(got.end, End::Complete, "{name}: {:?} {}", got.start, got.text());
            assert_eq!(got.status(), recorded.status(), "{name}: {}", got.text());
            assert!(got.body == recorded.body, "{name}: {:?} instead of {:?}", got.text(), recorded.text());
            let upstream_adds =
                recorded.headers.iter().any(|(name, _)| name.to_lowercase().starts_with("colophon"));
            assert!(!upstream_adds, "{name}: a recording with headers of ours");
            assert_eq!(end_to_end(&got, ADDED), end_to_end(&recorded, ADDED), "{name}: response headers");

            let received = play.received();
            let received = received.get(at).unwrap_or_else(|| panic!("{name}: the upstream got no request"));
            assert_eq!(received.end, End::Complete, "{name}: the forwarded request is broken");
            assert_eq!(received.method(), sent.method(), "{name}");
            assert!(received.body == sent.body, "{name}: forwarded {:?}", received.text());
            let (target, host) = target(sent);
            assert_eq!(received.target(), target, "{name}");
            let but_host = ["host"];
            assert_eq!(
                end_to_end(received, &but_host),
                end_to_end(sent, &but_host),
                "{name}: request headers"
            );
            if let Some(host) = host {
                assert_eq!(received.all("host").collect::<Vec<_>>(), [host], "{name}");
            }

            let receipt = Fetched::of(&got, self.colophon.listen());
            let outcome = if recorded.status() < 400 { Outcome::Complete } else { Outcome::UpstreamError };
            assert_eq!(receipt.outcome(), outcome, "{name}");
            receipt.assert_verifies(self.colophon.listen(), &sent.body, &got.body);
        }
        assert_eq!(play.received().len(), requests.len(), "{name}: requests were forwarded more than once");
    }
}

/// The target and Host to be forwarded: of an absolute form the authority replaces Host, the rest is the target
/// (RFC 9112 section 3.2.2).
fn target(sent: &Message) -> (String, Option<String>) {
    match sent.target().strip_prefix("http://").and_then(|rest| rest.split_once('/')) {
        Some((authority, path)) => (format!("/{path}"), Some(authority.to_owned())),
        None => (sent.target().to_owned(), sent.header("host").map(str::to_owned)),
    }
}

#[test]
fn recorded_traffic_passes_unchanged_and_leaves_receipts() {
    let captures = Capture::all();
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut stage = Stage::new();
                while let Some(capture) = captures.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let played =
                        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| stage.play(capture)));
                    // The proxy may still forward what a client left behind that read no answer: not to be taken
                    // for the next recording's request.
                    let leaves_strays =
                        !matches!(expected(&capture.name), Expected::Same | Expected::Elsewhere);
                    if let Err(panic) = played {
                        let why = panic.downcast_ref::<String>().map(String::as_str);
                        let why = why.or(panic.downcast_ref::<&str>().copied()).unwrap_or("panicked");
                        failed.lock().unwrap().insert(capture.name.clone(), why.to_owned());
                        stage = Stage::new(); // one failure must not look like several
                    } else if leaves_strays {
                        stage = Stage::new();
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    let list: Vec<String> = failed.iter().map(|(name, why)| format!("{name}: {why}")).collect();
    assert!(
        failed.is_empty(),
        "{} of {} recordings failed:\n{}",
        failed.len(),
        captures.len(),
        list.join("\n\n")
    );
}

/// What the built-in profile lets pass carries nothing of ours, and is only counted.
#[test]
fn health_checks_and_metrics_pass_untouched_by_default() {
    let (upstream, playing) = replay();
    let colophon = Colophon::before(&upstream.url());
    let names = [
        "vllm-0.32.0/get-health",
        "vllm-0.32.0/get-metrics",
        "vllm-0.32.0/get-models",
        "vllm-0.32.0/get-ping",
        "vllm-0.32.0/get-version",
        "tgi-3.3.6/get-health",
        "tgi-3.3.6/get-metrics",
    ];
    for name in names {
        let capture = Capture::load(name);
        playing.play(&capture);
        let mut client = Client::connect(colophon.listen());
        client.send(&capture.request);
        let (recorded, _) = capture.responses().remove(0);
        let got = client.response("GET");
        assert_eq!((got.status(), &got.end), (recorded.status(), &End::Complete), "{name}");
        assert!(got.body == recorded.body, "{name}: {:?}", got.text());
        assert_eq!(end_to_end(&got, &[]), end_to_end(&recorded, &[]), "{name}: something was added");
    }
    assert_eq!(colophon.metric("colophon_ledger_passed_total"), Some(names.len() as f64));
    assert_eq!(colophon.metric("colophon_ledger_recorded_total"), Some(0.0));
}
