//! `colophon serve`.

use super::term;
use crate::app::App;
use crate::config::Role;
use crate::log_role;
use crate::serve::{Running, ServeOptions, start};
use anyhow::Context as _;
use clap::{Args, ValueEnum};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    options: ServeOptions,
    /// YAML file with the same settings as the flags, e.g. `upstream: http://127.0.0.1:8000`; flags and environment win
    #[arg(long, env = "COLOPHON_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// How log lines look
    #[arg(long, env = "COLOPHON_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
    /// What is logged: error, warn, info, debug, or a tracing filter
    #[arg(long, env = "COLOPHON_LOG", value_name = "FILTER", default_value = "info")]
    log: String,
}

/// What is logged, and how, where `--log` means something else.
#[derive(Debug, Args)]
pub(super) struct LogArgs {
    /// How log lines look
    #[arg(long, env = "COLOPHON_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
    /// What is logged: error, warn, info, debug, or a tracing filter
    #[arg(long, env = "COLOPHON_LOG", value_name = "FILTER", default_value = "info")]
    log_filter: String,
}

impl LogArgs {
    pub(super) fn set_up(&self) -> anyhow::Result<()> {
        set_up_log(&self.log_filter, self.log_format)
    }
}

pub(super) async fn run(args: ServeArgs) -> anyhow::Result<ExitCode> {
    set_up_log(&args.log, args.log_format)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    if args.options.log_role.role == Role::Log {
        return run_log(&args, terminate, interrupt).await;
    }
    let running = tokio::select! {
        running = start(&args.options) => running?,
        _ = terminate.recv() => return Ok(ExitCode::SUCCESS),
        _ = interrupt.recv() => return Ok(ExitCode::from(130)),
    };
    announce(&running, &args);
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => running.reload(),
        }
    }
    tracing::info!("draining; a second signal ends at once");
    let app = running.app.clone();
    tokio::select! {
        drained = running.drain() => {
            drained?;
            tracing::info!("everything is logged");
            Ok(ExitCode::SUCCESS)
        }
        _ = terminate.recv() => Ok(hard_stop(&app)),
        _ = interrupt.recv() => Ok(hard_stop(&app)),
    }
}

/// The log role.
async fn run_log(args: &ServeArgs, mut terminate: Signal, mut interrupt: Signal) -> anyhow::Result<ExitCode> {
    let running = tokio::select! {
        running = log_role::start(&args.options) => running?,
        _ = terminate.recv() => return Ok(ExitCode::SUCCESS),
        _ = interrupt.recv() => return Ok(ExitCode::from(130)),
    };
    tracing::info!(
        listen = %running.listen,
        admin = %running.admin,
        log = running.service.origin(),
        vkey = running.service.vkey(),
        log_size = running.service.head().size(),
        "colophon keeps the log"
    );
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("draining");
    running.drain().await;
    Ok(ExitCode::SUCCESS)
}

fn hard_stop(app: &App) -> ExitCode {
    // What is dropped with the runtime is on record as cut by us.
    app.kill.cancel();
    tracing::warn!("stopped at once; what was not logged is in the WAL and will be at the next start");
    ExitCode::from(1)
}

fn set_up_log(filter: &str, format: LogFormat) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter).with_context(|| format!("--log {filter}"))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // It would say by `eprintln!` that standard error is closed or full, and so end whatever task has something to say.
    let builder = builder.log_internal_errors(false);
    match format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}

fn announce(running: &Running, args: &ServeArgs) {
    let head = running.app.ledger.head();
    let policy = running.app.policy.load();
    let scheme = if args.options.listen.tls_cert.is_some() { "https" } else { "http" };
    tracing::info!(
        listen = %format_args!("{scheme}://{}", running.listen),
        upstream = %running.app.upstream.url(),
        admin = %format_args!("http://{}", running.admin),
        policy = policy.policy.name(),
        shard = running.app.ledger.shard().name,
        log = head.checkpoint.origin,
        log_size = head.checkpoint.size,
        "colophon serves"
    );
    if std::io::stderr().is_terminal() {
        errln!(
            "{}",
            term::dim(&format!("trust file: curl {scheme}://{}/.well-known/colophon/keys", running.listen))
        );
    }
}
