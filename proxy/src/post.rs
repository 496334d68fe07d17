//! The ledger's way out: bounded HTTP requests to witnesses and time stamping authorities.

use crate::forward::chain;
use bytes::Bytes;
use colophon_ledger::post::{Answer, MAX_ANSWER, Post};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::header::{CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use std::path::Path;
use std::time::Duration;

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest time from request to the answer's last byte.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A kept-alive connection is dropped when nothing was asked over it for so long.
const IDLE: Duration = Duration::from_secs(60);

/// What [`kept_client`] makes.
pub(crate) type KeptClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Sends requests, over connections that are kept between checkpoints.
pub struct HttpPost {
    client: KeptClient,
}

impl HttpPost {
    /// A client that trusts the CAs of a file, or the system's.
    pub fn new(ca: Option<&Path>) -> anyhow::Result<HttpPost> {
        Ok(HttpPost { client: kept_client(crate::tls::roots_config(ca)?, CONNECT_TIMEOUT) })
    }
}

/// A client for a few servers that are asked again and again: HTTP/1.1, over connections that are kept for a while.
pub(crate) fn kept_client(tls: ClientConfig, connect_timeout: Duration) -> KeptClient {
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

impl Post for HttpPost {
    fn post(
        &self,
        url: String,
        content_type: &'static str,
        body: Vec<u8>,
    ) -> BoxFuture<'_, Result<Answer, String>> {
        let exchange = async move {
            let uri: Uri = url.parse().map_err(|error| format!("{url}: {error}"))?;
            let mut request = Request::post(uri).body(Full::new(body.into())).map_err(|e| e.to_string())?;
            let headers = request.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            headers.insert(
                USER_AGENT,
                HeaderValue::from_static(concat!("colophon/", env!("CARGO_PKG_VERSION"))),
            );
            let answer = ask(&self.client, request, TIMEOUT, MAX_ANSWER).await.map_err(|e| e.to_string())?;
            let (parts, body) = answer.into_parts();
            let content_type = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
            Ok(Answer { status: parts.status.as_u16(), content_type: content_type.map(str::to_owned), body })
        };
        exchange.boxed()
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
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
pub(crate) async fn ask(
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
