use super::{Figures, compare};

fn figures(commit: f64, plain: f64) -> Figures {
    let all = [("commit".to_owned(), commit), ("plain".to_owned(), plain)];
    Figures { rustc: "1.95.0".into(), instructions_per_request: all.into() }
}

#[test]
fn a_rise_over_three_percent_fails_and_names_the_level() {
    let before = figures(100_000.0, 40_000.0);
    assert!(compare(&before, &figures(102_900.0, 40_000.0)).is_ok());
    assert!(compare(&before, &figures(60_000.0, 40_000.0)).is_ok());
    let error = compare(&before, &figures(103_100.0, 40_000.0)).err();
    assert!(error.is_some_and(|error| error.to_string().contains("commit by 3.1 %")));
    // The yardstick itself may change.
    assert!(compare(&before, &figures(100_000.0, 80_000.0)).is_ok());
}
