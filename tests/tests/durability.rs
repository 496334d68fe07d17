//! `--durability power` and `node`: answers of every framing leave whole, say so, and have a record, also after SIGKILL,
//! and with `node` after the loss of the machine's disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use colophon_receipt::fields::{self, Failure};
use colophon_receipt::level::Outcome;
use colophon_tests::client::{Client, get, post, post_bytes};
use colophon_tests::colophon::{Colophon, Options};
use colophon_tests::elsewhere::{Elsewhere, lose_the_machine};
use colophon_tests::receipts::Fetched;
use colophon_tests::s3::S3;
use colophon_tests::upstream::Upstream;
use colophon_tests::wire::End;
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
    every_framing("power", &mut colophon, |_| ());
}

#[test]
fn with_node_every_framing_ends_whole_and_recorded_though_the_disk_is_lost() {
    let (elsewhere, upstream) = (Elsewhere::new(), upstream());
    let mut colophon = Colophon::start(&upstream.url(), |options| {
        options.sign_all();
        elsewhere.set(options);
    });
    every_framing("node", &mut colophon, lose_the_machine);
}

#[test]
fn with_node_on_s3_every_framing_ends_whole_and_recorded_though_the_disk_is_lost() {
    let Some(server) = S3::start("with_node_on_s3_every_framing") else { return };
    server.make_bucket("records", false);
    server.make_bucket("openings", false);
    let (elsewhere, upstream) = (Elsewhere::new(), upstream());
    let mut colophon = Colophon::start(&upstream.url(), |options| {
        options.sign_all();
        elsewhere.keys(options);
        server.keep_in("s3://records/a", options);
        options.arg(&["--private", "s3://openings/a"]);
    });
    for _ in 0..3 {
        every_framing("node", &mut colophon, lose_the_machine);
    }
    assert!(colophon.stop().success());
    let frames = server.versions("openings").into_iter().filter(|version| version.key.starts_with("a/wal/"));
    assert!(frames.count() <= 3, "only the fences are left");
}

/// Asks for answers of every framing at once, kills the process, does what `lose` does, and looks for the records.
fn every_framing(durability: &str, colophon: &mut Colophon, lose: impl Fn(&Colophon)) {
    let about = get(colophon.listen(), "/.well-known/colophon/about").text();
    assert!(about.contains(&format!("\"durability\":\"{durability}\"")), "{about}");
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
        assert!(record.contains(&format!(";durability={durability};")), "{record}");
    }
    colophon.kill();
    lose(colophon);
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

const STRICT: &str = "\
apiVersion: colophon.dev/v1alpha1
kind: ProvenancePolicy
metadata: {name: strict}
spec:
  defaults: {level: sign, failurePolicy: Ignore}
  rules:
  - name: strict
    matches: [{path: {type: Exact, value: /v1/completions}}]
    level: sign
    failurePolicy: Fail
";

#[test]
fn with_node_a_store_that_is_away_is_as_a_full_backlog() {
    let (elsewhere, upstream) = (Elsewhere::new(), upstream());
    let mut colophon = Colophon::start(&upstream.url(), |options| {
        options.policy = Some(STRICT.to_owned());
        elsewhere.set(options);
    });
    let listen = colophon.listen();
    assert_eq!(post(listen, "/v1/completions", "{}").status(), 200);
    // A file where the folder was takes no object.
    let (folder, away) = (elsewhere.private(), elsewhere.store().with_extension("away"));
    std::fs::rename(&folder, &away).expect("the store goes");
    std::fs::write(&folder, b"").expect("a file in its place");
    for body in ["{}", "{\"a\":\"stream\"}"] {
        let refused = post(listen, "/v1/completions", body);
        assert_eq!(refused.status(), 503, "{}", refused.text());
        assert!(refused.text().contains("record_not_kept"), "{}", refused.text());
        assert_eq!(post(listen, CHAT, body).status(), 200);
    }
    assert!(colophon.metric("colophon_degraded_total").is_some_and(|degraded| degraded >= 4.0));
    assert_eq!(get(colophon.admin(), "/readyz").status(), 503);
    std::fs::remove_file(&folder).expect("the file goes");
    std::fs::rename(&away, &folder).expect("the store is back");
    let back = wait_for(PATIENCE, || (post(listen, "/v1/completions", "{}").status() == 200).then_some(()));
    assert!(back.is_some(), "{}", colophon.process().log());
    assert!(colophon.stop().success(), "{}", colophon.process().log());
}

