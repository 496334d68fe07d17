//! Cosigned checkpoints that are kept, and which of them proves a record.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use colophon_signer::note::{Note, VerifierKey};
use colophon_signer::policy::TlogPolicy;

use crate::head::{self, SignedHead};
use crate::log::Publication;
use crate::store::{Store, StoreError};

/// The newest checkpoint for which the quorum is met, relative to the log's folder. Public, like `checkpoint`.
pub(crate) const COSIGNED: &str = "cosigned";
/// Checkpoints in memory: hours of them. What is older than all of them is proven by the oldest.
const IN_MEMORY: usize = 4096;

/// The name of a kept checkpoint, relative to the log's folder.
pub(crate) fn name(size: u64) -> String {
    format!("anchor/{size}/checkpoint")
}

/// The kept checkpoints of this log for which the policy's quorum is met; clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept(Arc<Mutex<BTreeMap<u64, Arc<SignedHead>>>>);

impl Kept {
    /// Only the newest one that the log in `store` has, whoever cosigned it: for those who read a log that others write.
    pub(crate) async fn newest_of(store: &Store, keys: &[VerifierKey]) -> Result<Kept, StoreError> {
        let kept = Kept::default();
        let bytes = store.get(COSIGNED, head::MAX_FILE).await?;
        let text = bytes.and_then(|bytes| String::from_utf8(bytes.into()).ok());
        let head = text.and_then(|text| keys.iter().find_map(|key| SignedHead::parse(&text, key).ok()));
        if let Some(head) = head {
            kept.insert(Arc::new(head));
        }
        Ok(kept)
    }

    /// Reads what an earlier life of the log left. What the policy of today is not satisfied with is not used.
    pub(super) async fn load(
        &self,
        publication: &Publication,
        policy: &TlogPolicy,
    ) -> Result<(), StoreError> {
        let bytes = match publication.store.get(COSIGNED, head::MAX_FILE).await {
            Err(StoreError::TooLong { .. }) => None,
            read => read?,
        };
        let head = bytes.and_then(|bytes| {
            let text = String::from_utf8(bytes.into()).ok()?;
            SignedHead::parse(&text, &publication.key).ok()
        });
        if let Some(head) = head.filter(|head| is_met(policy, head)) {
            self.insert(Arc::new(head));
        }
        Ok(())
    }

    /// Keeps a checkpoint in the store and, where the quorum is met, for proofs.
    pub(super) async fn keep(
        &self,
        publication: &Publication,
        policy: &TlogPolicy,
        head: &SignedHead,
    ) -> Result<bool, StoreError> {
        let note = || head.note.clone().into_bytes();
        publication.store.put(&name(head.size()), note()).await?;
        let met = policy.needs_witnesses() && is_met(policy, head);
        if met {
            publication.store.put(COSIGNED, note()).await?;
            self.insert(Arc::new(head.clone()));
        }
        Ok(met)
    }

    fn insert(&self, head: Arc<SignedHead>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.insert(head.size(), head);
        while kept.len() > IN_MEMORY {
            kept.pop_first();
        }
    }

    /// The earliest kept checkpoint that covers leaf `index`.
    pub(crate) fn covering(&self, index: u64) -> Option<Arc<SignedHead>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.range(index.saturating_add(1)..).next().map(|(_, head)| head.clone())
    }

    /// The newest one.
    pub(crate) fn newest(&self) -> Option<Arc<SignedHead>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.last_key_value().map(|(_, head)| head.clone())
    }
}

/// Whether the quorum's witnesses have cosigned this head, each line verified.
pub(super) fn is_met(policy: &TlogPolicy, head: &SignedHead) -> bool {
    let Ok(note) = Note::parse(&head.note) else { return false };
    let keys: Vec<VerifierKey> = policy.witnesses.iter().map(|witness| witness.key.clone()).collect();
    match note.verify(&keys) {
        Ok(verified) => policy.is_met(|key| verified.signed_by(key)),
        Err(_) => policy.is_met(|_| false),
    }
}
