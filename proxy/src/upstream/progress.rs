//! How far a connection is with the body of a request: a server cannot answer what it has not got.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// An upload may take so many times as long as an answer's head: a client that sends a byte now and then holds a connection, too.
const UPLOAD: u32 = 4;

/// How far sending is.
#[derive(Default)]
pub(super) struct Progress {
    /// It is still to be sent.
    left: AtomicBool,
    /// The client was asked for more and has not given it yet.
    waits: AtomicBool,
    /// When the last piece after the first was taken, in ms since the request was sent.
    taken: AtomicU64,
}

impl Progress {
    /// Of a request whose answer is due at `deadline`, `patience` after its beginning.
    pub(super) fn begin(progress: &Arc<Progress>, deadline: Instant, patience: Duration) -> Sending {
        progress.waits.store(false, Ordering::Relaxed);
        progress.taken.store(0, Ordering::Relaxed);
        progress.left.store(true, Ordering::Release);
        let since = deadline.checked_sub(patience).unwrap_or(deadline);
        Sending { progress: progress.clone(), since, begun: false }
    }

    /// Whether some of it is still to be sent.
    pub(super) fn is_left(&self) -> bool {
        self.left.load(Ordering::Acquire)
    }

    /// How much longer than `patience` a server has for its answer: since the last piece of the request, within bounds.
    pub(super) fn more(&self, patience: Duration) -> Duration {
        Duration::from_millis(self.taken.load(Ordering::Relaxed)).min(patience * UPLOAD)
    }

    /// Whether it is the client that is waited for.
    pub(super) fn is_clients(&self) -> bool {
        self.is_left() && self.waits.load(Ordering::Relaxed)
    }
}

/// Says that a request's body is still to be sent, as long as it exists.
pub struct Sending {
    progress: Arc<Progress>,
    since: Instant,
    begun: bool,
}

impl Sending {
    /// A piece of it is taken. One that was there with the head tells nothing that the head does not.
    pub fn taken(&mut self) {
        if std::mem::replace(&mut self.begun, true) {
            let after = u64::try_from(self.since.elapsed().as_millis()).unwrap_or_default();
            self.progress.taken.store(after, Ordering::Relaxed);
        }
        self.progress.waits.store(false, Ordering::Relaxed);
    }

    /// The client has nothing more to give at the moment.
    pub fn waits(&mut self) {
        self.begun = true;
        self.progress.waits.store(true, Ordering::Relaxed);
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.progress.left.store(false, Ordering::Release);
    }
}
