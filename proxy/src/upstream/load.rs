//! How many streams an HTTP/2 connection carries, and how many its server allows.

use super::Io;
use crate::accept::Tracked;
use crate::request_body::RequestBody;
use hyper::client::conn::http2;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

type Driver = http2::Connection<Io, RequestBody, Tracked>;

/// One connection's. Two are the same connection if they are the same allocation.
pub(super) struct Load {
    open: AtomicUsize,
    /// When a stream ended last.
    ended: Mutex<Instant>,
    /// What the server allowed when it was last asked for.
    most: AtomicUsize,
    /// What knows how many it allows now. Taken out while it is polled, gone once the connection takes no more.
    driver: Mutex<Option<Driver>>,
}

/// Room for one stream, taken until it is dropped.
pub(super) struct Place(Arc<Load>);

impl Load {
    pub(super) fn of(driver: Driver) -> Arc<Load> {
        let most = driver.current_max_send_streams();
        Arc::new(Load {
            open: AtomicUsize::new(0),
            ended: Mutex::new(Instant::now()),
            most: AtomicUsize::new(most),
            driver: Mutex::new(Some(driver)),
        })
    }

    /// How many streams the server allows at once, until its first settings are there the number that the connection began
    /// with.
    pub(super) fn most(&self) -> usize {
        if let Some(driver) = &*self.lock() {
            self.most.store(driver.current_max_send_streams(), Ordering::Relaxed);
        }
        self.most.load(Ordering::Relaxed)
    }

    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Whether it has carried nothing for this long.
    pub(super) fn lay_idle(&self, time: Duration, now: Instant) -> bool {
        let ended = *self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        self.open() == 0 && now.saturating_duration_since(ended) >= time
    }

    pub(super) fn take(self: &Arc<Load>) -> Place {
        self.open.fetch_add(1, Ordering::Relaxed);
        Place(self.clone())
    }

    /// Hands requests to the connection, until it takes no more.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        // Out of the lock, and gone should it panic.
        let Some(mut driver) = self.lock().take() else { return Poll::Ready(Ok(())) };
        let polled = Pin::new(&mut driver).poll(cx);
        if polled.is_pending() {
            *self.lock() = Some(driver);
        }
        polled
    }

    /// Takes no more requests.
    pub(super) fn stop(&self) {
        let driver = self.lock().take();
        drop(driver);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Driver>> {
        self.driver.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    pub(super) fn is_of(&self, load: &Arc<Load>) -> bool {
        Arc::ptr_eq(&self.0, load)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *self.0.ended.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
