//! `/metrics`: OpenMetrics that a scraper can read at any time, and numbers that agree with what happened.

use std::collections::BTreeMap;

use colophon_receipt::level::Outcome;
use colophon_tests::client::{get, post};
use colophon_tests::colophon::Colophon;
use colophon_tests::openmetrics::{self, Family};
use colophon_tests::receipts::Fetched;
use colophon_tests::upstream::Upstream;

fn scrape(colophon: &Colophon) -> BTreeMap<String, Family> {
    let response = get(colophon.admin(), "/metrics");
    assert_eq!(response.status(), 200);
    let kind = response.header("content-type").expect("a content type");
    assert!(kind.starts_with("application/openmetrics-text; version=1.0.0"), "{kind}");
    openmetrics::parse(&response.text()).unwrap_or_else(|why| panic!("{why}\n{}", response.text()))
}

#[test]
fn metrics_are_open_metrics_and_true() {
    let upstream = Upstream::serve(|conn| {
        while let Some(request) = conn.request() {
            let status = if request.text().contains("missing") { "404 Not Found" } else { "200 OK" };
            conn.send(format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\n{{}}").as_bytes());
        }
    });
    let colophon = Colophon::before(&upstream.url());
    let before = scrape(&colophon);
    for (name, kind) in [
        ("colophon_exchanges", "counter"),
        ("colophon_degraded", "counter"),
        ("colophon_receipts", "counter"),
        ("colophon_malformed", "counter"),
        ("colophon_ledger_received", "counter"),
        ("colophon_ledger_recorded", "counter"),
        ("colophon_ledger_passed", "counter"),
        ("colophon_ledger_lost", "counter"),
        ("colophon_ledger_refused", "counter"),
        ("colophon_connections", "gauge"),
        ("colophon_ledger_open", "gauge"),
        ("colophon_ledger_backlog", "gauge"),
        ("colophon_log_size", "gauge"),
    ] {
        let family = before.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", before.keys()));
        assert_eq!(family.kind, kind, "{name}");
        // Whoever alerts on a rate needs the zero before the first.
        assert!(!family.samples.is_empty(), "{name} has no sample before the first exchange");
    }

    const CHAT: &str = "/v1/chat/completions";
    let good = post(colophon.listen(), CHAT, "{}");
    post(colophon.listen(), CHAT, "{\"model\":\"missing\"}");
    assert_eq!(get(colophon.listen(), "/health").status(), 200);
    Fetched::of(&good, colophon.listen());
    colophon.until_ended_as(Outcome::Complete, 1);
    colophon.until_ended_as(Outcome::UpstreamError, 1);
    let after = scrape(&colophon);
    let value = |family: &str, series: &str| after[family].samples.get(series).copied();
    for (family, count) in [("received", 3.0), ("recorded", 2.0), ("passed", 1.0), ("lost", 0.0)] {
        let family = format!("colophon_ledger_{family}");
        assert_eq!(value(&family, &format!("{family}_total")), Some(count), "{family}");
    }
    assert_eq!(value("colophon_ledger_open", "colophon_ledger_open"), Some(0.0));
    assert_eq!(value("colophon_receipts", "colophon_receipts_total"), Some(1.0));
    let ended = "colophon_exchanges_total{level=\"sign\",outcome=\"complete\"}";
    assert_eq!(value("colophon_exchanges", ended), Some(1.0), "{:?}", after["colophon_exchanges"].samples);
    let leaves =
        |scraped: &BTreeMap<String, Family>| scraped["colophon_log_size"].samples["colophon_log_size"];
    assert!(leaves(&after) > leaves(&before), "the log has not grown");
    // Nothing that counts goes down, and no series goes away.
    for (name, family) in before.iter().filter(|(_, family)| family.kind == "counter") {
        for (series, earlier) in &family.samples {
            assert!(after[name].samples.get(series).is_some_and(|later| later >= earlier), "{series}");
        }
    }
}

#[test]
fn the_status_page_says_what_runs_and_keeps_its_secrets() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
    let colophon = Colophon::signing(&upstream.url());
    let fetched = Fetched::of(&post(colophon.listen(), "/v1/chat/completions", "{}"), colophon.listen());
    let response = get(colophon.admin(), "/statusz");
    assert_eq!((response.status(), response.header("content-type")), (200, Some("application/json")));
    let text = response.text();
    let status: serde_json::Value = serde_json::from_str(&text).unwrap();
    let receipt: serde_json::Value = serde_json::from_slice(&fetched.json).unwrap();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(
        (&status["policy"]["name"], &status["policy"]["file_is_wrong"]),
        (&"sign-all".into(), &false.into())
    );
    assert_eq!(status["policy"]["digest"].as_str().map(str::len), Some(64));
    assert_eq!(status["exchanges"]["recorded"], 1, "{text}");
    assert_eq!(status["keeps_records"], true);
    assert_eq!(status["dated"], serde_json::Value::Null);
    assert!(receipt.to_string().contains(status["log"]["origin"].as_str().unwrap()));
    assert!(status["log"]["size"].as_u64() >= Some(3), "{text}");
    for secret in std::fs::read_dir(colophon.data()).unwrap().map(|entry| entry.unwrap().path()) {
        let Ok(secret) = std::fs::read_to_string(&secret) else { continue };
        assert!(
            secret.trim().is_empty() || !text.contains(secret.trim()),
            "a file of the data folder is in {text}"
        );
    }
    assert_eq!(get(colophon.listen(), "/statusz").status(), 200, "clients get the upstream's own answer");
    assert_eq!(
        upstream.received().last().map(|request| request.target().to_owned()),
        Some("/statusz".into())
    );
}