/// The store goes away while the model works: what was released of an answer has a record, and so has the refusal of one that was held.
/// Neither is released to its end, since the rule says so.
#[test]
fn with_node_what_was_cut_for_want_of_a_copy_is_on_record() {
    let elsewhere = Elsewhere::new();
    let (asked, go) = (AtomicUsize::new(0), Arc::new(AtomicBool::new(false)));
    let may_end = go.clone();
    let upstream = Upstream::serve(move |conn| {
        while conn.request().is_some() {
            let streams = asked.fetch_add(1, Ordering::SeqCst) == 0;
            if streams {
                conn.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
                conn.send(b"b\r\ndata: one\n\n\r\n");
            }
            wait_for(PATIENCE, || may_end.load(Ordering::SeqCst).then_some(())).expect("the word to end");
            conn.send(match streams {
                true => b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n".as_slice(),
                false => b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
            });
        }
    });
    let mut colophon = Colophon::start(&upstream.url(), |options| {
        options.policy = Some(STRICT.to_owned());
        elsewhere.set(options);
    });
    let listen = colophon.listen();
    let request = post_bytes("/v1/completions", "", "{}");
    let mut streaming = Client::connect(listen);
    assert!(streaming.send(&request));
    wait_for(PATIENCE, || (upstream.received().len() == 1).then_some(())).expect("the first is under way");
    let mut held = Client::connect(listen);
    assert!(held.send(&request));
    wait_for(PATIENCE, || (upstream.received().len() == 2).then_some(())).expect("both are under way");
    // Their OPENs get copies, and the first event leaves.
    pause(Duration::from_secs(2));
    let (folder, away) = (elsewhere.private(), elsewhere.store().with_extension("away"));
    std::fs::rename(&folder, &away).expect("the store goes");
    std::fs::write(&folder, b"").expect("a file in its place");
    go.store(true, Ordering::SeqCst);
    let refused = held.response("POST");
    assert_eq!(refused.status(), 503, "{}", refused.text());
    assert!(refused.text().contains("record_not_kept"), "{}", refused.text());
    let cut = streaming.response("POST");
    assert!(cut.text().contains("data: one") && cut.end == End::Truncated, "{cut:?}");
    std::fs::remove_file(&folder).expect("the file goes");
    std::fs::rename(&away, &folder).expect("the store is back");
    assert_eq!(Fetched::of(&refused, listen).outcome(), Outcome::Refused);
    colophon.until_ended_as(Outcome::Refused, 1);
    assert_eq!(colophon.metric("colophon_ledger_lost_total"), Some(0.0), "{}", colophon.process().log());
    assert_eq!(colophon.metric("colophon_degraded_total"), Some(2.0), "the refusal and the cut stream");
    let cut = Fetched::of(&cut, listen);
    assert_eq!(cut.outcome(), Outcome::UpstreamFailed);
    let failure = Failure::read(cut.field(fields::FAILURE).expect("why it ended")).unwrap();
    assert_eq!(failure.fault.as_deref(), Some("proxy"), "{failure:?}");
    assert!(colophon.stop().success(), "{}", colophon.process().log());
}

#[test]
fn with_node_what_a_new_machine_needs_has_to_be_elsewhere() {
    let elsewhere = Elsewhere::new();
    let refused = |change: &dyn Fn(&mut Options)| {
        let (status, said) = Colophon::refused("http://127.0.0.1:1", |options| {
            elsewhere.set(options);
            change(options);
        });
        assert_eq!(status.code(), Some(1), "{said}");
        said
    };
    for flag in ["--name", "--store", "--private", "--private-key", "--token-key", "--log-key"] {
        let said = refused(&|options| {
            let at = options.args.iter().position(|arg| arg == flag).expect("the flag");
            options.args.drain(at..at + 2);
        });
        assert!(said.contains(&format!("--durability node needs {flag}")), "{said}");
    }
    let said = refused(&|options| options.data = elsewhere.private().parent().map(Into::into));
    assert!(said.contains("--durability node needs --store, outside --data"), "{said}");
    // By another name it is the same folder.
    let link = elsewhere.private().with_file_name("link");
    std::os::unix::fs::symlink(elsewhere.private().parent().unwrap(), &link).unwrap();
    let said = refused(&|options| options.data = Some(link.clone()));
    assert!(said.contains("--durability node needs --store, outside --data"), "{said}");
}
