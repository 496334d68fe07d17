//! The harness itself, without the proxy: what a client gets from the replaying upstream is what was recorded.

use super::*;
use crate::client::Client;
use crate::wire::End;

#[test]
fn recordings_are_read_and_replayed_as_they_are() {
    let captures = Capture::all();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let (upstream, playing) = replay();
                while let Some(capture) = captures.get(next.fetch_add(1, Ordering::SeqCst)) {
                    check(capture, &upstream, &playing);
                }
            });
        }
    });
}

/// Recordings that need the proxy between them, or a client that leaves, are not for this.
fn check(capture: &Capture, upstream: &Upstream, playing: &Playing) {
    let requests = capture.requests();
    let recorded = capture.responses();
    let bad_request = requests.iter().any(|request| request.end != End::Complete);
    if bad_request || capture.end == "cut by client" || capture.response.is_empty() {
        return;
    }
    let play = playing.play(capture);
    let mut client = Client::connect(upstream.address());
    client.send(&capture.request);
    for (request, (expected, _)) in requests.iter().zip(&recorded) {
        let got = client.response(request.method());
        assert_eq!((&got.start, &got.end), (&expected.start, &End::Complete), "{}", capture.name);
        assert_eq!((&got.headers, &got.body), (&expected.headers, &expected.body), "{}", capture.name);
        assert_eq!(got.interim, expected.interim, "{}", capture.name);
    }
    let received = play.received();
    assert_eq!(received.len(), requests.len(), "{}", capture.name);
    assert_eq!(received.last().unwrap().body, requests.last().unwrap().body, "{}", capture.name);
}
