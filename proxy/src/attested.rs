//! The servers that a policy's rules send requests to once they have proved themselves.

use crate::app::PolicyInForce;
use crate::config::{AttestOptions, HostHeader, UpstreamOptions};
use crate::forward::{Demanding, ForwardError, Upstream};
use crate::metrics::UpstreamEvidence;
use crate::model::vouched::Demanded;
use crate::proofs::Proving;
use colophon_attest::SimulatedRoots;
use colophon_attest::simulate::DEFAULT_SEED;
use colophon_policies::{Honours, Policy, PolicyError, Upstream as Named};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use tokio_util::task::TaskTracker;

/// What each upstream of a policy has to prove, by name; those without `attestation` are left out.
///
/// # Errors
/// The first `attestation` that is no attestation policy's `spec`.
pub(crate) fn demands(policy: &Policy) -> Result<Vec<(&Named, Demanded)>, PolicyError> {
    let mut demands = Vec::new();
    for upstream in policy.upstreams() {
        let Some(spec) = &upstream.attestation else { continue };
        let demanded = Demanded::read(&upstream.name, spec);
        demands.push((upstream, demanded.map_err(|error| upstream.wrong(&error))?));
    }
    Ok(demands)
}

/// How a policy comes into force here.
pub struct Enforcing {
    upstream: UpstreamOptions,
    attest: AttestOptions,
    /// Whose model certificates count.
    authority: Option<PathBuf>,
    simulated: Option<Arc<SimulatedRoots>>,
    proving: Option<Arc<Proving>>,
    tasks: TaskTracker,
    evidence: UpstreamEvidence,
}

/// The attested servers of one policy, by name.
#[derive(Default)]
pub struct Attested(BTreeMap<Arc<str>, Upstream>);

impl Enforcing {
    /// With these settings. What goes on beside the exchanges runs in `tasks`.
    pub fn new(
        upstream: &UpstreamOptions,
        attest: &AttestOptions,
        authority: Option<&Path>,
        proving: Option<Arc<Proving>>,
        tasks: TaskTracker,
    ) -> Enforcing {
        if attest.allow_simulated {
            tracing::warn!("--allow-simulated: evidence that anybody can make is taken from upstreams");
        }
        let roots = || Arc::new(SimulatedRoots::of_seed(DEFAULT_SEED));
        Enforcing {
            // They are elsewhere, under their own names.
            upstream: UpstreamOptions { host: HostHeader::Upstream, http2: false, ..upstream.clone() },
            simulated: attest.allow_simulated.then(roots),
            attest: attest.clone(),
            authority: authority.map(Path::to_owned),
            proving,
            tasks,
            evidence: UpstreamEvidence::default(),
        }
    }

    /// What is counted of all servers that have to prove themselves.
    pub(crate) fn evidence(&self) -> &UpstreamEvidence {
        &self.evidence
    }

    /// The policy with its servers. Nothing is connected yet.
    ///
    /// # Errors
    /// One of them cannot be one.
    pub fn in_force(&self, policy: Policy) -> anyhow::Result<PolicyInForce> {
        let mut servers = BTreeMap::new();
        for (known, demanded) in demands(&policy)? {
            let name: Arc<str> = known.name.as_str().into();
            let resolved = demanded.resolve(&self.attest.upstream_model_cert, self.authority.as_deref());
            let (values, vouched) = resolved.map_err(|error| known.wrong(&format!("{error:#}")))?;
            let options = UpstreamOptions { url: known.url.clone(), ..self.upstream.clone() };
            self.evidence.known(&name);
            let demand = Demanding {
                name: name.clone(),
                policy: values,
                vouched,
                simulated: self.simulated.clone(),
                evidence: self.evidence.clone(),
            };
            let server = Upstream::attested(&options, &self.attest, demand, self.tasks.clone())?;
            servers.insert(name, server);
        }
        // What runs beside this proxy is in its machine.
        let zk = self.proving.as_ref().is_some_and(|proving| proving.serves(&policy));
        let policy = policy.honouring(Honours { tee: self.attest.attest.is_some(), zk });
        Ok(PolicyInForce { digest: policy.digest(), policy, upstreams: Attested(servers) })
    }
}

impl Attested {
    /// A connection to the first of `names` that proves itself.
    ///
    /// # Errors
    /// [`ForwardError::Unattested`], with what each of them lacks.
    pub(crate) async fn reserve(
        &self,
        names: &[Arc<str>],
        upgrading: bool,
    ) -> Result<(&Upstream, crate::upstream::Reserved), ForwardError> {
        let mut reasons = Vec::new();
        for name in names {
            let Some(server) = self.0.get(name) else { continue };
            match server.reserve(upgrading, Instant::now()).await {
                Ok(reserved) => return Ok((server, reserved)),
                Err(why) => {
                    tracing::warn!(upstream = &**name, %why, "it has not proved itself: nothing is sent to it");
                    reasons.push(format!("{name}: {why}"));
                }
            }
        }
        Err(ForwardError::Unattested(reasons.join("; ")))
    }

    /// Ends what goes on beside the exchanges.
    pub fn close(&self) {
        self.0.values().for_each(Upstream::close);
    }
}
