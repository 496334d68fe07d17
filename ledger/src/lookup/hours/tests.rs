use super::*;
use crate::index::tests::HOUR;
use crate::log::tests::support::memory;

/// What an hour with so many files has.
fn known(files: u64) -> Known {
    let name = |n| format!("{:013}-{:013}-0102-{n}", HOUR + n, HOUR + n);
    Known { files: sorted((0..files).map(name).collect()), listed: None }
}

#[test]
fn what_is_remembered_is_bounded_and_the_last_used_stays() {
    let hours = Hours::default();
    let first = hours.of(0);
    hours.keep(&first, known(1000));
    for hour in 1..40 {
        hours.keep(&hours.of(hour * 3_600_000), known(20_000));
        assert!(hours.names() <= MAX_NAMES, "{}", hours.names());
        assert!(Arc::ptr_eq(&hours.of(0), &first), "used all the time");
    }
    assert_eq!(hours.of(39 * 3_600_000).known().files.len(), 20_000);
    assert_eq!(hours.of(3_600_000).known().files.len(), 0);
    // Hours without a file as well.
    for hour in 0..10_000 {
        hours.keep(&hours.of(hour * 3_600_000), known(0));
    }
    assert!(hours.lock().len() <= MAX_NAMES / MIN_HOUR);
    // One that is larger than all is listed each time.
    let large = hours.of(0);
    hours.keep(&large, known(MAX_NAMES as u64 + 1));
    assert_eq!(hours.names(), 0);
    assert!(hours.lock().len() > 1, "it pushes no other out");
}

#[tokio::test]
async fn names_that_are_no_index_files_are_passed_over() {
    let objects = Objects(memory());
    let (hours, now) = (Hours::default(), Instant::now());
    let hour = hours.of(HOUR);
    let good = format!("{HOUR:013}-{HOUR:013}-0102-7");
    for name in [good.as_str(), "x", "1-2", "1-x-0102-7", "1-2-01-7", "1-2-0102zz-7"] {
        objects.put(&format!("{}/{name}", hour.folder), "".into()).await.unwrap();
    }
    let known = hours.list(&objects, &hour, now).await.unwrap();
    assert_eq!(known.files.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), [good]);
}
