use super::*;
use colophon_receipt::record::seal;
use colophon_receipt::{Outcome, fields};
use proptest::prelude::*;
use std::collections::BTreeMap;
use tempfile::TempDir;

mod places;

pub(super) fn field_set(n: u8) -> FieldSet {
    let mut set = FieldSet::new();
    fields::write_list(fields::STRIPPED, &[vec![n; 20]], &mut set);
    set
}

impl Wal {
    /// The current segment is a pipe from now on: who writes more than that holds hangs until it is read.
    #[cfg(unix)]
    pub(crate) fn hang(&self) -> std::io::PipeReader {
        let (reader, writer) = std::io::pipe().unwrap();
        self.lock().file = Some(Arc::new(std::os::fd::OwnedFd::from(writer).into()));
        reader
    }

    /// Waits, at most ten seconds, until some thread writes.
    pub(crate) fn until_somebody_writes(&self) {
        let begun = std::time::Instant::now();
        while self.lock().writing.is_none() {
            assert!(begun.elapsed() < Duration::from_secs(10), "nobody writes");
            std::thread::yield_now();
        }
    }
}

/// Of which no pipe holds all.
pub(crate) fn large_field_set() -> FieldSet {
    let mut set = FieldSet::new();
    fields::write_list(fields::STRIPPED, &[vec![7; 2 << 20]], &mut set);
    set
}

fn record(n: u8) -> Record {
    seal([n; 16], 1000 + u64::from(n), Level::Sign, Outcome::Complete, [n; 32], field_set(n))
}

/// One in three names one.
fn tenant(n: u8) -> Option<&'static [u8]> {
    n.is_multiple_of(3).then_some(&b"ward"[..])
}

fn signature(n: u8) -> KeptSignature {
    KeptSignature { base: format!("base {n}").into_bytes(), signature: [n; 64] }
}

pub(super) fn wal(dir: &TempDir, max_segment: u64) -> Arc<Wal> {
    wal_of(Durability::Process, dir, max_segment)
}

/// Whose frames are put on a disk that forgets what was not synced (`left`).
pub(super) fn wal_on_a_disk(dir: &TempDir, max_segment: u64) -> Arc<Wal> {
    let wal = wal_of(Durability::Power, dir, max_segment);
    wal.start().unwrap();
    wal
}

fn wal_of(durability: Durability, dir: &TempDir, max_segment: u64) -> Arc<Wal> {
    let limits = Limits { durability, max_bytes: u64::MAX };
    let wal = Wal::new(dir.path().to_owned(), &replay(dir.path()).unwrap(), max_segment, limits);
    wal.set_shard("host/ab", 3);
    wal
}

/// What the disk has of each segment.
pub(super) fn kept(wal: &Wal) -> BTreeMap<u64, u64> {
    wal.syncing.double.lock().unwrap().kept.clone()
}

/// What a start would read if the power failed when the disk had `kept`: what was not synced is gone, names of segments
/// included.
pub(super) fn left(dir: &TempDir, kept: &BTreeMap<u64, u64>) -> Replay {
    let left = TempDir::new().unwrap();
    for number in segments(dir.path()).unwrap() {
        let Some(len) = kept.get(&number) else { continue };
        let bytes = std::fs::read(segment_path(dir.path(), number)).unwrap();
        std::fs::write(segment_path(left.path(), number), &bytes[..*len as usize]).unwrap();
    }
    replay(left.path()).unwrap()
}

fn open(wal: &Wal, n: u8) -> Result<(), WalError> {
    let queued = wal.queue_open(&[n; 16], 900 + u64::from(n), Level::Commit, &field_set(n), tenant(n))?;
    wal.written_open(&[n; 16], queued)
}

fn done(wal: &Wal, n: u8) -> Result<Holds, WalError> {
    let queued = wal.queue_done(&record(n), &[signature(n)], 3, n % 2 == 1, tenant(n))?;
    wal.written_done(&[n; 16], queued)
}

fn only_segment(dir: &TempDir) -> PathBuf {
    let numbers = segments(dir.path()).unwrap();
    assert_eq!(numbers.len(), 1);
    segment_path(dir.path(), numbers[0])
}

fn done_ids(replay: &Replay) -> Vec<u8> {
    replay.done.iter().map(|done| done.id[0]).collect()
}

pub(super) fn open_ids(replay: &Replay) -> Vec<u8> {
    replay.open.keys().map(|id| id[0]).collect()
}

