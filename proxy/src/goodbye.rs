//! Closing a connection without losing what is still on its way to the client (RFC 9112 section 9.6): where a socket is closed with
//! input unread, or input comes after, the kernel sends a reset and drops what the client has not got yet. HTTP/2 clients say how much
//! they have taken while they read the end of an answer, and HTTP/1.1 clients may go on with a body that was refused already.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Longest silence of a client that was told goodbye and has not closed its side. One that reads says something more often.
const SILENCE: Duration = Duration::from_secs(5);

/// Longest wait in all: what a client sends after the goodbye is for nobody.
const LONGEST: Duration = Duration::from_secs(30);

/// The same in a hurry: enough for what is on its way.
const HURRIED: Duration = Duration::from_millis(500);

/// Bytes thrown away at once.
const CHUNK: usize = 4096;

/// The end of a connection: our side is closed, then what comes is thrown away until the client closes its side or was waited for.
pub(crate) struct Goodbye {
    /// Where this has fired, a client that is silent is not waited for long.
    hurry: Option<CancellationToken>,
    /// Set when our side is closed.
    waits: Option<Box<Waits>>,
}

struct Waits {
    hurry: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    hurried: bool,
    /// When something came last, or our side was closed.
    since: Instant,
    alarm: Pin<Box<Sleep>>,
    end: Instant,
}

impl Waits {
    fn begin(hurry: Option<CancellationToken>) -> Waits {
        let since = Instant::now();
        Waits {
            hurry: hurry.map(|hurry| Box::pin(hurry.cancelled_owned())),
            hurried: false,
            since,
            alarm: Box::pin(tokio::time::sleep_until(since)),
            end: since + LONGEST,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, stream: &mut (impl AsyncRead + Unpin)) -> Poll<()> {
        let mut thrown = [0; CHUNK];
        while Instant::now() < self.end {
            let mut buffer = ReadBuf::new(&mut thrown);
            match Pin::new(&mut *stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => self.since = Instant::now(),
                // Gone, one way or another.
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return self.poll_silence(cx),
            }
        }
        Poll::Ready(())
    }

    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(hurry) = self.hurry.as_mut().filter(|_| !self.hurried) {
            self.hurried = hurry.as_mut().poll(cx).is_ready();
        }
        let silence = if self.hurried { HURRIED } else { SILENCE };
        let due = (self.since + silence).min(self.end);
        self.alarm.as_mut().reset(due);
        self.alarm.as_mut().poll(cx)
    }
}

impl Goodbye {
    pub(crate) fn new(hurry: Option<CancellationToken>) -> Goodbye {
        Goodbye { hurry, waits: None }
    }

    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        let waits = match &mut self.waits {
            Some(waits) => waits,
            None => {
                ready!(Pin::new(&mut *stream).poll_shutdown(cx))?;
                self.waits.insert(Box::new(Waits::begin(self.hurry.take())))
            }
        };
        waits.poll(cx, stream).map(Ok)
    }
}

#[cfg(test)]
mod tests;
