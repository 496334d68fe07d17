//! Records as fast as the ledger takes them, or at a rate.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use colophon_benches::exchange;
use colophon_ledger::{Durability, Ledger, Open};
use colophon_receipt::record::{RecordId, seal};
use colophon_receipt::{Level, Outcome};
use futures_util::future::join_all;

use super::{MAX_BATCH, Out, at, config};

/// Of so many records, one is remembered for the look-ups, and timed.
const EVERY: u64 = 997;
/// Records that may wait for the log: two batches.
const WAITING: u64 = 2 * MAX_BATCH as u64;

#[derive(Args)]
pub(super) struct MakeArgs {
    /// How many
    #[arg(long, default_value_t = 10_000_000)]
    records: u64,
    /// How many exchanges are under way at once
    #[arg(long, default_value_t = 256)]
    in_flight: u64,
    /// What an exchange's end waits for
    #[arg(long, default_value = "process", value_parser = durability)]
    durability: Durability,
    /// Records each second; 0 is as fast as it goes
    #[arg(long, default_value_t = 0)]
    rate: u64,
}

fn durability(text: &str) -> Result<Durability, String> {
    let all = [Durability::Process, Durability::Power, Durability::Node];
    all.into_iter().find(|known| known.as_str() == text).ok_or_else(|| format!("no durability `{text}`"))
}

/// What one exchange after the other takes its number from, and leaves its figures in.
struct Run<'a> {
    ledger: &'a Ledger,
    args: &'a MakeArgs,
    begun: Instant,
    next: AtomicU64,
    /// The rule that decides all of them, by which they are counted.
    rule: Arc<str>,
}

pub(super) async fn make(folder: &Path, args: &MakeArgs, out: &mut Out) -> anyhow::Result<()> {
    let (ledger, keeper) = Ledger::open(config(folder, args.durability)?).await?;
    let run =
        Run { ledger: &ledger, args, begun: Instant::now(), next: AtomicU64::new(0), rule: "chat".into() };
    let before = cpu()?;
    let lanes = join_all((0..args.in_flight).map(|_| run.lane())).await;
    let hot = cpu()?.0 - before.0;
    while ledger.counters().backlog > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (took, all) = (run.begun.elapsed().as_secs_f64(), cpu()?.1 - before.1);
    keeper.close().await?;
    let (mut ids, mut times) = (Vec::new(), Vec::new());
    for lane in lanes {
        for (id, time) in lane? {
            ids.push(id);
            times.push(time);
        }
    }
    ids.sort_unstable();
    times.sort_by(f64::total_cmp);
    std::fs::write(folder.join("ids"), ids.concat())?;
    let records = args.records as f64;
    out.insert("made".into(), args.records.into());
    out.insert("records_per_second".into(), (records / took).into());
    out.insert("hot_path_cpu_us".into(), (hot / 1000.0 / records).into());
    out.insert("all_cpu_us".into(), (all / 1000.0 / records).into());
    out.insert("hand_over_p50_us".into(), at(&times, 50).into());
    out.insert("hand_over_p99_us".into(), at(&times, 99).into());
    Ok(())
}

impl Run<'_> {
    /// One exchange after the other, until there are enough.
    async fn lane(&self) -> anyhow::Result<Vec<(RecordId, f64)>> {
        let mut kept = Vec::new();
        loop {
            let n = self.next.fetch_add(1, Ordering::Relaxed);
            if n >= self.args.records {
                return Ok(kept);
            }
            if let Some(due) = (n * 1_000_000).checked_div(self.args.rate) {
                tokio::time::sleep_until((self.begun + Duration::from_micros(due)).into()).await;
            }
            while n.is_multiple_of(64) && self.ledger.counters().backlog > WAITING {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            let (id, hand_over) = self.exchange(n).await?;
            if n.is_multiple_of(EVERY) {
                kept.push((id, hand_over.as_secs_f64() * 1e6));
            }
        }
    }

    /// What the proxy does at `commit`, without HTTP: OPEN before the request is forwarded, the record and DONE before the
    /// end of the answer leaves. Gives how long the record took to be handed over.
    async fn exchange(&self, n: u64) -> anyhow::Result<(RecordId, Duration)> {
        let ledger = self.ledger;
        let received_at = ledger.now();
        let id = ledger.new_id(received_at / 1000);
        let early = exchange::early_fields();
        let mut ticket = ledger.begin(&Open {
            id,
            received_at,
            level: Level::Commit,
            fields: &early,
            tenant: None,
            rule: Some(&self.rule),
        })?;
        ledger.opened(&mut ticket).await?;
        // Before the first byte of the answer is released; a model would have worked meanwhile.
        ledger.opened_safely(&mut ticket).await?;
        let fields = exchange::fields(n);
        let seed = ledger.new_seed().context("randomness")?;
        let begun = Instant::now();
        let at = ledger.stamp(&mut ticket);
        let record = seal(id, at, Level::Commit, Outcome::Complete, seed, fields);
        let finishing = ledger.finishing(ticket, record.into()).map_err(|unfinished| unfinished.error)?;
        let hand_over = begun.elapsed();
        finishing.written().await.map_err(|unfinished| unfinished.error)?;
        Ok((id, hand_over))
    }
}

/// CPU time so far, ns: of this thread, which has the exchanges, and of the whole process.
fn cpu() -> anyhow::Result<(f64, f64)> {
    let first = |text: String| text.split_whitespace().next().and_then(|ns| ns.parse::<f64>().ok());
    let own = first(std::fs::read_to_string("/proc/thread-self/schedstat")?);
    let mut all = 0.0;
    for thread in std::fs::read_dir("/proc/self/task")? {
        // One that has just ended has nothing more to say.
        let text = std::fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
        all += first(text).unwrap_or(0.0);
    }
    Ok((own.context("no schedstat on this kernel")?, all))
}
