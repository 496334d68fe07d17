//! What a record costs: 20,000 a second for five seconds on local disk, as CPU time of the thread that hands them in and
//! of all others (the keeper's), and how long a look-up takes afterwards. Nothing here is asserted about time:
//!
//! ```text
//! cargo test --release -p colophon-ledger --test load -- --ignored --nocapture
//! ```
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test, which may fail loudly")]

use colophon_ledger::{Config, Durability, Ledger, LogAt, Lookup, Open, Stores};
use colophon_receipt::record::{FieldSet, Record, RecordId, seal};
use colophon_receipt::{Level, Outcome};
use colophon_signer::Ed25519Key;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const RATE: u64 = 20_000;
const SECONDS: u64 = 5;
/// Handed in at a time, as a busy event loop would.
const BURST: u64 = 20;

fn config(dir: &Path) -> Config {
    Config {
        data: dir.join("data"),
        stores: Stores::default(),
        state: Some(dir.join("state")),
        name: "host".into(),
        origin: Some("log.example/load".into()),
        log: LogAt::Here(Arc::new(Ed25519Key::from_seed(&[7; 32]).unwrap())),
        batch_every: Duration::from_millis(1000),
        heartbeat: Duration::from_secs(60),
        max_batch: 65_536,
        max_backlog: 1 << 20,
        max_backlog_bytes: u64::MAX,
        max_backlog_age: Duration::from_secs(86400),
        durability: Durability::default(),
        adopt: false,
        private_key: None,
        policy: colophon_ledger::PolicyText::new("{}"),
        shard_key_life: Duration::from_secs(86400),
        witnesses: None,
        drawing: colophon_ledger::Drawing::default(),
        timestamps: None,
        evidence: None,
    }
}

/// `count` fields of 60 bytes.
fn fields(count: u8) -> FieldSet {
    let mut set = FieldSet::new();
    for number in 0..count {
        set.add(number, |e| drop(e.bytes(&[number; 60])));
    }
    set
}

fn record(id: RecordId, at: u64, fields: &FieldSet) -> Record {
    seal(id, at, Level::Commit, Outcome::Complete, [5; 32], fields.clone())
}

/// CPU time of one thread of this process so far.
fn cpu(task: &str) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{task}/schedstat")).unwrap_or_default();
    Duration::from_nanos(stat.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0))
}

fn own_cpu() -> Duration {
    let own = std::fs::read_link("/proc/thread-self").unwrap();
    cpu(own.file_name().unwrap().to_str().unwrap())
}

fn all_cpu() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks.map(|task| cpu(task.unwrap().file_name().to_str().unwrap())).sum()
}

fn each(time: Duration, count: u64) -> f64 {
    time.as_secs_f64() * 1e6 / count as f64
}

/// Calls `burst` as often as the rate asks for; gives this thread's CPU time and how late the latest call was.
#[allow(clippy::disallowed_methods, reason = "a thread of its own")]
fn paced(count: u64, mut burst: impl FnMut()) -> (Duration, Duration) {
    let (before, started, mut behind) = (own_cpu(), Instant::now(), Duration::ZERO);
    for n in 0..count / BURST {
        let due = started + Duration::from_secs(1) * (n * BURST) as u32 / RATE as u32;
        match due.checked_duration_since(Instant::now()) {
            Some(wait) => std::thread::sleep(wait),
            None => behind = behind.max(due.elapsed()),
        }
        burst();
    }
    (own_cpu() - before, behind)
}

async fn looked_up(what: &str, ledger: &Ledger, ids: impl Iterator<Item = &RecordId>) {
    let mut times = Vec::new();
    for id in ids {
        let started = Instant::now();
        assert!(matches!(ledger.lookup(id).await.unwrap(), Lookup::Found(_)));
        times.push(started.elapsed());
    }
    times.sort();
    println!(
        "look-up, {what}: p50 {:?}, p99 {:?}, first or slowest {:?}",
        times[times.len() / 2],
        times[times.len() * 99 / 100],
        times[times.len() - 1]
    );
}

#[test]
#[allow(clippy::disallowed_methods, reason = "a thread of its own")]
#[ignore = "measures; run it alone, with --release"]
fn twenty_thousand_records_a_second() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (ledger, keeper) = runtime.block_on(Ledger::open(config(dir.path()))).unwrap();
    let (early, all) = (fields(4), fields(12));
    let count = RATE * SECONDS;

    // The same without a ledger, in the same rhythm: what is left of the difference is the ledger's.
    let (sealing, _) = paced(count, || {
        for _ in 0..BURST {
            std::hint::black_box(record(std::hint::black_box([1; 16]), 1, &all));
        }
    });

    let (mut ids, started) = (Vec::with_capacity(count as usize), Instant::now());
    let before_all = all_cpu();
    let (own, behind) = paced(count, || {
        let tickets: Vec<_> = (0..BURST)
            .map(|_| {
                let received_at = ledger.now();
                let id = ledger.new_id(received_at / 1000);
                ids.push(id);
                ledger
                    .begin(&Open {
                        id,
                        received_at,
                        level: Level::Commit,
                        fields: &early,
                        tenant: None,
                        rule: None,
                    })
                    .unwrap()
            })
            .collect();
        for mut ticket in tickets {
            let at = ledger.stamp(&mut ticket);
            let record = record(*ticket.id(), at, &all);
            ledger.finish(ticket, record.into()).unwrap();
        }
    });
    while ledger.counters().backlog > 0 {
        std::thread::sleep(Duration::from_millis(20));
    }
    let others = all_cpu() - before_all - own;
    println!("{count} records, behind by {behind:?} at most, all logged after {:?}", started.elapsed());
    println!("sealing: {:.2} µs of CPU a record", each(sealing, count));
    println!("begin, stamp, finish, WAL: {:.2} µs of CPU a record", each(own.saturating_sub(sealing), count));
    println!("the keeper: {:.2} µs of CPU a record", each(others, count));

    runtime.block_on(async {
        looked_up("recent", &ledger, ids.iter().rev().step_by(7).take(2000)).await;
        looked_up("from the first on", &ledger, ids.iter().step_by(97)).await;
        keeper.close().await.unwrap();
        drop(ledger);
        let (ledger, keeper) = Ledger::open(config(dir.path())).await.unwrap();
        looked_up("after a restart", &ledger, ids.iter().step_by(997)).await;
        keeper.close().await.unwrap();
    });
}
