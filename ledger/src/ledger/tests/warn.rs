//! What an operator has to be told at the start.

use super::*;
use std::fmt::Write as _;
use std::sync::Arc;
use tracing::field::{Field, Visit};
use tracing::subscriber::{DefaultGuard, set_default};
use tracing::{Event, Level, Metadata, Subscriber, span};

/// Keeps the errors logged on this thread.
#[derive(Clone, Default)]
struct Errors(Arc<Mutex<Vec<String>>>);

struct Line<'a>(&'a mut String);

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, "{field}={value:?} ").unwrap();
    }
}

impl Subscriber for Errors {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut line = String::new();
        event.record(&mut Line(&mut line));
        self.0.lock().unwrap().push(line);
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

impl Errors {
    fn listen() -> (Errors, DefaultGuard) {
        let errors = Errors::default();
        (errors.clone(), set_default(errors))
    }

    /// Those that say `what`, taken out.
    fn take(&self, what: &str) -> Vec<String> {
        let mut lines = std::mem::take(&mut *self.0.lock().unwrap());
        lines.retain(|line| line.contains(what));
        lines
    }
}

/// Drops both as a kill would, and waits until the folder is free.
async fn kill(ledger: Ledger, keeper: Keeper) {
    drop((keeper, ledger));
    tokio::time::sleep(Duration::from_millis(50)).await;
}

#[tokio::test]
async fn a_wal_that_is_gone_is_missed() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let (errors, _guard) = Errors::listen();
    let segment = |n: u64| dir.path().join(format!("data/wal/{n}.wal"));
    let (ledger, keeper) = open(config(dir.path()), store.clone()).await.unwrap();
    kill(ledger, keeper).await;
    // Killed while idle, then after an exchange: nothing is missing.
    let (ledger, keeper) = open(config(dir.path()), store.clone()).await.unwrap();
    exchange(&ledger, 1);
    settle(&ledger).await;
    kill(ledger, keeper).await;
    let (ledger, keeper) = open(config(dir.path()), store.clone()).await.unwrap();
    assert_eq!(errors.take("MISSING WAL"), [""; 0]);

    // Killed, and the WAL removed.
    let shard = ledger.shard().name.clone();
    std::mem::forget(accept(&ledger, 2).unwrap());
    drop((keeper, ledger));
    tokio::time::sleep(Duration::from_millis(50)).await;
    std::fs::remove_file(segment(3)).unwrap();
    // A forgotten ticket keeps the lock, which a killed process would not.
    std::fs::remove_file(dir.path().join("data/lock")).unwrap();
    let (ledger, keeper) = open(config(dir.path()), store.clone()).await.unwrap();
    let told = errors.take("MISSING WAL");
    assert!(matches!(&told[..], [line] if line.contains(&shard)), "{told:?}");

    // Killed, and the WAL emptied.
    let shard = ledger.shard().name.clone();
    kill(ledger, keeper).await;
    let wal = std::fs::read_dir(dir.path().join("data/wal")).unwrap().map(|entry| entry.unwrap().path());
    let left: Vec<_> = wal.filter(|path| path.extension().is_some_and(|ext| ext == "wal")).collect();
    assert_eq!(left.len(), 1);
    std::fs::write(&left[0], b"").unwrap();
    let (ledger, keeper) = open(config(dir.path()), store.clone()).await.unwrap();
    let told = errors.take("MISSING WAL");
    assert!(matches!(&told[..], [line] if line.contains(&shard)), "{told:?}");

    // A clean end leaves no WAL, and nobody misses it.
    keeper.close().await.unwrap();
    drop(ledger);
    let (_ledger, _keeper) = open(config(dir.path()), store).await.unwrap();
    assert_eq!(errors.take("MISSING WAL"), [""; 0]);
}

#[tokio::test]
async fn a_token_key_made_anew_is_told() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let (errors, _guard) = Errors::listen();
    for _ in 0..2 {
        let (ledger, keeper) = open(config(dir.path()), store.clone()).await.unwrap();
        keeper.close().await.unwrap();
        drop(ledger);
        assert_eq!(errors.take("receipt links"), [""; 0]);
    }
    let file = dir.path().join("data/keys/token");
    std::fs::remove_file(&file).unwrap();
    let (_ledger, _keeper) = open(config(dir.path()), store).await.unwrap();
    let told = errors.take("receipt links");
    let named = file.to_str().unwrap();
    assert!(matches!(&told[..], [line] if line.contains(named) && line.contains("403")), "{told:?}");
}
