//! The HTTP/2 connections that all exchanges share, each with a task of its own. One carries as many streams as its server
//! allows; where all carry that many, another one is made.

use super::again::{Again, Undone};
use super::attested::{Demand, Proven};
use super::body::UpstreamBody;
use super::load::{Load, Place};
use super::progress::Progress;
use super::{Io, Unanswered};
use crate::accept::Tracked;
use crate::request_body::RequestBody;
use http::{Request, Response};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::TokioTimer;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections to one server at most. Servers that limit streams mostly allow 100 or more on each: beyond 16 times that the
/// model is the limit, and requests wait for their turn on one of them.
const MOST_CONNECTIONS: usize = 16;

/// A connection beside the first one that has carried nothing for this long is let go: the first ones are filled first.
const IDLE: Duration = Duration::from_secs(30);

/// Streams on a connection whose server has not said yet how many it allows. About what RFC 9113 section 6.5.2 recommends, and not a
/// number that a server would say.
const UNTOLD_STREAMS: usize = 97;

/// Longest wait until it says that, as it has to before anything else: what is given out sooner may have to wait there for others'
/// streams, with another connection to be had.
const TOLD_WITHIN: Duration = Duration::from_secs(1);

/// How often it is looked whether it has: hyper tells nobody.
const LOOK: Duration = Duration::from_millis(1);

/// A connection on which something is under way is asked for life after this long a silence, and given up after as long again
/// without an answer: nothing else tells a peer that is gone from a model that thinks.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Longest head of an answer, in the bytes that HPACK stands for: as much as hyper takes over HTTP/1.1.
const MAX_HEAD: u32 = 8192 + 4096 * 100;

/// Where a server lets nobody connect though it serves, requests are not kept from the connections that are there by the next try
/// before this has passed.
const TRY_EVERY: Duration = Duration::from_secs(5);

/// Sends requests on the connection.
pub(super) type Sender = SendRequest<RequestBody>;

/// A connection, and what the server has proved on it, where it has to.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) sender: Sender,
    pub(super) proven: Option<Proven>,
    load: Arc<Load>,
}

/// A place on one for one request.
pub(super) struct Live {
    sender: Sender,
    proven: Option<Proven>,
    place: Place,
    /// Whether the server allows no more streams on it, so that the request has to wait there.
    crowded: bool,
}

/// The connections in force.
pub(super) struct Shared {
    patience: Duration,
    live: Mutex<Vec<Held>>,
    /// When connecting last failed.
    failed: Mutex<Option<Instant>>,
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

impl Held {
    /// Whether it is the connection on which this was proved.
    fn is_of(&self, proven: &Proven) -> bool {
        self.proven.as_ref().is_some_and(|held| Arc::ptr_eq(&held.session, &proven.session))
    }

    fn is_over(&self, now: Instant) -> bool {
        let expired = |proven: &Proven| !proven.session.is_good(now);
        self.sender.is_closed() || self.proven.as_ref().is_some_and(expired)
    }

    fn has_room(&self) -> bool {
        let most = self.load.most();
        // The next evidence has to find a place beside the longest of streams.
        let kept = usize::from(self.proven.is_some() && most > 1);
        self.load.open() < most - kept
    }

    fn place(&self) -> Live {
        let crowded = !self.has_room();
        let (sender, proven) = (self.sender.clone(), self.proven.clone());
        Live { sender, proven, place: self.load.take(), crowded }
    }
}

impl Shared {
    /// `patience` is the longest wait for an answer's head.
    pub(super) fn new(patience: Duration, tasks: TaskTracker) -> Shared {
        Shared {
            patience,
            live: Mutex::default(),
            failed: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
            tasks,
            closed: CancellationToken::new(),
            over: Over(CancellationToken::new()),
        }
    }

    /// A place on a connection that takes another stream now.
    pub(super) fn live(&self) -> Option<Live> {
        self.in_force().iter().find(|held| held.has_room()).map(Held::place)
    }

    /// A place where there is none, for a request that cannot have another connection.
    pub(super) fn crowded(&self) -> Option<Live> {
        let held = self.in_force();
        held.iter().min_by_key(|held| held.load.open()).map(Held::place)
    }

    /// Whether another connection may be made beside those that are there.
    pub(super) fn may_grow(&self) -> bool {
        let failed = *self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        self.lock().len() < MOST_CONNECTIONS && failed.is_none_or(|at| at.elapsed() >= TRY_EVERY)
    }

    /// Remembers that connecting failed.
    pub(super) fn failed(&self) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Takes a new connection up, which is nobody else's before it is kept.
    pub(super) async fn open(&self, io: Io) -> hyper::Result<Held> {
        let (mut sender, driver) = http2::Builder::new(Tracked(self.tasks.clone()))
            .timer(TokioTimer::new())
            .adaptive_window(true)
            .initial_max_send_streams(UNTOLD_STREAMS)
            .keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .max_header_list_size(MAX_HEAD)
            .handshake(io)
            .await?;
        let load = Load::of(driver);
        let (closed, driven) = (self.closed.clone(), load.clone());
        drop(self.tasks.spawn(async move {
            tokio::select! {
                ended = std::future::poll_fn(|cx| driven.poll(cx)) => if let Err(error) = ended {
                    tracing::debug!(%error, "the upstream's HTTP/2 connection ended");
                },
                () = closed.cancelled() => driven.stop(),
            }
        }));
        let told = async {
            while load.most() == UNTOLD_STREAMS && !sender.is_closed() {
                sleep(LOOK).await;
            }
        };
        let _ = timeout(TOLD_WITHIN, told).await;
        // One that was closed meanwhile is none.
        sender.ready().await?;
        Ok(Held { sender, proven: None, load })
    }

