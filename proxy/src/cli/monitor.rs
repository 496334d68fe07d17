//! `colophon monitor`: follows logs from outside.

mod promises;
mod serve;

use self::promises::Promises;
use self::serve::Board;
use super::serve::LogArgs;
use super::{read_policy, term};
use crate::config::duration;
use crate::log_store;
use anyhow::Context as _;
use clap::Args;
use colophon_ledger::monitor::{Found, LogMonitor, MonitorConfig, Round};
use colophon_signer::note::{NoteAlgorithm, VerifierKey};
use colophon_signer::policy::TlogPolicy;
use colophon_signer::rfc3161::Roots;
use std::fs::{File, OpenOptions, TryLockError};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Exit code of `--once` where something is wrong with a log.
const FINDINGS: u8 = 1;

/// Exit code of wrong settings.
const USAGE: u8 = 2;

/// Exit code of `--once` where a log could not be read, and nothing else is wrong.
const UNREACHABLE: u8 = 3;

#[derive(Debug, Args)]
pub(super) struct MonitorArgs {
    /// C2SP tlog-policy file: `log VKEY URL` for each log to follow, and the witnesses whose quorum it should have. URL
    /// is where `checkpoint` and `tile/` are, such as https://host/.well-known/colophon/log/1, or a folder
    #[arg(long, env = "COLOPHON_MONITOR_LOGS", value_name = "FILE", required_unless_present = "log")]
    logs: Option<PathBuf>,
    /// A log to follow: its verifier key, `=`, and its URL or folder; may be given several times
    #[arg(long, value_name = "VKEY=URL")]
    log: Vec<String>,
    /// Folder that remembers what was seen, and keeps proofs
    #[arg(long, env = "COLOPHON_MONITOR_STATE", value_name = "DIR")]
    state: PathBuf,
    /// How often each log is looked at
    #[arg(long, env = "COLOPHON_MONITOR_EVERY", value_name = "TIME", default_value = "30s", value_parser = duration)]
    every: Duration,
    /// A shard that has not ended and signs nothing for so long is silent
    #[arg(long, env = "COLOPHON_MONITOR_SILENCE", value_name = "TIME", default_value = "5m", value_parser = duration)]
    silence: Duration,
    /// Cosignatures and timestamps older than this are stale
    #[arg(long, env = "COLOPHON_MONITOR_STALE", value_name = "TIME", default_value = "30m", value_parser = duration)]
    stale: Duration,
    /// PEM file of TSAs' roots: the log's statements have to name timestamps that lead to one, not older than --stale
    #[arg(long, env = "COLOPHON_MONITOR_TSA_ROOT", value_name = "FILE", value_delimiter = ',')]
    tsa_root: Vec<PathBuf>,
    /// Folder with receipts (*.json) and saved heads of answers (any other name), whose promises are watched
    #[arg(long, env = "COLOPHON_MONITOR_PROMISES", value_name = "DIR")]
    promises: Option<PathBuf>,
    /// PEM file of the CAs that may sign the logs' certificates, instead of the system's
    #[arg(long, env = "COLOPHON_MONITOR_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Serve Prometheus metrics at this address
    #[arg(long, env = "COLOPHON_MONITOR_LISTEN", value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Look at every log once and end: 0 nothing wrong, 1 something found, 2 wrong settings, 3 a log cannot be read
    #[arg(long)]
    once: bool,
    /// With --once: print JSON
    #[arg(long, requires = "once")]
    json: bool,
    /// File to write once it runs: {"listen": "…", "pid": …}
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    #[command(flatten)]
    log_args: LogArgs,
}

/// One log, and what is asked of it.
struct Watched {
    monitor: LogMonitor,
    promises: Option<Promises>,
}

pub(super) async fn run(args: MonitorArgs) -> anyhow::Result<ExitCode> {
    args.log_args.set_up()?;
    let (watched, _lock) = match open(&args) {
        Ok(opened) => opened,
        Err(error) => {
            term::error(&error);
            return Ok(ExitCode::from(USAGE));
        }
    };
    if args.once { once(watched, args.json).await } else { follow(args, watched).await }
}

