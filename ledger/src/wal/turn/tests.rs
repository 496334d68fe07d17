use super::*;
use crate::wal::tests::{field_set, large_field_set, open_ids, wal};
use crate::wal::{Holds, MAX_SEGMENT, frame, replay, segments};
use colophon_receipt::record::FieldSet;
use colophon_receipt::{Level, fields};
use std::io::{PipeReader, Read};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;
use tempfile::TempDir;

/// Nothing here takes longer, unless somebody is never woken.
const PATIENCE: Duration = Duration::from_secs(20);

fn queue(wal: &Wal, n: u8) -> Queued {
    wal.queue_open(&[n; 16], 900, Level::Commit, &field_set(n), None).unwrap()
}

/// What became of a frame.
type Told = Result<(), WalError>;

/// Exchange 1, whose frame no pipe holds, begins on a thread of its own.
fn hog(wal: &Arc<Wal>) -> JoinHandle<Told> {
    let hog = wal.clone();
    let thread = std::thread::spawn(move || {
        let queued = hog.queue_open(&[1; 16], 900, Level::Commit, &large_field_set(), None).unwrap();
        block_on(hog.gathered(queued));
        hog.written_open(&[1; 16], queued)
    });
    wal.until_somebody_writes();
    thread
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, work).await.expect("it is woken") })
}

/// The exchanges of the OPEN frames that come out of a pipe, of which a piece is read after each pause.
#[allow(clippy::disallowed_methods, reason = "a thread of its own")]
fn read_ids(mut pipe: PipeReader, pause: Duration) -> Vec<u8> {
    let (mut bytes, mut piece) = (Vec::new(), [0; 16 << 10]);
    loop {
        match pipe.read(&mut piece).unwrap() {
            0 => break,
            len => bytes.extend_from_slice(&piece[..len]),
        }
        std::thread::sleep(pause);
    }
    let (mut ids, mut rest) = (Vec::new(), bytes.as_slice());
    while !rest.is_empty() {
        let frame::Parsed::Good(frame::OPEN, payload, step) = frame::parse(rest) else { panic!("{ids:?}") };
        ids.push(frame::OpenFrame::read(payload).unwrap().id[0]);
        rest = &rest[step..];
    }
    ids
}

/// Exchanges 2 to 4, which come on a thread of their own while another one writes; what became of each.
fn behind(wal: Arc<Wal>, steps: Sender<&'static str>) -> Vec<Told> {
    let opened = async |n: u8| {
        let queued = queue(&wal, n);
        wal.gathered(queued).await;
        wal.written_open(&[n; 16], queued)
    };
    block_on(async {
        let mut all = std::pin::pin!(futures_util::future::join_all((2..=4).map(opened)));
        let other_work = async {
            steps.send("goes on").unwrap();
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            steps.send("went on").unwrap();
        };
        tokio::select! {
            biased;
            _ = &mut all => panic!("the disk has not taken it"),
            () = other_work => {}
        }
        all.await
    })
}

/// Starts those, and waits until their thread has done other work.
fn start_behind(wal: &Arc<Wal>) -> JoinHandle<Vec<Told>> {
    let (steps, seen): (_, Receiver<&str>) = channel();
    let thread = std::thread::spawn({
        let wal = wal.clone();
        move || behind(wal, steps)
    });
    assert_eq!(seen.recv_timeout(PATIENCE).expect("the lock is free"), "goes on");
    assert_eq!(seen.recv_timeout(PATIENCE).expect("their thread is free"), "went on");
    thread
}

/// A write that hangs, and those behind it: what takes it, its thread, and theirs.
fn hung(wal: &Arc<Wal>) -> (std::io::PipeReader, JoinHandle<Told>, JoinHandle<Vec<Told>>) {
    let pipe = wal.hang();
    let hog = hog(wal);
    (pipe, hog, start_behind(wal))
}

