//! `colophon receipt export`.

use super::super::account::{IntervalArgs, Log};
use super::super::export::{self, Export, Sink};
use super::super::log::Place;
use super::super::term;
use super::others::{self, Format};
use anyhow::Context as _;
use clap::Args;
use colophon_ledger::{Archive, Kek, Location};
use colophon_signer::KeySource;
use colophon_verify::Verdict;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Exit code of an export that lacks something, or of a log that does not hold.
const INCOMPLETE: u8 = 1;

/// Exit code of a folder that cannot be read.
const USAGE: u8 = 2;

/// Damages told one by one.
const TOLD: usize = 20;

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    interval: IntervalArgs,
    /// What to write; for cose and dsse, DIR is the file of one receipt
    #[arg(long, value_enum, default_value_t = Format::Folder)]
    format: Format,
    /// Key that signs cose and dsse: a PKCS#8 PEM file, or env:NAME. Only the log's own key speaks for the log
    #[arg(long, value_name = "KEY")]
    key: Option<KeySource>,
    /// Folder to write, new or empty, or a new file `….tar.zst`; with cose and dsse, the file
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Store of the private openings [default: private/ in the data folder]
    #[arg(long, env = "COLOPHON_PRIVATE", value_name = "DIR|URL")]
    private: Option<Location>,
    /// Key that opens the private openings: file:PATH or env:NAME [default: the data folder's own]
    #[arg(long, env = "COLOPHON_PRIVATE_KEY", value_name = "KEY")]
    private_key: Option<KeySource>,
}

pub(super) async fn run(args: ExportArgs) -> anyhow::Result<ExitCode> {
    export(args).await.or_else(|error| {
        term::error(&error);
        Ok(ExitCode::from(USAGE))
    })
}

async fn export(args: ExportArgs) -> anyhow::Result<ExitCode> {
    let window = args.interval.window()?;
    let trust = args.interval.trust.as_deref();
    if args.format != Format::Folder {
        let receipt = Path::new(&args.place.place);
        return others::write(receipt, args.format, trust, args.key.as_ref(), &args.output);
    }
    let log = Log::open(args.place.open().await?, args.interval.generation, trust).await?;
    if !log.is_signed() {
        return Ok(ExitCode::from(INCOMPLETE));
    }
    let archive = archive(&args, &log).await?;
    let count = log.count(window.clone()).await?;
    let mut sink = Sink::create(&args.output)?;
    let left =
        Export { log: &log, count: &count, window: &window, trust }.write(&mut sink, Some(archive)).await?;
    sink.finish()?;
    let report = export::check(&args.output, trust)?;
    let receipts = &report.receipts;
    outln!(
        "{} {} receipts of {} recorded exchanges, log entries {} to {}",
        term::bold(&args.output.display().to_string()),
        receipts.verified,
        count.totals.recorded,
        report.count.first,
        report.count.end
    );
    if left.erased > 0 {
        outln!("  {} records have no receipt: what opened them was erased", left.erased);
    }
    for damage in left.damaged.iter().take(TOLD) {
        outln!("{} {}", term::refused("✗"), term::safe_line(damage));
    }
    if left.damaged.len() > TOLD {
        outln!("  and {} more", left.damaged.len() - TOLD);
    }
    let faults = report.faults.iter().chain(&report.count.faults);
    let breaks = report.count.sidecars.iter().flat_map(|sidecar| &sidecar.breaks);
    for fault in faults.chain(breaks) {
        outln!("{} {}", term::refused("✗"), term::safe_line(fault));
    }
    outln!("check it with: colophon-verify {} --trust FILE", args.output.display());
    let whole = report.result != Verdict::Bad && receipts.missing == 0 && left.damaged.is_empty();
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::from(INCOMPLETE) })
}

/// The private store and the key that opens it, and what needs neither.
async fn archive(args: &ExportArgs, log: &Log) -> anyhow::Result<Archive> {
    let place = args.place.location()?;
    let folder = place.folder();
    let private = match (&args.private, folder) {
        (Some(private), _) => private.clone(),
        (None, Some(folder)) => Location::Folder(folder.join("private")),
        (None, None) => {
            anyhow::bail!("receipts need the private openings: say where they are with --private")
        }
    };
    let is_there = private.folder().is_none_or(|folder| folder.is_dir());
    anyhow::ensure!(is_there, "there are no private openings at {private}, and without them are no receipts");
    let key = match (&args.private_key, folder) {
        (Some(key), _) => key.clone(),
        (None, Some(folder)) => KeySource::File(folder.join("keys").join("private")),
        (None, None) => {
            anyhow::bail!("the private openings need their key: say where it is with --private-key")
        }
    };
    let key = Kek::load(&key).context("the key of the private openings (--private-key)")?;
    let private = private.open(&args.place.access())?;
    let (store, reader, head) = (log.store.clone(), log.reader.clone(), log.head.clone());
    Ok(Archive::open(store, private, Arc::new(key), reader, head).await?)
}
