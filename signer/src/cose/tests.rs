use coset::{
    CborSerializable as _, CoseSign1, Label, RegisteredLabel, RegisteredLabelWithPrivate,
    TaggedCborSerializable as _,
};
use coset::{cbor::value::Value as Cbor, iana};
use proptest::prelude::*;

use super::*;
use crate::keys::Ed25519Key;

const CONTENT_TYPE: &str = "application/colophon-statement+cbor";

fn key() -> Ed25519Key {
    Ed25519Key::from_seed(&[9; 32]).unwrap()
}

fn statement() -> Vec<u8> {
    sign_statement(b"payload", CONTENT_TYPE, "log.example/1", "shard/a", &key()).unwrap()
}

#[test]
fn what_is_signed_is_read_back() {
    let parsed = Sign1::parse(&statement()).unwrap();
    assert_eq!(parsed.payload(), b"payload");
    assert_eq!((parsed.iss(), parsed.sub()), ("log.example/1", "shard/a"));
    assert_eq!(parsed.content_type(), CONTENT_TYPE);
    assert_eq!(*parsed.kid(), key().public_key().key_id());
    assert_eq!(parsed.verify(&key().public_key()), Ok(()));
    let other = Ed25519Key::from_seed(&[8; 32]).unwrap();
    assert_eq!(parsed.verify(&other.public_key()), Err(CoseError::Kid));
}

/// Another implementation of RFC 9052 reads our bytes, and its signature input is ours.
#[test]
fn coset_agrees() {
    let message = CoseSign1::from_tagged_slice(&statement()).unwrap();
    let header = &message.protected.header;
    assert_eq!(header.alg, Some(RegisteredLabelWithPrivate::Assigned(iana::Algorithm::EdDSA)));
    assert_eq!(header.content_type, Some(RegisteredLabel::Text(CONTENT_TYPE.into())));
    assert_eq!(header.key_id, key().public_key().key_id());
    let claims = Cbor::Map(vec![
        (Cbor::Integer(1.into()), Cbor::Text("log.example/1".into())),
        (Cbor::Integer(2.into()), Cbor::Text("shard/a".into())),
    ]);
    assert_eq!(header.rest, [(Label::Int(15), claims)]);
    assert!(message.unprotected.is_empty());
    assert_eq!(message.payload.as_deref(), Some(&b"payload"[..]));
    message.verify_signature(b"", |sig, data| key().public_key().verify(data, sig)).unwrap();
    assert_eq!(message.to_tagged_vec().unwrap(), statement());
}

/// What coset makes with the same header is what we make: there is one encoding.
#[test]
fn coset_makes_the_same_bytes() {
    let claims = Cbor::Map(vec![
        (Cbor::Integer(1.into()), Cbor::Text("log.example/1".into())),
        (Cbor::Integer(2.into()), Cbor::Text("shard/a".into())),
    ]);
    let protected = coset::HeaderBuilder::new()
        .algorithm(iana::Algorithm::EdDSA)
        .content_type(CONTENT_TYPE.into())
        .key_id(key().public_key().key_id().to_vec())
        .value(15, claims)
        .build();
    let made = coset::CoseSign1Builder::new()
        .protected(protected)
        .payload(b"payload".to_vec())
        .create_signature(b"", |data| key().sign(data).to_vec())
        .build();
    assert_eq!(made.clone().to_tagged_vec().unwrap(), statement());
    assert_eq!(Sign1::parse(&made.to_vec().unwrap()), Err(CoseError::Tag));
}

/// A statement whose parts are chosen freely, with a signature that fits them.
fn build(protected: Value, unprotected: Value, payload: Value) -> Vec<u8> {
    let protected = protected.encode();
    let bytes = if let Value::Bytes(payload) = &payload { payload.as_slice() } else { b"" };
    let signature = key().sign(&to_be_signed(&protected, bytes));
    let message = [Value::Bytes(protected), unprotected, payload, Value::bytes(signature)];
    [&[TAG][..], &Value::Array(message.to_vec()).encode()].concat()
}

fn header() -> Vec<(u64, Value)> {
    vec![
        (1, Value::Nint(7)),
        (3, Value::text(CONTENT_TYPE)),
        (4, Value::bytes(key().public_key().key_id())),
        (15, Value::Map(vec![(1, Value::text("log.example/1")), (2, Value::text("shard/a"))])),
    ]
}

#[test]
fn other_shapes_are_refused() {
    let payload = || Value::bytes(b"payload");
    let empty = || Value::Map(vec![]);
    assert_eq!(build(Value::Map(header()), empty(), payload()), statement());
    let refused =
        |bytes: &[u8]| assert!(matches!(Sign1::parse(bytes), Err(CoseError::Cbor(_))), "{bytes:02x?}");

    for missing in 0..4 {
        let mut header = header();
        header.remove(missing);
        refused(&build(Value::Map(header), empty(), payload()));
    }
    let replaced = |at: usize, value: Value| {
        let mut header = header();
        header[at].1 = value;
        build(Value::Map(header), empty(), payload())
    };
    refused(&replaced(0, Value::Nint(6))); // ES256
    refused(&replaced(0, Value::Uint(7)));
    refused(&replaced(1, Value::Uint(60))); // a CoAP content format
    refused(&replaced(2, Value::bytes([0; 31])));
    refused(&replaced(3, Value::Map(vec![(1, Value::text("log.example/1"))])));
    refused(&replaced(
        3,
        Value::Map(vec![(1, Value::text("a")), (2, Value::text("b")), (6, Value::Uint(1))]),
    ));
    let mut more = header();
    more.insert(1, (2, Value::Array(vec![Value::Uint(4)]))); // crit
    refused(&build(Value::Map(more), empty(), payload()));
    refused(&build(Value::Map(header()), Value::Map(vec![(4, Value::bytes([1]))]), payload()));
    refused(&build(Value::Map(header()), empty(), Value::text("text")));
    refused(&build(Value::Map(header()), empty(), Value::Array(vec![])));

    let good = statement();
    refused(&good[..good.len() - 1]);
    refused(&[&good[..], &[0]].concat());
    assert_eq!(Sign1::parse(&[]), Err(CoseError::Tag));
    assert_eq!(Sign1::parse(&good[1..]), Err(CoseError::Tag));
    // The tag in a longer form.
    assert_eq!(Sign1::parse(&[&[0xd8, 18][..], &good[1..]].concat()), Err(CoseError::Tag));
}

#[test]
fn every_changed_bit_is_refused() {
    let good = statement();
    for bit in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let verdict = Sign1::parse(&bytes).and_then(|parsed| parsed.verify(&key().public_key()));
        assert!(verdict.is_err(), "bit {bit}");
    }
}

proptest! {
    #[test]
    fn any_payload_and_names(payload: Vec<u8>, iss: String, sub: String, content_type: String) {
        let bytes = sign_statement(&payload, &content_type, &iss, &sub, &key()).unwrap();
        let parsed = Sign1::parse(&bytes).unwrap();
        prop_assert_eq!(parsed.payload(), &payload);
        prop_assert_eq!((parsed.iss(), parsed.sub(), parsed.content_type()), (&*iss, &*sub, &*content_type));
        prop_assert_eq!(parsed.verify(&key().public_key()), Ok(()));
    }

    #[test]
    fn noise_never_panics(bytes: Vec<u8>) {
        let tagged = [&[TAG][..], &bytes].concat();
        prop_assert!(Sign1::parse(&tagged).is_err());
    }
}
