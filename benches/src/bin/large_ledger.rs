//! A ledger of millions of records, made through the real ledger, and what it costs: bytes on disk, memory, look-up cold
//! and warm, `log check`. `cargo xtask bench --ledger` runs it; its answer is one JSON object.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use colophon_ledger::check::{CheckOptions, check};
use colophon_ledger::{Config, Durability, Ledger, Lookup, Open};
use colophon_receipt::record::{FieldSet, RecordId, seal};
use colophon_receipt::{Level, Outcome};
use colophon_signer::Ed25519Key;

/// Of so many records, one is remembered for the look-ups.
const EVERY: u64 = 997;
/// Records between two looks at the backlog.
const PIECE: u64 = 4096;
/// Records that may wait: two batches.
const WAITING: u64 = 131_072;
/// Look-ups measured each time.
const LOOKUPS: usize = 300;

#[derive(Parser)]
struct Args {
    /// The folder, which should not exist; what it holds is up to whoever names it to remove
    folder: PathBuf,
    /// Records to make; 0 looks at a folder that was made before
    #[arg(long, default_value_t = 10_000_000)]
    records: u64,
    /// Records each second; 0 is as fast as it goes
    #[arg(long, default_value_t = 0)]
    rate: u64,
}

fn config(folder: &Path) -> anyhow::Result<Config> {
    Ok(Config {
        data: folder.join("data"),
        state: Some(folder.join("state")),
        name: "host".into(),
        origin: Some("log.example/large".into()),
        log: colophon_ledger::LogAt::Here(Arc::new(Ed25519Key::from_seed(&[7; 32])?)),
        batch_every: Duration::from_secs(1),
        heartbeat: Duration::from_secs(60),
        max_batch: 65_536,
        max_backlog: 1 << 20,
        max_backlog_bytes: u64::MAX,
        max_backlog_age: Duration::from_secs(86400),
        durability: Durability::default(),
        adopt: false,
        stores: Default::default(),
        witnesses: None,
        timestamps: None,
        private_key: None,
        policy: colophon_ledger::PolicyText::new("{}"),
        shard_key_life: Duration::from_secs(86400),
    })
}

/// Fields as long as those of a usual exchange.
fn fields(count: u8) -> FieldSet {
    let mut set = FieldSet::new();
    for number in 0..count {
        set.add(number, |e| drop(e.bytes(&[number; 40])));
    }
    set
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut out = serde_json::Map::new();
    if args.records > 0 {
        make(&args, &mut out).await?;
    }
    sizes(&args.folder.join("data"), &mut out);
    let ids: Vec<RecordId> = std::fs::read(args.folder.join("ids"))?
        .chunks_exact(16)
        .filter_map(|id| id.try_into().ok())
        .collect();
    checked(&args.folder, &mut out).await?;
    looked_up(&args.folder, &ids, &mut out).await?;
    println!("{:#}", serde_json::Value::Object(out));
    Ok(())
}

type Out = serde_json::Map<String, serde_json::Value>;

