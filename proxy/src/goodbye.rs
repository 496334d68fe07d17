//! Closing a connection without losing what is still on its way to the client (RFC 9112 section 9.6): where a socket is closed with
//! input unread, or input comes after, the kernel sends a reset and drops what the client has not got yet. HTTP/2 clients say how much
//! they have taken while they read the end of an answer, and HTTP/1.1 clients may go on with a body that was refused already.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;

/// Longest silence of a client that was told goodbye and has not closed its side. One that reads says something more often.
const SILENCE: Duration = Duration::from_secs(5);

/// Longest wait in all: what a client sends after the goodbye is for nobody.
const LONGEST: Duration = Duration::from_secs(30);

/// Bytes thrown away at once.
const CHUNK: usize = 4096;

/// The end of a connection: our side is closed, then what comes is thrown away until the client closes its side or was waited for.
pub(crate) struct Goodbye {
    /// Where this has fired, a client that has nothing to say at the moment is not waited for.
    hurry: Option<CancellationToken>,
    /// Set when our side is closed.
    waits: Option<Waits>,
}

struct Waits {
    silence: Pin<Box<Sleep>>,
    whole: Pin<Box<Sleep>>,
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
                self.waits.insert(Waits {
                    silence: Box::pin(tokio::time::sleep(SILENCE)),
                    whole: Box::pin(tokio::time::sleep(LONGEST)),
                })
            }
        };
        if waits.whole.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        let mut thrown = [0; CHUNK];
        loop {
            let mut buffer = ReadBuf::new(&mut thrown);
            match Pin::new(&mut *stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    waits.silence.as_mut().reset(Instant::now() + SILENCE);
                }
                // Gone, one way or another.
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending if self.hurry.as_ref().is_some_and(CancellationToken::is_cancelled) => {
                    return Poll::Ready(Ok(()));
                }
                Poll::Pending => return waits.silence.as_mut().poll(cx).map(Ok),
            }
        }
    }
}

#[cfg(test)]
mod tests;
