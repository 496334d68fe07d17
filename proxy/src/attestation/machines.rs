//! Which of this proxy's keys are in a machine that a model certificate speaks of, by the newest evidence about each.

use arc_swap::ArcSwap;
use colophon_attest::{Policy, Source};
use std::sync::Arc;

/// Evidence about so many keys is kept: the shard's and those of shards whose exchanges may still be under way.
const KEPT: usize = 4;

/// An Ed25519 public key.
type Key = [u8; 32];

/// What a model certificate says of machines, and which keys are known to be in such ones.
#[derive(Debug)]
pub struct Machines {
    policy: Policy,
    /// Read for every record, so without a lock.
    fits: ArcSwap<Vec<(Key, Source)>>,
}

impl Machines {
    /// By the `spec` of an attestation policy. No key is known yet.
    ///
    /// # Errors
    /// When it is none.
    pub fn new(spec: &serde_json::Value) -> Result<Machines, String> {
        let policy = Policy::from_spec("the model certificate", spec).map_err(|error| error.to_string())?;
        Ok(Machines { policy, fits: ArcSwap::default() })
    }

    /// How it is known that this key is in such a machine: `hardware_proven`, unless its evidence is simulated. Nothing where
    /// its newest evidence does not say so.
    pub fn known(&self, key: &Key) -> Option<Source> {
        self.fits.load().iter().find(|(known, _)| known == key).map(|(_, source)| *source)
    }
}

/// Evidence as it is made, and what it is compared with.
#[derive(Default)]
pub(super) struct Judging {
    machines: Option<Arc<Machines>>,
    /// The newest about each key, the newest last.
    evidence: Vec<(Key, Vec<u8>)>,
}

impl Judging {
    /// Takes evidence about a key, in place of what was there about it.
    pub(super) fn made(
        &mut self,
        key: Key,
        document: Vec<u8>,
        judge: impl Fn(&[u8], &Policy) -> Result<Source, String>,
    ) {
        self.evidence.retain(|(known, _)| *known != key);
        if self.evidence.len() == KEPT {
            self.evidence.remove(0);
        }
        let Some(machines) = &self.machines else { return self.evidence.push((key, document)) };
        let found = look(&key, &document, &machines.policy, judge);
        self.evidence.push((key, document));
        // What was found of the other keys stays, while evidence about them is kept.
        let kept = machines.fits.load();
        let others = kept.iter().filter(|(known, _)| {
            *known != key && self.evidence.iter().any(|(evidenced, _)| evidenced == known)
        });
        let fits = others.copied().chain(found.map(|source| (key, source))).collect();
        machines.fits.store(Arc::new(fits));
    }

    /// Compares what there is, and all that is made from now on, with these.
    pub(super) fn compare_with(
        &mut self,
        machines: Arc<Machines>,
        judge: impl Fn(&[u8], &Policy) -> Result<Source, String>,
    ) {
        let found = self.evidence.iter().filter_map(|(key, document)| {
            look(key, document, &machines.policy, &judge).map(|source| (*key, source))
        });
        machines.fits.store(Arc::new(found.collect()));
        self.machines = Some(machines);
    }
}

fn look(
    key: &Key,
    document: &[u8],
    policy: &Policy,
    judge: impl Fn(&[u8], &Policy) -> Result<Source, String>,
) -> Option<Source> {
    let judged = judge(document, policy);
    if let Err(why) = &judged {
        let key = hex::encode(key);
        tracing::warn!(
            key,
            why,
            "by the evidence about this key, its machine is none of those that the model certificate names"
        );
    }
    judged.ok()
}
