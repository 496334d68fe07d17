//! `colophon log show`: the leaves of a log, one after another, described.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use colophon_receipt::erasure::Erased;
use object_store::ObjectStore;

use crate::head::SignedHead;
use crate::leaf::Leaf;
use crate::log::{LogError, LogReader};
use crate::tiles::WIDTH;

/// Walks the leaves of a log, each authenticated against the newest checkpoint.
#[derive(Debug)]
pub struct Show {
    reader: LogReader,
    head: SignedHead,
    range: Range<u64>,
    read: std::vec::IntoIter<Vec<u8>>,
}

impl Show {
    /// Opens the log of `generation` in `store` for reading; leaves outside `range` are skipped.
    ///
    /// # Errors
    /// [`LogError`] when the checkpoint or the genesis cannot be read or does not hold.
    pub async fn open(
        store: Arc<dyn ObjectStore>,
        generation: u32,
        range: Range<u64>,
    ) -> Result<Show, LogError> {
        let (reader, head) = LogReader::open(store, generation).await?;
        let end = range.end.min(head.size());
        let range = range.start.min(end)..end;
        Ok(Show { reader, head, range, read: Vec::new().into_iter() })
    }

    /// The checkpoint that the leaves are proven against.
    pub fn head(&self) -> &SignedHead {
        &self.head
    }

    /// The next leaf, or `None` after the last.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] when a leaf does not lead to the checkpoint's root.
    pub async fn next(&mut self) -> Result<Option<Shown>, LogError> {
        if self.range.is_empty() {
            return Ok(None);
        }
        let index = self.range.start;
        let bytes = match self.read.next() {
            Some(bytes) => bytes,
            None => {
                let border = (index / WIDTH as u64 + 1).saturating_mul(WIDTH as u64);
                let end = border.min(self.range.end);
                self.read = self.reader.entries(index..end, &self.head.checkpoint).await?.into_iter();
                self.read.next().ok_or(LogError::Range { index, size: self.head.size() })?
            }
        };
        self.range.start += 1;
        Ok(Some(Shown { index, size: bytes.len(), leaf: Leaf::parse(&bytes).map_err(|e| e.to_string()) }))
    }
}

/// One leaf; `Display` is one line.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Index in the log.
    pub index: u64,
    /// Bytes of the leaf.
    pub size: usize,
    /// The leaf, or why it is none.
    pub leaf: Result<Leaf, String>,
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>8}  ", self.index)?;
        match &self.leaf {
            Ok(Leaf::Genesis(genesis)) => {
                write!(f, "genesis    {} keys={}", genesis.origin, genesis.vkeys.join(","))
            }
            Ok(Leaf::Announcement(_, new)) => {
                let key = hex::encode(new.public_key);
                write!(f, "announce   {} key={key} until={}", new.shard, new.not_after)
            }
            Ok(Leaf::Statement(_, s)) => {
                let (root, all) = (hex::encode(s.root), s.cumulative_exchanges);
                write!(f, "statement  {}#{} count={} total={all} root={root}", s.shard, s.seq, s.count)?;
                s.bypasses.iter().try_for_each(|bypass| {
                    write!(f, " bypass={} count={}", hex::encode(bypass.id), bypass.count)
                })
            }
            Ok(Leaf::Close(_, close)) => {
                write!(f, "close      {}#{} at={}", close.shard, close.seq, close.at)
            }
            Ok(Leaf::Erasure(_, erasure)) => {
                let (shard, openings, id) = (&erasure.shard, erasure.openings, hex::encode(erasure.id));
                write!(f, "erasure    {shard} openings={openings} id={id} at={}", erasure.at)?;
                match &erasure.what {
                    Erased::Record { id, .. } => write!(f, " record={}", hex::encode(id)),
                    Erased::Tenant(commitment) => write!(f, " tenant={}", hex::encode(commitment)),
                    Erased::Before(time) => write!(f, " before={time}"),
                }
            }
            Ok(Leaf::PolicyChange(_, change)) => {
                let (before, after) = (hex::encode(change.before), hex::encode(change.after));
                write!(f, "policy     {}#{} before={before} after={after}", change.shard, change.seq)?;
                write!(f, " at={}", change.at)
            }
            Ok(Leaf::Revocation(signed, revoked)) => {
                let of = revoked.shard.as_deref().unwrap_or(signed.iss());
                let (key, reason) = (hex::encode(revoked.key_id), revoked.reason);
                write!(f, "revoke     {of} key={key} reason={reason} from={}", revoked.from())?;
                revoked.successor.iter().try_for_each(|vkey| write!(f, " successor={vkey}"))
            }
            Err(why) => write!(f, "unknown    {} bytes: {why}", self.size),
        }
    }
}
