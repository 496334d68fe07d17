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
fn a_connection_is_polled_only_when_something_woke_it_since() {
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
