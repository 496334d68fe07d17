//! `colophon witness`: cosigns other logs' checkpoints (c2sp.org/tlog-witness).

use super::serve::LogArgs;
use super::term;
use crate::files;
use anyhow::Context as _;
use bytes::Bytes;
use clap::Args;
use colophon_ledger::cosigner::{Cosigner, CosignerConfig, Reply};
use colophon_ledger::witness::protocol::{ADD_CHECKPOINT, MAX_REQUEST};
use colophon_listen::{next_connection, small};
use colophon_signer::KeySource;
use colophon_signer::note::VerifierKey;
use colophon_signer::policy::{self, TlogPolicy};
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Body as _, Incoming};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A request's body has to be whole within this time.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections served at once; more wait in the listen queue.
const MAX_CONNECTIONS: usize = 256;

/// Requests under way at the end may take so long.
const DRAIN: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub(super) struct WitnessArgs {
    /// Address to serve add-checkpoint on; put TLS in front of it
    #[arg(long, env = "COLOPHON_WITNESS_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:4182")]
    listen: SocketAddr,
    /// Name of this witness, a URL without its scheme such as witness.example/w1
    #[arg(long, env = "COLOPHON_WITNESS_NAME", value_name = "NAME")]
    name: String,
    /// Private key of this witness, used for nothing else: a PKCS#8 PEM file, or env:NAME
    #[arg(long, env = "COLOPHON_WITNESS_KEY", value_name = "KEY")]
    key: KeySource,
    /// Folder that remembers what was cosigned; never restore it from an older copy
    #[arg(long, env = "COLOPHON_WITNESS_STATE", value_name = "DIR")]
    state: PathBuf,
    /// Verifier key of a log to witness; may be given several times
    #[arg(long = "log", value_name = "VKEY", value_delimiter = ',')]
    logs: Vec<VerifierKey>,
    /// File with the logs to witness, as `log VKEY` lines of a C2SP tlog-policy
    #[arg(long = "logs", value_name = "FILE")]
    logs_file: Option<PathBuf>,
    /// File to write once it listens: {"listen": "…", "vkey": "…", "pid": …}
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    #[command(flatten)]
    log: LogArgs,
}

pub(super) async fn run(args: WitnessArgs) -> anyhow::Result<ExitCode> {
    args.log.set_up()?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let source = args.key.clone();
    let key = tokio::task::spawn_blocking(move || source.open()).await?.context("--key")?;
    let mut logs = args.logs.clone();
    if let Some(path) = &args.logs_file {
        logs.extend(read_policy(path)?.logs.into_iter().map(|log| log.key));
    }
    let (name, folder) = (args.name.clone(), args.state.clone());
    let config = CosignerConfig { name, key, logs, folder };
    let witness = tokio::task::spawn_blocking(|| Cosigner::open(config)).await??;
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("--listen {}: cannot listen there", args.listen))?;
    let listen = listener.local_addr()?;
    for (origin, size) in witness.logs() {
        tracing::info!(log = origin, size, "witnesses");
    }
    tracing::info!(%listen, vkey = %witness.vkey(), "colophon witness serves");
    if let Some(path) = &args.ready_file {
        write_ready(path, listen, &witness)?;
    }
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    tasks.spawn(accept(Arc::new(witness), listener, stop.clone(), tasks.clone()));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    stop.cancel();
    tasks.close();
    if tokio::time::timeout(DRAIN, tasks.wait()).await.is_err() {
        tracing::warn!("requests still under way are cut");
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads a C2SP tlog-policy file.
pub(crate) fn read_policy(path: &Path) -> anyhow::Result<TlogPolicy> {
    let bytes = files::read(path, policy::MAX_BYTES)?;
    TlogPolicy::parse(&bytes).map_err(|error| {
        let shown = term::safe_line(&error.to_string());
        anyhow::anyhow!("{}: {shown} (c2sp.org/tlog-policy)", path.display())
    })
}

fn write_ready(path: &Path, listen: SocketAddr, witness: &Cosigner) -> anyhow::Result<()> {
    let ready = serde_json::json!({
        "listen": listen.to_string(),
        "vkey": witness.vkey().to_string(),
        "pid": std::process::id(),
    });
    small::write_ready(path, &ready)
}

async fn accept(witness: Arc<Cosigner>, listener: TcpListener, stop: CancellationToken, tasks: TaskTracker) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let Some(stream) = next_connection(&listener, "a connection", &stop).await else { return };
        let (witness, stop) = (witness.clone(), stop.clone());
        tasks.spawn(async move {
            serve(witness, stream, stop).await;
            drop(place);
        });
    }
}

async fn serve(witness: Arc<Cosigner>, stream: TcpStream, stop: CancellationToken) {
    small::serve(stream, stop, |request| answer(witness.clone(), request)).await;
}

async fn answer(witness: Arc<Cosigner>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    // Under whatever prefix a reverse proxy in front leaves.
    if path.rsplit('/').next() != Some(ADD_CHECKPOINT) {
        return text(StatusCode::NOT_FOUND, "served here: POST …/add-checkpoint (c2sp.org/tlog-witness)\n");
    }
    if *request.method() != Method::POST {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "add-checkpoint is a POST\n");
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    if request.body().size_hint().lower() > MAX_REQUEST as u64 {
        return text(StatusCode::PAYLOAD_TOO_LARGE, "an add-checkpoint request is never that long\n");
    }
    let body = Limited::new(request.into_body(), MAX_REQUEST).collect();
    let body = match tokio::time::timeout(READ_TIMEOUT, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            return text(StatusCode::PAYLOAD_TOO_LARGE, "an add-checkpoint request is never that long\n");
        }
        Ok(Err(_)) => return text(StatusCode::BAD_REQUEST, "the request's body did not come whole\n"),
        Err(_) => return text(StatusCode::REQUEST_TIMEOUT, "the request's body did not come in time\n"),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    // Syncs to disk. A client that goes away does not stop it half-way.
    match tokio::task::spawn_blocking(move || witness.add_checkpoint(&body, now)).await {
        Ok(reply) => reply_of(reply),
        Err(error) => {
            tracing::error!(%error, "an answer could not be made");
            text(StatusCode::INTERNAL_SERVER_ERROR, "this witness failed\n")
        }
    }
}

fn reply_of(reply: Reply) -> Response<Full<Bytes>> {
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = text(status, reply.body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(reply.content_type));
    response
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