/// The logs to follow, and the lock on the state folder.
fn open(args: &MonitorArgs) -> anyhow::Result<(Vec<Watched>, File)> {
    let policy = match &args.logs {
        Some(path) => read_policy(path).context("--logs")?,
        None => TlogPolicy::parse(b"quorum none\n")?,
    };
    let mut places: Vec<(VerifierKey, String)> = Vec::new();
    for log in &policy.logs {
        let url = log.url.clone();
        let url = url.with_context(|| format!("--logs: the log {} has no URL", log.key.name()))?;
        places.push((log.key.clone(), url));
    }
    for given in &args.log {
        let (key, place) = key_and_place(given).context("--log is VKEY=URL or VKEY=FOLDER")?;
        let key: VerifierKey = key.parse().with_context(|| format!("--log {given}"))?;
        anyhow::ensure!(key.algorithm() == NoteAlgorithm::Ed25519, "--log: {key} is not a log's key");
        places.push((key, place.to_owned()));
    }
    anyhow::ensure!(!places.is_empty(), "no log is named: --logs or --log");
    std::fs::create_dir_all(&args.state).with_context(|| format!("--state {}", args.state.display()))?;
    let lock = lock(&args.state)?;
    let config = MonitorConfig {
        folder: args.state.clone(),
        silence: args.silence,
        stale: args.stale,
        policy: Arc::new(policy),
        tsa_roots: tsa_roots(&args.tsa_root)?,
    };
    let mut watched: Vec<Watched> = Vec::new();
    for (key, place) in places {
        anyhow::ensure!(
            watched.iter().all(|other| other.monitor.origin() != key.name()),
            "the log {} stands there twice",
            key.name()
        );
        let folder = place.strip_prefix("file://").unwrap_or(&place);
        let (store, prefix) = log_store::open(folder, args.ca.as_deref())?;
        let monitor = LogMonitor::open(key.clone(), store, prefix, config.clone())?;
        let folder = args.promises.clone();
        let promises = folder.map(|folder| Promises::new(folder, key, &place, args.ca.clone()));
        watched.push(Watched { monitor, promises });
    }
    Ok((watched, lock))
}

/// What `--log` joins: a verifier key, `name+hash+base64`, and a place. The base64 may end in `=` itself.
fn key_and_place(given: &str) -> Option<(&str, &str)> {
    let (name, rest) = given.split_once('+')?;
    let (hash, key) = rest.split_once('+')?;
    let digits = key.find(|c: char| !c.is_ascii_alphanumeric() && c != '+' && c != '/')?;
    let end = name.len() + hash.len() + 2 + digits.next_multiple_of(4);
    let (key, place) = (given.get(..end)?, given.get(end..)?);
    Some((key, place.strip_prefix('=').filter(|place| !place.is_empty())?))
}

fn tsa_roots(files: &[PathBuf]) -> anyhow::Result<Roots> {
    let mut roots = Roots::default();
    for path in files {
        let said = || format!("--tsa-root {}", path.display());
        let pem = std::fs::read_to_string(path).with_context(said)?;
        roots.extend(Roots::from_pem(&pem).with_context(said)?).with_context(said)?;
    }
    Ok(roots)
}

