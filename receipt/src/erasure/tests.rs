use super::*;

fn erasures() -> [Erasure; 3] {
    [
        Erased::Record { id: [1; 16], leaf_hash: [2; 32] },
        Erased::Tenant(tenant_commitment(&[3; 32], b"clinic")),
        Erased::Before(1_700_000_000_000_000),
    ]
    .map(|what| Erasure { shard: "a/0011".into(), id: [9; 16], at: 7, openings: 3, what })
}

#[test]
fn payloads_come_back_exactly() {
    for erasure in erasures() {
        assert_eq!(Erasure::decode(&erasure.encode()).unwrap(), erasure);
    }
}

#[test]
fn an_erasure_has_one_subject() {
    let whole = erasures().map(|erasure| match Value::decode(&erasure.encode()).unwrap() {
        Value::Map(entries) => entries,
        other => panic!("{other:?}"),
    });
    let none: Vec<_> = whole[0].iter().filter(|(key, _)| *key < 6).cloned().collect();
    assert_eq!(Erasure::decode(&Value::Map(none).encode()), Err(CborError::MissingKey(9)));
    let half: Vec<_> = whole[0].iter().filter(|(key, _)| *key < 7).cloned().collect();
    assert_eq!(Erasure::decode(&Value::Map(half).encode()), Err(CborError::MissingKey(7)));
    for (first, second) in [(0, 1), (0, 2), (1, 2)] {
        let rest = whole[second].iter().filter(|(key, _)| *key > 5).cloned();
        let both: Vec<_> = whole[first].iter().cloned().chain(rest).collect();
        assert!(matches!(Erasure::decode(&Value::Map(both).encode()), Err(CborError::UnknownKey(8 | 9))));
    }
}

#[test]
fn a_tenant_is_not_to_be_guessed_without_the_salt() {
    assert_ne!(tenant_commitment(&[1; 32], b"clinic"), tenant_commitment(&[2; 32], b"clinic"));
    assert_ne!(tenant_commitment(&[1; 32], b"clinic"), tenant_commitment(&[1; 32], b"clinic2"));
}
