//! A log that is read from its files, and the account of an interval: what `log count` and `receipt export` share.

use super::term;
use anyhow::Context as _;
use clap::Args;
use colophon_ledger::SignedHead;
use colophon_ledger::log::LogReader;
use colophon_signer::note::VerifierKey;
use colophon_verify::Trust;
use colophon_verify::cli::parse_time;
use colophon_verify::count::{Count, Counting, Window};
use object_store::ObjectStore;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Entries read at once: a full bundle.
const STRIDE: u64 = 256;

/// Which interval, whose, by whose key.
#[derive(Debug, Args)]
pub(super) struct IntervalArgs {
    /// Start: RFC 3339, a date (UTC) or Unix seconds [default: the log's beginning]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(super) from: Option<u64>,
    /// End [default: the log's end]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(super) to: Option<u64>,
    /// Only this shard (`name/incarnation`), or all shards of this name
    #[arg(long, value_name = "SHARD")]
    pub(super) shard: Option<String>,
    /// Trust file with the log's key, from elsewhere; without it the log's own genesis is believed
    #[arg(long, value_name = "FILE")]
    pub(super) trust: Option<PathBuf>,
    /// Only this generation of the log: a rotated key begins the next
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) generation: Option<u32>,
}

impl IntervalArgs {
    pub(super) fn window(&self) -> anyhow::Result<Window> {
        let (from, to) = (self.from.unwrap_or(0), self.to.unwrap_or(u64::MAX));
        anyhow::ensure!(from <= to, "--from is after --to");
        Ok(Window { from, to, shard: self.shard.clone() })
    }
}

/// A log, read.
pub(super) struct Log {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) generation: u32,
    pub(super) reader: LogReader,
    pub(super) head: SignedHead,
    /// The keys that are believed: the trust file's, or else those of the genesis.
    pub(super) keys: Vec<VerifierKey>,
    /// Whether they came from a trust file.
    pub(super) trusted: bool,
    /// One of them signed the checkpoint.
    pub(super) signed: bool,
}

impl Log {
    /// Opens the generation asked for, or the only one there is: half an account would look whole.
    pub(super) async fn open(
        store: Arc<dyn ObjectStore>,
        generation: Option<u32>,
        trust: Option<&Path>,
    ) -> anyhow::Result<Log> {
        let newest = colophon_ledger::generation::newest(&store).await?;
        let generation = match generation {
            Some(generation) if generation <= newest => generation,
            Some(generation) => {
                anyhow::bail!("the log has no generation {generation}: its newest is {newest}")
            }
            None if newest == 1 => 1,
            None => anyhow::bail!(
                "the log has {newest} generations (its key was rotated), and an export shows one tree: say which with \
                 --generation"
            ),
        };
        Log::open_generation(store, generation, trust).await
    }

    /// Opens one generation of the log in `store`.
    pub(super) async fn open_generation(
        store: Arc<dyn ObjectStore>,
        generation: u32,
        trust: Option<&Path>,
    ) -> anyhow::Result<Log> {
        let (reader, head) = LogReader::open(store.clone(), generation).await?;
        let keys = match trust {
            Some(trust) => trusted_keys(trust, &head.checkpoint.origin)?,
            None => reader.genesis_keys(&head.checkpoint).await?,
        };
        let signed = keys.iter().any(|key| SignedHead::parse(&head.note, key).is_ok());
        Ok(Log { store, generation, reader, head, keys, trusted: trust.is_some(), signed })
    }

    /// Whether a believed key signed the checkpoint; says so if none did.
    pub(super) fn is_signed(&self) -> bool {
        if !self.signed {
            let origin = term::safe_line(self.origin());
            term::error(&anyhow::anyhow!("no key of {origin} signed the checkpoint"));
        }
        self.signed
    }

    pub(super) fn origin(&self) -> &str {
        &self.head.checkpoint.origin
    }

    /// What the log accounts for in `window`: every entry is read and proven.
    pub(super) async fn count(&self, window: Window) -> anyhow::Result<Count> {
        let mut counting = Counting::new(self.origin(), &self.keys, window, 0);
        let bar = term::progress_bar("counting", "log entries");
        bar.set_length(self.head.size());
        let mut next = 0;
        while next < self.head.size() {
            let end = (next + STRIDE).min(self.head.size());
            for entry in self.reader.entries(next..end, &self.head.checkpoint).await? {
                counting.entry(&entry);
            }
            bar.set_position(end);
            next = end;
        }
        bar.finish_and_clear();
        Ok(counting.finish())
    }
}

/// The keys that a trust file has for this log.
fn trusted_keys(trust: &Path, origin: &str) -> anyhow::Result<Vec<VerifierKey>> {
    let file = std::fs::read(trust).with_context(|| format!("cannot read {}", trust.display()))?;
    let known =
        Trust::from_json(&file).with_context(|| format!("{} is not a trust file", trust.display()))?;
    let keys = known.keys_of(origin);
    let origin = term::safe_line(origin);
    anyhow::ensure!(!keys.is_empty(), "{} has no key for the log {origin}", trust.display());
    Ok(keys)
}
