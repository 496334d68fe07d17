use super::*;
use crate::wal::tests::{field_set, open_ids, wal};
use crate::wal::{MAX_SEGMENT, WalError, replay};
use colophon_receipt::Level;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tempfile::TempDir;

fn queue(wal: &Wal, n: u8) -> Queued {
    wal.queue_open(&[n; 16], 900, Level::Commit, &field_set(n), None).unwrap()
}

async fn opened(wal: Arc<Wal>, n: u8) -> Result<(), WalError> {
    let queued = queue(&wal, n);
    wal.gathered(queued).await;
    wal.written_open(&[n; 16], queued)
}

fn flushes(wal: &Wal) -> u64 {
    wal.lock().flushes
}

#[tokio::test]
async fn one_write_serves_all_that_come_in_the_same_rounds() {
    let dir = TempDir::new().unwrap();
    let wal = wal(&dir, MAX_SEGMENT);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..20u8 {
        let wal = wal.clone();
        tasks.spawn(async move {
            // Every second one comes a round later.
            if n % 2 == 1 {
                tokio::task::yield_now().await;
            }
            opened(wal, n).await
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap().unwrap();
    }
    assert_eq!(flushes(&wal), 1);
    drop(wal);
    assert_eq!(open_ids(&replay(dir.path()).unwrap()).len(), 20);
}

#[tokio::test]
async fn alone_a_frame_is_written_after_one_round() {
    let dir = TempDir::new().unwrap();
    let wal = wal(&dir, MAX_SEGMENT);
    for n in 0..3 {
        opened(wal.clone(), n).await.unwrap();
        assert_eq!(flushes(&wal), u64::from(n) + 1);
    }
}

#[tokio::test]
async fn whoever_leads_may_leave() {
    let dir = TempDir::new().unwrap();
    let wal = wal(&dir, MAX_SEGMENT);
    let mut cx = Context::from_waker(Waker::noop());
    let (first, second) = (queue(&wal, 1), queue(&wal, 2));
    let mut leads = Box::pin(wal.gathered(first));
    assert!(leads.as_mut().poll(&mut cx).is_pending());
    let mut waiting = tokio::task::JoinSet::new();
    waiting.spawn({
        let wal = wal.clone();
        async move { wal.gathered(second).await }
    });
    tokio::task::yield_now().await;
    assert_eq!(flushes(&wal), 0);
    drop(leads);
    waiting.join_next().await.unwrap().unwrap();
    assert_eq!(flushes(&wal), 1);
    // Frame 1 was written too, though nobody waits for it any more.
    wal.written_open(&[1; 16], first).unwrap();
    assert_eq!(flushes(&wal), 1);
}

#[tokio::test]
async fn a_write_by_somebody_else_ends_the_wait_and_the_lead() {
    let dir = TempDir::new().unwrap();
    let wal = wal(&dir, MAX_SEGMENT);
    let mut cx = Context::from_waker(Waker::noop());
    let (first, second) = (queue(&wal, 1), queue(&wal, 2));
    let mut leads = pin!(wal.gathered(first));
    let mut waits = pin!(wal.gathered(second));
    assert!(leads.as_mut().poll(&mut cx).is_pending());
    assert!(waits.as_mut().poll(&mut cx).is_pending());
    // What ends a stream does not wait.
    wal.written_open(&[2; 16], second).unwrap();
    // Whoever leads wakes the others of its thread, and comes first.
    assert!(waits.as_mut().poll(&mut cx).is_pending());
    let third = queue(&wal, 3);
    let mut next = pin!(wal.gathered(third));
    assert!(next.as_mut().poll(&mut cx).is_pending());
    leads.await;
    waits.await;
    assert_eq!(wal.lock().leaders, []);
    // What came after that write has a leader of its own.
    assert!(next.as_mut().poll(&mut cx).is_pending());
    assert_eq!(wal.lock().leaders, [(place(), third.number)]);
    next.await;
    assert_eq!(flushes(&wal), 2);
}

#[tokio::test]
async fn a_failed_write_is_told_to_each() {
    let dir = TempDir::new().unwrap();
    let wal = wal(&dir, MAX_SEGMENT);
    wal.fail_after(Some(0));
    let results = futures_util::future::join_all((0..3).map(|n| opened(wal.clone(), n))).await;
    assert!(results.iter().all(|result| matches!(result, Err(WalError::Io { .. }))), "{results:?}");
    wal.fail_after(None);
    opened(wal.clone(), 9).await.unwrap();
}

#[tokio::test]
async fn nobody_waits_for_another_thread() {
    let dir = TempDir::new().unwrap();
    let wal = wal(&dir, MAX_SEGMENT);
    let mut cx = Context::from_waker(Waker::noop());
    let (first, second) = (queue(&wal, 1), queue(&wal, 2));
    let mut busy = pin!(wal.gathered(first));
    assert!(busy.as_mut().poll(&mut cx).is_pending());
    let other = std::thread::spawn({
        let wal = wal.clone();
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime
                .block_on(async { tokio::time::timeout(Duration::from_secs(10), wal.gathered(second)).await })
        }
    });
    other.join().unwrap().expect("it wrote without the first, for both");
    assert_eq!(busy.as_mut().poll(&mut cx), Poll::Ready(()));
    assert_eq!(flushes(&wal), 1);
}
