//! One HTTP/1.1 connection, driven by the task of the exchange that uses it: no task of its own, no channel between two.

use super::attested::Proven;
use super::body::UpstreamBody;
use super::gate::Gate;
use super::hearing::Hearing;
use super::pool::Pool;
use super::progress::Progress;
use super::{Io, Unanswered};
use crate::request_body::RequestBody;
use http::header::{self, HeaderMap};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// hyper does not name the type.
type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// The two ends of a connection that hyper gives: who asks, and who reads and writes.
pub(super) struct Connection {
    sender: SendRequest<RequestBody>,
    /// Gone once the connection has ended.
    driver: Option<Driver>,
    gate: Arc<Gate>,
    /// The gate as hyper is told it.
    waker: Waker,
    /// How far hyper is with a request's body.
    sending: Arc<Progress>,
    /// Rings at the latest when it is time to look whether an answer is overdue; it is moved only then.
    alarm: Pin<Box<Sleep>>,
    /// Its framing cannot be trusted: it serves no second exchange.
    poisoned: bool,
    /// What the server has proved on it, where it has to.
    pub(super) proven: Option<Proven>,
}

impl Connection {
    /// Takes a connection up. Nothing is sent yet. Its alarm rings every `look` or sooner; no wait is shorter.
    pub(super) async fn new(io: Io, look: Duration) -> hyper::Result<Box<Connection>> {
        let (sender, driver) = http1::handshake(Hearing::new(io)).await?;
        let gate = Gate::new();
        Ok(Box::new(Connection {
            sender,
            driver: Some(Box::pin(driver.with_upgrades())),
            waker: gate.clone().into(),
            gate,
            sending: Arc::default(),
            alarm: Box::pin(tokio::time::sleep(look)),
            poisoned: false,
            proven: None,
        }))
    }

    /// Sends a request; the answer's head is to come until `deadline`. A connection that turns out to be closed gives the
    /// request back: it is read before anything is written.
    pub(super) fn send(
        mut self: Box<Self>,
        mut request: Request<RequestBody>,
        deadline: Instant,
        pool: &Arc<Pool>,
    ) -> Waiting {
        // A new connection's is set for later than a deadline that counts from before it was made.
        if deadline < self.alarm.deadline() {
            self.alarm.as_mut().reset(deadline);
        }
        request.body_mut().sending(Progress::begin(&self.sending, deadline, pool.patience()));
        let answer = Box::pin(self.sender.try_send_request(request));
        Waiting { connection: Some(self), answer, deadline, pool: pool.clone() }
    }

    /// The head is there. From now on whoever polls the body drives the connection, if reading it is all that is left to
    /// be done.
    fn answered(
        mut self: Box<Self>,
        mut response: Response<Incoming>,
        pool: &Arc<Pool>,
    ) -> Response<UpstreamBody> {
        if let Some(proven) = &self.proven {
            response.extensions_mut().insert(proven.session.clone());
        }
        self.poisoned |= is_ambiguous(response.headers());
        let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        // A request that goes on must neither stand still when the client stops reading nor end with the answer.
        if switches || self.sending.is_left() {
            pool.drive(self);
            response.map(UpstreamBody::apart)
        } else {
            response.map(|incoming| UpstreamBody::driving(incoming, self, pool.clone()))
        }
    }

