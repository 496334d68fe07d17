//! What must not be signed over: old copies, foreign copies, contradictions, corrupt files.

use std::path::Path;

use super::support::{config, contents, leaves};
use super::*;
use crate::state::StateError;

/// A log of `count` leaves in a folder, and its state.
struct Scene {
    data: tempfile::TempDir,
    state: tempfile::TempDir,
}

impl Scene {
    async fn new(count: usize) -> Scene {
        let scene = Scene { data: tempfile::tempdir().unwrap(), state: tempfile::tempdir().unwrap() };
        let mut log = scene.open().await.unwrap();
        log.append(leaves(0, count)).await.unwrap();
        scene
    }

    fn store(&self) -> Arc<dyn ObjectStore> {
        crate::store::local(self.data.path()).unwrap()
    }

    async fn open(&self) -> Result<Log, LogError> {
        Log::open(self.store(), config(Some(self.state.path()))).await
    }

    async fn refused(&self) -> LogError {
        match self.open().await {
            Ok(log) => panic!("opened at {} leaves", log.head().size()),
            Err(e) => e,
        }
    }

    fn log(&self) -> std::path::PathBuf {
        self.data.path().join("log/1")
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).unwrap()),
        }
    }
}

fn restore(backup: &Path, to: &Path) {
    std::fs::remove_dir_all(to).unwrap();
    copy(backup, to);
}

#[tokio::test]
async fn a_folder_restored_from_yesterdays_copy() {
    let scene = Scene::new(300).await;
    let backup = tempfile::tempdir().unwrap();
    copy(&scene.log(), backup.path());
    let mut log = scene.open().await.unwrap();
    log.append(leaves(300, 5)).await.unwrap();
    drop(log);
    restore(backup.path(), &scene.log());
    let error = scene.refused().await;
    assert!(matches!(error, LogError::RolledBack { signed: 306, .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("306") && text.contains("log/1") && text.contains("301 leaves"), "{text}");
    // Adopting does not help: it would fork the log.
    let adopt = LogConfig { adopt: true, ..config(Some(scene.state.path())) };
    assert!(matches!(Log::open(scene.store(), adopt).await, Err(LogError::RolledBack { .. })));
}

#[tokio::test]
async fn an_old_copy_that_went_on_elsewhere() {
    let scene = Scene::new(300).await;
    let backup = tempfile::tempdir().unwrap();
    copy(&scene.log(), backup.path());
    let mut log = scene.open().await.unwrap();
    log.append(leaves(300, 5)).await.unwrap();
    drop(log);
    restore(backup.path(), &scene.log());
    let elsewhere = tempfile::tempdir().unwrap();
    let adopt = LogConfig { adopt: true, ..config(Some(elsewhere.path())) };
    let mut log = Log::open(scene.store(), adopt).await.unwrap();
    log.append(leaves(1000, 3)).await.unwrap();
    log.append(leaves(2000, 300)).await.unwrap();
    drop(log);
    let error = scene.refused().await;
    assert!(matches!(error, LogError::RolledBack { signed: 306, .. }), "{error}");
}

#[tokio::test]
async fn an_emptied_folder() {
    let scene = Scene::new(3).await;
    std::fs::remove_dir_all(scene.log()).unwrap();
    assert!(matches!(scene.refused().await, LogError::RolledBack { signed: 4, .. }));
}

#[tokio::test]
async fn a_folder_cloned_to_another_machine_has_to_be_adopted() {
    let scene = Scene::new(3).await;
    let other = tempfile::tempdir().unwrap();
    let foreign = Log::open(scene.store(), config(Some(other.path()))).await.err().unwrap();
    assert!(
        matches!(foreign, LogError::Foreign { .. }) && foreign.to_string().contains("--adopt"),
        "{foreign}"
    );
    let adopt = LogConfig { adopt: true, ..config(Some(other.path())) };
    let log = Log::open(scene.store(), adopt).await.unwrap();
    assert_eq!(contents(&log).await, leaves(0, 3));
    drop(log);
    // Once bound, no flag is needed any more.
    Log::open(scene.store(), config(Some(other.path()))).await.unwrap();
}

#[tokio::test]
async fn a_folder_with_another_token_is_foreign() {
    let scene = Scene::new(3).await;
    let path = scene.log().join("identity");
    let mut json: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    json["token"] = "00".repeat(16).into();
    std::fs::write(&path, json.to_string()).unwrap();
    assert!(matches!(scene.refused().await, LogError::Foreign { .. }));
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(scene.refused().await, LogError::Foreign { .. }));
    let adopt = LogConfig { adopt: true, ..config(Some(scene.state.path())) };
    Log::open(scene.store(), adopt).await.unwrap();
    assert_eq!(contents(&scene.open().await.unwrap()).await, leaves(0, 3));
}

#[tokio::test]
async fn a_damaged_state_file_is_named() {
    let scene = Scene::new(3).await;
    let file = std::fs::read_dir(scene.state.path()).unwrap().next().unwrap().unwrap().path();
    std::fs::write(&file, b"{").unwrap();
    let error = scene.refused().await;
    assert!(error.to_string().contains(file.to_str().unwrap()) && !error.is_transient(), "{error}");
    let adopt = LogConfig { adopt: true, ..config(Some(scene.state.path())) };
    Log::open(scene.store(), adopt).await.unwrap();
    scene.open().await.unwrap();
}

#[tokio::test]
async fn an_older_missing_or_garbled_checkpoint_is_written_anew() {
    let scene = Scene::new(3).await;
    let path = scene.log().join("checkpoint");
    let old = std::fs::read(&path).unwrap();
    let mut log = scene.open().await.unwrap();
    log.append(leaves(3, 4)).await.unwrap();
    log.append(leaves(7, 4)).await.unwrap();
    drop(log);
    let new = std::fs::read(&path).unwrap();
    let flipped = String::from_utf8(new.clone()).unwrap().replace("\n12\n", "\n13\n").into_bytes();
    for content in [&old[..], b"garbage", b"", &flipped, &vec![b'x'; 100_000]] {
        std::fs::write(&path, content).unwrap();
        scene.open().await.unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), new);
    }
    std::fs::remove_file(&path).unwrap();
    scene.open().await.unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), new);
}

