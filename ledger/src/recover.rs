//! What an earlier life of the folder left: which of its records are logged, and where its chain of statements ends.
//!
//! Nothing is logged twice: records with DONE in the WAL are looked for in every batch of the folder's earlier shards
//! that ends at or after the first of them; exchanges with OPEN only are looked for in the index. The newest batch may
//! have been logged by a process that died before it wrote the index; that is made up for first.

use crate::batch;
use crate::head::SignedHead;
use crate::index::{self, Target};
use crate::ledger::keeper::batch_name;
use crate::ledger::objects::Objects;
use crate::ledger::{LedgerError, Pending};
use crate::log::LogReader;
use crate::lookup::Places;
use crate::shard::{Shard, UNANNOUNCED};
use crate::wal::{Replay, Wal};
use colophon_receipt::Outcome;
use colophon_receipt::fields::{DECISION, DecisionField};
use colophon_receipt::record::{FieldSet, RecordId, decode_field, seal};
use colophon_receipt::statement::{
    ANNOUNCEMENT_TYPE, Announcement, CLOSE_TYPE, Predecessor, STATEMENT_TYPE, Statement, payload_hash,
};
use colophon_signer::cose::Sign1;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

/// Entries read at once: a full bundle.
const STRIDE: u64 = 256;

/// What the log says about the folder's earlier shards.
#[derive(Debug, Default)]
pub(crate) struct Past {
    /// The last statement of the last shard that made one.
    pub(crate) predecessor: Option<Predecessor>,
    /// Where its interval ends, µs.
    pub(crate) to: Option<u64>,
    /// Which records of the WAL are logged.
    pub(crate) logged: HashSet<RecordId>,
    /// Shards whose close leaf was seen. The newest shard's comes before all else.
    closed: HashSet<String>,
    /// Where shards of the WAL were announced.
    announced: BTreeMap<String, u64>,
}

impl Past {
    /// Whether `shard`, the folder's last one, died and left nothing in the WAL, not even the header of a segment.
    pub(crate) fn is_lost(&self, shard: &str, replay: &Replay) -> bool {
        !self.closed.contains(shard) && !replay.shards.contains_key(shard)
    }
}

/// Walks the log backwards, as far as `replay` asks for.
pub(crate) async fn look_back(
    reader: &LogReader,
    head: &SignedHead,
    objects: &Objects,
    last_shard: Option<(String, u64)>,
    replay: &Replay,
) -> Result<Past, LedgerError> {
    let shards = replay.shards.clone().into_iter().chain(last_shard);
    let mut walk = Walk {
        ours: shards.map(|(name, announced)| (name, Some(announced))).collect(),
        waiting: replay.done.iter().map(|done| done.id).collect(),
        earliest: replay.done.iter().map(|done| done.completed_at).min(),
        past: Past::default(),
        newest_batch: false,
        places: Places::default(),
    };
    if walk.ours.is_empty() {
        return Ok(walk.past);
    }
    let mut end = head.size();
    'log: while end > 0 {
        // Whole bundles, each read once.
        let start = (end - 1) / STRIDE * STRIDE;
        let entries = reader.entries(start..end, &head.checkpoint).await?;
        for (entry, index) in entries.iter().rev().zip((start..end).rev()) {
            if walk.entry(objects, index, &entry[..]).await? {
                break 'log;
            }
        }
        end = start;
    }
    // Only this process could log them, so each hour is listed once.
    let now = Instant::now();
    for id in replay.open.keys() {
        if walk.places.find_since(objects, id, now).await?.is_some() {
            walk.past.logged.insert(*id);
        }
    }
    Ok(walk.past)
}

/// Whether the log's entry at that index announces the shard.
pub(crate) async fn is_announced(
    reader: &LogReader,
    head: &SignedHead,
    (name, announced): &(String, u64),
) -> Result<bool, LedgerError> {
    if *announced >= head.size() {
        return Ok(false);
    }
    let entry = reader.entry(*announced, &head.checkpoint).await?;
    let signed = Sign1::parse(&entry);
    Ok(signed.is_ok_and(|signed| signed.content_type() == ANNOUNCEMENT_TYPE && signed.sub() == name))
}

