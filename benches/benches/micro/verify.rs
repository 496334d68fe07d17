//! The reader's side: a whole receipt, from the bytes of its file to the report.

use std::hint::black_box;

use colophon_verify::testing::{NOW, Plan, Signing};
use colophon_verify::{Bodies, Verdict};
use criterion::Criterion;

pub(crate) fn verify(c: &mut Criterion) {
    let mut group = c.benchmark_group("verify");
    for (name, signing) in [("receipt", Signing::Whole), ("receipt-of-a-stream", Signing::Stream)] {
        // A busy second of a log of some size.
        let made =
            Plan { records: 4096, index: 1234, later_entries: 1000, signing, ..Plan::default() }.make();
        let (file, trust, bodies) = (made.file(), made.trust(), Bodies::default());
        let at = Some(NOW + 60_000_000);
        let report = colophon_verify::verify(&file, Some(&trust), &bodies, at);
        assert_eq!(report.result, Verdict::Trusted, "{report:?}");
        group.bench_function(name, |b| {
            b.iter(|| colophon_verify::verify(black_box(&file), Some(&trust), &bodies, at));
        });
    }
    group.finish();
}
