//! Prometheus metrics of the process.

use crate::app::{PolicyInForce, Watched};
use crate::proofs::Proving;
use crate::telemetry::meters::Meters;
use colophon_ledger::{KeyEvidenceCounts, Ledger};
use colophon_listen::ServerCertificate;
use colophon_receipt::{Level, Outcome};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::sync::Arc;

mod policy;
mod upstream_evidence;
pub(crate) mod vouching;

use policy::Policy;
pub use upstream_evidence::UpstreamEvidence;

/// Levels that leave a record; `pass` is counted by the ledger.
const LEVELS: [Level; 3] = [Level::Commit, Level::Sign, Level::Tee];
/// Levels that a rule can ask for and that leave a record.
const ASKED: [Level; 4] = [Level::Commit, Level::Sign, Level::Tee, Level::Zk];
const OUTCOMES: [Outcome; 5] = [
    Outcome::Complete,
    Outcome::ClientAborted,
    Outcome::UpstreamFailed,
    Outcome::UpstreamError,
    Outcome::Refused,
];

/// Counters that are touched on the hot path are single atomics, labels are put on when they are read; the histograms by model are
/// found by one look into a table and have a lock each.
pub struct Metrics {
    registry: Registry,
    /// Names that are everybody's, without our prefix.
    shared: Registry,
    /// By the semantic conventions for generative AI.
    pub gen_ai: Meters,
    /// Exchanges that went on without a WAL frame, or were refused for want of one.
    pub degraded: Counter,
    /// Connections open.
    pub connections: Gauge,
    /// Receipts handed out.
    pub receipts: Counter,
    /// Policies that came into force after the start.
    pub policy_reloads: Counter,
    /// 1 while the policy file is wrong and an older policy in force.
    pub policy_reload_failed: Gauge,
    /// 1 while a policy waits for the log to note it.
    pub policy_reload_pending: Gauge,
    /// 1 while records name a model certificate.
    pub model_certified: Gauge,
    /// One line, of the policy in force.
    policy: Policy,
    finished: Vec<Vec<Counter>>,
    /// By the level that was due, then by the level granted.
    levels: Vec<Vec<Counter>>,
    certificate: Option<Arc<ServerCertificate>>,
}

