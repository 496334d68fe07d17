//! A body that is not looked at, and still may not be silent for ever.

use super::{Item, is_over, silent, upstream};
use crate::upstream::UpstreamBody;
use http_body::{Body as _, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// The body of an answer that leaves no record.
pub struct Passed {
    inner: UpstreamBody,
    idle_timeout: Duration,
    /// Made when the body is waited for the first time; most are there at once.
    idle: Option<Pin<Box<Sleep>>>,
    /// Since when it is waited for.
    since: Option<Instant>,
}

impl Passed {
    /// Wraps an upstream's body.
    pub fn new(inner: UpstreamBody, idle_timeout: Duration) -> Passed {
        Passed { inner, idle_timeout, idle: None, since: None }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Item> {
        let frame = match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                let deadline = *self.since.get_or_insert_with(Instant::now) + self.idle_timeout;
                let idle = self.idle.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
                let over = is_over(idle.as_mut(), deadline, cx);
                return if over {
                    Poll::Ready(Some(Err(upstream(silent(self.idle_timeout)))))
                } else {
                    Poll::Pending
                };
            }
        };
        self.since = None;
        Poll::Ready(frame.map(|frame| match frame {
            Ok(mut frame) => {
                if let Some(trailers) = frame.trailers_mut() {
                    // Nobody records it, and still nobody speaks in our name.
                    crate::head::strip_claims(trailers);
                }
                Ok(frame)
            }
            Err(error) => Err(upstream(crate::forward::chain(&error))),
        }))
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
