//! Every draw of a log, re-computed: what was drawn has evidence, and nothing else has.

use std::collections::HashMap;

use colophon_receipt::draw::{certain, drawn};
use colophon_receipt::evidence::{Verdict, draw_id, is_asked};
use colophon_receipt::record::RecordId;
use colophon_receipt::statement::Statement;
use colophon_receipt::{Hash, Level};
use colophon_signer::drand::Chain;

use super::statements::Statements;
use super::{Finding, Report};
use crate::batch::Batch;
use crate::draws::rounds;
use crate::index;
use crate::ledger::keeper::batch_name;
use crate::store::Store;

/// Evidence may follow its round by this long, µs, by the log's own times.
const GRACE: u64 = 3_600_000_000;
/// A proof may take as long as the longest deadline of a policy, a week.
const PROOF_GRACE: u64 = GRACE + 7 * 86_400_000_000;
/// Draws and evidence remembered; a log that has more is not checked to its end.
const MANY: usize = 16_000_000;

/// What became of records that may be drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drawn {
    /// Records that may be drawn.
    pub records: u64,
    /// Those that the round, or their rule, drew.
    pub drawn: u64,
    /// Those whose round is not in the store.
    pub unknown: u64,
    /// Drawn, with an evidence leaf.
    pub with_evidence: u64,
    /// Drawn, without one, and the log is not long past their round.
    pub waiting: u64,
    /// Evidence leaves that say that nothing was done.
    pub not_done: u64,
    /// Evidence leaves that somebody asked for, beside the draws.
    pub asked: u64,
}

/// A record that was drawn.
struct Expected {
    file: String,
    slot: u32,
    subject: Hash,
    kind: Level,
    /// Log index of its statement.
    index: u64,
    /// When its round was made, µs.
    made: u64,
}

/// An evidence leaf.
struct Found {
    file: String,
    slot: u32,
    subject: Hash,
    kind: Level,
    index: u64,
}

pub(super) struct Draws {
    store: Store,
    chain: Chain,
    /// By the id of its evidence.
    expected: HashMap<RecordId, Expected>,
    found: HashMap<RecordId, Found>,
    /// Records whose round is not in the store: evidence for them is not judged.
    unknown: HashMap<RecordId, ()>,
    /// The round that was read last.
    last: Option<(u64, Option<Hash>)>,
    /// The end of the newest statement, µs.
    newest: u64,
    /// The beginning of the oldest, µs: of records before it an earlier generation of the log tells.
    oldest: u64,
}

impl Draws {
    pub(super) fn new(store: Store, chain: Chain) -> Draws {
        Draws {
            store,
            chain,
            expected: HashMap::new(),
            found: HashMap::new(),
            unknown: HashMap::new(),
            last: None,
            newest: 0,
            oldest: u64::MAX,
        }
    }

    /// Takes in how far the log has come.
    pub(super) fn seen(&mut self, statement: &Statement) {
        self.newest = self.newest.max(statement.to);
        self.oldest = self.oldest.min(statement.from);
    }

    /// Takes a batch in, whose statement is at `index` of the log.
    pub(super) async fn batch(
        &mut self,
        index: u64,
        statement: &Statement,
        batch: &Batch,
        report: &mut Report,
    ) {
        let file = batch_name(&statement.shard, statement.seq);
        if self.expected.len() + self.found.len() + self.unknown.len() > MANY {
            report.find(Finding::Unreadable(format!("{file}: too many draws to remember")));
            return;
        }
        for (slot, leaf) in &batch.evidence {
            let found =
                Found { file: file.clone(), slot: *slot, subject: leaf.subject, kind: leaf.kind, index };
            report.drawn.not_done += u64::from(leaf.verdict == Verdict::NotDone);
            if is_asked(&leaf.id, &leaf.subject, leaf.kind) {
                // Whatever was drawn: its subject is its own word.
                report.drawn.asked += 1;
                continue;
            }
            self.found.insert(leaf.id, found);
        }
        if batch.draws.is_empty() {
            return;
        }
        let number = self.chain.schedule.round(statement.to);
        let made = self.chain.schedule.time(number);
        let randomness = self.randomness(number, report).await;
        for record in &batch.draws {
            let Some(subject) = batch.hashes().get(record.slot as usize).copied() else { continue };
            report.drawn.records += 1;
            let id = draw_id(statement.to, &record.id, &subject, record.target);
            let is = match randomness {
                _ if certain(record.threshold) => true,
                Some(randomness) => drawn(&randomness, &subject, record.threshold),
                None => {
                    report.drawn.unknown += 1;
                    self.unknown.insert(id, ());
                    false
                }
            };
            if is {
                report.drawn.drawn += 1;
                let made = if certain(record.threshold) { statement.to } else { made };
                let (slot, kind) = (record.slot, record.target);
                self.expected.insert(id, Expected { file: file.clone(), slot, subject, kind, index, made });
            }
        }
    }

    async fn randomness(&mut self, number: u64, report: &mut Report) -> Option<Hash> {
        if let Some((_, randomness)) = self.last.filter(|(last, _)| *last == number) {
            return randomness;
        }
        let found = match rounds::verified(&self.store, &self.chain, number).await {
            Ok(found) => found,
            Err(what) => {
                let file = rounds::round_file(&self.chain, number);
                report.find(Finding::Draw { file, what });
                None
            }
        };
        self.last = Some((number, found));
        found
    }

    /// Compares what was drawn with what has evidence.
    pub(super) fn finish(&mut self, statements: &Statements, report: &mut Report) {
        let mut findings = Vec::new();
        for (id, expected) in &self.expected {
            let fits = self.found.get(id).map(|found| {
                (found.subject, found.kind) == (expected.subject, expected.kind)
                    && found.index > expected.index
            });
            let what = match fits {
                Some(true) => {
                    report.drawn.with_evidence += 1;
                    continue;
                }
                Some(false) => "its evidence leaf is of another record or level, or comes before it",
                None if self.newest < expected.made.saturating_add(grace(expected.kind)) => {
                    report.drawn.waiting += 1;
                    continue;
                }
                None => "it has no evidence leaf, not even one that nothing was done",
            };
            let what = format!("record {} was drawn for {}: {what}", expected.slot, expected.kind);
            findings.push((expected.index, Finding::Draw { file: expected.file.clone(), what }));
        }
        for (id, found) in &self.found {
            if statements.announced(&found.subject) {
                report.key_evidence += 1;
                continue;
            }
            // The id has the time of the record's statement, in ms.
            let earlier = index::id_ms(id).saturating_add(1).saturating_mul(1000) <= self.oldest;
            if self.expected.contains_key(id) || self.unknown.contains_key(id) || earlier {
                continue;
            }
            let what =
                format!("leaf {} is evidence for a record that was not drawn, or is not there", found.slot);
            findings.push((found.index, Finding::Draw { file: found.file.clone(), what }));
        }
        findings.sort_by(|(a, one), (b, other)| (a, one.to_string()).cmp(&(b, other.to_string())));
        findings.into_iter().for_each(|(_, finding)| report.find(finding));
    }
}

fn grace(kind: Level) -> u64 {
    if kind == Level::Zk { PROOF_GRACE } else { GRACE }
}

#[cfg(test)]
mod tests;
