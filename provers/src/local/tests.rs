use super::*;
use crate::QueueConfig;
use crate::queue::tests::{NOW, request};
use tempfile::TempDir;

fn store(folder: &TempDir) -> Store {
    Store::open(folder.path(), QueueConfig::default()).unwrap()
}

/// A job that was proven, and its artefact.
fn proven(store: &Store, number: u32, bytes: &[u8]) -> (JobId, Artefact) {
    let id = store.queue.submit(request(number), NOW).unwrap().job.id;
    store.queue.lease("w", &["ezkl"], NOW).unwrap().unwrap();
    let artefact = Artefact {
        digest: hex::encode(sha256(bytes)),
        bytes: bytes.len() as u64,
        cpu_seconds: 1.0,
        prover: "p".into(),
        hides: false,
        setup: None,
    };
    store.proven(id, "w", artefact.clone(), bytes, NOW).unwrap();
    (id, artefact)
}

#[test]
fn what_is_lost_for_good_is_told_from_what_may_pass() {
    let folder = TempDir::new().unwrap();
    let store = store(&folder);
    let (id, artefact) = proven(&store, 1, b"a proof");
    assert_eq!(store.artefact(id, &artefact).unwrap(), b"a proof");
    let path = store.artefacts.join(file_name(id, &artefact));
    fs::write(&path, b"another").unwrap();
    assert!(store.artefact(id, &artefact).unwrap_err().is_for_good());
    fs::remove_file(&path).unwrap();
    assert!(store.artefact(id, &artefact).unwrap_err().is_for_good());
    // As a device that fails: there is something, and it cannot be read.
    fs::create_dir(&path).unwrap();
    assert!(!store.artefact(id, &artefact).unwrap_err().is_for_good());
}

#[test]
fn artefacts_go_with_their_jobs() {
    let folder = TempDir::new().unwrap();
    let store = store(&folder);
    let (first, second) = (proven(&store, 1, b"one"), proven(&store, 2, b"two"));
    store.forget(first.0).unwrap();
    assert!(store.artefact(first.0, &first.1).unwrap_err().is_for_good());
    assert_eq!(store.artefact(second.0, &second.1).unwrap(), b"two");
    // What is old the queue forgets by itself.
    store.queue.tidy(NOW + 8 * 86_400_000_000).unwrap();
    assert_eq!(fs::read_dir(&store.artefacts).unwrap().count(), 1);
    store.sweep().unwrap();
    assert_eq!(fs::read_dir(&store.artefacts).unwrap().count(), 0);
}
