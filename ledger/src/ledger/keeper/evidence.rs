//! Evidence leaves: batches of their own, between those of records.

use super::{LedgerError, Taken, Worker};
use crate::batch::{self, Made};
use colophon_receipt::evidence::{EvidenceLeaf, Verdict, no_evidence};
use colophon_receipt::merkle::leaf_hash;
use colophon_receipt::record::RecordId;
use colophon_receipt::{Hash, Level};
use tokio::sync::oneshot;

/// Records that were drawn, and for which nothing was done.
pub(crate) struct Evidence {
    pub(crate) leaves: Vec<Drawn>,
    /// Told when it is logged; dropped where it will not be.
    pub(crate) logged: oneshot::Sender<()>,
}

/// One of them.
#[derive(Clone)]
pub(crate) struct Drawn {
    /// The evidence's id.
    pub(crate) id: RecordId,
    /// Hash of the record's leaf.
    pub(crate) subject: Hash,
    /// The level it was drawn for.
    pub(crate) kind: Level,
}

/// The leaves of a batch.
pub(super) struct Leaves {
    evidence: Evidence,
    encoded: Vec<(RecordId, Vec<u8>)>,
}

impl Leaves {
    /// As they stand in a statement whose interval contains `at`.
    fn new(evidence: Evidence, at: u64) -> Leaves {
        let leaf = |drawn: &Drawn| {
            let leaf = EvidenceLeaf {
                id: drawn.id,
                at,
                subject: drawn.subject,
                kind: drawn.kind,
                commitment: no_evidence(),
                verdict: Verdict::NotDone,
            };
            (drawn.id, leaf.encode())
        };
        Leaves { encoded: evidence.leaves.iter().map(leaf).collect(), evidence }
    }

    pub(super) fn len(&self) -> u64 {
        self.encoded.len() as u64
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = RecordId> {
        self.encoded.iter().map(|(id, _)| *id)
    }

    pub(super) fn batch(&self) -> Made {
        let hashes: Vec<Hash> = self.encoded.iter().map(|(_, leaf)| leaf_hash(leaf)).collect();
        batch::make(self.encoded.iter().map(|(id, leaf)| (id, leaf.as_slice())), &hashes)
    }

    /// Says that they are logged.
    pub(super) fn tell(self) {
        // Whoever asked may have gone: then it finds them in the index.
        let _ = self.evidence.logged.send(());
    }

    /// To be described by another statement.
    pub(super) fn again(self) -> Evidence {
        self.evidence
    }
}

impl Worker {
    /// Logs the evidence that waits, a statement for each that was handed over.
    pub(super) async fn log_evidence(&mut self) -> Result<(), LedgerError> {
        while !self.evidence.is_empty() && !self.expired() {
            let Taken { pending, to, total, rules } = self.ledger.book().take(self.ledger.now());
            self.held.extend(pending);
            self.unrecorded.add_all(&rules);
            // What is finished meanwhile is the next statement's: this one ends before it.
            let first = self.held.iter().map(|pending| pending.completed_at).min();
            let to = first.map_or(to, |first| first.min(to)).max(self.chain.to);
            let Some(evidence) = self.evidence.pop_front() else { break };
            self.chain.unrecorded = std::mem::take(&mut self.unrecorded);
            self.chain.rules.add_all(&self.chain.unrecorded);
            self.inflight = Some(self.sealed(Vec::new(), Some(Leaves::new(evidence, to)), to, total).await?);
            self.publish().await?;
        }
        Ok(())
    }
}
