//! `colophon-injector`: `--file` prints a manifest with Colophon in it, `--listen` serves the webhook.
//!
//! Exit codes: 0 done, 1 a Pod asks for Colophon and cannot have it, 2 wrong usage, or a file that cannot be read or written.

// It panics where standard output is closed or full.
#![warn(clippy::print_stdout, clippy::print_stderr)]

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{ArgGroup, Parser, ValueEnum};
use colophon_injector::webhook::{self, ServeOptions};
use colophon_injector::{Settings, manifest, policies};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing_subscriber::EnvFilter;

/// Put Colophon beside model servers in Kubernetes.
#[derive(Parser)]
#[command(name = "colophon-injector", version, group = ArgGroup::new("what").required(true).args(["file", "listen"]))]
struct Cli {
    /// Print this manifest (YAML or JSON, `-` is standard input) with Colophon in its Pods and templates, and end
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// YAML file that says which image, log, stores and policy sidecars have
    #[arg(long, env = "COLOPHON_INJECTOR_SETTINGS", value_name = "FILE")]
    settings: PathBuf,
    /// How the manifest is printed
    #[arg(long, short, value_name = "FORMAT", default_value = "yaml")]
    output: Output,
    #[command(flatten)]
    serve: ServeOptions,
    #[command(flatten)]
    policies: policies::Options,
    /// What the webhook logs: error, warn, info, debug, or a tracing filter
    #[arg(long, value_name = "FILTER", default_value = "info")]
    log: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    /// One document for each object.
    Yaml,
    /// One object, or a List of them.
    Json,
}

/// `eprintln!`, which panics where standard error is closed or full.
macro_rules! note {
    ($($text:tt)*) => { drop(writeln!(io::stderr().lock(), $($text)*)) };
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.file {
        Some(file) => filter(&cli, file),
        None => serve(&cli),
    };
    done.unwrap_or_else(|error| {
        note!("colophon-injector: {error:#}");
        ExitCode::from(2)
    })
}

fn filter(cli: &Cli, file: &Path) -> anyhow::Result<ExitCode> {
    let settings = Settings::load(&cli.settings)?;
    let text = manifest::read(file)?;
    let mut objects = manifest::parse(&text).with_context(|| file.display().to_string())?;
    let all = match manifest::transform(&mut objects, &settings) {
        Ok(all) => all,
        Err(error) => {
            note!("colophon-injector: {error:#}");
            return Ok(ExitCode::from(1));
        }
    };
    for done in &all {
        match &done.unchanged {
            None => note!("{}: Colophon is in it", done.object),
            Some(why) => note!("{}: unchanged, {why}", done.object),
        }
        for warning in &done.warnings {
            note!("{}: warning: {warning}", done.object);
        }
    }
    let text = match cli.output {
        Output::Yaml => manifest::print(&objects)?,
        Output::Json => json(objects)? + "\n",
    };
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        // Its reader has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        written => written.context("cannot write to standard output")?,
    }
    Ok(ExitCode::SUCCESS)
}

fn json(mut objects: Vec<serde_json::Value>) -> anyhow::Result<String> {
    let all = match objects.len() {
        1 => objects.remove(0),
        _ => serde_json::json!({"apiVersion": "v1", "kind": "List", "items": objects}),
    };
    Ok(serde_json::to_string_pretty(&all)?)
}

#[tokio::main]
async fn serve(cli: &Cli) -> anyhow::Result<ExitCode> {
    let filter = EnvFilter::try_new(&cli.log).with_context(|| format!("--log {}", cli.log))?;
    let builder = tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr);
    // It would panic where standard error is closed or full.
    builder.log_internal_errors(false).init();
    let settings = Settings::load(&cli.settings)?;
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = CancellationToken::new();
    let served = webhook::serve(&cli.serve, settings, cli.policies.policies, stop.clone());
    // A task of its own: reading policies takes nothing from who accepts connections.
    let (options, until) = (cli.policies.clone(), stop.clone());
    let followed = TaskTracker::new().spawn(async move {
        match options.policies {
            true => policies::follow(&options, until).await,
            false => Ok(()),
        }
    });
    let followed = async { followed.await? };
    let served = async { tokio::try_join!(served, followed) };
    tokio::pin!(served);
    tokio::select! {
        ended = served.as_mut() => return ended.map(|_| ExitCode::SUCCESS),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    stop.cancel();
    served.await?;
    Ok(ExitCode::SUCCESS)
}
