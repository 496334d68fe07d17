//! The one HTTP/2 connection that all exchanges share, with a task of its own.

use super::body::UpstreamBody;
use super::{Io, Unanswered};
use crate::accept::Tracked;
use crate::request_body::RequestBody;
use http::{Request, Response};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::TokioTimer;
use std::sync::{Mutex, PoisonError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The connection in force, if there is one.
pub(super) struct Shared {
    sender: Mutex<Option<SendRequest<RequestBody>>>,
    /// Held by whoever connects: the others wait for the same connection.
    pub(super) connecting: tokio::sync::Mutex<()>,
    tasks: TaskTracker,
    closed: CancellationToken,
}

impl Shared {
    pub(super) fn new(tasks: TaskTracker) -> Shared {
        Shared {
            sender: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
            tasks,
            closed: CancellationToken::new(),
        }
    }

    /// The connection, if it takes requests.
    pub(super) fn live(&self) -> Option<SendRequest<RequestBody>> {
        let mut sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        if sender.as_ref().is_some_and(SendRequest::is_closed) {
            *sender = None;
        }
        sender.clone()
    }

    /// Takes a new connection up, unless there is one by now.
    pub(super) async fn adopt(&self, io: Io) -> hyper::Result<SendRequest<RequestBody>> {
        if let Some(live) = self.live() {
            return Ok(live);
        }
        let (mut sender, driver) = http2::Builder::new(Tracked(self.tasks.clone()))
            .timer(TokioTimer::new())
            .adaptive_window(true)
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
        *self.sender.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender.clone());
        Ok(sender)
    }

    /// Sends a request as one stream of it.
    pub(super) async fn send(
        &self,
        mut sender: SendRequest<RequestBody>,
        request: Request<RequestBody>,
        deadline: Instant,
    ) -> Result<Response<UpstreamBody>, Unanswered> {
        match tokio::time::timeout_at(deadline, sender.try_send_request(request)).await {
            Err(_) => Err(Unanswered::Timeout),
            Ok(Ok(response)) => Ok(response.map(UpstreamBody::apart)),
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
        *self.sender.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Drops the connection.
    pub(super) fn close(&self) {
        self.closed.cancel();
        self.forget();
    }
}
