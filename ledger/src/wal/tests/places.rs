//! Segments that are not where they were written.

use super::*;

/// A WAL of three segments, with exchange 1 in the first and so on, all open.
fn three(dir: &TempDir) -> Vec<PathBuf> {
    let wal = wal(dir, 1);
    (1..=3).for_each(|n| open(&wal, n).unwrap());
    let numbers = segments(dir.path()).unwrap();
    assert_eq!(numbers, [1, 2, 3]);
    numbers.into_iter().map(|number| segment_path(dir.path(), number)).collect()
}

/// Why the WAL is refused, and which file that names.
fn refused(dir: &TempDir) -> String {
    match replay(dir.path()) {
        Err(error @ WalError::Foreign { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_segment_of_another_data_folder_is_refused_by_name() {
    let (ours, theirs) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (mine, other) = (three(&ours), three(&theirs));
    // In the place of one of ours, after them, and joined to one.
    let after = segment_path(ours.path(), 4);
    let joined = [std::fs::read(&mine[2]).unwrap(), std::fs::read(&other[2]).unwrap()].concat();
    for (place, bytes) in [
        (&mine[1], std::fs::read(&other[1]).unwrap()),
        (&after, std::fs::read(&other[0]).unwrap()),
        (&mine[2], joined),
    ] {
        let good = std::fs::read(place).ok();
        std::fs::write(place, bytes).unwrap();
        let said = refused(&ours);
        let name = place.display().to_string();
        assert!(
            said.starts_with(&name) && said.contains("another data folder") && said.contains("host/ab"),
            "{said}"
        );
        match good {
            Some(good) => std::fs::write(place, good).unwrap(),
            None => std::fs::remove_file(place).unwrap(),
        }
    }
    // Nothing was changed or set aside.
    assert_eq!(open_ids(&replay(ours.path()).unwrap()), [1, 2, 3]);
    assert!(damaged_copies(ours.path()).unwrap().is_empty());
}

#[test]
fn reordered_repeated_and_joined_segments_give_each_exchange_once() {
    let dir = TempDir::new().unwrap();
    let wal = wal(&dir, 1);
    open(&wal, 1).unwrap();
    done(&wal, 1).unwrap();
    open(&wal, 2).unwrap();
    let paths: Vec<_> =
        segments(dir.path()).unwrap().into_iter().map(|number| segment_path(dir.path(), number)).collect();
    let bytes: Vec<_> = paths.iter().map(|path| std::fs::read(path).unwrap()).collect();
    let [open_1, done_1, open_2] = bytes.as_slice() else { panic!("{paths:?}") };
    // DONE before its OPEN, one of them twice, one behind another.
    for (first, second, third) in [
        (done_1.clone(), open_1.clone(), open_2.clone()),
        (open_2.clone(), done_1.clone(), open_1.clone()),
        (open_1.clone(), [&done_1[..], open_1].concat(), [&open_2[..], done_1].concat()),
    ] {
        for (path, bytes) in paths.iter().zip([first, second, third]) {
            std::fs::write(path, bytes).unwrap();
        }
        let replayed = replay(dir.path()).unwrap();
        assert_eq!((done_ids(&replayed), open_ids(&replayed)), (vec![1], vec![2]));
        assert!(replayed.damage.is_empty());
    }
}

#[test]
fn a_segment_that_is_gone_is_told() {
    let dir = TempDir::new().unwrap();
    let paths = three(&dir);
    std::fs::remove_file(&paths[1]).unwrap();
    let replayed = replay(dir.path()).unwrap();
    assert_eq!(open_ids(&replayed), [1, 3]);
    let missing: Vec<_> = replayed.damage.iter().map(|damage| (&damage.segment, damage.torn_tail)).collect();
    assert_eq!(missing, [(&paths[1], false)]);
    // Those that were logged go first, so a first one that is not there is nothing.
    std::fs::remove_file(&paths[0]).unwrap();
    assert!(replay(dir.path()).unwrap().damage.is_empty());
}

#[test]
fn a_folder_knows_its_segments_without_its_file_and_those_of_earlier_builds() {
    let (ours, theirs) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (_, other) = (three(&ours), three(&theirs));
    let file = ours.path().join("folder");
    let id = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert_eq!(open_ids(&replay(ours.path()).unwrap()), [1, 2, 3]);
    assert_eq!(std::fs::read(&file).unwrap(), id);
    for bad in ["", "xyz\n", "00\n"] {
        std::fs::write(&file, bad).unwrap();
        assert!(matches!(replay(ours.path()), Err(WalError::Io { path, .. }) if path == file), "{bad}");
    }
    std::fs::write(&file, &id).unwrap();
    // A header without a place, as earlier builds wrote it.
    let mut earlier = Vec::new();
    frame::frame(&mut earlier, frame::HEADER, |out| out.extend_from_slice(&frame::header("host/aa", 2)))
        .unwrap();
    let bytes = std::fs::read(&other[0]).unwrap();
    let frame::Parsed::Good(frame::HEADER, _, header) = frame::parse(&bytes) else { panic!("no header") };
    earlier.extend_from_slice(&bytes[header..]);
    std::fs::write(segment_path(ours.path(), 4), &earlier).unwrap();
    let replayed = replay(ours.path()).unwrap();
    assert_eq!((replayed.shards["host/aa"], replayed.damage.len()), (2, 0));
}
