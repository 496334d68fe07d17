//! What `serve` was told, made definite: flags, environment and one YAML file say the same things, in that order.

use clap::{Args, ValueEnum};
use colophon_ledger::Durability;
use colophon_ledger::{Access, Location, Stores};
use colophon_signer::KeySource;
use colophon_signer::note::VerifierKey;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// How often batches are closed on a local disk.
const BATCH_EVERY_DISK: Duration = Duration::from_secs(1);

/// How often they are on an object store.
const BATCH_EVERY_BUCKET: Duration = Duration::from_secs(10);

/// Records of a batch at most: with their openings they take some 30 MB while they wait and are logged.
const BATCH_MAX_RECORDS: usize = 16_384;

/// How often metrics are sent, as OpenTelemetry has it.
const METRICS_EVERY: Duration = Duration::from_secs(60);

/// Longest origin of a new log, in bytes: it stands in every answer.
const MAX_ORIGIN: usize = 200;

/// Whose `Host` the upstream sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostHeader {
    /// The client's for an http:// upstream, which is beside this proxy; the upstream URL's for https:// and HTTP/2.
    Auto,
    /// The client's, untouched.
    Preserve,
    /// The upstream URL's: for a server elsewhere that routes by name.
    Upstream,
}

/// How to reach the model server.
#[derive(Clone, Debug, Args)]
pub struct UpstreamOptions {
    /// The model server: http://host:port or https://host:port, with an optional path in front of every request
    #[arg(
        long = "upstream",
        env = "COLOPHON_UPSTREAM",
        value_name = "URL",
        default_value = "http://127.0.0.1:8000"
    )]
    pub url: String,
    /// Speak HTTP/2 without TLS to an http:// upstream (https:// negotiates it)
    #[arg(long = "upstream-http2", env = "COLOPHON_UPSTREAM_HTTP2")]
    pub http2: bool,
    /// Which Host header the upstream sees
    #[arg(
        long = "upstream-host",
        env = "COLOPHON_UPSTREAM_HOST",
        value_name = "WHICH",
        default_value = "preserve"
    )]
    pub host: HostHeader,
    /// PEM file of the CAs that may sign the upstream's certificate, instead of the system's
    #[arg(long = "upstream-ca", env = "COLOPHON_UPSTREAM_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// PEM file of the certificate chain shown to the upstream
    #[arg(
        long = "upstream-cert",
        env = "COLOPHON_UPSTREAM_CERT",
        value_name = "FILE",
        requires = "client_key"
    )]
    pub client_cert: Option<PathBuf>,
    /// PEM file of that certificate's key
    #[arg(
        id = "client_key",
        long = "upstream-key",
        env = "COLOPHON_UPSTREAM_KEY",
        value_name = "FILE",
        requires = "client_cert"
    )]
    pub client_key: Option<PathBuf>,
    /// Longest wait for a connection to the upstream, TLS included
    #[arg(id = "upstream_connect_timeout", long = "upstream-connect-timeout", env = "COLOPHON_UPSTREAM_CONNECT_TIMEOUT", value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub connect_timeout: Duration,
    /// Longest wait for the head of an answer, since the last piece of the request; generation may take long before it
    #[arg(id = "upstream_header_timeout", long = "upstream-header-timeout", env = "COLOPHON_UPSTREAM_HEADER_TIMEOUT", value_name = "TIME", default_value = "10m", value_parser = duration)]
    pub header_timeout: Duration,
    /// Longest silence within an answer's body
    #[arg(id = "upstream_idle_timeout", long = "upstream-idle-timeout", env = "COLOPHON_UPSTREAM_IDLE_TIMEOUT", value_name = "TIME", default_value = "10m", value_parser = duration)]
    pub idle_timeout: Duration,
}

