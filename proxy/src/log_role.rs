//! `colophon serve --role log`: keeps the log of many sidecars, beside other replicas on the same store.
//!
//! Posts need a bearer token or a client certificate; the log's files are anybody's to read, as in every log. Nothing of
//! an exchange comes here but its batch's root in a signed statement.

use crate::config::{LedgerOptions, LogRoleOptions};
use crate::erase::Access;
use crate::serve::{
    ServeOptions, bind, bind_health, clients, log_key, state_folder, timestamping, witnessing,
};
use anyhow::Context as _;
use bytes::Bytes;
use colophon_ledger::log::{Log, LogConfig};
use colophon_ledger::remote::{Accepted, ENTRIES, Refused, SHARDS};
use colophon_ledger::{LogService, Refusal, ServiceTask};
use colophon_listen::{ServerCertificate, next_connection, small};
use http::header::{self, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use prometheus_client::registry::Registry;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

mod operators;
mod service_account;
mod tokens;

pub use operators::Revoking;
use operators::{answer_admin, answer_health};
use service_account::ServiceAccounts;
use tokens::{Caller, Tokens};

/// A request's body, and before everything TLS, have to be whole within this time each.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest leaf, and room for what is around it.
const MAX_POST: usize = 70 * 1024;
/// Connections to `--health` at once.
const HEALTH_CONNECTIONS: u32 = 64;
/// Requests under way at the end may take so long.
const DRAIN: Duration = Duration::from_secs(10);

/// A log that listens.
pub struct Running {
    /// Where sidecars come in.
    pub listen: SocketAddr,
    /// Where operators look.
    pub admin: SocketAddr,
    /// The log.
    pub service: LogService,
    task: ServiceTask,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// What connections share.
struct Shared {
    service: LogService,
    tokens: Tokens,
    accounts: Option<ServiceAccounts>,
    /// A client certificate is enough: the handshake has verified it.
    certified: bool,
    /// What permits to revoke, on the admin side.
    admin_token: String,
    started: SystemTime,
    metrics: Registry,
}

impl Shared {
    /// The Pod that a request comes from, by its cluster's word.
    fn account(&self, headers: &HeaderMap) -> Option<Caller> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        match self.accounts.as_ref()?.caller(headers, now) {
            Ok(found) => {
                let identity = found?;
                tracing::debug!(?identity, "admitted by its ServiceAccount");
                Some(Caller { name: identity.pod })
            }
            Err(why) => {
                tracing::warn!(%why, "a token was refused");
                None
            }
        }
    }
}

/// Opens the log and starts to listen.
pub async fn start(options: &ServeOptions) -> anyhow::Result<Running> {
    let role = &options.log_role;
    let tokens = Tokens::load(options.log_url.token_file.as_deref())?;
    let accounts = role.accounts()?;
    anyhow::ensure!(
        !tokens.is_empty() || role.client_ca.is_some() || accounts.is_some(),
        "--role log: anybody could append. Give --log-token-file, --log-jwks, or --log-client-ca with --tls-cert and \
         --tls-key"
    );
    anyhow::ensure!(options.log_url.urls.is_empty(), "--role log keeps the log itself: no --log-url");
    let certificate = certificate(options, role)?;
    let by_token = !tokens.is_empty() || accounts.is_some();
    let acceptor =
        certificate.as_ref().map(|certificate| acceptor(certificate, role, by_token)).transpose()?;
    let listener = bind("--listen", options.listen.listen).await?;
    let admin = bind("--admin", options.listen.admin).await?;
    let health = bind_health(&options.listen).await?;
    let (service, task) = open(options, &options.ledger).await?;
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let shared = Arc::new(Shared {
        service: service.clone(),
        tokens,
        accounts,
        certified: role.client_ca.is_some(),
        admin_token: Access::create_for_log(&options.ledger.data, admin.local_addr()?)?.token,
        started: SystemTime::now(),
        metrics: operators::metrics(&service),
    });
    let (listen_at, admin_at) = (listener.local_addr()?, admin.local_addr()?);
    let health_at = health.as_ref().map(TcpListener::local_addr).transpose()?;
    let most = clients(options.limits.max_connections).connections;
    tasks.spawn(accept(shared.clone(), listener, acceptor, most, answer_log, stop.clone(), tasks.clone()));
    if let Some(certificate) = certificate {
        tasks.spawn(certificate.follow(stop.clone()));
    }
    if let Some(health) = health {
        let shared = shared.clone();
        tasks.spawn(accept(
            shared,
            health,
            None,
            HEALTH_CONNECTIONS,
            answer_health,
            stop.clone(),
            tasks.clone(),
        ));
    }
    tasks.spawn(accept(shared, admin, None, most, answer_admin, stop.clone(), tasks.clone()));
    let running = Running { listen: listen_at, admin: admin_at, service, task, stop, tasks };
    if let Some(path) = &options.ready_file {
        crate::serve::write_ready(path, running.listen, running.admin, health_at)?;
    }
    Ok(running)
}

impl LogRoleOptions {
    /// The ServiceAccounts that may post, if any.
    fn accounts(&self) -> anyhow::Result<Option<ServiceAccounts>> {
        let Some(jwks) = &self.jwks else { return Ok(None) };
        let issuer = self.jwt_issuer.as_deref().context("--log-jwks needs --log-jwt-issuer")?;
        ServiceAccounts::load(jwks, issuer, &self.jwt_audience, &self.service_accounts).map(Some)
    }
}

impl Running {
    /// Stops accepting and answers what is under way.
    pub async fn drain(self) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(DRAIN, self.tasks.wait()).await.is_err() {
            tracing::warn!("requests still under way are cut; sidecars send them again");
            return;
        }
        drop(self.service);
        let _ = tokio::time::timeout(DRAIN, self.task.ended()).await;
    }
}

