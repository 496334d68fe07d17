//! `colophon key rewrap`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use colophon_ledger::Kek;
use colophon_ledger::private::{Rewrap, rewrap};
use colophon_signer::KeySource;
use serde_json::json;

use super::term;
use crate::config::StoreOptions;

#[derive(Debug, Args)]
pub(in crate::cli) struct RewrapArgs {
    /// The data folder
    #[arg(long, env = "COLOPHON_DATA", value_name = "DIR", default_value = "./colophon-data")]
    data: PathBuf,
    #[command(flatten)]
    stores: StoreOptions,
    /// The key so far: file:PATH or env:NAME [default: the one made in --data]
    #[arg(long, env = "COLOPHON_PRIVATE_KEY", value_name = "KEY")]
    private_key: Option<KeySource>,
    /// The key from now on: file:PATH or env:NAME, 64 hexadecimal digits
    #[arg(long, value_name = "KEY")]
    new_private_key: KeySource,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: RewrapArgs) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(args.data.is_dir(), "--data {}: there is no such folder", args.data.display());
    let new = Kek::load(&args.new_private_key).context("--new-private-key")?;
    let id = new.id();
    let old = args.private_key.as_ref().map(Kek::load).transpose().context("--private-key")?;
    let done = rewrap(Rewrap { data: args.data, stores: args.stores.stores(), old, new }).await?;
    if args.json {
        outln!("{}", json!({"key": id, "keys": done.keys, "before": done.before}));
    } else {
        outln!("{} {} data keys are wrapped by the key {id} now", term::green("✓"), done.keys + done.before);
        outln!("start       with --private-key {}", term::safe_line(&args.new_private_key.to_string()));
        outln!("the old key opens copies of the store from before: destroy it once you have none");
    }
    Ok(ExitCode::SUCCESS)
}
