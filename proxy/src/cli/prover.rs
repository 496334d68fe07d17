//! `colophon prover`: a worker of its own, for the queue of a `colophon serve`.

use super::get;
use super::serve::LogArgs;
use super::term;
use crate::files;
use crate::proofs::remote::Remote;
use crate::proofs::{Provers, goes_on, sandbox, tell};
use anyhow::Context as _;
use clap::Args;
use colophon_provers::Backend;
use colophon_provers::worker::{Source, Worker};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// How often an idle worker asks for a job.
const IDLE: Duration = Duration::from_secs(2);
/// A token file is never longer.
const MAX_TOKEN: usize = 4096;

#[derive(Debug, Args)]
pub(super) struct ProverArgs {
    /// YAML file of the provers, as for serve
    #[arg(long, env = "COLOPHON_PROVERS", value_name = "FILE")]
    provers: PathBuf,
    /// Data folder of a `colophon serve` on this machine: where its admin side is, and the token for it
    #[arg(long, env = "COLOPHON_DATA", value_name = "DIR", conflicts_with = "url")]
    data: Option<PathBuf>,
    /// Admin side of a `colophon serve` elsewhere
    #[arg(long, value_name = "URL", requires = "token_file")]
    url: Option<String>,
    /// File of the token for it, from `keys/admin` in its data folder
    #[arg(long, value_name = "FILE", requires = "url")]
    token_file: Option<PathBuf>,
    /// PEM file of the CAs that may sign its certificate, instead of the system's
    #[arg(long, value_name = "FILE", requires = "url")]
    ca: Option<PathBuf>,
    /// Take jobs from the NATS server that --provers names, instead of the admin side of a `colophon serve`
    #[arg(long, conflicts_with_all = ["data", "url"])]
    nats: bool,
    /// Its name among the workers [default: prover/<number of the process>]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Folder for the jobs' folders [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    work: Option<PathBuf>,
    /// End after one job, or when there is none
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    log: LogArgs,
}

pub(super) async fn run(args: ProverArgs) -> anyhow::Result<ExitCode> {
    args.log.set_up()?;
    let provers = Provers::load(&args.provers)?;
    let name = args.name.clone().unwrap_or_else(|| format!("prover/{}", std::process::id()));
    let source: Arc<dyn Source> = match args.nats {
        true => Arc::new(provers.from_nats(name).context("--nats: --provers names no NATS server (`nats`)")?),
        false => Arc::new(source(&args, name)?),
    };
    let folder = args
        .work
        .clone()
        .unwrap_or_else(|| std::env::temp_dir().join(format!("colophon-prover-{}", std::process::id())));
    let folder = std::path::absolute(folder)?;
    // Every prover here has a program, its verifier at least. A worker that may not run any would take jobs and spend their tries.
    sandbox()?.try_out().await?;
    let backends: Vec<Arc<dyn Backend>> = provers.backends().collect();
    let worker = Worker::new(source, backends, folder);
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut watch = goes_on;
    loop {
        // Dropped in the middle of a job, it ends the prover, and the job goes to another when its lease is over.
        let ran = tokio::select! {
            ran = worker.once(&mut watch) => Ok(ran),
            _ = terminate.recv() => Err(ExitCode::SUCCESS),
            _ = interrupt.recv() => Err(ExitCode::from(130)),
        };
        let ran = match ran {
            Ok(ran) => ran,
            Err(code) => {
                provers.told().await;
                return Ok(code);
            }
        };
        match ran {
            Ok(Some((job, ended))) => tell(&job, &ended),
            Ok(None) if !args.once => {}
            Ok(None) => {
                outln!("{}", term::dim("there is no job"));
                return Ok(ExitCode::SUCCESS);
            }
            Err(error) if args.once => return Err(error.into()),
            Err(error) => tracing::warn!(%error, "it is asked again"),
        }
        if args.once {
            return Ok(ExitCode::SUCCESS);
        }
        tokio::select! {
            () = tokio::time::sleep(IDLE) => {}
            _ = terminate.recv() => return Ok(ExitCode::SUCCESS),
            _ = interrupt.recv() => return Ok(ExitCode::from(130)),
        }
    }
}

fn source(args: &ProverArgs, name: String) -> anyhow::Result<Remote> {
    if let (Some(url), Some(file)) = (&args.url, &args.token_file) {
        let token = files::read_text(file, MAX_TOKEN).context("--token-file")?;
        return Remote::new(url, token.trim(), name, args.ca.as_deref());
    }
    let data = args.data.clone().unwrap_or_else(|| PathBuf::from("./colophon-data"));
    let access = get::access(&data)?;
    Remote::new(&format!("http://{}", access.address), &access.token, name, None)
}
