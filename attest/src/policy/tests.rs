use super::*;

const HEAD: &str = "apiVersion: colophon.dev/v1alpha1\nkind: AttestationPolicy\nmetadata: {name: t}\n";

fn read(spec: &str) -> Result<Policy, PolicyError> {
    Policy::from_yaml(&format!("{HEAD}spec:\n{spec}"))
}

fn error(spec: &str) -> String {
    read(spec).unwrap_err().to_string()
}

#[test]
fn a_whole_policy_is_read() {
    let policy = read(
        "  gpu: require\n  maxAge: 24h\n  maxCollateralAge: 30d\n  platforms:\n    tdx:\n      referenceValues: {mr_td: [\"AB0123456789ABCDEF\"]}\n      tcb: {statuses: [UpToDate, SWHardeningNeeded], grace: 90d, rejectedAdvisories: [INTEL-SA-1], minimum: {pce_svn: 11}}\n    nvidia-gpu:\n      referenceValues: {driver: [\"550.90.07\"]}\n",
    )
    .unwrap();
    assert_eq!(policy.gpu, Gpu::Require);
    assert_eq!(policy.max_age, Some(Duration::from_secs(86_400)));
    assert_eq!(policy.intel_tcb(Platform::Tdx).grace, Duration::from_secs(90 * 86_400));
    assert!(policy.platforms[&Platform::Tdx].reference_values["mr_td"].contains("ab0123456789abcdef"));
}

#[test]
fn each_of_intels_platforms_has_its_own_rules_for_the_tcb() {
    let policy = read(
        "  platforms:\n    tdx: {referenceValues: {mr_td: [aa]}, tcb: {grace: 90d}}\n    sgx: {referenceValues: {mr_enclave: [bb]}, tcb: {rejectedAdvisories: [INTEL-SA-1]}}\n",
    )
    .unwrap();
    let (tdx, sgx) = (policy.intel_tcb(Platform::Tdx), policy.intel_tcb(Platform::Sgx));
    assert_eq!((tdx.grace, tdx.rejected_advisories.len()), (Duration::from_secs(90 * 86_400), 0));
    assert_eq!((sgx.grace, sgx.rejected_advisories.len()), (Duration::ZERO, 1));
    let alone = read("  platforms:\n    tdx: {referenceValues: {mr_td: [aa]}, tcb: {grace: 90d}}\n").unwrap();
    assert_eq!(alone.intel_tcb(Platform::Sgx).grace, Duration::ZERO);
}

/// As a model certificate carries it.
#[test]
fn its_spec_stands_in_other_files_as_the_same_policy() {
    for spec in [
        "  gpu: require\n  maxAge: 24h\n  maxCollateralAge: 30d\n  speaks: aci\n  platforms:\n    tdx:\n      referenceValues: {mr_td: [\"AB0123456789ABCDEF\"]}\n      tcb: {statuses: [UpToDate, SWHardeningNeeded], grace: 90d, rejectedAdvisories: [INTEL-SA-1], minimum: {pce_svn: 11}}\n    token: {issuers: [\"https://a\"]}\n",
        "  platforms:\n    sev-snp:\n      referenceValues: {measurement: [aa], vmpl: [\"0\"]}\n",
    ] {
        let text = format!("{HEAD}spec:\n{spec}");
        let carried = Policy::spec_of(&text).unwrap();
        assert_eq!(Policy::from_spec("t", &carried).unwrap(), Policy::from_yaml(&text).unwrap(), "{carried}");
    }
    assert!(Policy::spec_of(&format!("{HEAD}spec:\n  platforms:\n    tdx: {{}}\n")).is_err());
}

#[test]
fn unknown_keys_are_errors_with_their_place() {
    let reference = "referenceValues: {mr_td: [aa]}";
    for spec in [
        format!("  allowSimulated: true\n  platforms:\n    tdx:\n      {reference}\n"),
        format!("  platforms:\n    tdx:\n      {reference}\n      debug: true\n"),
        format!("  platforms:\n    tdx:\n      {reference}\n      tcb: {{status: [UpToDate]}}\n"),
        format!("  platforms:\n    tdxx:\n      {reference}\n"),
    ] {
        let error = error(&spec);
        assert!(error.contains("line"), "{error}");
    }
}

#[test]
fn what_would_let_anything_or_nothing_pass_is_an_error() {
    let empty = error("  platforms: {}\n");
    assert!(empty.contains("no platform"), "{empty}");
    let any = error("  platforms:\n    tdx: {}\n");
    assert!(any.contains("any genuine machine"), "{any}");
    assert!(error("  platforms:\n    tdx: {referenceValues: {mr_td: []}}\n").contains("nothing could pass"));
    // PCRs alone: whoever runs another guest makes them, and the key that signs them.
    let pcrs = error("  platforms:\n    azure-vtpm: {referenceValues: {pcr4: [aa], pcr7: [bb]}}\n");
    assert!(pcrs.contains("sev_snp_measurement"), "{pcrs}");
    for launched in ["sev_snp_measurement", "tdx_mr_td"] {
        read(&format!(
            "  platforms:\n    azure-vtpm: {{referenceValues: {{pcr4: [aa], {launched}: [cc]}}}}\n"
        ))
        .unwrap();
    }
    assert!(
        error("  platforms:\n    tdx: {referenceValues: {mr_td: [aa]}, tcb: {statuses: [Revoked]}}\n")
            .contains("never")
    );
    assert!(
        error("  platforms:\n    nitro: {referenceValues: {pcr0: [aa]}, tcb: {statuses: [UpToDate]}}\n")
            .contains("Intel")
    );
    assert!(error("  platforms:\n    token: {}\n").contains("issuers"));
    assert!(
        error("  maxAge: soon\n  platforms:\n    tdx: {referenceValues: {mr_td: [aa]}}\n").contains("24h")
    );
}

#[test]
fn another_kind_is_refused() {
    let text = format!("{HEAD}spec: {{platforms: {{tdx: {{referenceValues: {{mr_td: [aa]}}}}}}}}\n");
    Policy::from_yaml(&text).unwrap();
    assert!(matches!(
        Policy::from_yaml(&text.replace("AttestationPolicy", "ProvenancePolicy")),
        Err(PolicyError::Kind)
    ));
}
