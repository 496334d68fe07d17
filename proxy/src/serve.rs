//! One life of the proxy: build, run, drain.

mod descriptors;
mod folders;

pub use self::descriptors::Exchanges;
pub(crate) use self::descriptors::clients;
use self::folders::outlives_the_node;
pub(crate) use self::folders::state_folder;

use crate::admin::Operators;
use crate::app::{App, Watched};
use crate::attestation::Attesting;
use crate::attested::Enforcing;
use crate::callers::Callers;
use crate::cli::read_policy;
use crate::config::{
    AttestOptions, DrandOptions, DurabilityMode, LedgerOptions, Limits, ListenOptions, LogRoleOptions,
    LogUrlOptions, ModelOptions, OtlpOptions, TimestampOptions, UpstreamOptions, WitnessOptions, duration,
};
use crate::drand::RoundServer;
use crate::erase::Access;
use crate::files;
use crate::forward::Upstream;
use crate::log_client::LogClient;
use crate::model::identity::Follower;
use crate::policy_files::PolicyFiles;
use crate::post::HttpPost;
use crate::profile::Profiler;
use crate::proofs::{ProofOptions, Provers, Proving};
use crate::reload::PolicyFile;
use crate::telemetry::collector::Collector;
use crate::telemetry::pushing::Pushing;
use crate::telemetry::traces::Traces;
use crate::{accept, admin, health};
use anyhow::Context as _;
use clap::Args;
use colophon_ledger::anchor::Timestamping;
use colophon_ledger::{
    Drawing, Escalation, Keeper, Kek, KeyAttesting, Ledger, LogAt, PolicyText, Remote, RoundFiles,
    RoundSource, Stores, Witnessing,
};
use colophon_listen::ServerCertificate;
use colophon_policies::Policy;
use colophon_receipt::receipt::MAX_ANCHORS;
use colophon_signer::drand::Chain;
use colophon_signer::rfc3161::Roots;
use colophon_signer::{KeySource, Signer};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A file of certificates, or of a drand chain, is never longer.
const MAX_FILE: usize = 1 << 20;

/// All that `serve` can be told.
#[derive(Clone, Debug, Args)]
pub struct ServeOptions {
    /// Where clients come in.
    #[command(flatten)]
    pub listen: ListenOptions,
    /// The model server.
    #[command(flatten)]
    pub upstream: UpstreamOptions,
    /// Policy: a YAML file, or a folder of them, re-read when it changes [default: a built-in profile that signs generating routes]
    #[arg(long, env = "COLOPHON_POLICY", value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Which model.
    #[command(flatten)]
    pub model: ModelOptions,
    /// Records.
    #[command(flatten)]
    pub ledger: LedgerOptions,
    /// Witnesses.
    #[command(flatten)]
    pub witness: WitnessOptions,
    /// The log, if another process keeps it.
    #[command(flatten)]
    pub log_url: LogUrlOptions,
    /// Whether this is the log.
    #[command(flatten)]
    pub log_role: LogRoleOptions,
    /// Timestamps.
    #[command(flatten)]
    pub timestamp: TimestampOptions,
    /// Evidence of trusted environments.
    #[command(flatten)]
    pub attest: AttestOptions,
    /// Public randomness.
    #[command(flatten)]
    pub drand: DrandOptions,
    /// Proofs.
    #[command(flatten)]
    pub proofs: ProofOptions,
    /// Spans.
    #[command(flatten)]
    pub otlp: OtlpOptions,
    /// Limits.
    #[command(flatten)]
    pub limits: Limits,
    /// Longest wait for exchanges under way after SIGTERM
    #[arg(long, env = "COLOPHON_DRAIN_TIMEOUT", value_name = "TIME", default_value = "25s", value_parser = duration)]
    pub drain_timeout: Duration,
    /// File to write once everything listens: {"listen": "…", "admin": "…", "health": …, "pid": …}
    #[arg(long, env = "COLOPHON_READY_FILE", value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
}

