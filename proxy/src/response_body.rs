//! The response body on its way to the client: hashed as it passes, never held back, ending in one of a closed set of
//! ways. Only the very end waits: for `DONE` to be in the WAL, which is one write(2), most often its own, and with
//! `--durability power` on the disk.

use crate::in_flight::{Closed, Ending, InFlight};
use crate::places::Taking;
use crate::stamp::Closing;
use crate::upstream::UpstreamBody;
use bytes::Bytes;
use colophon_ledger::Unfinished;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

mod passed;

pub use passed::Passed;

/// Any body that leaves this proxy.
pub enum ResponseBody {
    /// Bytes that are all there, and trailers after them.
    Whole(Option<Bytes>, Option<HeaderMap>),
    /// A stream of a `pass` rule: not looked at.
    Passed(Passed),
    /// A stream that is recorded.
    Observed(Box<Observed>),
    /// One that holds its exchange's place.
    Placed(Box<ResponseBody>, Taking),
}

/// Why a body breaks off. hyper turns it into a cut connection or a reset stream, as the upstream's end was one.
#[derive(Debug, thiserror::Error)]
pub enum ResponseBodyError {
    /// The upstream's body broke off.
    #[error("the upstream's answer broke off: {0}")]
    Upstream(String),
    /// The record could not be kept and the rule says `Fail`.
    #[error(transparent)]
    NotKept(#[from] crate::in_flight::NotKept),
}

/// What else a client asked to have at the end of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// Nothing: the receipt has it.
    None,
    /// Trailers (`TE: trailers`).
    Trailers,
    /// A comment line of an event stream (`Colophon-Tail: comment`).
    Comment,
}

/// A recorded stream.
pub struct Observed {
    inner: UpstreamBody,
    exchange: Box<InFlight>,
    tail: Tail,
    /// Bytes still to come, where the head promised a length.
    remaining: Option<u64>,
    /// The last byte released, to see whether a comment would start on its own line.
    last: u8,
    idle: Pin<Box<Sleep>>,
    idle_timeout: Duration,
    /// When the last byte came; the timer is only moved when it fires.
    last_frame: Instant,
    finished: bool,
    /// The end, held back until its record is as durable as was promised.
    held: Option<(Waiting, Item)>,
}

type Item = Option<Result<Frame<Bytes>, ResponseBodyError>>;
type Waiting = Pin<Box<dyn Future<Output = Result<(), Box<Unfinished>>> + Send>>;

