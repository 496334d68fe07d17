//! The receipts of a ledger's folder, made beside it or long after: nothing is written, and no ledger runs.

use super::{Batches, Lookup, Parts, Places, damage, find};
use crate::anchor::Anchors;
use crate::draws::rounds;
use crate::head::SignedHead;
use crate::index::Target;
use crate::ledger::LedgerError;
use crate::ledger::keeper::batch_name;
use crate::ledger::objects::Objects;
use crate::log::LogReader;
use crate::policy;
use crate::private::{Kek, Vault};
use crate::store::Store;
use crate::witness::Kept;
use colophon_receipt::Hash;
use colophon_receipt::policy_change::policy_file;
use colophon_receipt::receipt::MAX_ANCHORS;
use colophon_receipt::record::RecordId;
use colophon_receipt::statement::Statement;
use colophon_signer::drand::Chain;
use object_store::ObjectStore;
use std::collections::HashSet;
use std::sync::Arc;

/// The stores of a ledger, for reading.
pub struct Archive {
    reader: LogReader,
    head: SignedHead,
    kept: Kept,
    anchors: Anchors,
    objects: Objects,
    vault: Vault,
    places: Places,
    batches: Batches,
    chain: Chain,
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archive").field("size", &self.head.size()).finish_non_exhaustive()
    }
}

impl Archive {
    /// Takes up the stores of log and batches, and of the private openings, which `key` opens. The log is read as
    /// `reader` at `head`.
    ///
    /// # Errors
    /// When there are no private openings, or the key is not theirs.
    pub async fn open(
        store: Arc<dyn ObjectStore>,
        private: Arc<dyn ObjectStore>,
        key: Arc<Kek>,
        reader: LogReader,
        head: SignedHead,
    ) -> Result<Archive, LedgerError> {
        let private = Objects(private);
        if !Vault::is_sealed(&private).await? {
            return Err(damage(
                "the private store",
                "it holds no sealed openings, and without them are no receipts",
            ));
        }
        let vault = Vault::open(private, key).await?;
        let keys = reader.genesis_keys(&head.checkpoint).await?;
        let kept = Kept::newest_of(reader.store(), &keys).await?;
        let anchors = Anchors::open(reader.store().clone(), keys, MAX_ANCHORS).await?;
        let (objects, places, batches) = (Objects(store), Places::default(), Batches::default());
        let chain = rounds::chain_of(&objects).await?;
        Ok(Archive { reader, head, kept, anchors, objects, vault, places, batches, chain })
    }

    /// The text of the policy with this digest, `None` where the store has none.
    ///
    /// # Errors
    /// When it cannot be read, or is another text than the digest's.
    pub async fn policy(&self, digest: &Hash) -> Result<Option<String>, LedgerError> {
        let store = Store::new(self.objects.0.clone(), String::new());
        policy::read(&store, digest).await.map_err(|error| damage(&policy_file(digest), error))
    }

    /// The records of a statement's batch in the order of its tree, without evidence.
    ///
    /// # Errors
    /// When the batch file is missing, or not the one that the statement signs.
    pub async fn records(&self, statement: &Statement) -> Result<Vec<RecordId>, LedgerError> {
        if statement.count == 0 {
            return Ok(Vec::new());
        }
        let name = batch_name(&statement.shard, statement.seq);
        let batch = self.batches.whole(&self.objects, &name, statement.count, &statement.root).await?;
        let evidence: HashSet<u32> = batch.evidence.iter().map(|(slot, _)| *slot).collect();
        let mut ids: Vec<(u32, RecordId)> = batch.ids.into_iter().map(|(id, slot)| (slot, id)).collect();
        ids.retain(|(slot, _)| !evidence.contains(slot));
        ids.sort_unstable();
        Ok(ids.into_iter().map(|(_, id)| id).collect())
    }

    /// The receipt of the record `id` in `slot` of the batch `target`.
    ///
    /// # Errors
    /// As [`crate::Ledger::lookup`].
    pub async fn receipt(&self, id: &RecordId, target: Target, slot: u32) -> Result<Lookup, LedgerError> {
        let known = Some((target, slot));
        let Archive { reader, head, kept, anchors, objects, vault, places, batches, chain } = self;
        find(
            &Parts { reader, head, kept, anchors, older: &[], objects, places, vault, batches, chain },
            id,
            known,
        )
        .await
    }
}
