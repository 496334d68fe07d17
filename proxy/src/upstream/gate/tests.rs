use super::*;
use std::sync::atomic::AtomicUsize;
use std::task::Waker;

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn calls_from_inside_wake_only_a_task_that_would_wait() {
    let (gate, count) = (Gate::new(), Arc::new(Count::default()));
    let (outer, inner) = (Waker::from(count.clone()), Waker::from(gate.clone()));
    let cx = Context::from_waker(&outer);
    let calls = || count.0.load(Ordering::Relaxed);

    gate.enter(&cx);
    assert!(gate.was_woken(), "it was never polled");
    assert!(gate.leave(&cx, Poll::<()>::Pending).is_pending());
    assert_eq!(calls(), 0, "nothing happened");

    gate.enter(&cx);
    inner.wake_by_ref();
    assert!(gate.leave(&cx, Poll::Ready(())).is_ready());
    assert_eq!(calls(), 0, "it goes on anyway");

    gate.enter(&cx);
    inner.wake_by_ref();
    assert!(gate.leave(&cx, Poll::<()>::Pending).is_pending());
    assert_eq!(calls(), 1, "it would have waited for what is there");

    inner.wake_by_ref();
    assert_eq!(calls(), 2, "it waits, and something comes");

    gate.enter(&cx);
    assert!(gate.leave(&cx, Poll::Ready(())).is_ready());
    gate.forget();
    inner.wake_by_ref();
    assert_eq!(calls(), 2, "nobody waits any more");
}

#[test]
fn what_was_not_answered_by_a_poll_is_kept_for_the_next_visit() {
    let (gate, count) = (Gate::new(), Arc::new(Count::default()));
    let (outer, inner) = (Waker::from(count.clone()), Waker::from(gate.clone()));
    let cx = Context::from_waker(&outer);
    let visit = |polled| {
        gate.enter(&cx);
        let woken = gate.was_woken();
        let _ = gate.leave(&cx, polled);
        woken
    };
    assert!(visit(Poll::Pending), "it was never polled");
    assert!(!visit(Poll::Pending), "nothing happened since");
    inner.wake_by_ref();
    assert!(visit(Poll::Ready(())), "woken while nobody drove it");
    assert!(!visit(Poll::Pending));
    // What it does itself while it is polled, or what is taken from it afterwards, is not lost by an answer that is there.
    gate.enter(&cx);
    assert!(!gate.was_woken());
    inner.wake_by_ref();
    let _ = gate.leave(&cx, Poll::Ready(()));
    assert_eq!(count.0.load(Ordering::Relaxed), 1, "only the call from outside woke the task");
    assert!(visit(Poll::Pending), "woken inside, after the poll");
    // Nor by one that is not.
    gate.enter(&cx);
    inner.wake_by_ref();
    let _ = gate.leave(&cx, Poll::<()>::Pending);
    assert_eq!(count.0.load(Ordering::Relaxed), 2, "it is called again");
    assert!(visit(Poll::Pending));
}

/// A task that visits only when it is woken, and whoever wakes it from another thread after each piece of work: all of it
/// gets done, however the two meet.
#[test]
fn no_call_of_another_thread_is_lost() {
    const PIECES: usize = 20_000;
    let (gate, work) = (Gate::new(), Arc::new(AtomicUsize::new(0)));
    let outer = Waker::from(Arc::new(Unpark(std::thread::current())));
    let cx = Context::from_waker(&outer);
    let mut done = 0;
    let visit = |gate: &Gate, done: &mut usize| {
        gate.enter(&cx);
        // As a connection: it takes what is there when it is polled, and nothing where it is not.
        if gate.was_woken() {
            *done = work.load(Ordering::Acquire);
        }
        let _ = gate.leave(&cx, Poll::<()>::Pending);
    };
    visit(&gate, &mut done);
    std::thread::scope(|scope| {
        let (inner, work) = (Waker::from(gate.clone()), work.clone());
        let other = scope.spawn(move || {
            for piece in 1..=PIECES {
                work.store(piece, Ordering::Release);
                inner.wake_by_ref();
                // Now and then the task is at rest when it is called, as most are.
                if piece % 7 == 0 {
                    std::thread::yield_now();
                }
            }
        });
        while done < PIECES {
            let before = std::time::Instant::now();
            std::thread::park_timeout(std::time::Duration::from_secs(20));
            assert!(before.elapsed().as_secs() < 20, "a call was lost: {done} pieces of {PIECES}");
            visit(&gate, &mut done);
        }
        other.join().unwrap();
    });
}

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
