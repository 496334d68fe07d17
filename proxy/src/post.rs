//! The ledger's way out: bounded HTTP requests to witnesses and time stamping authorities.

use crate::forward::chain;
use bytes::Bytes;
use colophon_ledger::post::{Answer, MAX_ANSWER, Post};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::header::{CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::{Request, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
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
            let response = self.client.request(request).await.map_err(|error| chain(&error))?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|error| chain(&*error))?;
            let content_type = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
            Ok(Answer {
                status: parts.status.as_u16(),
                content_type: content_type.map(str::to_owned),
                body: body.to_bytes(),
            })
        };
        let timed = tokio::time::timeout(TIMEOUT, exchange);
        timed.map(|done| done.unwrap_or_else(|_| Err(format!("no whole answer within {TIMEOUT:?}")))).boxed()
    }
}
