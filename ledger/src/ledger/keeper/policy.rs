//! Another policy comes into force, between two batches: its text is stored, the last batch under the old policy is
//! closed, the log has the change, and only then do exchanges meet it.
//!
//! Once the change is signed nothing else of the shard is logged before it: it names the statement that follows.

use super::{Closing, LedgerError, Worker};
use crate::log::LogError;
use crate::policy::{self, PolicyText};
use colophon_receipt::policy_change::{POLICY_CHANGE_TYPE, PolicyChange};
use colophon_signer::cose::sign_statement;
use tokio::sync::oneshot;

/// Another policy, and how it comes into force.
pub(crate) struct Change {
    pub(crate) policy: PolicyText,
    /// Makes it the one that exchanges meet.
    pub(crate) in_force: Box<dyn FnOnce() + Send + Sync>,
    /// Told when it is in force.
    pub(crate) done: oneshot::Sender<()>,
}

/// A change on its way.
pub(super) struct Changing {
    change: Change,
    /// Its leaf, once signed.
    leaf: Option<Leaf>,
}

struct Leaf {
    shard: String,
    announced: u64,
    bytes: Vec<u8>,
}

impl Worker {
    /// Takes a change up; one that is not signed yet is given up for it.
    pub(super) fn begin_change(&mut self, change: Change) {
        match &mut self.changing {
            // What is signed comes first.
            Some(changing) if changing.leaf.is_some() => self.next_change = Some(change),
            changing => *changing = Some(Changing { change, leaf: None }),
        }
    }

    /// Brings the change that is due, if any, into force.
    pub(super) async fn change_policy(&mut self) -> Result<(), LedgerError> {
        // Of a shard whose last statement is signed there is none that could follow: the next round's shard takes it.
        while let Some(changing) = self.changing.as_ref().filter(|_| matches!(self.closing, Closing::No)) {
            let policy = changing.change.policy.clone();
            if changing.leaf.is_none() && policy.digest() != self.policy {
                self.sign_change(&policy).await?;
            }
            if !self.append_change().await? {
                // For a shard that is over: it is signed again by the next.
                return Ok(());
            }
            self.policy = policy.digest();
            if let Some(Changing { change, .. }) = self.changing.take() {
                (change.in_force)();
                // Whoever asked may have gone; it is in force all the same.
                let _ = change.done.send(());
            }
            self.changing = self.next_change.take().map(|change| Changing { change, leaf: None });
        }
        Ok(())
    }

    /// Completes a change that may be logged already, at the end.
    pub(super) async fn end_change(&mut self) -> Result<(), LedgerError> {
        self.next_change = None;
        if self.changing.as_ref().is_some_and(|changing| changing.leaf.is_some()) {
            return self.change_policy().await;
        }
        self.changing = None;
        Ok(())
    }

    async fn sign_change(&mut self, policy: &PolicyText) -> Result<(), LedgerError> {
        policy::keep(&self.ledger.0.objects, policy).await?;
        self.seal(true).await?;
        self.publish().await?;
        let shard = self.chain.shard.clone();
        let change = PolicyChange {
            shard: shard.name.clone(),
            seq: self.chain.next_seq,
            at: self.ledger.now(),
            before: self.policy,
            after: policy.digest(),
        };
        let origin = &self.ledger.0.origin;
        let bytes =
            sign_statement(&change.encode(), POLICY_CHANGE_TYPE, origin, &shard.name, &*shard.signer)?;
        if let Some(changing) = &mut self.changing {
            let (shard, announced) = (shard.name.clone(), shard.announced);
            changing.leaf = Some(Leaf { shard, announced, bytes });
        }
        Ok(())
    }

    /// Logs the change's leaf; false where the log takes nothing of its shard any more.
    async fn append_change(&mut self) -> Result<bool, LedgerError> {
        let Some(Changing { leaf, .. }) = &mut self.changing else { return Ok(true) };
        let Some(signed) = leaf else { return Ok(true) };
        if signed.shard == self.chain.shard.name {
            // Tried again with the same leaf, the log takes it once.
            match self.log.append(signed.bytes.clone(), signed.announced).await {
                Ok(_) => return Ok(true),
                Err(error @ LogError::Refused { .. }) => {
                    tracing::warn!(%error, "the log does not take this policy change; it is made again");
                }
                Err(error) => return Err(error.into()),
            }
        }
        *leaf = None;
        Ok(false)
    }
}
