//! `colophon proof`: jobs of a running `colophon serve`, asked for and looked at.

use super::{get, term};
use crate::erase::Access;
use crate::files;
use crate::proofs::api::Ask;
use anyhow::Context as _;
use bytes::Bytes;
use clap::{Args, Subcommand};
use colophon_provers::{Job, Progress, State};
use colophon_receipt::receipt::Bytes as Base64;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// How often a job that is waited for is looked at.
const EVERY: Duration = Duration::from_millis(500);
/// Two bodies of this length, in base64, are what the admin side takes.
const MAX_BODY: usize = 720 << 10;

#[derive(Debug, Subcommand)]
pub(super) enum ProofCommand {
    /// Ask for a proof about a record, whatever its rule says
    Submit(SubmitArgs),
    /// Show a proof job
    Show(ShowArgs),
    /// Withdraw a proof job
    Cancel(CancelArgs),
}

#[derive(Debug, Args)]
struct Where {
    /// Data folder of the running `colophon serve`
    #[arg(long, env = "COLOPHON_DATA", value_name = "DIR", default_value = "./colophon-data")]
    data: PathBuf,
    /// Wait for its end, with a bar on a terminal
    #[arg(long)]
    wait: bool,
    /// Print the job as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct SubmitArgs {
    /// The record's id, as in Colophon-Record
    record: String,
    /// The prover [default: that of the record's rule]
    #[arg(long, value_name = "NAME")]
    prover: Option<String>,
    /// The body of the recorded request, for a language model's proof; goes with --response
    #[arg(long, value_name = "FILE", requires = "response")]
    request: Option<PathBuf>,
    /// The body of the recorded response
    #[arg(long, value_name = "FILE", requires = "request")]
    response: Option<PathBuf>,
    /// The time after which nobody needs it: RFC 3339 or Unix seconds
    #[arg(long, value_name = "TIME", value_parser = colophon_verify::cli::parse_time)]
    deadline: Option<u64>,
    /// Higher goes first
    #[arg(long, value_name = "0-255", default_value_t = 0)]
    priority: u8,
    /// Where its end is told, by a signed POST; under a URL that the provers' file allows
    #[arg(long, value_name = "URL")]
    webhook: Option<String>,
    #[command(flatten)]
    at: Where,
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// The job's id, or its record's
    id: String,
    #[command(flatten)]
    at: Where,
}

#[derive(Debug, Args)]
pub(super) struct CancelArgs {
    /// The job's id, which `proof show` says; there may be several about a record
    id: String,
    #[command(flatten)]
    at: Where,
}

pub(super) async fn run(command: ProofCommand) -> anyhow::Result<ExitCode> {
    match command {
        ProofCommand::Submit(args) => {
            let ask = Ask {
                record: args.record,
                level: None,
                backend: args.prover,
                deadline: args.deadline,
                priority: args.priority,
                limits: None,
                webhook: args.webhook,
                request: body(args.request.as_deref())?,
                response: body(args.response.as_deref())?,
            };
            let access = get::access(&args.at.data)?;
            let job = job(send(&access, Method::POST, "", serde_json::to_vec(&ask)?).await?)?;
            followed(&access, job, &args.at).await
        }
        ProofCommand::Show(args) => {
            let access = get::access(&args.at.data)?;
            let job = job(send(&access, Method::GET, &args.id, Vec::new()).await?)?;
            followed(&access, job, &args.at).await
        }
        ProofCommand::Cancel(args) => {
            let access = get::access(&args.at.data)?;
            let job = job(send(&access, Method::DELETE, &args.id, Vec::new()).await?)?;
            followed(&access, job, &args.at).await
        }
    }
}

fn body(path: Option<&Path>) -> anyhow::Result<Option<Base64>> {
    path.map(|path| files::read(path, MAX_BODY).map(Base64)).transpose()
}

async fn send(access: &Access, method: Method, path: &str, body: Vec<u8>) -> anyhow::Result<Response<Bytes>> {
    let slash = if path.is_empty() { "" } else { "/" };
    let request = Request::builder()
        .method(method)
        .uri(format!("http://{}/v1/proofs{slash}{path}", access.address))
        .header(header::HOST, access.address.to_string())
        .header(header::AUTHORIZATION, format!("Bearer {}", access.token))
        .body(Full::from(body))?;
    get::send(request, None)
        .await
        .context("a running colophon holds the data folder, and its admin side is needed")
}

fn job(response: Response<Bytes>) -> anyhow::Result<Job> {
    if !matches!(response.status(), StatusCode::OK | StatusCode::ACCEPTED) {
        let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap_or_default();
        anyhow::bail!("{}", body["error"].as_str().unwrap_or(response.status().as_str()));
    }
    serde_json::from_slice(response.body()).context("the admin side answered with something else")
}

/// Shows the job, and waits for its end where that is wanted. Exit code 1 where it came to nothing.
async fn followed(access: &Access, mut job: Job, at: &Where) -> anyhow::Result<ExitCode> {
    let bar = bar(at.wait);
    while at.wait && !job.state.has_ended() {
        if let State::Leased { progress, .. } = &job.state {
            bar.set_position(progress.percent.into());
            bar.set_message(at_what(progress));
        }
        tokio::time::sleep(EVERY).await;
        job = self::job(send(access, Method::GET, &job.id.to_string(), Vec::new()).await?)?;
    }
    bar.finish_and_clear();
    if at.json {
        outln!("{}", serde_json::to_string(&job)?);
    } else {
        print(&job);
    }
    let nothing = matches!(job.state, State::Failed(_) | State::Missed | State::Cancelled);
    Ok(ExitCode::from(u8::from(nothing)))
}

fn bar(wait: bool) -> ProgressBar {
    if !wait || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("proving {wide_bar} {pos} % {msg}");
    ProgressBar::new(100).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// What a try is at, and how much it thinks that it still has to do: by an estimate these are CPU seconds, not the clock's.
fn at_what(progress: &Progress) -> String {
    let stage = term::safe_line(&progress.stage);
    match progress.seconds_left {
        Some(seconds) => format!("{stage}, about {seconds} s of computing left"),
        None => stage,
    }
}

fn print(job: &Job) {
    let said = match &job.state {
        State::Queued { .. } => "waits for a worker".to_owned(),
        State::Leased { worker, progress, .. } => {
            format!("{} % done, {}, by {}", progress.percent, at_what(progress), term::safe_line(worker))
        }
        State::Proven(artefact) => term::green(&format!(
            "proven: {} bytes, {:.1} CPU seconds, by {}",
            artefact.bytes,
            artefact.cpu_seconds,
            term::safe_line(&artefact.prover)
        )),
        State::Failed(failure) => term::refused(&format!("failed: {}", term::safe_line(&failure.message))),
        State::Missed => term::refused("missed: its deadline passed"),
        State::Cancelled => "withdrawn".to_owned(),
    };
    outln!("job         {}", job.id);
    outln!("record      {}", term::safe_line(&job.request.record));
    outln!("circuit     {}", term::safe_line(&job.request.statement.circuit));
    outln!("state       {said}");
    if let Some(failure) = job.last_failure.as_ref().filter(|_| !job.state.has_ended()) {
        outln!("last try    {}", term::safe_line(&failure.message));
    }
    if job.request.evidence.is_some() && job.state.has_ended() {
        outln!("log         {}", if job.logged { "says what came of it" } else { "does not say it yet" });
    }
}
