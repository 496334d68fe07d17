use super::*;

#[test]
fn only_what_stands_between_the_markers_changes() {
    let document =
        "before\n<!-- a:begin (written by a program) -->\nold\n<!-- a:end -->\nafter\n<!-- b:end -->\n";
    let written = between(document, "a", "new\n\n").unwrap();
    assert_eq!(
        written,
        "before\n<!-- a:begin (written by a program) -->\nnew\n<!-- a:end -->\nafter\n<!-- b:end -->\n"
    );
    assert!(between(document, "b", "new").is_err(), "an end without a begin");
}

#[test]
fn a_spread_is_median_least_and_most() {
    let odd = Spread::of([3.0, 1.0, 2.0]);
    assert_eq!((odd.median, odd.least, odd.most), (2.0, 1.0, 3.0));
    let even = Spread::of([4.0, 1.0, 3.0, 2.0]);
    assert_eq!((even.median, even.least, even.most), (2.5, 1.0, 4.0));
    assert!(Spread::of([]).median.is_nan());
}