fn lock(folder: &Path) -> anyhow::Result<File> {
    let path = folder.join("lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
    let file = file.with_context(|| format!("--state {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            anyhow::bail!("--state {} is in use by another process", folder.display())
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(|| path.display().to_string()),
    }
}

impl Watched {
    /// Looks at the log, and at what it promised.
    async fn round(&mut self) -> anyhow::Result<Round> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64;
        let mut round = self.monitor.round(now).await?;
        if let Some(promises) = self.promises.as_mut().filter(|_| round.unreachable.is_none()) {
            for (kind, what) in promises.look(&self.monitor, now).await {
                let new = self.monitor.note(kind, &what)?;
                round.found.push(Found { kind, what, proof: None, new });
            }
        }
        Ok(round)
    }
}

async fn once(mut watched: Vec<Watched>, json: bool) -> anyhow::Result<ExitCode> {
    let (mut found, mut unreachable, mut logs) = (false, false, Vec::new());
    for watched in &mut watched {
        let round = watched.round().await?;
        found |= !round.found.is_empty();
        unreachable |= round.unreachable.is_some();
        if json {
            logs.push(json_of(watched, &round));
        } else {
            print(watched, &round);
        }
    }
    if json {
        outln!("{:#}", serde_json::Value::from(logs));
    }
    Ok(match (found, unreachable) {
        (true, _) => ExitCode::from(FINDINGS),
        (false, true) => ExitCode::from(UNREACHABLE),
        (false, false) => ExitCode::SUCCESS,
    })
}

fn print(watched: &Watched, round: &Round) {
    let origin = term::safe_line(watched.monitor.origin());
    outln!("{} {} leaves, {} new", term::bold(&origin), round.size, round.read);
    for found in &round.found {
        outln!("{} {}: {}", term::refused("✗"), found.kind, term::safe_line(&found.what));
        if let Some(proof) = &found.proof {
            outln!("  proof: {}", proof.display());
        }
    }
    match &round.unreachable {
        Some(why) => outln!("{} cannot be read: {}", term::refused("?"), term::safe_line(why)),
        None if round.found.is_empty() => outln!("{} it goes on as it should", term::green("✓")),
        None => {}
    }
}

fn json_of(watched: &Watched, round: &Round) -> serde_json::Value {
    let found: Vec<serde_json::Value> = round
        .found
        .iter()
        .map(|found| serde_json::json!({"kind": found.kind, "what": found.what, "new": found.new, "proof": found.proof}))
        .collect();
    serde_json::json!({
        "origin": watched.monitor.origin(),
        "size": round.size,
        "read": round.read,
        "found": found,
        "silent": round.silent,
        "unreachable": round.unreachable,
    })
}

/// Looks at every log again and again, until SIGTERM.
async fn follow(args: MonitorArgs, watched: Vec<Watched>) -> anyhow::Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (stop, tasks, board) = (CancellationToken::new(), TaskTracker::new(), Arc::new(Board::default()));
    let mut listen = None;
    if let Some(address) = args.listen {
        let listener = TcpListener::bind(address).await;
        let listener = listener.with_context(|| format!("--listen {address}: cannot listen there"))?;
        listen = Some(listener.local_addr()?);
        tasks.spawn(serve::serve(board.clone(), listener, stop.clone(), tasks.clone()));
    }
    for watched in watched {
        tracing::info!(log = watched.monitor.origin(), "follows");
        tasks.spawn(follow_one(watched, args.every, board.clone(), stop.clone()));
    }
    if let Some(path) = &args.ready_file {
        let listen = listen.map(|listen| listen.to_string());
        let ready = serde_json::json!({"listen": listen, "pid": std::process::id()});
        let part = path.with_extension("part");
        std::fs::write(&part, ready.to_string())
            .and_then(|()| std::fs::rename(&part, path))
            .with_context(|| format!("--ready-file {}", path.display()))?;
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    Ok(ExitCode::SUCCESS)
}

async fn follow_one(mut watched: Watched, every: Duration, board: Arc<Board>, stop: CancellationToken) {
    let mut failing = false;
    loop {
        // A round that is cut is read again: its state is written at its end.
        let round = tokio::select! {
            round = watched.round() => round,
            () = stop.cancelled() => return,
        };
        let log = watched.monitor.origin().to_owned();
        match &round {
            Ok(round) => {
                tell(&log, round, failing);
                failing = round.unreachable.is_some();
            }
            Err(error) => tracing::error!(
                log,
                error = format!("{error:#}"),
                "this monitor cannot remember what it sees"
            ),
        }
        board.put(&watched.monitor, round.ok());
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            () = stop.cancelled() => return,
        }
    }
}

fn tell(log: &str, round: &Round, failing: bool) {
    for found in round.found.iter().filter(|found| found.new) {
        let proof = found.proof.as_ref().map(|proof| proof.display().to_string());
        tracing::error!(log, kind = found.kind, proof, "{}", term::safe_line(&found.what));
    }
    match &round.unreachable {
        Some(why) if !failing => tracing::warn!(log, "cannot be read: {}", term::safe_line(why)),
        None if failing => tracing::info!(log, size = round.size, "can be read again"),
        _ => tracing::debug!(log, size = round.size, read = round.read, "looked at"),
    }
}

#[cfg(test)]
mod tests;
