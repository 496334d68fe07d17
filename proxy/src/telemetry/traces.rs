//! Spans to an OpenTelemetry collector, by OTLP over HTTP: one an exchange, made when it has ended. A collector that is down or
//! slow costs the spans that find no place in a queue of bounded length, and nothing else.

use super::gen_ai::{PROVIDER, attribute, operation};
use super::{Ended, gen_ai};
use crate::config::OtlpOptions;
use crate::facts::{Facts, MAX_VALUE};
use crate::post::{KeptClient, ask, kept_client};
use async_trait::async_trait;
use bytes::Bytes;
use colophon_receipt::Level;
use http::{Request, Response};
use http_body_util::Full;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{Span as _, SpanKind, Status, Tracer as _, TracerProvider as _};
use opentelemetry::{Array, Context, InstrumentationScope, KeyValue, StringValue, Value};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider,
};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::runtime::Handle;

/// Spans that wait to be sent; those that find the queue full are dropped.
const QUEUE: usize = 4096;
/// Spans in one request.
const BATCH: usize = 512;
/// A span waits for others for so long.
const EVERY: Duration = Duration::from_secs(2);
/// Longest wait for a connection to the collector, and for its answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// What is sent at the end of the process has so long.
const FAREWELL: Duration = Duration::from_secs(3);
/// No answer of a collector is longer.
const MAX_ANSWER: usize = 64 << 10;

/// Makes spans of exchanges and sends them.
pub struct Traces {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    context: TraceContextPropagator,
    counts: Counts,
}

/// Requests to the collector.
#[derive(Clone, Debug, Default)]
struct Counts {
    taken: Counter,
    failed: Counter,
}

impl Traces {
    /// Begins to send what is to come, where a collector is named. To be called in a runtime.
    ///
    /// # Errors
    /// The collector's URL or the CAs make no sense.
    pub fn start(options: &OtlpOptions, instance: &str) -> anyhow::Result<Option<Traces>> {
        let Some(endpoint) = options.endpoint() else { return Ok(None) };
        let counts = Counts::default();
        let collector = Collector {
            client: kept_client(crate::tls::roots_config(options.ca.as_deref())?, TIMEOUT),
            runtime: Handle::current(),
            counts: counts.clone(),
        };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(collector)
            .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
            .with_timeout(TIMEOUT)
            .build()?;
        let queue = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE)
            .with_max_export_batch_size(BATCH)
            .with_scheduled_delay(EVERY);
        let resource = Resource::builder()
            .with_service_name("colophon")
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_attribute(KeyValue::new("service.instance.id", instance.to_owned()))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(
                BatchSpanProcessor::builder(exporter).with_batch_config(queue.build()).build(),
            )
            // Whoever began the trace has decided; a trace that begins here is drawn.
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(options.sample))))
            .with_resource(resource)
            .build();
        let scope = InstrumentationScope::builder("colophon").with_version(env!("CARGO_PKG_VERSION")).build();
        let tracer = provider.tracer_with_scope(scope);
        Ok(Some(Traces { provider, tracer, context: TraceContextPropagator::new(), counts }))
    }

    /// Registers what is counted.
    pub fn register(&self, registry: &mut Registry) {
        let Counts { taken, failed } = self.counts.clone();
        registry.register("otlp_requests", "Requests with spans that the collector took", taken);
        registry.register(
            "otlp_failed",
            "Requests with spans that it did not take, or that got no answer",
            failed,
        );
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

/// The way to the collector. The exporter asks from a thread of its own; the request runs in the process's runtime.
#[derive(Debug)]
struct Collector {
    client: KeptClient,
    runtime: Handle,
    counts: Counts,
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (client, request) = (self.client.clone(), request.map(Full::new));
        let asking = async move { ask(&client, request, TIMEOUT, MAX_ANSWER).await };
        let done = self.runtime.spawn(asking).await;
        let answer = done.map_err(HttpError::from).and_then(|answer| answer.map_err(HttpError::from));
        match &answer {
            Ok(answer) if answer.status().is_success() => self.counts.taken.inc(),
            Ok(answer) => {
                tracing::warn!(status = answer.status().as_u16(), "the collector took no spans");
                self.counts.failed.inc()
            }
            Err(error) => {
                tracing::warn!(%error, "no spans reached the collector");
                self.counts.failed.inc()
            }
        };
        answer
    }
}
