//! `colophon log count`.

mod shards;

use super::super::account::{IntervalArgs, Log};
use super::super::export::{self, Export, Sink};
use super::super::term;
use super::backend;
use clap::Args;
use colophon_ledger::generation;
use colophon_ledger::tally::Tally;
use colophon_verify::count::{Count, Sidecar, Standing, Window};
use colophon_verify::{edge, time};
use object_store::ObjectStore;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Exit code of a broken account.
const BROKEN: u8 = 1;

/// Exit code of an account that only the log's own genesis vouches for, or that is not about all of the interval.
const NOT_TRUSTED: u8 = 3;

#[derive(Debug, Args)]
pub(crate) struct CountArgs {
    #[command(flatten)]
    place: super::Place,
    #[command(flatten)]
    interval: IntervalArgs,
    /// Only the public log: do not read the batch files
    #[arg(long)]
    public_only: bool,
    /// Folder (or FILE.tar.zst) to write what shows the count to: signed statements, announcements, closes and their
    /// proofs. `colophon-verify` checks it
    #[arg(long, value_name = "DIR")]
    proof: Option<PathBuf>,
    /// The model server's /metrics, as a URL or a saved file, to put its own count beside; given twice (an earlier and a
    /// later reading), the difference
    #[arg(long, value_name = "URL|FILE")]
    backend_metrics: Vec<String>,
    /// The counter in it that counts requests [default: vLLM's, SGLang's or TGI's]
    #[arg(long, value_name = "NAME", requires = "backend_metrics")]
    backend_counter: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: CountArgs) -> anyhow::Result<ExitCode> {
    let window = args.interval.window()?;
    let backend = match args.backend_metrics.as_slice() {
        [] => None,
        places => Some(backend::read(places, args.backend_counter.as_deref()).await?),
    };
    let store = args.place.open().await?;
    let trust = args.interval.trust.as_deref();
    let alone = args.interval.generation.is_some() || args.proof.is_some();
    let counted = match alone {
        true => {
            let log = Log::open(store, args.interval.generation, trust).await?;
            let count = log.is_signed().then_some(log.count(window.clone()).await?);
            count.map(|count| (log, count))
        }
        false => all_generations(&store, &window, trust).await?,
    };
    let Some((log, count)) = counted else { return Ok(ExitCode::from(BROKEN)) };
    if window.shard.is_some() && count.sidecars.is_empty() {
        shards::known(&log.store, args.interval.generation, trust, &window).await?;
    }
    let public = args.public_only || args.place.is_published() || count.totals.batches == 0;
    let public = public || !super::has_batches(&log.store).await?;
    let tally = match public {
        true => None,
        false => Some(tally(Tally::new(log.store.clone(), window.from, window.to), &count).await),
    };
    if let Some(path) = &args.proof {
        let mut sink = Sink::create(path)?;
        let export =
            Export { log: &log, count: &count, window: &window, trust: args.interval.trust.as_deref() };
        export.write(&mut sink, None).await?;
        sink.finish()?;
        export::check(path, args.interval.trust.as_deref())?;
    }
    if args.json {
        let mut json = json(log.origin(), &window, &count, tally.as_ref(), log.trusted);
        json["backend"] = backend.map_or(serde_json::Value::Null, |backend| backend.json());
        outln!("{json}");
    } else {
        print(log.origin(), &window, &count, tally.as_ref(), log.trusted);
        if let Some(backend) = &backend {
            backend.print(&count.totals);
        }
    }
    let standing = count.standing();
    let whole = standing != Standing::Broken && tally.as_ref().is_none_or(|tally| tally.unread.is_empty());
    Ok(match (whole, log.trusted && standing == Standing::Unbroken) {
        (false, _) => ExitCode::from(BROKEN),
        (true, true) => ExitCode::SUCCESS,
        (true, false) => ExitCode::from(NOT_TRUSTED),
    })
}

/// The account over all generations of the log, and the newest of them; `None` where a checkpoint is not signed.
async fn all_generations(
    store: &Arc<dyn ObjectStore>,
    window: &Window,
    trust: Option<&Path>,
) -> anyhow::Result<Option<(Log, Count)>> {
    let mut log = Log::open_generation(store.clone(), 1, trust).await?;
    if !log.is_signed() {
        return Ok(None);
    }
    let mut count = log.count(window.clone()).await?;
    for generation in 2..=generation::newest(store).await? {
        log = Log::open_generation(store.clone(), generation, trust).await?;
        if !log.is_signed() {
            return Ok(None);
        }
        count.join(generation, log.count(window.clone()).await?);
        // Without it one of them could be another log's, or lack its end.
        match generation::check_link(store, generation).await {
            Ok(link) if link.handed_over || log.trusted => {}
            Ok(_) => count.faults.push(format!(
                "generation {generation} was begun without the key of the one before: only a trust file can say that it \
                 is the same log's"
            )),
            Err(why) => count.faults.push(format!("generation {generation} does not continue the one before: {why}")),
        }
    }
    Ok(Some((log, count)))
}

