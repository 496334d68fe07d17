//! A server may answer before it has read the whole request, and close: then writing fails while the answer is there to be read.
//! hyper would end the connection at the failed write, and the client would be told that there was no answer.

use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// Bytes read at once from a peer that takes no more.
const CHUNK: usize = 4096;

/// A connection that goes on reading when its peer takes nothing more: what is written then is thrown away, and the end is what
/// reading says.
pub(super) struct Hearing<Io> {
    io: Io,
    /// How writing failed.
    failed: Option<ErrorKind>,
}

impl<Io> Hearing<Io> {
    pub(super) fn new(io: Io) -> Hearing<Io> {
        Hearing { io, failed: None }
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
                self.failed = Some(error.kind());
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
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(failed) = self.failed else { return Pin::new(&mut self.io).poll_read(cx, buf) };
        let mut bytes = [0; CHUNK];
        let most = buf.remaining().min(CHUNK);
        let mut some = ReadBuf::new(&mut bytes[..most]);
        ready!(Pin::new(&mut self.io).poll_read(cx, some.unfilled()))?;
        // The system tells an error once, and the write has had it: this is no end that the peer has said.
        if some.filled().is_empty() {
            return Poll::Ready(Err(failed.into()));
        }
        buf.put_slice(some.filled());
        Poll::Ready(Ok(()))
    }
}

impl<Io: Write + Unpin> Write for Hearing<Io> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.failed.is_some() {
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
        if self.failed.is_some() {
            return Poll::Ready(Ok(whole));
        }
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.told(written, whole)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.failed.is_some() {
            return Poll::Ready(Ok(()));
        }
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.told(flushed, ())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.failed.is_some() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
