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
