use super::*;

const SPAN: Span = Span { began: 1, read: 2 };

fn only(text: &str) -> Metric {
    let families = exposition::read(text).unwrap();
    assert_eq!(families.len(), 1);
    metric(&families[0], SPAN)
}

fn texts(attributes: &[KeyValue]) -> Vec<(String, String)> {
    let text = |one: &KeyValue| match one.value.clone().and_then(|value| value.value) {
        Some(any_value::Value::StringValue(text)) => (one.key.clone(), text),
        other => panic!("{other:?}"),
    };
    attributes.iter().map(text).collect()
}

fn pair(key: &str, value: &str) -> Vec<(String, String)> {
    vec![(key.into(), value.into())]
}

#[test]
fn names_have_units_and_the_conventions_theirs() {
    for (scraped, name_there, unit) in [
        ("colophon_ledger_received", "colophon.ledger_received", ""),
        ("colophon_ledger_backlog_age_seconds", "colophon.ledger_backlog_age", "s"),
        ("colophon_ledger_wal_bytes", "colophon.ledger_wal", "By"),
        ("gen_ai_server_request_duration_seconds", "gen_ai.server.request.duration", "s"),
        ("gen_ai_client_token_usage", "gen_ai.client.token.usage", "{token}"),
    ] {
        assert_eq!(name(scraped), (name_there.to_owned(), unit));
    }
}

#[test]
fn counters_are_cumulative_sums_from_the_start() {
    let made = only(
        "# HELP colophon_x_seconds Help.\n# TYPE colophon_x_seconds counter\ncolophon_x_seconds_total{a=\"b\"} 2.0\n",
    );
    assert_eq!((&*made.name, &*made.description, &*made.unit), ("colophon.x", "Help.", "s"));
    let Some(Data::Sum(sum)) = made.data else { panic!("{:?}", made.data) };
    assert!(sum.is_monotonic);
    assert_eq!(sum.aggregation_temporality(), AggregationTemporality::Cumulative);
    let point = &sum.data_points[0];
    assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (1, 2));
    // An f64 stays one, however round: a series does not change its type.
    assert_eq!(point.value, Some(Value::AsDouble(2.0)));
    assert_eq!(texts(&point.attributes), pair("a", "b"));
}

#[test]
fn buckets_hold_only_their_own() {
    let made = only(
        "# HELP gen_ai_client_token_usage Tokens.\n# TYPE gen_ai_client_token_usage histogram\n\
         gen_ai_client_token_usage_sum{gen_ai_token_type=\"input\"} 16.5\n\
         gen_ai_client_token_usage_count{gen_ai_token_type=\"input\"} 6\n\
         gen_ai_client_token_usage_bucket{le=\"1.0\",gen_ai_token_type=\"input\"} 1\n\
         gen_ai_client_token_usage_bucket{le=\"4.0\",gen_ai_token_type=\"input\"} 4\n\
         gen_ai_client_token_usage_bucket{le=\"+Inf\",gen_ai_token_type=\"input\"} 6\n\
         gen_ai_client_token_usage_sum{gen_ai_token_type=\"output\"} 0.0\n\
         gen_ai_client_token_usage_count{gen_ai_token_type=\"output\"} 2\n\
         gen_ai_client_token_usage_bucket{le=\"1.0\",gen_ai_token_type=\"output\"} 2\n\
         gen_ai_client_token_usage_bucket{le=\"4.0\",gen_ai_token_type=\"output\"} 2\n\
         gen_ai_client_token_usage_bucket{le=\"+Inf\",gen_ai_token_type=\"output\"} 2\n",
    );
    let Some(Data::Histogram(histogram)) = made.data else { panic!("{:?}", made.data) };
    let [input, output] = &*histogram.data_points else { panic!("{histogram:?}") };
    assert_eq!(texts(&input.attributes), pair("gen_ai.token.type", "input"));
    assert_eq!((input.sum, input.count), (Some(16.5), 6));
    assert_eq!((&*input.explicit_bounds, &*input.bucket_counts), (&[1.0, 4.0][..], &[1, 3, 2][..]));
    assert_eq!(texts(&output.attributes), pair("gen_ai.token.type", "output"));
    assert_eq!((output.sum, output.count, &*output.bucket_counts), (Some(0.0), 2, &[2, 0, 0][..]));
}

#[test]
fn a_variable_without_a_value_hides_no_other() {
    let (metrics, all) = ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS");
    for (set, header) in [
        (&[(metrics, ""), (all, "x-key=a%20b")][..], Some("a b")),
        (&[(all, "x-key=a")][..], Some("a")),
        (&[(metrics, "x-key=m"), (all, "x-key=a")][..], Some("m")),
        (&[(metrics, ""), (all, "")][..], None),
        (&[][..], None),
    ] {
        let variable =
            |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into());
        let headers = headers(&told(variable)).unwrap();
        assert_eq!(headers.get("x-key").map(|value| value.to_str().unwrap()), header, "{set:?}");
        assert!(headers.contains_key(CONTENT_TYPE));
    }
}

#[tokio::test]
async fn what_cannot_be_written_counts_as_failed() {
    // Nothing is asked there.
    let endpoint = Some("http://127.0.0.1:1".to_owned());
    let options = crate::config::OtlpOptions { endpoint, sample: 1.0, metrics_every: None, ca: None };
    let collector = Collector::named(&options, "test").unwrap().unwrap();
    let mut registry = prometheus_client::registry::Registry::default();
    collector.register(&mut registry);
    let pushing = Pushing::new(collector, Duration::from_secs(60)).unwrap();
    pushing.tell(Ok("no such line".into()), UNIX_EPOCH).await;
    pushing.tell(Err(anyhow::anyhow!("no text")), UNIX_EPOCH).await;
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert!(text.contains("otlp_failed_total{signal=\"metrics\"} 2"), "{text}");
}
