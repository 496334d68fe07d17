//! The request body on its way to the upstream: observed, limited, and not polled before the upstream wants it.

use crate::observe::{self, RequestSeen};
use crate::upstream::Sending;
use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Sleep;

/// The observer of a request body, shared by the body and by the exchange that records it. Uncontended: the body
/// holds the lock while it hashes a frame, the exchange only once the answer is there.
pub type SharedRequest = Arc<Mutex<RequestSeen>>;

/// How often a body that is still held elsewhere is looked for.
const DRAIN_STEP: Duration = Duration::from_millis(1);

/// What is read ahead in pieces shorter than this is put together: a piece of one byte would take a hundred, and keep the buffer that it
/// was read into.
const SHORT: usize = 1024;

/// What is kept of a body to send it once more, at most: until the head of its answer, so it is not much.
const MAX_KEPT: usize = 1 << 20;

/// Why a request body was cut off.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RequestBodyError {
    /// The client's framing was wrong.
    #[error("the client's request body is malformed: {0}")]
    Malformed(String),
    /// The client left before its body ended.
    #[error("the client left before the end of its request body")]
    Left,
    /// What a rule has to look at did not come within `--header-timeout`, or nothing more within `--upstream-header-timeout`.
    #[error("the request body did not come in time")]
    Slow,
    /// Longer than `--max-body-bytes`.
    #[error("the request body exceeds --max-body-bytes")]
    TooLarge,
}

/// What keeps the client's body unpolled: hyper answers `100 Continue` on the first poll.
struct Gate {
    opened: oneshot::Receiver<()>,
    /// The client's patience, RFC 9110 section 10.1.1: the body follows anyway after a while.
    patience: Pin<Box<Sleep>>,
}

/// A request body that is hashed as it passes. In a box: hyper keeps 32 places for requests in each connection to the
/// upstream.
pub struct RequestBody(Box<Passing>);

struct Passing {
    /// Frames read before the decision, for rules that look at the model.
    prefix: VecDeque<Frame<Bytes>>,
    /// Absent only while it is dropped.
    inner: Option<Incoming>,
    /// Absent where the exchange leaves no record.
    seen: Option<SharedRequest>,
    gate: Option<Gate>,
    /// Tells the connection that this body is still to be sent.
    sending: Option<Sending>,
    /// Notes what passes.
    passed: Option<Arc<Mutex<Passed>>>,
    /// Bytes that may still come.
    left: u64,
    prefix_ended: bool,
}

impl RequestBody {
    /// Wraps a body. `limit` is in bytes.
    pub fn new(inner: Incoming, seen: SharedRequest, limit: u64) -> RequestBody {
        if inner.is_end_stream() {
            // Nobody will poll a body that is known to be empty.
            seen.lock().unwrap_or_else(PoisonError::into_inner).end();
        }
        RequestBody::of(Some(inner), Some(seen), limit)
    }

    /// Wraps a body that is not looked at.
    pub fn unseen(inner: Incoming, limit: u64) -> RequestBody {
        RequestBody::of(Some(inner), None, limit)
    }

    /// A body with nothing in it.
    pub fn empty() -> RequestBody {
        RequestBody::of(None, None, 0)
    }

    fn of(inner: Option<Incoming>, seen: Option<SharedRequest>, left: u64) -> RequestBody {
        let prefix_ended = inner.is_none();
        RequestBody(Box::new(Passing {
            prefix: VecDeque::new(),
            inner,
            seen,
            gate: None,
            sending: None,
            passed: None,
            left,
            prefix_ended,
        }))
    }

    /// Holds the body back until `opened` fires or `patience` is over.
    pub fn gated(mut self, opened: oneshot::Receiver<()>, patience: Duration) -> RequestBody {
        self.0.gate = Some(Gate { opened, patience: Box::pin(tokio::time::sleep(patience)) });
        self
    }

    /// Keeps what tells that this body is still to be sent.
    pub fn sending(&mut self, sending: Sending) {
        self.0.sending = Some(sending);
    }

