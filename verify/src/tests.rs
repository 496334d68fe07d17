use super::*;
use crate::testing::{Made, NOW, Plan, Signing};

fn run(made: &Made) -> Report {
    verify(&made.file(), Some(&made.trust()), &Bodies::default(), None)
}

#[test]
fn a_good_receipt_is_trusted() {
    for signing in [Signing::Whole, Signing::Stream] {
        let made = Plan { signing, ..Plan::default() }.make();
        let report = run(&made);
        assert_eq!(report.result, Verdict::Trusted, "{:#?}", report.checks);
    }
}