#[test]
fn while_a_write_hangs_others_queue_and_their_threads_go_on() {
    let dir = TempDir::new().unwrap();
    let wal = wal(&dir, MAX_SEGMENT);
    let (pipe, hog, behind) = hung(&wal);
    // One that cannot wait as a future: it has a thread to wait on.
    let last = std::thread::spawn({
        let wal = wal.clone();
        let queued = queue(&wal, 5);
        move || wal.written_open(&[5; 16], queued)
    });
    assert_eq!(wal.lock().settled, 0, "nobody is told before it is written");
    assert!(!hog.is_finished() && !behind.is_finished() && !last.is_finished());
    let read = std::thread::spawn(move || read_ids(pipe, Duration::ZERO));
    hog.join().unwrap().unwrap();
    assert!(behind.join().unwrap().iter().all(Result::is_ok));
    last.join().unwrap().unwrap();
    assert_eq!(wal.lock().flushes, 2, "one write for all who came behind");
    wal.lock().file = None;
    assert_eq!(read.join().unwrap(), [1, 2, 3, 4, 5]);
    let writer = wal.lock();
    assert!(writer.leaders.is_empty() && !writer.awaited);
}

#[test]
fn a_write_that_breaks_off_is_told_to_those_behind_it_too() {
    let dir = TempDir::new().unwrap();
    let wal = wal(&dir, MAX_SEGMENT);
    let (pipe, hog, behind) = hung(&wal);
    // In the middle of the first frame; and it cannot be cut off again, so the segment takes no more.
    drop(pipe);
    assert!(matches!(hog.join().unwrap(), Err(WalError::Io { .. })));
    let told = behind.join().unwrap();
    assert!(told.iter().all(|result| matches!(result, Err(WalError::Io { .. }))), "{told:?}");
    let next = queue(&wal, 9);
    wal.written_open(&[9; 16], next).unwrap();
    assert_eq!(next.segment, 2);
    let writer = wal.lock();
    assert!(writer.failed.is_empty() && writer.open.len() == 1 && writer.held[&1] == 0);
    drop(writer);
    assert_eq!(open_ids(&replay(dir.path()).unwrap()), [9]);
}

#[test]
fn only_those_whose_write_failed_are_told_so() {
    let dir = TempDir::new().unwrap();
    let wal = wal(&dir, MAX_SEGMENT);
    for fails in [true, false] {
        let (first, second) = (2 + u8::from(fails) * 2, 3 + u8::from(fails) * 2);
        let ours = queue(&wal, first);
        wal.fail_after(fails.then_some(10));
        let mut turn = wal.lock().take(None);
        let behind = queue(&wal, second);
        assert_eq!(behind.number, ours.number + 1);
        turn.write(&wal.dir);
        wal.lock().put(turn).unwrap();
        wal.fail_after((!fails).then_some(10));
        assert_eq!(wal.written_open(&[second; 16], behind).is_ok(), fails);
        assert_eq!(wal.written_open(&[first; 16], ours).is_ok(), !fails);
    }
    let replayed = replay(dir.path()).unwrap();
    assert_eq!((open_ids(&replayed), replayed.damage.len()), (vec![2, 5], 0));
}

#[test]
fn what_is_queued_while_a_segment_is_begun_is_for_that() {
    let dir = TempDir::new().unwrap();
    let wal = wal(&dir, MAX_SEGMENT);
    let before = queue(&wal, 1);
    let header = wal.lock().next_header().unwrap();
    let mut turn = wal.lock().take(Some(header));
    let after = queue(&wal, 2);
    assert_eq!((before.segment, after.segment), (1, 2));
    turn.write(&wal.dir);
    wal.lock().put(turn).unwrap();
    wal.written_open(&[1; 16], before).unwrap();
    wal.written_open(&[2; 16], after).unwrap();
    assert_eq!(open_ids(&replay(dir.path()).unwrap()), [1, 2]);
    // One that cannot be begun: who waits for it is told, and who comes then tries again.
    std::fs::write(segment_path(dir.path(), 3), b"").unwrap();
    let header = wal.lock().next_header().unwrap();
    let mut turn = wal.lock().take(Some(header));
    let lost = queue(&wal, 3);
    turn.write(&wal.dir);
    assert!(matches!(wal.lock().put(turn), Err(WalError::Io { .. })));
    assert!(matches!(wal.written_open(&[3; 16], lost), Err(WalError::Io { .. })));
    std::fs::remove_file(segment_path(dir.path(), 3)).unwrap();
    let next = queue(&wal, 4);
    wal.written_open(&[4; 16], next).unwrap();
    assert_eq!((lost.segment, next.segment), (3, 3));
    assert_eq!(open_ids(&replay(dir.path()).unwrap()), [1, 2, 4]);
}

