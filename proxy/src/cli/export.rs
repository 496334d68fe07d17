//! Exports: a folder or `.tar.zst` with a part of a log, receipts, and what an auditor needs to know (FORMATS section 16).

mod readme;
mod sink;

pub(super) use self::sink::Sink;

use super::account::Log;
use super::term;
use anyhow::Context as _;
use colophon_ledger::index::Target;
use colophon_ledger::{Archive, Lookup};
use colophon_receipt::policy_change::policy_file;
use colophon_receipt::record::{RecordId, id_text};
use colophon_receipt::tiles::{self, WIDTH};
use colophon_verify::count::{Count, Counted, Window};
use colophon_verify::folder::{self, FolderReport, MANIFEST, Manifest, RECEIPTS, manifest};
use colophon_verify::{Trust, Verdict};
use futures_util::{StreamExt as _, stream};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use tokio_util::task::TaskTracker;

/// A log of at most this many entries is exported whole, so that nothing can hide outside of the part shown.
const WHOLE: u64 = 65_536;

/// Receipts made at the same time.
const AT_ONCE: usize = 8;

/// What goes into an export.
pub(super) struct Export<'a> {
    pub(super) log: &'a Log,
    pub(super) count: &'a Count,
    pub(super) window: &'a Window,
    pub(super) trust: Option<&'a Path>,
}

/// Receipts that could not be exported.
#[derive(Debug, Default)]
pub(super) struct Left {
    /// What opened them was deleted on purpose.
    pub(super) erased: u64,
    /// The store is damaged, and how.
    pub(super) damaged: Vec<String>,
}

impl Export<'_> {
    /// Writes everything; with an archive, the receipts too.
    pub(super) async fn write(&self, sink: &mut Sink, archive: Option<Archive>) -> anyhow::Result<Left> {
        let manifest = self.manifest(archive.is_some());
        sink.put(MANIFEST, manifest.to_json().as_bytes())?;
        sink.put("README.md", readme::text(&manifest, self.count).as_bytes())?;
        let trust = match self.trust {
            Some(path) => std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?,
            None => readme::trust(&self.log.keys).into_bytes(),
        };
        sink.put("trust.json", &trust)?;
        self.log_part(sink, manifest.first..manifest.end).await?;
        match archive {
            Some(archive) => {
                let damaged = self.policies(sink, &archive).await?;
                let mut left = self.receipts(sink, Arc::new(archive)).await?;
                left.damaged.extend(damaged);
                Ok(left)
            }
            None => Ok(Left::default()),
        }
    }

    fn manifest(&self, receipts: bool) -> Manifest {
        let sidecars = || self.count.sidecars.iter();
        // Without an edge of its own, the interval is that of what there is.
        let from = sidecars().map(|one| one.from).min().filter(|_| self.window.from == 0);
        let to = sidecars().map(|one| one.to).max().filter(|_| self.window.to == u64::MAX);
        let range = self.range();
        Manifest {
            format: manifest::FORMAT.to_owned(),
            origin: self.log.origin().to_owned(),
            generation: self.log.generation,
            from: from.unwrap_or(self.window.from),
            to: to.unwrap_or(self.window.to),
            shard: self.window.shard.clone(),
            first: range.start,
            end: range.end,
            receipts,
        }
    }

    /// The entries to show.
    fn range(&self) -> Range<u64> {
        let (size, width) = (self.log.head.size(), WIDTH as u64);
        match self.count.needed {
            _ if size <= WHOLE => 0..size,
            None => 0..0,
            Some((first, end)) => first / width * width..end.next_multiple_of(width).min(size),
        }
    }

    async fn log_part(&self, sink: &mut Sink, shown: Range<u64>) -> anyhow::Result<()> {
        let folder = format!("log/{}", self.log.generation);
        sink.put(&format!("{folder}/checkpoint"), self.log.head.note.as_bytes())?;
        for (tile, width) in tiles::part(&shown, self.log.head.size()) {
            let (name, bytes) = self.log.reader.file(tile, width).await?;
            sink.put(&format!("{folder}/{name}"), &bytes)?;
        }
        Ok(())
    }

    /// The texts of the policies that were in force; says which are missing or damaged.
    async fn policies(&self, sink: &mut Sink, archive: &Archive) -> anyhow::Result<Vec<String>> {
        let mut damaged = Vec::new();
        for digest in &self.count.policies {
            match archive.policy(digest).await {
                Ok(Some(text)) => sink.put(&policy_file(digest), text.as_bytes())?,
                Ok(None) => damaged.push(format!("{} is missing", policy_file(digest))),
                Err(error) => damaged.push(error.to_string()),
            }
        }
        Ok(damaged)
    }

    async fn receipts(&self, sink: &mut Sink, archive: Arc<Archive>) -> anyhow::Result<Left> {
        let bar = term::progress_bar("exporting", "receipts");
        bar.set_length(self.count.totals.recorded.saturating_add(self.count.totals.evidence));
        let mut left = Left::default();
        let tasks = TaskTracker::new();
        for counted in &self.count.counted {
            let records = match archive.records(&counted.statement).await {
                Ok(records) => records,
                Err(error) => {
                    left.damaged.push(error.to_string());
                    continue;
                }
            };
            let mut made = stream::iter(records.into_iter().zip(0..))
                .map(|(id, slot)| one(&tasks, archive.clone(), id, target(counted), slot))
                .buffered(AT_ONCE);
            while let Some((id, found)) = made.next().await {
                bar.inc(1);
                match found {
                    Ok(Lookup::Found(receipt)) => sink.put(&name(&id), &receipt.to_json()?)?,
                    Ok(Lookup::Erased(_)) => left.erased += 1,
                    Ok(Lookup::Pending | Lookup::Unknown) => {
                        left.damaged.push(format!("record {} is not where its batch has it", id_text(&id)));
                    }
                    Err(error) => left.damaged.push(error.to_string()),
                }
            }
        }
        bar.finish_and_clear();
        Ok(left)
    }
}