/// Evidence of trusted execution environments.
#[derive(Clone, Debug, Args)]
pub struct AttestOptions {
    /// Prove where this proxy runs: tdx, snp or azure-vtpm inside such a confidential VM, nitro inside an enclave; simulated:SEED for tests, which proves nothing
    #[arg(long, env = "COLOPHON_ATTEST", value_name = "WHAT")]
    pub attest: Option<String>,
    /// What goes along with this proxy's evidence: Intel's collateral (JSON), certificates (PEM or DER); read each time
    #[arg(
        id = "attest_collateral",
        long = "attest-collateral",
        env = "COLOPHON_ATTEST_COLLATERAL",
        value_name = "FILE",
        requires = "attest"
    )]
    pub collateral: Option<PathBuf>,
    /// Evidence about the key that signs is made anew so long after the last, once there is a newer timestamp (--tsa)
    #[arg(id = "attest_every", long = "attest-every", env = "COLOPHON_ATTEST_EVERY", value_name = "TIME", default_value = "10m", value_parser = duration)]
    pub every: Duration,
    /// Collateral for evidence of upstreams that are no Colophons, which comes without any; read each time
    #[arg(long, env = "COLOPHON_UPSTREAM_COLLATERAL", value_name = "FILE")]
    pub upstream_collateral: Option<PathBuf>,
    /// A model certificate that says what an upstream's evidence has to be: the policy names it by its digest
    /// (`modelCertificate`). It counts by --model-authority, which is read each time. More than once if need be
    #[arg(
        long,
        env = "COLOPHON_UPSTREAM_MODEL_CERT",
        value_name = "FILE",
        value_delimiter = ',',
        requires = "model_authority"
    )]
    pub upstream_model_cert: Vec<PathBuf>,
    /// How long evidence of an upstream counts; it is renewed after half of that
    #[arg(id = "attest_lease", long = "attest-lease", env = "COLOPHON_ATTEST_LEASE", value_name = "TIME", default_value = "5m", value_parser = duration)]
    pub lease: Duration,
    /// Longest wait for evidence of an upstream, its verification included
    #[arg(id = "attest_timeout", long = "attest-timeout", env = "COLOPHON_ATTEST_TIMEOUT", value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub timeout: Duration,
    /// Take simulated evidence of upstreams, by the seed `colophon`: for tests, since anybody can make it
    #[arg(long, env = "COLOPHON_ALLOW_SIMULATED")]
    pub allow_simulated: bool,
}

/// What clients may use of this process.
#[derive(Clone, Debug, Args)]
pub struct Limits {
    /// Largest request head, in bytes (431 beyond)
    #[arg(long, env = "COLOPHON_MAX_HEADER_BYTES", value_name = "BYTES", default_value_t = 128 * 1024, value_parser = clap::value_parser!(u32).range(8192..=16_777_216))]
    pub max_header_bytes: u32,
    /// Largest request body, in bytes (413 beyond)
    #[arg(long, env = "COLOPHON_MAX_BODY_BYTES", value_name = "BYTES", default_value_t = 256 << 20)]
    pub max_body_bytes: u64,
    /// Connections served at once; more wait in the listen queue. Fewer where the limit on open files is low
    #[arg(long, env = "COLOPHON_MAX_CONNECTIONS", value_name = "N", default_value_t = 16_384, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_connections: u32,
    /// Exchanges at once: what the limit on open files leaves them.
    #[arg(skip)]
    pub exchanges: crate::serve::Exchanges,
    /// Longest time to a whole request head, also between the requests of a kept-alive connection
    #[arg(long, env = "COLOPHON_HEADER_TIMEOUT", value_name = "TIME", default_value = "75s", value_parser = duration)]
    pub header_timeout: Duration,
    /// Longest time in which a client's connection takes nothing of what waits for it; then the client counts as gone
    #[arg(long, env = "COLOPHON_CLIENT_WRITE_TIMEOUT", value_name = "TIME", default_value = "5m", value_parser = duration)]
    pub client_write_timeout: Duration,
    /// Answers with a Content-Length up to this are held until their digest is known; anything else streams
    #[arg(long, env = "COLOPHON_BUFFER_LIMIT", value_name = "BYTES", default_value_t = 1 << 20)]
    pub buffer_limit: u64,
    /// How much of a request body a rule on models may read before the decision
    #[arg(long, env = "COLOPHON_INSPECT_LIMIT", value_name = "BYTES", default_value_t = 1 << 20)]
    pub inspect_limit: usize,
    /// Record digests of what request and answer say, however it is written, for clients that only have parsed objects
    /// (`verify --message`). Off: it more than doubles the work that a short exchange takes here
    #[arg(long, env = "COLOPHON_MESSAGE_DIGESTS")]
    pub message_digests: bool,
}

