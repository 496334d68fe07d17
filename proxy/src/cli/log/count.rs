//! `colophon log count`.

use super::super::term;
use anyhow::Context as _;
use clap::Args;
use colophon_ledger::SignedHead;
use colophon_ledger::log::LogReader;
use colophon_ledger::tally::Tally;
use colophon_signer::note::VerifierKey;
use colophon_verify::cli::parse_time;
use colophon_verify::count::{Count, Counting, Sidecar, Window};
use colophon_verify::{Trust, time};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Exit code of a broken account.
const BROKEN: u8 = 1;

/// Exit code of an account that only the log's own genesis vouches for.
const NOT_TRUSTED: u8 = 3;

/// Entries read at once: a full bundle.
const STRIDE: u64 = 256;

#[derive(Debug, Args)]
pub(crate) struct CountArgs {
    #[command(flatten)]
    place: super::Place,
    /// Start: RFC 3339, a date (UTC) or Unix seconds [default: the log's beginning]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    from: Option<u64>,
    /// End [default: the log's end]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    to: Option<u64>,
    /// Only this shard (`name/incarnation`), or all shards of this name
    #[arg(long, value_name = "SHARD")]
    shard: Option<String>,
    /// Trust file with the log's key, from elsewhere; without it the log's own genesis is believed
    #[arg(long, value_name = "FILE")]
    trust: Option<PathBuf>,
    /// Only the public log: do not read the batch files
    #[arg(long)]
    public_only: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: CountArgs) -> anyhow::Result<ExitCode> {
    let window =
        Window { from: args.from.unwrap_or(0), to: args.to.unwrap_or(u64::MAX), shard: args.shard.clone() };
    anyhow::ensure!(window.from <= window.to, "--from is after --to");
    let store = args.place.open().await?;
    let (reader, head) = LogReader::open(store.clone(), 1).await?;
    let origin = head.checkpoint.origin.clone();
    let keys = match args.trust.as_deref() {
        Some(trust) => trusted_keys(trust, &origin)?,
        None => reader.genesis_keys(&head.checkpoint).await?,
    };
    if !keys.iter().any(|key| SignedHead::parse(&head.note, key).is_ok()) {
        eprintln!("{} no key of {} signed the checkpoint", term::red("error:"), term::safe_line(&origin));
        return Ok(ExitCode::from(BROKEN));
    }
    let mut counting = Counting::new(&origin, &keys, window.clone(), 0);
    let bar = super::progress_bar("counting", "log entries");
    bar.set_length(head.size());
    let mut next = 0;
    while next < head.size() {
        let end = (next + STRIDE).min(head.size());
        for entry in reader.entries(next..end, &head.checkpoint).await? {
            counting.entry(&entry);
        }
        bar.set_position(end);
        next = end;
    }
    bar.finish_and_clear();
    let count = counting.finish();
    let public = args.public_only || count.totals.batches == 0 || !super::has_batches(&store).await?;
    let tally = match public {
        true => None,
        false => Some(tally(Tally::new(store, window.from, window.to), &count).await),
    };
    let trusted = args.trust.is_some();
    if args.json {
        println!("{}", json(&origin, &window, &count, tally.as_ref(), trusted));
    } else {
        print(&origin, &window, &count, tally.as_ref(), trusted);
    }
    let whole = count.is_unbroken() && tally.as_ref().is_none_or(|tally| tally.unread.is_empty());
    Ok(match (whole, trusted) {
        (false, _) => ExitCode::from(BROKEN),
        (true, true) => ExitCode::SUCCESS,
        (true, false) => ExitCode::from(NOT_TRUSTED),
    })
}

/// The keys that a trust file has for this log.
fn trusted_keys(trust: &Path, origin: &str) -> anyhow::Result<Vec<VerifierKey>> {
    let file = std::fs::read(trust).with_context(|| format!("cannot read {}", trust.display()))?;
    let known =
        Trust::from_json(&file).with_context(|| format!("{} is not a trust file", trust.display()))?;
    let keys = known.keys_of(origin);
    anyhow::ensure!(
        !keys.is_empty(),
        "{} has no key for the log {}",
        trust.display(),
        term::safe_line(origin)
    );
    Ok(keys)
}

