//! Upstreams that speak HTTP/2: connections that get stuck or take no more, requests that the server promises not to have looked
//! at, and more of them than one connection carries.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use colophon_receipt::level::{Level, Outcome};
use colophon_receipt::merkle::sha256;
use colophon_tests::client::{Client, get, post, post_bytes, send};
use colophon_tests::colophon::Colophon;
use colophon_tests::frames::{FrameServer, Frames, Said};
use colophon_tests::proving::takes_simulated;
use colophon_tests::receipts::Fetched;
use colophon_tests::scene::{CHAT, PROMPT, REPLY, Scene, ask, inside, judged, policy};
use colophon_tests::upstream::Upstream;
use colophon_tests::wire::{End, Message};
use colophon_tests::{PATIENCE, pause, wait_for};

const NO_ERROR: u32 = 0;
const INTERNAL_ERROR: u32 = 2;
const REFUSED_STREAM: u32 = 7;

/// Reads the body ahead, for its model.
const BY_MODEL: &str = "\
apiVersion: colophon.dev/v1alpha1
kind: ProvenancePolicy
metadata: {name: by-model}
spec:
  defaults: {level: sign, failurePolicy: Ignore}
  rules:
  - {name: secret, matches: [{models: [secret]}], deny: {reason: not here}}
";

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

