//! Towards the upstream: the connection pool, its TLS, and what a request's head looks like on the other side.

use crate::config::{HostHeader, UpstreamOptions};
use crate::exchange::content_length;
use crate::head;
use crate::request_body::{RequestBody, RequestBodyError};
use crate::tls;
use anyhow::Context as _;
use http::header::{self, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri, Version};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::{CaptureConnection, HttpConnector, capture_connection};
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// Idle upstream connections are dropped after this: uvicorn and llama.cpp close theirs at 5 s, and a request that
/// meets the close is lost.
const POOL_IDLE: Duration = Duration::from_secs(4);

/// How long a client's body waits for the upstream's `100 Continue`.
const CONTINUE_PATIENCE: Duration = Duration::from_secs(1);

type Pool = Client<HttpsConnector<HttpConnector>, RequestBody>;

/// The server behind this proxy.
pub struct Upstream {
    client: Pool,
    /// For requests that ask for another protocol: HTTP/1.1 only, since HTTP/2 has no such wish.
    upgrading: Pool,
    scheme: Scheme,
    authority: Authority,
    /// Put before every path, without a trailing slash.
    base_path: String,
    host: HostHeader,
    header_timeout: Duration,
    url: Arc<str>,
}

/// Why there is no answer. Says whose fault it is and whether another try may help.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// No connection.
    #[error("cannot connect to the upstream: {0}")]
    Connect(String),
    /// The connection broke, or what came was not HTTP.
    #[error("the upstream broke off before an answer: {0}")]
    Upstream(String),
    /// No response head in time.
    #[error("the upstream sent no response head within {0:?}")]
    Timeout(Duration),
    /// The client's body failed while it was forwarded.
    #[error(transparent)]
    Request(RequestBodyError),
    /// Two hosts: the server might choose another than the record names (RFC 9112 section 3.2).
    #[error("the request has more than one Host")]
    Hosts,
    /// A user name or password before the host (RFC 9110 section 4.2.4).
    #[error("the request target has a user name in it")]
    UserInfo,
    /// The request target cannot be forwarded.
    #[error("the request target cannot be forwarded: {0}")]
    Target(#[from] http::Error),
}

/// An answer with what is needed to give up its connection.
pub struct Answer {
    /// Head and body.
    pub response: Response<Incoming>,
    connection: CaptureConnection,
}

impl Answer {
    /// Keeps the connection from being used again: its framing cannot be trusted.
    pub fn poison_connection(&self) {
        if let Some(connected) = &*self.connection.connection_metadata() {
            connected.poison();
        }
    }
}