/// Four exchanges: 1 and 2 done, 3 open, 4 done. Gives the offsets at which frames end, the header's first.
fn four(dir: &TempDir) -> (PathBuf, Vec<usize>) {
    let wal = wal(dir, MAX_SEGMENT);
    let mut ends = Vec::new();
    let mut after = |result: Result<(), WalError>| {
        result.unwrap();
        ends.push(std::fs::metadata(only_segment(dir)).unwrap().len() as usize);
    };
    after(open(&wal, 1));
    after(open(&wal, 2));
    after(done(&wal, 1).map(drop));
    after(open(&wal, 3));
    after(done(&wal, 2).map(drop));
    after(open(&wal, 4));
    after(done(&wal, 4).map(drop));
    let bytes = std::fs::read(only_segment(dir)).unwrap();
    let frame::Parsed::Good(frame::HEADER, _, header) = frame::parse(&bytes) else { panic!("no header") };
    ends.insert(0, header);
    (only_segment(dir), ends)
}

#[test]
fn what_was_written_is_read_back() {
    let dir = TempDir::new().unwrap();
    four(&dir);
    let replay = replay(dir.path()).unwrap();
    assert_eq!(done_ids(&replay), [1, 2, 4]);
    assert_eq!(open_ids(&replay), [3]);
    assert_eq!(replay.shards["host/ab"], 3);
    assert!(replay.damage.is_empty());
    let first = &replay.done[0];
    assert_eq!((&first.record, first.completed_at, first.announced), (&record(1), 1001, 3));
    assert_eq!((&first.signatures[..], first.refused), (&[signature(1)][..], true));
    assert_eq!((first.tenant.as_deref(), tenant(1)), (None, None));
    let open = &replay.open[&[3; 16]];
    assert_eq!(open.tenant.as_deref(), Some(&b"ward"[..]));
    assert_eq!((open.received_at, open.level, &open.fields), (903, Level::Commit, &field_set(3)));
}

#[test]
fn torn_at_any_byte_it_keeps_every_whole_frame() {
    let dir = TempDir::new().unwrap();
    let (path, ends) = four(&dir);
    let whole = std::fs::read(&path).unwrap();
    for len in 0..whole.len() {
        std::fs::write(&path, &whole[..len]).unwrap();
        let replay = replay(dir.path()).unwrap();
        let frames = ends.iter().filter(|end| **end <= len).count();
        // Of the frames: header, o1, o2, d1, o3, d2, o4, d4.
        let done: &[u8] = [&[][..], &[], &[], &[], &[1], &[1], &[1, 2], &[1, 2]][frames];
        let open: &[u8] = [&[][..], &[], &[1], &[1, 2], &[2], &[2, 3], &[3], &[3, 4]][frames];
        assert_eq!((done_ids(&replay), open_ids(&replay)), (done.to_vec(), open.to_vec()), "{len} bytes");
        let torn = len > 0 && !ends.contains(&len);
        assert_eq!(replay.damage.len(), usize::from(torn), "{len} bytes");
        assert!(replay.damage.iter().all(|damage| damage.torn_tail), "{len} bytes");
    }
    assert!(!path.with_extension("wal.damaged").exists());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_flipped_bit_costs_one_frame_and_is_never_silent(at in 0.0..1.0f64, bit in 0u8..8) {
        let dir = TempDir::new().unwrap();
        let (path, ends) = four(&dir);
        let mut bytes = std::fs::read(&path).unwrap();
        let at = (at * bytes.len() as f64) as usize;
        bytes[at] ^= 1 << bit;
        std::fs::write(&path, &bytes).unwrap();
        let replay = replay(dir.path()).unwrap();
        prop_assert_eq!(replay.damage.len(), 1);
        let hit = ends.iter().position(|end| at < *end).unwrap();
        let last = hit == ends.len() - 1;
        prop_assert_eq!(replay.damage[0].torn_tail, last);
        prop_assert_eq!(path.with_extension("wal.damaged").exists(), !last);
        // What stands before the damage is all there.
        let before = &[&[][..], &[], &[], &[], &[1], &[1], &[1, 2], &[1, 2]][hit];
        prop_assert!(done_ids(&replay).starts_with(before));
        // A length that can be believed leads to what stands after it.
        let in_length = at - hit.checked_sub(1).map_or(0, |h| ends[h]) < 4;
        if !in_length && hit != 7 {
            prop_assert!(done_ids(&replay).contains(&4));
        }
    }
}

