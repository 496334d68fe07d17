//! `dcap-qvl` by `ring` and by RustCrypto, which is what Colophon uses: one verdict, and the same claims.

use colophon_attest::simulate::{Faults, Simulation};
use colophon_attest::{Collateral, Evidence};
use colophon_differential::{flipped, recorded};
use dcap_qvl::configs::{RingConfig, RustCryptoConfig};
use dcap_qvl::verify::QuoteVerifier;
use dcap_qvl::{QuoteCollateralV3, QuotePolicy, TcbStatus};

const INTEL: &[u8] = include_bytes!("../../attest/src/roots/intel-sgx-root.der");
/// 2025-06-20 and 2026-10-09, when the collateral of the samples was good, and 2026-11-26 for what is simulated.
const AT: u64 = 1_750_377_600;
const AT_TD15EX: u64 = 1_791_504_000;
const AT_SIMULATED: u64 = 1_795_651_200;

/// Header and report have at least this many bytes in every version.
const SIGNED: usize = 48 + 384;

/// Everything but a bad signature or chain passes, so that cryptography decides.
fn policy(at: u64) -> QuotePolicy {
    let statuses = [
        TcbStatus::UpToDate,
        TcbStatus::SWHardeningNeeded,
        TcbStatus::ConfigurationNeeded,
        TcbStatus::ConfigurationAndSWHardeningNeeded,
        TcbStatus::OutOfDate,
        TcbStatus::OutOfDateConfigurationNeeded,
    ];
    let lenient = QuotePolicy::strict(at)
        .allow_smt(true)
        .allow_dynamic_platform(true)
        .allow_cached_keys(true)
        .platform_grace_period(std::time::Duration::from_secs(20 * 365 * 86_400))
        .qe_grace_period(std::time::Duration::from_secs(20 * 365 * 86_400));
    statuses.into_iter().fold(lenient, QuotePolicy::allow_status)
}

/// What both say; they have to agree. The words of an error may differ, whether there is one may not.
fn both(root: &[u8], quote: &[u8], collateral: &QuoteCollateralV3, at: u64, what: &str) -> bool {
    let ring = QuoteVerifier::<RingConfig>::new_with_config(root.to_vec());
    let rust = QuoteVerifier::<RustCryptoConfig>::new_with_config(root.to_vec());
    let ring = ring.verify_with_policy(quote, collateral, at, &policy(at));
    let rust = rust.verify_with_policy(quote, collateral, at, &policy(at));
    match (&ring, &rust) {
        (Ok(ring), Ok(rust)) => assert_eq!(ring, rust, "{what}: other claims"),
        (Err(_), Err(_)) => {}
        _ => panic!("{what}: ring says {:?}, RustCrypto {:?}", ring.map(|_| ()), rust.map(|_| ())),
    }
    ring.is_ok()
}

/// The root that a simulation's collateral leads to.
fn root_of(collateral: &QuoteCollateralV3) -> Vec<u8> {
    let chain = colophon_signer::x509::certificates(&collateral.tcb_info_issuer_chain).expect("PEM");
    chain.last().expect("a root").clone()
}

fn compare(name: &str, root: &[u8], quote: &[u8], collateral: &QuoteCollateralV3, at: u64) {
    assert!(both(root, quote, collateral, at, name), "{name} is good");
    let year = 365 * 86_400;
    for (when, at) in [("before", at - 30 * year), ("after", at + 30 * year)] {
        assert!(!both(root, quote, collateral, at, when), "{name}, long {when} its time");
    }
    // Header, body, signatures, the QE's report, the certificates.
    let (mut accepted, mut compared) = (Vec::new(), 0);
    for (at_byte, quote) in flipped(quote, 0..quote.len()) {
        if both(root, &quote, collateral, at, &format!("{name}, byte {at_byte}")) {
            accepted.push(at_byte);
        }
        compared += 1;
    }
    eprintln!(
        "{name}: {compared} changed quotes, on which both agree; {} of them count still",
        accepted.len()
    );
    // Those are changed where nothing is signed, such as a chain that the collateral has as well: never in header and report.
    assert!(accepted.iter().all(|at| *at >= SIGNED), "{name}: {accepted:?}");
    // And what is signed beside it.
    let json = serde_json::to_value(collateral).expect("JSON");
    for key in
        ["tcb_info", "qe_identity", "tcb_info_signature", "qe_identity_signature", "pck_crl", "root_ca_crl"]
    {
        let Some(text) = json[key].as_str() else { continue };
        for place in (0..text.len()).step_by(text.len() / 24 + 1) {
            let mut text = text.as_bytes().to_vec();
            // Another digit or letter of the same kind.
            text[place] = if text[place] == b'1' { b'2' } else { b'1' };
            let Ok(text) = String::from_utf8(text) else { continue };
            let mut other = json.clone();
            other[key] = text.into();
            let Ok(other) = serde_json::from_value(other) else { continue };
            both(root, quote, &other, at, &format!("{name}, {key} at {place}"));
        }
    }
}

#[test]
fn recorded_quotes_are_judged_alike() {
    for (name, at) in [("tdx/tdx_quote", AT), ("sgx/sgx_quote", AT), ("tdx/tdx_quote_td15ex", AT_TD15EX)] {
        let (Some(quote), Some(file)) = (recorded(name), recorded(&format!("{name}_collateral.json"))) else {
            continue;
        };
        let collateral = Collateral::read(&file).expect("collateral").intel.expect("Intel's");
        compare(name, INTEL, &quote, &collateral, at);
    }
}

#[test]
fn simulated_quotes_are_judged_alike() {
    let simulation = Simulation::new("differential");
    for faults in [Faults::default(), Faults { outdated: true, ..Faults::default() }] {
        let (evidence, collateral) = simulation.tdx([1; 64], AT_SIMULATED, faults);
        let Evidence::IntelQuote { quote } = evidence else { panic!("a quote") };
        let collateral = collateral.intel.expect("Intel's");
        let root = root_of(&collateral);
        compare(
            &format!("simulated, outdated {}", faults.outdated),
            &root,
            &quote,
            &collateral,
            AT_SIMULATED,
        );
    }
    let (evidence, collateral) =
        simulation.tdx([1; 64], AT_SIMULATED, Faults { debug: true, ..Faults::default() });
    let Evidence::IntelQuote { quote } = evidence else { panic!("a quote") };
    let collateral = collateral.intel.expect("Intel's");
    assert!(!both(&root_of(&collateral), &quote, &collateral, AT_SIMULATED, "debugging"));
}
