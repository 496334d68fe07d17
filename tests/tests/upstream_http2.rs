//! Upstreams that speak HTTP/2: connections that get stuck, and what HTTP/1.1 ones may do, too.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use colophon_receipt::level::Outcome;
use colophon_tests::client::{Client, post, post_bytes};
use colophon_tests::colophon::Colophon;
use colophon_tests::frames::{FrameServer, Said};
use colophon_tests::scene::CHAT;
use colophon_tests::wire::End;

fn start(server: &FrameServer, args: &[&str]) -> Colophon {
    Colophon::start(&server.url(), |options| {
        options.sign_all().arg(&["--upstream-http2"]).arg(args);
    })
}

/// The stream of a request that is there as a whole.
fn ended(said: &Said) -> Option<u32> {
    match said {
        Said::Head(id, true) | Said::Body(id, _, true) => Some(*id),
        _ => None,
    }
}

/// One that says nothing while an answer is under way is asked for life, and given up without an answer.
#[test]
fn a_silent_connection_is_asked_for_life() {
    let pings = Arc::new(AtomicUsize::new(0));
    let counted = pings.clone();
    let server = FrameServer::start(None, move |frames, said| match said {
        Said::Ping => {
            counted.fetch_add(1, Ordering::SeqCst);
        }
        said => {
            if let Some(id) = ended(&said) {
                frames.begin(id);
                frames.mute();
            }
        }
    });
    let colophon = start(&server, &[]);
    let begun = Instant::now();
    let mut client = Client::connect(colophon.listen()).timeout(Duration::from_secs(90));
    client.send(&post_bytes(CHAT, "", "{}"));
    let answer = client.response("POST");
    assert_eq!(answer.status(), 200);
    assert!(matches!(answer.end, End::Truncated | End::Reset), "{:?}", answer.end);
    assert!(begun.elapsed() > Duration::from_secs(30), "a model that thinks is cut off");
    assert!(pings.load(Ordering::SeqCst) >= 1);
    colophon.until_ended_as(Outcome::UpstreamFailed, 1);
}

/// Heads as long as over HTTP/1.1.
#[test]
fn big_heads_of_answers_pass() {
    let server = FrameServer::start(None, |frames, said| {
        if let Some(id) = ended(&said) {
            frames.answer_with_big_head(id, 60);
        }
    });
    let colophon = start(&server, &[]);
    let response = post(colophon.listen(), CHAT, "{}");
    assert_eq!((response.status(), response.text().as_str()), (200, "{}"));
    for field in 0..60 {
        assert_eq!(response.header(&format!("x-{field:03}")).map(str::len), Some(1000));
    }
}
