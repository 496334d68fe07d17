use super::*;

#[test]
fn a_turn_ends_at_the_end_however_long_it_takes() {
    let long_ago = Instant::now().checked_sub(AGAIN * 2).expect("the machine runs for longer");
    let marks: Vec<Mark> = (0..AT_ONCE).map(|at| Mark(at as u64 + 1, JobId([7; 16]))).collect();
    let last = marks[AT_ONCE - 1];
    let mut walk = Walk { begun: long_ago, ..Walk::begin() };
    assert!(walk.saw(&marks), "a full look");
    assert_eq!(walk.place(), last, "what lies behind is looked at first");
    assert!(!walk.saw(&[Mark(9999, JobId([8; 16]))]), "the end");
    assert_eq!(walk.place(), Mark::default(), "and from the beginning again");
    // Just begun, it waits for what comes behind.
    assert!(!walk.saw(&[last]));
    assert_eq!(walk.place(), last);
}
