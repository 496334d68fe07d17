use super::*;
use crate::fields::{self, BodyDigest, Usage};
use proptest::prelude::*;

fn sample() -> FieldSet {
    let mut set = FieldSet::new();
    BodyDigest { digest: [1; 32], size: 3 }.write(fields::REQUEST_BODY, &mut set);
    BodyDigest { digest: [2; 32], size: 5 }.write(fields::RESPONSE_BODY, &mut set);
    Usage { prompt: Some(7), ..Usage::default() }.write(fields::USAGE, &mut set);
    set
}

#[test]
fn salts_are_halves_of_one_hash_per_pair() {
    let seed = [3; 32];
    let mut input = b"colophon/salt/v1".to_vec();
    input.extend_from_slice(&seed);
    input.extend_from_slice(&[0, 5]);
    let pair = merkle::sha256(&input);
    assert_eq!(salt(&seed, 10), pair[..16]);
    assert_eq!(salt(&seed, 11), pair[16..]);
    let all: std::collections::HashSet<Salt> = (0..64).map(|number| salt(&seed, number)).collect();
    assert_eq!(all.len(), 64);
}

#[test]
fn a_field_is_its_salt_and_its_canonical_bytes() {
    let set = sample();
    let (number, encoded) = set.iter().last().unwrap();
    assert_eq!(number, fields::USAGE);
    assert_eq!(hex::encode(encoded), "820ba10107");
    let seed = [9; 32];
    let mut leaf = salt(&seed, number).to_vec();
    leaf.extend_from_slice(encoded);
    assert_eq!(set.hashes(&seed).last(), Some(&merkle::leaf_hash(&leaf)));
}

#[test]
fn a_sealed_record_commits_to_every_field() {
    let record = seal([8; 16], 1_000, Level::Sign, Outcome::Complete, [9; 32], sample());
    let leaf = RecordLeaf::decode(&record.leaf).unwrap();
    assert_eq!(leaf.present, 1 << 0 | 1 << 4 | 1 << 11);
    assert_eq!(leaf.field_root, merkle::root(&sample().hashes(&[9; 32])));
    assert_eq!(record.leaf_hash, merkle::leaf_hash(&record.leaf));
    assert_eq!(leaf.encode(), record.leaf);
    let other = seal([8; 16], 1_000, Level::Sign, Outcome::Complete, [10; 32], sample());
    assert_ne!(other.leaf_hash, record.leaf_hash, "the same fields under another seed look different");
}

#[test]
fn a_draw_is_part_of_the_leaf() {
    let mut leaf =
        RecordLeaf::decode(&seal([0; 16], 1, Level::Commit, Outcome::Refused, [0; 32], sample()).leaf)
            .unwrap();
    leaf.draw = Some((1 << 60, Level::Zk));
    assert_eq!(RecordLeaf::decode(&leaf.encode()).unwrap(), leaf);
}

#[test]
fn stored_fields_come_back_and_damage_is_noticed() {
    let set = sample();
    assert_eq!(FieldSet::from_bytes(set.as_bytes().to_vec()).unwrap(), set);
    assert_eq!(set.get(fields::USAGE).map(hex::encode), Some("820ba10107".into()));
    let mut doubled = set.as_bytes().to_vec();
    doubled.extend_from_slice(set.get(fields::USAGE).unwrap());
    assert!(FieldSet::from_bytes(doubled).is_err(), "a field twice");
    assert!(FieldSet::from_bytes(set.as_bytes()[..10].to_vec()).is_err(), "cut short");
    for wrong in ["8218400000", "82184000", "8100", "820b", "00", "83000000", "82200000"] {
        assert!(decode_field(&hex::decode(wrong).unwrap()).is_err(), "{wrong}");
    }
}

#[test]
fn a_leaf_of_another_shape_is_refused() {
    let good = seal([8; 16], 1_000, Level::Sign, Outcome::Complete, [9; 32], sample()).leaf;
    let edit = |key: u64, value: Option<Value>| {
        let Value::Map(mut entries) = Value::decode(&good).unwrap() else { unreachable!() };
        entries.retain(|(k, _)| *k != key);
        entries.extend(value.map(|value| (key, value)));
        entries.sort_by_key(|(k, _)| *k);
        RecordLeaf::decode(&Value::Map(entries).encode())
    };
    assert!(edit(1, Some(Value::Uint(6))).is_err(), "another type");
    assert!(edit(2, Some(Value::bytes([0; 15]))).is_err(), "a short id");
    assert!(edit(5, None).is_err(), "no bitmap");
    assert!(edit(6, Some(Value::Uint(5))).is_err(), "no such level");
    assert!(edit(7, Some(Value::Uint(6))).is_err(), "no such outcome");
    assert!(edit(9, Some(Value::Uint(0))).is_err(), "an unknown key");
    assert!(edit(8, Some(Value::Array(vec![Value::Uint(1)]))).is_err(), "half a draw");
}

proptest! {
    #[test]
    fn flipping_any_bit_of_a_leaf_changes_its_hash_or_is_refused(at in 0usize..80, bit in 0u8..8) {
        let record = seal([8; 16], 1_000, Level::Sign, Outcome::Complete, [9; 32], sample());
        let mut leaf = record.leaf.clone();
        let at = at % leaf.len();
        leaf[at] ^= 1 << bit;
        prop_assert_ne!(merkle::leaf_hash(&leaf), record.leaf_hash);
        if let Ok(decoded) = RecordLeaf::decode(&leaf) {
            prop_assert_eq!(decoded.encode(), leaf);
        }
    }
}

#[test]
fn ids_are_written_as_uuids() {
    let id: RecordId = std::array::from_fn(|n| 0x10 * (n as u8) + n as u8);
    assert_eq!(id_text(&id), "00112233-4455-6677-8899-aabbccddeeff");
}
