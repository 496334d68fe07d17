use super::super::tests::{id, target};
use super::super::{is_merged, is_named, keeps_name, may_hold, write};
use super::*;

/// Files of ten batches by two shards, five records each.
fn files() -> Vec<(Target, Vec<RecordId>, Bytes)> {
    let one = |n: u64| {
        let shard = if n < 6 { "host/0011" } else { "host/2233" };
        let announced = if n < 6 { 3 } else { 40 };
        let target = Target { shard: shard.into(), seq: n % 6, log_index: 50 + n, announced };
        let ids: Vec<RecordId> = (0..5).map(|i| id(1000 * n + i, [1, 2], i as u8)).collect();
        let (_, bytes) = write(&target, ids.iter().copied().zip(0..)).remove(0);
        (target, ids, bytes.into())
    };
    (0..10).map(one).collect()
}

#[test]
fn a_merged_file_says_what_its_parts_said() {
    let mut merged = Merged::default();
    for (_, _, file) in files().iter().rev() {
        merged.add(&Index::read(file).unwrap()).unwrap();
    }
    let (name, bytes) = merged.file().unwrap();
    let bytes = Bytes::from(bytes);
    let file = Index::read(&bytes).unwrap();
    assert!(is_merged(&name) && is_named(&name, &bytes) && keeps_name(&name, &file));
    for (target, ids, _) in files() {
        for (id, slot) in ids.iter().zip(0..) {
            assert!(may_hold(&name, id));
            assert_eq!(file.find(id).unwrap(), Some((target.clone(), slot)));
        }
    }
    assert_eq!(file.find(&[7; 16]).unwrap(), None);
    // Merged once more, it is itself.
    let mut again = Merged::default();
    again.add(&file).unwrap();
    assert_eq!(again.file().unwrap(), (name, bytes.to_vec()));
}

#[test]
fn a_damaged_merged_file_is_an_error() {
    let mut merged = Merged::default();
    for (_, _, file) in &files()[..2] {
        merged.add(&Index::read(file).unwrap()).unwrap();
    }
    let (name, bytes) = merged.file().unwrap();
    for end in 0..bytes.len() {
        let cut = Bytes::copy_from_slice(&bytes[..end]);
        assert!(Index::read(&cut).is_err() || !is_named(&name, &cut), "{end} bytes");
    }
    // A row that names a third batch.
    let mut bad = bytes.clone();
    let batch = bad.len() - 8;
    bad[batch] = 2;
    let file = Index::read(&bad.into()).unwrap();
    let last = file.ids().last().unwrap();
    assert!(file.find(&last).is_err());
    assert!(Merged::default().add(&file).is_err());
}

#[test]
fn a_version_1_row_says_its_seq() {
    let (_, bytes) = write(&target(), [(id(5, [1, 2], 1), 9)]).remove(0);
    let file = Index::read(&bytes.into()).unwrap();
    assert_eq!(file.find(&id(5, [1, 2], 1)).unwrap(), Some((target(), 9)));
}