async fn tally(mut tally: Tally, count: &Count) -> Tally {
    let bar = super::progress_bar("reading", "batches");
    bar.set_length(count.totals.batches);
    for counted in &count.counted {
        tally.add(&counted.statement).await;
        bar.inc(u64::from(counted.statement.count > 0));
    }
    bar.finish_and_clear();
    tally
}

fn print(origin: &str, window: &Window, count: &Count, tally: Option<&Tally>, trusted: bool) {
    println!("log         {}, entries {} to {}", term::safe_line(origin), count.first, count.end);
    let edge = |at: u64, none: u64, word: &str| if at == none { word.to_owned() } else { time(at) };
    let (from, to) = (edge(window.from, 0, "the beginning"), edge(window.to, u64::MAX, "the end"));
    println!("asked       from {from} to {to}, by the operator's clock");
    let totals = &count.totals;
    println!(
        "recorded    {} in {} batches, signed by {} sidecars in {} statements",
        term::bold(&totals.recorded.to_string()),
        totals.batches,
        count.sidecars.len(),
        totals.statements
    );
    println!("            {} passed unrecorded by rule, {} lost", totals.passed, totals.lost);
    println!("            of the recorded: {} degraded, {} refused", totals.degraded, totals.refused);
    if totals.bypass > 0 {
        println!("            {} let through by a bypass", totals.bypass);
    }
    if totals.evidence > 0 {
        println!("            {} evidence records besides", totals.evidence);
    }
    if let Some(tally) = tally {
        print_tally(tally);
    }
    count.sidecars.iter().for_each(print_sidecar);
    for fault in &count.faults {
        println!("{} {}", term::refused("✗"), term::safe_line(fault));
    }
    if count.more_faults > 0 {
        println!("  and {} more", count.more_faults);
    }
    println!("by rule     not signed: rules stand only in the private openings");
    if count.is_unbroken() {
        let by =
            if trusted { "your trust file" } else { "the log's own genesis: nothing outside vouches for it" };
        println!("{} the account is unbroken (log key from {by})", term::green("✓"));
    } else {
        println!("{} the account is broken: the counts above are not all there was", term::refused("✗"));
    }
}

fn print_sidecar(sidecar: &Sidecar) {
    let Sidecar { name, from, to, shards, totals, open, breaks, unclosed, crashed } = sidecar;
    println!("sidecar     {name}: {} recorded from {} to {}", totals.recorded, time(*from), time(*to));
    println!("            {} shards, {} exchanges under way at the end", shards.len(), open);
    for shard in unclosed {
        println!("            without a close: {shard}, running still or dead with what it had not logged");
    }
    for shard in crashed {
        println!(
            "            without a close: {shard}; the next one took over what its write-ahead log held"
        );
    }
    for gap in breaks {
        println!("{} {name}: {}", term::refused("✗"), term::safe_line(gap));
    }
}

fn print_tally(tally: &Tally) {
    let list = |counts: &std::collections::BTreeMap<&str, u64>| {
        let parts: Vec<String> = counts.iter().map(|(name, n)| format!("{n} {name}")).collect();
        parts.join(", ")
    };
    println!("by level    {}", list(&tally.levels));
    println!("by outcome  {}", list(&tally.outcomes));
    println!("exactly     {} of them were completed within the interval", tally.exact);
    for file in &tally.unread {
        println!("{} {}", term::refused("✗"), term::safe_line(file));
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
    serde_json::json!({
        "origin": origin,
        "from": window.from,
        "to": window.to,
        "shard": window.shard,
        "trusted": trusted,
        "unbroken": count.is_unbroken(),
        "count": count,
        "records": leaves,
    })
}