#[test]
fn damage_in_the_middle_is_kept_aside_once() {
    let dir = TempDir::new().unwrap();
    let (path, ends) = four(&dir);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[ends[2] + 30] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    for _ in 0..2 {
        let replay = replay(dir.path()).unwrap();
        // DONE of 1 is damaged: it is open again; everything else is there.
        assert_eq!((done_ids(&replay), open_ids(&replay)), (vec![2, 4], vec![1, 3]));
        let damage = &replay.damage[0];
        assert_eq!((damage.offset, damage.dropped), (ends[2] as u64, (ends[3] - ends[2]) as u64));
        assert!(!damage.torn_tail);
    }
    assert_eq!(std::fs::read(path.with_extension("wal.damaged")).unwrap(), bytes);
    assert!(!path.with_extension("wal.damaged.1").exists());
}

#[test]
fn a_segment_of_garbage_is_no_torn_tail() {
    let place = frame::Place { segment: u64::MAX, folder: [0xff; 16] };
    let longest = frame::placed_header(&format!("{}/{}", "x".repeat(128), "0".repeat(16)), u64::MAX, place);
    let payload = longest;
    let mut longest = Vec::new();
    frame::frame(&mut longest, frame::HEADER, |out| out.extend_from_slice(&payload)).unwrap();
    assert!(longest.len() <= frame::MAX_HEADER);
    for byte in [0, 0xff, b'x'] {
        let dir = TempDir::new().unwrap();
        let (path, _) = four(&dir);
        let bytes = vec![byte; std::fs::metadata(&path).unwrap().len() as usize];
        assert!(bytes.len() > frame::MAX_HEADER);
        std::fs::write(&path, &bytes).unwrap();
        let replay = replay(dir.path()).unwrap();
        let damage = &replay.damage[0];
        assert_eq!((damage.offset, damage.dropped, damage.torn_tail), (0, bytes.len() as u64, false));
        assert_eq!(std::fs::read(path.with_extension("wal.damaged")).unwrap(), bytes);
    }
}

#[test]
fn a_write_that_fails_part_way_hides_nothing() {
    for room in 0..200 {
        let dir = TempDir::new().unwrap();
        let wal = wal(&dir, MAX_SEGMENT);
        open(&wal, 1).unwrap();
        wal.fail_after(Some(room));
        let failed = match done(&wal, 1) {
            Ok(_) => open(&wal, 2).is_err(),
            Err(WalError::Io { .. }) => true,
            Err(other) => panic!("{other}"),
        };
        assert!(failed || room > 150, "{room} bytes of room");
        wal.fail_after(None);
        open(&wal, 3).unwrap();
        let holds = done(&wal, 3).unwrap();
        let replay = replay(dir.path()).unwrap();
        assert!(replay.damage.is_empty(), "{room} bytes of room");
        assert!(done_ids(&replay).ends_with(&[3]), "{room} bytes of room");
        drop(holds);
    }
}

#[test]
fn a_frame_beyond_all_bounds_is_refused() {
    let dir = TempDir::new().unwrap();
    let wal = wal(&dir, MAX_SEGMENT);
    let mut set = FieldSet::new();
    fields::write_list(fields::STRIPPED, &[vec![0; frame::MAX_FRAME]], &mut set);
    assert!(matches!(wal.queue_open(&[1; 16], 1, Level::Commit, &set, None), Err(WalError::TooLarge(_))));
}

#[test]
fn segments_go_once_all_in_them_is_logged_and_in_order() {
    let dir = TempDir::new().unwrap();
    let wal = wal(&dir, 300);
    let mut holds = Vec::new();
    for n in 1..=20 {
        open(&wal, n).unwrap();
        holds.push(done(&wal, n).unwrap());
    }
    let before = segments(dir.path()).unwrap();
    assert!(before.len() > 10);
    // The first stays: nothing after it may go, or its OPENs would outlive their DONEs.
    let first = holds.remove(0);
    wal.release(holds);
    assert_eq!(segments(dir.path()).unwrap(), before);
    wal.release([first]);
    assert_eq!(segments(dir.path()).unwrap(), before[before.len() - 1..]);
    wal.finish();
    assert!(segments(dir.path()).unwrap().is_empty());
}

