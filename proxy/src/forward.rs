//! Towards the upstream: what a request's head looks like on the other side, and how an answer is had.

use crate::config::{AttestOptions, HostHeader, UpstreamOptions};
use crate::exchange::content_length;
use crate::head;
use crate::metrics::UpstreamEvidence;
use crate::model::vouched::Vouched;
use crate::request_body::{RequestBody, RequestBodyError};
use crate::tls;
use crate::upstream::attested::Demand;
use crate::upstream::{Connections, NoAnswer, Reserved, Settings, UpstreamBody};
use anyhow::Context as _;
use colophon_attest::SimulatedRoots;
pub use colophon_listen::ask::chain;
use http::header::{self, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri, Version};
use rustls::ClientConfig;
use std::error::Error as _;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

/// How long a client's body waits for the upstream's `100 Continue`.
const CONTINUE_PATIENCE: Duration = Duration::from_secs(1);

/// The server behind this proxy.
pub struct Upstream {
    connections: Connections,
    scheme: Scheme,
    authority: Authority,
    /// Put before every path, without a trailing slash.
    base_path: String,
    host: HostHeader,
    header_timeout: Duration,
    url: Arc<str>,
}

/// What a server has to prove, and where that is counted.
pub(crate) struct Demanding {
    /// Its name in the policy.
    pub(crate) name: Arc<str>,
    pub(crate) policy: colophon_attest::Policy,
    /// The model certificate that this stands in.
    pub(crate) vouched: Option<Vouched>,
    /// Roots of simulations that count, for tests.
    pub(crate) simulated: Option<Arc<SimulatedRoots>>,
    pub(crate) evidence: UpstreamEvidence,
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
    /// No server has proved itself: nothing was sent to any.
    #[error("no upstream has proved itself: {0}")]
    Unattested(String),
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

/// Head and body of an answer.
pub type Answer = Response<UpstreamBody>;

impl Upstream {
    /// A server that has to prove itself on each connection before anything is sent.
    pub(crate) fn attested(
        options: &UpstreamOptions,
        attest: &AttestOptions,
        Demanding { name, policy, vouched, simulated, evidence }: Demanding,
        tasks: TaskTracker,
    ) -> anyhow::Result<Upstream> {
        let demand = |authority: &Authority| {
            let authority = authority.clone();
            let (lease, timeout) = (attest.lease, attest.timeout);
            let collateral = attest.upstream_collateral.clone();
            Arc::new(Demand {
                name,
                authority,
                policy,
                vouched,
                simulated,
                collateral,
                lease,
                timeout,
                evidence,
            })
        };
        Upstream::build(options, tls::attested_config(options)?, Some(demand), tasks)
    }

    /// Nothing is connected yet. What goes on beside the exchanges runs in `tasks`, until [`close`](Upstream::close).
    pub fn new(options: &UpstreamOptions, tasks: TaskTracker) -> anyhow::Result<Upstream> {
        let tls = tls::client_config(options)?;
        Upstream::build(options, tls, None::<fn(&Authority) -> Arc<Demand>>, tasks)
    }

    fn build(
        options: &UpstreamOptions,
        tls: ClientConfig,
        demand: Option<impl FnOnce(&Authority) -> Arc<Demand>>,
        tasks: TaskTracker,
    ) -> anyhow::Result<Upstream> {
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
        let known_h2 = options.http2 && scheme == Scheme::HTTP;
        let settings = Settings {
            scheme: scheme.clone(),
            authority: authority.clone(),
            tls,
            demand: demand.map(|demand| demand(&authority)),
            known_h2,
            connect_timeout: options.connect_timeout,
            header_timeout: options.header_timeout,
        };
        let host = match options.host {
            HostHeader::Auto if scheme == Scheme::HTTP && !known_h2 => HostHeader::Preserve,
            HostHeader::Auto => HostHeader::Upstream,
            chosen => chosen,
        };
        let base_path =
            parts.path_and_query.as_ref().map_or("", PathAndQuery::path).trim_end_matches('/').to_owned();
        Ok(Upstream {
            connections: Connections::new(settings, tasks)?,
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
        let mut uri = http::uri::Parts::default();
        uri.path_and_query = Some(path.map_err(http::Error::from)?);
        let uri = Uri::from_parts(uri).map_err(http::Error::from)?;
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

    /// A connection for a request, before there is one.
    pub(crate) async fn reserve(&self, upgrading: bool, now: Instant) -> Result<Reserved, NoAnswer> {
        self.connections.reserve(upgrading, now.into()).await
    }

    /// Sends a request at `now` and waits for the head of its answer.
    pub fn send(
        &self,
        head: http::request::Parts,
        body: RequestBody,
        now: Instant,
    ) -> impl Future<Output = Result<Answer, ForwardError>> {
        self.send_on(None, head, body, now)
    }

    /// The same, on a connection that was reserved for it.
    pub(crate) fn send_on(
        &self,
        reserved: Option<Reserved>,
        head: http::request::Parts,
        mut body: RequestBody,
        now: Instant,
    ) -> impl Future<Output = Result<Answer, ForwardError>> {
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
        // Before the future, which would have to have room for it.
        let requested = match reserved {
            Some(reserved) => self.connections.request_on(reserved, request, now.into()),
            None => self.connections.request(request, now.into()),
        };
        async move {
            requested.await.map_err(|why| match why {
                NoAnswer::Timeout => ForwardError::Timeout(self.header_timeout),
                NoAnswer::Slow => ForwardError::Request(RequestBodyError::Slow),
                NoAnswer::Connect(why) => ForwardError::Connect(why),
                NoAnswer::Broken(error) => classify(error),
                NoAnswer::Unattested(why) => ForwardError::Unattested(why),
            })
        }
    }

    /// Ends what goes on beside the exchanges; for when none is left.
    pub fn close(&self) {
        self.connections.close();
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

fn classify(error: hyper::Error) -> ForwardError {
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
