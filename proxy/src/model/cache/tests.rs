use super::*;

fn stamp(inode: u64) -> Stamp {
    Stamp { device: 1, inode, size: 3, written: 5, changed: 7 }
}

#[test]
fn digests_are_kept_until_anything_about_the_file_is_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("digests");
    let cache = Cache::open(&path).unwrap();
    cache.put(&stamp(1), &[1; 32]);
    cache.put(&stamp(2), &[2; 32]);
    drop(cache);
    let cache = Cache::open(&path).unwrap();
    assert_eq!(cache.get(&stamp(1)), Some([1; 32]));
    for other in [
        Stamp { device: 2, ..stamp(1) },
        Stamp { inode: 3, ..stamp(1) },
        Stamp { size: 4, ..stamp(1) },
        Stamp { written: 6, ..stamp(1) },
        Stamp { changed: 8, ..stamp(1) },
    ] {
        assert_eq!(cache.get(&other), None, "{other:?}");
    }
}

#[test]
fn a_cache_that_was_cut_or_is_none_costs_only_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("digests");
    Cache::open(&path).unwrap().put(&stamp(1), &[1; 32]);
    let whole = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{whole}1 2 3 4 5 00")).unwrap();
    let cache = Cache::open(&path).unwrap();
    assert_eq!(cache.known.lock().unwrap().len(), 1);
    drop(cache);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), whole, "what was cut is gone");
    std::fs::write(&path, [0xff; 100]).unwrap();
    assert_eq!(Cache::open(&path).unwrap().get(&stamp(1)), None);
    assert!(Cache::open(&folder.path().join("none/digests")).is_err());
}

#[test]
fn what_was_written_just_now_is_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(&folder.path().join("digests")).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i128;
    let fresh = Stamp { changed: now, ..stamp(1) };
    cache.put(&fresh, &[1; 32]);
    assert_eq!(cache.get(&fresh), None);
}