struct Walk {
    /// The folder's shards, with the log index of their announcements where the folder knows it.
    ours: BTreeMap<String, Option<u64>>,
    waiting: HashSet<RecordId>,
    /// The first completion time among `waiting`.
    earliest: Option<u64>,
    past: Past,
    /// The newest shard's last batch was seen, or it has none.
    newest_batch: bool,
    places: Places,
}

impl Walk {
    /// Takes one log entry in; `true` when nothing earlier matters.
    async fn entry(&mut self, objects: &Objects, index: u64, entry: &[u8]) -> Result<bool, LedgerError> {
        let Ok(signed) = Sign1::parse(entry) else { return Ok(false) };
        let Some(announced) = self.ours.get(signed.sub()).copied() else { return Ok(false) };
        let damaged = |e| LedgerError::Damaged { what: format!("log entry {index}"), why: format!("{e}") };
        match signed.content_type() {
            ANNOUNCEMENT_TYPE => {
                let announcement = Announcement::decode(signed.payload()).map_err(damaged)?;
                // A shard's index was made up for before the next one began.
                self.newest_batch |= self.past.predecessor.is_some();
                self.past.announced.insert(signed.sub().to_owned(), index);
                match announcement.predecessor {
                    Some(earlier) => drop(self.ours.entry(earlier.shard).or_insert(None)),
                    // One that was announced late, by another life, names none.
                    None => return Ok(announced != Some(UNANNOUNCED)),
                }
                Ok(false)
            }
            STATEMENT_TYPE => {
                let statement = Statement::decode(signed.payload()).map_err(damaged)?;
                if self.past.predecessor.is_none() {
                    self.past.to = Some(statement.to);
                    self.past.predecessor = Some(Predecessor {
                        shard: statement.shard.clone(),
                        seq: statement.seq,
                        payload_hash: payload_hash(signed.payload()),
                    });
                }
                let relevant = self.earliest.is_some_and(|earliest| statement.to >= earliest);
                if statement.count > 0 && (relevant || !self.newest_batch) {
                    self.batch(objects, index, announced, &statement).await?;
                }
                // A shard without records leaves no batch to index.
                self.newest_batch |= statement.count > 0
                    || (statement.cumulative_exchanges == 0 && statement.cumulative_evidence == 0);
                Ok(!relevant && self.newest_batch)
            }
            CLOSE_TYPE => {
                self.past.closed.insert(signed.sub().to_owned());
                Ok(false)
            }
            _ => Ok(false),
        }
    }

    async fn batch(
        &mut self,
        objects: &Objects,
        log_index: u64,
        announced: Option<u64>,
        statement: &Statement,
    ) -> Result<(), LedgerError> {
        let name = batch_name(&statement.shard, statement.seq);
        let damaged = |why: String| LedgerError::Damaged { what: name.clone(), why };
        let bytes = objects.get(&name, batch::MAX_BYTES).await?;
        let bytes = bytes.ok_or_else(|| damaged("it is missing, though its statement is logged".into()))?;
        let batch = batch::read(&bytes).map_err(|e| damaged(e.to_string()))?;
        if batch.root() != statement.root {
            return Err(damaged("it has another root than its logged statement".into()));
        }
        self.past.logged.extend(batch.ids.iter().map(|(id, _)| *id).filter(|id| self.waiting.contains(id)));
        if let Some(announced) = announced {
            let (shard, seq) = (statement.shard.clone(), statement.seq);
            let target = Target { shard, seq, log_index, announced };
            write_index(objects, &self.places, &target, &batch.ids).await?;
        }
        Ok(())
    }
}

