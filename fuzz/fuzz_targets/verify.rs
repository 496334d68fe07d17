//! A receipt and a trust file from anybody: no panic, and nothing but the records that were logged is trusted.
#![no_main]

use std::sync::LazyLock;

use colophon_receipt::Level;
use colophon_receipt::receipt::Receipt;
use colophon_verify::testing::{NOW, Plan, Signing};
use colophon_verify::{Bodies, Trust, Verdict, verify};
use libfuzzer_sys::fuzz_target;

/// Trust in the log of the seeds, and the records that it has.
struct Known {
    trust: Trust,
    leaves: Vec<Vec<u8>>,
}

static KNOWN: LazyLock<Known> = LazyLock::new(|| {
    let made = Plan { signing: Signing::Stream, ..Plan::default() }.make();
    let leaf = |index, draw| Plan { index, draw, ..Plan::default() }.make().receipt.record.leaf.0;
    // Those of a batch, with and without a draw, as the seeds have it.
    let of_draw = |draw| (0..Plan::default().records).map(move |index| leaf(index, draw));
    let leaves = [None, Some((1 << 62, Level::Zk))].into_iter().flat_map(of_draw).collect();
    Known { trust: made.trust(), leaves }
});

fuzz_target!(|data: &[u8]| {
    let report = verify(data, Some(&KNOWN.trust), &Bodies::default(), Some(NOW + 600_000_000));
    if report.result == Verdict::Trusted {
        let receipt = Receipt::from_json(data).expect("what is trusted was read");
        assert!(KNOWN.leaves.contains(&receipt.record.leaf.0), "no record of the log's");
    }
    for check in &report.checks {
        assert!(!check.detail.chars().any(|c| c.is_control()), "{check:?}");
    }
    let _ = verify(data, None, &Bodies::default(), None);
    let _ = Trust::from_json(data);
});
