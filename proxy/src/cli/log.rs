//! `colophon log`.

mod backend;
mod checked;
mod count;

use super::term;
use crate::serve::drand_chain;
use anyhow::Context as _;
use clap::{Args, Subcommand};
use colophon_ledger::check::{CheckOptions, Report, check};
use colophon_ledger::generation;
use colophon_ledger::log::{checkpoint_note, is_begun};
use colophon_ledger::reindex::{Reindexed, reindex};
use colophon_ledger::show::Show;
use colophon_ledger::{Access, Location};
use colophon_receipt::checkpoint::Checkpoint;
use colophon_signer::note::Note;
use colophon_signer::rfc3161::Roots;
use colophon_verify::Trust;
use futures_util::TryStreamExt as _;
use object_store::ObjectStore;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Exit code of a check that found something.
const FINDINGS: u8 = 1;

/// Exit code of a folder that cannot be read.
const USAGE: u8 = 2;

#[derive(Debug, Subcommand)]
pub(super) enum LogCommand {
    /// Re-hash a whole log folder and check every statement's place in its chain
    ///
    /// Exit codes: 0 sound, 1 something found, 2 wrong usage or a folder that cannot be read.
    Check(CheckArgs),
    /// List the leaves of a log folder
    Show(ShowArgs),
    /// Count what was recorded in an interval, from signed statements, and whether the account is unbroken
    ///
    /// Whole batches are counted: those that touch the interval. Exit codes: 0 unbroken, 1 broken or not signed, 2 wrong
    /// usage (a shard that the log does not have) or a log that cannot be read, 3 unbroken, but no trust file was given, or
    /// the statements do not span the interval.
    Count(count::CountArgs),
    /// Make the index again from the log and the batch files: what is missing or damaged of it
    ///
    /// May run beside the proxy. Exit codes: 0 all is there now, 1 a batch could not be indexed, 2 wrong usage or a log
    /// that cannot be read.
    Index(IndexArgs),
}

#[derive(Debug, Args)]
pub(super) struct IndexArgs {
    #[command(flatten)]
    place: Place,
}

/// Where the log is.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// The data folder, or the store's URL (s3://…, gs://…, az://…, file://…), or where a log is published (https://…)
    #[arg(value_name = "DIR|URL", default_value = "./colophon-data")]
    pub(super) place: String,
    /// URL of the object store's service
    #[arg(long, env = "COLOPHON_STORE_ENDPOINT", value_name = "URL")]
    store_endpoint: Option<String>,
    /// PEM file of the CAs that may sign the object store's certificate
    #[arg(long, env = "COLOPHON_STORE_CA", value_name = "FILE")]
    store_ca: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    place: Place,
    /// Trust file with the log's key, from elsewhere; without it the folder's own genesis is believed
    #[arg(long, value_name = "FILE")]
    trust: Option<PathBuf>,
    /// JSON file that describes the drand chain whose rounds draw records, as a drand server answers …/info [default:
    /// quicknet]
    #[arg(long, value_name = "FILE")]
    drand_chain: Option<PathBuf>,
    /// Only the public log: do not read the batch files
    #[arg(long)]
    public_only: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    #[command(flatten)]
    place: Place,
    /// First leaf
    #[arg(long, value_name = "N", default_value_t = 0)]
    from: u64,
    /// Which generation of the log [default: the newest]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    generation: Option<u32>,
    /// Leaves at most
    #[arg(long, value_name = "N", default_value_t = u64::MAX, hide_default_value = true)]
    limit: u64,
}

pub(super) async fn run(command: LogCommand) -> anyhow::Result<ExitCode> {
    let done = match command {
        LogCommand::Check(args) => check_log(args).await,
        LogCommand::Show(args) => show(args).await,
        LogCommand::Count(args) => count::run(args).await,
        LogCommand::Index(args) => index(args).await,
    };
    done.or_else(|error| {
        term::error(&error);
        Ok(ExitCode::from(USAGE))
    })
}

impl Place {
    /// How buckets are reached.
    pub(super) fn access(&self) -> Access {
        Access { endpoint: self.store_endpoint.clone(), ca: self.store_ca.clone() }
    }

    /// The place, read.
    pub(super) fn location(&self) -> anyhow::Result<Location> {
        Ok(match self.place.contains("://") {
            true => self.place.parse::<Location>().map_err(anyhow::Error::msg)?,
            false => Location::Folder(self.place.clone().into()),
        })
    }

    /// Whether it is a log that others publish: without batches, index or sequence.
    pub(super) fn is_published(&self) -> bool {
        self.place.starts_with("https://") || self.place.starts_with("http://")
    }

    pub(super) async fn open(&self) -> anyhow::Result<Arc<dyn ObjectStore>> {
        if self.is_published() {
            return Ok(colophon_ledger::store::published(&self.place, &self.access()).await?);
        }
        let (access, location) = (self.access(), self.location()?);
        // A folder that is only looked at is not made.
        let found = location.folder().is_none_or(|folder| folder.join("log").is_dir());
        anyhow::ensure!(found, "{} holds no log (there is no folder `log` in it)", self.place);
        let store = location.open(&access)?;
        let begun = location.folder().is_some() || is_begun(store.clone(), 1).await?;
        anyhow::ensure!(begun, "{} holds no log (or there is no such bucket)", self.place);
        Ok(store)
    }
}

/// Whether the store holds batches, or only the public log.
async fn has_batches(store: &Arc<dyn ObjectStore>) -> anyhow::Result<bool> {
    let folder = object_store::path::Path::from("shard");
    Ok(store.list(Some(&folder)).try_next().await?.is_some())
}

