//! Spans to an OpenTelemetry collector: one an exchange, without content, and never at the exchange's cost.

use std::time::{Duration, Instant};

use colophon_receipt::level::Outcome;
use colophon_tests::client::{post_bytes, send};
use colophon_tests::colophon::Colophon;
use colophon_tests::otel::{self, Collector};
use colophon_tests::upstream::Upstream;
use colophon_tests::{PATIENCE, wait_for};
use serde_json::Value;

const CHAT: &str = "/v1/chat/completions";
const ANSWER: &str = r#"{"id":"chatcmpl-7","object":"chat.completion","model":"m-1","choices":[{"index":0,"message":{"role":"assistant","content":"the secret answer"},"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}}"#;
const ASKED: &str = r#"{"model":"m","messages":[{"role":"user","content":"the secret question"}]}"#;
/// A parent that is sampled, and one that is not.
const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const UNSAMPLED: &str = "00-1bf7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

fn model() -> Upstream {
    Upstream::serve(|conn| {
        while let Some(request) = conn.request() {
            let status = if request.text().contains("missing") { "404 Not Found" } else { "200 OK" };
            let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\n");
            conn.send(format!("{head}Content-Length: {}\r\n\r\n{ANSWER}", ANSWER.len()).as_bytes());
        }
    })
}

fn ask(colophon: &Colophon, headers: &str, body: &str) -> u16 {
    send(colophon.listen(), &post_bytes(CHAT, &format!("Connection: close\r\n{headers}"), body)).status()
}

/// Requests to the collector that it took, or not.
fn requests(colophon: &Colophon, how: &str, signal: &str) -> Option<f64> {
    colophon.metric(&format!("colophon_otlp_{how}_total{{signal=\"{signal}\"}}"))
}

#[test]
fn each_exchange_is_a_span_without_content() {
    let collector = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let model = model();
    let mut colophon = Colophon::start(&model.url(), |options| {
        options.sign_all().arg(&["--otlp-endpoint", &collector.url()]);
    });
    assert_eq!(ask(&colophon, &format!("traceparent: {SAMPLED}\r\n"), ASKED), 200);
    assert_eq!(ask(&colophon, &format!("traceparent: {UNSAMPLED}\r\n"), ASKED), 200);
    assert_eq!(ask(&colophon, "", r#"{"model":"missing"}"#), 404);
    // Passed on as they came: no server's trace changes because this proxy is there.
    let passed: Vec<_> =
        model.received().iter().map(|request| request.header("traceparent").map(str::to_owned)).collect();
    assert_eq!(passed, [Some(SAMPLED.into()), Some(UNSAMPLED.into()), None]);
    colophon.until_ended_as(Outcome::UpstreamError, 1);
    // What waits is sent at the end.
    assert!(colophon.stop().success());
    let spans = otel::read(&collector, "/v1/traces", "spans.py");
    assert_eq!(spans.len(), 2, "{spans:#?}");
    let (good, bad) = (&spans[0], &spans[1]);
    assert_eq!(good["trace"], "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(good["parent"], "b7ad6b7169203331");
    assert_eq!((&good["name"], &good["kind"]), (&"chat m".into(), &"SPAN_KIND_SERVER".into()));
    assert_eq!(good["resource"]["service.name"], "colophon");
    for (key, value) in [
        ("gen_ai.operation.name", Value::from("chat")),
        ("gen_ai.request.model", "m".into()),
        ("gen_ai.response.model", "m-1".into()),
        ("gen_ai.response.id", "chatcmpl-7".into()),
        ("gen_ai.response.finish_reasons", vec!["stop"].into()),
        ("gen_ai.usage.input_tokens", 5.into()),
        ("gen_ai.usage.output_tokens", 7.into()),
        ("http.request.method", "POST".into()),
        ("http.response.status_code", 200.into()),
        ("url.path", CHAT.into()),
        ("colophon.level", "sign".into()),
        ("colophon.outcome", "complete".into()),
    ] {
        assert_eq!(good["attributes"][key], value, "{key}");
    }
    assert_eq!(good["attributes"]["colophon.record"].as_str().map(str::len), Some(36));
    assert!(good["start"].as_u64() < good["end"].as_u64());
    assert_eq!(good["events"][0], "colophon.first_byte");
    assert_eq!((&bad["parent"], &bad["status"]), (&"".into(), &"STATUS_CODE_ERROR".into()));
    assert_eq!(bad["attributes"]["error.type"], "404");
}

/// OpenTelemetry's own collector takes spans and metrics, and reads in them what was meant.
#[test]
fn the_collector_itself_understands_them() {
    let Some(collector) = Collector::start() else { return };
    let model = model();
    let mut colophon = Colophon::start(&model.url(), |options| {
        options.sign_all().arg(&["--otlp-endpoint", &collector.url(), "--otlp-metrics-every", "300ms"]);
    });
    assert_eq!(ask(&colophon, &format!("traceparent: {SAMPLED}\r\n"), ASKED), 200);
    for signal in ["traces", "metrics"] {
        let sent = || requests(&colophon, "requests", signal).filter(|taken| *taken > 0.0);
        assert!(wait_for(PATIENCE, sent).is_some(), "no {signal}: {}", collector.log());
    }
    assert!(colophon.stop().success());
    collector.expect(&[
        "Trace ID       : 0af7651916cd43dd8448eb211c80319c",
        "Parent ID      : b7ad6b7169203331",
        "Name           : chat m",
        "Kind           : Server",
        "gen_ai.response.model: Str(m-1)",
        "gen_ai.usage.output_tokens: Int(7)",
        "gen_ai.response.finish_reasons: Slice([\"stop\"])",
        "colophon.level: Str(sign)",
        "service.name: Str(colophon)",
        "-> Name: colophon.exchanges",
        "-> Name: gen_ai.server.request.duration",
        "-> Unit: s",
        "-> DataType: Histogram",
        "-> AggregationTemporality: Cumulative",
        "-> gen_ai.response.model: Str(m-1)",
    ]);
    assert!(!collector.log().contains("secret"), "content in a span");
}

#[test]
fn a_collector_that_hangs_is_down_or_refuses_costs_nobody_anything() {
    let hanging = Upstream::serve(|conn| {
        conn.request();
        conn.wait_until_gone();
    });
    let refusing = Upstream::answering("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
    for collector in [hanging.url(), refusing.url(), "http://127.0.0.1:9".into()] {
        let model = model();
        let mut colophon = Colophon::start(&model.url(), |options| {
            options.sign_all().arg(&["--otlp-endpoint", &collector, "--otlp-metrics-every", "50ms"]);
        });
        for _ in 0..20 {
            assert_eq!(ask(&colophon, "", ASKED), 200);
        }
        colophon.until_ended_as(Outcome::Complete, 20);
        for signal in ["traces", "metrics"] {
            let failed = || requests(&colophon, "failed", signal).filter(|failed| *failed > 0.0);
            // One that hangs is given up after 10 s.
            assert!(wait_for(PATIENCE, failed).is_some(), "{collector}: nobody is told of {signal}");
        }
        assert_eq!(colophon.metric("colophon_ledger_lost_total"), Some(0.0));
        let begun = Instant::now();
        assert_eq!(ask(&colophon, "", ASKED), 200);
        assert!(colophon.stop().success());
        assert!(begun.elapsed() < Duration::from_secs(12), "{collector}: {:?}", begun.elapsed());
    }
    // However often metrics are due, one request is under way: in those seconds 200 were.
    let metrics = hanging.received().iter().filter(|request| request.target() == "/v1/metrics").count();
    assert!((1..=8).contains(&metrics), "{metrics}");
}
