//! The reader's side: a whole receipt, from the bytes of its file to the report.

use std::hint::black_box;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use colophon_signer::rfc3161::testing::Tsa;
use colophon_verify::testing::{NOW, Plan, Signing, cosignature, witness};
use colophon_verify::{Bodies, Trust, Verdict};
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
    let (file, trust) = dated();
    let at = Some(NOW + 120_000_000);
    let report = colophon_verify::verify(&file, Some(&trust), &Bodies::default(), at);
    assert_eq!(report.result, Verdict::Trusted, "{report:?}");
    group.bench_function("receipt-with-two-timestamps-and-two-witnesses", |b| {
        b.iter(|| colophon_verify::verify(black_box(&file), Some(&trust), &Bodies::default(), at));
    });
    group.finish();
}

/// A receipt with timestamps by two TSAs (P-256, each with a chain of two), a beacon by one of them, and cosignatures by
/// two witnesses; the trust file that asks for all of that.
fn dated() -> (Vec<u8>, Trust) {
    let (one, two) = (Tsa::new(1, NOW), Tsa::new(5, NOW));
    let made = Plan {
        records: 4096,
        index: 1234,
        later_entries: 1000,
        anchors: vec![(one.clone(), NOW + 60_000_000), (two.clone(), NOW + 60_000_000)],
        beacon: Some((one.clone(), NOW - 60_000_000)),
        cosign: |text, note| note + &cosignature(21, text) + &cosignature(22, text),
        ..Plan::default()
    }
    .make();
    let roots = [one, two].map(|tsa| format!("\"{}\"", BASE64_STANDARD.encode(tsa.root.certificate)));
    let file = made.trust_file(r#"{"timestamps":2,"witnesses":2}"#);
    let file = file.replace("\"tsa_roots\":[]", &format!("\"tsa_roots\":[{}]", roots.join(",")));
    let witnesses = [21, 22].map(|number| format!("\"{}\"", witness(number)));
    let file = file.replace("\"witnesses\":[]", &format!("\"witnesses\":[{}]", witnesses.join(",")));
    (made.file(), Trust::from_json(file.as_bytes()).expect("a trust file"))
}
