use super::super::tests::{kept, left, wal as wal_that_writes, wal_on_a_disk as wal};
use super::super::{MAX_SEGMENT, Queued, Wal, WalError, replay, segments};
use super::*;
use colophon_receipt::record::{FieldSet, Record, seal};
use colophon_receipt::{Level, Outcome};
use tempfile::TempDir;

fn record(n: u16) -> Record {
    let mut id = [0; 16];
    id[14..].copy_from_slice(&n.to_be_bytes());
    seal(id, 1000 + u64::from(n), Level::Commit, Outcome::Complete, [1; 32], FieldSet::new())
}

fn queue(wal: &Wal, n: u16) -> Queued {
    wal.queue_done(&record(n), &[], 3, false, None).unwrap()
}

/// Waits, at most ten seconds, until the first frame's sync is under way.
fn until_somebody_syncs(wal: &Wal) {
    let begun = std::time::Instant::now();
    while wal.lock().new_segment {
        assert!(begun.elapsed() < std::time::Duration::from_secs(10), "nobody syncs");
        std::thread::yield_now();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_waited_for_survives_a_loss_of_power() {
    for max_segment in [MAX_SEGMENT, 700] {
        let dir = TempDir::new().unwrap();
        let wal = wal(&dir, max_segment);
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..300u16 {
            let wal = wal.clone();
            tasks.spawn(async move {
                let queued = queue(&wal, n);
                // Every third only queues: it may be lost.
                if n % 3 > 0 {
                    wal.durable(queued).await.unwrap();
                    return Some(n);
                }
                None
            });
        }
        let safe: Vec<u16> = tasks.join_all().await.into_iter().flatten().collect();
        assert_eq!(safe.len(), 200);
        let replayed = left(&dir, &kept(&wal));
        wal.stop();
        assert!(replayed.damage.is_empty());
        for n in safe {
            let id = record(n).leaf_hash;
            assert!(replayed.done.iter().any(|done| done.record.leaf_hash == id), "record {n} is gone");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exchange_of_which_something_was_released_survives_a_loss_of_power() {
    let dir = TempDir::new().unwrap();
    let wal = wal(&dir, MAX_SEGMENT);
    let open = |n: u8| {
        let queued = wal.queue_open(&[n; 16], 900, Level::Commit, &FieldSet::new(), None).unwrap();
        wal.written_open(&[n; 16], queued).unwrap();
        queued
    };
    wal.safe(open(1)).await.unwrap();
    wal.syncing.double.lock().unwrap().broken = usize::MAX;
    assert!(matches!(wal.safe(open(2)).await, Err(WalError::Io { .. })));
    let replayed = left(&dir, &kept(&wal));
    wal.stop();
    assert_eq!(replayed.open.keys().collect::<Vec<_>>(), [&[1; 16]]);
}

#[tokio::test]
async fn without_waiting_nothing_is_safe() {
    // The double forgets: a test that could not fail would show nothing.
    let dir = TempDir::new().unwrap();
    let wal = wal_that_writes(&dir, MAX_SEGMENT);
    let queued = queue(&wal, 1);
    wal.durable(queued).await.unwrap();
    wal.written_done(&[0; 16], queued).unwrap();
    assert_eq!(replay(dir.path()).unwrap().done.len(), 1);
    assert_eq!(left(&dir, &kept(&wal)).done.len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_cannot_is_told_to_who_waits_and_the_next_segment_is_tried() {
    let dir = TempDir::new().unwrap();
    let wal = wal(&dir, MAX_SEGMENT);
    wal.durable(queue(&wal, 1)).await.unwrap();
    wal.syncing.double.lock().unwrap().broken = usize::MAX;
    assert!(matches!(wal.durable(queue(&wal, 2)).await, Err(WalError::Io { .. })));
    wal.syncing.double.lock().unwrap().broken = 0;
    wal.durable(queue(&wal, 3)).await.unwrap();
    assert_eq!(segments(dir.path()).unwrap().len(), 2, "pages that failed once may be forgotten");
    let kept: Vec<u64> = left(&dir, &kept(&wal)).done.iter().map(|done| done.completed_at).collect();
    assert!(kept.contains(&1001) && kept.contains(&1003));
    wal.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_late_about_a_failed_sync_is_told_so() {
    let dir = TempDir::new().unwrap();
    let wal = wal(&dir, MAX_SEGMENT);
    let (mut lost, mut kept) = (Vec::new(), Vec::new());
    for n in 0..6u8 {
        // Each second sync fails.
        wal.syncing.double.lock().unwrap().broken = usize::from(n % 2);
        let open = wal.queue_open(&[n; 16], 900, Level::Commit, &FieldSet::new(), None).unwrap();
        wal.written_open(&[n; 16], open).unwrap();
        assert_eq!(wal.safe(open).await.is_err(), n % 2 == 1, "asked at once");
        if n % 2 == 1 { &mut lost } else { &mut kept }.push(open);
    }
    wal.durable(queue(&wal, 9)).await.unwrap();
    for open in lost {
        assert!(matches!(wal.safe(open).await, Err(WalError::Io { .. })), "{open:?}");
    }
    for open in kept {
        wal.safe(open).await.unwrap();
    }
    wal.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_disk_is_not_tried_for_every_answer() {
    let dir = TempDir::new().unwrap();
    let wal = wal(&dir, MAX_SEGMENT);
    wal.syncing.double.lock().unwrap().broken = usize::MAX;
    let begun = std::time::Instant::now();
    let mut told = 0;
    while told < 4 {
        // Both wait for the same sync, or for the next.
        let (one, two) = (queue(&wal, told), queue(&wal, told + 1));
        assert!(wal.durable(one).await.is_err() && wal.durable(two).await.is_err());
        told += 2;
    }
    wal.durable(queue(&wal, 9)).await.unwrap_err();
    assert!(begun.elapsed() >= PAUSE * 2, "{:?}", begun.elapsed());
    let syncs = usize::MAX - wal.syncing.double.lock().unwrap().broken;
    assert!(segments(dir.path()).unwrap().len() <= syncs + 1);
    assert!((3..=5).contains(&syncs), "{syncs} syncs for five answers");
    wal.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_neither_written_nor_synced_leaves_nothing_behind() {
    let dir = TempDir::new().unwrap();
    let wal = wal(&dir, MAX_SEGMENT);
    let queued = queue(&wal, 1);
    wal.syncing.double.lock().unwrap().broken = 1;
    wal.fail_after(Some(0));
    wal.durable(queued).await.unwrap_err();
    assert!(wal.lock().failed.is_empty());
    wal.fail_after(None);
    wal.durable(queue(&wal, 2)).await.unwrap();
    wal.stop();
}

#[test]
fn what_is_remembered_of_failed_syncs_is_bounded_and_errs_on_the_safe_side() {
    let mut reached = Reached::default();
    // Ten frames a sync; each second one fails.
    let frames = |sync: u64| sync * 10 + 1..=sync * 10 + 10;
    let syncs = 10 * MAX_FAILED as u64;
    for sync in 0..syncs {
        reached.ended(*frames(sync).end(), sync % 2 == 0);
        assert!(reached.failed.len() <= MAX_FAILED);
        assert!(sync % 2 == 1 || frames(sync).all(|frame| !reached.has_failed(frame)), "told at once");
    }
    let failed = (0..syncs).filter(|sync| sync % 2 == 1);
    assert!(failed.flat_map(frames).all(|frame| reached.has_failed(frame)));
    let late = syncs - 2 * MAX_FAILED as u64 + 2..syncs;
    assert!(late.filter(|sync| sync % 2 == 0).flat_map(frames).all(|frame| !reached.has_failed(frame)));
    // A disk that is broken for good is one range.
    let before = reached.failed.len();
    (syncs..2 * syncs).for_each(|sync| reached.ended(*frames(sync).end(), false));
    assert_eq!(reached.failed.len(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_while_a_sync_fails_is_not_safe() {
    let dir = TempDir::new().unwrap();
    let wal = wal(&dir, MAX_SEGMENT);
    let (first, second) = {
        // The sync of the first frame waits here, and fails once the second is written.
        let mut double = wal.syncing.double.lock().unwrap();
        let first = queue(&wal, 1);
        wal.written_done(&[0; 16], first).unwrap();
        until_somebody_syncs(&wal);
        let second = queue(&wal, 2);
        wal.written_done(&[0; 16], second).unwrap();
        double.broken = 1;
        (first, second)
    };
    assert!(matches!(wal.safe(first).await, Err(WalError::Io { .. })));
    assert!(matches!(wal.safe(second).await, Err(WalError::Io { .. })));
    wal.durable(queue(&wal, 3)).await.unwrap();
    wal.stop();
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_to_a_segment_that_is_given_up_is_safe_only_if_that_is_synced() {
    let dir = TempDir::new().unwrap();
    let wal = wal(&dir, MAX_SEGMENT);
    let (synced, written) = {
        // The sync of the first frame waits here.
        let _disk = wal.syncing.double.lock().unwrap();
        let synced = queue(&wal, 1);
        wal.written_done(&[0; 16], synced).unwrap();
        until_somebody_syncs(&wal);
        // A pipe cannot be synced, and neither written to nor cut off once nobody reads it.
        let reader = wal.hang();
        let written = queue(&wal, 2);
        wal.written_done(&[0; 16], written).unwrap();
        drop(reader);
        assert!(wal.written_done(&[0; 16], queue(&wal, 3)).is_err());
        assert!(wal.lock().file.is_none(), "given up");
        (synced, written)
    };
    wal.safe(synced).await.unwrap();
    assert!(matches!(wal.safe(written).await, Err(WalError::Io { .. })));
    wal.durable(queue(&wal, 4)).await.unwrap();
    wal.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_thread_ends_with_the_wal() {
    let dir = TempDir::new().unwrap();
    let wal = wal(&dir, MAX_SEGMENT);
    wal.durable(queue(&wal, 1)).await.unwrap();
    wal.stop();
    let ended = async {
        while Arc::strong_count(&wal) > 1 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), ended).await.expect("the thread ends");
}