    /// Puts it in force and gives a place on it, unless another one has room by now, or there are too many: then one there.
    /// What was proved on it is proved again in time, if `demand` says to whom.
    pub(super) fn keep(self: &Arc<Shared>, new: Held, demand: Option<&Arc<Demand>>) -> Live {
        if let Some(live) = self.live() {
            return live;
        }
        if self.lock().len() >= MOST_CONNECTIONS
            && let Some(live) = self.crowded()
        {
            return live;
        }
        if let Some(demand) = demand {
            drop(self.tasks.spawn(self.renewal(demand.clone(), new.clone())));
        }
        let live = new.place();
        self.lock().push(new);
        live
    }

    /// Has the server prove itself again before what it proved counts no longer, as long as the connection is in force.
    fn renewal(
        self: &Arc<Shared>,
        demand: Arc<Demand>,
        held: Held,
    ) -> impl Future<Output = ()> + Send + use<> {
        renew(Arc::downgrade(self), self.over.token().clone(), demand, held)
    }

    fn is_in_force(&self, proven: &Proven) -> bool {
        self.in_force().iter().any(|held| held.is_of(proven))
    }

    fn replace(&self, old: &Proven, new: Option<Proven>) -> bool {
        let mut held = self.lock();
        let Some(held) = held.iter_mut().find(|held| held.is_of(old)) else { return false };
        held.proven = new;
        true
    }

    fn in_force(&self) -> MutexGuard<'_, Vec<Held>> {
        let (mut held, now) = (self.lock(), Instant::now());
        let mut first = true;
        held.retain(|held| {
            let stays = !held.is_over(now) && (first || !held.load.lay_idle(IDLE, now));
            first &= !stays;
            stays
        });
        held
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Held>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a request as one stream of the connection.
    pub(super) async fn send(
        &self,
        Live { mut sender, proven, place, crowded }: Live,
        mut request: Request<RequestBody>,
        deadline: Instant,
    ) -> Result<Response<UpstreamBody>, Unanswered> {
        let progress = Arc::<Progress>::default();
        request.body_mut().sending(Progress::begin(&progress, deadline, self.patience));
        let (request, again) = Again::of(request);
        let mut answer = pin!(sender.try_send_request(request));
        let answered = loop {
            let due = deadline + progress.more(self.patience);
            match timeout_at(due, answer.as_mut()).await {
                // Meanwhile more of the request was taken.
                Err(_) if deadline + progress.more(self.patience) > due => {}
                answered => break answered,
            }
        };
        let error = match answered {
            Ok(Ok(mut response)) => {
                if let Some(proven) = proven {
                    response.extensions_mut().insert(proven.session);
                }
                return Ok(response.map(|incoming| UpstreamBody::of_stream(incoming, place)));
            }
            Ok(Err(error)) => Unanswered::from(error),
            // The model may be slow, or the connection stuck: what runs on it goes on, what comes next takes another one. Where
            // it waited for others' streams, it has learnt nothing.
            Err(_) if progress.is_clients() => return Err(Unanswered::Slow),
            Err(_) => {
                if !crowded {
                    self.forget(&place);
                }
                return Err(Unanswered::Timeout);
            }
        };
        match error {
            Unanswered::Failed(error) => {
                let undone = Undone::of(&error);
                if let Some(Undone::GoneAway) = undone {
                    self.forget(&place);
                }
                match undone.and_then(|undone| again.request(undone)) {
                    Some(request) => Err(Unanswered::Undone(Box::new(request), error)),
                    None => Err(Unanswered::Failed(error)),
                }
            }
            unsent => {
                // It takes no more, and may not know yet.
                self.forget(&place);
                Err(unsent)
            }
        }
    }

    /// Gives out no more places on the connection.
    fn forget(&self, place: &Place) {
        self.lock().retain(|held| !place.is_of(&held.load));
    }

    /// Drops the connections.
    pub(super) fn close(&self) {
        self.closed.cancel();
        self.over.token().cancel();
        self.lock().clear();
    }
}

/// Lasts no longer than the connections that it is of, and keeps none of them.
async fn renew(shared: Weak<Shared>, over: CancellationToken, demand: Arc<Demand>, mut held: Held) {
    while let Some(proven) = held.proven.clone() {
        let waited = over.run_until_cancelled(sleep_until(proven.session.renew_at())).await;
        let in_force = shared.upgrade().is_some_and(|shared| shared.is_in_force(&proven));
        if waited.is_none() || !in_force || held.sender.is_closed() {
            return;
        }
        match over.run_until_cancelled(demand.prove_h2(&mut held.sender, proven.identity.clone(), true)).await
        {
            Some(Ok(renewed)) => held.proven = Some(renewed),
            Some(Err(why)) => {
                tracing::warn!(upstream = &*demand.name, %why, "its evidence was not renewed");
                return;
            }
            None => return,
        }
        if !shared.upgrade().is_some_and(|shared| shared.replace(&proven, held.proven.clone())) {
            return;
        }
    }
}