fn target(counted: &Counted) -> Target {
    let (shard, seq) = (counted.statement.shard.clone(), counted.statement.seq);
    Target { shard, seq, log_index: counted.index, announced: counted.announced }
}

type Made = (RecordId, Result<Lookup, colophon_ledger::LedgerError>);

/// On a task of its own: making a receipt is mostly hashing.
async fn one(tasks: &TaskTracker, archive: Arc<Archive>, id: RecordId, target: Target, slot: u32) -> Made {
    let made = tasks.spawn(async move { archive.receipt(&id, target, slot).await });
    let failed = |error: tokio::task::JoinError| colophon_ledger::LedgerError::Damaged {
        what: "the runtime".into(),
        why: error.to_string(),
    };
    (id, made.await.map_err(failed).and_then(|made| made))
}

/// The file of a receipt: by hour, so that no folder holds too many.
fn name(id: &RecordId) -> String {
    let hour = colophon_ledger::index::hour(colophon_ledger::index::id_ms(id));
    format!("{RECEIPTS}/{hour}/{}.json", id_text(id))
}

/// Verifies what was written, as its reader will.
pub(super) fn check(path: &Path, trust: Option<&Path>) -> anyhow::Result<FolderReport> {
    let trust = match trust {
        Some(trust) => Some(Trust::from_json(&std::fs::read(trust)?)?),
        None => None,
    };
    let bar = term::progress_bar("verifying", "receipts");
    let mut progress = |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    };
    let report = folder::check(path, trust.as_ref(), None, None, &mut progress)?;
    bar.finish_and_clear();
    anyhow::ensure!(
        report.result != Verdict::Bad || !report.unbroken,
        "what was written to {} does not verify: {}",
        path.display(),
        term::safe_line(&report.faults.join("; "))
    );
    Ok(report)
}