/// Where clients come in.
#[derive(Clone, Debug, Args)]
pub struct ListenOptions {
    /// Address for clients
    #[arg(long, env = "COLOPHON_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:4180")]
    pub listen: SocketAddr,
    /// Address for health, readiness and metrics
    #[arg(long, env = "COLOPHON_ADMIN", value_name = "ADDR", default_value = "127.0.0.1:4181")]
    pub admin: SocketAddr,
    /// Address for /livez, /readyz and /metrics alone, and for whether the upstream answers: for a cluster's probes and
    /// scrapers, which the operator's side is not for
    #[arg(long, env = "COLOPHON_HEALTH", value_name = "ADDR")]
    pub health: Option<SocketAddr>,
    /// Path of the upstream whose status GET /upstream/PATH on --health tells, unrecorded; several times if need be
    #[arg(id = "probe_path", long = "probe-path", env = "COLOPHON_PROBE_PATH", value_name = "PATH", value_delimiter = ',', value_parser = probe_path)]
    pub probe_paths: Vec<String>,
    /// YAML file that says how callers and their tenants are known: API keys, JWTs, client certificates
    #[arg(long, env = "COLOPHON_CALLERS", value_name = "FILE")]
    pub callers: Option<PathBuf>,
    /// PEM file of this proxy's certificate chain: serve HTTPS (re-read when it changes)
    #[arg(long, env = "COLOPHON_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// PEM file of its key
    #[arg(
        id = "tls_key",
        long = "tls-key",
        env = "COLOPHON_TLS_KEY",
        value_name = "FILE",
        requires = "tls_cert"
    )]
    pub tls_key: Option<PathBuf>,
}

fn probe_path(path: &str) -> Result<String, String> {
    match path.starts_with('/') && path.parse::<http::uri::PathAndQuery>().is_ok() {
        true => Ok(path.to_owned()),
        false => Err("a path begins with a slash, as /health does".into()),
    }
}

/// Where spans and metrics are sent.
#[derive(Clone, Debug, Args)]
pub struct OtlpOptions {
    /// URL of an OpenTelemetry collector (OTLP over HTTP, protobuf) that gets a span an exchange, without content, and the
    /// metrics. OTEL_EXPORTER_OTLP_ENDPOINT says the same, and OTEL_EXPORTER_OTLP_HEADERS is sent along
    #[arg(id = "otlp_endpoint", long = "otlp-endpoint", env = "COLOPHON_OTLP_ENDPOINT", value_name = "URL")]
    pub endpoint: Option<String>,
    /// How many of the traces that begin here are sent, 0 to 1; of others, whoever began them has decided
    #[arg(
        id = "otlp_sample",
        long = "otlp-sample",
        env = "COLOPHON_OTLP_SAMPLE",
        value_name = "SHARE",
        default_value_t = 1.0,
        value_parser = share
    )]
    pub sample: f64,
    /// How often metrics are sent, or `never`. OTEL_METRIC_EXPORT_INTERVAL says the same in milliseconds [default: 60s]
    #[arg(
        id = "otlp_metrics_every",
        long = "otlp-metrics-every",
        env = "COLOPHON_OTLP_METRICS_EVERY",
        value_name = "TIME"
    )]
    pub metrics_every: Option<Every>,
    /// PEM file of the CAs that may sign the collector's certificate, instead of the system's
    #[arg(id = "otlp_ca", long = "otlp-ca", env = "COLOPHON_OTLP_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,
}

impl OtlpOptions {
    /// Where spans and metrics go, if anywhere.
    pub fn endpoint(&self) -> Option<String> {
        let of_all = || std::env::var("OTEL_EXPORTER_OTLP_ENDPOINT").ok();
        self.endpoint.clone().or_else(of_all).filter(|url| !url.is_empty())
    }

    /// How often metrics are sent, if at all.
    ///
    /// # Errors
    /// The variable of OpenTelemetry is no number of milliseconds.
    pub fn metrics_every(&self) -> Result<Option<Duration>, String> {
        const OF_ALL: &str = "OTEL_METRIC_EXPORT_INTERVAL";
        match (self.metrics_every, std::env::var(OF_ALL)) {
            (Some(Every(every)), _) => Ok(every),
            (None, Ok(text)) if !text.is_empty() => {
                duration(&format!("{text}ms")).map(Some).map_err(|error| format!("{OF_ALL}: {error}"))
            }
            _ => Ok(Some(METRICS_EVERY)),
        }
    }
}

