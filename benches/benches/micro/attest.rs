//! Evidence: what one verification costs, chains and collateral included.
//!
//! Recorded vendor evidence where it is beside the repository (AMD's chain is RSA 4096, others' are longer than simulated
//! ones), simulated otherwise; the name says which.

use colophon_attest::evidence::Bundle;
use colophon_attest::simulate::{DEFAULT_SEED, Faults, Simulation};
use colophon_attest::{Collateral, Evidence, Question, verify};
use criterion::Criterion;
use std::hint::black_box;
use std::path::Path;

/// 2026-11-26, for what is simulated.
const AT: u64 = 1_795_651_200;
/// 2025-06-20 and 2022-10-13, for what is recorded.
const AT_RECORDED: u64 = 1_750_377_600;
const AT_NITRO: u64 = 1_665_655_200;

fn recorded(name: &str) -> Option<Vec<u8>> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/evidence"));
    std::fs::read(folder.join(name)).ok()
}

fn piece(file: &str, collateral: Option<&str>, at: u64) -> Option<(Evidence, Collateral, u64)> {
    let mut bundle = Bundle::read(&recorded(file)?).expect("evidence");
    let collateral = match collateral {
        Some(name) => Collateral::read(&recorded(name)?).expect("collateral"),
        None => Collateral::default(),
    };
    Some((bundle.evidence.remove(0), collateral, at))
}

pub(crate) fn attest(c: &mut Criterion) {
    let simulation = Simulation::new(DEFAULT_SEED);
    let roots = simulation.roots();
    let none = Collateral::default;
    let tdx = simulation.tdx([1; 64], AT, Faults::default());
    let kinds = [
        (
            "tdx-with-collateral",
            piece("tdx/tdx_quote", Some("tdx/tdx_quote_collateral.json"), AT_RECORDED),
            (tdx.0, tdx.1, AT),
        ),
        (
            "sev-snp",
            piece("snp/report_milan.hex", Some("snp/vcek_milan.der"), AT_RECORDED),
            (simulation.snp([1; 64], Faults::default()), none(), AT),
        ),
        (
            "nvidia-h100",
            piece("nvidia/hopper_evidence.json", None, AT_RECORDED),
            (simulation.hopper([1; 32], Faults::default()), none(), AT),
        ),
        (
            "nitro",
            piece("nitro/valid-attestation-doc-bytes", None, AT_NITRO),
            (simulation.nitro(&[1], &[2], AT, Faults::default()), none(), AT),
        ),
    ];
    let mut group = c.benchmark_group("attest");
    for (name, real, simulated) in kinds {
        let kind = if real.is_some() { "recorded" } else { "simulated" };
        let (evidence, collateral, at) = real.unwrap_or(simulated);
        let question = Question { at, simulated: Some(&roots), ..Question::default() };
        verify(&evidence, &collateral, &question).expect("good evidence");
        group.bench_function(format!("{name}/{kind}"), |b| {
            b.iter(|| verify(black_box(&evidence), &collateral, &question));
        });
    }
    group.finish();
}
