//! What came of evidence that was made beside the ledger: a proof is kept, and a leaf of a later batch says so.

use super::keeper::{Command, Evidence, Settled};
use super::{Ledger, LedgerError};
use crate::batch::MAX_RECORDS;
use crate::private::Found;
use colophon_receipt::evidence::{Verdict, is_asked};
use colophon_receipt::proof::{Proof, StatementError};
use colophon_receipt::record::RecordId;
use colophon_receipt::{Hash, Level};
use std::time::Instant;
use tokio::sync::oneshot;

/// What came of evidence for one record.
#[derive(Clone, Debug, PartialEq)]
pub struct CameOf {
    /// The record.
    pub record: RecordId,
    /// The hash of its leaf.
    pub subject: Hash,
    /// The id of the leaf: that of its draw, or that of evidence that was asked for.
    pub evidence: RecordId,
    /// The proof, accepted by the operator's own verifier; without one nothing was done.
    pub proof: Option<Proof>,
}

/// What could not be settled.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    /// The ledger, or its store: try again.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The proof is none that a receipt can carry.
    #[error(transparent)]
    Proof(#[from] StatementError),
    /// The record is not in this ledger, or what opens it was erased: nothing is kept of it.
    #[error("the record is not in this ledger, or was erased")]
    NoRecord,
    /// The ledger was closed.
    #[error("the ledger was closed")]
    Closed,
}

/// A leaf that is still to be logged.
#[derive(Debug)]
pub struct Prepared(Settled);

/// What is to be done about the log, once what came is known.
#[derive(Debug)]
pub enum ToLog {
    /// This leaf is to be logged.
    Leaf(Prepared),
    /// Nothing more. Whether the log says that a proof holds: what came now need not be what was logged first.
    Settled {
        /// It does.
        holds: bool,
    },
    /// Nothing by this one: another proof of that id is kept, and is to be logged.
    Elsewhere,
}

impl Prepared {
    /// The id that the leaf will have.
    pub fn evidence(&self) -> RecordId {
        self.0.id
    }
}

impl Ledger {
    /// Keeps a proof, and gives the leaf that commits to it, or the one that nothing was done, unless the log says what came of it
    /// already or is to say nothing. The first proof that is kept for an id stays, however often it is called with the same; that
    /// nothing was done is not said where one is kept.
    ///
    /// # Errors
    /// [`SettleError`]. After an error of storage it may be called again.
    pub async fn prepare(&self, came: CameOf) -> Result<ToLog, SettleError> {
        let CameOf { record, subject, evidence, proof } = came;
        // Most often not yet.
        if self.0.places.find_since(&self.0.objects, &evidence, Instant::now()).await?.is_some() {
            return Ok(ToLog::Settled { holds: self.keeps(&record, &evidence).await? });
        }
        if proof.is_none() && self.keeps(&record, &evidence).await? {
            return Ok(ToLog::Elsewhere);
        }
        let leaf = match proof {
            Some(proof) => {
                proof.check()?;
                let commitment = self.keep(&record, &evidence, &proof).await?;
                Settled { id: evidence, subject, kind: Level::Zk, commitment, verdict: Verdict::Holds }
            }
            None => Settled::not_done(evidence, subject, Level::Zk),
        };
        // Of what nobody drew, the log does not say that it was not done.
        let says = leaf.verdict != Verdict::NotDone || !is_asked(&evidence, &subject, Level::Zk);
        Ok(if says { ToLog::Leaf(Prepared(leaf)) } else { ToLog::Settled { holds: false } })
    }

    /// Whether a proof is kept for this evidence: it is before the log says that it holds, and never otherwise.
    async fn keeps(&self, record: &RecordId, evidence: &RecordId) -> Result<bool, SettleError> {
        Ok(self.0.vault.proof(record, evidence).await?.is_some())
    }

    /// Logs leaves, in one statement as long as a batch takes them; no id may be among them twice. Returns when they are logged.
    ///
    /// # Errors
    /// [`SettleError::Closed`]: it is not known whether they are.
    pub async fn log_prepared(&self, leaves: Vec<Prepared>) -> Result<(), SettleError> {
        if leaves.is_empty() {
            return Ok(());
        }
        let leaves = leaves.into_iter().map(|leaf| leaf.0).collect();
        self.log_evidence(leaves).await.then_some(()).ok_or(SettleError::Closed)
    }

    /// Both, for one.
    ///
    /// # Errors
    /// As of [`Ledger::prepare`] and [`Ledger::log_prepared`].
    pub async fn settle(&self, came: CameOf) -> Result<(), SettleError> {
        match self.prepare(came).await? {
            ToLog::Leaf(leaf) => self.log_prepared(vec![leaf]).await,
            ToLog::Settled { .. } | ToLog::Elsewhere => Ok(()),
        }
    }

    /// Keeps a proof under the key of its record's opening. Returns the commitment to the one that is kept.
    async fn keep(&self, record: &RecordId, evidence: &RecordId, proof: &Proof) -> Result<Hash, SettleError> {
        let inner = &self.0;
        let Some((target, slot)) = self.place(record).await? else { return Err(SettleError::NoRecord) };
        let erased = async || -> Result<bool, LedgerError> {
            let opening = inner.vault.opening(&target.shard, target.seq, slot, record).await?;
            Ok(matches!(opening, Found::Erased(_)))
        };
        if erased().await? {
            return Err(SettleError::NoRecord);
        }
        let key = inner.vault.key_of(&target.shard, target.seq, slot, record).await?;
        inner.vault.keep_proof(record, evidence, key, proof).await?;
        // An erasure that came meanwhile may have looked for proofs before this one was there.
        if erased().await? {
            inner.vault.erase_proofs(record).await?;
            return Err(SettleError::NoRecord);
        }
        let kept = inner.vault.proof(record, evidence).await?.ok_or(SettleError::NoRecord)?;
        Ok(kept.proof.commitment(&kept.salt.salt().unwrap_or_default())?)
    }

    /// Has the keeper log evidence leaves, in as many statements as they need. False where it is not known whether it did.
    pub(crate) async fn log_evidence(&self, mut leaves: Vec<Settled>) -> bool {
        while !leaves.is_empty() {
            let rest = leaves.split_off(leaves.len().min(MAX_RECORDS));
            let (reply, logged) = oneshot::channel();
            let command = Command::Evidence(Evidence::about_records(leaves, reply));
            if self.0.commands.send(command).await.is_err() || logged.await.is_err() {
                return false;
            }
            leaves = rest;
        }
        true
    }
}
