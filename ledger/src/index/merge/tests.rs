use super::super::tests::{HOUR, id};
use super::super::{Target, write};
use super::*;
use crate::lookup::Places;
use colophon_receipt::record::RecordId;
use object_store::memory::InMemory;
use std::sync::Arc;

async fn quiet(seconds: u64) -> (Objects, Vec<(RecordId, Target)>) {
    let objects = Objects(Arc::new(InMemory::new()));
    let records = super::super::tests::quiet(&objects, 0..seconds).await;
    (objects, records)
}

async fn all_found(objects: &Objects, records: &[(RecordId, Target)]) {
    let places = Places::default();
    for (id, target) in records {
        assert_eq!(places.find(objects, id).await.unwrap(), Some((target.clone(), 0)));
    }
}

#[tokio::test]
async fn an_hour_that_is_over_becomes_one_file_a_shard() {
    let (objects, records) = quiet(4000).await;
    let folders = objects.folders("index").await.unwrap();
    assert_eq!(folders.len(), 2);
    let done = past(&objects, &Whose::All, HOUR..HOUR + HOUR_MS).await.unwrap();
    assert_eq!(done, Done { merged: 3600, into: 2 });
    assert_eq!(objects.paths(&format!("index/{}", folders[0])).await.unwrap().len(), 2);
    // The hour that goes on is left alone.
    assert_eq!(objects.paths(&format!("index/{}", folders[1])).await.unwrap().len(), 400);
    all_found(&objects, &records).await;
    assert_eq!(past(&objects, &Whose::All, HOUR..HOUR + HOUR_MS).await.unwrap(), Done::default());
}

#[tokio::test]
async fn only_own_shards_are_merged_where_others_share_the_store() {
    let (objects, records) = quiet(100).await;
    let own = Whose::Tags(HashSet::from([[3, 4]]));
    let done = past(&objects, &own, HOUR..HOUR + HOUR_MS).await.unwrap();
    assert_eq!(done, Done { merged: 50, into: 1 });
    all_found(&objects, &records).await;
}

#[tokio::test]
async fn what_was_begun_before_a_crash_is_finished_and_late_files_join() {
    let (objects, mut records) = quiet(100).await;
    let folder = format!("index/{}", objects.folders("index").await.unwrap()[0]);
    let mut before = objects.paths(&folder).await.unwrap();
    before.sort();
    let mut kept = Vec::new();
    for path in &before {
        kept.push((path.clone(), objects.get(path, MAX_BYTES).await.unwrap().unwrap()));
    }
    past(&objects, &Whose::All, HOUR..HOUR + HOUR_MS).await.unwrap();
    // Written, and killed at any number of deletions.
    for left in [1, 37, 100] {
        for (path, bytes) in &kept[..left] {
            objects.put(path, bytes.clone()).await.unwrap();
        }
        all_found(&objects, &records).await;
        past(&objects, &Whose::All, HOUR..HOUR + HOUR_MS).await.unwrap();
        assert_eq!(objects.paths(&folder).await.unwrap().len(), 2, "{left}");
        all_found(&objects, &records).await;
    }
    let target = Target { shard: "a/1".into(), seq: 999, log_index: 1999, announced: 1 };
    let late = id(HOUR + 77, [1, 2], 9);
    for (name, bytes) in write(&target, [(late, 0)]) {
        objects.put(&name, bytes.into()).await.unwrap();
    }
    records.push((late, target));
    past(&objects, &Whose::All, HOUR..HOUR + HOUR_MS).await.unwrap();
    assert_eq!(objects.paths(&folder).await.unwrap().len(), 2);
    all_found(&objects, &records).await;
}

#[tokio::test]
async fn several_at_once_lose_nothing() {
    let (objects, records) = quiet(600).await;
    let one = || {
        let objects = objects.clone();
        async move { past(&objects, &Whose::All, HOUR..HOUR + HOUR_MS).await.unwrap() }
    };
    tokio::join!(one(), one(), one(), all_found(&objects, &records));
    all_found(&objects, &records).await;
}

#[tokio::test]
async fn large_files_stay_and_a_damaged_one_keeps_nobody() {
    let objects = Objects(Arc::new(InMemory::new()));
    let busy = |n: u64| Target { shard: "a/1".into(), seq: n, log_index: 10 + n, announced: 1 };
    let mut records = Vec::new();
    for n in 0..3u64 {
        let ids: Vec<RecordId> = (0..15_000u64)
            .map(|i| {
                let mut id = id(HOUR + n * 100_000 + i / 255, [1, 2], (i % 255) as u8);
                id[12..].copy_from_slice(&(i as u32).to_be_bytes());
                id
            })
            .collect();
        for (name, bytes) in write(&busy(n), ids.iter().copied().zip(0..)) {
            objects.put(&name, bytes.into()).await.unwrap();
        }
        records.push((ids[0], busy(n)));
    }
    assert_eq!(past(&objects, &Whose::All, HOUR..HOUR + HOUR_MS).await.unwrap(), Done::default());
    for n in 3..5 {
        let id = id(HOUR + n * 1000, [1, 2], 1);
        let (name, bytes) = write(&busy(n), [(id, 0)]).remove(0);
        objects.put(&name, bytes.into()).await.unwrap();
        records.push((id, busy(n)));
    }
    let folder = format!("index/{}", objects.folders("index").await.unwrap()[0]);
    let rubbish = format!("{folder}/{:013}-{:013}-0102-9", HOUR + 7_000, HOUR + 7_000);
    objects.put(&rubbish, "rubbish".into()).await.unwrap();
    let done = past(&objects, &Whose::All, HOUR..HOUR + HOUR_MS).await.unwrap();
    assert_eq!(done, Done { merged: 2, into: 1 });
    assert!(objects.exists(&rubbish).await.unwrap());
    all_found(&objects, &records).await;
}
