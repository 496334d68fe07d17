//! A server may answer before it has read the whole request, and close: then writing fails while the answer is there to be read.
//! hyper would end the connection at the failed write, and the client would be told that there was no answer.

use hyper::rt::{Read, ReadBufCursor, Write};
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

/// A connection that goes on reading when its peer takes nothing more: what is written then is thrown away, and the end is what
/// reading says.
pub(super) struct Hearing<Io> {
    io: Io,
    deaf: bool,
}

impl<Io> Hearing<Io> {
    pub(super) fn new(io: Io) -> Hearing<Io> {
        Hearing { io, deaf: false }
    }

    /// What is told of a write, or a flush, that came to this; `whole` if the peer takes nothing any more.
    fn told<T>(&mut self, came: Poll<io::Result<T>>, whole: T) -> Poll<io::Result<T>> {
        match came {
            Poll::Ready(Err(error))
                if matches!(
                    error.kind(),
                    ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted
                ) =>
            {
                self.deaf = true;
                Poll::Ready(Ok(whole))
            }
            came => came,
        }
    }
}

impl<Io: Read + Unpin> Read for Hearing<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<Io: Write + Unpin> Write for Hearing<Io> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.deaf {
            return Poll::Ready(Ok(buf.len()));
        }
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.told(written, buf.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let whole = bufs.iter().map(|buf| buf.len()).sum();
        if self.deaf {
            return Poll::Ready(Ok(whole));
        }
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.told(written, whole)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.deaf {
            return Poll::Ready(Ok(()));
        }
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.told(flushed, ())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.deaf {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
