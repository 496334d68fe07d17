//! The way from a sidecar to the log role: HTTP with TLS, a bearer token or a client certificate, and other replicas
//! where one does not answer.

use crate::config::LogUrlOptions;
use crate::files;
use crate::forward::chain;
use crate::post::{KeptClient, kept_client};
use crate::tls;
use anyhow::Context as _;
use colophon_ledger::remote::{Call, Reply, Transport};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use http::{Request, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Longest time from request to the answer's last byte; the log answers once its store has the leaf.
const TIMEOUT: Duration = Duration::from_secs(30);
/// A token file is never longer.
const MAX_TOKEN: usize = 4096;

/// Calls the log role.
pub struct LogClient {
    client: KeptClient,
    /// Prefixes of the replicas, without a slash at the end.
    urls: Vec<String>,
    /// The replica that answered last.
    current: AtomicUsize,
    token: Option<(PathBuf, HeaderValue)>,
}

impl LogClient {
    /// A client for the replicas of `--log-url`.
    pub fn new(options: &LogUrlOptions) -> anyhow::Result<LogClient> {
        let mut urls = Vec::new();
        for url in &options.urls {
            let uri: Uri = url.parse().with_context(|| format!("--log-url {url}"))?;
            let plain = match uri.scheme_str() {
                Some("https") => false,
                Some("http") => true,
                _ => anyhow::bail!("--log-url {url}: http://… or https://… is needed"),
            };
            anyhow::ensure!(uri.query().is_none(), "--log-url {url}: a URL without `?` is needed");
            let local = uri.host().is_some_and(|host| matches!(host, "127.0.0.1" | "localhost" | "[::1]"));
            if plain && !local && options.token_file.is_some() {
                tracing::warn!(url, "the bearer token goes to the log without TLS");
            }
            urls.push(url.trim_end_matches('/').to_owned());
        }
        let identity = match (&options.client_cert, &options.client_key) {
            (Some(chain), Some(key)) => Some((chain.as_path(), key.as_path())),
            (None, None) => None,
            _ => anyhow::bail!("--log-client-cert and --log-client-key go together"),
        };
        let client = kept_client(tls::identified_config(options.ca.as_deref(), identity)?, CONNECT_TIMEOUT);
        let token =
            options.token_file.clone().map(|path| bearer(&path).map(|first| (path, first))).transpose()?;
        Ok(LogClient { client, urls, current: AtomicUsize::new(0), token })
    }

    async fn ask(&self, prefix: &str, call: &Call) -> Result<Reply, String> {
        let url = format!("{prefix}/v1/colophon/{}", call.path);
        let uri: Uri = url.parse().map_err(|error| format!("{url}: {error}"))?;
        let host = uri.authority().map(ToString::to_string).unwrap_or_default();
        let mut request = match &call.body {
            Some(_) => Request::post(uri).header(CONTENT_TYPE, "application/octet-stream"),
            None => Request::get(uri),
        }
        .header(HOST, host);
        if let Some((path, first)) = self.token.as_ref().filter(|_| call.body.is_some()) {
            // Kubernetes replaces the tokens of Pods every hour.
            let path = path.clone();
            let now = tokio::task::spawn_blocking(move || bearer(&path)).await.ok().and_then(Result::ok);
            request = request.header(AUTHORIZATION, now.as_ref().unwrap_or(first));
        }
        let body = Full::new(call.body.clone().unwrap_or_default().into());
        let request = request.body(body).map_err(|error| error.to_string())?;
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| chain(&error))?;
            let (parts, body) = response.into_parts();
            let limit = usize::try_from(call.limit).unwrap_or(usize::MAX);
            let body = Limited::new(body, limit).collect().await.map_err(|error| chain(&*error))?;
            Ok(Reply { status: parts.status.as_u16(), body: body.to_bytes() })
        };
        let done = tokio::time::timeout(TIMEOUT, exchange).await;
        done.unwrap_or_else(|_| Err(format!("no whole answer within {TIMEOUT:?}")))
            .map_err(|error| format!("{prefix}: {error}"))
    }
}

impl Transport for LogClient {
    fn call(&self, call: Call) -> BoxFuture<'_, Result<Reply, String>> {
        async move {
            let first = self.current.load(Ordering::Relaxed);
            let mut last = Err("there is no --log-url".to_owned());
            for n in 0..self.urls.len() {
                let at = (first + n) % self.urls.len();
                let Some(prefix) = self.urls.get(at) else { break };
                last = self.ask(prefix, &call).await;
                if last.as_ref().is_ok_and(|reply| reply.status < 500) {
                    self.current.store(at, Ordering::Relaxed);
                    break;
                }
            }
            last
        }
        .boxed()
    }
}

/// The first word of a token file, as a header.
fn bearer(path: &Path) -> anyhow::Result<HeaderValue> {
    let context = || format!("--log-token-file {}", path.display());
    let text = files::read_text(path, MAX_TOKEN).with_context(context)?;
    let token = text.split_whitespace().next().with_context(|| format!("{}: it is empty", context()))?;
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).with_context(context)?;
    value.set_sensitive(true);
    Ok(value)
}
