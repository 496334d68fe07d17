//! The private store, damaged or opened with the wrong key: named errors, and only for the records it is about.

use super::*;
use crate::ledger::keeper::private_name;
use crate::private::Found;
use crate::private::tests::clear;
use crate::private::{CryptError, Kek};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

/// One exchange in a batch of its own.
async fn logged(ledger: &Ledger, n: u64) -> (RecordId, String) {
    let id = exchange(ledger, n);
    settle(ledger).await;
    let (target, slot) = ledger.0.places.newest().get(&id).unwrap();
    assert_eq!(slot, 0);
    (id, private_name(&target.shard, target.seq))
}

async fn damaged(ledger: &Ledger, id: &RecordId) -> String {
    match ledger.lookup(id).await {
        Err(error @ LedgerError::Damaged { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

async fn get(store: &Arc<dyn ObjectStore>, name: &str) -> Vec<u8> {
    store.get(&Path::from(name)).await.unwrap().bytes().await.unwrap().to_vec()
}

async fn put(store: &Arc<dyn ObjectStore>, name: &str, bytes: Vec<u8>) {
    store.put(&Path::from(name), bytes.into()).await.unwrap();
}

/// The one data key there is.
async fn key_name(ledger: &Ledger) -> String {
    let folder = crate::private::tests::folder(b"-");
    let mut names = ledger.0.objects.list(&folder).await.unwrap();
    assert_eq!(names.len(), 1, "one tenant, one month, one key: {names:?}");
    format!("{folder}/{}", names.remove(0))
}

#[tokio::test]
async fn openings_are_sealed_and_bound_to_their_place() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let (ledger, _keeper) = open(config(dir.path()), store.clone()).await.unwrap();
    let (first, name) = logged(&ledger, 1).await;
    let (second, other) = logged(&ledger, 2).await;
    let (whole, stranger) = (get(&store, &name).await, get(&store, &other).await);
    assert!(!whole.windows(32).any(|bytes| bytes == [1; 32]), "the seed is in clear");
    assert!(!whole.windows(9).any(|bytes| bytes == b"exchange "), "a signature base is in clear");
    for id in [&first, &second] {
        verify(&ledger, &receipt(&ledger, id).await);
    }

    // Swapped files, a truncated one, one that is lost: their own receipts are not to be had, the other is.
    put(&store, &name, stranger.clone()).await;
    assert!(damaged(&ledger, &first).await.contains(&name));
    put(&store, &name, whole[..whole.len() - 1].to_vec()).await;
    assert!(damaged(&ledger, &first).await.contains(&name));
    store.delete(&Path::from(name.as_str())).await.unwrap();
    assert!(damaged(&ledger, &first).await.contains("missing"));
    verify(&ledger, &receipt(&ledger, &second).await);
    put(&store, &name, whole).await;
    verify(&ledger, &receipt(&ledger, &first).await);
}

#[tokio::test]
async fn a_lost_or_foreign_key_is_named() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let (ledger, keeper) = open(config(dir.path()), store.clone()).await.unwrap();
    let (id, name) = logged(&ledger, 1).await;
    verify(&ledger, &receipt(&ledger, &id).await);
    keeper.close().await.unwrap();
    drop(ledger);

    // The key-encryption key in the data folder is gone: not made anew.
    let kek = dir.path().join("data/keys/private");
    let saved = std::fs::read(&kek).unwrap();
    std::fs::remove_file(&kek).unwrap();
    let error = open(config(dir.path()), store.clone()).await.unwrap_err();
    assert!(matches!(&error, LedgerError::PrivateKeyGone(path) if *path == kek), "{error}");
    assert!(!kek.exists());
    // Another one is given.
    let wrong = Config { private_key: Some(Arc::new(Kek::new(&[3; 32]).unwrap())), ..config(dir.path()) };
    let error = open(wrong.clone(), store.clone()).await.unwrap_err();
    assert!(matches!(&error, LedgerError::PrivateKey { source: CryptError::OtherKek { .. }, .. }), "{error}");
    std::fs::write(&kek, b"rubbish").unwrap();
    #[cfg(unix)]
    std::fs::set_permissions(&kek, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let error = open(config(dir.path()), store.clone()).await.unwrap_err();
    assert!(error.to_string().contains(kek.to_str().unwrap()), "{error}");
    std::fs::write(&kek, saved).unwrap();

    // A wrapped key is lost: its records cannot be opened, others are recorded under a new one.
    let (ledger, keeper) = open(config(dir.path()), store.clone()).await.unwrap();
    let key = key_name(&ledger).await;
    let wrapped = get(&store, &key).await;
    store.delete(&Path::from(key.as_str())).await.unwrap();
    let said = damaged(&ledger, &id).await;
    assert!(said.contains(&name) && said.contains(&key), "{said}");
    let (later, _) = logged(&ledger, 2).await;
    verify(&ledger, &receipt(&ledger, &later).await);
    // A wrapped key is damaged: the same.
    put(&store, &key, wrapped[1..].to_vec()).await;
    match ledger.lookup(&id).await {
        Err(LedgerError::PrivateKey { what, .. }) => assert_eq!(what, key),
        other => panic!("{other:?}"),
    }
    put(&store, &key, wrapped).await;
    verify(&ledger, &receipt(&ledger, &id).await);
    keeper.close().await.unwrap();
    drop(ledger);
    // Without the store's note of its key-encryption key, a wrong one is noticed by the key itself.
    store.delete(&Path::from("keys/kek")).await.unwrap();
    let (ledger, _keeper) = open(wrong, store.clone()).await.unwrap();
    match ledger.lookup(&id).await {
        Err(LedgerError::PrivateKey { source: CryptError::OtherKek { .. }, .. }) => {}
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_folder_of_version_1_is_still_read() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let (ledger, keeper) = open(config(dir.path()), store.clone()).await.unwrap();
    let (id, name) = logged(&ledger, 1).await;
    let (target, slot) = ledger.0.places.newest().get(&id).unwrap();
    let Found::Opening(opening) = ledger.0.vault.opening(&target.shard, target.seq, slot, &id).await.unwrap()
    else {
        panic!("erased");
    };
    keeper.close().await.unwrap();
    drop(ledger);
    // What a program of version 1 leaves: openings in clear, and no keys.
    put(&store, &name, clear(&id, &opening)).await;
    std::fs::remove_file(dir.path().join("data/keys/private")).unwrap();
    for name in ["keys/kek"] {
        store.delete(&Path::from(name)).await.unwrap();
    }
    let (ledger, _keeper) = open(config(dir.path()), store.clone()).await.unwrap();
    verify(&ledger, &receipt(&ledger, &id).await);
    let (later, _) = logged(&ledger, 2).await;
    verify(&ledger, &receipt(&ledger, &later).await);
}

/// A disk that lost a stretch of a file: no receipt is wrong, and what lies elsewhere in the file is whole.
#[tokio::test]
async fn a_page_that_is_lost_costs_no_more_than_its_record() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let slow = Config { batch_every: Duration::from_secs(3600), ..config(dir.path()) };
    let (ledger, keeper) = open(slow, store.clone()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let ids = [exchange(&ledger, 1), exchange(&ledger, 2)];
    keeper.close().await.unwrap();
    let (target, _) = ledger.0.places.newest().get(&ids[0]).unwrap();
    assert_eq!(ledger.0.places.newest().get(&ids[1]).unwrap().0, target, "one batch");
    let name = private_name(&target.shard, target.seq);
    let whole = get(&store, &name).await;
    let mut alone = [0; 2];
    for start in (0..whole.len()).step_by(64) {
        let mut lost = whole.clone();
        let end = (start + 64).min(whole.len());
        lost[start..end].fill(0);
        put(&store, &name, lost).await;
        let mut hurt = [false; 2];
        for (id, hurt) in ids.iter().zip(&mut hurt) {
            match ledger.lookup(id).await {
                Ok(Lookup::Found(receipt)) => drop(verify(&ledger, &receipt)),
                Err(LedgerError::Damaged { what, .. }) => {
                    assert_eq!(what, name);
                    *hurt = true;
                }
                other => panic!("from byte {start}: {other:?}"),
            }
        }
        match hurt {
            [true, false] => alone[0] += 1,
            [false, true] => alone[1] += 1,
            _ => {}
        }
    }
    assert!(alone.iter().all(|stretches| *stretches > 0), "{alone:?}");
    put(&store, &name, whole).await;
    for id in &ids {
        verify(&ledger, &receipt(&ledger, id).await);
    }
}

/// A finished exchange of a tenant, and one that is only open.
fn of_tenant(ledger: &Ledger, tenant: Option<&[u8]>, n: u64) -> (RecordId, Ticket) {
    let mut tickets = Vec::new();
    for _ in 0..2 {
        let received_at = ledger.now();
        let id = ledger.new_id(received_at / 1000);
        let open = Open { id, received_at, level: Level::Sign, fields: &request(n), tenant, rule: None };
        let mut ticket = ledger.begin(&open).unwrap();
        ledger.open_now(&mut ticket).unwrap();
        tickets.push(ticket);
    }
    let id = complete(ledger, tickets.remove(0), n).unwrap();
    (id, tickets.remove(0))
}

#[test]
fn a_tenant_given_at_the_start_goes_with_the_record_through_crashes_to_its_erasure() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let slow = Config { batch_every: Duration::from_secs(3600), ..config(dir.path()) };
    let (ward, other, begun) = first.block_on(async {
        let (ledger, keeper) = open(slow, store.clone()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        let (ward, open_ward) = of_tenant(&ledger, Some(b"ward"), 1);
        let (other, open_other) = of_tenant(&ledger, None, 2);
        let begun = (*open_ward.id(), *open_other.id());
        // The process dies; nothing is logged.
        std::mem::forget((open_ward, open_other));
        drop(keeper);
        (ward, other, begun)
    });
    drop(first);
    std::fs::remove_file(dir.path().join("data/lock")).unwrap();
    runtime().block_on(async {
        let (ledger, keeper) = open(config(dir.path()), store.clone()).await.unwrap();
        settle(&ledger).await;
        let keys = |tenant: &[u8]| {
            let folder = crate::private::tests::folder(tenant);
            let objects = ledger.0.objects.clone();
            async move { objects.list(&folder).await.unwrap().len() }
        };
        assert_eq!((keys(b"ward").await, keys(b"-").await, keys(b"stranger").await), (1, 1, 0));
        for id in [ward, other, begun.0, begun.1] {
            verify(&ledger, &receipt(&ledger, &id).await);
        }
        let report = ledger.erase(Erase::Tenant(b"ward".to_vec())).await.unwrap();
        assert_eq!(report.openings, 2, "the finished one and the recovered one");
        for (id, erased) in [(ward, true), (begun.0, true), (other, false), (begun.1, false)] {
            let found = ledger.lookup(&id).await.unwrap();
            assert_eq!(matches!(found, Lookup::Erased(_)), erased, "{found:?}");
        }
        keeper.close().await.unwrap();
    });
}

#[tokio::test]
async fn the_keys_are_wrapped_again_and_an_interrupted_rewrap_is_completed() {
    let (dir, folder) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let location: Location = format!("file://{}", folder.path().display()).parse().unwrap();
    let stores = Stores { private: Some(location), ..Stores::default() };
    let kek = |byte: u8| Kek::new(&[byte; 32]).unwrap();
    let with = |byte: u8| Config {
        stores: stores.clone(),
        private_key: Some(Arc::new(kek(byte))),
        ..config(dir.path())
    };
    let (ledger, keeper) = Ledger::open(with(1)).await.unwrap();
    let mut ids = Vec::new();
    for (n, tenant) in [(1, Some(&b"ward"[..])), (2, None), (3, Some(&b"gone"[..]))] {
        let (id, open) = of_tenant(&ledger, tenant, n);
        complete(&ledger, open, n).unwrap();
        ids.push(id);
    }
    settle(&ledger).await;
    ledger.erase(Erase::Tenant(b"gone".to_vec())).await.unwrap();
    keeper.close().await.unwrap();
    drop(ledger);
    let again = async |old: u8, new: u8| {
        let rewrapping = crate::private::Rewrap {
            data: dir.path().join("data"),
            stores: stores.clone(),
            old: Some(kek(old)),
            new: kek(new),
        };
        crate::private::rewrap(rewrapping).await
    };
    let wrong = again(3, 2).await.unwrap_err().to_string();
    assert!(wrong.contains("key-encryption key"), "{wrong}");
    let done = again(1, 2).await.unwrap();
    assert_eq!((done.keys, done.before), (2, 0), "an erased key is not one");

    // As one that was interrupted after a key: that one is the new key's, the other and the name still the old one's.
    let wrapped = crate::private::tests::folder(b"ward");
    let file = std::fs::read_dir(folder.path().join(&wrapped)).unwrap().next().unwrap().unwrap().path();
    let kept = std::fs::read(&file).unwrap();
    again(2, 1).await.unwrap();
    std::fs::write(&file, kept).unwrap();
    let done = again(1, 2).await.unwrap();
    assert_eq!((done.keys, done.before), (1, 1));

    let refused = Ledger::open(with(1)).await.err().unwrap().to_string();
    assert!(refused.contains("--private-key"), "{refused}");
    let (ledger, keeper) = Ledger::open(with(2)).await.unwrap();
    for id in &ids[..2] {
        verify(&ledger, &receipt(&ledger, id).await);
    }
    assert!(matches!(ledger.lookup(&ids[2]).await.unwrap(), Lookup::Erased(_)));
    keeper.close().await.unwrap();
}