/// A time between two, or none where it says `never`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Every(Option<Duration>);

impl FromStr for Every {
    type Err = String;

    fn from_str(text: &str) -> Result<Every, String> {
        let every = (text != "never").then(|| duration(text)).transpose();
        every.map(Every)
    }
}

fn share(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|share| (0.0..=1.0).contains(share)).ok_or_else(|| "a number from 0 to 1".into())
}

/// Where log, batches and openings are kept.
#[derive(Clone, Debug, Args)]
pub struct StoreOptions {
    /// Store of the log, the batches and the index: file:///folder, s3://bucket/prefix, gs://… or az://… [default: --data]
    #[arg(long, env = "COLOPHON_STORE", value_name = "URL")]
    pub store: Option<Location>,
    /// Store of the private openings, in a bucket of its own [default: private/ in --data]
    #[arg(long, env = "COLOPHON_PRIVATE", value_name = "URL")]
    pub private: Option<Location>,
    /// File of 32 random bytes behind the links to receipts, the same for all who share the stores [default: made in
    /// --data]
    #[arg(long, env = "COLOPHON_TOKEN_KEY", value_name = "FILE")]
    pub token_key: Option<PathBuf>,
    /// URL of the object store's service, for S3-compatible servers; AWS_ENDPOINT_URL says the same
    #[arg(long, env = "COLOPHON_STORE_ENDPOINT", value_name = "URL")]
    pub store_endpoint: Option<String>,
    /// PEM file of the CAs that may sign the object store's certificate, instead of the system's
    #[arg(long, env = "COLOPHON_STORE_CA", value_name = "FILE")]
    pub store_ca: Option<PathBuf>,
}

impl StoreOptions {
    /// As the ledger wants them.
    pub fn stores(&self) -> Stores {
        let access = Access { endpoint: self.store_endpoint.clone(), ca: self.store_ca.clone() };
        let token_key = self.token_key.clone();
        Stores { public: self.store.clone(), private: self.private.clone(), token_key, access }
    }

    /// How often batches are closed where nobody says: requests to an object store cost money.
    pub fn batch_every(&self) -> Duration {
        match &self.store {
            Some(Location::Bucket(_)) => BATCH_EVERY_BUCKET,
            Some(Location::Folder(_)) | None => BATCH_EVERY_DISK,
        }
    }
}

/// What this process is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// The proxy; it keeps its own log too, unless --log-url names one.
    #[default]
    All,
    /// The log of many sidecars, and no proxy.
    Log,
}

/// The log that another process keeps.
#[derive(Clone, Debug, Args)]
pub struct LogUrlOptions {
    /// Post statements to this log (`--role log`) instead of keeping one; several replicas: several times, or commas
    #[arg(long = "log-url", env = "COLOPHON_LOG_URL", value_name = "URL", value_delimiter = ',')]
    pub urls: Vec<String>,
    /// File with the bearer token for --log-url; with --role log, the tokens that may post: a line each, TOKEN [NAME]
    #[arg(
        id = "log_token_file",
        long = "log-token-file",
        env = "COLOPHON_LOG_TOKEN_FILE",
        value_name = "FILE"
    )]
    pub token_file: Option<PathBuf>,
    /// PEM file of the CAs that may sign the log's TLS certificate, instead of the system's
    #[arg(id = "log_ca", long = "log-ca", env = "COLOPHON_LOG_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// PEM file of the certificate chain shown to the log
    #[arg(
        id = "log_client_cert",
        long = "log-client-cert",
        env = "COLOPHON_LOG_CLIENT_CERT",
        value_name = "FILE"
    )]
    pub client_cert: Option<PathBuf>,
    /// PEM file of that certificate's key
    #[arg(
        id = "log_client_key",
        long = "log-client-key",
        env = "COLOPHON_LOG_CLIENT_KEY",
        value_name = "FILE"
    )]
    pub client_key: Option<PathBuf>,
    /// Verifier key of the log at --log-url, from elsewhere; without it the log's own word is taken at each start
    #[arg(id = "log_vkey", long = "log-vkey", env = "COLOPHON_LOG_VKEY", value_name = "VKEY")]
    pub vkey: Option<VerifierKey>,
}

