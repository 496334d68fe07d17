//! Time limits on what a peer sends, for a process that may have stood still itself: a suspended machine, a stopped
//! process, a starved core. Then the limit is over at once while what the peer sent in time waits unseen in the kernel:
//! tokio fires its timers before it has asked for input again. So each limit is followed by a moment in which the
//! process is known to run.

use hyper::rt::{Sleep, Timer};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// The moment after a limit: enough for several turns of the runtime.
const MOMENT: Duration = Duration::from_millis(50);

/// Runs `work` for at most `limit`, and the moment after it.
pub(crate) async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = work => Some(done),
        () = passed(Instant::now() + limit) => None,
    }
}

async fn passed(deadline: Instant) {
    tokio::time::sleep_until(deadline.into()).await;
    // From when this runs, not from when it should have.
    tokio::time::sleep(MOMENT).await;
}

/// hyper's timer, of the same kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PatientTimer;

impl Timer for PatientTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(Instant::now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(Passed(Box::pin(passed(deadline))))
    }
}

/// [`passed`], as hyper wants it.
struct Passed(Pin<Box<dyn Future<Output = ()> + Send + Sync>>);

impl Future for Passed {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

impl Sleep for Passed {}
