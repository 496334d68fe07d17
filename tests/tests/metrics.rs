//! `/metrics`: OpenMetrics that a scraper can read at any time, and numbers that agree with what happened.

use std::collections::BTreeMap;

use colophon_receipt::level::Outcome;
use colophon_tests::client::{get, post};
use colophon_tests::colophon::Colophon;
use colophon_tests::openmetrics::{self, Family};
use colophon_tests::receipts::Fetched;
use colophon_tests::upstream::Upstream;
use colophon_tests::{PATIENCE, otel, wait_for};

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
    let due = "colophon_levels_total{asked=\"sign\",granted=\"sign\"}";
    assert_eq!(value("colophon_levels", due), Some(2.0), "{:?}", after["colophon_levels"].samples);
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

/// Lines for machines, each about a record with its id.
#[test]
fn log_lines_are_json_and_name_the_record() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
    let mut colophon = Colophon::start(&upstream.url(), |options| {
        options.sign_all().arg(&["--log-format", "json", "--log", "info,colophon::ended=debug"]);
    });
    let response = post(colophon.listen(), "/v1/chat/completions", "{}");
    let record = response.header("colophon-record").unwrap().split('"').nth(1).unwrap().to_owned();
    colophon.until_ended_as(Outcome::Complete, 1);
    assert!(colophon.stop().success());
    let log = colophon.log();
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let ended: Vec<_> = lines.iter().filter(|line| line["target"] == "colophon::ended").collect();
    assert_eq!(ended.len(), 1, "{log}");
    let fields = &ended[0]["fields"];
    assert_eq!(
        (&fields["record"], &fields["outcome"], &fields["level"], &fields["status"]),
        (&record.into(), &"complete".into(), &"sign".into(), &200.into())
    );
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

const STREAM: &str = "data: {\"id\":\"c\",\"model\":\"m \\\\ 1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hello\"},\"finish_reason\":null}]}\n\n\
                      data: {\"id\":\"c\",\"model\":\"m \\\\ 1\",\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":7,\"total_tokens\":12}}\n\n\
                      data: [DONE]\n\n";

