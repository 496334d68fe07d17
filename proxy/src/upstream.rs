//! Connections to the upstream: HTTP/1.1 ones in a pool, each driven by the exchange that uses it, and for HTTP/2 a few that
//! all share.

mod again;
pub(crate) mod attested;
mod body;
mod gate;
mod h1;
mod h2;
mod hearing;
mod load;
mod pool;
mod progress;
pub mod signed;

pub use body::UpstreamBody;
pub(crate) use h1::is_ambiguous;
pub use progress::Sending;

use crate::forward::chain;
use crate::request_body::RequestBody;
use attested::{Demand, Identity};
use colophon_listen::{KEEPALIVE_AFTER, KEEPALIVE_EVERY, KEEPALIVE_TIMES};
use h1::{Connection, Waiting};
use h2::{Live, Shared};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri};
use hyper::client::conn::TrySendError;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::{Connection as _, HttpConnector};
use hyper_util::rt::TokioIo;
use pool::Pool;
use rustls::ClientConfig;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

type Io = MaybeHttpsStream<TokioIo<TcpStream>>;
type Connector = HttpsConnector<HttpConnector>;

/// How often a request is sent once more because the server promises that it did nothing with it.
const RESENDS: usize = 2;

/// How to connect.
pub(crate) struct Settings {
    pub(crate) scheme: Scheme,
    pub(crate) authority: Authority,
    pub(crate) tls: ClientConfig,
    /// HTTP/2 without being asked.
    pub(crate) known_h2: bool,
    pub(crate) connect_timeout: Duration,
    pub(crate) header_timeout: Duration,
    /// What the server has to prove on each connection.
    pub(crate) demand: Option<Arc<Demand>>,
}

/// All connections to one server.
pub(crate) struct Connections {
    connector: Connector,
    /// For requests that ask for another protocol: HTTP/1.1 only, since HTTP/2 has no such wish.
    upgrading: Connector,
    pool: Arc<Pool>,
    shared: Arc<Shared>,
    /// What the server spoke last.
    speaks_h2: AtomicBool,
    settings: Settings,
    server: Uri,
}

/// Why there is no answer.
pub(crate) enum NoAnswer {
    /// No connection, and why.
    Connect(String),
    /// The connection broke, or what came was not HTTP.
    Broken(hyper::Error),
    /// No head in time.
    Timeout,
    /// The client did not send the rest of its request in time.
    Slow,
    /// The server has not proved itself, and why: nothing else was sent.
    Unattested(String),
}

impl std::fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NoAnswer::Connect(why) => write!(f, "no connection: {why}"),
            NoAnswer::Broken(error) => write!(f, "the connection broke: {}", chain(error)),
            NoAnswer::Timeout => f.write_str("it took too long"),
            NoAnswer::Slow => f.write_str("the rest of the request did not come"),
            NoAnswer::Unattested(why) => f.write_str(why),
        }
    }
}

/// The same, where the request may have been kept.
enum Unanswered {
    /// Nothing of the request has left: another connection may take it.
    Unsent(Box<Request<RequestBody>>, hyper::Error),
    /// The server did nothing with it, and all of it is here.
    Undone(Box<Request<RequestBody>>, hyper::Error),
    Failed(hyper::Error),
    Timeout,
    Slow,
}

impl From<TrySendError<Request<RequestBody>>> for Unanswered {
    fn from(mut error: TrySendError<Request<RequestBody>>) -> Unanswered {
        match error.take_message() {
            Some(request) => Unanswered::Unsent(Box::new(request), error.into_error()),
            None => Unanswered::Failed(error.into_error()),
        }
    }
}

impl From<Unanswered> for NoAnswer {
    fn from(error: Unanswered) -> NoAnswer {
        match error {
            Unanswered::Unsent(_, error) | Unanswered::Undone(_, error) | Unanswered::Failed(error) => {
                NoAnswer::Broken(error)
            }
            Unanswered::Timeout => NoAnswer::Timeout,
            Unanswered::Slow => NoAnswer::Slow,
        }
    }
}

/// A request on its way, until the head of its answer. Small: it lies in the future of every exchange.
pub(crate) struct Requested<'a> {
    connections: &'a Connections,
    way: Way<'a>,
    now: Instant,
    deadline: Instant,
}

enum Way<'a> {
    /// Over a connection that was idle.
    Own(Waiting),
    Other(Pin<Box<dyn Future<Output = Result<Response<UpstreamBody>, NoAnswer>> + Send + 'a>>),
}

