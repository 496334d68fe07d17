//! What one exchange, one batch and one receipt cost, each part on its own.
#![allow(missing_docs, clippy::expect_used)] // Only `cargo bench` runs this, and it should fail loudly.

mod attest;
mod batch;
mod decide;
mod hash;
mod reading;
mod record;
mod verify;

use criterion::{criterion_group, criterion_main};

criterion_group!(
    micro,
    hash::sha256,
    reading::reading,
    reading::scanners,
    record::record,
    record::rules,
    record::signatures,
    batch::batch,
    verify::verify,
    decide::decide,
    attest::attest
);
criterion_main!(micro);