/// Pushed and scraped are one set of numbers: whoever changes from one to the other keeps dashboards and alerts.
#[test]
fn what_is_sent_by_otlp_is_what_is_scraped() {
    let collector = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n";
    let model = Upstream::answering(format!("{head}Content-Length: {}\r\n\r\n{STREAM}", STREAM.len()));
    let mut colophon = Colophon::start(&model.url(), |options| {
        options.sign_all().arg(&["--otlp-endpoint", &collector.url()]);
        for (name, value) in
            [("OTEL_METRIC_EXPORT_INTERVAL", "200"), ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=a%20b")]
        {
            options.env.push((name.into(), value.into()));
        }
    });
    for _ in 0..3 {
        post(colophon.listen(), "/v1/chat/completions", "{\"model\":\"secret\",\"stream\":true}");
    }
    colophon.until_ended_as(Outcome::Complete, 3);
    let pushed = || collector.received().iter().filter(|request| request.target() == "/v1/metrics").count();
    let more = pushed() + 2;
    assert!(wait_for(PATIENCE, || (pushed() >= more).then_some(())).is_some(), "it is not sent every 200 ms");
    let scraped = scrape(&colophon);
    assert!(colophon.stop().success());
    assert!(collector.received().iter().all(|request| request.header("x-key") == Some("a b")));
    let requests = otel::read(&collector, "/v1/metrics", "metrics.py");
    let last = requests.last().expect("one at the end of the process at least");
    assert_eq!((&last["resource"]["service.name"], &last["scope"]), (&"colophon".into(), &"colophon".into()));
    let mut names = Vec::new();
    for metric in last["metrics"].as_array().unwrap() {
        let unit = match metric["unit"].as_str().unwrap() {
            "s" => "_seconds",
            "By" => "_bytes",
            "" | "{token}" => "",
            other => panic!("{other}"),
        };
        let name = metric["name"].as_str().unwrap().replace('.', "_") + unit;
        let family = scraped.get(&name).unwrap_or_else(|| panic!("{name} is not scraped"));
        assert_eq!(metric["help"], family.help, "{name}");
        let kind = if family.kind == "counter" { "sum" } else { &family.kind };
        assert_eq!(
            (&metric["kind"], &metric["monotonic"]),
            (&kind.into(), &(kind == "sum").into()),
            "{name}"
        );
        for point in metric["points"].as_array().unwrap() {
            assert!(point["start"].as_u64() < point["time"].as_u64(), "{name}");
            agrees(&name, family, point);
        }
        assert_eq!(metric["points"].as_array().unwrap().len(), series(family), "{name}");
        names.push(name);
    }
    let all: Vec<_> =
        scraped.iter().filter(|(_, family)| !family.samples.is_empty()).map(|(name, _)| name).collect();
    names.sort();
    assert_eq!(names.iter().collect::<Vec<_>>(), all, "a family is missing");
    assert!(names.iter().any(|name| name == "gen_ai_server_time_per_output_token_seconds"), "{names:?}");
    let named = |name: &str| {
        let mut all = last["metrics"].as_array().unwrap().iter();
        all.find(|metric| metric["name"] == name).unwrap_or_else(|| panic!("no {name}"))
    };
    assert_eq!(named("gen_ai.server.time_to_first_token")["points"][0]["count"], 3);
    assert_eq!(named("gen_ai.server.time_per_output_token")["points"][0]["count"], 3);
    let duration = named("gen_ai.server.request.duration");
    let point = &duration["points"][0];
    assert_eq!((&point["count"], &duration["unit"]), (&3.into(), &"s".into()));
    assert_eq!(point["attributes"]["gen_ai.response.model"], "m \\ 1");
    assert_eq!(duration["temporality"], "AGGREGATION_TEMPORALITY_CUMULATIVE");
}

/// Sets of labels.
fn series(family: &Family) -> usize {
    let of = |name: &&String| family.kind != "histogram" || name.contains("_count{");
    family.samples.keys().filter(of).count()
}

/// A point says what the scrape said, in so far as it does not move by itself.
fn agrees(name: &str, family: &Family, point: &serde_json::Value) {
    let labels: Vec<_> = point["attributes"].as_object().unwrap().iter().collect();
    let scraped = |suffix: &str, more: &str| {
        let of = |series: &&String| {
            series.split('{').next() == Some(&format!("{name}{suffix}"))
                && series.contains(more)
                && labels.iter().all(|(key, value)| {
                    let value = value.as_str().unwrap().replace('\\', "\\\\");
                    series.contains(&format!("{}=\"{value}\"", key.replace('.', "_")))
                })
        };
        let found: Vec<_> = family.samples.keys().filter(of).collect();
        assert_eq!(found.len(), 1, "{name}{suffix} {labels:?}: {:?}", family.samples);
        family.samples[found[0]]
    };
    match family.kind.as_str() {
        // The scrape is a moment older; that request is counted, too.
        "counter" if name.starts_with("colophon_otlp_") => {
            assert!(point["value"].as_f64() >= Some(scraped("_total", "")), "{name}");
        }
        "counter" => assert_eq!(point["value"].as_f64(), Some(scraped("_total", "")), "{name} {labels:?}"),
        "gauge" => assert!(point["value"].is_number() && scraped("", "").is_finite(), "{name}"),
        _ => {
            assert_eq!(point["sum"].as_f64(), Some(scraped("_sum", "")), "{name}");
            let (bounds, counts) = (point["bounds"].as_array().unwrap(), point["counts"].as_array().unwrap());
            assert_eq!(counts.len(), bounds.len() + 1, "{name}");
            let mut below = 0;
            for (bound, count) in bounds.iter().zip(counts) {
                below += count.as_u64().unwrap();
                let bound = format!("le=\"{:?}\"", bound.as_f64().unwrap());
                assert_eq!(below as f64, scraped("_bucket", &bound), "{name} {bound}");
            }
            below += counts[bounds.len()].as_u64().unwrap();
            assert_eq!(
                (point["count"].as_u64(), below as f64),
                (Some(below), scraped("_count", "")),
                "{name}"
            );
        }
    }
}