/// A proxy that listens.
pub struct Running {
    /// What its connections share.
    pub app: Arc<App>,
    /// Where clients come in.
    pub listen: SocketAddr,
    /// Where operators look.
    pub admin: SocketAddr,
    /// Where probes and scrapers look, if anywhere else.
    pub health: Option<SocketAddr>,
    keeper: Keeper,
    stop: CancellationToken,
    admin_stop: CancellationToken,
    certificate: Option<Arc<ServerCertificate>>,
    policy: Arc<Notify>,
    callers: Arc<Notify>,
    model: Arc<Notify>,
    drain_timeout: Duration,
    pushing: Option<Arc<Pushing>>,
    operators: Arc<Operators>,
}

/// Builds everything and starts to listen.
pub async fn start(options: &ServeOptions) -> anyhow::Result<Running> {
    let clients = clients(options.limits.max_connections);
    let policy = policy(options.policy.as_deref())?;
    let certificate = match (&options.listen.tls_cert, &options.listen.tls_key) {
        (Some(chain), Some(key)) => Some(ServerCertificate::load(chain, key)?),
        (None, None) => None,
        // clap asks for both on the command line only; plain HTTP would not be what was meant.
        _ => anyhow::bail!("--tls-cert and --tls-key go together"),
    };
    let callers = options.listen.callers.as_deref().map(Callers::load).transpose()?.map(Arc::new);
    let client_ca = callers.as_ref().and_then(|callers| callers.client_ca());
    anyhow::ensure!(
        client_ca.is_none() || certificate.is_some(),
        "--callers with mtls needs --tls-cert and --tls-key: clients show certificates over TLS only"
    );
    let tls = certificate.as_ref().map(|certificate| certificate.server_config(client_ca.as_deref()));
    let acceptor = tls.transpose()?.map(TlsAcceptor::from);
    let model = Follower::start(&options.model, &options.ledger.data).await?;
    let tasks = TaskTracker::new();
    let upstream = Upstream::new(&options.upstream, tasks.clone())?;
    // Refuses what is wrong before anything is opened.
    let provers = options.proofs.provers.as_deref().map(Provers::load).transpose()?;
    if provers.is_some() {
        std::fs::create_dir_all(&options.ledger.data)
            .with_context(|| format!("--data {}", options.ledger.data.display()))?;
    }
    let data = std::path::absolute(&options.ledger.data)?;
    let proving = match provers {
        Some(provers) => Proving::open(provers, &data).map(Some),
        None => Proving::open_left(&data),
    };
    let proving = proving.context("the queue of proofs")?;
    let authority = options.model.model_authority.as_deref();
    let enforcing =
        Enforcing::new(&options.upstream, &options.attest, authority, proving.clone(), tasks.clone());
    let in_force = enforcing.in_force(policy)?;
    let policy = &in_force.policy;
    for warning in policy.warnings() {
        tracing::warn!(%warning, "the policy");
    }
    let attesting = Attesting::new(&options.attest, certificate.clone())?;
    let every = options.attest.every;
    let evidence = attesting.clone().map(|by| KeyAttesting { by, every });
    let listener = bind("--listen", options.listen.listen).await?;
    let admin_listener = bind("--admin", options.listen.admin).await?;
    let health_listener = bind_health(&options.listen).await?;
    let timestamps = timestamping(&options.timestamp)?;
    let escalation = proving.clone().map(|proving| proving as Arc<dyn Escalation>);
    let drawing = Drawing { escalation, ..drawing(&options.drand)? };
    if drawing.source.is_none() && policy.draws_by_rounds() {
        tracing::warn!(
            "the policy draws by public randomness, and no source of it is named (--drand): draws wait"
        );
    }
    let opened = open_ledger(
        &options.ledger,
        &options.log_url,
        &options.witness,
        timestamps,
        evidence,
        drawing,
        policy,
    )
    .await;
    let (ledger, keeper) = opened?;
    // Whoever has the lock writes it: it is always of the process that runs.
    let access = Access::create(&options.ledger.data, admin_listener.local_addr()?)?;
    let profiler = Profiler::new(options.ledger.data.join("profile"));
    let operators = Arc::new(Operators { token: access.token.into(), profiler });
    let collector = Collector::named(&options.otlp, &ledger.shard().name)?;
    let start = |collector| Traces::start(collector, options.otlp.sample).map(Arc::new);
    let traces = collector.clone().map(start).transpose()?;
    let pushing = pushing(&options.otlp, collector.clone())?;
    let app = App::new(
        ledger,
        in_force,
        upstream,
        options.upstream.idle_timeout,
        Limits {
            max_connections: clients.connections,
            exchanges: clients.exchanges,
            ..options.limits.clone()
        },
        options.ledger.mmd,
        tasks,
        callers.clone(),
        enforcing,
        attesting,
        proving.clone(),
        Watched { collector, traces, certificate: certificate.clone() },
    );
    let (stop, admin_stop) = (CancellationToken::new(), CancellationToken::new());
    let running = Running {
        listen: listener.local_addr()?,
        admin: admin_listener.local_addr()?,
        health: health_listener.as_ref().map(TcpListener::local_addr).transpose()?,
        keeper,
        stop: stop.clone(),
        admin_stop: admin_stop.clone(),
        certificate: certificate.clone(),
        policy: Arc::new(Notify::new()),
        callers: Arc::new(Notify::new()),
        model: Arc::new(Notify::new()),
        drain_timeout: options.drain_timeout,
        pushing: pushing.clone(),
        operators: operators.clone(),
        app: app.clone(),
    };
    if let Some(model) = &model {
        // Before the first exchange.
        model.begin(&app).await;
    }
    app.tasks.spawn(accept::accept(app.clone(), listener, acceptor, stop.clone()));
    app.tasks.spawn(admin::serve(app.clone(), admin_listener, operators, admin_stop.clone()));
    if let Some(listener) = health_listener {
        let paths = options.listen.probe_paths.clone().into();
        app.tasks.spawn(health::serve(app.clone(), listener, paths, admin_stop));
    }
    if let Some(proving) = &proving {
        proving.begin(&app, &stop);
    }
    if let Some(pushing) = pushing {
        let (served, stop) = (app.clone(), stop.clone());
        app.tasks.spawn(async move { pushing.follow(&served, stop).await });
    }
    if let Some(certificate) = certificate {
        app.tasks.spawn(certificate.follow(stop.clone()));
    }
    if let Some(callers) = callers {
        app.tasks.spawn(callers.follow(running.callers.clone(), stop.clone()));
    }
    if let Some(model) = model {
        app.tasks.spawn(model.follow(app.clone(), running.model.clone(), stop.clone()));
    }
    if let Some(path) = &options.policy {
        // Absolute, so that a later change of directory changes nothing.
        let path = std::path::absolute(path).with_context(|| format!("--policy {}", path.display()))?;
        let file = PolicyFile::new(app.clone(), path);
        app.tasks.spawn(file.follow(running.policy.clone(), stop));
    }
    if let Some(path) = &options.ready_file {
        write_ready(path, running.listen, running.admin, running.health)?;
    }
    Ok(running)
}