async fn tally(mut tally: Tally, count: &Count) -> Tally {
    let bar = term::progress_bar("reading", "batches");
    bar.set_length(count.totals.batches);
    for counted in &count.counted {
        tally.add(&counted.statement).await;
        bar.inc(u64::from(counted.statement.count > 0));
    }
    bar.finish_and_clear();
    tally
}

fn print(origin: &str, window: &Window, count: &Count, tally: Option<&Tally>, trusted: bool) {
    outln!("log         {}, entries {} to {}", term::safe_line(origin), count.first, count.end);
    outln!("asked       from {} to {}, by the operator's clock", edge(window.from), edge(window.to));
    let totals = &count.totals;
    outln!(
        "recorded    {} in {} batches, signed by {} sidecars in {} statements",
        term::bold(&totals.recorded.to_string()),
        totals.batches,
        count.sidecars.len(),
        totals.statements
    );
    outln!("            {} passed unrecorded by rule, {} lost", totals.passed, totals.lost);
    outln!("            of the recorded: {} degraded, {} refused", totals.degraded, totals.refused);
    if totals.bypass > 0 {
        outln!("            {} let through by a bypass", totals.bypass);
    }
    if totals.evidence > 0 {
        outln!("            {} evidence records besides", totals.evidence);
    }
    print_rules(count);
    if let Some(tally) = tally {
        print_tally(tally);
    }
    count.sidecars.iter().for_each(print_sidecar);
    for fault in &count.faults {
        outln!("{} {}", term::refused("✗"), term::safe_line(fault));
    }
    if count.more_faults > 0 {
        outln!("  and {} more", count.more_faults);
    }
    match count.standing() {
        Standing::Unbroken => {
            let by = match trusted {
                true => "your trust file",
                false => "the log's own genesis: nothing outside vouches for it",
            };
            outln!("{} the account is unbroken (log key from {by})", term::green("✓"));
        }
        Standing::NotCovered(parts) => {
            for (from, to) in parts {
                outln!(
                    "{} not covered: no statement is about {} to {}",
                    term::refused("✗"),
                    edge(from),
                    edge(to)
                );
            }
        }
        Standing::Broken => {
            outln!("{} the account is broken: the counts above are not all there was", term::refused("✗"));
        }
    }
}

fn print_rules(count: &Count) {
    let mut title = "by rule";
    for rule in &count.by_rule {
        outln!("{title:<12}{rule}");
        title = "";
    }
    match count.without_rule() {
        0 => {}
        rest => outln!("{title:<12}of {rest} exchanges the statements do not tell the rule"),
    }
}

fn print_sidecar(sidecar: &Sidecar) {
    let Sidecar { name, from, to, shards, totals, open, breaks, unclosed, crashed } = sidecar;
    outln!("sidecar     {name}: {} recorded from {} to {}", totals.recorded, time(*from), time(*to));
    outln!("            {} shards, {} exchanges under way at the end", shards.len(), open);
    for shard in unclosed {
        outln!("            without a close: {shard}, running still or dead with what it had not logged");
    }
    for shard in crashed {
        outln!("            without a close: {shard}; the next one took over what its write-ahead log held");
    }
    for gap in breaks {
        outln!("{} {name}: {}", term::refused("✗"), term::safe_line(gap));
    }
}

fn print_tally(tally: &Tally) {
    let list = |counts: &std::collections::BTreeMap<&str, u64>| {
        let parts: Vec<String> = counts.iter().map(|(name, n)| format!("{n} {name}")).collect();
        parts.join(", ")
    };
    outln!("by level    {}", list(&tally.levels));
    outln!("by outcome  {}", list(&tally.outcomes));
    outln!("exactly     {} of them were completed within the interval", tally.exact);
    for file in &tally.unread {
        outln!("{} {}", term::refused("✗"), term::safe_line(file));
    }
}

fn json(
    origin: &str,
    window: &Window,
    count: &Count,
    tally: Option<&Tally>,
    trusted: bool,
) -> serde_json::Value {
    let leaves = tally.map(|tally| {
        serde_json::json!({
            "by_level": tally.levels,
            "by_outcome": tally.outcomes,
            "completed_within": tally.exact,
            "unread": tally.unread,
        })
    });
    let standing = count.standing();
    serde_json::json!({
        "origin": origin,
        "from": window.from,
        "to": window.to,
        "shard": window.shard,
        "trusted": trusted,
        "unbroken": standing == Standing::Unbroken,
        "not_covered": match standing {
            Standing::NotCovered(parts) => parts,
            _ => Vec::new(),
        },
        "count": count,
        "records": leaves,
    })
}