    /// Reads and writes until `arrived` says that what is wanted is there, or until nothing more can be done. It gets a
    /// context that wakes nobody.
    pub(super) fn drive(
        &mut self,
        cx: &mut Context<'_>,
        mut arrived: impl FnMut(&mut Context<'_>) -> bool,
    ) -> Poll<()> {
        let mut quiet = Context::from_waker(Waker::noop());
        self.gate.enter(cx);
        let mut there = arrived(&mut quiet);
        if !there && self.step() {
            there = arrived(&mut quiet);
        }
        self.gate.leave(cx, if there { Poll::Ready(()) } else { Poll::Pending })
    }

    /// Polls the connection, if something woke it; whether it did.
    fn step(&mut self) -> bool {
        // Asked in any case: what is left unanswered wakes the task again.
        let woken = self.gate.was_woken();
        let Some(driver) = self.driver.as_mut().filter(|_| woken) else { return false };
        // A panic in it (hyper's debug builds assert more than they have to) ends this connection, as it would end a task of
        // its own, and not the exchange, whose answer may be there.
        let poll = || driver.as_mut().poll(&mut Context::from_waker(&self.waker));
        let polled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(poll));
        // Its error is told to whoever waits for the answer or its body.
        if polled.map_or(true, |polled| polled.is_ready()) {
            // A request that was not sent comes back with this.
            self.driver = None;
        }
        true
    }

    fn is_overdue(&mut self, cx: &mut Context<'_>, deadline: Instant, look: Duration) -> bool {
        while self.alarm.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            if deadline <= now {
                return true;
            }
            self.alarm.as_mut().reset(deadline.min(now + look));
        }
        false
    }

    /// Drives the connection until it can take another request; false if it has ended before.
    pub(super) fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        self.gate.enter(cx);
        self.step();
        let polled = match (&self.driver, self.sender.is_ready()) {
            (None, _) => Poll::Ready(false),
            (Some(_), true) => Poll::Ready(true),
            (Some(_), false) => Poll::Pending,
        };
        self.gate.leave(cx, polled)
    }

    /// Whether it can take another request now.
    pub(super) fn is_idle(&self) -> bool {
        self.driver.is_some() && self.sender.is_ready()
    }

    /// Whether it may serve another exchange.
    pub(super) fn is_clean(&self) -> bool {
        !self.poisoned
    }

    /// Nobody waits for it any more.
    pub(super) fn rest(&self) {
        self.gate.forget();
    }
}

/// The answer that a connection waits for. Polled by one task, which drives the connection with it; dropped, it takes the
/// connection along.
pub(super) struct Waiting {
    /// Absent once it is over.
    connection: Option<Box<Connection>>,
    answer: Pin<Box<Answering>>,
    /// For a server that got the whole request at once.
    deadline: Instant,
    pool: Arc<Pool>,
}

type Answering = dyn Future<Output = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>> + Send;

impl Future for Waiting {
    type Output = Result<Response<UpstreamBody>, Unanswered>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Waiting { connection: held, answer, deadline, pool } = self.get_mut();
        let Some(connection) = held else { return Poll::Pending };
        let mut answered = None;
        let arrived = |quiet: &mut Context<'_>| {
            // Polled after each time that the connection was, which is all that makes it ready: so it needs no waker,
            // and the runtime's budget must not hold it back.
            let mut answer = std::pin::pin!(tokio::task::unconstrained(answer.as_mut()));
            match answer.as_mut().poll(quiet) {
                Poll::Ready(there) => answered = Some(there),
                Poll::Pending => {}
            }
            answered.is_some()
        };
        let pending = connection.drive(cx, arrived).is_pending();
        // A server cannot answer what it has not got: its time begins again with each piece of the request.
        let due = *deadline + connection.sending.more(pool.patience());
        if pending && !connection.is_overdue(cx, due, pool.look()) {
            return Poll::Pending;
        }
        Poll::Ready(match (answered, held.take()) {
            (Some(Ok(response)), Some(connection)) => Ok(connection.answered(response, pool)),
            (Some(Err(error)), _) => Err(error.into()),
            (_, Some(connection)) if connection.sending.is_clients() => Err(Unanswered::Slow),
            (_, _) => Err(Unanswered::Timeout),
        })
    }
}

/// Whether a message says its length in two ways (RFC 9112 section 6.3).
pub(crate) fn is_ambiguous(headers: &HeaderMap) -> bool {
    headers.contains_key(header::TRANSFER_ENCODING) && headers.contains_key(header::CONTENT_LENGTH)
}
