//! One write for the frames of many exchanges, and one burst of what is sent after it.
//!
//! Of the exchanges of one thread whose frames wait, one leads: it lets the runtime serve others while each round brings more
//! frames, then writes for all, those of other threads too. The others sleep until the one of their own thread who leads has seen
//! that write: woken by another thread, they would go on there, away from what their thread has in its caches (a second thread made
//! a request at `sign` cost a third more that way, and a tenth more this way). None waits for another thread, which may be busy,
//! unless that writes at this moment: then whoever leads lets others be served until it has written, and sleeps if that takes
//! long. Whoever leads may be dropped: then another leads.

use super::writer::Writer;
use super::{Queued, Wal};
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;

/// Whoever leads waits for others for this many rounds of the runtime at most. Measured with 32 connections on one core:
/// 43.1 µs of CPU a request at `sign` with one round, 42.0 with two, 40.2 with three, no less with more.
const ROUNDS: u32 = 3;

/// What an exchange whose frame is queued has to do.
enum Part {
    /// Nothing: its frame left the queue.
    None,
    /// Write, for all.
    Lead,
    /// Wait for whoever leads.
    Wait,
}

/// Whose frame's exchange is about to write for all that wait, and in which thread's place that was said.
pub(super) type Leader = (usize, u64);

/// Threads with a place of their own; more of them share one, and wait for each other's leader.
const PLACES: usize = 64;

/// Where the exchanges of each thread sleep: they are woken by one of their own, and stay on their thread.
pub(super) struct Sleepers {
    places: [Notify; PLACES],
    /// Those who lead, while another thread takes long to write.
    pub(super) turned: Notify,
}

impl Sleepers {
    pub(super) fn new() -> Sleepers {
        Sleepers { places: std::array::from_fn(|_| Notify::new()), turned: Notify::new() }
    }
}

/// The place of this thread.
fn place() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static PLACE: usize = NEXT.fetch_add(1, Ordering::Relaxed) % PLACES);
    PLACE.with(|place| *place)
}

/// Wakes the others of its thread when it is dropped: what they wait for is written, or another one leads.
struct Lead<'a> {
    wal: &'a Wal,
    leader: Leader,
}

impl Wal {
    /// Waits until `queued` is written, or could not be, together with what other exchanges queue meanwhile. Alone, it waits
    /// for one round of the runtime. May be dropped at any moment.
    pub(crate) async fn gathered(&self, queued: Queued) {
        let leader = (place(), queued.number);
        loop {
            // Before the look: a write between the two is noticed.
            let led = self.sleepers.places[leader.0].notified();
            let part = self.lock().part(queued, leader.0);
            match part {
                Part::None => return,
                Part::Lead => break,
                Part::Wait => led.await,
            }
        }
        let _lead = Lead { wal: self, leader };
        let mut known = queued.number;
        for _ in 0..ROUNDS {
            tokio::task::yield_now().await;
            let (settled, all) = self.lock().counted();
            if settled >= queued.number {
                // By whoever does not wait.
                return;
            }
            if all == known {
                break;
            }
            known = all;
        }
        for _ in 0..ROUNDS {
            if self.settled_now(queued) {
                return;
            }
            tokio::task::yield_now().await;
        }
        loop {
            // Before the look, as above.
            let turned = self.sleepers.turned.notified();
            if self.lock().awaits(queued) {
                turned.await;
            } else if self.settled_now(queued) {
                return;
            }
        }
    }

    /// Writes for all, unless `queued` has left the queue. False, and nothing is done, while another thread writes.
    pub(crate) fn settled_now(&self, queued: Queued) -> bool {
        let writer = self.lock();
        let now = !writer.waits(queued);
        if now {
            drop(self.written(writer, queued));
        }
        now
    }
}

impl Writer {
    fn part(&mut self, queued: Queued, place: usize) -> Part {
        if self.settled >= queued.number {
            Part::None
        } else if self.leaders.iter().any(|(of, _)| *of == place) {
            Part::Wait
        } else {
            self.leaders.push((place, queued.number));
            Part::Lead
        }
    }

    /// Whether `queued` waits for another thread. If so, that one's end is told.
    fn awaits(&mut self, queued: Queued) -> bool {
        self.awaited |= self.waits(queued);
        self.waits(queued)
    }

    /// How many frames left the queue so far, and how many ever came into it.
    fn counted(&self) -> (u64, u64) {
        (self.settled, self.queued())
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        self.wal.lock().leaders.retain(|leader| *leader != self.leader);
        self.wal.sleepers.places[self.leader.0].notify_waiters();
    }
}

#[cfg(test)]
mod tests;
