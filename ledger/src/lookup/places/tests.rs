use super::*;
use crate::index::merge::{self, Whose};
use crate::index::tests::{HOUR, id, quiet};
use crate::index::write;
use crate::log::tests::support::{Fault, FaultStore, memory};
use futures_util::future::join_all;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use tempfile::TempDir;

/// An hour with so many files, in a store that counts.
async fn hour(
    inner: Arc<dyn ObjectStore>,
    files: u64,
) -> (Arc<FaultStore>, Objects, Vec<(RecordId, Target)>) {
    let store = FaultStore::new(inner, Fault::HiccupBefore, usize::MAX);
    let objects = Objects(store.clone());
    let records = quiet(&objects, 0..files).await;
    (store, objects, records)
}

async fn found(places: &Places, objects: &Objects, records: impl IntoIterator<Item = &(RecordId, Target)>) {
    for (id, target) in records {
        assert_eq!(places.find(objects, id).await.unwrap(), Some((target.clone(), 0)));
    }
}

/// Writes the file of one more batch, as another process would.
async fn another(objects: &Objects, ids: &[RecordId]) -> Target {
    let target = Target { shard: "c/3".into(), seq: 7, log_index: 9999, announced: 2 };
    for (name, bytes) in write(&target, ids.iter().copied().zip(0..)) {
        objects.put(&name, bytes.into()).await.unwrap();
    }
    target
}

/// An hour of 100 records, all of which were looked for.
async fn looked_into() -> (Arc<FaultStore>, Objects, Places) {
    let (store, objects, records) = hour(memory(), 100).await;
    let places = Places::default();
    found(&places, &objects, &records).await;
    (store, objects, places)
}

#[tokio::test]
async fn an_hour_is_listed_once_for_all_that_is_looked_for_in_it() {
    let (store, objects, records) = hour(memory(), 3600).await;
    let places = Places::default();
    found(&places, &objects, records.iter().step_by(36)).await;
    assert_eq!(store.index_listings(), [1, 0]);
}

#[tokio::test]
async fn what_another_process_wrote_is_found_by_listing_what_is_new() {
    let (store, objects, records) = hour(memory(), 3000).await;
    let places = Places::default();
    found(&places, &objects, &records[..1]).await;
    let late = quiet(&objects, 3000..3600).await;
    found(&places, &objects, &late[..1]).await;
    assert_eq!(store.index_listings(), [1, 1]);
    found(&places, &objects, late.iter().chain(&records)).await;
    assert_eq!(store.index_listings(), [1, 1]);
    // An exchange that took half an hour, in a batch with one that did not.
    let ids = [id(HOUR + 1_200_000, [5, 6], 1), id(HOUR + 3_000_000, [5, 6], 2)];
    let target = another(&objects, &ids).await;
    assert_eq!(places.find(&objects, &ids[1]).await.unwrap(), Some((target, 1)));
    assert_eq!(store.index_listings(), [2, 2]);
}

#[tokio::test]
async fn a_small_hour_is_listed_whole_for_what_is_new() {
    let (store, objects, places) = looked_into().await;
    let late = quiet(&objects, 100..200).await;
    found(&places, &objects, &late).await;
    assert_eq!(store.index_listings(), [2, 0]);
}

#[tokio::test]
async fn nothing_is_called_unknown_before_its_hour_was_listed_anew() {
    let (store, objects, places) = looked_into().await;
    let missing = id(HOUR + 5_000, [5, 6], 1);
    for asked in 1..4 {
        assert_eq!(places.find(&objects, &missing).await.unwrap(), None);
        // Twice, or it might have been merged meanwhile.
        assert_eq!(store.index_listings(), [1 + 2 * asked, 0]);
    }
    let target = another(&objects, &[missing]).await;
    assert_eq!(places.find(&objects, &missing).await.unwrap(), Some((target, 0)));
}

#[tokio::test]
async fn those_who_ask_at_once_or_are_content_with_an_earlier_moment_share_a_listing() {
    let dir = TempDir::new().unwrap();
    let (store, objects, _) = hour(Arc::new(LocalFileSystem::new_with_prefix(dir.path()).unwrap()), 50).await;
    let (places, missing) = (Places::default(), [1, 2, 3, 4, 5, 6].map(|n| id(HOUR + 5_000, [5, 6], n)));
    let now = Instant::now();
    let all = join_all(missing.iter().map(|id| places.find(&objects, id))).await;
    assert!(all.into_iter().all(|found| found.unwrap().is_none()));
    // The first one's began before the others asked; each needs two of its own time.
    assert_eq!(store.index_listings(), [3, 0]);
    for id in &missing {
        assert_eq!(places.find_since(&objects, id, now).await.unwrap(), None);
    }
    assert_eq!(store.index_listings(), [3, 0]);
}

