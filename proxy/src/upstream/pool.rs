//! Idle HTTP/1.1 connections, the newest on top. A connection is either here, in the hands of one exchange, or driven by
//! a task because it has something to end.

use super::attested::{Demand, Identity};
use super::h1::Connection;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Idle upstream connections are dropped after this: uvicorn and llama.cpp close theirs at 5 s, and a request that
/// meets the close is lost.
const IDLE: Duration = Duration::from_secs(4);

/// Connections look at least this often whether an answer is overdue.
const LOOK: Duration = Duration::from_secs(60);

/// How often idle connections are looked through.
const LOOK_THROUGH: Duration = Duration::from_millis(500);

pub(super) struct Pool {
    parked: Mutex<Parked>,
    /// How often connections look whether an answer is overdue.
    look: Duration,
    /// Longest wait for an answer's head.
    patience: Duration,
    tasks: TaskTracker,
    /// Fires when no exchange is left.
    closed: CancellationToken,
    /// What the server has to prove, where it has to.
    demand: Option<Arc<Demand>>,
}

#[derive(Default)]
struct Parked {
    /// The one idle for the longest is the first.
    connections: Vec<(Box<Connection>, Instant)>,
    /// A task looks through them.
    watched: bool,
    closed: bool,
}

impl Pool {
    /// `patience` is the longest wait for an answer's head.
    pub(super) fn new(patience: Duration, tasks: TaskTracker, demand: Option<Arc<Demand>>) -> Arc<Pool> {
        let (look, closed) = (LOOK.min(patience), CancellationToken::new());
        Arc::new(Pool { parked: Mutex::default(), look, patience, tasks, closed, demand })
    }

    /// One for a single connection that is not to be used by others yet.
    pub(super) fn apart(&self) -> Arc<Pool> {
        Pool::new(self.patience, self.tasks.clone(), None)
    }

    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    pub(super) fn look(&self) -> Duration {
        self.look
    }

    /// The connection that was used last, if one is idle.
    pub(super) fn take(&self, now: Instant) -> Option<Box<Connection>> {
        loop {
            let (connection, since) = self.lock().connections.pop()?;
            // What is older goes when they are looked through.
            if now.saturating_duration_since(since) >= IDLE {
                return None;
            }
            if connection.proven.as_ref().is_none_or(|proven| proven.session.is_good(now)) {
                return Some(connection);
            }
        }
    }

    /// Takes an idle connection in.
    pub(super) fn put(self: &Arc<Pool>, connection: Box<Connection>) {
        if !connection.is_clean() {
            return;
        }
        connection.rest();
        if let (Some(demand), Some(proven)) = (&self.demand, &connection.proven)
            && proven.session.renew_at() <= Instant::now()
        {
            let (demand, identity, pool) = (demand.clone(), proven.identity.clone(), self.clone());
            drop(self.tasks.spawn(async move { pool.renew(&demand, connection, identity).await }));
            return;
        }
        let mut parked = self.lock();
        if parked.closed {
            return;
        }
        parked.connections.push((connection, Instant::now()));
        if !std::mem::replace(&mut parked.watched, true) {
            drop(self.tasks.spawn(self.clone().watch()));
        }
    }

    /// Has the server prove itself again on a connection, which is of use to others afterwards only.
    async fn renew(self: Arc<Pool>, demand: &Arc<Demand>, connection: Box<Connection>, identity: Identity) {
        let proved = tokio::select! {
            proved = demand.prove_h1(connection, identity, &self) => proved,
            () = self.closed.cancelled() => return,
        };
        match proved {
            Ok(connection) => self.put(connection),
            Err(why) => tracing::warn!(upstream = &*demand.name, %why, "its evidence was not renewed"),
        }
    }

    /// Drives a connection on until it is idle again, or has ended.
    pub(super) fn drive(self: &Arc<Pool>, mut connection: Box<Connection>) {
        let pool = self.clone();
        drop(self.tasks.spawn(async move {
            let idle = tokio::select! {
                idle = std::future::poll_fn(|cx| connection.poll_idle(cx)) => idle,
                () = pool.closed.cancelled() => false,
            };
            if idle {
                pool.put(connection);
            }
        }));
    }

    /// Drops connections that were idle for too long, as long as there are any.
    async fn watch(self: Arc<Pool>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_THROUGH) => {}
                () = self.closed.cancelled() => return,
            }
            let (old, watched) = self.lock().look_through(Instant::now());
            drop(old);
            if !watched {
                return;
            }
        }
    }

    /// Drops all connections, and takes none any more.
    pub(super) fn close(&self) {
        self.closed.cancel();
        let connections = {
            let mut parked = self.lock();
            parked.closed = true;
            std::mem::take(&mut parked.connections)
        };
        drop(connections);
    }

    fn lock(&self) -> MutexGuard<'_, Parked> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Parked {
    /// Those that were idle for too long, and whether others are left.
    fn look_through(&mut self, now: Instant) -> (Vec<(Box<Connection>, Instant)>, bool) {
        let old = |since: &Instant| now.saturating_duration_since(*since) >= IDLE;
        let count = self.connections.partition_point(|(_, since)| old(since));
        let old = self.connections.drain(..count).collect();
        self.watched = !self.connections.is_empty();
        (old, self.watched)
    }
}