async fn make(args: &Args, out: &mut Out) -> anyhow::Result<()> {
    let (ledger, keeper) = Ledger::open(config(&args.folder)?).await?;
    let (early, all) = (fields(3), fields(8));
    let mut kept = Vec::new();
    let begun = Instant::now();
    let mut made = 0;
    while made < args.records {
        let piece = if args.rate == 0 { PIECE } else { (args.rate / 20).max(1) }.min(args.records - made);
        for n in made..made + piece {
            let received_at = ledger.now();
            let id = ledger.new_id(received_at / 1000);
            if n % EVERY == 0 {
                kept.extend_from_slice(&id);
            }
            let open = Open { id, received_at, level: Level::Commit, fields: &early, tenant: None };
            let mut ticket = ledger.begin(&open)?;
            let at = ledger.stamp(&mut ticket);
            let record = seal(id, at, Level::Commit, Outcome::Complete, [n as u8; 32], all.clone());
            ledger.finish(ticket, record.into()).map_err(|unfinished| unfinished.error)?;
        }
        made += piece;
        if let Some(due) = made.checked_mul(1_000_000).and_then(|us| us.checked_div(args.rate)) {
            tokio::time::sleep_until((begun + Duration::from_micros(due)).into()).await;
        }
        while ledger.counters().backlog > WAITING {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    while ledger.counters().backlog > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let took = begun.elapsed().as_secs_f64();
    out.insert("records_per_second_sustained".into(), (made as f64 / took).into());
    out.insert("memory_after_making_mib".into(), resident().into());
    keeper.close().await?;
    std::fs::write(args.folder.join("ids"), kept)?;
    Ok(())
}

/// Bytes and files below each part of the data folder, as they are and as the disk keeps them.
fn sizes(data: &Path, out: &mut Out) {
    for part in ["log/1/tile", "log/1/seq", "shard", "index", "private", "wal"] {
        let (mut files, mut bytes, mut disk) = (0u64, 0u64, 0u64);
        let mut stack = vec![data.join(part)];
        while let Some(path) = stack.pop() {
            let Ok(meta) = path.symlink_metadata() else { continue };
            disk += std::os::unix::fs::MetadataExt::blocks(&meta) * 512;
            if meta.is_dir() {
                stack.extend(
                    std::fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()),
                );
            } else {
                (files, bytes) = (files + 1, bytes + meta.len());
            }
        }
        out.insert(part.into(), serde_json::json!({"files": files, "bytes": bytes, "disk": disk}));
    }
}

async fn checked(folder: &Path, out: &mut Out) -> anyhow::Result<()> {
    let store = colophon_ledger::store::local(&folder.join("data"))?;
    let begun = Instant::now();
    let report = check(store, CheckOptions::default()).await;
    let took = begun.elapsed().as_secs_f64();
    anyhow::ensure!(report.is_sound(), "the ledger is not sound: {:?}", report.findings);
    out.insert("records".into(), report.records.into());
    out.insert("statements".into(), report.statements.into());
    out.insert("check_seconds".into(), took.into());
    out.insert("check_records_per_second".into(), (report.records as f64 / took).into());
    out.insert("memory_after_check_mib".into(), resident().into());
    Ok(())
}

async fn looked_up(folder: &Path, ids: &[RecordId], out: &mut Out) -> anyhow::Result<()> {
    let cold_disk = forget_pages();
    let begun = Instant::now();
    let (ledger, keeper) = Ledger::open(config(folder)?).await?;
    out.insert("open_seconds".into(), begun.elapsed().as_secs_f64().into());
    out.insert("page_cache_dropped".into(), cold_disk.into());
    let step = (ids.len() / LOOKUPS).max(1);
    let spread = || ids.iter().step_by(step);
    // One from each of many batches: the second time, half of them come from memory at most.
    let recent = || ids.iter().rev().take(20).cycle().take(LOOKUPS);
    for (name, mut chosen) in [
        ("lookup_cold", Box::new(spread()) as Box<dyn Iterator<Item = &RecordId>>),
        ("lookup_again", Box::new(spread())),
        ("lookup_warm", Box::new(recent())),
    ] {
        let mut times = Vec::new();
        for id in &mut chosen {
            let begun = Instant::now();
            let found = ledger.lookup(id).await?;
            times.push(begun.elapsed().as_secs_f64() * 1e3);
            anyhow::ensure!(matches!(found, Lookup::Found(_)), "{} is not found", hex(id));
        }
        times.sort_by(f64::total_cmp);
        let at = |part: usize| times.get(times.len() * part / 100).or(times.last()).copied();
        let (p50, p99) = (at(50), at(99));
        out.insert(name.into(), serde_json::json!({"p50_ms": p50, "p99_ms": p99, "max_ms": times.last()}));
    }
    out.insert("memory_after_lookups_mib".into(), resident().into());
    Ok(keeper.close().await?)
}

fn hex(id: &RecordId) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What this process has in memory, MiB.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok()).map_or(0.0, |kib| kib / 1024.0)
}

/// Has the kernel forget what it has of files; only root may.
fn forget_pages() -> bool {
    std::process::Command::new("sync").status().is_ok()
        && std::fs::write("/proc/sys/vm/drop_caches", "1").is_ok()
}