impl Running {
    /// Reads the policy, the callers and the listener's certificate again, now; the model's certificate and files too: whoever
    /// asks says that the server runs them.
    pub fn reload(&self) {
        self.policy.notify_one();
        self.callers.notify_one();
        self.model.notify_one();
        if let Some(certificate) = &self.certificate {
            certificate.reload_and_say();
        }
    }

    /// Stops accepting, lets exchanges under way finish within the drain timeout, logs everything and ends.
    pub async fn drain(self) -> anyhow::Result<()> {
        self.app.draining.store(true, Ordering::Relaxed);
        self.stop.cancel();
        self.app.tasks.close();
        // The admin side goes on saying `draining` meanwhile, so it is not waited for here.
        let connections = async {
            while self.app.metrics.connections.get() > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(self.drain_timeout, connections).await.is_err() {
            tracing::warn!(after = ?self.drain_timeout, "exchanges still under way are cut, each with a record");
            self.app.kill.cancel();
        }
        self.admin_stop.cancel();
        self.app.upstream.close();
        self.app.policy.load().upstreams.close();
        // Tunnels have no connection that counts; they end with `kill`.
        if tokio::time::timeout(Duration::from_millis(100), self.app.tasks.wait()).await.is_err() {
            self.app.kill.cancel();
            self.app.tasks.wait().await;
        }
        self.operators.profiler.clean();
        let closed = self.keeper.close().await;
        // After the records, of which none may be lost.
        let spans = async {
            if let Some(traces) = &self.app.traces {
                traces.drain().await;
            }
        };
        let metrics = async {
            if let Some(pushing) = &self.pushing {
                pushing.drain(&self.app).await;
            }
        };
        let farewells = async {
            if let Some(proving) = &self.app.proving {
                proving.told().await;
            }
        };
        tokio::join!(spans, metrics, farewells);
        closed.context("the last batch could not be logged; it is in the WAL and will be at the next start")
    }
}

/// Who sends metrics to the collector, unless they are never to be sent.
fn pushing(options: &OtlpOptions, collector: Option<Collector>) -> anyhow::Result<Option<Arc<Pushing>>> {
    let Some(collector) = collector else { return Ok(None) };
    let every = options.metrics_every().map_err(anyhow::Error::msg)?;
    every.map(|every| Pushing::new(collector, every).map(Arc::new)).transpose()
}

pub(crate) fn write_ready(
    path: &Path,
    listen: SocketAddr,
    admin: SocketAddr,
    health: Option<SocketAddr>,
) -> anyhow::Result<()> {
    let ready = serde_json::json!({
        "listen": listen.to_string(),
        "admin": admin.to_string(),
        "health": health.map(|health| health.to_string()),
        "pid": std::process::id(),
    });
    colophon_listen::small::write_ready(path, &ready)
}

/// The policy of a file or a folder, or the built-in one.
pub fn policy(path: Option<&Path>) -> anyhow::Result<Policy> {
    match path {
        None => Ok(Policy::builtin()),
        Some(path) => Ok(PolicyFiles::read_lasting(path)?.parse()?),
    }
}

/// `--health`, if there is one.
pub(crate) async fn bind_health(options: &ListenOptions) -> anyhow::Result<Option<TcpListener>> {
    match options.health {
        Some(address) => bind("--health", address).await.map(Some),
        None => Ok(None),
    }
}

pub(crate) async fn bind(flag: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("{flag} {address}: cannot listen there"))
}

