//! A million jobs submitted: as many as may wait are taken, all others are refused, and neither memory nor disk goes with them.
//! A test program of its own, since it looks at its own memory.

use colophon_provers::{Queue, QueueConfig, QueueError, Request, Statement};
use std::path::Path;
use std::time::Instant;

const NOW: u64 = 1_790_000_000_000_000;
const SUBMITTED: u64 = 1_000_000;
/// Each accepted job is on the disk before the call returns, so a test takes fewer than the 100,000 of `serve`.
const WAITING: u64 = 2_000;

fn request(number: u64) -> Request {
    let mut record = [0; 32];
    record[24..].copy_from_slice(&number.to_be_bytes());
    Request {
        record: format!("record-{number}"),
        statement: Statement::about(&record, &"cd".repeat(32), "none"),
        backend: "ezkl".into(),
        rule: None,
        deadline: None,
        priority: 0,
        limits: colophon_provers::Limits::default(),
        webhook: None,
        evidence: Some(format!("{number:032x}")),
    }
}

/// Resident bytes of this process; 0 where nobody says.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let said = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    said.unwrap_or_default() << 10
}

#[test]
fn a_million_jobs_submitted_take_the_room_of_those_that_may_wait() {
    // Where there is memory for files, nothing waits for a disk.
    let memory = Path::new("/dev/shm");
    let folder = match memory.is_dir() {
        true => tempfile::tempdir_in(memory).unwrap(),
        false => tempfile::tempdir().unwrap(),
    };
    let path = folder.path().join("jobs.redb");
    let queue = Queue::open(&path, QueueConfig { max_live: WAITING, ..QueueConfig::default() }).unwrap();
    let begun = Instant::now();
    for number in 0..WAITING {
        queue.submit(request(number), NOW).unwrap();
    }
    let (taken, before, length) = (begun.elapsed(), resident(), std::fs::metadata(&path).unwrap().len());
    let begun = Instant::now();
    for number in WAITING..SUBMITTED {
        match queue.submit(request(number), NOW) {
            Err(QueueError::Full(WAITING)) => {}
            other => panic!("{number}: {other:?}"),
        }
    }
    let refused = begun.elapsed();
    assert!(before > 0, "nobody says how much memory this process has");
    let grown = resident().saturating_sub(before);
    eprintln!(
        "{WAITING} jobs taken in {taken:.1?}, {} refused in {refused:.1?}; the file has {length} bytes, memory grew by {grown}",
        SUBMITTED - WAITING
    );
    assert_eq!(std::fs::metadata(&path).unwrap().len(), length, "what is refused is not written");
    assert!(length < WAITING * 16_384 && grown < 32 << 20, "{length} bytes of file, {grown} of memory");
    assert_eq!(queue.counts().unwrap().ready, WAITING);
    // Those that wait are still to be had, and room is room again.
    let leased = queue.lease("w", &["ezkl"], NOW).unwrap().unwrap();
    queue.cancel(leased.job.id, NOW).unwrap();
    queue.submit(request(SUBMITTED), NOW).unwrap();
    assert!(queue.submit(request(5), NOW).unwrap().existed, "asking for one that waits is no submission");
}
