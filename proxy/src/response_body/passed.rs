//! A body that is not looked at, and still may not be silent for ever.

use super::{Item, ResponseBodyError, is_over, silent};
use crate::app::App;
use crate::upstream::UpstreamBody;
use http_body::{Body as _, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::time::{Instant, Sleep};

/// The body of an answer that leaves no record.
pub struct Passed {
    inner: UpstreamBody,
    app: Arc<App>,
    /// Made when the body is waited for the first time; most are there at once.
    idle: Option<Pin<Box<Sleep>>>,
    /// Since when it is waited for.
    since: Option<Instant>,
}

impl Passed {
    /// Wraps an upstream's body.
    pub fn new(inner: UpstreamBody, app: Arc<App>) -> Passed {
        Passed { inner, app, idle: None, since: None }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Item> {
        let frame = match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                let idle_timeout = self.app.upstream_idle;
                let deadline = *self.since.get_or_insert_with(Instant::now) + idle_timeout;
                let idle = self.idle.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
                return match is_over(idle.as_mut(), deadline, cx) {
                    true => Poll::Ready(Some(Err(self.broken(silent(idle_timeout))))),
                    false => Poll::Pending,
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
            Err(error) => Err(self.broken(crate::forward::chain(&error))),
        }))
    }

    fn broken(&self, why: String) -> ResponseBodyError {
        self.app.upstream_failed(self.app.upstream.url(), None, &why);
        ResponseBodyError::Upstream(why)
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