/// What only the log role is told.
#[derive(Clone, Debug, Args)]
pub struct LogRoleOptions {
    /// all: the proxy, with a log of its own unless --log-url is given; log: the log of many sidecars, and no proxy
    #[arg(long, env = "COLOPHON_ROLE", value_name = "ROLE", default_value = "all")]
    pub role: Role,
    /// With --role log: PEM file of the CAs whose certificates sidecars may show instead of a token
    #[arg(id = "log_client_ca", long = "log-client-ca", env = "COLOPHON_LOG_CLIENT_CA", value_name = "FILE")]
    pub client_ca: Option<PathBuf>,
    /// With --role log: JWKS file of a Kubernetes cluster whose ServiceAccount tokens sidecars may show instead of a token
    #[arg(id = "log_jwks", long = "log-jwks", env = "COLOPHON_LOG_JWKS", value_name = "FILE")]
    pub jwks: Option<PathBuf>,
    /// With --log-jwks: the cluster's issuer, as in its tokens
    #[arg(
        id = "log_jwt_issuer",
        long = "log-jwt-issuer",
        env = "COLOPHON_LOG_JWT_ISSUER",
        value_name = "URL"
    )]
    pub jwt_issuer: Option<String>,
    /// With --log-jwks: the audience that tokens have to be for
    #[arg(
        id = "log_jwt_audience",
        long = "log-jwt-audience",
        env = "COLOPHON_LOG_JWT_AUDIENCE",
        value_name = "AUDIENCE",
        default_value = "colophon-log"
    )]
    pub jwt_audience: String,
    /// With --log-jwks: who may post, namespace/name or namespace/*, separated by commas
    #[arg(
        id = "log_service_accounts",
        long = "log-service-accounts",
        env = "COLOPHON_LOG_SERVICE_ACCOUNTS",
        value_name = "LIST",
        value_delimiter = ','
    )]
    pub service_accounts: Vec<String>,
}

/// `--durability`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DurabilityMode {
    /// write(2): survives the death of the process, not of the machine.
    Process,
    /// fdatasync, shared by the exchanges that end at the same time: survives the loss of power.
    Power,
    /// A copy in --private, shared likewise: survives the loss of the machine, its disk included.
    Node,
}

impl From<DurabilityMode> for Durability {
    fn from(mode: DurabilityMode) -> Durability {
        match mode {
            DurabilityMode::Process => Durability::Process,
            DurabilityMode::Power => Durability::Power,
            DurabilityMode::Node => Durability::Node,
        }
    }
}

