//! `colophon key rotate` and `colophon key revoke`: what changes which keys count, with the proxy stopped.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use clap::Args;
use colophon_ledger::generation::{self, Rotate, Rotated};
use colophon_ledger::remote::{Accepted, Refused};
use colophon_ledger::revoke::{self, Revoke};
use colophon_receipt::revocation::Reason;
use colophon_signer::{KeySource, Signer};
use colophon_verify::cli::parse_time;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use serde_json::json;

use super::term;
use crate::cli::get;
use crate::config::StoreOptions;
use crate::erase::Access;
use crate::log_role::Revoking;
use crate::serve::{default_log_key, state_folder};

/// The log whose keys change.
#[derive(Debug, Args)]
struct Folder {
    /// The data folder
    #[arg(long, env = "COLOPHON_DATA", value_name = "DIR", default_value = "./colophon-data")]
    data: PathBuf,
    #[command(flatten)]
    stores: StoreOptions,
    /// The state folder [default: $XDG_STATE_HOME/colophon or ~/.local/state/colophon]
    #[arg(long, env = "COLOPHON_STATE", value_name = "DIR")]
    state: Option<PathBuf>,
    /// The log's key so far: a path, env:NAME or pkcs11:… [default: the one in --data]
    #[arg(long, env = "COLOPHON_LOG_KEY", value_name = "KEY")]
    log_key: Option<KeySource>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct RotateArgs {
    #[command(flatten)]
    folder: Folder,
    /// The new key, made before: a path, env:NAME or pkcs11:… [default: one made in --data]
    #[arg(long, value_name = "KEY")]
    new_key: Option<KeySource>,
    /// The old key is lost: nothing in the old log can then say that the new key is its successor
    #[arg(long, conflicts_with = "log_key")]
    old_key_lost: bool,
    /// Why: superseded, or key-compromise if somebody else may have the old key
    #[arg(long, value_name = "REASON", default_value = "superseded")]
    reason: Reason,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct RevokeArgs {
    #[command(flatten)]
    folder: Folder,
    /// The shard, as `colophon log show` and `verify` print it: name/0123456789abcdef
    #[arg(long, value_name = "SHARD")]
    shard: String,
    /// Why: key-compromise, superseded, cessation-of-operation or unspecified
    #[arg(long, value_name = "REASON")]
    reason: Reason,
    /// From when on its signatures do not count, if that is before now: RFC 3339, a date (UTC) or Unix seconds
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    from: Option<u64>,
}

pub(super) async fn rotate(args: RotateArgs) -> anyhow::Result<ExitCode> {
    let RotateArgs { folder, new_key, old_key_lost, reason } = args;
    // Before a key is made.
    let state = state_folder(folder.state.as_deref(), &folder.data, &folder.stores.stores())?;
    let keys = Keys::choose(&folder, new_key).await?;
    let made = keys.makes_new();
    let old_key = if old_key_lost { None } else { Some(open(keys.old, "the log's key so far").await?) };
    let new_key = match made {
        true => generate(keys.new.clone()).await?,
        false => open(keys.new.clone(), "the new key").await?,
    };
    let rotate = Rotate {
        data: folder.data.clone(),
        stores: folder.stores.stores(),
        state,
        old_key,
        new_key,
        reason,
        now: now(),
    };
    let rotated = generation::rotate(rotate).await?;
    match folder.json {
        true => outln!("{}", json_of(&rotated, &keys.new)),
        false => print(&rotated, &keys.new),
    }
    Ok(ExitCode::SUCCESS)
}

/// Which keys a rotation is between.
struct Keys {
    old: KeySource,
    new: KeySource,
}

impl Keys {
    async fn choose(folder: &Folder, new: Option<KeySource>) -> anyhow::Result<Keys> {
        anyhow::ensure!(
            folder.stores.store.is_some() || folder.data.join("log").is_dir(),
            "--data {}: there is no log in it",
            folder.data.display()
        );
        let store = folder.stores.stores().open_public(&folder.data)?;
        let newest = generation::newest(&store).await?;
        let key = |generation| KeySource::File(default_log_key(&folder.data, generation));
        let given = folder.log_key.clone();
        Ok(match new {
            // The last rotation was not followed by a start yet, or was interrupted: this one is the same.
            None if newest > 1 && generation::is_unused(&store, newest).await? => {
                Keys { old: given.unwrap_or_else(|| key(newest - 1)), new: key(newest) }
            }
            None => Keys { old: given.unwrap_or_else(|| key(newest)), new: key(newest + 1) },
            Some(new) => Keys { old: given.unwrap_or_else(|| key(newest)), new },
        })
    }

    /// Whether the new key is still to be made: only ever in the data folder.
    fn makes_new(&self) -> bool {
        matches!(&self.new, KeySource::File(path) if is_ours(path) && !path.exists())
    }
}

/// A key file of ours, by its name: `keys/log-<g>.pem`.
fn is_ours(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    path.parent().is_some_and(|folder| folder.ends_with("keys")) && name.starts_with("log-")
}

async fn open(source: KeySource, what: &'static str) -> anyhow::Result<Arc<dyn Signer>> {
    // A token may take its time.
    tokio::task::spawn_blocking(move || source.open()).await?.with_context(|| format!("cannot use {what}"))
}

async fn generate(source: KeySource) -> anyhow::Result<Arc<dyn Signer>> {
    tokio::task::spawn_blocking(move || source.generate()).await?.context("cannot make the new key")
}

fn print(rotated: &Rotated, key: &KeySource) {
    let Rotated { generation, vkey, predecessor, already } = rotated;
    let what = if *already { "was rotated before" } else { "rotated" };
    outln!("{} {what}: the log is now in generation {generation}", term::green("✓"));
    outln!("vkey        {}", term::safe_line(vkey));
    if let Some(end) = predecessor {
        outln!("continues   {}, which ended with {} leaves", term::safe_line(&end.origin), end.size);
    }
    outln!("key         {}: start with it (--log-key), and keep a copy", term::safe_line(&key.to_string()));
    outln!("readers     need the new vkey beside the old one: /.well-known/colophon/keys has both");
}

fn json_of(rotated: &Rotated, key: &KeySource) -> serde_json::Value {
    json!({
        "generation": rotated.generation,
        "vkey": rotated.vkey,
        "key": key.to_string(),
        "already": rotated.already,
        "predecessor": rotated.predecessor.as_ref().map(|end| {
            json!({"origin": end.origin, "size": end.size, "root": hex::encode(end.root)})
        }),
    })
}

pub(super) async fn revoke(args: RevokeArgs) -> anyhow::Result<ExitCode> {
    if let Some(access) = Access::load_for_log(&args.folder.data)? {
        match ask(&access, &args).await {
            Err(error) if error.downcast_ref::<NotRunning>().is_some() => {
                errln!("no log runs at {}: the log in the store is opened here", access.address);
            }
            done => return done,
        }
    }
    let RevokeArgs { folder, shard, reason, from } = args;
    let key = match folder.log_key.clone() {
        Some(key) => key,
        None => {
            let store = folder.stores.stores().open_public(&folder.data)?;
            KeySource::File(default_log_key(&folder.data, generation::newest(&store).await?))
        }
    };
    let revoke = Revoke {
        data: folder.data.clone(),
        stores: folder.stores.stores(),
        state: state_folder(folder.state.as_deref(), &folder.data, &folder.stores.stores())?,
        log_key: open(key, "the log's key").await?,
        shard,
        reason,
        invalid_from: from,
        now: now(),
    };
    let revoked = revoke::revoke(revoke).await?;
    let entry = json!({"key_id": hex::encode(revoked.revocation.key_id), "from": revoked.revocation.from()});
    if folder.json {
        outln!("{}", json!({"index": revoked.index, "reason": reason.as_str(), "revoked": entry}));
    } else {
        outln!("{} revoked, by leaf {} of the log", term::green("✓"), revoked.index);
        outln!("receipts    made before do not show it. For a reader's trust file, under \"revoked\":");
        outln!("            {entry}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Nobody listens where the log role once did.
#[derive(Debug, thiserror::Error)]
#[error("no log runs there: {0}")]
struct NotRunning(String);

/// Has the log role that has this data folder do it.
async fn ask(access: &Access, args: &RevokeArgs) -> anyhow::Result<ExitCode> {
    let what = Revoking { shard: args.shard.clone(), reason: args.reason.to_string(), from: args.from };
    let request = Request::post(format!("http://{}/revoke", access.address))
        .header(header::HOST, access.address.to_string())
        .header(header::AUTHORIZATION, format!("Bearer {}", access.token))
        .body(Full::from(serde_json::to_vec(&what)?))?;
    let response = get::send_within(PATIENCE, request, None).await;
    let response = response.map_err(|error| NotRunning(format!("{error:#}")))?;
    if response.status() != StatusCode::OK {
        let refused: Refused = serde_json::from_slice(response.body()).context("the log's answer")?;
        anyhow::bail!("nothing is revoked: {} ({})", refused.message, refused.code);
    }
    let accepted: Accepted = serde_json::from_slice(response.body()).context("the log's answer")?;
    match args.folder.json {
        true => outln!("{}", json!({"index": accepted.index, "reason": args.reason.as_str()})),
        false => {
            outln!("{} revoked, by leaf {} of the log", term::green("✓"), accepted.index);
            outln!("the log     takes nothing more of {}", term::safe_line(&args.shard));
            outln!("receipts    made before do not show it: see docs/KEYS.md for readers' trust files");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The log answers once its store has the leaf.
const PATIENCE: Duration = Duration::from_secs(60);

/// µs since the epoch.
fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}
