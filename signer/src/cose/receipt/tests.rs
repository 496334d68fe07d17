use super::*;
use crate::cose::sign_statement;
use crate::{Ed25519Key, PublicKey};
use colophon_receipt::merkle::{inclusion_proof, leaf_hash, root, root_from_inclusion};
use minicbor::Decoder;

/// A third party's reading of it, by RFC 9942 alone: the size by the signed header, and that by the proof.
fn verify(transparent: &[u8], log: &PublicKey) -> Option<(u64, u64)> {
    let mut d = Decoder::new(transparent);
    (d.tag().ok()? == COSE_SIGN1 && d.array().ok()? == Some(4)).then_some(())?;
    let protected = d.bytes().ok()?;
    (d.map().ok()? == Some(1) && d.u32().ok()? == RECEIPTS && d.array().ok()? == Some(1)).then_some(())?;
    let receipt = d.bytes().ok()?.to_vec();
    let (payload, signature) = (d.bytes().ok()?, d.bytes().ok()?);
    // What was logged: the same message with an empty unprotected header.
    let entry = encoded(|e| {
        e.tag(COSE_SIGN1)?.array(4)?.bytes(protected)?.map(0)?.bytes(payload)?.bytes(signature)?;
        Ok(())
    });

    let mut d = Decoder::new(&receipt);
    (d.tag().ok()? == COSE_SIGN1 && d.array().ok()? == Some(4)).then_some(())?;
    let protected = d.bytes().ok()?;
    (d.map().ok()? == Some(1) && d.u32().ok()? == VDP && d.map().ok()? == Some(1)).then_some(())?;
    (d.i32().ok()? == INCLUSION && d.array().ok()? == Some(1)).then_some(())?;
    let mut inclusion = Decoder::new(d.bytes().ok()?);
    (inclusion.array().ok()? == Some(3)).then_some(())?;
    let (size, index) = (inclusion.u64().ok()?, inclusion.u64().ok()?);
    let count = inclusion.array().ok()??;
    let path: Option<Vec<Hash>> = (0..count).map(|_| inclusion.bytes().ok()?.try_into().ok()).collect();
    d.null().ok()?;
    let signature: [u8; 64] = d.bytes().ok()?.try_into().ok()?;
    (d.position() == receipt.len() && inclusion.position() == inclusion.input().len()).then_some(())?;
    let root = root_from_inclusion(&leaf_hash(&entry), index, size, &path?).ok()?;
    log.verify(&super::super::to_be_signed(protected, &root), &signature).ok()?;
    // The size that the key signed for is the one of the proof.
    let mut signed = [&[0x3a, 0, 1, 0, 0][..], &encoded(|e| e.u64(size).map(drop))].concat();
    (protected.ends_with(&std::mem::take(&mut signed))).then_some((index, size))
}

#[test]
fn a_statement_with_its_receipt_is_verified_by_the_standard_alone() {
    let (shard, log) = (Ed25519Key::from_seed(&[1; 32]).unwrap(), Ed25519Key::from_seed(&[2; 32]).unwrap());
    let entry = sign_statement(b"\xa0", "application/x", "log.example/1", "a/1", &shard).unwrap();
    let leaves: Vec<Hash> =
        (0..5u8).map(|n| if n == 3 { leaf_hash(&entry) } else { leaf_hash(&[n]) }).collect();
    let proof = |path| TlogProof { index: 3, path, checkpoint: String::new() };
    let good = proof(inclusion_proof(&leaves, 3).unwrap());
    let made = transparent(&entry, &good, 5, &root(&leaves), "log.example/1", &log).unwrap();
    assert_eq!(verify(&made, &log.public_key()), Some((3, 5)));
    assert_eq!(verify(&made, &shard.public_key()), None);
    // A statement still signed by its shard, and every bit of the whole under one of the two signatures.
    for at in 0..made.len() * 8 {
        let mut bad = made.clone();
        bad[at / 8] ^= 1 << (at % 8);
        let seen = verify(&bad, &log.public_key());
        assert_eq!(seen, None, "bit {at}");
    }
    assert!(matches!(
        transparent(b"\xa0", &good, 5, &root(&leaves), "x", &log),
        Err(ReceiptError::Statement(_))
    ));
}
