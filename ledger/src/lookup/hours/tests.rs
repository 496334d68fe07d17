use super::*;
use crate::index::tests::HOUR;
use crate::log::tests::support::{Fault, FaultStore, memory};
use futures_util::future::try_join_all;

/// What an hour with so many files has.
fn known(files: u64) -> Known {
    let name = |n| format!("{:013}-{:013}-0102-{n}", HOUR + n, HOUR + n);
    Known { files: sorted((0..files).map(name).collect()), ..Known::default() }
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
    let (hours, now) = (Arc::new(Hours::default()), Instant::now());
    let hour = hours.of(HOUR);
    let good = format!("{HOUR:013}-{HOUR:013}-0102-7");
    for name in [good.as_str(), "x", "1-2", "1-x-0102-7", "1-2-01-7", "1-2-0102zz-7"] {
        objects.put(&format!("{}/{name}", hour.folder), "".into()).await.unwrap();
    }
    let known = hours.list((&objects, &Semaphore::new(1)), &hour, now).await.unwrap();
    assert_eq!(known.files.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), [good]);
}

#[tokio::test]
async fn a_listing_that_is_too_large_to_be_remembered_is_made_once_for_all_who_wait() {
    let store = FaultStore::new(memory(), Fault::HiccupBefore, usize::MAX);
    let (objects, hours, readers) = (Objects(store.clone()), Arc::new(Hours::default()), Semaphore::new(8));
    let hour = hours.of(HOUR);
    for (name, _) in known(MAX_NAMES as u64 + 1).files {
        objects.put(&format!("{}/{name}", hour.folder), "".into()).await.unwrap();
    }
    for listings in 1..3 {
        let now = Instant::now();
        let one = || hours.list((&objects, &readers), &hour, now);
        let lists = try_join_all((0..4).map(|_| one())).await.unwrap();
        assert!(lists.iter().all(|known| known.files.len() == MAX_NAMES + 1));
        assert_eq!((store.index_listings(), hours.names()), ([listings, 0], 0));
    }
}

#[tokio::test]
async fn those_who_wait_for_a_listing_get_it_even_if_it_is_too_large_to_be_remembered() {
    let hours = Hours::default();
    let hour = hours.of(HOUR);
    let mut waits = hour.unkept.subscribe();
    let gives_up = hour.unkept.subscribe();
    let first = hours.keep(&hour, known(MAX_NAMES as u64 + 1));
    let last = hours.keep(&hour, known(MAX_NAMES as u64 + 2));
    assert_eq!(Arc::strong_count(&first), 1, "only the last one is handed on");
    assert!(Arc::ptr_eq(&newest(&mut waits).unwrap(), &last));
    assert!(newest(&mut waits).is_none(), "once");
    drop(gives_up);
    assert_eq!(Arc::strong_count(&last), 1, "it goes with those who waited");
    assert!(newest(&mut hour.unkept.subscribe()).is_none());
}
