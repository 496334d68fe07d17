use super::*;
use tempfile::TempDir;

#[test]
fn what_is_under_way_is_found_again() {
    let folder = TempDir::new().unwrap();
    assert_eq!(Intent::load_all(folder.path()).unwrap(), []);
    let subjects = [
        Subject::Record { id: [1; 16], leaf_hash: [2; 32], shard: "a/0011".into(), seq: 3, slot: 4 },
        Subject::Tenant { name: b"clinic \xff".to_vec(), salt: [5; 32] },
        Subject::Before(7),
    ];
    let intents = subjects.map(|subject| Intent::new(subject, 9).unwrap());
    for intent in &intents {
        intent.save(folder.path()).unwrap();
    }
    let found = Intent::load_all(folder.path()).unwrap();
    assert_eq!(found.len(), 3);
    assert!(intents.iter().all(|intent| found.contains(intent)));
    intents[0].remove(folder.path()).unwrap();
    assert_eq!(Intent::load_all(folder.path()).unwrap().len(), 2);
}

#[test]
fn a_damaged_one_is_named() {
    let folder = TempDir::new().unwrap();
    let intent = Intent::new(Subject::Before(7), 9).unwrap();
    intent.save(folder.path()).unwrap();
    let path = intent.path(folder.path());
    let whole = std::fs::read(&path).unwrap();
    for bad in [&b""[..], &whole[..whole.len() / 2], b"{}", &[b' '; 20_000]] {
        std::fs::write(&path, bad).unwrap();
        let error = Intent::load_all(folder.path()).unwrap_err().to_string();
        assert!(error.contains(path.to_str().unwrap()), "{error}");
    }
    std::fs::write(&path, &whole).unwrap();
    std::fs::rename(&path, folder.path().join("erase-00.json")).unwrap();
    assert!(Intent::load_all(folder.path()).is_err(), "its name is another erasure's");
}