/// Where records are kept.
#[derive(Clone, Debug, Args)]
pub struct LedgerOptions {
    /// Folder of the WAL and the keys; of log, batches and private openings too, unless they have a store
    #[arg(long, env = "COLOPHON_DATA", value_name = "DIR", default_value = "./colophon-data")]
    pub data: PathBuf,
    /// Stores.
    #[command(flatten)]
    pub stores: StoreOptions,
    /// Folder outside --data that remembers the newest signed tree head, so that a restored copy of --data is noticed
    /// [default: $XDG_STATE_HOME/colophon or ~/.local/state/colophon]
    #[arg(long, env = "COLOPHON_STATE", value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Name of this sidecar in its shard [default: the host's name]
    #[arg(long, env = "COLOPHON_NAME", value_name = "NAME")]
    pub name: Option<String>,
    /// Origin line of a new log, without its generation, e.g. logs.example.com/clinic
    #[arg(long, env = "COLOPHON_ORIGIN", value_name = "ORIGIN", value_parser = origin)]
    pub origin: Option<String>,
    /// Private key of the log: a PKCS#8 PEM file of mode 0600, env:NAME, or pkcs11:… (RFC 7512) [default: made in --data]
    #[arg(long, env = "COLOPHON_LOG_KEY", value_name = "KEY")]
    pub log_key: Option<KeySource>,
    /// Key that wraps the keys of the private openings: file:PATH or env:NAME, 64 hexadecimal digits [default: made in
    /// --data, where a thief of the data finds it too]
    #[arg(long, env = "COLOPHON_PRIVATE_KEY", value_name = "KEY")]
    pub private_key: Option<KeySource>,
    /// How often a batch is closed [default: 1s on a local disk, 10s on an object store]
    #[arg(long, env = "COLOPHON_BATCH_EVERY", value_name = "TIME", value_parser = duration)]
    pub batch_every: Option<Duration>,
    /// Records at which a batch is closed before its time: fewer take less memory, more make fewer files
    #[arg(long, env = "COLOPHON_BATCH_MAX_RECORDS", value_name = "N", default_value_t = BATCH_MAX_RECORDS, value_parser = batch_max_records)]
    pub batch_max_records: usize,
    /// How often a quiet shard signs that it is alive
    #[arg(long, env = "COLOPHON_HEARTBEAT", value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub heartbeat: Duration,
    /// Promise in Colophon-Record: a record is in the log within this time
    #[arg(long, env = "COLOPHON_MMD", value_name = "TIME", default_value = "24h", value_parser = duration)]
    pub mmd: Duration,
    /// Records that may wait for the log before failurePolicy decides
    #[arg(long, env = "COLOPHON_MAX_BACKLOG", value_name = "N", default_value_t = 262_144)]
    pub max_backlog: usize,
    /// Bytes of the write-ahead log that may wait for the log before failurePolicy decides
    #[arg(long, env = "COLOPHON_MAX_BACKLOG_BYTES", value_name = "BYTES", default_value_t = 1 << 30)]
    pub max_backlog_bytes: u64,
    /// How long a record may wait for the log before failurePolicy decides
    #[arg(long, env = "COLOPHON_MAX_BACKLOG_AGE", value_name = "TIME", default_value = "12h", value_parser = duration)]
    pub max_backlog_age: Duration,
    /// What the end of an answer waits for: that its record survives the process, a loss of power, or the loss of the
    /// machine (needs --name, --store, --private, --private-key, --token-key, and --log-key or --log-url)
    #[arg(long, env = "COLOPHON_DURABILITY", value_name = "MODE", default_value = "process")]
    pub durability: DurabilityMode,
    /// Take over a data folder that another machine, or another state folder, was using
    #[arg(long, env = "COLOPHON_ADOPT")]
    pub adopt: bool,
}

/// Who cosigns the log's checkpoints.
#[derive(Clone, Debug, Args)]
pub struct WitnessOptions {
    /// C2SP tlog-policy file: the witnesses to submit every checkpoint to, and the quorum
    #[arg(
        id = "witness_policy",
        long = "witness-policy",
        env = "COLOPHON_WITNESS_POLICY",
        value_name = "FILE"
    )]
    pub policy: Option<PathBuf>,
    /// How often checkpoints are submitted to witnesses at most
    #[arg(id = "witness_every", long = "witness-every", env = "COLOPHON_WITNESS_EVERY", value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub every: Duration,
    /// PEM file of the CAs that may sign the witnesses' certificates, instead of the system's
    #[arg(id = "witness_ca", long = "witness-ca", env = "COLOPHON_WITNESS_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,
}

/// Who dates the log's checkpoints.
#[derive(Clone, Debug, Args)]
pub struct TimestampOptions {
    /// URL of a time stamping authority (RFC 3161) that dates checkpoints; may be given several times, or separated by
    /// commas
    #[arg(
        id = "tsa",
        long = "tsa",
        env = "COLOPHON_TSA",
        value_name = "URL",
        value_delimiter = ',',
        requires = "tsa_root"
    )]
    pub urls: Vec<String>,
    /// PEM file of the roots that the TSAs' certificates lead to, and of their CRLs; a token that leads to none is not kept
    #[arg(
        id = "tsa_root",
        long = "tsa-root",
        env = "COLOPHON_TSA_ROOT",
        value_name = "FILE",
        value_delimiter = ','
    )]
    pub roots: Vec<PathBuf>,
    /// How often the newest checkpoint is dated
    #[arg(id = "tsa_every", long = "tsa-every", env = "COLOPHON_TSA_EVERY", value_name = "TIME", default_value = "10m", value_parser = duration)]
    pub every: Duration,
    /// PEM file of the CAs that may sign the certificate of an https:// TSA, instead of the system's
    #[arg(id = "tsa_ca", long = "tsa-ca", env = "COLOPHON_TSA_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,
}

