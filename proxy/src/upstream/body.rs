//! An answer's body, which drives the connection that it comes from.

use super::h1::Connection;
use super::pool::Pool;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// An answer's body. While it comes, whoever polls it drives the connection. Dropped before its end, it takes the
/// connection along, so that the upstream stops at once.
pub struct UpstreamBody {
    incoming: Incoming,
    /// Absent where the connection has a task of its own, and after the end.
    lease: Option<Lease>,
}

/// A connection in use, and where it goes afterwards.
struct Lease {
    connection: Box<Connection>,
    pool: Arc<Pool>,
}

impl UpstreamBody {
    /// A body whose connection is driven elsewhere.
    pub(super) fn apart(incoming: Incoming) -> UpstreamBody {
        UpstreamBody { incoming, lease: None }
    }

    /// A body that drives its connection.
    pub(super) fn driving(incoming: Incoming, connection: Box<Connection>, pool: Arc<Pool>) -> UpstreamBody {
        let mut body = UpstreamBody { incoming, lease: Some(Lease { connection, pool }) };
        if body.incoming.is_end_stream() {
            body.give_back();
        }
        body
    }

    fn give_back(&mut self) {
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
        let incoming = &mut body.incoming;
        let Some(Lease { connection, .. }) = &mut body.lease else {
            return Pin::new(incoming).poll_frame(cx);
        };
        let polled = connection.drive(cx, |quiet| Pin::new(&mut *incoming).poll_frame(quiet));
        match &polled {
            Poll::Pending => {}
            Poll::Ready(Some(Err(_))) => body.lease = None,
            Poll::Ready(None) => body.give_back(),
            Poll::Ready(Some(Ok(_))) if body.incoming.is_end_stream() => body.give_back(),
            Poll::Ready(Some(Ok(_))) => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
