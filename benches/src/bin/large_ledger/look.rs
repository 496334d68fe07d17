//! What a ledger that was made costs to keep, to check and to read.

use std::path::Path;
use std::time::Instant;

use colophon_ledger::check::{CheckOptions, check};
use colophon_ledger::{Durability, Ledger, Lookup};
use colophon_receipt::record::RecordId;

use super::{Out, at, config, remembered};

/// Look-ups measured each time.
const LOOKUPS: usize = 300;
/// Receipts that are asked for again and again for the warm ones.
const WARM: usize = 20;

/// Bytes and files below each part of the data folder, as they are and as the disk keeps them.
pub(super) fn sizes(data: &Path, out: &mut Out) -> anyhow::Result<()> {
    for part in ["log/1/tile", "log/1/seq", "shard", "index", "private", "wal"] {
        let (mut files, mut bytes, mut disk) = (0u64, 0u64, 0u64);
        let mut stack = vec![data.join(part)];
        while let Some(path) = stack.pop() {
            let Ok(meta) = path.symlink_metadata() else { continue };
            disk += std::os::unix::fs::MetadataExt::blocks(&meta) * 512;
            if meta.is_dir() {
                stack.extend(std::fs::read_dir(&path)?.flatten().map(|entry| entry.path()));
            } else {
                (files, bytes) = (files + 1, bytes + meta.len());
            }
        }
        out.insert(part.into(), serde_json::json!({"files": files, "bytes": bytes, "disk": disk}));
    }
    Ok(())
}

pub(super) async fn check_all(folder: &Path, out: &mut Out) -> anyhow::Result<()> {
    let store = colophon_ledger::store::local(&folder.join("data"))?;
    let begun = Instant::now();
    let report = check(store, CheckOptions::default()).await;
    let took = begun.elapsed().as_secs_f64();
    anyhow::ensure!(report.is_sound(), "the ledger is not sound: {:?}", report.findings);
    out.insert("records".into(), report.records.into());
    out.insert("statements".into(), report.statements.into());
    out.insert("check_seconds".into(), took.into());
    out.insert("check_records_per_second".into(), (report.records as f64 / took).into());
    Ok(())
}

pub(super) async fn look_up(folder: &Path, out: &mut Out) -> anyhow::Result<()> {
    let ids = remembered(folder)?;
    out.insert("page_cache_dropped".into(), forget_pages().into());
    let begun = Instant::now();
    let (ledger, keeper) = Ledger::open(config(folder, Durability::Process)?).await?;
    out.insert("open_seconds".into(), begun.elapsed().as_secs_f64().into());
    let step = (ids.len() / LOOKUPS).max(1);
    let spread: Vec<&RecordId> = ids.iter().step_by(step).collect();
    let recent: Vec<&RecordId> = ids.iter().rev().take(WARM).cycle().take(LOOKUPS).collect();
    for (name, chosen) in [("lookup_cold", &spread), ("lookup_again", &spread), ("lookup_warm", &recent)] {
        let mut times = Vec::new();
        for id in chosen {
            let begun = Instant::now();
            let found = ledger.lookup(id).await?;
            times.push(begun.elapsed().as_secs_f64() * 1e3);
            let Lookup::Found(receipt) = found else { anyhow::bail!("a record that was made is not found") };
            out.insert("receipt_bytes".into(), receipt.to_json()?.len().into());
        }
        times.sort_by(f64::total_cmp);
        let (p50, p99) = (at(&times, 50), at(&times, 99));
        out.insert(name.into(), serde_json::json!({"p50_ms": p50, "p99_ms": p99, "max_ms": times.last()}));
    }
    Ok(keeper.close().await?)
}

/// Has the kernel forget what it has of files; only root may.
fn forget_pages() -> bool {
    std::process::Command::new("sync").status().is_ok()
        && std::fs::write("/proc/sys/vm/drop_caches", "1").is_ok()
}