#[test]
fn a_segment_that_is_being_begun_is_not_deleted() {
    let dir = TempDir::new().unwrap();
    let wal = wal(&dir, MAX_SEGMENT);
    wal.finish();
    assert!(segments(dir.path()).unwrap().is_empty());
    let header = wal.lock().next_header().unwrap();
    let mut turn = wal.lock().take(Some(header));
    // Held by an exchange that leaves at once, and then by nobody.
    let left = queue(&wal, 1);
    wal.let_go(Holds(vec![left.segment]));
    turn.write(&wal.dir);
    wal.release([]);
    assert_eq!(segments(dir.path()).unwrap(), [2]);
    wal.lock().put(turn).unwrap();
    let next = queue(&wal, 2);
    wal.written_open(&[2; 16], next).unwrap();
    assert_eq!((left.segment, next.segment), (2, 2));
    assert_eq!(open_ids(&replay(dir.path()).unwrap()), [1, 2]);
}

#[test]
fn a_segment_that_is_written_takes_more_rather_than_have_somebody_wait() {
    let dir = TempDir::new().unwrap();
    let wal = wal(&dir, 300);
    let ours = queue(&wal, 1);
    let mut turn = wal.lock().take(None);
    let behind: Vec<(u8, Queued)> = (2..=9).map(|n| (n, queue(&wal, n))).collect();
    assert!(behind.iter().all(|(_, queued)| queued.segment == ours.segment));
    turn.write(&wal.dir);
    wal.lock().put(turn).unwrap();
    for (n, queued) in behind {
        wal.written_open(&[n; 16], queued).unwrap();
    }
    assert_eq!(queue(&wal, 10).segment, ours.segment + 1);
    let replayed = replay(dir.path()).unwrap();
    assert_eq!((open_ids(&replayed), replayed.damage.len()), ((1..=9).collect(), 0));
}

/// Threads that queue, wait, leave and come again, on a disk that is slow every now and then: everybody is woken, and every
/// frame is there once, in its order.
#[test]
fn nobody_is_forgotten() {
    const THREADS: u8 = 4;
    const EACH: u8 = 60;
    let dir = TempDir::new().unwrap();
    let wal = wal(&dir, MAX_SEGMENT);
    let pipe = wal.hang();
    let read = std::thread::spawn(move || read_ids(pipe, Duration::from_micros(300)));
    let mut set = FieldSet::new();
    fields::write_list(fields::STRIPPED, &[vec![1; 20_000]], &mut set);
    let exchange = async |n: u8| {
        let queued = wal.queue_open(&[n; 16], 900, Level::Commit, &set, None).unwrap();
        match n % 4 {
            // Leaves while it waits; it is written all the same.
            0 => drop(tokio::time::timeout(Duration::from_micros(200), wal.gathered(queued)).await),
            1 if wal.settled_now(queued) => {}
            _ => wal.gathered(queued).await,
        }
        wal.written_open(&[n; 16], queued).unwrap();
        (queued.number, n)
    };
    let mut order: Vec<(u64, u8)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let exchange = &exchange;
                scope.spawn(move || {
                    block_on(futures_util::future::join_all((0..EACH).map(|n| exchange(thread * EACH + n))))
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    order.sort_unstable();
    assert!(wal.lock().flushes > 1, "there was somebody to wait for");
    wal.lock().file = None;
    let ids = read.join().unwrap();
    assert_eq!(ids, order.iter().map(|(_, n)| *n).collect::<Vec<u8>>());
    assert_eq!(ids.len(), usize::from(THREADS * EACH));
}
