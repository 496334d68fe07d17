//! Evidence: what one verification costs, chains and collateral included, and how large evidence is.
//!
//! Recorded vendor evidence where it is in the repository or beside it (AMD's chain is RSA 4096, others' are longer than simulated
//! ones), simulated otherwise; the name says which. What has neither is left out, and that is said.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use colophon_attest::evidence::{Bundle, TpmQuote};
use colophon_attest::simulate::{DEFAULT_SEED, Faults, Simulation};
use colophon_attest::{Collateral, Evidence, Policy, Question, SimulatedRoots, verify, verify_bundle};
use criterion::Criterion;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;

/// 2026-11-26, for what is simulated.
const AT: u64 = 1_795_651_200;
/// 2025-06-20 and 2022-10-13, for what is recorded.
const AT_RECORDED: u64 = 1_750_377_600;
const AT_NITRO: u64 = 1_665_655_200;

/// One piece of evidence, with what its verification needs.
struct Piece {
    name: String,
    evidence: Evidence,
    collateral: Collateral,
    at: u64,
    policy: Option<Policy>,
}

pub(crate) fn attest(c: &mut Criterion) {
    let roots = SimulatedRoots::of_seed(DEFAULT_SEED);
    let mut group = c.benchmark_group("attest");
    let pieces = pieces();
    for piece in &pieces {
        let Piece { name, evidence, collateral, at, policy } = piece;
        let question =
            Question { at: *at, policy: policy.as_ref(), simulated: Some(&roots), ..Question::default() };
        verify(evidence, collateral, &question).expect("good evidence");
        // Beside what criterion prints: evidence, and evidence with collateral, as they lie in a receipt.
        let (alone, whole) = (size(evidence, &Collateral::default()), size(evidence, collateral));
        eprintln!("attest/{name}: {alone} bytes of JSON, {whole} with its collateral");
        group.bench_function(name, |b| b.iter(|| verify(black_box(evidence), collateral, &question)));
    }
    let of = |kind: &str| pieces.iter().find(|piece| piece.name.starts_with(kind)).expect("a kind");
    let (cpu, gpu) = (of("tdx"), of("nvidia-h100"));
    // Both recorded or both simulated, so that one time suits both.
    if cpu.at == gpu.at {
        let bundle = Bundle::new(vec![cpu.evidence.clone(), gpu.evidence.clone()], cpu.collateral.clone());
        let question = Question { at: cpu.at, simulated: Some(&roots), ..Question::default() };
        let none = Collateral::default();
        let results = verify_bundle(&bundle, &none, &question);
        assert!(results.pieces.len() == 2 && results.pieces.iter().all(Result::is_ok), "{results:?}");
        let json = serde_json::to_vec(&bundle).expect("JSON");
        eprintln!("attest/tdx-and-one-gpu: {} bytes of JSON", json.len());
        group.bench_function("tdx-and-one-gpu", |b| {
            b.iter(|| verify_bundle(&Bundle::read(black_box(&json)).expect("a bundle"), &none, &question));
        });
    }
    group.finish();
}

