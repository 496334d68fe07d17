use super::*;

fn id(n: u64) -> RecordId {
    let mut id = [3; 16];
    id[8..].copy_from_slice(&n.to_be_bytes());
    id
}

#[test]
fn records_are_found_and_those_in_two_batches_are_told_across_runs() {
    let mut ids = Ids::new();
    for n in 0..1000u64 {
        ids.add(&id(n), (n / 100) as u32);
        if n % 333 == 0 {
            ids.sort();
        }
    }
    ids.sort();
    assert!(ids.pairs(10).is_empty());
    for n in 0..1000 {
        assert_eq!(ids.batches(&id(n)).collect::<Vec<_>>(), [(n / 100) as u32]);
    }
    assert_eq!(ids.batches(&id(1000)).count(), 0);
    for n in [5, 99, 250] {
        ids.add(&id(n), 77);
    }
    ids.sort();
    assert_eq!(ids.pairs(10), BTreeSet::from([(0, 77), (2, 77)]));
    assert_eq!(ids.pairs(1).len(), 1);
    assert_eq!(ids.batches(&id(99)).collect::<BTreeSet<_>>(), BTreeSet::from([0, 77]));
}

#[test]
fn a_row_has_twelve_bytes() {
    assert_eq!(size_of::<Row>(), 12);
}
