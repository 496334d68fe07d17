//! A log whose key was rotated while the WAL was not empty: indexes that the WAL has are those of a generation that has ended.

use super::LedgerError;
use super::late::Earlier;
use super::objects::Objects;
use crate::destination::Destination;
use crate::generation::Older;
use crate::recover::{self, is_announced};
use crate::shard::UNANNOUNCED;
use std::collections::HashSet;

impl Earlier {
    /// Takes out what `older` generations say is logged. What is left of their shards becomes this generation's, as of a shard
    /// that nobody announced: whoever reads a receipt of it finds no word on the old shard's key in this log.
    ///
    /// # Errors
    /// The log cannot be read, or not all of its generations: then nobody knows what is logged.
    pub(super) async fn leave_generations(
        &mut self,
        log: &Destination,
        objects: &Objects,
        older: &[Older],
    ) -> Result<(), LedgerError> {
        let generation = log.generation();
        if generation == 1 {
            return Ok(());
        }
        let (reader, head) = (log.reader(), log.head());
        if let Some(last) = &self.last_shard
            && !is_announced(&reader, &head, last).await?
        {
            self.last_shard = None;
        }
        let mut theirs = Vec::new();
        for (name, index) in &self.replay.shards {
            let shard = (name.clone(), *index);
            if *index != UNANNOUNCED && !is_announced(&reader, &head, &shard).await? {
                theirs.push(shard);
            }
        }
        if theirs.is_empty() {
            return Ok(());
        }
        if older.len() + 1 != generation as usize {
            return Err(LedgerError::Damaged {
                what: "an earlier generation of the log".into(),
                why: "it cannot be used, and may hold records that are in the write-ahead log; put its files back".into(),
            });
        }
        let mut logged = HashSet::new();
        for Older { reader, head, .. } in older {
            let mut here = false;
            for shard in &theirs {
                here |= is_announced(reader, head, shard).await?;
            }
            if here {
                logged.extend(recover::look_back(reader, head, objects, None, &self.replay).await?.logged);
            }
        }
        let replay = &mut self.replay;
        replay.done.retain(|done| !logged.contains(&done.id));
        replay.open.retain(|id, _| !logged.contains(id));
        tracing::error!(
            logged = logged.len(),
            left = replay.done.len() + replay.open.len(),
            "the log's key was rotated while the write-ahead log held records: what is left of them goes to the new generation"
        );
        let theirs: HashSet<String> = theirs.into_iter().map(|(name, _)| name).collect();
        for done in &mut replay.done {
            if done.shard.as_deref().is_some_and(|shard| theirs.contains(shard)) {
                done.announced = UNANNOUNCED;
            }
        }
        replay.shards.retain(|name, _| !theirs.contains(name));
        Ok(())
    }
}
