//! `colophon_policy_in_force`: one line, of the policy in force.

use arc_swap::ArcSwapOption;
use colophon_receipt::Hash;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use std::fmt;
use std::sync::Arc;

type Labels = [(&'static str, String); 3];

/// The line. A policy takes the place of the one before in one step: whoever scrapes sees just one of them. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Policy(Arc<ArcSwapOption<Labels>>);

impl Policy {
    /// Names the policy that is in force from now on.
    pub(super) fn is_now(&self, name: &str, digest: &Hash) {
        self.0.store(Some(Arc::new([
            ("name", name.to_owned()),
            ("digest", hex::encode(digest)),
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ])));
    }
}

impl Collector for Policy {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(labels) = self.0.load_full() else { return Ok(()) };
        let help = "1, with the name and the digest of the policy in force, and the program's version";
        let mut family = encoder.encode_descriptor("policy_in_force", help, None, MetricType::Gauge)?;
        ConstGauge::new(1_i64).encode(family.encode_family(&*labels)?)
    }
}

#[cfg(test)]
mod tests;
