use super::*;
use crate::aci::Statement;
use crate::evidence::Bundle;
use crate::{Collateral, Platform, Policy, Question, Refusal, Report, Source, verify, verify_bundle};
use colophon_receipt::level::Level;

mod chains;

/// 2026-11-26.
const AT: u64 = 1_795_651_200;
const NONCE: [u8; 32] = [0x5a; 32];
const DATA: [u8; 64] = [0xda; 64];

fn simulation() -> Simulation {
    Simulation::new(DEFAULT_SEED)
}

/// All pieces that a simulation can make, with these faults.
fn pieces(faults: Faults) -> Vec<(Evidence, Collateral)> {
    let simulation = simulation();
    let none = Collateral::default;
    vec![
        simulation.tdx(DATA, AT, faults),
        (simulation.snp(DATA, faults), none()),
        (simulation.hopper(NONCE, faults), none()),
        (simulation.blackwell(NONCE, faults), none()),
        (simulation.nvswitch(NONCE, faults), none()),
        (simulation.nitro(&DATA, &NONCE, AT - 60, faults), none()),
        (simulation.turin(DATA, faults), none()),
    ]
}

fn ask(piece: &(Evidence, Collateral), at: u64) -> Result<Report, Refusal> {
    let roots = simulation().roots();
    verify(&piece.0, &piece.1, &Question { at, simulated: Some(&roots), ..Question::default() })
}

#[test]
fn what_is_simulated_verifies_marked_and_counts_for_sign_at_most() {
    let wanted = [
        Platform::Tdx,
        Platform::SevSnp,
        Platform::NvidiaGpu,
        Platform::NvidiaGpu,
        Platform::NvidiaSwitch,
        Platform::Nitro,
        Platform::SevSnp,
    ];
    for (piece, platform) in pieces(Faults::default()).iter().zip(wanted) {
        let report = ask(piece, AT).unwrap();
        assert_eq!(report.platform, platform);
        assert!(report.is_simulated(), "{platform}");
        assert_eq!(
            (report.source, report.highest_level()),
            (Source::OperatorAsserted, Level::Sign),
            "{platform}"
        );
        assert!(report.root.name.starts_with(SIMULATED));
    }
}

#[test]
fn it_is_refused_without_leave_and_under_another_seed() {
    let other = Simulation::new("another seed").roots();
    for piece in pieces(Faults::default()) {
        let ask = |simulated| {
            verify(&piece.0, &piece.1, &Question { at: AT, simulated, ..Question::default() }).unwrap_err()
        };
        assert_eq!(ask(None).code(), "simulated", "{}", ask(None));
        assert_ne!(ask(Some(&other)).code(), "measurement", "{}", ask(Some(&other)));
    }
}

/// Every way of asking, with every policy that there is: the mark and the cap stay.
#[test]
fn no_flag_lets_it_pass_as_hardware() {
    let roots = simulation().roots();
    for piece in pieces(Faults::default()) {
        let report = ask(&piece, AT).unwrap();
        let pinned = Policy::from_yaml(&crate::policy::pin("pinned", std::slice::from_ref(&report))).unwrap();
        for policy in [None, Some(&pinned)] {
            for nonce in [None, report.nonce.as_deref()] {
                for report_data in [None, report.report_data.as_deref()] {
                    let question = Question { at: AT, nonce, report_data, policy, simulated: Some(&roots) };
                    let report = verify(&piece.0, &piece.1, &question).unwrap();
                    assert!(report.is_simulated() && report.source == Source::OperatorAsserted);
                    assert_eq!(report.highest_level(), Level::Sign);
                    let question = Question { simulated: None, ..question };
                    assert_eq!(verify(&piece.0, &piece.1, &question).unwrap_err().code(), "simulated");
                }
            }
        }
    }
}

/// Real roots among the trusted do not make real evidence simulated, nor the other way round.
#[test]
fn allowing_simulations_does_not_change_what_is_real() {
    let Some(report) = crate::testing::recorded_hex("snp/report_milan.hex") else { return };
    let Some(certificate) = crate::testing::recorded("snp/vcek_milan.der") else { return };
    let piece = (Evidence::SnpReport { report, certificates: vec![certificate] }, Collateral::default());
    let report = ask(&piece, 1_750_377_600).unwrap();
    assert!(!report.is_simulated());
    assert_eq!((report.source, report.highest_level()), (Source::HardwareProven, Level::Tee));
}

#[test]
fn debugging_and_migration_are_refused_by_their_names() {
    let code = |piece: &(Evidence, Collateral)| ask(piece, AT).unwrap_err().code();
    let debug = pieces(Faults { debug: true, ..Faults::default() });
    assert_eq!([0, 1, 5, 6].map(|at| code(&debug[at])), ["debug"; 4]);
    let migration = pieces(Faults { migration: true, ..Faults::default() });
    assert_eq!([0, 1, 6].map(|at| code(&migration[at])), ["migration"; 3]);
}

