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
    let (target, slot) = ledger.cache().get(&id).unwrap();
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
    let (target, slot) = ledger.cache().get(&id).unwrap();
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