impl Upstream {
    /// Builds the pool. Nothing is connected yet.
    pub fn new(options: &UpstreamOptions) -> anyhow::Result<Upstream> {
        let uri: Uri = options.url.parse().with_context(|| format!("--upstream {}", options.url))?;
        let parts = uri.into_parts();
        let scheme = parts.scheme.unwrap_or(Scheme::HTTP);
        let authority =
            parts.authority.with_context(|| format!("--upstream {}: no host in it", options.url))?;
        if scheme != Scheme::HTTP && scheme != Scheme::HTTPS {
            anyhow::bail!("--upstream {}: the scheme has to be http or https", options.url);
        }
        // They would stand in every record.
        anyhow::ensure!(
            !authority.as_str().contains('@'),
            "--upstream: no user name or password may stand in it"
        );
        let query = parts.path_and_query.as_ref().and_then(PathAndQuery::query);
        anyhow::ensure!(query.is_none(), "--upstream {}: no query may stand in it", options.url);
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(options.connect_timeout));
        let tls = tls::client_config(options)?;
        let builder = || HttpsConnectorBuilder::new().with_tls_config(tls.clone()).https_or_http();
        let known_h2 = options.http2 && scheme == Scheme::HTTP;
        let client = pool(builder().enable_all_versions().wrap_connector(http.clone()), known_h2);
        let upgrading = pool(builder().enable_http1().wrap_connector(http), false);
        let host = match options.host {
            HostHeader::Auto if scheme == Scheme::HTTP && !known_h2 => HostHeader::Preserve,
            HostHeader::Auto => HostHeader::Upstream,
            chosen => chosen,
        };
        let base_path =
            parts.path_and_query.as_ref().map_or("", PathAndQuery::path).trim_end_matches('/').to_owned();
        Ok(Upstream {
            client,
            upgrading,
            url: format!("{scheme}://{authority}{base_path}").into(),
            scheme,
            authority,
            base_path,
            host,
            header_timeout: options.header_timeout,
        })
    }

    /// scheme://host:port of the upstream.
    pub fn url(&self) -> &Arc<str> {
        &self.url
    }

    /// Turns a request's head into the one the upstream gets: RFC 9110 section 7.6, nothing else touched.
    pub fn head(&self, mut parts: http::request::Parts) -> Result<http::request::Parts, ForwardError> {
        if parts.headers.get_all(header::HOST).iter().count() > 1 {
            return Err(ForwardError::Hosts);
        }
        if parts.uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(ForwardError::UserInfo);
        }
        let path = match parts.uri.path_and_query() {
            Some(path) if !self.base_path.is_empty() => {
                format!("{}{path}", self.base_path).parse::<PathAndQuery>()
            }
            Some(path) => Ok(path.clone()),
            None => Ok(PathAndQuery::from_static("/")),
        };
        let uri = Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(path.map_err(http::Error::from)?)
            .build()?;
        let headers = &mut parts.headers;
        let wants_trailers = head::has_token(headers, &header::TE, "trailers");
        head::strip_hop_by_hop(headers);
        if parts.version >= Version::HTTP_2 {
            head::join_cookies(headers);
            if headers.get_all(header::CONTENT_LENGTH).iter().count() > 1 {
                // They are known to be the same; to an HTTP/1.1 server only one may be sent.
                let length = content_length(headers).map(HeaderValue::from);
                headers.remove(header::CONTENT_LENGTH);
                headers.extend(length.map(|length| (header::CONTENT_LENGTH, length)));
            }
        }
        if wants_trailers {
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
            headers.append(header::CONNECTION, HeaderValue::from_static("te"));
        }
        let authority = match self.host {
            HostHeader::Upstream | HostHeader::Auto => Some(self.authority.clone()),
            // The authority of an absolute form, or of HTTP/2, goes before any Host (RFC 9112 section 3.2.2).
            HostHeader::Preserve => parts.uri.authority().cloned(),
        };
        if let Some(value) = authority.and_then(|authority| HeaderValue::from_str(authority.as_str()).ok()) {
            headers.insert(header::HOST, value);
        }
        if !headers.contains_key(header::HOST) {
            // HTTP/1.0 had no Host; in the HTTP/1.1 that goes on it is mandatory.
            let host = HeaderValue::from_str(self.authority.as_str()).map_err(http::Error::from)?;
            headers.insert(header::HOST, host);
        }
        (parts.uri, parts.version) = (uri, Version::HTTP_11);
        // What they hold is about the client's connection.
        parts.extensions = http::Extensions::new();
        Ok(parts)
    }

    /// Sends a request and waits for the head of its answer.
    pub async fn send(
        &self,
        head: http::request::Parts,
        mut body: RequestBody,
    ) -> Result<Answer, ForwardError> {
        let mut continued = None;
        if head::has_token(&head.headers, &header::EXPECT, "100-continue") {
            let (open, opened) = oneshot::channel();
            body = body.gated(opened, CONTINUE_PATIENCE);
            continued = Some(std::sync::Mutex::new(Some(open)));
        }
        let mut request = Request::from_parts(head, body);
        if let Some(open) = continued {
            hyper::ext::on_informational(&mut request, move |informational| {
                if informational.status() == http::StatusCode::CONTINUE
                    && let Ok(mut open) = open.lock()
                    && let Some(open) = open.take()
                {
                    // The body may be gone already; then nobody waits.
                    let _ = open.send(());
                }
            });
        }
        let pool =
            if request.headers().contains_key(header::UPGRADE) { &self.upgrading } else { &self.client };
        let connection = capture_connection(&mut request);
        match tokio::time::timeout(self.header_timeout, pool.request(request)).await {
            Err(_) => Err(ForwardError::Timeout(self.header_timeout)),
            Ok(Err(error)) => Err(classify(error)),
            Ok(Ok(response)) => Ok(Answer { response, connection }),
        }
    }

    /// Whether a TCP connection (and TLS session) to the upstream can be had: for readiness.
    pub async fn reachable(&self) -> bool {
        let port = self.authority.port_u16().unwrap_or(if self.scheme == Scheme::HTTPS { 443 } else { 80 });
        let host = self.authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        matches!(
            tokio::time::timeout(Duration::from_secs(1), tokio::net::TcpStream::connect((host, port))).await,
            Ok(Ok(_))
        )
    }
}

fn pool(connector: HttpsConnector<HttpConnector>, known_h2: bool) -> Pool {
    Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(POOL_IDLE)
        .http2_only(known_h2)
        .http2_adaptive_window(true)
        .set_host(false)
        .build(connector)
}

fn classify(error: ClientError) -> ForwardError {
    if error.is_connect() {
        return ForwardError::Connect(chain(&error));
    }
    // The request body's own error is somewhere below hyper's.
    let mut source = error.source();
    while let Some(cause) = source {
        match cause.downcast_ref::<RequestBodyError>() {
            Some(error) => return ForwardError::Request(error.clone()),
            None => source = cause.source(),
        }
    }
    ForwardError::Upstream(chain(&error))
}

/// An error with its causes, as one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
