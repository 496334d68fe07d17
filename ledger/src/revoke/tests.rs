use std::path::Path;

use colophon_signer::Ed25519Key;

use super::*;
use crate::check::{CheckOptions, check};
use crate::ledger::Ledger;
use crate::ledger::tests::support::{self, exchange, settle};

fn asked(data: &Path, shard: &str) -> Revoke {
    let config = support::config(data);
    Revoke {
        data: config.data,
        stores: Stores::default(),
        state: config.state,
        log_key: Arc::new(Ed25519Key::from_seed(&[7; 32]).unwrap()),
        shard: shard.to_owned(),
        reason: Reason::KeyCompromise,
        invalid_from: Some(5),
        now: 2_000_000_000_000_000,
    }
}

/// One life on disk; gives its shard's name.
async fn life(data: &Path) -> String {
    let (ledger, keeper) = Ledger::open(support::config(data)).await.unwrap();
    exchange(&ledger, 1);
    settle(&ledger).await;
    let name = ledger.shard().name.clone();
    keeper.close().await.unwrap();
    name
}

#[tokio::test]
async fn a_shard_is_revoked_once_and_the_log_stays_sound() {
    let dir = tempfile::tempdir().unwrap();
    let none = revoke(asked(dir.path(), "host/0000000000000000")).await.unwrap_err().to_string();
    assert!(none.contains("there is no log"), "{none}");
    let (first, second) = (life(dir.path()).await, life(dir.path()).await);
    let unknown = revoke(asked(dir.path(), "host/0000000000000000")).await.unwrap_err().to_string();
    assert!(unknown.contains("announced no shard") && unknown.contains(&second), "{unknown}");
    let future = Revoke { invalid_from: Some(u64::MAX), ..asked(dir.path(), &first) };
    assert!(revoke(future).await.unwrap_err().to_string().contains("from now on"));
    let thief = Revoke { log_key: Arc::new(Ed25519Key::generate().unwrap()), ..asked(dir.path(), &first) };
    assert!(matches!(revoke(thief).await, Err(LedgerError::Log(LogError::Key { .. }))));

    let done = revoke(asked(dir.path(), &first)).await.unwrap();
    assert_eq!(done.revocation.shard.as_deref(), Some(&*first));
    assert_eq!(done.revocation.from(), 5);
    let again = revoke(asked(dir.path(), &first)).await.unwrap_err().to_string();
    assert!(again.contains(&format!("by leaf {}", done.index)), "{again}");

    let store = crate::store::local(&dir.path().join("data")).unwrap();
    assert_eq!(revocations(store.clone(), 1, 0).await.unwrap(), vec![done.clone()]);
    assert_eq!(revocations(store.clone(), 1, done.index + 1).await.unwrap(), vec![]);
    let report = check(store.clone(), CheckOptions::default()).await;
    assert!(report.is_sound() && report.revocations == 1, "{:?}", report.findings);
    // The proxy goes on, with another shard.
    life(dir.path()).await;
    let running = Ledger::open(support::config(dir.path())).await.unwrap();
    assert!(matches!(revoke(asked(dir.path(), &second)).await, Err(LedgerError::Locked(_))));
    drop(running);
}

/// What a revoked key signs afterwards is found by whoever reads the log, and so is a revocation that is none.
#[tokio::test]
async fn what_comes_after_a_revocation_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn ObjectStore> = Arc::new(object_store::memory::InMemory::new());
    let (ledger, keeper) = support::open(support::config(dir.path()), store.clone()).await.unwrap();
    exchange(&ledger, 1);
    settle(&ledger).await;
    let shard = ledger.shard();
    let log_key: Arc<dyn Signer> = Arc::new(Ed25519Key::from_seed(&[7; 32]).unwrap());
    let config = LogConfig {
        generation: 1,
        origin: None,
        key: log_key.clone(),
        state: None,
        adopt: false,
        several_writers: true,
        predecessor: None,
        now: 1,
    };
    let mut log = Log::open(store.clone(), config).await.unwrap();
    let origin = log.origin().to_owned();
    let revocation = |shard: Option<&str>, key_id| Revocation {
        key_id,
        reason: Reason::KeyCompromise,
        at: 9,
        shard: shard.map(str::to_owned),
        invalid_from: None,
        successor: None,
    };
    let leaf = |revocation: &Revocation, key: &dyn Signer| {
        let sub = revocation.shard.clone().unwrap_or(origin.clone());
        sign_statement(&revocation.encode(), REVOCATION_TYPE, &origin, &sub, key).unwrap()
    };
    let good = revocation(Some(&shard.name), shard.public_key.key_id());
    let by_the_shard = leaf(&good, shard.signer.as_ref());
    let other_key = leaf(&revocation(Some(&shard.name), [1; 32]), log_key.as_ref());
    let unknown = leaf(&revocation(Some("x/0"), [1; 32]), log_key.as_ref());
    let nobodys = leaf(&revocation(None, [1; 32]), log_key.as_ref());
    let bad = vec![by_the_shard, other_key, unknown, nobodys];
    let first_bad = log.append(bad).await.unwrap().first_index;
    log.append(vec![leaf(&good, log_key.as_ref())]).await.unwrap();
    assert_eq!(revocations(store.clone(), 1, 0).await.unwrap().len(), 4, "only what the log's key signed");
    exchange(&ledger, 2);
    settle(&ledger).await;
    drop(keeper);

    let report = check(store, CheckOptions::default()).await;
    let found: Vec<(&str, String)> = report.findings.iter().map(|f| (f.name(), f.to_string())).collect();
    let names: Vec<&str> = found.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["signature", "revocation", "revocation", "revocation", "revoked"], "{found:?}");
    assert!(found[0].1.contains(&first_bad.to_string()));
    assert!(found[4].1.contains("goes on although its key was revoked"));
}
