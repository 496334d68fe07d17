//! Several writers on one folder.

use std::collections::HashSet;

use super::support::{config, contents, leaves, memory, open};
use super::*;

async fn race(store: Arc<dyn ObjectStore>, rounds: usize) {
    let writers = (0..3).map(|writer| {
        let store = store.clone();
        tokio::task::spawn_blocking(move || {
            tokio::runtime::Handle::current().block_on(async move {
                let mut log = Log::open(store, config(None)).await.unwrap();
                let mut appended = Vec::new();
                for round in 0..rounds {
                    let new = leaves(writer * 100_000 + round * 10, 1 + (round + writer) % 9);
                    appended.push((log.append(new.clone()).await.unwrap(), new));
                }
                appended
            })
        })
    });
    let mut told = Vec::new();
    for writer in writers.collect::<Vec<_>>() {
        told.extend(writer.await.unwrap());
    }
    let log = open(&store, None).await;
    let (reader, head) = (log.reader(), log.head());
    let mut total = 0;
    for (appended, leaves) in told {
        total += leaves.len();
        let range = appended.first_index..appended.first_index + leaves.len() as u64;
        assert!(range.end <= appended.head.size());
        assert_eq!(reader.entries(range, &head.checkpoint).await.unwrap(), leaves);
        reader.consistency(&appended.head.checkpoint, &head.checkpoint).await.unwrap();
    }
    let all = contents(&log).await;
    assert_eq!(all.len(), total);
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), total);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_in_memory_with_compare_and_swap() {
    race(memory(), 60).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_on_a_local_folder() {
    let folder = tempfile::tempdir().unwrap();
    race(crate::store::local(folder.path()).unwrap(), 25).await;
}
