//! Evidence leaves: batches of their own, between those of records.
//!
//! Whoever has something to log hands over [`Evidence`]: leaves that say about what, for which level, with which commitment
//! and verdict. All leaves of one hand-over are described by one statement.

use super::{LedgerError, Taken, Worker};
use crate::batch::{self, Made};
use bytes::Bytes;
use colophon_receipt::evidence::{EvidenceLeaf, Verdict, no_evidence};
use colophon_receipt::merkle::leaf_hash;
use colophon_receipt::record::RecordId;
use colophon_receipt::{Hash, Level};
use tokio::sync::oneshot;

/// What came of evidence, to be logged together.
pub(crate) struct Evidence {
    pub(crate) leaves: Vec<Settled>,
    /// Of evidence about a shard's own key: what is kept beside its batch.
    pub(crate) about_key: Option<AboutKey>,
    /// Told when it is logged; dropped where it is not known whether it was.
    pub(crate) logged: oneshot::Sender<()>,
}

impl Evidence {
    /// What came of evidence for records.
    pub(crate) fn about_records(leaves: Vec<Settled>, logged: oneshot::Sender<()>) -> Evidence {
        Evidence { leaves, about_key: None, logged }
    }
}

/// What came of one piece of evidence.
#[derive(Clone, Debug)]
pub(crate) struct Settled {
    /// The evidence's id.
    pub(crate) id: RecordId,
    /// What it is about: the hash of a record's leaf, or of the payload that announced a key.
    pub(crate) subject: Hash,
    /// The level that it is to show.
    pub(crate) kind: Level,
    /// `H(salt ‖ digest of the evidence)`.
    pub(crate) commitment: Hash,
    pub(crate) verdict: Verdict,
}

impl Settled {
    /// Of a record that was drawn, and for which nothing was done.
    pub(crate) fn not_done(id: RecordId, subject: Hash, kind: Level) -> Settled {
        Settled { id, subject, kind, commitment: no_evidence(), verdict: Verdict::NotDone }
    }
}

/// Says which shard the evidence is about, which has to log it itself, and how it is found.
#[derive(Clone, Debug)]
pub(crate) struct AboutKey {
    pub(crate) shard: String,
    /// Stored as [`about_key_name`] before the statement is logged.
    pub(crate) note: Bytes,
}

/// Where the note on evidence about a shard's own key is, by the number of the statement that describes it.
pub(crate) fn about_key_name(shard: &str, seq: u64) -> String {
    format!("{}/{seq}", about_key_folder(shard))
}

/// The folder of these notes.
pub(crate) fn about_key_folder(shard: &str) -> String {
    format!("shard/{shard}/evidence")
}

/// The leaves of a batch.
pub(super) struct Leaves {
    evidence: Evidence,
    encoded: Vec<(RecordId, Vec<u8>)>,
}

impl Leaves {
    /// As they stand in a statement whose interval contains `at`.
    fn new(evidence: Evidence, at: u64) -> Leaves {
        let leaf = |settled: &Settled| {
            let Settled { id, subject, kind, commitment, verdict } = settled.clone();
            (id, EvidenceLeaf { id, at, subject, kind, commitment, verdict }.encode())
        };
        Leaves { encoded: evidence.leaves.iter().map(leaf).collect(), evidence }
    }

    /// Those about records.
    pub(super) fn about_records(&self) -> u64 {
        if self.evidence.about_key.is_some() { 0 } else { self.len() }
    }

    pub(super) fn about_key(&self) -> Option<&AboutKey> {
        self.evidence.about_key.as_ref()
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
        // Another shard's key is another shard's affair: dropped, whoever asked sees that it is not logged.
        let own = self.chain.shard.name.clone();
        self.evidence.retain(|evidence| evidence.about_key.as_ref().is_none_or(|key| key.shard == own));
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