#[tokio::test]
async fn what_was_merged_since_is_found_after_one_more_listing() {
    let (store, objects, records) = hour(memory(), 600).await;
    let places = Places::default();
    found(&places, &objects, &records).await;
    merge::past(&objects, &Whose::All, HOUR..HOUR + 3_600_000).await.unwrap();
    let [before, _] = store.index_listings();
    found(&places, &objects, &records).await;
    assert_eq!(store.index_listings(), [before + 1, 0]);
}

#[tokio::test]
async fn what_a_listing_missed_while_it_was_merged_is_found_by_another() {
    let (store, objects, records) = hour(memory(), 60).await;
    merge::past(&objects, &Whose::All, HOUR..HOUR + 3_600_000).await.unwrap();
    for since in [None, Some(Instant::now())] {
        store.overtake(1);
        let (places, (id, target)) = (Places::default(), &records[7]);
        let found = match since {
            None => places.find(&objects, id).await,
            Some(since) => places.find_since(&objects, id, since).await,
        };
        assert_eq!(found.unwrap(), Some((target.clone(), 0)));
    }
}

/// As long as an hour goes on its files stay.
#[tokio::test]
async fn in_an_hour_that_is_not_over_one_listing_is_enough() {
    let store = FaultStore::new(memory(), Fault::HiccupBefore, usize::MAX);
    let (objects, places) = (Objects(store.clone()), Places::default());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    assert_eq!(places.find(&objects, &id(now + 60_000, [5, 6], 1)).await.unwrap(), None);
    assert_eq!(store.index_listings(), [1, 0]);
    assert_eq!(places.find(&objects, &id(now - HOUR_MS, [5, 6], 1)).await.unwrap(), None);
    assert_eq!(store.index_listings(), [3, 0]);
}

#[tokio::test]
async fn a_file_that_was_mended_is_read_again() {
    let (_, objects, records) = hour(memory(), 10).await;
    let places = Places::default();
    found(&places, &objects, &records).await;
    let name = objects.paths("index").await.unwrap().swap_remove(4);
    let good = objects.get(&name, index::MAX_BYTES).await.unwrap().unwrap();
    let file = Index::read(&good).unwrap();
    let id = file.ids().next().unwrap();
    objects.put(&name, "rubbish".into()).await.unwrap();
    assert!(
        matches!(places.find(&objects, &id).await, Err(LedgerError::Damaged { what, .. }) if what == name)
    );
    objects.put(&name, good).await.unwrap();
    found(&places, &objects, &records).await;
}

#[tokio::test]
async fn what_is_most_likely_not_there_costs_two_listings() {
    let (store, objects, records) = hour(memory(), 1500).await;
    let places = Places::default();
    found(&places, &objects, &records[..1]).await;
    let evidence = [1, 2, 3].map(|n| id(HOUR + 5_000, [5, 6], n));
    // For all of them.
    let now = Instant::now();
    for id in &evidence {
        assert_eq!(places.find_since(&objects, id, now).await.unwrap(), None);
    }
    assert_eq!(store.index_listings(), [3, 0]);
    assert_eq!(places.find(&objects, &evidence[0]).await.unwrap(), None);
    assert_eq!(store.index_listings(), [5, 1]);
    let target = another(&objects, &evidence[..1]).await;
    let found = places.find_since(&objects, &evidence[0], Instant::now()).await.unwrap();
    assert_eq!((found, store.index_listings()), (Some((target, 0)), [6, 1]));
}

#[tokio::test]
async fn what_vanishes_whenever_it_is_listed_is_not_called_unknown() {
    let (store, objects, records) = hour(memory(), 10).await;
    let places = Places::default();
    store.lose_index(true);
    let lost = places.find(&objects, &records[3].0).await;
    assert!(
        matches!(&lost, Err(LedgerError::Damaged { what, .. }) if what.starts_with("index/")),
        "{lost:?}"
    );
    assert_eq!(store.index_listings(), [LISTINGS, 0]);
    store.lose_index(false);
    found(&places, &objects, &records).await;
}

#[tokio::test]
async fn listings_wait_for_their_turn_among_the_readers() {
    let (store, objects, records) = hour(memory(), 1500).await;
    let places = Places::default();
    let wait = std::time::Duration::from_millis(50);
    let all = places.readers.acquire_many(READERS as u32).await.unwrap();
    assert!(tokio::time::timeout(wait, places.find(&objects, &records[0].0)).await.is_err());
    assert_eq!(store.index_listings(), [0, 0]);
    drop(all);
    found(&places, &objects, &records[..1]).await;
    let late = quiet(&objects, 1500..1501).await;
    let all = places.readers.acquire_many(READERS as u32).await.unwrap();
    assert!(tokio::time::timeout(wait, places.find(&objects, &late[0].0)).await.is_err());
    assert_eq!(store.index_listings(), [1, 0]);
    drop(all);
    found(&places, &objects, &late).await;
    assert_eq!(store.index_listings(), [1, 1]);
}
