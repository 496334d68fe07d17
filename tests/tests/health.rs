//! `--health`: what probes and scrapers may see, and nothing else.

use std::fs;
use std::net::SocketAddr;

use colophon_tests::client::{Client, get, post, send};
use colophon_tests::colophon::Colophon;
use colophon_tests::upstream::Upstream;

fn start(upstream: &Upstream) -> (Colophon, SocketAddr) {
    let colophon = Colophon::start(&upstream.url(), |options| {
        options.arg(&[
            "--health",
            "127.0.0.1:0",
            "--probe-path",
            "/health",
            "--probe-path",
            "/v1/models?x=1",
        ]);
    });
    let health = colophon.health();
    (colophon, health)
}

fn engine() -> Upstream {
    Upstream::serve(|conn| {
        while let Some(request) = conn.request() {
            let status = if request.target() == "/health" { "503 Loading" } else { "200 OK" };
            conn.send(
                format!("HTTP/1.1 {status}\r\nContent-Length: 6\r\nX-Its: own\r\n\r\nsecret").as_bytes(),
            );
        }
    })
}

#[test]
fn the_upstream_is_asked_for_named_paths_and_only_its_status_is_told() {
    let upstream = engine();
    let (colophon, health) = start(&upstream);
    for path in ["/livez", "/readyz", "/metrics", "/upstream"] {
        assert_eq!(get(health, path).status(), 200, "{path}");
    }
    let loading = get(health, "/upstream/health");
    assert_eq!((loading.status(), loading.text().contains("secret")), (503, false), "{}", loading.text());
    assert!(loading.header("x-its").is_none());
    assert_eq!(get(health, "/upstream/v1/models?x=1").status(), 200);
    let asked: Vec<_> = upstream.received().iter().map(|message| message.target().to_owned()).collect();
    assert_eq!(asked, ["/health", "/v1/models?x=1"]);
    let before = upstream.received().len();
    for path in [
        "/upstream/",
        "/upstream/v1/models",
        "/upstream/health/",
        "/upstream//health",
        "/upstream/%68ealth",
        "/",
    ] {
        assert_eq!(get(health, path).status(), 404, "{path}");
    }
    for path in ["/erase", "/bypass", "/timestamp", "/v1/proofs", "/upstream/health"] {
        assert_eq!(post(health, path, "{}").status(), 405, "{path}");
    }
    assert_eq!(upstream.received().len(), before, "nothing of these went on");
    // Probes are neither exchanges nor records.
    assert_eq!(colophon.metric("colophon_ledger_received_total"), Some(0.0));
}

#[test]
fn an_upstream_that_is_gone_is_told() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let (_colophon, health) = start(&upstream);
    assert_eq!(get(health, "/upstream").status(), 200);
    drop(upstream);
    let gone = colophon_tests::wait_for(colophon_tests::PATIENCE, || {
        (get(health, "/upstream").status() == 503).then_some(())
    });
    assert!(gone.is_some(), "the upstream has ended, and is said to answer");
    assert_eq!(get(health, "/upstream/health").status(), 502);
    assert_eq!(get(health, "/livez").status(), 200);
}

#[test]
fn a_storm_of_scrapes_keeps_nobody_from_an_answer() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
    let (colophon, health) = start(&upstream);
    // More than are served at once, all of them silent.
    let silent: Vec<_> = (0..200).map(|_| Client::connect(health)).collect();
    let answer = send(colophon.listen(), b"GET /v1/models HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    assert_eq!(answer.status(), 200);
    assert_eq!(get(colophon.admin(), "/livez").status(), 200);
    drop(silent);
    assert_eq!(get(health, "/livez").status(), 200);
}

/// The operator's side has its bound, too, and what waits there holds no exchange up.
#[test]
fn a_storm_on_the_admin_side_keeps_nobody_from_an_answer() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
    let (colophon, health) = start(&upstream);
    let silent: Vec<_> = (0..400).map(|_| Client::connect(colophon.admin())).collect();
    let admin = colophon.admin();
    let scraping: Vec<_> =
        (0..32).map(|_| std::thread::spawn(move || get(admin, "/metrics").status())).collect();
    for _ in 0..20 {
        assert_eq!(post(colophon.listen(), "/v1/chat/completions", "{}").status(), 200);
    }
    assert_eq!(get(health, "/livez").status(), 200, "probes have a place of their own");
    let metrics = get(health, "/metrics").text();
    assert!(metrics.contains("colophon_ledger_lost_total 0\n"), "{metrics}");
    let open = fs::read_dir(format!("/proc/{}/fd", colophon.process_id())).expect("its files").count();
    assert!(open < 350, "{open} files: connections are taken without bound");
    drop(silent);
    for scrape in scraping {
        assert_eq!(scrape.join().expect("a thread"), 200, "those who waited are answered");
    }
}
