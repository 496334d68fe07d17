//! What every connection of one process shares.

use crate::attestation::Attesting;
use crate::attested::{Attested, Enforcing};
use crate::callers::Callers;
use crate::config::Limits;
use crate::forward::Upstream;
use crate::metrics::Metrics;
use crate::model::identity::Identity;
use crate::places::Places;
use crate::proofs::Proving;
use crate::seldom::Seldom;
use crate::stamp::LogValue;
use crate::telemetry::collector::Collector;
use crate::telemetry::traces::Traces;
use arc_swap::ArcSwap;
use colophon_ledger::{Ledger, SignedHead};
use colophon_listen::ServerCertificate;
use colophon_policies::Policy;
use colophon_receipt::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Shared by all connections; everything in it is cheap to read on the hot path.
pub struct App {
    /// Keeps records.
    pub ledger: Ledger,
    /// The policy in force with its digest. Replaced as a whole.
    pub policy: ArcSwap<PolicyInForce>,
    /// The server behind.
    pub upstream: Upstream,
    /// Longest silence within an answer.
    pub upstream_idle: Duration,
    /// When the log last said that it failed.
    failures: Seldom,
    /// What clients may use.
    pub limits: Limits,
    /// How another policy comes into force.
    pub(crate) enforcing: Enforcing,
    /// Who makes evidence of this proxy.
    pub(crate) attesting: Option<Arc<Attesting>>,
    /// How callers are known.
    pub callers: Option<Arc<Callers>>,
    /// The end of each `Colophon-Record`: how durable, and promised to be in the log within which time.
    pub promise: String,
    /// Who proves what rules want proven.
    pub proving: Option<Arc<Proving>>,
    /// Which model certificate records name.
    pub model: Identity,
    /// Counters.
    pub metrics: Metrics,
    /// Who is sent spans.
    pub traces: Option<Arc<Traces>>,
    /// When this process began, by its clock.
    pub started: SystemTime,
    /// Every task that has to end before the process does.
    pub tasks: TaskTracker,
    /// Fires when patience with what is still under way is over.
    pub kill: CancellationToken,
    /// Places for exchanges.
    pub(crate) exchanges: Places,
    /// Set when the process drains: not ready any more.
    pub draining: AtomicBool,
    /// `Colophon-Log` of the newest checkpoint; made once a checkpoint.
    log_value: ArcSwap<(Arc<SignedHead>, Arc<LogValue>)>,
}

/// What is there to be watched, or watches, beside the exchanges.
#[derive(Default)]
pub struct Watched {
    /// Who is sent spans and metrics.
    pub collector: Option<Collector>,
    /// Who is sent spans.
    pub traces: Option<Arc<Traces>>,
    /// The listener's certificate.
    pub certificate: Option<Arc<ServerCertificate>>,
}

/// A policy and the digest that records name.
pub struct PolicyInForce {
    /// The rules.
    pub policy: Policy,
    /// Digest of the effective policy.
    pub digest: Hash,
    /// The servers that its rules send to once they have proved themselves.
    pub upstreams: Attested,
}

/// The log says once in this time why the upstream fails; each record says it of its own exchange.
const BETWEEN_FAILURES: Duration = Duration::from_secs(10);

impl App {
    /// Says why the upstream failed an exchange, now and then.
    pub(crate) fn upstream_failed(&self, upstream: &str, record: Option<&str>, reason: &str) {
        if let Some(not_said) = self.failures.due(Instant::now()) {
            let record = record.unwrap_or("none");
            tracing::warn!(upstream, record, reason, not_said, "the upstream failed");
        }
    }

    /// Puts the parts together.
    #[allow(clippy::too_many_arguments, reason = "the parts of a process")]
    pub fn new(
        ledger: Ledger,
        policy: PolicyInForce,
        upstream: Upstream,
        upstream_idle: Duration,
        limits: Limits,
        mmd: Duration,
        tasks: TaskTracker,
        callers: Option<Arc<Callers>>,
        enforcing: Enforcing,
        attesting: Option<Arc<Attesting>>,
        proving: Option<Arc<Proving>>,
        watched: Watched,
    ) -> Arc<App> {
        let head = ledger.head();
        let value = Arc::new(LogValue::new(&head));
        let metrics = Metrics::new(&ledger, enforcing.evidence(), proving.clone(), &watched);
        metrics.policy_in_force(&policy);
        Arc::new(App {
            metrics,
            failures: Seldom::new(BETWEEN_FAILURES),
            traces: watched.traces,
            started: SystemTime::now(),
            model: Identity::default(),
            promise: format!(";durability={};mmd={}", ledger.durability().as_str(), mmd.as_secs()),
            ledger,
            policy: ArcSwap::from_pointee(policy),
            upstream,
            upstream_idle,
            exchanges: Places::new(limits.exchanges),
            limits,
            tasks,
            callers,
            enforcing,
            attesting,
            proving,
            kill: CancellationToken::new(),
            draining: AtomicBool::new(false),
            log_value: ArcSwap::from_pointee((head, value)),
        })
    }

    /// `Colophon-Log` of the newest checkpoint; empty while no checkpoint of the log is known.
    pub fn log_value(&self) -> Arc<LogValue> {
        let head = self.ledger.head();
        let cached = self.log_value.load();
        if Arc::ptr_eq(&cached.0, &head) {
            return cached.1.clone();
        }
        let value = Arc::new(LogValue::new(&head));
        self.log_value.store(Arc::new((head, value.clone())));
        value
    }

    /// Whether the process is on its way out.
    pub fn draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}
