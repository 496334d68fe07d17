//! An answer's body, which drives the connection that it comes from.

use super::h1::Connection;
use super::load::Place;
use super::pool::Pool;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// An answer's body. While it comes, whoever polls it drives the connection. Dropped before its end, it takes the
/// connection along, so that the upstream stops at once.
pub struct UpstreamBody {
    incoming: Incoming,
    /// Absent where the connection has a task of its own, and after the end.
    lease: Option<Lease>,
    /// As a stream of an HTTP/2 connection, until its end.
    place: Option<Place>,
    /// Why it broke off, until that is told.
    broken: Option<hyper::Error>,
}

/// A connection in use, and where it goes afterwards.
struct Lease {
    connection: Box<Connection>,
    pool: Arc<Pool>,
}

impl UpstreamBody {
    /// A body whose connection is driven elsewhere.
    pub(super) fn apart(incoming: Incoming) -> UpstreamBody {
        UpstreamBody { incoming, lease: None, place: None, broken: None }
    }

    /// A body that is one stream of an HTTP/2 connection.
    pub(super) fn of_stream(incoming: Incoming, place: Place) -> UpstreamBody {
        let place = Some(place).filter(|_| !incoming.is_end_stream());
        UpstreamBody { incoming, lease: None, place, broken: None }
    }

    /// A body that drives its connection.
    pub(super) fn driving(incoming: Incoming, connection: Box<Connection>, pool: Arc<Pool>) -> UpstreamBody {
        let lease = Some(Lease { connection, pool });
        let mut body = UpstreamBody { incoming, lease, place: None, broken: None };
        if body.incoming.is_end_stream() {
            body.give_back();
        }
        body
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let incoming = &mut self.incoming;
        let Some(Lease { connection, .. }) = &mut self.lease else {
            return Pin::new(incoming).poll_frame(cx);
        };
        let mut polled = Poll::Pending;
        let arrived = |quiet: &mut Context<'_>| {
            polled = Pin::new(&mut *incoming).poll_frame(quiet);
            polled.is_ready()
        };
        let _ = connection.drive(cx, arrived);
        polled
    }

    fn give_back(&mut self) {
        self.place = None;
        let Some(Lease { connection, pool }) = self.lease.take() else { return };
        match connection.is_idle() {
            true => pool.put(connection),
            // It closes, or has more to read than the answer.
            false => pool.drive(connection),
        }
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let body = self.get_mut();
        if let Some(error) = body.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        match ready!(body.poll(cx)) {
            Some(Err(error)) => {
                // hyper drops what it has not written yet when a body fails: what came before gets its turn first.
                (body.lease, body.place, body.broken) = (None, None, Some(error));
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            None => {
                body.give_back();
                Poll::Ready(None)
            }
            Some(Ok(frame)) => {
                if body.incoming.is_end_stream() {
                    body.give_back();
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.broken.is_none() && self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