impl Metrics {
    /// Registers everything.
    pub fn new(
        ledger: &Ledger,
        evidence: &UpstreamEvidence,
        proving: Option<Arc<Proving>>,
        watched: &Watched,
    ) -> Metrics {
        let mut shared = Registry::default();
        let gen_ai = Meters::new(&mut shared);
        let mut registry = Registry::with_prefix("colophon");
        let exchanges = Family::<Vec<(&'static str, &'static str)>, Counter>::default();
        let counter = |level: &Level, outcome: &Outcome| {
            exchanges.get_or_create(&vec![("level", level.as_str()), ("outcome", outcome.as_str())]).clone()
        };
        let finished = LEVELS
            .iter()
            .map(|level| OUTCOMES.iter().map(|outcome| counter(level, outcome)).collect())
            .collect();
        registry.register(
            "exchanges",
            "Exchanges that ended, by level granted and outcome",
            exchanges.clone(),
        );
        let family = Family::<Vec<(&'static str, &'static str)>, Counter>::default();
        let counter = |asked: &Level, granted: &Level| {
            family.get_or_create(&vec![("asked", asked.as_str()), ("granted", granted.as_str())]).clone()
        };
        let levels = ASKED.iter().map(|asked| LEVELS.iter().map(|granted| counter(asked, granted)).collect());
        let levels = levels.collect();
        registry.register(
            "levels",
            "Exchanges that ended, by the level that was due and the level granted",
            family.clone(),
        );
        let (degraded, connections, receipts) = (Counter::default(), Gauge::default(), Counter::default());
        registry.register(
            "degraded",
            "Exchanges that went on without a WAL frame, or were refused for want of one",
            degraded.clone(),
        );
        registry.register("connections", "Client connections open", connections.clone());
        registry.register("receipts", "Receipts handed out", receipts.clone());
        let (policy_reloads, policy_reload_failed) = (Counter::default(), Gauge::default());
        let policy_reload_pending = Gauge::default();
        let help = "Policies that came into force after the start";
        registry.register("policy_reloads", help, policy_reloads.clone());
        let help = "1 while the policy file is wrong and an older policy in force";
        registry.register("policy_reload_failed", help, policy_reload_failed.clone());
        let help = "1 while a policy waits for the log before it comes into force";
        registry.register("policy_reload_pending", help, policy_reload_pending.clone());
        let policy = Policy::default();
        registry.register_collector(Box::new(policy.clone()));
        let model_certified = Gauge::default();
        let help = "1 while records name a model certificate";
        registry.register("model_certified", help, model_certified.clone());
        evidence.register(&mut registry);
        if let Some(collector) = &watched.collector {
            collector.register(&mut registry);
        }
        if let Some(certificate) = watched.certificate.clone() {
            registry.register_collector(Box::new(CertificateCollector(certificate)));
        }
        registry.register_collector(Box::new(LedgerCollector(ledger.clone())));
        if let Some(proving) = proving {
            let counted = &proving.counted;
            registry.register("proofs_logged", "Proofs that the log says hold", counted.logged.clone());
            let help = "Proofs that rules ask for and that came to nothing or too late";
            registry.register("proofs_missed", help, counted.missed.clone());
            let help = "Records that became no job: over budget, late, or with nothing to prove";
            registry.register("proofs_declined", help, counted.declined.clone());
            let help = "Jobs of whose end a webhook was told in vain, to the last try";
            registry.register("proof_webhooks_given_up", help, counted.untold.clone());
            let help = "CPU seconds of tries by this process's workers that were proven";
            registry.register("proof_cpu_seconds", help, counted.cpu_seconds.clone());
            registry.register_collector(Box::new(ProofCollector(proving)));
        }
        Metrics {
            registry,
            shared,
            gen_ai,
            levels,
            certificate: watched.certificate.clone(),
            degraded,
            connections,
            receipts,
            policy_reloads,
            policy_reload_failed,
            policy_reload_pending,
            model_certified,
            policy,
            finished,
        }
    }

    /// Counts an exchange that ended: the level that was due ([`colophon_policies::Decision::due`]), the one that was granted.
    pub fn finished(&self, asked: Level, granted: Level, outcome: Outcome) {
        let Some(column) = LEVELS.iter().position(|known| *known == granted) else { return };
        let asked = ASKED.iter().position(|known| *known == asked);
        let of = |rows: &[Vec<Counter>], row: usize, column: usize| {
            rows.get(row).and_then(|row| row.get(column)).map(Counter::inc)
        };
        of(&self.finished, column, outcome.code() as usize);
        asked.map(|row| of(&self.levels, row, column));
    }

    /// Names the policy in force instead of the one before.
    pub fn policy_in_force(&self, policy: &PolicyInForce) {
        self.policy.is_now(policy.policy.name(), &policy.digest);
    }

    /// When the listener's certificate ends, s since the epoch.
    pub fn certificate_ends(&self) -> Option<u64> {
        ends(self.certificate.as_ref()?)
    }

    /// The OpenMetrics text.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        text([&self.registry, &self.shared])
    }
}

/// Everything of these registries, as OpenMetrics.
pub(crate) fn text<'a>(registries: impl IntoIterator<Item = &'a Registry>) -> Result<String, fmt::Error> {
    let mut text = String::new();
    for registry in registries {
        encode_registry(&mut text, registry)?;
    }
    encode_eof(&mut text)?;
    Ok(text)
}

/// What the ledger counts, read when asked.
struct LedgerCollector(Ledger);

impl fmt::Debug for LedgerCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LedgerCollector")
    }
}