pub(crate) async fn open_ledger(
    options: &LedgerOptions,
    log_url: &LogUrlOptions,
    witness: &WitnessOptions,
    timestamps: Option<Timestamping>,
    evidence: Option<KeyAttesting>,
    drawing: Drawing,
    policy: &Policy,
) -> anyhow::Result<(Ledger, Keeper)> {
    let stores = options.stores.stores();
    if options.durability == DurabilityMode::Node {
        outlives_the_node(options, &stores, log_url)?;
    }
    let log = match log_url.urls.is_empty() {
        true => LogAt::Here(log_key(options, &stores).await?),
        false => LogAt::Elsewhere(remote(options, log_url, witness)?),
    };
    let private_key = options.private_key.as_ref().map(Kek::load).transpose().context("--private-key")?;
    let config = colophon_ledger::Config {
        data: options.data.clone(),
        state: state_folder(options.state.as_deref(), &options.data, &stores)?,
        stores,
        name: options.name.clone().unwrap_or_else(host_name),
        origin: options.origin.clone(),
        log,
        batch_every: options.batch_every.unwrap_or_else(|| options.stores.batch_every()),
        heartbeat: options.heartbeat,
        max_batch: options.batch_max_records,
        max_backlog: options.max_backlog,
        max_backlog_bytes: options.max_backlog_bytes,
        max_backlog_age: options.max_backlog_age,
        durability: options.durability.into(),
        adopt: options.adopt,
        private_key: private_key.map(Arc::new),
        policy: PolicyText::new(&policy.canonical()),
        shard_key_life: SHARD_KEY_LIFE,
        drawing,
        witnesses: witnessing(witness)?,
        timestamps,
        evidence,
    };
    let deadline = Instant::now() + START_PATIENCE;
    loop {
        match Ledger::open(config.clone()).await {
            // Pods of one release start in any order.
            Err(error) if error.is_away() && Instant::now() < deadline => {
                tracing::warn!(%error, "the log does not answer; it is tried again");
                tokio::time::sleep(START_PAUSE).await;
            }
            Err(error) if error.is_away() => {
                return Err(error).context(
                    "nothing is known of the log yet: give its key (--log-vkey) to start without an answer of it",
                );
            }
            opened => return Ok(opened?),
        }
    }
}

