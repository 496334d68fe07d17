use colophon_signer::Ed25519Key;
use object_store::memory::InMemory;

use super::*;

fn head(size: u64, root: u8) -> Arc<SignedHead> {
    Arc::new(SignedHead::sign("log.example/1", size, [root; 32], &key()).unwrap())
}

fn key() -> Ed25519Key {
    Ed25519Key::from_seed(&[1; 32]).unwrap()
}

fn vkey() -> VerifierKey {
    VerifierKey::new("log.example/1", NoteAlgorithm::Ed25519, key().public_key()).unwrap()
}

#[test]
fn a_head_reads_back_and_any_change_is_refused() {
    let head = head(5, 2);
    assert_eq!(SignedHead::parse(&head.note, &vkey()).unwrap(), *head);
    for at in 0..head.note.len() {
        let mut bytes = head.note.clone().into_bytes();
        bytes[at] ^= 1;
        if let Ok(text) = String::from_utf8(bytes) {
            assert!(SignedHead::parse(&text, &vkey()).is_err(), "byte {at}");
        }
    }
}

#[tokio::test]
async fn the_checkpoint_never_becomes_smaller() {
    let store = Store::new(Arc::new(InMemory::new()), "log/1".into());
    let stored = async || match read(&store, &vkey()).await.unwrap() {
        Stored::Head(head) => head.size(),
        other => panic!("{other:?}"),
    };
    assert_eq!(read(&store, &vkey()).await.unwrap(), Stored::Missing);
    for (size, now) in [(3, 3), (5, 5), (4, 5), (5, 5), (9, 9)] {
        assert_eq!(write(&store, &head(size, 1), &vkey()).await.unwrap(), Written::Current);
        assert_eq!(stored().await, now);
    }
    assert_eq!(write(&store, &head(9, 2), &vkey()).await.unwrap(), Written::Fork);
    store.put(NAME, b"garbage".to_vec()).await.unwrap();
    assert!(matches!(read(&store, &vkey()).await.unwrap(), Stored::Garbled(_)));
    assert_eq!(write(&store, &head(10, 2), &vkey()).await.unwrap(), Written::Current);
    assert_eq!(stored().await, 10);
}