    /// Keeps what passes from now on, to send it once more.
    pub fn keep(&mut self) -> Kept {
        let mut passed = Passed::default();
        let body = &mut *self.0;
        if body.prefix_ended || body.inner.as_ref().is_none_or(Incoming::is_end_stream) {
            // All of it is here, or will never be asked for.
            body.prefix.iter().for_each(|frame| passed.push(frame));
            passed.whole = true;
        }
        let passed = Arc::new(Mutex::new(passed));
        body.passed = Some(passed.clone());
        Kept(passed)
    }

    /// Reads up to `limit` bytes ahead, so that a rule may look at them. They are forwarded all the same. Returns whether
    /// the whole body is there.
    pub async fn read_ahead(&mut self, limit: usize, time: Duration) -> Result<bool, RequestBodyError> {
        let body = &mut *self.0;
        let read = async {
            let (mut size, mut joined) = (0, BytesMut::new());
            let whole = loop {
                if size >= limit {
                    break false;
                }
                let Some(frame) = std::future::poll_fn(|cx| body.poll_inner(cx)).await else { break true };
                match frame?.into_data() {
                    Ok(data) => {
                        size += data.len();
                        // The first is most often all there is.
                        if data.len() < SHORT && !body.prefix.is_empty() {
                            joined.extend_from_slice(&data);
                        } else {
                            body.keep(&mut joined);
                            body.prefix.push_back(Frame::data(data));
                        }
                    }
                    Err(frame) => {
                        body.keep(&mut joined);
                        body.prefix.push_back(frame);
                    }
                }
            };
            body.keep(&mut joined);
            body.prefix_ended = whole;
            Ok(whole)
        };
        tokio::time::timeout(time, read).await.unwrap_or(Err(RequestBodyError::Slow))
    }
}

/// A copy of a body that is on its way, or was.
pub struct Kept(Arc<Mutex<Passed>>);

#[derive(Default)]
struct Passed {
    asked_for: bool,
    whole: bool,
    /// It is too long, has trailers, or broke off.
    lost: bool,
    size: usize,
    copy: observe::Copy,
}

impl Kept {
    /// Whether whoever sends the body has asked for any of it.
    pub fn was_asked_for(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).asked_for
    }

    /// The body once more, where all of it is here. It was observed already.
    pub fn whole(self) -> Option<RequestBody> {
        let passed = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        if !passed.whole || passed.lost {
            return None;
        }
        let mut body = RequestBody::empty();
        let data = passed.copy.joined()?;
        if !data.is_empty() {
            body.0.prefix.push_back(Frame::data(data));
        }
        Some(body)
    }
}

impl Passed {
    fn push(&mut self, frame: &Frame<Bytes>) {
        match frame.data_ref() {
            Some(data) if self.size + data.len() <= MAX_KEPT => {
                self.size += data.len();
                self.copy.push(data.clone());
            }
            _ => self.lose(),
        }
    }

    /// Notes one frame, or the end.
    fn of(&mut self, polled: &Option<Result<Frame<Bytes>, RequestBodyError>>, ended: bool) {
        if self.whole || self.lost {
            return;
        }
        match polled {
            Some(Ok(frame)) => self.push(frame),
            Some(Err(_)) => self.lose(),
            None => {}
        }
        self.whole = ended;
    }

    fn lose(&mut self) {
        (self.lost, self.copy) = (true, observe::Copy::default());
    }
}

impl Passing {
    /// Ends what was put together.
    fn keep(&mut self, joined: &mut BytesMut) {
        if !joined.is_empty() {
            self.prefix.push_back(Frame::data(joined.split().freeze()));
        }
    }