async fn open(all: &ServeOptions, options: &LedgerOptions) -> anyhow::Result<(LogService, ServiceTask)> {
    let stores = options.stores.stores();
    let key = log_key(options, &stores).await?;
    let data = std::path::absolute(&options.data)?;
    let store = stores.open_public(&data)?;
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let config = LogConfig {
        generation: colophon_ledger::generation::newest(&store).await?,
        predecessor: None,
        origin: options.origin.clone(),
        key: key.clone(),
        state: state_folder(options.state.as_deref(), &data, &stores)?,
        adopt: options.adopt,
        several_writers: true,
        now: u64::try_from(since.as_micros()).unwrap_or(u64::MAX),
    };
    let log = Log::open(store, config).await?;
    let timestamps = timestamping(&all.timestamp)?;
    let witnesses = witnessing(&all.witness)?;
    Ok(LogService::start(log, key, witnesses.as_ref(), timestamps.as_ref()).await?)
}

fn certificate(
    options: &ServeOptions,
    role: &LogRoleOptions,
) -> anyhow::Result<Option<Arc<ServerCertificate>>> {
    match (&options.listen.tls_cert, &options.listen.tls_key) {
        (Some(chain), Some(key)) => ServerCertificate::load(chain, key).map(Some),
        (None, None) => {
            anyhow::ensure!(role.client_ca.is_none(), "--log-client-ca needs --tls-cert and --tls-key");
            Ok(None)
        }
        _ => anyhow::bail!("--tls-cert and --tls-key go together"),
    }
}

fn acceptor(
    certificate: &Arc<ServerCertificate>,
    role: &LogRoleOptions,
    by_token: bool,
) -> anyhow::Result<TlsAcceptor> {
    // Whoever has a token needs no certificate, and readers need neither.
    let config = certificate.server_config_for(role.client_ca.as_deref(), by_token);
    Ok(TlsAcceptor::from(config.context("--log-client-ca")?))
}

/// One request, and whether a verified certificate came with its connection.
type Answer = for<'a> fn(
    &'a Shared,
    Request<Incoming>,
    bool,
) -> futures_util::future::BoxFuture<'a, Response<Full<Bytes>>>;

async fn accept(
    shared: Arc<Shared>,
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    most: u32,
    answer: Answer,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    let places = Arc::new(Semaphore::new(most as usize));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let Some(stream) = next_connection(&listener, "a connection", &stop).await else { return };
        let (shared, acceptor, stop) = (shared.clone(), acceptor.clone(), stop.clone());
        tasks.spawn(async move {
            connection(shared, stream, acceptor, answer, stop).await;
            drop(place);
        });
    }
}

async fn connection(
    shared: Arc<Shared>,
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    answer: Answer,
    stop: CancellationToken,
) {
    let _ = stream.set_nodelay(true);
    let Some(acceptor) = acceptor else {
        return serve(shared, stream, false, answer, stop).await;
    };
    match tokio::time::timeout(READ_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => {
            let certified = stream.get_ref().1.peer_certificates().is_some_and(|chain| !chain.is_empty());
            serve(shared, stream, certified, answer, stop).await;
        }
        Ok(Err(error)) => tracing::debug!(%error, "TLS handshake"),
        Err(_) => tracing::debug!("no TLS handshake in time"),
    }
}

