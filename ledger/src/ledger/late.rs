//! What a start takes up of earlier lives, and how it goes on without the log.
//!
//! A log that is kept elsewhere may not answer. What was logged, and where the chain of statements ends, only it can say;
//! so that is put off: exchanges are served, and signed by a key that is announced later. Their records wait in the WAL,
//! which is the outbox, and become statements in their order once the log answers.

use super::folder::Folder;
use super::objects::Objects;
use super::{Config, LedgerError, Pending};
use crate::attest::Birth;
use crate::destination::Destination;
use crate::recover::{self, Past};
use crate::service::PREDECESSOR_CODE;
use crate::shard::{Shard, UNANNOUNCED};
use crate::wal::{Holds, Replay, Wal};
use colophon_receipt::record::RecordId;
use std::collections::BTreeMap;

/// How often a start looks for what the life before had logged last.
const LOOKS: usize = 5;

/// What earlier lives of the folder left, beside the log.
pub(crate) struct Earlier {
    pub(super) replay: Replay,
    pub(super) last_shard: Option<(String, u64)>,
    /// What of `replay` is a record by now, from a try that then failed.
    pub(super) recovered: Vec<Pending>,
}

/// What the log says of it.
pub(crate) struct Found {
    past: Past,
    /// Where shards are announced that began without the log.
    late: BTreeMap<String, u64>,
    shard: Shard,
}

impl Earlier {
    /// Looks at what the log has, and announces the shard that `shard` gives for it. `own` has waited for that itself.
    pub(super) async fn find<T>(
        &self,
        log: &mut Destination,
        objects: &Objects,
        folder: &Folder,
        own: Option<&str>,
        birth: &Birth<'_>,
        shard: impl Fn(&Past) -> Result<(Shard, T), LedgerError>,
    ) -> Result<(Found, T), LedgerError> {
        let late = announce_kept(log, folder, own).await?;
        let mut tries = 0;
        loop {
            let (reader, head) = (log.reader(), log.head());
            let past =
                recover::look_back(&reader, &head, objects, self.last_shard.clone(), &self.replay).await?;
            let (shard, with) = shard(&past)?;
            match shard.announced_in(log, past.predecessor.clone(), birth).await {
                // A statement of the life before was still on its way to the log: it counts, so look again.
                Err(error) if error.refused() == Some(PREDECESSOR_CODE) && tries < LOOKS => tries += 1,
                announced => {
                    return Ok((Found { past, late, shard: announced? }, with));
                }
            }
            log.refresh().await?;
        }
    }
}

/// Has the log announce the shards of lives that ended before it answered: it comes to know the keys of their answers.
async fn announce_kept(
    log: &mut Destination,
    folder: &Folder,
    own: Option<&str>,
) -> Result<BTreeMap<String, u64>, LedgerError> {
    let mut late = BTreeMap::new();
    for announcement in folder.unannounced()?.into_iter().filter(|kept| Some(kept.shard.as_str()) != own) {
        match log.announce(&announcement).await.map_err(LedgerError::from) {
            Ok(index) => drop(late.insert(announcement.shard, index)),
            Err(error) if error.refused().is_some() => {
                tracing::error!(shard = announcement.shard, %error, "the log does not announce this earlier shard");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(late)
}

impl Found {
    /// Where the last statement of earlier lives ends, µs.
    pub(super) fn told_to(&self) -> Option<u64> {
        self.past.to
    }

    /// Makes the shard the folder's, and what is not logged its records. Gives the time as well from which on it tells: where
    /// no shard was before, no later than `since`. After an error it may be called again with the same.
    pub(super) fn taken_up(
        &self,
        earlier: &mut Earlier,
        folder: &Folder,
        wal: &Wal,
        now: u64,
        since: u64,
    ) -> Result<(Shard, u64, Vec<Pending>), LedgerError> {
        let (Found { past, late, shard }, Earlier { replay, last_shard, recovered }) = (self, earlier);
        if let Some((shard, _)) = last_shard.take().filter(|(name, _)| past.is_lost(name, replay)) {
            tracing::error!(
                shard,
                wal = %folder.wal().display(),
                "MISSING WAL: this shard did not end cleanly, and none of its WAL segments can be read; its last \
                 records may be lost"
            );
        }
        // Before the folder names the shard: a shard that it names and that has no segment has lost it.
        wal.set_shard(&shard.name, shard.announced);
        folder.set_shard(&shard.name, shard.announced)?;
        recover::records(replay, recovered, past, wal, shard, late, now)?;
        folder.forget_unannounced()?;
        let recovered = std::mem::take(recovered);
        if !recovered.is_empty() {
            tracing::warn!(records = recovered.len(), "records of an earlier life recovered from the WAL");
        }
        let oldest = recovered.iter().map(|pending| pending.completed_at).min().unwrap_or(since);
        Ok((shard.clone(), past.to.unwrap_or(oldest.min(since)), recovered))
    }
}

/// A start that waits for the log.
pub(crate) struct Late {
    earlier: Earlier,
    /// Not announced yet.
    shard: Shard,
    /// Keeps the WAL of earlier lives.
    holds: Holds,
    ids: Vec<RecordId>,
    /// When it began, µs.
    since: u64,
}

impl Late {
    pub(super) async fn begin(
        earlier: Earlier,
        log: &Destination,
        config: &Config,
        folder: &Folder,
        wal: &Wal,
        now: u64,
        birth: &Birth<'_>,
    ) -> Result<Late, LedgerError> {
        let shard = birth.attest(Shard::generate(&config.name, now, config.shard_key_life)?, now).await?;
        tracing::warn!(
            log = log.origin(),
            shard = shard.name,
            "the log does not answer: exchanges are served, and their records wait in the WAL"
        );
        // Without a predecessor: which it is, only the log can say. While this life goes on, it says it itself.
        folder.add_unannounced(&shard.announcement(log.origin(), None))?;
        let holds = wal.hold_recovered();
        wal.set_shard(&shard.name, UNANNOUNCED);
        let ids = earlier.replay.ids().collect();
        Ok(Late { earlier, shard, holds, ids, since: now })
    }

    pub(super) fn shard(&self) -> &Shard {
        &self.shard
    }

    pub(super) fn since(&self) -> u64 {
        self.since
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = RecordId> {
        self.ids.iter().copied()
    }

    pub(super) fn earlier(&mut self) -> &mut Earlier {
        &mut self.earlier
    }

    /// What keeps the WAL of earlier lives, and whose ids were expected.
    pub(super) fn end(self) -> (Holds, Vec<RecordId>) {
        (self.holds, self.ids)
    }
}