    fn poll_inner(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        let polled = std::task::ready!(Pin::new(&mut *inner).poll_frame(cx));
        let ended = inner.is_end_stream();
        Poll::Ready(match polled {
            None => {
                self.observe(|seen| seen.end());
                None
            }
            Some(Err(error)) => Some(Err(blame(&error))),
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.observe(|seen| seen.push(data));
                    match self.left.checked_sub(data.len() as u64) {
                        Some(left) => self.left = left,
                        None => return Poll::Ready(Some(Err(RequestBodyError::TooLarge))),
                    }
                }
                if ended {
                    self.observe(|seen| seen.end());
                }
                Some(Ok(frame))
            }
        })
    }

    fn is_over(&self) -> bool {
        self.prefix.is_empty()
            && (self.prefix_ended || self.inner.as_ref().is_none_or(Incoming::is_end_stream))
    }

    fn note(&self, what: impl FnOnce(&mut Passed)) {
        if let Some(passed) = &self.passed {
            what(&mut passed.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    fn observe(&self, what: impl FnOnce(&mut RequestSeen)) {
        if let Some(seen) = &self.seen {
            what(&mut seen.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

/// Tells a client that left from one that frames its body wrongly (a bad chunk size, more data than promised).
fn blame(error: &hyper::Error) -> RequestBodyError {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(error) = cause.downcast_ref::<std::io::Error>() {
            let malformed = matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::InvalidData);
            return if malformed {
                RequestBodyError::Malformed(error.to_string())
            } else {
                RequestBodyError::Left
            };
        }
        source = cause.source();
    }
    RequestBodyError::Left
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        let body = &mut *self.get_mut().0;
        body.note(|passed| passed.asked_for = true);
        if let Some(gate) = &mut body.gate {
            match Pin::new(&mut gate.opened).poll(cx) {
                Poll::Ready(Ok(())) => {}
                // The answer came without a 100: the body is not wanted any more.
                Poll::Ready(Err(_)) => return Poll::Pending,
                Poll::Pending if gate.patience.as_mut().poll(cx).is_pending() => return Poll::Pending,
                Poll::Pending => {}
            }
            body.gate = None;
        }
        let polled = match body.prefix.pop_front() {
            Some(frame) => Some(Ok(frame)),
            None if body.prefix_ended => None,
            None => match body.poll_inner(cx) {
                Poll::Ready(polled) => {
                    body.sending.iter_mut().for_each(Sending::taken);
                    polled
                }
                Poll::Pending => {
                    body.sending.iter_mut().for_each(Sending::waits);
                    return Poll::Pending;
                }
            },
        };
        // Who sends it asks no more after that.
        body.note(|passed| passed.of(&polled, polled.is_none() || body.is_over()));
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_over()
    }

    fn size_hint(&self) -> SizeHint {
        let ahead: u64 = self.0.prefix.iter().filter_map(Frame::data_ref).map(|data| data.len() as u64).sum();
        let mut hint = self.0.inner.as_ref().map(Incoming::size_hint).unwrap_or_default();
        if let Some(exact) = hint.exact() {
            hint.set_exact(exact + ahead);
        }
        hint
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        // A body behind a closed gate was never asked for; polling it would ask.
        if let (None, Some(seen), Some(inner)) = (&self.gate, &self.seen, self.inner.take()) {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            if !seen.complete() {
                seen.leave(inner);
            }
        }
    }
}

/// Reads what nobody forwarded, within bounds, so that a record of an exchange that ended early still covers the whole
/// request, and its connection can be kept. What does not come in time is left out of the record.
pub async fn drain(seen: &SharedRequest, limit: u64, time: Duration) {
    let read = async {
        let (inner, limit) = loop {
            {
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                match seen.left() {
                    Some(inner) => break (inner, limit.saturating_sub(seen.size())),
                    None if seen.complete() => return,
                    None => {}
                }
            }
            // The upstream connection's task still holds it: it ends, or gives it up, in a moment.
            tokio::time::sleep(DRAIN_STEP).await;
        };
        let mut rest = RequestBody::new(inner, seen.clone(), limit);
        while let Some(Ok(_)) = std::future::poll_fn(|cx| rest.0.poll_inner(cx)).await {}
    };
    let _ = tokio::time::timeout(time, read).await;
}
