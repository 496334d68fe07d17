//! A client that takes nothing of what is written to it for too long counts as gone: its exchanges hold a model's place.

use crate::goodbye::Goodbye;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// A connection whose writes fail once one has waited for `patience` without a byte taken, and which ends with a [`Goodbye`].
pub(crate) struct Taken<S> {
    stream: S,
    patience: Duration,
    /// Runs while a write waits.
    waiting: Option<Pin<Box<Sleep>>>,
    goodbye: Goodbye,
}

impl<S> Taken<S> {
    pub(crate) fn new(stream: S, patience: Duration, goodbye: Goodbye) -> Taken<S> {
        Taken { stream, patience, waiting: None, goodbye }
    }

    /// What the stream said of a write, or that it waits for too long.
    fn judged<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let patience = self.patience;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        waiting.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Taken<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Taken<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.judged(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.judged(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.judged(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Taken { stream, goodbye, .. } = &mut *self;
        let shut = goodbye.poll(cx, stream);
        self.judged(cx, shut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test(start_paused = true)]
    async fn a_write_waits_as_long_as_something_is_taken_now_and_then() {
        let (mut client, ours) = tokio::io::duplex(10);
        let mut ours = Taken::new(ours, Duration::from_secs(60), Goodbye::new(None));
        let reading = async {
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_secs(50)).await;
                client.read_exact(&mut [0; 10]).await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(ours.write_all(&[7; 100]), reading);
        written.unwrap();
        ours.write_all(&[7; 10]).await.unwrap();
        // Nothing waits: that may last.
        tokio::time::sleep(Duration::from_secs(600)).await;
        let begun = tokio::time::Instant::now();
        assert_eq!(ours.write_all(&[7]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed().as_secs(), 60);
    }
}