impl Observed {
    /// Wraps an upstream's body. `promised` is its `Content-Length`.
    pub fn new(
        inner: UpstreamBody,
        exchange: Box<InFlight>,
        tail: Tail,
        promised: Option<u64>,
        idle_timeout: Duration,
    ) -> Observed {
        Observed {
            inner,
            exchange,
            tail,
            remaining: promised,
            last: b'\n',
            idle: Box::pin(tokio::time::sleep(idle_timeout)),
            idle_timeout,
            last_frame: Instant::now(),
            finished: false,
            held: None,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Item> {
        if self.held.is_some() {
            return self.poll_held(cx);
        }
        if self.finished {
            return Poll::Ready(None);
        }
        let polled = match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Pending if self.silent_too_long(cx) => {
                return self.broken(silent(self.idle_timeout), cx);
            }
            Poll::Pending => return Poll::Pending,
            Poll::Ready(polled) => polled,
        };
        self.last_frame = Instant::now();
        match polled {
            None => self.end(Ending::Complete, cx),
            Some(Err(error)) => {
                let reason = crate::forward::chain(&error);
                self.broken(reason, cx)
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => self.data(data, cx),
                Err(frame) => match frame.into_trailers() {
                    Ok(trailers) => self.upstream_trailers(trailers, cx),
                    Err(_) => self.end(Ending::Complete, cx),
                },
            },
        }
    }

    fn data(&mut self, data: Bytes, cx: &mut Context<'_>) -> Poll<Item> {
        self.exchange.push(&data);
        if let Some(last) = data.last() {
            self.last = *last;
        }
        if let Some(remaining) = &mut self.remaining {
            *remaining = remaining.saturating_sub(data.len() as u64);
            if *remaining == 0 {
                // The message ends with these bytes, so `DONE` comes before them.
                return self.close(Ending::Complete, |_| Some(Ok(Frame::data(data))), cx);
            }
        }
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn upstream_trailers(&mut self, mut trailers: HeaderMap, cx: &mut Context<'_>) -> Poll<Item> {
        self.exchange.trailed(&mut trailers);
        if self.exchange.signed.is_some() && trailers.is_empty() {
            // Nothing of them is the client's: the answer ends as any other.
            return self.end(Ending::Complete, cx);
        }
        let (tail, kept) = (self.tail, trailers.clone());
        let with_ours = move |closing: Option<Closing>| {
            let mut trailers = kept;
            if let (Tail::Trailers, Some(closing)) = (tail, closing) {
                trailers.extend(closing.trailers);
            }
            Some(Ok(Frame::trailers(trailers)))
        };
        self.close(Ending::Trailers(&trailers), with_ours, cx)
    }

    fn end(&mut self, ending: Ending<'_>, cx: &mut Context<'_>) -> Poll<Item> {
        let (tail, last) = (self.tail, self.last);
        let said = move |closing: Option<Closing>| match (tail, closing?) {
            (Tail::Trailers, closing) => Some(Ok(Frame::trailers(closing.trailers))),
            // In the middle of a line a comment would not be one.
            (Tail::Comment, closing) if last == b'\n' => Some(Ok(Frame::data(closing.comment.into()))),
            _ => None,
        };
        self.close(ending, said, cx)
    }

    /// Ends the exchange, and releases what `last` makes of its closing once the record is safe.
    fn close(
        &mut self,
        ending: Ending<'_>,
        last: impl FnOnce(Option<Closing>) -> Item,
        cx: &mut Context<'_>,
    ) -> Poll<Item> {
        self.finished = true;
        match self.exchange.close_stream(ending) {
            Err(error) => Poll::Ready(Some(Err(error.into()))),
            Ok(None) => Poll::Ready(last(None)),
            Ok(Some(Closed { closing, finishing })) => {
                let item = last(Some(closing));
                let Some(finishing) = finishing else { return Poll::Ready(item) };
                self.held = Some((Box::pin(finishing.written()), item));
                self.poll_held(cx)
            }
        }
    }

    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<Item> {
        let Some((waiting, _)) = &mut self.held else { return Poll::Ready(None) };
        let kept = ready!(waiting.as_mut().poll(cx));
        let item = self.held.take().and_then(|(_, item)| item);
        Poll::Ready(match kept.or_else(|unfinished| self.exchange.unfinished(*unfinished)) {
            Ok(()) => item,
            Err(error) => Some(Err(error.into())),
        })
    }

    fn broken(&mut self, reason: String, cx: &mut Context<'_>) -> Poll<Item> {
        let ending = Ending::UpstreamFailed(reason.clone());
        self.close(ending, |_| Some(Err(ResponseBodyError::Upstream(reason))), cx)
    }

    fn silent_too_long(&mut self, cx: &mut Context<'_>) -> bool {
        is_over(self.idle.as_mut(), self.last_frame + self.idle_timeout, cx)
    }
}

/// Whether `deadline` has passed. The timer is only moved when it fires.
fn is_over(mut timer: Pin<&mut Sleep>, deadline: Instant, cx: &mut Context<'_>) -> bool {
    while timer.as_mut().poll(cx).is_ready() {
        if deadline <= Instant::now() {
            return true;
        }
        timer.as_mut().reset(deadline);
    }
    false
}

fn silent(idle_timeout: Duration) -> String {
    format!("no byte of the body for {idle_timeout:?}")
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = ResponseBodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ResponseBodyError>>> {
        match self.get_mut() {
            ResponseBody::Whole(bytes, trailers) => {
                let data = bytes.take().map(Frame::data);
                Poll::Ready(data.or_else(|| trailers.take().map(Frame::trailers)).map(Ok))
            }
            ResponseBody::Passed(passed) => passed.poll(cx),
            ResponseBody::Observed(observed) => observed.poll(cx),
            ResponseBody::Placed(body, _) => Pin::new(&mut **body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            ResponseBody::Whole(bytes, trailers) => bytes.is_none() && trailers.is_none(),
            ResponseBody::Passed(passed) => passed.is_end_stream(),
            ResponseBody::Observed(observed) => observed.finished && observed.held.is_none(),
            ResponseBody::Placed(body, _) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ResponseBody::Whole(bytes, _) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            ResponseBody::Passed(passed) => passed.size_hint(),
            ResponseBody::Observed(observed) => match observed.remaining {
                Some(remaining) => SizeHint::with_exact(remaining),
                None => SizeHint::default(),
            },
            ResponseBody::Placed(body, _) => body.size_hint(),
        }
    }
}

impl ResponseBody {
    /// Bytes that are all there; empty ones are no frame at all.
    pub fn whole(bytes: Bytes) -> ResponseBody {
        ResponseBody::whole_with(bytes, None)
    }

    /// The same with trailers, which a message with a `Content-Length` can have in HTTP/2.
    pub fn whole_with(bytes: Bytes, trailers: Option<HeaderMap>) -> ResponseBody {
        ResponseBody::Whole((!bytes.is_empty()).then_some(bytes), trailers)
    }
}