#[test]
fn an_outdated_tcb_is_refused_unless_the_policy_takes_it() {
    let outdated = pieces(Faults { outdated: true, ..Faults::default() });
    assert_eq!(ask(&outdated[0], AT).unwrap_err().code(), "tcb");
    assert_eq!(ask(&outdated[1], AT).unwrap_err().code(), "tcb");
    assert_eq!(ask(&outdated[6], AT).unwrap_err().code(), "tcb");
    let good = ask(&pieces(Faults::default())[0], AT).unwrap();
    let roots = simulation().roots();
    let ask = |tcb: &str| {
        let policy = crate::testing::policy(&format!(
            "    tdx:\n      referenceValues: {{mr_td: [{:?}]}}\n      tcb: {{{tcb}}}\n",
            good.measurements["mr_td"]
        ));
        let question =
            Question { at: AT, policy: Some(&policy), simulated: Some(&roots), ..Question::default() };
        verify(&outdated[0].0, &outdated[0].1, &question)
    };
    let report = ask("statuses: [UpToDate, OutOfDate], grace: 4000d").unwrap();
    assert_eq!(report.claims["tcb_status"], "OutOfDate");
    assert_eq!(ask("statuses: [UpToDate, OutOfDate], grace: 30d").unwrap_err().code(), "tcb");
    let rejected = "statuses: [UpToDate, OutOfDate], grace: 4000d, rejectedAdvisories: [INTEL-SA-00000]";
    assert_eq!(ask(rejected).unwrap_err().code(), "tcb");
}

#[test]
fn another_device_or_firmware_than_the_keys_is_refused() {
    let other = pieces(Faults { other_device: true, ..Faults::default() });
    for piece in other[1..5].iter().chain(&other[6..]) {
        assert_eq!(ask(piece, AT).unwrap_err().code(), "identity");
    }
}

/// A Turin's TCB has a part more and lies otherwise, its chip id is short, and its report has mitigations.
#[test]
fn a_turin_is_read_by_its_own_layout() {
    let piece = &pieces(Faults::default())[6];
    let report = ask(piece, AT).unwrap();
    assert_eq!(report.measurements["product"], "Turin");
    assert_eq!(report.claims["report_version"], "5");
    let tcb = |name: &str| report.tcb[name];
    assert_eq!(["fmc", "bootloader", "tee", "snp", "microcode"].map(tcb), [2, 4, 0, 24, 219]);
    // Its chip id is eight bytes and zeros.
    let Evidence::SnpReport { report, certificates } = &piece.0 else { panic!("not a report") };
    let mut longer = report.clone();
    longer[0x1a8] = 1;
    let longer = Evidence::SnpReport { report: longer, certificates: certificates.clone() };
    assert_eq!(ask(&(longer, Collateral::default()), AT).unwrap_err().code(), "signature");
}

#[test]
fn expired_collateral_certificates_and_documents_are_refused() {
    let pieces = pieces(Faults::default());
    for at in [AT + 31 * 86_400, AT - 2 * 86_400] {
        assert_eq!(ask(&pieces[0], at).unwrap_err().code(), "time");
    }
    // 2051, 2019: after and before the certificates.
    for piece in &pieces[1..] {
        for at in [2_556_144_000, 1_546_300_800] {
            assert_eq!(ask(piece, at).unwrap_err().code(), "time");
        }
    }
    // A document from the future, and one from before its certificate.
    assert_eq!(ask(&pieces[5], AT - 120).unwrap_err().code(), "time");
    let old = simulation().nitro(&DATA, &NONCE, 1_546_300_800, Faults::default());
    assert_eq!(ask(&(old, Collateral::default()), AT).unwrap_err().code(), "time");
}

#[test]
fn evidence_older_than_the_policy_allows_is_refused() {
    let piece = &pieces(Faults::default())[5];
    let report = ask(piece, AT).unwrap();
    let roots = simulation().roots();
    let ask = |age: &str| {
        let text = crate::policy::pin("p", std::slice::from_ref(&report))
            .replace("  gpu:", &format!("  maxAge: {age}\n  gpu:"));
        let policy = Policy::from_yaml(&text).unwrap();
        verify(
            &piece.0,
            &piece.1,
            &Question { at: AT, policy: Some(&policy), simulated: Some(&roots), ..Question::default() },
        )
    };
    assert!(ask("60s").unwrap().compared);
    assert_eq!(ask("59s").unwrap_err().code(), "policy");
}

/// A nonce or report data that is the beginning only of what the evidence holds is not what was asked for.
#[test]
fn what_is_asked_for_is_filled_up_with_zeros_alone() {
    let roots = simulation().roots();
    for piece in [0, 1, 6] {
        let mut data = [0; 64];
        data[..32].copy_from_slice(&NONCE);
        for (rest, good) in [(0, true), (1, false)] {
            data[63] = rest;
            let evidence = match piece {
                0 => simulation().tdx(data, AT, Faults::default()),
                1 => (simulation().snp(data, Faults::default()), Collateral::default()),
                _ => (simulation().turin(data, Faults::default()), Collateral::default()),
            };
            let code = |nonce: Option<&[u8]>, report_data: Option<&[u8]>| {
                let question = Question { at: AT, nonce, report_data, policy: None, simulated: Some(&roots) };
                verify(&evidence.0, &evidence.1, &question).err().map(|refusal| refusal.code())
            };
            assert_eq!(code(Some(&NONCE), None), if good { None } else { Some("nonce") });
            assert_eq!(code(None, Some(&NONCE)), if good { None } else { Some("report-data") });
            assert_eq!(code(Some(&[]), None), Some("nonce"), "no nonce at all");
        }
    }
}