#[test]
fn an_exchange_open_for_long_does_not_keep_segments() {
    let dir = TempDir::new().unwrap();
    let wal = wal(&dir, 600);
    open(&wal, 200).unwrap();
    for n in 1..=100 {
        open(&wal, n).unwrap();
        let holds = done(&wal, n).unwrap();
        wal.release([holds]);
        assert!(segments(dir.path()).unwrap().len() <= MAX_LIVE + 2);
    }
    assert_eq!(open_ids(&replay(dir.path()).unwrap()), [200]);
    let holds = done(&wal, 200).unwrap();
    let after = replay(dir.path()).unwrap();
    assert_eq!((open_ids(&after), done_ids(&after).contains(&200)), (vec![], true));
    wal.release([holds]);
    wal.finish();
    assert!(segments(dir.path()).unwrap().is_empty());
}

#[test]
fn what_is_logged_is_let_go_of_in_pieces() {
    let dir = TempDir::new().unwrap();
    let wal = wal(&dir, MAX_SEGMENT);
    let mut holds = Vec::new();
    for _ in 0..3000 {
        open(&wal, 1).unwrap();
        holds.push(done(&wal, 1).unwrap());
    }
    wal.release(holds.into_iter().inspect(|_| assert!(wal.writer.try_lock().is_ok(), "locked meanwhile")));
    wal.finish();
    assert!(segments(dir.path()).unwrap().is_empty());
}

#[test]
fn queued_frames_are_one_write_in_their_order() {
    let dir = TempDir::new().unwrap();
    let wal = wal(&dir, MAX_SEGMENT);
    let queue = |n: u8| wal.queue_open(&[n; 16], 900, Level::Commit, &field_set(n), None).unwrap();
    let before = std::fs::metadata(only_segment(&dir)).unwrap().len();
    let (first, second, third) = (queue(1), queue(2), queue(3));
    assert_eq!(std::fs::metadata(only_segment(&dir)).unwrap().len(), before, "they wait");
    wal.written_open(&[2; 16], second).unwrap();
    let together = std::fs::metadata(only_segment(&dir)).unwrap().len();
    wal.written_open(&[1; 16], first).unwrap();
    wal.written_open(&[3; 16], third).unwrap();
    assert_eq!(std::fs::metadata(only_segment(&dir)).unwrap().len(), together, "the second wrote for all");
    assert_eq!(open_ids(&replay(dir.path()).unwrap()), [1, 2, 3]);
}

#[test]
fn of_queued_frames_that_find_no_room_each_is_told_for_itself() {
    let dir = TempDir::new().unwrap();
    let wal = wal(&dir, MAX_SEGMENT);
    let queue = |n: u8| wal.queue_open(&[n; 16], 900, Level::Commit, &field_set(n), None).unwrap();
    let queued: Vec<Queued> = (1..=4).map(queue).collect();
    let one = wal.lock().ends[0] as u64;
    // All four fail together; on their own the first two fit.
    wal.fail_after(Some(2 * one));
    let results: Vec<bool> =
        (1..=4u8).zip(queued).map(|(n, queued)| wal.written_open(&[n; 16], queued).is_ok()).collect();
    assert_eq!(results, [true, true, false, false]);
    assert!(wal.lock().failed.is_empty(), "nothing is remembered that was told");
    wal.fail_after(None);
    done(&wal, 1).unwrap();
    let replayed = replay(dir.path()).unwrap();
    assert_eq!((done_ids(&replayed), open_ids(&replayed)), (vec![1], vec![2]));
    assert!(replayed.damage.is_empty());
}

#[test]
fn frames_that_wait_stay_in_the_segment_they_are_for() {
    let dir = TempDir::new().unwrap();
    let wal = wal(&dir, 300);
    let queued: Vec<_> = (1..=9)
        .map(|n: u8| (n, wal.queue_open(&[n; 16], 900, Level::Commit, &field_set(n), None).unwrap()))
        .collect();
    for (n, queued) in &queued {
        wal.written_open(&[*n; 16], *queued).unwrap();
        assert_eq!(wal.lock().open[&[*n; 16]], queued.segment);
    }
    for number in segments(dir.path()).unwrap() {
        assert!(std::fs::metadata(segment_path(dir.path(), number)).unwrap().len() <= 300);
    }
    assert_eq!(open_ids(&replay(dir.path()).unwrap()), (1..=9).collect::<Vec<u8>>());
}
