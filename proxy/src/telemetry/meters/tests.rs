use super::*;
use colophon_policies::Api;
use prometheus_client::encoding::text::encode;

fn exchange(api: Api, told: &Told) -> Ended<'_> {
    Ended {
        api,
        outcome: Outcome::Complete,
        received_at: 1_000_000,
        first_byte: Some(1_050_000),
        completed: 2_050_000,
        told,
    }
}

fn told(model: &str) -> Told {
    Told {
        reported: Some(model.into()),
        input_tokens: Some(10),
        output_tokens: Some(11),
        streamed: true,
        ..Told::default()
    }
}

fn text(registry: &Registry) -> String {
    let mut text = String::new();
    encode(&mut text, registry).unwrap();
    text
}

/// The value of the line that has all of these in it.
fn value(text: &str, parts: &[&str]) -> Option<f64> {
    let line = text.lines().find(|line| parts.iter().all(|part| line.contains(part)))?;
    line.rsplit_once(' ')?.1.parse().ok()
}

#[test]
fn a_stream_is_measured_by_its_first_byte_and_its_tokens() {
    let mut registry = Registry::default();
    let meters = Meters::new(&mut registry);
    meters.ended(&exchange(Api::Chat, &told("m")));
    let text = text(&registry);
    let of = r#"gen_ai_operation_name="chat",gen_ai_provider_name="_OTHER",gen_ai_response_model="m""#;
    assert_eq!(value(&text, &["request_duration_seconds_sum", of]), Some(1.05), "{text}");
    assert_eq!(value(&text, &["time_to_first_token_seconds_sum", of]), Some(0.05));
    // A second for the ten tokens after the first.
    assert_eq!(value(&text, &["time_per_output_token_seconds_sum", of]), Some(0.1));
    assert_eq!(value(&text, &["token_usage_sum", of, r#"token_type="input""#]), Some(10.0));
    assert_eq!(value(&text, &["token_usage_sum", of, r#"token_type="output""#]), Some(11.0));
}

#[test]
fn what_ended_badly_has_a_duration_and_nothing_else() {
    let mut registry = Registry::default();
    let meters = Meters::new(&mut registry);
    let told = told("m");
    meters.ended(&Ended { outcome: Outcome::UpstreamFailed, ..exchange(Api::Completions, &told) });
    let text = text(&registry);
    let failed = r#"error_type="upstream-failed""#;
    assert_eq!(
        value(&text, &["request_duration_seconds_count", "text_completion", failed]),
        Some(1.0),
        "{text}"
    );
    assert_eq!(value(&text, &["time_to_first_token_seconds_count"]), None);
    assert_eq!(value(&text, &["token_usage_count"]), None);
}

#[test]
fn what_generates_nothing_is_not_measured_here() {
    let mut registry = Registry::default();
    let meters = Meters::new(&mut registry);
    meters.ended(&exchange(Api::Models, &told("m")));
    assert!(!text(&registry).contains("_count"));
}

#[test]
fn a_server_that_invents_models_gets_a_bounded_number_of_series() {
    let mut registry = Registry::default();
    let meters = Meters::new(&mut registry);
    for number in 0..1000 {
        meters.ended(&exchange(Api::Chat, &told(&format!("model-{number}"))));
        meters.ended(&exchange(Api::Embeddings, &told(&"x".repeat(number))));
    }
    let text = text(&registry);
    let series = text.lines().filter(|line| line.starts_with("gen_ai_server_request_duration_seconds_count"));
    assert!(series.clone().count() <= MAX_SERIES + 2, "{}", series.count());
    let total: f64 = series.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum();
    assert_eq!(total, 2000.0, "none is left out");
    assert!(value(&text, &["request_duration_seconds_count", "chat", "_other"]).is_some_and(|n| n > 900.0));
}