/// A machine with a GPU: one statement ties both.
#[test]
fn a_bundle_is_about_its_statement() {
    let simulation = simulation();
    let statement = Statement { keyset_digest: [7; 32], nonce: Some(hex::encode(NONCE)) };
    let (tdx, collateral) = simulation.tdx(statement.report_data().unwrap(), AT, Faults::default());
    let mut bundle = Bundle::new(vec![tdx, simulation.hopper(NONCE, Faults::default())], collateral);
    bundle.statement = Some(statement.to_json().unwrap());
    let roots = simulation.roots();
    let question = Question { at: AT, simulated: Some(&roots), nonce: Some(&NONCE), ..Question::default() };
    let ask = |bundle: &Bundle, question: &Question<'_>| {
        let results = verify_bundle(bundle, &Collateral::default(), question);
        let mut codes: Vec<&str> = results
            .pieces
            .iter()
            .map(|piece| piece.as_ref().map_or_else(Refusal::code, |_| "good"))
            .collect();
        codes.extend(results.together.as_ref().err().map(Refusal::code));
        codes
    };
    assert_eq!(ask(&bundle, &question), ["good", "good"]);
    assert_eq!(ask(&bundle, &Question { nonce: Some(&[1; 32]), ..question }), ["nonce"]);
    bundle.evidence[1] = simulation.hopper([1; 32], Faults::default());
    assert_eq!(ask(&bundle, &question), ["good", "nonce"], "a GPU of another challenge");
    let other = Statement { keyset_digest: [8; 32], ..statement };
    bundle.statement = Some(other.to_json().unwrap());
    assert_eq!(ask(&bundle, &question)[0], "report-data", "other keys");
}

#[test]
fn a_gpu_is_required_recorded_or_passed_over() {
    let simulation = simulation();
    let (tdx, collateral) = simulation.tdx(DATA, AT, Faults::default());
    let gpu = simulation.hopper(NONCE, Faults::default());
    let roots = simulation.roots();
    let mr_td = ask(&(tdx.clone(), collateral.clone()), AT).unwrap().measurements["mr_td"].clone();
    let policy = |gpu: &str| {
        Policy::from_yaml(&format!(
            "apiVersion: colophon.dev/v1alpha1\nkind: AttestationPolicy\nmetadata: {{name: t}}\nspec:\n  gpu: {gpu}\n  platforms:\n    tdx: {{referenceValues: {{mr_td: [{mr_td:?}]}}}}\n    nvidia-gpu: {{referenceValues: {{driver: [\"999.00\"]}}}}\n"
        ))
        .unwrap()
    };
    let ask = |evidence: Vec<Evidence>, gpu: &str| {
        let policy = policy(gpu);
        let question =
            Question { at: AT, policy: Some(&policy), simulated: Some(&roots), ..Question::default() };
        let results =
            verify_bundle(&Bundle::new(evidence, collateral.clone()), &Collateral::default(), &question);
        (results.pieces.len(), results.together.is_ok())
    };
    assert_eq!(ask(vec![tdx.clone()], "require"), (1, false));
    assert_eq!(ask(vec![tdx.clone()], "record"), (1, true));
    assert_eq!(ask(vec![tdx.clone(), gpu.clone()], "require"), (2, true));
    assert_eq!(ask(vec![tdx.clone(), gpu.clone()], "off"), (1, true));
    assert_eq!(ask(vec![gpu.clone()], "off"), (0, false));
    let same = simulation.blackwell(NONCE, Faults::default());
    assert_eq!(ask(vec![tdx.clone(), gpu.clone(), same], "require"), (3, true));
    let other = simulation.hopper([1; 32], Faults::default());
    assert_eq!(ask(vec![tdx, gpu, other], "require"), (3, false), "GPUs of two challenges");
}

/// Evidence is malleable: both spellings verify, so a digest of the bytes tells nothing apart.
#[test]
fn two_spellings_of_one_quote_both_verify() {
    let piece = &pieces(Faults::default())[5];
    let Evidence::Nitro { document } = &piece.0 else { panic!("not a document") };
    let tagged = Evidence::Nitro { document: [&[0xd2][..], document].concat() };
    let (one, two) = (ask(piece, AT).unwrap(), ask(&(tagged, Collateral::default()), AT).unwrap());
    assert_eq!(one, two);
    let (Evidence::IntelQuote { mut quote }, collateral) = simulation().tdx(DATA, AT, Faults::default())
    else {
        return;
    };
    let one = ask(&(Evidence::IntelQuote { quote: quote.clone() }, collateral.clone()), AT).unwrap();
    quote.push(1);
    assert_eq!(ask(&(Evidence::IntelQuote { quote }, collateral), AT).unwrap(), one);
}