#[tokio::test]
async fn a_signed_checkpoint_that_contradicts_the_entries() {
    let scene = Scene::new(3).await;
    let path = scene.log().join("checkpoint");
    // Sizes below, inside and at the newest entry, and beyond it.
    for size in [1, 2, 3, 4, 5, 1000] {
        let head = SignedHead::sign("log.example/test/1", size, [9; 32], support::key().as_ref()).unwrap();
        std::fs::write(&path, &head.note).unwrap();
        let error = scene.refused().await;
        assert!(matches!(error, LogError::Contradiction(_)), "{size}: {error}");
        assert_eq!(std::fs::read(&path).unwrap(), head.note.as_bytes(), "evidence was overwritten");
    }
}

#[tokio::test]
async fn a_fork_signed_while_we_run_stops_the_log() {
    let scene = Scene::new(3).await;
    let mut log = scene.open().await.unwrap();
    let fork = SignedHead::sign("log.example/test/1", 5, [9; 32], support::key().as_ref()).unwrap();
    std::fs::write(scene.log().join("checkpoint"), &fork.note).unwrap();
    assert!(matches!(log.append(leaves(3, 1)).await, Err(LogError::Contradiction(_))));
}

#[tokio::test]
async fn another_key_or_origin() {
    let scene = Scene::new(3).await;
    let other = Arc::new(colophon_signer::Ed25519Key::from_seed(&[8; 32]).unwrap());
    let thief = LogConfig { key: other, ..config(None) };
    assert!(matches!(Log::open(scene.store(), thief).await, Err(LogError::Key { .. })));
    let renamed = LogConfig { origin: Some("log.example/other".into()), ..config(None) };
    assert!(matches!(Log::open(scene.store(), renamed).await, Err(LogError::Origin { .. })));
    let folder = tempfile::tempdir().unwrap();
    let unusable = LogConfig { origin: Some("a b".into()), ..config(None) };
    let store = crate::store::local(folder.path()).unwrap();
    assert!(matches!(Log::open(store, unusable).await, Err(LogError::Name(_))));
    assert!(!folder.path().join("log/1/identity").exists());
}