/// Writes those index files of a batch that are not there.
async fn write_index(
    objects: &Objects,
    places: &Places,
    target: &Target,
    ids: &[(RecordId, u32)],
) -> Result<(), LedgerError> {
    for (name, bytes) in index::write(target, ids.iter().copied()) {
        let merged = async || match ids_of(&name, ids) {
            Some(id) => matches!(places.find(objects, &id).await, Ok(Some(_))),
            None => false,
        };
        if !objects.exists(&name).await? && !merged().await {
            tracing::warn!(name, "index of a logged batch was missing; rebuilt");
            objects.put(&name, bytes.into()).await?;
        }
    }
    Ok(())
}

/// An id whose row is in that index file.
fn ids_of(name: &str, ids: &[(RecordId, u32)]) -> Option<RecordId> {
    let name = name.rsplit('/').next()?;
    ids.iter().map(|(id, _)| *id).find(|id| index::may_hold(name, id))
}

/// The records that still have to be logged, in the WAL of the new shard as far as they were not: finished ones as
/// they are, and what was only accepted as outcome 5 with the fields known then. They go from `replay` to `records`, so that
/// after an error the rest is made when it is called again, and nothing twice.
pub(crate) fn records(
    replay: &mut Replay,
    records: &mut Vec<Pending>,
    past: &Past,
    wal: &Wal,
    shard: &Shard,
    late: &BTreeMap<String, u64>,
    now: u64,
) -> Result<(), LedgerError> {
    for mut done in std::mem::take(&mut replay.done) {
        if past.logged.contains(&done.id) {
            continue;
        }
        if done.announced == UNANNOUNCED {
            let name = done.shard.unwrap_or_default();
            let known = late.get(&*name).or_else(|| past.announced.get(&*name));
            let known = known.or_else(|| replay.shards.get(&*name).filter(|index| **index != UNANNOUNCED));
            if known.is_none() {
                tracing::error!(
                    id = hex::encode(done.id),
                    shard = &*name,
                    "this answer was signed by a key that the log, or this generation of it, does not announce: its record is \
                     logged, without the signature"
                );
                done.signatures.clear();
            }
            done.announced = known.copied().unwrap_or(shard.announced);
        }
        if past.to.is_some_and(|to| done.completed_at < to) {
            tracing::error!(
                id = hex::encode(done.id),
                "a record in the WAL is older than the log's last statement of this folder; it is logged late"
            );
        }
        records.push(Pending {
            id: done.id,
            tenant: done.tenant.map(Arc::from),
            rule: rule(&done.record.fields),
            completed_at: done.completed_at,
            record: done.record,
            signatures: done.signatures,
            announced: done.announced,
            refused: done.refused,
            degraded: false,
            holds: wal.hold_recovered(),
        });
    }
    while let Some(entry) = replay.open.first_entry() {
        if past.logged.contains(entry.key()) {
            entry.remove();
            continue;
        }
        let open = entry.get();
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)?;
        let record = seal(open.id, now, open.level, Outcome::Recovered, seed, open.fields.clone());
        // With DONE first: a crash from here on must not make a second record with another seed.
        let earlier = wal.hold_recovered();
        let written = wal
            .queue_done(&record, &[], shard.announced, false, open.tenant.as_deref())
            .and_then(|done| wal.written_done(&open.id, done));
        let holds = match written {
            Ok(holds) => earlier.and(holds),
            Err(error) => {
                wal.let_go(earlier);
                return Err(error.into());
            }
        };
        let open = entry.remove();
        records.push(Pending {
            id: open.id,
            tenant: open.tenant.map(Arc::from),
            rule: rule(&record.fields),
            completed_at: now,
            record,
            signatures: Vec::new(),
            announced: shard.announced,
            refused: false,
            degraded: false,
            holds,
        });
    }
    Ok(())
}

/// The rule that decided, as the record has it.
fn rule(fields: &FieldSet) -> Option<Arc<str>> {
    let (_, value) = decode_field(fields.get(DECISION)?).ok()?;
    let rule = DecisionField::read(value).ok()?.rule?;
    std::str::from_utf8(&rule).ok().map(Arc::from)
}
