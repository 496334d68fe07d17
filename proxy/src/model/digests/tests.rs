use super::*;
use crate::model::folder::list;
use colophon_receipt::merkle::sha256;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

fn digest_all(
    root: &Path,
    cache: Option<&Cache>,
    progress: &(dyn Fn(u64) + Sync),
) -> anyhow::Result<Vec<(String, Hash)>> {
    let files = list(root, &[], false).unwrap();
    digest(&files, &Digesting { cache, progress, stop: &AtomicBool::new(false) })
}

#[test]
fn digests_are_those_of_the_bytes() {
    let root = tempfile::tempdir().unwrap();
    let large = vec![7; 3 * BLOCK + 1];
    for n in 0..40 {
        std::fs::write(root.path().join(format!("f{n}")), format!("{n}")).unwrap();
    }
    std::fs::write(root.path().join("large"), &large).unwrap();
    std::fs::write(root.path().join("empty"), "").unwrap();
    let seen = std::sync::atomic::AtomicU64::new(0);
    let digests = digest_all(root.path(), None, &|n| {
        seen.fetch_add(n, Ordering::Relaxed);
    })
    .unwrap();
    assert_eq!(digests.len(), 42);
    for (name, digest) in digests {
        assert_eq!(digest, sha256(&std::fs::read(root.path().join(&name)).unwrap()), "{name}");
    }
    assert_eq!(seen.into_inner(), large.len() as u64 + 70);
}

#[test]
fn a_file_that_changes_meanwhile_has_no_digest() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("w");
    std::fs::write(&path, vec![1; 4 * BLOCK]).unwrap();
    // The last bytes are not read before the first are changed.
    let change = |_| std::fs::write(&path, "other").unwrap();
    let said = format!("{:#}", digest_all(root.path(), None, &change).unwrap_err());
    assert!(said.contains("changed while it was read"), "{said}");
    // And one that changed since it was listed.
    let files = list(root.path(), &[], false).unwrap();
    std::fs::write(&path, "once more").unwrap();
    let how = Digesting { cache: None, progress: &|_| (), stop: &AtomicBool::new(false) };
    assert!(digest(&files, &how).is_err());
    std::fs::remove_file(&path).unwrap();
    assert!(format!("{:#}", digest(&files, &how).unwrap_err()).contains("cannot read"));
}

#[test]
fn it_stops_when_it_is_told() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("w"), "x").unwrap();
    let files = list(root.path(), &[], false).unwrap();
    let how = Digesting { cache: None, progress: &|_| (), stop: &AtomicBool::new(true) };
    assert!(digest(&files, &how).unwrap_err().to_string().contains("stopped"));
}

#[test]
fn what_was_read_before_is_not_read_again() {
    let root = tempfile::tempdir().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = root.path().join("w");
    std::fs::write(&path, "weights").unwrap();
    let cache = Cache::open(&folder.path().join("digests")).unwrap();
    let meta = std::fs::metadata(&path).unwrap();
    // As if it had been read as other bytes: only the cache can say so.
    let old = Stamp { written: 1, changed: 2, ..Stamp::of(&meta) };
    cache.put(&old, &[9; 32]);
    let files = [Found { name: "w".into(), path: path.clone(), stamp: old }];
    let how = Digesting { cache: Some(&cache), progress: &|_| (), stop: &AtomicBool::new(false) };
    assert_eq!(digest(&files, &how).unwrap(), [("w".to_owned(), [9; 32])]);
    assert!(meta.mtime() > 1);
    let without = digest_all(root.path(), None, &|_| ()).unwrap();
    assert_eq!(without, [("w".to_owned(), sha256(b"weights"))]);
}