async fn serve(
    shared: Arc<Shared>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    certified: bool,
    answer: Answer,
    stop: CancellationToken,
) {
    let answered = |request| {
        let shared = shared.clone();
        async move { answer(&shared, request, certified).await }
    };
    small::serve(stream, stop, answered).await;
}

fn answer_log(
    shared: &Shared,
    request: Request<Incoming>,
    certified: bool,
) -> futures_util::future::BoxFuture<'_, Response<Full<Bytes>>> {
    Box::pin(async move {
        let path = request.uri().path();
        let rest = path.strip_prefix("/v1/colophon/").or_else(|| path.strip_prefix("/.well-known/colophon/"));
        let Some(rest) = rest.map(str::to_owned) else { return not_found() };
        match (request.method().clone(), rest.as_str()) {
            (Method::POST, SHARDS | ENTRIES) => post(shared, &rest, request, certified).await,
            (Method::GET | Method::HEAD, "keys") => {
                response(StatusCode::OK, "application/json", shared.service.trust_json().to_owned().into())
            }
            (Method::GET | Method::HEAD, file) => match file.strip_prefix("log/") {
                Some(file) => log_file(shared, file).await,
                None => not_found(),
            },
            _ => refused(StatusCode::METHOD_NOT_ALLOWED, "method", "log/shards and log/entries take POST"),
        }
    })
}

async fn log_file(shared: &Shared, file: &str) -> Response<Full<Bytes>> {
    match shared.service.public_file(file).await {
        Ok(Some(bytes)) => {
            let checkpoint = file.ends_with("/checkpoint");
            let kind = if checkpoint { "text/plain; charset=utf-8" } else { "application/octet-stream" };
            let cache = if checkpoint { "no-cache" } else { "public, max-age=31536000, immutable" };
            let mut response = response(StatusCode::OK, kind, bytes);
            response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
            response
        }
        Ok(None) => not_found(),
        Err(error) => {
            tracing::error!(%error, "cannot answer from the store");
            refused(StatusCode::SERVICE_UNAVAILABLE, "store", "the store cannot be read at the moment")
        }
    }
}

async fn post(
    shared: &Shared,
    path: &str,
    request: Request<Incoming>,
    certified: bool,
) -> Response<Full<Bytes>> {
    let caller = shared.tokens.caller(request.headers()).or_else(|| shared.account(request.headers()));
    if caller.is_none() && !(shared.certified && certified) {
        let why = "a bearer token or a client certificate of this log's is needed";
        let mut response = refused(StatusCode::UNAUTHORIZED, "unauthorized", why);
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        return response;
    }
    let query = request.uri().query().unwrap_or_default();
    let announced = query.split('&').find_map(|pair| pair.strip_prefix("announced=")?.parse().ok());
    let body = Limited::new(request.into_body(), MAX_POST).collect();
    let body = match tokio::time::timeout(READ_TIMEOUT, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => {
            return refused(StatusCode::BAD_REQUEST, "body", "the body is too long or did not come whole");
        }
        Err(_) => return refused(StatusCode::REQUEST_TIMEOUT, "body", "the body did not come in time"),
    };
    let name = caller.as_ref().and_then(|caller| caller.name.as_deref());
    let done = match (path, announced) {
        (SHARDS, _) => shared.service.announce(&body, name).await,
        (_, Some(announced)) => shared.service.append(&body, announced).await,
        (_, None) => Err(Refusal::Unfit("`?announced=` has to be a leaf's index".into())),
    };
    match done {
        Ok(logged) => json_response(StatusCode::OK, &Accepted::from(&logged)),
        Err(refusal) => {
            tracing::warn!(%refusal, "a post is not taken");
            let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
            let mut response = json_response(status, &Refused::from(&refusal));
            if matches!(refusal, Refusal::Busy(_)) {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            response
        }
    }
}

fn not_found() -> Response<Full<Bytes>> {
    refused(
        StatusCode::NOT_FOUND,
        "not-found",
        "served here: keys, log/<generation>/…, log/shards, log/entries",
    )
}

fn refused(status: StatusCode, code: &str, message: &str) -> Response<Full<Bytes>> {
    json_response(status, &Refused { code: code.to_owned(), message: message.to_owned() })
}

fn json_response(status: StatusCode, body: &impl serde::Serialize) -> Response<Full<Bytes>> {
    response(status, "application/json", serde_json::to_vec(body).unwrap_or_default().into())
}

fn response(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