/// Where public randomness comes from, for rules that draw by it.
#[derive(Clone, Debug, Default, Args)]
pub struct DrandOptions {
    /// Where rounds of public randomness come from, for rules with `draw: PostCommit`: a drand server (https://api.drand.sh),
    /// a folder of files NUMBER or NUMBER.json, or one file [default: none; draws wait]
    #[arg(id = "drand", long = "drand", env = "COLOPHON_DRAND", value_name = "SOURCE")]
    pub source: Option<String>,
    /// JSON file that describes the chain whose rounds are believed, key and hash, as a drand server answers …/info [default:
    /// quicknet]
    #[arg(id = "drand_chain", long = "drand-chain", env = "COLOPHON_DRAND_CHAIN", value_name = "FILE")]
    pub chain: Option<PathBuf>,
    /// PEM file of the CAs that may sign the certificate of an https:// drand server, instead of the system's
    #[arg(id = "drand_ca", long = "drand-ca", env = "COLOPHON_DRAND_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,
}

/// Which model the server runs.
#[derive(Clone, Debug, Args)]
pub struct ModelOptions {
    /// Certificate of the model that the server runs (`colophon model certify`): records name it while the files of
    /// --model-dir are those that it lists
    #[arg(long, env = "COLOPHON_MODEL_CERT", value_name = "FILE", requires = "model_dir")]
    pub model_cert: Option<PathBuf>,
    /// The folder with that model's files. They are read before anything is served, and again when they change
    #[arg(long, env = "COLOPHON_MODEL_DIR", value_name = "DIR", requires = "model_cert")]
    pub model_dir: Option<PathBuf>,
    /// Whose certificates count, and which were revoked: the file of a model authority, or its public key in PEM. Re-read
    /// when it changes
    #[arg(long, env = "COLOPHON_MODEL_AUTHORITY", value_name = "FILE")]
    pub model_authority: Option<PathBuf>,
    /// A name under which the server serves this model: records of answers by others do not name the certificate. More than
    /// once if need be [default: all that the server generates is by this model]
    #[arg(long, env = "COLOPHON_MODEL_SERVED_AS", value_name = "NAME", value_delimiter = ',')]
    pub model_served_as: Vec<String>,
    /// Read every file at every start, instead of believing the digests in the data folder of files that look the same
    #[arg(long, env = "COLOPHON_MODEL_NO_CACHE")]
    pub model_no_cache: bool,
    /// How often certificate, authority and the looks of the files are checked
    #[arg(long, env = "COLOPHON_MODEL_CHECK_EVERY", value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub model_check_every: Duration,
}

/// Takes what can stand in every answer's `Colophon-Log`, which is a structured-field string under a signature.
fn origin(text: &str) -> Result<String, String> {
    let usable = |b: u8| b.is_ascii_graphic() && !b"\"\\+".contains(&b);
    if text.is_empty() || text.len() > MAX_ORIGIN || !text.bytes().all(usable) {
        return Err(format!(
            "an origin has 1 to {MAX_ORIGIN} visible ASCII characters, without \", \\ and +"
        ));
    }
    Ok(text.to_owned())
}

fn batch_max_records(text: &str) -> Result<usize, String> {
    let most = colophon_ledger::batch::MAX_RECORDS;
    let count = text.parse().ok().filter(|count| (1..=most).contains(count));
    count.ok_or_else(|| format!("a batch holds 1 to {most} records"))
}

/// Reads `500ms`, `30s`, `10m`, `24h`, `1d`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 =
        number.parse().map_err(|_| format!("`{text}` is not a time; write 500ms, 30s, 10m or 24h"))?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(format!("`{text}` has no unit; write 500ms, 30s, 10m or 24h")),
    };
    let millis = number.checked_mul(millis).ok_or_else(|| format!("`{text}` is too long a time"))?;
    // Timers in tokio end at about two years; nothing here means longer.
    if millis == 0 || millis > 31_536_000_000 {
        return Err(format!("`{text}`: a time between 1ms and 365d is needed"));
    }
    Ok(Duration::from_millis(millis))
}

#[cfg(test)]
mod tests;
