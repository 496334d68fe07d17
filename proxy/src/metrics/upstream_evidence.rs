//! What is counted of servers that have to prove themselves. Nothing here is touched by an exchange on a connection that has.

use colophon_attest::Refusal;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

type Labels = Vec<(&'static str, String)>;

/// Counts by upstream; clones are the same.
#[derive(Clone, Default)]
pub struct UpstreamEvidence {
    good: Family<Labels, Counter>,
    renewed: Family<Labels, Counter>,
    refused: Family<Labels, Counter>,
    newest: Family<Labels, Gauge>,
}

impl UpstreamEvidence {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Evidence of upstreams that was verified, at new connections and renewed";
        registry.register("upstream_evidence", help, self.good.clone());
        let help = "Of that, renewed on a connection in use";
        registry.register("upstream_evidence_renewed", help, self.renewed.clone());
        let help = "Evidence of upstreams that was refused or did not come, by reason";
        registry.register("upstream_evidence_refused", help, self.refused.clone());
        let help = "When the upstream's newest evidence was verified, by this machine's clock";
        registry.register("upstream_evidence_time_seconds", help, self.newest.clone());
    }

    /// An upstream of the policy: whoever alerts on a rate needs the zero before the first.
    pub(crate) fn known(&self, upstream: &Arc<str>) {
        let labels = labels(upstream);
        drop(self.good.get_or_create(&labels));
        drop(self.renewed.get_or_create(&labels));
        for reason in Refusal::CODES.iter().chain(&NO_EVIDENCE) {
            drop(self.refused.get_or_create(&refused(upstream, reason)));
        }
    }

    /// Evidence was verified; `again` where the connection had proved itself before.
    pub(crate) fn good(&self, upstream: &Arc<str>, again: bool) {
        let labels = labels(upstream);
        self.good.get_or_create(&labels).inc();
        if again {
            self.renewed.get_or_create(&labels).inc();
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.newest.get_or_create(&labels).set(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    }

    /// It was refused: a word of [`colophon_attest::Refusal::code`], `no-answer` or `timeout`.
    pub(crate) fn refused(&self, upstream: &Arc<str>, reason: &str) {
        debug_assert!(
            Refusal::CODES.contains(&reason) || NO_EVIDENCE.contains(&reason),
            "{reason} is in no list"
        );
        self.refused.get_or_create(&refused(upstream, reason)).inc();
    }
}

/// Reasons beside those of evidence that was refused: none came.
const NO_EVIDENCE: [&str; 2] = ["no-answer", "timeout"];

fn refused(upstream: &Arc<str>, reason: &str) -> Labels {
    let mut labels = labels(upstream);
    labels.push(("reason", reason.to_owned()));
    labels
}

fn labels(upstream: &Arc<str>) -> Labels {
    vec![("upstream", upstream.to_string())]
}
