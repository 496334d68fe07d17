//! Asking servers: requests over kept connections, with bounds on time and on what they answer.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;

use crate::{certificates, private_key, provider, roots};

/// A kept-alive connection is dropped when nothing was asked over it for so long.
const IDLE: Duration = Duration::from_secs(60);

/// What [`kept_client`] makes.
pub type KeptClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// A client for a few servers that are asked again and again: HTTP/1.1, over connections that are kept for a while.
pub fn kept_client(tls: ClientConfig, connect_timeout: Duration) -> KeptClient {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_connect_timeout(Some(connect_timeout));
    http.set_nodelay(true);
    let connector =
        HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(http);
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .build(connector)
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// It does not answer, or not as HTTP wants it: another time it may.
    #[error("{0}")]
    Away(String),
    /// It answers more than it may.
    #[error("its answer has more than {0} bytes")]
    TooLong(usize),
}

/// One request and its whole answer, of `most` bytes and within `time` at most.
///
/// # Errors
/// What went wrong, in words.
pub async fn ask(
    client: &KeptClient,
    request: Request<Full<Bytes>>,
    time: Duration,
    most: usize,
) -> Result<Response<Bytes>, AskError> {
    let exchange = async {
        let answer = client.request(request).await.map_err(|error| AskError::Away(chain(&error)))?;
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, most).collect().await;
        let body = body.map_err(|error| match error.downcast::<LengthLimitError>() {
            Ok(_) => AskError::TooLong(most),
            Err(error) => AskError::Away(chain(&*error)),
        })?;
        Ok(Response::from_parts(parts, body.to_bytes()))
    };
    let timed = tokio::time::timeout(time, exchange).await;
    timed.map_err(|_| AskError::Away(format!("no whole answer within {} s", time.as_secs())))?
}

/// An error with its causes, as one line.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// TLS towards any server, without a certificate of our own.
///
/// # Errors
/// The CAs' file cannot be read.
pub fn roots_config(ca: Option<&Path>) -> anyhow::Result<ClientConfig> {
    identified_config(ca, None)
}

/// TLS towards any server, with a certificate chain and its key if they are given.
///
/// # Errors
/// A file cannot be read, or chain and key do not belong together.
pub fn identified_config(
    ca: Option<&Path>,
    identity: Option<(&Path, &Path)>,
) -> anyhow::Result<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(ca)?);
    match identity {
        Some((chain, key)) => builder
            .with_client_auth_cert(certificates(chain)?, private_key(key)?)
            .with_context(|| format!("{} and {} do not belong together", chain.display(), key.display())),
        None => Ok(builder.with_no_client_auth()),
    }
}
