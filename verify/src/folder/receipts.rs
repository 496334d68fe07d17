//! The receipts of an export: each verified, each in a place of its own.

use std::collections::BTreeMap;
use std::thread;

use colophon_receipt::checkpoint::Checkpoint;
use colophon_receipt::merkle::leaf_hash;
use colophon_receipt::receipt::Receipt;
use colophon_signer::drand::Chain;

use super::account::Account;
use super::source::Item;
use super::{FolderReport, Manifest};
use crate::log::{LogProof, same_tree};
use crate::text::quoted;
use crate::{Bodies, Report, Trust, Verdict, policy};

/// Receipts verified at once, shared out over the cores.
const TOGETHER: usize = 256;
/// And no more bytes of them than this, however long they are.
const MAX_WAITING: usize = 32 << 20;

/// Receipts as they come.
pub(super) struct Receipts<'a> {
    account: &'a Account,
    policies: &'a BTreeMap<String, Vec<u8>>,
    trust: Option<&'a Trust>,
    at: Option<u64>,
    /// What a reader has besides: the chain that draws.
    bodies: Bodies,
    waiting: Vec<Item>,
    waiting_bytes: usize,
    /// For each counted statement, which of its records were seen: words of bits by their number. A statement by nobody's key
    /// can count as many as it likes.
    seen: Vec<BTreeMap<u64, u64>>,
    /// The trees that checkpoints here are of, by size: the account's and those of receipts.
    trees: BTreeMap<u64, Checkpoint>,
}

impl<'a> Receipts<'a> {
    pub(super) fn new(
        account: &'a Account,
        policies: &'a BTreeMap<String, Vec<u8>>,
        trust: Option<&'a Trust>,
        at: Option<u64>,
        chain: Option<&Chain>,
    ) -> Receipts<'a> {
        let seen = vec![BTreeMap::new(); account.count.counted.len()];
        let bodies = Bodies { chain: chain.cloned(), ..Bodies::default() };
        let trees = account.checkpoint.iter().map(|head| (head.size, head.clone())).collect();
        let waiting = Vec::new();
        Receipts { account, policies, trust, at, bodies, waiting, waiting_bytes: 0, seen, trees }
    }

    pub(super) fn take(&mut self, item: Item, report: &mut FolderReport) {
        self.waiting_bytes += item.bytes.len();
        self.waiting.push(item);
        if self.waiting.len() >= TOGETHER || self.waiting_bytes >= MAX_WAITING {
            self.verify(report);
        }
    }

    /// Verifies what waits and says which records have no receipt.
    pub(super) fn finish(mut self, manifest: &Manifest, report: &mut FolderReport) {
        self.verify(report);
        if !manifest.receipts && report.receipts.verified == 0 {
            return;
        }
        report.receipts.expected = true;
        for (counted, seen) in self.account.count.counted.iter().zip(&self.seen) {
            let statement = &counted.statement;
            let found: u64 = seen.values().map(|word| u64::from(word.count_ones())).sum();
            let missing = counted.records.saturating_sub(found);
            if missing > 0 {
                report.missing(&statement.shard, statement.seq, missing, counted.records);
            }
        }
    }

    fn verify(&mut self, report: &mut FolderReport) {
        let items = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let share = items.len().div_ceil(cores).max(1);
        let (trust, at, bodies) = (self.trust, self.at, &self.bodies);
        let verified: Vec<(Report, Option<Receipt>)> = thread::scope(|scope| {
            let shares: Vec<_> = items
                .chunks(share)
                .map(|items| {
                    scope.spawn(move || {
                        items.iter().map(|item| one(item, trust, bodies, at)).collect::<Vec<_>>()
                    })
                })
                .collect();
            shares.into_iter().flat_map(|share| share.join().unwrap_or_default()).collect()
        });
        if verified.len() != items.len() {
            report.fault("receipts could not be verified: a thread of the verifier failed");
        }
        for (item, (found, receipt)) in items.iter().zip(verified) {
            self.place(&item.name, &found, receipt, report);
        }
    }

    fn place(&mut self, name: &str, found: &Report, receipt: Option<Receipt>, report: &mut FolderReport) {
        report.receipts.verified += 1;
        let Some(receipt) = receipt.filter(|_| found.result != Verdict::Bad) else {
            let failed: Vec<&str> = found.failed().map(|check| check.name).collect();
            return report.bad(name, &format!("{} failed", failed.join(", ")));
        };
        report.receipts.trusted += u64::from(found.result == Verdict::Trusted);
        report.receipts.dated += u64::from(found.time.upper.is_some());
        if let Ok(LogProof { checkpoint, .. }) = LogProof::parse(&receipt.log_proof) {
            let size = checkpoint.size;
            let known = self.trees.entry(size).or_insert_with(|| checkpoint.clone());
            if let Err(why) = same_tree(known, &checkpoint) {
                return report.bad(name, &why);
            }
        }
        let file = name.rsplit('/').next().and_then(|file| file.strip_suffix(".json"));
        if file != found.record.as_deref() {
            return report.bad(name, "it is named after another record");
        }
        if let Some(decision) = &found.decision {
            match self.policies.get(&decision.policy).map(|text| policy::judge(text, decision)) {
                None => report.receipts.without_policy += 1,
                Some(Err(error)) => return report.bad(name, &error),
                Some(Ok(_)) => {}
            }
        }
        let Some(at) = self.account.places.get(&leaf_hash(&receipt.statement.0)) else {
            return report
                .bad(name, "it belongs to no batch of this account: another log, interval or shard");
        };
        let index = receipt.batch.index;
        let count = self.account.count.counted.get(*at).map_or(0, |counted| counted.statement.count);
        let Some(seen) = self.seen.get_mut(*at).filter(|_| index < count) else { return };
        let (word, bit) = (seen.entry(index / 64).or_default(), 1u64 << (index % 64));
        if *word & bit != 0 {
            let record = quoted(found.record.as_deref().unwrap_or_default());
            return report.bad(name, &format!("a second receipt of record {record}"));
        }
        *word |= bit;
    }
}

fn one(item: &Item, trust: Option<&Trust>, bodies: &Bodies, at: Option<u64>) -> (Report, Option<Receipt>) {
    (crate::verify(&item.bytes, trust, bodies, at), Receipt::from_json(&item.bytes).ok())
}