/// The log of `--log-url`.
fn remote(
    options: &LedgerOptions,
    log_url: &LogUrlOptions,
    witness: &WitnessOptions,
) -> anyhow::Result<Remote> {
    for (flag, given) in [
        ("--log-key", options.log_key.is_some()),
        ("--adopt", options.adopt),
        ("--witness-policy", witness.policy.is_some()),
    ] {
        anyhow::ensure!(
            !given,
            "{flag} is for whoever keeps the log: with --log-url that is not this process"
        );
    }
    let transport = Arc::new(LogClient::new(log_url)?);
    Ok(Remote { transport, key: log_url.vkey.clone() })
}

/// How long a start waits for a log that another process keeps.
const START_PATIENCE: Duration = Duration::from_secs(60);
const START_PAUSE: Duration = Duration::from_secs(1);

/// The witnesses of `--witness-policy`, and the way to them.
pub(crate) fn witnessing(options: &WitnessOptions) -> anyhow::Result<Option<Witnessing>> {
    let Some(path) = &options.policy else { return Ok(None) };
    let policy = read_policy(path).context("--witness-policy")?;
    for witness in &policy.witnesses {
        let Some(url) = &witness.url else {
            tracing::warn!(witness = witness.key.name(), "has no URL in --witness-policy: it is not asked");
            continue;
        };
        let usable = url.parse::<http::Uri>().is_ok_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.authority().is_some()
                && uri.query().is_none()
        });
        anyhow::ensure!(
            usable,
            "--witness-policy {}: `{url}` is no submission prefix: http://host/path or https://host/path",
            path.display()
        );
    }
    let post = Arc::new(HttpPost::new(options.ca.as_deref()).context("--witness-ca")?);
    Ok(Some(Witnessing { policy: Arc::new(policy), every: options.every, post }))
}

/// The rounds of `--drand`, and the chain to believe.
pub(crate) fn drawing(options: &DrandOptions) -> anyhow::Result<Drawing> {
    let chain = drand_chain(options.chain.as_deref())?;
    let source: Option<Arc<dyn RoundSource>> = match options.source.as_deref() {
        None => None,
        Some(url) if url.starts_with("http://") || url.starts_with("https://") => {
            Some(Arc::new(RoundServer::new(url, chain.clone(), options.ca.as_deref())?))
        }
        Some(path) => {
            let path = std::path::absolute(path).with_context(|| format!("--drand {path}"))?;
            anyhow::ensure!(path.exists(), "--drand {}: there is no such folder or file", path.display());
            Some(Arc::new(RoundFiles(path)))
        }
    };
    Ok(Drawing { chain, source, ..Drawing::default() })
}

/// The chain of `--drand-chain`; quicknet without it.
pub(crate) fn drand_chain(path: Option<&Path>) -> anyhow::Result<Chain> {
    let Some(path) = path else { return Ok(Chain::quicknet()) };
    let text = files::read(path, MAX_FILE).with_context(|| format!("--drand-chain {}", path.display()))?;
    Chain::from_info(&text).with_context(|| format!("--drand-chain {}", path.display()))
}

