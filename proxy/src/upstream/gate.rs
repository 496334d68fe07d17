//! Wakes the task that drives a connection, and only when it has to be woken.

use futures_util::task::AtomicWaker;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake};

/// A task is driving the connection: it sees for itself what becomes ready.
const INSIDE: u8 = 1;
/// Something became ready that the connection was not polled for.
const WOKEN: u8 = 2;

/// The waker that a connection knows, whichever task drives it. The two halves of an HTTP/1.1 connection wake each other
/// through channels; where one task polls both, such a call would only have it polled once more for nothing.
pub(super) struct Gate {
    task: AtomicWaker,
    state: AtomicU8,
}

impl Gate {
    /// Of a connection that was never polled.
    pub(super) fn new() -> Arc<Gate> {
        Arc::new(Gate { task: AtomicWaker::new(), state: AtomicU8::new(WOKEN) })
    }

    /// The task of `cx` begins to drive.
    pub(super) fn enter(&self, cx: &Context<'_>) {
        self.task.register(cx.waker());
        self.state.fetch_or(INSIDE, Ordering::AcqRel);
    }

    /// Whether the connection has something to do; asked right before it is polled. Where nothing woke it since it was last
    /// pending, another poll would find nothing.
    pub(super) fn was_woken(&self) -> bool {
        self.state.fetch_and(!WOKEN, Ordering::AcqRel) & WOKEN != 0
    }

    /// It stops. If it would wait though something became ready meanwhile, it is woken; what it goes on with at once
    /// needs no call.
    pub(super) fn leave<T>(&self, cx: &Context<'_>, polled: Poll<T>) -> Poll<T> {
        let woken = self.state.fetch_and(!INSIDE, Ordering::AcqRel) & WOKEN != 0;
        if woken && polled.is_pending() {
            cx.waker().wake_by_ref();
        }
        polled
    }

    /// Nobody is to be woken until somebody comes in again.
    pub(super) fn forget(&self) {
        drop(self.task.take());
    }
}

impl Wake for Gate {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.fetch_or(WOKEN, Ordering::AcqRel) & INSIDE == 0 {
            self.task.wake();
        }
    }
}

#[cfg(test)]
mod tests;
