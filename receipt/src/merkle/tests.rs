use super::*;
use proptest::prelude::*;

/// The leaves and roots of Certificate Transparency's reference tests, which RFC 6962 implementations share.
const LEAVES: [&str; 8] =
    ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
const ROOTS: [&str; 8] = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

fn hashes(n: usize) -> Vec<Hash> {
    (0..n).map(|i| leaf_hash(&i.to_be_bytes())).collect()
}

#[test]
fn the_empty_tree() {
    let expected = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(hex::encode(root(&[])), expected);
}

#[test]
fn certificate_transparency_vectors() {
    let leaves: Vec<Hash> = LEAVES.iter().map(|leaf| leaf_hash(&hex::decode(leaf).unwrap())).collect();
    for (n, expected) in ROOTS.iter().enumerate() {
        assert_eq!(hex::encode(root(&leaves[..=n])), *expected, "{} leaves", n + 1);
    }
}

/// Another implementation of RFC 6962, by other people.
#[test]
fn agrees_with_ct_merkle() {
    for n in [1usize, 2, 3, 5, 8, 13, 64, 100] {
        let mut theirs = ct_merkle::mem_backed_tree::MemoryBackedTree::<sha2::Sha256, Vec<u8>>::new();
        for i in 0..n {
            theirs.push(i.to_be_bytes().to_vec());
        }
        assert_eq!(theirs.root().as_bytes().as_slice(), root(&hashes(n)), "{n} leaves");
        for i in 0..n {
            let ours: Vec<u8> = inclusion_proof(&hashes(n), i).unwrap().concat();
            assert_eq!(theirs.prove_inclusion(i).as_bytes(), ours, "leaf {i} of {n}");
        }
        for old in 1..n {
            let ours: Vec<u8> = consistency_proof(&hashes(n), old).unwrap().concat();
            assert_eq!(theirs.prove_consistency(n - old).as_bytes(), ours, "{old} in {n}");
        }
    }
}

#[test]
fn every_proof_of_small_trees_verifies_and_none_does_elsewhere() {
    for n in 1..=33usize {
        let leaves = hashes(n);
        let root_hash = root(&leaves);
        for i in 0..n {
            let path = inclusion_proof(&leaves, i).unwrap();
            assert_eq!(verify_inclusion(&leaves[i], i as u64, n as u64, &path, &root_hash), Ok(()));
            for other in (0..n + 2).filter(|other| *other != i) {
                let verified = verify_inclusion(&leaves[i], other as u64, n as u64, &path, &root_hash);
                assert!(verified.is_err(), "leaf {i} of {n} passed as {other}");
            }
        }
        assert_eq!(inclusion_proof(&leaves, n), None);
    }
}

/// rs_merkle's own verifier accepts the first two; this one must not.
#[test]
fn trailing_hashes_wrong_sizes_and_aliases_are_refused() {
    let leaves = hashes(6);
    let root_hash = root(&leaves);
    let path = inclusion_proof(&leaves, 5).unwrap();
    let mut long = path.clone();
    long.push([7; 32]);
    assert_eq!(verify_inclusion(&leaves[5], 5, 6, &long, &root_hash), Err(ProofError::Length));
    assert_eq!(verify_inclusion(&leaves[5], 5, 6, &path[..1], &root_hash), Err(ProofError::Length));
    for (index, size) in [(5, 7), (5, 8), (5, 5), (7, 8), (5, 1 << 40), (u64::MAX, u64::MAX)] {
        assert!(verify_inclusion(&leaves[5], index, size, &path, &root_hash).is_err(), "{index} of {size}");
    }
    assert_eq!(verify_inclusion(&leaves[0], 0, 0, &[], &root_hash), Err(ProofError::Index));
    // Why sizes come from signed data only: with a size of the prover's choice, leaf 5 of 6 is also leaf 3 of 4.
    assert_eq!(verify_inclusion(&leaves[5], 3, 4, &path, &root_hash), Ok(()));
}

#[test]
fn consistency_between_all_sizes() {
    let leaves = hashes(40);
    for new in 1..=40usize {
        let new_root = root(&leaves[..new]);
        for old in 1..=new {
            let old_root = root(&leaves[..old]);
            let path = consistency_proof(&leaves[..new], old).unwrap();
            let verified = verify_consistency(old as u64, &old_root, new as u64, &new_root, &path);
            assert_eq!(verified, Ok(()), "{old} in {new}");
            let mut long = path.clone();
            long.push([1; 32]);
            assert!(verify_consistency(old as u64, &old_root, new as u64, &new_root, &long).is_err());
            if old < new {
                let forked = verify_consistency(old as u64, &[9; 32], new as u64, &new_root, &path);
                assert!(forked.is_err(), "another history of {old} in {new}");
            }
        }
    }
    assert_eq!(verify_consistency(0, &empty_root(), 3, &root(&leaves[..3]), &[]), Ok(()));
    assert!(verify_consistency(0, &[1; 32], 3, &root(&leaves[..3]), &[]).is_err());
    assert!(verify_consistency(4, &root(&leaves[..4]), 3, &root(&leaves[..3]), &[]).is_err());
}

proptest! {
    #[test]
    fn a_changed_hash_is_noticed(n in 2usize..80, leaf in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let leaves = hashes(n);
        let leaf = leaf.index(n);
        let mut path = inclusion_proof(&leaves, leaf).unwrap();
        let at = at.index(path.len() * 32);
        path[at / 32][at % 32] ^= 1 << bit;
        prop_assert!(verify_inclusion(&leaves[leaf], leaf as u64, n as u64, &path, &root(&leaves)).is_err());
    }
}

#[test]
fn a_node_is_the_plain_hash_of_its_65_bytes() {
    for n in 0..=255u8 {
        let (left, right) = (sha256(&[n]), sha256(&[n, n]));
        assert_eq!(node_hash(&left, &right), sha256(&[&[0x01][..], &left, &right].concat()));
    }
}

#[test]
fn what_is_padded_here_is_sha_256_of_every_length() {
    let text: Vec<u8> = (0..300).map(|n| n as u8).collect();
    for len in 0..text.len() {
        let (whole, at) = (&text[..len], len / 3);
        let expected: Hash = Sha256::digest(whole).into();
        assert_eq!(sha256(whole), expected, "{len}");
        assert_eq!(sha256_of([&whole[..at], &[], &whole[at..]]), expected, "{len} in parts");
    }
}
