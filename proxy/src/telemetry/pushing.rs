//! Metrics to an OpenTelemetry collector: now and then, what `/metrics` says at that moment, by OTLP over HTTP. All numbers count
//! from the process's start (cumulative temporality), so a request that the collector does not take costs a point in a graph
//! and nothing else: nothing is kept, and one request is under way at most.

use super::collector::{Collector, FAREWELL, Signal, scope};
use super::exposition::{self, Kind, Sample, Scraped};
use super::gen_ai;
use crate::app::App;
use anyhow::Context as _;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Uri};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::transform::common::tonic::Attributes;
use percent_encoding::percent_decode_str;
use prost::Message as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// Sends metrics to a collector.
pub struct Pushing {
    collector: Collector,
    url: Uri,
    headers: HeaderMap,
    every: Duration,
}

/// When numbers began and when they were read, ns since the epoch.
#[derive(Clone, Copy)]
struct Span {
    began: u64,
    read: u64,
}

impl Pushing {
    /// To this collector, so often.
    ///
    /// # Errors
    /// The collector's URL or the headers for it make no sense.
    pub fn new(collector: Collector, every: Duration) -> anyhow::Result<Pushing> {
        let url = collector.url(Signal::Metrics);
        let url = url.parse().with_context(|| format!("the collector's URL {url}"))?;
        let headers = headers(&told(|name| std::env::var(name).ok()))?;
        Ok(Pushing { collector, url, headers, every })
    }

    /// Sends until `stop`. The first time is one interval after the start.
    pub async fn follow(&self, app: &App, stop: CancellationToken) {
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + self.every, self.every);
        // A collector that hangs for several of them gets one.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let tick_and_send = async {
                ticks.tick().await;
                self.send(app).await;
            };
            tokio::select! {
                () = tick_and_send => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Sends what was counted last, as far as that takes no longer than a moment.
    pub async fn drain(&self, app: &App) {
        if tokio::time::timeout(FAREWELL, self.send(app)).await.is_err() {
            tracing::warn!("the last metrics did not reach the collector");
        }
    }

    async fn send(&self, app: &App) {
        let text = app.metrics.encode().map_err(anyhow::Error::from);
        self.tell(text, app.started).await;
    }

    /// Sends what a scrape would say, of a process that started then.
    async fn tell(&self, text: anyhow::Result<String>, began: SystemTime) {
        let body = match text.and_then(|text| self.request(&text, began)) {
            Ok(request) => Bytes::from(request.encode_to_vec()),
            Err(error) => {
                // Points that are missing have to alert, for whatever reason.
                self.collector.unsent(Signal::Metrics);
                return tracing::error!(%error, "metrics cannot be written");
            }
        };
        let mut request = Request::new(body);
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.url.clone();
        request.headers_mut().extend(self.headers.clone());
        // Told and counted there.
        let Ok(answer) = self.collector.send(Signal::Metrics, request).await else { return };
        let told = ExportMetricsServiceResponse::decode(answer.into_body()).unwrap_or_default();
        if let Some(partial) = told.partial_success.filter(|partial| partial.rejected_data_points > 0) {
            tracing::warn!(
                rejected = partial.rejected_data_points,
                "the collector took only a part of the metrics"
            );
        }
    }

    fn request(&self, text: &str, began: SystemTime) -> anyhow::Result<ExportMetricsServiceRequest> {
        let families = exposition::read(text).map_err(|line| anyhow::anyhow!("not understood: {line}"))?;
        let span = Span { began: nanos(began), read: nanos(SystemTime::now()) };
        let of_us = self
            .collector
            .resource()
            .iter()
            .map(|(key, value)| opentelemetry::KeyValue::new(key.clone(), value.clone()));
        let resource = Resource { attributes: Attributes::from(of_us).0, ..Resource::default() };
        let scope_metrics = vec![ScopeMetrics {
            scope: Some((scope(), None).into()),
            metrics: families.iter().map(|family| metric(family, span)).collect(),
            ..ScopeMetrics::default()
        }];
        Ok(ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(resource),
                scope_metrics,
                ..ResourceMetrics::default()
            }],
        })
    }
}

/// Headers for metrics: `OTEL_EXPORTER_OTLP_METRICS_HEADERS`, or else `OTEL_EXPORTER_OTLP_HEADERS`. A variable without a value is
/// as one that is not there.
fn told(variable: impl Fn(&str) -> Option<String>) -> String {
    ["OTEL_EXPORTER_OTLP_METRICS_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"]
        .into_iter()
        .filter_map(variable)
        .find(|value| !value.is_empty())
        .unwrap_or_default()
}

