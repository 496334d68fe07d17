use colophon_signer::PublicKey;

use super::*;

fn last() -> Last {
    Last { origin: "log.example/1".into(), token: [1; 16], size: 9, root: [2; 32], seq: 3 }
}

#[tokio::test]
async fn the_state_reads_back_and_is_replaced_whole() {
    let folder = tempfile::tempdir().unwrap();
    let file = StateFile::open(&folder.path().join("new/folder"), &PublicKey([5; 32]), 1).await.unwrap();
    assert_eq!(file.load().await.unwrap(), None);
    file.save(&last()).await.unwrap();
    assert_eq!(file.load().await.unwrap(), Some(last()));
    let later = Last { size: 10, ..last() };
    // What a killed process left behind is in nobody's way.
    std::fs::write(file.path().with_extension("json.new"), b"half").unwrap();
    file.save(&later).await.unwrap();
    assert_eq!(file.load().await.unwrap(), Some(later));
}

#[tokio::test]
async fn what_was_signed_under_the_next_key_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let first = StateFile::open(folder.path(), &PublicKey([5; 32]), 1).await.unwrap();
    first.save(&last()).await.unwrap();
    let (next, other) = (PublicKey([6; 32]), PublicKey([7; 32]));
    assert_eq!(first.next(&next, 1).await.unwrap(), None);
    // Though somebody has its lock.
    let second = StateFile::open(folder.path(), &next, 2).await.unwrap();
    second.save(&Last { origin: "log.example/2".into(), ..last() }).await.unwrap();
    assert_eq!(first.next(&next, 1).await.unwrap().unwrap().1.origin, "log.example/2");
    assert_eq!((first.next(&other, 1).await.unwrap(), first.next(&next, 2).await.unwrap()), (None, None));
}

#[tokio::test]
async fn damage_is_told_from_absence() {
    let folder = tempfile::tempdir().unwrap();
    let file = StateFile::open(folder.path(), &PublicKey([5; 32]), 1).await.unwrap();
    file.save(&last()).await.unwrap();
    let good = std::fs::read_to_string(file.path()).unwrap();
    let long = " ".repeat(100_000);
    let bad = [
        &good[..good.len() / 2],
        "",
        &good.replace("\"seq\"", "\"sequence\""),
        &good.replace("-v1", "-v2"),
        &long,
    ];
    for text in bad {
        std::fs::write(file.path(), text).unwrap();
        assert!(matches!(file.load().await, Err(StateError::Damaged { .. })), "{text}");
    }
}
