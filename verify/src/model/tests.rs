use super::*;

/// The evidence's part is tested where it is judged, and end to end with simulated evidence: hardware's is about nobody's key
/// here.
#[test]
fn a_model_is_attested_only_by_a_claim_and_dated_hardware_that_matches() {
    let evidence = |matches, counts| Compared { matches, counts, detail: None };
    assert!(is_attested(Some(ATTESTED), Some(&evidence(true, true))));
    for claimed in [None, Some(OBSERVED), Some(CONFIGURED)] {
        assert!(!is_attested(claimed, Some(&evidence(true, true))), "{claimed:?}");
    }
    for less in [evidence(true, false), evidence(false, false), evidence(false, true)] {
        assert!(!is_attested(Some(ATTESTED), Some(&less)), "{less:?}");
    }
    assert!(!is_attested(Some(ATTESTED), None), "no evidence at all");
}

#[test]
fn evidence_counts_where_it_is_of_the_level_tee_by_these_values() {
    let values = serde_json::json!({"platforms": {"tdx": {"referenceValues": {"mr_td": ["aa"]}}}});
    let policy = Policy::from_spec("t", &values).unwrap();
    assert!(compared(Ok(&policy), |_| Ok(Level::Tee)).counts);
    let simulated = compared(Ok(&policy), |_| Ok(Level::Sign));
    assert!(simulated.matches && !simulated.counts);
    let other = compared(Ok(&policy), |_| Err(Refusal::Policy("no".into())));
    assert!(!other.matches && !other.counts && other.detail.is_some());
    let none = Refusal::Policy("no reference values".into());
    assert!(!compared(Err(&none), |_| Ok(Level::Tee)).matches, "nothing is compared with what is no policy");
}