/// The TSAs of `--tsa`, whom to believe, and the way to them.
pub(crate) fn timestamping(options: &TimestampOptions) -> anyhow::Result<Option<Timestamping>> {
    if options.urls.is_empty() {
        return Ok(None);
    }
    for url in &options.urls {
        let usable = url
            .parse::<http::Uri>()
            .is_ok_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.authority().is_some());
        anyhow::ensure!(usable, "--tsa {url}: give http://host/path or https://host/path");
    }
    anyhow::ensure!(
        options.urls.len() <= MAX_ANCHORS,
        "--tsa: at most {MAX_ANCHORS}, which is what a receipt has room for"
    );
    anyhow::ensure!(
        !options.roots.is_empty(),
        "--tsa needs --tsa-root FILE: the roots that the TSAs' certificates lead to"
    );
    let mut roots = Roots::default();
    for path in &options.roots {
        let pem = files::read_text(path, MAX_FILE).context("--tsa-root")?;
        let read = Roots::from_pem(&pem).and_then(|read| roots.extend(read));
        read.with_context(|| format!("--tsa-root {}", path.display()))?;
    }
    let post = Arc::new(HttpPost::new(options.ca.as_deref()).context("--tsa-ca")?);
    Ok(Some(Timestamping { urls: options.urls.clone(), roots, every: options.every, post }))
}

/// A shard's key lives for a day at most: what a stolen one can sign is bounded.
const SHARD_KEY_LIFE: Duration = Duration::from_secs(86_400);

/// The log's key: the one named, or one kept in the data folder, made at first. A token may take its time.
pub(crate) async fn log_key(options: &LedgerOptions, stores: &Stores) -> anyhow::Result<Arc<dyn Signer>> {
    let generation = generation(options, stores).await?;
    let path = default_log_key(&options.data, generation);
    if options.log_key.is_none() && !path.exists() {
        // With another key it would be another log.
        anyhow::ensure!(
            !holds_log(&options.data, stores).await?,
            "{}: there is a log, but its key {} is gone; put it back, or name it with --log-key",
            stores
                .public
                .as_ref()
                .map_or_else(|| format!("--data {}", options.data.display()), |s| format!("--store {s}")),
            path.display()
        );
    }
    let options = options.clone();
    tokio::task::spawn_blocking(move || open_log_key(&options, path)).await?
}

/// The generation that the log is in.
async fn generation(options: &LedgerOptions, stores: &Stores) -> anyhow::Result<u32> {
    if stores.public.is_none() && !options.data.join("log").exists() {
        return Ok(1);
    }
    Ok(colophon_ledger::generation::newest(&stores.open_public(&options.data)?).await?)
}

/// Where the key of a generation is kept, if nothing else is said.
pub fn default_log_key(data: &Path, generation: u32) -> PathBuf {
    let name = if generation == 1 { "log.pem".to_owned() } else { format!("log-{generation}.pem") };
    data.join("keys").join(name)
}

fn open_log_key(options: &LedgerOptions, path: PathBuf) -> anyhow::Result<Arc<dyn Signer>> {
    let load = |source: &KeySource| source.open().context("cannot use the log's key");
    if let Some(source) = &options.log_key {
        return load(source);
    }
    let source = KeySource::File(path.clone());
    if path.exists() {
        return load(&source);
    }
    let folder = options.data.join("keys");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("--data {}: cannot create {}", options.data.display(), folder.display()))?;
    let key = source.generate()?;
    tracing::info!(path = %path.display(), "made a log key; keep a copy of it in a safe place");
    Ok(key)
}

/// Whether somebody has begun a log where this one is to be.
async fn holds_log(data: &Path, stores: &Stores) -> anyhow::Result<bool> {
    if stores.public.is_none() {
        return Ok(data.join("log").exists());
    }
    Ok(colophon_ledger::log::is_begun(stores.open_public(data)?, 1).await?)
}

/// The host's name, cut to what a shard's name may hold.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String =
        name.trim().chars().filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).take(63).collect();
    if name.is_empty() { "colophon".into() } else { name }
}

#[cfg(test)]
mod tests;
