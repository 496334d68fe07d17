//! Reading the log and proving from it: every byte returned leads to the root of the head it was asked for.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use colophon_receipt::Hash;
use colophon_receipt::checkpoint::{Checkpoint, TlogProof};
use colophon_receipt::merkle::{leaf_hash, verify_consistency, verify_inclusion};
use colophon_receipt::statement::Genesis;
use colophon_signer::note::VerifierKey;
use object_store::ObjectStore;

use self::nodes::Nodes;
use crate::head::{self, SignedHead};
use crate::log::LogError;
use crate::store::Store;
use crate::tiles::{Edge, LEVELS, TileId, WIDTH};

pub(crate) mod fetch;
mod nodes;
mod part;

/// Reads entries and proofs from the log's files. Cheap to clone; needs no lock on the writer.
///
/// Every method takes the head to prove against, and authenticates each tile against its root: a corrupt file is
/// [`LogError::Corrupt`] and names itself.
#[derive(Clone, Debug)]
pub struct LogReader {
    store: Store,
    /// The right edge last verified: most questions are about the newest head.
    edge: Arc<Mutex<Option<Arc<Edge>>>>,
}

impl LogReader {
    /// Opens the log of `generation` in `store` for reading, without a writer or its key: the keys are those of the
    /// genesis leaf, so the caller has to compare the head's origin and key with what it trusts.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] when there is no log, or its checkpoint is not signed by a key of its genesis.
    pub async fn open(
        store: Arc<dyn ObjectStore>,
        generation: u32,
    ) -> Result<(LogReader, SignedHead), LogError> {
        let store = Store::new(store, format!("log/{generation}"));
        let file = store.full(head::NAME);
        let bytes = store.get(head::NAME, head::MAX_FILE).await?;
        let bytes = bytes.ok_or_else(|| LogError::corrupt(file.clone(), "it is missing"))?;
        let note = std::str::from_utf8(&bytes).ok();
        let claimed = note.and_then(|note| Some((note, head::claimed_size(note)?)));
        let Some((note, size)) = claimed else {
            return Err(LogError::corrupt(file, "it is no signed checkpoint"));
        };
        let bundle = TileId::bundle(0);
        let first = fetch::entries(&store, bundle, bundle.width(size)).await?.into_iter().next();
        let genesis = first.and_then(|leaf| Genesis::decode(&leaf).ok());
        let Some(genesis) = genesis else {
            return Err(LogError::corrupt(store.full(&bundle.name()), "leaf 0 is no genesis"));
        };
        let keys = genesis.vkeys.iter().filter_map(|vkey| vkey.parse().ok());
        let Some(head) = keys.into_iter().find_map(|key| SignedHead::parse(note, &key).ok()) else {
            return Err(LogError::corrupt(file, "no key of the genesis leaf signed it"));
        };
        let reader = LogReader::new(store);
        // Leaf 0 has told us the key; it has to be in the tree that the key signed.
        reader.entry(0, &head.checkpoint).await?;
        Ok((reader, head))
    }

    /// The verifier keys that the genesis leaf of `head`'s log names.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] when leaf 0 is no genesis.
    pub async fn genesis_keys(&self, head: &Checkpoint) -> Result<Vec<VerifierKey>, LogError> {
        let genesis = Genesis::decode(&self.entry(0, head).await?);
        let genesis = genesis.map_err(|e| LogError::corrupt(self.store.full("leaf 0"), e.to_string()))?;
        Ok(genesis.vkeys.iter().filter_map(|vkey| vkey.parse().ok()).collect())
    }

    pub(crate) fn new(store: Store) -> LogReader {
        LogReader { store, edge: Arc::default() }
    }

    /// Leaf `index` of the tree `head`.
    pub async fn entry(&self, index: u64, head: &Checkpoint) -> Result<Vec<u8>, LogError> {
        let end = index.checked_add(1).ok_or(LogError::Range { index, size: head.size })?;
        let mut entries = self.entries(index..end, head).await?;
        entries.pop().ok_or(LogError::Range { index, size: head.size })
    }