fn pieces() -> Vec<Piece> {
    let simulation = Simulation::new(DEFAULT_SEED);
    let simulated = |name: &str, evidence, collateral| {
        let name = format!("{name}/simulated");
        Piece { name, evidence, collateral, at: AT, policy: None }
    };
    let none = Collateral::default;
    let (tdx, collateral) = simulation.tdx([1; 64], AT, Faults::default());
    let or_simulated = |name: &str, real: Option<Piece>, evidence: &dyn Fn() -> (Evidence, Collateral)| {
        real.unwrap_or_else(|| {
            let (evidence, collateral) = evidence();
            simulated(name, evidence, collateral)
        })
    };
    let file = |name: &str, file: &str, collateral: Option<&str>, at| piece(name, file, collateral, at);
    let mut pieces = vec![
        or_simulated(
            "tdx-with-collateral",
            file("tdx-with-collateral", "tdx/tdx_quote", Some("tdx/tdx_quote_collateral.json"), AT_RECORDED),
            &|| (tdx.clone(), collateral.clone()),
        ),
        or_simulated(
            "sev-snp",
            file("sev-snp", "snp/report_milan.hex", Some("snp/vcek_milan.der"), AT_RECORDED),
            &|| (simulation.snp([1; 64], Faults::default()), none()),
        ),
        or_simulated(
            "nvidia-h100",
            file("nvidia-h100", "nvidia/hopper_evidence.json", None, AT_RECORDED),
            &|| (simulation.hopper([1; 32], Faults::default()), none()),
        ),
        or_simulated(
            "nvidia-blackwell",
            file(
                "nvidia-blackwell",
                "nvidia/blackwell_report.hex",
                Some("nvidia/blackwell_chain.pem"),
                AT_RECORDED,
            ),
            &|| (simulation.blackwell([1; 32], Faults::default()), none()),
        ),
        or_simulated(
            "nvidia-nvswitch",
            file("nvidia-nvswitch", "nvidia/switch_ls10.json", None, AT_RECORDED),
            &|| (simulation.nvswitch([1; 32], Faults::default()), none()),
        ),
        or_simulated("nitro", file("nitro", "nitro/valid-attestation-doc-bytes", None, AT_NITRO), &|| {
            (simulation.nitro(&[1], &[2], AT, Faults::default()), none())
        }),
    ];
    let sgx =
        file("sgx-with-collateral", "sgx/sgx_quote", Some("sgx/sgx_quote_collateral.json"), AT_RECORDED);
    pieces.extend(sgx.map(lenient));
    pieces.extend(file("azure-vtpm-genoa", "azure/genoa.json", None, AT_RECORDED));
    for kind in ["ecc", "rsa"] {
        pieces.extend(tpm(kind).map(|quote| Piece {
            name: format!("tpm-{kind}/swtpm"),
            evidence: Evidence::Tpm(quote),
            collateral: none(),
            at: AT_RECORDED,
            policy: None,
        }));
    }
    for (kind, there) in [("sgx", 1), ("tpm", 2)] {
        if pieces.iter().filter(|piece| piece.name.starts_with(kind)).count() < there {
            eprintln!("\n*** skipped: attest/{kind}: no recorded evidence beside the repository ***\n");
        }
    }
    pieces
}

fn recorded(name: &str) -> Option<Vec<u8>> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let read = |folder: &str| std::fs::read(root.join(folder).join(name)).ok();
    read("attest/recorded").or_else(|| read("../shared/evidence"))
}

fn piece(name: &str, file: &str, collateral: Option<&str>, at: u64) -> Option<Piece> {
    let mut bundle = Bundle::read(&recorded(file)?).expect("evidence");
    let collateral = match collateral {
        Some(name) => Collateral::read(&recorded(name)?).expect("collateral"),
        None => bundle.collateral,
    };
    let evidence = bundle.evidence.remove(0);
    Some(Piece { name: format!("{name}/recorded"), evidence, collateral, at, policy: None })
}

/// The recorded SGX platform needs a configuration that it had not: its status counts here.
fn lenient(piece: Piece) -> Piece {
    let Evidence::IntelQuote { quote } = &piece.evidence else { return piece };
    let enclave: String = quote[112..144].iter().map(|byte| format!("{byte:02x}")).collect();
    let policy = format!(
        "apiVersion: colophon.dev/v1alpha1\nkind: AttestationPolicy\nmetadata: {{name: t}}\nspec:\n  platforms:\n    sgx:\n      referenceValues: {{mr_enclave: [\"{enclave}\"]}}\n      tcb: {{statuses: [UpToDate, SWHardeningNeeded, ConfigurationNeeded, ConfigurationAndSWHardeningNeeded]}}\n"
    );
    Piece { policy: Some(Policy::from_yaml(&policy).expect("a policy")), ..piece }
}

/// A quote of a software TPM, as tpm2-tools writes it in files.
fn tpm(kind: &str) -> Option<TpmQuote> {
    let pem = String::from_utf8(recorded(&format!("tpm/ak_{kind}.pem"))?).ok()?;
    let key: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    // A selection of PCRs, then lists of digests, as C structures.
    let file = recorded(&format!("tpm/quote_{kind}.pcrs"))?;
    let chosen = (0..24_u8).filter(|n| file[7 + usize::from(n / 8)] >> (n % 8) & 1 == 1);
    let digests = file[136..].chunks(4 + 8 * 66).flat_map(|list| {
        let count = u32::from_le_bytes([list[0], list[1], list[2], list[3]]) as usize;
        list[4..]
            .chunks(66)
            .take(count)
            .map(|digest| digest[2..34].iter().map(|b| format!("{b:02x}")).collect())
    });
    let pcrs: BTreeMap<u8, String> = chosen.zip(digests).collect();
    let part = |what: &str| recorded(&format!("tpm/quote_{kind}.{what}"));
    let key = BASE64_STANDARD.decode(key).ok()?;
    Some(TpmQuote { message: part("msg")?, signature: part("sig")?, key, pcrs, event_log: None })
}

fn size(evidence: &Evidence, collateral: &Collateral) -> usize {
    serde_json::to_vec(&Bundle::new(vec![evidence.clone()], collateral.clone())).map_or(0, |json| json.len())
}
