//! Closing a batch: its tree, and the paths for its receipts.

use std::hint::black_box;

use colophon_receipt::Hash;
use colophon_receipt::merkle::{self, leaf_hash, node_hash};
use criterion::Criterion;

const RECORDS: u32 = 4096;

/// As the ledger's own.
#[derive(Clone)]
struct Rfc6962;

impl rs_merkle::Hasher for Rfc6962 {
    type Hash = Hash;

    fn hash(data: &[u8]) -> Hash {
        leaf_hash(data)
    }

    fn concat_and_hash(left: &Hash, right: Option<&Hash>) -> Hash {
        right.map_or(*left, |right| node_hash(left, right))
    }
}

pub(crate) fn batch(c: &mut Criterion) {
    let hashes: Vec<Hash> = (0..RECORDS).map(|n| leaf_hash(&n.to_le_bytes())).collect();
    let leaf = vec![7_u8; 96];
    let leaves: Vec<([u8; 16], &[u8])> = (0..RECORDS)
        .map(|n| {
            let mut id = [0; 16];
            id[12..].copy_from_slice(&n.to_be_bytes());
            (id, leaf.as_slice())
        })
        .collect();
    let mut group = c.benchmark_group("batch-4096");
    group.sample_size(20);
    group.bench_function("root", |b| b.iter(|| colophon_ledger::batch::root(black_box(&hashes))));
    group.bench_function("root-and-all-proofs", |b| {
        b.iter(|| {
            let tree = rs_merkle::MerkleTree::<Rfc6962>::from_leaves(black_box(&hashes));
            let hashes_in_paths: usize =
                (0..hashes.len()).map(|n| tree.proof(&[n]).proof_hashes().len()).sum();
            (tree.root(), hashes_in_paths)
        });
    });
    // What a look-up does: one path, from the leaves.
    group.bench_function("one-proof", |b| b.iter(|| merkle::inclusion_proof(black_box(&hashes), 1234)));
    group.bench_function("file", |b| {
        b.iter(|| colophon_ledger::batch::write(leaves.iter().map(|(id, leaf)| (id, *leaf)), &hashes));
    });
    group.finish();
}