/// What every request says, with those of `told`: `key=value` between commas, values in percent encoding.
fn headers(told: &str) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for pair in told.split_terminator(',') {
        // Never the value: it may be a secret.
        let (key, value) = pair.split_once('=').context("OTEL_EXPORTER_OTLP_HEADERS: a pair without `=`")?;
        let value = percent_decode_str(value.trim()).decode_utf8_lossy();
        let wrong = || format!("OTEL_EXPORTER_OTLP_HEADERS: {}", key.trim());
        headers.insert(
            HeaderName::try_from(key.trim()).with_context(wrong)?,
            HeaderValue::try_from(value.as_ref()).with_context(wrong)?,
        );
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
    Ok(headers)
}

/// A family as OTLP has it. A collector that hands it on to Prometheus makes the scraped name of it again.
fn metric(family: &Scraped<'_>, span: Span) -> Metric {
    let temporality = AggregationTemporality::Cumulative.into();
    let (name, unit) = name(family.name);
    let data = match family.kind {
        Kind::Gauge => Data::Gauge(Gauge { data_points: points(family, span) }),
        Kind::Counter => Data::Sum(Sum {
            data_points: points(family, span),
            aggregation_temporality: temporality,
            is_monotonic: true,
        }),
        Kind::Histogram => Data::Histogram(Histogram {
            data_points: distributions(family, span),
            aggregation_temporality: temporality,
        }),
    };
    Metric {
        name,
        description: family.help.to_owned(),
        unit: unit.to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

/// The conventions' name and unit where they have one; of our own the unit is not in the name.
fn name(scraped: &str) -> (String, &'static str) {
    if let Some(known) = gen_ai::METRICS.iter().find(|known| known.scraped == scraped) {
        return (known.name.to_owned(), known.unit);
    }
    let (name, unit) = [("_seconds", "s"), ("_bytes", "By")]
        .into_iter()
        .find_map(|(suffix, unit)| Some((scraped.strip_suffix(suffix)?, unit)))
        .unwrap_or((scraped, ""));
    (name.replacen("colophon_", "colophon.", 1), unit)
}

fn points(family: &Scraped<'_>, span: Span) -> Vec<NumberDataPoint> {
    let point = |sample: &Sample<'_>| NumberDataPoint {
        attributes: attributes(&sample.labels),
        start_time_unix_nano: span.began,
        time_unix_nano: span.read,
        // The encoder writes whole numbers without a point, and others with one.
        value: Some(match sample.value.parse() {
            Ok(whole) => Value::AsInt(whole),
            Err(_) => Value::AsDouble(number(sample)),
        }),
        ..NumberDataPoint::default()
    };
    family.samples.iter().map(point).collect()
}

/// Of each set of labels one: sum, count and buckets are lines of their own in the text, one set after the other.
fn distributions(family: &Scraped<'_>, span: Span) -> Vec<HistogramDataPoint> {
    let mut points: Vec<HistogramDataPoint> = Vec::new();
    let mut below: u64 = 0;
    for sample in &family.samples {
        let (bounds, labels): (Vec<_>, Vec<_>) =
            sample.labels.iter().cloned().partition(|(key, _)| *key == "le");
        let attributes = attributes(&labels);
        if points.last().is_none_or(|point| point.attributes != attributes) {
            below = 0;
            points.push(HistogramDataPoint {
                attributes,
                start_time_unix_nano: span.began,
                time_unix_nano: span.read,
                ..HistogramDataPoint::default()
            });
        }
        let Some(point) = points.last_mut() else { continue };
        match (sample.suffix, bounds.first()) {
            ("_sum", _) => point.sum = Some(number(sample)),
            ("_count", _) => point.count = sample.value.parse().unwrap_or_default(),
            // Buckets of the text hold all that is below, OTLP's only their own; the last has no bound.
            (_, Some((_, bound))) => {
                let all = sample.value.parse().unwrap_or(below);
                point.bucket_counts.push(all.saturating_sub(below));
                below = all;
                point.explicit_bounds.extend(bound.parse().ok().filter(|bound: &f64| bound.is_finite()));
            }
            _ => {}
        }
    }
    points
}

fn number(sample: &Sample<'_>) -> f64 {
    sample.value.parse().unwrap_or(f64::NAN)
}

fn attributes(labels: &[(&str, std::borrow::Cow<'_, str>)]) -> Vec<KeyValue> {
    let attribute = |(key, value): &(&str, std::borrow::Cow<'_, str>)| {
        let known = gen_ai::LABELS.iter().find(|label| label.scraped == *key);
        let value = any_value::Value::StringValue(value.clone().into_owned());
        KeyValue {
            key: known.map_or(*key, |label| label.name).to_owned(),
            value: Some(AnyValue { value: Some(value) }),
            ..KeyValue::default()
        }
    };
    labels.iter().map(attribute).collect()
}

/// Since the epoch.
fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
