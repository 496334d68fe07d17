//! SHA-256 over bodies: every byte of an exchange goes through it once.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use sha2::Digest as _;

pub(crate) fn sha256(c: &mut Criterion) {
    let mut group = c.benchmark_group("sha256");
    for (name, size) in [("1.5KB", 1536), ("64KB", 64 << 10)] {
        let body = vec![b'a'; size];
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(name, |b| b.iter(|| sha2::Sha256::digest(black_box(&body))));
        group.bench_function(format!("{name}-aws-lc-rs"), |b| {
            b.iter(|| aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, black_box(&body)));
        });
    }
    group.finish();
}
