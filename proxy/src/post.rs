//! The ledger's way out: bounded HTTP requests to witnesses and time stamping authorities.

use colophon_ledger::post::{Answer, MAX_ANSWER, Post};
pub(crate) use colophon_listen::ask::{AskError, KeptClient, ask, kept_client};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::header::{CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::{Request, Uri};
use http_body_util::Full;
use std::path::Path;
use std::time::Duration;

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest time from request to the answer's last byte.
const TIMEOUT: Duration = Duration::from_secs(30);

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
