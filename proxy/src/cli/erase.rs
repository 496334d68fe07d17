//! `colophon erase`.

use super::{get, term};
use crate::config::{LedgerOptions, LogUrlOptions, WitnessOptions};
use crate::erase::{Access, What, report};
use crate::serve;
use anyhow::Context as _;
use clap::Args;
use colophon_ledger::{Drawing, LeaveDrawn, LedgerError};
use http::{Request, StatusCode, header};
use http_body_util::Full;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// An erasure by tenant or time reads the whole private store.
const PATIENCE: Duration = Duration::from_secs(6 * 3600);

#[derive(Debug, Args)]
pub(super) struct EraseArgs {
    #[command(flatten)]
    what: WhatArgs,
    #[command(flatten)]
    ledger: LedgerOptions,
    #[command(flatten)]
    log_url: LogUrlOptions,
    #[command(flatten)]
    witness: WitnessOptions,
    /// Policy file, named by the statements that this command signs [default: the built-in profile]
    #[arg(long, env = "COLOPHON_POLICY", value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct WhatArgs {
    /// One record, by its id
    #[arg(long, value_name = "ID")]
    record: Option<String>,
    /// All records of a tenant so far; those that name none are of the tenant `-`
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    tenant: Option<String>,
    /// All records completed before a time: `now`, RFC 3339 or Unix seconds
    #[arg(long, value_name = "TIME", value_parser = colophon_verify::cli::parse_time)]
    before: Option<u64>,
}

impl WhatArgs {
    fn what(self) -> Option<What> {
        self.record.map(What::Record).or(self.tenant.map(What::Tenant)).or(self.before.map(What::Before))
    }
}

pub(super) async fn run(args: EraseArgs) -> anyhow::Result<ExitCode> {
    let what = args.what.what().context("say what to erase: --record, --tenant or --before")?;
    let erase = what.erase().context("a record id is a UUID, as in the answer's Colophon-Record")?;
    let data = args.ledger.data.clone();
    // Nothing is begun here.
    anyhow::ensure!(data.join("lock").exists(), "{} is no data folder that `serve` has used", data.display());
    let policy = serve::policy(args.policy.as_deref())?;
    let done = match serve::open_ledger(
        &args.ledger,
        &args.log_url,
        &args.witness,
        None,
        None,
        // The process whose data this is may be making proofs.
        Drawing { escalation: Some(Arc::new(LeaveDrawn)), ..Drawing::default() },
        &policy,
    )
    .await
    {
        Ok((ledger, keeper)) => {
            let done = ledger.erase(erase).await;
            let closed = keeper.close().await;
            let done = report(&done?);
            closed.context("erased and logged; but the shard could not be closed")?;
            done
        }
        Err(error) if matches!(error.downcast_ref(), Some(LedgerError::Locked(_))) => {
            ask(&get::access(&data)?, &what).await?
        }
        Err(error) => return Err(error),
    };
    if args.json {
        outln!("{done}");
    } else {
        print(&done);
    }
    Ok(ExitCode::SUCCESS)
}

/// Has the process that holds the data folder do it.
async fn ask(access: &Access, what: &What) -> anyhow::Result<serde_json::Value> {
    let request = Request::post(format!("http://{}/erase", access.address))
        .header(header::HOST, access.address.to_string())
        .header(header::AUTHORIZATION, format!("Bearer {}", access.token))
        .body(Full::from(serde_json::to_vec(what)?))?;
    let response = get::send_within(PATIENCE, request, None)
        .await
        .context("a running colophon holds the data folder, and its admin side is needed")?;
    let body: serde_json::Value =
        serde_json::from_slice(response.body()).context("the admin side answered with something else")?;
    match response.status() {
        StatusCode::OK => Ok(body),
        status => anyhow::bail!("{}", body["error"].as_str().unwrap_or(status.as_str())),
    }
}

fn print(done: &serde_json::Value) {
    let openings = &done["openings"];
    match (done["earlier"].as_bool(), done["log_index"].as_u64()) {
        (Some(true), Some(index)) => outln!("erased before; log entry {index} says so"),
        (Some(true), None) => outln!("erased before"),
        (_, Some(index)) => {
            outln!("{} what opened {openings} records; log entry {index} says so", term::green("erased"));
            if let Some(salt) = done["salt"].as_str() {
                outln!("salt        {salt} (with the tenant's name it shows that the entry is about it)");
            }
        }
        (_, None) => outln!("nothing to erase"),
    }
}