    /// The leaves of `range` in the tree `head`. All of them come into memory: ask for a few bundles at a time.
    pub async fn entries(&self, range: Range<u64>, head: &Checkpoint) -> Result<Vec<Vec<u8>>, LogError> {
        if range.start > range.end || range.end > head.size {
            return Err(LogError::Range { index: range.end, size: head.size });
        }
        let mut nodes = self.nodes(head).await?;
        let mut leaves = Vec::new();
        let mut index = range.start;
        while index < range.end {
            nodes.forget_leaves();
            self.authenticate(&mut nodes, index).await?;
            let bundle = TileId::bundle(index);
            let width = bundle.width(head.size);
            let entries = fetch::entries(&self.store, bundle, width).await?;
            let start = index % WIDTH as u64;
            for entry in entries.into_iter().skip(start as usize) {
                if index == range.end {
                    break;
                }
                if nodes.leaf(index) != Some(leaf_hash(&entry)) {
                    let what = format!("leaf {index} is not the one the tree has");
                    return Err(LogError::corrupt(self.store.full(&bundle.name_at(width)), what));
                }
                leaves.push(entry);
                index += 1;
            }
        }
        Ok(leaves)
    }

    /// The proof that leaf `index` is in the tree `head`, sibling of the leaf first.
    pub async fn inclusion(&self, index: u64, head: &Checkpoint) -> Result<Vec<Hash>, LogError> {
        if index >= head.size {
            return Err(LogError::Range { index, size: head.size });
        }
        let mut nodes = self.nodes(head).await?;
        self.authenticate(&mut nodes, index).await?;
        let (leaf, path) = (nodes.leaf(index), nodes.inclusion(index));
        match (leaf, path) {
            (Some(leaf), Some(path))
                if verify_inclusion(&leaf, index, head.size, &path, &head.root).is_ok() =>
            {
                Ok(path)
            }
            _ => Err(self.unproven(head)),
        }
    }

    /// The proof that the tree `old` is a prefix of `head`.
    ///
    /// # Errors
    /// [`LogError::Contradiction`] when it is not.
    pub async fn consistency(&self, old: &Checkpoint, head: &Checkpoint) -> Result<Vec<Hash>, LogError> {
        let path = self.consistency_path(old.size, head).await?;
        verify_consistency(old.size, &old.root, head.size, &head.root, &path).map_err(|e| {
            let (old, new) = (old.size, head.size);
            LogError::Contradiction(format!("the tree of {old} leaves is no prefix of that of {new}: {e}"))
        })?;
        Ok(path)
    }

    /// The proof that this log's own tree of `old` leaves is a prefix of `head`: for someone who knows that tree's root.
    pub async fn consistency_path(&self, old: u64, head: &Checkpoint) -> Result<Vec<Hash>, LogError> {
        if old > head.size {
            return Err(LogError::Range { index: old, size: head.size });
        }
        if old == 0 || old == head.size {
            return Ok(Vec::new());
        }
        let mut nodes = self.nodes(head).await?;
        self.authenticate(&mut nodes, old - 1).await?;
        nodes.consistency(old).ok_or_else(|| self.unproven(head))
    }

    /// The inclusion proof of leaf `index` as a C2SP tlog-proof text, checkpoint included.
    pub async fn tlog_proof(&self, index: u64, head: &SignedHead) -> Result<String, LogError> {
        let path = self.inclusion(index, &head.checkpoint).await?;
        Ok(TlogProof { index, path, checkpoint: head.note.clone() }.to_text())
    }

    /// The right edge of `head`, verified.
    async fn nodes(&self, head: &Checkpoint) -> Result<Nodes, LogError> {
        let cached = self.edge.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let edge = match cached.filter(|edge| edge.size() == head.size) {
            Some(edge) => edge,
            None => Arc::new(Edge::new(head.size, fetch::levels(&self.store, head.size).await?, &[])),
        };
        if edge.root() != head.root {
            return Err(fetch::diagnose(&self.store, &edge).await);
        }
        *self.edge.lock().unwrap_or_else(PoisonError::into_inner) = Some(edge.clone());
        Ok(Nodes::new(head.size, edge.levels()))
    }

    /// Adds the tiles above leaf `index`, from the edge downwards; each has to be the one its parent names.
    async fn authenticate(&self, nodes: &mut Nodes, index: u64) -> Result<(), LogError> {
        for level in (0..LEVELS).rev() {
            let tile = TileId::covering(level, index);
            if nodes.has(tile) || tile.width(nodes.size()) < WIDTH {
                continue;
            }
            let hashes = fetch::hashes(&self.store, tile, WIDTH).await?;
            if !nodes.add(tile, hashes) {
                let what = "its hashes do not lead to the checkpoint's root";
                return Err(LogError::corrupt(self.store.full(&tile.name()), what));
            }
        }
        Ok(())
    }

    fn unproven(&self, head: &Checkpoint) -> LogError {
        let what = format!("no proof leads to the root at size {}", head.size);
        LogError::corrupt(self.store.full("tile"), what)
    }
}
