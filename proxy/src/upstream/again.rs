//! Requests that an HTTP/2 server promises not to have looked at (RFC 9113 section 8.7): they may be sent once more.

use crate::request_body::{Kept, RequestBody};
use h2::Reason;
use http::Request;
use http::request::Parts;
use std::error::Error as _;

/// How a server says that it did nothing with a request.
#[derive(Clone, Copy)]
pub(super) enum Undone {
    /// It closes the connection, and looks at no stream after the one that it names.
    GoneAway,
    /// It has no room for this stream.
    Refused,
}

impl Undone {
    /// What the server said, where it was the server, and it said that. h2 gives the error of a GOAWAY to the streams after the
    /// last one that it names, and to what it has not sent at all.
    pub(super) fn of(error: &hyper::Error) -> Option<Undone> {
        let error = error.source()?.downcast_ref::<h2::Error>().filter(|error| error.is_remote())?;
        match error.reason()? {
            Reason::NO_ERROR if error.is_go_away() => Some(Undone::GoneAway),
            Reason::REFUSED_STREAM if error.is_reset() => Some(Undone::Refused),
            _ => None,
        }
    }
}

/// What it takes to send a request once more.
pub(super) struct Again {
    head: Parts,
    body: Kept,
}

impl Again {
    /// Of a request that is about to be sent.
    pub(super) fn of(request: Request<RequestBody>) -> (Request<RequestBody>, Again) {
        let (head, mut body) = request.into_parts();
        let again = Again { head: head.clone(), body: body.keep() };
        (Request::from_parts(head, body), again)
    }

    /// The request, where all of it is here.
    pub(super) fn request(self, undone: Undone) -> Option<Request<RequestBody>> {
        // A GOAWAY that comes while hyper opens the stream is told before the body is asked for, whichever stream it names.
        let certain = match undone {
            Undone::Refused => true,
            Undone::GoneAway => self.body.was_asked_for() || self.head.method.is_idempotent(),
        };
        let body = self.body.whole().filter(|_| certain)?;
        Some(Request::from_parts(self.head, body))
    }
}