impl Collector for LedgerCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let counts = self.0.counters();
        let (counters, draws) = (counts.counters, self.0.draws());
        for (name, help, value) in [
            ("ledger_received", "Exchanges accepted by this shard", counters.received),
            ("ledger_recorded", "Exchanges with a record", counters.recorded),
            ("ledger_passed", "Exchanges whose rule says pass", counters.passed),
            ("bypassed", "Exchanges that a bypass let through unrecorded", counters.bypass.unwrap_or(0)),
            ("ledger_lost", "Exchanges whose record could not be kept", counters.lost),
            ("ledger_refused", "Exchanges the proxy refused", counters.refused),
            ("draw_evidence", "Evidence leaves logged for records that were drawn", draws.evidence),
            (
                "draw_rounds_failed",
                "Rounds of public randomness that did not come, or were not good",
                draws.failed,
            ),
            ("malformed", "Requests whose head was not HTTP, or too long", counts.malformed),
        ] {
            let metric = ConstCounter::new(value);
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)?;
        }
        for (name, help, value) in [
            ("bypass", "1 while a break-glass bypass is in force", u64::from(self.0.bypassing().is_some())),
            ("ledger_open", "Exchanges under way", counters.open),
            ("ledger_backlog", "Records that wait for the log", counts.backlog),
            ("ledger_backlog_age_seconds", "How long the oldest of them has waited", counts.backlog_age),
            ("ledger_wal_bytes", "Bytes of the write-ahead log that are still needed", counts.wal_bytes),
            (
                "draws_waiting",
                "Statements whose records wait for their round, or its evidence",
                draws.waiting,
            ),
            ("draw_lag_seconds", "Time since the oldest round that is waited for was made", draws.lag),
            ("log_size", "Leaves in the log", self.0.head().checkpoint.size),
        ] {
            let metric = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)?;
        }
        if let Some(counts) = self.0.key_evidence() {
            key_evidence(counts, &mut encoder)?;
        }
        vouching::encode(self.0.timestamps(), self.0.beacon_time(), self.0.witnesses(), encoder)
    }
}

/// What is known about evidence of the shard's key.
fn key_evidence(counts: KeyEvidenceCounts, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let metric = ConstGauge::new(i64::try_from(counts.age).unwrap_or(i64::MAX));
    let help = "Age of the newest evidence about the key that signs, by this machine's clock";
    let (name, kind) = ("attestation_age_seconds", metric.metric_type());
    metric.encode(encoder.encode_descriptor(name, help, None, kind)?)?;
    for (name, help, value) in [
        ("attestation_renewed", "Evidence about the key that signs, made anew and logged", counts.renewed),
        ("attestation_failed", "Attempts that gave none, or none that is good", counts.failed),
    ] {
        let metric = ConstCounter::new(value);
        metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)?;
    }
    Ok(())
}

/// When the listener's certificate ends, read when asked: it may have been replaced.
#[derive(Debug)]
struct CertificateCollector(Arc<ServerCertificate>);

impl Collector for CertificateCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(until) = ends(&self.0) else { return Ok(()) };
        let metric = ConstGauge::new(i64::try_from(until).unwrap_or(i64::MAX));
        let help = "When the certificate that clients see ends, since the epoch";
        let (name, kind) = ("tls_certificate_not_after_seconds", metric.metric_type());
        metric.encode(encoder.encode_descriptor(name, help, None, kind)?)
    }
}

fn ends(certificate: &ServerCertificate) -> Option<u64> {
    colophon_signer::rfc3161::valid_until(&certificate.leaf()?)
}

/// Jobs in the queue of proofs, read when asked.
struct ProofCollector(Arc<Proving>);

impl fmt::Debug for ProofCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProofCollector")
    }
}

impl Collector for ProofCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        // Without an answer of the queue there are no numbers.
        let Ok(counts) = self.0.counts() else { return Ok(()) };
        let mut family = encoder.encode_descriptor(
            "proof_jobs",
            "Proof jobs, by where they stand",
            None,
            MetricType::Gauge,
        )?;
        for (state, count) in [
            ("ready", counts.ready),
            ("delayed", counts.delayed),
            ("leased", counts.leased),
            ("ended", counts.ended),
        ] {
            let gauge = ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX));
            gauge.encode(family.encode_family(&[("state", state)])?)?;
        }
        let Ok(percent) = self.0.progress() else { return Ok(()) };
        let help = "How far the jobs are that workers have, in the mean";
        let unit = Unit::Other("percent".into());
        let gauge = encoder.encode_descriptor("proof_progress", help, Some(&unit), MetricType::Gauge)?;
        ConstGauge::new(percent).encode(gauge)
    }
}
