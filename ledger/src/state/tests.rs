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
async fn a_later_generation_of_the_same_log_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let open =
        async |key, generation| StateFile::open(folder.path(), &PublicKey([key; 32]), generation).await;
    let first = open(5, 1).await.unwrap();
    first.save(&last()).await.unwrap();
    assert_eq!(first.later("log.example", 1).await.unwrap(), None);
    // A rotation that was begun and has signed nothing, another log's, and one that cannot be read.
    for (key, generation, other) in [
        (6, 2, Last::nothing("log.example/2".into(), [1; 16])),
        (7, 3, Last { origin: "other.example/3".into(), ..last() }),
        (8, 4, Last { origin: "log.example/4".into(), ..last() }),
    ] {
        open(key, generation).await.unwrap().save(&other).await.unwrap();
    }
    std::fs::write(open(8, 4).await.unwrap().path(), "{").unwrap();
    assert_eq!(first.later("log.example", 1).await.unwrap(), None);
    for (key, generation) in [(9, 5), (10, 6)] {
        let other = Last { origin: format!("log.example/{generation}"), ..last() };
        open(key, generation).await.unwrap().save(&other).await.unwrap();
    }
    let (path, later) = first.later("log.example", 1).await.unwrap().unwrap();
    assert_eq!((path.as_path(), later.origin.as_str()), (open(10, 6).await.unwrap().path(), "log.example/6"));
    assert_eq!(first.later("log.example", 6).await.unwrap(), None);
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
