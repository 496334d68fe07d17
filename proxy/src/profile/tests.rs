use super::*;
use std::net::Ipv4Addr;

fn asked(method: Method, query: &str) -> Request<()> {
    Request::builder().method(method).uri(format!("{PATH}{query}")).body(()).unwrap()
}

#[test]
fn seconds_are_bounded() {
    assert_eq!(seconds(None), Some(USUAL));
    assert_eq!(seconds(Some("seconds=1")), Some(1));
    assert_eq!(seconds(Some("seconds=60")), Some(60));
    for wrong in ["seconds=0", "seconds=61", "seconds=", "seconds=-1", "seconds=1&debug=1", "s=1"] {
        assert_eq!(seconds(Some(wrong)), None, "{wrong}");
    }
}

#[tokio::test]
async fn nobody_else_is_given_one_and_one_at_a_time_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let profiler = Profiler::new(folder.path().join("profile"));
    let here = IpAddr::from(Ipv4Addr::LOCALHOST);
    for from in ["10.0.0.7", "::ffff:10.0.0.7", "fe80::1"] {
        let answer = profiler.answer(from.parse().unwrap(), &asked(Method::GET, "?seconds=1")).await;
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{from}");
    }
    let post = profiler.answer(here, &asked(Method::POST, "")).await;
    assert_eq!(post.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(
        profiler.answer(here, &asked(Method::GET, "?seconds=0")).await.status(),
        StatusCode::BAD_REQUEST
    );
    assert!(!folder.path().join("profile").exists(), "something was made for a refusal");
    let (one, other) = (asked(Method::GET, "?seconds=1"), asked(Method::GET, "?seconds=1"));
    let mapped = "::ffff:127.0.0.1".parse().unwrap();
    let (one, other) = tokio::join!(profiler.answer(here, &one), profiler.answer(mapped, &other));
    assert_eq!((one.status(), other.status()), (StatusCode::OK, StatusCode::CONFLICT));
    // One that is given up, half a minute before its end, is over.
    let patience = Duration::from_millis(100);
    let given_up = tokio::time::timeout(patience, profiler.answer(here, &asked(Method::GET, ""))).await;
    assert!(given_up.is_err());
    let mut next = StatusCode::CONFLICT;
    for _ in 0..300 {
        next = profiler.answer(here, &asked(Method::GET, "?seconds=1")).await.status();
        if next != StatusCode::CONFLICT {
            break;
        }
        // Its sampler may be on its way to begin still.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(next, StatusCode::OK);
    profiler.clean();
    assert!(!folder.path().join("profile").exists());
}

/// Says where it was dropped.
struct Slow(std::sync::mpsc::Sender<std::thread::ThreadId>);

impl Drop for Slow {
    fn drop(&mut self) {
        self.0.send(std::thread::current().id()).unwrap();
    }
}

#[tokio::test]
async fn one_that_is_given_up_stops_on_no_thread_of_the_runtime() {
    let one = Arc::new(Semaphore::new(1));
    let (told, dropped) = std::sync::mpsc::channel();
    let taking = Aside { held: Some((Slow(told), one.clone().try_acquire_owned().unwrap())) };
    // As the future of a request whose asker goes away.
    let request = async move {
        std::future::pending::<()>().await;
        drop(taking);
    };
    assert!(tokio::time::timeout(Duration::from_millis(10), request).await.is_err());
    // The next may begin once it has stopped.
    let next = tokio::time::timeout(Duration::from_secs(10), one.acquire()).await;
    assert!(next.is_ok_and(|next| next.is_ok()));
    assert_ne!(dropped.try_recv().unwrap(), std::thread::current().id());
}
