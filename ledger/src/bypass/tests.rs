use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn open(root: &Path, now: u64) -> Bypasses {
    Bypasses::open(root, now).unwrap()
}

#[test]
fn it_counts_while_it_lasts_and_ends_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let bypasses = open(dir.path(), 1);
    assert!(!bypasses.count(1), "without one nothing passes");
    bypasses.begin("me", "disk", 1000, Duration::from_micros(100)).unwrap();
    assert!(matches!(bypasses.begin("me", "again", 1001, HOUR), Err(BypassError::InForce(_))));
    assert!(bypasses.count(1001) && bypasses.count(1099));
    assert!(!bypasses.count(1100), "over");
    assert_eq!(bypasses.in_force(1100), None);
    let (notes, told) = bypasses.notes(1101);
    assert_eq!((notes[0].count, notes[0].ended, told.len()), (2, Some(1100), 1));
    bypasses.told(&told);
    assert_eq!(bypasses.notes(1102), (vec![], vec![]));
    assert_eq!(fs::read_dir(dir.path().join(FOLDER)).unwrap().count(), 0);
}

#[test]
fn a_later_life_goes_on_with_it_and_knows_the_count() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path(), 1);
    first.begin("me", "disk", 1000, HOUR).unwrap();
    assert!(first.count(1001) && first.count(1002) && first.count(1003));
    drop(first);
    let second = open(dir.path(), 2000);
    assert!(second.count(2001));
    assert_eq!(second.in_force(2002).map(|told| (told.exchanges, told.remembered)), Some((4, true)));
    assert_eq!(second.end(2003).map(|told| told.exchanges), Some(4));
    assert!(!second.count(2004));
    drop(second);
    // Ended, and not told yet.
    let third = open(dir.path(), 3000);
    assert!(!third.count(3001));
    let (notes, told) = third.notes(3002);
    assert_eq!((notes[0].count, notes[0].ended, told.len()), (4, Some(2003), 1));
    drop(third);
    // Over while nothing ran.
    let dir = tempfile::tempdir().unwrap();
    open(dir.path(), 1).begin("me", "disk", 1000, HOUR).unwrap();
    let late = open(dir.path(), 1000 + HOUR.as_micros() as u64);
    assert!(!late.count(1000 + HOUR.as_micros() as u64));
    assert!(late.notes(u64::MAX).0[0].ended.is_some());
}

#[test]
fn what_is_not_bounded_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let bypasses = open(dir.path(), 1);
    for (who, why, time) in [
        ("", "disk", HOUR),
        ("me", " ", HOUR),
        ("me", "disk", Duration::ZERO),
        ("me", "disk", 25 * HOUR),
        ("me", &"x".repeat(MAX_WHY + 1), HOUR),
    ] {
        assert_eq!(bypasses.begin(who, why, 1, time), Err(BypassError::Form));
    }
    // Somebody made one that never ends.
    let told = bypasses.begin("me", "disk", 1, HOUR).unwrap();
    let file = dir.path().join(FOLDER).join(format!("{}.json", told.id));
    let longer = fs::read_to_string(&file).unwrap().replace("3600000001", "360000000000001");
    fs::write(&file, longer).unwrap();
    assert!(!open(dir.path(), 2).count(2));
}

#[test]
fn a_folder_that_cannot_be_written_keeps_nobody_from_breaking_the_glass() {
    let dir = tempfile::tempdir().unwrap();
    let bypasses = open(dir.path(), 1);
    fs::write(dir.path().join(FOLDER), "in the way").unwrap();
    assert!(!bypasses.begin("me", "disk", 1000, HOUR).unwrap().remembered);
    assert!(bypasses.count(1001));
    assert_eq!(bypasses.end(1002).map(|told| told.exchanges), Some(1));
}