/// A connection whose server says nothing any more, though it is open, costs one request its answer.
#[test]
fn a_stuck_connection_is_left() {
    let server = FrameServer::start(None, |frames, said| {
        if let Some(id) = ended(&said) {
            frames.answer(id, b"{}");
            if frames.number == 1 {
                frames.mute();
            }
        }
    });
    let mut colophon = start(&server, &["--upstream-header-timeout", "2s"]);
    let statuses: Vec<u16> = (0..4).map(|_| post(colophon.listen(), CHAT, "{}").status()).collect();
    assert_eq!(statuses, [200, 504, 200, 200]);
    assert_eq!(server.connections(), 2);
    assert!(colophon.stop().success());
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

/// What a server says of a request that it does nothing with.
type Refusing = fn(&Frames, u32);

const GONE_AWAY: Refusing = |frames, id| frames.go_away(id - 2, NO_ERROR);
const REFUSED: Refusing = |frames, id| frames.reset(id, REFUSED_STREAM);

/// Refuses each third request of a connection as soon as its head is there; keeps the bodies of the others.
fn refusing_each_third(refuse: Refusing, whole: bool) -> (FrameServer, Arc<Mutex<Vec<Vec<u8>>>>) {
    let served: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let (noted, bodies) = (served.clone(), Mutex::new(BTreeMap::<(usize, u32), Vec<u8>>::new()));
    let server = FrameServer::start(None, move |frames, said| {
        let is_third = |id: u32| (id / 2) % 3 == 2;
        if let Said::Head(id, _) = said
            && is_third(id)
            && !whole
        {
            refuse(frames, id);
        }
        let mut bodies = bodies.lock().unwrap();
        if let Said::Body(id, data, _) = &said {
            bodies.entry((frames.number, *id)).or_default().extend(data);
        }
        let Some(id) = ended(&said) else { return };
        if !is_third(id) {
            noted.lock().unwrap().push(bodies.remove(&(frames.number, id)).unwrap_or_default());
            frames.answer(id, b"{}");
        } else if whole {
            refuse(frames, id);
        }
    });
    (server, served)
}

fn assert_served(colophon: &Colophon, response: &Message, request: &[u8]) {
    assert_eq!((response.status(), response.text().as_str()), (200, "{}"));
    let receipt = Fetched::of(response, colophon.listen());
    assert_eq!(receipt.outcome(), Outcome::Complete);
    let body = receipt.request_body().unwrap();
    assert_eq!((body.digest, body.size), (sha256(request), request.len() as u64));
    receipt.assert_verifies(colophon.listen(), request, b"{}");
}

/// RFC 9113 section 8.7: such requests may be sent again, so no client has to hear of them. The server gets each once, the record
/// has its body once.
#[test]
fn what_a_server_did_nothing_with_is_sent_again() {
    for (refuse, name) in [(GONE_AWAY, "GOAWAY"), (REFUSED, "REFUSED_STREAM")] {
        for policy in [None, Some(BY_MODEL)] {
            let (server, served) = refusing_each_third(refuse, true);
            let colophon = Colophon::start(&server.url(), |options| {
                options.sign_all().arg(&["--upstream-http2"]);
                options.policy = policy.map(str::to_owned).or(options.policy.take());
            });
            let mut bodies: Vec<String> = (0..9).map(|n| format!("{{\"model\":\"m\",\"n\":{n}}}")).collect();
            // Several frames.
            bodies.push(format!("{{\"model\":\"m\",\"pad\":\"{}\"}}", "x".repeat(50 << 10)));
            for body in &bodies {
                assert_served(&colophon, &post(colophon.listen(), CHAT, body), body.as_bytes());
            }
            let got: Vec<String> = served
                .lock()
                .unwrap()
                .iter()
                .map(|body| String::from_utf8_lossy(body).into_owned())
                .collect();
            assert!(got == bodies, "{name}: {} requests were served", got.len());
            colophon.until_ended_as(Outcome::Complete, 10);
        }
        // Refused by the head alone, which is all there is of them.
        let (server, _) = refusing_each_third(refuse, false);
        let colophon = start(&server, &[]);
        for _ in 0..9 {
            assert_served(&colophon, &get(colophon.listen(), "/v1/models"), b"");
        }
    }
}

/// Only what the server promises in these words is sent again, and not for ever.
#[test]
fn nothing_else_is_sent_again() {
    let internal: Refusing = |frames, id| frames.reset(id, INTERNAL_ERROR);
    let abrupt: Refusing = |frames, id| frames.go_away(id.saturating_sub(2), INTERNAL_ERROR);
    // Every request is refused; the first is number 1.
    let never: Refusing = |frames, id| frames.reset(id, REFUSED_STREAM);
    let looked_at: Refusing = |frames, id| {
        frames.go_away(id, NO_ERROR);
        pause(Duration::from_millis(200));
        frames.reset(id, NO_ERROR);
    };
    for (refuse, tries) in [(internal, 1), (abrupt, 1), (never, 3), (looked_at, 1)] {
        let streams = Arc::new(AtomicUsize::new(0));
        let counted = streams.clone();
        let server = FrameServer::start(None, move |frames, said| {
            if let Some(id) = ended(&said) {
                counted.fetch_add(1, Ordering::SeqCst);
                refuse(frames, id);
            }
        });
        let colophon = start(&server, &[]);
        let response = post(colophon.listen(), CHAT, "{}");
        assert_eq!((response.status(), streams.load(Ordering::SeqCst)), (502, tries));
    }
}

/// Of a body that is longer than what is kept, nothing is sent again.
#[test]
fn long_bodies_are_sent_once() {
    let (server, served) = refusing_each_third(REFUSED, true);
    let colophon = start(&server, &[]);
    let body = "x".repeat(3 << 20);
    let statuses: Vec<u16> = (0..3).map(|_| post(colophon.listen(), CHAT, &body).status()).collect();
    assert_eq!(statuses, [200, 200, 502]);
    assert_eq!(served.lock().unwrap().len(), 2);
    assert_eq!(post(colophon.listen(), CHAT, "{}").status(), 200);
}

/// Answers nothing before `wanted` requests have waited at once; says how many did on each connection.
fn holding(streams: u32, wanted: usize) -> (FrameServer, Arc<Mutex<BTreeMap<usize, usize>>>) {
    let waiting: Arc<Mutex<Vec<(Frames, u32)>>> = Arc::default();
    let most: Arc<Mutex<BTreeMap<usize, usize>>> = Arc::default();
    let (noted, open) = (most.clone(), AtomicBool::new(false));
    let server = FrameServer::start(Some(streams), move |frames, said| {
        let Some(id) = ended(&said) else { return };
        let mut waiting = waiting.lock().unwrap();
        let here = waiting.iter().filter(|(other, _)| other.number == frames.number).count();
        if here >= streams as usize {
            frames.reset(id, REFUSED_STREAM);
            return;
        }
        let mut most = noted.lock().unwrap();
        let most = most.entry(frames.number).or_default();
        *most = (*most).max(here + 1);
        waiting.push((frames.clone(), id));
        if waiting.len() >= wanted || open.load(Ordering::SeqCst) {
            open.store(true, Ordering::SeqCst);
            for (frames, id) in waiting.drain(..) {
                frames.answer(id, b"{}");
            }
        }
    });
    (server, most)
}

fn at_once(to: SocketAddr, count: usize) -> Vec<u16> {
    let clients: Vec<_> = (0..count).map(|_| thread::spawn(move || post(to, CHAT, "{}").status())).collect();
    clients.into_iter().map(|client| client.join().unwrap()).collect()
}

/// How many streams a connection carries is for the server to say; how many requests wait for each other is not.
#[test]
fn full_connections_have_others_beside_them() {
    let (server, most) = holding(2, 7);
    let colophon = start(&server, &["--upstream-header-timeout", "20s"]);
    assert_eq!(at_once(colophon.listen(), 7), [200; 7]);
    assert!((4..=7).contains(&server.connections()), "{} connections", server.connections());
    assert!(most.lock().unwrap().values().all(|most| *most <= 2));
    // They are used again.
    let before = server.connections();
    assert_eq!(at_once(colophon.listen(), 7), [200; 7]);
    assert_eq!(server.connections(), before);
}

/// Those that are not needed any more go.
#[test]
fn connections_beside_the_first_are_let_go() {
    let (server, _) = holding(1, 4);
    let colophon = start(&server, &[]);
    assert_eq!(at_once(colophon.listen(), 4), [200; 4]);
    assert_eq!((server.connections(), server.ended()), (4, 0));
    pause(Duration::from_secs(31));
    assert_eq!(post(colophon.listen(), CHAT, "{}").status(), 200);
    assert!(wait_for(PATIENCE, || (server.ended() == 3).then_some(())).is_some(), "{} ended", server.ended());
    assert_eq!(server.connections(), 4);
}

/// There are only so many connections; what they do not carry waits for its turn.
#[test]
fn connections_are_bounded() {
    let (server, most) = holding(1, 16);
    let colophon = start(&server, &["--upstream-header-timeout", "20s"]);
    // Twice what fits: the second half waits on the connections that are there.
    assert_eq!(at_once(colophon.listen(), 32), [200; 32]);
    assert_eq!(server.connections(), 16);
    assert!(most.lock().unwrap().values().all(|most| *most == 1));
}

/// A server whose only connection is full and that lets nobody else in: what comes waits there, as it would without others.
#[test]
fn a_server_that_takes_one_connection_is_waited_for() {
    let server = FrameServer::start(Some(1), |frames, said| {
        let Some(id) = ended(&said) else { return };
        let frames = frames.clone();
        thread::spawn(move || {
            pause(Duration::from_millis(300));
            frames.answer(id, b"{}");
        });
    });
    let colophon = start(&server, &["--upstream-header-timeout", "20s"]);
    assert_eq!(post(colophon.listen(), CHAT, "{}").status(), 200);
    server.refuse();
    assert_eq!(at_once(colophon.listen(), 6), [200; 6]);
}

/// Each connection to a server that has to prove itself is one on which it has, again and again while it is used.
#[test]
fn every_connection_proves_itself() {
    const REQUESTS: usize = 260;
    let waiting = Arc::new(AtomicUsize::new(0));
    let begun = Instant::now();
    // Nobody is answered before all are there, and leases have ended.
    let model = Upstream::serve(move |conn| {
        while conn.request().is_some() {
            // The first one only finds out what the server speaks.
            if waiting.fetch_add(1, Ordering::SeqCst) > 0 {
                wait_for(PATIENCE, || (waiting.load(Ordering::SeqCst) > REQUESTS).then_some(()));
                pause(Duration::from_secs(5));
            }
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", REPLY.len());
            conn.send(&[head.as_bytes(), REPLY].concat());
        }
    });
    let scene = Scene::new();
    let enclave = inside(&scene, &model.url());
    let url = format!("https://localhost:{}", enclave.listen().port());
    let colophon = scene.proxy(
        policy(&[("enclave", &url, &takes_simulated())]),
        &["--allow-simulated", "--attest-lease", "4s"],
    );
    assert_eq!(ask(&colophon).status(), 200);
    let to = colophon.listen();
    let request = post_bytes(CHAT, "Connection: close\r\n", PROMPT);
    let clients: Vec<_> = (0..REQUESTS)
        .map(|_| {
            let request = request.clone();
            thread::spawn(move || send(to, &request))
        })
        .collect();
    let answers: Vec<Message> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    assert!(answers.iter().all(|answer| answer.status() == 200), "after {:?}", begun.elapsed());
    let (receipt, report) = judged(&colophon, &answers[REQUESTS - 1]);
    assert_eq!(receipt.leaf.level, Level::Tee, "{report:#}");
    let counted = |name: &str| {
        colophon.metric(&format!("colophon_upstream_{name}{{upstream=\"enclave\"}}")).unwrap_or(0.0)
    };
    let (good, renewed) = (counted("evidence_total"), counted("evidence_renewed_total"));
    assert!(good - renewed >= 2.0 && renewed >= 2.0, "{good} good, {renewed} of them again");
}

/// A place is free again when the answer has ended, or its client has left.
#[test]
fn places_are_given_back() {
    let server = FrameServer::start(Some(1), |frames, said| match said {
        Said::Head(id, true) => frames.begin(id),
        said => {
            if let Some(id) = ended(&said) {
                frames.answer(id, b"{}");
            }
        }
    });
    let colophon = start(&server, &[]);
    for _ in 0..5 {
        let mut client = Client::connect(colophon.listen());
        client.send(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(client.wire().response_head().start.contains("200"));
        drop(client);
        let left = wait_for(PATIENCE, || (colophon.ended_as(Outcome::ClientAborted) > 0).then_some(()));
        assert!(left.is_some());
        pause(Duration::from_millis(200));
        assert_eq!(post(colophon.listen(), CHAT, "{}").status(), 200);
    }
    assert!(server.connections() <= 2, "{} connections", server.connections());
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