/// Changes one file; says what the log answers to a proof for leaf 1 and to a restart.
async fn corrupted(scene: &Scene, file: &str, change: impl Fn(&mut Vec<u8>)) -> Vec<Option<LogError>> {
    let path = scene.log().join(file);
    let good = std::fs::read(&path).unwrap();
    let log = scene.open().await.unwrap();
    let head = log.head();
    let mut bad = good.clone();
    change(&mut bad);
    std::fs::write(&path, &bad).unwrap();
    let reader = log.reader();
    let last = head.size() - 1;
    let mut errors = Vec::new();
    for index in [1, last] {
        errors.push(reader.inclusion(index, &head.checkpoint).await.err());
        errors.push(reader.entry(index, &head.checkpoint).await.err());
    }
    drop(log);
    errors.push(scene.open().await.err());
    std::fs::write(&path, &good).unwrap();
    errors
}

#[tokio::test]
async fn corrupt_and_truncated_files_are_named() {
    let scene = Scene::new(700).await;
    scene.open().await.unwrap().append(leaves(700, 2)).await.unwrap();
    // 703 leaves: the newest entry follows a tree of 701.
    let files = [
        ("tile/0/000", true),
        ("tile/0/002.p/189", true),
        ("tile/1/000.p/2", true),
        ("tile/entries/000", true),
        ("tile/entries/002.p/189", true),
        ("tile/0/002.p/191", false),
        ("tile/entries/002.p/191", false),
        ("seq/000000000/002", true),
    ];
    for (file, must_notice) in files {
        let flip = |bytes: &mut Vec<u8>| bytes[40] ^= 1;
        let cut = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() - 1);
        for errors in [corrupted(&scene, file, flip).await, corrupted(&scene, file, cut).await] {
            let errors: Vec<LogError> = errors.into_iter().flatten().collect();
            for error in &errors {
                let named =
                    matches!(error, LogError::Corrupt { file: f, .. } if *f == format!("log/1/{file}"));
                assert!(named, "{file}: {error}");
            }
            assert!(!must_notice || !errors.is_empty(), "{file}: nobody noticed");
        }
    }
    assert_eq!(contents(&scene.open().await.unwrap()).await, leaves(0, 702));
}

#[tokio::test]
async fn a_missing_tile_is_named() {
    let scene = Scene::new(700).await;
    scene.open().await.unwrap().append(leaves(700, 2)).await.unwrap();
    let log = scene.open().await.unwrap();
    std::fs::remove_file(scene.log().join("tile/0/001")).unwrap();
    let error = log.reader().entry(300, &log.head().checkpoint).await.unwrap_err();
    assert!(error.to_string().contains("log/1/tile/0/001"), "{error}");
}

#[tokio::test]
async fn two_copies_of_a_log_cannot_both_go_on_at_once() {
    let scene = Scene::new(3).await;
    let other = tempfile::tempdir().unwrap();
    copy(scene.data.path(), other.path());
    let log = scene.open().await.unwrap();
    let store = crate::store::local(other.path()).unwrap();
    let error = Log::open(store, config(Some(scene.state.path()))).await.err().unwrap();
    assert!(matches!(error, LogError::State(StateError::Locked { .. })), "{error}");
    assert!(error.to_string().contains(scene.state.path().to_str().unwrap()), "{error}");
    drop(log);
    scene.open().await.unwrap();
}
