use super::super::segments;
use super::super::tests::{kept, left, open_ids, wal_on_a_disk as wal};
use super::*;
use colophon_receipt::record::{FieldSet, Record, seal};
use colophon_receipt::{Level, Outcome};
use std::collections::BTreeMap;
use std::sync::Arc;
use tempfile::TempDir;

/// Its OPEN fits a segment with some others.
const MAX_SEGMENT: u64 = 600;
/// The exchange that stays open.
const LONG: u8 = 200;

fn record(n: u8) -> Record {
    seal([n; 16], 1000 + u64::from(n), Level::Commit, Outcome::Complete, [n; 32], FieldSet::new())
}

async fn open(wal: &Wal, n: u8) {
    let queued = wal.queue_open(&[n; 16], 900, Level::Commit, &FieldSet::new(), None).unwrap();
    wal.written_open(&[n; 16], queued).unwrap();
    wal.safe(queued).await.unwrap();
}

fn done(wal: &Wal, n: u8) -> (Queued, Holds) {
    let queued = wal.queue_done(&record(n), &[], 3, false, None).unwrap();
    (queued, wal.written_done(&[n; 16], queued).unwrap())
}

/// A WAL where exchanges came and went until the long one's segment, the first, is due; and what lets go of theirs.
struct Due {
    dir: TempDir,
    wal: Arc<Wal>,
    holds: Vec<Holds>,
    first: u64,
}

async fn due() -> Due {
    let dir = TempDir::new().unwrap();
    let wal = wal(&dir, MAX_SEGMENT);
    open(&wal, LONG).await;
    let mut holds = Vec::new();
    for n in 1..LONG {
        let numbers = segments(dir.path()).unwrap();
        if numbers.len() > MAX_LIVE {
            return Due { dir, wal, holds, first: numbers[0] };
        }
        open(&wal, n).await;
        let (queued, held) = done(&wal, n);
        wal.safe(queued).await.unwrap();
        holds.push(held);
    }
    panic!("no segment is due");
}

fn first_segment(dir: &TempDir) -> u64 {
    segments(dir.path()).unwrap()[0]
}

/// The exchanges that a start would find open if the power failed when the disk had `kept`.
fn open_after_power_loss(dir: &TempDir, kept: &BTreeMap<u64, u64>) -> Vec<u8> {
    open_ids(&left(dir, kept))
}

/// Waits until the disk has said what became of all that is written.
async fn synced(wal: &Wal) {
    let written = wal.lock().settled;
    let waited = tokio::time::timeout(std::time::Duration::from_secs(10), wal.syncing.wait(written)).await;
    waited.expect("the disk has a thread that writes to it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_segment_stays_until_the_copy_of_its_open_is_on_the_disk() {
    let Due { dir, wal, holds, first } = due().await;
    let before = {
        // Nothing is synced meanwhile.
        let double = wal.syncing.double.lock().unwrap();
        wal.release(holds);
        wal.release([]);
        double.kept.clone()
    };
    assert_ne!(wal.lock().open[&[LONG; 16]], first, "it is copied");
    assert_eq!(first_segment(&dir), first);
    assert_eq!(open_after_power_loss(&dir, &before), [LONG]);
    // Nothing else is written: the copy is synced all the same.
    synced(&wal).await;
    wal.release([]);
    assert!(first_segment(&dir) > first);
    assert!(wal.lock().carried.is_empty());
    assert_eq!(open_after_power_loss(&dir, &kept(&wal)), [LONG]);
    wal.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_the_disk_did_not_take_is_made_again() {
    let Due { dir, wal, holds, first } = due().await;
    wal.syncing.double.lock().unwrap().broken = 2;
    wal.release(holds);
    for _ in 0..2 {
        synced(&wal).await;
        assert_eq!(first_segment(&dir), first);
        assert_eq!(open_after_power_loss(&dir, &kept(&wal)), [LONG]);
        // The old frame is the exchange's again, and is copied again.
        wal.release([]);
    }
    synced(&wal).await;
    wal.release([]);
    assert!(first_segment(&dir) > first);
    assert_eq!(open_after_power_loss(&dir, &kept(&wal)), [LONG]);
    wal.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_as_are_open_move_together() {
    let (dir, many) = (TempDir::new().unwrap(), 2 * PIECE as u32 + 1);
    let wal = wal(&dir, super::super::MAX_SEGMENT);
    for n in 0..many {
        let mut id = [0; 16];
        id[12..].copy_from_slice(&n.to_be_bytes());
        let queued = wal.queue_open(&id, 900, Level::Commit, &FieldSet::new(), None).unwrap();
        wal.written_open(&id, queued).unwrap();
    }
    synced(&wal).await;
    let retired = wal.retire().unwrap();
    {
        // Nothing is synced meanwhile.
        let _double = wal.syncing.double.lock().unwrap();
        wal.release([]);
        assert_eq!(wal.lock().carried.len(), many as usize);
    }
    synced(&wal).await;
    wal.release([]);
    assert!(wal.lock().carried.is_empty() && wal.is_gone(retired).unwrap());
    assert_eq!(open_after_power_loss(&dir, &kept(&wal)).len(), many as usize);
    wal.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exchange_that_ends_before_its_copy_is_safe_keeps_the_old_segment() {
    for broken in [0, usize::MAX] {
        let Due { dir, wal, holds, first } = due().await;
        let (before, (queued, long)) = {
            let mut double = wal.syncing.double.lock().unwrap();
            double.broken = broken;
            wal.release(holds);
            let ended = done(&wal, LONG);
            wal.release([]);
            (double.kept.clone(), ended)
        };
        assert_eq!(first_segment(&dir), first);
        assert_eq!(open_after_power_loss(&dir, &before), [LONG]);
        assert_eq!(wal.safe(queued).await.is_ok(), broken == 0);
        wal.release([]);
        assert_eq!(first_segment(&dir), first, "its record is not logged yet");
        wal.release([long]);
        wal.finish();
        assert!(segments(dir.path()).unwrap().is_empty());
        assert!(wal.lock().held.values().all(|count| *count == 0));
        wal.stop();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retired_segment_goes_though_its_exchange_stays_open_and_nothing_else_is_written() {
    let dir = TempDir::new().unwrap();
    let wal = wal(&dir, super::super::MAX_SEGMENT);
    open(&wal, LONG).await;
    let retired = wal.retire().unwrap();
    let gone = async {
        loop {
            wal.release([]);
            if wal.is_gone(retired).unwrap() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), gone).await.expect("it goes");
    assert_eq!(open_after_power_loss(&dir, &kept(&wal)), [LONG]);
    wal.stop();
}
