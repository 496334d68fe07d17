//! The way to an OpenTelemetry collector: OTLP over HTTP, spans and metrics alike.

use crate::config::OtlpOptions;
use crate::post::{KeptClient, ask, kept_client};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::Resource;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use std::time::Duration;
use tokio::runtime::Handle;

/// Longest wait for a connection to the collector, and for its answer.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);
/// What is sent at the end of the process has so long.
pub(super) const FAREWELL: Duration = Duration::from_secs(3);
/// No answer of a collector is longer.
const MAX_ANSWER: usize = 64 << 10;

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Signal {
    /// Spans.
    Traces,
    /// What `/metrics` says.
    Metrics,
}

impl Signal {
    /// As OTLP's paths have it.
    fn as_str(self) -> &'static str {
        match self {
            Signal::Traces => "traces",
            Signal::Metrics => "metrics",
        }
    }
}

type Requests = Family<[(&'static str, &'static str); 1], Counter>;

/// A collector, and who tells it something. Clones are the same.
#[derive(Clone, Debug)]
pub struct Collector {
    client: KeptClient,
    runtime: Handle,
    /// Without a slash at the end.
    endpoint: String,
    resource: Resource,
    taken: Requests,
    failed: Requests,
}

impl Collector {
    /// The collector that the options name, if any. To be called in a runtime.
    ///
    /// # Errors
    /// The CAs make no sense.
    pub fn named(options: &OtlpOptions, instance: &str) -> anyhow::Result<Option<Collector>> {
        let Some(endpoint) = options.endpoint() else { return Ok(None) };
        let resource = Resource::builder()
            .with_service_name("colophon")
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_attribute(KeyValue::new("service.instance.id", instance.to_owned()))
            .build();
        let (taken, failed) = (Requests::default(), Requests::default());
        for signal in [Signal::Traces, Signal::Metrics] {
            // Whoever alerts on a rate needs the zero before the first.
            drop((taken.get_or_create(&labels(signal)), failed.get_or_create(&labels(signal))));
        }
        Ok(Some(Collector {
            client: kept_client(crate::tls::roots_config(options.ca.as_deref())?, TIMEOUT),
            runtime: Handle::current(),
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            resource,
            taken,
            failed,
        }))
    }

    /// Registers what is counted.
    pub fn register(&self, registry: &mut Registry) {
        let (taken, failed) = (self.taken.clone(), self.failed.clone());
        registry.register("otlp_requests", "Requests that the collector took, by what was sent", taken);
        let help = "Requests that it did not take, that got no answer, or that could not be written";
        registry.register("otlp_failed", help, failed);
    }

    /// Counts a request that there should have been and that could not be written.
    pub(super) fn unsent(&self, signal: Signal) {
        self.failed.get_or_create(&labels(signal)).inc();
    }

    /// Where a signal goes.
    pub(super) fn url(&self, signal: Signal) -> String {
        format!("{}/v1/{}", self.endpoint, signal.as_str())
    }

    /// Who tells.
    pub(super) fn resource(&self) -> &Resource {
        &self.resource
    }

    /// Sends one request, in the process's runtime from wherever it is called, and counts how that ended. An answer need not
    /// be a good one.
    ///
    /// # Errors
    /// There was no answer.
    pub(super) async fn send(
        &self,
        signal: Signal,
        request: Request<Bytes>,
    ) -> anyhow::Result<Response<Bytes>> {
        let (client, request) = (self.client.clone(), request.map(Full::new));
        let asking = async move { ask(&client, request, TIMEOUT, MAX_ANSWER).await };
        let answer = match self.runtime.spawn(asking).await {
            Ok(answer) => answer.map_err(anyhow::Error::from),
            Err(error) => Err(error.into()),
        };
        let what = signal.as_str();
        let count = match &answer {
            Ok(answer) if answer.status().is_success() => &self.taken,
            Ok(answer) => {
                tracing::warn!(what, status = answer.status().as_u16(), "the collector did not take them");
                &self.failed
            }
            Err(error) => {
                tracing::warn!(what, %error, "the collector was not reached");
                &self.failed
            }
        };
        count.get_or_create(&labels(signal)).inc();
        answer
    }
}

/// Who makes spans and metrics.
pub(super) fn scope() -> InstrumentationScope {
    InstrumentationScope::builder("colophon").with_version(env!("CARGO_PKG_VERSION")).build()
}

fn labels(signal: Signal) -> [(&'static str, &'static str); 1] {
    [("signal", signal.as_str())]
}
