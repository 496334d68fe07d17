use super::*;
use proptest::prelude::*;

/// RFC 8949 appendix A, the examples that lie in the subset.
#[test]
fn rfc8949_appendix_a() {
    let map = |entries: &[(u64, Value)]| Value::Map(entries.to_vec());
    for (hex, value) in [
        ("00", Value::Uint(0)),
        ("17", Value::Uint(23)),
        ("1818", Value::Uint(24)),
        ("1903e8", Value::Uint(1000)),
        ("1a000f4240", Value::Uint(1_000_000)),
        ("1bffffffffffffffff", Value::Uint(u64::MAX)),
        ("20", Value::Nint(0)),
        ("3903e7", Value::Nint(999)),
        ("3bffffffffffffffff", Value::Nint(u64::MAX)),
        ("f4", Value::Bool(false)),
        ("f5", Value::Bool(true)),
        ("40", Value::bytes(b"")),
        ("4401020304", Value::bytes([1, 2, 3, 4])),
        ("60", Value::text("")),
        ("6449455446", Value::text("IETF")),
        ("62c3bc", Value::text("ü")),
        ("80", Value::Array(vec![])),
        ("83010203", Value::Array(vec![Value::Uint(1), Value::Uint(2), Value::Uint(3)])),
        ("a0", map(&[])),
        ("a201020304", map(&[(1, Value::Uint(2)), (3, Value::Uint(4))])),
    ] {
        let bytes = hex::decode(hex).unwrap();
        assert_eq!(value.encode(), bytes, "{hex}");
        assert_eq!(Value::decode(&bytes), Ok(value), "{hex}");
    }
}

#[test]
fn what_is_not_deterministic_is_refused() {
    for (hex, why) in [
        ("1800", "an integer longer than needed"),
        ("190001", "an integer longer than needed"),
        ("1b00000000ffffffff", "an integer longer than needed"),
        ("5800", "a length longer than needed"),
        ("f6", "null"),
        ("f7", "undefined"),
        ("f90000", "a half float"),
        ("fb3ff199999999999a", "a float"),
        ("c11a514b67b0", "a tag"),
        ("5f42010243030405ff", "an indefinite byte string"),
        ("9fff", "an indefinite array"),
        ("bfff", "an indefinite map"),
        ("a201000100", "a duplicate key"),
        ("a202000100", "keys out of order"),
        ("a1616100", "a text key"),
        ("0000", "a trailing byte"),
        ("8101ff", "a trailing byte"),
        ("4401", "cut short"),
        ("", "nothing"),
        ("9bffffffffffffffff", "an array of impossible length"),
        ("bbffffffffffffffff", "a map of impossible length"),
        ("5bffffffffffffffff", "a byte string of impossible length"),
        ("818181818181818100", "nested too deep"),
    ] {
        assert!(Value::decode(&hex::decode(hex).unwrap()).is_err(), "{why}: {hex}");
    }
}

#[test]
fn a_reader_refuses_unknown_keys_and_names_missing_ones() {
    let bytes = Value::Map(vec![(1, Value::Uint(2)), (9, Value::Uint(0))]).encode();
    let mut map = MapReader::decode(&bytes).unwrap();
    assert_eq!(map.required(2), Err(CborError::MissingKey(2)));
    map.expect_type(2, "type").unwrap();
    assert_eq!(map.finish(), Err(CborError::UnknownKey(9)));
    let mut map = MapReader::decode(&bytes).unwrap();
    assert_eq!(map.expect_type(3, "type"), Err(CborError::Value("type")));
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<u64>().prop_map(Value::Uint),
        any::<u64>().prop_map(Value::Nint),
        any::<bool>().prop_map(Value::Bool),
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(Value::Bytes),
        "\\PC{0,20}".prop_map(Value::Text),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            proptest::collection::btree_map(any::<u64>(), inner, 0..4)
                .prop_map(|map| Value::Map(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn every_value_comes_back(value in values()) {
        prop_assert_eq!(Value::decode(&value.encode()), Ok(value));
    }

    /// One value has one encoding: whatever decodes re-encodes to the bytes it came from.
    #[test]
    fn no_bytes_decode_but_the_canonical_ones(mut bytes in values().prop_map(|v| v.encode()), at in any::<prop::sample::Index>(), flip in 1u8..) {
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if let Ok(value) = Value::decode(&bytes) {
            prop_assert_eq!(value.encode(), bytes);
        }
    }

    #[test]
    fn noise_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Value::decode(&bytes);
    }
}