/// What receipts are made of beside log and batches, and is not there. The check does not look into it.
async fn missing(place: &Place, store: &Arc<dyn ObjectStore>) -> anyhow::Result<Vec<&'static str>> {
    let mut missing = Vec::new();
    if !has_batches(store).await? {
        return Ok(missing);
    }
    if place.location()?.folder().is_some_and(|folder| !folder.join("private").is_dir()) {
        missing.push("openings");
    }
    if store.list(Some(&object_store::path::Path::from("index"))).try_next().await?.is_none() {
        missing.push("index");
    }
    Ok(missing)
}

async fn check_log(args: CheckArgs) -> anyhow::Result<ExitCode> {
    let store = args.place.open().await?;
    let newest = generation::newest(&store).await?;
    let mut reports = Vec::new();
    let chain = drand_chain(args.drand_chain.as_deref())?;
    let published = args.place.is_published();
    let batches = !args.public_only && !published;
    let missing = if batches { missing(&args.place, &store).await? } else { Vec::new() };
    let read = checked::Read { batches, sequence: !published, missing };
    for generation in 1..=newest {
        let (vkey, tsa_roots) = match &args.trust {
            Some(trust) => trusted_key(trust, &store, generation, newest).await?,
            None => (None, Roots::default()),
        };
        let trusted = vkey.is_some();
        let bar = term::progress_bar("checking", "leaves");
        let shown = bar.clone();
        let progress = move |done, total| {
            shown.set_length(total);
            shown.set_position(done);
        };
        let progress = Some(Box::new(progress) as _);
        let options =
            CheckOptions { generation, vkey, batches, published, tsa_roots, chain: chain.clone(), progress };
        let report = check(store.clone(), options).await;
        bar.finish_and_clear();
        // Else who serves the log could have the trust file passed over, by a checkpoint that says nothing when it is first read.
        anyhow::ensure!(
            trusted || args.trust.is_none() || generation < newest || !report.is_sound(),
            "the checkpoint of {} changed while it was read: check again",
            args.place.place
        );
        if !args.json {
            checked::print(&report, trusted, &read);
        }
        reports.push(report);
    }
    if args.json {
        let mut all: Vec<_> = reports.iter().rev().map(checked::json).collect();
        // The newest generation as if it were the only one, and those before it, newest first.
        let mut newest = all.remove(0);
        newest["sound"] = reports.iter().all(Report::is_sound).into();
        newest["older"] = all.into();
        newest["read"] = read.json();
        outln!("{newest}");
    }
    let sound = reports.iter().all(Report::is_sound);
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::from(FINDINGS) })
}

/// The key that a trust file has for a generation of the log, and the roots of TSAs that it names. An older generation need
/// not be named there: the newest one's genesis says where it ended.
async fn trusted_key(
    trust: &Path,
    store: &Arc<dyn ObjectStore>,
    generation: u32,
    newest: u32,
) -> anyhow::Result<(Option<String>, Roots)> {
    let file = std::fs::read(trust).with_context(|| format!("cannot read {}", trust.display()))?;
    let known =
        Trust::from_json(&file).with_context(|| format!("{} is not a trust file", trust.display()))?;
    let note = checkpoint_note(store.clone(), generation).await?;
    let note = note.as_deref().map(Note::parse).transpose().ok().flatten();
    // The check says what is wrong with a checkpoint that names no log.
    let Some(Checkpoint { origin, .. }) = note.and_then(|note| Checkpoint::parse(note.text()).ok()) else {
        return Ok((None, known.tsa_roots.clone()));
    };
    let key = known.keys_of(&origin).into_iter().next();
    if key.is_none() && generation < newest {
        return Ok((None, known.tsa_roots.clone()));
    }
    let key =
        key.with_context(|| format!("{} has no key for the log {}", trust.display(), term::safe(&origin)))?;
    Ok((Some(key.to_string()), known.tsa_roots.clone()))
}

async fn index(args: IndexArgs) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(!args.place.is_published(), "a published log has no batches to index");
    let store = args.place.open().await?;
    let newest = generation::newest(&store).await?;
    let bar = term::progress_bar("indexing", "leaves");
    let progress = |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    };
    let mut done = Reindexed::default();
    for generation in 1..=newest {
        let one = reindex(store.clone(), generation, &progress).await?;
        done.batches += one.batches;
        (done.files, done.written) = (done.files + one.files, done.written + one.written);
        done.failed.extend(one.failed);
    }
    bar.finish_and_clear();
    outln!("{} of {} index files written, for {} batches", done.written, done.files, done.batches);
    for failed in &done.failed {
        outln!("{} {}", term::refused("✗"), term::safe_line(failed));
    }
    Ok(if done.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FINDINGS) })
}

async fn show(args: ShowArgs) -> anyhow::Result<ExitCode> {
    let store = args.place.open().await?;
    let to = args.from.saturating_add(args.limit);
    let newest = generation::newest(&store).await?;
    let generation = args.generation.unwrap_or(newest);
    anyhow::ensure!(
        generation <= newest,
        "the log has no generation {generation}: it has generations 1 to {newest}"
    );
    let mut leaves = Show::open(store, generation, args.from..to).await?;
    outln!(
        "{}",
        term::bold(&format!(
            "log {}, {} leaves",
            term::safe_line(&leaves.head().checkpoint.origin),
            leaves.head().checkpoint.size
        ))
    );
    while let Some(leaf) = leaves.next().await? {
        outln!("{}", term::safe_line(&leaf.to_string()));
        // A log may be long, and `| head` has seen enough.
        if term::output::is_gone() {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}
