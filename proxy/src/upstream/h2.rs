//! The one HTTP/2 connection that all exchanges share, with a task of its own.

use super::attested::{Demand, Proven};
use super::body::UpstreamBody;
use super::{Io, Unanswered};
use crate::accept::Tracked;
use crate::request_body::RequestBody;
use http::{Request, Response};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::TokioTimer;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A connection on which something is under way is asked for life after this long a silence, and given up after as long again
/// without an answer: nothing else tells a peer that is gone from a model that thinks.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Longest head of an answer, in the bytes that HPACK stands for: as much as hyper takes over HTTP/1.1.
const MAX_HEAD: u32 = 8192 + 4096 * 100;

/// Sends requests on the connection.
pub(super) type Sender = SendRequest<RequestBody>;

/// A connection, and what the server has proved on it, where it has to.
#[derive(Clone)]
pub(super) struct Live {
    pub(super) sender: Sender,
    pub(super) proven: Option<Proven>,
}

/// The connection in force, if there is one.
pub(super) struct Shared {
    live: Mutex<Option<Live>>,
    /// Held by whoever connects: the others wait for the same connection.
    pub(super) connecting: tokio::sync::Mutex<()>,
    tasks: TaskTracker,
    closed: CancellationToken,
    /// Ends what renews evidence, with this at the latest.
    over: Over,
}

/// Fires when it is dropped.
struct Over(CancellationToken);

impl Over {
    fn token(&self) -> &CancellationToken {
        &self.0
    }
}

impl Drop for Over {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Live {
    /// Whether it is the connection on which this was proved.
    fn is_of(&self, proven: &Proven) -> bool {
        self.proven.as_ref().is_some_and(|held| Arc::ptr_eq(&held.session, &proven.session))
    }
}

impl Shared {
    pub(super) fn new(tasks: TaskTracker) -> Shared {
        Shared {
            live: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
            tasks,
            closed: CancellationToken::new(),
            over: Over(CancellationToken::new()),
        }
    }

    /// The connection, if it takes requests.
    pub(super) fn live(&self) -> Option<Live> {
        let mut live = self.lock();
        let over = |live: &Live| {
            let expired = |proven: &Proven| !proven.session.is_good(Instant::now());
            live.sender.is_closed() || live.proven.as_ref().is_some_and(expired)
        };
        if live.as_ref().is_some_and(over) {
            *live = None;
        }
        live.clone()
    }

    /// Takes a new connection up, which is nobody else's before it is kept.
    pub(super) async fn open(&self, io: Io) -> hyper::Result<Sender> {
        let (mut sender, driver) = http2::Builder::new(Tracked(self.tasks.clone()))
            .timer(TokioTimer::new())
            .adaptive_window(true)
            .keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .max_header_list_size(MAX_HEAD)
            .handshake(io)
            .await?;
        let closed = self.closed.clone();
        drop(self.tasks.spawn(async move {
            tokio::select! {
                ended = driver => if let Err(error) = ended {
                    tracing::debug!(%error, "the upstream's HTTP/2 connection ended");
                },
                () = closed.cancelled() => {}
            }
        }));
        sender.ready().await?;
        Ok(sender)
    }

    /// Makes it the connection in force, unless there is one by now: then that.
    pub(super) fn keep(&self, new: Live) -> Live {
        self.live().unwrap_or_else(|| {
            *self.lock() = Some(new.clone());
            new
        })
    }

    /// Has the server prove itself again before what it proved counts no longer, as long as the connection is in force.
    pub(super) fn renewal(
        self: &Arc<Shared>,
        demand: Arc<Demand>,
        live: Live,
    ) -> impl Future<Output = ()> + Send + use<> {
        renew(Arc::downgrade(self), self.over.token().clone(), demand, live)
    }

    fn is_in_force(&self, proven: &Proven) -> bool {
        self.lock().as_ref().is_some_and(|held| held.is_of(proven))
    }

    fn replace(&self, old: &Proven, new: Option<Proven>) -> bool {
        let mut held = self.lock();
        let Some(held) = held.as_mut().filter(|held| held.is_of(old)) else { return false };
        held.proven = new;
        true
    }

    fn lock(&self) -> MutexGuard<'_, Option<Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a request as one stream of it.
    pub(super) async fn send(
        &self,
        Live { mut sender, proven }: Live,
        request: Request<RequestBody>,
        deadline: Instant,
    ) -> Result<Response<UpstreamBody>, Unanswered> {
        match tokio::time::timeout_at(deadline, sender.try_send_request(request)).await {
            Err(_) => Err(Unanswered::Timeout),
            Ok(Ok(mut response)) => {
                if let Some(proven) = proven {
                    response.extensions_mut().insert(proven.session);
                }
                Ok(response.map(UpstreamBody::apart))
            }
            Ok(Err(error)) => {
                let error = Unanswered::from(error);
                if matches!(error, Unanswered::Unsent(..)) {
                    // It takes no more, and may not know yet.
                    self.forget();
                }
                Err(error)
            }
        }
    }

    /// Uses the connection no more.
    pub(super) fn forget(&self) {
        *self.lock() = None;
    }

    /// Drops the connection.
    pub(super) fn close(&self) {
        self.closed.cancel();
        self.over.token().cancel();
        self.forget();
    }
}

/// Lasts no longer than the connections that it is of, and keeps none of them.
async fn renew(shared: Weak<Shared>, over: CancellationToken, demand: Arc<Demand>, mut live: Live) {
    while let Some(proven) = live.proven.clone() {
        let waited = over.run_until_cancelled(sleep_until(proven.session.renew_at())).await;
        let in_force = shared.upgrade().is_some_and(|shared| shared.is_in_force(&proven));
        if waited.is_none() || !in_force || live.sender.is_closed() {
            return;
        }
        match over.run_until_cancelled(demand.prove_h2(&mut live.sender, proven.identity.clone(), true)).await
        {
            Some(Ok(renewed)) => live.proven = Some(renewed),
            Some(Err(why)) => {
                tracing::warn!(upstream = &*demand.name, %why, "its evidence was not renewed");
                return;
            }
            None => return,
        }
        if !shared.upgrade().is_some_and(|shared| shared.replace(&proven, live.proven.clone())) {
            return;
        }
    }
}