impl Future for Requested<'_> {
    type Output = Result<Response<UpstreamBody>, NoAnswer>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Requested { connections, way, now, deadline } = self.get_mut();
        if let Way::Own(waiting) = way {
            match ready!(Pin::new(waiting).poll(cx)) {
                Err(Unanswered::Unsent(request, _)) => {
                    *way = Way::Other(Box::pin(connections.by(None, *request, *now, *deadline)));
                }
                answered => return Poll::Ready(answered.map_err(NoAnswer::from)),
            }
        }
        match way {
            Way::Other(other) => other.as_mut().poll(cx),
            Way::Own(_) => Poll::Pending,
        }
    }
}

fn is_upgrading(request: &Request<RequestBody>) -> bool {
    request.headers().contains_key(http::header::UPGRADE)
}

/// A way to send one request.
enum Link {
    Own(Box<Connection>),
    Shared(Live),
}

/// A connection that is there for the next request.
pub(crate) struct Reserved(Link);

impl Connections {
    /// Nothing is connected yet.
    pub(crate) fn new(settings: Settings, tasks: TaskTracker) -> anyhow::Result<Connections> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_keepalive(Some(KEEPALIVE_AFTER));
        http.set_keepalive_interval(Some(KEEPALIVE_EVERY));
        http.set_keepalive_retries(Some(KEEPALIVE_TIMES));
        http.set_connect_timeout(Some(settings.connect_timeout));
        let builder = || HttpsConnectorBuilder::new().with_tls_config(settings.tls.clone()).https_or_http();
        let server = Uri::builder()
            .scheme(settings.scheme.clone())
            .authority(settings.authority.clone())
            .path_and_query("/")
            .build()?;
        Ok(Connections {
            connector: builder().enable_all_versions().wrap_connector(http.clone()),
            upgrading: builder().enable_http1().wrap_connector(http),
            pool: Pool::new(settings.header_timeout, tasks.clone(), settings.demand.clone()),
            shared: Arc::new(Shared::new(settings.header_timeout, tasks)),
            speaks_h2: AtomicBool::new(settings.known_h2),
            server,
            settings,
        })
    }

    /// Sends a request, whose target is path and query, and waits for the head of its answer. A request of which nothing
    /// was sent because its connection had been closed meanwhile goes to another one.
    pub(crate) fn request(&self, request: Request<RequestBody>, now: Instant) -> Requested<'_> {
        let deadline = now + self.settings.header_timeout;
        let idle = self.idle(is_upgrading(&request), now);
        self.request_by(idle, request, now, deadline)
    }

    /// A connection for a request, before there is one: of a server that has to prove itself, one on which it has.
    pub(crate) async fn reserve(&self, upgrading: bool, now: Instant) -> Result<Reserved, NoAnswer> {
        if let Some(link) = self.idle(upgrading, now) {
            return Ok(Reserved(link));
        }
        Ok(Reserved(self.connected(upgrading, now + self.settings.header_timeout).await?.0))
    }

    /// Sends a request on a connection that was reserved for it.
    pub(crate) fn request_on(
        &self,
        Reserved(link): Reserved,
        request: Request<RequestBody>,
        now: Instant,
    ) -> Requested<'_> {
        self.request_by(Some(link), request, now, now + self.settings.header_timeout)
    }

    fn request_by(
        &self,
        link: Option<Link>,
        request: Request<RequestBody>,
        now: Instant,
        deadline: Instant,
    ) -> Requested<'_> {
        let way = match link {
            Some(Link::Own(connection)) => Way::Own(connection.send(request, deadline, &self.pool)),
            other => Way::Other(Box::pin(self.by(other, request, now, deadline))),
        };
        Requested { connections: self, way, now, deadline }
    }

    /// The same, beginning with `link`. Rare beside the rest, so it takes no room in every exchange.
    async fn by(
        &self,
        mut link: Option<Link>,
        mut request: Request<RequestBody>,
        now: Instant,
        deadline: Instant,
    ) -> Result<Response<UpstreamBody>, NoAnswer> {
        let mut resends = 0;
        loop {
            let upgrading = is_upgrading(&request);
            let (link, reused) = match link.take().or_else(|| self.idle(upgrading, now)) {
                Some(link) => (link, true),
                // In a box: what waits for the answer afterwards would keep room for it.
                None => Box::pin(self.connected(upgrading, deadline)).await?,
            };
            let sent = match link {
                Link::Own(connection) => connection.send(request, deadline, &self.pool).await,
                Link::Shared(live) => {
                    *request.uri_mut() = self.absolute(request.uri());
                    // HTTP/2 has no such header, and hyper would remove what it names as well: `TE: trailers`.
                    request.headers_mut().remove(http::header::CONNECTION);
                    self.shared.send(live, request, deadline).await
                }
            };
            request = match sent {
                Ok(response) => return Ok(response),
                Err(Unanswered::Unsent(request, _)) if reused => *request,
                Err(Unanswered::Undone(request, _)) if resends < RESENDS => {
                    resends += 1;
                    *request
                }
                Err(error) => return Err(error.into()),
            };
        }
    }

    /// A connection that is there and was used before.
    fn idle(&self, upgrading: bool, now: Instant) -> Option<Link> {
        if !upgrading && self.speaks_h2.load(Ordering::Relaxed) {
            return self.shared.live().map(Link::Shared);
        }
        self.pool.take(now).map(Link::Own)
    }

    /// A new connection, or a place on a shared one: that somebody else has made meanwhile, or whose streams have to be waited
    /// for because there can be no other. Says whether it was used before.
    async fn connected(&self, upgrading: bool, deadline: Instant) -> Result<(Link, bool), NoAnswer> {
        let connected = async {
            if upgrading || !self.speaks_h2.load(Ordering::Relaxed) {
                return Ok((self.connect(upgrading).await?, false));
            }
            let _one = self.shared.connecting.lock().await;
            if let Some(live) = self.shared.live() {
                return Ok((Link::Shared(live), true));
            }
            if !self.shared.may_grow()
                && let Some(live) = self.shared.crowded()
            {
                return Ok((Link::Shared(live), true));
            }
            match self.connect(false).await {
                Ok(link) => Ok((link, false)),
                Err(why) => {
                    self.shared.failed();
                    Ok((Link::Shared(self.shared.crowded().ok_or(why)?), true))
                }
            }
        };
        tokio::time::timeout_at(deadline, connected).await.unwrap_or(Err(NoAnswer::Timeout))
    }

    async fn connect(&self, upgrading: bool) -> Result<Link, NoAnswer> {
        let connector = if upgrading { &self.upgrading } else { &self.connector };
        let io = connector.clone().oneshot(self.server.clone());
        let io = self.in_time(io).await?.map_err(|error| NoAnswer::Connect(chain(&*error)))?;
        let http2 = !upgrading && (self.settings.known_h2 || io.connected().is_negotiated_h2());
        if !upgrading {
            self.speaks_h2.store(http2, Ordering::Relaxed);
        }
        let proving = match &self.settings.demand {
            Some(demand) => Some((demand, Identity::of(&io).map_err(NoAnswer::Unattested)?)),
            None => None,
        };
        if http2 {
            let opened = self.in_time(Box::pin(self.shared.open(io))).await?;
            let mut held = opened.map_err(NoAnswer::Broken)?;
            if let Some((demand, identity)) = proving {
                held.proven = Some(demand.prove_h2(&mut held.sender, identity, false).await?);
            }
            return Ok(Link::Shared(self.shared.keep(held, self.settings.demand.as_ref())));
        }
        let connection = Connection::new(io, self.pool.look()).await.map_err(NoAnswer::Broken)?;
        Ok(Link::Own(match proving {
            Some((demand, identity)) => demand.prove_h1(connection, identity, &self.pool).await?,
            None => connection,
        }))
    }

    /// A step to a connection: the names' addresses and TCP, and TLS, which hangs where a server accepts and says nothing.
    async fn in_time<T>(&self, step: impl Future<Output = T>) -> Result<T, NoAnswer> {
        let limit = self.settings.connect_timeout;
        let done = tokio::time::timeout(limit, step).await;
        done.map_err(|_| {
            NoAnswer::Connect(format!("it is not there after {limit:?} (--upstream-connect-timeout)"))
        })
    }

    /// The target as HTTP/2 has it.
    fn absolute(&self, target: &Uri) -> Uri {
        let mut parts = self.server.clone().into_parts();
        parts.path_and_query =
            Some(target.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/")));
        // Scheme, authority and path are all there.
        Uri::from_parts(parts).unwrap_or_else(|_| target.clone())
    }

    /// Ends all connections; for when no exchange is left.
    pub(crate) fn close(&self) {
        self.pool.close();
        self.shared.close();
    }
}
