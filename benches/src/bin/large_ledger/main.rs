//! A ledger of millions of records, made through the real ledger, and what it costs: records a second, CPU, memory, bytes
//! on disk, look-up cold and warm, `log check`. Each part is a process of its own, so that its memory is its own.
//! `cargo xtask bench --ledger` runs them; each says what it measured as one JSON object.

mod look;
mod make;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use colophon_ledger::{Config, Durability, LogAt};
use colophon_receipt::record::RecordId;
use colophon_signer::Ed25519Key;
use serde_json::{Map, Value};

/// The proxy's own.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// As `--batch-max-records` of `colophon serve`.
const MAX_BATCH: usize = 16_384;

#[derive(Parser)]
struct Args {
    /// The ledger's folder; whoever names it removes it
    folder: PathBuf,
    #[command(subcommand)]
    part: Part,
}

#[derive(Subcommand)]
enum Part {
    /// Makes records, in a folder that is not there
    Make(make::MakeArgs),
    /// Adds up files and bytes
    Sizes,
    /// Checks the whole log
    Check,
    /// Looks receipts up, cold and warm
    Lookup,
}

type Out = Map<String, Value>;

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut out = Map::new();
    // The caller's thread is the exchanges'; the ledger's own tasks have the workers.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("tokio")?;
    runtime.block_on(async {
        match args.part {
            Part::Make(make) => make::make(&args.folder, &make, &mut out).await,
            Part::Sizes => look::sizes(&args.folder.join("data"), &mut out),
            Part::Check => look::check_all(&args.folder, &mut out).await,
            Part::Lookup => look::look_up(&args.folder, &mut out).await,
        }
    })?;
    let (now, most) = memory();
    out.insert("memory_mib".into(), now.into());
    out.insert("memory_most_mib".into(), most.into());
    println!("{:#}", Value::Object(out));
    Ok(())
}

fn config(folder: &Path, durability: Durability) -> anyhow::Result<Config> {
    Ok(Config {
        data: folder.join("data"),
        state: Some(folder.join("state")),
        name: "host".into(),
        origin: Some("log.example/large".into()),
        log: LogAt::Here(Arc::new(Ed25519Key::from_seed(&[7; 32])?)),
        batch_every: Duration::from_secs(1),
        heartbeat: Duration::from_secs(60),
        max_batch: MAX_BATCH,
        max_backlog: 1 << 20,
        max_backlog_bytes: u64::MAX,
        max_backlog_age: Duration::from_secs(86400),
        durability,
        adopt: false,
        stores: Default::default(),
        witnesses: None,
        drawing: colophon_ledger::Drawing::default(),
        timestamps: None,
        evidence: None,
        private_key: None,
        policy: colophon_ledger::PolicyText::new("{}"),
        shard_key_life: Duration::from_secs(86400),
    })
}

/// The ids that `make` remembered.
fn remembered(folder: &Path) -> anyhow::Result<Vec<RecordId>> {
    let ids = std::fs::read(folder.join("ids"))?;
    Ok(ids.chunks_exact(16).filter_map(|id| id.try_into().ok()).collect())
}

/// What this process has in memory, and the most that it had, MiB.
fn memory() -> (f64, f64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
        kib.map_or(0.0, |kib| kib / 1024.0)
    };
    (of("VmRSS:"), of("VmHWM:"))
}

/// A part of sorted values.
fn at(sorted: &[f64], percent: usize) -> Option<f64> {
    sorted.get(sorted.len() * percent / 100).or(sorted.last()).copied()
}
