//! Spans to an OpenTelemetry collector, by OTLP over HTTP: one an exchange, made when it has ended. A collector that is down or
//! slow costs the spans that find no place in a queue of bounded length, and nothing else.

use super::collector::{Collector, FAREWELL, Signal, TIMEOUT, scope};
use super::gen_ai::{PROVIDER, attribute, operation};
use super::{Ended, gen_ai};
use crate::facts::{Facts, MAX_VALUE};
use async_trait::async_trait;
use bytes::Bytes;
use colophon_receipt::Level;
use http::{Request, Response};
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{Span as _, SpanKind, Status, Tracer as _, TracerProvider as _};
use opentelemetry::{Array, Context, KeyValue, StringValue, Value};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider,
};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Spans that wait to be sent; those that find the queue full are dropped.
const QUEUE: usize = 4096;
/// Spans in one request.
const BATCH: usize = 512;
/// A span waits for others for so long.
const EVERY: Duration = Duration::from_secs(2);
/// Makes spans of exchanges and sends them.
pub struct Traces {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    context: TraceContextPropagator,
}

impl Traces {
    /// Begins to send what is to come; `sample` is the share of traces that begin here and are sent.
    ///
    /// # Errors
    /// The collector's URL makes no sense.
    pub fn start(collector: Collector, sample: f64) -> anyhow::Result<Traces> {
        let (url, resource) = (collector.url(Signal::Traces), collector.resource().clone());
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Way(collector))
            .with_endpoint(url)
            .with_timeout(TIMEOUT)
            .build()?;
        let queue = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE)
            .with_max_export_batch_size(BATCH)
            .with_scheduled_delay(EVERY);
        let provider = SdkTracerProvider::builder()
            .with_span_processor(
                BatchSpanProcessor::builder(exporter).with_batch_config(queue.build()).build(),
            )
            // Whoever began the trace has decided; a trace that begins here is drawn.
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(sample))))
            .with_resource(resource)
            .build();
        let tracer = provider.tracer_with_scope(scope());
        Ok(Traces { provider, tracer, context: TraceContextPropagator::new() })
    }

    /// A span of an exchange that ended.
    pub fn ended(&self, facts: &Facts, level: Level, status: u16, ended: &Ended<'_>) {
        let name = match (operation(ended.api), text(&ended.told.requested)) {
            (Some(operation), Some(model)) => format!("{operation} {model}"),
            (Some(operation), None) => operation.to_owned(),
            (None, _) => format!("{} {}", short(facts.method.as_str()), facts.route.operation),
        };
        let builder = self
            .tracer
            .span_builder(name)
            .with_kind(SpanKind::Server)
            .with_start_time(time(ended.received_at));
        let mut span = builder.start_with_context(&self.tracer, &self.parent(facts));
        if !span.is_recording() {
            return;
        }
        span.set_attributes(attributes(facts, level, status, ended));
        if let Some(first) = ended.first_byte {
            span.add_event_with_timestamp(attribute::FIRST_BYTE, time(first), Vec::new());
        }
        if let Some(error) = ended.error(status) {
            span.set_attribute(KeyValue::new(attribute::ERROR_TYPE, error));
            span.set_status(Status::error(""));
        }
        span.end_with_timestamp(time(ended.completed));
    }

    /// What the client's `traceparent` says. It is passed on as it came.
    fn parent(&self, facts: &Facts) -> Context {
        let Some(value) = facts.traceparent.as_ref().and_then(|value| value.to_str().ok()) else {
            return Context::new();
        };
        let carrier = HashMap::from([("traceparent".to_owned(), value.to_owned())]);
        self.context.extract_with_context(&Context::new(), &carrier)
    }

    /// Sends what waits, as far as that takes no longer than a moment.
    pub async fn drain(self: &Arc<Self>) {
        let provider = self.provider.clone();
        // It waits for a thread of its own.
        let ended = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FAREWELL)).await;
        if !matches!(ended, Ok(Ok(()))) {
            tracing::warn!("the last spans did not reach the collector");
        }
    }
}

fn attributes(facts: &Facts, level: Level, status: u16, ended: &Ended<'_>) -> Vec<KeyValue> {
    let mut all = vec![
        KeyValue::new(attribute::METHOD, short(facts.method.as_str())),
        KeyValue::new(attribute::PATH, short(facts.path())),
        KeyValue::new(attribute::RECORD, facts.id_text.clone()),
        KeyValue::new(attribute::LEVEL, level.as_str()),
        KeyValue::new(attribute::LEVEL_ASKED, facts.decision.asked.as_str()),
        KeyValue::new(attribute::RULE, facts.decision.rule.to_string()),
        KeyValue::new(attribute::OUTCOME, ended.outcome.as_str()),
    ];
    if status > 0 {
        all.push(KeyValue::new(attribute::STATUS, i64::from(status)));
    }
    let Some(operation) = gen_ai::operation(ended.api) else { return all };
    all.push(KeyValue::new(attribute::OPERATION, operation));
    all.push(KeyValue::new(attribute::PROVIDER, PROVIDER));
    let told = ended.told;
    for (key, value) in [
        (attribute::REQUEST_MODEL, &told.requested),
        (attribute::RESPONSE_MODEL, &told.reported),
        (attribute::RESPONSE_ID, &told.response_id),
    ] {
        all.extend(text(value).map(|value| KeyValue::new(key, value)));
    }
    for (key, value) in
        [(attribute::INPUT_TOKENS, told.input_tokens), (attribute::OUTPUT_TOKENS, told.output_tokens)]
    {
        let value = value.and_then(|value| i64::try_from(value).ok());
        all.extend(value.map(|value| KeyValue::new(key, value)));
    }
    if !told.finish_reasons.is_empty() {
        let reasons = told.finish_reasons.iter().map(|reason| String::from_utf8_lossy(reason).into_owned());
        let reasons: Vec<StringValue> = reasons.map(StringValue::from).collect();
        all.push(KeyValue::new(attribute::FINISH_REASONS, Value::Array(Array::String(reasons))));
    }
    all
}

/// As much as a record keeps of a header: what waits for the collector is bounded in bytes, too.
fn short(text: &str) -> String {
    text.get(..text.floor_char_boundary(MAX_VALUE)).unwrap_or_default().to_owned()
}

fn text(value: &Option<Vec<u8>>) -> Option<String> {
    value.as_ref().map(|value| String::from_utf8_lossy(value).into_owned())
}

/// Of µs since the epoch.
fn time(micros: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(micros)
}

/// The exporter asks from a thread of its own.
#[derive(Debug)]
struct Way(Collector);

#[async_trait]
impl HttpClient for Way {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        Ok(self.0.send(Signal::Traces, request).await?)
    }
}
