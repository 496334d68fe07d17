//! The parsers of each platform's evidence, by the way that a verifier goes: form, signature, chain, claims. Nobody but the
//! simulation's roots is believed here, so that whatever verifies has to say that it is simulated.
#![no_main]

use std::sync::LazyLock;

use colophon_attest::evidence::{Bundle, TpmQuote};
use colophon_attest::simulate::{DEFAULT_SEED, Faults, Simulation};
use colophon_attest::{Collateral, Evidence, Question, SimulatedRoots, verify};
use libfuzzer_sys::fuzz_target;

/// 2026-11-26, which the seeds were made for.
const AT: u64 = 1_795_651_200;

/// What evidence needs that is not in the input.
struct Given {
    roots: SimulatedRoots,
    collateral: Collateral,
    snp: (Vec<u8>, Vec<Vec<u8>>),
    device: Vec<Vec<u8>>,
    /// A quote whose signature is good, since an event log is read behind that alone.
    quote: TpmQuote,
    /// A token, and the keys as its verifier publishes them.
    token: String,
    keys: serde_json::Value,
}

const QUOTE: &[u8] = include_bytes!("../../attest/recorded/tpm/gce.json");
const TOKEN: &str = include_str!("../../attest/recorded/token/maa_sgx.jwt");
const KEYS: &[u8] = include_bytes!("../../attest/recorded/token/maa_certs.json");

static GIVEN: LazyLock<Given> = LazyLock::new(|| {
    let simulation = Simulation::new(DEFAULT_SEED);
    let (_, collateral) = simulation.tdx([1; 64], AT, Faults::default());
    let Evidence::SnpReport { report, certificates } = simulation.snp([1; 64], Faults::default()) else {
        unreachable!("a report of SEV-SNP")
    };
    let Evidence::Nvidia { certificates: device, .. } = simulation.hopper([1; 32], Faults::default()) else {
        unreachable!("a GPU's report")
    };
    let Some(Evidence::Tpm(quote)) = Bundle::read(QUOTE).expect("a bundle").evidence.pop() else {
        unreachable!("a quote")
    };
    Given {
        roots: simulation.roots(),
        collateral,
        snp: (report, certificates),
        device,
        quote,
        token: TOKEN.trim().to_owned(),
        keys: serde_json::from_slice(KEYS).expect("keys"),
    }
});

/// The next part of an input: its length as two bytes, then itself, as far as there is anything.
fn part<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let Some((len, after)) = rest.split_first_chunk::<2>() else { return std::mem::take(rest) };
    let (part, left) = after.split_at(after.len().min(u16::from_le_bytes(*len).into()));
    *rest = left;
    part
}

fn quote(rest: &mut &[u8]) -> TpmQuote {
    let pcrs = (0..24).map(|number| (number, "00".repeat(32))).collect();
    let (message, signature, key) = (part(rest).to_vec(), part(rest).to_vec(), part(rest).to_vec());
    let log = part(rest);
    let event_log = (!log.is_empty()).then(|| log.to_vec());
    TpmQuote { message, signature, key, pcrs, event_log }
}

fuzz_target!(|data: &[u8]| {
    let [kind, bytes @ ..] = data else { return };
    let mut rest = bytes;
    let mut collateral = GIVEN.collateral.clone();
    let evidence = match kind % 12 {
        0 => Evidence::IntelQuote { quote: bytes.to_vec() },
        1 => Evidence::SnpReport { report: bytes.to_vec(), certificates: GIVEN.snp.1.clone() },
        2 => Evidence::Nvidia { report: bytes.to_vec(), certificates: GIVEN.device.clone() },
        3 => Evidence::Nitro { document: bytes.to_vec() },
        4 => Evidence::Tpm(quote(&mut rest)),
        5 => {
            let (hcl, td_quote) = (part(&mut rest).to_vec(), part(&mut rest));
            let td_quote = (!td_quote.is_empty()).then(|| td_quote.to_vec());
            Evidence::AzureVtpm { hcl, td_quote, tpm: quote(&mut rest) }
        }
        6 => {
            collateral.jwks = Some(GIVEN.keys.clone());
            Evidence::Token { token: String::from_utf8_lossy(bytes).into_owned() }
        }
        // Certificates and revocation lists, beside a report that is good.
        7 => {
            let certificates = std::iter::once(bytes.to_vec()).chain(GIVEN.snp.1.iter().cloned()).collect();
            Evidence::SnpReport { report: GIVEN.snp.0.clone(), certificates }
        }
        8 => {
            collateral.crls.push(bytes.to_vec());
            Evidence::SnpReport { report: GIVEN.snp.0.clone(), certificates: GIVEN.snp.1.clone() }
        }
        9 => Evidence::Tpm(TpmQuote { event_log: Some(bytes.to_vec()), ..GIVEN.quote.clone() }),
        10 => {
            collateral.jwks = serde_json::from_slice(bytes).ok();
            Evidence::Token { token: GIVEN.token.clone() }
        }
        _ => {
            let mut certificates = GIVEN.device.clone();
            let report = part(&mut rest).to_vec();
            certificates.push(rest.to_vec());
            Evidence::Nvidia { report, certificates }
        }
    };
    let question = Question { at: AT, simulated: Some(&GIVEN.roots), ..Question::default() };
    if let Ok(report) = verify(&evidence, &collateral, &question) {
        assert!(report.is_simulated() || report.platform == colophon_attest::Platform::Tpm, "{report:?}");
        let strict = Question { simulated: None, ..question };
        assert!(verify(&evidence, &collateral, &strict).is_err(), "it counts without --allow-simulated");
    }
    // As a file, it is the same evidence.
    let bundle = Bundle::new(vec![evidence], collateral);
    let json = serde_json::to_vec(&bundle).expect("JSON");
    assert_eq!(Bundle::read(&json).expect("what was written"), bundle);
});
